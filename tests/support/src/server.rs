//! Starts real servers on free loopback ports and makes sure that none outlives the tests.

mod process;
pub(crate) mod user;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::finder::{self, FindError, Flavor, ServerBinary};
use crate::resp::Direct;

use process::{Guardian, Running, signal};

pub use user::TEST_USER;

/// The environment variable that chooses the flavor [`Server::start`] uses.
pub const TEST_SERVER: &str = "REDLATCH_TEST_SERVER";

/// A server of its own for a test.
///
/// It is stopped and its folder removed when this value goes out of scope. Should the test process be killed before
/// that, a small guardian process does the same within moments.
#[derive(Debug)]
pub struct Server {
    binary: ServerBinary,
    arguments: Vec<String>,
    port: u16,
    folder: PathBuf,
    /// Whether tests log in as a user that may do nothing but what the library needs.
    confined: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    running: Option<Running>,
    guardian: Guardian,
}

/// Why a server did not start; the text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    message: String,
}

impl StartError {
    fn new(message: impl Into<String>) -> StartError {
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

/// Says how a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct ServerBuilder {
    flavor: Option<Flavor>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    append_only: bool,
    port: Option<u16>,
}

impl ServerBuilder {
    /// The flavor, instead of the one `REDLATCH_TEST_SERVER` names.
    pub fn flavor(mut self, flavor: Flavor) -> ServerBuilder {
        self.flavor = Some(flavor);
        self
    }

    /// One more word for the server's command line, such as `--maxclients` or `2`.
    pub fn arg(mut self, word: impl Into<String>) -> ServerBuilder {
        self.arguments.push(word.into());
        self
    }

    /// More words for the server's command line.
    pub fn args<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> ServerBuilder {
        self.arguments.extend(words.into_iter().map(Into::into));
        self
    }

    /// One more environment variable of the server.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> ServerBuilder {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Whether every write is on disk before it is answered, so that the data survive a restart.
    pub fn appendonly(mut self, on: bool) -> ServerBuilder {
        self.append_only = on;
        self
    }

    /// The port, instead of a free one.
    pub fn port(mut self, port: u16) -> ServerBuilder {
        self.port = Some(port);
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// When no server is to be had or it does not start, saying why.
    #[track_caller]
    pub fn start(self) -> Server {
        self.try_start()
            .unwrap_or_else(|error| panic!("no test server: {error}"))
    }

    /// Starts the server and waits until it answers.
    pub fn try_start(self) -> Result<Server, StartError> {
        let flavor = match self.flavor {
            Some(flavor) => flavor,
            None => flavor_wanted()?,
        };
        let mut binary = binary(flavor)?;
        binary.environment.extend(self.environment);
        if binary.stand_in && self.append_only {
            return Err(StartError::new(format!(
                "{} keeps no data over a restart; install valkey or redis for this test",
                binary.path.display()
            )));
        }
        let folder = process::new_folder()?;
        let mut arguments = Vec::new();
        if !binary.stand_in {
            let on = if self.append_only { "yes" } else { "no" };
            arguments.extend(["--save", "", "--appendonly", on].map(String::from));
            arguments.extend(["--appendfsync", "always"].map(String::from));
            arguments.extend(["--dir".into(), folder.display().to_string()]);
            if binary.major() >= 7 {
                arguments.extend(["--enable-debug-command", "local"].map(String::from));
            }
        }
        let confined = user::wanted() && !binary.stand_in;
        if confined {
            arguments.extend(user::arguments(&folder)?);
        }
        arguments.extend(self.arguments);
        let mut guardian = Guardian::start(&folder)?;
        let (port, running) = process::start(&binary, &arguments, &folder, self.port)?;
        guardian.watch(Some(running.pid()));
        Ok(Server {
            binary,
            arguments,
            port,
            folder,
            confined,
            state: Mutex::new(State {
                running: Some(running),
                guardian,
            }),
        })
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
        self.port
    }

    /// The address as `redis://127.0.0.1:PORT`, with a user and password where `REDLATCH_TEST_USER` asks for one.
    pub fn url(&self) -> String {
        user::url(self.confined, self.port)
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

    /// The flavor that was asked for.
    pub fn flavor(&self) -> Flavor {
        self.binary.flavor
    }

    /// The version that the binary states, such as `9.1.2`.
    pub fn version(&self) -> &str {
        &self.binary.version
    }

    /// The binary that was started.
    pub fn binary(&self) -> &ServerBinary {
        &self.binary
    }

    /// The folder that holds the server's log (`server.log`) and, with `appendonly`, its data.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// A client that looks at this server directly.
    pub fn direct(&self) -> Direct {
        Direct::new(self.port)
    }

    /// Whether the process runs, be it frozen or not.
    pub fn is_running(&self) -> bool {
        self.state().running.as_mut().is_some_and(Running::is_alive)
    }

    /// Stops the process with SIGSTOP: connections stay open and nothing is answered any more.
    #[track_caller]
    pub fn freeze(&self) {
        signal("STOP", self.pid());
    }

    /// Lets a frozen process go on.
    #[track_caller]
    pub fn thaw(&self) {
        signal("CONT", self.pid());
    }

    /// Kills the process with SIGKILL, frozen or not, and waits for its end.
    pub fn kill(&self) {
        let mut state = self.state();
        if let Some(mut running) = state.running.take() {
            state.guardian.watch(None);
            running.kill();
        }
    }

    /// Starts the server again with the same port, folder and settings, killing it first if it runs.
    ///
    /// Only a server with `appendonly` has its data back.
    ///
    /// # Panics
    ///
    /// When it does not start again, saying why.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        let (_, running) =
            process::start(&self.binary, &self.arguments, &self.folder, Some(self.port))
                .unwrap_or_else(|error| panic!("the test server did not come back: {error}"));
        let mut state = self.state();
        state.guardian.watch(Some(running.pid()));
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
        let _ = std::fs::remove_dir_all(&self.folder);
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
