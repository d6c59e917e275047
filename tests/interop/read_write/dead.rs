//! What a dead reader leaves behind keeps writers out for its time to live and no longer.

use std::time::{Duration, Instant};

use redlatch::{Read, Write};
use redlatch_support::{
    Direct, Server, eventually_async,
    jvm::{Jvm, JvmOptions, jvm_or_skip},
    unique_name,
};

use super::marker;
use crate::{
    common::{LIMIT, QUICK, WAKE_LIMIT, close, direct, ms, quick_client, quick_jvm, quiet, secs},
    java::{JavaLock, answer},
    worker::{Order, Worker},
};

/// The dead one's marker lasts that long at most, and nothing tells when it is over.
const OVER: Duration = QUICK.saturating_add(ms(500));

/// The only reader there is, by its owner id.
async fn reader(direct: &Direct, name: &str) -> String {
    eventually_async("somebody reads", secs(10), async || direct.exists(name)).await;
    let mut hash = direct.hgetall(name);
    assert_eq!(hash.remove("mode").as_deref(), Some("read"));
    hash.into_keys().next().expect("a reader has a field")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_jvm_reader_does_not_keep_our_writer_out() {
    let Some(driver) = jvm_or_skip("a_dead_jvm_reader_does_not_keep_our_writer_out") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (quick_client().await, direct(), unique_name("dead-reader"));
    let options = JvmOptions::single(Server::shared().url()).watchdog(QUICK);
    let doomed = Jvm::start(driver, &options);
    let lock = client.read_write_lock(name.as_str());
    let java = JavaLock::<Read>::of(&doomed, &name);

    // Alone when it dies.
    java.lock().await;
    doomed.kill();
    let died = Instant::now();
    let guard = lock.write().wait(LIMIT).await.expect("granted in the end");
    let took = died.elapsed();
    println!("our writer in {took:?} after the only reader died");
    assert!(took < OVER, "{took:?}");
    guard.unlock().await.expect("held");

    // With a reader of ours, who stays longer than the dead one's marker and renews its own only.
    let doomed = Jvm::start(driver, &options);
    let java = JavaLock::<Read>::of(&doomed, &name);
    let zombie = java.owner().await;
    java.lock().await;
    let read = lock.read().await.expect("readers share");
    doomed.kill();
    let zombie = marker(&name, &zombie, 1);
    eventually_async("the marker is over", OVER, async || !direct.exists(&zombie)).await;
    assert_eq!(direct.hgetall(&name).len(), 3, "its field is still there");
    let released = Instant::now();
    read.unlock().await.expect("held");
    let guard = lock.write().wait(LIMIT).await.expect("granted in the end");
    let took = released.elapsed();
    println!("our writer in {took:?} after the last living reader left");
    assert!(took < WAKE_LIMIT, "{took:?}");
    guard.unlock().await.expect("held");
    assert!(!direct.exists(&name), "{:?}", direct.hgetall(&name));
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_reader_of_ours_does_not_keep_a_jvm_writer_out() {
    let Some(driver) = jvm_or_skip("a_dead_reader_of_ours_does_not_keep_a_jvm_writer_out") else {
        return;
    };
    let _quiet = quiet().await;
    let (direct, name) = (direct(), unique_name("dead-reader-of-ours"));
    let jvm = quick_jvm(driver);
    let order = Order {
        kind: "reader",
        port: Server::shared().port(),
        lock: &name,
        counter: "none",
        duration: Duration::ZERO,
        tasks: 1,
    };
    let writer = JavaLock::<Write>::of(jvm, &name);

    // Alone when it dies.
    let mut doomed = Worker::start("doomed", &order);
    doomed.go();
    reader(&direct, &name).await;
    drop(doomed);
    let died = Instant::now();
    answer(writer.begin("lock", &[])).await.expect("granted");
    let took = died.elapsed();
    println!("the JVM's writer in {took:?} after the only reader died");
    assert!(took < OVER, "{took:?}");
    writer.unlock().await;

    // With a JVM's reader, who stays longer than the dead one's marker.
    let mut doomed = Worker::start("doomed", &order);
    doomed.go();
    let zombie = marker(&name, &reader(&direct, &name).await, 1);
    let reading = JavaLock::<Read>::of(jvm, &name);
    reading.lock().await;
    drop(doomed);
    eventually_async("the marker is over", OVER, async || !direct.exists(&zombie)).await;
    let released = Instant::now();
    reading.unlock().await;
    answer(writer.begin("lock", &[])).await.expect("granted");
    let took = released.elapsed();
    println!("the JVM's writer in {took:?} after the last living reader left");
    assert!(took < WAKE_LIMIT, "{took:?}");
    writer.unlock().await;
    assert!(!direct.exists(&name), "{:?}", direct.hgetall(&name));
}
