//! Starts real servers on free loopback ports and makes sure that none outlives the tests.

mod builder;
mod clock;
mod ports;
mod process;
pub(crate) mod user;

pub use builder::ServerBuilder;
pub(crate) use builder::start_all;
pub use clock::ShiftedClock;
pub(crate) use process::Folder;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::finder::{self, FindError, Flavor, ServerBinary};
use crate::resp::Direct;
use crate::tls::Certificates;

use ports::Ports;
use process::{Guardian, Running, Setup, signal};

pub use user::TEST_USER;

/// The environment variable that chooses the flavor [`Server::start`] uses.
pub const TEST_SERVER: &str = "REDLATCH_TEST_SERVER";

/// A server of its own for a test.
///
/// It is stopped and its folder removed when this value goes out of scope. Should the test process be killed before
/// that, a small guardian process does the same within moments.
#[derive(Debug)]
pub struct Server {
    setup: Setup,
    ports: Ports,
    /// Whether tests log in as a user that may do nothing but what the library needs.
    confined: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    running: Option<Running>,
    frozen: bool,
    guardian: Guardian,
}

/// Why a server did not start; the text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    message: String,
}

impl StartError {
    pub(crate) fn new(message: impl Into<String>) -> StartError {
        StartError {
            message: message.into(),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

impl From<FindError> for StartError {
    fn from(error: FindError) -> StartError {
        StartError::new(error.to_string())
    }
}

impl Server {
    /// Starts a server of the flavor that `REDLATCH_TEST_SERVER` names, any by default.
    ///
    /// # Panics
    ///
    /// When no server is to be had or it does not start, saying why.
    #[track_caller]
    pub fn start() -> Server {
        Server::builder().start()
    }

    /// Starts a server of this flavor.
    pub fn try_start(flavor: Flavor) -> Result<Server, StartError> {
        Server::builder().flavor(flavor).try_start()
    }

    /// A server with other settings than the usual ones.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The one server that all tests of this process share, started by the first that asks.
    ///
    /// A test that uses it takes its lock names from [`unique_name`] and does not freeze, kill or flush it. It stops
    /// when the process ends.
    ///
    /// # Panics
    ///
    /// When no server is to be had or it does not start, saying why.
    #[track_caller]
    pub fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Server::start)
    }

    /// The port on 127.0.0.1; a restart keeps it.
    pub fn port(&self) -> u16 {
        self.ports.plain
    }

    /// Checks that the user of `REDLATCH_TEST_USER` was refused nothing so far; without it, does nothing. A server that is
    /// dropped does this by itself.
    ///
    /// # Panics
    ///
    /// When something was refused, saying what.
    #[track_caller]
    pub fn nothing_was_refused(&self) {
        if self.confined {
            let refused = user::refused(&self.direct());
            assert!(refused.is_empty(), "the user was refused: {refused:#?}");
        }
    }

    /// The port of the cluster bus, of a server that is a node of a cluster.
    pub fn bus_port(&self) -> Option<u16> {
        self.ports.bus
    }

    /// The address as `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// The address as `redis://127.0.0.1:PORT`, or `redis://:PASSWORD@127.0.0.1:PORT` where [`ServerBuilder::password`]
    /// set one, or with the user of `REDLATCH_TEST_USER`.
    pub fn url(&self) -> String {
        if self.confined {
            return user::url(true, self.ports.plain);
        }
        match &self.setup.password {
            Some(password) => format!("redis://:{password}@{}", self.address()),
            None => format!("redis://{}", self.address()),
        }
    }

    /// The port for TLS on 127.0.0.1; a restart keeps it.
    ///
    /// # Panics
    ///
    /// Without [`ServerBuilder::tls`].
    #[track_caller]
    pub fn tls_port(&self) -> u16 {
        self.ports
            .tls
            .expect("the server does not speak TLS; start it with ServerBuilder::tls")
    }

    /// The address for TLS as `rediss://127.0.0.1:PORT`, with the password as in [`Server::url`].
    ///
    /// # Panics
    ///
    /// Without [`ServerBuilder::tls`].
    #[track_caller]
    pub fn tls_url(&self) -> String {
        let port = self.tls_port();
        match &self.setup.password {
            Some(password) => format!("rediss://:{password}@127.0.0.1:{port}"),
            None => format!("rediss://127.0.0.1:{port}"),
        }
    }

    /// The certificates it was given by [`ServerBuilder::tls`].
    pub fn certificates(&self) -> Option<&Certificates> {
        self.setup.certificates.as_ref()
    }

    /// The path of its Unix socket.
    ///
    /// # Panics
    ///
    /// Without [`ServerBuilder::unix_socket`].
    #[track_caller]
    pub fn unix_socket(&self) -> PathBuf {
        let socket = self.setup.socket.clone();
        socket.expect("the server has no Unix socket; start it with ServerBuilder::unix_socket")
    }

    /// The port on which nodes, replicas and sentinels reach this one: the one for TLS where there is one.
    pub(crate) fn link_port(&self) -> u16 {
        self.ports.tls.unwrap_or(self.ports.plain)
    }

    /// Whether a replica or a node tells others this port as its own.
    pub(crate) fn is_known_by(&self, port: u16) -> bool {
        self.ports.plain == port || self.ports.tls == Some(port)
    }

    /// The process id.
    ///
    /// # Panics
    ///
    /// While the server is killed.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.running_pid()
            .expect("the server is killed and has no pid; restart it first")
    }

