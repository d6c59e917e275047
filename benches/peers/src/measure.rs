//! One turn of one participant.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use redlatch_support::unique_name;

use crate::{
    child::Child,
    kit::{Result, jain},
    metric::{Figures, Metric},
    options::Plan,
    order::{Order, Section, next, now},
    peer::{Does, Peer},
    stage::Stage,
    tally,
    workload::{Pairs, Way},
};

/// How much longer than asked an answer may take: the last ones still get the lock.
const SLACK: Duration = Duration::from_secs(60);
/// Waiters have settled when the server has little to do for so long.
const SETTLED: Duration = Duration::from_millis(200);

/// What the processes of a participant answered to a run.
struct Ran {
    time: Duration,
    start: u64,
    elapsed: u64,
    counts: Vec<u64>,
}

impl Ran {
    fn count(&self) -> f64 {
        self.counts.iter().sum::<u64>() as f64
    }
}

/// Has all processes lock and unlock for `time`; again for twice as long where nobody got anything done in it, such as in
/// the first moments of a JVM.
fn ran(
    stage: &Stage,
    peer: &Peer,
    pairs: &Pairs,
    cast: &mut [Child],
    mut time: Duration,
) -> Result<Ran> {
    while time < SLACK {
        let ran = ran_once(stage, peer, pairs, cast, time)?;
        if ran.count() > 0.0 {
            return Ok(ran);
        }
        time *= 2;
    }
    Err("it made no progress".into())
}

fn ran_once(
    stage: &Stage,
    peer: &Peer,
    pairs: &Pairs,
    cast: &mut [Child],
    time: Duration,
) -> Result<Ran> {
    let name = unique_name(peer.name);
    for (process, child) in cast.iter_mut().enumerate() {
        let file = stage.file(process).display().to_string();
        let order = pairs.order(process as u64, &name, time, &file);
        child.tell(Order::Run(order))?;
    }
    let mut ran = Ran {
        time,
        start: u64::MAX,
        elapsed: 0,
        counts: Vec::new(),
    };
    for child in cast.iter() {
        let answer = child.answer(time + SLACK)?;
        let mut words = answer.split_whitespace();
        next::<String>(&mut words)?;
        ran.start = ran.start.min(next(&mut words)?);
        ran.elapsed = ran.elapsed.max(next(&mut words)?);
        let counts = words.map_while(|word| word.parse::<u64>().ok());
        ran.counts.extend(counts);
    }
    Ok(ran)
}

/// Lock and unlock for `time`, measured.
pub(crate) fn pairs(
    stage: &Stage,
    peer: &Peer,
    pairs: &Pairs,
    cast: &mut [Child],
    time: Duration,
) -> Result<Figures> {
    let cpu = |cast: &[Child]| cast.iter().map(Child::cpu).sum::<f64>();
    let (client, server) = (cpu(cast), stage.server_cpu());
    let ran = ran(stage, peer, pairs, cast, time)?;
    let (client, server) = (cpu(cast) - client, stage.server_cpu() - server);
    let mut figures = Figures::new();
    if pairs.shared {
        let mut sections: Vec<Section> = Vec::new();
        for process in 0..cast.len() {
            for line in fs::read_to_string(stage.file(process))?.lines() {
                sections.push(line.parse()?);
            }
        }
        tally::add(&mut figures, sections, ran.start, ran.time.as_secs_f64());
    } else {
        let pace = ran.count() * 1e6 / ran.elapsed as f64;
        figures.insert(Metric::Pairs, pace);
        figures.insert(Metric::Jain, jain(ran.counts.iter().copied()));
    }
    figures.insert(Metric::ClientCpu, client * 1e6 / ran.count());
    // That one prepares names, and the server with it.
    if peer.does != Does::OwnKeysLimit {
        figures.insert(Metric::ServerCpu, server * 1e6 / ran.count());
    }
    stage.clear();
    Ok(figures)
}

/// How many commands a pair takes.
pub(crate) fn commands_a_pair(
    stage: &Stage,
    peer: &Peer,
    shape: &Pairs,
    cast: &mut [Child],
    time: Duration,
) -> Result<Option<f64>> {
    if peer.does == Does::OwnKeysLimit {
        return Ok(None);
    }
    let (commands, ran) = stage.counted(|| ran(stage, peer, shape, cast, time))?;
    Ok(Some(commands as f64 / ran.count()))
}

