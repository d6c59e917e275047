//! What holds when the server or the connection does not.

use std::time::Instant;

use redlatch::{Client, LossCause, Owner};
use redlatch_support::{
    Action, Dice, MessageAction, MessageRule, Proxy, Rule, Server, eventually_async,
};

use super::{Subject, rig::Rig, waiting::crowd};
use crate::common::{asleep, close, ms, secs};

pub(super) async fn a_restarted_server_is_noticed<K: Subject>() {
    let server = Server::start();
    let connect = async || {
        let builder = Client::builder().url(server.url()).expect("url");
        let builder = builder.watchdog_timeout(ms(1_500));
        builder.connect().await.expect("connects")
    };
    let (holder, waiter) = (connect().await, connect().await);
    let guard = K::rival(&holder, "restart").lock().await.expect("free");
    let waiting = tokio::spawn({
        let lock = K::of(&waiter, "restart");
        async move { lock.lock().wait(secs(30)).await }
    });
    if K::WOKEN {
        asleep(&waiter, 1).await;
    }
    server.kill();
    server.restart();
    let begun = std::time::Instant::now();
    let granted = waiting.await.expect("joins").expect("granted");
    let took = begun.elapsed();
    assert!(took < secs(4), "only {took:?} after the restart");
    let told = tokio::time::timeout(secs(4), guard.lost()).await;
    let cause = told.expect("with the first look");
    assert!(
        matches!(cause, LossCause::Vanished | LossCause::TakenOver),
        "{cause:?}"
    );
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    // What was taken after the restart is kept as ever.
    let renewals = waiter.stats().renewals;
    redlatch_support::eventually_async("six renewals", secs(10), async || {
        waiter.stats().renewals >= renewals + 6
    })
    .await;
    assert!(!granted.is_lost());
    granted.unlock().await.expect("held");
    close(holder).await;
    close(waiter).await;
}

/// A client behind a proxy with a short command timeout, and its lock with all scripts loaded.
async fn proxied<K: Subject>(server: &Server) -> (Client, Proxy, redlatch::Lock<K>) {
    let proxy = Proxy::start(server.port()).await;
    let client = Client::builder()
        .url(proxy.url())
        .expect("url")
        .command_timeout(ms(500))
        .connect()
        .await
        .expect("connects");
    let lock = K::of(&client, "reply").with_owner(Owner::fresh());
    let guard = lock.lock().await.expect("free");
    guard.unlock().await.expect("held");
    (client, proxy, lock)
}

pub(super) async fn a_lost_reply_is_found_out<K: Subject>() {
    for action in [Action::StallReplies, Action::CutAfterForward] {
        let server = Server::start();
        let (client, proxy, lock) = proxied::<K>(&server).await;
        let direct = server.direct();
        let rule = proxy.rule(Rule::new("EVALSHA").action(action.clone()));
        let outer = lock.lock().await.expect("granted all the same");
        assert_eq!(rule.hits(), 1);
        assert_eq!(K::count(&direct, "reply", &outer.owner_id()), 1);
        if K::REENTRANT {
            let rule = proxy.rule(Rule::new("EVALSHA").action(action.clone()));
            let inner = lock.lock().await.expect("granted all the same");
            assert_eq!(rule.hits(), 1);
            assert_eq!(K::count(&direct, "reply", &outer.owner_id()), 2);
            inner.unlock().await.expect("held");
        }
        outer.unlock().await.expect("held");
        // And for a caller that does not wait for the answer: nothing may stay behind.
        proxy.rule(Rule::new("EVALSHA").action(action.clone()));
        drop(lock.lock().wait(ms(50)).await);
        redlatch_support::eventually_async("nobody holds it", secs(5), async || {
            !direct.exists("reply")
        })
        .await;
        close(client).await;
    }
}

pub(super) async fn a_release_without_a_reply_is_done_once<K: Subject>() {
    for action in [Action::StallReplies, Action::CutAfterForward] {
        let server = Server::start();
        let (client, proxy, lock) = proxied::<K>(&server).await;
        let direct = server.direct();
        let outer = lock.lock().await.expect("free");
        if K::REENTRANT {
            let inner = lock.lock().await.expect("re-enters");
            proxy.rule(Rule::new("EVALSHA").action(action.clone()));
            inner.unlock().await.expect("found to have worked");
            assert_eq!(K::count(&direct, "reply", &outer.owner_id()), 1);
        }
        proxy.rule(Rule::new("EVALSHA").action(action.clone()));
        outer.unlock().await.expect("found to have worked");
        assert!(!direct.exists("reply"));
        let leftovers = direct.cmd(&["KEYS", "*"]).accepted().strings();
        let remains: Vec<_> = leftovers
            .iter()
            .filter(|key| !K::remains("reply").contains(key))
            .collect();
        assert!(remains.is_empty(), "{remains:?}");
        close(client).await;
    }
}

