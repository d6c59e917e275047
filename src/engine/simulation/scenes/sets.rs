//! All of several locks.

use std::sync::Arc;

use tokio::{sync::Semaphore, time::sleep};

use super::{
    super::stage::{Fate, Hand, Stage},
    ACQUIRE, RELEASE, ms, secs, settings,
};
use crate::{
    error::{Error, Refusal},
    lock::MultiLock,
    owner::Owner,
};

/// One server with two names, and a client of its own for each: the set takes them in the order `a`, `b`.
fn two() -> (Arc<Stage>, [Arc<Hand>; 2], MultiLock) {
    let stage = Stage::new();
    let ((one, a), (two, b)) = (stage.client(settings()), stage.client(settings()));
    let set = MultiLock::new([one.lock("a"), two.lock("b")]).expect("two of them");
    let set = set.with_owner(Owner::explicit(1).expect("small"));
    (stage, [a, b], set)
}

#[tokio::test(start_paused = true)]
async fn a_try_asks_a_busy_member_once() {
    let (stage, [_, b], set) = two();
    let (other, _) = stage.client(settings());
    let busy = other.lock("b").lock().await.expect("free");
    assert!(set.try_lock().await.expect("answers").is_none());
    assert_eq!(b.asked(ACQUIRE).len(), 1);
    assert_eq!(stage.holders("a"), 0, "given back");
    busy.unlock().await.expect("held");
}

#[tokio::test(start_paused = true)]
async fn a_set_whose_lease_cannot_be_set_is_not_taken() {
    let (stage, [_, b], set) = two();
    b.next(RELEASE, Fate::Refused(Refusal::NoPermission));
    let error = set.lock().lease(secs(5)).await.expect_err("refused");
    let refused = matches!(
        error,
        Error::Refused {
            refusal: Refusal::NoPermission,
            ..
        }
    );
    assert!(refused, "{error}");
    sleep(ms(100)).await;
    assert_eq!((stage.holders("a"), stage.holders("b")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_set_that_loses_a_member_while_it_is_taken_is_taken_anew() {
    let (stage, [_, b], set) = two();
    let permits = Arc::new(Semaphore::new(0));
    b.next(ACQUIRE, Fate::Held(permits.clone()));
    let taking = tokio::spawn(async move { set.lock().lease(secs(5)).await });
    b.until_asked(ACQUIRE, 1).await;
    stage.forget("a");
    permits.add_permits(1);
    let guard = taking.await.expect("joins").expect("both, in the end");
    assert!(!guard.is_lost());
    assert_eq!((stage.holders("a"), stage.holders("b")), (1, 1));
    for name in ["a", "b"] {
        assert!((4_900..=5_000).contains(&stage.left(name)), "{name}");
    }
    guard.unlock().await.expect("held");
}

/// Somebody who takes the same two in another order, and has one of them whenever this set has the other.
#[tokio::test(start_paused = true)]
async fn members_are_kept_for_longer_the_more_often_that_was_too_short() {
    let (stage, hands, set) = two();
    let (other, _) = stage.client(settings());
    let names = ["a", "b"];
    let mut busy = other.lock("b").lock().await.expect("free");
    let waiting = tokio::spawn(async move { set.lock().await });
    let mut kept = Vec::new();
    for round in 0..30 {
        let mine = round % 2;
        let releases = round / 2 + 1;
        hands[mine].until_asked(RELEASE, releases).await;
        let asked = hands[mine].asked(ACQUIRE);
        let took = hands[mine].asked(RELEASE)[releases - 1] - *asked.last().expect("asked");
        kept.push(took);
        // Now the set waits for the other one with empty hands.
        let free = other.lock(names[mine]).lock().await.expect("free");
        busy.unlock().await.expect("held");
        busy = free;
        assert_eq!(stage.holders(names[mine]), 1);
    }
    let longest = |of: std::ops::Range<usize>| kept[of].iter().max().copied();
    let shortest = |of: std::ops::Range<usize>| kept[of].iter().min().copied();
    assert!(longest(0..6) < Some(ms(40)), "{kept:?}");
    assert!(shortest(12..18) > Some(ms(70)), "{kept:?}");
    assert!(shortest(24..30) > Some(ms(290)), "{kept:?}");
    busy.unlock().await.expect("held");
    let guard = waiting.await.expect("joins").expect("both");
    guard.unlock().await.expect("held");
}
