//! What it means to hold.

use std::time::{Duration, Instant};

use redlatch::{Error, LossCause, Owner};
use redlatch_support::eventually_async;

use super::{Subject, rig::Rig};
use crate::common::{client, client_with, close, direct, ms, name, nothing_but, secs};

pub(super) async fn rivals_are_kept_out<K: Subject>() {
    let (holder, other, name) = (client().await, client().await, name("excludes"));
    let (lock, rival) = (K::of(&holder, &name), K::rival(&other, &name));
    let guard = lock.lock().await.expect("free");
    assert!(lock.raw().is_locked().await.expect("answers"));
    let elsewhere = rival.try_lock().await.expect("answers");
    assert!(elsewhere.is_none(), "{elsewhere:?} beside {guard:?}");
    let here = K::rival(&holder, &name).with_owner(Owner::fresh());
    let refused = here.try_lock().await.expect("answers");
    assert!(refused.is_none(), "{refused:?} beside {guard:?}");
    guard.unlock().await.expect("held");

    let guard = rival.lock().await.expect("free");
    let refused = lock.try_lock().await.expect("answers");
    assert!(refused.is_none(), "{refused:?} beside {guard:?}");
    guard.unlock().await.expect("held");
    assert!(!lock.raw().is_locked().await.expect("answers"));
    nothing_but(&name, &K::remains(&name)).await;
    close(holder).await;
    close(other).await;
}

