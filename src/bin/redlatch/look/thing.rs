//! Locks, semaphores and latches, as they are shown.

use std::fmt;

use serde::Serialize;

/// What a name is. Plain, spin and non-reentrant locks look the same on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sort {
    Lock,
    Fair,
    Fenced,
    ReadWrite,
    Group,
    Semaphore,
    ExpirableSemaphore,
    Latch,
    /// A number: a semaphore, a latch, or anything else.
    Counter,
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lock => "lock",
            Self::Fair => "fair",
            Self::Fenced => "fenced",
            Self::ReadWrite => "read-write",
            Self::Group => "group",
            Self::Semaphore => "semaphore",
            Self::ExpirableSemaphore => "expirable-semaphore",
            Self::Latch => "latch",
            Self::Counter => "counter",
        })
    }
}

/// All that is known of one name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Thing {
    pub(crate) name: String,
    pub(crate) kind: Sort,
    /// Whether anybody holds the lock; nothing of what is no lock.
    pub(crate) held: Option<bool>,
    /// Of a read/write lock that is held: `read` or `write`.
    pub(crate) mode: Option<String>,
    pub(crate) owners: Vec<Holding>,
    /// Milliseconds until it is gone, if nobody renews it. Nothing where it is free, or never goes.
    pub(crate) ttl_ms: Option<u64>,
    /// The key is there and never goes by itself.
    pub(crate) no_ttl: bool,
    /// Clients that listen: those in which somebody waits.
    pub(crate) waiting_clients: u64,
    /// Who stands in the queue of a fair lock.
    pub(crate) queue: Vec<Place>,
    /// The last fencing token.
    pub(crate) token: Option<i64>,
    /// Permits that are there, or what is left to count down.
    pub(crate) count: Option<i64>,
    /// Permits that somebody has.
    pub(crate) permits: Vec<Permit>,
    /// How many permits somebody has: `permits` has no more than a hundred of them.
    pub(crate) permits_taken: u64,
}

/// One owner of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Holding {
    pub(crate) owner: String,
    pub(crate) holds: u64,
    /// Of a group: the value, as the server has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    /// Of a reader: the markers that keep its holds alive, by the time they have left, -1 without any end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) markers_ms: Option<Vec<i64>>,
}

/// One place in a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    pub(crate) owner: String,
    /// Milliseconds until it may be put out, negative when it may be by now; nothing where no deadline was set.
    pub(crate) deadline_in_ms: Option<i64>,
    /// Whether its channel is heard.
    pub(crate) listening: bool,
}

/// One permit with an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Permit {
    pub(crate) id: String,
    /// Milliseconds until its lease is over, negative where it is and nobody has taken it back; nothing without a lease.
    pub(crate) lease_left_ms: Option<i64>,
}

impl Thing {
    pub(crate) fn new(name: &str, kind: Sort) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            held: None,
            mode: None,
            owners: Vec::new(),
            ttl_ms: None,
            no_ttl: false,
            waiting_clients: 0,
            queue: Vec::new(),
            token: None,
            count: None,
            permits: Vec::new(),
            permits_taken: 0,
        }
    }

    /// All holds together.
    pub(crate) fn holds(&self) -> u64 {
        self.owners.iter().map(|owner| owner.holds).sum()
    }

    /// What waits, as far as it can be seen: places in a queue, or clients.
    pub(crate) fn waiting(&self) -> u64 {
        (self.queue.len() as u64).max(self.waiting_clients)
    }

    /// `held`, `read`, `free`, `3 left`.
    pub(crate) fn state(&self) -> String {
        match (self.kind, self.held, self.count) {
            (_, Some(true), _) => self.mode.clone().unwrap_or_else(|| "held".to_owned()),
            (_, Some(false), _) => "free".to_owned(),
            (_, None, Some(count)) => format!("{count} left"),
            (_, None, None) => "-".to_owned(),
        }
    }
}
