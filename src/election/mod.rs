//! Leader election: one of many leads, all others know who, and who leads no longer is told.
//!
//! The lock beneath is a [fenced lock](crate::Fenced) of the election's name, kept by the same watchdog, so a JVM that holds
//! `getFencedLock(name)` keeps candidates waiting, and sees one that leads as a holder. What a leader says about itself is in
//! a key beside it, and counts only for as long as the owner named there has the lock: a leader that is gone has said nothing.
//!
//! Redisson has no such object; the words are those of etcd: *campaign*, *proclaim*, *resign*, *observe*.
//!
//! ```no_run
//! # async fn example() -> redlatch::Result<()> {
//! # async fn lead() {}
//! let client = redlatch::Client::connect("redis://127.0.0.1:6379").await?;
//! let election = client.election("scheduler");
//!
//! let leadership = election.campaign("10.0.0.7:8080").await?; // waits until it is this process's turn
//! let lost = leadership.run(lead()).await.is_err(); // stops when the leadership is lost
//! if !lost {
//!     leadership.resign().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everybody else follows:
//!
//! ```no_run
//! # async fn example(client: redlatch::Client) -> redlatch::Result<()> {
//! use tokio_stream::StreamExt;
//!
//! let mut leaders = client.election("scheduler").observe();
//! while let Some(leader) = leaders.next().await {
//!     match leader? {
//!         Some(leader) => println!("term {}: {:?}", leader.term, leader.value),
//!         None => println!("nobody leads"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use std::{fmt, future::IntoFuture, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    client::Client,
    engine::{
        Engine,
        protocol::announcement,
        script::{Command, Script, script},
        transport::Reply,
        unexpected,
    },
    error::{Error, Result},
    lock::{Fenced, FencingToken, Lock},
    naming,
    owner::Owner,
};

mod leadership;
mod observe;

pub use self::{leadership::Leadership, observe::Observe};

static LOOK: Script = script!("election/look");

/// Every script of this folder, for the tests that read them all.
#[cfg(test)]
pub(crate) static SCRIPTS: [&Script; 3] = [&LOOK, &leadership::PROCLAIM, &leadership::WITHDRAW];

/// Longest value a leader may have, in bytes: every observer reads it with every look.
const LONGEST_VALUE: usize = 65_536;

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// The number of its term: the fencing token of its lock. Later leaders have higher ones.
    pub term: FencingToken,
    /// What it says about itself: where it is to be found, for example.
    pub value: Bytes,
    /// The holder as it appears on the server: `client-uuid:number`. The first part is [`Client::id`].
    pub id: String,
}

/// An election, known by its name.
///
/// Made by [`Client::election`]; making and cloning one sends nothing.
///
/// *Redisson*: none; the lock beneath is the `RFencedLock` of the same name.
#[derive(Clone)]
pub struct Election {
    engine: Arc<Engine>,
    name: Arc<str>,
}

/// What an election is called on the server.
#[derive(Debug, Clone)]
struct Names {
    lock: Bytes,
    record: Bytes,
    channel: Bytes,
    announcement: Bytes,
}

impl Election {
    /// Waits until it leads, and says `value` to all who [`observe`](Self::observe). Await the result as it is, or set a
    /// limit with [`wait`](Campaign::wait) first. `value` has 64 KiB at most.
    ///
    /// Candidates of one client lead in the order in which they came. Every call is a candidate of its own, also within one
    /// task. Two commands where nobody leads: the lock, and the value.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe at every point: a caller that leaves does not lead, and is no candidate any more.
    ///
    /// # Errors
    ///
    /// As [`Lock::lock`](crate::Lock::lock), [`Error::FencingReset`] included: terms would fall.
    /// [`Error::InvalidArgument`] for a value that is too long, [`Error::WrongType`] where the key for values holds something
    /// else.
    #[must_use = "nothing happens until it is awaited"]
    pub fn campaign(&self, value: impl Into<Bytes>) -> Campaign {
        Campaign {
            election: self.clone(),
            value: value.into(),
            wait: None,
        }
    }

    /// Who leads at this moment; `None` where nobody does, or has not said so yet. One command.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// Those of any question to the server; [`Error::WrongType`] when the key is no lock.
    pub async fn leader(&self) -> Result<Option<Leader>> {
        self.look(&self.names()?).await
    }

