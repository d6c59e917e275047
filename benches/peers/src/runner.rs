//! All of it: every workload, with all participants in turns.

use std::collections::BTreeMap;

use crate::{
    child::Child,
    kit::Result,
    machine::Machine,
    measure,
    metric::{Figures, Metric, Row},
    options::{Options, Plan},
    peer::{PEERS, Peer},
    stage::Stage,
    table,
    workload::{Pairs, Shape, WORKLOADS, Way, Workload},
    write,
};

/// A workload and what came of it.
pub(crate) struct Outcome {
    pub(crate) workload: &'static Workload,
    pub(crate) rows: Vec<Row>,
}

impl Outcome {
    /// What this participant has brought, if it took part.
    pub(crate) fn row(&self, peer: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.peer == peer)
    }
}

/// The processes of each participant, which stay for the next workload over the same network: a JVM that is warm stays warm.
type Casts = BTreeMap<(Way, &'static str), Vec<Child>>;

pub(crate) fn run(options: &Options) -> Result<()> {
    let workloads = chosen(&WORKLOADS, |workload| workload.name, &options.only)?;
    let mut peers = chosen(&PEERS, |peer| peer.name, &options.peers)?;
    if options.quick && options.peers.is_empty() {
        peers.retain(|peer| peer.quick);
    }
    let (plan, stage) = (options.plan(), Stage::new(options)?);
    let mut machine = Machine::look(&stage);
    println!("{machine}");
    peers.retain(|peer| match stage.programs.prepare(peer) {
        Ok(()) => true,
        Err(reason) => {
            println!("without {}: {reason}", peer.name);
            machine.missing.push(format!("{}: {reason}", peer.name));
            false
        }
    });

    let (mut outcomes, mut casts) = (Vec::new(), Casts::new());
    for workload in workloads {
        let able: Vec<&Peer> = peers
            .iter()
            .copied()
            .filter(|peer| peer.supports(workload))
            .collect();
        let rows = match &workload.shape {
            Shape::Pairs(pairs) => in_turns(&able, plan.rounds, |peer, round| {
                pairs_turn(&stage, &plan, peer, pairs, &mut casts, round)
            }),
            Shape::Waiters => in_turns(&able, plan.rounds, |peer, _| {
                measure::waiters(&stage, peer, &plan)
            }),
            Shape::Holds => in_turns(&able, plan.rounds, |peer, _| {
                measure::holds(&stage, peer, &plan)
            }),
        };
        let outcome = Outcome { workload, rows };
        print!("\n{}", table::text(&outcome));
        outcomes.push(outcome);
    }
    drop(casts);
    if let Some(folder) = write::folder(options) {
        write::write(&folder, &machine, &plan, &outcomes)?;
    }
    judge(&outcomes)
}

/// Those that were named, or all; a name that nobody has is an error.
fn chosen<T>(
    all: &'static [T],
    name: impl Fn(&T) -> &'static str,
    names: &[String],
) -> Result<Vec<&'static T>> {
    if let Some(unknown) = names
        .iter()
        .find(|wanted| !all.iter().any(|one| name(one) == *wanted))
    {
        let known: Vec<&str> = all.iter().map(&name).collect();
        return Err(format!(
            "nothing is called {unknown:?}; there are {}",
            known.join(", ")
        )
        .into());
    }
    let wanted = |one: &&T| names.is_empty() || names.iter().any(|wanted| name(one) == wanted);
    Ok(all.iter().filter(wanted).collect())
}

/// A round is a turn of everybody; who fails has no more turns in this workload.
fn in_turns(
    peers: &[&'static Peer],
    rounds: usize,
    mut turn: impl FnMut(&'static Peer, usize) -> Result<Figures>,
) -> Vec<Row> {
    let mut rows: Vec<Row> = peers
        .iter()
        .map(|peer| Row {
            peer: peer.name,
            ..Row::default()
        })
        .collect();
    for round in 0..rounds {
        for (peer, row) in peers.iter().zip(&mut rows) {
            if row.problem.is_some() {
                continue;
            }
            match turn(peer, round) {
                Ok(figures) => row.rounds.push(figures),
                Err(error) => row.problem = Some(error.to_string()),
            }
        }
    }
    rows
}

/// Before its first turn a participant warms up, and its commands are counted.
fn pairs_turn(
    stage: &Stage,
    plan: &Plan,
    peer: &'static Peer,
    pairs: &Pairs,
    casts: &mut Casts,
    round: usize,
) -> Result<Figures> {
    const WATCHDOG: std::time::Duration = std::time::Duration::from_secs(30);
    // One that fails is started anew in the next workload.
    let mut cast = casts.remove(&(pairs.way, peer.name)).unwrap_or_default();
    let processes = peer.processes(pairs, plan.processes) as usize;
    cast.truncate(processes);
    while cast.len() < processes {
        cast.push(stage.start(peer, pairs.way, WATCHDOG)?);
    }
    let mut commands = None;
    if round == 0 {
        measure::pairs(stage, peer, pairs, &mut cast, plan.warm_up)?;
        commands = measure::commands_a_pair(stage, peer, pairs, &mut cast, plan.counted)?;
    }
    let mut figures = measure::pairs(stage, peer, pairs, &mut cast, plan.slice)?;
    figures.extend(commands.map(|commands| (Metric::Commands, commands)));
    casts.insert((pairs.way, peer.name), cast);
    Ok(figures)
}

/// Speed is for the reader to judge; a lock that is none, or does nothing, is not.
fn judge(outcomes: &[Outcome]) -> Result<()> {
    let mut faults = Vec::new();
    for outcome in outcomes {
        for row in &outcome.rows {
            let told = format!("{} in {}", row.peer, outcome.workload.name);
            if let Some(problem) = &row.problem {
                faults.push(format!("{told}: {problem}"));
            }
            let overlaps = row
                .spread(Metric::Overlaps)
                .map_or(0.0, |spread| spread.highest);
            if overlaps > 0.0 {
                faults.push(format!("{told}: {overlaps} overlaps"));
            }
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("; ").into())
    }
}
