//! The semaphore whose permits have ids and may have a lease.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    AcquireExpirable, ExpirablePermit, Handle, PermitId, check_change, check_permits,
    expirable_wire::{
        ADD, COUNTS, LEASE_TIME, MOST_IDS, NEVER, RELEASE, RELEASE_ALL, SET, UPDATE_LEASE, Wire,
        keys, release, wire_lease,
    },
    semaphore::{delete, try_set},
    semaphore_channel,
};
use crate::{
    client::Client,
    engine::{
        acquire::Patience,
        script::{Command, decimal},
        trade::{Ask, Names},
    },
    error::{Error, Result},
};

/// A distributed semaphore whose permits have ids and may have a lease, known by its name.
///
/// Made by [`Client::expirable_semaphore`]; making and cloning one sends nothing. It must be given permits before anybody
/// gets one. A permit with a lease goes back when the lease is over, whatever has become of its holder; there is no
/// watchdog, so a longer one is had with [`update_lease`](Self::update_lease). Leases are kept by the server's clock.
///
/// Waiting is not fair: see [`Semaphore`](super::Semaphore).
///
/// Every change is made exactly once, also when its reply is lost; see `docs/guarantees.md`.
///
/// *Redisson*: `RPermitExpirableSemaphore`.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> redlatch::Result<()> {
/// use std::time::Duration;
///
/// let client = redlatch::Client::connect("redis://127.0.0.1:6379").await?;
/// let seats = client.expirable_semaphore("seats");
/// seats.try_set_permits(3).await?;
///
/// let seat = seats.acquire().lease(Duration::from_secs(30)).await?;
/// for id in seat.forget() {
///     // Anybody who knows the id gives the permit back.
///     seats.release_id(&id).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ExpirableSemaphore {
    handle: Handle,
}

impl ExpirableSemaphore {
    /// The error of a wait that came to nothing.
    pub(super) fn timed_out(&self, started: Instant) -> Error {
        self.handle.timed_out(started)
    }

