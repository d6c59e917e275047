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
