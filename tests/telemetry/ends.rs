//! Holds that end, and what is left in the figures: nothing.

use redlatch::{Client, LossCause};
use redlatch_support::{Action, Proxy, Rule, Server};

use crate::kit::{Meter, asleep, close, connect, ms, plain, secs, waiting};

fn losses(meter: &Meter, cause: &str) -> f64 {
    meter.sum("redlatch_losses_total", &[("cause", cause)])
}

#[tokio::test]
async fn a_loss_is_counted_by_its_cause() {
    let (server, meter) = (Server::start(), Meter::install());
    let (direct, proxy) = (server.direct(), Proxy::start(server.port()).await);
    let client = connect(proxy.url(), |builder| {
        let builder = builder.watchdog_timeout(secs(2)).safety_poll(secs(1));
        builder.command_timeout(ms(500))
    })
    .await;

    let leased = client.lock("leased").lock().lease(ms(1_000)).await;
    let leased = leased.expect("free");
    assert_eq!(meter.holds(), 1.0);
    assert_eq!(leased.lost().await, LossCause::LeaseExpired);
    let one = |cause: &'static str| {
        let counted = move |meter: &Meter| losses(meter, cause) == 1.0 && meter.holds() == 0.0;
        meter.until(cause, counted)
    };
    one("lease_expired").await;

    let vanished = client.lock("vanished").lock().await.expect("free");
    direct.cmd(&["DEL", "vanished"]);
    assert_eq!(vanished.lost().await, LossCause::Vanished);
    one("vanished").await;

    let taken = client.lock("taken").lock().await.expect("free");
    direct.cmd(&["DEL", "taken"]);
    direct.cmd(&["HSET", "taken", "somebody:1", "1"]);
    assert_eq!(taken.lost().await, LossCause::TakenOver);
    one("taken_over").await;

    let forced = client.lock("forced").lock().await.expect("free");
    assert!(client.rlock("forced").force_unlock().await.expect("freed"));
    assert_eq!(forced.lost().await, LossCause::ForceUnlocked);
    one("force_unlocked").await;

    let silent = client.lock("silent").lock().await.expect("free");
    let failures = |meter: &Meter| meter.sum("redlatch_renewal_failures_total", &[]);
    assert_eq!(failures(&meter), 0.0);
    proxy.black_hole(true);
    assert_eq!(silent.lost().await, LossCause::Unreachable);
    one("unreachable").await;
    assert!(failures(&meter) >= 1.0);
    assert_eq!(
        failures(&meter),
        client.stats().renewal_failures as f64,
        "the same as in the counters"
    );
    proxy.black_hole(false);

    assert_eq!(meter.ends("lost"), 5.0);
    assert_eq!(client.stats().losses, 5);
    drop((leased, vanished, taken, forced, silent));
    close(client).await;
    assert_eq!((meter.holds(), meter.ends("lost")), (0.0, 5.0));
}

#[test]
fn holds_of_a_client_whose_runtime_is_gone_are_lost_by_closing() {
    let (server, meter) = (Server::start(), Meter::install());
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    let guard = runtime.block_on(async {
        let client = plain(server.url()).await;
        client.lock("a").lock().await.expect("free")
    });
    assert_eq!(meter.holds(), 1.0);
    drop(runtime);
    assert!(guard.is_lost());
    assert_eq!(losses(&meter, "closed"), 1.0);
    assert_eq!((meter.holds(), meter.ends("lost")), (0.0, 1.0));
}

