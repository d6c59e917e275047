//! Starts a server, waits until it answers, and ends it.

use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    StartError,
    talk::{Answer, ask},
};

/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How often another port is tried.
const TRIES: usize = 8;
/// Between two looks.
const STEP: Duration = Duration::from_millis(2);

/// Loopback only, and nothing on the disk.
const WORDS: [&str; 8] = [
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--appendonly",
    "no",
    "--protected-mode",
    "yes",
];

/// A server that runs; dropping it ends it.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    port: u16,
    folder: PathBuf,
    #[cfg(unix)]
    guardian: super::guardian::Guardian,
}

impl Running {
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines it wrote.
    fn log(&self) -> String {
        let bytes = fs::read(log(&self.folder)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once it is gone another process may have its number.
        #[cfg(unix)]
        self.guardian.watch(None);
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn log(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// What became of one attempt.
enum Attempt {
    Serves(Running),
    /// Somebody else was faster at this port.
    PortTaken(StartError),
}

/// The same command, for another attempt.
fn copy(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => copy.env(name, value),
            None => copy.env_remove(name),
        };
    }
    copy
}

/// Starts the server of a command on a free port.
pub(super) fn launch(command: &Command) -> Result<Running, StartError> {
    let mut last = None;
    for _ in 0..TRIES {
        match attempt(copy(command))? {
            Attempt::Serves(running) => return Ok(running),
            Attempt::PortTaken(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no port was tried").into()))
}

fn attempt(mut command: Command) -> Result<Attempt, StartError> {
    let binary = PathBuf::from(command.get_program());
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let folder = std::env::temp_dir().join(format!("redlatch-test-{}", Uuid::new_v4()));
    fs::create_dir_all(&folder)?;
    let started = start(&mut command, port, &folder);
    let mut running = match started {
        Ok(running) => running,
        Err(error) => {
            let _ = fs::remove_dir_all(&folder);
            return Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                    StartError::NotRunnable {
                        binary,
                        reason: error.to_string(),
                    }
                }
                _ => error.into(),
            });
        }
    };
    let begun = Instant::now();
    loop {
        let answering = answering(port);
        if let Some(_status) = running.child.try_wait()? {
            let log = running.log();
            let taken = answering.is_some() || log.to_ascii_lowercase().contains("already in use");
            let error = StartError::Ended { binary, log };
            return if taken {
                Ok(Attempt::PortTaken(error))
            } else {
                Err(error)
            };
        }
        if answering == Some(running.pid()) {
            return Ok(Attempt::Serves(running));
        }
        // Where another server answers this one will never get the port, and ends.
        if begun.elapsed() > START_LIMIT {
            return Err(StartError::Silent {
                binary,
                waited: begun.elapsed(),
                log: running.log(),
            });
        }
        std::thread::sleep(STEP);
    }
}

fn start(command: &mut Command, port: u16, folder: &Path) -> io::Result<Running> {
    let output = File::create(log(folder))?;
    let errors = output.try_clone()?;
    // Before the server, so that there is none without it.
    #[cfg(unix)]
    let mut guardian = super::guardian::Guardian::start(folder)?;
    #[cfg(unix)]
    {
        // An interrupt at the terminal is for the test, which then ends the server.
        std::os::unix::process::CommandExt::process_group(command, 0);
    }
    let child = command
        .args(["--port", &port.to_string()])
        .args(WORDS)
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()?;
    #[cfg(unix)]
    guardian.watch(Some(child.id()));
    Ok(Running {
        child,
        port,
        folder: folder.to_owned(),
        #[cfg(unix)]
        guardian,
    })
}

/// The process id of the server that answers on the port; `None` while none does.
fn answering(port: u16) -> Option<u32> {
    let words = ["INFO", "server"].map(str::to_owned);
    let Ok(Answer::Text(info)) = ask(port, &words, ANSWER_LIMIT) else {
        return None;
    };
    let mut lines = info.lines();
    let pid = lines.find_map(|line| line.strip_prefix("process_id:"))?;
    pid.trim().parse().ok()
}
