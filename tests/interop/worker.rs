//! The Rust process of the contention tests: this test binary, started again.

use std::{
    io::{BufRead, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Barrier},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use redlatch::{Client, Fair, Fenced, Kind, LockGuard, Read, Reentrant, Write};
use redlatch_support::{Direct, as_wanted, history::Interval};

use crate::{common::QUICK, kinds::Shared};

/// Of the cycles with a read/write lock one in so many writes. Those who want to write wait until the others want to
/// as well, so neither side is starved.
const WRITE_EVERY: usize = 4;
/// How the names of the tasks end in the intervals of a read/write lock; the JVM's end in the same way.
pub(crate) const READS: &str = "-r";
const WRITES: &str = "-w";

/// The environment variable with the order.
const ORDER: &str = "REDLATCH_INTEROP_WORKER";

/// What the process is to do.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    /// The kind of lock as the JVM driver calls it; `readwrite` for both sides of one, `queue` for a process that only
    /// waits for a fair lock, `reader` for one that holds the read side until it is killed.
    pub(crate) kind: &'a str,
    pub(crate) port: u16,
    pub(crate) lock: &'a str,
    pub(crate) counter: &'a str,
    pub(crate) duration: Duration,
    pub(crate) tasks: usize,
}

/// A worker process; killed when it goes out of scope.
pub(crate) struct Worker {
    process: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts a process and waits until it is connected.
    pub(crate) fn start(process: &str, order: &Order<'_>) -> Self {
        let Order {
            kind,
            port,
            lock,
            counter,
            duration,
            tasks,
        } = order;
        let millis = duration.as_millis();
        let program = std::env::current_exe().expect("a running test has a program");
        let mut child = Command::new(program)
            .args(["--exact", "worker::process", "--nocapture"])
            .env(
                ORDER,
                format!("{kind} {port} {lock} {counter} {millis} {tasks}"),
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
    let [kind, port, lock, counter, millis, tasks] = words[..] else {
        panic!("an order is six words, not {order:?}");
    };
    let port: u16 = port.parse().expect("a port");
    let duration = Duration::from_millis(millis.parse().expect("milliseconds"));
    let tasks: usize = tasks.parse().expect("a number of tasks");

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(tasks)
        .enable_all()
        .build()
        .expect("a runtime");
    let url = format!("redis://127.0.0.1:{port}");
    let client = as_wanted!(Client::builder().url(url).expect("a good address"));
    let client = match kind {
        "readwrite" | "reader" => client.watchdog_timeout(QUICK),
        _ => client,
    };
    let client = runtime.block_on(client.connect()).expect("connects");
    // The harness has begun a line.
    println!("\nready");
    let mut go = String::new();
    std::io::stdin().read_line(&mut go).expect("a pipe");
    assert_eq!(go, "go\n", "the parent is gone");
    if kind == "queue" {
        let waits = client.fair_lock(lock).lock().into_future();
        let guard = runtime.block_on(waits).expect("the server is there");
        panic!("{guard:?} was to go to others");
    }

    if kind == "reader" {
        let reads = client.read_write_lock(lock).read().into_future();
        let _guard = runtime.block_on(reads).expect("nobody writes");
        runtime.block_on(std::future::pending::<()>());
    }

    let begin = Arc::new(Barrier::new(tasks));
    let running: Vec<_> = (0..tasks)
        .map(|number| {
            let task = Task {
                number,
                client: client.clone(),
                lock: lock.to_owned(),
                direct: Direct::new(port),
                counter: counter.to_owned(),
                intervals: Vec::new(),
            };
            let (begin, kind) = (begin.clone(), kind.to_owned());
            runtime.spawn(async move {
                tokio::task::block_in_place(|| begin.wait());
                task.run(&kind, Instant::now() + duration).await
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

/// One of those who fight for the lock.
struct Task {
    number: usize,
    client: Client,
    lock: String,
    direct: Direct,
    counter: String,
    intervals: Vec<(String, u64, u64)>,
}

impl Task {
    async fn run(mut self, kind: &str, end: Instant) -> Vec<(String, u64, u64)> {
        let mut cycle = self.number;
        while Instant::now() < end {
            match kind {
                "lock" => self.cycle::<Reentrant>("", Self::count).await,
                "fair" => self.cycle::<Fair>("", Self::count).await,
                "fenced" => self.cycle::<Fenced>("", Self::count_with_token).await,
                "readwrite" if cycle.is_multiple_of(WRITE_EVERY) => {
                    self.cycle::<Write>(WRITES, Self::count).await;
                }
                "readwrite" => self.cycle::<Read>(READS, Self::look).await,
                _ => panic!("no such kind: {kind}"),
            }
            cycle += 1;
        }
        self.intervals
    }

    async fn cycle<K: Shared>(&mut self, suffix: &str, work: fn(&Self, &LockGuard<K>)) {
        let lock = K::of(&self.client, &self.lock);
        let guard = lock.lock().await.expect("the server is there");
        let granted = now_micros();
        tokio::task::block_in_place(|| work(self, &guard));
        let released = now_micros();
        guard.unlock().await.expect("nobody takes it away");
        let task = format!("{}{suffix}", self.number);
        self.intervals.push((task, granted, released));
    }

    fn number(&self, key: &str) -> i64 {
        let seen = self.direct.cmd(&["GET", key]).accepted();
        if seen.is_nil() { 0 } else { seen.int() }
    }

    fn set(&self, key: &str, number: i64) {
        let number = number.to_string();
        self.direct.cmd(&["SET", key, &number]).accepted();
    }

    /// Raises the counter by two commands, so that two holders at once lose an update.
    fn count<K: Kind>(&self, _: &LockGuard<K>) {
        self.set(&self.counter, self.number(&self.counter) + 1);
    }

    /// Nobody may raise the counter meanwhile.
    fn look(&self, _: &LockGuard<Read>) {
        let seen = [(); 2].map(|()| self.number(&self.counter));
        assert_eq!(seen[0], seen[1], "somebody wrote while we read");
    }

    /// Every holder's token is higher than that of the one before.
    fn count_with_token(&self, guard: &LockGuard<Fenced>) {
        let token = guard.token().get();
        let key = format!("{}:token", self.counter);
        let before = self.number(&key);
        assert!(before < token, "token {token} after {before}");
        self.set(&key, token);
        self.count(guard);
    }
}

pub(crate) fn now_micros() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    u64::try_from(now.as_micros()).expect("a clock before the year 500000")
}
