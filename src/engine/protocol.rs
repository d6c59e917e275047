//! What a lock kind says on the wire. Pure: a kind describes commands and reads replies, the engine alone waits.
//!
//! # How each kind fits
//!
//! | kind | differs from the plain lock in |
//! |---|---|
//! | reentrant | nothing |
//! | fenced | `fenced` is true; `acquire` with the counter as second key; `decode` yields a token |
//! | spin | `wake` is [`Wake::Backoff`]; `release` without a channel |
//! | non-reentrant | `reentrant` is false |
//! | fair | `admission` is [`Admission::Each`]; `wake` is a channel of the owner's own; `abandon` leaves the queue; `probe` keeps each waiter's place in it |
//! | read | `admission` is [`Admission::Shared`]; `wake` on the rw channel; `admitting_field` is the writer's own; scripts of its own for `renewal`, `probe` and `is_locked`, with a marker key a hold |
//! | write | `field` ends with `:write`; `wake` on the rw channel |
//! | group | `admission` is [`Admission::Each`] on one channel; [`Call::values`] say what it is about; scripts of its own for all, `question` included |
//! | multi, Redlock | made of several locks of the kinds above, outside this trait |

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    script::{Command, PROBE_TTL, RENEW_HASH, Script, decimal},
    transport::Reply,
};
use crate::{
    backoff::BackOff,
    error::{Error, Result},
    owner::Owner,
};

/// A lock kind as the engine sees it.
pub(crate) trait Protocol: fmt::Debug + Send + Sync + 'static {
    /// The kind's name, as in its script folder.
    fn kind(&self) -> &'static str;

    /// How contenders of one process queue up before they ask the server.
    fn admission(&self) -> Admission {
        Admission::Exclusive
    }

    /// Whether an owner may enter again.
    fn reentrant(&self) -> bool {
        true
    }

    /// Whether a grant carries a fencing token.
    fn fenced(&self) -> bool {
        false
    }

    /// A field of the same owner on the same name whose hold lets it in past any line: a writer may always read.
    fn admitting_field(&self, _call: &Call) -> Option<Bytes> {
        None
    }

    /// The hash field of an owner.
    fn field(&self, client_id: &str, owner: Owner) -> String {
        format!("{client_id}:{owner}")
    }

    /// How a waiter learns that it should try again.
    fn wake(&self, call: &Call) -> Wake;

    /// Sets the owner's holds to [`Ask::holds`], if the lock is free or the owner's.
    fn acquire(&self, call: &Call, ask: &Ask) -> Command;

    /// Reads the reply to [`acquire`](Self::acquire).
    fn decode(&self, reply: &Reply) -> Option<Attempt>;

    /// Sets the owner's holds down to [`Rest::holds`]; at zero frees the lock.
    fn release(&self, call: &Call, rest: &Rest) -> Command;

    /// Gives the lock, which `call`'s owner holds and nobody else does, to `next`, an owner of the same client, if the kind
    /// can in one script. The reply is read by [`decode`](Self::decode), and nil where the first does not hold it.
    fn pass(&self, _call: &Call, _next: &Call, _ask: &Ask) -> Option<Command> {
        None
    }

    /// Frees the lock whoever holds it.
    fn force_release(&self, call: &Call) -> Command;

    /// Takes back what a waiter left on the server, if anything.
    fn abandon(&self, _call: &Call) -> Option<Command> {
        None
    }

    /// Whether what an owner has may stay on the server when its lease is over, since others keep the key alive.
    fn outlives_lease(&self) -> bool {
        false
    }

    /// The script that renews many holds of this kind in one call, and its part for one hold.
    fn renewal(&self) -> &'static Script {
        &RENEW_HASH
    }

    /// Adds one hold to a renewal. A `ttl` of zero only looks.
    fn renew(&self, call: &Call, rest: &Rest, batch: &mut Batch) {
        batch.keys.push(call.name.clone());
        batch.in_run([rest.ttl_ms, rest.longest_ms], call.field.clone());
    }

    /// The script that looks at many waited-for locks in one call: ms left for each, or [`FREE`].
    fn probe(&self) -> &'static Script {
        &PROBE_TTL
    }

    /// Adds one lock to a probe.
    fn look(&self, call: &Call, batch: &mut Batch) {
        batch.keys.push(call.name.clone());
    }

    /// Waiters with the same figure are looked after by one entry of a probe.
    fn look_for(&self, call: &Call) -> Bytes {
        call.name.clone()
    }

    /// Whether a look keeps a waiter's place in the server's queue, so that it is due every second.
    fn keeps_place(&self) -> bool {
        false
    }

    /// A script that answers a question by a number, where the key or the owner's field does not say so by itself.
    fn question(&self, _call: &Call, _question: Question) -> Option<Command> {
        None
    }
}

