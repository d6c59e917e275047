//! Several locks as one: all of them, or a majority.

use std::{
    future::IntoFuture,
    time::{Duration, Instant},
};

use redlatch::{AnyLock, Client, Error, LossCause, MultiLock, Owner};
use redlatch_support::{Proxy, Server, eventually_async, polled};

use crate::common::{
    client, client_with, close, direct, ms, name, nothing_but, secs, until_nothing_is_left,
};

pub(crate) fn three(client: &Client, stem: &str) -> MultiLock {
    let members = ["a", "b", "c"].map(|letter| client.lock(format!("{stem}-{letter}")));
    MultiLock::new(members).expect("three of them")
}

#[tokio::test]
async fn all_members_are_held_or_none() {
    let (client, other, stem) = (client().await, client().await, name("all"));
    let lock = three(&client, &stem);
    let guard = lock.lock().await.expect("free");
    let hashes = ["a", "b", "c"].map(|letter| direct().hgetall(&format!("{stem}-{letter}")));
    for hash in &hashes {
        assert_eq!(hash.len(), 1, "{hash:?}");
        assert_eq!(hash, &hashes[0], "one owner for all");
    }
    assert_eq!(guard.held(), 3);
    assert!(
        three(&other, &stem)
            .try_lock()
            .await
            .expect("answers")
            .is_none()
    );
    guard.unlock().await.expect("held");
    nothing_but(&stem, &[]).await;

    // One member is busy: the others are not kept.
    let busy = other.lock(format!("{stem}-c")).lock().await.expect("free");
    assert!(lock.try_lock().await.expect("answers").is_none());
    let error = lock.lock().wait(ms(100)).await.expect_err("busy");
    assert!(error.is_timeout(), "{error}");
    nothing_but(&stem, &[format!("{stem}-c")]).await;
    busy.unlock().await.expect("held");
    close(client).await;
    close(other).await;
}

#[tokio::test]
async fn members_may_be_of_any_kind_and_client() {
    let (one, other, stem) = (client().await, client().await, name("kinds"));
    let named = |kind: &str| format!("{stem}-{kind}");
    let lock = MultiLock::new([
        AnyLock::from(one.lock(named("plain"))),
        AnyLock::from(other.fair_lock(named("fair"))),
        AnyLock::from(one.read_write_lock(named("rw")).write_lock()),
        AnyLock::from(other.fenced_lock(named("fenced"))),
        AnyLock::from(one.spin_lock(named("spin"))),
    ])
    .expect("five of them")
    .with_owner(Owner::fresh());
    let guard = lock.lock().lease(secs(5)).await.expect("free");
    for kind in ["plain", "fair", "rw", "fenced", "spin"] {
        let left = direct().pttl(&named(kind));
        assert!((3_000..=5_000).contains(&left), "{kind}: {left} ms left");
    }
    let again = lock.try_lock().await.expect("answers").expect("re-enters");
    again.unlock().await.expect("held");
    assert!(!guard.is_lost());
    guard.unlock().await.expect("held");
    nothing_but(
        &stem,
        &[format!("redisson_lock_token:{{{}}}", named("fenced"))],
    )
    .await;
    close(one).await;
    close(other).await;
}

#[tokio::test]
async fn nonsense_is_refused() {
    let client = client().await;
    let none = MultiLock::new(Vec::<AnyLock>::new());
    assert!(matches!(
        none,
        Err(Error::InvalidArgument {
            field: "members",
            ..
        })
    ));
    let twice = MultiLock::new([client.lock("x"), client.lock("x")]);
    assert!(matches!(
        twice,
        Err(Error::InvalidArgument {
            field: "members",
            ..
        })
    ));
    let lock = three(&client, "nonsense");
    let short = lock.lock().lease(ms(1)).await;
    assert!(matches!(
        short,
        Err(Error::InvalidArgument { field: "lease", .. })
    ));
    close(client).await;
}

/// Two that want the same members in another order, and a lease each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaw_15_opposite_orders_never_stop_each_other() {
    let (one, other, stem) = (client().await, client().await, name("orders"));
    let mut tasks = Vec::new();
    for task in 0..6 {
        let client = if task % 2 == 0 { &one } else { &other };
        let mut members = ["a", "b", "c"].map(|letter| client.lock(format!("{stem}-{letter}")));
        members.rotate_left(task % 3);
        if task % 2 == 1 {
            members.reverse();
        }
        let lock = MultiLock::new(members).expect("three of them");
        tasks.push(tokio::spawn(Owner::fresh().scope(async move {
            for _ in 0..20 {
                let guard = lock.lock().wait(secs(30)).lease(secs(20)).await;
                guard.expect("granted").unlock().await.expect("held");
            }
        })));
    }
    let begun = Instant::now();
    for task in tasks {
        task.await.expect("no panic");
    }
    println!("120 takings of three in {:?}", begun.elapsed());
    nothing_but(&stem, &[]).await;
    close(one).await;
    close(other).await;
}

