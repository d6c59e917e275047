//! The laws of the semaphore.

use std::time::{Duration, Instant};

use redlatch::Error;
use redlatch_support::eventually_async;

use crate::kit::{
    asleep, by_message, client, close, direct, follow, got, ms, name, secs, until_value, value,
    within,
};

#[tokio::test]
async fn permits_are_taken_and_go_back() {
    let (client, direct, name) = (client().await, direct(), name("plain"));
    let semaphore = client.semaphore(name.as_str());
    assert!(semaphore.try_set_permits(3).await.expect("answers"));
    let two = semaphore.acquire_many(2).await.expect("there are three");
    assert_eq!((two.count(), two.name()), (2, name.as_str()));
    assert_eq!(semaphore.available_permits().await.expect("answers"), 1);
    let one = semaphore.try_acquire().await.expect("answers");
    let one = one.expect("there is one");
    assert!(semaphore.try_acquire().await.expect("answers").is_none());
    assert_eq!(value(&direct, &name), Some(0));
    two.release().await.expect("confirmed");
    assert_eq!(value(&direct, &name), Some(2));
    drop(one);
    until_value(&direct, &name, 3).await;
    close(client).await;
}

#[tokio::test]
async fn a_forgotten_permit_stays_taken() {
    let (client, direct, name) = (client().await, direct(), name("forget"));
    let semaphore = client.semaphore(name.as_str());
    semaphore.try_set_permits(2).await.expect("answers");
    assert_eq!(semaphore.acquire_many(2).await.expect("two").forget(), 2);
    close(client).await;
    assert_eq!(value(&direct, &name), Some(0), "closing gives nothing back");
}

#[tokio::test]
async fn acquire_without_permits_set_waits_until_some_are_added() {
    let (client, name) = (by_message().await, name("unset"));
    let semaphore = client.semaphore(name.as_str());
    assert!(semaphore.try_acquire().await.expect("answers").is_none());
    let error = semaphore.acquire().wait(ms(50)).await.expect_err("none");
    assert!(error.is_timeout(), "{error}");
    let waiting = follow(semaphore.acquire_many(2));
    asleep(&client).await;
    let added = Instant::now();
    semaphore.add_permits(5).await.expect("answers");
    let (permit, granted) = got(waiting).await;
    within("woken by permits added", granted - added, ms(500));
    assert_eq!(semaphore.available_permits().await.expect("answers"), 3);
    drop(permit);
    close(client).await;
}

#[tokio::test]
async fn permits_set_wake_whoever_waits() {
    let (client, name) = (by_message().await, name("set-wakes"));
    let semaphore = client.semaphore(name.as_str());
    let waiting = follow(semaphore.acquire());
    asleep(&client).await;
    let set = Instant::now();
    assert!(semaphore.try_set_permits(1).await.expect("answers"));
    let (permit, granted) = got(waiting).await;
    within("woken by permits set", granted - set, ms(500));
    permit.release().await.expect("confirmed");
    close(client).await;
}

#[tokio::test]
async fn none_are_had_at_once_and_nothing_is_sent() {
    let (client, direct, name) = (client().await, direct(), name("zero"));
    let semaphore = client.semaphore(name.as_str());
    let none = semaphore.acquire_many(0).await.expect("at once");
    assert_eq!(none.count(), 0);
    none.release().await.expect("nothing to do");
    let none = semaphore.try_acquire_many(0).await.expect("at once");
    assert_eq!(none.expect("at once").forget(), 0);
    semaphore.release(0).await.expect("nothing to do");
    assert!(!semaphore.release_if_exists(0).await.expect("no"));
    assert!(!direct.exists(&name));
    assert_eq!(client.stats().attempts, 0);
    close(client).await;
}

