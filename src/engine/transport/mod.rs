//! The seam between the engine and a Redis client.
//!
//! The engine asks for five things: run a script, run a plain query, hear channels, stop hearing them, and be told
//! what happened to the connections. Everything else about sockets lives behind [`Transport`], so that a simulation,
//! or another client one day, can stand in for the one here.
//!
//! ```text
//! router ──► node (a server) ──► gather ──► lane (kept open) ──► link (one connection, one life) ──► fred
//!   │ chart: which server has which slot
//!   └◄── cluster (CLUSTER NODES, MOVED, ASK), sentinel (+switch-master)
//! ```
//!
//! # The order contract
//!
//! An implementation must keep two promises, on which the repair of unknown outcomes rests:
//!
//! 1. Requests about one name are executed in the order in which `send` was first polled, as long as one connection lives.
//! 2. Once a request sent *later* has been answered, a request whose outcome was [`Fault::Unknown`] has either been
//!    executed already or never will be. Across a reconnect this takes more than closing a socket, since a server can
//!    still read what the old one left behind: see `link.rs`. Across a failover it holds of the server that counts now:
//!    what a deposed one still executes is thrown away.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use self::acks::Proof;
use super::script::Script;
use crate::error::Refusal;

pub(crate) mod acks;
mod chart;
mod cluster;
pub(crate) mod dial;
#[cfg(test)]
mod fake;
mod fleet;
#[cfg(test)]
mod fuzz;
mod gather;
mod lane;
mod link;
mod loads;
mod node;
mod route;
pub(crate) mod router;
mod sentinel;

#[cfg(test)]
pub(crate) use chart::slot_of;
pub(crate) use link::sha1;

/// A boxed future that owns all it needs.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// What the engine needs from a client of the server.
pub(crate) trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends one request and waits for its reply until `deadline`, connecting first where need be.
    fn send(&self, request: Request, deadline: Instant) -> BoxFuture<Result<Reply, Fault>>;

    /// Keys with the same figure may be named in one request, others may not.
    fn slot(&self, key: &[u8]) -> u16;

    /// Whether another server may come to be responsible for a name, and not know all that was said to the one before.
    fn fails_over(&self) -> bool;

    /// Which requests announce something, and how it is heard.
    fn pubsub(&self) -> PubSub;

    /// Where a channel is to be heard now; `None` while nobody knows.
    fn home(&self, channel: &[u8]) -> Option<NodeId>;

    /// Subscribes at this server, and returns once it is known to have processed it. Channels on which messages are
    /// sharded are named one by one.
    fn subscribe(
        &self,
        node: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<(), Fault>>;

    /// Takes subscriptions back.
    fn unsubscribe(
        &self,
        node: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<(), Fault>>;

    /// Which of these channels nobody hears at this server, although we subscribed to them there. A cluster takes the
    /// subscriptions of a slot that moves away, and the client does not pass its word on.
    fn unheard(
        &self,
        node: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<Vec<Bytes>, Fault>>;

    /// How many replicas of the server that has `about` have all that it had done by now, once they are as many as the
    /// client's policy wants or the deadline is there.
    fn replicated(
        &self,
        about: Bytes,
        proof: Proof,
        deadline: Instant,
    ) -> BoxFuture<Result<Evidence, Fault>>;

    /// Starts the connections. What happens to them, and every message, is told to `sink`, which must not block.
    fn start(&self, sink: SignalSink);

    /// Ends all connections and tasks, at once; what comes back waits until they are gone. Requests still waiting end as
    /// [`Fault::Unknown`] or [`Fault::NotSent`], later ones as [`Fault::Closed`].
    fn close(&self) -> BoxFuture<()>;
}

/// What replicas have.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    pub(crate) acked: u32,
    pub(crate) wanted: u32,
    /// What the look found.
    pub(crate) looked: Option<Reply>,
}

/// Where a transport reports to.
pub(crate) type SignalSink = Arc<dyn Fn(Signal) + Send + Sync>;

/// What a transport reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A message on a channel.
    Message { channel: Bytes, payload: Bytes },
    /// Messages may have been lost; anybody may have been meant.
    MessagesLost,
    /// The connection that carries requests is usable (again).
    CommandsUp,
    /// The connection that carries requests is gone.
    CommandsDown { reason: String },
    /// The connection that hears messages is usable, with no subscription on it.
    SubscriberUp { node: NodeId },
    /// The connection that hears messages is gone, and its subscriptions with it.
    SubscriberDown { node: NodeId, reason: String },
    /// Another server is responsible for some names.
    Moved,
    /// A server is of no use any more.
    Gone { node: NodeId },
    /// The previous connection could not be ended on the server, so a request left in it might still run late.
    NotFenced { reason: String },
}

