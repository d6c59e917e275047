//! The page and the plots in `docs/benchmarks/`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    kit::Result,
    machine::Machine,
    options::{Options, Plan},
    peer::PEERS,
    plot,
    runner::Outcome,
    table,
};

/// Where it is written; `None` where nothing is.
pub(crate) fn folder(options: &Options) -> Option<PathBuf> {
    let docs = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks");
    options.out.clone().or_else(|| options.write.then(docs))
}

pub(crate) fn write(
    folder: &Path,
    machine: &Machine,
    plan: &Plan,
    outcomes: &[Outcome],
) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("README.md"), page(machine, plan, outcomes))?;
    for outcome in outcomes {
        plot::draw(&folder.join(plot_of(outcome)), outcome)?;
    }
    println!("\nwritten: {}", folder.display());
    Ok(())
}

fn plot_of(outcome: &Outcome) -> String {
    format!("{}.svg", outcome.workload.name)
}

fn page(machine: &Machine, plan: &Plan, outcomes: &[Outcome]) -> String {
    let command = command(std::env::args().skip(1));
    let mut page = format!(
        "# Benchmarks\n\nWritten by `cargo run --release -p redlatch-peers -- {}`, which anybody can run; do not edit. How it \
         measures is in [benches/peers](../../benches/peers/src/main.rs).\n\n{machine}.\n\n\
         {} rounds of {:?} a participant, in turns; medians, with the lowest and the highest. Ratios are those within a round: \
         \"of limit\" is against raw fred, \"of redis-b.\" against redis-benchmark, both with the scripts of redlatch. A figure \
         above 1 is not magic: who sends several requests in one write, or does less in the server, passes them.\n\n",
        command, plan.rounds, plan.slice,
    );
    page += "| participant | version | settings |\n|---|---|---|\n";
    for peer in &PEERS {
        let (title, version) = (peer.title(), peer.version());
        page += &format!("| {title} | {version} | {} |\n", peer.note);
    }
    page += "\n`!` is a string with a time to live: not reentrant, no owner but a random value, and so less work in the server.\n";
    for missing in &machine.missing {
        page += &format!("\nMissing: {missing}.\n");
    }
    page += COLUMNS;
    for outcome in outcomes {
        page += &format!(
            "\n## {}: {}\n\n![{}]({})\n\n",
            outcome.workload.name,
            outcome.workload.title,
            outcome.workload.title,
            plot_of(outcome)
        );
        page += &table::markdown(outcome);
    }
    page
}

/// The options that matter to who runs it again: not where it has been written to.
fn command(mut arguments: impl Iterator<Item = String>) -> String {
    let mut kept = vec!["--write".to_owned()];
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => drop(arguments.next()),
            "--write" => {}
            other if other.starts_with("--out=") => {}
            _ => kept.push(argument),
        }
    }
    kept.join(" ")
}

const COLUMNS: &str = "\n\
- *commands*: those that clients send for a pair of lock and unlock, counted one by one and without what scripts call.\n\
- *client us*, *server us*: processor time a pair; of all processes of a participant.\n\
- *moved*: hand-overs to another task than the one before; *wake-up*: from the end of one section to the beginning of the \
next, the median.\n\
- *Jain*: 1 where all tasks had the lock equally often. *overlaps*: sections that met; each is compared with all others of \
all processes.\n\
- *waiters*: \"all wait\" is how long it takes until the server has nothing to do any more (`-`: it always has, since waiters \
poll); \"last grant\" is from the first release to the last grant, where all were granted.\n\
- *holds*: a round is a third of the time to live, in which everything is renewed once.\n";