#[tokio::test]
async fn nothing_is_held_or_waited_for_after_closing() {
    let (server, meter) = (Server::start(), Meter::install());
    let client = plain(server.url()).await;
    let guard = client.lock("a").lock().await.expect("free");
    let again = client.lock("a").lock().await.expect("enters");
    client.rlock("b").lock().await.expect("free");
    assert_eq!(meter.holds(), 3.0);
    let other = client.lock("a").with_owner(redlatch::Owner::fresh());
    let waiter = tokio::spawn(async move { other.lock().await.map(drop) });
    meter
        .until("it waits", |meter| meter.waiters() == 1.0)
        .await;
    let report = client.close(secs(10)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    waiter.await.expect("joins").expect_err("closed");
    assert_eq!((meter.holds(), meter.waiters()), (0.0, 0.0));
    assert_eq!(meter.ends("closed"), 3.0);
    assert_eq!(meter.acquires("reentrant", "failed"), 1.0);
    drop((guard, again));
    assert_eq!((meter.holds(), meter.ends("closed")), (0.0, 3.0));
}

#[tokio::test]
async fn a_client_that_is_dropped_takes_its_holds_out_of_the_figures() {
    let (server, meter) = (Server::start(), Meter::install());
    let client = plain(server.url()).await;
    client.rlock("a").lock().await.expect("free");
    let guard = client.lock("b").lock().await.expect("free");
    assert_eq!(meter.holds(), 2.0);
    drop(guard);
    meter
        .until("it is given back", |meter| meter.ends("released") == 1.0)
        .await;
    drop(client);
    meter
        .until("nobody counts it", |meter| meter.holds() == 0.0)
        .await;
    assert_eq!(meter.ends("abandoned"), 1.0);
    assert!(
        server.direct().exists("a"),
        "it lasts until its time is over"
    );
}

#[tokio::test]
async fn callers_that_leave_at_any_time_leave_nothing_in_the_figures() {
    let (server, meter) = (Server::start(), Meter::install());
    let proxy = Proxy::start(server.port()).await;
    let client = plain(proxy.url()).await;

    // While its request is on the way: it is granted to nobody, and given back.
    let held = proxy.rule(Rule::new("EVALSHA").action(Action::HoldReply).times(1));
    let lock = client.lock("a");
    let asking = tokio::spawn({
        let lock = lock.clone();
        async move { lock.lock().await.map(drop) }
    });
    meter.until("it is asked for", |_| held.hits() == 1).await;
    asking.abort();
    assert!(asking.await.expect_err("aborted").is_cancelled());
    assert_eq!(meter.acquires("reentrant", "cancelled"), 1.0);
    held.release();
    meter
        .until("the orphan is given back", |meter| {
            meter.ends("released") == 1.0 && meter.holds() == 0.0
        })
        .await;

    // While it waits.
    let guard = client.lock("b").lock().await.expect("free");
    let waiter = waiting(&client, "b");
    asleep(&client, 1).await;
    assert_eq!((meter.holds(), meter.waiters()), (1.0, 1.0));
    waiter.abort();
    assert!(waiter.await.expect_err("aborted").is_cancelled());
    assert_eq!(meter.waiters(), 0.0);
    assert_eq!(meter.acquires("reentrant", "cancelled"), 2.0);

    drop(guard);
    meter
        .until("it is given back", |meter| meter.holds() == 0.0)
        .await;
    close(client).await;
    assert_eq!((meter.holds(), meter.waiters()), (0.0, 0.0));
}

/// The counters of a client and the metrics are told in the same places.
#[tokio::test]
async fn renewals_are_counted_with_how_late_they_were() {
    let (server, meter) = (Server::start(), Meter::install());
    let client: Client = connect(server.url(), |builder| {
        let builder = builder.watchdog_timeout(ms(600)).safety_poll(ms(500));
        builder.command_timeout(ms(200))
    })
    .await;
    let guard = client.lock("a").lock().await.expect("free");
    let renewals = |meter: &Meter| meter.sum("redlatch_renewals_total", &[("kind", "reentrant")]);
    meter
        .until("two rounds", |meter| renewals(meter) >= 2.0)
        .await;
    assert_eq!(renewals(&meter), client.stats().renewals as f64);
    let lags = meter.sum("redlatch_renewal_lag_seconds_count", &[]);
    assert_eq!(lags, renewals(&meter));
    // Due every 200 ms and lost after 600: none that was in time was later than the difference.
    let lag = meter.sum("redlatch_renewal_lag_seconds_sum", &[]);
    assert!(lag < 0.4 * lags, "{lag} s in {lags} renewals");
    guard.unlock().await.expect("held");
    close(client).await;
}