impl Signal {
    /// Whether a connection is gone.
    fn is_down(&self) -> bool {
        matches!(
            self,
            Self::CommandsDown { .. } | Self::SubscriberDown { .. }
        )
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// `EVALSHA`. All keys have the same slot.
    Script {
        script: &'static Script,
        keys: Vec<Bytes>,
        args: Vec<Bytes>,
        /// Whether it may be executed later than it was made. Otherwise, where the server does not know the script, it is
        /// loaded and not executed, and [`Refusal::NoScript`] is the answer.
        late: bool,
    },
    /// Any other command, read-only or harmless to repeat.
    Query {
        verb: &'static str,
        args: Vec<Bytes>,
        /// The name it is about.
        about: Bytes,
    },
}

impl Request {
    /// The name that says which server it is for.
    fn about(&self) -> &[u8] {
        match self {
            Self::Script { keys, .. } => keys.first().map_or(&[], |key| key),
            Self::Query { about, .. } => about,
        }
    }
}

/// One server of a client, for as long as it is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(pub(crate) u64);

/// How messages are sent and heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PubSub {
    /// `PUBLISH` on one server: it knows everybody who hears it.
    Plain,
    /// `PUBLISH` over the bus of a cluster: its receivers are not all counted.
    Broadcast,
    /// `SPUBLISH` at the server that has the channel's slot.
    Sharded,
    /// Both of the above.
    Both,
}

impl PubSub {
    /// The scripts' argument.
    pub(crate) fn arg(self) -> &'static str {
        match self {
            Self::Plain => "PUBLISH",
            Self::Broadcast => "BROADCAST",
            Self::Sharded => "SPUBLISH",
            Self::Both => "BOTH",
        }
    }

    /// Whether messages are heard by `SSUBSCRIBE`.
    pub(crate) fn sharded(self) -> bool {
        matches!(self, Self::Sharded | Self::Both)
    }

    /// Whether messages are heard by `SUBSCRIBE`.
    pub(crate) fn plain(self) -> bool {
        self != Self::Sharded
    }
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Nil,
    Int(i64),
    Text(Bytes),
    Array(Vec<Reply>),
    /// Something no request of ours is answered with; kept so that a decoder can say so.
    Odd(&'static str),
}

impl Reply {
    /// The integer in it, where there is one: as such or as decimal text.
    pub(crate) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// All elements as integers.
    pub(crate) fn as_ints(&self) -> Option<Vec<i64>> {
        match self {
            Self::Array(items) => items.iter().map(Self::as_int).collect(),
            _ => None,
        }
    }
}

/// Why there is no reply.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The request was never sent.
    NotSent { reason: String },
    /// The request may or may not have been executed.
    Unknown { reason: String },
    /// The server refused it with an error reply.
    Refused { refusal: Refusal, text: String },
    /// The transport has been closed.
    Closed,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent { reason } | Self::Unknown { reason } => f.write_str(reason),
            Self::Refused { text, .. } => f.write_str(text),
            Self::Closed => f.write_str("closed"),
        }
    }
}
