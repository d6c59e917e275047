//! Server processes, and the guardian that ends them when the tests cannot.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::ports::{Ports, Wanted};
use super::{StartError, unique_name};
use crate::finder::ServerBinary;
use crate::resp::{Direct, Value};
use crate::tls::Certificates;

/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How often a free port is tried before giving up.
const PORT_TRIES: u32 = 8;

/// A server process that answers.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The same as in the library's test kit.
#[path = "../../../../src/test_util/server/guardian.rs"]
mod guardian;

/// Ends a server when this process cannot.
#[derive(Debug)]
pub(super) struct Guardian(guardian::Guardian);

impl Guardian {
    pub(super) fn start(folder: &Path) -> Result<Guardian, StartError> {
        let started = guardian::Guardian::start(folder);
        started.map(Guardian).map_err(|error| {
            StartError::new(format!("sh cannot be run: {error}; put it on the PATH"))
        })
    }

    pub(super) fn watch(&mut self, pid: Option<u32>) {
        self.0.watch(pid);
    }
}

/// A folder that goes with this value, or with the test process.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// It removes the folder when it ends.
    _guardian: Guardian,
}

impl Folder {
    pub(crate) fn new() -> Result<Folder, StartError> {
        let path = new_folder()?;
        let guardian = Guardian::start(&path)?;
        Ok(Folder {
            path,
            _guardian: guardian,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Sends a signal by name; panics when there is no such process.
#[track_caller]
pub(super) fn signal(name: &str, pid: u32) {
    let sent = Command::new("sh")
        .args(["-c", "kill -\"$1\" \"$2\"", "sh", name, &pid.to_string()])
        .stdin(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(
        sent,
        "SIG{name} could not be sent to the server with pid {pid}; check that it still runs"
    );
}

/// A new empty folder for one server.
pub(super) fn new_folder() -> Result<PathBuf, StartError> {
    let folder = std::env::temp_dir().join(unique_name("redlatch-server"));
    fs::create_dir_all(&folder).map_err(|error| {
        StartError::new(format!(
            "{}: {error}; make the folder writable or set TMPDIR to one that is",
            folder.display()
        ))
    })?;
    Ok(folder)
}

/// What stays the same at every start of one server.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) binary: ServerBinary,
    /// Words that come first on the command line.
    pub(super) first: Vec<String>,
    /// The addresses to listen on, 127.0.0.1 among them.
    pub(super) bind: Vec<String>,
    /// The words after those for the addresses and the ports.
    pub(super) arguments: Vec<String>,
    pub(super) password: Option<String>,
    /// The Unix socket, if it listens on one.
    pub(super) socket: Option<PathBuf>,
    /// Kept for their files, if it speaks TLS.
    pub(super) certificates: Option<Certificates>,
    pub(super) folder: PathBuf,
}

impl Setup {
    pub(super) fn direct(&self, port: u16) -> Direct {
        let direct = Direct::new(port);
        match &self.password {
            Some(password) => direct.with_password(password),
            None => direct,
        }
    }
}

/// Starts a server on ports of its own and waits until it, and no other, answers.
pub(super) fn start(
    setup: &Setup,
    wanted: &Wanted,
    guardian: &mut Guardian,
) -> Result<(Ports, Running), StartError> {
    attempts(|| {
        let ports = wanted.pick()?;
        Ok(launch(setup, ports, guardian)?.map(|running| (ports, running)))
    })
}

/// Starts a server on the ports it had before.
pub(super) fn restart(
    setup: &Setup,
    ports: Ports,
    guardian: &mut Guardian,
) -> Result<Running, StartError> {
    attempts(|| launch(setup, ports, guardian))
}

/// Tries again while ports are taken. The inner error means that they are.
fn attempts<T>(
    mut attempt: impl FnMut() -> Result<Result<T, StartError>, StartError>,
) -> Result<T, StartError> {
    let mut last = None;
    for _ in 0..PORT_TRIES {
        match attempt()? {
            Ok(done) => return Ok(done),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| StartError::new("no port was tried; report this as a bug")))
}

/// One attempt. The inner error means that a port is taken and another may do.
fn launch(
    setup: &Setup,
    ports: Ports,
    guardian: &mut Guardian,
) -> Result<Result<Running, StartError>, StartError> {
    let (binary, folder, port) = (&setup.binary, &setup.folder, ports.plain);
    let log = folder.join("server.log");
    let no_log =
        |error| StartError::new(format!("{}: {error}; make room on the disk", log.display()));
    let output = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(no_log)?;
    let before = output.metadata().map_err(no_log)?.len();
    let errors = output.try_clone().map_err(no_log)?;
    let child = binary
        .command()
        .args(&setup.first)
        .args(ports.arguments())
        .arg("--bind")
        .args(&setup.bind)
        .args(&setup.arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|error| {
            StartError::new(format!(
                "{} cannot be run: {error}; remove it or set REDLATCH_SERVER to another server",
                binary.path.display()
            ))
        })?;
    let mut running = Running { child };
    guardian.watch(Some(running.pid()));
    let direct = setup.direct(port);
    direct.set_timeout(Duration::from_secs(1));
    let begun = Instant::now();
    loop {
        let owner = owner(&direct, running.pid());
        if !running.is_alive() {
            let said = log_since(&log, before);
            let error = StartError::new(format!(
                "{} ended while starting on port {port}; its log says:\n{said}",
                binary.path.display()
            ));
            let taken =
                owner.is_some() || said.to_ascii_lowercase().contains("address already in use");
            return if taken { Ok(Err(error)) } else { Err(error) };
        }
        match owner {
            Some(pid) if pid == running.pid() => return Ok(Ok(running)),
            Some(_) => {
                // Somebody else's server answers; this one will end, or never get the port.
                return Ok(Err(StartError::new(format!(
                    "port {port} belongs to another server; free it or choose another port"
                ))));
            }
            None if begun.elapsed() > START_LIMIT => {
                return Err(StartError::new(format!(
                    "{} did not answer on port {port} within {START_LIMIT:?}; its log says:\n{}",
                    binary.path.display(),
                    log_since(&log, before)
                )));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// The pid of the server that answers on the port; `None` while none answers.
///
/// A server that does not tell, be it for want of a password or because it is a stand-in, counts as `own`.
fn owner(direct: &Direct, own: u32) -> Option<u32> {
    match direct.try_cmd(&["PING"]).ok()? {
        Value::Error(error) if error.starts_with("NOAUTH") => return Some(own),
        Value::Error(_) => return None,
        _ => {}
    }
    let info = direct.try_cmd(&["INFO", "server"]).ok()?;
    if info.is_error() {
        return None;
    }
    let text = info.text();
    match text
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"))
    {
        Some(pid) => pid.trim().parse().ok(),
        None => Some(own),
    }
}

fn log_since(log: &Path, start: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let fresh = &bytes[usize::try_from(start).unwrap_or(0).min(bytes.len())..];
    let text = String::from_utf8_lossy(fresh);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
