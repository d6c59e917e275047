//! What a synchronizer says on the wire. Pure: it describes commands and reads replies, the engine alone asks and waits.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    protocol::Batch,
    script::{Command, Script},
    transport::Reply,
};

/// A synchronizer as the engine sees it.
pub(crate) trait Trade: fmt::Debug + Send + Sync + 'static {
    /// Its name, part of the key of its marks.
    fn kind(&self) -> &'static str;

    /// Asks for many, in their order.
    fn ask(&self, names: &Names, asks: &[Arc<Ask>]) -> Command;

    /// Reads the reply to [`ask`](Self::ask).
    fn answers(&self, reply: &Reply, asks: usize) -> Option<Answers>;

    /// Whether [`ask`](Self::ask) may simply be sent again. Otherwise it is marked.
    fn repeatable(&self) -> bool;

    /// What undoes a request that was served.
    fn undo(&self, names: &Names, ask: &Ask) -> Undo;

    /// A marked command that does what many calls for `n` in all would do one after the other.
    fn sum(&self, names: &Names, n: u64) -> Command;

    /// The script that looks at many waited-for names: [`FREE`](super::protocol::FREE) where asking is worth it.
    fn probe(&self) -> &'static Script;

    /// Adds one name to a probe; `least` is the least that anybody in line wants.
    fn look(&self, names: &Names, least: u32, batch: &mut Batch);
}

/// What a synchronizer is called.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// By the application.
    pub(crate) shown: Arc<str>,
    /// On the server.
    pub(crate) key: Bytes,
    /// Its second key, where it has one.
    pub(crate) second: Bytes,
    pub(crate) channel: Bytes,
    /// Where this client marks what it has done.
    pub(crate) mark: Bytes,
    /// How changes are announced.
    pub(crate) announcement: Bytes,
}

/// What one caller wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) permits: u32,
    /// In ms; 0 for none.
    pub(crate) lease_ms: u64,
    pub(crate) ids: Vec<Bytes>,
}

/// What the server said to a line.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) served: Vec<bool>,
    /// When asking again is worth it without anybody saying so.
    pub(crate) next: Option<Duration>,
}

/// See [`Trade::undo`].
#[derive(Debug)]
pub(crate) enum Undo {
    Nothing,
    /// To be added up with others.
    Sum(u64),
    /// A marked command.
    Deed(Command),
}
