//! Unix sockets, IPv6, host names and those that move.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use redlatch::{Client, ClientBuilder, Error, Event, Tls};
use redlatch_support::{Certificates, Cluster, Server, eventually_async, unique_name};

use crate::kit::{
    asleep, assert_refused, at, close, connected, far, hand_over, is_renewed, ms, secs, try_connect,
};

#[tokio::test]
async fn a_lock_works_over_a_unix_socket() {
    let server = Server::builder().unix_socket().password("p@ss").start();
    let socket = server.unix_socket();
    let url = format!("redis+unix://:p%40ss@localhost{}", socket.display());
    let (one, other) = (connected(at(&url)).await, connected(at(&url)).await);
    hand_over(&one, &other).await;
    is_renewed(at(&url)).await;
    let tcp = connected(at(server.url().replace("p@ss", "p%40ss"))).await;
    hand_over(&one, &tcp).await;
    hand_over(&tcp, &one).await;
    close(other).await;
    close(tcp).await;

    // A connection that ends is replaced, and what it left behind is ended on the server.
    let mut events = one.events();
    let guard = one.lock(unique_name("socket")).lock().await.expect("free");
    let connects = one.stats().connects;
    let direct = server.direct();
    direct.cmd(&["CLIENT", "KILL", "TYPE", "normal"]);
    guard.unlock().await.expect("held");
    eventually_async("another connection", secs(5), async || {
        one.stats().connects > connects
    })
    .await;
    close(one).await;
    use tokio_stream::StreamExt;
    while let Some(event) = events.next().await {
        assert!(!matches!(event, Event::NotFenced { .. }), "{event:?}");
    }

    // One with a database and a name that a URL cannot spell as it is.
    let odd = socket.with_file_name("odd name");
    std::fs::rename(&socket, &odd).expect("renamed");
    let place = odd.display().to_string().replace(' ', "%20");
    let url = format!("redis+unix://:p%40ss@localhost{place}?db=3");
    let third = connected(at(url)).await;
    let name = unique_name("third");
    let guard = third.lock(&*name).lock().await.expect("free");
    assert!(!direct.exists(&name));
    direct.cmd(&["SELECT", "3"]);
    guard.unlock().await.expect("held");
    close(third).await;

    let (outcome, took) = try_connect(at("redis+unix:///nowhere/at.all")).await;
    assert_refused(outcome, took, &["/nowhere/at.all", "NotFound"]);
}

#[tokio::test]
async fn a_lock_works_over_ipv6_and_by_a_host_name() {
    let server = Server::builder().bind("127.0.0.1 ::1").start();
    let port = server.port();
    let by = |host: &str| at(format!("redis://{host}:{port}"));
    let six = connected(by("[::1]")).await;
    let four = connected(by("127.0.0.1")).await;
    let named = connected(by("localhost")).await;
    hand_over(&six, &four).await;
    hand_over(&four, &six).await;
    hand_over(&six, &named).await;
    hand_over(&named, &six).await;
    is_renewed(by("[::1]")).await;
    let over_six = server.direct().client_list();
    let over_six = over_six
        .iter()
        .filter(|client| client["addr"].starts_with("[::1]:"));
    assert!(over_six.count() >= 2);
    for client in [six, four, named] {
        close(client).await;
    }
    let (outcome, took) = try_connect(at("redis://no-such-host.invalid:1")).await;
    assert_refused(outcome, took, &["no-such-host.invalid"]);
}

/// A name service that tests can change.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Names {
    fn of(ports: &[u16]) -> Self {
        let names = Self::default();
        names.point(ports);
        names
    }

    fn point(&self, ports: &[u16]) {
        let addresses = ports.iter().map(|port| (Ipv4Addr::LOCALHOST, *port).into());
        *self.0.lock().expect("not poisoned") = addresses.collect();
    }

    fn used_by(&self, builder: ClientBuilder) -> ClientBuilder {
        let names = self.clone();
        builder.resolver(move |host, _| {
            let known = names.0.lock().expect("not poisoned").clone();
            async move {
                match host.as_str() {
                    "locks.test" => Ok(known),
                    _ => Err(io::Error::other("not in this zone")),
                }
            }
        })
    }
}

