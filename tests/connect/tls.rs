//! TLS to one server: who is let in, who is turned away, and what is said about it.

use redlatch::{Client, Error, Refusal, Tls};
use redlatch_support::{Certificates, Server, eventually_async, unique_name};

use crate::kit::{assert_refused, at, close, connected, hand_over, is_renewed, secs, try_connect};

fn certificates() -> &'static Certificates {
    Certificates::shared()
}

/// Trusts the authority of the test servers.
pub(crate) fn trusting() -> Tls {
    Tls::new().ca_file(&certificates().ca).expect("readable")
}

/// And shows a certificate that it has signed.
fn known() -> Tls {
    let client = &certificates().client;
    trusting()
        .client_certificate(&client.certificate, &client.key)
        .expect("readable")
}

#[track_caller]
pub(crate) fn assert_certificate(error: &Error) {
    assert!(
        matches!(
            error,
            Error::Refused {
                refusal: Refusal::Certificate,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_lock_works_over_tls() {
    let server = Server::builder().tls(certificates()).start();
    let url = server.tls_url();
    let (one, other) = (
        connected(at(&url).tls(trusting())).await,
        connected(at(&url).tls(trusting())).await,
    );
    hand_over(&one, &other).await;
    is_renewed(at(&url).tls(trusting())).await;
    // A client without TLS shares the locks.
    let plain = connected(at(server.url())).await;
    hand_over(&one, &plain).await;
    hand_over(&plain, &one).await;
    for client in [one, other, plain] {
        close(client).await;
    }
}

#[tokio::test]
async fn a_connection_by_tls_is_replaced_when_it_ends() {
    let server = Server::builder().tls(certificates()).start();
    let client = connected(at(server.tls_url()).tls(trusting())).await;
    let connects = client.stats().connects;
    let guard = client.lock(unique_name("replaced")).lock().await;
    let guard = guard.expect("free");
    server.direct().cmd(&["CLIENT", "KILL", "TYPE", "normal"]);
    guard.unlock().await.expect("held");
    eventually_async("another connection", secs(5), async || {
        client.stats().connects > connects
    })
    .await;
    close(client).await;
}

#[tokio::test]
async fn a_client_certificate_lets_in_where_one_is_asked_for() {
    let server = Server::builder()
        .tls(certificates())
        .client_certificates()
        .start();
    let url = server.tls_url();
    let (one, other) = (
        connected(at(&url).tls(known())).await,
        connected(at(&url).tls(known())).await,
    );
    hand_over(&one, &other).await;
    close(one).await;
    close(other).await;

    let (outcome, took) = try_connect(at(&url).tls(trusting())).await;
    let error = assert_refused(outcome, took, &["client certificate"]);
    assert_certificate(&error);

    // One of another authority is as good as none.
    let foreign = Certificates::make();
    let stranger = &foreign.client;
    let tls = trusting()
        .client_certificate(&stranger.certificate, &stranger.key)
        .expect("readable");
    let (outcome, took) = try_connect(at(&url).tls(tls)).await;
    let error = assert_refused(outcome, took, &["this client's certificate"]);
    assert_certificate(&error);
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let server = Server::builder().tls_of_other_host(certificates()).start();
    let port = server.tls_port();
    for host in ["localhost", "127.0.0.1"] {
        let builder = at(format!("rediss://{host}:{port}")).tls(trusting());
        let (outcome, took) = try_connect(builder).await;
        let error = assert_refused(outcome, took, &["another host", host]);
        assert_certificate(&error);
    }
    // Unless that is whom the program wants, or it does not matter to it.
    let named = trusting()
        .server_name(redlatch_support::tls::OTHER_HOST)
        .expect("a name");
    for tls in [named, trusting().any_host_name()] {
        let client = connected(at(server.tls_url()).tls(tls)).await;
        let guard = client.lock(unique_name("named")).lock().await;
        guard.expect("free").unlock().await.expect("held");
        close(client).await;
    }
}

#[tokio::test]
async fn a_certificate_of_a_foreign_authority_is_refused() {
    let server = Server::builder().tls(certificates()).start();
    let authority = Certificates::make();
    let foreign = Tls::new().ca_file(&authority.ca).expect("readable");
    for tls in [foreign.clone(), foreign.any_host_name(), Tls::new()] {
        let (outcome, took) = try_connect(at(server.tls_url()).tls(tls)).await;
        let error = assert_refused(outcome, took, &["authority"]);
        // Where the system trusts nobody, that is said before anything is sent.
        if !matches!(error, Error::InvalidArgument { .. }) {
            assert_certificate(&error);
        }
    }
    assert_eq!(server.direct().command_calls("hello"), 0);
}

#[tokio::test]
async fn a_client_without_tls_at_a_tls_port_is_told_so_and_the_other_way_round() {
    let server = Server::builder().tls(certificates()).start();
    let plain = at(format!("redis://127.0.0.1:{}", server.tls_port()));
    let (outcome, took) = try_connect(plain).await;
    let error = assert_refused(outcome, took, &["rediss://"]);
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let tls = at(format!("rediss://127.0.0.1:{}", server.port())).tls(trusting());
    let (outcome, took) = try_connect(tls).await;
    let error = assert_refused(outcome, took, &["redis://"]);
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_before_anything_is_sent() {
    let certificates = certificates();
    let (client, server) = (&certificates.client, &certificates.server);
    let folder = certificates.folder();
    let junk = folder.join("junk.pem");
    std::fs::write(&junk, "-----BEGIN CERTIFICATE-----\nno\n").expect("written");
    let missing = folder.join("missing.pem");
    let show = |certificate, key| Tls::new().client_certificate(certificate, key);
    let wrong = [
        (Tls::new().ca_file(&missing), "missing.pem"),
        (Tls::new().ca_file(&junk), "junk.pem"),
        (Tls::new().ca_file(&client.key), "no certificate"),
        (Tls::new().ca_pem("nothing"), "no certificate"),
        (show(&missing, &client.key), "missing.pem"),
        (show(&client.certificate, &missing), "missing.pem"),
        (show(&junk, &client.key), "junk.pem"),
        (show(&client.key, &client.key), "no certificate"),
        (
            show(&client.certificate, &client.certificate),
            "no private key",
        ),
        (show(&client.certificate, &server.key), "server.key"),
        (Tls::new().server_name("not a name"), "server_name"),
    ];
    for (outcome, word) in wrong {
        let error = outcome.expect_err(word);
        println!("{error}");
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let read = |path| std::fs::read(path).expect("there");
    let shown = Tls::new()
        .ca_pem(read(&certificates.ca))
        .and_then(|tls| tls.client_certificate_pem(read(&client.certificate), read(&client.key)));
    let shown = format!("{:?}", shown.expect("from memory as well"));
    assert!(!shown.contains("PRIVATE") && shown.len() < 200, "{shown}");

    let builder = Client::builder().url("redis://127.0.0.1:1").expect("url");
    let error = builder.tls(trusting()).connect().await;
    let error = error.expect_err("nothing would be encrypted").to_string();
    assert!(error.contains("rediss://"), "{error}");
}
