//! Semaphores and latches, with calls that block. What each means is said where the async one is.

use std::{fmt, ops::Deref, time::Duration};

use super::{Client, in_time};
use crate::{coordination, error::Result};

/// A semaphore whose calls block: see [`Semaphore`](crate::Semaphore).
#[derive(Clone)]
pub struct Semaphore {
    client: Client,
    semaphore: coordination::Semaphore,
}

impl Semaphore {
    pub(super) fn new(client: &Client, semaphore: coordination::Semaphore) -> Self {
        Self {
            client: client.clone(),
            semaphore,
        }
    }

    fn permit(&self, permit: coordination::SemaphorePermit) -> SemaphorePermit {
        SemaphorePermit {
            permit,
            client: self.client.clone(),
        }
    }

    /// Waits for so many permits.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::acquire_many`](crate::Semaphore::acquire_many);
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) inside an async runtime, as with every call here.
    pub fn acquire(&self, permits: u32) -> Result<SemaphorePermit> {
        let permit = self.client.block_on(self.semaphore.acquire_many(permits))?;
        Ok(self.permit(permit))
    }

    /// Waits for so many permits, for `wait` at most; `None` when that is over.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    pub fn try_acquire_for(&self, permits: u32, wait: Duration) -> Result<Option<SemaphorePermit>> {
        let acquire = self.semaphore.acquire_many(permits).wait(wait);
        let permit = in_time(self.client.block_on(acquire))?;
        Ok(permit.map(|permit| self.permit(permit)))
    }

    /// Sets the number of permits of a semaphore that has none; says whether it was so.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::try_set_permits`](crate::Semaphore::try_set_permits).
    pub fn try_set_permits(&self, permits: u32) -> Result<bool> {
        self.client
            .block_on(self.semaphore.try_set_permits(permits))
    }

    /// Gives permits back that nobody's guard has, or new ones.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::release`](crate::Semaphore::release).
    pub fn release(&self, permits: u32) -> Result<()> {
        self.client.block_on(self.semaphore.release(permits))
    }

    /// Permits that are there.
    ///
    /// # Errors
    ///
    /// As [`Semaphore::available_permits`](crate::Semaphore::available_permits).
    pub fn available_permits(&self) -> Result<i64> {
        self.client.block_on(self.semaphore.available_permits())
    }

    /// The same semaphore with async calls; [`Client::block_on`] waits for them.
    #[must_use]
    pub fn as_async(&self) -> &coordination::Semaphore {
        &self.semaphore
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("blocking::Semaphore")
            .field(&self.semaphore)
            .finish()
    }
}

/// Permits in hand. Dropping them, on any thread, gives them back in the background.
#[must_use = "dropping the permits gives them back"]
pub struct SemaphorePermit {
    // Goes back before the last handle of its client is dropped.
    permit: coordination::SemaphorePermit,
    client: Client,
}

impl SemaphorePermit {
    /// Gives the permits back and waits until the server has confirmed it.
    ///
    /// # Errors
    ///
    /// As [`SemaphorePermit::release`](crate::SemaphorePermit::release).
    pub fn release(self) -> Result<()> {
        self.client.block_on(self.permit.release())
    }
}

impl Deref for SemaphorePermit {
    type Target = coordination::SemaphorePermit;

    fn deref(&self) -> &Self::Target {
        &self.permit
    }
}

impl fmt::Debug for SemaphorePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.permit.fmt(f)
    }
}

/// A latch whose calls block: see [`CountDownLatch`](crate::CountDownLatch).
#[derive(Clone)]
pub struct CountDownLatch {
    client: Client,
    latch: coordination::CountDownLatch,
}

impl CountDownLatch {
    pub(super) fn new(client: &Client, latch: coordination::CountDownLatch) -> Self {
        Self {
            client: client.clone(),
            latch,
        }
    }

    /// Sets the count of a latch that is not there; says whether it was so.
    ///
    /// # Errors
    ///
    /// As [`CountDownLatch::try_set_count`](crate::CountDownLatch::try_set_count).
    pub fn try_set_count(&self, count: u64) -> Result<bool> {
        self.client.block_on(self.latch.try_set_count(count))
    }

    /// Counts down by one.
    ///
    /// # Errors
    ///
    /// As [`CountDownLatch::count_down`](crate::CountDownLatch::count_down).
    pub fn count_down(&self) -> Result<()> {
        self.client.block_on(self.latch.count_down())
    }

    /// The count.
    ///
    /// # Errors
    ///
    /// As [`CountDownLatch::count`](crate::CountDownLatch::count).
    pub fn count(&self) -> Result<u64> {
        self.client.block_on(self.latch.count())
    }

    /// Waits until the latch is open.
    ///
    /// # Errors
    ///
    /// As [`CountDownLatch::wait`](crate::CountDownLatch::wait).
    pub fn wait(&self) -> Result<()> {
        self.client.block_on(self.latch.wait())
    }

    /// Waits until the latch is open, for `limit` at most; whether it is.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_for(&self, limit: Duration) -> Result<bool> {
        let waited = self.client.block_on(self.latch.wait().limit(limit));
        Ok(in_time(waited)?.is_some())
    }
}

impl fmt::Debug for CountDownLatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("blocking::CountDownLatch")
            .field(&self.latch)
            .finish()
    }
}
