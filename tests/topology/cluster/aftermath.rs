//! What a failover leaves behind: locks that did not get to the replica, a master that wakes up too late, a dead one.

use std::time::Instant;

use redlatch::{Error, Event, LossCause};
use redlatch_support::{Direct, alive_tasks, eventually, settled_tasks, slot_of};
use tokio::time::timeout;
use tokio_stream::StreamExt;

use crate::common::{client_with, close, ms, other_than, secs, stage_with};

/// Makes a replica follow nobody, although it goes on to know its master.
fn cut_off(master: &Direct, replica: &Direct) {
    // A password where none is asked for ends every try to follow.
    replica
        .cmd(&["CONFIG", "SET", "masterauth", "none-is-set"])
        .accepted();
    master
        .cmd(&["CLIENT", "KILL", "TYPE", "replica"])
        .accepted();
    eventually("the master is alone", secs(5), || {
        let info = master.cmd(&["INFO", "replication"]).text();
        info.contains("connected_slaves:0")
    });
}

/// Replication is asynchronous, so a grant can be lost with its master. Its holder is told, and who has seen its number
/// is never given it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_dies_with_its_master_is_told_and_its_number_is_known() {
    let watchdog = secs(6);
    let cluster = stage_with(|builder| builder.node_timeout(ms(500))).await;
    let client = client_with(&cluster, |builder| builder.watchdog_timeout(watchdog)).await;
    let victim = cluster.masters()[0];
    let name = cluster.name_on(victim, "dies");
    let lock = client.fenced_lock(&*name);
    let guard = lock.lock().await.expect("free");
    assert_eq!(guard.token().get(), 1);
    guard.unlock().await.expect("held");
    cluster.wait_ok();

    cut_off(&victim.direct(), &cluster.replicas_of(victim)[0].direct());
    let guard = lock.lock().await.expect("free");
    assert_eq!(guard.token().get(), 2);
    let mut events = client.events();
    victim.kill();
    let home = cluster.direct_for(&name);
    let taken_over = Instant::now();
    assert!(!home.exists(&name), "it was not to get there");
    let cause = timeout(watchdog / 3 + secs(1), guard.lost()).await;
    println!(
        "told {:?} after the takeover: {cause:?}",
        taken_over.elapsed()
    );
    assert_eq!(cause, Ok(LossCause::Vanished));
    assert!(matches!(guard.unlock().await, Err(Error::Lost { .. })));
    while !matches!(
        timeout(secs(1), events.next()).await,
        Ok(Some(Event::Lost { .. }))
    ) {}

    // The counter went back to 1, and this client knows better.
    match lock.lock().await {
        Err(Error::FencingReset { seen, counter, .. }) => assert_eq!((seen, counter), (2, 1)),
        other => panic!("{other:?}"),
    }
    lock.raise_counter(redlatch::FencingToken::new(2))
        .await
        .expect("raised");
    let guard = lock.lock().await.expect("free");
    assert_eq!(guard.token().get(), 3);
    guard.unlock().await.expect("held");
    close(client).await;
}

/// A client that has heard of nothing meets a master that has been replaced while it slept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_wakes_up_too_late_grants_nothing_unnoticed() {
    let watchdog = secs(3);
    let cluster = stage_with(|builder| builder.node_timeout(ms(500))).await;
    let mut granted_in_vain = 0;
    for round in 0..3 {
        let victim = cluster.masters()[round];
        let name = cluster.name_on(victim, "late");
        // Nothing tells this client: it looks at nothing, and asks for nothing yet.
        let late = client_with(&cluster, |builder| {
            builder
                .watchdog_timeout(watchdog)
                .heartbeat(secs(3_000))
                .topology_refresh(secs(3_000))
        })
        .await;
        late.inspect(&*name).await.expect("answers");
        victim.freeze();
        assert_ne!(cluster.master_of_slot(slot_of(&name)).port(), victim.port());
        let knows = client_with(&cluster, |builder| builder).await;
        let first = knows.lock(&*name).lock().await.expect("free");

        // In the old master's socket before it wakes up.
        let lock = late.lock(&*name);
        let trying = tokio::spawn(async move { (lock.try_lock().await, Instant::now()) });
        eventually("it has asked", secs(5), || late.stats().attempts > 0);
        victim.thaw();
        let (tried, granted) = trying.await.expect("joins");
        if let Some(guard) = tried.expect("answers") {
            granted_in_vain += 1;
            let limit = (watchdog / 3 + secs(1)).saturating_sub(granted.elapsed());
            let cause = timeout(limit, guard.lost()).await;
            println!(
                "granted by the old master; {cause:?} after {:?}",
                granted.elapsed()
            );
            assert!(cause.is_ok(), "nobody told the second holder");
            assert!(matches!(guard.unlock().await, Err(Error::Lost { .. })));
        }
        assert!(!first.is_lost());
        first.unlock().await.expect("held");
        cluster.wait_ok();
        assert!(!cluster.direct_for(&name).exists(&name));
        close(late).await;
        close(knows).await;
    }
    println!("granted in vain: {granted_in_vain} of 3");
}

/// A cluster keeps a dead master in its list. Nobody waits for it, and it costs nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dead_is_let_alone() {
    let cluster = stage_with(|builder| builder.node_timeout(ms(500))).await;
    let client = client_with(&cluster, |builder| builder).await;
    let victim = cluster.masters()[0];
    let name = cluster.name_on(victim, "dead");
    let witness = other_than(&cluster, victim).direct();
    let lives = async || {
        let guard = client.lock(&*name).lock().await.expect("free");
        guard.unlock().await.expect("held");
    };
    lives().await;
    let before = settled_tasks(secs(20)).await;
    // The new master's connections come, the old one's go.
    let as_before = |what: &str| eventually(what, secs(10), || alive_tasks() == before);
    victim.kill();
    lives().await;
    as_before("as many tasks as before the failover");

    // Two regular looks fit into this time, and one may be on the way.
    let calls = || witness.command_calls("cluster|nodes") + witness.command_calls("cluster");
    let (looks, begun) = (calls(), Instant::now());
    tokio::time::sleep(secs(3)).await;
    let looks = calls() - looks;
    println!(
        "{looks} looks at a cluster with a dead master in {:?}",
        begun.elapsed()
    );
    assert!(looks <= 4, "{looks}");

    victim.restart();
    cluster.wait_ok();
    for _ in 0..3 {
        cluster.failover(cluster.replicas_of(cluster.master_of_key(&name))[0]);
        lives().await;
    }
    as_before("as many tasks as before all failovers");
    close(client).await;
}
