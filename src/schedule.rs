//! A job that many processes start, and one runs.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::{
    client::Client,
    config::{check_lease_as, lease_ms},
    engine::{
        Engine, jitter,
        script::{Command, Script, decimal, script},
        transport::Reply,
        unexpected,
    },
    error::{Error, LossCause, Result},
    lock::{Lock, LockGuard, Reentrant},
    naming,
    owner::Owner,
};

static LOOK: Script = script!("schedule/look");
static FINISH: Script = script!("schedule/finish");

/// Every script of this module, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 2] = [&LOOK, &FINISH];

/// Pause before a note that has failed is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// A job that runs at most once in a period, however many processes start it: what ShedLock does.
///
/// Made by [`Client::once_per`]; making and cloning one sends nothing. Every process starts the job by a timer of its own, and
/// [`run_if_due`](Self::run_if_due) lets one of them run it:
///
/// - While it runs, the lock of the same name is held, so nobody else runs it, however long it takes. The watchdog keeps it;
///   a process that dies with the job unfinished frees it after the
///   [watchdog timeout](crate::ClientBuilder::watchdog_timeout), or after [`at_most_for`](Self::at_most_for), and then it is
///   due again.
/// - When it has run, it is not due until a whole period has gone by since it *began*, by the server's clock. What the job
///   gave back, be it an error of its own, does not matter.
///
/// Timers of several processes do not agree, so a period a little shorter than what they go by lets no turn be skipped: 50 s
/// for a job of every minute. A job that is stopped, since its lock was lost or its caller left, has not run.
///
/// *Redisson*: none; the lock is the `RLock` of the same name, so a JVM that holds it keeps the job from running. *ShedLock*:
/// the period is `lockAtLeastFor`, `at_most_for` is `lockAtMostFor`.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> redlatch::Result<()> {
/// # async fn send_report() {}
/// use std::time::Duration;
/// use redlatch::Outcome;
///
/// let client = redlatch::Client::connect("redis://127.0.0.1:6379").await?;
/// let report = client.once_per("daily-report", Duration::from_secs(23 * 3600));
/// match report.run_if_due(send_report()).await? {
///     Outcome::Ran(()) => println!("sent"),
///     Outcome::NotDue => println!("somebody else sends it, or has"),
///     other => println!("sent, and not noted: {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Schedule {
    engine: Arc<Engine>,
    name: Arc<str>,
    period: Duration,
    at_most_for: Option<Duration>,
}

/// What became of a job.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Outcome<T> {
    /// It ran to its end here, and nobody runs it again in this period.
    Ran(T),
    /// It ran to its end here, but the server could not be told: somebody may run it again in this period.
    #[non_exhaustive]
    Unconfirmed {
        /// What the job gave back.
        value: T,
        /// Why the server does not know.
        error: Error,
    },
    /// It was not started: it has run in this period, or somebody runs it at this moment.
    NotDue,
}

struct Names {
    lock: Bytes,
    record: Bytes,
}

/// The answer of `schedule/look.lua`.
#[derive(Debug, PartialEq, Eq)]
struct Looked {
    /// How long until it is due; `None` where it is.
    left: Option<Duration>,
    /// The time by the server's clock, in ms since 1970.
    now: u64,
}

impl Schedule {
    /// Gives a run so long and no longer: the job is stopped then, and whoever starts it next may run it. Without it, the
    /// watchdog keeps the lock for as long as the job runs. At least 10 ms.
    ///
    /// *ShedLock*: `lockAtMostFor`.
    #[must_use]
    pub fn at_most_for(mut self, limit: Duration) -> Self {
        self.at_most_for = Some(limit);
        self
    }

    /// Runs `job` if it is due and nobody else runs it. Otherwise `job` is dropped without having been polled. One command
    /// where it has run, two where somebody runs it, five to run it.
    ///
    /// A lost reply is found out about, and never makes a job run twice. Where the server cannot be told that the job has run,
    /// for as long as [`outage_patience`](crate::ClientBuilder::outage_patience), it is [`Outcome::Unconfirmed`].
    ///
    /// # Cancel safety
    ///
    /// A caller that leaves stops the job, which has not run then and is due at once.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the lock was lost while the job ran: it was stopped, and may run elsewhere.
    /// [`Error::InvalidArgument`] for a name or a time that is not acceptable; and those of
    /// [`Lock::try_lock`](crate::Lock::try_lock), before the job began.
    pub async fn run_if_due<F: Future>(&self, job: F) -> Result<Outcome<F::Output>> {
        let (names, period) = self.check()?;
        if self.look(&names).await?.left.is_some() {
            return Ok(Outcome::NotDue);
        }
        let lock = Lock::<Reentrant>::new(&self.engine, self.name.clone());
        // Nobody's second hold: the same task may start it twice.
        let mut acquire = lock.with_owner(Owner::fresh()).lock().wait(Duration::ZERO);
        if let Some(limit) = self.at_most_for {
            acquire = acquire.lease(limit);
        }
        let guard = match acquire.await {
            Ok(guard) => guard,
            Err(error) if error.is_timeout() => return Ok(Outcome::NotDue),
            Err(error) => return Err(error),
        };
        // Somebody may have run it between the first look and the lock.
        let looked = guard.run(self.look(&names)).await??;
        if looked.left.is_some() {
            drop(guard);
            return Ok(Outcome::NotDue);
        }
        let value = guard.run(job).await?;
        let outcome = match self.finish(&names, &guard, looked.now + period).await {
            Ok(()) => Outcome::Ran(value),
            Err(error) => Outcome::Unconfirmed { value, error },
        };
        // It is noted that it has run: what becomes of the lock is its own affair.
        let _ = guard.unlock().await;
        Ok(outcome)
    }

