//! Renewal: nested holds, leases that are left alone, calls that fail one by one.

use redlatch::{Client, Event, LossCause};
use redlatch_support::{Action, Proxy, Rule, Server, eventually_async};
use tokio_stream::StreamExt;

use crate::common::{client, client_with, close, direct, ms, name, secs};

#[tokio::test]
async fn nested_leases_and_watched_holds_never_shorten_each_other() {
    let client = client_with(|builder| builder.watchdog_timeout(secs(2))).await;
    let (first, second) = (name("lease-in-watched"), name("watched-in-lease"));

    // A short lease inside a watched hold: the outer one goes on after the lease is over.
    let lock = client.lock(first.as_str());
    let outer = lock.lock().await.expect("free");
    let before = direct().pttl(&first);
    let inner = lock.lock().lease(ms(300)).await.expect("re-enters");
    assert!(
        direct().pttl(&first) > before - 200,
        "shortened to {}",
        direct().pttl(&first)
    );
    assert_eq!(inner.lost().await, LossCause::LeaseExpired);
    assert!(!outer.is_lost());
    eventually_async("the count is corrected", secs(5), async || {
        direct().hgetall(&first)[&outer.owner_id()] == "1"
    })
    .await;
    let renewals = client.stats().renewals;
    eventually_async("renewal goes on", secs(5), async || {
        client.stats().renewals > renewals + 3
    })
    .await;
    assert!(inner.unlock().await.expect_err("lost").is_lost());
    outer.unlock().await.expect("held");

    // A watched hold inside a long lease: the lease keeps its own length, before and after.
    let lock = client.lock(second.as_str());
    let outer = lock.lock().lease(secs(20)).await.expect("free");
    let inner = lock.lock().await.expect("re-enters");
    assert!(direct().pttl(&second) > 19_000);
    let renewals = client.stats().renewals;
    eventually_async("it is renewed", secs(5), async || {
        client.stats().renewals > renewals + 1
    })
    .await;
    assert!(
        direct().pttl(&second) > 15_000,
        "shortened to {}",
        direct().pttl(&second)
    );
    inner.unlock().await.expect("held");
    let left = direct().pttl(&second);
    assert!(left > 15_000, "shortened to {left}");
    outer.unlock().await.expect("held");
    assert!(!direct().exists(&second));
    close(client).await;
}

#[tokio::test]
async fn a_call_that_fails_never_holds_up_another() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let client = Client::builder()
        .url(proxy.url())
        .expect("url")
        .watchdog_timeout(ms(900))
        .renewal_batch(1)
        .connect()
        .await
        .expect("connects");
    let mut events = client.events();
    let bad = client.lock("bad").lock().await.expect("free");
    let mut good = Vec::new();
    for number in 0..8 {
        good.push(
            client
                .lock(format!("good-{number}"))
                .lock()
                .await
                .expect("free"),
        );
    }
    proxy.rule(
        Rule::new("EVALSHA")
            .with_arg("bad")
            .always()
            .action(Action::ReplaceReply(b"-ERR out of order\r\n".to_vec())),
    );
    assert_eq!(bad.lost().await, LossCause::Unreachable);
    let suspect = |event: &Event| matches!(event, Event::Suspect { name, .. } if &**name == "bad");
    let seen = tokio::time::timeout(secs(5), async {
        while let Some(event) = events.next().await {
            if suspect(&event) {
                return true;
            }
        }
        false
    });
    assert!(seen.await.expect("told"));
    let renewals = client.stats().renewals;
    eventually_async("three more rounds", secs(5), async || {
        client.stats().renewals >= renewals + 24
    })
    .await;
    for guard in good {
        assert!(!guard.is_lost());
        guard.unlock().await.expect("held");
    }
    proxy.clear_rules();
    drop(bad);
    client.close(secs(5)).await;
}

#[tokio::test]
async fn a_late_answer_is_told() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let client = Client::builder()
        .url(proxy.url())
        .expect("url")
        .watchdog_timeout(ms(1_200))
        .connect()
        .await
        .expect("connects");
    let lock = client.lock("late");
    lock.lock()
        .await
        .expect("free")
        .unlock()
        .await
        .expect("held");
    let mut events = client.events();
    proxy.rule(Rule::new("EVALSHA").action(Action::DelayReply(ms(450))));
    let guard = lock.lock().await.expect("granted");
    assert!(
        guard.remaining() < ms(800),
        "{:?}: what is left counts from the sending",
        guard.remaining()
    );
    let event = tokio::time::timeout(secs(1), events.next())
        .await
        .expect("told");
    assert!(
        matches!(event, Some(Event::AcquiredLate { .. })),
        "{event:?}"
    );
    guard.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test]
async fn work_stops_when_the_lock_is_lost() {
    let (client, name) = (client().await, name("run"));
    let guard = client
        .lock(name.as_str())
        .lock()
        .lease(ms(300))
        .await
        .expect("free");
    let error = guard
        .run(std::future::pending::<()>())
        .await
        .expect_err("stopped");
    assert!(error.is_lost(), "{error}");
    drop(guard);
    let guard = client.lock(name.as_str()).lock().await.expect("free");
    assert_eq!(guard.run(async { 7 }).await.expect("held"), 7);
    guard.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test]
async fn a_lease_is_never_renewed() {
    let client = client_with(|builder| builder.watchdog_timeout(ms(600))).await;
    let (leased, watched) = (name("leased"), name("watched"));
    let lease = client
        .lock(leased.as_str())
        .lock()
        .lease(secs(20))
        .await
        .expect("free");
    let keeper = client.lock(watched.as_str()).lock().await.expect("free");
    let before = direct().pttl(&leased);
    let renewals = client.stats().renewals;
    eventually_async("three rounds", secs(5), async || {
        client.stats().renewals >= renewals + 3
    })
    .await;
    assert!(direct().pttl(&leased) <= before - 400);
    lease.unlock().await.expect("held");
    keeper.unlock().await.expect("held");
    close(client).await;
}
