//! A holder that renews keeps the other side out for as long as it likes.

use std::time::{Duration, Instant};

use redlatch_support::{jvm::jvm_or_skip, unique_name};

use crate::{
    common::{QUICK, close, direct, ms, quick_client, quick_jvm, quiet},
    java::JavaLock,
};

/// Three times what the lock would last without renewals.
const KEPT: Duration = QUICK.saturating_mul(3);

/// Looks at the time to live until `end`: the least seen, and how often it rose.
async fn watch(name: &str, end: Instant) -> (i64, usize) {
    let direct = direct();
    let (mut least, mut rises) = (i64::MAX, 0);
    let mut last = direct.pttl(name);
    while Instant::now() < end {
        let ttl = direct.pttl(name);
        if ttl > last + 200 {
            rises += 1;
        }
        least = least.min(ttl);
        last = ttl;
        tokio::time::sleep(ms(50)).await;
    }
    (least, rises)
}

/// Renewals come every second: at least seven in nine seconds, with two seconds left each time.
#[track_caller]
fn assert_renewed(who: &str, (least, rises): (i64, usize)) {
    println!("{who}: renewed {rises} times in {KEPT:?}, never less than {least} ms left");
    assert!(rises >= 7, "{who} renewed only {rises} times in {KEPT:?}");
    assert!(least > 1_000, "{who} let the lock run down to {least} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jvm_keeps_rust_out_for_three_timeouts() {
    let Some(driver) = jvm_or_skip("the_jvm_keeps_rust_out_for_three_timeouts") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, name) = (quick_client().await, unique_name("renew-jvm"));
    let java = JavaLock::new(quick_jvm(driver), &name);
    java.lock().await;
    let begun = Instant::now();
    let (seen, waited) = tokio::join!(watch(&name, begun + KEPT), async {
        client.lock(name.as_str()).lock().wait(KEPT).await
    });
    let error = waited.expect_err("the JVM holds the lock all the time");
    assert!(error.is_timeout(), "{error}");
    assert!(begun.elapsed() >= KEPT, "gave up at {:?}", begun.elapsed());
    assert_renewed("the JVM", seen);
    assert!(java.truth("isheld").await, "the JVM lost the lock");
    java.unlock().await;
    let guard = client
        .lock(name.as_str())
        .try_lock()
        .await
        .expect("answers");
    guard.expect("free by now").unlock().await.expect("held");
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_keeps_the_jvm_out_for_three_timeouts() {
    let Some(driver) = jvm_or_skip("rust_keeps_the_jvm_out_for_three_timeouts") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, name) = (quick_client().await, unique_name("renew-rust"));
    let java = JavaLock::new(quick_jvm(driver), &name);
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    let begun = Instant::now();
    let wait = KEPT.as_millis().to_string();
    let wait = [wait.as_str(), "-1"];
    let (seen, waited) = tokio::join!(watch(&name, begun + KEPT), java.run("trylockfor", &wait));
    assert_eq!(waited.expect("answers").value, "false", "the JVM got in");
    assert!(begun.elapsed() >= KEPT, "gave up at {:?}", begun.elapsed());
    assert_renewed("Rust", seen);
    assert!(!guard.is_lost(), "lost: {:?}", guard.state());
    assert!(
        client.stats().renewals >= 7,
        "{} renewals",
        client.stats().renewals
    );
    guard.unlock().await.expect("held");
    assert!(java.try_lock().await, "the JVM is refused a free lock");
    java.unlock().await;
    close(client).await;
}
