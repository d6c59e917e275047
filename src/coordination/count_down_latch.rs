//! The count-down latch: a gate that opens at zero.

use std::{fmt, future::IntoFuture, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Handle;
use crate::{
    client::Client,
    engine::{
        acquire::Patience,
        protocol::Batch,
        script::{Command, Script, decimal, script},
        trade::{Answers, Ask, Names, Trade, Undo},
        transport::Reply,
    },
    error::{Error, Result},
    lock::patience,
};

static TRY_SET: Script = script!("latch/try_set", after "publish/announce");
static COUNT_DOWN: Script = script!("latch/count_down", after "publish/announce");
static DELETE: Script = script!("latch/delete", after "publish/announce");
static COUNT: Script = script!("latch/count");
static PROBE: Script = script!("probe/latch");

/// Every script of this kind, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 5] = [&TRY_SET, &COUNT_DOWN, &DELETE, &COUNT, &PROBE];

/// Largest count: past 2^53 a Lua number is no longer exact.
const LARGEST_COUNT: u64 = 1 << 53;

#[derive(Debug)]
pub(super) struct Wire;

impl Trade for Wire {
    fn kind(&self) -> &'static str {
        "latch"
    }

    fn ask(&self, names: &Names, _: &[Arc<Ask>]) -> Command {
        Command {
            script: &COUNT,
            keys: vec![names.key.clone()],
            args: Vec::new(),
        }
    }

    fn answers(&self, reply: &Reply, asks: usize) -> Option<Answers> {
        let open = reply.as_int()? <= 0;
        Some(Answers {
            served: vec![open; asks],
            next: None,
        })
    }

    fn repeatable(&self) -> bool {
        true
    }

    fn undo(&self, _: &Names, _: &Ask) -> Undo {
        Undo::Nothing
    }

    fn sum(&self, names: &Names, n: u64) -> Command {
        Command {
            script: &COUNT_DOWN,
            keys: vec![names.key.clone()],
            args: vec![decimal(n), names.announcement.clone()],
        }
    }

    fn probe(&self) -> &'static Script {
        &PROBE
    }

    fn look(&self, names: &Names, _: u32, batch: &mut Batch) {
        batch.keys.push(names.key.clone());
    }
}

/// The latch's channel: braces always, whatever the name has. A name with a hash tag of its own so gets a channel in
/// another slot, which a cluster refuses; so it is in Redisson.
pub(crate) fn latch_channel(name: &str) -> String {
    format!("redisson_countdownlatch__channel__{{{name}}}")
}

/// A distributed latch, known by its name: it is closed while its count is above zero, and can be set again when it is
/// open.
///
/// Made by [`Client::count_down_latch`]; making and cloning one sends nothing. A latch that is not there is open.
///
/// Every change is made exactly once, also when its reply is lost; see `docs/guarantees.md`. A latch that is set anew at
/// once after it opened can stay closed for those who had not looked by then, as in Redisson.
///
/// *Redisson*: `RCountDownLatch`.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> redlatch::Result<()> {
/// use std::time::Duration;
///
/// let client = redlatch::Client::connect("redis://127.0.0.1:6379").await?;
/// let ready = client.count_down_latch("ready");
/// ready.try_set_count(2).await?;
/// ready.count_down().await?;
/// ready.wait().limit(Duration::from_secs(60)).await?; // until somebody counts down once more
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CountDownLatch {
    handle: Handle,
}

