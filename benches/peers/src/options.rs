//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

/// Runs the same workloads for redlatch, the real Redisson, other locks on Redis, and the limit.
#[derive(Parser, Debug)]
#[command(name = "redlatch-peers")]
pub(crate) struct Options {
    /// How long each participant is measured in each round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds, in each of which all participants have their turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each participant warms up before the first round; a JVM needs seconds.
    #[arg(long, default_value_t = 8.0)]
    warm_up: f64,
    /// Held names of the workloads `waiters` and `holds`.
    #[arg(long, default_value_t = 10_000)]
    names: u64,
    /// These workloads only.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// These participants only.
    #[arg(long, value_delimiter = ',')]
    pub(crate) peers: Vec<String>,
    /// Whether the server has one core to itself and all clients share another; as it is possible, unless said.
    #[arg(long)]
    pub(crate) pin: Option<bool>,
    /// In some seconds: does every participant make progress, and does nobody meet anybody? The figures say nothing.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Writes table and plots into docs/benchmarks/.
    #[arg(long)]
    pub(crate) write: bool,
    /// Writes them into this folder instead.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,

    /// Is a participant itself, on its standard input and output.
    #[arg(long, hide = true)]
    pub(crate) participant: Option<String>,
    #[arg(long, hide = true, default_value = "")]
    pub(crate) address: String,
    #[arg(long, hide = true, default_value_t = 30_000)]
    watchdog: u64,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
    pub(crate) warm_up: Duration,
    /// In which commands are counted, one by one; nothing else is measured then.
    pub(crate) counted: Duration,
    /// At most this many processes a participant.
    pub(crate) processes: u64,
    pub(crate) names: u64,
    /// How long waiters may take until all of them wait, and have it.
    pub(crate) patience: Duration,
    /// Waiters that only wait are looked at for so long.
    pub(crate) idle: Duration,
    /// The time to live of the holds that are renewed, and how many rounds of renewals are looked at.
    pub(crate) watchdog: Duration,
    pub(crate) renewals: u32,
}

impl Options {
    pub(crate) fn watchdog(&self) -> Duration {
        Duration::from_millis(self.watchdog)
    }

    pub(crate) fn plan(&self) -> Plan {
        if self.quick {
            return Plan {
                rounds: 1,
                slice: Duration::from_millis(150),
                warm_up: Duration::from_millis(50),
                counted: Duration::from_millis(50),
                processes: 2,
                names: 200,
                patience: Duration::from_secs(1),
                idle: Duration::from_millis(300),
                watchdog: Duration::from_millis(1_200),
                renewals: 1,
            };
        }
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Plan {
            rounds: self.rounds.max(1),
            slice: seconds(self.seconds),
            warm_up: seconds(self.warm_up),
            counted: Duration::from_millis(200),
            processes: u64::MAX,
            names: self.names,
            patience: Duration::from_secs(12),
            idle: Duration::from_secs(3),
            watchdog: Duration::from_secs(6),
            renewals: 3,
        }
    }
}
