//! `redlatch run`: a program under a lock.

use std::fs;

use redlatch_support::{Server, eventually, unique_name};
use serde_json::Value;

use crate::kit::{Folder, LIMIT, Running, at, came, is_alive, is_gone, redlatch};

/// Starts a shell's script under a lock.
fn under(server: &Server, words: &[&str], script: &str) -> Running {
    let words: Vec<&str> = ["run"]
        .iter()
        .chain(words)
        .chain(&["--", "sh", "-c", script])
        .copied()
        .collect();
    Running::start(redlatch(server, &words))
}

#[test]
fn shells_never_run_a_job_together() {
    let server = Server::shared();
    for kind in ["plain", "fair", "fenced", "write", "spin"] {
        let (folder, name) = (Folder::new(), unique_name("together"));
        // Only one can make a folder that is not there.
        let job = folder.script(
            "mkdir in || echo overlap >> bad; echo ran >> ran; sleep 0.02; rmdir in || echo overlap >> bad",
        );
        let turns: Vec<_> = (0..8)
            .map(|_| under(server, &["--lock", &name, "--kind", kind], &job))
            .collect();
        for turn in turns {
            turn.end().ended(0);
        }
        assert_eq!(folder.text("bad"), "", "{kind}");
        assert_eq!(folder.text("ran").lines().count(), 8, "{kind}");
        assert!(!server.direct().exists(&name), "{kind}");
    }
}

#[test]
fn readers_run_together_and_a_writer_waits_for_them() {
    let (server, folder, name) = (Server::shared(), Folder::new(), unique_name("readers"));
    let reader = |file: &str| {
        let job = folder.script(&format!(
            "echo in > {file}; until [ -e end ]; do sleep 0.01; done"
        ));
        under(server, &["--lock", &name, "--kind", "read"], &job)
    };
    let readers = [reader("a"), reader("b")];
    folder.said("a");
    folder.said("b");
    let words = ["--lock", &name, "--kind", "write", "--wait", "0s"];
    under(server, &words, "exit 0").end().ended(75);
    fs::write(folder.path("end"), "").expect("writes");
    for reader in readers {
        reader.end().ended(0);
    }
    under(server, &words, "exit 0").end().ended(0);
}

#[test]
fn the_programs_exit_code_is_the_commands() {
    let (server, name) = (Server::shared(), unique_name("codes"));
    let words = ["--lock", name.as_str()];
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 75", 75),
        ("kill -KILL $$", 137),
    ] {
        under(server, &words, script).end().ended(code);
    }
    for (program, code) in [("./no-such-program", 127), ("/etc/passwd", 126)] {
        let came = came(server, &["run", "--lock", &name, "--", program]).ended(code);
        assert!(came.err.contains(program), "{came:?}");
    }
    // What is read and written is the program's own.
    let came = under(server, &words, "echo out; echo err >&2").end();
    assert_eq!((came.out.as_str(), came.err.as_str()), ("out\n", "err\n"));
    assert!(!server.direct().exists(&name));
}

#[test]
fn a_busy_lock_starts_no_program() {
    let (server, folder, name) = (Server::shared(), Folder::new(), unique_name("busy"));
    let holder = under(
        server,
        &["--lock", &name],
        &folder.script("echo in > in; until [ -e end ]; do sleep 0.01; done"),
    );
    folder.said("in");
    for wait in ["0s", "150ms"] {
        let came = under(
            server,
            &["--lock", &name, "--wait", wait],
            &folder.script("echo > ran"),
        );
        let came = came.end().ended(75);
        assert!(came.err.contains("busy"), "{came:?}");
    }
    assert!(!folder.path("ran").exists());
    fs::write(folder.path("end"), "").expect("writes");
    holder.end().ended(0);
}

#[test]
fn a_fenced_program_is_told_its_token_and_tokens_rise() {
    let (server, name) = (Server::shared(), unique_name("token"));
    let mut last = 0;
    for _ in 0..3 {
        let words = ["--lock", name.as_str(), "--kind", "fenced"];
        let came = under(
            server,
            &words,
            "echo $REDLATCH_FENCING_TOKEN $REDLATCH_LOCK",
        )
        .end();
        let (token, lock) = came.out.trim().split_once(' ').expect("two words");
        let token: i64 = token.parse().expect("a number");
        assert!(token > last && lock == name, "{came:?}");
        last = token;
    }
    // One from outside is not passed on.
    let script = "echo [$REDLATCH_FENCING_TOKEN]";
    let mut plain = redlatch(server, &["run", "--lock", &name, "--", "sh", "-c", script]);
    plain.env("REDLATCH_FENCING_TOKEN", "99");
    assert_eq!(Running::start(plain).end().out, "[]\n");
}