#[tokio::test]
async fn permits_are_set_once() {
    let (client, name) = (client().await, name("set"));
    let semaphore = client.semaphore(name.as_str());
    assert!(semaphore.try_set_permits(10).await.expect("answers"));
    assert!(!semaphore.try_set_permits(20).await.expect("answers"));
    assert_eq!(semaphore.available_permits().await.expect("answers"), 10);
    assert_eq!(
        semaphore.remaining_ttl().await.expect("answers"),
        Some(Duration::MAX)
    );
    assert!(semaphore.delete().await.expect("answers"));
    assert!(!semaphore.delete().await.expect("answers"));
    assert!(semaphore.try_set_permits(0).await.expect("answers"));
    assert!(!semaphore.try_set_permits(1).await.expect("answers"));
    close(client).await;
}

#[tokio::test]
async fn permits_may_end() {
    let (client, direct, name) = (client().await, direct(), name("ttl"));
    let semaphore = client.semaphore(name.as_str());
    let set = semaphore.try_set_permits_for(2, ms(400)).await;
    assert!(set.expect("answers"));
    let left = semaphore.remaining_ttl().await.expect("answers");
    assert!(left.is_some_and(|left| left <= ms(400)), "{left:?}");
    // Taking and giving back leaves the time alone.
    semaphore
        .acquire()
        .await
        .expect("two")
        .release()
        .await
        .expect("confirmed");
    assert!(direct.pttl(&name) > 0);
    eventually_async("it ends", secs(3), async || !direct.exists(&name)).await;
    assert_eq!(semaphore.remaining_ttl().await.expect("answers"), None);
    assert!(!semaphore.release_if_exists(1).await.expect("answers"));

    assert!(semaphore.try_set_permits(1).await.expect("answers"));
    assert!(semaphore.expire(secs(60)).await.expect("answers"));
    assert!(direct.pttl(&name) > 50_000);
    semaphore.clear_expire().await.expect("answers");
    assert_eq!(direct.pttl(&name), -1);
    // As in Redisson, these two end the time to live.
    for ends in [true, false] {
        assert!(semaphore.expire(secs(60)).await.expect("answers"));
        if ends {
            semaphore.add_permits(1).await.expect("answers");
        } else {
            semaphore.drain_permits().await.expect("answers");
        }
        assert_eq!(direct.pttl(&name), -1);
    }
    semaphore.delete().await.expect("answers");
    assert!(!semaphore.expire(secs(60)).await.expect("answers"));
    close(client).await;
}

#[tokio::test]
async fn permits_may_be_taken_away_below_zero() {
    let (client, direct, name) = (by_message().await, direct(), name("below"));
    let semaphore = client.semaphore(name.as_str());
    semaphore.add_permits(-3).await.expect("answers");
    assert_eq!(semaphore.available_permits().await.expect("answers"), -3);
    let waiting = follow(semaphore.acquire());
    asleep(&client).await;
    semaphore.add_permits(3).await.expect("answers");
    assert!(semaphore.try_acquire().await.expect("answers").is_none());
    semaphore.add_permits(1).await.expect("answers");
    let (permit, _) = got(waiting).await;
    assert_eq!(value(&direct, &name), Some(0));
    permit.release().await.expect("confirmed");
    semaphore.add_permits(-10).await.expect("answers");
    assert_eq!(semaphore.available_permits().await.expect("answers"), -9);
    assert_eq!(semaphore.drain_permits().await.expect("answers"), -9);
    assert_eq!(value(&direct, &name), Some(0));
    close(client).await;
}

#[tokio::test]
async fn acquire_waits_for_a_release() {
    let (client, direct, name) = (by_message().await, direct(), name("waits"));
    let semaphore = client.semaphore(name.as_str());
    semaphore.try_set_permits(1).await.expect("answers");
    let held = semaphore.acquire().await.expect("one");
    let waiting = follow(semaphore.acquire());
    asleep(&client).await;
    let released = Instant::now();
    held.release().await.expect("confirmed");
    let (permit, granted) = got(waiting).await;
    within("woken by a release", granted - released, ms(500));
    assert_eq!(value(&direct, &name), Some(0));
    drop(permit);
    until_value(&direct, &name, 1).await;
    eventually_async("no subscription is left", secs(5), async || {
        direct.numsub(&format!("redisson_sc:{{{name}}}")) == 0
    })
    .await;
    close(client).await;
}

