//! Holds are counted the same way on both sides, and a lock is free only when all of them are given back.

use std::collections::BTreeMap;

use redlatch_support::{jvm::jvm_or_skip, unique_name};

use crate::{
    common::{client, close, direct, quiet, shared_jvm},
    java::JavaLock,
};

fn held(owner: &str, count: u32) -> BTreeMap<String, String> {
    BTreeMap::from([(owner.to_owned(), count.to_string())])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_counts_what_the_jvm_entered() {
    let Some(driver) = jvm_or_skip("rust_counts_what_the_jvm_entered") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("reentry-jvm"));
    let java = JavaLock::new(shared_jvm(driver), &name);
    let owner = java.owner().await;
    let lock = client.lock(name.as_str());

    for count in 1..=3 {
        java.lock().await;
        assert_eq!(direct.hgetall(&name), held(&owner, count), "entered");
    }
    assert_eq!(java.number("holdcount").await, 3);
    for count in [2, 1] {
        java.unlock().await;
        assert_eq!(direct.hgetall(&name), held(&owner, count), "left once");
        assert!(
            lock.raw().is_locked().await.expect("answers"),
            "Rust sees no lock at count {count}"
        );
        assert_eq!(
            lock.raw().hold_count().await.expect("answers"),
            0,
            "Rust counts the JVM's holds as its own"
        );
        let refused = lock.try_lock().await.expect("answers");
        assert!(refused.is_none(), "granted {refused:?} at count {count}");
    }
    java.unlock().await;
    assert!(!lock.raw().is_locked().await.expect("answers"));
    let guard = lock.try_lock().await.expect("answers").expect("free");
    guard.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jvm_counts_what_rust_entered() {
    let Some(driver) = jvm_or_skip("the_jvm_counts_what_rust_entered") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("reentry-rust"));
    let java = JavaLock::new(shared_jvm(driver), &name);
    let lock = client.lock(name.as_str());

    let mut guards = Vec::new();
    for count in 1..=3 {
        let guard = lock.try_lock().await.expect("answers").expect("enters");
        assert_eq!(
            direct.hgetall(&name),
            held(&guard.owner_id(), count),
            "entered"
        );
        guards.push(guard);
    }
    let owner = guards[0].owner_id();
    for count in [2, 1] {
        let guard = guards.pop().expect("three of them");
        guard.unlock().await.expect("held");
        assert_eq!(direct.hgetall(&name), held(&owner, count), "left once");
        assert!(
            java.truth("islocked").await,
            "the JVM sees no lock at count {count}"
        );
        assert!(
            !java.truth("isheld").await,
            "the JVM takes the hold for its own"
        );
        assert_eq!(java.number("holdcount").await, 0);
        assert!(!java.try_lock().await, "the JVM got in at count {count}");
    }
    let guard = guards.pop().expect("the last");
    guard.unlock().await.expect("held");
    assert!(!java.truth("islocked").await);
    assert!(java.try_lock().await, "the JVM is refused a free lock");
    java.unlock().await;
    assert!(!direct.exists(&name));
    close(client).await;
}
