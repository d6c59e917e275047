//! Several locks as one: all of them, or a majority.

use std::{fmt, future::IntoFuture, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use self::take::Taken;
use super::{AnyLock, Inner, patience};
use crate::{
    config::check_lease,
    engine::acquire::Patience,
    error::{Error, Result},
    owner::Owner,
};

mod guard;
mod raw;
mod take;

pub use self::{guard::MultiGuard, raw::RawMultiLock};

/// Several locks taken and given back as one.
///
/// [`new`](Self::new) takes *all* of its members or none: locks of different names, kinds or clients. They are taken in
/// the order of their names, wherever they stand in the list, so that two that want the same members in another order
/// never stop each other. While one is busy the others are kept for a few hundredths of a second, since a JVM takes its
/// members in an order of its own.
///
/// [`majority`](Self::majority) is **Redlock**: the same lock on several independent servers (not replicas of one), held
/// as long as more than half of them have it. It survives the loss of a minority of the servers, where one server's lock
/// would be gone. What it does not give: exclusion while a holder is stopped for longer than its lease, or when clocks
/// jump, or when servers come back without their data sooner than a lease takes. For that, let the resource check a
/// [fencing token](crate::fencing) of one fenced lock.
///
/// *Redisson*: `RedissonMultiLock` from `getMultiLock(locks...)`, `RedissonRedLock` from `getRedLock`.
///
/// # Examples
///
/// ```no_run
/// # async fn example(a: redlatch::Client, b: redlatch::Client, c: redlatch::Client) -> redlatch::Result<()> {
/// use redlatch::MultiLock;
///
/// let transfer = MultiLock::new([a.lock("account:1"), a.lock("account:2")])?;
/// let guard = transfer.lock().await?;
/// guard.unlock().await?;
///
/// let everywhere = MultiLock::majority([&a, &b, &c].map(|client| client.lock("leader")))?;
/// let guard = everywhere.lock().lease(std::time::Duration::from_secs(30)).await?;
/// guard.unlock().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MultiLock {
    set: Arc<Set>,
    owner: Option<Owner>,
}

/// The members, and how many of them it takes.
struct Set {
    /// In the order in which they are taken.
    members: Vec<Inner>,
    /// How many it takes.
    needed: usize,
    /// What one server may cost where not all are needed.
    server_timeout: Duration,
    /// The names, for messages.
    shown: Arc<str>,
}

/// What one server of a majority may cost by default.
const SERVER_TIMEOUT: Duration = Duration::from_millis(200);

impl MultiLock {
    /// All of these locks, or none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] when there is none, or one is there twice.
    pub fn new<L: Into<AnyLock>>(members: impl IntoIterator<Item = L>) -> Result<Self> {
        let mut members = inners(members)?;
        members.sort_by(|one, other| one.place().cmp(&other.place()));
        let needed = members.len();
        Ok(Self::of(members, needed))
    }

    /// More than half of these locks: Redlock. Give the same name on at least three independent servers; of one or two it
    /// takes all.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] when there is none, or one is there twice.
    pub fn majority<L: Into<AnyLock>>(members: impl IntoIterator<Item = L>) -> Result<Self> {
        let mut members = inners(members)?;
        members.sort_by(|one, other| one.place().cmp(&other.place()));
        let needed = members.len() / 2 + 1;
        Ok(Self::of(members, needed))
    }

    fn of(members: Vec<Inner>, needed: usize) -> Self {
        let names: Vec<&str> = members.iter().map(|member| &*member.name).collect();
        Self {
            set: Arc::new(Set {
                shown: names.join("+").into(),
                needed,
                server_timeout: SERVER_TIMEOUT,
                members,
            }),
            owner: None,
        }
    }

