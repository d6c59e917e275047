//! What every test of this binary needs.

use std::time::Duration;

use redlatch::{Client, ClientBuilder};
use redlatch_support::{Direct, NOTHING_LEFT, Server, as_wanted, eventually_async, unique_name};

/// A client of the shared server with settings of the test's own.
pub(crate) async fn client_with(settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    let builder = Client::builder().url(Server::shared().url()).expect("url");
    settings(as_wanted!(builder))
        .connect()
        .await
        .expect("connects")
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
    assert_eq!(client.residue(), NOTHING_LEFT);
    Server::shared().nothing_was_refused();
}

/// Waits until a client's tables are empty.
pub(crate) async fn until_nothing_is_left(client: &Client) {
    eventually_async("the client's tables are empty", secs(10), async || {
        client.residue() == NOTHING_LEFT
    })
    .await;
}

/// Waits until that many waiters of the client sleep, past their second look.
pub(crate) async fn asleep(client: &Client, count: usize) {
    let sleepers = format!("sleepers: {count},");
    eventually_async("the waiter sleeps", secs(10), async || {
        client.residue().contains(&sleepers)
    })
    .await;
}

/// Waits until no key and no channel with `name` in its name is left on the shared server, but those `allowed`.
pub(crate) async fn nothing_but(name: &str, allowed: &[String]) {
    let direct = direct();
    let pattern = format!("*{name}*");
    let left = || {
        let keys = direct.cmd(&["KEYS", &pattern]).accepted().strings();
        let keys: Vec<_> = keys
            .into_iter()
            .filter(|key| !allowed.contains(key))
            .collect();
        let channels = direct.cmd(&["PUBSUB", "CHANNELS", &pattern]).accepted();
        (keys, channels.strings())
    };
    let start = std::time::Instant::now();
    loop {
        let (keys, channels) = left();
        if keys.is_empty() && channels.is_empty() {
            return;
        }
        assert!(
            start.elapsed() < secs(5),
            "left on the server: {keys:?}, {channels:?}"
        );
        tokio::time::sleep(ms(2)).await;
    }
}

/// The markers of whoever reads the lock at this moment.
pub(crate) fn markers(name: &str) -> Vec<String> {
    let pattern = format!("{{{name}}}:*:rwlock_timeout:*");
    direct().cmd(&["KEYS", &pattern]).accepted().strings()
}