impl CountDownLatch {
    /// The name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handle.name
    }

    /// Sets the count of a latch that is not there; says whether it was so. A count of zero makes a latch that is open
    /// and cannot be set until somebody counts it down, as in Redisson.
    ///
    /// # Cancel safety
    ///
    /// Once polled the call completes even if the caller leaves; only the answer is lost.
    ///
    /// # Errors
    ///
    /// Those of the server; [`Error::Unreachable`] when it stays silent, which says whether the call may have taken
    /// effect; [`Error::InvalidArgument`] for a count of more than 2^53.
    ///
    /// *Redisson*: `trySetCount(count)`.
    pub async fn try_set_count(&self, count: u64) -> Result<bool> {
        if count > LARGEST_COUNT {
            let reason = format!("{count} is more than 2^53");
            return Err(Error::invalid("count", reason));
        }
        let set = |names: &Names| Command {
            script: &TRY_SET,
            keys: vec![names.key.clone()],
            args: vec![decimal(count), names.announcement.clone()],
        };
        Ok(self.handle.once(set).await?.is_some())
    }

    /// Counts down by one; at zero the latch opens, is gone, and whoever waits is told. Does nothing to an open latch.
    /// Calls of this process that come while one is on its way go together as one.
    ///
    /// # Cancel safety
    ///
    /// As [`try_set_count`](Self::try_set_count).
    ///
    /// # Errors
    ///
    /// As [`try_set_count`](Self::try_set_count).
    ///
    /// *Redisson*: `countDown()`.
    pub async fn count_down(&self) -> Result<()> {
        let desk = self.handle.desk()?;
        self.handle.engine.add_up(&desk, 1, false).await?;
        Ok(())
    }

    /// The count; zero when the latch is open.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// Those of any question to the server.
    ///
    /// *Redisson*: `getCount()`.
    pub async fn count(&self) -> Result<u64> {
        let count = self.handle.value().await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Waits until the latch is open; returns at once where it is. Await the result as it is, or set a limit with
    /// [`limit`](WaitForLatch::limit) first.
    ///
    /// A latch that is deleted is open and wakes whoever waits here; in Redisson, waiters sleep on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when a limit was set and is over, [`Error::Unreachable`] when the server stays silent,
    /// [`Error::WrongType`] when the key is no number, [`Error::Closed`].
    ///
    /// *Redisson*: `await()`, `await(time)`.
    #[must_use = "nothing happens until it is awaited"]
    pub fn wait(&self) -> WaitForLatch {
        WaitForLatch {
            latch: self.clone(),
            limit: None,
        }
    }

    /// Deletes the latch, which opens it; says whether there was one.
    ///
    /// # Cancel safety
    ///
    /// As [`try_set_count`](Self::try_set_count).
    ///
    /// # Errors
    ///
    /// As [`try_set_count`](Self::try_set_count).
    ///
    /// *Redisson*: `delete()`.
    pub async fn delete(&self) -> Result<bool> {
        let delete = |names: &Names| Command {
            script: &DELETE,
            keys: vec![names.key.clone()],
            args: vec![names.announcement.clone()],
        };
        Ok(self.handle.once(delete).await?.is_some())
    }

    async fn open(&self, patience: Patience) -> Result<bool> {
        let desk = self.handle.desk()?;
        let grant = self.handle.engine.claim(&desk, Ask::default, patience);
        Ok(grant.await?.is_some())
    }
}

impl fmt::Debug for CountDownLatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountDownLatch")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// A latch about to be waited for; await it.
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct WaitForLatch {
    latch: CountDownLatch,
    limit: Option<Duration>,
}

impl WaitForLatch {
    /// Waits at most this long, then fails with [`Error::TimedOut`]. Without it, waits for as long as the server answers.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }
}

impl IntoFuture for WaitForLatch {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let started = Instant::now();
            if self.latch.open(patience(self.limit)).await? {
                return Ok(());
            }
            Err(self.latch.handle.timed_out(started))
        })
    }
}

impl Client {
    /// The count-down latch of this name. Sends nothing; a name that is not acceptable is reported by the first use.
    ///
    /// *Redisson*: `getCountDownLatch`.
    #[must_use]
    pub fn count_down_latch(&self, name: impl Into<Arc<str>>) -> CountDownLatch {
        CountDownLatch {
            handle: Handle {
                engine: self.engine().clone(),
                name: name.into(),
                trade: &Wire,
                channel: latch_channel,
            },
        }
    }
}
