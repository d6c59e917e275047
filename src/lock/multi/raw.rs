//! Several locks with Redisson's own verbs.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{super::patience, MultiLock, guard::MultiGuard};
use crate::{
    engine::{acquire::Patience, protocol::Question},
    error::{Error, Result},
};

/// Several locks held by an *owner*, not by a guard: the verbs of `RedissonMultiLock` and `RedissonRedLock`.
///
/// As there, each successful `lock` or `try_lock` must be matched by an `unlock` of the same owner.
#[derive(Debug, Clone)]
pub struct RawMultiLock(pub(super) MultiLock);

impl RawMultiLock {
    async fn take(&self, patience: Patience, lease: Option<Duration>) -> Result<bool> {
        let taken = self.0.take(patience, lease, true).await?;
        Ok(taken.map(MultiGuard::new).map(MultiGuard::forget).is_some())
    }

    /// Waits until enough members are taken, and keeps them until [`unlock`](Self::unlock).
    ///
    /// # Cancel safety
    ///
    /// A caller that leaves holds nothing more than before.
    ///
    /// # Errors
    ///
    /// As [`MultiLock::lock`].
    ///
    /// *Redisson*: `lock()`.
    pub async fn lock(&self) -> Result<()> {
        self.lock_until(None).await
    }

    /// Waits until enough members are taken, and takes them for `lease` and no longer.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// As [`MultiLock::lock`].
    ///
    /// *Redisson*: `lock(lease, unit)`.
    pub async fn lock_for(&self, lease: Duration) -> Result<()> {
        self.lock_until(Some(lease)).await
    }

    async fn lock_until(&self, lease: Option<Duration>) -> Result<()> {
        let started = Instant::now();
        match self.take(Patience::Unlimited, lease).await? {
            true => Ok(()),
            false => Err(self.0.timed_out(started)),
        }
    }

    /// Takes the members if enough of them are free; true when they were.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// As [`MultiLock::try_lock`].
    ///
    /// *Redisson*: `tryLock()`.
    pub async fn try_lock(&self) -> Result<bool> {
        self.take(Patience::None, None).await
    }

    /// Takes the members, waiting at most `wait`, for `lease` or until [`unlock`](Self::unlock); true when they were taken.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// As [`MultiLock::lock`], except that a wait that is over is answered with false.
    ///
    /// *Redisson*: `tryLock(wait, lease, unit)`.
    pub async fn try_lock_for(&self, wait: Duration, lease: Option<Duration>) -> Result<bool> {
        self.take(patience(Some(wait)), lease).await
    }

    /// Takes back the owner's latest entry of each member that it holds.
    ///
    /// # Cancel safety
    ///
    /// The releases complete even if the caller leaves.
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`] or [`Error::Lost`] when fewer members were held than it takes; as
    /// [`RawLock::unlock`](crate::RawLock::unlock) otherwise.
    ///
    /// *Redisson*: `unlock()`.
    pub async fn unlock(&self) -> Result<()> {
        let owner = self.0.owner();
        let releases = self.0.set.members.iter().map(|member| async move {
            let call = member.call_by(owner)?;
            member.engine.release_loose(&call).await
        });
        let (mut released, mut failure) = (0, None::<Error>);
        for outcome in join_all(releases).await {
            match outcome {
                Ok(()) => released += 1,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if released < self.0.set.needed => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the current owner holds enough members, as the servers say.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`RawLock::is_held_by`](crate::RawLock::is_held_by), where so many servers fail that it cannot be said.
    ///
    /// *Redisson*: `isHeldByCurrentThread()`.
    pub async fn is_held_by_current(&self) -> Result<bool> {
        let owner = self.0.owner();
        let questions = self.0.set.members.iter().map(|member| async move {
            Ok::<_, Error>(member.ask(Question::Held, owner).await? > 0)
        });
        let (mut held, mut open, mut failure) = (0, 0, None);
        for outcome in join_all(questions).await {
            match outcome {
                Ok(true) => held += 1,
                Ok(false) => {}
                Err(error) => {
                    open += 1;
                    failure = Some(error);
                }
            }
        }
        let needed = self.0.set.needed;
        match failure {
            Some(error) if held < needed && held + open >= needed => Err(error),
            _ => Ok(held >= needed),
        }
    }
}
