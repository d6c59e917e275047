//! What is measured.

use std::collections::BTreeMap;

use crate::kit::Spread;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Pairs of lock and unlock a second, of one client that nobody disturbs.
    Alone,
    /// The same of all clients together that want one lock.
    Contended,
    /// Those of them a second that another client had before.
    Moved,
    /// Milliseconds from a release to the grant of somebody else.
    WakeUp,
    WakeUpMost,
    WaitLongest,
    Jain,
    Overlaps,
    /// Items sold a second.
    Sold,
    /// How often a sale began anew.
    Again,
    Oversold,
    /// Seconds from the end of a holder's process to the next grant.
    Killed,
    /// The same when the process stands still.
    Frozen,
    /// Seconds from when it goes on until it knows that it has lost.
    FrozenTold,
    /// Seconds without any lock for anybody, when the server is killed and started again.
    Standstill,
    /// Seconds from there to the grant of a lock that was held, while its holder lives.
    Granted,
    /// Seconds from there until that holder knows.
    Told,
}

/// What one turn has brought. What did not come within the time that was waited for is infinite.
pub(crate) type Figures = BTreeMap<Metric, f64>;

/// What one system has brought.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) rounds: Vec<Figures>,
    /// What went wrong.
    pub(crate) problems: Vec<String>,
}

impl Row {
    pub(crate) fn spread(&self, metric: Metric) -> Option<Spread> {
        let figures = self.rounds.iter().filter_map(|round| round.get(&metric));
        Spread::of(figures.copied())
    }

    pub(crate) fn median(&self, metric: Metric) -> Option<f64> {
        self.spread(metric).map(|spread| spread.median)
    }

    pub(crate) fn highest(&self, metric: Metric) -> Option<f64> {
        self.spread(metric).map(|spread| spread.highest)
    }
}