#[tokio::test]
async fn one_lost_member_loses_the_set() {
    let client = client_with(|builder| builder.watchdog_timeout(ms(900))).await;
    let stem = name("lost");
    let guard = three(&client, &stem).lock().await.expect("free");
    direct().cmd(&["DEL", &format!("{stem}-b")]).accepted();
    let told = tokio::time::timeout(secs(1), guard.lost()).await;
    assert_eq!(told.expect("with the next look"), LossCause::Vanished);
    assert!(guard.is_lost());
    let stopped = guard.run(std::future::pending::<()>()).await;
    assert!(stopped.expect_err("lost").is_lost());
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    nothing_but(&stem, &[]).await;

    let guard = three(&client, &stem)
        .lock()
        .lease(ms(300))
        .await
        .expect("free");
    assert_eq!(guard.lost().await, LossCause::LeaseExpired);
    drop(guard);
    nothing_but(&stem, &[]).await;
    close(client).await;
}

#[tokio::test]
async fn flaw_15_dropped_at_every_poll_no_member_is_left() {
    let client = client_with(|builder| builder.safety_poll(ms(20))).await;
    let (other, stem) = (self::client().await, name("polls"));
    let lock = three(&client, &stem).with_owner(Owner::fresh());
    for polls in 0..14 {
        drop(polled(polls, lock.lock().lease(secs(5)).into_future()).await);
        until_nothing_is_left(&client).await;
        nothing_but(&stem, &[]).await;
    }
    let busy = other.lock(format!("{stem}-c")).lock().await.expect("free");
    for polls in 0..14 {
        drop(polled(polls, lock.lock().wait(ms(120)).into_future()).await);
        until_nothing_is_left(&client).await;
        nothing_but(&stem, &[format!("{stem}-c")]).await;
    }
    busy.unlock().await.expect("held");
    close(client).await;
    close(other).await;
}

#[tokio::test]
async fn javas_verbs_hold_the_set_by_owner() {
    let (client, stem) = (client().await, name("raw"));
    let lock = three(&client, &stem).with_owner(Owner::fresh()).raw();
    assert!(lock.try_lock().await.expect("answers"));
    lock.lock_for(secs(20)).await.expect("re-enters");
    assert!(lock.is_held_by_current().await.expect("answers"));
    let other = three(&client, &stem).with_owner(Owner::fresh()).raw();
    assert!(!other.try_lock_for(ms(50), None).await.expect("answers"));
    assert!(!other.is_held_by_current().await.expect("answers"));
    assert!(matches!(other.unlock().await, Err(Error::NotHeld { .. })));
    lock.unlock().await.expect("held");
    lock.unlock().await.expect("held");
    assert!(matches!(lock.unlock().await, Err(Error::NotHeld { .. })));
    nothing_but(&stem, &[]).await;
    close(client).await;
}

/// Independent servers, a client of each, and the lock over all of them.
pub(crate) struct Servers {
    pub(crate) servers: Vec<Server>,
    clients: Vec<Client>,
    pub(crate) lock: MultiLock,
}

impl Servers {
    pub(crate) async fn start(count: usize) -> Self {
        let servers: Vec<_> = (0..count).map(|_| Server::start()).collect();
        let mut clients = Vec::new();
        for server in &servers {
            clients.push(Self::client(&server.url()).await);
        }
        let lock = Self::over(&clients);
        Self {
            servers,
            clients,
            lock,
        }
    }

    async fn client(url: &str) -> Client {
        let builder = Client::builder().url(url).expect("url");
        let builder = builder.watchdog_timeout(secs(3)).command_timeout(ms(500));
        builder.connect().await.expect("connects")
    }

    fn over(clients: &[Client]) -> MultiLock {
        MultiLock::majority(clients.iter().map(|client| client.lock("leader"))).expect("some")
    }

    pub(crate) fn holders(&self) -> usize {
        let running = self.servers.iter().filter(|server| server.is_running());
        running
            .filter(|server| server.direct().exists("leader"))
            .count()
    }

