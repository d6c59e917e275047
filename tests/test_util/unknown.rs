//! What the server in memory does not know, and settings it cannot honour: said at once, and nothing is done.

use std::fmt::Debug;

use redlatch::{Client, Error, Refusal, Replicas, Result, test_util::FakeServer};

use crate::rig::{ms, secs};

#[track_caller]
fn unsupported<T: Debug>(outcome: Result<T>) {
    assert!(
        matches!(
            &outcome,
            Err(Error::Refused {
                refusal: Refusal::Unsupported,
                ..
            })
        ),
        "{outcome:?}"
    );
    let text = outcome.expect_err("just seen").to_string();
    assert!(text.contains("test it against a real one"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn kinds_that_the_fake_does_not_know_are_refused_by_name() {
    let server = FakeServer::new();
    let client = server.client().expect("acceptable");
    unsupported(client.fair_lock("n").lock().await);
    unsupported(client.fair_lock("n").try_lock().await);
    unsupported(client.non_reentrant_fair_lock("n").lock().await);
    let both = client.read_write_lock("n");
    unsupported(both.read().await);
    unsupported(both.write_lock().try_lock().await);
    unsupported(client.group_lock("n", ["a"]).lock().await);
    let semaphore = client.expirable_semaphore("s");
    unsupported(semaphore.try_acquire().await);
    unsupported(semaphore.available_permits().await);
    let nothing = client.inspect("n").await.expect("answered");
    assert!(!nothing.is_locked());
    let guard = client.lock("n").try_lock().await.expect("answered");
    guard.expect("free").unlock().await.expect("held");
}

#[track_caller]
fn invalid(outcome: Result<Client>, setting: &str) {
    match outcome {
        Err(Error::InvalidArgument { field, .. }) => assert_eq!(field, setting),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn settings_that_the_fake_cannot_honour_are_refused() {
    let server = FakeServer::new();
    let replicas = Client::builder().replicas(Replicas::AtLeast(1), secs(1));
    invalid(server.client_with(replicas), "replicas");
    let dedicated = Client::builder().dedicated_runtime();
    invalid(server.client_with(dedicated), "dedicated_runtime");
    let short = Client::builder().watchdog_timeout(ms(1));
    invalid(server.client_with(short), "watchdog_timeout");
    // What says where a server is makes no difference.
    let somewhere = Client::builder()
        .url("redis://nowhere:1")
        .expect("an address");
    let client = server.client_with(somewhere.key_prefix("app:"));
    let client = client.expect("acceptable");
    let guard = client.lock("n").lock().await.expect("free");
    assert!(server.lose_lock_now("app:n"));
    drop(guard);
}

#[test]
fn a_client_needs_a_runtime() {
    invalid(FakeServer::new().client(), "runtime");
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_of_faults_are_refused() {
    let (server, other) = (FakeServer::new(), FakeServer::new());
    let client = other.client().expect("acceptable");
    let foreign = server.partition(&client, secs(1));
    assert!(
        matches!(
            foreign,
            Err(Error::InvalidArgument {
                field: "client",
                ..
            })
        ),
        "{foreign:?}"
    );
    let never = server.take_over("n", secs(0));
    assert!(
        matches!(never, Err(Error::InvalidArgument { field: "lease", .. })),
        "{never:?}"
    );
}
