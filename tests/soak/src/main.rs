//! Locks and semaphores under load while connections are killed, callers give up, and the server freezes and restarts.
//!
//! ```text
//! cargo run --release -p redlatch-soak --bin soak -- --minutes 10
//! ```
//!
//! No two holders may ever meet, and when it is over nothing may be left: no key, no channel, no task, no entry in a
//! table, and no memory that grows. It exits with 1 when any of this fails.

mod chaos;
mod meter;
mod work;

use std::{
    io::{IsTerminal, Write, stdout},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use redlatch::Client;
use redlatch_support::{Dice, NOTHING_LEFT, Server, alive_tasks, eventually, settled_tasks};

use crate::{chaos::Chaos, meter::Meter, work::Stage};

/// How long what is left may take to go.
const CLEAN_LIMIT: Duration = Duration::from_secs(20);
/// Sets where the dice begin, as `--seed` does.
const SEED: &str = "REDLATCH_SOAK_SEED";
const WATCHDOG: Duration = Duration::from_secs(6);

/// Uses locks for a long time while connections die and the server restarts, and looks for what is left.
#[derive(Parser, Debug)]
#[command(name = "soak")]
struct Cli {
    /// How long.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Clients, each with its own connections.
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Tasks of each client.
    #[arg(long, default_value_t = 12)]
    tasks: usize,
    /// Where the dice begin; printed, so that a run can be had again as far as time allows.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let failures = soak(&cli).await;
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    if failures.is_empty() {
        println!("nothing was left, and nobody met anybody");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn soak(cli: &Cli) -> Vec<String> {
    let seed = cli.seed.unwrap_or_else(|| Dice::seed(SEED));
    println!("seed {seed}");
    let server = Arc::new(Server::builder().appendonly(true).start());
    let mut clients = Vec::new();
    for _ in 0..cli.clients {
        let builder = Client::builder().url(server.url()).expect("url");
        let client = builder.watchdog_timeout(WATCHDOG).connect().await;
        clients.push(client.expect("connects"));
    }
    let stage = Arc::new(Stage::new(&clients).await);
    let before = settled_tasks(CLEAN_LIMIT).await;

    let end = Instant::now() + Duration::from_secs_f64(cli.minutes * 60.0);
    let running: Vec<_> = clients
        .iter()
        .flat_map(|client| std::iter::repeat_n(client, cli.tasks))
        .enumerate()
        .map(|(number, client)| {
            tokio::spawn(work::run(stage.clone(), client.clone(), seed, number, end))
        })
        .collect();
    let chaos = Chaos::start(server.clone(), seed);
    let mut meter = Meter::new();
    let live = stdout().is_terminal();
    let mut second = 0u64;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        second += 1;
        meter.sample();
        if live || second.is_multiple_of(10) {
            let line = format!(
                "{second:>5} s  {}  {}  {} tasks  {}",
                stage.counts(),
                chaos.counts(),
                alive_tasks(),
                meter.now()
            );
            let tail = if live { "\r" } else { "\n" };
            print!("{line:<140}{tail}");
            let _ = stdout().flush();
        }
    }
    println!();
    let strikes = chaos.stop();
    for task in running {
        task.await.expect("no task panics");
    }

    let mut failures = stage.failures();
    println!("{}; {strikes}", stage.counts());
    let deadline = Instant::now() + CLEAN_LIMIT;
    for client in &clients {
        while client.residue() != NOTHING_LEFT && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let left = client.residue();
        if left != NOTHING_LEFT {
            failures.push(format!("a client's tables: {left}"));
        }
    }
    while alive_tasks() > before && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("tasks: {before} before, {} after", alive_tasks());
    if alive_tasks() > before {
        failures.push(format!("{} tasks, {before} before", alive_tasks()));
    }
    failures.extend(stage.left_behind(&server, deadline).await);
    match meter.verdict() {
        Ok(line) => println!("{line}"),
        Err(line) => failures.push(line),
    }
    for client in clients {
        let report = client.close(Duration::from_secs(5)).await;
        if !report.unreleased.is_empty() {
            failures.push(format!("{report:?}"));
        }
    }
    eventually("all connections to close", CLEAN_LIMIT, || {
        server.direct().client_list().len() <= 1
    });
    failures
}
