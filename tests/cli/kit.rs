//! What every test of this binary needs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use redlatch_support::{Server, eventually, unique_name};
use serde_json::Value;

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Past this a test has failed, whatever it waits for.
pub(crate) const LIMIT: Duration = secs(30);

/// The command, for this server.
pub(crate) fn redlatch(server: &Server, words: &[&str]) -> Command {
    at(&format!("redis://{}", server.address()), words)
}

/// The command, for a server at this address.
pub(crate) fn at(url: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redlatch"));
    command
        .args(words)
        .env("REDLATCH_URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Came {
    /// The one line of JSON that was written.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Says that it ended like this.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl From<Output> for Came {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by itself"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

/// Runs the command to its end.
pub(crate) fn came(server: &Server, words: &[&str]) -> Came {
    Running::start(redlatch(server, words)).end()
}

/// A command under way. Killed when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(Some(command.spawn().expect("starts")))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.as_ref().expect("runs").id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        let child = self.0.as_mut().expect("runs");
        child.try_wait().expect("its child").is_none()
    }

    /// Sends it a signal, such as `-TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args([signal, &pid]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Came {
        let begun = Instant::now();
        // What it writes is little, and fits into the pipes.
        while self.is_running() {
            assert!(begun.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(ms(2));
        }
        let child = self.0.take().expect("runs");
        child.wait_with_output().expect("its child").into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A folder in which programs and tests tell each other things. Gone when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(unique_name("redlatch-cli"));
        fs::create_dir(&folder).expect("a folder");
        Self(folder)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// A file's text, once there is a whole line of it.
    #[track_caller]
    pub(crate) fn said(&self, file: &str) -> String {
        let path = self.path(file);
        let read = || fs::read_to_string(&path).unwrap_or_default();
        eventually(file, LIMIT, || read().ends_with('\n'));
        read().trim().to_owned()
    }

    pub(crate) fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_default()
    }

    /// A shell's script with `cd` to this folder before it.
    pub(crate) fn script(&self, script: &str) -> String {
        format!("cd '{}'; {script}", self.0.display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a process is there, and not a zombie.
pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

/// Waits until a process is gone.
#[track_caller]
pub(crate) fn is_gone(pid: &str) {
    eventually("the process is gone", LIMIT, || !is_alive(pid));
}
