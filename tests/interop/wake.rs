//! A waiter is woken by the message of the other side's unlock. The locks are kept for 30 s and the safety poll is
//! 20 s away, so nothing else can be the reason.

use std::time::Duration;

use redlatch_support::jvm::jvm_or_skip;

use crate::{
    common::{Stage, close, quiet},
    handover::Place,
};

const ROUNDS: usize = 20;

fn report(who: &str, mut times: Vec<Duration>) {
    times.sort();
    println!(
        "{who}: woken {} times, median {:?}, longest {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_unlock_wakes_a_rust_waiter() {
    let Some(driver) = jvm_or_skip("a_jvm_unlock_wakes_a_rust_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let place = Place::new(&stage.jvm, &client, &direct, "plain-woken-rust");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(place.jvm_to_rust().await);
    }
    report("Rust waiter", times);
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rust_unlock_wakes_a_jvm_waiter() {
    let Some(driver) = jvm_or_skip("a_rust_unlock_wakes_a_jvm_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let place = Place::new(&stage.jvm, &client, &direct, "plain-woken-jvm");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(place.rust_to_jvm().await);
    }
    report("JVM waiter", times);
    close(client).await;
}