    pub(crate) async fn end(self) {
        for client in self.clients {
            client.close(secs(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_excludes_and_survives_the_loss_of_a_minority() {
    let rig = Servers::start(5).await;
    let lock = rig.lock.with_owner(Owner::fresh());
    let guard = lock.lock().await.expect("free");
    assert_eq!((guard.held(), rig.holders()), (5, 5));
    let rival = rig.lock.with_owner(Owner::fresh());
    assert!(rival.try_lock().await.expect("answers").is_none());
    assert_eq!(rig.holders(), 5, "the rival has given back nothing of ours");

    rig.servers[0].kill();
    rig.servers[3].kill();
    // Longer than the watchdog timeout: the others are renewed, those two are not.
    eventually_async("two members are lost", secs(10), async || guard.held() == 3).await;
    assert!(!guard.is_lost());
    assert!(guard.remaining() > Duration::ZERO);
    assert!(
        rival
            .try_lock()
            .await
            .expect("a majority answers")
            .is_none()
    );
    guard.unlock().await.expect("a majority confirms");
    eventually_async("nobody holds it", secs(5), async || rig.holders() == 0).await;
    let guard = rival.lock().wait(secs(5)).await.expect("three of five");
    assert_eq!(guard.held(), 3);

    rig.servers[1].kill();
    let told = tokio::time::timeout(secs(5), guard.lost()).await;
    told.expect("no majority is left");
    assert!(guard.unlock().await.is_err());
    let error = rival.try_lock().await.expect_err("two of five");
    assert!(
        matches!(error, Error::NoQuorum { needed: 3, .. }),
        "{error}"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missed_majority_gives_back_what_it_got() {
    let rig = Servers::start(3).await;
    // Somebody else holds two of three.
    let mut theirs = Vec::new();
    for client in &rig.clients[..2] {
        let lock = client.lock("leader").with_owner(Owner::fresh());
        theirs.push(lock.lock().await.expect("free"));
    }
    let lock = rig.lock.with_owner(Owner::fresh());
    assert!(lock.try_lock().await.expect("answers").is_none());
    eventually_async("the third is free again", secs(5), async || {
        rig.holders() == 2
    })
    .await;
    let error = lock.lock().wait(ms(200)).await.expect_err("busy");
    assert!(error.is_timeout(), "{error}");
    let waiting = tokio::spawn(async move { lock.lock().wait(secs(10)).await });
    for guard in theirs {
        guard.unlock().await.expect("held");
    }
    let guard = waiting.await.expect("joins").expect("granted");
    assert!(guard.held() >= 2);
    guard.unlock().await.expect("held");
    eventually_async("nobody holds it", secs(5), async || rig.holders() == 0).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_costs_its_limit_and_keeps_nothing() {
    let servers: Vec<_> = (0..3).map(|_| Server::start()).collect();
    let proxy = Proxy::start(servers[2].port()).await;
    let mut clients = Vec::new();
    for url in [servers[0].url(), servers[1].url(), proxy.url()] {
        clients.push(Servers::client(&url).await);
    }
    let lock = Servers::over(&clients).server_timeout(ms(100));
    proxy.black_hole(true);
    let begun = Instant::now();
    let guard = lock.lock().lease(secs(20)).await.expect("two of three");
    let took = begun.elapsed();
    assert!((ms(100)..ms(400)).contains(&took), "{took:?}");
    assert_eq!(guard.held(), 2);
    // The lease less what the answers took, a hundredth and two milliseconds.
    let left = guard.remaining();
    assert!(left <= secs(20) - took - ms(202) + ms(100), "{left:?}");
    assert!(left > secs(19), "{left:?}");
    proxy.black_hole(false);
    guard.unlock().await.expect("held");
    eventually_async("the late grant is given back", secs(10), async || {
        servers
            .iter()
            .all(|server| !server.direct().exists("leader"))
    })
    .await;
    for client in clients {
        client.close(secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contenders_for_a_majority_take_turns() {
    const ROUNDS: usize = 10;
    let rig = Servers::start(3).await;
    let inside = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (lock, inside) = (rig.lock.with_owner(Owner::fresh()), inside.clone());
            tokio::spawn(async move {
                for _ in 0..ROUNDS {
                    let guard = lock.lock().wait(secs(60)).await.expect("granted");
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    guard.unlock().await.expect("held");
                }
            })
        })
        .collect();
    let begun = Instant::now();
    for task in tasks {
        task.await.expect("no panic");
    }
    println!("{} turns in {:?}", 4 * ROUNDS, begun.elapsed());
    rig.end().await;
}
