//! `redlatch doctor`.

use redlatch::{Client, access};
use redlatch_support::Server;
use serde_json::Value;

use crate::kit::{Running, at, came};

const OWNER: &str = "2a9b0e6c-5e2a-4c39-9d1b-0f6f8b2f1c11:57";
const OTHER: &str = "8f14e45f-ceea-467f-9575-1b2e0f6d7a10:3";

/// A server with nothing to be said against it.
fn sound() -> Server {
    let words = ["--appendonly", "yes", "--appendfsync", "always"];
    Server::builder().args(words).start()
}

/// What was found, as pairs of weight and check, about one thing.
fn found(report: &Value, about: &str) -> Vec<(String, String)> {
    let findings = report["findings"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    findings
        .iter()
        .filter(|one| one["about"] == about)
        .map(|one| (text(&one["weight"]), text(&one["check"])))
        .collect()
}

fn pair(weight: &str, check: &str) -> (String, String) {
    (weight.to_owned(), check.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_in_good_health_are_left_alone() {
    let server = sound();
    let url = format!("redis://{}", server.address());
    let client = Client::connect(&url).await.expect("connects");
    let _plain = client.lock("plain").lock().await.expect("free");
    let _fair = client.fair_lock("fair").lock().await.expect("free");
    let _fenced = client.fenced_lock("fenced").lock().await.expect("free");
    let _read = client.read_write_lock("rw").read().await.expect("free");
    let report = came(&server, &["doctor", "--json"]).ended(0).json();
    assert_eq!(report["locks"], 4, "{report}");
    assert_eq!(
        report["findings"].as_array().map(Vec::len),
        Some(0),
        "{report}"
    );
    let text = came(&server, &["doctor"]).ended(0).out;
    assert_eq!(text, "4 locks looked at, 0 problems, 0 warnings\n");
    // Its looks leave nothing behind.
    let keys = server.direct().cmd(&["DBSIZE"]).int();
    assert_eq!(keys, 6, "four locks, a counter and a marker");
}

#[test]
fn what_is_stuck_is_found() {
    let server = sound();
    let direct = server.direct();
    let put = |words: &[&str]| direct.cmd(words).accepted();
    put(&["HSET", "for-ever", OWNER, "1"]);
    put(&["RPUSH", "redisson_lock_queue:{deaf}", OWNER, OTHER]);
    for owner in [OWNER, OTHER] {
        put(&[
            "ZADD",
            "redisson_lock_timeout:{deaf}",
            "9999999999999",
            owner,
        ]);
    }
    put(&["RPUSH", "redisson_lock_queue:{unbound}", OWNER]);
    put(&[
        "HSET",
        "gone-reader",
        "mode",
        "read",
        OWNER,
        "1",
        OTHER,
        "1",
    ]);
    put(&["PEXPIRE", "gone-reader", "60000"]);
    put(&[
        "SET",
        &format!("{{gone-reader}}:{OTHER}:rwlock_timeout:1"),
        "1",
        "PX",
        "60000",
    ]);
    put(&[
        "SET",
        &format!("{{zombie}}:{OWNER}:rwlock_timeout:1"),
        "1",
        "PX",
        "60000",
    ]);
    put(&["SET", &format!("{{eternal}}:{OWNER}:rwlock_timeout:1"), "1"]);
    let report = came(&server, &["doctor", "--json"]).ended(2).json();
    let checks = |name: &str| found(&report, name);
    assert_eq!(checks("for-ever"), [pair("problem", "no-ttl")], "{report}");
    assert_eq!(checks("deaf"), [pair("warning", "fair-queue")], "{report}");
    let unbound = [pair("problem", "fair-queue"), pair("warning", "fair-queue")];
    assert_eq!(checks("unbound"), unbound, "{report}");
    assert_eq!(
        checks("gone-reader"),
        [pair("warning", "reader")],
        "{report}"
    );
    assert_eq!(checks("zombie"), [pair("warning", "marker")], "{report}");
    let eternal = [pair("warning", "marker"), pair("warning", "marker")];
    assert_eq!(checks("eternal"), eternal, "{report}");
    // What it is about can be named.
    came(&server, &["doctor", "zombie"]).ended(1);
    came(&server, &["doctor", "other*"]).ended(0);
    let text = came(&server, &["doctor", "for-ever"]).ended(2).out;
    assert!(text.starts_with("problem  no-ttl  for-ever: "), "{text}");
}

#[test]
fn settings_that_endanger_locks_are_found() {
    let server = sound();
    let set = |name: &str, value: &str| {
        server
            .direct()
            .cmd(&["CONFIG", "SET", name, value])
            .accepted();
    };
    let report = |code| came(&server, &["doctor", "--json"]).ended(code).json();
    set("maxmemory", "100mb");
    set("maxmemory-policy", "allkeys-lru");
    assert_eq!(found(&report(2), "server"), [pair("problem", "eviction")]);
    set("maxmemory-policy", "noeviction");
    set("timeout", "20");
    assert_eq!(found(&report(1), "server"), [pair("warning", "timeout")]);
    set("timeout", "0");
    set("notify-keyspace-events", "KEA");
    assert_eq!(
        found(&report(0), "server"),
        [pair("note", "keyspace-events")]
    );
    set("notify-keyspace-events", "");
    set("appendonly", "no");
    set("save", "");
    assert_eq!(
        found(&report(1), "server"),
        [pair("warning", "persistence")]
    );
}

#[test]
fn rights_that_are_missing_are_named() {
    let server = sound();
    let direct = server.direct();
    let all = access::Feature::ALL.iter().copied();
    let features = all.filter(|feature| {
        // The test asks for none of these on one server, and old ones do not know them.
        !format!("{feature:?}").starts_with("Replicas")
            && !matches!(
                feature,
                access::Feature::ShardedMessages | access::Feature::Cluster
            )
    });
    let rules = access::rules(features, "app:").words();
    let mut words = vec!["ACL", "SETUSER", "app", "on", ">secret"];
    words.extend(rules.iter().map(String::as_str));
    // What the command looks at beside that.
    words.extend([
        "+scan",
        "+type",
        "+config|get",
        "+time",
        "+pubsub|channels",
        "+hrandfield",
    ]);
    direct.cmd(&words).accepted();
    direct
        .cmd(&["ACL", "SETUSER", "app", "-publish"])
        .accepted();
    let url = format!("redis://app:secret@{}", server.address());
    let doctor = |words: &[&str]| Running::start(at(&url, words)).end();
    let report = doctor(&["doctor", "app:*", "--prefix", "app:", "--json"])
        .ended(2)
        .json();
    assert_eq!(
        found(&report, "this user"),
        [pair("problem", "rights")],
        "{report}"
    );
    assert!(report.to_string().contains("+publish"), "{report}");
    direct
        .cmd(&["ACL", "SETUSER", "app", "+publish"])
        .accepted();
    let report = doctor(&["doctor", "app:*", "--prefix", "app:", "--json"])
        .ended(0)
        .json();
    assert_eq!(found(&report, "this user"), [], "{report}");
}
