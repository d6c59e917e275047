//! Who takes part, and how it is started.

use std::{
    cell::OnceCell,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use redlatch_support::jvm;

use crate::{
    kit::{Result, tool::find_tool},
    order::Kind,
    workload::{Pairs, Shape, Workload},
};

const CARGO_LOCK: &str = include_str!("../../../Cargo.lock");
const GO_MOD: &str = include_str!("../go/go.mod");
const DRIVER_POM: &str = include_str!("../../../tests/interop/driver/pom.xml");

pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: Program,
    pub(crate) does: Does,
    /// Whether it takes part in a quick run.
    pub(crate) quick: bool,
    /// For the reader of the table.
    pub(crate) note: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    /// This one, again.
    Own,
    RedisBenchmark,
    Jvm,
    Go,
}

/// What a participant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// All that is measured.
    All,
    /// A string with a time to live that its holder renews: less work in the server.
    RenewedString,
    /// A string with a time to live, and no more.
    String,
    /// Equal scripts without a lock around them.
    Limit,
    /// The same, of tasks that do not meet only.
    OwnKeysLimit,
}

pub(crate) const LIMIT: &str = "fred";
pub(crate) const TOOL: &str = "redis-benchmark";

pub(crate) const PEERS: [Peer; 8] = [
    Peer {
        name: "redlatch",
        program: Program::Own,
        does: Does::All,
        quick: true,
        note: "default settings",
    },
    Peer {
        name: "redisson",
        program: Program::Jvm,
        does: Does::All,
        quick: true,
        note: "Redisson with default settings, a JVM with default settings; a thread a task, `lockAsync` for held and waited-for names",
    },
    Peer {
        name: "redisson-tuned",
        program: Program::Jvm,
        does: Does::All,
        quick: false,
        note: "the same with 5,000 channels a connection, 4 threads and 2 of netty",
    },
    Peer {
        name: "rslock",
        program: Program::Own,
        does: Does::String,
        quick: true,
        note: "Redlock with one server; default settings (asks again after up to 200 ms), `acquire_no_guard`",
    },
    Peer {
        name: "redsync",
        program: Program::Go,
        does: Does::String,
        quick: true,
        note: "Redlock with one server, over go-redis; default delay between tries (50 to 250 ms), tries without end",
    },
    Peer {
        name: "rueidislock",
        program: Program::Go,
        does: Does::RenewedString,
        quick: true,
        note: "`KeyMajority: 1`, `NoLoopTracking: true` as its README advises; woken by client-side caching",
    },
    Peer {
        name: LIMIT,
        program: Program::Own,
        does: Does::Limit,
        quick: true,
        note: "the limit: raw fred with the scripts of redlatch, by callers who know that the name is free; one key: one script \
               after the other that hands it on; read/write: a key for each; waiters: as many releases and acquires",
    },
    Peer {
        name: TOOL,
        program: Program::RedisBenchmark,
        does: Does::OwnKeysLimit,
        quick: true,
        note: "the same scripts, sent by redis-benchmark with a connection a task",
    },
];

impl Peer {
    /// Its name, with a mark where it does less than the others.
    pub(crate) fn title(&self) -> String {
        match self.does {
            Does::String | Does::RenewedString => format!("{}!", self.name),
            _ => self.name.to_owned(),
        }
    }

    pub(crate) fn is_limit(&self) -> bool {
        matches!(self.does, Does::Limit | Does::OwnKeysLimit)
    }

    /// Whether it can do it at all.
    pub(crate) fn supports(&self, workload: &Workload) -> bool {
        match (self.does, &workload.shape) {
            (Does::All | Does::Limit, _) => true,
            (Does::OwnKeysLimit, Shape::Pairs(pairs)) => !pairs.shared && pairs.depth == 1,
            (Does::OwnKeysLimit, _) => false,
            (_, Shape::Pairs(pairs)) => pairs.kind == Kind::Plain && pairs.depth == 1,
            (_, Shape::Waiters) => true,
            (does, Shape::Holds) => does == Does::RenewedString,
        }
    }

    /// In how many processes.
    pub(crate) fn processes(&self, pairs: &Pairs, most: u64) -> u64 {
        if self.is_limit() {
            1
        } else {
            pairs.processes.min(most)
        }
    }

    /// The version that is measured.
    pub(crate) fn version(&self) -> String {
        let of_crate = |name: &str| {
            let entry = format!("name = \"{name}\"\nversion = \"");
            CARGO_LOCK.split_once(&entry).map(|(_, rest)| rest)
        };
        let of_module = |name: &str| {
            GO_MOD
                .split_once(&format!("{name} v"))
                .map(|(_, rest)| rest)
        };
        let found = match (self.program, self.name) {
            (Program::Jvm, _) => DRIVER_POM
                .split_once("<redisson.version>")
                .map(|(_, rest)| rest),
            (_, "redsync") => of_module("github.com/go-redsync/redsync/v4"),
            (_, "rueidislock") => of_module("github.com/redis/rueidis"),
            (Program::RedisBenchmark, _) => None,
            (_, name) => of_crate(name),
        };
        let version = found.and_then(|rest| rest.split(['"', '<', '\n', ' ']).next());
        version.unwrap_or("").to_owned()
    }
}

/// What must be built, or found, before a participant can start; once each.
#[derive(Default)]
pub(crate) struct Programs {
    go: OnceCell<Result<PathBuf, String>>,
    tool: OnceCell<Result<(), String>>,
}

impl Programs {
    /// An error says what is missing.
    pub(crate) fn prepare(&self, peer: &Peer) -> Result<(), String> {
        match peer.program {
            Program::Own => Ok(()),
            Program::RedisBenchmark => self
                .tool
                .get_or_init(|| {
                    find_tool(None)
                        .map(|_| ())
                        .map_err(|error| error.to_string())
                })
                .clone(),
            Program::Jvm => jvm::driver().map(|_| ()),
            Program::Go => self.go().map(|_| ()),
        }
    }

    pub(crate) fn command(
        &self,
        peer: &Peer,
        address: &str,
        watchdog: Duration,
    ) -> Result<Command> {
        let watchdog = watchdog.as_millis().to_string();
        let mut command = match peer.program {
            Program::Own | Program::RedisBenchmark => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("--participant");
                command
            }
            Program::Jvm => jvm::driver()?.command("redlatch.driver.peer.Main"),
            Program::Go => Command::new(self.go()?),
        };
        command.args([peer.name, "--address", address, "--watchdog", &watchdog]);
        Ok(command)
    }

    fn go(&self) -> Result<PathBuf, String> {
        self.go.get_or_init(build_go).clone()
    }
}

/// Builds the Go participants as `go.sum` says it.
fn build_go() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("../../target/peers");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let folder = folder.canonicalize().map_err(|error| error.to_string())?;
    let program = folder.join("go-peers");
    let built = Command::new("go")
        .args(["build", "-mod=readonly", "-o"])
        .arg(&program)
        .current_dir(root.join("go"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("no go found: {error}"))?;
    if built.status.success() {
        Ok(program)
    } else {
        let said = String::from_utf8_lossy(&built.stderr);
        Err(format!("go build failed: {}", said.trim()))
    }
}
