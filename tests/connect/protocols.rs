//! Both versions of the protocol, for everything that there is.

use std::{collections::HashMap, time::Instant};

use redlatch::{Client, ClientBuilder, MultiLock, Protocol, ShardedPubSub};
use redlatch_support::{Cluster, Sentinels, Server, eventually_async, unique_name};

use crate::kit::{asleep, at, close, connected, far, hand_over, is_renewed, ms, secs};

const BOTH: [Protocol; 2] = [Protocol::Resp2, Protocol::Resp3];

/// Two clients, of which the second speaks the other version.
async fn pair(builder: impl Fn() -> ClientBuilder, versions: [Protocol; 2]) -> [Client; 2] {
    [
        connected(builder().protocol(versions[0])).await,
        connected(builder().protocol(versions[1])).await,
    ]
}

/// Each kind once, waited for and woken where it is waited for.
async fn every_kind_works(one: &Client, other: &Client) {
    hand_over(one, other).await;

    let name = unique_name("fair");
    let held = one.fair_lock(&*name).lock().await.expect("free");
    let lock = other.fair_lock(&*name);
    let waiting = tokio::spawn(async move { lock.lock().wait(secs(20)).await });
    asleep(other, 1).await;
    held.unlock().await.expect("held");
    let granted = waiting.await.expect("joins").expect("granted");
    granted.unlock().await.expect("held");

    let name = unique_name("read-write");
    let lock = one.read_write_lock(&*name);
    let reading = lock.read().await.expect("free");
    let shared = other.read_write_lock(&*name).try_read().await;
    shared
        .expect("answers")
        .expect("shared")
        .unlock()
        .await
        .expect("held");
    let writer = other.read_write_lock(&*name);
    let waiting = tokio::spawn(async move { writer.write().wait(secs(20)).await });
    asleep(other, 1).await;
    reading.unlock().await.expect("held");
    let writing = waiting.await.expect("joins").expect("granted");
    assert!(lock.try_read().await.expect("answers").is_none());
    writing.unlock().await.expect("held");

    let name = unique_name("fenced");
    let first = one.fenced_lock(&*name).lock().await.expect("free");
    let token = first.token();
    first.unlock().await.expect("held");
    let second = other.fenced_lock(&*name).lock().await.expect("free");
    assert!(second.token() > token);
    second.unlock().await.expect("held");

    for (name, other) in [(unique_name("spin"), other), (unique_name("spin"), one)] {
        let guard = other.spin_lock(name).lock().await.expect("free");
        guard.unlock().await.expect("held");
    }
    let guard = one.non_reentrant_lock(unique_name("once")).lock().await;
    guard.expect("free").unlock().await.expect("held");

    let name = unique_name("group");
    let tag = format!("{{{name}}}");
    let all = MultiLock::new([one.lock(format!("a{tag}")), one.lock(format!("b{tag}"))]);
    let guard = all.expect("locks").lock().await.expect("free");
    guard.unlock().await.expect("held");
    let group = one
        .group_lock(&*name, ["v", "w"])
        .lock()
        .await
        .expect("free");
    let refused = other.group_lock(&*name, ["w", "x"]).try_lock().await;
    assert!(refused.expect("answers").is_none());
    group.unlock().await.expect("held");

    let name = unique_name("semaphore");
    let semaphore = one.semaphore(&*name);
    assert!(semaphore.try_set_permits(1).await.expect("answers"));
    let permit = semaphore.acquire().await.expect("one is there");
    let waiter = other.semaphore(&*name);
    let waiting = tokio::spawn(async move { waiter.acquire().wait(secs(20)).await });
    asleep(other, 1).await;
    permit.release().await.expect("taken");
    let permit = waiting.await.expect("joins").expect("granted");
    permit.release().await.expect("taken");

    let name = unique_name("expirable");
    let semaphore = other.expirable_semaphore(&*name);
    assert!(semaphore.try_set_permits(1).await.expect("answers"));
    let permit = semaphore.acquire().await.expect("one is there");
    permit.release().await.expect("taken");

    let name = unique_name("latch");
    let latch = one.count_down_latch(&*name);
    assert!(latch.try_set_count(1).await.expect("answers"));
    let waiter = other.count_down_latch(&*name);
    let waiting = tokio::spawn(async move { waiter.wait().limit(secs(20)).await });
    asleep(other, 1).await;
    latch.count_down().await.expect("counts");
    waiting.await.expect("joins").expect("open");

    let name = unique_name("looked-at");
    let guard = one.fair_lock(&*name).lock().await.expect("free");
    let inspection = other.inspect(&*name).await.expect("answers");
    assert_eq!(inspection.holders.len(), 1, "{inspection:?}");
    guard.unlock().await.expect("held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_works_with_both_versions() {
    let server = Server::start();
    for first in BOTH {
        for second in BOTH {
            let [one, other] = pair(|| at(server.url()), [first, second]).await;
            every_kind_works(&one, &other).await;
            let clients = server.direct().client_list();
            let newer = |client: &&HashMap<String, String>| {
                client.get("resp").is_some_and(|version| version == "3")
            };
            let expected = 2 * [first, second]
                .iter()
                .filter(|version| **version == Protocol::Resp3)
                .count();
            if server.binary().major() >= 7 {
                assert_eq!(clients.iter().filter(newer).count(), expected);
            }
            close(one).await;
            close(other).await;
        }
    }
    is_renewed(at(server.url()).protocol(Protocol::Resp2)).await;
}

/// Nothing on a connection that hears messages may be taken for something else, whichever version it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_is_woken_after_its_connections_died_with_both_versions() {
    let server = Server::start();
    for version in BOTH {
        let builder = || at(server.url()).heartbeat(ms(100));
        let [one, other] = pair(builder, [version; 2]).await;
        for kind in ["normal", "pubsub", "normal"] {
            let name = unique_name("again");
            let guard = one.lock(&*name).lock().await.expect("free");
            let lock = other.lock(&*name);
            let waiting = tokio::spawn(async move { lock.lock().wait(secs(20)).await });
            asleep(&other, 1).await;
            let direct = server.direct();
            direct.cmd(&["CLIENT", "KILL", "TYPE", kind]);
            let channel = format!("redisson_lock__channel:{{{name}}}");
            eventually_async("the waiter listens again", secs(5), async || {
                direct
                    .try_cmd(&["PUBSUB", "NUMSUB", &channel])
                    .is_ok_and(|reply| reply.items()[1].int() == 1)
            })
            .await;
            let freed = Instant::now();
            guard.unlock().await.expect("held");
            let granted = waiting.await.expect("joins").expect("granted");
            assert!(freed.elapsed() < secs(2), "{:?}", freed.elapsed());
            granted.unlock().await.expect("held");
        }
        close(one).await;
        close(other).await;
    }
}

