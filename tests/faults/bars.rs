//! The bars B1 to B9 and B12: what a JVM client was measured to do, done better.

use std::time::Instant;

use redlatch::{Error, Event, LossCause};
use redlatch_support::{Action, Rule, eventually_async};

use crate::kit::{Rig, Through, Waiting, event, ms, secs, within};

#[tokio::test]
async fn b1_a_release_while_the_subscription_is_down_is_noticed() {
    let rig = Rig::new(Through::Waiter).await;
    let (guard, waiting) = rig.contended("b1").await;
    rig.direct()
        .cmd(&["CLIENT", "KILL", "TYPE", "pubsub"])
        .accepted();
    guard.unlock().await.expect("held");
    let released = Instant::now();
    let (guard, granted) = waiting.granted().await;
    within("B1, wake-up", granted - released, secs(1));
    guard.unlock().await.expect("held");
    rig.end().await;
}

#[tokio::test]
async fn b2_a_dropped_message_costs_two_seconds_at_most() {
    let rig = Rig::new(Through::Waiter).await;
    let mut events = rig.waiter.events();
    let (guard, waiting) = rig.contended("b2").await;
    let dropped = rig.proxy.drop_messages(None, 1);
    guard.unlock().await.expect("held");
    let released = Instant::now();
    let (guard, granted) = waiting.granted().await;
    assert_eq!(dropped.hits(), 1);
    within("B2, wake-up", granted - released, secs(2));
    assert_eq!(rig.waiter.stats().wakeups_by_poll, 1);
    event(&mut events, secs(1), |event| {
        matches!(event, Event::WakeUpMissed { .. })
    })
    .await;
    guard.unlock().await.expect("held");
    rig.end().await;
}

#[tokio::test]
async fn b3_a_flush_lets_the_waiter_in_and_tells_the_holder() {
    let rig = Rig::with(Through::Waiter, |builder| builder.watchdog_timeout(secs(3))).await;
    let (guard, waiting) = rig.contended("b3").await;
    rig.direct().flushall();
    let flushed = Instant::now();
    let (second, granted) = waiting.granted().await;
    within("B3, grant after the flush", granted - flushed, secs(2));
    let cause = guard.lost().await;
    within("B3, holder told", flushed.elapsed(), ms(1_500));
    assert!(
        matches!(cause, LossCause::TakenOver | LossCause::Vanished),
        "{cause}"
    );
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    second
        .unlock()
        .await
        .expect("the new holder's lock is untouched");
    rig.end().await;
}

#[tokio::test]
async fn b4_a_restart_without_data_lets_the_waiter_in_and_tells_the_holder() {
    let rig = Rig::with(Through::Waiter, |builder| {
        builder.watchdog_timeout(secs(30))
    })
    .await;
    let (guard, waiting) = rig.contended("b4").await;
    rig.server.kill();
    // The outage itself: as long as in the figure to beat.
    tokio::time::sleep(ms(1_500)).await;
    rig.server.restart();
    let back = Instant::now();
    let (second, granted) = waiting.granted().await;
    within("B4, grant after the restart", granted - back, secs(2));
    guard.lost().await;
    within("B4, holder told after the restart", back.elapsed(), secs(3));
    drop(guard);
    second.unlock().await.expect("held");
    rig.end().await;
}

#[tokio::test]
async fn b5_every_way_to_lose_a_lock_is_told() {
    let watchdog = secs(3);
    let rig = Rig::with(Through::Holder, |builder| {
        builder.watchdog_timeout(watchdog)
    })
    .await;
    let direct = rig.direct();
    let limit = watchdog / 3 + ms(300);
    let told = async |what: &str, name: &str, expected: &[LossCause], fault: &dyn Fn()| {
        let mut events = rig.holder.events();
        let guard = rig.holder.lock(name).lock().await.expect("free");
        fault();
        let begun = Instant::now();
        let cause = guard.lost().await;
        within(
            &format!("B5, told that it was {what}"),
            begun.elapsed(),
            limit,
        );
        assert!(expected.contains(&cause), "{what}: {cause}");
        let lost = |event: &Event| matches!(event, Event::Lost { .. });
        event(&mut events, secs(1), lost).await;
        let error = guard.run(async {}).await.expect_err("work does not start");
        assert!(error.is_lost(), "{what}: {error}");
        assert!(guard.unlock().await.expect_err("lost").is_lost());
    };
    let gone = [LossCause::Vanished];
    told("deleted", "b5-del", &gone, &|| {
        drop(direct.cmd(&["DEL", "b5-del"]))
    })
    .await;
    told("flushed", "b5-flush", &gone, &|| direct.flushall()).await;
    told("overwritten", "b5-set", &gone, &|| {
        drop(direct.cmd(&["SET", "b5-set", "x"]))
    })
    .await;
    direct.cmd(&["DEL", "b5-set"]);
    told("taken over", "b5-other", &[LossCause::TakenOver], &|| {
        direct.cmd(&["DEL", "b5-other"]);
        direct.cmd(&["HSET", "b5-other", "somebody:1", "1"]);
    })
    .await;
    assert_eq!(
        direct.hgetall("b5-other").len(),
        1,
        "somebody's lock is untouched"
    );
    direct.cmd(&["DEL", "b5-other"]);
    rig.end().await;
}

