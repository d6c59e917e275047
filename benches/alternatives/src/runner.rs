//! All of it: every load with all systems in turns, and then the crashes.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    time::Instant,
};

use redlatch_support::unique_name;
use tokio::task::JoinSet;

use crate::{
    contender, crash,
    figures::{Figures, Metric, Row},
    kit::{Result, Spread, machine},
    load,
    options::{Options, Plan},
    server::{self, Server},
    system::{Ask, Host, SYSTEMS, System},
    table, write,
};

/// What came of all of it.
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    pub(crate) hardware: String,
    pub(crate) servers: String,
    /// Systems that are not there, and why.
    pub(crate) missing: Vec<String>,
    pub(crate) rows: Vec<(&'static System, Row)>,
}

impl Outcome {
    fn add(&mut self, system: &System, round: usize, outcome: Result<Figures>) {
        let Some((_, row)) = self
            .rows
            .iter_mut()
            .find(|(one, _)| one.name == system.name)
        else {
            return;
        };
        match outcome {
            Ok(figures) => {
                if row.rounds.len() <= round {
                    row.rounds.resize(round + 1, Figures::new());
                }
                row.rounds[round].extend(figures);
            }
            Err(error) => {
                let problem = error.to_string();
                println!("{}: {problem}", system.name);
                row.problems.push(problem);
            }
        }
    }

    fn systems(&self) -> Vec<&'static System> {
        let able = self.rows.iter().filter(|(_, row)| row.problems.is_empty());
        able.map(|(system, _)| *system).collect()
    }
}

type Servers = BTreeMap<Host, Box<dyn Server>>;

pub(crate) async fn run(options: &Options) -> Result<()> {
    let (systems, plan) = (chosen(&options.only)?, options.plan());
    let (mut servers, mut missing) = (Servers::new(), Vec::new());
    for system in &systems {
        if servers.contains_key(&system.host) {
            continue;
        }
        if options.install {
            server::install(system.host)?;
        }
        // Named, and left out.
        let started = match server::missing(system.host) {
            Some(reason) => Err(reason.into()),
            None => server::start(system.host),
        };
        match started {
            Ok(server) => drop(servers.insert(system.host, server)),
            Err(reason) => missing.push((system.host, reason.to_string())),
        }
    }
    let there = |system: &&'static System| servers.contains_key(&system.host);
    let (able, unable): (Vec<&System>, Vec<&System>) = systems.into_iter().partition(there);
    let reason = |host| missing.iter().find(|(one, _)| *one == host);
    let missing: Vec<String> = unable
        .iter()
        .filter_map(|system| Some(format!("{}: {}", system.title, reason(system.host)?.1)))
        .collect();
    let mut versions: Vec<String> = servers.values().map(|server| server.version()).collect();
    versions.dedup();
    let mut outcome = Outcome {
        plan,
        hardware: format!("{}, {}", machine::hardware(), disk()?),
        servers: versions.join(", "),
        missing,
        rows: able.into_iter().map(|one| (one, Row::default())).collect(),
    };
    println!("{}; {}", outcome.hardware, outcome.servers);
    for missing in &outcome.missing {
        println!("without {missing}");
    }
    prepare(&servers, &plan).await?;
    loads(&mut outcome, &servers).await;
    crashes(&mut outcome, &mut servers).await;
    print!("\n{}", table::text(&outcome));
    if options.write {
        write::write(&outcome)?;
    }
    judge(&outcome)
}

