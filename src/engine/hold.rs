//! One grant, and until when it is good by the local clock.

use std::{sync::OnceLock, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::sync::{AtomicBool, AtomicU64, Notify, Ordering};
use crate::error::LossCause;

/// How long a hold lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    /// For as long as the watchdog renews it.
    Watched,
    /// For this long and no longer.
    Fixed(Duration),
}

impl Lease {
    pub(crate) fn length(self, watchdog: Duration) -> Duration {
        match self {
            Self::Watched => watchdog,
            Self::Fixed(lease) => lease,
        }
    }
}

/// What the local clock takes off a lease, for the difference in speed between two clocks.
pub(crate) fn margin(lease: Duration) -> Duration {
    lease / 1_000 + Duration::from_millis(1)
}

/// `start + length`, or a day long after anybody cares.
pub(crate) fn later(start: Instant, length: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    start.checked_add(length).unwrap_or_else(|| start + CENTURY)
}

/// Set in a deadline once somebody has seen that it is over: nothing extends it then.
const OVER: u64 = 1 << 63;

/// One grant.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) id: u64,
    pub(crate) lease: Lease,
    base: Instant,
    /// Local deadline, in nanoseconds since `base`, and [`OVER`].
    valid_until: AtomicU64,
    pub(super) suspect: AtomicBool,
    pub(super) lost: OnceLock<LossCause>,
    told: Notify,
}

impl Hold {
    pub(super) fn new(id: u64, lease: Lease, sent: Instant, until: Instant) -> Self {
        let hold = Self {
            id,
            lease,
            base: sent,
            valid_until: AtomicU64::new(0),
            suspect: AtomicBool::new(false),
            lost: OnceLock::new(),
            told: Notify::new(),
        };
        hold.extend(until);
        hold
    }

    /// When it was asked for.
    pub(crate) fn asked_for(&self) -> Instant {
        self.base
    }

    /// Until when the hold is sure to last, by the local clock and without asking anybody.
    pub(crate) fn valid_until(&self) -> Instant {
        later(
            self.base,
            Duration::from_nanos(self.valid_until.load(Ordering::Acquire) & !OVER),
        )
    }

    pub(super) fn extend(&self, until: Instant) {
        let nanos = until.saturating_duration_since(self.base).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).min(OVER - 1);
        let longer = |old: u64| (old & OVER == 0).then(|| old.max(nanos));
        let _ = self
            .valid_until
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, longer);
    }

    /// Whether its time is over by the local clock. If so it is for ever: an answer that comes later changes nothing.
    fn is_over(&self, now: Instant) -> bool {
        loop {
            let nanos = self.valid_until.load(Ordering::Acquire);
            if nanos & OVER != 0 {
                return true;
            }
            if now < later(self.base, Duration::from_nanos(nanos)) {
                return false;
            }
            let over = nanos | OVER;
            if (self.valid_until)
                .compare_exchange(nanos, over, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return true;
            }
        }
    }

    /// Why the hold is lost, if it is: by the server's word, or because its time is over.
    pub(crate) fn loss(&self, now: Instant) -> Option<LossCause> {
        self.lost
            .get()
            .copied()
            .or_else(|| self.is_over(now).then(|| self.expiry_cause()))
    }

    fn expiry_cause(&self) -> LossCause {
        match self.lease {
            Lease::Watched => LossCause::Unreachable,
            Lease::Fixed(_) => LossCause::LeaseExpired,
        }
    }

    /// True while the last renewal has failed.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// Resolves when the hold is lost, and no later than its local deadline.
    pub(crate) async fn until_lost(&self) -> LossCause {
        loop {
            // Hears all that is said from here on, polled or not.
            let told = self.told.notified();
            if let Some(cause) = self.loss(Instant::now()) {
                return cause;
            }
            tokio::select! {
                biased;
                () = told => {}
                () = sleep_until(self.valid_until()) => {}
            }
        }
    }

    /// Makes the loss final. True for the first to say so.
    pub(super) fn mark_lost(&self, cause: LossCause) -> bool {
        let first = self.lost.set(cause).is_ok();
        self.told.notify_waiters();
        first
    }
}
