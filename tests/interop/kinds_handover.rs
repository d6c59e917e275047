//! Every kind of lock changes hands in both directions: the waiter is woken by the message of the other side's unlock,
//! the hash is what the protocol says after each step, and nothing is left at the end.

use std::time::Duration;

use redlatch::{Fair, Fenced, NonReentrant, NonReentrantFair, Read, Reentrant, Spin, Write};
use redlatch_support::{jvm::jvm_or_skip, unique_name};

use crate::{
    common::{Stage, close, quiet},
    handover::Place,
    kinds::Shared,
};

const ROUNDS: usize = 5;

fn report(who: &str, mut times: Vec<Duration>) {
    times.sort();
    println!(
        "{who}: {} times, median {:?}, longest {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

async fn both_ways<H: Shared, W: Shared>(test: &str) {
    let Some(driver) = jvm_or_skip(test) else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct, name) = (
        stage.client().await,
        stage.server.direct(),
        unique_name("handover"),
    );
    let place = Place::<H, W>::of(&stage.jvm, &client, &direct, &name);
    let (mut to_rust, mut to_jvm) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        to_rust.push(place.jvm_to_rust().await);
        to_jvm.push(place.rust_to_jvm().await);
    }
    report(&format!("{} to {}, JVM to Rust", H::JAVA, W::JAVA), to_rust);
    report(&format!("{} to {}, Rust to JVM", H::JAVA, W::JAVA), to_jvm);
    close(client).await;
}

macro_rules! both_ways {
    ($($test:ident: $holder:ty => $waiter:ty;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            both_ways::<$holder, $waiter>(stringify!($test)).await;
        })*
    };
}

both_ways! {
    fair_locks_change_hands: Fair => Fair;
    non_reentrant_fair_locks_change_hands: NonReentrantFair => NonReentrantFair;
    fenced_locks_change_hands: Fenced => Fenced;
    non_reentrant_locks_change_hands: NonReentrant => NonReentrant;
    spin_locks_change_hands: Spin => Spin;
    a_writer_follows_a_writer: Write => Write;
    a_reader_follows_a_writer: Write => Read;
    a_writer_follows_a_reader: Read => Write;
    a_plain_lock_follows_a_fenced_one: Fenced => Reentrant;
    a_fenced_lock_follows_a_non_reentrant_one: NonReentrant => Fenced;
}
