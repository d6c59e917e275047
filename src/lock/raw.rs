//! The lock with Redisson's own verbs.

use std::{fmt, marker::PhantomData, time::Duration};

use tokio::time::Instant;

use super::{Inner, Kind, Reentrant, kind::sealed::Sealed, patience};
use crate::{
    engine::{
        acquire::Patience,
        protocol::{Call, Question},
        release::Grip,
        transport::Reply,
        unexpected,
    },
    error::Result,
    owner::Owner,
};

// Named in the documentation only.
#[cfg(doc)]
use crate::error::Error;

/// A lock held by an *owner*, not by a guard: the verbs of `RLock`, one for one.
///
/// The owner is the current scope, task or thread (see [`Owner`]) unless one was given. Every successful `lock` or
/// `try_lock` must be matched by an `unlock` of the same owner; a lock taken without a lease is renewed until then, also
/// when the task that took it is long gone. Prefer [`Lock::lock`](super::Lock::lock) where there is no reason for this.
///
/// Unlike Redisson's, a lease belongs to the hold and not to the lock object: nested holds never shorten each other.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: redlatch::Client) -> redlatch::Result<()> {
/// let lock = client.rlock("orders:42");
/// lock.lock().await?;
/// assert!(lock.is_held_by_current().await?);
/// lock.unlock().await?;
/// # Ok(())
/// # }
/// ```
pub struct RawLock<K: Kind = Reentrant> {
    pub(super) inner: Inner,
    pub(super) kind: PhantomData<fn() -> K>,
}

impl<K: Kind> RawLock<K> {
    /// Waits for the lock and keeps it until [`unlock`](Self::unlock).
    ///
    /// # Cancel safety
    ///
    /// A caller that leaves holds nothing more than before.
    ///
    /// # Errors
    ///
    /// As [`Lock::lock`](super::Lock::lock).
    ///
    /// *Redisson*: `lock()`.
    pub async fn lock(&self) -> Result<K::Grant> {
        self.take(None, None).await
    }

    /// Waits for the lock and takes it for `lease` and no longer.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`Error::InvalidArgument`] for a lease of less than 10 ms or more than 2^53 ms.
    ///
    /// *Redisson*: `lock(lease, unit)`.
    pub async fn lock_for(&self, lease: Duration) -> Result<K::Grant> {
        self.take(None, Some(lease)).await
    }

    async fn take(&self, wait: Option<Duration>, lease: Option<Duration>) -> Result<K::Grant> {
        let started = Instant::now();
        let grip = self.inner.acquire(patience(wait), lease, true).await?;
        grip.map(Self::keep)
            .ok_or_else(|| self.inner.timed_out(started))
    }

    /// Takes the lock if it is free.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// As [`Lock::try_lock`](super::Lock::try_lock).
    ///
    /// *Redisson*: `tryLock()`.
    pub async fn try_lock(&self) -> Result<Option<K::Grant>> {
        let grip = self.inner.acquire(Patience::None, None, true).await?;
        Ok(grip.map(Self::keep))
    }

    /// Takes the lock, waiting at most `wait`, for `lease` or, without one, until [`unlock`](Self::unlock).
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// As [`lock_for`](Self::lock_for), except that a wait that is over is answered with `None`.
    ///
    /// *Redisson*: `tryLock(wait, unit)`, `tryLock(wait, lease, unit)`.
    pub async fn try_lock_for(
        &self,
        wait: Duration,
        lease: Option<Duration>,
    ) -> Result<Option<K::Grant>> {
        let grip = self
            .inner
            .acquire(patience(Some(wait)), lease, true)
            .await?;
        Ok(grip.map(Self::keep))
    }

    fn keep(grip: Grip) -> K::Grant {
        let grant = <K as Sealed>::grant(grip.token());
        grip.loosen();
        grant
    }

