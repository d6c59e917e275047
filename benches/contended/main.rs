//! What it costs to hand a lock over that many want: redlatch with and without hand-over inside a process, against the limit,
//! which is one script after the other on one connection with nobody to wake.
//!
//! ```text
//! cargo bench --bench contended              # about a minute
//! cargo bench --bench contended -- --quick   # some seconds
//! ```
//!
//! All contenders run in turns, several rounds in one go; each ratio is the median of the ratios of the rounds. Commands are
//! counted by the server. Jain's index is 1 where all tasks had the lock equally often. Round trips go by chance with the
//! core that each side runs on; to compare, have all of it on one: `taskset -c 1 cargo bench --bench contended`.

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use redlatch::{Client, Owner};
use redlatch_support::{Server, unique_name};
use tokio::{runtime, task::JoinSet};

use self::kit::{
    CpuTime, Result, Spread,
    raw::{OWNERS, Raw},
};

#[path = "../kit/mod.rs"]
mod kit;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing was measured: run `cargo bench --bench contended`");
        return ExitCode::SUCCESS;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    kit::exit_code("contended", compare(quick))
}

/// Who fights.
struct Fight {
    title: &'static str,
    clients: usize,
    tasks: usize,
    /// For how long each holds the lock.
    held: Duration,
}

const FIGHTS: [Fight; 2] = [
    Fight {
        title: "64 tasks of one client, one key",
        clients: 1,
        tasks: 64,
        held: Duration::ZERO,
    },
    Fight {
        title: "8 clients of 8 tasks, one key, held for 1 ms",
        clients: 8,
        tasks: 8,
        held: Duration::from_millis(1),
    },
];

/// One slice of one contender.
#[derive(Default)]
struct Figure {
    /// Grants that went to another task than the one before.
    moved_per_second: f64,
    commands: Option<f64>,
    cpu_us: Option<f64>,
    jain: f64,
    longest_wait: Duration,
}

fn compare(quick: bool) -> Result<()> {
    let (rounds, slice) = if quick {
        (3, Duration::from_millis(300))
    } else {
        (7, Duration::from_secs(1))
    };
    let (server, url) = kit::server()?;
    let who = kit::who(server.as_ref());
    println!("one lock from hand to hand, over loopback: {who}");
    println!("{rounds} rounds of {slice:?} each in turns; medians");
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    for fight in FIGHTS {
        runtime.block_on(case(&fight, rounds, slice, &url, server.as_ref()))?;
    }
    Ok(())
}

async fn case(
    fight: &Fight,
    rounds: usize,
    slice: Duration,
    url: &str,
    server: Option<&Server>,
) -> Result<()> {
    let (mut passing, mut freeing) = (Vec::new(), Vec::new());
    for _ in 0..fight.clients {
        passing.push(Client::connect(url).await?);
        let builder = Client::builder().url(url)?;
        let builder = builder.local_hand_over(0, Duration::ZERO);
        freeing.push(builder.connect().await?);
    }
    let fred = Raw::connect(url).await?;
    let mut figures = [const { Vec::new() }; 3];
    for round in 0..=rounds {
        let all = [
            ours(&passing, fight, slice, server).await?,
            ours(&freeing, fight, slice, server).await?,
            limit(&fred, fight, slice, server).await?,
        ];
        // The first warms up.
        if round > 0 {
            for (figures, figure) in figures.iter_mut().zip(all) {
                figures.push(figure);
            }
        }
    }
    for client in passing.into_iter().chain(freeing) {
        client.close(Duration::from_secs(2)).await;
    }
    fred.close().await?;
    report(fight.title, &figures);
    Ok(())
}

fn report(title: &str, figures: &[Vec<Figure>; 3]) {
    println!(
        "\n{title}\n{:<28}{:>10}{:>10}{:>10}{:>9}{:>7}{:>14}",
        "", "moved/s", "of limit", "commands", "CPU us", "Jain", "longest wait"
    );
    let rows = ["redlatch", "without hand-over", "limit"];
    for (row, contender) in rows.iter().zip(figures) {
        let middle = |figure: &dyn Fn(&Figure) -> Option<f64>| {
            Spread::of(contender.iter().filter_map(figure)).map(|spread| spread.median)
        };
        let ratios = contender
            .iter()
            .zip(&figures[2])
            .map(|(ours, limit)| ours.moved_per_second / limit.moved_per_second);
        let ratio = Spread::of(ratios).map(|spread| spread.median);
        let text = |figure: Option<f64>, digits: usize| {
            figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
        };
        let longest = contender.iter().map(|figure| figure.longest_wait).max();
        println!(
            "{row:<28}{:>10}{:>10}{:>10}{:>9}{:>7}{:>14}",
            text(middle(&|figure| Some(figure.moved_per_second)), 0),
            text(ratio, 2),
            text(middle(&|figure| figure.commands), 2),
            text(middle(&|figure| figure.cpu_us), 1),
            text(middle(&|figure| Some(figure.jain)), 3),
            format!("{:.1?}", longest.unwrap_or_default()),
        );
    }
}

