//! Clients that all want the same: one lock, or what is left of a stock.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redlatch_support::unique_name;
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    contender::{self, Contender},
    figures::{Figures, Metric},
    kit::{Result, at_share, jain},
    options::Plan,
    system::System,
};

/// How long a turn may take beyond what it is to take.
const SLACK: Duration = Duration::from_secs(60);
/// Before a turn is measured.
const WARM_UP: u32 = 10;

/// One critical section.
#[derive(Clone, Copy, Debug)]
struct Section {
    client: usize,
    asked: Instant,
    granted: Instant,
    released: Instant,
}

/// Each with a connection of its own, as if it were a process of its own.
async fn crowd(
    system: &'static System,
    address: &str,
    plan: &Plan,
    count: usize,
) -> Result<Vec<Box<dyn Contender>>> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        crowd.push(contender::connect(system, address, plan.lease).await?);
    }
    Ok(crowd)
}

/// One client, a lock that nobody else wants.
pub(crate) async fn alone(system: &'static System, address: &str, plan: &Plan) -> Result<Figures> {
    let sections = run(system, address, plan, 1).await?;
    let seconds = plan.slice.as_secs_f64();
    Ok([(Metric::Alone, sections.len() as f64 / seconds)].into())
}

/// All clients, one lock.
pub(crate) async fn contended(
    system: &'static System,
    address: &str,
    plan: &Plan,
) -> Result<Figures> {
    let sections = run(system, address, plan, plan.clients).await?;
    Ok(told(sections, plan.clients, plan.slice))
}

async fn run(
    system: &'static System,
    address: &str,
    plan: &Plan,
    clients: usize,
) -> Result<Vec<Section>> {
    let name = unique_name("contended");
    let start = Arc::new(Barrier::new(clients));
    let (warm_up, slice) = (plan.slice / WARM_UP, plan.slice);
    let mut tasks = JoinSet::new();
    for (client, contender) in crowd(system, address, plan, clients)
        .await?
        .into_iter()
        .enumerate()
    {
        let (name, start) = (name.clone(), start.clone());
        tasks.spawn(async move {
            start.wait().await;
            let from = Instant::now() + warm_up;
            cycles(contender, client, &name, from, slice).await
        });
    }
    let all = async {
        let mut sections = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            sections.extend(ended??);
        }
        Ok(sections)
    };
    timeout(warm_up + slice + SLACK, all)
        .await
        .map_err(|_| "the load did not come to its end")?
}

/// Those that end within `slice` from `from`.
async fn cycles(
    mut contender: Box<dyn Contender>,
    client: usize,
    name: &str,
    from: Instant,
    slice: Duration,
) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    loop {
        let asked = Instant::now();
        contender.lock(name).await?;
        let granted = Instant::now();
        let released = granted;
        contender.unlock().await?;
        if released >= from + slice {
            return Ok(sections);
        }
        if granted >= from {
            sections.push(Section {
                client,
                asked,
                granted,
                released,
            });
        }
    }
}

