//! What needs no fault: every object works, on every master, and is heard by message.

use redlatch::{Error, Kind, Lock};
use redlatch_support::{Cluster, slot_of, unique_name};

use crate::common::{asleep, client_of, client_with, close, ms, secs};

/// One client holds, another waits and is woken by message; no script goes astray.
async fn changes_hands<K: Kind>(kind: impl Fn(&redlatch::Client, &str) -> Lock<K>) {
    let cluster = Cluster::shared();
    for master in cluster.masters() {
        let name = cluster.name_on(master, "hands");
        let far = |builder: redlatch::ClientBuilder| builder.safety_poll(secs(20));
        let (one, other) = (
            client_with(cluster, far).await,
            client_with(cluster, far).await,
        );
        let guard = kind(&one, &name).lock().wait(secs(5)).await.expect("free");
        let lock = kind(&other, &name);
        let waiting = tokio::spawn(async move { lock.lock().wait(secs(10)).await });
        asleep(&other, 1).await;
        let freed = std::time::Instant::now();
        guard.unlock().await.expect("held");
        let guard = waiting.await.expect("joins").expect("granted");
        let took = freed.elapsed();
        assert!(took < ms(500), "woken after {took:?}");
        let stats = other.stats();
        assert_eq!((stats.wakeups_by_message, stats.wakeups_by_poll), (1, 0));
        guard.unlock().await.expect("held");
        assert!(
            one.inspect(&*name)
                .await
                .expect("answers")
                .holders
                .is_empty()
        );
        close(one).await;
        close(other).await;
    }
}

macro_rules! on_every_master {
    ($($kind:ident: $make:expr;)*) => {$(
        #[tokio::test]
        async fn $kind() {
            changes_hands($make).await;
        }
    )*};
}

on_every_master! {
    a_plain_lock_changes_hands: |client, name| client.lock(name);
    a_fair_lock_changes_hands: |client, name| client.fair_lock(name);
    a_fenced_lock_changes_hands: |client, name| client.fenced_lock(name);
    a_writer_follows_a_writer: |client, name| client.read_write_lock(name).write_lock().clone();
    a_non_reentrant_lock_changes_hands: |client, name| client.non_reentrant_lock(name);
    a_group_lock_changes_hands: |client, name| client.group_lock(name, ["a", "b"]);
}

#[tokio::test]
async fn every_object_works_on_every_master() {
    let cluster = Cluster::shared();
    let client = client_of(cluster).await;
    for master in cluster.masters() {
        let name = cluster.name_on(master, "spin");
        let guard = client.spin_lock(&*name).lock().await.expect("free");
        guard.unlock().await.expect("held");
    }
    close(client).await;
}

/// Bar B13: names that Redisson can lock on a cluster and never unlock.
#[tokio::test]
async fn names_that_fall_apart_are_refused_up_front() {
    let cluster = Cluster::shared();
    let client = client_of(cluster).await;
    let sent = |name: &str| {
        let master = cluster.master_of_key(name);
        master.direct().cmd(&["EXISTS", name]).int()
    };
    for name in ["a}b", "a{b", "{}x", "x}y{z", "a{}b", "a{}{b}"] {
        let name = format!("{name}{}", unique_name("odd").replace('-', "."));
        let slots = [name.clone(), format!("redisson_lock__channel:{name}")].map(slot_of);
        match client.lock(&*name).try_lock().await {
            Err(Error::CrossSlot {
                name: shown, key, ..
            }) => {
                assert_eq!(&*shown, &*name);
                assert!(key.starts_with("redisson_lock__channel:"), "{key}");
            }
            other => panic!("{name}: {other:?} {slots:?}"),
        }
        assert_eq!(sent(&name), 0, "{name}");
    }
    for name in ["{z}1", "x{t}y", "}a{b}", "a b", "{a}{b}"] {
        let name = format!("{name}{}", unique_name("fine"));
        let guard = client.lock(&*name).try_lock().await.expect("answers");
        guard.expect("free").unlock().await.expect("held");
    }
    // Redisson wraps the channel of a latch once more, which gives another tag.
    let latch = client.count_down_latch("x{t}y");
    assert!(matches!(
        latch.try_set_count(1).await,
        Err(Error::CrossSlot { .. })
    ));
    close(client).await;
}

/// Who takes a node for a server of its own is told so at once, and the other way round.
#[tokio::test]
async fn a_client_that_was_set_up_for_something_else_is_told() {
    let cluster = Cluster::shared();
    let masters = cluster.masters();
    let single = redlatch::Client::connect(masters[0].url()).await;
    let single = single.expect("connects");
    let begun = std::time::Instant::now();
    let elsewhere = cluster.name_on(masters[1], "elsewhere");
    let error = single.lock(&*elsewhere).lock().await.expect_err("not here");
    assert!(error.to_string().contains("node of a cluster"), "{error}");
    assert!(begun.elapsed() < secs(2));
    close(single).await;
    let server = redlatch_support::Server::shared();
    let builder = redlatch::Client::builder().cluster([server.url()]);
    let error = builder
        .expect("url")
        .connect()
        .await
        .expect_err("no cluster");
    assert!(
        error.to_string().contains("cluster support disabled"),
        "{error}"
    );
    let builder = redlatch::Client::builder().sentinel("mymaster", [server.url()]);
    let error = builder
        .expect("url")
        .connect()
        .await
        .expect_err("no sentinel");
    assert!(error.to_string().contains("SENTINEL"), "{error}");
}
