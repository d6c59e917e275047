//! A lock in hand.

use std::{fmt, marker::PhantomData, time::Duration};

use tokio::time::Instant;

use super::{Kind, Reentrant, kind::sealed::Sealed};
use crate::{
    engine::release::Grip,
    error::{Error, LossCause, Result},
    owner::Owner,
};

/// How sure a holder may be of its lock, without asking anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HoldState {
    /// Held.
    Held,
    /// The last renewal failed; held for as long as the local deadline says.
    Suspect,
    /// Lost, for ever.
    Lost(LossCause),
}

/// A lock held. Dropping it, on any thread and in any state, gives the lock back in the background.
///
/// A guard is no proof: a lock can be lost while its guard lives, if the server cannot be reached for too long, loses
/// its data, or somebody frees the lock by force. The guard knows, at the latest at its own deadline and without any
/// network: ask [`is_lost`](Self::is_lost), await [`lost`](Self::lost), or let [`run`](Self::run) stop the work.
///
/// The owner stored here is the one that acquired, so a guard may move to another task and be unlocked there.
#[must_use = "dropping the guard releases the lock"]
pub struct LockGuard<K: Kind = Reentrant> {
    grip: Grip,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> LockGuard<K> {
    pub(crate) fn new(grip: Grip) -> Self {
        Self {
            grip,
            kind: PhantomData,
        }
    }

    /// What the engine knows of it.
    pub(crate) fn grip(&self) -> &Grip {
        &self.grip
    }

    /// Gives the lock back and waits until the server has confirmed it.
    ///
    /// A lost reply is found out about and does not fail the call. Where the lock was entered more than once, this
    /// takes back one entry.
    ///
    /// # Cancel safety
    ///
    /// The release completes even if the caller leaves; only the answer is lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the lock had been lost before: what it protected may have been touched by others.
    /// [`Error::Unreachable`] when the server stays silent; the release goes on in the background.
    ///
    /// *Redisson*: `unlock`.
    pub async fn unlock(self) -> Result<()> {
        self.grip.release().await
    }

    /// Waits until the lock is lost, and says how. Never resolves while it is held.
    ///
    /// Resolves no later than [`valid_until`](Self::valid_until), whatever the network does, and within a third of the
    /// watchdog timeout when the server says otherwise.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lost(&self) -> LossCause {
        self.grip.hold().until_lost().await
    }

    /// Whether the lock is lost, by the local clock and all that is known. Asks nobody.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.grip.hold().loss(Instant::now()).is_some()
    }

    /// Held, suspect or lost. Asks nobody.
    #[must_use]
    pub fn state(&self) -> HoldState {
        match self.grip.hold().loss(Instant::now()) {
            Some(cause) => HoldState::Lost(cause),
            None if self.grip.hold().is_suspect() => HoldState::Suspect,
            None => HoldState::Held,
        }
    }

    /// Until when the lock is sure to be held, by this process's monotonic clock: the time the last successful request
    /// was *sent*, plus the lease, less a margin of a thousandth and a millisecond for the drift between two clocks. Moves on with every
    /// renewal.
    #[must_use]
    pub fn valid_until(&self) -> std::time::Instant {
        self.grip.hold().valid_until().into_std()
    }

    /// Time left until [`valid_until`](Self::valid_until).
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.grip
            .hold()
            .valid_until()
            .saturating_duration_since(Instant::now())
    }

    /// Runs `work` and stops it when the lock is lost: it is dropped at its next await point.
    ///
    /// # Cancel safety
    ///
    /// As that of `work`. The guard stays held.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`], in place of the result of `work`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(lock: redlatch::Lock) -> redlatch::Result<()> {
    /// # async fn charge() -> u32 { 1 }
    /// let guard = lock.lock().await?;
    /// let receipt = guard.run(charge()).await?;
    /// guard.unlock().await?;
    /// # let _ = receipt;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output> {
        tokio::select! {
            biased;
            cause = self.lost() => Err(Error::Lost {
                name: self.grip.call().shown.clone(),
                cause,
            }),
            output = work => Ok(output),
        }
    }

    /// Who holds the lock, among the owners of this client. Another process may have an owner that looks the same: see
    /// [`owner_id`](Self::owner_id).
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.grip.call().owner
    }

    /// The holder as it appears on the server: `client-uuid:number`.
    #[must_use]
    pub fn owner_id(&self) -> String {
        self.grip.call().owner_id().to_owned()
    }

    /// The lock's name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.grip.call().shown
    }

    /// What the grant carries beside the lock: `()` for plain locks.
    #[must_use]
    pub fn grant(&self) -> K::Grant {
        <K as Sealed>::grant(self.grip.token())
    }

    /// Gives up the guard and keeps the lock, renewed or until its lease is over, to be given back by
    /// [`RawLock::unlock`](super::RawLock::unlock) of the same owner.
    pub fn forget(self) {
        self.grip.loosen();
    }
}

impl<K: Kind> fmt::Debug for LockGuard<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("kind", &K::protocol().kind())
            .field("name", &self.name())
            .field("owner", &self.owner())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
