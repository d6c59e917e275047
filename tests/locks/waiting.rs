//! Standing in line: order, shared subscriptions, callers that would not wait.

use std::sync::{Arc, Mutex};

use redlatch::Owner;
use redlatch_support::{Server, eventually_async};

use crate::common::{client, close, direct, ms, name, secs};

#[tokio::test]
async fn one_process_is_served_in_the_order_it_came() {
    let (client, name) = (client().await, name("order"));
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..20 {
        let lock = client.lock(name.as_str()).with_owner(Owner::fresh());
        let order = order.clone();
        tasks.push(tokio::spawn(async move {
            let guard = lock.lock().wait(secs(20)).await.expect("granted");
            order.lock().expect("no panic").push(number);
            guard.unlock().await.expect("held");
        }));
        let waiting = number + 1;
        eventually_async("it stands in line", secs(5), async || {
            let seen = client.inspect(name.as_str()).await.expect("answers");
            seen.waiting_here == waiting
        })
        .await;
    }
    guard.unlock().await.expect("held");
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(
        *order.lock().expect("no panic"),
        (0..20).collect::<Vec<_>>()
    );
    close(client).await;
}

#[tokio::test]
async fn a_name_is_subscribed_to_once_however_many_wait() {
    let server = Server::start();
    let client = redlatch::Client::connect(server.url())
        .await
        .expect("connects");
    let holder = redlatch::Client::connect(server.url())
        .await
        .expect("connects");
    let guard = holder.lock("shared").lock().await.expect("free");
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let lock = client.lock("shared").with_owner(Owner::fresh());
            tokio::spawn(async move { lock.lock().wait(secs(20)).await?.unlock().await })
        })
        .collect();
    let direct = server.direct();
    let channel = "redisson_lock__channel:{shared}";
    eventually_async("they wait", secs(5), async || direct.numsub(channel) == 1).await;
    guard.unlock().await.expect("held");
    for task in tasks {
        task.await.expect("joins").expect("granted");
    }
    eventually_async("the subscription ends", secs(5), async || {
        direct.numsub(channel) == 0
    })
    .await;
    assert_eq!(direct.command_calls("subscribe"), 1);
    assert_eq!(direct.command_calls("unsubscribe"), 1);
    close(client).await;
    close(holder).await;
}

#[tokio::test]
async fn many_who_would_not_wait_share_one_question() {
    let (client, holder, name) = (client().await, client().await, name("impatient"));
    let guard = holder.lock(name.as_str()).lock().await.expect("free");
    let attempts = client.stats().attempts;
    let tries = (0..100).map(|_| {
        let lock = client.lock(name.as_str()).with_owner(Owner::fresh());
        tokio::spawn(async move { lock.try_lock().await })
    });
    for tried in tries.collect::<Vec<_>>() {
        assert!(tried.await.expect("joins").expect("answers").is_none());
    }
    let asked = client.stats().attempts - attempts;
    assert!(
        asked < 50,
        "{asked} questions for a hundred callers that came together"
    );
    guard.unlock().await.expect("held");
    let tries = (0..100).map(|_| {
        let lock = client.lock(name.as_str()).with_owner(Owner::fresh());
        tokio::spawn(async move { lock.try_lock().await })
    });
    let mut guards = Vec::new();
    for tried in tries.collect::<Vec<_>>() {
        guards.extend(tried.await.expect("joins").expect("answers"));
    }
    assert_eq!(guards.len(), 1, "a free lock is taken by exactly one");
    drop(guards);
    close(client).await;
    close(holder).await;
}

#[tokio::test]
async fn a_lease_that_runs_out_lets_the_next_in_on_time() {
    let (client, name) = (client().await, name("expiry"));
    let guard = client
        .lock(name.as_str())
        .lock()
        .lease(ms(800))
        .await
        .expect("free");
    let started = std::time::Instant::now();
    let next = client.lock(name.as_str()).with_owner(Owner::fresh());
    let next = next.lock().wait(secs(10)).await.expect("granted");
    let took = started.elapsed();
    assert!((ms(700)..ms(1_000)).contains(&took), "{took:?}");
    assert!(guard.is_lost());
    drop(guard);
    next.unlock()
        .await
        .expect("the old guard's drop left it alone");
    close(client).await;
}

#[tokio::test]
async fn closing_ends_every_wait() {
    let (client, holder, name) = (client().await, client().await, name("closing"));
    let guard = holder.lock(name.as_str()).lock().await.expect("free");
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let lock = client.lock(name.as_str()).with_owner(Owner::fresh());
            tokio::spawn(async move { lock.lock().await.map(drop) })
        })
        .collect();
    eventually_async("they wait", secs(5), async || {
        client
            .inspect(name.as_str())
            .await
            .expect("answers")
            .waiting_here
            == 10
    })
    .await;
    client.close(secs(5)).await;
    for task in tasks {
        let error = task.await.expect("joins").expect_err("closed");
        assert!(matches!(error, redlatch::Error::Closed), "{error}");
    }
    assert_eq!(
        direct().hgetall(&name).len(),
        1,
        "the holder's lock is untouched"
    );
    guard.unlock().await.expect("held");
    close(holder).await;
}
