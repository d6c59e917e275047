//! How much of this process others may use up.

use crate::client::ClientBuilder;

impl ClientBuilder {
    /// How many callers of this client may wait at a time, for locks, permits and latches of all names together. Who comes
    /// then gets [`Error::TooManyWaiters`](crate::Error::TooManyWaiters) instead of a wait; what is free is had as ever, and
    /// giving back never waits. Default 100,000, at least 1.
    ///
    /// *Redisson*: none.
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.settings.max_waiters = waiters;
        self
    }

    /// As [`max_waiters`](Self::max_waiters), for each name: so that one name that everybody wants leaves room for others.
    /// Default 100,000, at least 1.
    ///
    /// *Redisson*: none.
    pub fn max_waiters_per_name(mut self, waiters: usize) -> Self {
        self.settings.max_waiters_per_name = waiters;
        self
    }
}
