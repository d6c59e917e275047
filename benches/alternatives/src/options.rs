//! The command line.

use std::time::Duration;

use clap::Parser;

/// The other ways to lock, side by side, each on its real server.
#[derive(Parser, Debug)]
#[command(name = "redlatch-alternatives")]
pub(crate) struct Options {
    /// How long each system is measured in each round of a load.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds, in each of which all systems have their turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Clients that want the same lock.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// What is there to be sold.
    #[arg(long, default_value_t = 400)]
    items: u64,
    /// Seconds after which a holder that says nothing has lost its lock, where the system has such a time.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=60))]
    lease: u64,
    /// These systems only.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// In under a minute: does every system that is there run, and does nobody meet anybody? The figures say nothing.
    #[arg(long, conflicts_with = "write")]
    pub(crate) quick: bool,
    /// Gets the servers that are missing, by apt and Maven.
    #[arg(long)]
    pub(crate) install: bool,
    /// Writes table and plots into docs/choosing.md and the folder beside it.
    #[arg(long)]
    pub(crate) write: bool,

    /// Takes this lock and holds it until the input ends or the process is killed.
    #[arg(long, hide = true)]
    pub(crate) hold: Option<String>,
    #[arg(long, hide = true, default_value = "")]
    pub(crate) system: String,
    #[arg(long, hide = true, default_value = "")]
    pub(crate) address: String,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
    pub(crate) clients: usize,
    pub(crate) items: u64,
    pub(crate) lease: Duration,
}

impl Options {
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.lease)
    }

    pub(crate) fn plan(&self) -> Plan {
        if self.quick {
            return Plan {
                rounds: 1,
                slice: Duration::from_millis(200),
                clients: 4,
                items: 20,
                lease: Duration::from_secs(2),
            };
        }
        Plan {
            rounds: self.rounds.max(1),
            slice: Duration::from_secs_f64(self.seconds.clamp(0.1, 600.0)),
            clients: self.clients.max(2),
            items: self.items.max(1),
            lease: self.lease(),
        }
    }
}
