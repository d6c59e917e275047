//! JVM and Rust contend for one name while its slot moves, and while its master is replaced.

use std::time::Duration;

use redlatch::ShardedPubSub;
use redlatch_support::{
    history::Interval,
    jvm::{JvmSharding, JvmThread, answer, jvm_or_skip},
    slot_of,
};

use super::{jvm_on, ours_on};
use crate::{
    common::{close, micros, ms, secs, stage_with},
    contention::Contention,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_meets_anybody_over_moves_and_a_failover() {
    let Some(driver) = jvm_or_skip("nobody_meets_anybody_over_moves_and_a_failover") else {
        return;
    };
    let cluster = stage_with(|builder| builder.node_timeout(ms(500))).await;
    let jvm = jvm_on(driver, &cluster, JvmSharding::Auto);
    let clients = [
        ours_on(&cluster, ShardedPubSub::Auto).await,
        ours_on(&cluster, ShardedPubSub::Auto).await,
    ];
    let name = cluster.name_on(cluster.masters()[0], "mixed");
    // What the JVM's holders do is on a master that stays.
    let counter = cluster.name_on(cluster.masters()[2], "counter");
    let ours = Contention::paced(&clients, &name, 2, ms(2));
    let duration = secs(12);
    let thread = JvmThread::new(&jvm);
    let millis = duration.as_millis().to_string();
    let theirs = answer(thread.begin(
        "contend",
        &["lock", &name, &counter, &millis, "3", "2", "goeson"],
    ));
    let theirs = tokio::spawn(theirs);
    ours.goes_on(20, secs(10)).await;

    let first = cluster.masters()[0].port();
    let begun = micros();
    for _ in 0..12 {
        let home = cluster.master_of_key(&name);
        let masters = cluster.masters();
        let target = if home.port() == first {
            masters[1]
        } else {
            masters[0]
        };
        cluster.move_slot(slot_of(&name), target);
        ours.goes_on(40, secs(10)).await;
    }
    let moved = micros();
    let victim = cluster.master_of_key(&name);
    let struck = micros();
    victim.kill();
    assert_ne!(cluster.master_of_key(&name).port(), victim.port());
    ours.goes_on(50, secs(20)).await;
    let well = micros();
    let reply = theirs.await.expect("joins").expect("it goes on");

    let mut seen = ours.end().await;
    assert_eq!(seen.errors, Vec::<String>::new());
    let after = |interval: &&redlatch_support::jvm::Interval| interval.granted_micros > well;
    let (count, later) = (
        reply.intervals.len(),
        reply.intervals.iter().filter(after).count(),
    );
    seen.add(reply.intervals.into_iter().map(|interval| Interval {
        process: "jvm".to_owned(),
        thread: interval.thread,
        granted_micros: interval.granted_micros,
        released_micros: interval.released_micros,
    }));
    let own_gap = seen.longest_gap(struck - 100_000, well);
    let (summary, setbacks) = seen.assert_exclusive_but_for(&[struck]);
    println!(
        "{} turns, {count} of the JVM, {later} of them after the failover; 12 moves in {:?}, {own_gap:?} without a grant here, \
         overlaps 0, setbacks {setbacks}, lost {}, longest wait {:?}",
        summary.count,
        Duration::from_micros(moved - begun),
        seen.lost,
        summary.longest_wait,
    );
    assert!(count > 20 && summary.count_of("rust") > 100, "{summary:?}");
    drop(jvm);
    for client in clients {
        close(client).await;
    }
    victim.restart();
    cluster.wait_ok();
}