#[tokio::test]
async fn many_are_waited_for_until_there_are_enough() {
    let (client, name) = (by_message().await, name("many"));
    let semaphore = client.semaphore(name.as_str());
    semaphore.try_set_permits(5).await.expect("answers");
    semaphore.acquire_many(5).await.expect("five").forget();
    let waiting = follow(semaphore.acquire_many(4));
    asleep(&client).await;
    for _ in 0..3 {
        semaphore.release(1).await.expect("answers");
        assert!(!waiting.is_finished());
    }
    semaphore.release(1).await.expect("answers");
    let (permit, _) = got(waiting).await;
    assert_eq!(permit.count(), 4);
    assert_eq!(semaphore.available_permits().await.expect("answers"), 0);
    drop(permit);
    close(client).await;
}

#[tokio::test]
async fn try_many_with_a_limit() {
    let (client, name) = (client().await, name("try-many"));
    let semaphore = client.semaphore(name.as_str());
    semaphore.try_set_permits(5).await.expect("answers");
    let three = semaphore.acquire_many(3).await.expect("five").forget();
    assert_eq!(three, 3);
    let begun = Instant::now();
    let error = semaphore.acquire_many(4).wait(ms(200)).await;
    match error.expect_err("two are left") {
        Error::TimedOut {
            name: of, waited, ..
        } => {
            assert_eq!(&*of, name);
            assert!(waited >= ms(200) && begun.elapsed() < secs(2));
        }
        other => panic!("{other}"),
    }
    let two = semaphore.try_acquire_many(2).await.expect("answers");
    two.expect("two are left")
        .release()
        .await
        .expect("confirmed");
    semaphore.release(3).await.expect("answers");
    let four = semaphore.acquire_many(4).wait(ms(200)).await;
    assert_eq!(four.expect("five").forget(), 4);
    close(client).await;
}

#[tokio::test]
async fn release_makes_a_semaphore() {
    let (client, direct, name) = (client().await, direct(), name("make"));
    let semaphore = client.semaphore(name.as_str());
    assert!(!semaphore.release_if_exists(3).await.expect("answers"));
    assert!(!direct.exists(&name));
    semaphore.release(1).await.expect("answers");
    assert_eq!(value(&direct, &name), Some(1));
    assert!(semaphore.release_if_exists(3).await.expect("answers"));
    assert_eq!(value(&direct, &name), Some(4));
    close(client).await;
}

#[tokio::test]
async fn drain_takes_all() {
    let (client, name) = (client().await, name("drain"));
    let semaphore = client.semaphore(name.as_str());
    assert_eq!(semaphore.drain_permits().await.expect("answers"), 0);
    semaphore.try_set_permits(10).await.expect("answers");
    assert_eq!(semaphore.drain_permits().await.expect("answers"), 10);
    assert_eq!(semaphore.available_permits().await.expect("answers"), 0);
    assert_eq!(semaphore.drain_permits().await.expect("answers"), 0);
    close(client).await;
}

#[tokio::test]
async fn one_who_wants_much_never_stops_one_who_wants_little() {
    let (client, name) = (by_message().await, name("small"));
    let semaphore = client.semaphore(name.as_str());
    semaphore.try_set_permits(3).await.expect("answers");
    let much = follow(semaphore.acquire_many(5));
    asleep(&client).await;
    // Behind it in line, and served all the same: at once, in passing, and after a wait.
    let one = semaphore.acquire().wait(secs(2)).await.expect("three");
    let two = semaphore.try_acquire_many(2).await.expect("answers");
    let two = two.expect("two are left");
    let late = follow(semaphore.acquire_many(2));
    eventually_async("both wait", secs(2), async || client.stats().waits == 2).await;
    two.release().await.expect("confirmed");
    let (late, _) = got(late).await;
    assert!(!much.is_finished());
    late.release().await.expect("confirmed");
    semaphore.release(2).await.expect("answers");
    one.release().await.expect("confirmed");
    let (much, _) = got(much).await;
    much.release().await.expect("confirmed");
    assert_eq!(semaphore.available_permits().await.expect("answers"), 5);
    close(client).await;
}

