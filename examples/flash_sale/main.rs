//! A flash sale, three times over: with no lock, with the lock everybody writes first, and with redlatch.
//!
//! ```text
//! cargo run --example flash_sale
//! ```
//!
//! Several worker processes with several tasks each sell one stock. Selling a piece is a read, a moment of thought and a
//! write on Redis, so whoever is not alone between the read and the write sells a piece that is sold already. Who sold
//! what is counted apart from the stock, on the server, so that the truth comes out afterwards.
//!
//! Where to read on:
//!
//! - `locks.rs`: the ways to take turns, and the three ways in which the naive lock fails.
//! - `shop.rs`: the sale itself.
//! - `round.rs` and `worker.rs`: processes that start together, report, and never outlive the sale.
//!
//! It exits with 0 when redlatch sold every piece once, with 1 when it did not or something failed, and with 130 after
//! Ctrl-C.

mod locks;
mod report;
mod round;
mod shop;
mod worker;

use std::{error::Error, process::ExitCode, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValue, RangedU64ValueParser},
};
use redlatch_support::{Server, unique_name};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{locks::LockKind, report::Report, shop::Shop, worker::Job};

/// Everything here that can fail fails with a message for the user.
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Sells a stock from several processes at once, without a lock, with a naive one and with redlatch, and counts on the
/// server how many pieces each of them really sold.
///
/// Without an address it starts a server of its own, providing one first where the machine has none.
#[derive(Parser)]
#[command(name = "flash_sale", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    sale: Sale,
}

#[derive(Subcommand)]
enum Part {
    /// One worker process; the sale starts these itself.
    #[command(hide = true)]
    Work(Job),
}

/// What is sold, and by whom.
#[derive(Args, Clone)]
struct Sale {
    /// Sell on this server, and start none: redis://[user][:password]@host[:port][/db]
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    redis_url: Option<String>,
    /// Worker processes
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = RangedU64ValueParser::<u32>::new().range(1..=64))]
    workers: u32,
    /// Tasks in each worker process
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = RangedU64ValueParser::<u32>::new().range(1..=1000))]
    tasks: u32,
    /// Pieces for sale in each round
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = RangedU64ValueParser::<u32>::new().range(1..=1_000_000))]
    stock: u32,
    /// Milliseconds between reading the stock and writing it; every 20th piece takes twelve times as long
    #[arg(long, value_name = "MS", default_value_t = 3, value_parser = RangedU64ValueParser::<u32>::new().range(1..=1000))]
    think_ms: u32,
    /// Which round to run
    #[arg(long, value_name = "KIND", default_value_t = Rounds::All, value_enum)]
    lock: Rounds,
}

/// All rounds, or one.
#[derive(Clone, Copy)]
enum Rounds {
    All,
    Only(LockKind),
}

impl Rounds {
    fn kinds(&self) -> &[LockKind] {
        match self {
            Self::All => &LockKind::STORY,
            Self::Only(kind) => std::slice::from_ref(kind),
        }
    }
}

impl ValueEnum for Rounds {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::All,
            Self::Only(LockKind::None),
            Self::Only(LockKind::Naive),
            Self::Only(LockKind::Redlatch),
            Self::Only(LockKind::Fair),
            Self::Only(LockKind::Fenced),
            Self::Only(LockKind::Spin),
            Self::Only(LockKind::Red),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::All => Some(PossibleValue::new("all").help("One round after the other")),
            Self::Only(kind) => kind.to_possible_value(),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.part {
        Some(Part::Work(job)) => worker::run(job),
        None => hold(cli.sale),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("flash_sale: {error}");
        ExitCode::FAILURE
    })
}

/// Provides a server, sells on it, and leaves nothing behind.
fn hold(sale: Sale) -> Result<ExitCode> {
    // The server stops when this value goes out of scope, whatever happens in between.
    let server = match &sale.redis_url {
        Some(_) => None,
        None => {
            eprintln!("no --redis-url and no REDIS_URL: starting a server of our own");
            let server = Server::builder().try_start()?;
            eprintln!("{} {}", server.binary().path.display(), server.version());
            Some(server)
        }
    };
    let url = match (&sale.redis_url, &server) {
        (Some(url), _) => url.clone(),
        (None, Some(server)) => server.url(),
        (None, None) => return Err("there is no server".into()),
    };
    // A majority needs servers that know nothing of each other.
    let others = match sale.lock {
        Rounds::Only(LockKind::Red) => vec![
            Server::builder().try_start()?,
            Server::builder().try_start()?,
        ],
        _ => Vec::new(),
    };
    eprintln!(
        "{} processes of {} tasks sell {} pieces, and think about each for {} ms, about every 20th for longer",
        sale.workers, sale.tasks, sale.stock, sale.think_ms
    );
    let mut urls = vec![url];
    urls.extend(others.iter().map(Server::url));
    runtime()?.block_on(async {
        let shop = Shop::connect(&urls[0], &unique_name("flash-sale")).await?;
        let mut interrupt = Interrupt::listen()?;
        let report = all_rounds(&sale, &urls, &shop, &mut interrupt).await;
        let removed = match server {
            Some(_) => Ok(()),
            None => shop.remove_keys(sale.lock.kinds()).await,
        };
        let report = report?;
        removed?;
        let Some(report) = report else {
            eprintln!("\nstopped; nothing is left behind");
            return Ok(ExitCode::from(130));
        };
        println!("{report}");
        Ok(if report.redlatch_failed() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    })
}

/// `None` when it was interrupted. However it ends, no worker is left.
async fn all_rounds(
    sale: &Sale,
    urls: &[String],
    shop: &Shop,
    interrupt: &mut Interrupt,
) -> Result<Option<Report>> {
    let mut report = Report::new(sale.stock);
    for (kind, bar) in report::bars(sale.stock, sale.lock.kinds()) {
        let Some(outcome) = round::run(kind, sale, urls, shop, &bar, interrupt).await? else {
            return Ok(None);
        };
        report.add(kind, outcome);
    }
    Ok(Some(report))
}

/// Ctrl-C, and whoever else asks this process to end.
struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn heard(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// One thread does for all that happens in one process here.
fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime)
}

/// Milliseconds, as the command line has them.
fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}
