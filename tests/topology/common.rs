//! What every test of this binary needs.

use std::time::Duration;

use redlatch::{Client, ClientBuilder};
use redlatch_support::{Cluster, eventually_async};

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A client of a cluster, which knows one node of it.
pub(crate) async fn client_of(cluster: &Cluster) -> Client {
    client_with(cluster, |builder| builder).await
}

/// A client of a cluster with settings of the test's own.
pub(crate) async fn client_with(
    cluster: &Cluster,
    settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Client {
    let seed = cluster.urls().into_iter().take(1);
    let builder = Client::builder().cluster(seed).expect("urls");
    settings(builder).connect().await.expect("connects")
}

/// Closes a client and checks that nothing is left in its tables.
pub(crate) async fn close(client: Client) {
    let report = client.close(secs(5)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    assert_eq!(
        client.residue(),
        "Residue { names: 0, channels: 0, sleepers: 0, holds: 0, background: 0 }"
    );
}

/// Waits until that many waiters of the client sleep, past their second look.
pub(crate) async fn asleep(client: &Client, count: usize) {
    let sleepers = format!("sleepers: {count},");
    eventually_async("the waiter sleeps", secs(10), async || {
        client.residue().contains(&sleepers)
    })
    .await;
}
