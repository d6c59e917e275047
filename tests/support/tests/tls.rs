//! Servers speak TLS, and on other sockets than the usual one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use redlatch_support::cluster::slot_of;
use redlatch_support::tls::OTHER_HOST;
use redlatch_support::{Certificates, Cluster, Flavor, Server};

const SOON: Duration = Duration::from_secs(5);

/// What comes back when a client that checks the certificate for this host says something and leaves.
fn say(port: u16, host: &str, words: &str, more: &[&str]) -> Output {
    let certificates = Certificates::shared();
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error"])
        .args(["-connect", &format!("127.0.0.1:{port}")])
        .args(["-verify_hostname", host, "-CAfile"])
        .arg(&certificates.ca)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is there, since it made the certificates");
    let mut input = client.stdin.take().expect("its input is piped");
    // It may have left before it reads.
    let _ = write!(input, "{words}\r\nQUIT\r\n");
    drop(input);
    client.wait_with_output().expect("it ends")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ping(mut stream: impl Read + Write) -> String {
    stream.write_all(b"PING\r\nQUIT\r\n").expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is text");
    answer
}

#[test]
fn certificates_are_of_their_authority_and_for_their_host() {
    let certificates = Certificates::make();
    let verify = |ca: &Certificates, certificate, words: &[&str]| {
        Command::new("openssl")
            .args(["verify", "-CAfile"])
            .arg(&ca.ca)
            .args(words)
            .arg(certificate)
            .output()
            .expect("openssl is there")
            .status
            .success()
    };
    let server = &certificates.server.certificate;
    assert!(verify(
        &certificates,
        server,
        &["-verify_hostname", "localhost"]
    ));
    assert!(verify(&certificates, server, &["-verify_ip", "127.0.0.1"]));
    assert!(verify(&certificates, server, &["-verify_ip", "::1"]));
    assert!(!verify(
        &certificates,
        server,
        &["-verify_hostname", OTHER_HOST]
    ));
    let other = &certificates.other_host.certificate;
    assert!(verify(
        &certificates,
        other,
        &["-verify_hostname", OTHER_HOST]
    ));
    assert!(!verify(
        &certificates,
        other,
        &["-verify_hostname", "localhost"]
    ));
    let client = &certificates.client.certificate;
    assert!(verify(&certificates, client, &["-purpose", "sslclient"]));
    assert!(!verify(&certificates, client, &["-purpose", "sslserver"]));
    assert!(!verify(Certificates::shared(), server, &[]));
    let folder = certificates.folder().to_owned();
    assert!(folder.is_dir());
    drop(certificates);
    assert!(!folder.exists());
}

#[test]
fn a_server_speaks_tls_beside_its_plain_port() {
    let server = Server::builder()
        .tls(Certificates::shared())
        .password("secret")
        .start();
    let port = server.tls_port();
    assert_ne!(port, server.port());
    assert_eq!(
        server.tls_url(),
        format!("rediss://:secret@127.0.0.1:{port}")
    );
    let direct = server.direct();
    direct.cmd(&["SET", "k", "over plain"]).accepted();
    let answer = say(port, "localhost", "AUTH secret\r\nGET k", &[]);
    assert!(text(&answer).contains("over plain"), "{answer:?}");
    // A frame of RESP is no handshake.
    let mut plain = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    plain.set_read_timeout(Some(SOON)).expect("it can be set");
    plain.write_all(b"PING\r\nPING\r\n").expect("it is taken");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"+PONG"), "{answer:?}");

    server.restart();
    assert_eq!(server.tls_port(), port);
    let answer = say(port, "localhost", "AUTH secret\r\nPING", &[]);
    assert!(text(&answer).contains("+PONG"), "{answer:?}");
}

#[test]
fn a_certificate_outlives_its_first_owner() {
    let certificates = Certificates::make();
    let folder = certificates.folder().to_owned();
    let server = Server::builder().tls(&certificates).start();
    drop(certificates);
    server.restart();
    assert!(folder.is_dir());
    drop(server);
    assert!(!folder.exists());
}

