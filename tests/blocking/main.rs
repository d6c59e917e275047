//! The blocking surface: threads, and no runtime anywhere in sight.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use redlatch::{
    Error, NonReentrant, Owner,
    blocking::{Client, Lock},
};
use redlatch_support::{NOTHING_LEFT, Server, eventually};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn connect(server: &Server) -> Client {
    Client::connect(server.url()).expect("connects")
}

/// Closes a client and checks that nothing is left of it.
fn close(client: Client) {
    let report = client.close(secs(5)).expect("no runtime here");
    assert!(report.unreleased.is_empty(), "{report:?}");
    assert_eq!(client.as_async().residue(), NOTHING_LEFT);
}

fn contend<K: redlatch::Kind>(locks: &[Lock<K>]) {
    const THREADS: usize = 8;
    const TURNS: usize = 20;
    let inside = AtomicUsize::new(0);
    thread::scope(|scope| {
        for at in 0..THREADS {
            let (lock, inside) = (locks[at % locks.len()].clone(), &inside);
            scope.spawn(move || {
                for _ in 0..TURNS {
                    let guard = lock.lock().expect("granted");
                    assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0, "two at once");
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::AcqRel);
                    guard.unlock().expect("held");
                }
            });
        }
    });
}

#[test]
fn threads_exclude_each_other_with_locks_of_every_kind() {
    let server = Server::start();
    let clients = [connect(&server), connect(&server)];
    contend(&clients.each_ref().map(|client| client.lock("plain")));
    contend(&clients.each_ref().map(|client| client.fair_lock("fair")));
    contend(
        &clients
            .each_ref()
            .map(|client| client.fenced_lock("fenced")),
    );
    contend(
        &clients
            .each_ref()
            .map(|client| client.read_write_lock("both").write_lock().clone()),
    );
    for client in clients {
        close(client);
    }
}

#[test]
fn the_thread_is_the_owner_as_in_java() {
    let server = Server::start();
    let client = connect(&server);
    let lock = client.rlock("owned");
    lock.lock().expect("free");
    assert!(lock.try_lock().expect("answers").is_some(), "enters again");
    assert_eq!(lock.hold_count().expect("answers"), 2);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(lock.try_lock().expect("answers").is_none());
            assert!(!lock.is_held_by_current().expect("answers"));
            let error = lock.unlock().expect_err("is another's");
            assert!(matches!(error, Error::NotHeld { .. }), "{error}");
            let waited = lock.try_lock_for(ms(50), None).expect("answers");
            assert!(waited.is_none());
            assert!(lock.is_locked().expect("answers"));
        });
    });
    let owner = Owner::current();
    assert!(lock.is_held_by(owner).expect("answers"));
    lock.unlock().expect("held");
    lock.unlock().expect("held");
    assert!(!lock.is_locked().expect("answers"));
    close(client);
}

#[test]
fn waits_end_in_time_and_leases_by_themselves() {
    let server = Server::start();
    let (one, two) = (connect(&server), connect(&server));
    let guard = one.lock("timed").lock().expect("free");
    let begun = Instant::now();
    let late = two.lock("timed").try_lock_for(ms(100), None);
    assert!(late.expect("answers").is_none());
    assert!(begun.elapsed() >= ms(100) && begun.elapsed() < secs(5));
    assert!(two.lock("timed").try_lock().expect("answers").is_none());
    drop(guard);
    let lease = two.lock("timed").try_lock_for(secs(10), Some(ms(200)));
    let guard = lease.expect("answers").expect("given back");
    eventually("the lease is over", secs(5), || guard.is_lost());
    guard.unlock().expect_err("is over");
    close(one);
    close(two);
}

#[test]
fn readers_share_and_tokens_rise() {
    let server = Server::start();
    let (one, two) = (connect(&server), connect(&server));
    let both = (one.read_write_lock("rw"), two.read_write_lock("rw"));
    let (reading, too) = (both.0.read().expect("free"), both.1.read().expect("reads"));
    assert!(both.1.write_lock().try_lock().expect("answers").is_none());
    reading.unlock().expect("held");
    too.unlock().expect("held");
    both.1.write().expect("free").unlock().expect("held");
    let first = one.fenced_lock("numbered").lock().expect("free");
    let token = first.token();
    first.unlock().expect("held");
    assert!(two.fenced_lock("numbered").lock().expect("free").token() > token);
    close(one);
    close(two);
}

