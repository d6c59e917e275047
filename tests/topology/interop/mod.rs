//! Clusters with the real Redisson on the other side.
//!
//! Without a JDK and Maven each test says so and passes; under `CI=true` it fails.

mod contention;
mod handover;
mod moves;
mod sentinel;

use std::time::{Duration, Instant};

use redlatch::{Client, ShardedPubSub};
use redlatch_support::{
    Cluster,
    jvm::{DriverJar, Jvm, JvmOptions, JvmSharding, JvmThread, follow},
};
use tokio::task::JoinHandle;

use crate::common::{client_with, hearers, ms, secs, until};

/// Within this time of an unlock a waiter on the other side is in, if a message woke it.
const WAKE_LIMIT: Duration = ms(500);

/// A JVM on this cluster that looks at it often.
fn jvm_on(driver: &DriverJar, cluster: &Cluster, sharding: JvmSharding) -> Jvm {
    let options = JvmOptions::cluster(cluster.urls())
        .sharding(sharding)
        .scan(ms(500))
        .watchdog(secs(6));
    Jvm::start(driver, &options)
}

/// A client of ours whose safety poll comes too late to help.
async fn ours_on(cluster: &Cluster, sharding: ShardedPubSub) -> Client {
    client_with(cluster, |builder| {
        builder.sharded_pubsub(sharding).safety_poll(secs(25))
    })
    .await
}

fn can_shard(cluster: &Cluster) -> bool {
    cluster.nodes()[0].binary().major() >= 7
}

/// Waits in the JVM for what the operation says. Comes back when the thread has asked twice, before and after
/// subscribing, so that from then on only a message lets it in. Nobody else may use the master meanwhile.
async fn waits_in_jvm(
    cluster: &Cluster,
    thread: &JvmThread<'_>,
    op: &str,
    args: &[&str],
    name: &str,
    channel: &str,
    subscriptions: i64,
) -> JoinHandle<Instant> {
    let home = cluster.direct_for(name);
    let scripts = || home.command_calls("evalsha") + home.command_calls("eval");
    let before = scripts();
    let pending = follow(thread.begin(op, args));
    until("the JVM listens", || {
        hearers(&home, channel) == subscriptions
    })
    .await;
    // A latch is looked at by a plain command.
    if op != "lawait" {
        until("the JVM has asked twice", || scripts() >= before + 2).await;
    }
    tokio::spawn(async move {
        let (answer, when) = pending.await.expect("joins");
        answer.expect("granted");
        when
    })
}
