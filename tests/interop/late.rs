//! A waiter that arrives while the unlock happens: between its first attempt and its subscription the message goes
//! to nobody. The lock is kept for 30 s and polls are 20 s apart, so one that is missed shows.

use std::time::{Duration, Instant};

use redlatch_support::{jvm::jvm_or_skip, unique_name};

use crate::{
    common::{WAKE_LIMIT, client, close, quiet, shared_jvm, wait_for},
    java::{JavaLock, follow},
};

/// Each unlock comes a little later after the waiter's start than the one before: 0 to 6 ms.
const ROUNDS: u64 = 120;
const STEP: Duration = Duration::from_micros(50);

fn delay(round: u64) -> Duration {
    STEP.saturating_mul(u32::try_from(round).expect("small"))
}

/// Lets exactly that much time pass: a timer is too coarse.
async fn pass(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        tokio::task::yield_now().await;
    }
}

/// The longest time from the later of "waiter starts" and "holder unlocks" to the grant.
#[derive(Default)]
struct Longest(Duration);

impl Longest {
    #[track_caller]
    fn see(&mut self, round: u64, took: Duration) {
        assert!(
            took < WAKE_LIMIT,
            "round {round}, unlocked {:?} after the waiter came: in only after {took:?}",
            delay(round)
        );
        self.0 = self.0.max(took);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_arrives_while_the_jvm_unlocks() {
    let Some(driver) = jvm_or_skip("rust_arrives_while_the_jvm_unlocks") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, name) = (client().await, unique_name("late-rust"));
    let java = JavaLock::new(shared_jvm(driver), &name);
    let mut longest = Longest::default();
    for round in 0..ROUNDS {
        java.lock().await;
        let waiter = wait_for(client.lock(name.as_str()));
        pass(delay(round)).await;
        let released = Instant::now();
        java.unlock().await;
        let (guard, granted) = waiter.await.expect("joins");
        let guard = guard.expect("granted after the unlock");
        longest.see(round, granted.saturating_duration_since(released));
        guard.unlock().await.expect("held");
    }
    let stats = client.stats();
    println!(
        "Rust: {ROUNDS} rounds, had to wait in {}, woken by a message in {}; longest {:?}",
        stats.waits, stats.wakeups_by_message, longest.0
    );
    assert_eq!(
        stats.wakeups_by_poll + stats.wakeups_by_expiry,
        0,
        "nothing but messages and the looks after subscribing: {stats:?}"
    );
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jvm_arrives_while_rust_unlocks() {
    let Some(driver) = jvm_or_skip("the_jvm_arrives_while_rust_unlocks") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, name) = (client().await, unique_name("late-jvm"));
    let java = JavaLock::new(shared_jvm(driver), &name);
    let mut longest = Longest::default();
    for round in 0..ROUNDS {
        let guard = client.lock(name.as_str()).lock().await.expect("free");
        let waiter = follow(java.begin("lock", &[]));
        pass(delay(round)).await;
        let released = Instant::now();
        guard.unlock().await.expect("held");
        let (reply, granted) = waiter.await.expect("joins");
        reply.expect("granted after the unlock");
        longest.see(round, granted.saturating_duration_since(released));
        java.unlock().await;
    }
    println!("the JVM: {ROUNDS} rounds; longest {:?}", longest.0);
    close(client).await;
}
