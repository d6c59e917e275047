//! The locks that everybody writes first, each failing by its own flaw, and then the same story under redlatch.
//!
//! ```text
//! cargo run --example pitfalls -- all       # every one
//! cargo run --example pitfalls -- getset    # one
//! ```
//!
//! Every command is sent to a real server, which the example provides itself, and every crash is that of a real process. What
//! happens by bad luck elsewhere is brought about on purpose here, step by step, so that it happens each time. It exits with 0
//! when each naive lock failed as told and redlatch did not. `docs/pitfalls.md` tells what is to be seen.

mod child;
mod page;
mod plain;
mod stories;
mod tale;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{child::Part, stories::Story, tale::Tale};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Shows how locks on Redis fail, and what redlatch does instead.
#[derive(Parser)]
#[command(name = "pitfalls", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Order>,
    /// Which one; all of them, unless said
    story: Option<Story>,
    /// Compares what is said with the blocks of this page
    #[arg(long, value_name = "PAGE", conflicts_with = "write")]
    check: Option<PathBuf>,
    /// Writes what is said into the blocks of this page
    #[arg(long, value_name = "PAGE")]
    write: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Order {
    /// All of them, as without an argument
    All,
    /// One of the processes that a story stops or kills; it starts these itself.
    #[command(hide = true)]
    Child {
        #[command(subcommand)]
        part: Part,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pitfalls: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    if let Some(Order::Child { part }) = cli.command {
        return child::play(part).await;
    }
    let stories = match &cli.story {
        Some(story) => std::slice::from_ref(story),
        None => Story::value_variants(),
    };
    for story in stories {
        let mut tale = Tale::begin(story.name(), story.title());
        story.tell(&mut tale).await?;
        let said = tale.end();
        if let Some(file) = &cli.check {
            page::check(file, story.name(), &said)?;
        }
        if let Some(file) = &cli.write {
            page::write(file, story.name(), &said)?;
        }
    }
    Ok(())
}
