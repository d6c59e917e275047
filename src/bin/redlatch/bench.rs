//! `redlatch bench`: how fast this server locks, from here.

use std::{sync::Arc, time::Duration};

use redlatch::{Client, Lock, Owner};
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    args::{At, Bench},
    exit::{Code, Failure},
    look::detail::epoch_ms,
    print,
    server::Server,
    span::ms,
};

#[derive(Serialize)]
struct Report {
    name: String,
    seconds: f64,
    tasks: u32,
    uncontended: Part,
    contended: Part,
}

/// One way of wanting a lock.
#[derive(Serialize)]
struct Part {
    pairs_per_second: f64,
    /// How long a grant took, in microseconds.
    median_us: u64,
    p99_us: u64,
    longest_us: u64,
}

pub(crate) async fn bench(at: &At, bench: &Bench, json: bool) -> Result<Code, Failure> {
    let server = Server::connect(at, |builder| builder).await?;
    let name = format!("{}{}-{}", bench.prefix, epoch_ms(), server.client.id());
    let outcome = measure(&server.client, &name, bench).await;
    server.client.close(Duration::from_secs(3)).await;
    let report = outcome?;
    if json {
        print::lines([print::json(&report)]);
        return Ok(Code::Done);
    }
    let row = |title: &str, part: &Part| {
        vec![
            title.to_owned(),
            format!("{:.0}", part.pairs_per_second),
            micros(part.median_us),
            micros(part.p99_us),
            micros(part.longest_us),
        ]
    };
    let titles = ["", "PAIRS/S", "MEDIAN", "99%", "LONGEST"];
    let contended = format!("{} tasks, one lock", report.tasks);
    let rows = [
        row("one task, one lock", &report.uncontended),
        row(&contended, &report.contended),
    ];
    print::lines(print::table(&titles, &rows));
    Ok(Code::Done)
}

async fn measure(client: &Client, name: &str, bench: &Bench) -> Result<Report, Failure> {
    let lock = client.lock(name);
    // The scripts are there after that.
    lock.lock().await?.unlock().await?;
    let uncontended = part(&lock, 1, bench.time).await?;
    let contended = part(&lock, bench.tasks, bench.time).await?;
    Ok(Report {
        name: name.to_owned(),
        seconds: bench.time.as_secs_f64(),
        tasks: bench.tasks,
        uncontended,
        contended,
    })
}

/// Lock and unlock, again and again, by so many tasks.
async fn part(lock: &Lock, tasks: u32, time: Duration) -> Result<Part, Failure> {
    let begun = Instant::now();
    let end = begun + time;
    let mut work = JoinSet::new();
    let start = Arc::new(tokio::sync::Barrier::new(tasks as usize));
    for _ in 0..tasks {
        let (lock, start) = (lock.with_owner(Owner::fresh()), start.clone());
        work.spawn(async move {
            let mut took = Vec::new();
            start.wait().await;
            while Instant::now() < end {
                let asked = Instant::now();
                let grant = tokio::select! {
                    grant = lock.lock().into_future() => grant?,
                    // Whoever waits at the end waits no longer.
                    () = sleep_until(end) => break,
                };
                took.push(asked.elapsed());
                grant.unlock().await?;
            }
            Ok::<_, redlatch::Error>(took)
        });
    }
    let mut took = Vec::new();
    while let Some(done) = work.join_next().await {
        let done = done.map_err(|error| Failure::server(error.to_string()))?;
        took.extend(done?);
    }
    let over = begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: usize| {
        let which = (took.len() * share / 100).min(took.len().saturating_sub(1));
        let time = took.get(which).copied().unwrap_or_default();
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
    };
    // Few enough to be exact.
    #[allow(clippy::cast_precision_loss)]
    let pairs = took.len() as f64;
    Ok(Part {
        pairs_per_second: (pairs / over).round(),
        median_us: at(50),
        p99_us: at(99),
        longest_us: at(100),
    })
}

fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        _ => {
            let time = Duration::from_micros(us);
            format!("{}.{:02}ms", ms(time), us % 1_000 / 10)
        }
    }
}
