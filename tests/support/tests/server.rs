//! Servers start, break, come back and go away.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use redlatch_support::finder::{Flavor, find};
use redlatch_support::{Direct, Server, Value, eventually, unique_name};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_started_server_answers_and_is_gone_after_drop() {
    let server = Server::start();
    let direct = server.direct();
    assert_eq!(direct.cmd(&["PING"]), Value::Simple("PONG".into()));
    assert_eq!(
        direct.info("server")["process_id"],
        server.pid().to_string()
    );
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    let folder = server.folder().to_owned();
    assert!(folder.is_dir());
    drop(server);
    assert!(!folder.exists());
    assert!(direct.try_cmd(&["PING"]).is_err());
}

#[test]
fn a_killed_server_comes_back_empty_on_the_same_port() {
    let server = Server::start();
    let direct = server.direct();
    direct.cmd(&["SET", "k", "v"]).accepted();
    let before = server.pid();
    server.kill();
    assert!(!server.is_running());
    assert!(direct.try_cmd(&["PING"]).is_err());
    server.restart();
    assert_ne!(server.pid(), before);
    assert!(!direct.exists("k"));
}

#[test]
fn an_append_only_server_keeps_its_data() {
    let server = Server::builder().appendonly(true).start();
    let direct = server.direct();
    direct.cmd(&["SET", "k", "v"]).accepted();
    server.restart();
    let answer = server.direct().cmd(&["GET", "k"]);
    assert_eq!(answer.text(), "v");
}

#[test]
fn a_frozen_server_answers_after_thawing() {
    let server = Server::start();
    let direct = server.direct();
    direct.cmd(&["PING"]).accepted();
    server.freeze();
    direct.set_timeout(Duration::from_millis(50));
    assert!(direct.try_cmd(&["PING"]).is_err());
    assert!(server.is_running());
    server.thaw();
    direct.set_timeout(SOON);
    direct.cmd(&["PING"]).accepted();
}

#[test]
fn a_frozen_server_is_killed_by_drop() {
    let server = Server::start();
    let folder = server.folder().to_owned();
    server.freeze();
    drop(server);
    assert!(!folder.exists());
}

#[test]
fn arguments_and_passwords_reach_the_server() {
    let server = Server::builder()
        .arg("--requirepass")
        .arg("secret")
        .args(["--maxmemory", "10mb"])
        .start();
    let direct = server.direct();
    assert!(direct.cmd(&["GET", "k"]).is_error());
    direct.cmd(&["AUTH", "secret"]).accepted();
    let limit = direct.cmd(&["CONFIG", "GET", "maxmemory"]).strings();
    assert_eq!(limit, ["maxmemory", "10485760"]);
}

#[test]
fn a_taken_port_is_refused_with_a_reason() {
    let server = Server::start();
    let error = Server::builder()
        .port(server.port())
        .try_start()
        .expect_err("the port is taken");
    assert!(
        error.to_string().contains(&server.port().to_string()),
        "{error}"
    );
    server.direct().cmd(&["PING"]).accepted();
}

#[test]
fn a_wrong_argument_is_refused_with_the_log() {
    let error = Server::builder()
        .arg("--no-such-option")
        .arg("1")
        .try_start()
        .expect_err("the option does not exist");
    assert!(error.to_string().contains("no-such-option"), "{error}");
}

#[test]
fn the_direct_client_reads_the_truth() {
    let server = Server::shared();
    let direct = server.direct();
    let key = unique_name("truth");
    assert!(!direct.exists(&key));
    assert_eq!(direct.pttl(&key), -2);
    assert!(direct.hgetall(&key).is_empty());
    direct.cmd(&["HSET", &key, "a", "1", "b", "2"]).accepted();
    let fields = direct.hgetall(&key);
    assert_eq!(fields.len(), 2);
    assert_eq!(fields["b"], "2");
    assert_eq!(direct.pttl(&key), -1);
    direct.cmd(&["PEXPIRE", &key, "60000"]).accepted();
    assert!(direct.pttl(&key) > 50_000);
    assert_eq!(direct.cmd(&["HGET", &key, "a"]).int(), 1);
    assert!(direct.cmd(&["HGET", &key, "c"]).is_nil());
    assert_eq!(direct.numsub(&key), 0);
    assert!(
        direct
            .client_list()
            .iter()
            .any(|client| client["cmd"].starts_with("client"))
    );
}

