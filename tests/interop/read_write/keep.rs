//! Who holds keeps the other side out for as long as it likes: hash and markers are renewed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use redlatch::{Owner, Read, Write};
use redlatch_support::{Direct, jvm::jvm_or_skip, unique_name};

use super::{hash, marker};
use crate::{
    common::{QUICK, close, direct, ms, quick_client, quick_jvm, quiet},
    java::JavaLock,
};

/// Three times what a hold would last without renewals.
const KEPT: Duration = QUICK.saturating_mul(3);

/// Looks until `end`: the hash stays what it is, and none of the keys ever has less than a second left, which is what
/// a renewal each second leaves, with a second for a busy machine.
async fn assert_kept(direct: &Direct, key: &str, due: BTreeMap<String, String>, more: &[String]) {
    let end = Instant::now() + KEPT;
    let mut least = i64::MAX;
    while Instant::now() < end {
        assert_eq!(direct.hgetall(key), due, "the hash of {key:?}");
        for key in [key].into_iter().chain(more.iter().map(String::as_str)) {
            let left = direct.pttl(key);
            assert!(left > 800, "{key:?} has {left} ms left");
            least = least.min(left);
        }
        tokio::time::sleep(ms(50)).await;
    }
    println!("kept for {KEPT:?}, never less than {least} ms left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_keep_writers_out_for_three_timeouts() {
    let Some(driver) = jvm_or_skip("readers_keep_writers_out_for_three_timeouts") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, jvm) = (quick_client().await, direct(), quick_jvm(driver));
    let wait = KEPT.as_millis().to_string();
    let wait = [wait.as_str(), "-1"];

    // A reader of ours, in twice, and a JVM's writer.
    let name = unique_name("keep-rust");
    let owner = Owner::fresh();
    let id = format!("{}:{owner}", client.id());
    let lock = client.read_write_lock(name.as_str()).with_owner(owner);
    let guards = [
        lock.read().await.expect("free"),
        lock.read().await.expect("enters again"),
    ];
    let java_writer = JavaLock::<Write>::of(jvm, &name);
    let markers = [marker(&name, &id, 1), marker(&name, &id, 2)];

    // A JVM's reader, in twice, and a writer of ours.
    let other = unique_name("keep-jvm");
    let java = JavaLock::<Read>::of(jvm, &other);
    let java_id = java.owner().await;
    java.lock().await;
    java.lock().await;
    let java_markers = [marker(&other, &java_id, 1), marker(&other, &java_id, 2)];
    let writer = client.read_write_lock(other.as_str());

    let ((), (), jvm_waited, we_waited) = tokio::join!(
        assert_kept(&direct, &name, hash("read", &[(&id, 2)]), &markers),
        assert_kept(
            &direct,
            &other,
            hash("read", &[(&java_id, 2)]),
            &java_markers
        ),
        java_writer.run("trylockfor", &wait),
        async { writer.write().wait(KEPT).await },
    );
    assert_eq!(jvm_waited.expect("answers").value, "false");
    assert!(we_waited.is_err_and(|error| error.is_timeout()));

    for guard in guards {
        guard.unlock().await.expect("held");
    }
    java.unlock().await;
    java.unlock().await;
    assert!(java_writer.try_lock().await, "free by now");
    java_writer.unlock().await;
    let tried = writer.write_lock().try_lock().await.expect("answers");
    tried.expect("free by now").unlock().await.expect("held");
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_keep_readers_out_for_three_timeouts() {
    let Some(driver) = jvm_or_skip("writers_keep_readers_out_for_three_timeouts") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, jvm) = (quick_client().await, direct(), quick_jvm(driver));
    let wait = KEPT.as_millis().to_string();
    let wait = [wait.as_str(), "-1"];

    // A writer of ours, who has also read; the JVM's own would no longer be renewed then.
    let name = unique_name("keep-write");
    let owner = Owner::fresh();
    let field = format!("{}:{owner}:write", client.id());
    let lock = client.read_write_lock(name.as_str()).with_owner(owner);
    let guard = lock.write().await.expect("free");
    let read = lock.read().await.expect("a writer may read");
    read.unlock().await.expect("held");
    let java_reader = JavaLock::<Read>::of(jvm, &name);

    // A JVM's writer.
    let other = unique_name("keep-jvm-write");
    let java = JavaLock::<Write>::of(jvm, &other);
    let java_field = format!("{}:write", java.owner().await);
    java.lock().await;
    let reader = client.read_write_lock(other.as_str());

    let ((), (), jvm_waited, we_waited) = tokio::join!(
        assert_kept(&direct, &name, hash("write", &[(&field, 1)]), &[]),
        assert_kept(&direct, &other, hash("write", &[(&java_field, 1)]), &[]),
        java_reader.run("trylockfor", &wait),
        async { reader.read().wait(KEPT).await },
    );
    assert_eq!(jvm_waited.expect("answers").value, "false");
    assert!(we_waited.is_err_and(|error| error.is_timeout()));
    guard.unlock().await.expect("held");
    java.unlock().await;
    close(client).await;
}
