//! A server of either sort, and what every test of this binary needs.

use std::{sync::OnceLock, time::Duration};

use redlatch::{
    Client, ClientBuilder, Kind, Lock, LockGuard, Result,
    test_util::{FakeServer, TestServer},
};
use redlatch_support::{Flavor, ServerBinary, eventually_async, finder};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A server's binary, wherever it is to be had.
pub(crate) fn server() -> ServerBinary {
    static FOUND: OnceLock<ServerBinary> = OnceLock::new();
    let find = || finder::find(Flavor::Any).unwrap_or_else(|error| panic!("{error}"));
    FOUND.get_or_init(find).clone()
}

pub(crate) async fn real() -> TestServer {
    let started = TestServer::start_command(server().command()).await;
    started.unwrap_or_else(|error| panic!("{error}"))
}

/// A server of either sort.
pub(crate) enum Rig {
    Fake(FakeServer),
    Real(TestServer),
}

impl Rig {
    pub(crate) async fn client(&self) -> Client {
        self.client_with(|builder| builder).await
    }

    pub(crate) async fn client_with(
        &self,
        settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Client {
        let builder = settings(Client::builder());
        match self {
            Self::Fake(server) => server.client_with(builder).expect("acceptable"),
            Self::Real(server) => {
                let builder = builder.url(server.url()).expect("an address");
                builder.connect().await.expect("it answers")
            }
        }
    }

    pub(crate) async fn lose_lock_now(&self, name: &str) -> bool {
        match self {
            Self::Fake(server) => server.lose_lock_now(name),
            Self::Real(server) => server.lose_lock_now(name).await.expect("it answers"),
        }
    }

    pub(crate) async fn cut_connections(&self) {
        match self {
            Self::Fake(server) => server.cut_connections(),
            Self::Real(server) => server.cut_connections().await.expect("it answers"),
        }
    }

    pub(crate) async fn silence(&self, duration: Duration) {
        match self {
            Self::Fake(server) => server.silence(duration),
            Self::Real(server) => server.silence(duration).await.expect("it answers"),
        }
    }
}

/// Runs each of these with a fake server and a clock that goes as fast as it can, and with a real one.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod fake {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                let server = redlatch::test_util::FakeServer::new();
                super::$name(crate::rig::Rig::Fake(server)).await;
            })*
        }
        mod real {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::rig::Rig::Real(crate::rig::real().await)).await;
            })*
        }
    };
}
pub(crate) use on_both;

pub(crate) type Waiting<K> = JoinHandle<Result<LockGuard<K>>>;

/// Somebody who waits for a lock, and sleeps by now.
pub(crate) async fn waits<K: Kind>(client: &Client, lock: Lock<K>) -> Waiting<K> {
    let waiting = tokio::spawn(async move { lock.lock().await });
    eventually_async("the waiter sleeps", secs(10), async || {
        client.residue().contains("sleepers: 1,")
    })
    .await;
    // Past the second look, which its subscription sets off.
    sleep(ms(30)).await;
    waiting
}

pub(crate) async fn granted<K: Kind>(waiting: Waiting<K>) -> LockGuard<K> {
    let granted = timeout(secs(60), waiting).await;
    granted.expect("in time").expect("joins").expect("granted")
}
