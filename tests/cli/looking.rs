//! `ls`, `show`, `unlock`, `watch` and the rest, on locks of this library.

use std::{fs, time::Instant};

use redlatch::{Client, Lock, LockGuard, Reentrant};
use redlatch_support::{Server, eventually, unique_name};
use serde_json::Value;

use crate::kit::{Folder, LIMIT, Running, came, redlatch, secs};

async fn client(server: &Server) -> Client {
    let url = format!("redis://{}", server.address());
    Client::connect(url).await.expect("connects")
}

async fn hold(client: &Client, name: &str) -> LockGuard<Reentrant> {
    let lock: Lock = client.lock(name);
    lock.lock().await.expect("free")
}

/// The line about a name.
#[track_caller]
fn about<'a>(report: &'a Value, name: &str) -> &'a Value {
    let locks = report["locks"].as_array().expect("a list");
    let found = locks.iter().find(|lock| lock["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {report}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ls_finds_what_matches_among_thousands_of_other_keys() {
    let server = Server::start();
    let direct = server.direct();
    for number in 0..3_000 {
        direct.cmd(&["SET", &format!("other:{number}"), "1"]);
        direct.cmd(&["HSET", &format!("hash:{number}"), "name", "x"]);
    }
    let client = client(&server).await;
    let guard = hold(&client, "orders:1").await;
    let tagged = hold(&client, "orders:{2}x").await;
    let other = hold(&client, "stock:1").await;
    let before = direct.command_calls("keys");
    let all = came(&server, &["ls", "--json"]).ended(0).json();
    assert_eq!(all["locks"].as_array().map(Vec::len), Some(3), "{all}");
    let some = came(&server, &["ls", "orders:*", "--json"]).ended(0).json();
    assert_eq!(some["locks"].as_array().map(Vec::len), Some(2), "{some}");
    let lock = about(&some, "orders:1");
    assert_eq!(lock["kind"], "lock");
    assert_eq!(lock["held"], true);
    assert_eq!(lock["owners"][0]["owner"], guard.owner_id().as_str());
    assert_eq!(direct.command_calls("keys"), before, "KEYS was asked");
    let text = came(&server, &["ls"]).ended(0).out;
    assert!(
        text.starts_with("NAME") && text.contains("orders:{2}x"),
        "{text}"
    );
    let none = came(&server, &["ls", "none*", "--json"]).ended(0).json();
    assert_eq!(none["locks"].as_array().map(Vec::len), Some(0));
    // Numbers are only listed where they are asked for.
    let counters = came(&server, &["ls", "other:7?", "--counters", "--json"]).json();
    assert_eq!(about(&counters, "other:77")["kind"], "counter");
    for guard in [guard, tagged, other] {
        guard.unlock().await.expect("held");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn show_knows_every_kind() {
    let server = Server::start();
    let client = client(&server).await;
    let show = |name: &str| came(&server, &["show", name, "--json"]).ended(0).json();

    let fenced = client.fenced_lock("fenced").lock().await.expect("free");
    let seen = show("fenced");
    assert_eq!(
        (&seen["kind"], &seen["token"]),
        (&"fenced".into(), &1.into())
    );
    fenced.unlock().await.expect("held");
    assert_eq!(show("fenced")["held"], false);

    let lock = client.read_write_lock("rw");
    let reader = lock.read().await.expect("free");
    let seen = show("rw");
    assert_eq!(
        (&seen["kind"], &seen["mode"]),
        (&"read-write".into(), &"read".into())
    );
    let markers = seen["owners"][0]["markers_ms"].as_array().expect("a list");
    assert!(
        markers.len() == 1 && markers[0].as_i64() > Some(0),
        "{seen}"
    );
    reader.unlock().await.expect("held");

    let group = client.group_lock("group", ["one", "two"]);
    let guard = group.lock().await.expect("free");
    let seen = show("group");
    assert_eq!(seen["kind"], "group");
    assert_eq!(seen["owners"].as_array().map(Vec::len), Some(2), "{seen}");
    guard.unlock().await.expect("held");

    let permits = client.expirable_semaphore("permits");
    assert!(permits.try_set_permits(3).await.expect("answers"));
    let permit = permits.acquire().lease(secs(60)).await.expect("three");
    let seen = show("permits");
    assert_eq!(seen["kind"], "expirable-semaphore");
    assert_eq!(
        (&seen["count"], &seen["permits_taken"]),
        (&2.into(), &1.into())
    );
    assert!(
        seen["permits"][0]["lease_left_ms"].as_i64() > Some(0),
        "{seen}"
    );
    let listed = came(&server, &["ls", "--json"]).json();
    assert_eq!(about(&listed, "permits")["kind"], "expirable-semaphore");
    permit.release().await.expect("ours");

    let latch = client.count_down_latch("latch");
    assert!(latch.try_set_count(2).await.expect("answers"));
    let waiting = tokio::spawn({
        let latch = latch.clone();
        async move { latch.wait().await }
    });
    eventually("somebody waits", LIMIT, || {
        let seen = show("latch");
        seen["kind"] == "latch" && seen["waiting_clients"] == 1 && seen["count"] == 2
    });
    latch.count_down().await.expect("answers");
    latch.count_down().await.expect("answers");
    waiting.await.expect("joins").expect("open");

    came(&server, &["show", "nothing"]).ended(3);
    server.direct().cmd(&["SADD", "a-set", "x"]);
    server.direct().cmd(&["HSET", "a-hash", "name", "x"]);
    server.direct().cmd(&["SET", "a-text", "some text"]);
    for other in ["a-set", "a-hash", "a-text"] {
        came(&server, &["show", other]).ended(64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlock_wakes_whoever_waits_and_says_who_held_it() {
    let server = Server::shared();
    let client = client(server).await;
    for kind in ["plain", "fair", "write"] {
        let (folder, name) = (Folder::new(), unique_name("unlock"));
        let held = match kind {
            "fair" => client
                .fair_lock(&*name)
                .lock()
                .await
                .expect("free")
                .owner_id(),
            "write" => {
                let lock = client.read_write_lock(&*name);
                let guard = lock.write().await.expect("free");
                let owner = guard.owner_id();
                guard.forget();
                owner
            }
            _ => {
                let guard = hold(&client, &name).await;
                let owner = guard.owner_id();
                guard.forget();
                owner
            }
        };
        if kind == "fair" {
            // The guard above is gone, and so is its hold: take it for good.
            let lock = client.fair_lock(&*name);
            lock.lock().await.expect("free").forget();
        }
        let job = folder.script("echo in > in");
        let words = [
            "run", "--lock", &name, "--kind", kind, "--", "sh", "-c", &job,
        ];
        let waiter = Running::start(redlatch(server, &words));
        eventually("somebody waits", LIMIT, || {
            let seen = came(server, &["show", &name, "--json"]).json();
            seen["waiting_clients"] == 1 || seen["queue"][0]["listening"] == true
        });
        let words = ["unlock", &name, "--force", "--reason", "why not", "--json"];
        let begun = Instant::now();
        let record = came(server, &words).ended(0).json();
        assert_eq!(record["freed"], true, "{record}");
        assert_eq!(record["reason"], "why not");
        let owner = record["owners"][0]["owner"].as_str().expect("text");
        assert!(
            owner.starts_with(held.split(':').next().expect("an id")),
            "{record}"
        );
        waiter.end().ended(0);
        assert!(begun.elapsed() < secs(10), "{kind}: {:?}", begun.elapsed());
        assert_eq!(folder.text("in"), "in\n");
        came(server, &["unlock", &name, "--force", "--reason", "again"]).ended(3);
    }
    let permits = unique_name("no-lock");
    server.direct().cmd(&["SET", &permits, "3"]);
    came(server, &["unlock", &permits, "--force", "--reason", "x"]).ended(64);
}

#[test]
fn watch_draws_one_picture_where_there_is_no_terminal_and_counts_turns() {
    let (server, folder) = (Server::start(), Folder::new());
    let job = folder.script("echo in >> in; sleep 0.02");
    let lane = format!(
        "until [ -e {0} ]; do {1} run --lock busy --kind fenced -- sh -c '{2}'; done",
        folder.path("end").display(),
        env!("CARGO_BIN_EXE_redlatch"),
        job.replace('\'', "\"")
    );
    let lanes: Vec<_> = (0..2)
        .map(|_| {
            let mut shell = std::process::Command::new("sh");
            shell
                .args(["-c", &lane])
                .env("REDLATCH_URL", format!("redis://{}", server.address()))
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::piped());
            Running::start(shell)
        })
        .collect();
    folder.said("in");
    let picture = came(&server, &["watch", "--every", "1s"]).ended(0).out;
    assert!(
        picture.starts_with("redlatch") && picture.contains("TURNS/S"),
        "{picture}"
    );
    assert!(
        picture.contains("busy") && !picture.contains('\u{1b}'),
        "{picture}"
    );
    let seen = came(&server, &["watch", "--once", "--every", "1s", "--json"])
        .ended(0)
        .json();
    let busy = about(&seen, "busy");
    assert!(busy["turns_per_second"].as_f64() > Some(0.5), "{seen}");
    fs::write(folder.path("end"), "").expect("writes");
    for lane in lanes {
        lane.end().ended(0);
    }
}

#[test]
fn bench_measures_and_leaves_nothing() {
    let server = Server::start();
    let words = ["bench", "--time", "200ms", "--tasks", "4", "--json"];
    let report = came(&server, &words).ended(0).json();
    for part in ["uncontended", "contended"] {
        assert!(
            report[part]["pairs_per_second"].as_f64() > Some(0.0),
            "{report}"
        );
        assert!(report[part]["median_us"].as_u64() <= report[part]["longest_us"].as_u64());
    }
    assert!(
        report["name"]
            .as_str()
            .expect("text")
            .starts_with("redlatch-bench:")
    );
    assert_eq!(server.direct().cmd(&["DBSIZE"]).int(), 0);
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let server = Server::shared();
    for shell in ["bash", "zsh", "fish"] {
        let script = came(server, &["completions", shell]).ended(0).out;
        assert!(
            script.contains("doctor") && !script.contains("__become"),
            "{shell}"
        );
    }
    let page = came(server, &["man"]).ended(0).out;
    assert!(page.starts_with(".ie") && page.contains("unlock") && !page.contains("become"));
    let page = came(server, &["man", "run"]).ended(0).out;
    assert!(page.contains("watchdog"));
    came(server, &["man", "nothing"]).ended(64);
}
