//! What a lock means. Kinds are pure; waiting and talking is the engine's.

use std::{fmt, future::IntoFuture, marker::PhantomData, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    backoff::BackOff,
    config::check_lease,
    engine::{
        Engine,
        acquire::{Patience, Wish},
        hold::{Lease, later},
        protocol::{Call, OF, Protocol, Question, Value},
        release::Grip,
        transport::Reply,
    },
    error::{Error, Result},
    owner::Owner,
};

mod any;
pub(crate) mod fair;
pub(crate) mod fenced;
pub(crate) mod group;
mod guard;
pub(crate) mod kind;
mod multi;
mod non_reentrant;
mod raw;
pub(crate) mod read_write;
pub(crate) mod reentrant;
pub(crate) mod spin;

pub use self::{
    any::AnyLock,
    fair::Fair,
    fenced::{Fenced, FencingToken},
    group::{Group, GroupValue},
    guard::{HoldState, LockGuard},
    kind::Kind,
    multi::{AcquireMulti, MultiGuard, MultiLock, RawMultiLock},
    non_reentrant::{NonReentrant, NonReentrantFair},
    raw::RawLock,
    read_write::{Read, ReadWriteLock, Write},
    reentrant::Reentrant,
    spin::Spin,
};

/// Values in one group lock.
const MOST_VALUES: usize = 1_000;

/// A distributed lock, known by its name.
///
/// Made by [`Client::lock`](crate::Client::lock); making and cloning one sends nothing. The lock itself is on the
/// server: every `Lock` of the same name, in this process, another one or a JVM, is the same lock.
///
/// Two branches of one `join!` or `select!` run in one task and so *both enter* a reentrant lock; see [`Owner`].
///
/// *Redisson*: `RLock`; its own verbs are behind [`raw`](Self::raw).
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> redlatch::Result<()> {
/// use std::time::Duration;
///
/// let client = redlatch::Client::connect("redis://127.0.0.1:6379").await?;
/// let lock = client.lock("orders:42");
///
/// let guard = lock.lock().await?; // waits, and keeps the lock for as long as the guard lives
/// guard.unlock().await?;
///
/// let guard = lock
///     .lock()
///     .wait(Duration::from_secs(2))
///     .lease(Duration::from_secs(10))
///     .await?;
/// drop(guard); // gives the lock back in the background
/// # Ok(())
/// # }
/// ```
pub struct Lock<K: Kind = Reentrant> {
    raw: RawLock<K>,
}

impl<K: Kind> Lock<K> {
    pub(crate) fn new(engine: &Arc<Engine>, name: Arc<str>) -> Self {
        Self {
            raw: RawLock {
                inner: Inner {
                    engine: engine.clone(),
                    name,
                    owner: None,
                    backoff: BackOff::default(),
                    protocol: K::protocol(),
                    values: None,
                },
                kind: PhantomData,
            },
        }
    }

    /// Waits for the lock. Await the result as it is, or set a limit with [`wait`](Acquire::wait) and a fixed lease
    /// with [`lease`](Acquire::lease) first.
    ///
    /// Contenders of one client get in first come, first served; between clients whoever asks first after a release
    /// wins. An owner that holds the lock already enters at once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe at every point: a caller that leaves keeps no lock, no place in line and no subscription, and a
    /// request in flight gives back what it is granted. A lock held before is never touched.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when a limit was set and is over, [`Error::Unreachable`] when the server stays silent,
    /// [`Error::Refused`] and [`Error::WrongType`] for the server's own refusals, [`Error::InvalidArgument`] for
    /// unacceptable names and leases, [`Error::Closed`].
    ///
    /// *Redisson*: `lock`, `tryLock(wait, lease, unit)`.
    #[must_use = "nothing happens until it is awaited"]
    pub fn lock(&self) -> Acquire<K> {
        Acquire {
            lock: self.clone(),
            wait: None,
            lease: None,
        }
    }

    /// Takes the lock if it is free, and does not wait: `None` says that somebody else holds it, or stands before us in
    /// this process. At most one round trip.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock), but never [`Error::TimedOut`].
    ///
    /// *Redisson*: `tryLock()`.
    pub async fn try_lock(&self) -> Result<Option<LockGuard<K>>> {
        let grip = self.raw.inner.acquire(Patience::None, None, false).await?;
        Ok(grip.map(LockGuard::new))
    }

    /// The same lock, asked for by `owner` instead of by the current scope, task or thread.
    ///
    /// *Redisson*: the `threadId` argument of the async methods.
    #[must_use]
    pub fn with_owner(&self, owner: Owner) -> Self {
        let mut lock = self.clone();
        lock.raw.inner.owner = Some(owner);
        lock
    }

    /// The same lock with Redisson's own verbs: the owner holds it, not a guard.
    #[must_use]
    pub fn raw(&self) -> &RawLock<K> {
        &self.raw
    }

    pub(crate) fn into_raw(self) -> RawLock<K> {
        self.raw
    }

    /// The name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.raw.inner.name
    }
}

impl<K: Kind> Clone for Lock<K> {
    fn clone(&self) -> Self {
        Self {
            raw: self.raw.clone(),
        }
    }
}

