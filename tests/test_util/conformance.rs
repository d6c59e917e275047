//! What a lock promises, over the server in memory and over a real one.

use redlatch::{AnyLock, Error, LossCause, MultiLock, fencing::Checker};
use redlatch_support::{NOTHING_LEFT, eventually_async};
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, granted, ms, on_both, secs, waits};

on_both! {
    one_holds_and_the_next_comes_in_when_it_is_given_back
    a_lease_that_is_over_lets_the_next_one_in_and_its_holder_knows
    a_lock_without_a_lease_outlives_its_watchdog_timeout
    a_holder_enters_again_and_counts
    a_wait_with_a_limit_is_over_at_the_limit
    a_lock_goes_from_hand_to_hand_in_one_client
    tokens_rise_and_a_stale_one_writes_nothing
    permits_are_as_many_as_there_are
    a_latch_opens_for_all_at_zero
    a_multi_lock_has_all_or_none
    a_lock_that_is_freed_by_force_is_told_to_its_holder
    a_lock_looked_at_from_outside_shows_holder_and_waiters
    what_is_no_lock_is_refused
    a_lock_that_is_taken_away_is_told_to_its_holder
    no_lock_is_lost_with_the_connections_and_waiters_are_heard_again
    a_short_silence_only_makes_things_late
    closing_gives_everything_back
}

async fn one_holds_and_the_next_comes_in_when_it_is_given_back(rig: Rig) {
    let (one, other) = (rig.client().await, rig.client().await);
    let guard = one.lock("n").lock().await.expect("free");
    let busy = other.lock("n").try_lock().await.expect("answered");
    assert!(busy.is_none());
    let waiting = waits(&other, other.lock("n")).await;
    let begun = Instant::now();
    guard.unlock().await.expect("held");
    let guard = granted(waiting).await;
    // By the message, and not by looking, which takes three quarters of a second at least.
    assert!(begun.elapsed() < ms(500), "{:?}", begun.elapsed());
    assert!(one.lock("n").try_lock().await.expect("answered").is_none());
    guard.unlock().await.expect("held");
}

async fn a_lease_that_is_over_lets_the_next_one_in_and_its_holder_knows(rig: Rig) {
    let (one, other) = (rig.client().await, rig.client().await);
    let acquiring = one.lock("n").lock().lease(ms(400));
    let guard = acquiring.await.expect("free");
    let begun = Instant::now();
    let next = other.lock("n").lock().await.expect("free in the end");
    assert!(begun.elapsed() >= ms(300), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < secs(5), "{:?}", begun.elapsed());
    assert!(guard.is_lost());
    assert_eq!(guard.lost().await, LossCause::LeaseExpired);
    let late = guard.unlock().await;
    assert!(matches!(late, Err(Error::Lost { .. })), "{late:?}");
    next.unlock().await.expect("held");
}

async fn a_lock_without_a_lease_outlives_its_watchdog_timeout(rig: Rig) {
    let one = rig.client_with(|builder| builder.watchdog_timeout(ms(600)));
    let (one, other) = (one.await, rig.client().await);
    let guard = one.lock("n").lock().await.expect("free");
    sleep(ms(1_500)).await;
    assert!(!guard.is_lost());
    let busy = other.lock("n").try_lock().await.expect("answered");
    assert!(busy.is_none());
    guard.unlock().await.expect("held");
}

async fn a_holder_enters_again_and_counts(rig: Rig) {
    let client = rig.client().await;
    let lock = client.rlock("n");
    lock.lock().await.expect("free");
    lock.lock().await.expect("its own");
    assert_eq!(lock.hold_count().await.expect("answered"), 2);
    lock.unlock().await.expect("held");
    assert!(lock.is_locked().await.expect("answered"));
    lock.unlock().await.expect("held");
    assert!(!lock.is_locked().await.expect("answered"));
    let none = lock.unlock().await;
    assert!(matches!(none, Err(Error::NotHeld { .. })), "{none:?}");
    let strict = client.non_reentrant_lock("strict");
    let guard = strict.lock().await.expect("free");
    let again = strict.lock().await;
    assert!(matches!(again, Err(Error::AlreadyHeld { .. })), "{again:?}");
    guard.unlock().await.expect("held");
}

