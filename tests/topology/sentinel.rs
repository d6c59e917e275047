//! A master watched by sentinels.

use std::time::{Duration, Instant};

use redlatch::{Client, ClientBuilder, LossCause};
use redlatch_support::{Sentinels, Server, eventually_async, unique_name};

use crate::{
    common::{asleep, close, micros, ms, secs},
    contention::Contention,
};

async fn client_with(
    sentinels: &Sentinels,
    settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Client {
    let builder = Client::builder()
        .sentinel(sentinels.master_name(), sentinels.urls())
        .expect("urls");
    settings(builder).connect().await.expect("connects")
}

async fn client_of(sentinels: &Sentinels) -> Client {
    client_with(sentinels, |builder| builder).await
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Killed,
    Frozen,
    Deposed,
}

impl Fault {
    /// Brings another master about; gives when it began.
    fn happen(self, sentinels: &Sentinels) -> Instant {
        let old = sentinels.master();
        let begun = Instant::now();
        match self {
            Self::Killed => old.kill(),
            Self::Frozen => old.freeze(),
            Self::Deposed => {
                sentinels.failover();
            }
        }
        begun
    }

    fn mend(self, old: &Server, sentinels: &Sentinels) {
        match self {
            Self::Killed => old.restart(),
            Self::Frozen => old.thaw(),
            Self::Deposed => {}
        }
        sentinels.wait_ready();
    }
}

/// A holder keeps its lock, or is told; a waiter goes over to the new master and is woken by message; nobody meets
/// anybody.
async fn another_master(fault: Fault) {
    const ROUNDS: usize = 3;
    let sentinels = Sentinels::start();
    let far = |builder: ClientBuilder| builder.safety_poll(secs(9)).watchdog_timeout(secs(9));
    let (one, other) = (
        client_with(&sentinels, far).await,
        client_with(&sentinels, far).await,
    );
    for round in 0..ROUNDS {
        let old = sentinels.master();
        let name = unique_name("switch");
        let guard = one.lock(&*name).lock().await.expect("free");
        // It is on the replicas before the master goes.
        let direct = old.direct();
        assert_eq!(direct.cmd(&["WAIT", "2", "2000"]).int(), 2);
        let lock = other.lock(&*name);
        let waiting = tokio::spawn(async move { lock.lock().wait(secs(60)).await });
        asleep(&other, 1).await;
        let crowd = unique_name("switch-crowd");
        let contention = Contention::start(&[one.clone(), other.clone()], &crowd, 2);
        contention.goes_on(20, secs(5)).await;

        let struck = micros();
        let begun = fault.happen(&sentinels);
        let new = sentinels.master_after(old);
        let named = begun.elapsed();
        contention.goes_on(1, secs(10)).await;
        let granted = begun.elapsed();
        let channel = format!("redisson_lock__channel:{{{name}}}");
        let direct = new.direct();
        eventually_async(
            "the waiter listens at the new master",
            secs(5),
            async || direct.cmd(&["PUBSUB", "NUMSUB", &channel]).items()[1].int() == 1,
        )
        .await;
        let heard = begun.elapsed();
        let replaced = micros();
        assert!(!guard.is_lost(), "it was on every replica");
        let freed = Instant::now();
        guard.unlock().await.expect("held");
        let guard = waiting.await.expect("joins").expect("granted");
        let woken = freed.elapsed();
        assert!(woken < ms(500), "{woken:?}");
        guard.unlock().await.expect("held");

        contention.goes_on(20, secs(5)).await;
        let seen = contention.end().await;
        let errors = seen.errors.clone();
        println!(
            "{fault:?} {round}: named {named:?}, next grant {granted:?}, waiter there {heard:?}, woken {woken:?}, \
             {} turns, {} lost, {} counters raised, errors {errors:?}",
            seen.turns(),
            seen.lost,
            seen.resets,
        );
        // A release or a lock that was not on the new master yet is lost.
        seen.assert_exclusive_but_between(struck - 100_000, replaced);
        fault.mend(old, &sentinels);
    }
    close(one).await;
    close(other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_is_followed_by_another() {
    another_master(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_master_is_followed_by_another() {
    another_master(Fault::Frozen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_master_is_followed_by_another() {
    another_master(Fault::Deposed).await;
}

/// A lock that only the dead master knew is lost, and its holder is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_was_on_no_replica_is_lost_aloud() {
    const WATCHDOG: Duration = secs(6);
    let sentinels = Sentinels::start();
    let client = client_with(&sentinels, |builder| builder.watchdog_timeout(WATCHDOG)).await;
    for replica in sentinels.replicas() {
        replica.freeze();
    }
    let old = sentinels.master();
    // What is under way to them would arrive when they go on.
    let cut = old.direct().cmd(&["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(cut.int(), 2);
    let name = unique_name("unreplicated");
    let guard = client.lock(&*name).lock().await.expect("free");
    old.kill();
    for server in sentinels.servers() {
        if server.port() != old.port() {
            server.thaw();
        }
    }
    let new = sentinels.master_after(old);
    let begun = Instant::now();
    let cause = tokio::time::timeout(WATCHDOG / 3 + secs(1), guard.lost()).await;
    let cause = cause.expect("told within a third of the watchdog timeout");
    println!(
        "told of the loss {:?} after the new master was named",
        begun.elapsed()
    );
    assert_eq!(cause, LossCause::Vanished);
    assert_eq!(new.direct().cmd(&["EXISTS", &name]).int(), 0);
    assert!(guard.unlock().await.is_err());
    old.restart();
    close(client).await;
}

/// A release that only the dead master heard of is said again to the next one: the lock does not stay for its time to live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_was_on_no_replica_is_said_again() {
    let sentinels = Sentinels::start();
    let client = client_of(&sentinels).await;
    let name = unique_name("released");
    let guard = client.lock(&*name).lock().await.expect("free");
    for replica in sentinels.replicas() {
        let direct = replica.direct();
        eventually_async("it is replicated", secs(10), async || direct.exists(&name)).await;
        replica.freeze();
    }
    let old = sentinels.master();
    let cut = old.direct().cmd(&["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(cut.int(), 2);
    guard.unlock().await.expect("held");
    old.kill();
    for server in sentinels.servers() {
        if server.port() != old.port() {
            server.thaw();
        }
    }
    let direct = sentinels.master_after(old).direct();
    let left = direct.pttl(&name);
    println!("the new master has it for {left} ms yet");
    eventually_async("it is free", secs(5), async || !direct.exists(&name)).await;
    old.restart();
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sentinel_that_answers_is_enough() {
    let sentinels = Sentinels::shared();
    let urls = [
        "redis://127.0.0.1:1".to_owned(),
        sentinels.urls()[1].clone(),
    ];
    let client = Client::builder()
        .sentinel(sentinels.master_name(), urls)
        .expect("urls")
        .connect()
        .await
        .expect("connects");
    let guard = client.lock(unique_name("one")).lock().await.expect("free");
    guard.unlock().await.expect("held");
    close(client).await;
    let unknown = Client::builder()
        .sentinel("nobody", sentinels.urls())
        .expect("urls")
        .connect()
        .await
        .expect_err("no such master");
    assert!(unknown.to_string().contains("No such master"), "{unknown}");
}

/// A master that was frozen, deposed and wakes up grants until it is told; nobody of ours asks it any more. What it
/// still grants to somebody is caught by the fencing token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_wakes_up_is_not_asked_any_more() {
    let sentinels = Sentinels::start();
    let client = client_of(&sentinels).await;
    let name = unique_name("woken");
    let stock = unique_name("stock");
    let old = sentinels.master();
    // Somebody who knows the old master only.
    let stale = Client::connect(old.url()).await.expect("connects");
    let guard = client.fenced_lock(&*name).lock().await.expect("free");
    let first = guard.token();
    guard.unlock().await.expect("held");
    assert_eq!(old.direct().cmd(&["WAIT", "2", "2000"]).int(), 2);
    old.freeze();
    sentinels.master_after(old);
    let guard = client.fenced_lock(&*name).lock().await.expect("free");
    let ours = guard.token();
    assert!(ours > first);
    let cell = client.fenced_cell(&*stock);
    cell.set(ours, "ours").await.expect("newest");
    old.thaw();
    // Whether the old master still grants depends on how soon it is told.
    match stale.fenced_lock(&*name).try_lock().await {
        Ok(Some(doubled)) => {
            println!("the old master granted token {}", doubled.token().get());
            let write = client
                .fenced_cell(&*stock)
                .set(doubled.token(), "stale")
                .await;
            assert!(
                doubled.token() <= ours && (write.is_err() || doubled.token() == ours),
                "the fence let a stale holder through"
            );
        }
        other => println!("the old master granted nothing: {other:?}"),
    }
    assert!(!guard.is_lost());
    guard.unlock().await.expect("held");
    stale.close(ms(100)).await;
    close(client).await;
}

/// The setting to recommend: a master whose replicas have gone over to another one takes no writes, once it has noticed, which
/// takes it a second at most.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_wakes_up_refuses_where_it_needs_replicas() {
    let sentinels = Sentinels::builder().min_replicas(1, secs(2)).start();
    let client = client_of(&sentinels).await;
    let name = unique_name("refused");
    let old = sentinels.master();
    let stale = Client::builder()
        .url(old.url())
        .expect("url")
        .outage_patience(secs(4))
        .connect()
        .await
        .expect("connects");
    let before = stale.lock(unique_name("before")).lock().await;
    before.expect("free").unlock().await.expect("held");
    old.freeze();
    sentinels.master_after(old);
    let guard = client.lock(&*name).lock().await.expect("free");
    // Its replicas have been silent for longer than it tolerates.
    tokio::time::sleep(secs(2)).await;
    old.thaw();
    let direct = old.direct();
    let noticed = |info: &str| {
        info.contains("_good_slaves:0")
            || info.contains("_good_replicas:0")
            || info.contains("role:slave")
    };
    eventually_async("it has noticed", secs(5), async || {
        noticed(&direct.cmd(&["INFO", "replication"]).text())
    })
    .await;
    let granted = stale.lock(&*name).lock().wait(ms(300)).await;
    println!("{granted:?}");
    assert!(granted.is_err(), "two hold it");
    assert!(!guard.is_lost());
    guard.unlock().await.expect("held");
    stale.close(ms(100)).await;
    close(client).await;
}
