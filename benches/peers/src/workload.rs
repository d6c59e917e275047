//! The workloads.

use std::time::Duration;

use crate::{
    metric::Metric::{self, *},
    order::{Kind, Run},
};

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) shape: Shape,
    /// The first is the one that is compared.
    pub(crate) columns: &'static [Metric],
}

pub(crate) enum Shape {
    /// Lock and unlock, again and again.
    Pairs(Pairs),
    /// Names that one process holds, with a task of another waiting for each; then all are released.
    Waiters,
    /// Holds that are renewed.
    Holds,
}

/// What is between a participant and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Near,
    /// A relay that takes its time.
    Far,
}

pub(crate) struct Pairs {
    pub(crate) way: Way,
    pub(crate) kind: Kind,
    pub(crate) shared: bool,
    pub(crate) processes: u64,
    /// In each process.
    pub(crate) tasks: u64,
    pub(crate) held: Duration,
    pub(crate) depth: u64,
}

impl Pairs {
    /// The order to one of the processes.
    pub(crate) fn order(&self, process: u64, name: &str, time: Duration, file: &str) -> Run {
        Run {
            kind: self.kind,
            shared: self.shared,
            tasks: self.tasks,
            first: process * self.tasks,
            held: self.held,
            depth: self.depth,
            name: name.to_owned(),
            time,
            file: file.to_owned(),
        }
    }
}

impl Workload {
    pub(crate) fn headline(&self) -> Metric {
        self.columns.first().copied().unwrap_or(Pairs)
    }
}

const OWN_COLUMNS: &[Metric] = &[Pairs, Commands, ClientCpu, ServerCpu, Jain];
const SHARED_COLUMNS: &[Metric] = &[
    Moved,
    MovedShare,
    Commands,
    ClientCpu,
    ServerCpu,
    WakeUp,
    WaitMiddle,
    WaitMost,
    WaitLongest,
    Jain,
    Overlaps,
];

/// A task each with a name of its own.
const fn own(tasks: u64, depth: u64) -> Shape {
    shared(Kind::Plain, 1, tasks, 0, depth, false)
}

const fn shared(
    kind: Kind,
    processes: u64,
    tasks: u64,
    held_ms: u64,
    depth: u64,
    shared: bool,
) -> Shape {
    Shape::Pairs(self::Pairs {
        way: Way::Near,
        kind,
        shared,
        processes,
        tasks,
        held: Duration::from_millis(held_ms),
        depth,
    })
}

/// The same over a network.
const fn far(mut shape: Shape) -> Shape {
    if let Shape::Pairs(pairs) = &mut shape {
        pairs.way = Way::Far;
    }
    shape
}

pub(crate) const WORKLOADS: [Workload; 13] = [
    Workload {
        name: "one",
        title: "1 task, own key",
        shape: own(1, 1),
        columns: OWN_COLUMNS,
    },
    Workload {
        name: "own64",
        title: "64 tasks, a key each",
        shape: own(64, 1),
        columns: OWN_COLUMNS,
    },
    Workload {
        name: "own512",
        title: "512 tasks, a key each",
        shape: own(512, 1),
        columns: OWN_COLUMNS,
    },
    Workload {
        name: "same64",
        title: "64 tasks of one process, one key",
        shape: shared(Kind::Plain, 1, 64, 0, 1, true),
        columns: SHARED_COLUMNS,
    },
    Workload {
        name: "8x8",
        title: "8 processes of 8 tasks, one key, held for 1 ms",
        shape: shared(Kind::Plain, 8, 8, 1, 1, true),
        columns: SHARED_COLUMNS,
    },
    Workload {
        name: "reentry",
        title: "1 task, own key, entered 10 deep",
        shape: own(1, 10),
        columns: OWN_COLUMNS,
    },
    Workload {
        name: "fair64",
        title: "fair: 64 tasks of one process, one key",
        shape: shared(Kind::Fair, 1, 64, 0, 1, true),
        columns: SHARED_COLUMNS,
    },
    Workload {
        name: "readwrite64",
        title: "read/write: 64 tasks of one process, one key, 9 reads to 1 write",
        shape: shared(Kind::ReadWrite, 1, 64, 0, 1, true),
        columns: &[
            Pairs,
            Commands,
            ClientCpu,
            ServerCpu,
            WaitMiddle,
            WaitMost,
            WriteWaitMost,
            WaitLongest,
            Jain,
            Overlaps,
        ],
    },
    Workload {
        name: "same64-far",
        title: "64 tasks of one process, one key; some 0.7 ms of network",
        shape: far(shared(Kind::Plain, 1, 64, 0, 1, true)),
        columns: SHARED_COLUMNS,
    },
    Workload {
        name: "8x8-far",
        title: "8 processes of 8 tasks, one key, held for 1 ms; some 0.7 ms of network",
        shape: far(shared(Kind::Plain, 8, 8, 1, 1, true)),
        columns: SHARED_COLUMNS,
    },
    Workload {
        name: "fair64-far",
        title: "fair: 64 tasks of one process, one key; some 0.7 ms of network",
        shape: far(shared(Kind::Fair, 1, 64, 0, 1, true)),
        columns: SHARED_COLUMNS,
    },
    Workload {
        name: "waiters",
        title: "a task waiting for each of many held keys, then all are released",
        shape: Shape::Waiters,
        columns: &[LastGrant, Ungranted, AllWait, KibPerWaiter, IdleCommands],
    },
    Workload {
        name: "holds",
        title: "many holds, renewed (a round is a third of the time to live)",
        shape: Shape::Holds,
        columns: &[
            Acquired,
            RoundCommands,
            RoundClientCpu,
            RoundServerCpu,
            Lost,
        ],
    },
];
