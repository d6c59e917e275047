//! Who is granted a lock, by whom, and who has to stand in line for it.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::{
    sync::Semaphore,
    time::{advance, sleep},
};

use super::{
    super::stage::{Fate, Hand, NODE, Stage},
    ACQUIRE, call, counted, fenced, granted, ints, lock, ms, owner, secs, settings, slot, waits,
};
use crate::{
    client::Client,
    engine::transport::{Reply, Signal},
    events::{Event, Events},
    lock::{Fenced, ReadWriteLock},
};

const READ: &str = "read/acquire";

fn message(channel: &'static str) -> Signal {
    Signal::Message {
        channel: Bytes::from_static(channel.as_bytes()),
        payload: Bytes::from_static(b"0"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_by_a_master_that_was_replaced_meanwhile_does_not_count() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let answered = Arc::new(Semaphore::new(0));
    hand.next(ACQUIRE, Fate::Held(answered.clone()));
    let waiting = waits(&lock(&client, 1)).await;
    // The new one has not heard of it.
    stage.forget("n");
    let (other, _) = stage.client(settings());
    let theirs = lock(&other, 2).lock().await.expect("free");
    hand.tell(Signal::Gone { node: NODE });
    answered.add_permits(1);
    sleep(secs(1)).await;
    assert!(!waiting.is_finished(), "two have it");
    theirs.unlock().await.expect("held");
    drop(granted(waiting).await);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_had_to_be_found_out_has_a_token_of_its_own() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    // What this process knows of the owner outlives the first hold.
    let _known = slot(&client, &call::<Fenced>(&client, 1));
    let guard = fenced(&client, 1).lock().await.expect("free");
    let first = guard.token();
    guard.unlock().await.expect("held");
    hand.next("fenced/acquire", Fate::ReplyLost);
    let guard = fenced(&client, 1).lock().await.expect("found out");
    assert!(guard.token() > first, "{:?} {first:?}", guard.token());
}

#[tokio::test(start_paused = true)]
async fn a_hold_whose_time_is_over_lets_nobody_past_the_line() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let lapsed = lock(&client, 1).lock().lease(secs(1));
    let _lapsed = lapsed.await.expect("free");
    sleep(secs(2)).await;
    let (other, _) = stage.client(settings());
    let theirs = lock(&other, 9).lock().await.expect("free");
    let head = waits(&lock(&client, 2)).await;
    let (asked, behind) = counted(&hand, ACQUIRE, waits(&lock(&client, 1))).await;
    assert_eq!(asked, 0, "the head asks");
    theirs.unlock().await.expect("held");
    drop(granted(head).await);
    drop(granted(behind).await);
}

fn late(events: &mut Events) -> usize {
    let mut late = 0;
    while let Some(Some(event)) = events.next().now_or_never() {
        late += usize::from(matches!(event, Event::AcquiredLate { .. }));
    }
    late
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_took_a_third_of_its_lease_is_told_and_no_other() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let mut events = client.events();
    for took in [ms(1_500), ms(2_500)] {
        let answered = Arc::new(Semaphore::new(0));
        hand.next(ACQUIRE, Fate::Held(answered.clone()));
        let waiting = tokio::spawn({
            let lock = lock(&client, 1);
            async move { lock.lock().lease(secs(6)).await }
        });
        sleep(took).await;
        answered.add_permits(1);
        let guard = granted(waiting).await;
        assert_eq!(late(&mut events), usize::from(took > secs(2)), "{took:?}");
        guard.unlock().await.expect("held");
    }
}

/// By a clock that stands still: it does not even sleep for nothing.
#[tokio::test(start_paused = true)]
async fn a_message_is_followed_at_once() {
    let stage = Stage::new();
    let (other, _) = stage.client(settings());
    let _theirs = lock(&other, 9).lock().await.expect("free");
    let (client, hand) = stage.client(settings());
    let _waiting = waits(&lock(&client, 1)).await;
    advance(std::time::Duration::from_micros(300)).await;
    let asked = async {
        hand.tell(message("redisson_lock__channel:{n}"));
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    };
    let (asked, ()) = counted(&hand, ACQUIRE, asked).await;
    assert_eq!(asked, 1);
}

/// A client before a lock that others read and write, as the server says.
fn before_a_busy_side(stage: &Arc<Stage>) -> (Client, Arc<Hand>) {
    let (client, hand) = stage.client(settings());
    hand.always("write/acquire", Fate::Says(ints(&[1, 1])));
    hand.always(READ, Fate::Says(ints(&[0, 1_000_000])));
    hand.always("probe/read", Fate::Says(ints(&[1_000_000])));
    for release in ["write/release", "read/release"] {
        hand.always(release, Fate::Says(Reply::Int(1)));
    }
    (client, hand)
}

fn side(client: &Client, number: u64) -> ReadWriteLock {
    client.read_write_lock("rw").with_owner(owner(number))
}

#[tokio::test(start_paused = true)]
async fn a_writer_reads_without_standing_in_line_for_as_long_as_it_writes() {
    for lapsed in [false, true] {
        let stage = Stage::new();
        let (client, hand) = before_a_busy_side(&stage);
        let writer = side(&client, 1);
        let lease = secs(if lapsed { 1 } else { 60 });
        let write = writer.write_lock().lock().lease(lease).await;
        let write = write.expect("free");
        sleep(secs(2)).await;
        let reader = waits(side(&client, 2).read_lock()).await;
        hand.next(READ, Fate::Says(ints(&[1, 1])));
        let (asked, own) = counted(&hand, READ, waits(writer.read_lock())).await;
        assert_eq!(asked, usize::from(!lapsed), "the head asks");
        assert_eq!(own.is_finished(), !lapsed);
        assert!(!reader.is_finished());
        for guard in [own.now_or_never()].into_iter().flatten() {
            guard.expect("joins").expect("granted").forget();
        }
        write.forget();
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_lets_all_ask_at_once_who_want_to() {
    let stage = Stage::new();
    let (client, hand) = before_a_busy_side(&stage);
    let mut readers = Vec::new();
    for number in 1..=4 {
        readers.push(waits(side(&client, number).read_lock()).await);
    }
    hand.next(READ, Fate::Says(ints(&[1, 1])));
    let answered = Arc::new(Semaphore::new(0));
    hand.always(READ, Fate::SaysWhen(answered.clone(), ints(&[1, 1])));
    let (asked, ()) = counted(&hand, READ, async {
        hand.tell(message("redisson_rwlock:{rw}"));
        sleep(ms(20)).await;
    })
    .await;
    assert_eq!(asked, 4);
    answered.add_permits(3);
    for reader in readers {
        granted(reader).await.forget();
    }
}

#[tokio::test(start_paused = true)]
async fn names_of_different_slots_are_looked_at_apart() {
    let stage = Stage::new();
    let (other, _) = stage.client(settings());
    let (client, hand) = stage.client(settings());
    hand.has_slots.store(true, Ordering::Release);
    let names = ["a", "b", "c"];
    let (mut theirs, mut waiting) = (Vec::new(), Vec::new());
    for name in names {
        theirs.push(other.lock(name).lock().await.expect("free"));
        waiting.push(waits(&client.lock(name)).await);
    }
    hand.mute();
    for guard in theirs {
        guard.unlock().await.expect("held");
    }
    sleep(secs(4)).await;
    for waiting in waiting {
        assert!(waiting.is_finished(), "nobody looks at it");
        drop(granted(waiting).await);
    }
}
