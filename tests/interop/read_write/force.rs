//! One side frees by force what the other holds, readers and writers apart.

use std::time::{Duration, Instant};

use redlatch::{Kind, LockGuard, Read, Write};
use redlatch_support::{jvm::jvm_or_skip, unique_name};

use crate::{
    common::{QUICK, Stage, WAKE_LIMIT, asleep, assert_lost, close, ms, quiet, wait_for},
    java::{JavaLock, assert_not_owner, wait_in_jvm},
    kinds::Shared,
};

/// The next renewal tells the holder, and one comes every third of the timeout; the rest is for a busy machine.
const TOLD: Duration = ms(1500);
const _: () = assert!(QUICK.as_millis() / 3 + 500 == TOLD.as_millis());

async fn told<K: Kind>(guard: &LockGuard<K>) {
    let told = tokio::time::timeout(TOLD, guard.lost()).await;
    told.unwrap_or_else(|_| panic!("the guard still says {:?}", guard.state()));
}

/// The JVM frees a hold of ours of kind `H`, for which a JVM thread waits as a `W`; the other side cannot be freed.
async fn the_jvm_frees<H: Shared, W: Shared>(stage: &Stage) {
    let (client, direct, name) = (
        stage.quick_client().await,
        stage.server.direct(),
        unique_name("force-side"),
    );
    let guard = H::of(&client, &name).lock().await.expect("free");
    let waiter = JavaLock::<W>::of(&stage.jvm, &name);
    let id = waiter.owner().await;
    let waiting = wait_in_jvm(&direct, &name, &waiter).await;
    let breaker = JavaLock::<H>::of(&stage.jvm, &name);
    if H::JAVA != W::JAVA {
        assert!(!breaker.other::<W>().truth("forceunlock").await);
    }
    let forced = Instant::now();
    assert!(breaker.truth("forceunlock").await, "it was held");
    let (reply, granted) = waiting.await.expect("joins");
    reply.expect("granted after the forced unlock");
    let took = granted.saturating_duration_since(forced);
    assert!(took < WAKE_LIMIT, "the JVM was in only after {took:?}");
    told(&guard).await;
    assert_lost(&guard.unlock().await);
    assert_eq!(direct.hgetall(&name), W::hash(&id), "our unlock touched it");
    waiter.unlock().await;
    assert!(!direct.exists(&name), "{:?}", direct.hgetall(&name));
    close(client).await;
}

/// We free a JVM's hold of kind `H`, for which we wait as a `W`; the other side cannot be freed.
async fn we_free<H: Shared, W: Shared>(stage: &Stage) {
    let (client, direct, name) = (
        stage.quick_client().await,
        stage.server.direct(),
        unique_name("force-jvm-side"),
    );
    let java = JavaLock::<H>::of(&stage.jvm, &name);
    java.lock().await;
    let wanted = W::of(&client, &name);
    let waiting = wait_for(wanted.clone());
    asleep(&client).await;
    if H::JAVA != W::JAVA {
        let freed = wanted.raw().force_unlock().await.expect("answers");
        assert!(!freed, "freed a side that nobody held");
    }
    let forced = Instant::now();
    let freed = H::of(&client, &name).raw().force_unlock().await;
    assert!(freed.expect("answers"), "it was held");
    let (guard, granted) = waiting.await.expect("joins");
    let guard = guard.expect("granted after the forced unlock");
    let took = granted.saturating_duration_since(forced);
    assert!(took < WAKE_LIMIT, "in only after {took:?}");
    assert_not_owner(&java.run("unlock", &[]).await);
    let id = format!("{}:{}", client.id(), guard.owner());
    assert_eq!(direct.hgetall(&name), W::hash(&id), "the JVM touched it");
    assert!(!guard.is_lost(), "lost: {:?}", guard.state());
    guard.unlock().await.expect("held");
    assert!(!direct.exists(&name), "{:?}", direct.hgetall(&name));
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_side_is_freed_by_force_alone() {
    let Some(driver) = jvm_or_skip("each_side_is_freed_by_force_alone") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::quick(driver).await;
    the_jvm_frees::<Read, Write>(&stage).await;
    the_jvm_frees::<Write, Read>(&stage).await;
    the_jvm_frees::<Write, Write>(&stage).await;
    we_free::<Read, Write>(&stage).await;
    we_free::<Write, Read>(&stage).await;
    we_free::<Write, Write>(&stage).await;
}
