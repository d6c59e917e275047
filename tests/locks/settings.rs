//! Where a client connects and what it is told.

use redlatch::{
    Client, Error,
    fred::types::{
        RespVersion,
        config::{Config, ServerConfig},
    },
};
use redlatch_support::{Server, eventually_async};

use crate::common::{close, ms, secs};

#[tokio::test]
async fn a_database_a_user_and_a_prefix() {
    let server = Server::start();
    let direct = server.direct();
    direct
        .cmd(&[
            "ACL", "SETUSER", "clerk", "on", ">s3cret", "~*", "&*", "+@all",
        ])
        .accepted();
    let url = format!("redis://clerk:s3cret@127.0.0.1:{}/3", server.port());
    let client = Client::builder()
        .url(&url)
        .expect("url")
        .key_prefix("shop:")
        .connect()
        .await
        .expect("connects");
    let guard = client.lock("orders").lock().await.expect("free");
    assert_eq!(guard.name(), "orders");
    assert!(!direct.exists("shop:orders"), "not in database 0");
    direct.cmd(&["SELECT", "3"]).accepted();
    assert!(direct.exists("shop:orders"));
    let shown = format!("{client:?} {:?} {guard:?}", client.lock("orders"));
    assert!(!shown.contains("s3cret"), "{shown}");
    guard.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test]
async fn an_older_protocol_does_as_well() {
    let server = Server::start();
    let config = Config {
        server: ServerConfig::new_centralized("127.0.0.1", server.port()),
        version: RespVersion::RESP2,
        ..Config::default()
    };
    let connect = async || {
        let builder = Client::builder().fred_config(config.clone());
        builder.connect().await.expect("connects")
    };
    let (holder, waiter) = (connect().await, connect().await);
    for _ in 0..5 {
        let guard = holder.lock("resp2").lock().await.expect("free");
        let waiting = tokio::spawn({
            let lock = waiter.lock("resp2");
            async move { lock.lock().wait(secs(10)).await }
        });
        let direct = server.direct();
        eventually_async("it waits", secs(5), async || {
            direct.numsub("redisson_lock__channel:{resp2}") == 1
        })
        .await;
        guard.unlock().await.expect("held");
        let released = std::time::Instant::now();
        let guard = waiting.await.expect("joins").expect("granted");
        assert!(released.elapsed() < ms(500), "{:?}", released.elapsed());
        guard.unlock().await.expect("held");
        eventually_async("it left", secs(5), async || {
            direct.numsub("redisson_lock__channel:{resp2}") == 0
        })
        .await;
    }
    assert_eq!(waiter.stats().wakeups_by_poll, 0);
    close(holder).await;
    close(waiter).await;
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused_before_anything_is_sent() {
    let refused = async |builder: redlatch::ClientBuilder, field: &str| {
        // Nobody listens there: an attempt to connect would be another error.
        let builder = builder.url("redis://127.0.0.1:1").expect("url");
        match builder.connect().await {
            Err(Error::InvalidArgument { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{other:?}"),
        }
    };
    let builder = Client::builder;
    refused(builder().watchdog_timeout(ms(1)), "watchdog_timeout").await;
    refused(
        builder().watchdog_timeout(secs(1)).command_timeout(secs(2)),
        "command_timeout",
    )
    .await;
    refused(builder().renewal_batch(0), "renewal_batch").await;
    refused(builder().renewal_batch(5_000), "renewal_batch").await;
    refused(builder().safety_poll(secs(60)), "safety_poll").await;
    refused(builder().safety_poll(ms(0)), "safety_poll").await;
    refused(builder().outage_patience(ms(5)), "outage_patience").await;
    refused(builder().topology_refresh(ms(1)), "topology_refresh").await;
    let mut cluster = Config::from_url("redis-cluster://127.0.0.1:1").expect("url");
    cluster.database = Some(3);
    let error = Client::builder().fred_config(cluster).connect().await;
    let error = error.expect_err("a cluster has no databases");
    assert!(error.to_string().contains("database"), "{error}");
}

#[tokio::test]
async fn closing_says_what_it_could_not_give_back() {
    let server = Server::start();
    let client = Client::builder()
        .url(server.url())
        .expect("url")
        .watchdog_timeout(secs(2))
        .command_timeout(ms(300))
        .connect()
        .await
        .expect("connects");
    client.rlock("stuck").lock().await.expect("free");
    server.freeze();
    let started = std::time::Instant::now();
    let report = client.close(ms(700)).await;
    assert!(started.elapsed() < secs(3), "{:?}", started.elapsed());
    assert_eq!(
        (report.released, report.unreleased.len()),
        (0, 1),
        "{report:?}"
    );
    assert_eq!(&*report.unreleased[0].name, "stuck");
    server.thaw();
    let direct = server.direct();
    eventually_async("it ends with its time to live", secs(5), async || {
        !direct.exists("stuck")
    })
    .await;
}
