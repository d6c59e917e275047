//! The laws of the latch.

use std::time::Instant;

use redlatch::Error;
use redlatch_support::eventually_async;

use crate::kit::{
    asleep, by_message, client, close, direct, follow, got, ms, name, secs, value, within,
};

#[tokio::test]
async fn an_open_latch_is_passed_at_once() {
    let (client, direct, name) = (client().await, direct(), name("open"));
    let latch = client.count_down_latch(name.as_str());
    latch.wait().await.expect("open");
    latch.wait().limit(secs(2)).await.expect("open");
    assert_eq!(client.stats().waits, 0, "at once");
    assert_eq!(latch.count().await.expect("answers"), 0);
    assert_eq!(latch.name(), name);
    assert!(!direct.exists(&name));
    close(client).await;
}

#[tokio::test]
async fn the_last_count_opens_it_for_all() {
    let name = name("all");
    let (one, two, direct) = (by_message().await, by_message().await, direct());
    let latch = one.count_down_latch(name.as_str());
    assert!(latch.try_set_count(2).await.expect("answers"));
    let waiting = [
        follow(one.count_down_latch(name.as_str()).wait()),
        follow(one.count_down_latch(name.as_str()).wait().limit(secs(10))),
        follow(two.count_down_latch(name.as_str()).wait()),
    ];
    asleep(&one).await;
    asleep(&two).await;
    eventually_async("both of one wait", secs(2), async || one.stats().waits == 2).await;
    latch.count_down().await.expect("answers");
    assert_eq!(latch.count().await.expect("answers"), 1);
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    let opened = Instant::now();
    latch.count_down().await.expect("answers");
    for waiting in waiting {
        let ((), seen) = got(waiting).await;
        within("woken by the last count", seen - opened, ms(500));
    }
    assert!(!direct.exists(&name));
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn a_wait_ends_with_its_limit() {
    let (client, name) = (client().await, name("limit"));
    let latch = client.count_down_latch(name.as_str());
    latch.try_set_count(1).await.expect("answers");
    let begun = Instant::now();
    let error = latch.wait().limit(ms(200)).await.expect_err("closed");
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(begun.elapsed() >= ms(200) && begun.elapsed() < secs(2));
    let error = latch.wait().limit(ms(0)).await.expect_err("closed");
    assert!(error.is_timeout(), "{error}");
    close(client).await;
}

#[tokio::test]
async fn the_count_never_falls_below_zero() {
    let (client, direct, name) = (client().await, direct(), name("below"));
    let latch = client.count_down_latch(name.as_str());
    latch.count_down().await.expect("answers");
    assert!(!direct.exists(&name));
    latch.try_set_count(1).await.expect("answers");
    for _ in 0..5 {
        latch.count_down().await.expect("answers");
        assert_eq!(latch.count().await.expect("answers"), 0);
        assert!(!direct.exists(&name));
    }
    latch.wait().await.expect("open");
    close(client).await;
}

#[tokio::test]
async fn deleting_it_opens_it() {
    let (client, name) = (by_message().await, name("delete"));
    let latch = client.count_down_latch(name.as_str());
    assert!(!latch.delete().await.expect("answers"));
    latch.try_set_count(7).await.expect("answers");
    let waiting = follow(latch.wait());
    asleep(&client).await;
    let deleted = Instant::now();
    assert!(latch.delete().await.expect("answers"));
    let ((), seen) = got(waiting).await;
    within("woken by the deletion", seen - deleted, ms(500));
    close(client).await;
}

#[tokio::test]
async fn the_count_is_set_once_until_it_is_open() {
    let (client, name) = (client().await, name("once"));
    let latch = client.count_down_latch(name.as_str());
    assert!(latch.try_set_count(1).await.expect("answers"));
    assert!(!latch.try_set_count(2).await.expect("answers"));
    latch.count_down().await.expect("answers");
    assert!(latch.try_set_count(2).await.expect("answers"));
    assert_eq!(latch.count().await.expect("answers"), 2);
    close(client).await;
}

#[tokio::test]
async fn a_count_of_zero_is_open_and_there() {
    let (client, direct, name) = (client().await, direct(), name("zero"));
    let latch = client.count_down_latch(name.as_str());
    assert!(latch.try_set_count(0).await.expect("answers"));
    assert_eq!(value(&direct, &name), Some(0));
    assert!(!latch.try_set_count(1).await.expect("answers"));
    latch.wait().await.expect("open");
    latch.count_down().await.expect("answers");
    assert!(!direct.exists(&name));
    close(client).await;
}

/// Counted down by many at once, to the very number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_count_down_at_once() {
    const TASKS: u64 = 16;
    let name = name("concurrent");
    let (one, two) = (by_message().await, by_message().await);
    let latch = one.count_down_latch(name.as_str());
    latch.try_set_count(TASKS * 10).await.expect("answers");
    let waiting = follow(latch.wait());
    asleep(&one).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let client = if task % 2 == 0 { &one } else { &two };
            let latch = client.count_down_latch(name.as_str());
            tokio::spawn(async move {
                for _ in 0..10 {
                    latch.count_down().await.expect("answers");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    got(waiting).await;
    assert!(latch.try_set_count(1).await.expect("answers"), "it is open");
    close(one).await;
    close(two).await;
}

#[tokio::test]
async fn closing_sends_waiters_home() {
    let (client, name) = (client().await, name("close"));
    let latch = client.count_down_latch(name.as_str());
    latch.try_set_count(1).await.expect("answers");
    let waiting = tokio::spawn(latch.wait().into_future());
    asleep(&client).await;
    client.close(secs(5)).await;
    let error = waiting.await.expect("joins").expect_err("closed");
    assert!(matches!(error, Error::Closed), "{error}");
    assert!(matches!(latch.count_down().await, Err(Error::Closed)));
}