pub(super) async fn an_owner_enters_again_or_is_refused<K: Subject>() {
    let (client, name) = (client().await, name("again"));
    let lock = K::of(&client, &name).with_owner(Owner::fresh());
    let outer = lock.lock().await.expect("free");
    if K::REENTRANT {
        let inner = lock.lock().wait(secs(5)).await.expect("re-enters");
        let once_more = lock.try_lock().await.expect("answers").expect("re-enters");
        assert_eq!(lock.raw().hold_count().await.expect("answers"), 3);
        assert_eq!(K::count(&direct(), &name, &outer.owner_id()), 3);
        // In no particular order.
        outer.unlock().await.expect("held");
        assert_eq!(K::count(&direct(), &name, &inner.owner_id()), 2);
        once_more.unlock().await.expect("held");
        assert_eq!(lock.raw().hold_count().await.expect("answers"), 1);
        inner.unlock().await.expect("held");
    } else {
        for refused in [
            lock.lock().await.err(),
            lock.lock().wait(secs(5)).await.err(),
            lock.try_lock().await.err(),
        ] {
            assert!(
                matches!(refused, Some(Error::AlreadyHeld { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(lock.raw().hold_count().await.expect("answers"), 1);
        outer.unlock().await.expect("held");
        lock.lock()
            .await
            .expect("free")
            .unlock()
            .await
            .expect("held");
    }
    nothing_but(&name, &K::remains(&name)).await;
    close(client).await;
}

pub(super) async fn an_owner_never_gives_back_what_others_hold<K: Subject>() {
    let (client, name) = (client().await, name("foreign"));
    let guard = K::of(&client, &name).lock().await.expect("free");
    let before = direct().hgetall(&name);
    let other = K::of(&client, &name).with_owner(Owner::fresh());
    let refused = other.raw().unlock().await;
    assert!(matches!(refused, Err(Error::NotHeld { .. })), "{refused:?}");
    assert!(!other.raw().is_held_by_current().await.expect("answers"));
    assert_eq!(direct().hgetall(&name), before);
    let raw = K::of(&client, &name).with_owner(guard.owner());
    assert!(raw.raw().is_held_by_current().await.expect("answers"));
    guard.unlock().await.expect("held");
    close(client).await;
}

pub(super) async fn a_lease_ends_and_says_so<K: Subject>() {
    let (holder, other, name) = (client().await, client().await, name("lease"));
    let lock = K::of(&holder, &name);
    let guard = lock.lock().lease(ms(400)).await.expect("free");
    let left = direct().pttl(&name);
    assert!((200..=400).contains(&left), "{left} ms left");
    let rival = K::rival(&other, &name);
    let second = rival.lock().wait(secs(5)).await.expect("the lease ends");
    assert!(guard.is_lost());
    assert_eq!(guard.lost().await, LossCause::LeaseExpired);
    let late = guard.unlock().await.expect_err("lost");
    assert!(late.is_lost(), "{late}");
    assert!(!second.is_lost());
    second.unlock().await.expect("held");
    nothing_but(&name, &K::remains(&name)).await;
    close(holder).await;
    close(other).await;
}

pub(super) async fn nested_leases_never_shorten_each_other<K: Subject>() {
    if !K::REENTRANT {
        return;
    }
    let (client, name) = (client().await, name("nested"));
    let lock = K::of(&client, &name).with_owner(Owner::fresh());
    let long = lock.lock().lease(secs(20)).await.expect("free");
    let short = lock.lock().lease(ms(300)).await.expect("re-enters");
    assert!(direct().pttl(&name) > 19_000);
    assert_eq!(short.lost().await, LossCause::LeaseExpired);
    assert!(!long.is_lost());
    eventually_async(
        "the short hold is gone from the count",
        secs(5),
        async || K::count(&direct(), &name, &long.owner_id()) == 1,
    )
    .await;
    assert!(direct().pttl(&name) > 15_000);
    assert!(short.unlock().await.expect_err("lost").is_lost());
    assert!(!long.is_lost());
    let watched = lock.lock().await.expect("re-enters");
    assert!(direct().pttl(&name) > 29_000);
    long.unlock().await.expect("held");
    assert!(direct().pttl(&name) > 25_000);
    watched.unlock().await.expect("held");
    nothing_but(&name, &K::remains(&name)).await;
    close(client).await;
}

pub(super) async fn the_watchdog_keeps_it<K: Subject>() {
    let client = client_with(|builder| builder.watchdog_timeout(ms(600))).await;
    let other = client_with(|builder| builder).await;
    let name = name("watched");
    let guard = K::of(&client, &name).lock().await.expect("free");
    let rival = K::rival(&other, &name);
    eventually_async("six renewals", secs(10), async || {
        let refused = rival.try_lock().await.expect("answers");
        assert!(refused.is_none(), "{refused:?} beside {guard:?}");
        client.stats().renewals >= 6
    })
    .await;
    assert!(!guard.is_lost());
    guard.unlock().await.expect("held");
    nothing_but(&name, &K::remains(&name)).await;
    close(client).await;
    close(other).await;
}

pub(super) async fn a_lock_taken_away_is_told<K: Subject>() {
    let client = client_with(|builder| builder.watchdog_timeout(ms(900))).await;
    let name = name("taken");
    let guard = K::of(&client, &name).lock().await.expect("free");
    direct().cmd(&["DEL", &name]).accepted();
    let told = tokio::time::timeout(ms(600), guard.lost()).await;
    assert_eq!(told.expect("with the next look"), LossCause::Vanished);
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    assert!(!direct().exists(&name), "a lost lock is never made again");
    close(client).await;
}

pub(super) async fn a_forced_unlock_is_told<K: Subject>() {
    let (client, other, name) = (client().await, client().await, name("forced"));
    let guard = K::of(&client, &name).lock().await.expect("free");
    let raw = K::of(&client, &name);
    assert!(raw.raw().force_unlock().await.expect("answers"));
    let told = tokio::time::timeout(Duration::from_secs(1), guard.lost()).await;
    assert_eq!(told.expect("at once"), LossCause::ForceUnlocked);
    assert!(!raw.raw().force_unlock().await.expect("answers"));
    let rival = K::rival(&other, &name);
    let next = rival.try_lock().await.expect("answers").expect("free");
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    assert!(!next.is_lost());
    next.unlock().await.expect("held");
    close(client).await;
    close(other).await;
}

pub(super) async fn bad_input_is_refused<K: Subject>() {
    let client = client().await;
    let refused = |error: Option<Error>, field: &str| {
        let error = error.expect("not acceptable");
        assert!(
            matches!(&error, Error::InvalidArgument { field: named, .. } if *named == field),
            "{error}"
        );
    };
    let attempts = client.stats().attempts;
    refused(K::of(&client, "").try_lock().await.err(), "name");
    let lock = K::of(&client, "fine");
    for lease in [Duration::ZERO, ms(9), Duration::MAX] {
        refused(lock.lock().lease(lease).await.err(), "lease");
        refused(lock.raw().lock_for(lease).await.err(), "lease");
    }
    assert_eq!(client.stats().attempts, attempts, "nothing was sent");
    close(client).await;
}

/// Once too often, with nobody there and with somebody else inside.
pub(super) async fn unlocking_twice_is_refused<K: Subject>() {
    let (client, other, name) = (client().await, client().await, name("twice"));
    let lock = K::of(&client, &name).with_owner(Owner::fresh());
    let raw = lock.raw();
    raw.lock().await.expect("free");
    raw.unlock().await.expect("held");
    let late = raw.unlock().await;
    assert!(matches!(late, Err(Error::NotHeld { .. })), "{late:?}");
    let guard = K::rival(&other, &name).lock().await.expect("free");
    let before = direct().hgetall(&name);
    let late = raw.unlock().await;
    assert!(matches!(late, Err(Error::NotHeld { .. })), "{late:?}");
    assert_eq!(direct().hgetall(&name), before);
    assert!(!guard.is_lost());
    guard.unlock().await.expect("held");
    nothing_but(&name, &K::remains(&name)).await;
    close(client).await;
    close(other).await;
}

/// Whatever a name is made of, it is one lock, and gone afterwards.
pub(super) async fn any_name_is_a_lock<K: Subject>() {
    let rig = Rig::<K>::new(|builder| builder).await;
    let long = "n".repeat(8_192);
    let names = [
        "na\u{ef}ve-\u{43a}\u{43b}\u{44e}\u{447}-\u{9501}-\u{1f512}",
        " two  words ",
        "a\tb\nc\r\nd\"e'f\\g\0h\u{7f}",
        "100%25 + -1 *?[a-z] <>",
        "a{b}c",
        "{x",
        "x}y",
        "a{}b",
        "{{a}}",
        "rwlock_timeout:1:write",
        long.as_str(),
    ];
    for name in names {
        let guard = rig.lock(name).lock().await.expect("free");
        assert_eq!(rig.count(&guard), 1, "{name:?}");
        let rival = rig.rival(name);
        assert!(rival.try_lock().await.expect("answers").is_none());
        let waiting = rig.waiting(name).await;
        let released = Instant::now();
        guard.unlock().await.expect("held");
        let next = waiting.granted_within("a name", ms(900), released).await;
        next.unlock().await.expect("held");
        assert!(!rig.direct.exists(name), "{name:?}");
    }
    let attempts = rig.holder.stats().attempts;
    for name in [String::new(), "x".repeat(8_193), "x".repeat(65_536)] {
        let refused = rig.lock(&name).try_lock().await.expect_err("no name");
        assert!(
            matches!(refused, Error::InvalidArgument { field: "name", .. }),
            "{refused}"
        );
    }
    assert_eq!(rig.holder.stats().attempts, attempts, "something was sent");
    rig.end(&names).await;
}

/// A caller that blocks its only thread starves the watchdog, unless the client has a thread of its own.
pub(super) async fn a_blocked_runtime_is_told_or_costs_nothing<K: Subject>() {
    let blocked = |own: bool| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let client = client_with(|builder| {
                let builder = builder.watchdog_timeout(ms(600));
                if own {
                    builder.dedicated_runtime()
                } else {
                    builder
                }
            })
            .await;
            let name = name("blocked");
            let guard = K::of(&client, &name).lock().await.expect("free");
            // What is tested: nothing else runs on this thread meanwhile.
            std::thread::sleep(ms(1_500));
            assert_eq!(guard.is_lost(), !own);
            let releases = client.stats().releases;
            match guard.unlock().await {
                Ok(()) => assert!(own),
                Err(error) => assert!(!own && error.is_lost(), "{error}"),
            }
            assert_eq!(client.stats().releases, releases + u64::from(own));
            nothing_but(&name, &K::remains(&name)).await;
            close(client).await;
        });
    };
    let (told, kept) = (
        tokio::task::spawn_blocking(move || blocked(false)),
        tokio::task::spawn_blocking(move || blocked(true)),
    );
    told.await.expect("no panic");
    kept.await.expect("no panic");
}
