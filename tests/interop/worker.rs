//! The Rust process of the contention test: this test binary, started again.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Barrier},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use redlatch::Client;
use redlatch_support::{Direct, history::Interval};

/// What the process is to do: port, lock, counter, milliseconds, tasks.
const ORDER: &str = "REDLATCH_INTEROP_WORKER";

/// A worker process; killed when it goes out of scope.
pub(crate) struct Worker {
    process: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts a process and waits until it is connected.
    pub(crate) fn start(
        process: &str,
        port: u16,
        lock: &str,
        counter: &str,
        duration: Duration,
        tasks: usize,
    ) -> Self {
        let program = std::env::current_exe().expect("a running test has a program");
        let mut child = Command::new(program)
            .args(["--exact", "worker::process", "--nocapture"])
            .env(
                ORDER,
                format!("{port} {lock} {counter} {} {tasks}", duration.as_millis()),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test program starts again");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut worker = Self {
            process: process.to_owned(),
            child,
            stdin,
            stdout,
        };
        while worker.line() != "ready" {}
        worker
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let length = self.stdout.read_line(&mut line).expect("a pipe");
        assert!(length > 0, "{} ended early; see above", self.process);
        line.trim_end().to_owned()
    }

    /// Lets the tasks begin.
    pub(crate) fn go(&mut self) {
        let mut stdin = self.stdin.take().expect("begins once");
        stdin.write_all(b"go\n").expect("the process listens");
    }

    /// Waits for the end; gives every critical section.
    pub(crate) fn intervals(mut self) -> Vec<Interval> {
        let mut intervals = Vec::new();
        loop {
            let line = self.line();
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["iv", task, granted, released] => intervals.push(Interval {
                    process: self.process.clone(),
                    thread: task.to_owned(),
                    granted_micros: granted.parse().expect("a number"),
                    released_micros: released.parse().expect("a number"),
                }),
                ["done"] => return intervals,
                _ => println!("{}: {line}", self.process),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: what the process does. Without an order it ends at once.
#[test]
fn process() {
    let Ok(order) = std::env::var(ORDER) else {
        return;
    };
    let words: Vec<&str> = order.split(' ').collect();
    let [port, lock, counter, millis, tasks] = words[..] else {
        panic!("an order is five words, not {order:?}");
    };
    let port: u16 = port.parse().expect("a port");
    let duration = Duration::from_millis(millis.parse().expect("milliseconds"));
    let tasks: usize = tasks.parse().expect("a number of tasks");

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(tasks)
        .enable_all()
        .build()
        .expect("a runtime");
    let client = runtime
        .block_on(Client::connect(format!("redis://127.0.0.1:{port}")))
        .expect("connects");
    // The harness has begun a line.
    println!("\nready");
    let mut go = String::new();
    std::io::stdin().read_line(&mut go).expect("a pipe");
    assert_eq!(go, "go\n", "the parent is gone");

    let begin = Arc::new(Barrier::new(tasks));
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (lock, begin) = (client.lock(lock), begin.clone());
            let (direct, counter) = (Direct::new(port), counter.to_owned());
            runtime.spawn(async move {
                tokio::task::block_in_place(|| begin.wait());
                let end = Instant::now() + duration;
                let mut intervals = Vec::new();
                while Instant::now() < end {
                    let guard = lock.lock().await.expect("the server is there");
                    let granted = now_micros();
                    tokio::task::block_in_place(|| count(&direct, &counter));
                    let released = now_micros();
                    guard.unlock().await.expect("nobody takes it away");
                    intervals.push((task, granted, released));
                }
                intervals
            })
        })
        .collect();
    let mut output = String::new();
    for task in running {
        for (task, granted, released) in runtime.block_on(task).expect("no panic") {
            output.push_str(&format!("iv {task} {granted} {released}\n"));
        }
    }
    println!("stats {:?}", client.stats());
    print!("{output}");
    let report = runtime.block_on(client.close(Duration::from_secs(5)));
    assert!(report.unreleased.is_empty(), "{report:?}");
    println!("done");
}

/// Raises the counter by two commands, so that two holders at once lose an update.
fn count(direct: &Direct, counter: &str) {
    let seen = direct.cmd(&["GET", counter]).accepted();
    let seen = if seen.is_nil() { 0 } else { seen.int() };
    direct
        .cmd(&["SET", counter, &(seen + 1).to_string()])
        .accepted();
}

fn now_micros() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    u64::try_from(now.as_micros()).expect("a clock before the year 500000")
}
