//! Callers that leave: at every poll, at random moments, at shutdown.

use std::time::Duration;

use redlatch::{Client, Owner};
use redlatch_support::{Action, Dice, Rule, Server, eventually_async, polled};

use crate::kit::{Rig, Through, close, connect, ms, secs, until_nothing_is_left};

/// Asks whether nothing of `name` is left on the server.
async fn until_free(server: &Server, name: &str) {
    let direct = server.direct();
    eventually_async("the lock is free", secs(5), async || !direct.exists(name)).await;
}

#[tokio::test]
async fn dropping_an_acquire_at_every_poll_leaves_nothing() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    for polls in 0..20 {
        if let Some(guard) = polled(polls, client.lock("free").lock().into_future()).await {
            guard.expect("free").unlock().await.expect("held");
        }
        if let Some(guard) = polled(polls, client.lock("free").try_lock()).await {
            // Given up attempts before this one may still be on their way back.
            drop(guard.expect("answers"));
        }
        until_nothing_is_left(&client).await;
        assert!(!server.direct().exists("free"), "after {polls} polls");
    }
    close(client).await;
}

#[tokio::test]
async fn dropping_a_waiter_at_every_poll_leaves_nothing_and_the_holder_alone() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder.safety_poll(ms(20))).await;
    let holder = connect(&server.url(), |builder| builder).await;
    let guard = holder.lock("busy").lock().await.expect("free");
    for polls in 0..30 {
        let waiting = client.lock("busy").lock().wait(ms(500)).into_future();
        match polled(polls, waiting).await {
            None => {}
            Some(Err(error)) if error.is_timeout() => {}
            Some(other) => panic!("{other:?}"),
        }
        until_nothing_is_left(&client).await;
        assert_eq!(server.direct().hgetall("busy")[&guard.owner_id()], "1");
    }
    let direct = server.direct();
    eventually_async("no subscription is left", secs(5), async || {
        direct.numsub("redisson_lock__channel:{busy}") == 0
    })
    .await;
    guard.unlock().await.expect("held");
    close(client).await;
    close(holder).await;
}

#[tokio::test]
async fn dropping_a_re_entry_at_every_poll_never_touches_the_outer_hold() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    let outer = client.lock("outer").lock().await.expect("free");
    let direct = server.direct();
    for polls in 0..12 {
        drop(polled(polls, client.lock("outer").lock().into_future()).await);
        eventually_async("the count is one again", secs(5), async || {
            direct
                .hgetall("outer")
                .get(&outer.owner_id())
                .map(String::as_str)
                == Some("1")
        })
        .await;
        assert!(!outer.is_lost());
    }
    outer.unlock().await.expect("held");
    until_free(&server, "outer").await;
    close(client).await;
}

#[tokio::test]
async fn dropping_an_unlock_at_every_poll_still_unlocks() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    for polls in 0..10 {
        let guard = client.lock("unlock").lock().await.expect("free");
        drop(polled(polls, guard.unlock()).await);
        until_free(&server, "unlock").await;
        let raw = client.rlock("unlock");
        raw.lock().await.expect("free");
        let unlocked = polled(polls, raw.unlock()).await;
        if polls > 0 {
            until_free(&server, "unlock").await;
        } else {
            assert!(unlocked.is_none());
            raw.unlock().await.expect("never polled, so still held");
        }
    }
    close(client).await;
}

#[tokio::test]
async fn dropping_close_leaves_it_closed_and_closing_again_finishes() {
    let server = Server::start();
    for polls in 0..8 {
        let client = connect(&server.url(), |builder| builder).await;
        client.rlock("closing").lock().await.expect("free");
        drop(polled(polls, client.close(secs(5))).await);
        if polls > 0 {
            assert!(
                client.lock("other").lock().await.is_err(),
                "closed for new work"
            );
        }
        client.close(secs(5)).await;
        until_free(&server, "closing").await;
    }
}

