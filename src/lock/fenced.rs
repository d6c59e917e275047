//! The lock that numbers its grants.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{
    Lock, LockGuard,
    kind::{Kind, sealed::Sealed},
    raw::number,
    reentrant,
};
use crate::{
    client::Client,
    engine::{
        protocol::{Ask, Attempt, Call, Protocol, Rest, Wake, decode_attempt},
        script::{Command, Script, decimal, script},
        transport::Reply,
    },
    error::{Error, Result},
    naming,
};

/// The fenced lock: each grant carries a number, the [`FencingToken`], that is higher than that of every grant before.
/// Send it along with each write, and let what is written to refuse a lower one than it has seen (see
/// [`fencing`](crate::fencing)): then a holder that was stopped for longer than its lease can do no harm when it goes on.
///
/// Entering again keeps the number of the hold. (A JVM that enters again takes a new one; since nobody else can take
/// one meanwhile, the order is the same.) Numbers rise for as long as the server keeps its data; a counter that fell
/// behind a number this client has seen is [`Error::FencingReset`].
///
/// *Redisson*: `RFencedLock` from `getFencedLock`. It has the hash and the channel of a plain lock, but plain locks of
/// the same name take no number.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: redlatch::Client) -> redlatch::Result<()> {
/// # async fn write(_: i64) {}
/// let guard = client.fenced_lock("orders:42").lock().await?;
/// write(guard.token().get()).await;
/// guard.unlock().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Fenced {}

/// The number of a grant. Later grants of the same lock have higher ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(i64);

impl FencingToken {
    /// A token by its number, as read back from where it was sent to.
    #[must_use]
    pub fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

static ACQUIRE: Script = script!(gathered "fenced/acquire");
static PASS: Script = script!(gathered "fenced/pass");
static RAISE_COUNTER: Script = script!("fenced/raise_counter");

/// Every script of this kind alone, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 3] = [&ACQUIRE, &RAISE_COUNTER, &PASS];

#[derive(Debug)]
struct Wire;

fn counter(call: &Call) -> Bytes {
    naming::fencing_counter(call.name_str()).into()
}

impl Protocol for Wire {
    fn kind(&self) -> &'static str {
        "fenced"
    }

    fn fenced(&self) -> bool {
        true
    }

    fn wake(&self, call: &Call) -> Wake {
        Wake::Channel(reentrant::channel(call))
    }

    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        Command {
            script: &ACQUIRE,
            keys: vec![call.name.clone(), counter(call)],
            args: vec![
                decimal(ask.ttl_ms),
                call.field.clone(),
                decimal(ask.holds),
                decimal(u64::try_from(ask.floor).unwrap_or_default()),
                decimal(u64::try_from(ask.token).unwrap_or_default()),
            ],
        }
    }

    fn decode(&self, reply: &Reply) -> Option<Attempt> {
        match decode_attempt(reply)? {
            Attempt::Granted { token: None, .. } => None,
            attempt => Some(attempt),
        }
    }

    fn release(&self, call: &Call, rest: &Rest) -> Command {
        reentrant::release(call, rest)
    }

    fn pass(&self, call: &Call, next: &Call, ask: &Ask) -> Option<Command> {
        Some(Command {
            script: &PASS,
            keys: vec![call.name.clone(), counter(call)],
            args: vec![
                call.field.clone(),
                next.field.clone(),
                decimal(ask.ttl_ms),
                decimal(u64::try_from(ask.floor).unwrap_or_default()),
            ],
        })
    }

    fn force_release(&self, call: &Call) -> Command {
        reentrant::force_release(call)
    }
}

impl Kind for Fenced {
    type Grant = FencingToken;
}

#[allow(private_interfaces)]
impl Sealed for Fenced {
    fn protocol() -> &'static dyn Protocol {
        &Wire
    }

    fn grant(token: Option<i64>) -> FencingToken {
        // The decoder lets no grant without one pass.
        FencingToken(token.unwrap_or_default())
    }
}

impl LockGuard<Fenced> {
    /// The number of this grant: send it along with every write that the lock protects.
    ///
    /// *Redisson*: the result of `lockAndGetToken`, `tryLockAndGetToken`.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.grant()
    }
}

impl Lock<Fenced> {
    /// The highest number given out so far, whoever got it; 0 before the first.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`RawLock::is_locked`](crate::RawLock::is_locked).
    ///
    /// *Redisson*: `getToken()`.
    pub async fn last_token(&self) -> Result<FencingToken> {
        let inner = &self.raw.inner;
        let call = inner.call()?;
        let reply = inner
            .engine
            .query(&call.shown, "GET", &[&counter(&call)])
            .await?;
        match reply {
            Reply::Nil => Ok(FencingToken(0)),
            reply => read_token(&call, &reply),
        }
    }

    /// Raises the counter to `token`, so that the next grant gets a higher number; never lowers it. For going on after
    /// [`Error::FencingReset`], with the highest token that the protected resource has seen. Returns the counter.
    ///
    /// # Cancel safety
    ///
    /// It may take effect although the caller has left; calling again does no harm.
    ///
    /// # Errors
    ///
    /// As [`RawLock::is_locked`](crate::RawLock::is_locked); [`Error::InvalidArgument`] for a token below 0 or above 2^53.
    pub async fn raise_counter(&self, token: FencingToken) -> Result<FencingToken> {
        let least = u64::try_from(token.0)
            .ok()
            .filter(|number| *number <= 1 << 53)
            .ok_or_else(|| Error::invalid("token", "a counter is between 0 and 2^53"))?;
        let inner = &self.raw.inner;
        let call = inner.call()?;
        let command = Command {
            script: &RAISE_COUNTER,
            keys: vec![counter(&call)],
            args: vec![decimal(least)],
        };
        let reply = inner.engine.read(&call.shown, &command).await?;
        read_token(&call, &reply)
    }
}

fn read_token(call: &Call, reply: &Reply) -> Result<FencingToken> {
    number(call, reply).map(FencingToken)
}

impl Client {
    /// The fenced lock of this name. Sends nothing.
    ///
    /// *Redisson*: `getFencedLock`.
    #[must_use]
    pub fn fenced_lock(&self, name: impl Into<Arc<str>>) -> Lock<Fenced> {
        Lock::new(self.engine(), name.into())
    }
}
