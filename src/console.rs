//! What the command `redlatch` asks a server beside what the library asks: commands that only read, by the client's own
//! connections, so that they reach clusters, sentinels and TLS ports as everything else does. No API: it may change.

use bytes::Bytes;

use crate::{
    client::Client,
    coordination::{count_down_latch::latch_channel, semaphore_channel},
    engine::transport::Reply,
    error::{Error, Result},
    naming,
};

/// Commands that are asked; none of them changes anything.
const LOOKS: [&str; 20] = [
    "CLIENT",
    "CLUSTER",
    "CONFIG",
    "EXISTS",
    "GET",
    "HGETALL",
    "HLEN",
    "HRANDFIELD",
    "INFO",
    "LRANGE",
    "PTTL",
    "PUBSUB",
    "SCAN",
    "STRLEN",
    "TIME",
    "TYPE",
    "ZCARD",
    "ZCOUNT",
    "ZRANGE",
    "ZSCORE",
];

/// What a server answered, as the older version of the protocol has it: names and values in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Nothing.
    Nil,
    /// A number.
    Int(i64),
    /// A text.
    Text(Bytes),
    /// Several.
    Array(Vec<Answer>),
    /// Something else.
    Odd,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Nil => Self::Nil,
            Reply::Int(number) => Self::Int(number),
            Reply::Text(text) => Self::Text(text),
            Reply::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Reply::Odd(_) => Self::Odd,
        }
    }
}

impl Client {
    /// Asks the server that has the key or channel `about`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a command that is not one of those that only read; those of any question.
    #[doc(hidden)]
    pub async fn ask(
        &self,
        about: impl Into<Bytes>,
        verb: &str,
        words: impl IntoIterator<Item = Bytes>,
    ) -> Result<Answer> {
        let verb = LOOKS
            .into_iter()
            .find(|look| *look == verb)
            .ok_or_else(|| Error::invalid("command", "only commands that read are asked"))?;
        let about = about.into();
        let shown = String::from_utf8_lossy(&about).into_owned().into();
        let words: Vec<Bytes> = words.into_iter().collect();
        let words: Vec<&Bytes> = words.iter().collect();
        let reply = self.engine().query_about(&shown, about, verb, &words);
        Ok(reply.await?.into())
    }
}

/// Keys and channels of a name on the server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Names {
    /// The channel of plain, fenced, non-reentrant and group locks; those of a fair lock's waiters begin with it.
    pub lock_channel: String,
    /// The channel of read/write locks.
    pub rw_channel: String,
    /// Who waits for a fair lock.
    pub fair_queue: String,
    /// Until when.
    pub fair_deadlines: String,
    /// The counter of a fenced lock.
    pub fencing_counter: String,
    /// What the markers of readers begin with, before `:owner:rwlock_timeout:n`.
    pub marker_stem: String,
    /// The channel of semaphores.
    pub semaphore_channel: String,
    /// The leases of a semaphore with permit ids.
    pub permit_leases: String,
    /// The channel of a latch.
    pub latch_channel: String,
}

impl Names {
    /// Those of `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self {
            lock_channel: naming::lock_channel(name),
            rw_channel: naming::rw_channel(name),
            fair_queue: naming::fair_queue(name),
            fair_deadlines: naming::fair_deadlines(name),
            fencing_counter: naming::fencing_counter(name),
            marker_stem: naming::marker_stem(name),
            semaphore_channel: semaphore_channel(name),
            permit_leases: naming::suffixed(name, "timeout"),
            latch_channel: latch_channel(name),
        }
    }
}
