//! The spin lock: no subscription, pauses as asked for.

use std::time::Instant;

use redlatch::{BackOff, Client, Owner};
use redlatch_support::{Server, eventually_async};

use crate::common::{close, ms, secs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_ask_by_their_back_off_and_subscribe_to_nothing() {
    let server = Server::start();
    let direct = server.direct();
    let client = Client::connect(server.url()).await.expect("connects");
    let guard = client.spin_lock("spin").lock().await.expect("free");
    let attempts = client.stats().attempts;
    let waiting = tokio::spawn({
        let lock = client.spin_lock("spin").with_owner(Owner::fresh());
        let lock = lock.with_backoff(BackOff::constant(ms(20)));
        async move { (lock.lock().wait(secs(20)).await, Instant::now()) }
    });
    let begun = Instant::now();
    eventually_async("eleven tries", secs(10), async || {
        client.stats().attempts >= attempts + 11
    })
    .await;
    assert!(begun.elapsed() >= ms(140), "{:?}", begun.elapsed());
    direct.reset_stats();
    let released = Instant::now();
    guard.unlock().await.expect("held");
    let (granted, when) = waiting.await.expect("joins");
    assert!(when.saturating_duration_since(released) < ms(200));
    granted.expect("granted").unlock().await.expect("held");
    for command in ["subscribe", "publish"] {
        assert_eq!(direct.command_calls(command), 0, "{command}");
    }
    close(client).await;
}
