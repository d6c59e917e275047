//! Permits with an id and, if they like, a lease: about to be acquired, and in hand.

use std::{fmt, future::IntoFuture, pin::Pin, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::ExpirableSemaphore;
use crate::{
    engine::waiting::Grant,
    error::{Error, LossCause, Result},
    lock::patience,
};

/// Bytes of an id.
const LENGTH: usize = 16;

/// The id of a permit: 16 random bytes, written as 32 hexadecimal digits in lower case.
///
/// Whoever knows it can give the permit back, in this process, another one or a JVM.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PermitId([u8; LENGTH]);

impl PermitId {
    pub(super) fn random() -> Self {
        // A random uuid has six bits that are not; mixing two of them leaves none.
        let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        Self((a.as_u128() ^ b.as_u128().rotate_left(64)).to_be_bytes())
    }

    pub(super) fn to_wire(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    fn from_wire(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for PermitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PermitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PermitId({self})")
    }
}

impl FromStr for PermitId {
    type Err = Error;

    /// Reads 32 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for anything else.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::invalid("permit id", "it must be 32 hexadecimal digits");
        if text.len() != 2 * LENGTH || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| invalid())?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// Permits of an [`ExpirableSemaphore`]. Dropping them, on any thread and in any state, gives
/// them back in the background.
///
/// With a lease they end by themselves, and the guard knows when: see [`valid_until`](Self::valid_until). It does not know
/// of a lease changed with [`update_lease`](ExpirableSemaphore::update_lease), nor of permits given back by their id.
#[must_use = "dropping the permits gives them back"]
pub struct ExpirablePermit {
    name: Arc<str>,
    ids: Vec<PermitId>,
    /// `None` for no permits.
    grant: Option<Grant>,
}

impl ExpirablePermit {
    pub(super) fn new(name: Arc<str>, grant: Option<Grant>) -> Self {
        let ids = grant.as_ref().map_or_else(Vec::new, |grant| {
            let ids = grant.ask().ids.iter();
            ids.filter_map(|id| PermitId::from_wire(id)).collect()
        });
        Self { name, ids, grant }
    }

    /// The id of the first permit; `None` where none were asked for.
    #[must_use]
    pub fn id(&self) -> Option<PermitId> {
        self.ids.first().copied()
    }

    /// The ids of all of them.
    #[must_use]
    pub fn ids(&self) -> &[PermitId] {
        &self.ids
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// The semaphore's name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Until when the permits are sure to be held, by this process's monotonic clock: the time they were asked for, plus
    /// the lease, less a margin of a thousandth and a millisecond. `None` without a lease.
    #[must_use]
    pub fn valid_until(&self) -> Option<std::time::Instant> {
        self.until().map(Instant::into_std)
    }

    fn until(&self) -> Option<Instant> {
        self.grant.as_ref().and_then(|grant| grant.valid_until)
    }

    /// Time left until [`valid_until`](Self::valid_until); `None` without a lease.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.until()
            .map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Whether the lease is over, by the local clock. Asks nobody.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() >= until)
    }

    /// Waits until the lease is over, by the local clock. Never resolves without a lease.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lost(&self) {
        match self.until() {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
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
    /// [`Error::Lost`] when one of them had ended, by the local clock or the server's, or was given back by somebody else; those that were left have gone back
    /// all the same. [`Error::Closed`] when closing the client has given them back before. [`Error::Unreachable`] when the
    /// server stays silent; the release goes on in the background for as long as the client is open.
    ///
    /// *Redisson*: `release(permitId)`, `release(permitIds)`.
    pub async fn release(self) -> Result<()> {
        let Some(grant) = &self.grant else {
            return Ok(());
        };
        let Some(ask) = grant.give_up() else {
            return Err(Error::Closed);
        };
        let late = self.is_lost();
        let desk = grant.desk().clone();
        let alive = desk.engine().clone().undo(&desk, &ask).await?;
        if !late && alive == i64::try_from(self.ids.len()).ok() {
            return Ok(());
        }
        Err(Error::Lost {
            name: self.name.clone(),
            cause: if late {
                LossCause::LeaseExpired
            } else {
                LossCause::Vanished
            },
        })
    }

    /// Keeps the permits taken, until their lease is over or somebody gives them back by their ids, which are the answer.
    pub fn forget(mut self) -> Vec<PermitId> {
        if let Some(grant) = self.grant.take() {
            grant.forget();
        }
        std::mem::take(&mut self.ids)
    }
}

impl fmt::Debug for ExpirablePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpirablePermit")
            .field("name", &self.name)
            .field("ids", &self.ids)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// Permits about to be acquired; await it.
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct AcquireExpirable {
    semaphore: ExpirableSemaphore,
    permits: u32,
    wait: Option<Duration>,
    lease: Option<Duration>,
}

impl AcquireExpirable {
    pub(super) fn new(semaphore: ExpirableSemaphore, permits: u32) -> Self {
        Self {
            semaphore,
            permits,
            wait: None,
            lease: None,
        }
    }

    /// Waits at most this long, then fails with [`Error::TimedOut`]. Without it, waits for as long as the server answers.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = Some(limit);
        self
    }

    /// Takes the permits for this long and no longer, in whole milliseconds rounded up. At least 10 ms. Without it, they
    /// are held until they are given back.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }
}

impl IntoFuture for AcquireExpirable {
    type Output = Result<ExpirablePermit>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let started = Instant::now();
            let permit = self
                .semaphore
                .claim(self.permits, self.lease, patience(self.wait))
                .await?;
            permit.ok_or_else(|| self.semaphore.timed_out(started))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = PermitId::random();
        let text = id.to_string();
        assert_eq!(text.len(), 32);
        assert_eq!(text, text.to_lowercase());
        assert_eq!(text.parse::<PermitId>().ok(), Some(id));
        assert_eq!(PermitId::from_wire(&id.to_wire()), Some(id));
        assert_ne!(id, PermitId::random());
        assert_eq!(
            "00ff"
                .repeat(8)
                .parse::<PermitId>()
                .map(|id| id.to_string())
                .ok(),
            Some("00ff".repeat(8))
        );
        for bad in [
            "",
            "1",
            "+f",
            &"g".repeat(32),
            &"0".repeat(33),
            &"ä".repeat(16),
        ] {
            let error = bad.parse::<PermitId>().expect_err("no id");
            assert!(error.to_string().contains("permit id"), "{error}");
        }
    }
}
