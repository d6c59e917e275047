//! What holds when the server says no.

use redlatch::{Error, HoldState, LossCause, Refusal};
use redlatch_support::{Action, Rule, RuleHandle, eventually_async};

use super::{Subject, rig::Rig};
use crate::common::{ms, secs};

fn refusal<T>(outcome: Result<T, Error>) -> Refusal {
    match outcome.err() {
        Some(Error::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Whatever is asked first after the server has forgotten its scripts.
pub(super) async fn forgotten_scripts_are_not_noticed<K: Subject>() {
    let rig = Rig::<K>::new(|builder| builder.watchdog_timeout(ms(900))).await;
    let forget = || drop(rig.direct.cmd(&["SCRIPT", "FLUSH"]).accepted());
    let lock = rig.lock("forgotten");
    forget();
    let outer = lock.lock().await.expect("free");
    if K::REENTRANT {
        forget();
        let inner = lock.try_lock().await.expect("answers").expect("re-enters");
        assert_eq!(rig.count(&inner), 2);
        forget();
        inner.unlock().await.expect("held");
    }
    forget();
    let refused = rig.rival("forgotten").try_lock().await.expect("answers");
    assert!(refused.is_none(), "{refused:?} beside {outer:?}");
    for _ in 0..2 {
        forget();
        let renewals = rig.holder.stats().renewals;
        eventually_async("a renewal", secs(5), async || {
            rig.holder.stats().renewals > renewals
        })
        .await;
    }
    assert!(!outer.is_lost());
    forget();
    outer.unlock().await.expect("held");
    let guard = lock.lock().await.expect("free");
    forget();
    assert!(lock.raw().force_unlock().await.expect("answers"));
    assert_eq!(guard.lost().await, LossCause::ForceUnlocked);
    drop(guard);
    rig.end(&["forgotten"]).await;
}

/// A key that is no lock, from the beginning or all of a sudden.
pub(super) async fn a_key_of_another_type_is_left_alone<K: Subject>() {
    let rig = Rig::<K>::new(|builder| builder.watchdog_timeout(ms(900))).await;
    let (lock, name) = (rig.lock("string"), "string");
    let guard = lock.lock().await.expect("free");
    rig.direct.cmd(&["SET", name, "mine"]).accepted();
    let told = tokio::time::timeout(ms(600), guard.lost()).await;
    let cause = told.expect("with the next look");
    assert!(
        matches!(cause, LossCause::Vanished | LossCause::TakenOver),
        "{cause:?}"
    );
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    for error in [
        lock.lock().await.err(),
        lock.lock().wait(secs(5)).await.err(),
        lock.try_lock().await.err(),
        lock.raw().hold_count().await.err(),
    ] {
        let error = error.expect("a string");
        assert!(matches!(error, Error::WrongType { .. }), "{error}");
        assert!(!error.is_retryable(), "{error}");
    }
    assert_eq!(rig.direct.cmd(&["GET", name]).text(), "mine");
    rig.direct.cmd(&["DEL", name]).accepted();
    rig.end(&[name]).await;
}

/// No memory is left: nobody gets in, who is in stays in, and may leave.
pub(super) async fn a_full_server_takes_it_back<K: Subject>() {
    let rig = Rig::<K>::new(|builder| builder.watchdog_timeout(ms(900))).await;
    let lock = rig.lock("full");
    let outer = lock.lock().await.expect("free");
    let inner = match K::REENTRANT {
        true => Some(lock.lock().await.expect("re-enters")),
        false => None,
    };
    let memory = |bytes: &str| {
        let set = rig.direct.cmd(&["CONFIG", "SET", "maxmemory", bytes]);
        set.accepted();
    };
    memory("1");
    let other = rig.rival("other");
    for outcome in [other.lock().await, other.lock().wait(secs(5)).await] {
        let error = outcome.expect_err("no memory");
        assert!(error.is_retryable(), "{error}");
        assert_eq!(refusal::<()>(Err(error)), Refusal::OutOfMemory);
    }
    assert_eq!(refusal(other.try_lock().await), Refusal::OutOfMemory);
    if !K::RENEWED_WHEN_FULL {
        // It is held for what is left of its time, and goes on if there is some memory again.
        eventually_async("a renewal fails", secs(5), async || {
            outer.state() == HoldState::Suspect
        })
        .await;
        memory("0");
    }
    let renewals = rig.holder.stats().renewals;
    eventually_async("renewal goes on", secs(5), async || {
        rig.holder.stats().renewals >= renewals + 4
    })
    .await;
    memory("1");
    if let Some(inner) = inner {
        inner.unlock().await.expect("held, and the outer one stays");
    }
    assert!(!outer.is_lost());
    outer.unlock().await.expect("the last one writes nothing");
    assert!(!rig.direct.exists("full"));
    memory("0");
    let next = rig.rival("full").try_lock().await.expect("answers");
    next.expect("free").unlock().await.expect("held");
    rig.end(&["full", "other"]).await;
}

/// A master that has become a replica, and becomes a master again.
pub(super) async fn a_replica_is_waited_for<K: Subject>() {
    let rig = Rig::<K>::new(|builder| {
        let builder = builder.watchdog_timeout(secs(2));
        builder.outage_patience(secs(10))
    })
    .await;
    let guard = rig.lock("mine").lock().await.expect("free");
    let kept = rig.lock("kept").lock().await.expect("free");
    let replica = rig.direct.cmd(&["REPLICAOF", "127.0.0.1", "1"]);
    replica.accepted();
    let other = rig.rival("other");
    assert_eq!(refusal(other.try_lock().await), Refusal::ReadOnly);
    let waiting = tokio::spawn(other.lock().wait(secs(20)).into_future());
    let unlocking = tokio::spawn(guard.unlock());
    let attempts = rig.waiter.stats().attempts;
    eventually_async("it tries again", secs(5), async || {
        rig.waiter.stats().attempts > attempts + 2
    })
    .await;
    // Its renewal is refused, which says nothing about the lock.
    eventually_async("a renewal fails", secs(5), async || {
        kept.state() == HoldState::Suspect
    })
    .await;
    assert!(!waiting.is_finished() && !unlocking.is_finished());
    rig.direct.cmd(&["REPLICAOF", "NO", "ONE"]).accepted();
    let unlocked = unlocking.await.expect("joins");
    unlocked.expect("released by the master");
    let granted = waiting.await.expect("joins");
    granted.expect("granted").unlock().await.expect("held");
    eventually_async("it is renewed again", secs(5), async || {
        kept.state() == HoldState::Held
    })
    .await;
    kept.unlock().await.expect("held");
    rig.end(&["mine", "kept", "other"]).await;
}

/// Refusals that pass by themselves.
pub(super) async fn what_passes_is_waited_for<K: Subject>() {
    let rig = Rig::<K>::new(|builder| builder).await;
    let lock = rig.lock("passing");
    // Loads the scripts, so that the rules meet the calls themselves.
    let warm = lock.lock().await.expect("free");
    warm.unlock().await.expect("held");
    for text in [
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "NOREPLICAS Not enough good replicas to write.",
        "CLUSTERDOWN The cluster is down",
    ] {
        let refuse = || {
            let reply = format!("-{text}\r\n").into_bytes();
            let rule = Rule::new("EVALSHA").times(2);
            rig.proxy.rule(rule.action(Action::Refuse(reply)))
        };
        let passed = |refused: RuleHandle, call: &str| {
            let stats = rig.holder.stats();
            // fred closes a connection that says CLUSTERDOWN, and what else was on its way there has gone with it.
            let least = if text.starts_with("CLUSTERDOWN") {
                1
            } else {
                2
            };
            let hits = refused.hits();
            assert!(
                (least..=2).contains(&hits),
                "{text}, {call}: {hits}, {stats:?}"
            );
        };
        let refused = refuse();
        let outer = lock.lock().await.expect("granted when it has passed");
        passed(refused, "lock");
        assert_eq!(rig.count(&outer), 1, "{text}");
        if K::REENTRANT {
            let refused = refuse();
            let inner = lock.lock().await.expect("re-enters when it has passed");
            passed(refused, "re-entry");
            assert_eq!(rig.count(&inner), 2, "{text}");
            let refused = refuse();
            inner.unlock().await.expect("held");
            passed(refused, "unlock");
            assert_eq!(rig.count(&outer), 1, "{text}");
        }
        let refused = refuse();
        outer.unlock().await.expect("held");
        passed(refused, "last unlock");
        assert!(!rig.direct.exists("passing"), "{text}");
    }
    rig.end(&["passing"]).await;
}
