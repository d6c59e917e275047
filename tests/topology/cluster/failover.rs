//! Masters that die, freeze and step down under holders, waiters and contenders.

use std::{
    fmt,
    time::{Duration, Instant},
};

use redlatch::{Client, Error, LockGuard};
use redlatch_support::{Cluster, Server, eventually_async, slot_of};

use crate::{
    common::{
        Stage, asleep, client_with, close, far_sighted, hearers, micros, ms, secs, settled,
        stage_with,
    },
    contention::Contention,
};

/// Times each fault strikes, each time another shard.
const ROUNDS: usize = 3;
/// The holders' watchdog timeout: long enough for a failover.
const WATCHDOG: Duration = secs(6);
/// A failover takes no longer, by the servers and by us.
const FAILOVER: Duration = secs(8);

/// How a master fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    Frozen,
    SteppedDown,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::SteppedDown => "stepped down",
        })
    }
}

impl Fault {
    /// Strikes the master, and waits until another serves its slots.
    fn strike(self, cluster: &Cluster, victim: &Server, slot: u16) {
        match self {
            Self::Killed => victim.kill(),
            Self::Frozen => victim.freeze(),
            Self::SteppedDown => cluster.failover(cluster.replicas_of(victim)[0]),
        }
        assert_ne!(cluster.master_of_slot(slot).port(), victim.port());
    }

    /// Lets the victim come back.
    fn heal(self, cluster: &Cluster, victim: &Server) {
        match self {
            Self::Killed => victim.restart(),
            Self::Frozen => victim.thaw(),
            Self::SteppedDown => {}
        }
        cluster.wait_ok();
    }
}

/// The shards that are well go on: as the servers come, all would refuse while one has no master.
async fn quick_to_fail_over() -> Stage {
    let whole = ["--cluster-require-full-coverage", "no"];
    stage_with(|builder| builder.node_timeout(ms(500)).args(whole)).await
}

/// A lock held over a failover is held on the new master, or its holder has been told otherwise.
async fn kept_or_told(cluster: &Cluster, name: &str, guard: &LockGuard, taken_over: Instant) {
    let limit = WATCHDOG / 3 + ms(500);
    // A guard that says nothing in this time has been confirmed since the failover.
    let told = tokio::time::timeout(limit.saturating_sub(taken_over.elapsed()), guard.lost());
    let told = told.await.is_ok();
    let there = cluster
        .direct_for(name)
        .hgetall(name)
        .contains_key(&guard.owner_id());
    assert!(told || there, "{name} is gone and its holder was not told");
    println!(
        "  the holder {}",
        if told { "was told" } else { "kept its lock" }
    );
}

/// One waits for what another holds.
struct Wait {
    name: String,
    guard: LockGuard,
    waiting: tokio::task::JoinHandle<(redlatch::Result<LockGuard>, Instant)>,
}

impl Wait {
    async fn begin(name: String, holder: &Client, waiter: &Client) -> Self {
        let guard = holder.lock(&*name).lock().await.expect("free");
        let lock = waiter.lock(&*name);
        let waiting = tokio::spawn(async move {
            let guard = lock.lock().wait(secs(25)).await;
            (guard, Instant::now())
        });
        asleep(waiter, 1).await;
        Self {
            name,
            guard,
            waiting,
        }
    }

    /// The waiter listens at the new master, and is woken by a message.
    async fn end(self, cluster: &Cluster, holder: &Client, waiter: &Client, taken_over: Instant) {
        let channel = format!("redisson_lock__channel:{{{}}}", self.name);
        let home = cluster.direct_for(&self.name);
        eventually_async(
            "the waiter listens at the new master",
            FAILOVER,
            async || hearers(&home, &channel) == 1,
        )
        .await;
        let subscribed = taken_over.elapsed();
        // The new subscription is a reason to look once more.
        settled(waiter).await;
        asleep(waiter, 1).await;
        // The holder has found the new master as well.
        holder.inspect(&*self.name).await.expect("answers");
        let before = waiter.stats().wakeups_by_message;
        let freed = Instant::now();
        let told = self.guard.unlock().await;
        let (guard, granted) = self.waiting.await.expect("joins");
        let took = granted.saturating_duration_since(freed);
        println!(
            "  the waiter listens {subscribed:?} after the takeover, woken in {took:?}; {told:?}"
        );
        guard.expect("granted").unlock().await.expect("held");
        assert_eq!(waiter.stats().wakeups_by_message, before + 1);
        assert!(took < ms(300), "{took:?}");
    }
}

