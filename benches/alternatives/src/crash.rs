//! Somebody dies: the holder, or the server.

use std::time::{Duration, Instant};

use redlatch_support::unique_name;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, block_in_place},
    time::{sleep, timeout},
};

use crate::{
    contender,
    figures::{Figures, Metric},
    holder::Holder,
    kit::Result,
    load::pulse,
    options::Plan,
    server::Server,
    system::System,
};

/// How many leases are waited for what may never come.
pub(crate) const PATIENCE: u32 = 3;
/// How many halves of a lease a restarted server is watched: a lock that nobody renews is over by then.
const WATCHED: u32 = 3;
/// How many leases a standstill may last until it is no longer waited for.
pub(crate) const STANDSTILL: u32 = 4;
/// Until who waits surely waits.
const SETTLED: Duration = Duration::from_millis(300);

/// Wants the lock, and says when it had it.
fn next(
    system: &'static System,
    address: &str,
    lease: Duration,
    name: &str,
) -> JoinHandle<Result<Instant>> {
    let (address, name) = (address.to_owned(), name.to_owned());
    tokio::spawn(async move {
        let mut contender = contender::connect(system, &address, lease).await?;
        contender.lock(&name).await?;
        let granted = Instant::now();
        contender.unlock().await?;
        Ok(granted)
    })
}

/// Infinite where it does not come within the time.
async fn granted(
    waiting: &mut JoinHandle<Result<Instant>>,
    since: Instant,
    limit: Duration,
) -> Result<f64> {
    match timeout(limit, waiting).await {
        Ok(ended) => Ok(ended??.saturating_duration_since(since).as_secs_f64()),
        Err(_) => Ok(f64::INFINITY),
    }
}

/// The process that holds the lock is killed; and another is stopped, and later goes on.
pub(crate) async fn holder(
    system: &'static System,
    address: &str,
    plan: &Plan,
    round: usize,
) -> Result<Figures> {
    let (lease, patience) = (plan.lease, plan.lease * PATIENCE);
    // Not always at the same time of a renewal.
    let phase = SETTLED + lease / 10 * (round % 4) as u32;

    let name = unique_name("killed");
    let mut holder = Holder::start(system, address, lease, &name).await?;
    let mut waiting = next(system, address, lease, &name);
    sleep(phase).await;
    holder.kill()?;
    let killed = granted(&mut waiting, Instant::now(), patience).await?;
    if killed.is_infinite() {
        return Err(format!("nobody had the lock {patience:?} after its holder was killed").into());
    }

    let name = unique_name("frozen");
    let mut holder = Holder::start(system, address, lease, &name).await?;
    let mut waiting = next(system, address, lease, &name);
    sleep(phase).await;
    holder.freeze()?;
    let frozen = granted(&mut waiting, Instant::now(), patience).await?;
    let mut figures = Figures::from([(Metric::Killed, killed), (Metric::Frozen, frozen)]);
    // Where nobody had it, it has lost nothing.
    if frozen.is_finite() {
        holder.thaw()?;
        let since = Instant::now();
        let told = holder.told(since + patience).await;
        let told = told.map_or(f64::INFINITY, |at| (at - since).as_secs_f64());
        figures.insert(Metric::FrozenTold, told);
    }
    drop(holder);
    waiting.abort();
    Ok(figures)
}

/// The server is killed and started again, with what it has on its disk, while somebody holds a lock.
pub(crate) async fn server(
    system: &'static System,
    server: &mut dyn Server,
    plan: &Plan,
) -> Result<Figures> {
    let (address, lease) = (server.address(), plan.lease);
    let name = unique_name("server");
    let mut holder = match system.locks() {
        true => Some(Holder::start(system, &address, lease, &name).await?),
        false => {
            let mut desk = contender::connect(system, &address, lease).await?;
            desk.set_stock(1_000_000).await?;
            None
        }
    };
    let (beat, mut beats) = mpsc::unbounded_channel();
    let heart = tokio::spawn(pulse(system, address.clone(), lease, beat));
    // Somebody is served before it dies.
    timeout(lease, beats.recv())
        .await?
        .ok_or("nobody could lock before the server was killed")?;
    sleep(SETTLED).await;

    let dead = Instant::now();
    block_in_place(|| {
        server.kill();
        server.restart()
    })?;
    let until = Instant::now() + lease * WATCHED / 2;
    let mut figures = Figures::new();
    if let Some(holder) = &mut holder {
        let mut waiting = next(system, &address, lease, &name);
        let limit = until.saturating_duration_since(Instant::now());
        let granted = granted(&mut waiting, dead, limit).await?;
        waiting.abort();
        let told = holder.told(until).await;
        let told = told.map_or(f64::INFINITY, |at| {
            at.saturating_duration_since(dead).as_secs_f64()
        });
        figures.insert(Metric::Granted, granted);
        figures.insert(Metric::Told, told);
    }
    // Until it beats again.
    let until = dead + lease * STANDSTILL;
    let mut seen = Vec::new();
    loop {
        while let Ok(beat) = beats.try_recv() {
            seen.push(beat);
        }
        let again = seen.last().is_some_and(|beat| *beat > dead + SETTLED);
        if again || Instant::now() > until {
            break;
        }
        sleep(SETTLED).await;
    }
    beats.close();
    let standstill = longest_gap(&seen, dead).map_or(f64::INFINITY, |gap| gap.as_secs_f64());
    figures.insert(Metric::Standstill, standstill);
    heart.abort();
    Ok(figures)
}

/// The longest time between two of these, of which the second is later than `from`.
fn longest_gap(beats: &[Instant], from: Instant) -> Option<Duration> {
    let pairs = beats.windows(2).filter_map(|pair| match pair {
        [before, after] if *after > from => Some(*after - *before),
        _ => None,
    });
    pairs.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standstill_is_the_longest_time_without_a_lock_after_the_server_died() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let beats = [at(0), at(500), at(510), at(800), at(810)];
        let gap = longest_gap(&beats, at(505));
        assert_eq!(gap, Some(Duration::from_millis(290)));
        assert_eq!(longest_gap(&beats, at(900)), None);
    }
}
