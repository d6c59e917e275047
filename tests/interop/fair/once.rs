//! Trying once never gets in front of the queue, and a lock that is gone cannot be unlocked.

use std::time::Instant;

use redlatch::Fair;
use redlatch_support::{
    Server, eventually_async,
    jvm::{Jvm, JvmOptions, jvm_or_skip},
    unique_name,
};

use super::line::{Holder, Line, Side};
use crate::{
    common::{assert_lost, client, close, direct, ms, quiet, secs, shared_jvm},
    java::JavaLock,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_front_of_a_head_that_takes_its_time() {
    let Some(driver) = jvm_or_skip("nobody_gets_in_front_of_a_head_that_takes_its_time") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct) = (client().await, direct());
    let jvm = shared_jvm(driver);
    let slow = Jvm::start(driver, &JvmOptions::single(Server::shared().url()));
    for side in [Side::Rust(&client), Side::Java(jvm)] {
        let name = unique_name("slow-head");
        let holder = Holder::<Fair>::take(side, &name).await;
        let mut line = Line::<Fair>::new(&direct, &name);
        line.join(Side::Java(&slow)).await;
        // It hears that it is its turn and cannot act on it.
        slow.freeze();
        holder.unlock().await;
        assert!(!direct.exists(&name), "free, and somebody's turn");
        line.queue.assert_is(&line.ids);

        let java = JavaLock::<Fair>::of(jvm, &name);
        assert!(!java.try_lock().await, "the JVM got in front of the head");
        let lock = client.fair_lock(name.as_str());
        let tried = lock.try_lock().await.expect("answers");
        assert!(tried.is_none(), "{tried:?} got in front of the head");
        let waited = lock.lock().wait(ms(300)).await;
        assert!(waited.is_err_and(|error| error.is_timeout()));
        line.queue.becomes(&line.ids).await;

        let thawed = Instant::now();
        slow.thaw();
        let (_, holder, at) = line.granted(secs(5)).await;
        println!("the head got in {:?} after it went on", at - thawed);
        assert!(!java.try_lock().await, "held");
        holder.unlock().await;
        assert!(java.try_lock().await, "nobody is queued any more");
        java.unlock().await;
    }
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaw_10_what_is_gone_is_lost_to_us() {
    let Some(driver) = jvm_or_skip("flaw_10_what_is_gone_is_lost_to_us") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("gone"));
    let java = JavaLock::<Fair>::of(shared_jvm(driver), &name);
    let lock = client.fair_lock(name.as_str());

    // By force.
    let guard = lock.lock().await.expect("free");
    assert!(java.truth("forceunlock").await, "it was held");
    assert_lost(&guard.unlock().await);

    // By its lease, kept past its end so that the server is the one to say it.
    lock.raw().lock_for(ms(200)).await.expect("free");
    eventually_async("the lease is over", secs(5), async || !direct.exists(&name)).await;
    let answer = lock.raw().unlock().await;
    assert!(answer.is_err(), "unlocked what had expired: {answer:?}");

    // The JVM's answer to the same is "fine", also when it is somebody else's turn by now.
    java.run("lockfor", &["200"]).await.expect("free");
    eventually_async("the lease is over", secs(5), async || !direct.exists(&name)).await;
    java.unlock().await;
    java.run("lockfor", &["200"]).await.expect("free");
    eventually_async("the lease is over", secs(5), async || !direct.exists(&name)).await;
    let guard = lock.lock().await.expect("free");
    let answer = java.run("unlock", &[]).await;
    crate::java::assert_not_owner(&answer);
    assert!(direct.exists(&name), "the JVM's unlock touched ours");
    guard.unlock().await.expect("held");
    close(client).await;
}
