//! What every test of this binary needs.

use std::time::Duration;

use redlatch::{Client, ClientBuilder};
use redlatch_support::{Direct, Server, unique_name};

/// A client of the shared server with settings of the test's own.
pub(crate) async fn client_with(settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    let builder = Client::builder().url(Server::shared().url()).expect("url");
    settings(builder).connect().await.expect("connects")
}

/// A client of the shared server.
pub(crate) async fn client() -> Client {
    client_with(|builder| builder).await
}

/// The truth.
pub(crate) fn direct() -> Direct {
    Server::shared().direct()
}

/// A lock name nobody else uses.
pub(crate) fn name(test: &str) -> String {
    unique_name(test)
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
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