    /// The password that [`ServerBuilder::password`] set.
    pub fn password(&self) -> Option<&str> {
        self.setup.password.as_deref()
    }

    /// The flavor that was asked for.
    pub fn flavor(&self) -> Flavor {
        self.setup.binary.flavor
    }

    /// The version that the binary states, such as `9.1.2`.
    pub fn version(&self) -> &str {
        &self.setup.binary.version
    }

    /// The binary that was started.
    pub fn binary(&self) -> &ServerBinary {
        &self.setup.binary
    }

    /// The folder that holds the server's log (`server.log`) and, with `appendonly`, its data.
    pub fn folder(&self) -> &std::path::Path {
        &self.setup.folder
    }

    /// A client that looks at this server directly, with the password that [`ServerBuilder::password`] set.
    pub fn direct(&self) -> Direct {
        self.setup.direct(self.ports.plain)
    }

    /// Whether the process runs and was not frozen.
    pub fn is_awake(&self) -> bool {
        let mut state = self.state();
        !state.frozen && state.running.as_mut().is_some_and(Running::is_alive)
    }

    /// Whether the process runs, be it frozen or not.
    pub fn is_running(&self) -> bool {
        self.state().running.as_mut().is_some_and(Running::is_alive)
    }

    /// Stops the process with SIGSTOP: connections stay open and nothing is answered any more.
    #[track_caller]
    pub fn freeze(&self) {
        signal("STOP", self.pid());
        self.state().frozen = true;
    }

    /// Lets a frozen process go on.
    #[track_caller]
    pub fn thaw(&self) {
        signal("CONT", self.pid());
        self.state().frozen = false;
    }

    /// Kills the process with SIGKILL, frozen or not, and waits for its end.
    pub fn kill(&self) {
        let mut state = self.state();
        if let Some(mut running) = state.running.take() {
            state.frozen = false;
            state.guardian.watch(None);
            running.kill();
        }
    }

    /// Starts the server again with the same port, folder and settings, killing it first if it runs.
    ///
    /// Only a server with `appendonly` has its data back. A node of a cluster is a member again, a sentinel knows what
    /// it knew.
    ///
    /// # Panics
    ///
    /// When it does not start again, saying why.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        let mut state = self.state();
        let running = process::restart(&self.setup, self.ports, &mut state.guardian)
            .unwrap_or_else(|error| panic!("the test server did not come back: {error}"));
        state.running = Some(running);
    }

    fn running_pid(&self) -> Option<u32> {
        self.state().running.as_ref().map(Running::pid)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let refused = if self.confined && !std::thread::panicking() {
            user::refused(&self.direct())
        } else {
            Vec::new()
        };
        self.kill();
        let _ = std::fs::remove_dir_all(&self.setup.folder);
        assert!(refused.is_empty(), "the user was refused: {refused:#?}");
    }
}

/// A name that no other test uses, in this process or another: `PREFIX-PID-TIME-COUNT`.
pub fn unique_name(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let time = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_micros());
    format!(
        "{prefix}-{:x}-{time:x}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The flavor that the environment asks for.
fn flavor_wanted() -> Result<Flavor, StartError> {
    match std::env::var(TEST_SERVER) {
        Ok(name) if !name.is_empty() => Flavor::from_str(&name)
            .map_err(|error| StartError::new(format!("{TEST_SERVER}: {error}"))),
        _ => Ok(Flavor::Any),
    }
}

/// The binary of a flavor, looked for once per process.
fn binary(flavor: Flavor) -> Result<ServerBinary, StartError> {
    static FOUND: Mutex<Vec<ServerBinary>> = Mutex::new(Vec::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(binary) = found.iter().find(|binary| binary.flavor == flavor) {
        return Ok(binary.clone());
    }
    let binary = finder::find(flavor)?;
    found.push(binary.clone());
    Ok(binary)
}