/// What the sections of one name tell.
fn told(mut sections: Vec<Section>, clients: usize, slice: Duration) -> Figures {
    sections.sort_by_key(|section| section.granted);
    let (mut wake_ups, mut overlaps) = (Vec::new(), 0);
    for pair in sections.windows(2) {
        if let [before, after] = pair {
            overlaps += u64::from(after.granted < before.released);
            if after.client != before.client {
                wake_ups.push(micros(after.granted - before.released));
            }
        }
    }
    let waits = sections.iter().map(|one| micros(one.granted - one.asked));
    let had = |client| sections.iter().filter(|one| one.client == client).count();
    [
        (
            Metric::Contended,
            sections.len() as f64 / slice.as_secs_f64(),
        ),
        (Metric::Moved, wake_ups.len() as f64 / slice.as_secs_f64()),
        (Metric::WakeUp, at_share(wake_ups.clone(), 0.5) / 1e3),
        (Metric::WakeUpMost, at_share(wake_ups, 0.99) / 1e3),
        (Metric::WaitLongest, at_share(waits.collect(), 1.0) / 1e3),
        (
            Metric::Jain,
            jain((0..clients).map(|client| had(client) as u64)),
        ),
        (Metric::Overlaps, overlaps as f64),
    ]
    .into()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// All clients sell until nothing is left.
pub(crate) async fn sale(system: &'static System, address: &str, plan: &Plan) -> Result<Figures> {
    let mut crowd = crowd(system, address, plan, plan.clients).await?;
    let mut desk = contender::connect(system, address, plan.lease).await?;
    desk.set_stock(plan.items).await?;
    let start = Instant::now();
    let mut tasks: JoinSet<Result<(u64, u64)>> = JoinSet::new();
    for mut contender in crowd.drain(..) {
        tasks.spawn(async move {
            let (mut sold, mut again) = (0, 0);
            loop {
                let sale = contender.sell().await?;
                again += sale.again;
                if !sale.sold {
                    return Ok((sold, again));
                }
                sold += 1;
            }
        });
    }
    let all = async {
        let (mut sold, mut again) = (0, 0);
        while let Some(ended) = tasks.join_next().await {
            let one = ended??;
            (sold, again) = (sold + one.0, again + one.1);
        }
        Result::<(u64, u64)>::Ok((sold, again))
    };
    let (sold, again) = timeout(SLACK, all)
        .await
        .map_err(|_| "the sale did not come to its end")??;
    let seconds = start.elapsed().as_secs_f64();
    let left = desk.stock().await?;
    if sold + left < plan.items {
        return Err(format!("{sold} sold and {left} left of {}", plan.items).into());
    }
    Ok([
        (Metric::Sold, sold as f64 / seconds),
        (Metric::Again, again as f64 / sold.max(1) as f64),
        (Metric::Oversold, (sold + left - plan.items) as f64),
    ]
    .into())
}

/// One client after the other, again and again, as long as the caller likes: when did it get anything?
pub(crate) async fn pulse(
    system: &'static System,
    address: String,
    lease: Duration,
    beats: tokio::sync::mpsc::UnboundedSender<Instant>,
) {
    const PAUSE: Duration = Duration::from_millis(5);
    let name = unique_name("pulse");
    let mut client = None;
    while !beats.is_closed() {
        let beat = async {
            let contender = match &mut client {
                Some(contender) => contender,
                None => client.insert(contender::connect(system, &address, lease).await?),
            };
            if system.locks() {
                contender.lock(&name).await?;
                contender.unlock().await
            } else {
                contender.sell().await.map(drop)
            }
        };
        match timeout(2 * lease, beat).await {
            Ok(Ok(())) => {
                // Nobody listens any more: the loop ends.
                let _ = beats.send(Instant::now());
            }
            Ok(Err(_)) => {
                client = client.filter(|contender| !contender.is_over());
                sleep(PAUSE).await;
            }
            Err(_) => client = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_tell_who_moved_and_who_met() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let section = |client, asked, granted, released| Section {
            client,
            asked: at(asked),
            granted: at(granted),
            released: at(released),
        };
        let apart = vec![
            section(1, 0, 13, 20),
            section(0, 0, 0, 10),
            section(1, 20, 21, 30),
            section(0, 10, 35, 40),
        ];
        let figures = told(apart, 2, Duration::from_secs(2));
        assert_eq!(figures[&Metric::Contended], 2.0);
        assert_eq!(figures[&Metric::Moved], 1.0);
        assert_eq!(figures[&Metric::WakeUp], 5.0);
        assert_eq!(figures[&Metric::WaitLongest], 25.0);
        assert_eq!(figures[&Metric::Jain], 1.0);
        assert_eq!(figures[&Metric::Overlaps], 0.0);
        let meet = vec![section(0, 0, 0, 10), section(1, 0, 9, 12)];
        let figures = told(meet, 2, Duration::from_secs(1));
        assert_eq!(figures[&Metric::Overlaps], 1.0);
    }
}