impl<K: Kind> fmt::Debug for Lock<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("kind", &K::protocol().kind())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// What all surfaces share: a kind, a name, and who asks.
#[derive(Clone)]
pub(crate) struct Inner {
    pub(crate) engine: Arc<Engine>,
    pub(crate) name: Arc<str>,
    pub(crate) owner: Option<Owner>,
    pub(crate) backoff: BackOff,
    pub(crate) protocol: &'static dyn Protocol,
    /// The values of a group.
    pub(crate) values: Option<Arc<[Value]>>,
}

impl Inner {
    /// A call by whoever asks now.
    pub(crate) fn call(&self) -> Result<Call> {
        self.call_by(self.owner.unwrap_or_else(Owner::current))
    }

    /// A call by `owner`.
    pub(crate) fn call_by(&self, owner: Owner) -> Result<Call> {
        let protocol = self.protocol;
        if self.values.as_deref().is_some_and(<[Value]>::is_empty) {
            return Err(Error::invalid("values", "a group lock needs at least one"));
        }
        if self
            .values
            .as_deref()
            .is_some_and(|values| values.len() > MOST_VALUES)
        {
            let reason = format!("a group lock takes {MOST_VALUES} at most");
            return Err(Error::invalid("values", reason));
        }
        let mut field = protocol.field(&self.engine.client_id, owner);
        for (at, value) in self
            .values
            .iter()
            .flat_map(|values| values.iter())
            .enumerate()
        {
            field.push(if at == 0 { OF } else { ' ' });
            field.push_str(&String::from_utf8_lossy(&value.field));
        }
        let call = Call {
            name: self.engine.settings.map_name(&self.name)?.into(),
            shown: self.name.clone(),
            field: field.into(),
            owner,
            protocol,
            publish: self.engine.pubsub().arg(),
            backoff: self.backoff,
            values: self.values.clone(),
        };
        self.engine.check_call(&call)?;
        Ok(call)
    }

    /// Acquires for whoever asks now.
    pub(crate) async fn acquire(
        &self,
        patience: Patience,
        lease: Option<Duration>,
        loose: bool,
    ) -> Result<Option<Grip>> {
        let call = Arc::new(self.call()?);
        let lease = match lease {
            Some(lease) => {
                check_lease(lease)?;
                Lease::Fixed(lease)
            }
            None => Lease::Watched,
        };
        self.engine
            .acquire(Wish {
                call,
                lease,
                patience,
                loose,
            })
            .await
    }

    /// A number about the lock, or about what `owner` has of it; absent counts as zero.
    pub(crate) async fn ask(&self, question: Question, owner: Owner) -> Result<i64> {
        let call = self.call_by(owner)?;
        let engine = &self.engine;
        let reply = match call.protocol.question(&call, question) {
            Some(command) => engine.read(&call.shown, &command).await?,
            None => {
                let (verb, args): (_, &[_]) = match question {
                    Question::Locked => ("EXISTS", &[&call.name]),
                    Question::Held => ("HEXISTS", &[&call.name, &call.field]),
                    Question::Holds => ("HGET", &[&call.name, &call.field]),
                    Question::Left => ("PTTL", &[&call.name]),
                };
                engine.query(&call.shown, verb, args).await?
            }
        };
        match reply {
            Reply::Nil => Ok(0),
            reply => raw::number(&call, &reply),
        }
    }

    /// The error of a wait that came to nothing.
    pub(crate) fn timed_out(&self, started: Instant) -> Error {
        Error::TimedOut {
            name: self.name.clone(),
            waited: started.elapsed(),
        }
    }
}

/// How long to wait, from now on.
pub(crate) fn patience(wait: Option<Duration>) -> Patience {
    match wait {
        None => Patience::Unlimited,
        Some(Duration::ZERO) => Patience::None,
        Some(wait) => Patience::Until(later(Instant::now(), wait)),
    }
}

/// A lock about to be acquired; await it.
#[must_use = "nothing happens until it is awaited"]
pub struct Acquire<K: Kind = Reentrant> {
    lock: Lock<K>,
    wait: Option<Duration>,
    lease: Option<Duration>,
}

impl<K: Kind> Acquire<K> {
    /// Waits at most this long, then fails with [`Error::TimedOut`]. Without it, waits for as long as the server answers.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = Some(limit);
        self
    }

    /// Takes the lock for this long and no longer, in whole milliseconds rounded up, with no watchdog to renew it. At
    /// least 10 ms.
    /// Without it, the watchdog keeps the lock for as long as it is held.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }
}

impl<K: Kind> fmt::Debug for Acquire<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("lock", &self.lock)
            .field("wait", &self.wait)
            .field("lease", &self.lease)
            .finish()
    }
}

impl<K: Kind> IntoFuture for Acquire<K> {
    type Output = Result<LockGuard<K>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let started = Instant::now();
            let inner = &self.lock.raw.inner;
            let grip = inner
                .acquire(patience(self.wait), self.lease, false)
                .await?;
            grip.map(LockGuard::new)
                .ok_or_else(|| inner.timed_out(started))
        })
    }
}

/// Every kind that is about a name alone, as the engine sees it.
#[cfg(test)]
pub(crate) fn protocols() -> [&'static dyn crate::engine::protocol::Protocol; 8] {
    use kind::sealed::Sealed as _;
    [
        Reentrant::protocol(),
        Fair::protocol(),
        Read::protocol(),
        Write::protocol(),
        Fenced::protocol(),
        Spin::protocol(),
        NonReentrant::protocol(),
        NonReentrantFair::protocol(),
    ]
}
