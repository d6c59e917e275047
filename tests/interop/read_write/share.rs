//! Readers share, writers do not, and each side sees what the other holds.

use redlatch::{Owner, Read, Write};
use redlatch_support::{jvm::jvm_or_skip, unique_name};

use super::{assert_markers, hash};
use crate::{
    common::{client, close, direct, quiet, shared_jvm},
    java::{JavaLock, assert_not_owner},
};

/// With the watchdog's 30 s, and a machine that may be busy.
const FULL: (i64, i64) = (25_000, 30_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_both_sides_share() {
    let Some(driver) = jvm_or_skip("readers_of_both_sides_share") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("share"));
    let jvm = shared_jvm(driver);
    let (java, other) = (
        JavaLock::<Read>::of(jvm, &name),
        JavaLock::<Write>::of(jvm, &name),
    );
    let java_id = java.owner().await;
    let owner = Owner::fresh();
    let id = format!("{}:{owner}", client.id());
    let lock = client.read_write_lock(name.as_str());
    let ours = lock.with_owner(owner);

    let check = |rust: u32, jvm: u32| {
        let fields = [(id.as_str(), rust), (java_id.as_str(), jvm)];
        let fields: Vec<_> = fields.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(direct.hgetall(&name), hash("read", &fields));
        assert_markers(&direct, &name, &id, rust, FULL.0, FULL.1);
        assert_markers(&direct, &name, &java_id, jvm, FULL.0, FULL.1);
    };
    java.lock().await;
    check(0, 1);
    let first = ours.read().await.expect("readers share");
    check(1, 1);
    java.lock().await;
    check(1, 2);
    let second = ours.read().await.expect("enters again");
    check(2, 2);

    // Nobody writes meanwhile, not even who reads; everybody sees that somebody reads.
    assert!(!other.try_lock().await);
    assert!(!java.other::<Write>().try_lock().await);
    for lock in [&lock, &ours] {
        let tried = lock.write_lock().try_lock().await.expect("answers");
        assert!(tried.is_none(), "{tried:?} beside readers");
    }
    check(2, 2);
    assert!(java.truth("islocked").await && !other.truth("islocked").await);
    assert_eq!(java.number("holdcount").await, 2);
    let read = lock.read_lock().raw();
    assert!(read.is_locked().await.expect("answers"));
    assert!(!lock.write_lock().raw().is_locked().await.expect("answers"));
    assert_eq!(read.hold_count().await.expect("answers"), 0);
    let raw = ours.read_lock().raw();
    assert_eq!(raw.hold_count().await.expect("answers"), 2);
    let left = direct.pttl(&name);
    let seen = java.number("ttl").await;
    assert!(seen <= left && seen > left - 2_000, "{seen} of {left} ms");

    java.unlock().await;
    check(2, 1);
    second.unlock().await.expect("held");
    check(1, 1);
    java.unlock().await;
    check(1, 0);
    assert_not_owner(&java.run("unlock", &[]).await);
    check(1, 0);
    first.unlock().await.expect("held");
    assert!(!direct.exists(&name), "{:?}", direct.hgetall(&name));
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_shares_with_nobody() {
    let Some(driver) = jvm_or_skip("a_writer_shares_with_nobody") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("alone"));
    let jvm = shared_jvm(driver);
    let (java_read, java_write) = (
        JavaLock::<Read>::of(jvm, &name),
        JavaLock::<Write>::of(jvm, &name),
    );
    let lock = client.read_write_lock(name.as_str());
    let owner = Owner::fresh();
    let ours = lock.with_owner(owner);
    let id = format!("{}:{owner}", client.id());
    let field = format!("{id}:write");

    // Ours: enters again, reads as well.
    let write = ours.write().await.expect("free");
    let again = ours.write().await.expect("enters again");
    let read = ours.read().await.expect("a writer may read");
    let held = hash("write", &[(&field, 2), (&id, 1)]);
    assert_eq!(direct.hgetall(&name), held);
    assert_markers(&direct, &name, &id, 1, FULL.0, FULL.1);
    assert!(!java_read.try_lock().await && !java_write.try_lock().await);
    assert!(java_write.truth("islocked").await && java_read.truth("islocked").await);
    assert_eq!(java_write.number("holdcount").await, 0);
    assert_eq!(direct.hgetall(&name), held);
    read.unlock().await.expect("held");
    assert_eq!(direct.hgetall(&name), hash("write", &[(&field, 2)]));
    assert!(!java_read.truth("islocked").await);
    write.unlock().await.expect("held");
    assert_eq!(direct.hgetall(&name), hash("write", &[(&field, 1)]));
    assert!(!java_read.try_lock().await && !java_write.try_lock().await);
    again.unlock().await.expect("held");
    assert!(!direct.exists(&name), "{:?}", direct.hgetall(&name));

    // The JVM's.
    let java_id = java_write.owner().await;
    let java_field = format!("{java_id}:write");
    let java_own_read = java_write.other::<Read>();
    java_write.lock().await;
    java_write.lock().await;
    java_own_read.lock().await;
    let held = hash("write", &[(&java_field, 2), (&java_id, 1)]);
    assert_eq!(direct.hgetall(&name), held);
    for lock in [
        lock.read_lock().try_lock().await,
        ours.read_lock().try_lock().await,
    ] {
        let tried = lock.expect("answers");
        assert!(tried.is_none(), "{tried:?} beside a writer");
    }
    let tried = lock.write_lock().try_lock().await.expect("answers");
    assert!(tried.is_none(), "{tried:?} beside a writer");
    assert!(lock.read_lock().raw().is_locked().await.expect("answers"));
    assert!(lock.write_lock().raw().is_locked().await.expect("answers"));
    assert_eq!(direct.hgetall(&name), held);
    java_own_read.unlock().await;
    java_write.unlock().await;
    assert!(!lock.read_lock().raw().is_locked().await.expect("answers"));
    assert_eq!(direct.hgetall(&name), hash("write", &[(&java_field, 1)]));
    java_write.unlock().await;
    assert!(!direct.exists(&name), "{:?}", direct.hgetall(&name));
    close(client).await;
}
