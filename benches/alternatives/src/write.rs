//! The measured part of `docs/choosing.md`, between two marks, and its plots.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    bars::{self, Bar, Side},
    figures::Metric,
    kit::{Result, Spread, machine},
    runner::Outcome,
    system::System,
    table,
};

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->";

/// File, title, what a bar is, its unit, and the digits of its figure.
const PLOTS: [(&str, &str, Metric, &str, usize); 6] = [
    (
        "alone",
        "One client, nobody else: cycles a second",
        Metric::Alone,
        "",
        0,
    ),
    (
        "contended",
        "Many clients, one lock: how often a second another one has it",
        Metric::Moved,
        "",
        0,
    ),
    (
        "wake-up",
        "From a release to the next grant, median",
        Metric::WakeUp,
        " ms",
        2,
    ),
    (
        "sale",
        "Flash sale: items sold a second",
        Metric::Sold,
        "",
        0,
    ),
    (
        "killed",
        "The holder's process is killed: the next has the lock after",
        Metric::Killed,
        " s",
        2,
    ),
    (
        "standstill",
        "The server is killed and restarted: no lock for anybody for",
        Metric::Standstill,
        " s",
        2,
    ),
];

pub(crate) fn write(outcome: &Outcome) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let (page, plots) = (docs.join("choosing.md"), docs.join("choosing"));
    let text = fs::read_to_string(&page)?;
    let text = between(&text, &measured(outcome)).ok_or("docs/choosing.md has lost its marks")?;
    fs::write(&page, text)?;
    fs::create_dir_all(&plots)?;
    for (file, title, metric, unit, digits) in PLOTS {
        let bars = bars(outcome, metric, unit, digits);
        let file: PathBuf = plots.join(format!("{file}.svg"));
        bars::draw(
            &file,
            title,
            &bars,
            "median, with the lowest and the highest of all rounds",
        )?;
    }
    println!("\nwritten: {}", page.display());
    Ok(())
}

/// The page with another measured part.
fn between(page: &str, measured: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{measured}{END}{after}"))
}

fn bars(outcome: &Outcome, metric: Metric, unit: &str, digits: usize) -> Vec<Bar> {
    let finite = |spread: &Spread| spread.highest.is_finite();
    let bar = |system: &System, spread: Spread| Bar {
        name: system.title.to_owned(),
        side: match system.is_ours() {
            true => Side::Ours,
            false => Side::Other,
        },
        text: format!("{:.digits$}{unit}", spread.median),
        spread,
    };
    let spreads = outcome.rows.iter().filter_map(|(system, row)| {
        let spread = row.spread(metric).filter(finite)?;
        Some(bar(system, spread))
    });
    spreads.collect()
}

fn measured(outcome: &Outcome) -> String {
    let (plan, command) = (&outcome.plan, command());
    let mut text = format!(
        "Written by `{command}`, which anybody can run; do not edit between the marks.\n\n\
         {}; {}, all over loopback with their default settings, and nothing pinned to a core; {}. {} rounds, in each of which \
         every system has its turn: {:?} alone, {:?} with {} clients that each have a connection of their own, and a sale of {} \
         items. A holder that says nothing loses its lock after {} s, where there is such a time. Medians of the rounds.\n\n",
        outcome.hardware,
        outcome.servers,
        machine::today(),
        plan.rounds,
        plan.slice,
        plan.slice,
        plan.clients,
        plan.items,
        plan.lease.as_secs(),
    );
    text += "| system | how |\n|---|---|\n";
    for (system, _) in &outcome.rows {
        text += &format!("| {} | {} |\n", system.title, system.note);
    }
    for missing in &outcome.missing {
        text += &format!("\nMissing: {missing}.\n");
    }
    text += CYCLES;
    text += &table::markdown(&table::cycles(outcome));
    text += &plots(&["alone", "contended", "wake-up"]);
    text += SALE;
    text += &table::markdown(&table::sale(outcome));
    text += &plots(&["sale"]);
    text += CRASHES;
    text += &table::markdown(&table::crashes(outcome));
    text += &plots(&["killed", "standstill"]);
    text
}

fn plots(files: &[&str]) -> String {
    let named = PLOTS.iter().filter(|plot| files.contains(&plot.0));
    let lines = named.map(|plot| format!("\n![{}](choosing/{}.svg)\n", plot.1, plot.0));
    lines.collect()
}

fn command() -> String {
    let mut command =
        "cargo run --release --manifest-path benches/alternatives/Cargo.toml --".to_owned();
    for argument in std::env::args().skip(1) {
        command += &format!(" {argument}");
    }
    command
}

const CYCLES: &str = "\n### One lock\n\n\
A *cycle* is one lock and one unlock, with nothing in between. *Moved* are those that another client had before; who asks again \
at once and finds the lock free makes many cycles and moves little. *Wake-up* is from before a release is sent until another \
client has the lock, where it moved. *Jain* is 1 where all clients had the lock equally often.\n\n";

const SALE: &str = "\n### A flash sale\n\n\
All clients sell until nothing is left: they read the stock and write one less, under the lock, in the system's own store. \
*Begun anew* is how often that was in vain for an item that was sold.\n\n";

const CRASHES: &str = "\n### When somebody dies\n\n\
The holder is a process of its own. *Killed* is SIGKILL: its connection is closed by the kernel. *Frozen* is SIGSTOP: the process \
stands still with its connections open, as in a pause of a virtual machine; *knows* is from when it goes on until its client says \
that the lock is lost. Then the server is killed with SIGKILL while a process holds a lock, and is started again at once; of three \
servers, one. *Standstill* is the longest time in which a client that locks and unlocks another name all the time got nothing: the start of \
the server, and the client's own patience (that of ZooKeeper waits twice as long before each try). \
*Two holders* is from when somebody else got the lock until the holder knew.\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_written() {
        let page = format!("before\n{BEGIN}old{END}\nafter");
        let written = between(&page, "new\n").expect("has marks");
        assert_eq!(written, format!("before\n{BEGIN}new\n{END}\nafter"));
        assert_eq!(between("no marks", "new"), None);
    }
}