#[test]
fn a_server_of_another_host_is_refused() {
    let server = Server::builder()
        .tls_of_other_host(Certificates::shared())
        .start();
    let answer = say(server.tls_port(), "localhost", "PING", &[]);
    assert!(
        !answer.status.success() && text(&answer).is_empty(),
        "{answer:?}"
    );
    let answer = say(server.tls_port(), OTHER_HOST, "PING", &[]);
    assert!(text(&answer).contains("+PONG"), "{answer:?}");
}

#[test]
fn a_client_may_have_to_show_a_certificate() {
    let certificates = Certificates::shared();
    let server = Server::builder()
        .tls(certificates)
        .client_certificates()
        .start();
    let answer = say(server.tls_port(), "localhost", "PING", &[]);
    assert!(!text(&answer).contains("PONG"), "{answer:?}");
    let client = &certificates.client;
    let [certificate, key] =
        [&client.certificate, &client.key].map(|path| path.display().to_string());
    let own = ["-cert", &certificate, "-key", &key];
    let answer = say(server.tls_port(), "localhost", "PING", &own);
    assert!(text(&answer).contains("+PONG"), "{answer:?}");
}

#[test]
fn a_cluster_speaks_tls_among_its_nodes_too() {
    let cluster = Cluster::builder().tls(Certificates::shared()).start();
    assert_eq!(cluster.tls_urls().len(), 6);
    let [from, to, ..] = cluster.masters()[..] else {
        panic!("there are three masters");
    };
    let key = cluster.name_on(from, "key");
    cluster.direct_for(&key).cmd(&["SET", &key, "v"]).accepted();
    let get = format!("GET {key}");
    let answer = say(from.tls_port(), "localhost", &get, &[]);
    assert!(text(&answer).contains("\nv"), "{answer:?}");
    // A client is sent to a port that speaks as it does.
    let slot = slot_of(&key);
    let moved = format!("-MOVED {slot} 127.0.0.1:{}", from.tls_port());
    let answer = say(to.tls_port(), "localhost", &get, &[]);
    assert!(text(&answer).contains(&moved), "{answer:?}");
    let refused = to.direct().cmd(&["GET", &key]);
    let told = format!("{refused:?}");
    assert!(
        told.contains(&format!("MOVED {slot} {}\"", from.address())),
        "{told}"
    );
    cluster.move_slot(slot, to);
    let answer = say(to.tls_port(), "localhost", &get, &[]);
    assert!(text(&answer).contains("\nv"), "{answer:?}");
    cluster.failover(cluster.replicas_of(from)[0]);
}

#[test]
fn a_flavor_without_tls_is_refused_with_advice() {
    let flavor = Flavor::Redis62;
    let server = Server::builder().flavor(flavor).tls(Certificates::shared());
    let error = server.try_start().expect_err("that one has no TLS");
    assert!(error.to_string().contains("redis-7.0"), "{error}");
}

#[test]
fn a_server_listens_on_a_unix_socket_too() {
    let server = Server::builder().unix_socket().start();
    for _ in 0..2 {
        let stream = UnixStream::connect(server.unix_socket()).expect("the socket is there");
        assert_eq!(ping(stream), "+PONG\r\n+OK\r\n");
        server.restart();
    }
    let socket = server.unix_socket();
    drop(server);
    assert!(!socket.exists());
}

#[test]
fn a_server_listens_on_ipv6_too() {
    if let Err(error) = TcpListener::bind("[::1]:0") {
        eprintln!("not tested: this machine has no ::1 ({error})");
        return;
    }
    let server = Server::builder().bind("127.0.0.1 ::1").start();
    for host in ["127.0.0.1", "::1"] {
        let stream = TcpStream::connect((host, server.port())).expect("it listens");
        assert_eq!(ping(stream), "+PONG\r\n+OK\r\n");
    }
    server.restart();
    TcpStream::connect(("::1", server.port())).expect("it listens again");
}

#[test]
fn a_server_that_cannot_be_asked_is_refused() {
    let error = Server::builder().bind("::1").try_start();
    let error = error.expect_err("nobody could ask it");
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}
