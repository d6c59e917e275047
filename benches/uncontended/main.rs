//! What a lock that nobody else wants costs: `lock` + `unlock` with redlatch, against the same two scripts sent raw
//! through fred, and against `redis-benchmark` sending them.
//!
//! ```text
//! cargo bench --bench uncontended              # about half a minute
//! cargo bench --bench uncontended -- --quick   # a few seconds
//! ```
//!
//! All contenders run in turns, several rounds in one go, so that a machine that gets slower meanwhile gets slower for
//! all of them; each ratio is the median of the ratios of the rounds. The server is one of our own, or the one that
//! `REDIS_URL` names.
//!
//! With one task, client and server take turns, and most of a pair is two wake-ups: where the system runs them on two
//! cores, one of which has gone to sleep each time, everybody is slower by half and the ratios say little. Look at the
//! lowest and the highest, and in doubt have all of it on one core: `taskset -c 1 cargo bench --bench uncontended`.
//!
//! The figures of `redis-benchmark` come from two runs, one for each script, on keys that make both take the path they
//! take here: the acquire on names that are free, the release on names that are held (nearly all of them; a name drawn
//! twice is not held any more the second time).

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use redlatch_support::unique_name;
use tokio::{runtime, task::JoinSet};

use self::kit::{
    CpuTime, Result, Spread,
    raw::{OWNERS, Raw, announcement},
    tool::{Figure, HELD_PER_RELEASE, Tool, find_tool},
};

#[path = "../kit/mod.rs"]
mod kit;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing was measured: run `cargo bench --bench uncontended`");
        return ExitCode::SUCCESS;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    kit::exit_code("uncontended", compare(quick))
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    slice: Duration,
}

fn compare(quick: bool) -> Result<()> {
    let plan = if quick {
        Plan {
            rounds: 5,
            slice: Duration::from_millis(150),
        }
    } else {
        Plan {
            rounds: 13,
            slice: Duration::from_millis(250),
        }
    };
    let (server, url) = kit::server()?;
    let who = kit::who(server.as_ref());
    println!("lock + unlock, uncontended, over loopback: {who}");
    println!(
        "{} rounds of {:?} each in turns; medians, with the lowest and the highest",
        plan.rounds, plan.slice
    );
    let tool = find_tool(server.as_ref());
    if let Err(reason) = &tool {
        println!("without redis-benchmark: {reason}");
    }
    let tool = tool.ok();

    let one = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    one.block_on(case(
        "1 task, current-thread runtime",
        1,
        plan,
        &url,
        tool.as_ref(),
    ))?;
    let many = runtime::Builder::new_multi_thread().enable_all().build()?;
    many.block_on(case(
        "64 tasks on a name each, multi-thread runtime",
        64,
        plan,
        &url,
        tool.as_ref(),
    ))
}

/// All contenders in turns.
async fn case(title: &str, tasks: usize, plan: Plan, url: &str, tool: Option<&Tool>) -> Result<()> {
    let redlatch = redlatch::Client::connect(url).await?;
    let fred = Raw::connect(url).await?;
    let prefix = unique_name("bench");
    let warm_up = plan.slice / 2;
    let ours = |slice| with_redlatch(&redlatch, &prefix, tasks, slice);
    let theirs = |slice| with_fred(&fred, &prefix, tasks, slice);
    ours(warm_up).await?;
    let pace = theirs(warm_up).await?.pairs_per_second;
    // As many as take about half a slice, for either script.
    let requests = (pace * plan.slice.as_secs_f64()) as u64;

    let mut figures = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..plan.rounds {
        figures[0].push(ours(plan.slice).await?);
        figures[1].push(theirs(plan.slice).await?);
        if let Some(tool) = tool {
            let names = format!("{prefix}:{round}:{{held}}:");
            fred.hold_many(&names, requests * HELD_PER_RELEASE).await?;
            figures[2].push(tool.measure(url, &prefix, &names, tasks, requests)?);
        }
    }
    redlatch.close(Duration::from_secs(2)).await;
    fred.close().await?;

    println!(
        "\n{title}\n{:<28}{:>9}{:>20}{:>14}",
        "", "pairs/s", "", "CPU us/pair"
    );
    let rows = [
        "redlatch".to_owned(),
        "raw fred".to_owned(),
        format!("redis-benchmark -c {tasks}"),
    ];
    for (row, figures) in rows.iter().zip(&figures) {
        if figures.is_empty() {
            continue;
        }
        let pace = Spread::of(figures.iter().map(|figure| figure.pairs_per_second));
        let cpu = Spread::of(figures.iter().filter_map(|figure| figure.cpu_us));
        let cpu = cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{:.1}", cpu.median));
        if let Some(pace) = pace {
            let range = format!("{:.0} .. {:.0}", pace.lowest, pace.highest);
            println!("{row:<28}{:>9.0}{range:>20}{cpu:>14}", pace.median);
        }
    }
    for (other, contender) in [(1, "raw fred"), (2, "redis-benchmark")] {
        let ratios = figures[0]
            .iter()
            .zip(&figures[other])
            .map(|(ours, other)| ours.pairs_per_second / other.pairs_per_second);
        if let Some(ratio) = Spread::of(ratios) {
            let range = format!("{:.2} .. {:.2}", ratio.lowest, ratio.highest);
            println!(
                "{:<28}{:>9.2}{range:>20}",
                format!("redlatch / {contender}"),
                ratio.median
            );
        }
    }
    Ok(())
}

async fn with_redlatch(
    client: &redlatch::Client,
    prefix: &str,
    tasks: usize,
    slice: Duration,
) -> Result<Figure> {
    let pairs = (0..tasks).map(|task| {
        let lock = client.lock(format!("{prefix}:ours:{task}"));
        async move |until: Instant| {
            let mut pairs = 0_u64;
            while Instant::now() < until {
                lock.lock().await?.unlock().await?;
                pairs += 1;
            }
            Ok(pairs)
        }
    });
    let pairs: Vec<_> = pairs.collect();
    timed(slice, |until, all| {
        for pair in pairs {
            all.spawn(async move { pair(until).await });
        }
    })
    .await
}

async fn with_fred(raw: &Raw, prefix: &str, tasks: usize, slice: Duration) -> Result<Figure> {
    timed(slice, |until, all| {
        for task in 0..tasks {
            let raw = raw.clone();
            let name = format!("{prefix}:raw:{task}");
            let announcement = announcement(&name);
            all.spawn(async move {
                let mut pairs = 0_u64;
                while Instant::now() < until {
                    raw.acquire(&name, OWNERS[0], 1).await?;
                    raw.release(&name, OWNERS[0], 0, &announcement).await?;
                    pairs += 1;
                }
                Ok(pairs)
            });
        }
    })
    .await
}

/// Runs what `spawn` spawns and adds up its pairs.
async fn timed(
    slice: Duration,
    spawn: impl FnOnce(Instant, &mut JoinSet<Result<u64>>),
) -> Result<Figure> {
    let mut all = JoinSet::new();
    let cpu = CpuTime::now();
    let started = Instant::now();
    spawn(started + slice, &mut all);
    let mut pairs = 0;
    while let Some(ended) = all.join_next().await {
        pairs += ended??;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = cpu.and_then(|before| Some(CpuTime::now()?.own - before.own));
    let pairs = pairs as f64;
    Ok(Figure {
        pairs_per_second: pairs / elapsed,
        cpu_us: cpu.map(|seconds| seconds * 1e6 / pairs),
    })
}
