//! A server to be harmed, somebody who holds and somebody who waits.

use std::{
    collections::BTreeSet,
    marker::PhantomData,
    time::{Duration, Instant},
};

use redlatch::{Client, ClientBuilder, Error, Lock, LockGuard, Owner};
use redlatch_support::{Direct, Proxy, Server, as_wanted, eventually_async};
use tokio::task::JoinHandle;

use super::Subject;
use crate::common::{asleep, close, ms, secs};

pub(super) struct Rig<K> {
    pub(super) server: Server,
    pub(super) direct: Direct,
    /// Between the holder and the server.
    pub(super) proxy: Proxy,
    /// Between the waiter and the server.
    pub(super) before_waiter: Proxy,
    pub(super) holder: Client,
    pub(super) waiter: Client,
    kind: PhantomData<K>,
}

impl<K: Subject> Rig<K> {
    pub(super) async fn new(settings: impl Fn(ClientBuilder) -> ClientBuilder) -> Self {
        Self::on(Server::start(), settings).await
    }

    pub(super) async fn on(
        server: Server,
        settings: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Self {
        let (proxy, before_waiter) = (
            Proxy::start(server.port()).await,
            Proxy::start(server.port()).await,
        );
        let connect = async |url: String| {
            let builder = settings(as_wanted!(Client::builder().url(url).expect("url")));
            builder.connect().await.expect("connects")
        };
        Self {
            holder: connect(proxy.url()).await,
            waiter: connect(before_waiter.url()).await,
            direct: server.direct(),
            proxy,
            before_waiter,
            server,
            kind: PhantomData,
        }
    }

    /// The lock, for an owner of its own.
    pub(super) fn lock(&self, name: &str) -> Lock<K> {
        K::of(&self.holder, name).with_owner(Owner::fresh())
    }

    pub(super) fn rival(&self, name: &str) -> Lock<K::Rival> {
        K::rival(&self.waiter, name).with_owner(Owner::fresh())
    }

    /// How often the guard's owner has entered, as the server says.
    pub(super) fn count(&self, guard: &LockGuard<K>) -> u32 {
        K::count(&self.direct, guard.name(), &guard.owner_id())
    }

    /// Somebody who waits for a busy lock, asleep by now.
    pub(super) async fn waiting(&self, name: &str) -> Waiting<K::Rival> {
        let lock = self.rival(name);
        let waiting = Waiting(tokio::spawn(async move {
            let outcome = lock.lock().wait(secs(30)).await;
            (outcome, Instant::now())
        }));
        if K::WOKEN {
            asleep(&self.waiter, 1).await;
        } else {
            eventually_async("it waits", secs(5), async || self.waiter.stats().waits > 0).await;
        }
        waiting
    }

    /// Closes both clients and checks that these locks have left nothing behind.
    pub(super) async fn end(self, names: &[&str]) {
        close(self.holder).await;
        close(self.waiter).await;
        let allowed: BTreeSet<_> = names.iter().flat_map(|name| K::remains(name)).collect();
        let begun = Instant::now();
        loop {
            let keys = self.direct.cmd(&["KEYS", "*"]).accepted().strings();
            let left: Vec<_> = keys.iter().filter(|key| !allowed.contains(*key)).collect();
            if left.is_empty() {
                break;
            }
            assert!(begun.elapsed() < secs(5), "left on the server: {left:?}");
            tokio::time::sleep(ms(2)).await;
        }
    }
}

/// A task that waits for a lock.
pub(super) struct Waiting<K: redlatch::Kind>(JoinHandle<(Result<LockGuard<K>, Error>, Instant)>);

impl<K: redlatch::Kind> Waiting<K> {
    /// The guard, and when it was granted.
    pub(super) async fn granted(self) -> (LockGuard<K>, Instant) {
        let (outcome, when) = self.0.await.expect("joins");
        (outcome.expect("granted"), when)
    }

    /// The guard, once granted within a time after something.
    pub(super) async fn granted_within(
        self,
        what: &str,
        limit: Duration,
        after: Instant,
    ) -> LockGuard<K> {
        let (guard, when) = self.granted().await;
        let took = when.saturating_duration_since(after);
        println!("{what}: {took:?} (limit {limit:?})");
        assert!(took < limit, "{what}: only after {took:?}");
        guard
    }
}
