//! What every fault test needs: a server of its own, clients that tell, and the truth.

use std::time::{Duration, Instant};

use redlatch::{Client, ClientBuilder, Event, Events, LockGuard, Result};
use redlatch_support::{Direct, Proxy, Server, as_wanted, eventually_async};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A server with a lock on it and somebody who waits.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) holder: Client,
    pub(crate) waiter: Client,
    /// Between the waiter and the server, or between both and the server.
    pub(crate) proxy: Proxy,
}

/// Which clients go through the proxy.
#[derive(PartialEq, Eq, Clone, Copy)]
pub(crate) enum Through {
    Waiter,
    Holder,
}

impl Rig {
    pub(crate) async fn new(through: Through) -> Self {
        Self::with(through, |builder| builder).await
    }

    pub(crate) async fn with(
        through: Through,
        settings: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Self {
        let server = Server::start();
        let proxy = Proxy::start(server.port()).await;
        let client = async |proxied: bool| {
            let url = if proxied { proxy.url() } else { server.url() };
            connect(&url, &settings).await
        };
        Self {
            holder: client(through == Through::Holder).await,
            waiter: client(through == Through::Waiter).await,
            server,
            proxy,
        }
    }

    pub(crate) fn direct(&self) -> Direct {
        self.server.direct()
    }

    /// The holder takes `name` and the waiter stands before it, subscribed.
    pub(crate) async fn contended(&self, name: &str) -> (LockGuard, Waiting) {
        let guard = self.holder.lock(name).lock().await.expect("free");
        let attempts = self.waiter.stats().attempts;
        let waiting = Waiting::start(&self.waiter, name, secs(60));
        // It has tried, subscribed, tried again and gone to sleep.
        eventually_async("the waiter sleeps", secs(10), async || {
            self.waiter.stats().attempts >= attempts + 2
                && self.waiter.residue().contains("sleepers: 1")
        })
        .await;
        (guard, waiting)
    }

    /// Closes both clients and checks that nothing is left, here or on the server.
    pub(crate) async fn end(self) {
        for client in [self.holder, self.waiter] {
            close(client).await;
        }
        let keys = self.server.direct().cmd(&["DBSIZE"]).int();
        assert_eq!(keys, 0, "keys are left on the server");
    }
}

pub(crate) async fn connect(
    url: &str,
    settings: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Client {
    settings(as_wanted!(Client::builder().url(url).expect("url")))
        .connect()
        .await
        .expect("connects")
}

pub(crate) async fn close(client: Client) {
    let report = client.close(secs(10)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    assert_eq!(client.residue(), NOTHING);
}

pub(crate) use redlatch_support::NOTHING_LEFT as NOTHING;

/// Waits until a client's tables are empty.
pub(crate) async fn until_nothing_is_left(client: &Client) {
    let mut seen = String::new();
    let started = Instant::now();
    while started.elapsed() < secs(10) {
        seen = client.residue();
        if seen == NOTHING {
            return;
        }
        tokio::time::sleep(ms(2)).await;
    }
    panic!("something is left in the client's tables: {seen}");
}

/// A task that waits for a lock.
pub(crate) struct Waiting(JoinHandle<Result<(LockGuard, Instant)>>);

impl Waiting {
    pub(crate) fn start(client: &Client, name: &str, wait: Duration) -> Self {
        let lock = client.lock(name);
        Self(tokio::spawn(async move {
            let guard = lock.lock().wait(wait).await?;
            Ok((guard, Instant::now()))
        }))
    }

    /// The guard, and when it was granted.
    pub(crate) async fn granted(self) -> (LockGuard, Instant) {
        self.0.await.expect("joins").expect("granted")
    }
}

/// The hash of a lock, asked for again where the connection that asks was killed.
pub(crate) fn counts(direct: &Direct, name: &str) -> Vec<String> {
    loop {
        if let Ok(value) = direct.try_cmd(&["HGETALL", name]) {
            return value.strings();
        }
    }
}

/// Prints a measured figure, and checks it.
pub(crate) fn within(what: &str, took: Duration, limit: Duration) {
    println!("{what}: {took:?} (limit {limit:?})");
    assert!(took < limit, "{what}: {took:?} is not within {limit:?}");
}

/// Waits for an event that `wanted` accepts.
pub(crate) async fn event(
    events: &mut Events,
    limit: Duration,
    wanted: impl Fn(&Event) -> bool,
) -> Event {
    let found = tokio::time::timeout(limit, async {
        loop {
            let event = events.next().await.expect("the stream goes on");
            if wanted(&event) {
                return event;
            }
        }
    });
    found.await.expect("the event comes in time")
}
