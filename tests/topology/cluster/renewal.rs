//! Ten thousand locks over all masters, and one of those stops to answer.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redlatch::{Client, Error, LockGuard, LossCause};
use redlatch_support::{Cluster, Server, eventually_async, unique_name};
use tokio::{task::JoinSet, time::sleep};

use crate::common::{client_with, close, lone_stage_with, ms, secs};

const LOCKS: usize = 10_000;
const WATCHDOG: Duration = secs(6);

/// Takes so many locks, some at a time; gives them with the port of the master they are on.
async fn take(client: &Client, cluster: &Cluster) -> Vec<(u16, LockGuard)> {
    let prefix = unique_name("many");
    let begun = Instant::now();
    let mut guards = Vec::new();
    let ranges: Vec<_> = cluster.masters().iter().map(|node| node.port()).collect();
    let names: Vec<_> = (0..LOCKS).map(|i| format!("{prefix}-{i}")).collect();
    for names in names.chunks(500) {
        let taking = names
            .iter()
            .map(|name| client.lock(&**name).lock().into_future());
        let taken = join_all(taking).await;
        guards.extend(taken.into_iter().zip(names).map(|(guard, name)| {
            // The launcher gives each master the third it is due.
            let slot = usize::from(redlatch_support::slot_of(name));
            let begun = |third: &usize| 16_384 * third / ranges.len() <= slot;
            let third = (1..ranges.len()).filter(begun).count();
            (ranges[third], guard.expect("free"))
        }));
    }
    println!("{LOCKS} locks taken in {:?}", begun.elapsed());
    guards
}

fn calls(masters: &[&Server]) -> u64 {
    let count = |node: &&Server| node.direct().command_calls("evalsha");
    masters.iter().map(count).sum()
}

/// How long it takes from the first renewal of a round to the last of so many.
async fn round(client: &Client, locks: usize) -> Duration {
    let renewals = || client.stats().renewals;
    // From the middle of the pause between two rounds.
    let mut last = (renewals(), Instant::now());
    while last.1.elapsed() < ms(300) {
        sleep(ms(1)).await;
        if renewals() != last.0 {
            last = (renewals(), Instant::now());
        }
    }
    let before = last.0;
    let next = || (renewals() - before) as usize;
    eventually_async("a round begins", WATCHDOG * 2, async || next() > 0).await;
    let begun = Instant::now();
    eventually_async("the round ends", WATCHDOG * 2, async || next() >= locks).await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_master_costs_the_others_nothing() {
    // It is not to be replaced.
    let cluster = lone_stage_with(|builder| builder.node_timeout(secs(120))).await;
    let client = client_with(&cluster, |builder| builder.watchdog_timeout(WATCHDOG)).await;
    let guards = take(&client, &cluster).await;
    let masters = cluster.masters();
    let took = round(&client, LOCKS).await;
    let (before, renewals) = (calls(&masters), client.stats().renewals);
    let again = round(&client, LOCKS).await;
    println!(
        "a round of {} renewals: {} calls, {took:?}, {again:?}",
        client.stats().renewals - renewals,
        calls(&masters) - before
    );

    let victim = masters[2];
    let (silent, healthy): (Vec<_>, Vec<_>) = guards
        .into_iter()
        .partition(|(port, _)| *port == victim.port());
    victim.freeze();
    let frozen = Instant::now();
    let mut telling = JoinSet::new();
    for (_, guard) in silent {
        telling.spawn(async move {
            let cause = guard.lost().await;
            (guard.valid_until(), Instant::now(), cause, guard)
        });
    }
    let took = [
        round(&client, healthy.len()).await,
        round(&client, healthy.len()).await,
    ];
    println!(
        "{} renewals beside a silent master: {took:?}",
        healthy.len()
    );
    let (mut told, mut latest) = (Vec::new(), Duration::ZERO);
    while let Some(outcome) = telling.join_next().await {
        let (until, when, cause, guard) = outcome.expect("no panic");
        assert_eq!(cause, LossCause::Unreachable);
        latest = latest.max(when.saturating_duration_since(until));
        told.push(guard);
    }
    println!(
        "{} told within {:?} of the freeze, {latest:?} after their deadline at most",
        told.len(),
        frozen.elapsed()
    );
    assert!(latest < secs(1), "{latest:?}");
    assert!(frozen.elapsed() < WATCHDOG * 2);
    // Two watchdog timeouts in all.
    sleep((WATCHDOG * 2).saturating_sub(frozen.elapsed())).await;
    let lost = healthy.iter().filter(|(_, guard)| guard.is_lost()).count();
    assert_eq!(lost, 0, "of {} on healthy masters", healthy.len());
    assert_eq!(client.stats().losses as usize, told.len());
    let late = healthy.iter().map(|(_, guard)| guard.remaining()).min();
    println!("the least time left: {late:?}");

    victim.thaw();
    for guard in told {
        assert!(matches!(guard.unlock().await, Err(Error::Lost { .. })));
    }
    cluster.wait_ok();
    // All can be had again, on all masters.
    for (port, guard) in healthy.into_iter().take(100) {
        assert_ne!(port, victim.port());
        guard.unlock().await.expect("held");
    }
    let name = cluster.name_on(victim, "again");
    let again = client
        .lock(&*name)
        .lock()
        .wait(secs(5))
        .await
        .expect("free");
    drop(again);
    let begun = Instant::now();
    close(client).await;
    println!("closed in {:?}", begun.elapsed());
    for master in masters {
        assert_eq!(
            master.direct().cmd(&["DBSIZE"]).int(),
            0,
            "{}",
            master.address()
        );
    }
}
