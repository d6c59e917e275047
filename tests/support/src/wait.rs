//! Waiting for a condition by asking again and again, never by sleeping a fixed time.

use std::time::{Duration, Instant};

/// The pause between two looks at a condition.
const STEP: Duration = Duration::from_millis(2);

/// Blocks until `condition` holds, looking every 2 ms.
///
/// # Panics
///
/// After `timeout`, naming `what` was waited for.
#[track_caller]
pub fn eventually(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < timeout,
            "waited {timeout:?} for {what}, which did not come about"
        );
        std::thread::sleep(STEP);
    }
}

/// Waits until `condition` holds, looking every 2 ms and leaving the thread to others in between.
///
/// The time limit is measured on the machine's clock, so it also holds in a runtime whose own clock is paused.
///
/// # Panics
///
/// After `timeout`, naming `what` was waited for.
pub async fn eventually_async<C>(what: &str, timeout: Duration, mut condition: C)
where
    C: AsyncFnMut() -> bool,
{
    let begun = Instant::now();
    while !condition().await {
        assert!(
            begun.elapsed() < timeout,
            "waited {timeout:?} for {what}, which did not come about"
        );
        tokio::time::sleep(STEP).await;
    }
}

/// The residue of a client that is done.
pub const NOTHING_LEFT: &str =
    "Residue { names: 0, channels: 0, sleepers: 0, holds: 0, background: 0 }";

/// How many tasks live on this runtime.
///
/// # Panics
///
/// Outside of a runtime.
#[track_caller]
pub fn alive_tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

/// The number of tasks once it has stood for a second: all connections are there.
///
/// # Panics
///
/// After `timeout`.
pub async fn settled_tasks(timeout: Duration) -> usize {
    let mut seen = (alive_tasks(), Instant::now());
    eventually_async("the number of tasks to settle", timeout, async || {
        if alive_tasks() != seen.0 {
            seen = (alive_tasks(), Instant::now());
        }
        seen.1.elapsed() > Duration::from_secs(1)
    })
    .await;
    seen.0
}

/// The pause between two looks at several servers.
const LONG_STEP: Duration = Duration::from_millis(10);
/// How long servers may take to agree on something.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Blocks until `look` succeeds, looking every 10 ms for [`LIMIT`] at most; an error tells what it saw last.
pub(crate) fn settled<T>(
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(seen) if begun.elapsed() > LIMIT => {
                return Err(format!(
                    "waited {LIMIT:?} for {what}, which did not come about; the last thing seen: {seen}"
                ));
            }
            Err(_) => std::thread::sleep(LONG_STEP),
        }
    }
}

/// What was waited for.
#[track_caller]
pub(crate) fn done<T>(outcome: Result<T, String>) -> T {
    outcome.unwrap_or_else(|error| panic!("{error}"))
}
