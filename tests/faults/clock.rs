//! The server's clock jumps. Nobody can prevent what comes of it; it is told, and it does not outlast the next renewal.

use std::time::{Duration, Instant};

use redlatch::LossCause;
use redlatch_support::{ShiftedClock, eventually_async};

use crate::kit::{close, connect, secs, within};

const WATCHDOG: Duration = secs(3);

/// All times are over at once: another gets in, and the holder is told with its next look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_ahead_is_told_to_the_holder() {
    let test = "a_clock_that_jumps_ahead_is_told_to_the_holder";
    let Some(clock) = ShiftedClock::start_or_skip(test, 0) else {
        return;
    };
    let url = clock.server().url();
    let settings = |builder: redlatch::ClientBuilder| builder.watchdog_timeout(WATCHDOG);
    let (one, other) = (connect(&url, settings).await, connect(&url, settings).await);
    let guard = one.lock("ahead").lock().await.expect("free");
    clock.shift(3_600);
    let jumped = Instant::now();
    let second = other.lock("ahead").lock().wait(secs(2)).await;
    let second = second.expect("its time is over on the server");
    let cause = guard.lost().await;
    assert!(
        matches!(cause, LossCause::TakenOver | LossCause::Vanished),
        "{cause:?}"
    );
    within(
        "told after a jump ahead",
        jumped.elapsed(),
        WATCHDOG / 3 + secs(1),
    );
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    assert!(!second.is_lost());
    second.unlock().await.expect("held");
    close(one).await;
    close(other).await;
}

/// What was to last three seconds would last an hour: the next renewal puts it right, so that a holder that dies later
/// blocks nobody for longer than usual.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_back_blocks_for_no_longer_than_the_next_renewal() {
    let test = "a_clock_that_jumps_back_blocks_for_no_longer_than_the_next_renewal";
    let Some(clock) = ShiftedClock::start_or_skip(test, 0) else {
        return;
    };
    let url = clock.server().url();
    let client = connect(&url, |builder| builder.watchdog_timeout(WATCHDOG)).await;
    let direct = clock.server().direct();
    let both = client.read_write_lock("back-rw");
    let watched = client.lock("back").lock().await.expect("free");
    let writes = both.write().await.expect("free");
    // A lease beside a renewed hold is not cut short.
    let owner = redlatch::Owner::fresh();
    let nested = client.lock("back-nested").with_owner(owner);
    let long = nested.lock().lease(secs(60)).await.expect("free");
    let inner = nested.lock().await.expect("re-enters");
    clock.shift(-3_600);
    let left = |name: &str| Duration::from_millis(direct.pttl(name).unsigned_abs());
    assert!(left("back") > secs(3_000), "{:?}", left("back"));
    for name in ["back", "back-rw"] {
        eventually_async("the next renewal", WATCHDOG / 3 + secs(1), async || {
            left(name) <= WATCHDOG
        })
        .await;
    }
    eventually_async("the next renewal", WATCHDOG / 3 + secs(1), async || {
        left("back-nested") <= secs(60)
    })
    .await;
    assert!(left("back-nested") >= long.remaining());
    for guard in [watched, long, inner] {
        guard.unlock().await.expect("held");
    }
    writes.unlock().await.expect("held");
    close(client).await;
}
