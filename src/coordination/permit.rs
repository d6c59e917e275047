//! Permits in hand.

use std::fmt;

use crate::{
    engine::waiting::Grant,
    error::{Error, Result},
};

/// Permits of a [`Semaphore`](super::Semaphore). Dropping them, on any thread and in any state, gives them back in the
/// background.
///
/// They have no time to live: a process that dies with permits in its hand keeps them for ever. Where that matters, use
/// an [`ExpirableSemaphore`](super::ExpirableSemaphore).
#[must_use = "dropping the permits gives them back"]
pub struct SemaphorePermit {
    name: std::sync::Arc<str>,
    /// `None` for no permits.
    grant: Option<Grant>,
}

impl SemaphorePermit {
    pub(super) fn new(name: std::sync::Arc<str>, grant: Option<Grant>) -> Self {
        Self { name, grant }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.grant.as_ref().map_or(0, |grant| grant.ask().permits)
    }

    /// The semaphore's name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the permits back and waits until the server has confirmed it. They go back once, also when the reply is
    /// lost.
    ///
    /// # Cancel safety
    ///
    /// Once polled the release completes even if the caller leaves; dropped before, they go back as with any drop.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when closing the client has given them back before. [`Error::Unreachable`] when the server
    /// stays silent; the release goes on in the background for as long as the client is open.
    ///
    /// *Redisson*: `release(permits)`.
    pub async fn release(self) -> Result<()> {
        let Some(grant) = &self.grant else {
            return Ok(());
        };
        let Some(ask) = grant.give_up() else {
            return Err(Error::Closed);
        };
        let desk = grant.desk().clone();
        desk.engine().clone().undo(&desk, &ask).await?;
        Ok(())
    }

    /// Keeps the permits taken, with nobody to give them back; says how many. Redisson's permits are all of this kind.
    ///
    /// They can be given back with [`Semaphore::release`](super::Semaphore::release).
    pub fn forget(mut self) -> u32 {
        let count = self.count();
        if let Some(grant) = self.grant.take() {
            grant.forget();
        }
        count
    }
}

impl fmt::Debug for SemaphorePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphorePermit")
            .field("name", &self.name)
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}
