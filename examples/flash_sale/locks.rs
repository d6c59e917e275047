//! The ways for sellers to take turns: not at all, by the lock everybody writes first, and by redlatch's.
//!
//! # How the naive lock fails
//!
//! `SETNX lock me`, `EXPIRE lock 10`, work, `DEL lock` is in a thousand code bases and in this one under
//! [`LockKind::Naive`]. It fails in three ways:
//!
//! 1. **It can stay for ever.** A process that dies between `SETNX` and `EXPIRE` leaves a lock without an end, and
//!    nobody gets in any more until somebody deletes it by hand. (One `SET lock me NX PX 10000` cures this one.)
//! 2. **It ends before the work does.** The lease is a guess. One slow payment, one long pause of the process, and the
//!    server gives the lock to the next while the first still works, knowing nothing. Both have read the same stock,
//!    both write it: one piece is sold twice. A longer lease only trades this for longer outages when a holder dies.
//! 3. **It deletes what it does not own.** The first comes back from its slow payment and says `DEL lock`. But the lock
//!    is not its own any more: it has just let a third one in with the second. From then on every release frees
//!    somebody else's lock, and a single slow sale is followed by a row of others.
//!
//! A fourth is no error but a price: who finds the lock busy asks again every few milliseconds, and whoever happens to
//! ask first wins, so somebody waits much longer than its turn.
//!
//! # What redlatch does instead
//!
//! Taking the lock and its time to live are one script, so (1) cannot happen. The lease is short *and* renewed for as
//! long as the guard lives, so that (2) takes a process or a network that stops for the whole of it; and then
//! `guard.run` stops the work when the lock is lost, instead of letting it write. Only the owner's own entry is taken
//! back, so (3) cannot happen either. Waiters sleep until they are told.

use std::time::Duration;

use clap::ValueEnum;
use redlatch::{Fair, Fenced, Kind, Lock, LockGuard, MultiLock, Spin, fencing::FencedCell};
use tokio::time::sleep;

use crate::{
    Result, ms,
    shop::{Shop, Sold},
    worker::Job,
};

/// How the sellers of a round keep out of each other's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LockKind {
    /// Not at all
    None,
    /// SETNX and EXPIRE, with a lease that is too short for slow sales
    Naive,
    /// redlatch's plain lock
    Redlatch,
    /// redlatch's fair lock: first come, first served, over all processes
    Fair,
    /// redlatch's fenced lock, whose token every sale has to show
    Fenced,
    /// redlatch's spin lock: no messages
    Spin,
    /// Redlock: a majority of three independent servers
    Red,
}

impl LockKind {
    /// The rounds of a sale, in the order of the story.
    pub(crate) const STORY: [Self; 3] = [Self::None, Self::Naive, Self::Redlatch];

    /// Whether it is one of redlatch's, and so must sell each piece once.
    pub(crate) fn is_redlatch(self) -> bool {
        !matches!(self, Self::None | Self::Naive)
    }

    /// The name on the command line and in keys.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Naive => "naive",
            Self::Redlatch => "redlatch",
            Self::Fair => "fair",
            Self::Fenced => "fenced",
            Self::Spin => "spin",
            Self::Red => "red",
        }
    }

    /// The name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::None => "no lock",
            Self::Naive => "SETNX + EXPIRE",
            Self::Redlatch => "redlatch",
            Self::Fair => "redlatch fair",
            Self::Fenced => "redlatch fenced",
            Self::Spin => "redlatch spin",
            Self::Red => "redlatch red",
        }
    }
}

/// A seller's way to a sale.
pub(crate) enum Turn {
    /// Just sells.
    None,
    /// Takes the naive lock first.
    Naive { key: String, lease: Duration },
    /// Takes a lock of redlatch's first.
    Redlatch(Lock),
    /// Takes a fair lock first.
    Fair(Lock<Fair>),
    /// Takes a fenced lock first, and shows its token to a cell that refuses older ones.
    Fenced(Lock<Fenced>, FencedCell),
    /// Takes a spin lock first.
    Spin(Lock<Spin>),
    /// Takes a majority first.
    Red(MultiLock),
}

impl Turn {
    /// `clients` are of the sale's server, and for a majority of others as well.
    pub(crate) fn new(job: &Job, shop: &Shop, clients: &[redlatch::Client]) -> Result<Self> {
        let key = shop.key(job.lock, "lock");
        let redlatch = clients.first().ok_or("no server is known")?;
        Ok(match job.lock {
            LockKind::None => Self::None,
            LockKind::Naive => Self::Naive {
                key,
                // "Four times the usual is plenty", says everybody who has not met the slow payment provider yet.
                lease: ms(job.think_ms) * 4,
            },
            LockKind::Redlatch => Self::Redlatch(redlatch.lock(key)),
            LockKind::Fair => Self::Fair(redlatch.fair_lock(key)),
            LockKind::Fenced => {
                let cell = redlatch.fenced_cell(shop.key(job.lock, "cell"));
                Self::Fenced(redlatch.fenced_lock(key), cell)
            }
            LockKind::Spin => Self::Spin(redlatch.spin_lock(key)),
            LockKind::Red => {
                let members = clients.iter().map(|client| client.lock(key.clone()));
                Self::Red(MultiLock::majority(members)?)
            }
        })
    }

    /// Sells one piece under the lock. `entered` is called once the lock is ours.
    pub(crate) async fn sell(
        &self,
        job: &Job,
        shop: &Shop,
        seller: &str,
        entered: impl FnOnce(),
    ) -> Result<Option<Sold>> {
        let selling = shop.sell(job.lock, job.think_ms, seller);
        match self {
            Self::None => {
                entered();
                selling.await
            }
            Self::Naive { key, lease } => {
                while !shop.set_if_absent(key, seller).await? {
                    sleep(Duration::from_millis(2)).await;
                }
                shop.expire(key, *lease).await?; // (1) dead before this line: locked for ever
                entered();
                let sold = selling.await?; // (2) slower than the lease: somebody else is in here now
                shop.delete(key).await?; // (3) whose lock was that?
                Ok(sold)
            }
            Self::Redlatch(lock) => under(lock.lock().await?, entered, selling).await,
            Self::Fair(lock) => under(lock.lock().await?, entered, selling).await,
            Self::Spin(lock) => under(lock.lock().await?, entered, selling).await,
            Self::Fenced(lock, cell) => {
                let guard = lock.lock().await?;
                let token = guard.token();
                let shown = async {
                    // Refused if anybody with a newer token has been here.
                    cell.set(token, seller.to_owned()).await?;
                    selling.await
                };
                under(guard, entered, shown).await
            }
            Self::Red(lock) => {
                let guard = lock.lock().await?;
                entered();
                let sold = guard.run(selling).await??;
                guard.unlock().await?;
                Ok(sold)
            }
        }
    }
}

/// Sells under a guard, and stops when the lock is lost.
async fn under<K: Kind>(
    guard: LockGuard<K>,
    entered: impl FnOnce(),
    selling: impl Future<Output = Result<Option<Sold>>>,
) -> Result<Option<Sold>> {
    entered();
    let sold = guard.run(selling).await??;
    guard.unlock().await?;
    Ok(sold)
}