    /// The current leader, and from then on every change that lasts: a new leader, a new value, nobody. The first item comes
    /// at once; items that are equal do not follow each other. What is over before it could be read is left out.
    ///
    /// Changes are told by messages. One that was lost, and a leader that died, are noticed by a look of its own, once every
    /// [`safety_poll`](crate::ClientBuilder::safety_poll) (default 1 s). A server that does not answer is waited for, and what
    /// has changed meanwhile comes afterwards ([`Client::events`] tells of outages); any other error is the last item.
    /// Nothing is sent until the stream is polled.
    #[must_use = "nothing happens until it is polled"]
    pub fn observe(&self) -> Observe {
        Observe::new(self.clone())
    }

    /// The name, as the application gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn names(&self) -> Result<Names> {
        let lock = self.engine.settings.map_name(&self.name)?;
        let record = naming::election(&lock);
        let names = Names {
            announcement: announcement(self.engine.pubsub().arg(), &record),
            channel: record.clone().into(),
            record: record.into(),
            lock: lock.into(),
        };
        let together = [&names.lock, &names.record, &names.channel];
        self.engine.check_slots(&self.name, together)?;
        Ok(names)
    }

    async fn look(&self, names: &Names) -> Result<Option<Leader>> {
        let command = Command {
            script: &LOOK,
            keys: vec![names.lock.clone(), names.record.clone()],
            args: Vec::new(),
        };
        let reply = self.engine.read(&self.name, &command).await?;
        read_leader(&reply).ok_or_else(|| unexpected(&self.name, &reply))
    }
}

/// Reads the reply of `election/look.lua`.
fn read_leader(reply: &Reply) -> Option<Option<Leader>> {
    let Reply::Array(items) = reply else {
        return None;
    };
    match items.as_slice() {
        [] => Some(None),
        [Reply::Text(owner), term, Reply::Text(value)] => Some(Some(Leader {
            term: FencingToken::new(term.as_int()?),
            value: value.clone(),
            id: String::from_utf8_lossy(owner).into_owned(),
        })),
        _ => None,
    }
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A candidate to be; await it.
#[must_use = "nothing happens until it is awaited"]
pub struct Campaign {
    election: Election,
    value: Bytes,
    wait: Option<Duration>,
}

impl Campaign {
    /// Waits at most this long, then fails with [`Error::TimedOut`]. Without it, waits for as long as the server answers.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = Some(limit);
        self
    }
}

impl fmt::Debug for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Campaign")
            .field("election", &self.election)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

impl IntoFuture for Campaign {
    type Output = Result<Leadership>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self {
                election,
                value,
                wait,
            } = self;
            check_value(&value)?;
            let names = election.names()?;
            let started = Instant::now();
            loop {
                // Never the same twice: what an owner has said ends with its one hold.
                let lock = Lock::<Fenced>::new(&election.engine, election.name.clone())
                    .with_owner(Owner::fresh());
                let acquire = match wait {
                    Some(limit) => lock.lock().wait(limit.saturating_sub(started.elapsed())),
                    None => lock.lock(),
                };
                let guard = acquire.await?;
                let begun = Leadership::begin(&election, &names, guard, value.clone()).await?;
                // Otherwise it was taken away in between.
                if let Some(leadership) = begun {
                    return Ok(leadership);
                }
            }
        })
    }
}

fn check_value(value: &Bytes) -> Result<()> {
    if value.len() > LONGEST_VALUE {
        return Err(Error::invalid(
            "value",
            format!(
                "{} bytes, where {LONGEST_VALUE} are accepted at most",
                value.len()
            ),
        ));
    }
    Ok(())
}

impl Client {
    /// The election of this name. Sends nothing; a name that is not acceptable is reported by the first use.
    ///
    /// *Redisson*: none; see [`Election`].
    #[must_use]
    pub fn election(&self, name: impl Into<Arc<str>>) -> Election {
        Election {
            engine: self.engine().clone(),
            name: name.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_and_odd_ones_refused() {
        let text = |text: &'static str| Reply::Text(text.into());
        let whole = Reply::Array(vec![text("u:1"), text("7"), text("here")]);
        let leader = read_leader(&whole).flatten().expect("well formed");
        assert_eq!((leader.term.get(), &*leader.id), (7, "u:1"));
        assert_eq!(read_leader(&Reply::Array(vec![])), Some(None));
        let torn = Reply::Array(vec![text("u:1"), Reply::Nil, text("here")]);
        for odd in [Reply::Nil, Reply::Int(1), torn] {
            assert_eq!(read_leader(&odd), None, "{odd:?}");
        }
    }
}