/// What a probe answers for a lock that the waiter might get, or that it must ask about anew for another reason.
pub(crate) const FREE: i64 = -2;

/// What may be asked about a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether anybody holds it: 1 or 0.
    Locked,
    /// Whether the caller holds it: 1 or 0.
    Held,
    /// How often the caller has entered.
    Holds,
    /// How long it lasts in ms; -2 free, -1 without an end.
    Left,
}

/// How contenders of one process queue up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// One at a time asks the server; while this process holds the lock nobody else asks.
    Exclusive,
    /// One at a time asks the server, also while another owner of this process holds it; once it is in, all may ask.
    Shared,
    /// Everybody asks for itself, since the server keeps the order.
    Each,
}

/// How a waiter is woken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wake {
    /// By a message on this channel.
    Channel(Bytes),
    /// By nobody: it tries again after a pause that grows.
    Backoff(BackOff),
}

/// Who calls, about which lock.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The lock's name on the server.
    pub(crate) name: Bytes,
    /// The lock's name as the application knows it.
    pub(crate) shown: Arc<str>,
    /// The owner's hash field.
    pub(crate) field: Bytes,
    pub(crate) owner: Owner,
    pub(crate) protocol: &'static dyn Protocol,
    /// How a release is announced: see [`PubSub::arg`](super::transport::PubSub::arg).
    pub(crate) publish: &'static str,
    /// The pauses of one that is woken by nobody.
    pub(crate) backoff: BackOff,
    /// The values of a group that the lock is about; none for other kinds.
    pub(crate) values: Option<Arc<[Value]>>,
}

/// One value of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// Its hash field.
    pub(crate) field: Bytes,
    /// Holds of the same owner on it by other locks of the group, which use other values as well.
    pub(crate) beside: u32,
}

/// What separates the owner from the values in the name of a group's slot. Never sent.
pub(crate) const OF: char = '|';

/// How scripts announce something on a channel. The channel is not among the keys: on a cluster, a slot on the move would
/// turn away whatever names a key that is never there.
pub(crate) fn announcement(publish: &str, channel: &str) -> Bytes {
    format!("{publish} {channel}").into()
}

impl Call {
    /// A call about the name `n` by an owner with this number.
    #[cfg(test)]
    pub(crate) fn example(protocol: &'static dyn Protocol, number: u64) -> Self {
        let owner = Owner::explicit(number).expect("small");
        Self {
            name: Bytes::from_static(b"n"),
            shown: "n".into(),
            field: protocol.field("u", owner).into(),
            owner,
            protocol,
            publish: "PUBLISH",
            backoff: BackOff::default(),
            values: None,
        }
    }

    /// The name as text; it was made from a `str`.
    pub(crate) fn name_str(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap_or_default()
    }

    /// Whether an owner that holds the lock may enter it again.
    pub(crate) fn check_reentry(&self) -> Result<()> {
        if self.protocol.reentrant() {
            return Ok(());
        }
        Err(Error::AlreadyHeld {
            name: self.shown.clone(),
            owner: self.owner,
        })
    }

    /// The owner's field as text; it was made from a `str`.
    pub(crate) fn field_str(&self) -> &str {
        std::str::from_utf8(&self.field).unwrap_or_default()
    }

    /// The holder as the server knows it.
    pub(crate) fn owner_id(&self) -> &str {
        let field = self.field_str();
        field.split_once(OF).map_or(field, |(owner, _)| owner)
    }

    /// Whether a lock of the same name is about something that this one is about too.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match (&self.values, &other.values) {
            (Some(mine), Some(theirs)) => mine
                .iter()
                .any(|value| theirs.iter().any(|other| other.field == value.field)),
            _ => true,
        }
    }

    /// How scripts announce something on a channel.
    pub(crate) fn announcement(&self, channel: &str) -> Bytes {
        announcement(self.publish, channel)
    }
}

/// What an acquire asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The owner's holds once granted.
    pub(crate) holds: u32,
    pub(crate) ttl_ms: u64,
    /// Whether the caller waits where the lock is busy.
    pub(crate) stays: bool,
    /// Whether the caller has had a place in the server's queue before.
    pub(crate) placed: bool,
    /// The fencing token of the hold that is entered again; 0 for none.
    pub(crate) token: i64,
    /// The highest fencing token this client has seen on the name.
    pub(crate) floor: i64,
    /// Where a lock is passed on, the places that have gone by since those behind were seen to; 0 to do it another time.
    pub(crate) places: u32,
}

impl Ask {
    /// For one hold, whoever asks.
    pub(super) const FIRST: Self = Self {
        holds: 1,
        ttl_ms: 1,
        stays: true,
        placed: false,
        token: 0,
        floor: 0,
        places: 0,
    };
}

