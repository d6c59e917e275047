//! The process on this side.

use std::io::{BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::answer::{JvmError, Pending, Reply};
use super::build::DriverJar;
use super::options::JvmOptions;
use super::shared::{Shared, lock};
use super::token::encode;

const START_LIMIT: Duration = Duration::from_secs(60);
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// A running JVM with one Redisson client. Killed on drop.
#[derive(Debug)]
pub struct Jvm {
    child: Mutex<Child>,
    pid: u32,
    uuid: String,
    stdin: Mutex<Option<ChildStdin>>,
    shared: Arc<Shared>,
    next_id: AtomicU64,
}

impl Jvm {
    /// Starts a driver and waits until its client is connected.
    ///
    /// # Panics
    ///
    /// When that fails or takes more than 60 s; the message carries the JVM's stderr.
    pub fn start(driver: &DriverJar, options: &JvmOptions) -> Self {
        let mut child = Command::new(&driver.java)
            .args([
                "-Xshare:auto",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xmx256m",
                "-cp",
            ])
            .arg(&driver.classpath)
            .arg("redlatch.driver.Main")
            .args(options.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", driver.java.display()));
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");

        let shared = Arc::new(Shared::default());
        let (ready, is_ready) = mpsc::channel();
        let errors = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.keep_stderr(BufReader::new(stderr)))
        };
        {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.read_answers(BufReader::new(stdout), &ready);
                let _ = errors.join();
                shared.end();
                drop(ready);
            });
        }

        // Built before the wait, so that a failed start leaves no process behind.
        let mut jvm = Self {
            pid: child.id(),
            child: Mutex::new(child),
            uuid: String::new(),
            stdin: Mutex::new(stdin),
            shared,
            next_id: AtomicU64::new(1),
        };
        match is_ready.recv_timeout(START_LIMIT) {
            Ok(uuid) => jvm.uuid = uuid,
            Err(e) => panic!("the JVM driver did not start ({e}):\n{}", jvm.stderr()),
        }
        jvm
    }

    /// The client id: the first part of every lock owner id of this JVM.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The owner id of a worker as it stands in the lock's hash: `<uuid>:<thread id>`.
    ///
    /// # Panics
    ///
    /// When the JVM does not answer.
    pub fn owner(&self, worker: &str) -> String {
        match self.call(worker, "threadid", &[]) {
            Ok(thread) => format!("{}:{thread}", self.uuid),
            Err(e) => panic!("no thread id: {e}"),
        }
    }

    /// Runs an operation on a worker thread (made on first use) and waits up to 60 s for its
    /// result.
    pub fn call(&self, worker: &str, op: &str, args: &[&str]) -> Result<String, JvmError> {
        self.call_reply(worker, op, args).map(|reply| reply.value)
    }

    /// Like [`Jvm::call`], with the elapsed time and the intervals.
    pub fn call_reply(&self, worker: &str, op: &str, args: &[&str]) -> Result<Reply, JvmError> {
        self.start_call(worker, op, args)
            .wait(CALL_LIMIT)
            .unwrap_or_else(|| {
                Err(JvmError::local(
                    JvmError::NO_ANSWER,
                    format!("{op} {args:?} did not end in {CALL_LIMIT:?}"),
                ))
            })
    }

    /// Sends an operation and returns at once. Calls of one worker run in order, those of two
    /// workers side by side.
    pub fn start_call(&self, worker: &str, op: &str, args: &[&str]) -> Pending {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = mpsc::channel();
        let pending = Pending::new(receiver);

        if !self.shared.expect(id, answer) {
            return pending;
        }

        let mut line = format!("{id} {} {op}", encode(worker));
        for arg in args {
            line.push(' ');
            line.push_str(&encode(arg));
        }
        line.push('\n');
        if let Some(stdin) = lock(&self.stdin).as_mut() {
            // A failed write means that the process ended; the reader thread tells all calls.
            let _ = stdin
                .write_all(line.as_bytes())
                .and_then(|()| stdin.flush());
        }
        pending
    }

    /// Interrupts a worker's thread in the middle of its call. An idle worker does not notice.
    pub fn interrupt(&self, worker: &str) -> Result<String, JvmError> {
        self.call(worker, "interrupt", &[worker])
    }

    /// Kills the process (SIGKILL) and waits for its end, as a crash of the service would. Can be
    /// repeated.
    pub fn kill(&self) {
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Ends the process in good order (held locks stay, as Redisson leaves them) and waits for its
    /// end.
    pub fn quit(self) {
        drop(lock(&self.stdin).take());
        let deadline = Instant::now() + CALL_LIMIT;
        while Instant::now() < deadline && matches!(lock(&self.child).try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the process (SIGSTOP), as a long garbage collection pause would.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// The last lines the JVM wrote to stderr.
    pub fn stderr(&self) -> String {
        self.shared.stderr()
    }

    fn signal(&self, name: &str) {
        // Holding the child keeps its pid from being waited for and reused meanwhile.
        let mut child = lock(&self.child);
        if matches!(child.try_wait(), Ok(None)) {
            // The shell's own `kill`: not every container has the program.
            let sent = Command::new("sh")
                .arg("-c")
                .arg(format!("kill -{name} {}", self.pid))
                .status();
            assert!(
                sent.is_ok_and(|status| status.success()),
                "cannot send SIG{name} to the JVM"
            );
        }
    }
}

impl Drop for Jvm {
    fn drop(&mut self) {
        self.kill();
    }
}