#[test]
fn semaphores_and_latches_block_and_time_out() {
    let server = Server::start();
    let client = connect(&server);
    let semaphore = client.semaphore("permits");
    assert!(semaphore.try_set_permits(2).expect("answers"));
    let permits = semaphore.acquire(2).expect("there");
    assert_eq!(permits.count(), 2);
    assert!(
        semaphore
            .try_acquire_for(1, ms(50))
            .expect("answers")
            .is_none()
    );
    permits.release().expect("held");
    drop(
        semaphore
            .try_acquire_for(1, secs(5))
            .expect("answers")
            .expect("there"),
    );
    eventually("it is given back", secs(5), || {
        semaphore.available_permits().expect("answers") == 2
    });
    let latch = client.count_down_latch("latch");
    assert!(latch.try_set_count(1).expect("answers"));
    assert!(!latch.wait_for(ms(50)).expect("answers"));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| latch.wait());
        latch.count_down().expect("counts");
        waiting.join().expect("no panic").expect("opens");
    });
    assert_eq!(latch.count().expect("answers"), 0);
    close(client);
}

#[test]
fn what_has_no_blocking_form_is_waited_for_all_the_same() {
    let server = Server::start();
    let client = connect(&server);
    let election = client.as_async().election("blocking");
    let leadership = client.block_on(election.campaign("me")).expect("leads");
    let leader = client.block_on(election.leader()).expect("answers");
    assert_eq!(leader.expect("leads").value, "me");
    client.block_on(leadership.resign()).expect("leads");
    let once: redlatch::Lock<NonReentrant> = client.as_async().non_reentrant_lock("once");
    let guard = client.block_on(once.try_lock()).expect("answers");
    let guard = guard.expect("free");
    client.block_on(guard.unlock()).expect("held");
    close(client);
}

#[test]
fn inside_an_async_runtime_every_call_is_refused_and_no_drop_blocks() {
    let server = Server::start();
    let client = connect(&server);
    let lock = client.lock("async");
    let guard = lock.lock().expect("free");
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    let refused = |error: Error| {
        let field = matches!(
            error,
            Error::InvalidArgument {
                field: "runtime",
                ..
            }
        );
        assert!(field, "{error}");
    };
    runtime.block_on(async {
        refused(lock.lock().expect_err("is inside"));
        refused(lock.try_lock().expect_err("is inside"));
        refused(client.rlock("async").unlock().expect_err("is inside"));
        refused(client.close(secs(1)).expect_err("is inside"));
        refused(Client::connect(server.url()).expect_err("is inside"));
        // It goes back all the same.
        refused(guard.unlock().expect_err("is inside"));
    });
    let direct = server.direct();
    eventually("it is given back", secs(5), || !direct.exists("async"));
    drop(lock);
    let begun = Instant::now();
    runtime.block_on(async { drop(client) });
    assert!(begun.elapsed() < ms(500), "{:?}", begun.elapsed());
    eventually("no connection is left", secs(5), || {
        direct.client_list().len() == 1
    });
}

/// Waits until only the one who asks is connected.
fn gone(direct: &redlatch_support::Direct) {
    eventually("no connection is left", secs(5), || {
        direct.client_list().len() == 1
    });
}

#[test]
fn dropping_the_last_handle_gives_back_what_is_held_whatever_thread_it_is() {
    let server = Server::start();
    let direct = server.direct();
    // A guard that outlives its client, on another thread.
    let client = connect(&server);
    let guard = client.lock("outlives").lock().expect("free");
    drop(client);
    assert!(!guard.is_lost(), "a guard keeps its client");
    thread::spawn(move || drop(guard)).join().expect("no panic");
    assert!(!direct.exists("outlives"), "the drop has waited");
    gone(&direct);
    // A hold without a guard.
    let client = connect(&server);
    client.rlock("kept").lock().expect("free");
    assert!(direct.exists("kept"));
    drop(client);
    assert!(!direct.exists("kept"));
    gone(&direct);
    // Many threads at once, the last of which ends it.
    let client = Arc::new(connect(&server));
    let threads: Vec<_> = (0..8)
        .map(|at| {
            let client = client.clone();
            thread::spawn(move || drop(client.lock(format!("many-{at}")).lock().expect("free")))
        })
        .collect();
    drop(client);
    for thread in threads {
        thread.join().expect("no panic");
    }
    gone(&direct);
    let left = direct.cmd(&["KEYS", "*"]).strings();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_lost_lock_is_told_and_a_silent_server_keeps_nobody() {
    let server = Server::start();
    let builder = redlatch::Client::builder().url(server.url()).expect("url");
    let client = Client::with(builder.watchdog_timeout(secs(1))).expect("connects");
    let guard = client.lock("lost").lock().expect("free");
    // It is renewed while its thread sleeps.
    eventually("it is renewed", secs(5), || {
        client.as_async().stats().renewals > 3
    });
    assert!(!guard.is_lost());
    server.direct().cmd(&["DEL", "lost"]).accepted();
    eventually("it is told", secs(5), || guard.is_lost());
    assert!(guard.unlock().expect_err("was lost").is_lost());
    server.freeze();
    let begun = Instant::now();
    let error = client.lock("silent").try_lock().expect_err("no answer");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    drop(client);
    assert!(begun.elapsed() < secs(10), "{:?}", begun.elapsed());
    server.thaw();
}
