//! Who does not hold the lock cannot give it back, on either side.

use redlatch::Error;
use redlatch_support::{jvm::jvm_or_skip, unique_name};

use crate::{
    common::{client, close, direct, quiet, shared_jvm},
    java::{JavaLock, assert_not_owner},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_cannot_unlock_what_the_jvm_holds() {
    let Some(driver) = jvm_or_skip("rust_cannot_unlock_what_the_jvm_holds") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("foreign-jvm"));
    let java = JavaLock::new(shared_jvm(driver), &name);
    java.lock().await;
    let before = direct.hgetall(&name);
    let answer = client.rlock(name.as_str()).unlock().await;
    assert!(
        matches!(answer, Err(Error::NotHeld { .. })),
        "Error::NotHeld was due, not {answer:?}"
    );
    assert_eq!(direct.hgetall(&name), before, "the JVM's hold was touched");
    assert!(java.truth("isheld").await);
    java.unlock().await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jvm_cannot_unlock_what_rust_holds() {
    let Some(driver) = jvm_or_skip("the_jvm_cannot_unlock_what_rust_holds") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("foreign-rust"));
    let java = JavaLock::new(shared_jvm(driver), &name);
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    let before = direct.hgetall(&name);
    assert_not_owner(&java.run("unlock", &[]).await);
    assert_eq!(direct.hgetall(&name), before, "our hold was touched");
    assert!(!guard.is_lost(), "lost: {:?}", guard.state());
    guard.unlock().await.expect("held");
    assert_not_owner(&java.run("unlock", &[]).await);
    close(client).await;
}