/// The server comes back with its data: what was held is held, and what was over meanwhile is not.
pub(super) async fn a_restart_with_data_confirms_what_is_held<K: Subject>() {
    let server = Server::builder().appendonly(true).start();
    let mut rig = Rig::<K>::on(server, |builder| {
        builder.watchdog_timeout(secs(6)).command_timeout(ms(500))
    })
    .await;
    let lock = rig.lock("kept");
    let outer = lock.lock().await.expect("free");
    let inner = match K::REENTRANT {
        true => Some(lock.lock().await.expect("re-enters")),
        false => None,
    };
    let held = rig.count(&outer);
    let leased = rig.lock("over").lock().lease(ms(500)).await.expect("free");
    let waiting = rig.waiting("kept").await;
    rig.server.kill();
    assert_eq!(leased.lost().await, LossCause::LeaseExpired);
    rig.server.restart();
    rig.direct = rig.server.direct();
    let renewals = rig.holder.stats().renewals;
    eventually_async("the holds are confirmed", secs(10), async || {
        rig.holder.stats().renewals > renewals
    })
    .await;
    assert!(!outer.is_lost());
    assert_eq!(rig.count(&outer), held);
    let over = rig.rival("over").lock().wait(secs(2)).await;
    over.expect("it is over").unlock().await.expect("held");
    assert!(leased.unlock().await.expect_err("lost").is_lost());
    if let Some(inner) = inner {
        inner.unlock().await.expect("held");
        assert_eq!(rig.count(&outer), held - 1);
    }
    let released = Instant::now();
    outer.unlock().await.expect("held");
    let next = waiting.granted_within("after a restart with data", secs(2), released);
    next.await.unlock().await.expect("held");
    rig.end(&["kept", "over"]).await;
}

/// A link that says nothing any more: the holder knows by its own clock before anybody else gets in.
pub(super) async fn a_silent_link_is_told_before_a_rival_gets_in<K: Subject>() {
    let rig = Rig::<K>::new(|builder| builder.watchdog_timeout(ms(900))).await;
    let guard = rig.lock("silent").lock().await.expect("free");
    let waiting = rig.waiting("silent").await;
    rig.proxy.black_hole(true);
    assert_eq!(guard.lost().await, LossCause::Unreachable);
    let known = guard.valid_until();
    let (next, granted) = waiting.granted().await;
    assert!(known <= granted, "two holders at once");
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    rig.proxy.black_hole(false);
    // Whatever is still said for the old hold harms the new one in nothing.
    let again = rig.lock("silent").lock().wait(ms(300)).await;
    assert!(again.expect_err("busy, or not there yet").is_retryable());
    assert!(!next.is_lost());
    next.unlock().await.expect("held");
    rig.end(&["silent"]).await;
}

/// The server stands still for longer than the watchdog timeout, under a holder, a waiter, and somebody who gives up.
pub(super) async fn a_stalled_server_grants_once<K: Subject>() {
    let rig = Rig::<K>::new(|builder| {
        let builder = builder.watchdog_timeout(ms(900));
        builder.command_timeout(ms(300))
    })
    .await;
    let guard = rig.lock("stalled").lock().await.expect("free");
    let waiting = rig.waiting("stalled").await;
    rig.server.freeze();
    let gone = rig.lock("stalled-too").lock().wait(ms(200)).await;
    gone.expect_err("no answer");
    assert_eq!(guard.lost().await, LossCause::Unreachable);
    let known = guard.valid_until();
    rig.server.thaw();
    let awake = Instant::now();
    let (next, granted) = waiting.granted().await;
    println!("after a stall: {:?}", granted - awake);
    assert!(
        granted - awake < secs(3),
        "only {:?} later",
        granted - awake
    );
    assert!(known <= granted, "two holders at once");
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    assert!(!next.is_lost());
    next.unlock().await.expect("held");
    rig.end(&["stalled", "stalled-too"]).await;
}

