//! A worker process: connects, says that it is ready, waits for the start, sells until the shelf is empty, and reports.
//!
//! It talks to the sale over its own stdin and stdout, one line for each step: `ready`, then `go` from the sale, then
//! `done` with its figures or `failed` with a reason. When its stdin closes, the sale is gone and so is the worker.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use crate::{
    Result,
    locks::{LockKind, Turn},
    runtime,
    shop::Shop,
};

/// What one worker has to do. The servers' addresses come in `REDIS_URL`: they may hold a password, and command lines
/// are for everybody to see.
#[derive(Args, Clone)]
pub(crate) struct Job {
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_delimiter = ',')]
    pub(crate) redis_urls: Vec<String>,
    #[arg(long)]
    pub(crate) prefix: String,
    #[arg(long)]
    pub(crate) number: u32,
    #[arg(long)]
    pub(crate) tasks: u32,
    #[arg(long)]
    pub(crate) think_ms: u32,
    #[arg(long)]
    pub(crate) lock: LockKind,
}

/// What one worker, or all of them, did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Pieces sold.
    pub(crate) sold: u64,
    /// Pieces sold right after somebody else's.
    pub(crate) hand_overs: u64,
    /// The longest wait for the lock.
    pub(crate) longest_wait: Duration,
}

impl Tally {
    pub(crate) fn merge(self, other: Self) -> Self {
        Self {
            sold: self.sold + other.sold,
            hand_overs: self.hand_overs + other.hand_overs,
            longest_wait: self.longest_wait.max(other.longest_wait),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = self.longest_wait.as_micros();
        write!(f, "{} {} {wait}", self.sold, self.hand_overs)
    }
}

impl FromStr for Tally {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let numbers: Option<Vec<u64>> = line.split(' ').map(|word| word.parse().ok()).collect();
        match numbers.as_deref() {
            Some([sold, hand_overs, wait]) => Ok(Self {
                sold: *sold,
                hand_overs: *hand_overs,
                longest_wait: Duration::from_micros(*wait),
            }),
            _ => Err(format!("{line:?} is no tally")),
        }
    }
}

/// The worker's whole life.
pub(crate) fn run(job: Job) -> Result<ExitCode> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        // Ctrl-C reaches every process of a terminal at once. The sale hears it too and ends its workers.
        let _ignored = signal(SignalKind::interrupt())?;
        work(job).await
    });
    let code = match outcome {
        Ok(tally) => {
            say(format_args!("done {tally}"))?;
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Where the sale is gone, nobody hears this, and nobody has to.
            let _ = say(format_args!("failed {error}"));
            ExitCode::FAILURE
        }
    };
    // A read of stdin may still be under way, which nothing can stop; it is not waited for.
    runtime.shutdown_background();
    Ok(code)
}

/// One line to the sale.
fn say(line: fmt::Arguments<'_>) -> Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

async fn work(job: Job) -> Result<Tally> {
    let mut orders = BufReader::new(stdin()).lines();
    let first = job.redis_urls.first().ok_or("no server is known")?;
    let shop = Shop::connect(first, &job.prefix).await?;
    let mut clients = Vec::new();
    for url in &job.redis_urls {
        clients.push(redlatch::Client::connect(url).await?);
    }
    say(format_args!("ready"))?;
    if orders.next_line().await?.as_deref() != Some("go") {
        return Err("the sale was called off".into());
    }
    let tally = tokio::select! {
        tally = sell_out(job, shop, &clients) => tally,
        // Nothing comes after "go" but the end.
        _ = orders.next_line() => Err("the sale is gone".into()),
    };
    for client in clients {
        client.close(Duration::from_secs(2)).await;
    }
    tally
}

/// Runs all tasks of this worker to their end. Leaving early ends them.
async fn sell_out(job: Job, shop: Shop, clients: &[redlatch::Client]) -> Result<Tally> {
    let turn = Arc::new(Turn::new(&job, &shop, clients)?);
    let job = Arc::new(job);
    let mut tasks = JoinSet::new();
    for task in 0..job.tasks {
        let seller = format!("{}/{task}", job.number);
        // Each task is an owner of its own: a reentrant lock keeps tasks apart, not branches of one task.
        tasks.spawn(sell_on(job.clone(), shop.clone(), turn.clone(), seller));
    }
    let mut tally = Tally::default();
    while let Some(ended) = tasks.join_next().await {
        tally = tally.merge(ended??);
    }
    Ok(tally)
}

/// One seller: sells piece after piece until none is left.
async fn sell_on(job: Arc<Job>, shop: Shop, turn: Arc<Turn>, seller: String) -> Result<Tally> {
    let mut tally = Tally::default();
    loop {
        let asked = Instant::now();
        let mut waited = Duration::ZERO;
        let sold = turn
            .sell(&job, &shop, &seller, || waited = asked.elapsed())
            .await?;
        tally.longest_wait = tally.longest_wait.max(waited);
        let Some(sold) = sold else {
            return Ok(tally);
        };
        tally.sold += 1;
        if sold.previous_seller.is_some_and(|other| other != seller) {
            tally.hand_overs += 1;
        }
    }
}
