//! Grants and releases that count only once enough replicas have them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redlatch::{Client, Error, Replicas};
use redlatch_support::{Cluster, Direct, Replicated, Sentinels, eventually_async, unique_name};

use crate::common::{close, ms, secs};

async fn client_of(url: &str, replicas: Replicas, within: Duration) -> Client {
    let builder = Client::builder().url(url).expect("url");
    let builder = builder.replicas(replicas, within);
    builder.connect().await.expect("connects")
}

/// Whether the server's own replicas have nothing to catch up on.
async fn gone(direct: &Direct, name: &str) {
    eventually_async("the lock is given back", secs(5), async || {
        direct.cmd(&["EXISTS", name]).int() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_is_on_as_many_replicas_as_were_asked_for() {
    let replicated = Replicated::start();
    let url = replicated.master().url();
    for policy in [Replicas::AtLeast(1), Replicas::Majority, Replicas::All] {
        let client = client_of(&url, policy, secs(2)).await;
        let name = unique_name("acked");
        let guard = client.lock(&*name).lock().await.expect("free");
        let there = replicated.replicas().iter();
        let there = there.filter(|replica| replica.direct().cmd(&["EXISTS", &name]).int() == 1);
        let least = if policy == Replicas::All { 2 } else { 1 };
        assert!(there.count() >= least, "{policy:?}");
        guard.unlock().await.expect("released everywhere");
        close(client).await;
    }
}

/// Bar B18: one stopped replica holds up nobody whose number is reached without it; where it is needed, the error comes
/// inside the caller's deadline and the lock is given back. Redisson waits for its timeout each time, and gives up after 17 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b18_a_stopped_replica_is_waited_for_only_where_it_is_needed() {
    let replicated = Replicated::start();
    let url = replicated.master().url();
    let direct = replicated.master().direct();
    let one = client_of(&url, Replicas::AtLeast(1), secs(3)).await;
    let most = client_of(&url, Replicas::Majority, secs(3)).await;
    let all = client_of(&url, Replicas::All, secs(3)).await;
    // All have seen both replicas.
    for client in [&one, &most, &all] {
        let guard = client.lock(unique_name("before")).lock().await;
        guard.expect("free").unlock().await.expect("held");
    }
    replicated.replicas()[0].freeze();
    for client in [&one, &most] {
        let begun = Instant::now();
        for _ in 0..20 {
            let guard = client.lock(unique_name("met")).lock().await;
            guard.expect("free").unlock().await.expect("held");
        }
        let took = begun.elapsed() / 40;
        println!("{took:?} a confirmed grant or release with one replica stopped");
        assert!(took < ms(100), "{took:?}");
    }
    let name = unique_name("unmet");
    let begun = Instant::now();
    let refused = all.lock(&*name).lock().wait(ms(700)).await;
    let took = begun.elapsed();
    match refused {
        Err(Error::NotReplicated { acked, wanted, .. }) => assert_eq!((acked, wanted), (1, 2)),
        other => panic!("{other:?}"),
    }
    println!("refused after {took:?} of 700 ms");
    assert!((ms(600)..ms(900)).contains(&took), "{took:?}");
    gone(&direct, &name).await;
    // Without a limit of the caller's, the policy's own counts.
    let begun = Instant::now();
    let refused = all.lock(&*name).try_lock().await;
    assert!(matches!(refused, Err(Error::NotReplicated { .. })));
    assert!((secs(3) - ms(100)..secs(4)).contains(&begun.elapsed()));
    // Both stopped: a release that stands on the master alone says so.
    let guard = one.lock(&*name).lock().await.expect("one is there");
    replicated.replicas()[1].freeze();
    match guard.unlock().await {
        Err(Error::ReleaseNotReplicated { acked, wanted, .. }) => {
            assert_eq!((acked, wanted), (0, 1))
        }
        other => panic!("{other:?}"),
    }
    gone(&direct, &name).await;
    for replica in replicated.replicas() {
        replica.thaw();
    }
    let guard = all.lock(&*name).lock().await.expect("all are there again");
    guard.unlock().await.expect("held");
    for client in [one, most, all] {
        close(client).await;
    }
}

/// Many who wait at a time share one question, and one who is stopped by a replica does not stop the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_grants_are_confirmed_together() {
    const LOCKS: usize = 400;
    let replicated = Replicated::start();
    let client = client_of(&replicated.master().url(), Replicas::All, secs(5)).await;
    let warm = client.lock(unique_name("warm")).lock().await;
    warm.expect("free").unlock().await.expect("held");
    let direct = Arc::new(replicated.master().direct());
    direct.cmd(&["CONFIG", "RESETSTAT"]);
    let begun = Instant::now();
    let tasks: Vec<_> = (0..LOCKS)
        .map(|_| {
            let lock = client.lock(unique_name("together"));
            tokio::spawn(async move { lock.lock().await.expect("free").unlock().await })
        })
        .collect();
    for task in tasks {
        task.await.expect("joins").expect("released everywhere");
    }
    let took = begun.elapsed();
    let stats = direct.cmd(&["INFO", "commandstats"]).text();
    let waits = stats
        .lines()
        .find_map(|line| {
            line.strip_prefix("cmdstat_wait:calls=")?
                .split(',')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .expect("some");
    println!("{LOCKS} grants and releases on all replicas in {took:?}, by {waits} WAITs");
    assert!(waits < LOCKS, "{waits}");
    close(client).await;
}

/// What a failover forgets without the policy, it keeps with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmed_lock_outlives_its_master() {
    let sentinels = Sentinels::start();
    let client = Client::builder()
        .sentinel(sentinels.master_name(), sentinels.urls())
        .expect("urls")
        .replicas(Replicas::All, secs(3))
        .connect()
        .await
        .expect("connects");
    let old = sentinels.master();
    let guards: Vec<_> = futures_util::future::join_all((0..50).map(async |_| {
        let lock = client.fenced_lock(unique_name("outlives"));
        lock.lock().await.expect("free")
    }))
    .await;
    old.kill();
    let new = sentinels.master_after(old).direct();
    for guard in &guards {
        assert_eq!(new.cmd(&["EXISTS", guard.name()]).int(), 1);
    }
    // The dead one is not back: All means all that were seen.
    for guard in guards {
        match guard.unlock().await {
            Ok(()) | Err(Error::ReleaseNotReplicated { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    old.restart();
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_confirms_on_each_master() {
    let cluster = Cluster::shared();
    let client = Client::builder()
        .cluster(cluster.urls())
        .expect("urls")
        .replicas(Replicas::AtLeast(1), secs(2))
        .connect()
        .await
        .expect("connects");
    for master in cluster.masters() {
        let name = cluster.name_on(master, "acked");
        let guard = client.lock(&*name).lock().await.expect("free");
        guard.unlock().await.expect("released on a replica");
    }
    close(client).await;
}

/// A server without a replica confirms nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_alone_confirms_nothing() {
    let server = redlatch_support::Server::shared();
    for policy in [Replicas::AtLeast(1), Replicas::Majority, Replicas::All] {
        let client = client_of(&server.url(), policy, ms(200)).await;
        let name = unique_name("alone");
        match client.lock(&*name).lock().await {
            Err(Error::NotReplicated { acked, wanted, .. }) => assert_eq!((acked, wanted), (0, 1)),
            other => panic!("{other:?}"),
        }
        gone(&server.direct(), &name).await;
        close(client).await;
    }
}

/// Without the right to the channel that carries the question, the answer would be about nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_may_not_be_asked_is_no_answer() {
    let replicated = Replicated::start();
    let direct = replicated.master().direct();
    let rules = ["on", ">pw", "~*", "resetchannels", "&redisson_*", "+@all"];
    let mut words = vec!["ACL", "SETUSER", "mute"];
    words.extend(rules);
    direct.cmd(&words).accepted();
    let url = format!("redis://mute:pw@127.0.0.1:{}", replicated.master().port());
    let client = client_of(&url, Replicas::AtLeast(1), secs(2)).await;
    let name = unique_name("unasked");
    match client.lock(&*name).lock().await {
        Err(Error::Refused { refusal, .. }) => assert_eq!(refusal, redlatch::Refusal::NoPermission),
        other => panic!("{other:?}"),
    }
    gone(&direct, &name).await;
    close(client).await;
}

/// A release that no replica could be asked about is told as such, and done all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_nobody_can_be_asked_about_is_told() {
    let replicated = Replicated::start();
    let direct = replicated.master().direct();
    let rules = |channels: &str| {
        let rules = ["on", ">pw", "~*", "resetchannels", channels, "+@all"];
        let words = ["ACL", "SETUSER", "mute"].into_iter().chain(rules);
        direct.cmd(&words.collect::<Vec<_>>()).accepted();
    };
    rules("&*");
    let url = format!("redis://mute:pw@127.0.0.1:{}", replicated.master().port());
    let client = client_of(&url, Replicas::AtLeast(1), secs(2)).await;
    let name = unique_name("unasked-release");
    let guard = client
        .lock(&*name)
        .lock()
        .await
        .expect("free, and confirmed");
    rules("&redisson_*");
    match guard.unlock().await {
        Err(Error::ReleaseNotReplicated { acked, .. }) => assert_eq!(acked, 0),
        other => panic!("{other:?}"),
    }
    gone(&direct, &name).await;
    close(client).await;
}

/// On the disks of the server and of a replica, where the server can say so; elsewhere an error says why, and nothing is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_is_on_the_disks_that_were_asked_for() {
    let replicated = Replicated::builder().appendonly(true).start();
    let direct = replicated.master().direct();
    let client = async |within| {
        let builder = Client::builder()
            .url(replicated.master().url())
            .expect("url");
        let builder = builder.replicas_on_disk(Replicas::AtLeast(1), within);
        builder.connect().await.expect("connects")
    };
    let name = unique_name("on-disk");
    let patient = client(secs(10)).await;
    if direct.cmd(&["COMMAND", "INFO", "WAITAOF"]).items()[0].is_nil() {
        let error = patient
            .lock(&*name)
            .lock()
            .await
            .expect_err("it cannot say so");
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        gone(&direct, &name).await;
        return close(patient).await;
    }
    let guard = patient
        .lock(&*name)
        .lock()
        .await
        .expect("free, and on two disks");
    assert!(direct.command_calls("waitaof") > 0);
    guard.unlock().await.expect("held, and on two disks");
    for replica in replicated.replicas() {
        replica.freeze();
    }
    let hurried = client(ms(300)).await;
    let error = hurried
        .lock(&*name)
        .lock()
        .await
        .expect_err("on one disk alone");
    assert!(
        matches!(error, Error::NotReplicated { acked: 0, .. }),
        "{error}"
    );
    gone(&direct, &name).await;
    for replica in replicated.replicas() {
        replica.thaw();
    }
    // Where the server keeps no such file there is nothing to ask about.
    direct
        .cmd(&["CONFIG", "SET", "appendonly", "no"])
        .accepted();
    let error = patient.lock(&*name).lock().await.expect_err("on no disk");
    assert!(
        matches!(error, Error::Refused { .. } | Error::NotReplicated { .. }),
        "{error}"
    );
    gone(&direct, &name).await;
    close(patient).await;
    close(hurried).await;
}
