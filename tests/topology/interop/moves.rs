//! A slot that moves under a waiter, with a JVM on the other side.

use std::time::{Duration, Instant};

use redlatch::ShardedPubSub;
use redlatch_support::{
    jvm::{JvmSharding, JvmThread, jvm_or_skip},
    slot_of,
};

use super::{jvm_on, ours_on, waits_in_jvm};
use crate::common::{asleep, close, ms, other_than, secs, stage};

/// The JVM frees its lock. Right after a move it may not have found its way yet, and says so.
async fn unlocks(thread: &JvmThread<'_>, name: &str) {
    let begun = Instant::now();
    while let Err(error) = thread.run("unlock", &["lock", name]).await {
        let lost = error.to_string();
        assert!(lost.contains("NodeNotFound"), "{lost}");
        assert!(begun.elapsed() < secs(10), "{lost}");
    }
}

/// Where two JVMs are 28 s late: the subscription went with the slot, and the holder frees the lock right after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_waiter_follows_its_slot_and_hears_the_jvm() {
    let Some(driver) = jvm_or_skip("our_waiter_follows_its_slot_and_hears_the_jvm") else {
        return;
    };
    let cluster = stage().await;
    let jvm = jvm_on(driver, &cluster, JvmSharding::Auto);
    let client = ours_on(&cluster, ShardedPubSub::Auto).await;
    let mut worst = Duration::ZERO;
    for master in 0..3 {
        let source = cluster.masters()[master];
        let name = cluster.name_on(source, "moves");
        let thread = JvmThread::new(&jvm);
        thread.value("lock", &["lock", &name]).await;
        let lock = client.lock(&*name);
        let waiting = tokio::spawn(async move {
            let guard = lock.lock().wait(secs(20)).await;
            (guard, Instant::now())
        });
        asleep(&client, 1).await;
        cluster.move_slot(slot_of(&name), other_than(&cluster, source));
        let begun = Instant::now();
        unlocks(&thread, &name).await;
        let freed = Instant::now();
        let (guard, granted) = waiting.await.expect("joins");
        guard.expect("granted").unlock().await.expect("held");
        let took = granted.saturating_duration_since(freed);
        println!(
            "the JVM's unlock took {:?}, ours was in {took:?} after it",
            freed - begun
        );
        worst = worst.max(took);
    }
    assert!(worst < ms(300), "{worst:?}");
    close(client).await;
}

/// Over the bus a JVM hears from wherever it listens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_hears_us_over_the_bus_wherever_its_slot_is() {
    let Some(driver) = jvm_or_skip("a_jvm_hears_us_over_the_bus_wherever_its_slot_is") else {
        return;
    };
    let cluster = stage().await;
    let jvm = jvm_on(driver, &cluster, JvmSharding::Off);
    let client = ours_on(&cluster, ShardedPubSub::Off).await;
    for master in 0..3 {
        let source = cluster.masters()[master];
        let name = cluster.name_on(source, "bus");
        let guard = client.lock(&*name).lock().await.expect("free");
        let thread = JvmThread::new(&jvm);
        let channel = format!("redisson_lock__channel:{{{name}}}");
        let args = ["lock", &*name];
        let waiting = waits_in_jvm(&cluster, &thread, "lock", &args, &name, &channel, 1).await;
        cluster.move_slot(slot_of(&name), other_than(&cluster, source));
        let freed = Instant::now();
        guard.unlock().await.expect("held");
        let took = waiting
            .await
            .expect("joins")
            .saturating_duration_since(freed);
        println!("the JVM is in {took:?} after our unlock on another master");
        // With a first connection to the other master in it.
        assert!(took < secs(2), "{took:?}");
        unlocks(&thread, &name).await;
    }
    close(client).await;
}
