//! Holding, entering again, waiting, giving back.

use std::collections::BTreeMap;

use redlatch::{Error, Owner};
use redlatch_support::eventually_async;

use crate::common::{client, client_with, close, direct, ms, name, secs};

#[tokio::test]
async fn a_held_lock_is_redissons_hash() {
    let (client, name) = (client().await, name("hash"));
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    let expected = BTreeMap::from([(guard.owner_id(), "1".to_owned())]);
    assert_eq!(direct().hgetall(&name), expected);
    assert!((29_000..=30_000).contains(&direct().pttl(&name)));
    assert!(guard.owner_id().starts_with(client.id()));
    guard.unlock().await.expect("held");
    assert!(!direct().exists(&name));
    close(client).await;
}

#[tokio::test]
async fn a_pair_is_two_scripts_and_nothing_else() {
    let server = redlatch_support::Server::start();
    let client = redlatch::Client::connect(server.url())
        .await
        .expect("connects");
    let lock = client.lock("pair");
    lock.lock()
        .await
        .expect("loads the scripts")
        .unlock()
        .await
        .expect("held");
    let direct = server.direct();
    // The heartbeat is every two seconds; the pairs below take a fraction of one.
    direct.reset_stats();
    for _ in 0..10 {
        let guard = lock.lock().await.expect("free");
        guard.unlock().await.expect("held");
    }
    assert_eq!(direct.command_calls("evalsha"), 20);
    for other in ["eval", "subscribe", "get", "script|load", "publish"] {
        let calls = direct.command_calls(other);
        assert_eq!(calls, if other == "publish" { 10 } else { 0 }, "{other}");
    }
    close(client).await;
}

#[tokio::test]
async fn an_owner_enters_again_and_leaves_as_often() {
    let (client, name) = (client().await, name("reentry"));
    let lock = client.lock(name.as_str());
    let outer = lock.lock().await.expect("free");
    let inner = lock.try_lock().await.expect("answers").expect("re-enters");
    assert_eq!(direct().hgetall(&name)[&outer.owner_id()], "2");
    assert_eq!(lock.raw().hold_count().await.expect("answers"), 2);
    inner.unlock().await.expect("held");
    assert_eq!(direct().hgetall(&name)[&outer.owner_id()], "1");
    outer.unlock().await.expect("held");
    assert!(!direct().exists(&name));
    close(client).await;
}

#[tokio::test]
async fn others_are_kept_out_and_woken_by_the_release() {
    let (holder, waiter, name) = (client().await, client().await, name("wake"));
    let guard = holder.lock(name.as_str()).lock().await.expect("free");
    assert!(
        waiter
            .lock(name.as_str())
            .try_lock()
            .await
            .expect("answers")
            .is_none()
    );
    let waiting = tokio::spawn({
        let lock = waiter.lock(name.as_str());
        async move { lock.lock().wait(secs(10)).await }
    });
    let channel = format!("redisson_lock__channel:{{{name}}}");
    eventually_async("the waiter subscribes", secs(5), async || {
        direct().numsub(&channel) == 1
    })
    .await;
    crate::common::asleep(&waiter, 1).await;
    let released = std::time::Instant::now();
    guard.unlock().await.expect("held");
    let second = waiting.await.expect("joins").expect("granted");
    assert!(released.elapsed() < ms(500), "{:?}", released.elapsed());
    assert_eq!(waiter.stats().wakeups_by_message, 1);
    second.unlock().await.expect("held");
    eventually_async("the subscription ends", secs(5), async || {
        direct().numsub(&channel) == 0
    })
    .await;
    close(holder).await;
    close(waiter).await;
}

#[tokio::test]
async fn a_wait_that_is_over_is_a_timeout() {
    let (client, name) = (client().await, name("timeout"));
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    let other = client.lock(name.as_str()).with_owner(Owner::fresh());
    let error = other.lock().wait(ms(200)).await.expect_err("busy");
    assert!(error.is_timeout(), "{error}");
    assert!(
        matches!(error, Error::TimedOut { waited, .. } if waited >= ms(200) && waited < ms(1500))
    );
    let answer = other
        .raw()
        .try_lock_for(ms(50), None)
        .await
        .expect("answers");
    assert!(answer.is_none());
    guard.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test]
