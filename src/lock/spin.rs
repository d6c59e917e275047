//! The lock whose waiters are woken by nobody.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Lock,
    kind::{Kind, sealed::Sealed},
    reentrant,
};
use crate::{
    backoff::BackOff,
    client::Client,
    engine::{
        protocol::{Ask, Attempt, Call, Protocol, Rest, Wake, decode_attempt},
        script::{Command, Script, decimal, script},
        transport::Reply,
    },
};

/// The spin lock: no message is sent and none is waited for. A waiter asks again after pauses that grow
/// ([`BackOff`]). For very short holds on very many names, where a subscription would cost more than asking.
///
/// It has the hash of a plain lock, so both exclude each other on one name; but a plain waiter behind a spin holder is
/// woken by nobody, and finds out by looking.
///
/// *Redisson*: `RLock` from `getSpinLock`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Spin {}

static RELEASE: Script = script!(gathered "spin/release");
static FORCE_RELEASE: Script = script!("spin/force_release");

/// Every script of this kind alone, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 2] = [&RELEASE, &FORCE_RELEASE];

#[derive(Debug)]
struct Wire;

impl Protocol for Wire {
    fn kind(&self) -> &'static str {
        "spin"
    }

    fn wake(&self, call: &Call) -> Wake {
        Wake::Backoff(call.backoff)
    }

    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        reentrant::acquire(call, ask)
    }

    fn decode(&self, reply: &Reply) -> Option<Attempt> {
        decode_attempt(reply)
    }

    fn release(&self, call: &Call, rest: &Rest) -> Command {
        Command {
            script: &RELEASE,
            keys: vec![call.name.clone()],
            args: vec![
                call.field.clone(),
                decimal(rest.holds),
                decimal(rest.ttl_ms),
            ],
        }
    }

    fn pass(&self, call: &Call, next: &Call, ask: &Ask) -> Option<Command> {
        Some(reentrant::pass(call, next, ask))
    }

    fn force_release(&self, call: &Call) -> Command {
        Command {
            script: &FORCE_RELEASE,
            keys: vec![call.name.clone()],
            args: Vec::<Bytes>::new(),
        }
    }
}

impl Kind for Spin {
    type Grant = ();
}

#[allow(private_interfaces)]
impl Sealed for Spin {
    fn protocol() -> &'static dyn Protocol {
        &Wire
    }

    fn grant(_: Option<i64>) {}
}

impl Lock<Spin> {
    /// The same lock with other pauses.
    ///
    /// *Redisson*: the `LockOptions.BackOff` argument of `getSpinLock`.
    #[must_use]
    pub fn with_backoff(&self, backoff: BackOff) -> Self {
        let mut lock = self.clone();
        lock.raw.inner.backoff = backoff;
        lock
    }
}

impl Client {
    /// The spin lock of this name, with [`BackOff::exponential`] pauses. Sends nothing.
    ///
    /// *Redisson*: `getSpinLock`.
    #[must_use]
    pub fn spin_lock(&self, name: impl Into<Arc<str>>) -> Lock<Spin> {
        Lock::new(self.engine(), name.into())
    }
}