/// What remains to an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) holds: u32,
    /// The highest count the server may have for the owner.
    pub(crate) most: u32,
    /// Time to live for these holds; zero where they are not to be renewed.
    pub(crate) ttl_ms: u64,
    /// How long they last, renewed or not.
    pub(crate) lasts_ms: u64,
    /// The longest that the server may have been told to keep them, counted from now.
    pub(crate) longest_ms: u64,
}

impl Rest {
    /// Nothing.
    pub(super) const NONE: Self = Self {
        holds: 0,
        most: 1,
        ttl_ms: 0,
        lasts_ms: 0,
        longest_ms: 0,
    };
}

/// Keys and arguments of one script over many locks.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) keys: Vec<Bytes>,
    pub(crate) args: Vec<Bytes>,
    run: Option<Run>,
}

/// Neighbours in a batch with equal figures, which are said once for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    figures: [u64; 2],
    /// Where it says how many they are.
    count_at: usize,
    count: u64,
}

impl Batch {
    /// One more argument, with figures that stand before the first with the same.
    pub(crate) fn in_run(&mut self, figures: [u64; 2], arg: Bytes) {
        match &mut self.run {
            Some(run) if run.figures == figures => {
                run.count += 1;
                self.args[run.count_at] = decimal(run.count);
            }
            run => {
                self.args.extend(figures.map(decimal));
                *run = Some(Run {
                    figures,
                    count_at: self.args.len(),
                    count: 1,
                });
                self.args.push(decimal(1_u64));
            }
        }
        self.args.push(arg);
    }
}

/// How often an owner may enter one lock: a program that enters more often has forgotten to leave, and a server that says
/// so is confused.
pub(crate) const MOST_HOLDS: u32 = 4_096;

/// What came of an acquire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Granted: the owner's holds on the server, and the fencing token where the kind has one.
    Granted { holds: u32, token: Option<i64> },
    /// Held by others for this much longer; `None` when nothing ends it by itself.
    Busy { left: Option<Duration> },
    /// Not granted: the holds the owner already counted on are gone. It may ask anew, for a first one.
    Vanished,
    /// Not granted: the fencing counter is behind what this client has seen.
    Behind { counter: i64 },
}

/// What came of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Released {
    /// The lock is free. Whether it could be announced, and how many clients besides this one have heard it; the field of
    /// the owner whose turn it is, where the server keeps a queue.
    Freed {
        heard: bool,
        others: u32,
        turn: Option<Bytes>,
    },
    /// The owner still has holds.
    Kept,
    /// The owner had none.
    NotHeld,
}

/// Reply codes shared by the release scripts of all kinds.
const KEPT: i64 = 0;
const FREED: i64 = 1;
const FREED_UNHEARD: i64 = 2;

impl Released {
    pub(crate) fn decode(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Nil => Some(Self::NotHeld),
            Reply::Int(KEPT) => Some(Self::Kept),
            Reply::Int(code @ FREED..) => Some(Self::Freed {
                heard: *code != FREED_UNHEARD,
                // Beyond that code the number of those who heard it follows.
                others: u32::try_from(code.saturating_sub(FREED_UNHEARD)).unwrap_or(0),
                turn: None,
            }),
            Reply::Array(parts) => match parts.as_slice() {
                [Reply::Int(code @ (FREED | FREED_UNHEARD)), head] => Some(Self::Freed {
                    heard: *code != FREED_UNHEARD,
                    others: 0,
                    turn: match head {
                        Reply::Nil => None,
                        Reply::Text(field) => Some(field.clone()),
                        _ => return None,
                    },
                }),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What a renewal found, for one hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewed {
    Held,
    Vanished,
    TakenOver,
    NotALock,
}

impl Renewed {
    pub(crate) fn decode(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Held),
            0 => Some(Self::Vanished),
            -1 => Some(Self::TakenOver),
            -2 => Some(Self::NotALock),
            _ => None,
        }
    }
}

/// Reads `{1, holds}`, `{0, ms left}`, `{2, 0}` or `{3, counter}`, with the token after the holds where the kind has one.
pub(crate) fn decode_attempt(reply: &Reply) -> Option<Attempt> {
    let ints = reply.as_ints()?;
    match ints.as_slice() {
        [1, holds, rest @ ..] => Some(Attempt::Granted {
            holds: u32::try_from(*holds)
                .ok()
                .filter(|holds| (1..=MOST_HOLDS).contains(holds))?,
            token: rest.first().copied(),
        }),
        [2, 0] => Some(Attempt::Vanished),
        [3, counter] => Some(Attempt::Behind { counter: *counter }),
        [0, left] => Some(Attempt::Busy {
            left: u64::try_from(*left).ok().map(Duration::from_millis),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
