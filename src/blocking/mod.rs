//! The same locks for programs without an async runtime: every call blocks its thread until it is done.
//!
//! A [`Client`] has one thread behind it, named `redlatch`, on which connections are kept and locks renewed; callers wait on
//! their own threads. The holder of a lock is the calling *thread*, as in Java: it enters its own locks again, and no other
//! thread does.
//!
//! Inside an async runtime a call would stop the runtime's thread, so it is refused with [`Error::InvalidArgument`] there,
//! and so it is in `spawn_blocking`: use the [async client](crate::Client). What has no blocking form here, elections for
//! example, is had by [`Client::block_on`].
//!
//! ```no_run
//! # fn example() -> redlatch::Result<()> {
//! use std::time::Duration;
//! use redlatch::blocking::Client;
//!
//! let client = Client::connect("redis://127.0.0.1:6379")?;
//! let lock = client.lock("orders:42");
//!
//! let guard = lock.lock()?; // waits, and keeps the lock for as long as the guard lives
//! guard.unlock()?;
//!
//! if let Some(guard) = lock.try_lock_for(Duration::from_secs(2), None)? {
//!     drop(guard); // gives the lock back in the background
//! }
//!
//! let leadership = client.block_on(client.as_async().election("scheduler").campaign("me"))?;
//! # drop(leadership);
//! # Ok(())
//! # }
//! ```

use std::{fmt, future::IntoFuture, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use crate::{
    client::ClientBuilder,
    engine::close::CloseReport,
    error::{Error, Result},
    lock::{Fair, Fenced, Reentrant},
    runtime::Home,
};

mod coordination;
mod lock;

pub use self::{
    coordination::{CountDownLatch, Semaphore, SemaphorePermit},
    lock::{Lock, LockGuard, RawLock, ReadWriteLock},
};

/// How long dropping the last handle of a client may take.
const PARTING: Duration = Duration::from_secs(1);

/// A client whose calls block. Cheap to clone; all clones are one client.
///
/// Dropping the last handle, its locks and guards included, gives everything back that is still held, as
/// [`close`](Self::close) does, and waits for it for a second at most; inside an async runtime it does not wait.
///
/// *Redisson*: `RedissonClient` with its synchronous methods.
#[derive(Clone)]
pub struct Client {
    thread: Arc<Thread>,
}

/// The client and the runtime on its thread.
struct Thread {
    client: crate::Client,
    runtime: Handle,
}

impl Thread {
    /// The one way from a blocking call to an async one.
    fn wait<T>(&self, call: impl IntoFuture<Output = Result<T>>) -> Result<T> {
        check_thread()?;
        self.runtime.block_on(call.into_future())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if check_thread().is_ok() {
            // What is not given back by then ends with its time to live.
            let _ = self.runtime.block_on(self.client.close(PARTING));
        }
    }
}

/// Whether this thread may be blocked.
fn check_thread() -> Result<()> {
    match Handle::try_current() {
        Ok(_) => Err(Error::invalid(
            "runtime",
            "a blocking call inside an async runtime would stop it: use the async client there",
        )),
        Err(_) => Ok(()),
    }
}

impl Client {
    /// Connects with default settings: see [`Client::connect`](crate::Client::connect).
    ///
    /// # Errors
    ///
    /// As [`Client::connect`](crate::Client::connect); [`Error::InvalidArgument`] inside an async runtime.
    pub fn connect(url: impl AsRef<str>) -> Result<Self> {
        Self::with(crate::Client::builder().url(url)?)
    }

    /// Connects with these settings, always on a [thread of its own](ClientBuilder::dedicated_runtime).
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::connect`]; [`Error::InvalidArgument`] inside an async runtime.
    pub fn with(builder: ClientBuilder) -> Result<Self> {
        check_thread()?;
        let home = Home::dedicated()?;
        let runtime = home.handle.clone();
        let client = runtime.block_on(builder.connect_on(|_| Ok(home)))?;
        Ok(Self {
            thread: Arc::new(Thread { client, runtime }),
        })
    }

    /// Waits for a call of the async client, or of anything made from it, on this thread.
    ///
    /// # Errors
    ///
    /// Those of the call; [`Error::InvalidArgument`] inside an async runtime.
    pub fn block_on<T>(&self, call: impl IntoFuture<Output = Result<T>>) -> Result<T> {
        self.thread.wait(call)
    }

    /// The same client with async calls.
    #[must_use]
    pub fn as_async(&self) -> &crate::Client {
        &self.thread.client
    }

    /// Gives everything back and ends: see [`Client::close`](crate::Client::close).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] inside an async runtime.
    pub fn close(&self, limit: Duration) -> Result<CloseReport> {
        self.block_on(async { Ok(self.as_async().close(limit).await) })
    }

    /// The reentrant lock of this name: see [`Client::lock`](crate::Client::lock).
    #[must_use]
    pub fn lock(&self, name: impl Into<Arc<str>>) -> Lock<Reentrant> {
        Lock::new(self, self.as_async().lock(name))
    }

    /// The fair lock of this name: see [`Client::fair_lock`](crate::Client::fair_lock).
    #[must_use]
    pub fn fair_lock(&self, name: impl Into<Arc<str>>) -> Lock<Fair> {
        Lock::new(self, self.as_async().fair_lock(name))
    }

    /// The fenced lock of this name: see [`Client::fenced_lock`](crate::Client::fenced_lock).
    #[must_use]
    pub fn fenced_lock(&self, name: impl Into<Arc<str>>) -> Lock<Fenced> {
        Lock::new(self, self.as_async().fenced_lock(name))
    }

    /// The read/write lock of this name: see [`Client::read_write_lock`](crate::Client::read_write_lock).
    #[must_use]
    pub fn read_write_lock(&self, name: impl Into<Arc<str>>) -> ReadWriteLock {
        ReadWriteLock::new(self, &self.as_async().read_write_lock(name))
    }

    /// The lock of this name with Redisson's verbs: see [`Client::rlock`](crate::Client::rlock).
    #[must_use]
    pub fn rlock(&self, name: impl Into<Arc<str>>) -> RawLock<Reentrant> {
        self.lock(name).raw()
    }

    /// The semaphore of this name: see [`Client::semaphore`](crate::Client::semaphore).
    #[must_use]
    pub fn semaphore(&self, name: impl Into<Arc<str>>) -> Semaphore {
        Semaphore::new(self, self.as_async().semaphore(name))
    }

    /// The latch of this name: see [`Client::count_down_latch`](crate::Client::count_down_latch).
    #[must_use]
    pub fn count_down_latch(&self, name: impl Into<Arc<str>>) -> CountDownLatch {
        CountDownLatch::new(self, self.as_async().count_down_latch(name))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("blocking::Client")
            .field(self.as_async())
            .finish()
    }
}

/// `Ok(None)` for a wait that is over.
fn in_time<T>(outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_timeout() => Ok(None),
        Err(error) => Err(error),
    }
}
