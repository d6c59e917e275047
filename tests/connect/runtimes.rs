//! Clients and the runtimes they live on.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use redlatch::{Client, Error, LossCause, Owner};
use redlatch_support::{Server, unique_name};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use crate::kit::{asleep, at, close, connected, hand_over, is_renewed, ms, secs};

fn many_threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn one_thread() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// Everybody in once at a time.
async fn contention(clients: &[Client]) {
    const TASKS: usize = 8;
    const TURNS: usize = 25;
    let name = unique_name("contention");
    let inside = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let lock = clients[task % clients.len()].lock(&*name);
        let inside = inside.clone();
        tasks.spawn(async move {
            use std::sync::atomic::Ordering::AcqRel;
            for _ in 0..TURNS {
                let guard = lock.lock().wait(secs(30)).await.expect("granted");
                assert_eq!(inside.fetch_add(1, AcqRel), 0, "two at once");
                tokio::task::yield_now().await;
                inside.fetch_sub(1, AcqRel);
                guard.unlock().await.expect("held");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
}

#[test]
fn one_thread_is_enough_for_everything() {
    let server = Server::start();
    one_thread().block_on(async {
        let (one, other) = (
            connected(at(server.url())).await,
            connected(at(server.url())).await,
        );
        hand_over(&one, &other).await;
        contention(&[one.clone(), other.clone()]).await;
        is_renewed(at(server.url())).await;
        // A guard that is dropped gives back in the background.
        let name = unique_name("dropped");
        drop(one.lock(&*name).lock().await.expect("free"));
        let guard = other.lock(&*name).lock().wait(secs(5)).await;
        let kept = guard.expect("given back");
        let report = other.close(secs(5)).await;
        assert_eq!(report.released, 1, "{report:?}");
        assert!(kept.is_lost());
        close(one).await;
    });
    assert_eq!(
        server.direct().client_list().len(),
        1,
        "connections are left"
    );
}

#[test]
fn a_client_is_used_from_other_runtimes_than_its_own() {
    let server = Server::start();
    let (home, abroad, single) = (many_threads(), many_threads(), one_thread());
    let (one, other) = home.block_on(async {
        (
            connected(at(server.url())).await,
            connected(at(server.url())).await,
        )
    });
    for runtime in [&abroad, &single] {
        runtime.block_on(hand_over(&one, &other));
        runtime.block_on(contention(&[one.clone(), other.clone()]));
    }
    // Both at once, and one guard that goes from here to there.
    let name = unique_name("abroad");
    let guard = abroad.block_on(one.lock(&*name).lock().into_future());
    let guard = guard.expect("free");
    let lock = other.lock(&*name);
    let waiting = abroad.spawn(async move { lock.lock().wait(secs(20)).await });
    single.block_on(asleep(&other, 1));
    single.block_on(guard.unlock()).expect("held");
    let granted = abroad.block_on(waiting).expect("joins").expect("granted");
    // Those may go.
    drop((abroad, single));
    home.block_on(async {
        granted.unlock().await.expect("held");
        close(one).await;
        close(other).await;
    });
}

/// Threads of clients, as the kernel names them.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("a kernel with /proc");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.trim() == "redlatch")
        .count()
}

/// What blocks the caller's only thread does not cost the lock, where the client has a thread of its own.
#[test]
fn a_lock_outlives_a_blocked_runtime_on_a_thread_of_its_own() {
    let server = Server::start();
    let direct = server.direct();
    for own in [false, true] {
        let name = unique_name("blocked");
        one_thread().block_on(async {
            let builder = at(server.url())
                .watchdog_timeout(secs(1))
                .safety_poll(ms(300));
            let builder = if own {
                builder.dedicated_runtime()
            } else {
                builder
            };
            let client = connected(builder).await;
            let guard = client.lock(&*name).lock().await.expect("free");
            // Nothing else runs on this thread meanwhile.
            let blocked = Instant::now();
            let mut there = true;
            while blocked.elapsed() < secs(3) {
                there &= direct.exists(&name);
                std::thread::sleep(ms(20));
            }
            assert_eq!((there, guard.is_lost()), (own, !own));
            assert_eq!(guard.unlock().await.is_ok(), own);
            let guard = client.lock(&*name).lock().wait(secs(5)).await;
            guard.expect("free").unlock().await.expect("held");
            close(client).await;
        });
    }
    redlatch_support::eventually("its thread ends", secs(5), || threads() == 0);
    // Also where the client is just dropped, and where connecting fails.
    one_thread().block_on(async {
        let client = connected(at(server.url()).dedicated_runtime()).await;
        assert_eq!(threads(), 1);
        drop(client);
        let wrong = at("redis://127.0.0.1:1").dedicated_runtime();
        wrong.connect().await.expect_err("nobody is there");
    });
    redlatch_support::eventually("its thread ends", secs(5), || threads() == 0);
}

/// Ends within the limit.
async fn ends<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let outcome = tokio::time::timeout(limit, future).await;
    println!("{what}: {:?}", begun.elapsed());
    outcome.unwrap_or_else(|_| panic!("{what} did not end within {limit:?}"))
}

#[track_caller]
fn assert_closed<T>(outcome: Result<T, Error>) {
    let error = outcome.err().expect("must fail");
    assert!(matches!(error, Error::Closed), "{error:?}");
    assert!(error.to_string().contains("runtime"), "{error}");
}

/// Whoever waits is told, and whoever comes later too; nothing hangs and nothing panics.
#[test]
fn a_client_whose_runtime_is_gone_is_closed() {
    let server = Server::start();
    let direct = server.direct();
    for home in [many_threads(), one_thread()] {
        let many = matches!(
            home.handle().runtime_flavor(),
            tokio::runtime::RuntimeFlavor::MultiThread
        );
        let client = home.block_on(connected(at(server.url())));
        let abroad = many_threads();
        let name = unique_name("gone");
        // A lock that nothing ever ends but its holder.
        let foreign = unique_name("foreign");
        direct.cmd(&["HSET", &foreign, "somebody:1", "1"]);
        let latch = unique_name("latch");
        direct.cmd(&["SET", &latch, "1"]);
        let semaphore = unique_name("semaphore");
        direct.cmd(&["SET", &semaphore, "0"]);

        let taking = client.lock(&*name);
        let guard = if many {
            abroad.block_on(async { taking.lock().await.expect("free") })
        } else {
            home.block_on(async { taking.lock().await.expect("free") })
        };
        let mut events = client.events();
        let waiting = {
            let (locks, latches) = (client.clone(), client.clone());
            let semaphores = client.clone();
            let second = client.lock(&*foreign).with_owner(Owner::fresh());
            let (foreign, latch) = (foreign.clone(), latch.clone());
            let semaphore = semaphore.clone();
            [
                abroad.spawn(async move { locks.lock(foreign).lock().await.map(drop) }),
                abroad.spawn(async move { second.lock().await.map(drop) }),
                abroad.spawn(async move { latches.count_down_latch(latch).wait().await.map(drop) }),
                abroad.spawn(
                    async move { semaphores.semaphore(semaphore).acquire().await.map(drop) },
                ),
            ]
        };
        let sleeping = asleep(&client, 3);
        if many {
            abroad.block_on(sleeping);
        } else {
            home.block_on(sleeping);
        }
        drop(home);
        abroad.block_on(async {
            for waiter in waiting {
                assert_closed(ends("a waiter", secs(2), waiter).await.expect("no panic"));
            }
            let cause = ends("the holder", secs(1), guard.lost()).await;
            assert_eq!(cause, LossCause::Closed);
            assert!(guard.is_lost());
            let lost = {
                use tokio_stream::StreamExt;
                ends("the event", secs(1), events.next()).await
            };
            println!("{lost:?}");
            assert!(ends("an unlock", secs(1), guard.unlock()).await.is_err());
            let lock = client.lock(unique_name("late"));
            assert_closed(ends("a lock", secs(1), lock.lock().into_future()).await);
            assert_closed(ends("a try", secs(1), lock.try_lock()).await);
            assert_closed(ends("a look", secs(1), client.inspect("x")).await);
            let semaphore = client.semaphore(&*semaphore);
            assert_closed(ends("a release", secs(1), semaphore.release(1)).await);
            let latch = client.count_down_latch(&*latch);
            assert_closed(ends("a count", secs(1), latch.count_down()).await);
            let report = ends("closing", secs(2), client.close(secs(1))).await;
            println!("{report:?}");
            drop(client);
        });
        direct.cmd(&["DEL", &name, &foreign]);
    }
    assert_eq!(direct.client_list().len(), 1, "connections are left");
}

/// A runtime that is there but not driven answers nobody; calls end with their limits.
#[test]
fn a_client_whose_runtime_stands_still_is_unreachable() {
    let server = Server::start();
    let home = one_thread();
    let patient = at(server.url())
        .command_timeout(ms(300))
        .outage_patience(ms(900));
    let client = home.block_on(connected(patient));
    let abroad = many_threads();
    abroad.block_on(async {
        let lock = client.lock(unique_name("still"));
        let outcome = ends("a lock", secs(4), lock.lock().into_future()).await;
        let error = outcome.expect_err("nobody answers");
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        println!("{error}");
        let outcome = ends(
            "a limited one",
            secs(4),
            lock.lock().wait(ms(500)).into_future(),
        );
        println!("{}", outcome.await.expect_err("nobody answers"));
        let outcome = ends("a look", secs(4), client.inspect("x")).await;
        println!("{}", outcome.expect_err("nobody answers"));
    });
    // It goes on when it is driven again.
    home.block_on(async {
        let guard = client.lock(unique_name("on")).lock().await.expect("free");
        guard.unlock().await.expect("held");
        close(client).await;
    });
}

/// Each life of a connection has its tasks, and they end with it.
#[test]
fn restarts_leave_no_task_behind() {
    let server = Server::start();
    one_thread().block_on(async {
        let client = connected(at(server.url())).await;
        let holder = connected(at(server.url())).await;
        hand_over(&holder, &client).await;
        hand_over(&client, &holder).await;
        let before = redlatch_support::settled_tasks(secs(20)).await;
        for turn in 0..12 {
            server.kill();
            tokio::time::sleep(ms(50 * turn)).await;
            server.restart();
            hand_over(&holder, &client).await;
            hand_over(&client, &holder).await;
            println!(
                "{turn}: {} tasks, {before} before",
                redlatch_support::alive_tasks()
            );
        }
        redlatch_support::eventually_async("as many tasks as before", secs(20), async || {
            redlatch_support::alive_tasks() <= before
        })
        .await;
        close(client).await;
        close(holder).await;
    });
}
