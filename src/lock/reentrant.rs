//! The plain reentrant lock.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Lock,
    kind::{Kind, sealed::Sealed},
};
use crate::{
    client::Client,
    engine::{
        protocol::{Ask, Attempt, Call, Protocol, Rest, Wake, decode_attempt},
        script::{Command, Script, decimal, script},
        transport::Reply,
    },
    naming,
};

/// The plain lock: one owner at a time, who may enter again and leaves as often as it entered.
///
/// *Redisson*: `RLock` from `getLock`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reentrant {}

static ACQUIRE: Script = script!(gathered "reentrant/acquire");
static RELEASE: Script = script!(gathered "reentrant/release", after "publish/announce");
static PASS: Script = script!(gathered "reentrant/pass");
static FORCE_RELEASE: Script = script!("reentrant/force_release", after "publish/announce");

/// Every script of this kind, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 4] = [&ACQUIRE, &RELEASE, &FORCE_RELEASE, &PASS];

/// The channel of this and of all kinds that are woken like it.
pub(super) fn announcement(call: &Call) -> Bytes {
    call.announcement(&naming::lock_channel(call.name_str()))
}

pub(super) fn channel(call: &Call) -> Bytes {
    naming::lock_channel(call.name_str()).into()
}

/// Takes a hash with one owner's field; so do all kinds that are held like this one.
pub(super) fn acquire(call: &Call, ask: &Ask) -> Command {
    Command {
        script: &ACQUIRE,
        keys: vec![call.name.clone()],
        args: vec![decimal(ask.ttl_ms), call.field.clone(), decimal(ask.holds)],
    }
}

/// Gives back a hash with one owner's field, and wakes.
pub(super) fn release(call: &Call, rest: &Rest) -> Command {
    Command {
        script: &RELEASE,
        keys: vec![call.name.clone()],
        args: vec![
            call.field.clone(),
            decimal(rest.holds),
            decimal(rest.ttl_ms),
            announcement(call),
        ],
    }
}

/// Gives a hash with one owner's field to another.
pub(super) fn pass(call: &Call, next: &Call, ask: &Ask) -> Command {
    Command {
        script: &PASS,
        keys: vec![call.name.clone()],
        args: vec![call.field.clone(), next.field.clone(), decimal(ask.ttl_ms)],
    }
}

/// Frees a hash whoever holds it, and wakes.
pub(super) fn force_release(call: &Call) -> Command {
    Command {
        script: &FORCE_RELEASE,
        keys: vec![call.name.clone()],
        args: vec![announcement(call)],
    }
}

/// The plain lock, or one that is the same but for its name and that it cannot be entered twice.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) kind: &'static str,
    pub(super) reentrant: bool,
}

impl Protocol for Wire {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn reentrant(&self) -> bool {
        self.reentrant
    }

    fn wake(&self, call: &Call) -> Wake {
        Wake::Channel(channel(call))
    }

    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        acquire(call, ask)
    }

    fn decode(&self, reply: &Reply) -> Option<Attempt> {
        decode_attempt(reply)
    }

    fn release(&self, call: &Call, rest: &Rest) -> Command {
        release(call, rest)
    }

    fn pass(&self, call: &Call, next: &Call, ask: &Ask) -> Option<Command> {
        Some(pass(call, next, ask))
    }

    fn force_release(&self, call: &Call) -> Command {
        force_release(call)
    }
}

impl Kind for Reentrant {
    type Grant = ();
}

#[allow(private_interfaces)]
impl Sealed for Reentrant {
    fn protocol() -> &'static dyn Protocol {
        &Wire {
            kind: "reentrant",
            reentrant: true,
        }
    }

    fn grant(_: Option<i64>) {}
}

impl Client {
    /// The reentrant lock of this name, a `&str` or a `String` (of a `&String` its `as_str()`). Sends nothing; a name that is
    /// not acceptable is reported by the first use.
    ///
    /// *Redisson*: `getLock`.
    #[must_use]
    pub fn lock(&self, name: impl Into<Arc<str>>) -> Lock<Reentrant> {
        Lock::new(self.engine(), name.into())
    }

    /// The reentrant lock of this name with Redisson's own verbs: short for `client.lock(name).raw()`.
    ///
    /// *Redisson*: `getLock`.
    #[must_use]
    pub fn rlock(&self, name: impl Into<Arc<str>>) -> super::RawLock<Reentrant> {
        self.lock(name).into_raw()
    }
}