    /// How long one server of a majority may take to answer before it counts as not having granted. Default 200 ms; keep it
    /// far below the lease. Without effect where all members are needed.
    #[must_use]
    pub fn server_timeout(&self, limit: Duration) -> Self {
        let set = &self.set;
        Self {
            set: Arc::new(Set {
                members: set.members.clone(),
                needed: set.needed,
                server_timeout: limit,
                shown: set.shown.clone(),
            }),
            owner: self.owner,
        }
    }

    /// The same locks, asked for by `owner`.
    #[must_use]
    pub fn with_owner(&self, owner: Owner) -> Self {
        Self {
            set: self.set.clone(),
            owner: Some(owner),
        }
    }

    /// Waits until enough members are taken. Set a limit with [`wait`](AcquireMulti::wait) and a fixed lease with
    /// [`lease`](AcquireMulti::lease) first. A lease begins when the last member is taken.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a caller that leaves keeps no member.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when the limit is over. Where all members are needed, the error of the member that failed; of a
    /// majority, [`Error::NoQuorum`] when too many servers failed.
    ///
    /// *Redisson*: `lock`, `tryLock(wait, lease, unit)`.
    #[must_use = "nothing happens until it is awaited"]
    pub fn lock(&self) -> AcquireMulti {
        AcquireMulti {
            lock: self.clone(),
            wait: None,
            lease: None,
        }
    }

    /// Takes the members if enough of them are free, and does not wait.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock), but never [`Error::TimedOut`].
    ///
    /// *Redisson*: `tryLock()`.
    pub async fn try_lock(&self) -> Result<Option<MultiGuard>> {
        let taken = self.take(Patience::None, None, false).await?;
        Ok(taken.map(MultiGuard::new))
    }

    /// The same locks with Redisson's own verbs: the owner holds them, not a guard.
    #[must_use]
    pub fn raw(&self) -> RawMultiLock {
        RawMultiLock(self.clone())
    }

    /// The names of the members, as the application gave them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.set.members.iter().map(|member| &*member.name)
    }

    fn owner(&self) -> Owner {
        self.owner.unwrap_or_else(Owner::current)
    }

    async fn take(
        &self,
        patience: Patience,
        lease: Option<Duration>,
        loose: bool,
    ) -> Result<Option<Taken>> {
        if let Some(lease) = lease {
            check_lease(lease)?;
        }
        self.set.take(self.owner(), patience, lease, loose).await
    }

    fn timed_out(&self, started: Instant) -> Error {
        Error::TimedOut {
            name: self.set.shown.clone(),
            waited: started.elapsed(),
        }
    }
}

fn inners<L: Into<AnyLock>>(members: impl IntoIterator<Item = L>) -> Result<Vec<Inner>> {
    let members: Vec<Inner> = members
        .into_iter()
        .map(|member| member.into().inner)
        .collect();
    if members.is_empty() {
        return Err(Error::invalid("members", "there is none"));
    }
    for (at, member) in members.iter().enumerate() {
        let twice =
            |other: &Inner| other.place() == member.place() && other.values == member.values;
        if members.iter().skip(at + 1).any(twice) {
            return Err(Error::invalid(
                "members",
                format!("{:?} is there twice", member.name),
            ));
        }
    }
    Ok(members)
}

impl fmt::Debug for MultiLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiLock")
            .field("names", &self.set.shown)
            .field("needed", &self.set.needed)
            .finish_non_exhaustive()
    }
}

/// Several locks about to be taken; await it.
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct AcquireMulti {
    lock: MultiLock,
    wait: Option<Duration>,
    lease: Option<Duration>,
}

impl AcquireMulti {
    /// Waits at most this long, then fails with [`Error::TimedOut`].
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = Some(limit);
        self
    }

    /// Takes the locks for this long and no longer, with no watchdog to renew them. At least 10 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }
}

impl IntoFuture for AcquireMulti {
    type Output = Result<MultiGuard>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let started = Instant::now();
            let taken = self
                .lock
                .take(patience(self.wait), self.lease, false)
                .await?;
            taken
                .map(MultiGuard::new)
                .ok_or_else(|| self.lock.timed_out(started))
        })
    }
}