async fn a_wait_with_a_limit_is_over_at_the_limit(rig: Rig) {
    let (one, other) = (rig.client().await, rig.client().await);
    let guard = one.spin_lock("n").lock().await.expect("free");
    for limit in [ms(60), ms(300)] {
        let begun = Instant::now();
        let late = other.spin_lock("n").lock().wait(limit).await;
        assert!(
            matches!(&late, Err(error) if error.is_timeout()),
            "{late:?}"
        );
        assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
        assert!(begun.elapsed() < limit + secs(2), "{:?}", begun.elapsed());
    }
    guard.unlock().await.expect("held");
}

async fn a_lock_goes_from_hand_to_hand_in_one_client(rig: Rig) {
    let client = rig.client().await;
    let lock = client.lock("n");
    let guard = lock.lock().await.expect("free");
    let waiting = waits(&client, lock).await;
    guard.unlock().await.expect("held");
    granted(waiting).await.unlock().await.expect("held");
    assert_eq!(client.stats().hand_overs, 1);
}

async fn tokens_rise_and_a_stale_one_writes_nothing(rig: Rig) {
    let (one, other) = (rig.client().await, rig.client().await);
    let guard = one.fenced_lock("n").lock().lease(ms(300)).await;
    let stale = guard.expect("free");
    let fresh = other
        .fenced_lock("n")
        .lock()
        .await
        .expect("free in the end");
    assert!(fresh.token() > stale.token());
    let checker = Checker::new();
    checker.check("n", fresh.token()).expect("the newest");
    checker.check("n", stale.token()).expect_err("an older one");
    let cell = one.fenced_cell("stock");
    assert_eq!(cell.claim(fresh.token()).await.expect("free"), None);
    let refused = cell.set(stale.token(), "9").await;
    assert!(matches!(refused, Err(Error::Stale { .. })), "{refused:?}");
    cell.set(fresh.token(), "8").await.expect("the newest");
    let (token, value) = cell.get().await.expect("answered").expect("written");
    assert_eq!((token, &value[..]), (fresh.token(), &b"8"[..]));
    fresh.unlock().await.expect("held");
}

async fn permits_are_as_many_as_there_are(rig: Rig) {
    let (one, other) = (rig.client().await, rig.client().await);
    let (ours, theirs) = (one.semaphore("s"), other.semaphore("s"));
    assert!(ours.try_set_permits(2).await.expect("answered"));
    assert!(!theirs.try_set_permits(9).await.expect("answered"));
    let first = ours.acquire_many(2).await.expect("there");
    let none = theirs.try_acquire().await.expect("answered");
    assert!(none.is_none());
    let waiting = tokio::spawn(async move { theirs.acquire().wait(secs(20)).await });
    sleep(ms(50)).await;
    assert!(!waiting.is_finished());
    first.release().await.expect("there");
    let second = waiting.await.expect("joins").expect("given back");
    assert_eq!(ours.available_permits().await.expect("answered"), 1);
    second.release().await.expect("there");
    assert_eq!(ours.drain_permits().await.expect("answered"), 2);
}

async fn a_latch_opens_for_all_at_zero(rig: Rig) {
    let (one, other) = (rig.client().await, rig.client().await);
    let (ours, theirs) = (one.count_down_latch("l"), other.count_down_latch("l"));
    assert!(ours.try_set_count(2).await.expect("answered"));
    let waiting = [(); 3].map(|()| {
        let latch = theirs.clone();
        tokio::spawn(async move { latch.wait().await })
    });
    ours.count_down().await.expect("closed");
    sleep(ms(50)).await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    ours.count_down().await.expect("closed");
    for waiting in waiting {
        waiting.await.expect("joins").expect("open");
    }
    assert_eq!(theirs.count().await.expect("answered"), 0);
}

async fn a_multi_lock_has_all_or_none(rig: Rig) {
    let (one, other) = (rig.client().await, rig.client().await);
    let busy = other.lock("b").lock().await.expect("free");
    let both = MultiLock::new([
        AnyLock::from(one.lock("a")),
        AnyLock::from(one.fenced_lock("b")),
    ])
    .expect("two members");
    let late = both.lock().wait(ms(200)).await;
    assert!(
        matches!(&late, Err(error) if error.is_timeout()),
        "{late:?}"
    );
    assert!(!one.rlock("a").is_locked().await.expect("answered"));
    busy.unlock().await.expect("held");
    let guard = both.lock().await.expect("free");
    assert!(
        other
            .lock("a")
            .try_lock()
            .await
            .expect("answered")
            .is_none()
    );
    guard.unlock().await.expect("held");
}