/// Whoever is behind the name counts: a waiter goes over to it with the next connection, and so does the watchdog.
#[tokio::test]
async fn a_host_name_that_moves_is_followed() {
    let (first, second) = (Server::start(), Server::start());
    let names = Names::of(&[first.port()]);
    let by_name = || names.used_by(at("redis://locks.test"));
    let (one, other) = (connected(by_name()).await, connected(by_name()).await);
    hand_over(&one, &other).await;
    for (from, to) in [(&first, &second), (&second, &first)] {
        let name = unique_name("moved");
        let guard = one.lock(&*name).lock().await.expect("free");
        assert!(from.direct().exists(&name));
        let lock = other.lock(&*name);
        let waiting = tokio::spawn(async move { lock.lock().wait(secs(20)).await });
        asleep(&other, 1).await;
        names.point(&[to.port()]);
        from.kill();
        // Nobody has the lock there.
        let granted = waiting.await.expect("joins").expect("granted");
        assert!(to.direct().exists(&name));
        let cause = tokio::time::timeout(secs(9), guard.lost()).await;
        println!("the holder was told: {:?}", cause.expect("told"));
        granted.unlock().await.expect("held");
        hand_over(&one, &other).await;
        from.restart();
    }
    close(one).await;
    close(other).await;
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried() {
    let server = Server::start();
    // One at which nobody listens, and one at which nobody answers.
    let refusing = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let refusing_port = refusing.local_addr().expect("bound").port();
    drop(refusing);
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let silent_port = silent.local_addr().expect("bound").port();
    let names = Names::of(&[refusing_port, silent_port, server.port()]);
    let by_name = || names.used_by(at("redis://locks.test").connect_timeout(ms(900)));
    let (one, other) = (connected(by_name()).await, connected(by_name()).await);
    hand_over(&one, &other).await;
    close(one).await;
    close(other).await;

    names.point(&[]);
    let (outcome, took) = try_connect(by_name()).await;
    assert_refused(outcome, took, &["no address of locks.test"]);
    let elsewhere = names.used_by(at("redis://elsewhere.test"));
    let (outcome, took) = try_connect(elsewhere).await;
    assert_refused(outcome, took, &["elsewhere.test", "not in this zone"]);
    let never = at("redis://locks.test").resolver(|_, _| std::future::pending());
    let (outcome, took) = try_connect(never.connect_timeout(ms(300))).await;
    let error = assert_refused(outcome, took, &["resolver", "in time"]);
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

/// The certificate is for the name, wherever that leads.
#[tokio::test]
async fn a_resolved_name_is_the_one_in_the_certificate() {
    let certificates = Certificates::for_names(&["locks.test"]);
    let server = Server::builder().tls(&certificates).start();
    let names = Names::of(&[server.tls_port()]);
    let tls = Tls::new().ca_file(&certificates.ca).expect("readable");
    let by_name = || names.used_by(at("rediss://locks.test").tls(tls.clone()));
    let (one, other) = (connected(by_name()).await, connected(by_name()).await);
    hand_over(&one, &other).await;
    close(one).await;
    close(other).await;
}

/// Whoever comes in the server's place is checked like the server: nobody is asked that is not trusted, the text says why,
/// and all goes on when the right one is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_in_its_place_is_checked_as_well() {
    let (certificates, foreign) = (
        Certificates::for_names(&["locks.test"]),
        Certificates::make(),
    );
    let server = Server::builder().tls(&certificates).start();
    let stranger = Server::builder().tls(&foreign).start();
    let names = Names::of(&[server.tls_port()]);
    let tls = Tls::new().ca_file(&certificates.ca).expect("readable");
    let by_name = || {
        let builder = at("rediss://locks.test").tls(tls.clone());
        names.used_by(builder.command_timeout(ms(500)).outage_patience(secs(1)))
    };
    let (one, other) = (connected(by_name()).await, connected(by_name()).await);
    hand_over(&one, &other).await;
    names.point(&[stranger.tls_port()]);
    server.kill();
    let lock = one.lock(unique_name("strange"));
    eventually_async("it says why", secs(10), async || {
        let error = lock.lock().await.expect_err("not trusted");
        error.to_string().contains("authority")
    })
    .await;
    assert_eq!(stranger.direct().command_calls("hello"), 0);
    server.restart();
    names.point(&[server.tls_port()]);
    let other_lock = other.lock(lock.name());
    for lock in [lock, other_lock] {
        eventually_async("a grant", secs(10), async || lock.lock().await.is_ok()).await;
    }
    hand_over(&one, &other).await;
    close(one).await;
    close(other).await;
}

/// Nodes may announce names that lead nowhere from here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_names_are_translated() {
    const ANNOUNCED: &str = "node.test";
    let certificates = Certificates::for_names(&[ANNOUNCED]);
    let cluster = Cluster::builder()
        .tls(&certificates)
        .replicas(0)
        .args(["--cluster-announce-hostname", ANNOUNCED])
        .start();
    let seed = cluster.nodes()[0].tls_port();
    let tls = Tls::new().ca_file(&certificates.ca).expect("readable");
    let builder = || {
        let urls = [format!("rediss://{ANNOUNCED}:{seed}")];
        let builder = far(Client::builder().cluster(urls).expect("url")).tls(tls.clone());
        builder.resolver(|host, port| async move {
            match host.as_str() {
                ANNOUNCED => Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]),
                _ => Err(io::Error::other("no node")),
            }
        })
    };
    let (one, other) = (connected(builder()).await, connected(builder()).await);
    for _ in 0..4 {
        hand_over(&one, &other).await;
    }
    close(one).await;
    close(other).await;
}

/// A resolver is a program's own; what it does wrong is an error and ends nothing.
#[tokio::test]
async fn a_resolver_that_panics_harms_nobody() {
    let server = Server::start();
    let broken = Arc::new(AtomicBool::new(true));
    let by_name = || {
        let (broken, port) = (broken.clone(), server.port());
        at("redis://locks.test").resolver(move |_, _| {
            let broken = broken.clone();
            async move {
                assert!(!broken.load(Ordering::Acquire), "a bug of the program");
                Ok(vec![(Ipv4Addr::LOCALHOST, port).into()])
            }
        })
    };
    let (outcome, took) = try_connect(by_name()).await;
    assert_refused(outcome, took, &["the resolver panicked"]);
    broken.store(false, Ordering::Release);
    let (one, other) = (connected(by_name()).await, connected(by_name()).await);
    broken.store(true, Ordering::Release);
    server.direct().cmd(&["CLIENT", "KILL", "TYPE", "normal"]);
    server.direct().cmd(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let name = unique_name("broken");
    let error = one.lock(&*name).lock().wait(ms(300)).await;
    let error = error.expect_err("no connection").to_string();
    println!("{error}");
    broken.store(false, Ordering::Release);
    hand_over(&one, &other).await;
    close(one).await;
    close(other).await;
}
