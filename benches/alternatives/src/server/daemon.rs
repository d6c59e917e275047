//! A server process of ours: started on free ports, killed when this value goes, and by a guardian when this process was
//! killed itself.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use redlatch_support::unique_name;

use super::Server;
use crate::kit::Result;

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);
/// How often another port is tried.
const TRIES: usize = 4;

/// The shell holds the reading end of a pipe whose writing end is here alone. However this process ends, the pipe closes.
const GUARDIAN: &str = r#"
trap '' HUP INT TERM
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then kill -9 "$pid" 2>/dev/null; fi
rm -rf "$1"
"#;

/// What a server is started with.
pub(super) struct Plan {
    pub(super) version: String,
    pub(super) folder: PathBuf,
    pub(super) ports: Vec<u16>,
    /// The command line, for these ports.
    pub(super) command: fn(&Path, &[u16]) -> Command,
    /// Whether it answers.
    pub(super) answers: fn(&[u16]) -> bool,
}

pub(super) struct Daemon {
    plan: Plan,
    running: Option<Child>,
    guardian: Child,
    pipe: Option<ChildStdin>,
}

/// A folder for a server.
pub(super) fn new_folder() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(unique_name("redlatch-alternatives"));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let ports = listeners.iter().map(|one| Ok(one.local_addr()?.port()));
    ports.collect()
}

/// What a server says to a line; empty where nothing listens.
pub(super) fn said(port: u16, line: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(line.as_bytes())?;
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    ask().unwrap_or_default()
}

impl Daemon {
    pub(super) fn start(
        version: String,
        folder: PathBuf,
        ports: usize,
        command: fn(&Path, &[u16]) -> Command,
        answers: fn(&[u16]) -> bool,
    ) -> Result<Self> {
        let mut guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "sh"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let mut daemon = Self {
            plan: Plan {
                version,
                folder,
                ports: Vec::new(),
                command,
                answers,
            },
            running: None,
            pipe: guardian.stdin.take(),
            guardian,
        };
        let mut tries = 1;
        loop {
            daemon.plan.ports = free_ports(ports)?;
            match daemon.launch() {
                Err(_) if tries < TRIES => tries += 1,
                outcome => return outcome.map(|()| daemon),
            }
        }
    }

    /// Once more where it ends while it starts: a predecessor may be in its way for a moment.
    fn launch(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.launch_once(begun) {
                Err(_) if begun.elapsed() < START / 6 => sleep(LOOK),
                outcome => return outcome,
            }
        }
    }

    fn launch_once(&mut self, begun: Instant) -> Result<()> {
        let log = self.plan.folder.join("log");
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = (self.plan.command)(&self.plan.folder, &self.plan.ports);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .current_dir(&self.plan.folder)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        self.watch(Some(child.id()));
        loop {
            if child.try_wait()?.is_some() {
                self.watch(None);
                return Err(format!("{} ended: {}", self.plan.version, last_lines(&log)).into());
            }
            if (self.plan.answers)(&self.plan.ports) {
                self.running = Some(child);
                return Ok(());
            }
            if begun.elapsed() > START {
                let _ = child.kill();
                let _ = child.wait();
                self.watch(None);
                let said = last_lines(&log);
                return Err(format!("{} does not answer: {said}", self.plan.version).into());
            }
            sleep(LOOK);
        }
    }

    fn watch(&mut self, pid: Option<u32>) {
        if let Some(pipe) = &mut self.pipe {
            let pid = pid.map_or_else(String::new, |pid| pid.to_string());
            // A guardian that is gone guards nothing; this process still does.
            let _ = writeln!(pipe, "{pid}");
        }
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(4)..].join(" / ")
}

impl Server for Daemon {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.plan.ports[0])
    }

    fn version(&self) -> String {
        self.plan.version.clone()
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
            self.watch(None);
        }
    }

    fn restart(&mut self) -> Result<()> {
        self.kill();
        self.launch()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        drop(self.pipe.take());
        let _ = self.guardian.wait();
    }
}
