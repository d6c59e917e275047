//! Participants written in Rust: each is this program again, in a process of its own.

mod drive;
mod limit;
mod ours;
mod redlock;
mod tool;

use std::{
    future::Future,
    io::{BufRead, Write},
    sync::Arc,
    time::Duration,
};

use tokio::runtime;

use self::drive::{Crowd, Ran};
use crate::{
    kit::Result,
    order::{Kind, Order, Run},
};

/// What a participant can do. A new one is a file that implements this.
pub(crate) trait Participant: Send + Sync + Sized + 'static {
    /// A lock of one task.
    type Lock: Send + Sync + 'static;
    /// A hold.
    type Guard: Send + 'static;

    /// `watchdog` is the time to live of what is held, where it is renewed.
    fn connect(address: &str, watchdog: Duration) -> impl Future<Output = Result<Self>> + Send;

    fn handle(&self, kind: Kind, name: &str) -> Result<Self::Lock>;

    /// Waits until it has it; `writes` counts for a read/write lock only.
    fn lock(
        &self,
        lock: &Self::Lock,
        writes: bool,
    ) -> impl Future<Output = Result<Self::Guard>> + Send;

    /// Says whether it was still held.
    fn unlock(
        &self,
        lock: &Self::Lock,
        guard: Self::Guard,
    ) -> impl Future<Output = Result<bool>> + Send;

    fn run(self: &Arc<Self>, run: &Run) -> impl Future<Output = Result<Ran>> + Send {
        drive::run(self, run)
    }
}

/// The participant of this name, until its input ends.
pub(crate) fn serve(name: &str, address: &str, watchdog: Duration) -> Result<()> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match name {
            "redlatch" => obey::<ours::Ours>(address, watchdog).await,
            "fred" => obey::<limit::Limit>(address, watchdog).await,
            "redis-benchmark" => obey::<tool::RedisBenchmark>(address, watchdog).await,
            "rslock" => obey::<redlock::RsLock>(address, watchdog).await,
            _ => Err(format!("no participant is called {name:?}").into()),
        }
    })
}

/// Reads orders and answers them.
async fn obey<P: Participant>(address: &str, watchdog: Duration) -> Result<()> {
    let participant = Arc::new(P::connect(address, watchdog).await?);
    let mut crowd = Crowd::default();
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let answer = match line?.parse::<Order>() {
            Ok(order) => answer(&participant, &mut crowd, order).await,
            Err(error) => Err(error.into()),
        };
        match answer {
            Ok(answer) => say(&answer)?,
            Err(error) => say(&format!("error {}", error.to_string().replace('\n', " ")))?,
        }
    }
    Ok(())
}

async fn answer<P: Participant>(
    participant: &Arc<P>,
    crowd: &mut Crowd<P>,
    order: Order,
) -> Result<String> {
    match order {
        Order::Run(run) => participant.run(&run).await?.told(&run.file),
        Order::Hold { names, prefix } => crowd.hold(participant, names, &prefix).await,
        Order::Release => crowd.release(participant).await,
        Order::Wait { names, prefix } => crowd.wait(participant, names, &prefix),
        Order::Granted { within } => crowd.granted(within).await,
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
