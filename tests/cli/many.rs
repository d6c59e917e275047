//! Clusters and sentinels.

use redlatch::Client;
use redlatch_support::{Cluster, Sentinels, Server, unique_name};
use serde_json::Value;

use crate::kit::{Came, Folder, Running, at, is_alive};

fn came_at(url: &str, words: &[&str]) -> Came {
    Running::start(at(url, words)).end()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_of_a_cluster_is_enough() {
    let cluster = Cluster::shared();
    let urls = cluster.urls();
    let client = Client::builder().cluster(&urls).expect("addresses");
    let client = client.connect().await.expect("connects");
    let prefix = unique_name("cluster");
    let names: Vec<String> = cluster
        .masters()
        .into_iter()
        .map(|master| cluster.name_on(master, &prefix))
        .collect();
    for name in &names {
        client
            .fair_lock(name.as_str())
            .lock()
            .await
            .expect("free")
            .forget();
    }
    let pattern = format!("{prefix}*");
    for url in [&urls[0], &urls.join(",")] {
        let found = came_at(url, &["ls", &pattern, "--json"]).ended(0).json();
        let found: Vec<&str> = found["locks"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|lock| lock["name"].as_str())
            .collect();
        let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
        all.sort_unstable();
        assert_eq!(found, all);
    }
    for name in &names {
        let folder = Folder::new();
        let job = folder.script("echo in > in");
        let words = [
            "run", "--lock", name, "--kind", "fair", "--", "sh", "-c", &job,
        ];
        let waiter = Running::start(at(&urls[0], &words));
        redlatch_support::eventually("it listens", crate::kit::LIMIT, || {
            let seen = came_at(&urls[0], &["show", name, "--json"]).ended(0).json();
            seen["queue"][0]["listening"] == true && seen["held"] == true
        });
        let words = ["unlock", name, "--force", "--reason", "a test"];
        came_at(&urls[0], &words).ended(0);
        waiter.end().ended(0);
        assert_eq!(folder.text("in"), "in\n");
    }
    // A name whose parts lie in several slots, as only somebody else can have made it.
    let split = format!("x}}{prefix}");
    let owner = "2a9b0e6c-5e2a-4c39-9d1b-0f6f8b2f1c11:57";
    let direct = cluster.direct_for(&split);
    direct.cmd(&["HSET", &split, owner, "1"]).accepted();
    direct.cmd(&["PEXPIRE", &split, "60000"]).accepted();
    let report = came_at(&urls[0], &["doctor", &format!("x}}{prefix}*"), "--json"]);
    let report = report.ended(2).json();
    assert!(has(&report, "slots", &split), "{report}");
    direct.cmd(&["DEL", &split]).accepted();
    came_at(&urls[0], &["run", "--lock", &split, "--", "true"]).ended(64);
}

fn has(report: &Value, check: &str, about: &str) -> bool {
    let findings = report["findings"].as_array().expect("a list");
    findings
        .iter()
        .any(|one| one["check"] == check && one["about"] == about)
}

#[test]
fn sentinels_lead_to_the_master() {
    let sentinels = Sentinels::shared();
    let (url, name) = (sentinels.urls().join(","), unique_name("sentinel"));
    let with = |words: &[&str]| {
        let words: Vec<&str> = ["--sentinel", sentinels.master_name()]
            .iter()
            .chain(words)
            .copied()
            .collect();
        came_at(&url, &words)
    };
    let folder = Folder::new();
    let job = folder.script("echo $$ > pid; until [ -e end ]; do sleep 0.01; done");
    let words = [
        "--sentinel",
        sentinels.master_name(),
        "run",
        "--lock",
        &name,
        "--",
        "sh",
        "-c",
        &job,
    ];
    let running = Running::start(at(&url, &words));
    assert!(is_alive(&folder.said("pid")));
    let seen = with(&["show", &name, "--json"]).ended(0).json();
    assert_eq!(seen["held"], true);
    assert!(sentinels.master().direct().exists(&name));
    let report = with(&["doctor", &name, "--json"]);
    assert!(has(&report.json(), "min-replicas", "server"), "{report:?}");
    std::fs::write(folder.path("end"), "").expect("writes");
    running.end().ended(0);
}

#[test]
fn a_replica_is_no_place_for_locks() {
    let server = Server::start();
    let replica = Server::builder()
        .args(["--replicaof", "127.0.0.1", &server.port().to_string()])
        .start();
    let report = came_at(
        &format!("redis://{}", replica.address()),
        &["run", "--lock", "a", "--", "true"],
    );
    report.ended(69);
}
