//! The books of one slot.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Loss;
use crate::{
    engine::hold::{Hold, Lease, margin},
    error::LossCause,
};

/// What is in a slot at one time.
#[derive(Debug)]
pub(super) struct Tenure {
    pub(super) generation: u64,
    pub(super) holds: Vec<Entry>,
    pub(super) pending: Option<Lease>,
    /// The count on the server, as far as known.
    pub(super) wire: u32,
    /// The highest count the server may have been told since it had none.
    pub(super) most: u32,
    /// A script's outcome is unknown, so `wire` may be wrong.
    pub(super) uncertain: bool,
    /// When the server's copy is gone for sure, whatever else happens.
    pub(super) gone_by: Instant,
    /// When the last confirmed time to live was asked for.
    pub(super) confirmed: Instant,
    /// The last generation that turned out to be gone when it was to be released.
    pub(super) found_gone: Option<(u64, LossCause)>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) hold: Arc<Hold>,
    /// Without a guard: taken by the Java-style verbs, or forgotten.
    pub(super) loose: bool,
}

impl Tenure {
    pub(super) fn new(generation: u64) -> Self {
        let now = Instant::now();
        Self {
            generation,
            holds: Vec::new(),
            pending: None,
            wire: 0,
            most: 0,
            uncertain: false,
            gone_by: now,
            confirmed: now,
            found_gone: None,
        }
    }

    /// Holds in the books.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.holds.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn settled(&mut self, holds: u32) {
        self.wire = holds;
        self.uncertain = false;
        self.most = holds;
    }

    pub(super) fn lose_all(&mut self, cause: LossCause) -> Vec<Loss> {
        std::mem::take(&mut self.holds)
            .into_iter()
            .filter(|entry| entry.hold.mark_lost(cause))
            .map(|entry| (entry.hold, cause))
            .collect()
    }

    /// The time to live that satisfies every hold, the pending one included.
    pub(super) fn ttl_ms(&self, now: Instant, watchdog: Duration) -> u64 {
        let remaining = |entry: &Entry| match entry.hold.lease {
            Lease::Watched => watchdog,
            Lease::Fixed(lease) => {
                (entry.hold.valid_until() + margin(lease)).saturating_duration_since(now)
            }
        };
        let longest = self
            .holds
            .iter()
            .map(remaining)
            .chain(self.pending.map(|lease| lease.length(watchdog)))
            .max()
            .unwrap_or_default();
        u64::try_from(longest.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// The longest time to live that the server may have been told, as of now.
    pub(super) fn longest_ms(&self, now: Instant, watchdog: Duration) -> u64 {
        let told = self.gone_by.saturating_duration_since(now).as_millis();
        let told = u64::try_from(told).unwrap_or(u64::MAX);
        self.ttl_ms(now, watchdog).max(told)
    }
}
