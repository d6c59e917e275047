//! What each fault does to those who hold and those who wait, by a paused clock.

use std::{pin::pin, time::Duration};

use futures_util::poll;
use redlatch::{
    Client, Error, Event, HoldState, LossCause, MultiLock, Refusal,
    test_util::{Failure, FakeServer, RequestKind},
};
use redlatch_support::NOTHING_LEFT;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_stream::StreamExt;

use crate::rig::{granted, ms, secs, waits};

/// What the library takes unless it is told otherwise.
const WATCHDOG: Duration = secs(30);
const COMMAND: Duration = secs(3);

fn two(server: &FakeServer) -> [Client; 2] {
    [(); 2].map(|()| server.client().expect("acceptable"))
}

/// How long it takes a waiter of another client to have the lock, once it is given back.
async fn takes_over(server: &FakeServer, before: impl FnOnce()) -> Duration {
    let [one, other] = two(server);
    let guard = one.lock("n").lock().await.expect("free");
    let waiting = waits(&other, other.lock("n")).await;
    before();
    let begun = Instant::now();
    guard.unlock().await.expect("held");
    granted(waiting).await.unlock().await.expect("held");
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_another_has_got_is_told_so() {
    let server = FakeServer::new();
    let [one, other] = two(&server);
    let guard = one.lock("n").lock().await.expect("free");
    server.take_over("n", secs(60)).expect("acceptable");
    let begun = Instant::now();
    assert_eq!(guard.lost().await, LossCause::TakenOver);
    assert!(begun.elapsed() <= WATCHDOG / 3 + secs(1));
    let next = other.lock("n").lock().await.expect("free in the end");
    assert!(begun.elapsed() >= secs(59), "{:?}", begun.elapsed());
    next.unlock().await.expect("held");
}

#[tokio::test(start_paused = true)]
async fn a_server_without_its_data_takes_all_locks_along_and_counters_are_missed() {
    let server = FakeServer::new();
    let client = server.client().expect("acceptable");
    let plain = client.lock("plain").lock().await.expect("free");
    let fenced = client.fenced_lock("fenced").lock().await.expect("free");
    server.lose_all_data();
    assert_eq!(plain.lost().await, LossCause::Vanished);
    assert_eq!(fenced.lost().await, LossCause::Vanished);
    let reset = client.fenced_lock("fenced").lock().await;
    assert!(
        matches!(reset, Err(Error::FencingReset { seen: 1, .. })),
        "{reset:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_passes_by_advancing_the_clock() {
    let server = FakeServer::new();
    let [one, other] = two(&server);
    let guard = one.lock("n").lock().lease(secs(3_600)).await;
    let guard = guard.expect("free");
    advance(secs(3_500)).await;
    assert!(!guard.is_lost());
    let busy = other.lock("n").try_lock().await.expect("answered");
    assert!(busy.is_none());
    advance(secs(101)).await;
    assert_eq!(guard.lost().await, LossCause::LeaseExpired);
    let next = other.lock("n").try_lock().await.expect("answered");
    next.expect("over").unlock().await.expect("held");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wake_up_is_made_up_for_by_looking() {
    let server = FakeServer::new();
    let usual = takes_over(&server, || {}).await;
    assert!(usual < ms(50), "{usual:?}");
    let missed = takes_over(&server, || server.drop_next_wake_up("n")).await;
    assert!((ms(400)..secs(2)).contains(&missed), "{missed:?}");
    // One, and no more.
    let usual = takes_over(&server, || {}).await;
    assert!(usual < ms(50), "{usual:?}");
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_cut_are_told_and_come_back_with_their_subscriptions() {
    let server = FakeServer::new();
    let [one, other] = two(&server);
    let guard = one.lock("n").lock().await.expect("free");
    let waiting = waits(&other, other.lock("n")).await;
    let mut events = other.events();
    server.cut_connections();
    // What is asked for meanwhile is only late.
    let asked = one.lock("m").lock().await.expect("free");
    asked.unlock().await.expect("held");
    let mut told = Vec::new();
    while !matches!(told.last(), Some(Event::Connected)) {
        told.push(events.next().await.expect("an event"));
    }
    assert!(
        told.iter()
            .any(|event| matches!(event, Event::Disconnected { .. })),
        "{told:?}"
    );
    sleep(ms(50)).await;
    let begun = Instant::now();
    guard.unlock().await.expect("held");
    granted(waiting).await.unlock().await.expect("held");
    assert!(begun.elapsed() < ms(50), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_connection_is_cut_is_found_out_about() {
    let server = FakeServer::new();
    let client = server.client().expect("acceptable");
    let lock = client.rlock("n");
    // The server does it, and its answer takes a millisecond, which it has not got.
    let begun = Instant::now();
    let (taken, ()) = tokio::join!(lock.lock(), async { server.cut_connections() });
    taken.expect("found");
    assert!(begun.elapsed() >= ms(10), "{:?}", begun.elapsed());
    assert_eq!(lock.hold_count().await.expect("answered"), 1);
    let (given_back, ()) = tokio::join!(lock.unlock(), async { server.cut_connections() });
    given_back.expect("found");
    assert!(!lock.is_locked().await.expect("answered"));
}

#[tokio::test(start_paused = true)]
async fn a_long_silence_costs_the_lock_and_its_holder_knows_by_itself() {
    let server = FakeServer::new();
    let [one, other] = two(&server);
    let guard = one.lock("n").lock().await.expect("free");
    let until = guard.valid_until();
    let mut events = one.events();
    server.silence(secs(90));
    let begun = Instant::now();
    assert_eq!(guard.lost().await, LossCause::Unreachable);
    assert!(begun.elapsed() < WATCHDOG, "{:?}", begun.elapsed());
    assert!(guard.valid_until() >= until);
    let down = events.next().await.expect("an event");
    assert!(matches!(down, Event::Disconnected { .. }), "{down:?}");
    let away = other.lock("m").lock().wait(secs(5)).await;
    assert!(matches!(away, Err(Error::Unreachable { .. })), "{away:?}");
    sleep(secs(90)).await;
    let next = other.lock("n").try_lock().await.expect("answered");
    next.expect("over").unlock().await.expect("held");
    let late = guard.unlock().await;
    assert!(matches!(late, Err(Error::Lost { .. })), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_that_waited_out_a_silence_are_done_in_their_order() {
    let server = FakeServer::new();
    let [one, other] = two(&server);
    let cell = one.fenced_cell("c");
    let token = redlatch::FencingToken::new(1);
    server.silence(secs(1));
    let (mut first, mut second) = (pin!(cell.set(token, "1")), pin!(cell.set(token, "2")));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    sleep(secs(2)).await;
    // Nobody looks after the first, so the second is not done either.
    let early = timeout(ms(100), &mut second).await;
    assert!(early.is_err(), "{early:?}");
    first.await.expect("done");
    second.await.expect("done");
    let last = other.fenced_cell("c").get().await.expect("answered");
    assert_eq!(&last.expect("written").1[..], b"2");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_cut_off_gives_up_before_another_gets_the_lock() {
    let server = FakeServer::new();
    let [one, other] = two(&server);
    let guard = one.lock("n").lock().await.expect("free");
    let waiting = waits(&other, other.lock("n")).await;
    server.partition(&one, secs(120)).expect("its client");
    let begun = Instant::now();
    assert_eq!(guard.lost().await, LossCause::Unreachable);
    let lost = begun.elapsed();
    assert!(!waiting.is_finished());
    let next = granted(waiting).await;
    assert!(begun.elapsed() >= lost && begun.elapsed() < secs(40));
    let away = one.lock("m").try_lock().await;
    assert!(matches!(away, Err(Error::Unreachable { .. })), "{away:?}");
    next.unlock().await.expect("held");
    sleep(secs(120)).await;
    let again = one.lock("n").try_lock().await.expect("answered");
    again.expect("free").unlock().await.expect("held");
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_stays_so_whatever_else_happens() {
    let server = FakeServer::new();
    let [one, other] = two(&server);
    server.partition(&one, secs(60)).expect("its client");
    server.cut_connections();
    server.silence(secs(5));
    let begun = Instant::now();
    let theirs = other.lock("n").lock().await.expect("free");
    assert!(begun.elapsed() < secs(8), "{:?}", begun.elapsed());
    theirs.unlock().await.expect("held");
    let ours = one.lock("n").lock().wait(secs(40)).await;
    assert!(matches!(ours, Err(Error::Unreachable { .. })), "{ours:?}");
    let ours = one.lock("n").lock().wait(secs(40)).await;
    ours.expect("free").unlock().await.expect("held");
    assert!(begun.elapsed() >= secs(60), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_sent_again_and_takes_the_lock_once() {
    for failure in [Failure::RequestLost, Failure::ReplyLost] {
        let server = FakeServer::new();
        let client = server.client().expect("acceptable");
        server.fail_next(RequestKind::Acquire, failure);
        let lock = client.rlock("n");
        let begun = Instant::now();
        lock.lock().await.expect("in the end");
        assert!(begun.elapsed() >= COMMAND, "{:?}", begun.elapsed());
        assert_eq!(lock.hold_count().await.expect("answered"), 1);
        server.fail_next(RequestKind::Release, failure);
        lock.unlock().await.expect("in the end");
        assert!(!lock.is_locked().await.expect("answered"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_count_down_without_an_answer_counts_once() {
    for failure in [Failure::RequestLost, Failure::ReplyLost] {
        let server = FakeServer::new();
        let latch = server.client().expect("acceptable").count_down_latch("l");
        assert!(latch.try_set_count(3).await.expect("answered"));
        server.fail_next(RequestKind::Other, failure);
        latch.count_down().await.expect("in the end");
        assert_eq!(latch.count().await.expect("answered"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_in_its_kind_and_nothing_is_done() {
    let server = FakeServer::new();
    let client = server.client().expect("acceptable");
    let refused = Failure::Refused(Refusal::OutOfMemory);
    server.fail_next(RequestKind::Acquire, refused);
    let outcome = client.lock("n").try_lock().await;
    assert!(
        matches!(
            outcome,
            Err(Error::Refused {
                refusal: Refusal::OutOfMemory,
                ..
            })
        ),
        "{outcome:?}"
    );
    assert!(!client.rlock("n").is_locked().await.expect("answered"));
    let guard = client.lock("n").try_lock().await.expect("answered");
    guard.expect("free").unlock().await.expect("held");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_makes_a_lock_suspect_and_the_next_one_makes_it_good() {
    let server = FakeServer::new();
    let client = server.client().expect("acceptable");
    let mut events = client.events();
    let guard = client.lock("n").lock().await.expect("free");
    server.fail_next(RequestKind::Renewal, Failure::Refused(Refusal::ReadOnly));
    while !matches!(events.next().await, Some(Event::Suspect { .. })) {}
    assert_eq!(guard.state(), HoldState::Suspect);
    sleep(WATCHDOG).await;
    assert_eq!(guard.state(), HoldState::Held);
    guard.unlock().await.expect("held");
}

#[tokio::test(start_paused = true)]
async fn failures_meet_the_requests_they_are_for_in_the_order_they_were_asked_for() {
    let server = FakeServer::new();
    let client = server.client().expect("acceptable");
    server.fail_next(RequestKind::Release, Failure::Refused(Refusal::ReadOnly));
    server.fail_next(RequestKind::Any, Failure::Refused(Refusal::OutOfMemory));
    server.fail_next(RequestKind::Any, Failure::Refused(Refusal::NoPermission));
    for wanted in [Refusal::OutOfMemory, Refusal::NoPermission] {
        let outcome = client.semaphore("s").available_permits().await;
        match outcome {
            Err(Error::Refused { refusal, .. }) => assert_eq!(refusal, wanted),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        client
            .semaphore("s")
            .available_permits()
            .await
            .expect("answered"),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_majority_outlives_the_loss_of_one_server_and_not_of_two() {
    let servers = [(); 3].map(|()| FakeServer::new());
    let [ours, theirs] = [(); 2].map(|()| {
        let locks = servers.iter().map(|server| {
            let client = server.client().expect("acceptable");
            client.lock("n")
        });
        MultiLock::majority(locks).expect("three members")
    });
    let guard = ours.lock().await.expect("free");
    assert!(servers[0].lose_lock_now("n"));
    sleep(WATCHDOG).await;
    assert!(!guard.is_lost());
    let busy = theirs.try_lock().await.expect("answered");
    assert!(busy.is_none(), "one of three is free");
    assert!(servers[1].lose_lock_now("n"));
    assert_eq!(guard.lost().await, LossCause::Vanished);
}

#[tokio::test(start_paused = true)]
async fn clients_that_were_dropped_or_closed_are_gone_from_the_server() {
    let server = FakeServer::new();
    let [one, other] = two(&server);
    let watching = server.client().expect("acceptable");
    let guard = watching.lock("n").lock().await.expect("free");
    let waiting = [
        waits(&one, one.lock("n")).await,
        waits(&other, other.lock("n")).await,
    ];
    let seen = watching.inspect("n").await.expect("answered");
    assert_eq!(seen.waiting_clients, 2);
    // Its last handle goes with its waiter, which has no time to say anything.
    drop(one);
    for waiting in &waiting {
        waiting.abort();
    }
    for waiting in waiting {
        let _ = waiting.await;
    }
    other.close(secs(5)).await;
    sleep(secs(1)).await;
    let seen = watching.inspect("n").await.expect("answered");
    assert_eq!(seen.waiting_clients, 0);
    guard.unlock().await.expect("held");
    assert_eq!(watching.residue(), NOTHING_LEFT);
}

#[test]
fn a_client_whose_runtime_is_gone_is_gone_from_the_server() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let builder = builder.enable_time().start_paused(true);
        builder.build().expect("a runtime")
    };
    let server = FakeServer::new();
    let (home, other) = (runtime(), runtime());
    let watching = other.block_on(async { server.client().expect("acceptable") });
    let guard = other.block_on(async { watching.lock("n").lock().await.expect("free") });
    let client = home.block_on(async {
        let client = server.client().expect("acceptable");
        let _waiting = waits(&client, client.lock("n")).await;
        client
    });
    let waiting = || {
        let seen = other.block_on(async { watching.inspect("n").await.expect("answered") });
        seen.waiting_clients
    };
    assert_eq!(waiting(), 1);
    drop((home, client));
    assert_eq!(waiting(), 0);
    drop(guard);
}