async fn a_guard_dropped_on_a_plain_thread_gives_the_lock_back() {
    let (client, name) = (client().await, name("drop"));
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    std::thread::spawn(move || drop(guard))
        .join()
        .expect("no panic");
    eventually_async("the lock is free", secs(5), async || {
        !direct().exists(&name)
    })
    .await;
    close(client).await;
}

#[tokio::test]
async fn the_watchdog_keeps_a_lock_and_not_a_lease() {
    let client = client_with(|builder| builder.watchdog_timeout(ms(600))).await;
    let (watched, leased) = (name("watched"), name("leased"));
    let guard = client.lock(watched.as_str()).lock().await.expect("free");
    let lease = client
        .lock(leased.as_str())
        .lock()
        .lease(ms(600))
        .await
        .expect("free");
    assert_eq!(lease.lost().await, redlatch::LossCause::LeaseExpired);
    eventually_async("the lease ends", secs(3), async || {
        !direct().exists(&leased)
    })
    .await;
    eventually_async("four renewals", secs(5), async || {
        client.stats().renewals >= 4
    })
    .await;
    assert!(!guard.is_lost());
    assert!(direct().exists(&watched));
    assert!(lease.unlock().await.expect_err("lost").is_lost());
    guard.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test]
async fn javas_verbs_hold_by_owner() {
    let (client, name) = (client().await, name("raw"));
    let lock = client.rlock(name.as_str());
    lock.lock().await.expect("free");
    lock.lock().await.expect("re-enters");
    assert!(lock.is_locked().await.expect("answers"));
    assert!(lock.is_held_by_current().await.expect("answers"));
    assert_eq!(lock.hold_count().await.expect("answers"), 2);
    assert!(lock.remaining_ttl().await.expect("answers").expect("held") > secs(29));
    let other = lock.with_owner(Owner::explicit(7).expect("small"));
    assert!(!other.is_held_by_current().await.expect("answers"));
    assert!(other.try_lock().await.expect("answers").is_none());
    assert!(matches!(other.unlock().await, Err(Error::NotHeld { .. })));
    lock.unlock().await.expect("held");
    lock.unlock().await.expect("held");
    assert!(matches!(lock.unlock().await, Err(Error::NotHeld { .. })));
    assert!(!lock.is_locked().await.expect("answers"));
    assert_eq!(lock.remaining_ttl().await.expect("answers"), None);
    close(client).await;
}

#[tokio::test]
async fn a_forced_unlock_is_told_to_the_holder() {
    let (client, name) = (client().await, name("force"));
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    assert!(
        client
            .rlock(name.as_str())
            .force_unlock()
            .await
            .expect("answers")
    );
    assert_eq!(guard.lost().await, redlatch::LossCause::ForceUnlocked);
    assert!(
        !client
            .rlock(name.as_str())
            .force_unlock()
            .await
            .expect("answers")
    );
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    close(client).await;
}

#[tokio::test]
async fn closing_gives_everything_back() {
    let (client, first, second) = (client().await, name("close-a"), name("close-b"));
    let guard = client.lock(first.as_str()).lock().await.expect("free");
    client.rlock(second.as_str()).lock().await.expect("free");
    let report = client.close(secs(5)).await;
    assert_eq!((report.released, report.unreleased.len()), (2, 0));
    assert!(!direct().exists(&first));
    assert!(!direct().exists(&second));
    assert_eq!(guard.lost().await, redlatch::LossCause::Closed);
    assert!(matches!(client.lock("x").lock().await, Err(Error::Closed)));
    assert!(matches!(
        client.rlock("x").is_locked().await,
        Err(Error::Closed)
    ));
}
