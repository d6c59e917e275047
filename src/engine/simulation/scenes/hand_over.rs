//! A lock that goes from hand to hand in one process.

use std::sync::atomic::Ordering;

use tokio::time::sleep;

use super::{
    super::stage::Stage, PASS, RELEASE, call, counted, fenced, granted, lock, ms, passing, slot,
    waits,
};
use crate::{engine::hold::Lease, error::Error, lock::Reentrant};

#[tokio::test(start_paused = true)]
async fn after_so_many_passes_it_goes_through_the_server_and_then_by_hand_again() {
    let stage = Stage::new();
    let (client, hand) = stage.client(passing(1));
    let mut guard = lock(&client, 1).lock().await.expect("free");
    let mut waiting = Vec::new();
    for number in 2..=5 {
        waiting.push(waits(&lock(&client, number)).await);
    }
    let mut passed = Vec::new();
    for next in waiting {
        let before = hand.asked(PASS).len();
        guard.unlock().await.expect("held");
        guard = granted(next).await;
        passed.push(hand.asked(PASS).len() - before);
    }
    assert_eq!(passed, [1, 0, 1, 0]);
    assert_eq!(client.stats().hand_overs, 2);
}

#[tokio::test(start_paused = true)]
async fn a_plain_lock_goes_from_hand_to_hand_where_masters_change_and_a_fenced_one_does_not() {
    let stage = Stage::new();
    let (client, hand) = stage.client(passing(64));
    hand.fails_over.store(true, Ordering::Release);
    let guard = lock(&client, 1).lock().await.expect("free");
    let next = waits(&lock(&client, 2)).await;
    guard.unlock().await.expect("held");
    granted(next).await.unlock().await.expect("held");
    assert_eq!(client.stats().hand_overs, 1);
    let guard = fenced(&client, 1).lock().await.expect("free");
    let next = waits(&fenced(&client, 2)).await;
    guard.unlock().await.expect("held");
    assert_eq!(granted(next).await.grant().get(), 2);
    assert_eq!(client.stats().hand_overs, 1, "numbers may fall");
}

/// The counter goes while the lock is held: the next number would be one that was given before.
#[tokio::test(start_paused = true)]
async fn a_number_that_falls_is_noticed_in_passing() {
    let stage = Stage::new();
    let (client, hand) = stage.client(passing(64));
    for _ in 0..3 {
        let guard = fenced(&client, 1).lock().await.expect("free");
        guard.unlock().await.expect("held");
    }
    let guard = fenced(&client, 1).lock().await.expect("free");
    assert_eq!(guard.grant().get(), 4);
    let next = waits(&fenced(&client, 2)).await;
    stage.forget("redisson_lock_token:{n}");
    guard.unlock().await.expect("held");
    let error = next.await.expect("joins").expect_err("1 was given before");
    let seen = matches!(error, Error::FencingReset { seen: 4, .. });
    assert!(seen, "{error}");
    assert_eq!(hand.asked("fenced/pass").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_passed_to_one_of_whom_something_is_held_or_in_doubt() {
    for doubt in [false, true] {
        let stage = Stage::new();
        let (client, hand) = stage.client(passing(64));
        let guard = lock(&client, 1).lock().await.expect("free");
        let next = waits(&lock(&client, 2)).await;
        let slot = slot(&client, &call::<Reentrant>(&client, 2));
        let begun = slot.begin(Lease::Watched, 1_000, ms(30_000));
        if doubt {
            slot.unknown(ms(0));
        } else {
            let now = tokio::time::Instant::now();
            slot.granted(&begun, 1_001, now, 1, 1_002, false);
        }
        let (passed, freed) = counted(&hand, PASS, guard.unlock()).await;
        freed.expect("held");
        assert_eq!(passed, 0, "{doubt}");
        drop(slot);
        drop(granted(next).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_of_which_something_is_in_doubt_is_freed_and_not_passed_on() {
    let stage = Stage::new();
    let (client, hand) = stage.client(passing(64));
    let guard = lock(&client, 1).lock().await.expect("free");
    let next = waits(&lock(&client, 2)).await;
    let slot = slot(&client, &call::<Reentrant>(&client, 1));
    slot.unknown(ms(0));
    let (passed, freed) = counted(&hand, PASS, guard.unlock()).await;
    freed.expect("held");
    assert_eq!((passed, hand.asked(RELEASE).len()), (0, 1));
    drop(granted(next).await);
}

/// The first of an owner is let in, and the second with it, past another who was there before.
#[tokio::test(start_paused = true)]
async fn others_of_an_owner_enter_with_it() {
    let stage = Stage::new();
    let (other, _) = stage.client(passing(0));
    let (client, _) = stage.client(passing(64));
    let held = lock(&other, 1).lock().await.expect("free");
    let first = waits(&lock(&client, 2)).await;
    let stranger = waits(&lock(&client, 3)).await;
    let second = waits(&lock(&client, 2)).await;
    held.unlock().await.expect("held");
    let (first, second) = (granted(first).await, granted(second).await);
    assert!(!stranger.is_finished());
    assert_eq!(stage.holders("n"), 1);
    first.unlock().await.expect("held");
    second.unlock().await.expect("held");
    drop(granted(stranger).await);
    sleep(ms(1)).await;
}
