//! A program whose lock is lost, and one whose lock is not.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use redlatch_support::{Server, eventually, unique_name};

use crate::kit::{Folder, LIMIT, Running, came, is_alive, is_gone, ms, redlatch, secs};

/// Says where it is, and what it has started.
const JOB: &str =
    "sleep 1000 & echo $! > child; trap 'echo told > told; exit 0' TERM; echo $$ > pid; wait";
/// Does not listen, and shows that it is alive.
const DEAF: &str = "trap '' TERM; echo $$ > pid; while :; do echo > beat; sleep 0.01; done";

fn job(server: &Server, folder: &Folder, words: &[&str], script: &str) -> Running {
    let script = folder.script(script);
    let words: Vec<&str> = ["run"]
        .iter()
        .chain(words)
        .chain(&["--", "sh", "-c", &script])
        .copied()
        .collect();
    Running::start(redlatch(server, &words))
}

#[test]
fn a_program_is_stopped_with_all_it_has_started_when_its_lock_is_freed_by_force() {
    let server = Server::shared();
    for kind in ["plain", "fair", "fenced", "read", "write"] {
        let (folder, name) = (Folder::new(), unique_name("forced"));
        let words = [
            "--lock",
            name.as_str(),
            "--kind",
            kind,
            "--watchdog",
            "1500ms",
        ];
        let running = job(server, &folder, &words, JOB);
        let (pid, child) = (folder.said("pid"), folder.said("child"));
        let unlocked = came(server, &["unlock", &name, "--force", "--reason", "a test"]);
        unlocked.ended(0);
        let came = running.end().ended(79);
        assert!(came.err.contains(&name), "{kind}: {came:?}");
        assert_eq!(folder.text("told"), "told\n", "{kind}");
        assert!(!is_alive(&pid) && !is_alive(&child), "{kind}");
    }
}

#[test]
fn a_program_that_does_not_listen_is_killed_when_its_lock_is_deleted() {
    let (server, folder, name) = (Server::shared(), Folder::new(), unique_name("deleted"));
    let words = [
        "--lock",
        name.as_str(),
        "--watchdog",
        "1s",
        "--grace",
        "200ms",
    ];
    let running = job(server, &folder, &words, DEAF);
    let pid = folder.said("pid");
    server.direct().cmd(&["DEL", &name]);
    running.end().ended(79);
    assert!(!is_alive(&pid));
}

#[test]
fn a_program_is_stopped_before_anybody_else_may_have_its_lock() {
    let (server, folder, name) = (Server::start(), Folder::new(), unique_name("frozen"));
    let words = [
        "--lock",
        name.as_str(),
        "--watchdog",
        "3s",
        "--grace",
        "1500ms",
    ];
    let running = job(&server, &folder, &words, DEAF);
    let pid = folder.said("pid");
    folder.said("beat");
    server.freeze();
    let frozen = SystemTime::now();
    is_gone(&pid);
    let beat = fs::metadata(folder.path("beat")).and_then(|file| file.modified());
    let last = beat
        .expect("a file")
        .duration_since(frozen)
        .expect("it went on");
    // Whatever was renewed was renewed before. A second and a half more would be the grace after the lease.
    assert!(last < secs(3) + ms(600), "{last:?}");
    running.end().ended(79);
}

#[test]
fn a_lease_bounds_a_program() {
    let (server, folder, name) = (Server::shared(), Folder::new(), unique_name("lease"));
    let running = job(server, &folder, &["--lock", &name, "--lease", "1s"], JOB);
    folder.said("pid");
    let came = running.end().ended(79);
    assert!(came.err.contains("lease"), "{came:?}");
    assert_eq!(folder.text("told"), "told\n");
    // It was given back, since it was still held.
    assert!(!server.direct().exists(&name));
}

#[test]
fn a_program_goes_on_through_a_restart_of_a_server_that_keeps_its_data() {
    let server = Server::builder().appendonly(true).start();
    let (folder, name) = (Folder::new(), unique_name("restart"));
    let script = "echo in > in; until [ -e end ]; do sleep 0.01; done; exit 5";
    let words = ["--lock", name.as_str(), "--watchdog", "6s"];
    let mut running = job(&server, &folder, &words, script);
    folder.said("in");
    server.restart();
    // Renewed again by the same hold: the time to live rises.
    let direct = server.direct();
    let mut before = direct.pttl(&name);
    assert!(before > 0, "the server has kept the lock");
    eventually("a renewal after the restart", LIMIT, || {
        let now = direct.pttl(&name);
        let rose = now > before;
        before = now;
        rose
    });
    assert!(running.is_running());
    came(
        &server,
        &["run", "--lock", &name, "--wait", "0s", "--", "true"],
    )
    .ended(75);
    fs::write(folder.path("end"), "").expect("writes");
    running.end().ended(5);
    assert!(!direct.exists(&name));
}

#[test]
fn a_program_is_stopped_when_its_server_comes_back_without_its_data() {
    let server = Server::start();
    let (folder, name) = (Folder::new(), unique_name("forgotten"));
    let words = ["--lock", name.as_str(), "--watchdog", "3s"];
    let running = job(&server, &folder, &words, JOB);
    let pid = folder.said("pid");
    server.restart();
    running.end().ended(79);
    assert!(!is_alive(&pid));
}

#[test]
fn a_server_that_does_not_come_back_costs_a_bounded_time() {
    let server = Server::start();
    let (folder, name) = (Folder::new(), unique_name("gone"));
    let words = ["--lock", name.as_str(), "--watchdog", "2s"];
    let running = job(&server, &folder, &words, JOB);
    folder.said("pid");
    server.kill();
    let begun = std::time::Instant::now();
    running.end().ended(79);
    let took: Duration = begun.elapsed();
    assert!(took < secs(20), "{took:?}");
}
