//! One round: the same sale by all workers at once, with one kind of lock.

use std::{process::Stdio, time::Duration};

use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    Interrupt, Result, Sale,
    locks::LockKind,
    report::{Bar, Outcome},
    shop::Shop,
    worker::Tally,
};

/// How long a worker may take to connect.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks at the shelf.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs one round; `None` when it was interrupted. However it ends, its workers have ended as well.
pub(crate) async fn run(
    kind: LockKind,
    sale: &Sale,
    urls: &[String],
    shop: &Shop,
    bar: &Bar,
    interrupt: &mut Interrupt,
) -> Result<Option<Outcome>> {
    shop.open(kind, sale.stock).await?;
    let mut workers = (0..sale.workers)
        .map(|number| Worker::start(number, kind, sale, urls, shop))
        .collect::<Result<Vec<_>>>()?;
    let outcome = tokio::select! {
        outcome = sell_out(kind, &mut workers, shop, bar) => outcome.map(Some),
        () = interrupt.heard() => Ok(None),
    };
    for worker in workers {
        worker.end().await?;
    }
    outcome
}

async fn sell_out(
    kind: LockKind,
    workers: &mut [Worker],
    shop: &Shop,
    bar: &Bar,
) -> Result<Outcome> {
    try_join_all(workers.iter_mut().map(Worker::ready)).await?;
    let started = Instant::now();
    try_join_all(workers.iter_mut().map(Worker::go)).await?;
    let tallies = tokio::select! {
        // The first worker that fails or dies ends the round: nobody waits for what the others make of it.
        tallies = try_join_all(workers.iter_mut().map(Worker::tally)) => tallies?,
        failed = watch(kind, shop, bar) => return failed,
    };
    let elapsed = started.elapsed();

    let figures = shop.figures(kind).await?;
    bar.finish(&figures);
    Ok(Outcome {
        sold: u64::try_from(figures.sold)?,
        left: figures.left,
        tally: tallies.into_iter().fold(Tally::default(), Tally::merge),
        elapsed,
    })
}

/// Shows what the server knows, for ever; ends only when the server cannot be asked.
async fn watch(kind: LockKind, shop: &Shop, bar: &Bar) -> Result<Outcome> {
    loop {
        bar.show(&shop.figures(kind).await?);
        sleep(LOOK_EVERY).await;
    }
}

/// A worker process.
struct Worker {
    number: u32,
    process: Child,
    orders: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(
        number: u32,
        kind: LockKind,
        sale: &Sale,
        urls: &[String],
        shop: &Shop,
    ) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("work")
            .args(["--prefix", shop.prefix()])
            .args(["--number", &number.to_string()])
            .args(["--tasks", &sale.tasks.to_string()])
            .args(["--think-ms", &sale.think_ms.to_string()])
            .args(["--lock", kind.name()])
            .env("REDIS_URL", urls.join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(orders), Some(reports)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("a worker has no stdin or no stdout".into());
        };
        Ok(Self {
            number,
            process,
            orders,
            reports: BufReader::new(reports).lines(),
        })
    }

    /// Ends the process, in the middle of its work if need be, and waits until it is gone.
    async fn end(mut self) -> Result<()> {
        // It may have ended by itself, which is as good.
        let _ = self.process.start_kill();
        self.process.wait().await?;
        Ok(())
    }

    async fn ready(&mut self) -> Result<()> {
        match timeout(START_LIMIT, self.report("ready")).await {
            Ok(report) => report.map(|_| ()),
            Err(_) => Err(format!("worker {} did not start in time", self.number).into()),
        }
    }

    async fn go(&mut self) -> Result<()> {
        Ok(self.orders.write_all(b"go\n").await?)
    }

    async fn tally(&mut self) -> Result<Tally> {
        Ok(self.report("done").await?.parse()?)
    }

    /// The next report, which must begin with `expected`. A worker that is killed closes its stdout, which ends this.
    async fn report(&mut self, expected: &str) -> Result<String> {
        let number = self.number;
        let Some(line) = self.reports.next_line().await? else {
            let status = self.process.wait().await?;
            return Err(format!("worker {number} ended too early: {status}").into());
        };
        match line.split_once(' ').unwrap_or((&line, "")) {
            (word, rest) if word == expected => Ok(rest.to_owned()),
            ("failed", reason) => Err(format!("worker {number}: {reason}").into()),
            _ => Err(format!("worker {number} said {line:?}").into()),
        }
    }
}
