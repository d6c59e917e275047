//! The other ways to keep two from doing the same thing at once, side by side: ZooKeeper, etcd, PostgreSQL, memcached,
//! Redlock and redlatch, each on its real server and under the same load.
//!
//! ```text
//! cargo run --release                  # all of it, in this folder; or with --manifest-path from elsewhere
//! cargo run --release -- --install     # gets servers that are missing first, by apt and Maven
//! cargo run --release -- --write       # and into docs/choosing.md, with plots
//! cargo run --release -- --quick       # does all of it run? says nothing about speed
//! ```

#[path = "../../kit/bars.rs"]
mod bars;
#[path = "../../kit/mod.rs"]
mod kit;

mod contender;
mod crash;
mod figures;
mod holder;
mod load;
mod options;
mod runner;
mod server;
mod system;
mod table;
mod write;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime;

use crate::{kit::Result, options::Options};

fn main() -> ExitCode {
    kit::exit_code("alternatives", run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match &options.hold {
            Some(name) => holder::hold(options, name).await,
            None => runner::run(options).await,
        }
    })
}
