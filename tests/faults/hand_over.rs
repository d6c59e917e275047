//! What goes wrong while a lock goes from hand to hand.

use redlatch::{Client, Kind, Lock, LockGuard, Owner, Result};
use redlatch_support::{Action, Rule, eventually_async};
use tokio::task::JoinHandle;

use crate::kit::{Rig, Through, ms, secs};

/// Somebody else of the holder's process, who waits for the lock and sleeps.
async fn asleep_behind<K: Kind>(rig: &Rig, lock: &Lock<K>) -> JoinHandle<Result<LockGuard<K>>> {
    let next = lock.with_owner(Owner::fresh());
    let waiting = tokio::spawn(async move { next.lock().wait(secs(20)).await });
    eventually_async("it sleeps", secs(5), async || {
        rig.holder.residue().contains("sleepers: 1,")
    })
    .await;
    waiting
}

/// The script that passes a lock on is lost, or its reply: both ends are known, and one of them has the lock.
async fn a_lost_hand_over_is_found_out<K: Kind>(lock: impl Fn(&Client, &str) -> Lock<K>) {
    for action in [
        Action::StallReplies,
        Action::CutAfterForward,
        Action::CutBeforeForward,
    ] {
        let rig = Rig::with(Through::Holder, |builder| {
            builder.command_timeout(secs(1)).local_hand_over(64, ms(5))
        })
        .await;
        let lock = lock(&rig.holder, "passed");
        for round in 0..3 {
            let guard = lock.lock().await.expect("free");
            let waiting = asleep_behind(&rig, &lock).await;
            // The first time loads the script.
            let rule = (round > 0).then(|| {
                rig.proxy
                    .rule(Rule::new("EVALSHA").action(action.clone()).times(1))
            });
            guard.unlock().await.expect("found to have worked");
            let guard = waiting.await.expect("joins").expect("granted");
            assert!(rule.is_none_or(|rule| rule.hits() == 1));
            let holds = rig.direct().hgetall("passed");
            assert_eq!(holds.len(), 1, "{action:?}: {holds:?}");
            assert_eq!(holds[&guard.owner_id()], "1");
            assert!(!guard.is_lost());
            guard.unlock().await.expect("held");
            let direct = rig.direct();
            eventually_async("it is free", secs(5), async || !direct.exists("passed")).await;
        }
        rig.end().await;
    }
}

/// The one it was passed to has left before the server answers: nobody keeps it.
async fn goes_on_where_the_next_has_left<K: Kind>(
    lock: impl Fn(&Client, &str) -> Lock<K>,
    sleepers: &str,
) {
    let rig = Rig::with(Through::Holder, |builder| {
        builder.local_hand_over(64, ms(5))
    })
    .await;
    let lock = lock(&rig.holder, "left");
    for round in 0..2 {
        let guard = lock.lock().await.expect("free");
        let waiting = [(); 2].map(|()| {
            let next = lock.with_owner(Owner::fresh());
            tokio::spawn(async move { next.lock().wait(secs(20)).await })
        });
        eventually_async("both wait", secs(5), async || {
            let there = rig.holder.inspect("left").await.expect("answers");
            there.waiting_here == 2 && rig.holder.residue().contains(sleepers)
        })
        .await;
        let [first, second] = waiting;
        let rule = (round > 0).then(|| {
            rig.proxy.rule(
                Rule::new("EVALSHA")
                    .action(Action::DelayReply(ms(300)))
                    .times(1),
            )
        });
        let releasing = tokio::spawn(guard.unlock());
        if let Some(rule) = &rule {
            eventually_async("it is on its way", secs(5), async || rule.hits() == 1).await;
            first.abort();
        } else {
            let first = first.await.expect("joins").expect("granted");
            first.unlock().await.expect("held");
        }
        releasing.await.expect("joins").expect("held");
        let guard = second.await.expect("joins").expect("granted");
        assert_eq!(rig.direct().hgetall("left")[&guard.owner_id()], "1");
        guard.unlock().await.expect("held");
        let direct = rig.direct();
        eventually_async("it is free", secs(5), async || !direct.exists("left")).await;
    }
    assert_eq!(rig.holder.stats().orphans_released, 1);
    rig.end().await;
}

/// The lease it waits for ends while the lock is on its way to it: it waits for the outcome, and nothing is given back.
#[tokio::test]
async fn who_is_being_given_a_fair_lock_does_not_ask_for_it() {
    let rig = Rig::with(Through::Holder, |builder| {
        builder.local_hand_over(64, ms(5))
    })
    .await;
    let lock = rig.holder.non_reentrant_fair_lock("given");
    for round in 0..2 {
        let guard = lock.lock().lease(secs(2)).await.expect("free");
        let waiting = asleep_behind(&rig, &lock).await;
        let rule = (round > 0).then(|| {
            let late = Rule::new("EVALSHA").action(Action::DelayReply(ms(2_500)));
            rig.proxy.rule(late.times(1))
        });
        guard.unlock().await.expect("held");
        let guard = waiting.await.expect("joins").expect("granted");
        assert!(rule.is_none_or(|rule| rule.hits() == 1));
        guard.unlock().await.expect("held");
    }
    let stats = rig.holder.stats();
    assert_eq!((stats.hand_overs, stats.orphans_released), (2, 0));
    assert!(!rig.direct().exists("given"));
    rig.end().await;
}

/// The hold that is given back was gone: the caller hears of it, and the next one asks for itself.
async fn a_lock_that_is_gone_cannot_be_passed_on<K: Kind>(lock: impl Fn(&Client, &str) -> Lock<K>) {
    let rig = Rig::with(Through::Holder, |builder| {
        builder.local_hand_over(64, ms(5))
    })
    .await;
    let lock = lock(&rig.holder, "gone");
    let guard = lock.lock().await.expect("free");
    let waiting = asleep_behind(&rig, &lock).await;
    rig.direct().cmd(&["DEL", "gone"]);
    let lost = guard.unlock().await.expect_err("it was gone");
    assert!(lost.is_lost(), "{lost}");
    let guard = waiting.await.expect("joins").expect("granted");
    assert_eq!(rig.holder.stats().hand_overs, 0);
    guard.unlock().await.expect("held");
    rig.end().await;
}

macro_rules! of_every_order {
    ($($test:ident)+) => {
        /// Of locks whose waiters stand in one line of the process.
        mod in_line {
            $(#[tokio::test]
            async fn $test() {
                super::$test(|client, name| client.lock(name)).await;
            })+
        }

        /// Of locks whose order the server keeps.
        mod in_order {
            $(#[tokio::test]
            async fn $test() {
                super::$test(|client, name| client.fair_lock(name)).await;
            })+
        }
    };
}

#[tokio::test]
async fn a_lock_passed_to_one_who_left_goes_on() {
    // Of a line, its head alone sleeps.
    goes_on_where_the_next_has_left(|client, name| client.lock(name), "sleepers: 1,").await;
}

#[tokio::test]
async fn a_fair_lock_passed_to_one_who_left_goes_on() {
    goes_on_where_the_next_has_left(|client, name| client.fair_lock(name), "sleepers: 2,").await;
}

of_every_order! {
    a_lost_hand_over_is_found_out
    a_lock_that_is_gone_cannot_be_passed_on
}
