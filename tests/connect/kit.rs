//! What every test of this binary needs.

use std::time::{Duration, Instant};

use redlatch::{Client, ClientBuilder, Error, Result};
use redlatch_support::{eventually_async, unique_name};

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A builder for a server at this address, whose waiters depend on messages: they look for themselves far too late.
pub(crate) fn at(url: impl AsRef<str>) -> ClientBuilder {
    far(Client::builder().url(url).expect("makes sense"))
}

/// Has waiters depend on messages.
pub(crate) fn far(builder: ClientBuilder) -> ClientBuilder {
    builder.watchdog_timeout(secs(9)).safety_poll(secs(9))
}

pub(crate) async fn connected(builder: ClientBuilder) -> Client {
    builder.connect().await.expect("connects")
}

/// Closes a client and checks that nothing is left in its tables.
pub(crate) async fn close(client: Client) {
    let report = client.close(secs(5)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    assert_eq!(client.residue(), redlatch_support::NOTHING_LEFT);
}

/// Waits until that many waiters of the client sleep, past their second look.
pub(crate) async fn asleep(client: &Client, count: usize) {
    let sleepers = format!("sleepers: {count},");
    eventually_async("the waiter sleeps", secs(10), async || {
        client.residue().contains(&sleepers)
    })
    .await;
}

/// One holds, the other waits and is woken by a message, well before it would look for itself; several times over.
pub(crate) async fn hand_over(one: &Client, other: &Client) {
    const ROUNDS: u64 = 5;
    let name = unique_name("hand-over");
    let woken = other.stats().wakeups_by_message;
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let guard = one.lock(&*name).lock().await.expect("free");
        let lock = other.lock(&*name);
        let refused = lock.try_lock().await.expect("answers");
        assert!(refused.is_none(), "granted twice");
        let waiting = tokio::spawn(async move { lock.lock().wait(secs(20)).await });
        asleep(other, 1).await;
        guard.unlock().await.expect("held");
        let guard = waiting.await.expect("joins").expect("granted");
        guard.unlock().await.expect("held");
    }
    assert!(other.stats().wakeups_by_message - woken >= ROUNDS);
    assert!(begun.elapsed() < secs(9), "{:?}", begun.elapsed());
}

/// A hold of a client with this watchdog timeout outlives it, several times over.
pub(crate) async fn is_renewed(builder: ClientBuilder) {
    const WATCHDOG: Duration = ms(600);
    let builder = builder.safety_poll(ms(100)).watchdog_timeout(WATCHDOG);
    let client = connected(builder).await;
    let guard = client.lock(unique_name("renewed")).lock().await;
    let guard = guard.expect("free");
    eventually_async("seven renewals", secs(20), async || {
        client.stats().renewals >= 7
    })
    .await;
    assert!(!guard.is_lost());
    assert_eq!(client.stats().losses, 0);
    guard.unlock().await.expect("held");
    close(client).await;
}

/// Connecting fails within the connect timeout, and says this.
#[track_caller]
pub(crate) fn assert_refused(outcome: Result<Client>, took: Duration, words: &[&str]) -> Error {
    let error = outcome.expect_err("must not connect");
    println!("{took:?}: {error}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert!(took < secs(3), "{took:?}");
    error
}

/// Connects, and says how long that took.
pub(crate) async fn try_connect(builder: ClientBuilder) -> (Result<Client>, Duration) {
    let begun = Instant::now();
    let outcome = builder.connect().await;
    (outcome, begun.elapsed())
}