#[tokio::test]
async fn b5_a_silent_server_is_told_by_the_local_clock() {
    let watchdog = secs(2);
    let rig = Rig::with(Through::Holder, |builder| {
        builder.watchdog_timeout(watchdog).command_timeout(ms(500))
    })
    .await;
    let mut events = rig.holder.events();
    let guard = rig.holder.lock("b5-silent").lock().await.expect("free");
    let deadline = guard.valid_until();
    rig.proxy.black_hole(true);
    event(&mut events, watchdog, |event| {
        matches!(event, Event::Suspect { .. })
    })
    .await;
    assert!(!guard.is_lost(), "suspect is not lost");
    assert_eq!(guard.lost().await, LossCause::Unreachable);
    let last = guard.valid_until().max(deadline);
    assert!(Instant::now() < last + ms(200), "told late");
    assert!(Instant::now() >= last, "told early");
    rig.proxy.black_hole(false);
    drop(guard);
    rig.end().await;
}

#[tokio::test]
async fn b6_a_lost_reply_to_a_release_costs_one_command_timeout() {
    for action in [Action::StallReplies, Action::CutAfterForward] {
        let rig = Rig::with(Through::Holder, |builder| builder.command_timeout(secs(1))).await;
        let outer = rig.holder.lock("b6").lock().await.expect("free");
        let inner = rig.holder.lock("b6").lock().await.expect("re-enters");
        let owner = inner.owner_id();
        for (guard, left) in [(inner, Some("1")), (outer, None)] {
            let rule = rig.proxy.rule(Rule::new("EVALSHA").action(action.clone()));
            let begun = Instant::now();
            guard
                .unlock()
                .await
                .expect("the release is found to have worked");
            within(
                "B6, unlock with a command timeout of 1 s",
                begun.elapsed(),
                ms(1_500),
            );
            assert_eq!(rule.hits(), 1);
            let counts = rig.direct().hgetall("b6");
            assert_eq!(counts.get(&owner).map(String::as_str), left);
        }
        rig.end().await;
    }
}

#[tokio::test]
async fn b7_a_lost_reply_to_an_acquire_is_found_out() {
    for action in [Action::StallReplies, Action::CutAfterForward] {
        let rig = Rig::with(Through::Holder, |builder| builder.command_timeout(secs(1))).await;
        let lock = rig.holder.lock("b7");
        // Loads the script, so that the rule meets the acquire itself.
        lock.lock()
            .await
            .expect("free")
            .unlock()
            .await
            .expect("held");
        rig.proxy.rule(Rule::new("EVALSHA").action(action.clone()));
        let outer = lock.lock().await.expect("granted all the same");
        assert_eq!(rig.direct().hgetall("b7")[&outer.owner_id()], "1");
        rig.proxy.rule(Rule::new("EVALSHA").action(action.clone()));
        let inner = lock.lock().await.expect("granted all the same");
        assert_eq!(
            rig.direct().hgetall("b7")[&outer.owner_id()],
            "2",
            "counted once"
        );
        assert!(rig.holder.stats().unknown_outcomes >= 2);
        inner.unlock().await.expect("held");
        outer.unlock().await.expect("held");

        // And for a caller that does not wait for the answer to come: nothing may stay behind.
        rig.proxy.rule(Rule::new("EVALSHA").action(action.clone()));
        let gone = lock.lock().wait(ms(100)).await;
        if let Ok(guard) = gone {
            guard.unlock().await.expect("held");
        }
        let direct = rig.direct();
        eventually_async("nobody holds it", secs(5), async || !direct.exists("b7")).await;
        rig.end().await;
    }
}

