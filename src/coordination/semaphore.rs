//! The semaphore: a counter of permits.

use std::{fmt, future::IntoFuture, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Handle, SemaphorePermit, check_change, check_permits, semaphore_channel};
use crate::{
    client::Client,
    config::lease_ms,
    engine::{
        acquire::Patience,
        protocol::Batch,
        script::{Command, Script, decimal, script},
        trade::{Answers, Ask, Names, Trade, Undo},
        transport::Reply,
    },
    error::Result,
    lock::patience,
};

static ACQUIRE: Script = script!("semaphore/acquire");
static RELEASE: Script = script!("semaphore/release", after "publish/announce");
static TRY_SET: Script = script!("semaphore/try_set", after "publish/announce");
static ADD: Script = script!("semaphore/add", after "publish/announce");
static DRAIN: Script = script!("semaphore/drain");
static DELETE: Script = script!("semaphore/delete");
static PROBE: Script = script!("probe/semaphore");

/// Every script of this kind, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 7] =
    [&ACQUIRE, &RELEASE, &TRY_SET, &ADD, &DRAIN, &DELETE, &PROBE];

#[derive(Debug)]
pub(super) struct Wire;

impl Trade for Wire {
    fn kind(&self) -> &'static str {
        "semaphore"
    }

    fn ask(&self, names: &Names, asks: &[Arc<Ask>]) -> Command {
        Command {
            script: &ACQUIRE,
            keys: vec![names.key.clone()],
            args: asks.iter().map(|ask| decimal(ask.permits)).collect(),
        }
    }

    fn answers(&self, reply: &Reply, asks: usize) -> Option<Answers> {
        let Reply::Text(text) = reply else {
            return None;
        };
        (text.len() == asks).then(|| Answers {
            served: text.iter().map(|answer| *answer == b'1').collect(),
            next: None,
        })
    }

    fn repeatable(&self) -> bool {
        false
    }

    fn undo(&self, _: &Names, ask: &Ask) -> Undo {
        Undo::Sum(ask.permits.into())
    }

    fn sum(&self, names: &Names, n: u64) -> Command {
        release(names, n, false)
    }

    fn probe(&self) -> &'static Script {
        &PROBE
    }

    fn look(&self, names: &Names, least: u32, batch: &mut Batch) {
        batch.keys.push(names.key.clone());
        batch.args.push(decimal(least));
    }
}

fn release(names: &Names, n: u64, if_exists: bool) -> Command {
    Command {
        script: &RELEASE,
        keys: vec![names.key.clone()],
        args: vec![
            decimal(n),
            names.announcement.clone(),
            decimal(u8::from(if_exists)),
        ],
    }
}

/// Sets the permits of a semaphore of either kind.
pub(super) fn try_set(names: &Names, permits: u32, ttl_ms: u64) -> Command {
    Command {
        script: &TRY_SET,
        keys: vec![names.key.clone()],
        args: vec![
            decimal(permits),
            names.announcement.clone(),
            decimal(ttl_ms),
        ],
    }
}

/// Deletes a semaphore of either kind.
pub(super) fn delete(keys: Vec<Bytes>) -> Command {
    Command {
        script: &DELETE,
        keys,
        args: Vec::new(),
    }
}

/// A distributed semaphore, known by its name.
///
/// Made by [`Client::semaphore`]; making and cloning one sends nothing. The server keeps one number, the permits that are
/// to be had; a semaphore that is not there has none. Permits belong to nobody: whoever likes may add and take any number.
///
/// Waiting is not fair: one who wants few permits passes one who wants many and does not get them, in this process as
/// among all. Of those who want the same, the first in line of a process is served first.
///
/// Every change is made exactly once, also when its reply is lost; see `docs/guarantees.md`.
///
/// *Redisson*: `RSemaphore`.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> redlatch::Result<()> {
/// use std::time::Duration;
///
/// let client = redlatch::Client::connect("redis://127.0.0.1:6379").await?;
/// let pumps = client.semaphore("pumps");
/// pumps.try_set_permits(3).await?; // once, by whoever comes first
///
/// let permit = pumps.acquire().wait(Duration::from_secs(2)).await?;
/// permit.release().await?;
///
/// let two = pumps.acquire_many(2).await?;
/// drop(two); // they go back in the background
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Semaphore {
    handle: Handle,
}

