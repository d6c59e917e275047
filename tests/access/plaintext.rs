//! A password goes to another machine by TLS, or only where the application says that it may go without.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use redlatch::{Client, ClientBuilder, Error, Refusal, fred::types::config::Config};
use redlatch_support::Server;

use crate::kit::{close, connect, ms};

/// Every address of this machine: what goes there never leaves it, and yet it is no loopback address.
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn url(url: impl AsRef<str>) -> ClientBuilder {
    Client::builder().url(url).expect("makes sense")
}

fn resolved(builder: ClientBuilder, to: Ipv4Addr, port: u16) -> ClientBuilder {
    builder.resolver(move |_, _| async move { Ok(vec![SocketAddr::from((to, port))]) })
}

#[tokio::test]
async fn a_password_is_not_sent_in_the_clear_unasked() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    listener.set_nonblocking(true).expect("set");
    let port = listener.local_addr().expect("bound").port();
    let (plain, login) = (
        format!("redis://{ANY}:{port}"),
        format!("redis://:pw@{ANY}:{port}"),
    );
    let mut config = Config::from_url(&plain).expect("makes sense");
    config.password = Some("pw".to_owned());
    let named = [
        url(&login),
        url(&plain).password("pw"),
        url(&plain).credentials("shop", "pw"),
        Client::builder().cluster([&login]).expect("urls"),
        Client::builder().sentinel("m", [&login]).expect("urls"),
        Client::builder()
            .sentinel("m", [&plain])
            .expect("urls")
            .sentinel_credentials(None::<String>, "pw"),
        Client::builder().fred_config(config),
        url(&login).allow_plaintext_password(false),
    ];
    for builder in named {
        let error = builder.connect().await.expect_err("in the clear");
        let Error::InvalidArgument { field, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*field, "password");
        let text = error.to_string();
        assert!(text.contains("allow_plaintext_password"), "{text}");
        assert!(!text.contains("pw"), "{text}");
    }
    // Where the host really is comes out later: by a resolver here, or by a cluster or a sentinel.
    let elsewhere = resolved(url("redis://:pw@localhost"), ANY, port);
    let error = elsewhere.connect().await.expect_err("in the clear");
    let refused = matches!(
        error,
        Error::Refused {
            refusal: Refusal::PlaintextPassword,
            ..
        }
    );
    assert!(refused, "{error:?}");
    assert!(!error.is_retryable());
    let came = listener.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(came, Err(ErrorKind::WouldBlock), "nobody has connected");
    // Without a password there is nothing to hide: it is tried, and there is nobody who answers.
    let nobody = url(&plain).connect_timeout(ms(100)).connect().await;
    let error = nobody.expect_err("no server");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(listener.accept().is_ok(), "it has connected");
}

#[tokio::test]
async fn it_is_where_it_was_allowed_or_does_not_leave_the_machine() {
    let server = Server::builder().password("pw").start();
    let port = server.port();
    for builder in [
        url(format!("redis://:pw@127.0.0.1:{port}")),
        url(format!("redis://:pw@localhost:{port}")),
        url(format!("redis://localhost:{port}")).password("pw"),
        url(format!("redis://:pw@{ANY}:{port}")).allow_plaintext_password(true),
        // The tunnel of a name that is elsewhere begins here.
        resolved(url("redis://:pw@far.example"), Ipv4Addr::LOCALHOST, port),
    ] {
        let client = connect(builder).await;
        let guard = client.lock("a").lock().await.expect("free");
        guard.unlock().await.expect("held");
        client.close(Duration::from_secs(1)).await;
    }
    close(connect(url(server.url())).await).await;
}
