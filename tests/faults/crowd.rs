//! There are so many places to wait and no more; what is free is had all the same.

use std::future::IntoFuture;

use redlatch::{AnyLock, Client, Error, Kind, Lock, MultiLock, Owner, Result};
use redlatch_support::{Server, eventually_async};
use tokio::task::JoinSet;

use crate::kit::{close, connect, ms, secs};

fn fresh<K: Kind>(lock: &Lock<K>) -> Lock<K> {
    lock.clone().with_owner(Owner::fresh())
}

/// Sends the caller home with the typed error.
#[track_caller]
fn no_place<T: std::fmt::Debug>(outcome: Result<T>, limit: usize) {
    let error = outcome.expect_err("no place");
    let Error::TooManyWaiters { limit: seen, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*seen, limit, "{error}");
    assert!(error.is_retryable());
    assert!(error.to_string().contains(&limit.to_string()), "{error}");
}

/// As many waiters for a held lock as `count`.
async fn fill<K: Kind>(client: &Client, lock: &Lock<K>, count: u64) -> JoinSet<()> {
    let waits = client.stats().waits;
    let mut waiting = JoinSet::new();
    for _ in 0..count {
        let lock = fresh(lock);
        waiting.spawn(async move {
            let guard = lock.lock().wait(secs(60)).await.expect("handed over");
            guard.unlock().await.expect("held");
        });
    }
    // In line behind one that sleeps, or each asleep, where each asks for itself.
    let name = lock.name().to_owned();
    let kind = AnyLock::from(lock).kind();
    let lined = !kind.contains("fair") && kind != "group";
    eventually_async("all wait", secs(10), async || {
        let seen = client.inspect(&*name).await.expect("answers");
        let waiting = client.stats().waits - waits;
        waiting == count || lined && waiting > 0 && seen.waiting_here as u64 >= count
    })
    .await;
    waiting
}

/// The places are taken one by one and are free again when their waiters have left, by grant or by giving up.
async fn lives<K: Kind>(client: &Client, lock: Lock<K>) {
    const LIMIT: usize = 5;
    let guard = fresh(&lock).lock().await.expect("free");
    let mut waiting = fill(client, &lock, LIMIT as u64).await;
    no_place(fresh(&lock).lock().wait(secs(5)).await, LIMIT);
    waiting.abort_all();
    while waiting.join_next().await.is_some() {}
    // One who gives up in time is no obstacle for the next.
    for _ in 0..2 * LIMIT {
        let left = fresh(&lock).lock().wait(ms(5)).await;
        let error = left.expect_err("is held");
        assert!(error.is_timeout(), "{}: {error:?}", lock.name());
    }
    let mut waiting = fill(client, &lock, LIMIT as u64).await;
    guard.unlock().await.expect("held");
    while let Some(served) = waiting.join_next().await {
        served.expect("served");
    }
    let guard = fresh(&lock).lock().await.expect("free");
    guard.unlock().await.expect("held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_name_has_so_many_places_to_wait() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| builder.max_waiters_per_name(5)).await;
    lives(&client, client.lock("plain")).await;
    lives(&client, client.fair_lock("fair")).await;
    lives(&client, client.fenced_lock("fenced")).await;
    lives(&client, client.group_lock("group", ["a"])).await;
    lives(&client, client.read_write_lock("rw").write_lock().clone()).await;

    let semaphore = client.semaphore("permits");
    let mut waiting = JoinSet::new();
    for _ in 0..5 {
        waiting.spawn(semaphore.acquire().wait(secs(60)).into_future());
    }
    eventually_async("all wait", secs(10), async || {
        client.stats().waits >= 5 && client.residue().contains("sleepers: 1")
    })
    .await;
    eventually_async("no place is left", secs(10), async || {
        let outcome = semaphore.acquire().wait(ms(50)).await;
        matches!(outcome, Err(Error::TooManyWaiters { limit: 5, .. }))
    })
    .await;
    semaphore.release(6).await.expect("never waits");
    while let Some(served) = waiting.join_next().await {
        served.expect("joins").expect("served").forget();
    }
    let permit = semaphore.acquire().await.expect("there is one more");
    permit.release().await.expect("given back");
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_full_still_takes_what_is_free() {
    let server = Server::start();
    let client = connect(&server.url(), |builder| {
        builder.max_waiters(6).max_waiters_per_name(4)
    })
    .await;
    let (one, other) = (client.lock("one"), client.lock("other"));
    let held = [
        fresh(&one).lock().await.expect("free"),
        fresh(&other).lock().await.expect("free"),
    ];
    let mut waiting = fill(&client, &one, 4).await;
    no_place(fresh(&one).lock().await, 4);
    let mut rest = fill(&client, &other, 2).await;
    no_place(fresh(&other).lock().await, 6);
    // All members or a majority of them: an end at once, and none is kept.
    let members = || [client.lock("two"), fresh(&other)];
    let all = MultiLock::new(members()).expect("two of them");
    no_place(all.lock().await.map(drop), 6);
    let most = MultiLock::majority(members()).expect("two of them");
    no_place(most.lock().await.map(drop), 6);
    eventually_async("the free member is free again", secs(5), async || {
        let guard = fresh(&client.lock("two")).try_lock().await;
        guard.expect("answers").is_some()
    })
    .await;
    let guard = client.lock("three").lock().await.expect("free");
    guard.unlock().await.expect("held");
    for guard in held {
        guard.unlock().await.expect("held");
    }
    for waiting in [&mut waiting, &mut rest] {
        while let Some(served) = waiting.join_next().await {
            served.expect("served");
        }
    }
    close(client).await;
}
