//! Locks in the hands of the real Redisson.

use std::time::Duration;

use redlatch::Client;
use redlatch_support::{
    Server, eventually, eventually_async,
    jvm::{Jvm, JvmOptions, JvmThread, follow, jvm_or_skip},
};
use serde_json::Value;

use crate::kit::{Folder, LIMIT, Running, came, redlatch, secs};

const WATCHDOG: Duration = secs(3);

fn show(server: &Server, name: &str) -> Value {
    came(server, &["show", name, "--json"]).ended(0).json()
}

/// What doctor says of a name, in words.
fn found(server: &Server, name: &str) -> Vec<String> {
    let report = came(server, &["doctor", name, "--json"]).json();
    let findings = report["findings"].as_array().expect("a list");
    findings
        .iter()
        .filter(|one| one["about"] == name)
        .map(|one| one["check"].as_str().expect("text").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_kind_that_redisson_has_written_is_shown_and_in_good_health() {
    let test = "every_kind_that_redisson_has_written_is_shown_and_in_good_health";
    let Some(driver) = jvm_or_skip(test) else {
        return;
    };
    let server = Server::start();
    let jvm = Jvm::start(driver, &JvmOptions::single(server.url()));
    let (one, two) = (JvmThread::new(&jvm), JvmThread::new(&jvm));
    let (first, second) = (one.owner().await, two.owner().await);

    // Plain, entered twice, with one who waits.
    one.value("lock", &["lock", "plain"]).await;
    one.value("lock", &["lock", "plain"]).await;
    let waits = follow(two.begin("lock", &["lock", "plain"]));
    eventually("it waits", LIMIT, || {
        show(&server, "plain")["waiting_clients"] == 1
    });
    let seen = show(&server, "plain");
    assert_eq!(
        (&seen["kind"], &seen["held"]),
        (&"lock".into(), &true.into())
    );
    assert_eq!(seen["owners"][0]["owner"], first.as_str());
    assert_eq!(seen["owners"][0]["holds"], 2);
    assert!(seen["ttl_ms"].as_u64() > Some(15_000), "{seen}");
    assert_eq!(found(&server, "plain"), [""; 0]);
    one.value("unlock", &["lock", "plain"]).await;
    one.value("unlock", &["lock", "plain"]).await;
    waits.await.expect("joins").0.expect("granted");
    two.value("unlock", &["lock", "plain"]).await;

    // Fair, with a queue.
    one.value("lock", &["fair", "fair"]).await;
    let waits = follow(two.begin("lock", &["fair", "fair"]));
    eventually("it stands in the queue", LIMIT, || {
        show(&server, "fair")["queue"][0]["listening"] == true
    });
    let seen = show(&server, "fair");
    assert_eq!(seen["kind"], "fair");
    assert_eq!(seen["queue"][0]["owner"], second.as_str());
    assert!(
        seen["queue"][0]["deadline_in_ms"].as_i64() > Some(200_000),
        "{seen}"
    );
    assert_eq!(found(&server, "fair"), [""; 0]);
    let listed = came(&server, &["ls", "fair*", "--json"]).json();
    assert_eq!(listed["locks"][0]["kind"], "fair", "{listed}");
    one.value("unlock", &["fair", "fair"]).await;
    waits.await.expect("joins").0.expect("granted");
    two.value("unlock", &["fair", "fair"]).await;

    // Two readers, one of them twice; then a writer.
    for reader in [&one, &two, &one] {
        reader.value("lock", &["read", "rw"]).await;
    }
    let seen = show(&server, "rw");
    assert_eq!(
        (&seen["kind"], &seen["mode"]),
        (&"read-write".into(), &"read".into())
    );
    let readers = seen["owners"].as_array().expect("a list");
    assert_eq!(readers.len(), 2, "{seen}");
    for reader in readers {
        let markers = reader["markers_ms"].as_array().expect("a list");
        assert_eq!(
            Some(markers.len() as u64),
            reader["holds"].as_u64(),
            "{seen}"
        );
        assert!(markers.iter().all(|left| left.as_i64() > Some(0)), "{seen}");
    }
    assert_eq!(found(&server, "rw"), [""; 0]);
    for reader in [&one, &two, &one] {
        reader.value("unlock", &["read", "rw"]).await;
    }
    one.value("lock", &["write", "rw"]).await;
    let seen = show(&server, "rw");
    assert_eq!(seen["mode"], "write");
    assert_eq!(seen["owners"][0]["owner"], format!("{first}:write"));
    one.value("unlock", &["write", "rw"]).await;

    // A semaphore: a number, until somebody waits for it.
    one.value("stryset", &["permits", "2"]).await;
    one.value("sacquire", &["permits", "2"]).await;
    let seen = show(&server, "permits");
    assert_eq!(
        (&seen["kind"], &seen["count"]),
        (&"counter".into(), &0.into())
    );
    let waits = follow(two.begin("sacquire", &["permits", "1"]));
    eventually("it waits", LIMIT, || {
        show(&server, "permits")["kind"] == "semaphore"
    });
    let listed = came(&server, &["ls", "--json"]).json();
    let locks = listed["locks"].as_array().expect("a list");
    let listed = locks
        .iter()
        .find(|lock| lock["name"] == "permits")
        .expect("is listed");
    assert_eq!(listed["waiting_clients"], 1);
    assert_eq!(found(&server, "permits"), [""; 0]);
    one.value("srelease", &["permits", "2"]).await;
    waits.await.expect("joins").0.expect("granted");

    // A job here waits for a lock there.
    let folder = Folder::new();
    one.value("lock", &["lock", "job"]).await;
    let job = folder.script("echo in > in");
    let words = ["run", "--lock", "job", "--", "sh", "-c", &job];
    let waiter = Running::start(redlatch(&server, &words));
    eventually("the job waits", LIMIT, || {
        show(&server, "job")["waiting_clients"] == 1
    });
    assert_eq!(folder.text("in"), "");
    one.value("unlock", &["lock", "job"]).await;
    waiter.end().ended(0);
    assert_eq!(folder.text("in"), "in\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_dead_jvm_leaves_is_found() {
    let Some(driver) = jvm_or_skip("what_a_dead_jvm_leaves_is_found") else {
        return;
    };
    let server = Server::start();
    let jvm = Jvm::start(driver, &JvmOptions::single(server.url()).watchdog(WATCHDOG));
    let client = Client::connect(server.url()).await.expect("connects");
    let (one, two) = (JvmThread::new(&jvm), JvmThread::new(&jvm));
    let reader = one.owner().await;
    // A reader there and one here; one there waits for a fair lock that another there holds.
    one.value("lock", &["read", "rw"]).await;
    let guard = client.read_write_lock("rw").read().await.expect("shared");
    one.value("lock", &["fair", "fair"]).await;
    let _waits = two.begin("lock", &["fair", "fair"]);
    eventually("it stands in the queue", LIMIT, || {
        show(&server, "fair")["queue"][0]["listening"] == true
    });
    jvm.kill();
    // The lock's time is over, and the queue is still there.
    eventually_async("the holder's time is over", LIMIT, async || {
        !server.direct().exists("fair")
    })
    .await;
    assert_eq!(found(&server, "fair"), ["fair-queue"]);
    eventually("the dead reader is noticed", LIMIT, || {
        found(&server, "rw") == ["reader"]
    });
    let seen = show(&server, "rw");
    let owners = seen["owners"].as_array().expect("a list");
    let dead = owners
        .iter()
        .find(|owner| owner["owner"] == reader.as_str());
    let markers = dead.map(|owner| owner["markers_ms"].clone());
    assert_eq!(markers, Some(Value::Array(Vec::new())), "{seen}");
    assert!(!guard.is_lost());
    came(&server, &["doctor"]).ended(1);
}
