//! A master behind sentinels that is replaced while the JVM holds and we wait, and the other way round.

use std::time::Instant;

use redlatch::Client;
use redlatch_support::{
    Sentinels,
    jvm::{Jvm, JvmMode, JvmOptions, JvmThread, follow, jvm_or_skip},
    unique_name,
};

use super::WAKE_LIMIT;
use crate::common::{asleep, close, secs, until};

fn jvm_behind(driver: &redlatch_support::jvm::DriverJar, sentinels: &Sentinels) -> Jvm {
    let mut options = JvmOptions::single(&sentinels.urls()[0]).watchdog(secs(9));
    options.mode = JvmMode::Sentinel;
    options.addresses = sentinels.urls();
    Jvm::start(driver, &options)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_change_hands_over_a_failover_of_sentinels() {
    let Some(driver) = jvm_or_skip("locks_change_hands_over_a_failover_of_sentinels") else {
        return;
    };
    let sentinels = Sentinels::start();
    let jvm = jvm_behind(driver, &sentinels);
    let client = Client::builder()
        .sentinel(sentinels.master_name(), sentinels.urls())
        .expect("urls")
        .watchdog_timeout(secs(9))
        .safety_poll(secs(9))
        .connect()
        .await
        .expect("connects");

    // The JVM holds, we wait, and the master dies.
    let (theirs, ours) = (unique_name("theirs"), unique_name("ours"));
    let thread = JvmThread::new(&jvm);
    thread.value("lock", &["lock", &theirs]).await;
    let lock = client.lock(&*theirs);
    let waiting = tokio::spawn(async move {
        let guard = lock.lock().wait(secs(60)).await;
        (guard, Instant::now())
    });
    asleep(&client, 1).await;
    // We hold, the JVM waits.
    let guard = client.lock(&*ours).lock().await.expect("free");
    let other = JvmThread::new(&jvm);
    let pending = follow(other.begin("lock", &["lock", &ours]));
    let old = sentinels.master();
    let direct = old.direct();
    let listens = |direct: &redlatch_support::Direct, name: &str| {
        direct.numsub(&format!("redisson_lock__channel:{{{name}}}")) == 1
    };
    until("the JVM listens", || listens(&direct, &ours)).await;
    assert_eq!(direct.cmd(&["WAIT", "2", "2000"]).int(), 2);
    let begun = Instant::now();
    old.kill();
    let new = sentinels.master_after(old).direct();
    let named = begun.elapsed();
    until("we listen at the new master", || listens(&new, &theirs)).await;
    let we = begun.elapsed();
    until("the JVM listens at the new master", || listens(&new, &ours)).await;
    let it = begun.elapsed();
    println!("named {named:?}, we listen {we:?}, the JVM listens {it:?}");

    let freed = Instant::now();
    thread.value("unlock", &["lock", &theirs]).await;
    let (woken, granted) = waiting.await.expect("joins");
    let took = granted.saturating_duration_since(freed);
    println!("woken by the JVM in {took:?}");
    assert!(took < WAKE_LIMIT, "{took:?}");
    woken.expect("granted").unlock().await.expect("held");

    assert!(!guard.is_lost());
    let freed = Instant::now();
    guard.unlock().await.expect("held");
    let (answer, granted) = pending.await.expect("joins");
    answer.expect("granted");
    let took = granted.saturating_duration_since(freed);
    println!("the JVM woken in {took:?}");
    // It may find a connection of its own dead first; the lock's time to live is 9 s.
    assert!(took < secs(4), "{took:?}");
    other.value("unlock", &["lock", &ours]).await;
    for name in [theirs, ours] {
        assert!(!new.exists(&name));
    }
    drop(jvm);
    close(client).await;
}
