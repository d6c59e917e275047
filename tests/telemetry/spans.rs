//! Spans: what they are called, what is in them, and what is not.

use redlatch::{Error, Owner};
use redlatch_support::{Action, Proxy, Rule, Server, polled};
use tracing::Level;

use crate::{
    kit::{close, connect, ms, plain, secs},
    watch::Watch,
};

#[tokio::test]
async fn a_request_is_named_as_that_of_a_database() {
    let (server, watch) = (Server::start(), Watch::install());
    let client = plain(server.url()).await;
    let guard = client.lock("orders:42").lock().await.expect("free");
    guard.unlock().await.expect("held");
    client
        .semaphore("s")
        .available_permits()
        .await
        .expect("answers");
    close(client).await;

    for (script, parent) in [
        ("reentrant/acquire", "redlatch.acquire"),
        ("reentrant/release", "redlatch.release"),
    ] {
        let requests = watch.requests(&format!("EVALSHA {script}"));
        assert_eq!(requests.len(), 1, "{requests:?}");
        let request = &requests[0];
        assert_eq!(request.level, Level::DEBUG);
        assert_eq!(request.parent, Some(parent));
        let names: Vec<_> = request
            .fields
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let expected = [
            ("db.operation.name", "EVALSHA"),
            ("db.stored_procedure.name", script),
            ("db.system.name", "redis"),
            ("otel.kind", "client"),
            ("otel.name", &format!("EVALSHA {script}")),
        ];
        assert_eq!(names, expected);
        let around = &watch.spans(parent)[0];
        assert_eq!(around.field("redlatch.lock.name"), Some("orders:42"));
        assert_eq!(around.field("redlatch.lock.kind"), Some("reentrant"));
        assert_eq!(around.field("otel.status_code"), None);
    }
    let acquire = &watch.spans("redlatch.acquire")[0];
    assert_eq!(acquire.field("redlatch.outcome"), Some("granted"));
    let queries = watch.requests("GET");
    assert_eq!(queries.len(), 1, "a command without a script");
    assert_eq!(queries[0].field("db.operation.name"), Some("GET"));
    assert_eq!(queries[0].field("db.stored_procedure.name"), None);
}

#[tokio::test]
async fn an_acquire_says_what_came_of_it() {
    let (server, watch) = (Server::start(), Watch::install());
    let client = plain(server.url()).await;
    let lock = client.lock("a");
    let other = lock.with_owner(Owner::fresh());
    let guard = lock.lock().await.expect("free");
    assert!(other.try_lock().await.expect("answers").is_none());
    other.lock().wait(ms(50)).await.expect_err("held");
    assert!(polled(3, other.lock().into_future()).await.is_none());
    server.direct().cmd(&["SET", "b", "no lock"]);
    client.lock("b").try_lock().await.expect_err("no lock");
    guard.unlock().await.expect("held");
    close(client).await;

    let acquires = watch.spans("redlatch.acquire");
    let outcomes: Vec<_> = acquires
        .iter()
        .map(|span| span.field("redlatch.outcome").expect("each has one"))
        .collect();
    let expected = ["granted", "busy", "timed_out", "cancelled", "failed"];
    assert_eq!(outcomes, expected);
    // To wait in vain is no failure.
    for span in &acquires[..4] {
        assert_eq!(span.field("error.type"), None, "{span:?}");
        assert_eq!(span.field("otel.status_code"), None, "{span:?}");
    }
    assert_eq!(acquires[4].field("error.type"), Some("wrong_type"));
    assert_eq!(acquires[4].field("otel.status_code"), Some("ERROR"));
}

#[tokio::test]
async fn what_the_server_refuses_has_its_code_and_what_gets_lost_says_so() {
    let (server, watch) = (Server::start(), Watch::install());
    let proxy = Proxy::start(server.port()).await;
    let client = connect(proxy.url(), |builder| {
        let builder = builder.watchdog_timeout(secs(5)).safety_poll(secs(1));
        builder.command_timeout(ms(300)).outage_patience(ms(600))
    })
    .await;
    let acquires = || watch.requests("EVALSHA reentrant/acquire");

    server.direct().cmd(&["SET", "a", "no lock"]);
    client.lock("a").try_lock().await.expect_err("no lock");
    let refused = acquires().pop().expect("it was sent");
    assert_eq!(refused.field("db.response.status_code"), Some("WRONGTYPE"));
    assert_eq!(refused.field("error.type"), Some("WRONGTYPE"));
    assert_eq!(refused.field("otel.status_code"), Some("ERROR"));

    let rule = Rule::new("EVALSHA").action(Action::CutAfterForward);
    proxy.rule(rule);
    let before = acquires().len();
    let guard = client.lock("b").lock().await.expect("found out");
    let tries = &acquires()[before..];
    assert!(tries.len() >= 2, "{tries:?}");
    assert_eq!(tries[0].field("error.type"), Some("unknown_outcome"));
    assert_eq!(tries[0].field("db.response.status_code"), None);
    let last = tries.last().expect("there are some");
    assert_eq!(last.field("error.type"), None);
    guard.unlock().await.expect("held");

    proxy.refuse(true);
    proxy.cut_all();
    let error = client.lock("c").lock().await.expect_err("no server");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let last = acquires().pop().expect("it was tried");
    assert_eq!(last.field("error.type"), Some("not_sent"));
    let acquire = watch.spans("redlatch.acquire").pop().expect("the last");
    assert_eq!(acquire.field("error.type"), Some("unreachable"));
    proxy.refuse(false);
}

/// Nothing that could be a secret is in them, and a lock's name is where it belongs.
#[tokio::test]
async fn passwords_are_in_no_span_and_no_event_and_names_in_their_field_only() {
    const PASSWORD: &str = "Swordfish-81";
    const NAME: &str = "Spy-me-not";
    let (server, watch) = (Server::start(), Watch::install());
    let secret = format!(">{PASSWORD}");
    let user = [
        "ACL", "SETUSER", "shop", "reset", "on", &secret, "~*", "&*", "+@all",
    ];
    server.direct().cmd(&user).accepted();
    let proxy = Proxy::start(server.port()).await;
    let client = connect(proxy.url(), |builder| {
        let builder = builder.watchdog_timeout(secs(3)).safety_poll(secs(1));
        builder
            .credentials("shop", PASSWORD)
            .command_timeout(ms(500))
    })
    .await;
    let guard = client.lock(NAME).lock().await.expect("free");
    guard.unlock().await.expect("held");
    let fenced = client.fenced_lock(NAME).lock().await.expect("free");
    server.direct().cmd(&["DEL", NAME]);
    fenced.lost().await;
    // The connection is lost, and its password is wrong by the time it would be back.
    let other = ["ACL", "SETUSER", "shop", "resetpass", ">Swordfish-82"];
    server.direct().cmd(&other).accepted();
    proxy.cut_all();
    client
        .lock(NAME)
        .lock()
        .wait(secs(1))
        .await
        .expect_err("not let in");

    let all = watch.all();
    let lost: Vec<_> = all
        .iter()
        .filter(|seen| {
            seen.field("message")
                .is_some_and(|text| text.contains("lost"))
        })
        .collect();
    assert!(
        lost.len() >= 2,
        "of the lock and of the connection: {lost:?}"
    );
    for seen in &all {
        for (field, value) in &seen.fields {
            let value = value.to_lowercase();
            assert!(!value.contains("swordfish"), "{seen:?}");
            let named = value.contains("spy-me-not");
            assert_eq!(named, *field == "redlatch.lock.name", "{seen:?}");
        }
    }
}
