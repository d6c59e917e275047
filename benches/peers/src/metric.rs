//! What is measured.

use std::collections::BTreeMap;

use crate::kit::Spread;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Pairs,
    Moved,
    MovedShare,
    Commands,
    ClientCpu,
    ServerCpu,
    WakeUp,
    WaitMiddle,
    WaitMost,
    WaitLongest,
    WriteWaitMost,
    Jain,
    Overlaps,
    AllWait,
    LastGrant,
    Ungranted,
    KibPerWaiter,
    IdleCommands,
    Acquired,
    RoundCommands,
    RoundClientCpu,
    RoundServerCpu,
    Lost,
}

impl Metric {
    /// The head of its column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Metric::Pairs => "pairs/s",
            Metric::Moved => "moved/s",
            Metric::MovedShare => "moved",
            Metric::Commands => "commands",
            Metric::ClientCpu => "client us",
            Metric::ServerCpu => "server us",
            Metric::WakeUp => "wake-up us",
            Metric::WaitMiddle => "wait p50 ms",
            Metric::WaitMost => "wait p99 ms",
            Metric::WaitLongest => "longest ms",
            Metric::WriteWaitMost => "write p99 ms",
            Metric::Jain => "Jain",
            Metric::Overlaps => "overlaps",
            Metric::AllWait => "all wait s",
            Metric::LastGrant => "last grant s",
            Metric::Ungranted => "not granted",
            Metric::KibPerWaiter => "KiB/waiter",
            Metric::IdleCommands => "idle cmds/s",
            Metric::Acquired => "acquired/s",
            Metric::RoundCommands => "round cmds",
            Metric::RoundClientCpu => "client ms",
            Metric::RoundServerCpu => "server ms",
            Metric::Lost => "lost",
        }
    }

    fn digits(self) -> usize {
        match self {
            Metric::MovedShare | Metric::Commands | Metric::AllWait => 2,
            Metric::WaitMiddle | Metric::Jain | Metric::LastGrant => 3,
            Metric::ClientCpu
            | Metric::ServerCpu
            | Metric::WaitMost
            | Metric::WaitLongest
            | Metric::WriteWaitMost
            | Metric::KibPerWaiter
            | Metric::RoundClientCpu
            | Metric::RoundServerCpu => 1,
            _ => 0,
        }
    }

    pub(crate) fn text(self, figure: f64) -> String {
        format!("{figure:.*}", self.digits())
    }

    /// How near to the limit: 1 is as good.
    pub(crate) fn ratio(self, figure: f64, limit: f64) -> f64 {
        match self {
            Metric::LastGrant => limit / figure,
            _ => figure / limit,
        }
    }
}

/// What one turn has brought.
pub(crate) type Figures = BTreeMap<Metric, f64>;

/// What one participant has brought in one workload.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) peer: &'static str,
    pub(crate) rounds: Vec<Figures>,
    /// Why it has no further rounds.
    pub(crate) problem: Option<String>,
}

impl Row {
    pub(crate) fn spread(&self, metric: Metric) -> Option<Spread> {
        Spread::of(
            self.rounds
                .iter()
                .filter_map(|round| round.get(&metric).copied()),
        )
    }

    /// Against another participant, each round with the same round.
    pub(crate) fn ratio(&self, metric: Metric, limit: &Row) -> Option<Spread> {
        let pairs = self.rounds.iter().zip(&limit.rounds);
        let ratios = pairs.filter_map(|(own, limit)| {
            Some(metric.ratio(*own.get(&metric)?, *limit.get(&metric)?))
        });
        Spread::of(ratios.filter(|ratio| ratio.is_finite()))
    }
}
