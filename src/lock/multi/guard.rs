//! Several locks in hand.

use std::{fmt, future::poll_fn, task::Poll, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::take::Taken;
use crate::{
    error::{Error, LossCause, Result},
    lock::FencingToken,
    owner::Owner,
};

/// Several locks held as one. Dropping it, on any thread and in any state, gives all of them back in the background.
///
/// It is lost as soon as fewer members are held than it takes: one of all, or so many of a majority that no more than half
/// are left.
#[must_use = "dropping the guard releases the locks"]
pub struct MultiGuard {
    taken: Taken,
}

impl MultiGuard {
    pub(super) fn new(taken: Taken) -> Self {
        Self { taken }
    }

    /// Gives all members back, side by side, and waits until the servers have confirmed it.
    ///
    /// # Cancel safety
    ///
    /// The releases complete even if the caller leaves; only the answer is lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when fewer members were still held than it takes; otherwise as
    /// [`LockGuard::unlock`](crate::LockGuard::unlock), but only where so many members fail that fewer are left than it
    /// takes.
    ///
    /// *Redisson*: `unlock`.
    pub async fn unlock(self) -> Result<()> {
        let needed = self.taken.needed;
        let (released, mut failures) = self.taken.give_back().await;
        if released >= needed {
            return Ok(());
        }
        let lost = failures.iter().position(Error::is_lost).unwrap_or(0);
        match failures.is_empty() {
            true => Ok(()),
            false => Err(failures.swap_remove(lost)),
        }
    }

    /// Waits until too few members are held, and says how the last one was lost that mattered.
    ///
    /// Resolves no later than [`valid_until`](Self::valid_until).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lost(&self) -> LossCause {
        let mut members: Vec<_> = self
            .taken
            .grips
            .iter()
            .map(|grip| Some(Box::pin(grip.hold().until_lost())))
            .collect();
        let mut held = members.len();
        let needed = self.taken.needed;
        let counted = poll_fn(|context| {
            for member in &mut members {
                let Some(future) = member else { continue };
                if let Poll::Ready(cause) = future.as_mut().poll(context) {
                    *member = None;
                    held -= 1;
                    if held < needed {
                        return Poll::Ready(cause);
                    }
                }
            }
            Poll::Pending
        });
        tokio::pin!(counted);
        loop {
            let until = self.taken.valid_until();
            tokio::select! {
                cause = &mut counted => return cause,
                () = sleep_until(until) => {
                    // Renewed meanwhile, unless it is over.
                    if let Some(cause) = self.loss() {
                        return cause;
                    }
                }
            }
        }
    }

    fn loss(&self) -> Option<LossCause> {
        let now = Instant::now();
        let causes: Vec<_> = self
            .taken
            .grips
            .iter()
            .filter_map(|grip| grip.hold().loss(now))
            .collect();
        let held = self.taken.grips.len() - causes.len();
        if held < self.taken.needed {
            return causes.last().copied();
        }
        (self.taken.valid_until() <= now).then_some(LossCause::Unreachable)
    }

    /// Whether too few members are held, by the local clock and all that is known. Asks nobody.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.loss().is_some()
    }

    /// Until when enough members are sure to be held, by this process's monotonic clock. Of a majority, less a hundredth
    /// of the lease and two milliseconds for servers whose clocks part.
    #[must_use]
    pub fn valid_until(&self) -> std::time::Instant {
        self.taken.valid_until().into_std()
    }

    /// Time left until [`valid_until`](Self::valid_until).
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.taken
            .valid_until()
            .saturating_duration_since(Instant::now())
    }

    /// Runs `work` and stops it when too few members are held: it is dropped at its next await point.
    ///
    /// # Cancel safety
    ///
    /// As that of `work`. The guard stays.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`], in place of the result of `work`.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output> {
        tokio::select! {
            biased;
            cause = self.lost() => Err(Error::Lost {
                name: self.taken.shown.clone(),
                cause,
            }),
            output = work => Ok(output),
        }
    }

    /// Who holds the locks.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.taken.owner
    }

    /// How many members are held at this moment, as far as is known.
    #[must_use]
    pub fn held(&self) -> usize {
        let now = Instant::now();
        let grips = self.taken.grips.iter();
        grips.filter(|grip| grip.hold().loss(now).is_none()).count()
    }

    /// The names of the members taken, as the application gave them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.taken.grips.iter().map(|grip| &*grip.call().shown)
    }

    /// The token of a fenced member; `None` when there is no such member in hand.
    #[must_use]
    pub fn token(&self, name: &str) -> Option<FencingToken> {
        let mut grips = self.taken.grips.iter();
        let grip = grips.find(|grip| &*grip.call().shown == name && grip.token().is_some())?;
        grip.token().map(FencingToken::new)
    }

    /// Gives up the guard and keeps the locks, to be given back by [`RawMultiLock::unlock`](super::RawMultiLock::unlock)
    /// of the same owner.
    pub fn forget(self) {
        for grip in self.taken.grips {
            grip.loosen();
        }
    }
}

impl fmt::Debug for MultiGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiGuard")
            .field("names", &self.taken.shown)
            .field("owner", &self.owner())
            .field("held", &self.held())
            .field("needed", &self.taken.needed)
            .finish_non_exhaustive()
    }
}
