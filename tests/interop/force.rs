//! One side frees by force what the other holds.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use redlatch::{LockGuard, LossCause};
use redlatch_support::{jvm::jvm_or_skip, unique_name};

use crate::{
    common::{QUICK, Stage, WAKE_LIMIT, asleep, assert_lost, close, ms, quiet, wait_for},
    java::{JavaLock, assert_not_owner, wait_in_jvm},
};

/// The next renewal tells the holder, and one comes every third of the timeout; the rest is for a busy machine.
const TOLD: Duration = ms(1000 + 500);
const _: () = assert!(QUICK.as_millis() / 3 + 500 == TOLD.as_millis());

/// Waits until the guard knows.
async fn told(guard: &LockGuard, since: Instant) -> LossCause {
    let cause = tokio::time::timeout(TOLD, guard.lost())
        .await
        .unwrap_or_else(|_| {
            panic!(
                "{TOLD:?} after the forced unlock the guard still says {:?}",
                guard.state()
            )
        });
    println!("told {cause:?} after {:?}", since.elapsed());
    cause
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jvm_frees_a_rust_hold_for_a_jvm_waiter() {
    let Some(driver) = jvm_or_skip("the_jvm_frees_a_rust_hold_for_a_jvm_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::quick(driver).await;
    let (client, direct, name) = (
        stage.quick_client().await,
        stage.server.direct(),
        unique_name("force-taken"),
    );
    let jvm = &stage.jvm;
    let (breaker, waiter) = (JavaLock::new(jvm, &name), JavaLock::new(jvm, &name));
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    let waiting = wait_in_jvm(&direct, &name, &waiter).await;

    let forced = Instant::now();
    assert!(breaker.truth("forceunlock").await, "it was held");
    let (reply, granted) = waiting.await.expect("joins");
    reply.expect("granted after the forced unlock");
    let took = granted.saturating_duration_since(forced);
    assert!(
        took < WAKE_LIMIT,
        "the JVM waiter was in only after {took:?}"
    );

    assert_eq!(told(&guard, forced).await, LossCause::TakenOver);
    assert_lost(&guard.unlock().await);
    let held = BTreeMap::from([(waiter.owner().await, "1".to_owned())]);
    assert_eq!(direct.hgetall(&name), held, "our unlock touched it");
    waiter.unlock().await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jvm_frees_a_rust_hold_and_nobody_follows() {
    let Some(driver) = jvm_or_skip("the_jvm_frees_a_rust_hold_and_nobody_follows") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::quick(driver).await;
    let (client, direct, name) = (
        stage.quick_client().await,
        stage.server.direct(),
        unique_name("force-gone"),
    );
    let breaker = JavaLock::new(&stage.jvm, &name);
    let guard = client.lock(name.as_str()).lock().await.expect("free");

    let forced = Instant::now();
    assert!(breaker.truth("forceunlock").await, "it was held");
    assert_eq!(told(&guard, forced).await, LossCause::Vanished);
    assert!(!direct.exists(&name), "a renewal brought the lock back");
    assert_lost(&guard.unlock().await);
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jvm_frees_a_rust_hold_for_a_rust_waiter() {
    let Some(driver) = jvm_or_skip("the_jvm_frees_a_rust_hold_for_a_rust_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::quick(driver).await;
    let (client, other) = (stage.quick_client().await, stage.quick_client().await);
    let name = unique_name("force-rust");
    let breaker = JavaLock::new(&stage.jvm, &name);
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    let waiting = wait_for(other.lock(name.as_str()));
    asleep(&other).await;

    let forced = Instant::now();
    assert!(breaker.truth("forceunlock").await, "it was held");
    let (next, granted) = waiting.await.expect("joins");
    let next = next.expect("granted after the forced unlock");
    let took = granted.saturating_duration_since(forced);
    assert!(took < WAKE_LIMIT, "in only after {took:?}");
    assert_eq!(other.stats().wakeups_by_message, 1, "{:?}", other.stats());
    assert_eq!(told(&guard, forced).await, LossCause::TakenOver);
    assert_lost(&guard.unlock().await);
    assert!(
        !next.is_lost(),
        "the new holder lost it: {:?}",
        next.state()
    );
    next.unlock().await.expect("held");
    close(client).await;
    close(other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_frees_a_jvm_hold_for_a_rust_waiter() {
    let Some(driver) = jvm_or_skip("rust_frees_a_jvm_hold_for_a_rust_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::quick(driver).await;
    let (client, direct, name) = (
        stage.quick_client().await,
        stage.server.direct(),
        unique_name("force-jvm"),
    );
    let java = JavaLock::new(&stage.jvm, &name);
    java.lock().await;
    let lock = client.lock(name.as_str());
    let waiting = wait_for(lock.clone());
    asleep(&client).await;

    let forced = Instant::now();
    assert!(lock.raw().force_unlock().await.expect("answers"), "held");
    let (guard, granted) = waiting.await.expect("joins");
    let guard = guard.expect("granted after the forced unlock");
    let took = granted.saturating_duration_since(forced);
    assert!(took < WAKE_LIMIT, "in only after {took:?}");
    assert_eq!(client.stats().wakeups_by_message, 1, "{:?}", client.stats());

    assert!(!java.truth("isheld").await, "the JVM still holds it");
    assert_not_owner(&java.run("unlock", &[]).await);
    let ours = BTreeMap::from([(guard.owner_id(), "1".to_owned())]);
    assert_eq!(direct.hgetall(&name), ours, "the JVM's unlock touched it");
    assert!(!guard.is_lost(), "lost: {:?}", guard.state());
    guard.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_frees_a_jvm_hold_for_a_jvm_waiter() {
    let Some(driver) = jvm_or_skip("rust_frees_a_jvm_hold_for_a_jvm_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::quick(driver).await;
    let (client, direct, name) = (
        stage.quick_client().await,
        stage.server.direct(),
        unique_name("force-jvms"),
    );
    let jvm = &stage.jvm;
    let (java, waiter) = (JavaLock::new(jvm, &name), JavaLock::new(jvm, &name));
    java.lock().await;
    let waiting = wait_in_jvm(&direct, &name, &waiter).await;

    let forced = Instant::now();
    let answer = client.rlock(name.as_str()).force_unlock().await;
    assert!(answer.expect("answers"), "it was held");
    let (reply, granted) = waiting.await.expect("joins");
    reply.expect("granted after the forced unlock");
    let took = granted.saturating_duration_since(forced);
    assert!(
        took < WAKE_LIMIT,
        "the JVM waiter was in only after {took:?}"
    );
    assert_not_owner(&java.run("unlock", &[]).await);
    assert!(waiter.truth("isheld").await);
    waiter.unlock().await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_free_lock_is_not_freed() {
    let Some(driver) = jvm_or_skip("a_free_lock_is_not_freed") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::quick(driver).await;
    let (client, name) = (stage.quick_client().await, unique_name("force-free"));
    let java = JavaLock::new(&stage.jvm, &name);
    assert!(!java.truth("forceunlock").await);
    let answer = client.rlock(name.as_str()).force_unlock().await;
    assert!(!answer.expect("answers"));
    close(client).await;
}
