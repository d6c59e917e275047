//! Processes that a test binary starts: another run of itself with one test and an order.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::wait::eventually;

/// How long a process may take until it says something.
const LIMIT: Duration = Duration::from_secs(20);

/// Killed when this value goes out of scope.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Runs `test` of this binary with the environment variable `order` set to `value`.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(test: &str, order: &str, value: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", test, "--nocapture"])
            .env(order, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let said = lines.clone();
        // Ends with the process.
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                said.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Self {
            child,
            stdin,
            lines,
        }
    }

    /// All it has said so far.
    pub fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows `word` in the first line that begins with it, once there is one.
    ///
    /// # Panics
    ///
    /// After 20 s.
    pub fn said(&self, word: &str) -> String {
        let find = || {
            let lines = self.lines();
            let line = lines.iter().find_map(|line| line.strip_prefix(word));
            line.map(|rest| rest.trim().to_owned())
        };
        eventually(word, LIMIT, || find().is_some());
        find().expect("just found")
    }

    /// Writes a line to its input.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("it listens");
    }

    /// Sends it a signal, such as `-STOP`.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// Kills it (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
