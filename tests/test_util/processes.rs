//! Real servers: private, empty, and gone with their test, however that ends.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use redlatch::test_util::{StartError, TestServer};
use redlatch_support::{Direct, Process, eventually};

use crate::rig::{real, secs};

/// How long a process may take to be gone.
const LIMIT: Duration = secs(20);

fn is_there(pid: u32) -> bool {
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -0 \"$1\"", "sh", &pid.to_string()]);
    let status = kill.stderr(Stdio::null()).status();
    status.expect("sh runs").success()
}

#[tokio::test]
async fn a_server_is_of_the_tests_own_and_gone_when_it_is_dropped() {
    let (one, other) = (real().await, real().await);
    assert_ne!(one.port(), other.port());
    let (ours, theirs) = (one.client().await, other.client().await);
    let guard = ours.expect("answers").lock("n").lock().await.expect("free");
    let also = theirs.expect("answers").lock("n").lock().await;
    also.expect("another server").unlock().await.expect("held");
    guard.unlock().await.expect("held");
    let direct = Direct::new(one.port());
    for (setting, value) in [("save", ""), ("appendonly", "no"), ("bind", "127.0.0.1")] {
        let told = direct.cmd(&["CONFIG", "GET", setting]).accepted().strings();
        assert_eq!(told, [setting, value]);
    }
    let folder = direct.cmd(&["CONFIG", "GET", "dir"]).accepted().strings();
    assert!(Path::new(&folder[1]).is_dir());
    let pid = one.pid();
    assert!(is_there(pid));
    drop(one);
    assert!(!is_there(pid));
    assert!(!Path::new(&folder[1]).exists());
}

#[test]
fn a_panic_takes_the_server_along() {
    let (tell, told) = mpsc::channel();
    let test = thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let server = real().await;
            tell.send(server.pid()).expect("heard");
            panic!("as a test that fails");
        });
    });
    let pid = told.recv().expect("it started");
    assert!(test.join().is_err(), "it panicked");
    assert!(!is_there(pid));
}

const CHILD: &str = "REDLATCH_TEST_KIT_CHILD";

/// Does nothing unless the next test runs it in a process of its own.
#[test]
fn a_process_with_a_server() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let server = runtime.block_on(real());
    println!("\npid {}", server.pid());
    loop {
        thread::park();
    }
}

#[test]
fn a_test_that_is_killed_takes_the_server_along() {
    let mut child = Process::start("processes::a_process_with_a_server", CHILD, "1");
    let pid: u32 = child.said("pid ").parse().expect("a number");
    assert!(is_there(pid));
    child.kill();
    eventually("the server is gone", LIMIT, || !is_there(pid));
}

#[tokio::test]
async fn what_is_no_server_is_named_in_the_error() {
    let missing = TestServer::start_command(Command::new("/nowhere/valkey-server")).await;
    match missing {
        Err(StartError::NotRunnable { binary, .. }) => {
            assert_eq!(binary, Path::new("/nowhere/valkey-server"));
        }
        other => panic!("{other:?}"),
    }
    let mut command = Command::new("sh");
    command.args(["-c", "echo no server here; exit 3", "sh"]);
    match TestServer::start_command(command).await {
        Err(error @ StartError::Ended { .. }) => {
            let text = error.to_string();
            assert!(text.contains("no server here"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}
