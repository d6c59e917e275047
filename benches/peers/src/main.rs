//! The public benchmark: the same workloads for redlatch, the real Redisson, other locks on Redis, and the limit, on one
//! server, in turns.
//!
//! ```text
//! cargo run --release -p redlatch-peers                  # all of it
//! cargo run --release -p redlatch-peers -- --write       # and into docs/benchmarks/, with plots
//! cargo run --release -p redlatch-peers -- --quick       # does all of it run? says nothing about speed
//! ```

#[path = "../../kit/bars.rs"]
mod bars;
#[path = "../../kit/mod.rs"]
mod kit;

mod child;
mod machine;
mod measure;
mod metric;
mod monitor;
mod options;
mod order;
mod participant;
mod peer;
mod plot;
mod relay;
mod runner;
mod stage;
mod table;
mod tally;
mod workload;
mod write;

use std::process::ExitCode;

use clap::Parser;

use crate::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.participant {
        Some(name) => participant::serve(name, &options.address, options.watchdog()),
        None => runner::run(&options),
    };
    kit::exit_code("peers", outcome)
}
