//! What every test of this binary needs.

use std::{
    ops::Deref,
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use redlatch::{Client, ClientBuilder};
use redlatch_support::{Cluster, Direct, Server, Value, cluster::ClusterBuilder, eventually_async};
use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Epoch microseconds.
pub(crate) fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_micros()).expect("before the year 500000")
}

/// As many clusters do tests have for themselves at a time: each is six processes, and what they measure is time. A machine
/// with nothing else to do, such as with no JVM, can have more: `REDLATCH_TEST_CLUSTERS`.
static AT_A_TIME: LazyLock<u32> = LazyLock::new(|| {
    std::env::var("REDLATCH_TEST_CLUSTERS").map_or(3, |number| number.parse().expect("a number"))
});
static STAGES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(*AT_A_TIME as usize));

/// A cluster of a test's own.
pub(crate) struct Stage {
    cluster: Cluster,
    _permit: SemaphorePermit<'static>,
}

impl Deref for Stage {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

/// Three masters with a replica each, once it is this test's turn.
pub(crate) async fn stage() -> Stage {
    stage_with(|builder| builder).await
}

/// As [`stage`], with settings of the test's own.
pub(crate) async fn stage_with(settings: impl FnOnce(ClusterBuilder) -> ClusterBuilder) -> Stage {
    let permit = STAGES.acquire().await.expect("never closed");
    Stage {
        cluster: settings(Cluster::builder()).start(),
        _permit: permit,
    }
}

/// As [`stage_with`], with no other cluster beside it: for what takes all the machine has.
pub(crate) async fn lone_stage_with(
    settings: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
) -> Stage {
    let permit = STAGES.acquire_many(*AT_A_TIME).await.expect("never closed");
    Stage {
        cluster: settings(Cluster::builder()).start(),
        _permit: permit,
    }
}

/// A master other than this one.
pub(crate) fn other_than<'a>(cluster: &'a Cluster, master: &Server) -> &'a Server {
    let masters = cluster.masters();
    let other = masters
        .into_iter()
        .find(|node| node.port() != master.port());
    other.expect("three masters")
}

/// How many hear the channel at this server, either way.
pub(crate) fn hearers(server: &Direct, channel: &str) -> i64 {
    let count = |word: &str| match server.cmd(&["PUBSUB", word, channel]) {
        Value::Array(items) => items.get(1).map_or(0, Value::int),
        // No sharded messages before Redis 7.
        _ => 0,
    };
    count("SHARDNUMSUB") + count("NUMSUB")
}

/// A client of a cluster, which knows one node of it.
pub(crate) async fn client_of(cluster: &Cluster) -> Client {
    client_with(cluster, |builder| builder).await
}

/// A client whose safety poll comes too late to help.
pub(crate) async fn far_sighted(cluster: &Cluster) -> Client {
    client_with(cluster, |builder| builder.safety_poll(secs(25))).await
}

/// A client of a cluster with settings of the test's own.
pub(crate) async fn client_with(
    cluster: &Cluster,
    settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Client {
    let seed = cluster.nodes().iter().find(|node| node.is_awake());
    let builder = Client::builder().cluster(seed.map(Server::url));
    let builder = builder.expect("a node is awake");
    settings(builder).connect().await.expect("connects")
}

/// Closes a client and checks that nothing is left in its tables.
pub(crate) async fn close(client: Client) {
    let report = client.close(secs(5)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    assert_eq!(client.residue(), redlatch_support::NOTHING_LEFT);
}

/// Waits until that many waiters of the client sleep, past their second look.
pub(crate) async fn asleep(client: &Client, count: usize) {
    let sleepers = format!("sleepers: {count},");
    eventually_async("the waiter sleeps", secs(10), async || {
        client.residue().contains(&sleepers)
    })
    .await;
}

/// Waits until the client has asked for no lock for a while.
pub(crate) async fn settled(client: &Client) {
    let mut last = (client.stats().attempts, Instant::now());
    eventually_async("the client asks no more", secs(10), async || {
        let attempts = client.stats().attempts;
        if attempts != last.0 {
            last = (attempts, Instant::now());
        }
        last.1.elapsed() > ms(100)
    })
    .await;
}

/// Waits for a condition, leaving the thread to others.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_async(what, secs(10), async || condition()).await;
}
