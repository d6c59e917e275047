//! `Client::inspect` sees what a JVM did.

use redlatch_support::{eventually_async, jvm::jvm_or_skip, unique_name};

use crate::{
    common::{client, close, direct, quiet, secs, shared_jvm, subscribers, wait_for},
    java::{JavaLock, follow},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_hold_is_seen_with_its_waiters() {
    let Some(driver) = jvm_or_skip("a_jvm_hold_is_seen_with_its_waiters") else {
        return;
    };
    let _quiet = quiet().await;
    let (looker, client, direct) = (client().await, client().await, direct());
    let name = unique_name("inspect-jvm");
    let jvm = shared_jvm(driver);
    let (holder, waiter) = (JavaLock::new(jvm, &name), JavaLock::new(jvm, &name));

    let free = looker.inspect(name.as_str()).await.expect("answers");
    assert!(!free.is_locked() && free.ttl.is_none(), "{free:?}");

    holder.lock().await;
    holder.lock().await;
    let seen = looker.inspect(name.as_str()).await.expect("answers");
    let holders: Vec<_> = seen.holders.iter().map(|h| (&*h.id, h.holds)).collect();
    assert_eq!(holders, [(holder.owner().await.as_str(), 2)]);
    let ttl = seen.ttl.expect("a lock of Redisson has a time to live");
    assert!(ttl > secs(15) && ttl <= secs(30), "{ttl:?}");
    assert_eq!(seen.waiting_clients, 0);

    // A JVM thread first, then a task of ours: each client counts once.
    let java_waits = follow(waiter.begin("lock", &[]));
    subscribers(&direct, &name, 1).await;
    let seen = looker.inspect(name.as_str()).await.expect("answers");
    assert_eq!(seen.waiting_clients, 1, "{seen:?}");
    let rust_waits = wait_for(client.lock(name.as_str()));
    eventually_async("two waiting clients", secs(5), async || {
        let seen = looker.inspect(name.as_str()).await.expect("answers");
        seen.waiting_clients == 2 && seen.holders.len() == 1
    })
    .await;

    holder.unlock().await;
    let seen = looker.inspect(name.as_str()).await.expect("answers");
    assert_eq!(seen.holders[0].holds, 1, "{seen:?}");
    holder.unlock().await;

    // Both waiters get in, one after the other.
    let java_turn = async {
        let (reply, _) = java_waits.await.expect("joins");
        reply.expect("granted in the end");
        waiter.unlock().await;
    };
    let rust_turn = async {
        let (guard, _) = rust_waits.await.expect("joins");
        let guard = guard.expect("granted in the end");
        guard.unlock().await.expect("held");
    };
    tokio::join!(java_turn, rust_turn);
    let seen = looker.inspect(name.as_str()).await.expect("answers");
    assert!(!seen.is_locked(), "{seen:?}");
    close(looker).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rust_hold_is_seen_with_a_jvm_waiter() {
    let Some(driver) = jvm_or_skip("a_rust_hold_is_seen_with_a_jvm_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("inspect-rust"));
    let waiter = JavaLock::new(shared_jvm(driver), &name);
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    let java_waits = follow(waiter.begin("lock", &[]));
    subscribers(&direct, &name, 1).await;
    let seen = client.inspect(name.as_str()).await.expect("answers");
    let holders: Vec<_> = seen.holders.iter().map(|h| (&*h.id, h.holds)).collect();
    assert_eq!(holders, [(guard.owner_id().as_str(), 1)]);
    assert_eq!(seen.waiting_clients, 1, "{seen:?}");
    guard.unlock().await.expect("held");
    let (reply, _) = java_waits.await.expect("joins");
    reply.expect("granted after the unlock");
    let seen = client.inspect(name.as_str()).await.expect("answers");
    assert_eq!(seen.holders[0].id, waiter.owner().await, "{seen:?}");
    waiter.unlock().await;
    close(client).await;
}
