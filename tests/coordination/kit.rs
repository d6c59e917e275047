//! What every test of this binary needs.

use std::time::{Duration, Instant};

use redlatch::{Client, ClientBuilder, Result};
use redlatch_support::{Direct, Proxy, Server, eventually_async, unique_name};
use tokio::task::JoinHandle;

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A client with settings of the test's own.
pub(crate) async fn connect(
    url: &str,
    settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Client {
    settings(Client::builder().url(url).expect("url"))
        .connect()
        .await
        .expect("connects")
}

/// A client of the shared server.
pub(crate) async fn client() -> Client {
    connect(&Server::shared().url(), |builder| builder).await
}

/// A client of the shared server whose safety poll is far off, so that only a message wakes it.
pub(crate) async fn by_message() -> Client {
    connect(&Server::shared().url(), |builder| {
        builder.safety_poll(secs(20))
    })
    .await
}

/// The truth.
pub(crate) fn direct() -> Direct {
    Server::shared().direct()
}

/// A name nobody else uses.
pub(crate) fn name(test: &str) -> String {
    unique_name(test)
}

pub(crate) use redlatch_support::NOTHING_LEFT as NOTHING;

/// Closes a client and checks that nothing is left in its tables.
pub(crate) async fn close(client: Client) {
    let report = client.close(secs(5)).await;
    assert!(report.unreleased_permits.is_empty(), "{report:?}");
    assert_eq!(client.residue(), NOTHING);
    Server::shared().nothing_was_refused();
}

/// Waits until a client's tables are empty.
pub(crate) async fn until_nothing_is_left(client: &Client) {
    eventually_async("the client's tables are empty", secs(10), async || {
        client.residue() == NOTHING
    })
    .await;
}

/// Waits until one waiter of the client leads and sleeps.
pub(crate) async fn asleep(client: &Client) {
    eventually_async("a waiter sleeps", secs(5), async || {
        client.residue().contains("sleepers: 1")
    })
    .await;
}

/// The number in a key; `None` where there is none.
pub(crate) fn value(direct: &Direct, key: &str) -> Option<i64> {
    let value = direct.cmd(&["GET", key]).accepted();
    (!value.is_nil()).then(|| value.text().parse().expect("a number"))
}

/// Waits until the number in a key is this.
pub(crate) async fn until_value(direct: &Direct, key: &str, wanted: i64) {
    let mut seen = None;
    let started = Instant::now();
    while started.elapsed() < secs(8) {
        seen = value(direct, key);
        if seen == Some(wanted) {
            return;
        }
        tokio::time::sleep(ms(2)).await;
    }
    panic!("{key} is {seen:?}, not {wanted}");
}

/// A task that waits for something; with when it came.
pub(crate) fn follow<T: Send + 'static>(
    waiting: impl IntoFuture<Output = Result<T>, IntoFuture: Send + 'static>,
) -> JoinHandle<Result<(T, Instant)>> {
    let waiting = waiting.into_future();
    tokio::spawn(async move {
        let got = waiting.await?;
        Ok((got, Instant::now()))
    })
}

/// What a task waited for, and when it came.
pub(crate) async fn got<T>(waiting: JoinHandle<Result<(T, Instant)>>) -> (T, Instant) {
    tokio::time::timeout(secs(20), waiting)
        .await
        .expect("in time")
        .expect("joins")
        .expect("granted")
}

/// Prints a measured figure, and checks it.
pub(crate) fn within(what: &str, took: Duration, limit: Duration) {
    println!("{what}: {took:?} (limit {limit:?})");
    assert!(took < limit, "{what}: {took:?} is not within {limit:?}");
}

/// A server of the test's own, a proxy before it, and a client behind that.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
    pub(crate) client: Client,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder.command_timeout(ms(400))).await
    }

    pub(crate) async fn with(settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        let server = Server::start();
        let proxy = Proxy::start(server.port()).await;
        let client = connect(&proxy.url(), settings).await;
        Self {
            server,
            proxy,
            client,
        }
    }

    pub(crate) fn direct(&self) -> Direct {
        self.server.direct()
    }

    /// Closes the client and checks that the server has these keys and no more.
    pub(crate) async fn end(self, keys: &[&str]) {
        close(self.client).await;
        let mut seen = self.server.direct().cmd(&["KEYS", "*"]).strings();
        seen.sort();
        assert_eq!(seen, keys, "keys on the server");
    }
}
