//! Users made from rules, and clients that log in as them.

use std::time::Duration;

use redlatch::{Client, ClientBuilder, Error, Result, access};
use redlatch_support::{Direct, Server, eventually_async};

pub(crate) use redlatch::access::Feature;

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const PASSWORD: &str = "no-secret";

/// Makes a user of these rules, and of nothing else.
pub(crate) fn make_user(direct: &Direct, user: &str, rules: &[String]) {
    direct.cmd(&["ACL", "DELUSER", user]).accepted();
    let secret = format!(">{PASSWORD}");
    let mut words = vec!["ACL", "SETUSER", user, "on", &secret];
    words.extend(rules.iter().map(String::as_str));
    direct.cmd(&words).accepted();
}

/// The rules for these features.
pub(crate) fn rules(features: &[Feature], prefix: &str) -> Vec<String> {
    access::rules(features.iter().copied(), prefix).words()
}

/// A builder that logs in as `user` and puts `app:` before all names.
pub(crate) fn builder(server: &Server, user: &str) -> ClientBuilder {
    Client::builder()
        .url(format!("redis://127.0.0.1:{}", server.port()))
        .expect("url")
        .credentials(user, PASSWORD)
        .key_prefix("app:")
}

pub(crate) async fn connect(builder: ClientBuilder) -> Client {
    builder.connect().await.expect("connects")
}

pub(crate) async fn close(client: Client) {
    let report = client.close(secs(5)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    assert!(report.unreleased_permits.is_empty(), "{report:?}");
}

/// The rights that an error says are missing.
pub(crate) fn missing<T: std::fmt::Debug>(outcome: Result<T>, what: &str) -> Vec<String> {
    match outcome {
        Err(Error::MissingRights {
            rights, message, ..
        }) => {
            assert!(!message.is_empty());
            rights
        }
        other => panic!("{what}: no right is missing: {other:?}"),
    }
}

/// Forgets what the server has refused so far.
pub(crate) fn forget_refusals(direct: &Direct) {
    direct.cmd(&["ACL", "LOG", "RESET"]).accepted();
}

/// Checks that the server has refused nothing to anybody.
#[track_caller]
pub(crate) fn nothing_was_refused(direct: &Direct) {
    let log = direct.acl_log();
    assert!(log.is_empty(), "{log:#?}");
}

/// Waits until no key and no channel is left.
pub(crate) async fn nothing_is_left(direct: &Direct) {
    eventually_async(
        "the server has no key and no subscription",
        secs(5),
        async || {
            direct.cmd(&["DBSIZE"]).int() == 0
                && direct
                    .cmd(&["PUBSUB", "CHANNELS"])
                    .accepted()
                    .items()
                    .is_empty()
        },
    )
    .await;
}

/// Waits until that many waiters of the client sleep.
pub(crate) async fn asleep(client: &Client, count: usize) {
    let sleepers = format!("sleepers: {count},");
    eventually_async("a waiter sleeps", secs(5), async || {
        client.residue().contains(&sleepers)
    })
    .await;
}
