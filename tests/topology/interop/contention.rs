//! JVM and Rust contend for one name while its slot moves, and while its master is replaced.

use std::time::{Duration, Instant};

use redlatch::ShardedPubSub;
use redlatch_support::{
    history::Interval,
    jvm::{JvmSharding, JvmThread, answer, jvm_or_skip},
    slot_of,
};

use super::jvm_on;
use crate::{
    common::{client_with, close, micros, ms, secs, stage_with},
    contention::Contention,
};

/// How long the JVM contends; our side goes on for as long.
const DURATION: Duration = secs(9);

/// Moves the slot so many times, then kills its master.
async fn nobody_meets_anybody(
    test: &str,
    sharding: JvmSharding,
    mode: ShardedPubSub,
    moves: usize,
) {
    let Some(driver) = jvm_or_skip(test) else {
        return;
    };
    let cluster = stage_with(|builder| builder.node_timeout(ms(500))).await;
    let jvm = jvm_on(driver, &cluster, sharding);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let client = client_with(&cluster, |builder| {
            // A JVM's waiter that lost its subscription sleeps for as long as a lock of ours may last.
            builder.sharded_pubsub(mode).watchdog_timeout(secs(3))
        });
        clients.push(client.await);
    }
    let name = cluster.name_on(cluster.masters()[0], "mixed");
    // What the JVM's holders do is on a master that stays.
    let counter = cluster.name_on(cluster.masters()[2], "counter");
    let ours = Contention::paced(&clients, &name, 2, ms(2));
    let thread = JvmThread::new(&jvm);
    let millis = DURATION.as_millis().to_string();
    let contend = ["lock", &name, &counter, &millis, "3", "2", "goeson"];
    let started = Instant::now();
    let theirs = tokio::spawn(answer(thread.begin("contend", &contend)));
    ours.goes_on(100, secs(20)).await;

    let first = cluster.masters()[0].port();
    let begun = micros();
    for _ in 0..moves {
        let home = cluster.master_of_key(&name);
        let masters = cluster.masters();
        let target = if home.port() == first {
            masters[1]
        } else {
            masters[0]
        };
        cluster.move_slot(slot_of(&name), target);
        ours.goes_on(20, secs(10)).await;
    }
    let moved = micros();
    let victim = cluster.master_of_key(&name);
    let struck = micros();
    victim.kill();
    assert_ne!(cluster.master_of_key(&name).port(), victim.port());
    ours.goes_on(50, secs(20)).await;
    let well = micros();
    tokio::time::sleep(DURATION.saturating_sub(started.elapsed())).await;
    let mut seen = ours.end().await;
    let reply = theirs.await.expect("joins").expect("it goes on");

    assert_eq!(seen.errors, Vec::<String>::new());
    let gap = seen.longest_gap(struck - 100_000, well);
    let during = |from: u64, to: u64| {
        let within = |at: u64| (from..to).contains(&at);
        let intervals = reply.intervals.iter();
        intervals.filter(|turn| within(turn.granted_micros)).count()
    };
    let theirs = [
        during(0, moved),
        during(struck, well),
        during(well, u64::MAX),
    ];
    seen.add(reply.intervals.iter().map(|interval| Interval {
        process: "jvm".to_owned(),
        thread: interval.thread.clone(),
        granted_micros: interval.granted_micros,
        released_micros: interval.released_micros,
    }));
    let (summary, setbacks) = seen.assert_exclusive_but_for(&[struck]);
    println!(
        "{} turns, of the JVM {theirs:?} before, during and after the failover; {moves} moves in {:?}, then {gap:?} \
         without a grant here; overlaps 0, setbacks {setbacks}, lost {}",
        summary.count,
        Duration::from_micros(moved - begun),
        seen.lost,
    );
    assert!(summary.count_of("rust") > 100, "{summary:?}");
    // It takes part. How often is another test's matter: after a failover it may hear nothing for a time to live.
    assert!(summary.count_of("jvm") > 5, "{}", jvm.stderr());
    drop(jvm);
    victim.restart();
    cluster.wait_ok();
    for client in clients {
        close(client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_meets_anybody_over_moves_and_a_failover() {
    let test = "nobody_meets_anybody_over_moves_and_a_failover";
    nobody_meets_anybody(test, JvmSharding::Off, ShardedPubSub::Off, 8).await;
}

/// Sharded, a JVM hears nothing any more once the slot has moved, so here it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_meets_anybody_over_a_failover_of_a_shard() {
    let test = "nobody_meets_anybody_over_a_failover_of_a_shard";
    nobody_meets_anybody(test, JvmSharding::Auto, ShardedPubSub::Auto, 0).await;
}