#[test]
fn the_direct_client_counts_commands() {
    let server = Server::start();
    let direct = server.direct();
    assert_eq!(direct.command_calls("hincrby"), 0);
    let script = "return redis.call('hincrby', KEYS[1], 'f', 1)";
    for _ in 0..3 {
        direct.cmd(&["EVAL", script, "1", "h"]).accepted();
    }
    assert_eq!(direct.command_calls("HINCRBY"), 3);
    assert_eq!(direct.command_calls("eval"), 3);
    direct.reset_stats();
    assert_eq!(direct.command_calls("eval"), 0);
    direct.flushall();
    assert!(!direct.exists("h"));
}

#[test]
fn the_direct_client_outlives_a_restart() {
    let server = Server::start();
    let direct: Direct = server.direct();
    direct.cmd(&["PING"]).accepted();
    server.restart();
    eventually("the client to reach the new process", SOON, || {
        direct.try_cmd(&["PING"]).is_ok()
    });
}

#[test]
fn flavors_have_names() {
    for flavor in Flavor::NAMED {
        assert_eq!(flavor.to_string().parse(), Ok(flavor));
    }
    let error = "redis-5".parse::<Flavor>().expect_err("no such flavor");
    assert!(error.to_string().contains("valkey-9"), "{error}");
}

/// The victim of the test below: starts a server and waits for its own end.
#[test]
#[ignore = "runs only as the victim of another test"]
fn victim() {
    if std::env::var_os("REDLATCH_SUPPORT_VICTIM").is_some() {
        let server = Server::shared();
        server.freeze();
        println!("server {} {}", server.port(), server.folder().display());
        loop {
            std::thread::park();
        }
    }
}

#[test]
fn no_server_outlives_a_killed_test_process() {
    let mut process = Command::new(std::env::current_exe().expect("this is a program"))
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env("REDLATCH_SUPPORT_VICTIM", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts once more");
    let output = BufReader::new(process.stdout.take().expect("its output is piped"));
    let line = output
        .lines()
        .map(|line| line.expect("its output is text"))
        .find_map(|line| line.split_once("server ").map(|(_, rest)| rest.to_owned()))
        .expect("it tells its server");
    let (port, folder) = line.split_once(' ').expect("a port and a folder");
    let port: u16 = port.parse().expect("a port is a number");
    assert!(Path::new(folder).is_dir());
    process.kill().expect("it can be killed");
    process.wait().expect("it ends");
    eventually("the server to be gone", SOON, || {
        TcpStream::connect(("127.0.0.1", port)).is_err() && !Path::new(folder).exists()
    });
}

/// Fetches every named server, so it runs only when asked for: `cargo test -p redlatch-support -- --ignored`.
#[test]
#[ignore = "downloads about 100 MB"]
fn every_named_flavor_is_to_be_had() {
    for flavor in Flavor::NAMED {
        let binary = find(flavor).unwrap_or_else(|error| panic!("{flavor}: {error}"));
        let wanted = flavor
            .name()
            .rsplit('-')
            .next()
            .expect("a name has a version");
        assert!(
            binary.version.starts_with(wanted),
            "{flavor} is {}",
            binary.version
        );
        let server = Server::try_start(flavor).unwrap_or_else(|error| panic!("{flavor}: {error}"));
        let answer = server.direct().cmd(&["EVAL", "return {1,'x'}", "0"]);
        assert_eq!(
            answer,
            Value::Array(vec![Value::Int(1), Value::Bulk(b"x".to_vec())])
        );
    }
}