/// The common part: a fault strikes each shard in turn, under load, a holder and a waiter on each.
async fn the_shard_goes_on(fault: Fault) {
    let cluster = quick_to_fail_over().await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(client_with(&cluster, |builder| builder.watchdog_timeout(WATCHDOG)).await);
    }
    let waiter = far_sighted(&cluster).await;
    let names: Vec<_> = cluster
        .masters()
        .into_iter()
        .map(|master| cluster.name_on(master, "fought"))
        .collect();
    let contentions: Vec<_> = names
        .iter()
        .map(|name| Contention::paced(&clients, name, 2, ms(2)))
        .collect();
    for contention in &contentions {
        contention.goes_on(50, secs(10)).await;
    }
    let begun = micros();
    tokio::time::sleep(secs(1)).await;
    // When each round's fault struck, when another master was there, and when all was well again.
    let mut rounds = Vec::new();
    for name in names.iter().take(ROUNDS) {
        let slot = slot_of(name);
        let victim = cluster.master_of_slot(slot);
        let kept = cluster.name_in_slot(slot, "kept");
        let guard = clients[0].lock(&*kept).lock().await.expect("free");
        let wait = Wait::begin(cluster.name_in_slot(slot, "waited"), &clients[1], &waiter).await;
        // Both are on the replica too.
        cluster.wait_ok();
        let struck = micros();
        fault.strike(&cluster, victim, slot);
        let taken_over = Instant::now();
        println!(
            "{fault}: another master after {:?}",
            Duration::from_micros(micros() - struck)
        );
        let hurt = names.iter().position(|other| other == name).expect("one");
        contentions[hurt].goes_on(10, FAILOVER).await;
        wait.end(&cluster, &clients[1], &waiter, taken_over).await;
        kept_or_told(&cluster, &kept, &guard, taken_over).await;
        let healed = micros();
        fault.heal(&cluster, victim);
        // The victim is awake again, and whatever it says is not believed.
        for contention in &contentions {
            contention.goes_on(20, secs(10)).await;
        }
        match guard.unlock().await {
            Ok(()) | Err(Error::Lost { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        rounds.push((struck, healed, micros()));
    }
    let faults: Vec<_> = rounds.iter().map(|(struck, ..)| *struck).collect();
    for (index, contention) in contentions.into_iter().enumerate() {
        let seen = contention.end().await;
        assert_eq!(seen.errors, Vec::<String>::new());
        let (summary, setbacks) = seen.assert_exclusive_but_for(&faults);
        let ordinary = seen.longest_gap(begun, faults[0]);
        for (round, (struck, _, well)) in rounds.iter().enumerate() {
            if round == index {
                let next = seen.longest_gap(*struck - 100_000, *well);
                println!("{fault}: the hurt shard without a grant for {next:?}");
                assert!(next < FAILOVER, "{next:?}");
            } else {
                let gap = seen.longest_gap(*struck, *well);
                println!(
                    "{fault}: the longest gap on a healthy shard {gap:?}, ordinarily {ordinary:?}"
                );
                assert!(gap < ordinary + secs(1), "{gap:?} beyond {ordinary:?}");
            }
        }
        println!(
            "{fault}: {} turns, {} lost, {setbacks} setbacks, {} resets, overlaps 0, longest {:?}",
            summary.count, seen.lost, seen.resets, summary.longest_wait
        );
    }
    for client in clients.into_iter().chain([waiter]) {
        println!("{:?}", client.stats());
        close(client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_is_replaced() {
    the_shard_goes_on(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_master_is_replaced_and_wakes_up_to_no_effect() {
    the_shard_goes_on(Fault::Frozen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_steps_down_is_followed() {
    the_shard_goes_on(Fault::SteppedDown).await;
}
