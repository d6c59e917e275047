//! The lock that is granted in the order in which it was asked for.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Lock,
    kind::{Kind, sealed::Sealed},
};
use crate::{
    client::Client,
    engine::{
        protocol::{Admission, Ask, Attempt, Batch, Call, Protocol, Rest, Wake, decode_attempt},
        script::{Command, Script, decimal, script},
        transport::Reply,
    },
    naming,
};

/// The fair lock: first come, first served, over all processes and languages. The order is kept on the server, in
/// Redisson's queue.
///
/// A waiter keeps its place for as long as its process lives and reaches the server, and gives it up whatever ends the
/// wait. The place of a process that died is passed over within seconds: as soon as the lock is free and it does not
/// listen. Waiters of a JVM are told from dead ones in the same way. Clocks do not matter between processes of this
/// library; a JVM's may be off by four seconds either way.
///
/// *Redisson*: `RLock` from `getFairLock`. Unlike there, unlocking a lock whose lease is over fails as lost.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fair {}

static ACQUIRE: Script = script!(gathered "fair/acquire", after "publish/announce", "fair/queue");
static RELEASE: Script = script!(gathered "fair/release", after "publish/announce", "fair/queue");
static PASS: Script = script!(gathered "fair/pass", after "publish/announce", "fair/queue");
static FORCE_RELEASE: Script =
    script!("fair/force_release", after "publish/announce", "fair/queue");
static ABANDON: Script = script!("fair/abandon", after "publish/announce", "fair/queue");
static LOOK: Script = script!("fair/look", after "publish/announce", "fair/queue");

/// Every script of this kind, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 6] =
    [&ACQUIRE, &RELEASE, &PASS, &FORCE_RELEASE, &ABANDON, &LOOK];

/// The fair lock, or one that is the same but for its name and that it cannot be entered twice.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) kind: &'static str,
    pub(super) reentrant: bool,
}

/// Hash, queue and deadlines.
fn keys(call: &Call) -> Vec<Bytes> {
    let name = call.name_str();
    vec![
        call.name.clone(),
        naming::fair_queue(name).into(),
        naming::fair_deadlines(name).into(),
    ]
}

/// With the stem of the waiters' channels.
fn announcement(call: &Call) -> Bytes {
    call.announcement(&naming::lock_channel(call.name_str()))
}

fn flag(set: bool) -> Bytes {
    decimal(u64::from(set))
}

impl Protocol for Wire {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn admission(&self) -> Admission {
        Admission::Each
    }

    fn reentrant(&self) -> bool {
        self.reentrant
    }

    fn wake(&self, call: &Call) -> Wake {
        let stem = naming::lock_channel(call.name_str());
        Wake::Channel(format!("{stem}:{}", call.field_str()).into())
    }

    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        Command {
            script: &ACQUIRE,
            keys: keys(call),
            args: vec![
                decimal(ask.ttl_ms),
                call.field.clone(),
                decimal(ask.holds),
                announcement(call),
                flag(ask.stays),
                flag(ask.placed),
            ],
        }
    }

    fn decode(&self, reply: &Reply) -> Option<Attempt> {
        decode_attempt(reply)
    }

    fn release(&self, call: &Call, rest: &Rest) -> Command {
        Command {
            script: &RELEASE,
            keys: keys(call),
            args: vec![
                call.field.clone(),
                decimal(rest.holds),
                decimal(rest.ttl_ms),
                announcement(call),
            ],
        }
    }

    fn pass(&self, call: &Call, next: &Call, ask: &Ask) -> Option<Command> {
        Some(Command {
            script: &PASS,
            keys: keys(call),
            args: vec![
                call.field.clone(),
                next.field.clone(),
                decimal(ask.ttl_ms),
                announcement(call),
                decimal(ask.places),
            ],
        })
    }

    fn force_release(&self, call: &Call) -> Command {
        Command {
            script: &FORCE_RELEASE,
            keys: keys(call),
            args: vec![announcement(call)],
        }
    }

    fn abandon(&self, call: &Call) -> Option<Command> {
        Some(Command {
            script: &ABANDON,
            keys: keys(call),
            args: vec![call.field.clone(), announcement(call)],
        })
    }

    fn probe(&self) -> &'static Script {
        &LOOK
    }

    fn look(&self, call: &Call, batch: &mut Batch) {
        batch.keys.extend(keys(call));
        batch.args.extend([call.field.clone(), announcement(call)]);
    }

    fn look_for(&self, call: &Call) -> Bytes {
        // Each owner has a place of its own.
        [call.field.as_ref(), b" ", call.name.as_ref()]
            .concat()
            .into()
    }

    fn keeps_place(&self) -> bool {
        true
    }
}

impl Kind for Fair {
    type Grant = ();
}

#[allow(private_interfaces)]
impl Sealed for Fair {
    fn protocol() -> &'static dyn Protocol {
        &Wire {
            kind: "fair",
            reentrant: true,
        }
    }

    fn grant(_: Option<i64>) {}
}

impl Client {
    /// The fair lock of this name. Sends nothing.
    ///
    /// *Redisson*: `getFairLock`.
    #[must_use]
    pub fn fair_lock(&self, name: impl Into<Arc<str>>) -> Lock<Fair> {
        Lock::new(self.engine(), name.into())
    }
}
