//! How long it takes to get a lock, and what comes of it.

use redlatch::Owner;
use redlatch_support::{Server, polled};

use crate::kit::{Meter, close, connect, ms, plain, secs};

#[tokio::test]
async fn an_acquire_is_timed_and_counted_by_what_came_of_it() {
    let (server, meter) = (Server::start(), Meter::install());
    let client = plain(server.url()).await;
    let lock = client.lock("a");
    let other = lock.with_owner(Owner::fresh());
    let guard = lock.lock().await.expect("free");
    assert!(other.try_lock().await.expect("answers").is_none());
    let error = other.lock().wait(ms(200)).await.expect_err("held");
    assert!(error.is_timeout(), "{error}");
    let given_up = polled(3, other.lock().into_future()).await;
    assert!(given_up.is_none(), "it waits");
    server.direct().cmd(&["SET", "b", "no lock"]);
    client.lock("b").try_lock().await.expect_err("no lock");
    guard.unlock().await.expect("held");

    for outcome in ["granted", "busy", "timed_out", "cancelled", "failed"] {
        let seen = meter.acquires("reentrant", outcome);
        assert_eq!(seen, 1.0, "{outcome}:\n{}", meter.page());
    }
    // In seconds: what waited for 200 ms took that long, and what did not took less.
    let name = "redlatch_acquire_duration_seconds_sum";
    let waited = meter.sum(name, &[("outcome", "timed_out")]);
    assert!((0.2..5.0).contains(&waited), "{waited}");
    close(client).await;
    assert_eq!((meter.holds(), meter.waiters()), (0.0, 0.0));
}

#[tokio::test]
async fn a_hold_is_timed_from_its_request_to_its_end_also_where_its_lease_is_set_later() {
    let (server, meter) = (Server::start(), Meter::install());
    let client = plain(server.url()).await;
    let both = redlatch::MultiLock::new([client.lock("a"), client.lock("b")]).expect("two");
    // Taken under the watchdog, and given their lease once all are there.
    let guard = both.lock().lease(secs(20)).await.expect("free");
    assert_eq!(meter.holds(), 2.0);
    tokio::time::sleep(ms(150)).await;
    guard.unlock().await.expect("held");
    assert_eq!(meter.holds(), 0.0);
    assert_eq!(meter.ends("released"), 2.0);
    let held = meter.sum("redlatch_hold_duration_seconds_sum", &[]);
    assert!((0.3..5.0).contains(&held), "{held}");
    close(client).await;
}

#[tokio::test]
async fn each_kind_is_told_by_its_name() {
    let (server, meter) = (Server::start(), Meter::install());
    let client = plain(server.url()).await;
    macro_rules! pair {
        ($lock:expr) => {{
            let guard = $lock.lock().await.expect("free");
            assert_eq!(meter.sum("redlatch_hold_active", &[]), 1.0);
            guard.unlock().await.expect("held");
        }};
    }
    pair!(client.lock("reentrant"));
    pair!(client.non_reentrant_lock("non-reentrant"));
    pair!(client.fair_lock("fair"));
    pair!(client.non_reentrant_fair_lock("non-reentrant-fair"));
    pair!(client.read_write_lock("read").read_lock());
    pair!(client.read_write_lock("write").write_lock());
    pair!(client.fenced_lock("fenced"));
    pair!(client.spin_lock("spin"));
    pair!(client.group_lock("group", ["a"]));
    let semaphore = client.semaphore("semaphore");
    semaphore.release(1).await.expect("given");
    drop(semaphore.acquire().await.expect("there"));
    let permits = client.expirable_semaphore("permits");
    permits.add_permits(1).await.expect("given");
    drop(permits.acquire().await.expect("there"));
    client.count_down_latch("latch").wait().await.expect("open");
    for kind in [
        "reentrant",
        "non_reentrant",
        "fair",
        "non_reentrant_fair",
        "read",
        "write",
        "fenced",
        "spin",
        "group",
        "semaphore",
        "permits",
        "latch",
    ] {
        assert_eq!(meter.acquires(kind, "granted"), 1.0, "{kind}");
    }
    assert!(!meter.page().contains("\"other\""), "{}", meter.page());
    close(client).await;
}

#[tokio::test]
async fn no_metric_carries_the_name_of_a_lock() {
    let (server, meter) = (Server::start(), Meter::install());
    let client = connect(server.url(), |builder| builder.watchdog_timeout(secs(3))).await;
    let guard = client.lock("Spy-me-not").lock().await.expect("free");
    server.direct().cmd(&["DEL", "Spy-me-not"]);
    guard.lost().await;
    client
        .semaphore("Spy-me-not")
        .try_acquire()
        .await
        .expect("answers");
    let page = meter.page();
    assert!(page.contains("redlatch_losses_total"), "{page}");
    assert!(!page.to_lowercase().contains("spy"), "{page}");
    drop(guard);
    close(client).await;
}
