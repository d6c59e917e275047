//! Giving back, and what is said again.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::time::sleep;

use super::{
    super::stage::{Fate, NODE, Stage},
    ACQUIRE, RELEASE, call, lock, ms, owner, secs, settings, slot,
};
use crate::{
    engine::{
        protocol::Call,
        registry::NameRef,
        transport::{Reply, Signal},
    },
    error::{Error, LossCause, Refusal},
    events::{Event, Events},
    lock::{Group, Read, Reentrant, Write},
};

#[tokio::test(start_paused = true)]
async fn a_new_master_hears_of_the_last_releases_once_and_of_old_ones_not_at_all() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    hand.fails_over.store(true, Ordering::Release);
    let take = async |name: &'static str| {
        let guard = client.lock(name).lock().await.expect("free");
        guard.unlock().await.expect("held");
    };
    let gone = async || {
        let before = hand.asked(RELEASE).len();
        hand.tell(Signal::Gone { node: NODE });
        sleep(secs(1)).await;
        hand.asked(RELEASE).len() - before
    };
    take("a").await;
    take("b").await;
    take("a").await;
    assert_eq!(gone().await, 2);
    assert_eq!(gone().await, 0, "said");
    take("a").await;
    sleep(secs(61)).await;
    assert_eq!(gone().await, 0, "long ago");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_is_found_out_by_the_last_one_who_uses_it() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let slot = slot(&client, &call::<Reentrant>(&client, 1));
    let other = slot.clone();
    slot.unknown(secs(30));
    drop(slot);
    sleep(ms(10)).await;
    assert_eq!(hand.asked(RELEASE), [], "somebody still looks after it");
    drop(other);
    sleep(ms(10)).await;
    assert_eq!(hand.asked(RELEASE).len(), 1);
    assert_eq!(client.engine().residue().names, 0);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_finds_something_else_was_lost_before() {
    let stage = Stage::new();
    let (client, _) = stage.client(settings());
    let guard = lock(&client, 1).lock().await.expect("free");
    stage.server().spoil(&Bytes::from_static(b"n"));
    let error = guard.unlock().await.expect_err("it is no lock");
    let lost = matches!(
        error,
        Error::Lost {
            cause: LossCause::Vanished,
            ..
        }
    );
    assert!(lost, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_last_release_that_is_refused_is_an_error() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let guard = lock(&client, 1).lock().await.expect("free");
    hand.next(RELEASE, Fate::Refused(Refusal::OutOfMemory));
    let error = guard.unlock().await.expect_err("it is still there");
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_release_is_tried_again_more_and_more_gently() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let guard = lock(&client, 1).lock().await.expect("free");
    hand.always(RELEASE, Fate::Refused(Refusal::NoReplicas));
    drop(guard);
    sleep(secs(10)).await;
    let tries = hand.asked(RELEASE).len();
    assert!((10..=50).contains(&tries), "{tries}");
    hand.always(RELEASE, Fate::Answered);
    sleep(secs(1)).await;
    assert_eq!(stage.holders("n"), 0);
}

fn unheard(events: &mut Events) -> usize {
    let mut unheard = 0;
    while let Some(Some(event)) = events.next().now_or_never() {
        unheard += usize::from(matches!(event, Event::WakeUpRefused { .. }));
    }
    unheard
}

#[tokio::test(start_paused = true)]
async fn whoever_frees_by_force_is_told_that_nobody_could_hear_it() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let mut events = client.events();
    let lock = lock(&client, 1);
    let raw = lock.raw();
    raw.lock().await.expect("free");
    assert!(raw.force_unlock().await.expect("answers"));
    assert_eq!(unheard(&mut events), 0);
    raw.lock().await.expect("free");
    hand.next("reentrant/force_release", Fate::Answers(Reply::Int(2)));
    assert!(raw.force_unlock().await.expect("answers"));
    assert_eq!(unheard(&mut events), 1);
}

#[tokio::test(start_paused = true)]
async fn sets_of_one_owner_are_asked_about_one_after_the_other_and_nothing_else_is() {
    let stage = Stage::new();
    let (client, _) = stage.client(settings());
    let set = |number, values: &'static str| Call {
        field: format!("u:{number}|{values}").into(),
        values: Some([].into()),
        ..call::<Group>(&client, number)
    };
    let name = NameRef::get(client.engine(), &Bytes::from_static(b"n"));
    let slots = [
        name.slot(&set(1, "a b")),
        name.slot(&set(1, "b c")),
        name.slot(&set(2, "a b")),
        name.slot(&call::<Read>(&client, 1)),
        name.slot(&call::<Write>(&client, 1)),
        name.slot(&call::<Read>(&client, 2)),
    ];
    assert_eq!(slots[3].call.owner, owner(1));
    for (at, one) in slots.iter().enumerate() {
        for (other_at, other) in slots.iter().enumerate().skip(at + 1) {
            let shared = std::sync::Arc::ptr_eq(&one.gate, &other.gate);
            assert_eq!(shared, (at, other_at) == (0, 1), "{at} and {other_at}");
        }
    }
}

/// It leaves between two tries, while somebody else still uses the same.
#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_is_found_out_when_its_caller_leaves() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let _guard = lock(&client, 1).lock().await.expect("free");
    hand.next(ACQUIRE, Fate::ReplyLost);
    let again = lock(&client, 1).lock();
    let outcome = again.wait(settings().command_timeout + ms(5)).await;
    outcome.expect_err("in doubt");
    let holds = || {
        let fields = stage.server().fields(&Bytes::from_static(b"n"));
        fields.into_values().collect::<Vec<_>>()
    };
    assert_eq!(holds(), ["2"]);
    sleep(ms(20)).await;
    assert_eq!(holds(), ["1"]);
}
