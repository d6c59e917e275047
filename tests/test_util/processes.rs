//! Real servers: private, empty, and gone with their test, however that ends.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use redlatch::test_util::{StartError, TestServer};
use redlatch_support::{Direct, Process, eventually, polled, unique_name};

use crate::rig::{real, secs, server};

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

/// Does nothing unless the next test runs it in a process of its own: tells what comes of `start`.
#[tokio::test]
async fn a_process_that_looks_for_a_server() {
    if std::env::var_os(LOOKING).is_none() {
        return;
    }
    match TestServer::start().await {
        Ok(server) => {
            let client = server.client().await.expect("answers");
            let guard = client.lock("n").lock().await.expect("free");
            guard.unlock().await.expect("held");
            println!("started, and it has locks");
        }
        Err(error) => println!("{error:?}: {error}"),
    }
}

const LOOKING: &str = "REDLATCH_TEST_KIT_LOOKING";

/// What a process of this binary says that looks for a server in these surroundings.
fn looking(surroundings: impl FnOnce(&mut Command)) -> String {
    let mut child = Command::new(std::env::current_exe().expect("this binary"));
    child.args(["--exact", "processes::a_process_that_looks_for_a_server"]);
    child.arg("--nocapture").env(LOOKING, "1");
    child.env_remove("REDLATCH_SERVER");
    surroundings(&mut child);
    let output = child.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_server_is_found_by_its_variable_or_on_the_path_or_it_is_said_what_to_install() {
    let binary = server();
    let libraries = |child: &mut Command| {
        child.envs(
            binary
                .library_path
                .iter()
                .map(|path| ("LD_LIBRARY_PATH", path)),
        );
    };
    let said = looking(|child| {
        libraries(
            child
                .env("REDLATCH_SERVER", &binary.path)
                .env("PATH", "/nowhere:/bin"),
        );
    });
    assert!(said.contains("started, and it has locks"), "{said}");
    // Under the name that people know it by.
    let folder = std::env::temp_dir().join(unique_name("redlatch-path"));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::os::unix::fs::symlink(&binary.path, folder.join("redis-server")).expect("a link");
    let wide = format!("{}:/usr/bin:/bin", folder.display());
    let said = looking(|child| libraries(child.env("PATH", &wide)));
    assert!(said.contains("started, and it has locks"), "{said}");
    std::fs::remove_dir_all(&folder).expect("ours");
    let said = looking(|child| {
        child.env("PATH", "/nowhere");
    });
    assert!(
        said.contains("NotFound") && said.contains("apt-get install"),
        "{said}"
    );
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_leaves_nothing_running() {
    let binary = server();
    let file = std::env::temp_dir().join(unique_name("redlatch-pid"));
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0\"; exec \"$SERVER\" \"$@\""]);
    command.arg(&file).env("SERVER", &binary.path);
    command.envs(
        binary
            .library_path
            .iter()
            .map(|path| ("LD_LIBRARY_PATH", path)),
    );
    let given_up = polled(1, TestServer::start_command(command)).await;
    assert!(given_up.is_none());
    let mut pid = None;
    eventually("the server says its pid", LIMIT, || {
        let said = std::fs::read_to_string(&file).unwrap_or_default();
        pid = said.trim().parse().ok();
        pid.is_some()
    });
    let pid: u32 = pid.expect("just seen");
    eventually("the server is gone", LIMIT, || !is_there(pid));
    std::fs::remove_file(&file).expect("ours");
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
