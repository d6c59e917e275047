//! What it means to hold.

use std::time::Duration;

use redlatch::{Error, LossCause, Owner};
use redlatch_support::eventually_async;

use super::Subject;
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
