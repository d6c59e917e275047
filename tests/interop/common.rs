//! What every test of this binary needs.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use redlatch::{Client, ClientBuilder, Error, Kind, Lock, LockGuard, Reentrant, Result};
use redlatch_support::{
    Direct, Server, as_wanted, eventually_async,
    jvm::{DriverJar, Jvm, JvmOptions},
};
use tokio::{
    sync::{MappedMutexGuard, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
    task::JoinHandle,
};

use crate::kinds::Shared;

/// Within this time of an unlock a waiter on the other side is in, if a message woke it.
pub(crate) const WAKE_LIMIT: Duration = ms(500);
/// Past this a test has failed, whatever it waits for.
pub(crate) const LIMIT: Duration = secs(20);

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

// Load: a test that takes every core for seconds must not run beside one that measures milliseconds.

static LOAD: RwLock<()> = RwLock::const_new(());

/// Held by a test that measures time.
pub(crate) async fn quiet() -> RwLockReadGuard<'static, ()> {
    LOAD.read().await
}

/// Held by a test that takes all the machine has.
pub(crate) fn loud() -> RwLockWriteGuard<'static, ()> {
    LOAD.blocking_write()
}

// The JVM side.

/// The JVM most tests share: Redisson's defaults, on the shared server.
pub(crate) fn shared_jvm(driver: &DriverJar) -> &'static Jvm {
    static JVM: OnceLock<Jvm> = OnceLock::new();
    JVM.get_or_init(|| Jvm::start(driver, &JvmOptions::single(Server::shared().url())))
}

/// Like [`shared_jvm`], with [`QUICK`] as the watchdog timeout.
pub(crate) fn quick_jvm(driver: &DriverJar) -> &'static Jvm {
    static JVM: OnceLock<Jvm> = OnceLock::new();
    let options = || JvmOptions::single(Server::shared().url()).watchdog(QUICK);
    JVM.get_or_init(|| Jvm::start(driver, &options()))
}

/// A server and a JVM that one test at a time has for itself, so that the server's counters tell what the two sides do.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) jvm: Jvm,
}

impl Stage {
    /// A stage of the test's own, with a JVM of its own.
    pub(crate) fn new(driver: &DriverJar, with: impl FnOnce(JvmOptions) -> JvmOptions) -> Self {
        let server = Server::start();
        let jvm = Jvm::start(driver, &with(JvmOptions::single(server.url())));
        Self { server, jvm }
    }

    /// The stage that many tests use, one after the other.
    pub(crate) async fn shared(driver: &DriverJar) -> MappedMutexGuard<'static, Self> {
        static STAGE: Mutex<Option<Stage>> = Mutex::const_new(None);
        MutexGuard::map(STAGE.lock().await, |stage| {
            stage.get_or_insert_with(|| Self::new(driver, |options| options))
        })
    }

    /// The like with [`QUICK`] as the watchdog timeout.
    pub(crate) async fn quick(driver: &DriverJar) -> MappedMutexGuard<'static, Self> {
        static STAGE: Mutex<Option<Stage>> = Mutex::const_new(None);
        MutexGuard::map(STAGE.lock().await, |stage| {
            stage.get_or_insert_with(|| Self::new(driver, |options| options.watchdog(QUICK)))
        })
    }

    /// A client of this server with settings of the test's own, and the poll far off.
    pub(crate) async fn client_with(
        &self,
        settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Client {
        client_of(&self.server, settings).await
    }

    /// A client of this server with the defaults apart from the far-off poll.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(|builder| builder).await
    }

    /// A client of this server with [`QUICK`] as the watchdog timeout.
    pub(crate) async fn quick_client(&self) -> Client {
        self.client_with(quick).await
    }
}

/// The watchdog timeout where renewals matter; renewals come every third of it.
pub(crate) const QUICK: Duration = secs(3);

// The Rust side.

/// A client whose safety poll is far off, so that a wait which ends early was ended by a message or by the lock's own
/// time.
async fn client_of(
    server: &Server,
    settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Client {
    let builder = Client::builder()
        .url(server.url())
        .expect("a server's own address")
        .safety_poll(secs(20));
    settings(as_wanted!(builder))
        .connect()
        .await
        .expect("connects")
}

fn quick(builder: ClientBuilder) -> ClientBuilder {
    builder.watchdog_timeout(QUICK).safety_poll(QUICK)
}

/// A client of the shared server with the defaults apart from the far-off poll.
pub(crate) async fn client() -> Client {
    client_of(Server::shared(), |builder| builder).await
}

/// A client of the shared server with [`QUICK`] as the watchdog timeout.
pub(crate) async fn quick_client() -> Client {
    client_of(Server::shared(), quick).await
}

/// Closes a client and checks that nothing is left of it.
pub(crate) async fn close(client: Client) {
    let report = client.close(secs(5)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    let residue = client.residue();
    assert_eq!(
        residue.matches(": 0").count(),
        residue.matches(':').count(),
        "something is left after closing: {residue}"
    );
}

/// Waits for the lock in a task of its own; gives the guard and when it was granted.
pub(crate) fn wait_for<K: Kind>(lock: Lock<K>) -> JoinHandle<(Result<LockGuard<K>>, Instant)> {
    tokio::spawn(async move {
        let guard = lock.lock().wait(LIMIT).await;
        (guard, Instant::now())
    })
}

/// Waits until one waiter of the client sleeps, past the look that follows its subscription, so that from then on only
/// a message, or the end of the lock's own time, lets it in.
pub(crate) async fn asleep(client: &Client) {
    eventually_async("our waiter sleeps", secs(5), async || {
        client.residue().contains("sleepers: 1")
    })
    .await;
}

/// Says that the unlock failed because the lock had been lost.
#[track_caller]
pub(crate) fn assert_lost(answer: &Result<()>) {
    assert!(
        matches!(answer, Err(Error::Lost { .. })),
        "Error::Lost was due, not {answer:?}"
    );
}

// The server.

/// The truth.
pub(crate) fn direct() -> Direct {
    Server::shared().direct()
}

/// The wake channel of a reentrant lock.
pub(crate) fn channel(key: &str) -> String {
    Reentrant::channel(key, "").expect("it has one")
}

/// Waits until that many clients are subscribed to the reentrant lock's channel.
pub(crate) async fn subscribers(direct: &Direct, key: &str, count: i64) {
    subscribed(direct, &channel(key), count).await;
}

/// Waits until that many clients are subscribed to the channel.
pub(crate) async fn subscribed(direct: &Direct, channel: &str, count: i64) {
    let shown: String = channel.chars().take(80).collect();
    eventually_async(
        &format!("{count} subscribers of {shown:?}"),
        secs(5),
        async || direct.numsub(channel) == count,
    )
    .await;
}