async fn a_lock_that_is_freed_by_force_is_told_to_its_holder(rig: Rig) {
    let one = rig.client_with(|builder| builder.watchdog_timeout(ms(600)));
    let (one, other) = (one.await, rig.client().await);
    let guard = one.lock("n").lock().await.expect("free");
    assert!(other.rlock("n").force_unlock().await.expect("answered"));
    assert!(!other.rlock("n").force_unlock().await.expect("answered"));
    assert_eq!(guard.lost().await, LossCause::Vanished);
}

async fn a_lock_looked_at_from_outside_shows_holder_and_waiters(rig: Rig) {
    let (one, other) = (rig.client().await, rig.client().await);
    let free = other.inspect("n").await.expect("answered");
    assert!(!free.is_locked() && free.ttl.is_none());
    let guard = one.lock("n").lock().await.expect("free");
    let waiting = waits(&other, other.lock("n")).await;
    let seen = one.inspect("n").await.expect("answered");
    assert_eq!(seen.holders.len(), 1);
    assert_eq!(seen.holders[0].id, guard.owner_id());
    assert_eq!((seen.holders[0].holds, seen.waiting_clients), (1, 1));
    assert!(seen.ttl.expect("it has one") > secs(20), "{seen:?}");
    guard.unlock().await.expect("held");
    granted(waiting).await.unlock().await.expect("held");
}

async fn what_is_no_lock_is_refused(rig: Rig) {
    let client = rig.client().await;
    let semaphore = client.semaphore("n");
    assert!(semaphore.try_set_permits(1).await.expect("answered"));
    let refused = client.lock("n").try_lock().await;
    assert!(
        matches!(refused, Err(Error::WrongType { .. })),
        "{refused:?}"
    );
    let refused = client.lock("").try_lock().await;
    assert!(
        matches!(refused, Err(Error::InvalidArgument { .. })),
        "{refused:?}"
    );
}

async fn a_lock_that_is_taken_away_is_told_to_its_holder(rig: Rig) {
    let client = rig.client_with(|builder| builder.watchdog_timeout(ms(600)));
    let client = client.await;
    let guard = client.lock("n").lock().await.expect("free");
    let begun = Instant::now();
    assert!(rig.lose_lock_now("n").await);
    assert!(!rig.lose_lock_now("n").await);
    let stopped = guard.run(std::future::pending::<()>()).await;
    assert!(
        matches!(
            stopped,
            Err(Error::Lost {
                cause: LossCause::Vanished,
                ..
            })
        ),
        "{stopped:?}"
    );
    assert!(begun.elapsed() < ms(600), "{:?}", begun.elapsed());
}

async fn no_lock_is_lost_with_the_connections_and_waiters_are_heard_again(rig: Rig) {
    let (one, other) = (rig.client().await, rig.client().await);
    let guard = one.lock("n").lock().await.expect("free");
    let waiting = waits(&other, other.lock("n")).await;
    let connects = other.stats().connects;
    rig.cut_connections().await;
    let begun = Instant::now();
    while other.stats().connects == connects {
        assert!(begun.elapsed() < secs(10), "it connects again");
        sleep(ms(2)).await;
    }
    assert!(!guard.is_lost() && !waiting.is_finished());
    guard.unlock().await.expect("held");
    granted(waiting).await.unlock().await.expect("held");
}

async fn a_short_silence_only_makes_things_late(rig: Rig) {
    let client = rig.client().await;
    let guard = client.lock("held").lock().await.expect("free");
    rig.silence(ms(700)).await;
    let begun = Instant::now();
    let late = client.lock("n").lock().await.expect("free");
    assert!(begun.elapsed() >= ms(600), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < secs(3), "{:?}", begun.elapsed());
    late.unlock().await.expect("held");
    guard.unlock().await.expect("held");
}

async fn closing_gives_everything_back(rig: Rig) {
    let (one, other) = (rig.client().await, rig.client().await);
    let guard = one.lock("n").lock().await.expect("free");
    let report = one.close(secs(5)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    assert_eq!(guard.lost().await, LossCause::Closed);
    drop(guard);
    eventually_async("its tables are empty", secs(10), async || {
        one.residue() == NOTHING_LEFT
    })
    .await;
    let next = other.lock("n").try_lock().await.expect("answered");
    next.expect("free").unlock().await.expect("held");
    let closed = one.lock("n").try_lock().await;
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
}
