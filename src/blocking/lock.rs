//! Locks of every kind, with calls that block. What each means is said where the async one is.

use std::{fmt, ops::Deref, time::Duration};

use super::{Client, in_time};
use crate::{
    error::Result,
    lock::{self, Kind, Read, Reentrant, Write},
    owner::Owner,
};

/// A distributed lock whose calls block: see [`Lock`](crate::Lock).
pub struct Lock<K: Kind = Reentrant> {
    client: Client,
    lock: lock::Lock<K>,
}

impl<K: Kind> Lock<K> {
    pub(super) fn new(client: &Client, lock: lock::Lock<K>) -> Self {
        Self {
            client: client.clone(),
            lock,
        }
    }

    fn guard(&self, guard: lock::LockGuard<K>) -> LockGuard<K> {
        LockGuard {
            guard,
            client: self.client.clone(),
        }
    }

    /// Waits for the lock.
    ///
    /// # Errors
    ///
    /// As [`Lock::lock`](crate::Lock::lock); [`Error::InvalidArgument`](crate::Error::InvalidArgument) inside an async
    /// runtime, as with every call here.
    pub fn lock(&self) -> Result<LockGuard<K>> {
        let guard = self.client.block_on(self.lock.lock())?;
        Ok(self.guard(guard))
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_lock`](crate::Lock::try_lock).
    pub fn try_lock(&self) -> Result<Option<LockGuard<K>>> {
        let guard = self.client.block_on(self.lock.try_lock())?;
        Ok(guard.map(|guard| self.guard(guard)))
    }

    /// Takes the lock, waiting at most `wait`, for `lease` or, without one, for as long as the guard lives. `None` when the
    /// wait is over.
    ///
    /// # Errors
    ///
    /// As [`Lock::lock`](crate::Lock::lock).
    pub fn try_lock_for(
        &self,
        wait: Duration,
        lease: Option<Duration>,
    ) -> Result<Option<LockGuard<K>>> {
        let mut acquire = self.lock.lock().wait(wait);
        if let Some(lease) = lease {
            acquire = acquire.lease(lease);
        }
        let guard = in_time(self.client.block_on(acquire))?;
        Ok(guard.map(|guard| self.guard(guard)))
    }

    /// The same lock, asked for by `owner` instead of by the calling thread.
    #[must_use]
    pub fn with_owner(&self, owner: Owner) -> Self {
        Self::new(&self.client, self.lock.with_owner(owner))
    }

    /// The same lock with Redisson's verbs: the calling thread holds it, not a guard.
    #[must_use]
    pub fn raw(&self) -> RawLock<K> {
        RawLock {
            client: self.client.clone(),
            lock: self.lock.raw().clone(),
        }
    }

    /// The name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.lock.name()
    }
}

impl<K: Kind> Clone for Lock<K> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            lock: self.lock.clone(),
        }
    }
}

impl<K: Kind> fmt::Debug for Lock<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("blocking::Lock").field(&self.lock).finish()
    }
}

/// A lock held: a [`LockGuard`](crate::LockGuard), with all that one knows. Dropping it, on any thread, gives the lock back in
/// the background.
#[must_use = "dropping the guard releases the lock"]
pub struct LockGuard<K: Kind = Reentrant> {
    // Goes back before the last handle of its client is dropped.
    guard: lock::LockGuard<K>,
    client: Client,
}

impl<K: Kind> LockGuard<K> {
    /// Gives the lock back and waits until the server has confirmed it.
    ///
    /// # Errors
    ///
    /// As [`LockGuard::unlock`](crate::LockGuard::unlock).
    pub fn unlock(self) -> Result<()> {
        self.client.block_on(self.guard.unlock())
    }
}

impl<K: Kind> Deref for LockGuard<K> {
    type Target = lock::LockGuard<K>;

    fn deref(&self) -> &Self::Target {
        &self.guard
    }
}

impl<K: Kind> fmt::Debug for LockGuard<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guard.fmt(f)
    }
}

/// A lock held by the calling thread, with the verbs of `RLock`: see [`RawLock`](crate::RawLock).
pub struct RawLock<K: Kind = Reentrant> {
    client: Client,
    lock: lock::RawLock<K>,
}

/// Verbs that are the async ones, waited for.
macro_rules! verbs {
    ($($(#[$doc:meta])* $verb:ident($($arg:ident: $kind:ty),*) -> $out:ty;)*) => {
        impl<K: Kind> RawLock<K> {$(
            #[doc = concat!("See [`RawLock::", stringify!($verb), "`](crate::RawLock::", stringify!($verb), ").")]
            ///
            /// # Errors
            ///
            /// Those of the async call; [`Error::InvalidArgument`](crate::Error::InvalidArgument) inside an async runtime.
            $(#[$doc])*
            pub fn $verb(&self $(, $arg: $kind)*) -> Result<$out> {
                self.client.block_on(self.lock.$verb($($arg),*))
            }
        )*}
    };
}

verbs! {
    lock() -> K::Grant;
    lock_for(lease: Duration) -> K::Grant;
    try_lock() -> Option<K::Grant>;
    try_lock_for(wait: Duration, lease: Option<Duration>) -> Option<K::Grant>;
    unlock() -> ();
    force_unlock() -> bool;
    is_locked() -> bool;
    is_held_by_current() -> bool;
    is_held_by(owner: Owner) -> bool;
    hold_count() -> u32;
    remaining_ttl() -> Option<Duration>;
}

impl<K: Kind> RawLock<K> {
    /// The name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.lock.name()
    }
}

impl<K: Kind> Clone for RawLock<K> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            lock: self.lock.clone(),
        }
    }
}

impl<K: Kind> fmt::Debug for RawLock<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("blocking::RawLock")
            .field(&self.lock)
            .finish()
    }
}

/// Both sides of a read/write lock: see [`ReadWriteLock`](crate::ReadWriteLock).
#[derive(Clone, Debug)]
pub struct ReadWriteLock {
    read: Lock<Read>,
    write: Lock<Write>,
}

impl ReadWriteLock {
    pub(super) fn new(client: &Client, both: &lock::ReadWriteLock) -> Self {
        Self {
            read: Lock::new(client, both.read_lock().clone()),
            write: Lock::new(client, both.write_lock().clone()),
        }
    }

    /// Waits until it may read.
    ///
    /// # Errors
    ///
    /// As [`Lock::lock`].
    pub fn read(&self) -> Result<LockGuard<Read>> {
        self.read.lock()
    }

    /// Waits until it may write.
    ///
    /// # Errors
    ///
    /// As [`Lock::lock`].
    pub fn write(&self) -> Result<LockGuard<Write>> {
        self.write.lock()
    }

    /// The side of readers.
    #[must_use]
    pub fn read_lock(&self) -> &Lock<Read> {
        &self.read
    }

    /// The side of writers.
    #[must_use]
    pub fn write_lock(&self) -> &Lock<Write> {
        &self.write
    }
}