/// Many names that are held by one process and waited for by another.
pub(crate) fn waiters(stage: &Stage, peer: &Peer, plan: &Plan) -> Result<Figures> {
    const WATCHDOG: Duration = Duration::from_secs(30);
    let (names, prefix) = (plan.names, unique_name(peer.name));
    let mut holder = stage.start(peer, Way::Near, WATCHDOG)?;
    let mut waiter = stage.start(peer, Way::Near, WATCHDOG)?;
    let hold = Order::Hold {
        names,
        prefix: prefix.clone(),
    };
    holder.ask(hold.clone(), SLACK)?;
    let mut figures = Figures::new();
    let (granted, last);
    let started;
    if peer.is_limit() {
        // With nobody to wait: the scripts that it takes at least.
        started = two_numbers(&holder.ask(Order::Release, SLACK)?)?.1;
        granted = two_numbers(&waiter.ask(hold, SLACK)?)?.0;
        last = now();
    } else {
        let before = waiter.memory();
        waiter.ask(Order::Wait { names, prefix }, SLACK)?;
        if let Some(seconds) = settle(stage, plan) {
            figures.insert(Metric::AllWait, seconds);
        }
        let (commands, ()) = stage.counted(|| {
            sleep(plan.idle);
            Ok(())
        })?;
        let idle = commands as f64 / plan.idle.as_secs_f64();
        figures.insert(Metric::IdleCommands, idle);
        figures.insert(
            Metric::KibPerWaiter,
            (waiter.memory() - before) / names as f64,
        );
        let within = plan.patience;
        waiter.tell(Order::Granted { within })?;
        started = two_numbers(&holder.ask(Order::Release, SLACK)?)?.1;
        (granted, last) = two_numbers(&waiter.answer(within + SLACK)?)?;
    }
    figures.insert(Metric::Ungranted, (names - granted.min(names)) as f64);
    if granted == names {
        let seconds = last.saturating_sub(started) as f64 / 1e6;
        figures.insert(Metric::LastGrant, seconds);
    }
    drop((holder, waiter));
    stage.clear();
    Ok(figures)
}

/// Seconds until the server has little to do; `None` where that never comes, since waiters poll.
fn settle(stage: &Stage, plan: &Plan) -> Option<f64> {
    let started = Instant::now();
    let mut before = stage.all_commands();
    while started.elapsed() < plan.patience / 2 {
        let quiet_from = started.elapsed();
        sleep(SETTLED);
        let now = stage.all_commands();
        if now - before <= plan.names / 50 {
            return Some(quiet_from.as_secs_f64());
        }
        before = now;
    }
    None
}

/// Many holds, and what it costs to renew them.
pub(crate) fn holds(stage: &Stage, peer: &Peer, plan: &Plan) -> Result<Figures> {
    let mut child = stage.start(peer, Way::Near, plan.watchdog)?;
    let prefix = unique_name(peer.name);
    let names = plan.names;
    let (count, micros) = two_numbers(&child.ask(Order::Hold { names, prefix }, SLACK)?)?;
    let mut figures = Figures::new();
    figures.insert(Metric::Acquired, count as f64 * 1e6 / micros as f64);
    if !peer.is_limit() {
        let round = plan.watchdog / 3;
        let rounds = f64::from(plan.renewals);
        // All were taken at about the same time; from between two rounds to between two others.
        sleep(round / 2);
        let (client_before, server_before) = (child.cpu(), stage.server_cpu());
        sleep(round * plan.renewals);
        let client = (child.cpu() - client_before) * 1e3 / rounds;
        let server = (stage.server_cpu() - server_before) * 1e3 / rounds;
        let (commands, ()) = stage.counted(|| {
            sleep(round);
            Ok(())
        })?;
        figures.insert(Metric::RoundClientCpu, client);
        figures.insert(Metric::RoundServerCpu, server);
        figures.insert(Metric::RoundCommands, commands as f64);
    }
    let (released, _) = two_numbers(&child.ask(Order::Release, SLACK)?)?;
    figures.insert(Metric::Lost, (names - released.min(names)) as f64);
    drop(child);
    stage.clear();
    Ok(figures)
}

/// How many, and the other number, of an answer such as `held 10000 123456`.
fn two_numbers(answer: &str) -> Result<(u64, u64)> {
    let mut words = answer.split_whitespace();
    next::<String>(&mut words)?;
    Ok((next(&mut words)?, next(&mut words)?))
}