/// How long the disk takes until it has something: most of what some of them do is to wait for that.
fn disk() -> Result<String> {
    const WRITES: usize = 101;
    let file = std::env::temp_dir().join(unique_name("redlatch-disk"));
    let mut open = File::create(&file)?;
    let mut times = Vec::new();
    for _ in 0..WRITES {
        let begun = Instant::now();
        open.write_all(&[0; 4096])?;
        open.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(&file)?;
    let spread = Spread::of(times.into_iter()).ok_or("nothing was written")?;
    Ok(format!(
        "a write of 4 KiB is on its disk after {:.1} ms",
        spread.median
    ))
}

/// Those that were named, or all; a name that nobody has is an error.
fn chosen(names: &[String]) -> Result<Vec<&'static System>> {
    let known = |name: &&String| SYSTEMS.iter().any(|system| system.name == name.as_str());
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = SYSTEMS.iter().map(|system| system.name).collect();
        let all = all.join(", ");
        return Err(format!("no system is called {unknown:?}; there are {all}").into());
    }
    let wanted =
        |system: &&System| names.is_empty() || names.iter().any(|name| name == system.name);
    Ok(SYSTEMS.iter().filter(wanted).collect())
}

/// The tables, where there are any.
async fn prepare(servers: &Servers, plan: &Plan) -> Result<()> {
    if let Some(server) = servers.get(&Host::Postgres) {
        contender::make_tables(&server.address()).await?;
    }
    // A JVM that is cold would be measured as one.
    let zookeeper = SYSTEMS.iter().find(|one| one.ask == Ask::ZooKeeper);
    if let (Some(system), Some(server)) = (zookeeper, servers.get(&Host::ZooKeeper)) {
        load::contended(system, &server.address(), plan).await?;
    }
    Ok(())
}

/// A round is a turn of everybody; who fails has no more turns.
async fn loads(outcome: &mut Outcome, servers: &Servers) {
    let plan = outcome.plan;
    for round in 0..plan.rounds {
        println!("round {} of {}: loads", round + 1, plan.rounds);
        for system in outcome.systems() {
            let address = servers[&system.host].address();
            let turn = async {
                let mut figures = Figures::new();
                if system.locks() {
                    figures.extend(load::alone(system, &address, &plan).await?);
                    figures.extend(load::contended(system, &address, &plan).await?);
                }
                figures.extend(load::sale(system, &address, &plan).await?);
                Ok(figures)
            };
            let turn = turn.await;
            outcome.add(system, round, turn);
        }
    }
}

async fn crashes(outcome: &mut Outcome, servers: &mut Servers) {
    let plan = outcome.plan;
    for round in 0..plan.rounds {
        println!("round {} of {}: holders die", round + 1, plan.rounds);
        // At the same time: they only wait, and it is seconds that are looked at.
        let mut turns = JoinSet::new();
        for system in outcome.systems().into_iter().filter(|one| one.locks()) {
            let address = servers[&system.host].address();
            turns.spawn(async move {
                let outcome = crash::holder(system, &address, &plan, round).await;
                (system, outcome)
            });
        }
        while let Some(ended) = turns.join_next().await {
            if let Ok((system, figures)) = ended {
                outcome.add(system, round, figures);
            }
        }
        println!("round {} of {}: servers die", round + 1, plan.rounds);
        for system in outcome.systems() {
            if let Some(server) = servers.get_mut(&system.host) {
                let figures = crash::server(system, server.as_mut(), &plan).await;
                outcome.add(system, round, figures);
            }
        }
    }
}

/// Speed is for the reader to judge; a lock that is none, or a load that fails, is not.
fn judge(outcome: &Outcome) -> Result<()> {
    let mut faults = Vec::new();
    for (system, row) in &outcome.rows {
        for problem in &row.problems {
            faults.push(format!("{}: {problem}", system.name));
        }
        for (metric, what) in [
            (Metric::Overlaps, "holders at once"),
            (Metric::Oversold, "oversold"),
        ] {
            let worst = row.highest(metric).unwrap_or(0.0);
            if worst > 0.0 {
                faults.push(format!("{}: {worst} {what}", system.name));
            }
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.join("; ").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_told_with_those_that_there_are() {
        let chosen_one = chosen(&["etcd".to_owned()]).expect("known");
        assert_eq!(chosen_one.len(), 1);
        let error = chosen(&["chubby".to_owned()])
            .expect_err("unknown")
            .to_string();
        assert!(
            error.contains("chubby") && error.contains("zookeeper"),
            "{error}"
        );
    }
}