impl Semaphore {
    /// The name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handle.name
    }

    /// Waits for one permit: short for `acquire_many(1)`.
    ///
    /// *Redisson*: `acquire()`, `tryAcquire(wait)`.
    #[must_use = "nothing happens until it is awaited"]
    pub fn acquire(&self) -> AcquirePermits {
        self.acquire_many(1)
    }

    /// Waits for permits, all at once. Await the result as it is, or set a limit with [`wait`](AcquirePermits::wait) first.
    /// No permits are had at once, and nothing is sent for them.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe at every point: a caller that leaves keeps no permit, no place in line and no subscription, and a
    /// request in flight gives back what it is granted.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`](crate::Error::TimedOut) when a limit was set and is over,
    /// [`Error::Unreachable`](crate::Error::Unreachable) when the server stays silent,
    /// [`Error::Refused`](crate::Error::Refused) and [`Error::WrongType`](crate::Error::WrongType) for the server's own
    /// refusals, [`Error::InvalidArgument`](crate::Error::InvalidArgument) for unacceptable names and more than 2^31 - 1
    /// permits, [`Error::Closed`](crate::Error::Closed).
    ///
    /// *Redisson*: `acquire(permits)`, `tryAcquire(permits, wait)`.
    #[must_use = "nothing happens until it is awaited"]
    pub fn acquire_many(&self, permits: u32) -> AcquirePermits {
        AcquirePermits {
            semaphore: self.clone(),
            permits,
            wait: None,
        }
    }

    /// Takes one permit if there is one, and does not wait: short for `try_acquire_many(1)`.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Errors
    ///
    /// As [`acquire_many`](Self::acquire_many), without the time limit.
    ///
    /// *Redisson*: `tryAcquire()`.
    pub async fn try_acquire(&self) -> Result<Option<SemaphorePermit>> {
        self.try_acquire_many(1).await
    }

    /// Takes permits if there are that many, and does not wait. One request; those of this process who stand before us
    /// are asked for with it.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Errors
    ///
    /// As [`acquire_many`](Self::acquire_many), without the time limit.
    ///
    /// *Redisson*: `tryAcquire(permits)`.
    pub async fn try_acquire_many(&self, permits: u32) -> Result<Option<SemaphorePermit>> {
        self.claim(permits, Patience::None).await
    }

    async fn claim(&self, permits: u32, patience: Patience) -> Result<Option<SemaphorePermit>> {
        check_permits(permits)?;
        let desk = self.handle.desk()?;
        let name = self.handle.name.clone();
        if permits == 0 {
            return Ok(Some(SemaphorePermit::new(name, None)));
        }
        let ask = || Ask {
            permits,
            ..Ask::default()
        };
        let grant = self.handle.engine.claim(&desk, ask, patience).await?;
        Ok(grant.map(|grant| SemaphorePermit::new(name, Some(grant))))
    }

    /// Adds permits, with or without having taken any before; makes the semaphore if it is not there. Calls of this
    /// process that come while one is on its way go together as one. None are added with nothing sent.
    ///
    /// # Cancel safety
    ///
    /// Once polled the call completes even if the caller leaves; only the answer is lost.
    ///
    /// # Errors
    ///
    /// Those of the server; [`Error::Unreachable`](crate::Error::Unreachable) when it stays silent, which says whether
    /// the permits may have been added; [`Error::InvalidArgument`](crate::Error::InvalidArgument) for more than 2^31 - 1.
    ///
    /// *Redisson*: `release()`, `release(permits)`.
    pub async fn release(&self, permits: u32) -> Result<()> {
        check_permits(permits)?;
        let desk = self.handle.desk()?;
        if permits > 0 {
            let engine = &self.handle.engine;
            engine.add_up(&desk, permits.into(), false).await?;
        }
        Ok(())
    }

    /// As [`release`](Self::release), but only if the semaphore is there; says whether it was. No permits: `false`, with
    /// nothing sent.
    ///
    /// # Cancel safety
    ///
    /// As [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release).
    ///
    /// *Redisson*: `releaseIfExists(permits)`.
    pub async fn release_if_exists(&self, permits: u32) -> Result<bool> {
        check_permits(permits)?;
        if permits == 0 {
            self.handle.desk()?;
            return Ok(false);
        }
        let release = |names: &Names| release(names, permits.into(), true);
        Ok(self.handle.once(release).await?.is_some())
    }

    /// Adds permits, or takes them away where the number is negative; those to be had may fall below zero, and nobody
    /// gets any until there are enough again. Ends the semaphore's time to live, as Redisson does.
    ///
    /// # Cancel safety
    ///
    /// As [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release).
    ///
    /// *Redisson*: `addPermits(permits)`.
    pub async fn add_permits(&self, permits: i64) -> Result<()> {
        let change = check_change(permits)?;
        let add = |names: &Names| Command {
            script: &ADD,
            keys: vec![names.key.clone()],
            args: vec![change, names.announcement.clone()],
        };
        self.handle.once(add).await?;
        Ok(())
    }

    /// Sets the permits of a semaphore that is not there yet; says whether it was so.
    ///
    /// # Cancel safety
    ///
    /// As [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release).
    ///
    /// *Redisson*: `trySetPermits(permits)`.
    pub async fn try_set_permits(&self, permits: u32) -> Result<bool> {
        check_permits(permits)?;
        let set = |names: &Names| try_set(names, permits, 0);
        Ok(self.handle.once(set).await?.is_some())
    }

    /// As [`try_set_permits`](Self::try_set_permits), for a semaphore that ends after this time.
    ///
    /// # Cancel safety
    ///
    /// As [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release); [`Error::InvalidArgument`](crate::Error::InvalidArgument) for no time at all.
    ///
    /// *Redisson*: `trySetPermits(permits, ttl)`.
    pub async fn try_set_permits_for(&self, permits: u32, ttl: Duration) -> Result<bool> {
        check_permits(permits)?;
        let ttl_ms = lease_ms("ttl", ttl)?;
        let set = |names: &Names| try_set(names, permits, ttl_ms);
        Ok(self.handle.once(set).await?.is_some())
    }

    /// Takes all permits there are, with nobody to give them back; says how many. Ends the time to live, as Redisson does.
    ///
    /// # Cancel safety
    ///
    /// As [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release).
    ///
    /// *Redisson*: `drainPermits()`.
    pub async fn drain_permits(&self) -> Result<i64> {
        let drain = |names: &Names| Command {
            script: &DRAIN,
            keys: vec![names.key.clone()],
            args: Vec::new(),
        };
        Ok(self.handle.once(drain).await?.unwrap_or_default())
    }

    /// How many permits are to be had; less than none after [`add_permits`](Self::add_permits) took away more than there
    /// were.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// Those of any question to the server.
    ///
    /// *Redisson*: `availablePermits()`.
    pub async fn available_permits(&self) -> Result<i64> {
        self.handle.value().await
    }

    /// Deletes the semaphore; says whether there was one. Nobody who waits is told, as in Redisson; permits in somebody's
    /// hand make it anew when they go back.
    ///
    /// # Cancel safety
    ///
    /// As [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release).
    ///
    /// *Redisson*: `delete()`.
    pub async fn delete(&self) -> Result<bool> {
        let delete = |names: &Names| delete(vec![names.key.clone()]);
        Ok(self.handle.once(delete).await?.is_some())
    }

    /// Ends the semaphore after this time; says whether it is there.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the call may be made or not.
    ///
    /// # Errors
    ///
    /// Those of any question to the server; [`Error::InvalidArgument`](crate::Error::InvalidArgument) for no time at all.
    ///
    /// *Redisson*: `expire(duration)`.
    pub async fn expire(&self, ttl: Duration) -> Result<bool> {
        let names = self.handle.names()?;
        self.handle.expire(&[&names.key], ttl).await
    }

    /// Lets the semaphore live on for ever.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the call may be made or not.
    ///
    /// # Errors
    ///
    /// Those of any question to the server.
    ///
    /// *Redisson*: `clearExpire()`.
    pub async fn clear_expire(&self) -> Result<()> {
        let names = self.handle.names()?;
        self.handle.clear_expire(&[&names.key]).await
    }

    /// How long the semaphore lasts yet: `None` where there is none, [`Duration::MAX`] for ever.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// Those of any question to the server.
    ///
    /// *Redisson*: `remainTimeToLive()`.
    pub async fn remaining_ttl(&self) -> Result<Option<Duration>> {
        self.handle.remaining_ttl().await
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// Permits about to be acquired; await it.
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct AcquirePermits {
    semaphore: Semaphore,
    permits: u32,
    wait: Option<Duration>,
}

impl AcquirePermits {
    /// Waits at most this long, then fails with [`Error::TimedOut`](crate::Error::TimedOut). Without it, waits for as long
    /// as the server answers.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = Some(limit);
        self
    }
}

impl IntoFuture for AcquirePermits {
    type Output = Result<SemaphorePermit>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let started = Instant::now();
            let permit = self
                .semaphore
                .claim(self.permits, patience(self.wait))
                .await?;
            permit.ok_or_else(|| self.semaphore.handle.timed_out(started))
        })
    }
}

impl Client {
    /// The semaphore of this name. Sends nothing; a name that is not acceptable is reported by the first use.
    ///
    /// *Redisson*: `getSemaphore`.
    #[must_use]
    pub fn semaphore(&self, name: impl Into<Arc<str>>) -> Semaphore {
        Semaphore {
            handle: Handle {
                engine: self.engine().clone(),
                name: name.into(),
                trade: &Wire,
                channel: semaphore_channel,
            },
        }
    }
}