/// What the tasks had: who had it last, how often it went to another, how often each had it, how long any waited.
#[derive(Default)]
struct Tally {
    last: Option<usize>,
    moved: u64,
    had: Vec<u64>,
    longest_wait: Duration,
}

async fn ours(
    clients: &[Client],
    fight: &Fight,
    slice: Duration,
    server: Option<&Server>,
) -> Result<Figure> {
    let name = unique_name("contended");
    let tally = Arc::new(Mutex::new(Tally {
        had: vec![0; clients.len() * fight.tasks],
        ..Tally::default()
    }));
    let mut all = JoinSet::new();
    let before = Before::now(server);
    let until = Instant::now() + slice;
    for (at, client) in clients.iter().enumerate() {
        for task in 0..fight.tasks {
            let lock = client.lock(name.as_str()).with_owner(Owner::fresh());
            let (tally, number, held) = (tally.clone(), at * fight.tasks + task, fight.held);
            all.spawn(async move {
                while Instant::now() < until {
                    let asked = Instant::now();
                    let guard = lock.lock().await?;
                    {
                        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                        tally.longest_wait = tally.longest_wait.max(asked.elapsed());
                        tally.had[number] += 1;
                        tally.moved += u64::from(tally.last.replace(number) != Some(number));
                    }
                    if !held.is_zero() {
                        tokio::time::sleep(held).await;
                    }
                    guard.unlock().await?;
                }
                Ok::<_, redlatch::Error>(())
            });
        }
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(before.figure(tally.moved, &tally.had, tally.longest_wait, server))
}

/// One script a hand-over, one after the other: no round trip can be saved.
async fn limit(
    raw: &Raw,
    fight: &Fight,
    slice: Duration,
    server: Option<&Server>,
) -> Result<Figure> {
    let name = unique_name("limit");
    raw.acquire(&name, OWNERS[0], 1).await?;
    let before = Before::now(server);
    let until = Instant::now() + slice;
    let mut passes = 0;
    while Instant::now() < until {
        if !fight.held.is_zero() {
            tokio::time::sleep(fight.held).await;
        }
        let [from, to] = if passes % 2 == 0 { [0, 1] } else { [1, 0] }.map(|at: usize| OWNERS[at]);
        raw.pass(&name, from, to).await?;
        passes += 1;
    }
    Ok(before.figure(passes, &[1], Duration::ZERO, server))
}

/// What was at the start.
struct Before {
    started: Instant,
    cpu: Option<CpuTime>,
    commands: Option<u64>,
}

fn commands(server: Option<&Server>) -> Option<u64> {
    let direct = server?.direct();
    let sent = ["evalsha", "subscribe", "unsubscribe", "publish"];
    Some(
        sent.iter()
            .map(|command| direct.command_calls(command))
            .sum(),
    )
}

impl Before {
    fn now(server: Option<&Server>) -> Self {
        Self {
            started: Instant::now(),
            cpu: CpuTime::now(),
            commands: commands(server),
        }
    }

    fn figure(
        self,
        moved: u64,
        had: &[u64],
        longest_wait: Duration,
        server: Option<&Server>,
    ) -> Figure {
        let elapsed = self.started.elapsed().as_secs_f64();
        let commands = commands(server).zip(self.commands);
        let cpu = CpuTime::now().zip(self.cpu);
        let (sum, squares) = had.iter().fold((0.0, 0.0), |(sum, squares), had| {
            let had = *had as f64;
            (sum + had, squares + had * had)
        });
        let moved = moved as f64;
        Figure {
            moved_per_second: moved / elapsed,
            commands: commands.map(|(now, before)| (now - before) as f64 / moved),
            cpu_us: cpu.map(|(now, before)| (now.own - before.own) * 1e6 / moved),
            jain: sum * sum / (had.len() as f64 * squares),
            longest_wait,
        }
    }
}