/// All connections of everybody are killed at the moment of a release.
pub(super) async fn killed_connections_cost_seconds_at_most<K: Subject>() {
    let rig = Rig::<K>::new(|builder| builder).await;
    let lock = rig.lock("killed");
    let outer = lock.lock().await.expect("free");
    let inner = match K::REENTRANT {
        true => Some(lock.lock().await.expect("re-enters")),
        false => None,
    };
    let waiting = rig.waiting("killed").await;
    let kill = || {
        for kind in ["pubsub", "normal"] {
            let words = ["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"];
            rig.direct.cmd(&words).accepted();
        }
    };
    if let Some(inner) = inner {
        kill();
        inner.unlock().await.expect("held");
        assert_eq!(rig.count(&outer), 1);
    }
    kill();
    outer.unlock().await.expect("held");
    let released = Instant::now();
    let next = waiting.granted_within("connections killed", secs(2), released);
    let next = next.await;
    assert!(!next.is_lost());
    next.unlock().await.expect("held");
    eventually_async("no subscription is left", secs(5), async || {
        let channels = rig.direct.cmd(&["PUBSUB", "CHANNELS"]).accepted();
        channels.items().is_empty()
    })
    .await;
    rig.end(&["killed"]).await;
}

/// Messages that come late or twice let nobody in who should not be.
pub(super) async fn messages_late_or_twice_let_nobody_in<K: Subject>() {
    if !K::WOKEN {
        return;
    }
    let rig = Rig::<K>::new(|builder| builder.safety_poll(ms(300))).await;
    for action in [MessageAction::Delay(ms(500)), MessageAction::Duplicate] {
        let guard = rig.lock("late").lock().await.expect("free");
        let waiting = rig.waiting("late").await;
        let rule = rig.before_waiter.message_rule(MessageRule::new(action));
        guard.unlock().await.expect("held");
        let released = Instant::now();
        let what = format!("message {action:?}");
        let next = waiting.granted_within(&what, secs(2), released);
        next.await.unlock().await.expect("held");
        // Somebody waits when the late one comes.
        let guard = rig.lock("late").lock().await.expect("free");
        let before = rig.direct.hgetall("late");
        let error = rig.rival("late").lock().wait(ms(700)).await;
        assert!(error.expect_err("busy").is_timeout());
        assert_eq!(rig.direct.hgetall("late"), before);
        assert!(rule.hits() > 0);
        rule.remove();
        guard.unlock().await.expect("held");
    }
    rig.end(&["late"]).await;
}

/// Replies that take their time, some longer than anybody waits for them: nobody meets anybody, and all counts are right.
pub(super) async fn a_link_with_jitter_keeps_counts_exact<K: Subject>() {
    let rig = Rig::<K>::new(|builder| builder.command_timeout(ms(150))).await;
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    for (number, proxy) in [&rig.proxy, &rig.before_waiter].into_iter().enumerate() {
        let mut dice = Dice::new(seed, number as u64);
        for nth in 1..100 {
            let pause = match dice.below(30) {
                0 => 200,
                often => often % 12,
            };
            let action = match dice.below(2) {
                0 => Action::DelayReply(ms(pause)),
                _ => Action::DelayRequest(ms(pause)),
            };
            proxy.rule(Rule::new("EVALSHA").nth(nth).action(action));
        }
    }
    crowd::<K>(&rig.holder, &rig.waiter, "jitter", 5).await;
    let unknown = rig.holder.stats().unknown_outcomes + rig.waiter.stats().unknown_outcomes;
    println!("{unknown} replies too late");
    rig.end(&["jitter"]).await;
}

/// A lock that lost its time to live, and the message of its release with it.
pub(super) async fn a_lock_without_a_time_to_live_is_waited_for_with_a_bound<K: Subject>() {
    let rig = Rig::<K>::new(|builder| builder).await;
    let guard = rig.lock("persist").lock().await.expect("free");
    let waiting = rig.waiting("persist").await;
    rig.direct.cmd(&["PERSIST", "persist"]).accepted();
    let refused = rig.rival("persist").try_lock().await.expect("answers");
    assert!(refused.is_none(), "{refused:?} beside {guard:?}");
    if K::WOKEN {
        rig.before_waiter.drop_messages(None, 1);
    }
    guard.unlock().await.expect("held");
    let released = Instant::now();
    let next = waiting.granted_within("no time to live", secs(2), released);
    next.await.unlock().await.expect("held");
    rig.end(&["persist"]).await;
}