#[tokio::test]
async fn b8_a_stalled_server_costs_neither_the_wait_nor_an_orphan() {
    let rig = Rig::new(Through::Waiter).await;
    let (guard, waiting) = rig.contended("b8").await;
    rig.server.freeze();
    // The stall itself: as long as in the figure to beat.
    tokio::time::sleep(secs(5)).await;
    rig.server.thaw();
    guard.unlock().await.expect("held");
    let released = Instant::now();
    let (guard, granted) = waiting.granted().await;
    within("B8, grant after the release", granted - released, secs(2));
    guard.unlock().await.expect("held");
    rig.end().await;
}

#[tokio::test]
async fn b9_a_renewal_in_flight_never_costs_the_next_hold_its_watchdog() {
    let watchdog = ms(1_200);
    let rig = Rig::with(Through::Holder, |builder| {
        builder.watchdog_timeout(watchdog)
    })
    .await;
    let lock = rig.holder.lock("b9");
    let first = lock.lock().await.expect("free");
    // The renewal is answered only after the lock was given back and taken again.
    let held = rig.proxy.rule(
        Rule::new("EVALSHA")
            .args(|words| words.len() == 7 && words[3] == b"1200")
            .action(Action::HoldReply),
    );
    held.wait_hit(1).await;
    let again = tokio::spawn({
        let lock = lock.clone();
        async move {
            first.unlock().await.expect("held");
            lock.lock().await.expect("free")
        }
    });
    let direct = rig.direct();
    eventually_async("the unlock is on its way", secs(2), async || {
        direct.command_calls("publish") >= 1
    })
    .await;
    held.release();
    let second = again.await.expect("joins");
    let other = rig.waiter.lock("b9").lock().wait(watchdog * 3).await;
    assert!(
        other
            .expect_err("kept out for three watchdog timeouts")
            .is_timeout()
    );
    assert!(!second.is_lost());
    second.unlock().await.expect("held");
    rig.end().await;
}

#[tokio::test]
async fn b12_an_absurd_lease_is_refused_before_a_byte_is_sent() {
    let rig = Rig::new(Through::Holder).await;
    let sent = rig.proxy.seen("EVALSHA");
    let lock = rig.holder.lock("b12");
    for lease in [ms(0), ms(u64::MAX), std::time::Duration::MAX] {
        let error = lock.lock().lease(lease).await.expect_err("absurd");
        assert!(
            matches!(error, Error::InvalidArgument { field: "lease", .. }),
            "{error}"
        );
    }
    let error = rig.holder.lock("").lock().await.expect_err("no name");
    assert!(
        matches!(error, Error::InvalidArgument { field: "name", .. }),
        "{error}"
    );
    let long = "x".repeat(10_000);
    assert!(rig.holder.rlock(long.as_str()).is_locked().await.is_err());
    assert_eq!(rig.proxy.seen("EVALSHA"), sent);
    rig.end().await;
}

/// The safety poll looks at every name that is waited for, however many there are, and wakes those alone who may get in.
#[tokio::test]
async fn every_name_waited_for_is_looked_at() {
    let settings = |builder: redlatch::ClientBuilder| builder.safety_poll(secs(1));
    let rig = Rig::with(Through::Waiter, settings).await;
    let names = ["looked-1", "looked-2", "looked-3"];
    let mut held = Vec::new();
    let mut waiting = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        held.push(rig.holder.lock(name).lock().await.expect("free"));
        waiting.push(Waiting::start(&rig.waiter, name, secs(25)));
        let sleepers = format!("sleepers: {},", number + 1);
        eventually_async("it sleeps", secs(10), async || {
            rig.waiter.residue().contains(&sleepers)
        })
        .await;
    }
    rig.proxy.drop_messages(None, 1_000);
    let kept = held.pop().expect("three");
    for guard in held {
        guard.unlock().await.expect("held");
    }
    let last = waiting.pop().expect("three");
    for waiting in waiting {
        waiting.granted().await.0.unlock().await.expect("held");
    }
    assert_eq!(
        rig.waiter.stats().wakeups_by_poll,
        2,
        "the third is held yet"
    );
    kept.unlock().await.expect("held");
    last.granted().await.0.unlock().await.expect("held");
    rig.end().await;
}