    /// Takes back one entry of the current owner, the latest one that no guard has.
    ///
    /// # Cancel safety
    ///
    /// The release completes even if the caller leaves.
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`] when the owner has no such entry (any more); [`Error::Lost`] when the server says that the
    /// lock had been lost; [`Error::Unreachable`] when it says nothing.
    ///
    /// *Redisson*: `unlock()`, whose `IllegalMonitorStateException` is the first two.
    pub async fn unlock(&self) -> Result<()> {
        let call = self.inner.call()?;
        self.inner.engine.release_loose(&call).await
    }

    /// Frees the lock whoever holds it; true if it was held. A holder in this client learns of it at once, one elsewhere
    /// with its next renewal.
    ///
    /// # Cancel safety
    ///
    /// Once sent, it completes even if the caller leaves.
    ///
    /// # Errors
    ///
    /// As [`Lock::lock`](super::Lock::lock). It is never repeated, since that could free somebody's newer hold, so
    /// [`Error::is_indeterminate`] may be true.
    ///
    /// *Redisson*: `forceUnlock()`.
    pub async fn force_unlock(&self) -> Result<bool> {
        let call = self.inner.call()?;
        self.inner.engine.force_release(&call).await
    }

    /// Whether anybody holds the lock, as the server says.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`], [`Error::Refused`], [`Error::Closed`], [`Error::InvalidArgument`] for the name.
    ///
    /// *Redisson*: `isLocked()`, which may ask a replica; this asks the primary.
    pub async fn is_locked(&self) -> Result<bool> {
        Ok(self.inner.ask(Question::Locked, self.current()).await? > 0)
    }

    /// Whether the current owner holds the lock, as the server says.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`is_locked`](Self::is_locked), and [`Error::WrongType`] when the key is no lock.
    ///
    /// *Redisson*: `isHeldByCurrentThread()`.
    pub async fn is_held_by_current(&self) -> Result<bool> {
        self.is_held_by(self.current()).await
    }

    /// Whether `owner` of this client holds the lock, as the server says.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`is_locked`](Self::is_locked), and [`Error::WrongType`] when the key is no lock.
    ///
    /// *Redisson*: `isHeldByThread(threadId)`.
    pub async fn is_held_by(&self, owner: Owner) -> Result<bool> {
        Ok(self.inner.ask(Question::Held, owner).await? > 0)
    }

    /// How often the current owner has entered the lock, as the server says.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`is_locked`](Self::is_locked), and [`Error::WrongType`] when the key is no lock.
    ///
    /// *Redisson*: `getHoldCount()`.
    pub async fn hold_count(&self) -> Result<u32> {
        let holds = self.inner.ask(Question::Holds, self.current()).await?;
        Ok(u32::try_from(holds).unwrap_or(u32::MAX))
    }

    /// How long the lock lasts if nobody renews it: `None` when it is free, and [`Duration::MAX`] when it has no time to
    /// live at all, which no client of this library or Redisson leaves behind.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`is_locked`](Self::is_locked).
    ///
    /// *Redisson*: `remainTimeToLive()`.
    pub async fn remaining_ttl(&self) -> Result<Option<Duration>> {
        Ok(
            match self.inner.ask(Question::Left, self.current()).await? {
                -2 => None,
                ms => Some(u64::try_from(ms).map_or(Duration::MAX, Duration::from_millis)),
            },
        )
    }

    /// The kind of lock in a word, for messages and logs: `reentrant`, `fair`, `read`, ...
    #[must_use]
    pub fn kind(&self) -> &'static str {
        K::protocol().kind()
    }

    /// The name, as the application gave it.
    ///
    /// *Redisson*: `getName()`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The same lock, held by `owner` instead of the current scope, task or thread.
    #[must_use]
    pub fn with_owner(&self, owner: Owner) -> Self {
        let mut inner = self.inner.clone();
        inner.owner = Some(owner);
        Self {
            inner,
            kind: PhantomData,
        }
    }

    fn current(&self) -> Owner {
        self.inner.owner.unwrap_or_else(Owner::current)
    }
}

/// The number a reply must be.
pub(super) fn number(call: &Call, reply: &Reply) -> Result<i64> {
    reply.as_int().ok_or_else(|| unexpected(&call.shown, reply))
}

impl<K: Kind> Clone for RawLock<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            kind: PhantomData,
        }
    }
}

impl<K: Kind> fmt::Debug for RawLock<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawLock")
            .field("kind", &K::protocol().kind())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