    /// The name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handle.name
    }

    /// Waits for one permit: short for `acquire_many(1)`.
    ///
    /// *Redisson*: `acquire()`, `acquire(lease)`, `tryAcquire(wait, lease)`.
    #[must_use = "nothing happens until it is awaited"]
    pub fn acquire(&self) -> AcquireExpirable {
        self.acquire_many(1)
    }

    /// Waits for permits, all at once. Await the result as it is, or set a limit with [`wait`](AcquireExpirable::wait) and
    /// a lease with [`lease`](AcquireExpirable::lease) first.
    ///
    /// One who waits is woken when a permit goes back and when the next lease ends.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe at every point: a caller that leaves keeps no permit, no place in line and no subscription, and a
    /// request in flight gives back what it is granted.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when a limit was set and is over, [`Error::Unreachable`] when the server stays silent,
    /// [`Error::Refused`] and [`Error::WrongType`] for the server's own refusals, [`Error::InvalidArgument`] for
    /// unacceptable names and leases and more than 10,000 permits, [`Error::Closed`].
    ///
    /// *Redisson*: `acquire(permits)`, `acquire(permits, lease)`, `tryAcquire(permits, wait, lease)`.
    #[must_use = "nothing happens until it is awaited"]
    pub fn acquire_many(&self, permits: u32) -> AcquireExpirable {
        AcquireExpirable::new(self.clone(), permits)
    }

    /// Takes one permit without a lease if there is one, and does not wait. For one with a lease, or many, await
    /// `acquire_many(n).lease(lease).wait(Duration::ZERO)`.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Errors
    ///
    /// As [`acquire_many`](Self::acquire_many), without the time limit.
    ///
    /// *Redisson*: `tryAcquire()`.
    pub async fn try_acquire(&self) -> Result<Option<ExpirablePermit>> {
        self.try_acquire_many(1).await
    }

    /// Takes permits without a lease if there are that many, and does not wait.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Errors
    ///
    /// As [`acquire_many`](Self::acquire_many), without the time limit.
    ///
    /// *Redisson*: `tryAcquire(permits)`.
    pub async fn try_acquire_many(&self, permits: u32) -> Result<Option<ExpirablePermit>> {
        self.claim(permits, None, Patience::None).await
    }

    pub(super) async fn claim(
        &self,
        permits: u32,
        lease: Option<Duration>,
        patience: Patience,
    ) -> Result<Option<ExpirablePermit>> {
        if permits > MOST_IDS {
            let reason = format!("{permits} is more than {MOST_IDS}");
            return Err(Error::invalid("permits", reason));
        }
        let lease_ms = wire_lease(lease)?;
        let desk = self.handle.desk()?;
        let name = self.handle.name.clone();
        if permits == 0 {
            return Ok(Some(ExpirablePermit::new(name, None)));
        }
        let ask = || Ask {
            permits,
            lease_ms,
            ids: (0..permits).map(|_| PermitId::random().to_wire()).collect(),
        };
        let grant = self.handle.engine.claim(&desk, ask, patience).await?;
        Ok(grant.map(|grant| ExpirablePermit::new(name, Some(grant))))
    }

    /// Gives one permit back. `false`: there is no such permit, or its lease was over; it is then back all the same.
    ///
    /// # Cancel safety
    ///
    /// Once polled the call completes even if the caller leaves; only the answer is lost.
    ///
    /// # Errors
    ///
    /// Those of the server; [`Error::Unreachable`] when it stays silent, which says whether the call may have taken
    /// effect.
    ///
    /// *Redisson*: `tryRelease(permitId)`; `release(permitId)`, which fails where this says `false`.
    pub async fn release_id(&self, id: &PermitId) -> Result<bool> {
        let release = |names: &Names| release(&RELEASE, names, [id.to_wire()]);
        Ok(self.handle.once(release).await? == Some(1))
    }

    /// Gives permits back, all of them or none. `false`: one of them is unknown or its lease is over, and nothing was
    /// done.
    ///
    /// # Cancel safety
    ///
    /// As [`release_id`](Self::release_id).
    ///
    /// # Errors
    ///
    /// As [`release_id`](Self::release_id); [`Error::InvalidArgument`] when an id is there twice, or there are more than
    /// 10,000.
    ///
    /// *Redisson*: `tryRelease(permitIds)`; `release(permitIds)`, which fails where this says `false`.
    pub async fn release_all(&self, ids: &[PermitId]) -> Result<bool> {
        if ids.len() > MOST_IDS as usize {
            let reason = format!("{} is more than {MOST_IDS}", ids.len());
            return Err(Error::invalid("permit ids", reason));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = ids.iter().find(|id| !seen.insert(**id)) {
            return Err(Error::invalid(
                "permit ids",
                format!("{twice} is there twice"),
            ));
        }
        if ids.is_empty() {
            self.handle.desk()?;
            return Ok(true);
        }
        let ids = ids.iter().map(|id| id.to_wire());
        let release = |names: &Names| release(&RELEASE_ALL, names, ids);
        Ok(self.handle.once(release).await?.is_some())
    }

    /// Available, in use, and whether the semaphore is there.
    async fn counts(&self) -> Result<[i64; 3]> {
        let counts = |names: &Names| Command {
            script: &COUNTS,
            keys: keys(names),
            args: vec![names.announcement.clone()],
        };
        let reply = self.handle.repeat(counts).await?;
        reply
            .as_ints()
            .and_then(|figures| figures.try_into().ok())
            .ok_or_else(|| self.handle.odd(&reply))
    }

    /// How many permits are to be had; less than none after permits in use were taken away. Permits whose lease is over
    /// are had again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// Those of any question to the server.
    ///
    /// *Redisson*: `availablePermits()`.
    pub async fn available_permits(&self) -> Result<i64> {
        Ok(self.counts().await?[0])
    }

    /// How many permits are in use.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// Those of any question to the server.
    ///
    /// *Redisson*: `acquiredPermits()`.
    pub async fn acquired_permits(&self) -> Result<u64> {
        Ok(u64::try_from(self.counts().await?[1]).unwrap_or_default())
    }

    /// How many permits there are in all; none where there is no semaphore.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// Those of any question to the server.
    ///
    /// *Redisson*: `getPermits()`.
    pub async fn permits(&self) -> Result<i64> {
        let [available, acquired, there] = self.counts().await?;
        Ok(if there == 1 {
            available.saturating_add(acquired)
        } else {
            0
        })
    }

    /// Sets the permits of a semaphore that is not there yet; says whether it was so.
    ///
    /// # Cancel safety
    ///
    /// As [`release_id`](Self::release_id).
    ///
    /// # Errors
    ///
    /// As [`release_id`](Self::release_id); [`Error::InvalidArgument`] for more than 2^31 - 1.
    ///
    /// *Redisson*: `trySetPermits(permits)`.
    pub async fn try_set_permits(&self, permits: u32) -> Result<bool> {
        check_permits(permits)?;
        let set = |names: &Names| try_set(names, permits, 0);
        Ok(self.handle.once(set).await?.is_some())
    }

    /// Sets how many permits there are in all. Permits in use stay so: those to be had may fall below zero, and nobody
    /// gets any until enough have gone back.
    ///
    /// # Cancel safety
    ///
    /// As [`release_id`](Self::release_id).
    ///
    /// # Errors
    ///
    /// As [`try_set_permits`](Self::try_set_permits).
    ///
    /// *Redisson*: `setPermits(permits)`.
    pub async fn set_permits(&self, permits: u32) -> Result<()> {
        check_permits(permits)?;
        let set = |names: &Names| Command {
            script: &SET,
            keys: keys(names),
            args: vec![decimal(permits), names.announcement.clone()],
        };
        self.handle.once(set).await?;
        Ok(())
    }

    /// Adds permits, or takes them away where the number is negative. Ends the semaphore's time to live, as Redisson does.
    ///
    /// # Cancel safety
    ///
    /// As [`release_id`](Self::release_id).
    ///
    /// # Errors
    ///
    /// As [`try_set_permits`](Self::try_set_permits).
    ///
    /// *Redisson*: `addPermits(permits)`.
    pub async fn add_permits(&self, permits: i64) -> Result<()> {
        let change = check_change(permits)?;
        let add = |names: &Names| Command {
            script: &ADD,
            keys: vec![names.key.clone()],
            args: vec![change, names.announcement.clone()],
        };
        self.handle.once(add).await?;
        Ok(())
    }

    /// Gives a permit a new lease from now on, or none that ends. `false`: there is no such permit, or its lease was over.
    ///
    /// Those who wait here hear of a lease that ends earlier than before; a guard of the permit keeps to its own time.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the call may be made or not.
    ///
    /// # Errors
    ///
    /// Those of any question to the server; [`Error::InvalidArgument`] for a lease of less than 10 ms or more than 2^48 ms.
    ///
    /// *Redisson*: `updateLeaseTime(permitId, lease)`.
    pub async fn update_lease(&self, id: &PermitId, lease: Option<Duration>) -> Result<bool> {
        let lease_ms = wire_lease(lease)?;
        let update = |names: &Names| Command {
            script: &UPDATE_LEASE,
            keys: vec![names.second.clone()],
            args: vec![
                id.to_wire(),
                decimal(lease_ms),
                NEVER,
                names.announcement.clone(),
            ],
        };
        let reply = self.handle.repeat(update).await?;
        Ok(self.handle.int(&reply)? == 1)
    }

    /// How long a permit lasts yet: `None` when there is no such permit or its lease is over, [`Duration::MAX`] without a
    /// lease.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// Those of any question to the server.
    ///
    /// *Redisson*: `getLeaseTime(permitId)`.
    pub async fn lease_time(&self, id: &PermitId) -> Result<Option<Duration>> {
        let lease_time = |names: &Names| Command {
            script: &LEASE_TIME,
            keys: vec![names.second.clone()],
            args: vec![id.to_wire(), NEVER],
        };
        let reply = self.handle.repeat(lease_time).await?;
        Ok(match self.handle.int(&reply)? {
            -2 => None,
            left => Some(u64::try_from(left).map_or(Duration::MAX, Duration::from_millis)),
        })
    }

    /// Deletes the semaphore with all its permits; says whether there was one. Nobody who waits is told, as in Redisson.
    ///
    /// # Cancel safety
    ///
    /// As [`release_id`](Self::release_id).
    ///
    /// # Errors
    ///
    /// As [`release_id`](Self::release_id).
    ///
    /// *Redisson*: `delete()`.
    pub async fn delete(&self) -> Result<bool> {
        let delete = |names: &Names| delete(vec![names.key.clone(), names.second.clone()]);
        Ok(self.handle.once(delete).await?.is_some())
    }

    /// Ends the semaphore with all its permits after this time; says whether it is there.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the call may be made or not.
    ///
    /// # Errors
    ///
    /// Those of any question to the server; [`Error::InvalidArgument`] for no time at all.
    ///
    /// *Redisson*: `expire(duration)`.
    pub async fn expire(&self, ttl: Duration) -> Result<bool> {
        let names = self.handle.names()?;
        self.handle.expire(&[&names.key, &names.second], ttl).await
    }

    /// Lets the semaphore live on for ever.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the call may be made or not.
    ///
    /// # Errors
    ///
    /// Those of any question to the server.
    ///
    /// *Redisson*: `clearExpire()`.
    pub async fn clear_expire(&self) -> Result<()> {
        let names = self.handle.names()?;
        self.handle.clear_expire(&[&names.key, &names.second]).await
    }

    /// How long the semaphore lasts yet: `None` where there is none, [`Duration::MAX`] for ever.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// Those of any question to the server.
    ///
    /// *Redisson*: `remainTimeToLive()`.
    pub async fn remaining_ttl(&self) -> Result<Option<Duration>> {
        self.handle.remaining_ttl().await
    }
}

impl fmt::Debug for ExpirableSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpirableSemaphore")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The semaphore of this name whose permits have ids. Sends nothing; a name that is not acceptable is reported by the
    /// first use.
    ///
    /// *Redisson*: `getPermitExpirableSemaphore`.
    #[must_use]
    pub fn expirable_semaphore(&self, name: impl Into<Arc<str>>) -> ExpirableSemaphore {
        ExpirableSemaphore {
            handle: Handle {
                engine: self.engine().clone(),
                name: name.into(),
                trade: &Wire,
                channel: semaphore_channel,
            },
        }
    }
}