/// One caller that acquires and leaves at random moments.
async fn fickle(client: Client, seed: u64, rounds: usize) -> usize {
    let mut dice = Dice::new(seed, 0);
    let mut dropped = 0;
    for _ in 0..rounds {
        let name = format!("drop-{}", dice.below(5));
        let patience = Duration::from_micros(dice.below(1_500));
        let lock = client.lock(name);
        let work = async {
            let guard = lock.lock().wait(secs(30)).await.expect("granted");
            if dice.below(2) == 0 {
                let inner = lock.lock().await.expect("re-enters");
                tokio::task::yield_now().await;
                inner.unlock().await.expect("held");
            }
            guard.unlock().await.expect("held");
        };
        if tokio::time::timeout(patience, work).await.is_err() {
            dropped += 1;
        }
    }
    dropped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b10_ten_thousand_random_drops_leave_no_orphan() {
    const TASKS: usize = 25;
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder.watchdog_timeout(secs(30))).await;
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let (mut dropped, mut round) = (0, 0);
    while dropped < 10_000 {
        let tasks: Vec<_> = (0..TASKS as u64)
            .map(|task| {
                let owner = Owner::fresh();
                let work = fickle(client.clone(), seed + 1_000 * round + task, 40);
                tokio::spawn(owner.scope(work))
            })
            .collect();
        for task in tasks {
            dropped += task.await.expect("no panic");
        }
        round += 1;
    }
    until_nothing_is_left(&client).await;
    let keys = server.direct().cmd(&["DBSIZE"]).int();
    println!("{dropped} drops, {keys} orphans, {:?}", client.stats());
    assert_eq!(keys, 0, "orphans are left on the server");
    assert!(client.stats().orphans_released > 0, "no drop hit a grant");
    let channels = server.direct().cmd(&["PUBSUB", "CHANNELS", "*"]);
    eventually_async("no subscription is left", secs(5), async || {
        server
            .direct()
            .cmd(&["PUBSUB", "CHANNELS", "*"])
            .items()
            .is_empty()
    })
    .await;
    drop(channels);
    close(client).await;
}

#[test]
fn a_guard_outlives_its_runtime_without_a_panic() {
    let server = Server::start();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let (client, guard) = runtime.block_on(async {
        let client = connect(&server.url(), |builder| {
            builder.watchdog_timeout(ms(500)).command_timeout(ms(200))
        })
        .await;
        let guard = client.lock("orphan").lock().await.expect("free");
        (client, guard)
    });
    runtime.shutdown_background();
    drop(guard);
    drop(client);
    redlatch_support::eventually("the lock ends with its time to live", secs(5), || {
        !server.direct().exists("orphan")
    });
}

/// An unlock whose request was lost is said again, and closing does not take the connection away from under it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_waits_for_an_unlock_that_is_said_again() {
    let rig = Rig::with(Through::Holder, |builder| builder.command_timeout(ms(400))).await;
    let guard = rig.holder.lock("closing").lock().await.expect("free");
    let lost = rig
        .proxy
        .rule(Rule::new("EVALSHA").action(Action::DropRequest));
    let unlocking = tokio::spawn(guard.unlock());
    lost.wait_hit(1).await;
    let report = rig.holder.close(secs(10)).await;
    assert!(!rig.direct().exists("closing"), "{report:?}");
    unlocking.await.expect("joins").expect("unlocked");
    rig.end().await;
}

#[tokio::test]
async fn a_panicking_task_gives_its_lock_back() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    let task = tokio::spawn({
        let lock = client.lock("panic");
        async move {
            let _guard = lock.lock().await.expect("free");
            panic!("on purpose");
        }
    });
    assert!(task.await.is_err());
    until_free(&server, "panic").await;
    close(client).await;
}

#[tokio::test]
async fn an_aborted_task_gives_its_lock_back() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder).await;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let task = tokio::spawn({
        let lock = client.lock("abort");
        async move {
            let _guard = lock.lock().await.expect("free");
            let _ = sender.send(());
            std::future::pending::<()>().await;
        }
    });
    receiver.await.expect("it holds the lock");
    task.abort();
    until_free(&server, "abort").await;
    close(client).await;
}