#[test]
fn signals_reach_the_program_and_the_lock_is_given_back() {
    let (server, name) = (Server::shared(), unique_name("signals"));
    for (signal, number) in [("-TERM", 15), ("-INT", 2), ("-HUP", 1)] {
        let folder = Folder::new();
        let trap = signal.trim_start_matches('-');
        let job = folder.script(&format!(
            "trap 'echo told > told; exit 3' {trap}; echo in > in; while :; do sleep 0.01; done"
        ));
        let running = under(server, &["--lock", &name], &job);
        folder.said("in");
        running.signal(signal);
        running.end().ended(3);
        assert_eq!(folder.text("told"), "told\n", "{signal}");
        assert!(!server.direct().exists(&name), "{signal}");
        // One that does not listen ends by the signal.
        let folder = Folder::new();
        let job = folder.script("echo in > in; exec sleep 1000");
        let running = under(server, &["--lock", &name], &job);
        folder.said("in");
        running.signal(signal);
        running.end().ended(128 + number);
        assert!(!server.direct().exists(&name), "{signal}");
    }
}

#[test]
fn whoever_is_stopped_while_it_waits_leaves_the_queue() {
    let (server, folder, name) = (Server::shared(), Folder::new(), unique_name("leaves"));
    let words = ["--lock", name.as_str(), "--kind", "fair"];
    let job = folder.script("echo in > in; until [ -e end ]; do sleep 0.01; done");
    let holder = under(server, &words, &job);
    folder.said("in");
    let waiter = under(server, &words, &folder.script("echo > ran"));
    let (direct, queue) = (server.direct(), format!("redisson_lock_queue:{{{name}}}"));
    let length = || direct.cmd(&["LLEN", &queue]).int();
    eventually("it stands in the queue", LIMIT, || length() == 1);
    waiter.signal("-TERM");
    waiter.end().ended(143);
    assert_eq!(length(), 0);
    fs::write(folder.path("end"), "").expect("writes");
    holder.end().ended(0);
    assert!(!folder.path("ran").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_does_not_outlive_the_command_that_holds_its_lock() {
    let (server, folder, name) = (Server::shared(), Folder::new(), unique_name("outlives"));
    let job = folder.script("echo $$ > pid; exec sleep 1000");
    let running = under(server, &["--lock", &name, "--lease", "60s"], &job);
    let pid = folder.said("pid");
    assert!(is_alive(&pid));
    running.signal("-KILL");
    is_gone(&pid);
    // Nobody has given it back.
    assert!(server.direct().exists(&name));
}

#[test]
fn json_says_what_became_of_a_run_on_the_standard_error() {
    let (server, name) = (Server::shared(), unique_name("json"));
    let words = ["--json", "--lock", name.as_str(), "--kind", "fenced"];
    let came = under(server, &words, "echo mine; exit 4").end().ended(4);
    assert_eq!(came.out, "mine\n");
    let lines: Vec<Value> = came
        .err
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let [acquired, ended] = lines.as_slice() else {
        panic!("{came:?}");
    };
    assert_eq!(acquired["event"], "acquired");
    assert_eq!(acquired["lock"], name.as_str());
    assert_eq!(acquired["kind"], "fenced");
    assert_eq!(acquired["token"], 1);
    assert!(acquired["owner"].as_str().expect("text").contains(':'));
    assert_eq!(ended["event"], "ended");
    assert_eq!(ended["outcome"], "exited");
    assert_eq!(ended["exit_code"], 4);
    assert!(ended["held_ms"].as_u64().is_some());
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_asked() {
    // Nobody is there to be asked.
    let nowhere = "redis://127.0.0.1:1";
    for words in [
        &["run", "--lock", "a", "--wait", "5", "--", "true"][..],
        &["run", "--lock", "a", "--kind", "odd", "--", "true"],
        &["run", "--lock", "a", "--grace", "20s", "--", "true"],
        &["run", "--lock", "a", "--lease", "0s", "--", "true"],
        &["run", "--lock", "a"],
        &["run", "--", "true"],
        &["unlock", "a", "--reason", "x"],
        &["unlock", "a", "--force"],
        &["unlock", "a", "--force", "--reason", " "],
        &["frob"],
    ] {
        let came = Running::start(at(nowhere, words)).end().ended(64);
        assert!(!came.err.is_empty(), "{words:?}");
    }
    let came = Running::start(at(nowhere, &["run", "--lock", "a", "--", "true"]));
    came.end().ended(69);
    let came = Running::start(at("http://a", &["ls"])).end();
    came.ended(64);
}