#[tokio::test]
async fn equals_are_served_in_their_order() {
    let (client, name) = (by_message().await, name("order"));
    let semaphore = client.semaphore(name.as_str());
    let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
    for who in 0..5 {
        let (semaphore, sender) = (semaphore.clone(), sender.clone());
        tokio::spawn(async move {
            let permit = semaphore.acquire().await.expect("granted");
            let _ = sender.send(who);
            permit.forget();
        });
        eventually_async("it waits", secs(2), async || {
            client.stats().waits == who + 1
        })
        .await;
    }
    for who in 0..5 {
        semaphore.release(1).await.expect("answers");
        assert_eq!(order.recv().await, Some(who));
    }
    close(client).await;
}

#[tokio::test]
async fn closing_gives_permits_back_and_sends_waiters_home() {
    let (client, direct, name) = (client().await, direct(), name("close"));
    let semaphore = client.semaphore(name.as_str());
    semaphore.try_set_permits(3).await.expect("answers");
    let one = semaphore.acquire().await.expect("three");
    let two = semaphore.acquire_many(2).await.expect("two");
    let waiting = tokio::spawn(semaphore.acquire().into_future());
    asleep(&client).await;
    let report = client.close(secs(5)).await;
    assert_eq!(report.permits, 3, "{report:?}");
    assert!(report.unreleased_permits.is_empty(), "{report:?}");
    let error = waiting.await.expect("joins").expect_err("closed");
    assert!(matches!(error, Error::Closed), "{error}");
    assert_eq!(value(&direct, &name), Some(3));
    assert!(!direct.exists(&format!(
        "redlatch_once:{{{name}}}:{}:semaphore",
        client.id()
    )));
    let error = one.release().await.expect_err("given back by closing");
    assert!(matches!(error, Error::Closed), "{error}");
    drop(two);
    assert!(matches!(semaphore.release(1).await, Err(Error::Closed)));
    assert!(matches!(semaphore.acquire().await, Err(Error::Closed)));
    assert_eq!(value(&direct, &name), Some(3));
}

#[tokio::test]
async fn names_with_braces_and_prefixes_work() {
    let direct = direct();
    let prefix = name("prefix");
    let client = crate::kit::connect(&redlatch_support::Server::shared().url(), |builder| {
        builder
            .key_prefix(format!("{prefix}:"))
            .safety_poll(secs(20))
    })
    .await;
    let semaphore = client.semaphore("a{b}c");
    semaphore.try_set_permits(1).await.expect("answers");
    let held = semaphore.acquire().await.expect("one");
    assert_eq!(value(&direct, &format!("{prefix}:a{{b}}c")), Some(0));
    let waiting = follow(semaphore.acquire());
    asleep(&client).await;
    assert_eq!(direct.numsub(&format!("redisson_sc:{prefix}:a{{b}}c")), 1);
    held.release().await.expect("confirmed");
    drop(got(waiting).await);
    close(client).await;
    let left = direct.cmd(&["KEYS", &format!("*{prefix}*")]).strings();
    assert_eq!(left, [format!("{prefix}:a{{b}}c")]);
}

/// Nothing happens for longer than a silent server would be put up with, and nobody takes that for silence.
#[tokio::test]
async fn an_idle_wait_is_no_silence() {
    let client = crate::kit::connect(&redlatch_support::Server::shared().url(), |builder| {
        builder
            .safety_poll(secs(20))
            .command_timeout(ms(200))
            .outage_patience(ms(300))
    })
    .await;
    let name = name("idle");
    let semaphore = client.semaphore(name.as_str());
    let waiting = [follow(semaphore.acquire()), follow(semaphore.acquire())];
    eventually_async("it has looked for itself", secs(10), async || {
        client.stats().wakeups_by_expiry >= 3
    })
    .await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    semaphore.release(2).await.expect("answers");
    for waiting in waiting {
        got(waiting).await.0.forget();
    }
    close(client).await;
}
