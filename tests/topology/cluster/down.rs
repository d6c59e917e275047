//! A cluster that says it is down, as by default every node does while any slot has nobody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use redlatch_support::slot_of;

use crate::common::{client_with, close, ms, secs, stage, until};

/// Some of the requests in flight are refused, others executed, and the client underneath says the same of all. Each
/// release counts once, and no acquire is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_down_now_and_then_counts_once() {
    const SEMAPHORES: usize = 40;
    let cluster = stage().await;
    let client = client_with(&cluster, |builder| builder).await;
    let victim = cluster.masters()[0];
    let home = victim.direct();
    // A slot that is given away and taken back. Nothing else is in it.
    let spare = slot_of(cluster.name_on(victim, "spare"));
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    while tasks.len() < SEMAPHORES {
        let name = cluster.name_on(victim, "down");
        if slot_of(&name) == spare {
            continue;
        }
        let semaphore = client.semaphore(&*name);
        let lock = client.lock(format!("{{{name}}}:lock"));
        let (stop, made) = (stop.clone(), Arc::new(AtomicI64::new(0)));
        let sum = made.clone();
        let task = tokio::spawn(async move {
            assert!(semaphore.try_set_permits(0).await.expect("answers"));
            while !stop.load(Ordering::Acquire) {
                semaphore.release(1).await.expect("released");
                made.fetch_add(1, Ordering::AcqRel);
                // Whoever gives up in the middle leaves nothing.
                let tried = tokio::time::timeout(ms(1), lock.try_lock()).await;
                drop(tried);
            }
        });
        tasks.push((name, sum, task));
    }
    let (begun, mut times) = (Instant::now(), 0);
    let spare = spare.to_string();
    while begun.elapsed() < secs(4) {
        home.cmd(&["CLUSTER", "DELSLOTS", &spare]).accepted();
        tokio::time::sleep(Duration::from_micros(300 + times % 7 * 400)).await;
        home.cmd(&["CLUSTER", "ADDSLOTS", &spare]).accepted();
        tokio::time::sleep(ms(10 + times % 10)).await;
        times += 1;
    }
    stop.store(true, Ordering::Release);
    let (mut all, mut wrong) = (0, Vec::new());
    for (name, sum, task) in tasks {
        task.await.expect("no panic");
        let (there, made) = (home.cmd(&["GET", &name]).int(), sum.load(Ordering::Acquire));
        all += made;
        if there != made {
            wrong.push((there, made));
        }
        let lock = format!("{{{name}}}:lock");
        until("the lock is free", || !home.exists(&lock)).await;
        home.cmd(&["DEL", &name]);
    }
    println!(
        "{all} permits made, down {times} times; {:?}",
        client.stats()
    );
    assert_eq!(wrong, [], "permits there and made");
    close(client).await;
}
