//! What every test of this binary needs.

use std::time::Duration;

use redlatch::{Client, ClientBuilder, Leader, Observe};
use redlatch_support::{Direct, NOTHING_LEFT, Server, as_wanted, eventually_async};
use tokio_stream::StreamExt;

/// Past this a test has failed, whatever it waits for.
pub(crate) const LIMIT: Duration = secs(20);

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) async fn connect(
    url: &str,
    settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Client {
    let builder = Client::builder().url(url).expect("url");
    settings(as_wanted!(builder))
        .connect()
        .await
        .expect("connects")
}

/// A client whose locks end soon after it does.
pub(crate) async fn quick(url: &str) -> Client {
    connect(url, |builder| builder.watchdog_timeout(secs(1))).await
}

/// A client whose looks are far off, so that only messages tell it anything.
pub(crate) async fn by_message(url: &str) -> Client {
    connect(url, |builder| builder.safety_poll(secs(29))).await
}

/// Closes a client and checks that nothing is left in its tables.
pub(crate) async fn close(client: Client) {
    let report = client.close(secs(5)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    assert_eq!(client.residue(), NOTHING_LEFT);
}

/// Waits until one waiter of the client sleeps.
pub(crate) async fn asleep(client: &Client) {
    eventually_async("it waits", secs(10), async || {
        client.residue().contains("sleepers: 1")
    })
    .await;
}

/// Waits until no key is left but counters of fencing tokens.
pub(crate) async fn nothing_but_counters(direct: &Direct) {
    eventually_async("no key is left", secs(5), async || {
        let keys = direct.cmd(&["KEYS", "*"]).accepted().strings();
        keys.iter()
            .all(|key| key.starts_with("redisson_lock_token:"))
    })
    .await;
}

/// The next item of an observer, which is no error.
pub(crate) async fn next(leaders: &mut Observe) -> Option<Leader> {
    let next = tokio::time::timeout(LIMIT, leaders.next()).await;
    next.expect("told in time")
        .expect("the stream goes on")
        .expect("no error")
}

/// Reads on until a leader says this, and gives it.
pub(crate) async fn until_leader(leaders: &mut Observe, value: &str) -> Leader {
    loop {
        if let Some(leader) = next(leaders).await
            && leader.value == value
        {
            return leader;
        }
    }
}

/// A server of the test's own, and the truth about it.
pub(crate) fn server() -> (Server, Direct) {
    let server = Server::start();
    let direct = server.direct();
    (server, direct)
}