    /// How long until the job is due, by the server's clock; `None` where it is due. Somebody may run it at this moment all
    /// the same. One command.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`run_if_due`](Self::run_if_due), but for a lock.
    pub async fn due_in(&self) -> Result<Option<Duration>> {
        let (names, _) = self.check()?;
        Ok(self.look(&names).await?.left)
    }

    /// The name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks names and times; the period in ms.
    fn check(&self) -> Result<(Names, u64)> {
        let period = lease_ms("period", self.period)?;
        if let Some(limit) = self.at_most_for {
            check_lease_as("at_most_for", limit)?;
        }
        let lock = self.engine.settings.map_name(&self.name)?;
        let names = Names {
            record: naming::schedule(&lock).into(),
            lock: lock.into(),
        };
        let together = [&names.lock, &names.record];
        self.engine.check_slots(&self.name, together)?;
        Ok((names, period))
    }

    async fn look(&self, names: &Names) -> Result<Looked> {
        let command = Command {
            script: &LOOK,
            keys: vec![names.record.clone()],
            args: Vec::new(),
        };
        let reply = self.engine.read(&self.name, &command).await?;
        read_look(&reply).ok_or_else(|| unexpected(&self.name, &reply))
    }

    /// Notes that the job has run. Says the same however often it is sent, so it is sent until it is answered.
    async fn finish(&self, names: &Names, guard: &LockGuard, end: u64) -> Result<()> {
        let command = Command {
            script: &FINISH,
            keys: vec![names.lock.clone(), names.record.clone()],
            args: vec![guard.owner_id().into(), decimal(end)],
        };
        let begun = Instant::now();
        let reply = loop {
            match self.engine.read(&self.name, &command).await {
                Err(error)
                    if error.is_retryable()
                        && begun.elapsed() < self.engine.settings.outage_patience =>
                {
                    sleep(jitter(PAUSE)).await;
                }
                reply => break reply?,
            }
        };
        match reply.as_int() {
            Some(1) => Ok(()),
            Some(0) => Err(Error::Lost {
                name: self.name.clone(),
                cause: LossCause::TakenOver,
            }),
            _ => Err(unexpected(&self.name, &reply)),
        }
    }
}

fn read_look(reply: &Reply) -> Option<Looked> {
    let Reply::Array(items) = reply else {
        return None;
    };
    let [left, now] = items.as_slice() else {
        return None;
    };
    let left = match left.as_int()? {
        -2 => None,
        // Without a time to live it is not ours, and no reason to run.
        left => Some(u64::try_from(left).map_or(Duration::MAX, Duration::from_millis)),
    };
    let now = u64::try_from(now.as_int()?).ok()?;
    Some(Looked { left, now })
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("name", &self.name)
            .field("period", &self.period)
            .field("at_most_for", &self.at_most_for)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A job that runs at most once in `period`, however many processes start it. Sends nothing; a name or a time that is not
    /// acceptable is reported by the first use.
    ///
    /// *Redisson*: none; see [`Schedule`].
    #[must_use]
    pub fn once_per(&self, name: impl Into<Arc<str>>, period: Duration) -> Schedule {
        Schedule {
            engine: self.engine().clone(),
            name: name.into(),
            period,
            at_most_for: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_and_odd_ones_refused() {
        let looked = |left| read_look(&Reply::Array(vec![Reply::Int(left), Reply::Int(5)]));
        let left = |left| looked(left).expect("well formed").left;
        assert_eq!(left(-2), None);
        assert_eq!(left(7), Some(Duration::from_millis(7)));
        assert_eq!(left(-1), Some(Duration::MAX));
        for odd in [
            Reply::Nil,
            Reply::Array(vec![]),
            Reply::Array(vec![Reply::Int(1)]),
            Reply::Array(vec![Reply::Int(-2), Reply::Int(-1)]),
            Reply::Array(vec![Reply::Nil, Reply::Int(1)]),
        ] {
            assert_eq!(read_look(&odd), None, "{odd:?}");
        }
    }
}