/// A release right behind the subscription is heard: the server has it before the waiter looks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_release_falls_between_look_and_subscription_with_the_older_version() {
    let server = Server::shared();
    let [one, other] = pair(|| at(server.url()), [Protocol::Resp2; 2]).await;
    for _ in 0..200 {
        let name = unique_name("between");
        let guard = one.lock(&*name).lock().await.expect("free");
        let lock = other.lock(&*name);
        let waiting = tokio::spawn(async move { lock.lock().wait(secs(8)).await });
        eventually_async("it waits", secs(5), async || {
            other.residue().contains("channels: 1,")
        })
        .await;
        let freed = Instant::now();
        guard.unlock().await.expect("held");
        let granted = waiting.await.expect("joins").expect("granted");
        assert!(freed.elapsed() < secs(2), "{:?}", freed.elapsed());
        granted.unlock().await.expect("held");
    }
    close(one).await;
    close(other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_works_with_both_versions_and_however_it_wakes() {
    let cluster = Cluster::builder().replicas(0).start();
    // Before 7.0 messages are not sharded.
    let sharded = cluster.nodes()[0].binary().major() >= 7;
    let modes = [ShardedPubSub::Auto, ShardedPubSub::Off, ShardedPubSub::Both];
    for mode in &modes[..if sharded { 3 } else { 2 }] {
        let builder = || {
            let builder = Client::builder().cluster(cluster.urls().into_iter().take(1));
            far(builder.expect("urls")).sharded_pubsub(*mode)
        };
        for versions in [[Protocol::Resp2; 2], BOTH] {
            let [one, other] = pair(builder, versions).await;
            every_kind_works(&one, &other).await;
            for _ in 0..3 {
                hand_over(&one, &other).await;
            }
            close(one).await;
            close(other).await;
        }
    }
}

/// Subscriptions of a slot that moves away are noticed and made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_follows_its_slot_with_the_older_version() {
    let cluster = Cluster::builder().replicas(0).start();
    let builder = || {
        let builder = Client::builder().cluster(cluster.urls().into_iter().take(1));
        far(builder.expect("urls"))
    };
    let [one, other] = pair(builder, [Protocol::Resp2; 2]).await;
    for _ in 0..3 {
        let name = unique_name("moved");
        let guard = one.lock(&*name).lock().await.expect("free");
        let lock = other.lock(&*name);
        let waiting = tokio::spawn(async move { lock.lock().wait(secs(30)).await });
        asleep(&other, 1).await;
        let slot = redlatch_support::slot_of(&name);
        let owner = cluster.master_of_slot(slot).port();
        let to = cluster
            .masters()
            .into_iter()
            .find(|node| node.port() != owner);
        let to = to.expect("three masters");
        cluster.move_slot(slot, to);
        let channel = format!("redisson_lock__channel:{{{name}}}");
        let sharded = to.binary().major() >= 7;
        let numsub = if sharded { "SHARDNUMSUB" } else { "NUMSUB" };
        let direct = to.direct();
        eventually_async("the waiter listens there", secs(10), async || {
            direct.cmd(&["PUBSUB", numsub, &channel]).items()[1].int() == 1
        })
        .await;
        let freed = Instant::now();
        guard.unlock().await.expect("held");
        let granted = waiting.await.expect("joins").expect("granted");
        assert!(freed.elapsed() < secs(2), "{:?}", freed.elapsed());
        granted.unlock().await.expect("held");
    }
    close(one).await;
    close(other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_are_followed_with_the_older_version() {
    let sentinels = Sentinels::start();
    let builder = || {
        let builder = Client::builder().sentinel(sentinels.master_name(), sentinels.urls());
        far(builder.expect("urls"))
    };
    let [one, other] = pair(builder, [Protocol::Resp2; 2]).await;
    hand_over(&one, &other).await;
    let old = sentinels.master();
    let new = sentinels.failover();
    assert!(new.port() != old.port());
    for client in [&one, &other] {
        let lock = client.lock(unique_name("new"));
        eventually_async("a grant of the new master", secs(10), async || {
            let granted = lock.try_lock().await.ok().flatten();
            let there = granted.is_some() && new.direct().exists(lock.name());
            drop(granted);
            there
        })
        .await;
    }
    hand_over(&one, &other).await;
    close(one).await;
    close(other).await;
}
