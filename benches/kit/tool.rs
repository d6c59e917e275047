//! `redis-benchmark`: where to find it, and what it says of the two scripts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use redlatch::fred::{prelude::Config, types::config::ServerConfig, util::sha1_hash};
use redlatch_support::{Flavor, Server, finder, unique_name};

use super::{
    CpuTime, Result,
    raw::{ACQUIRE, CHANNEL, OWNERS, RELEASE, TTL_MS},
};

/// Names that it draws from for acquires: so many that a free one is met nearly always.
const FREE_NAMES: u32 = 2_000_000_000;
/// Held names for each release that it sends.
pub(crate) const HELD_PER_RELEASE: u64 = 10;

/// One slice of one contender.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) pairs_per_second: f64,
    /// Processor time of the client, where the system tells.
    pub(crate) cpu_us: Option<f64>,
}

/// `redis-benchmark`, or its twin of Valkey.
pub(crate) struct Tool {
    path: PathBuf,
    library_path: Option<PathBuf>,
}

/// Looks on the PATH, beside the server, beside the packaged Redis 7.0, and at last in that one's package.
pub(crate) fn find_tool(server: Option<&Server>) -> Result<Tool> {
    let names = ["redis-benchmark", "valkey-benchmark"];
    let beside = |folder: &Path, library_path: Option<&PathBuf>| {
        names
            .iter()
            .map(|name| folder.join(name))
            .find(|path| path.is_file())
            .map(|path| Tool {
                path,
                library_path: library_path.cloned(),
            })
            .filter(Tool::runs)
    };
    let on_path = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).find_map(|folder| beside(&folder, None)));
    if let Some(tool) = on_path {
        return Ok(tool);
    }
    let packaged = finder::find(Flavor::Redis70);
    let binaries = [server.map(Server::binary), packaged.as_ref().ok()];
    for binary in binaries.into_iter().flatten() {
        let folder = binary.path.parent().unwrap_or(Path::new("/"));
        if let Some(tool) = beside(folder, binary.library_path.as_ref()) {
            return Ok(tool);
        }
    }
    let binary = packaged.map_err(|error| format!("install redis-tools to have it; {error}"))?;
    let folder = binary.path.parent().ok_or("the server has no folder")?;
    unpack_tool(folder)?;
    beside(folder, binary.library_path.as_ref())
        .ok_or_else(|| "the one in the package redis-tools does not run here".into())
}

/// Gets the package redis-tools and puts its `redis-benchmark` into `folder`.
fn unpack_tool(folder: &Path) -> Result<()> {
    let scratch = folder.join(unique_name("redis-tools"));
    fs::create_dir_all(&scratch)?;
    let script = "apt-get -q download redis-tools && dpkg -x redis-tools*.deb . \
                  && mv usr/bin/redis-benchmark ..";
    let unpacked = Command::new("sh")
        .args(["-c", script])
        .current_dir(&scratch)
        .stdin(Stdio::null())
        .output();
    fs::remove_dir_all(&scratch)?;
    if unpacked?.status.success() {
        Ok(())
    } else {
        Err("install redis-tools to have it; apt-get download redis-tools failed".into())
    }
}

impl Tool {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(folder) = &self.library_path {
            command.env("LD_LIBRARY_PATH", folder);
        }
        command.stdin(Stdio::null());
        command
    }

    fn runs(&self) -> bool {
        self.command()
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    }

    /// Both scripts one after the other; the time of a pair is the sum of both.
    pub(crate) fn measure(
        &self,
        url: &str,
        prefix: &str,
        held: &str,
        clients: usize,
        requests: u64,
    ) -> Result<Figure> {
        let free = format!("{prefix}:{{free}}:__rand_int__");
        let held_name = format!("{held}__rand_int__");
        let announcement = format!("PUBLISH {CHANNEL}:{held_name}");
        let (acquire, release) = (sha1_hash(ACQUIRE), sha1_hash(RELEASE));
        let before = CpuTime::now();
        let acquires = self.requests_per_second(
            url,
            clients,
            requests,
            u64::from(FREE_NAMES),
            &["evalsha", &acquire, "1", &free, TTL_MS, OWNERS[0], "1"],
        )?;
        let releases = self.requests_per_second(
            url,
            clients,
            requests,
            requests * HELD_PER_RELEASE,
            &[
                "evalsha",
                &release,
                "1",
                &held_name,
                OWNERS[0],
                "0",
                TTL_MS,
                &announcement,
            ],
        )?;
        let cpu = before.and_then(|before| Some(CpuTime::now()?.children - before.children));
        Ok(Figure {
            pairs_per_second: 1.0 / (1.0 / acquires + 1.0 / releases),
            cpu_us: cpu.map(|seconds| seconds * 1e6 / requests as f64),
        })
    }

    fn requests_per_second(
        &self,
        url: &str,
        clients: usize,
        requests: u64,
        names: u64,
        words: &[&str],
    ) -> Result<f64> {
        let config = Config::from_url_centralized(url)?;
        let ServerConfig::Centralized { server } = &config.server else {
            return Err("only single servers are measured".into());
        };
        let mut command = self.command();
        command
            .args(["-h", &server.host, "-p", &server.port.to_string()])
            .args(["-c", &clients.to_string(), "-P", "1"])
            .args(["-n", &requests.to_string(), "-r", &names.to_string()])
            .arg("--csv");
        if let Some(password) = &config.password {
            command.args(["-a", password]);
        }
        if let Some(user) = &config.username {
            command.args(["--user", user]);
        }
        let output = command.args(words).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // "test","rps",... and then the same for the only test, with its whole command line as a name.
        text.lines()
            .last()
            .and_then(|line| line.split("\",\"").nth(1)?.parse().ok())
            .ok_or_else(|| {
                let errors = String::from_utf8_lossy(&output.stderr);
                format!("redis-benchmark said: {text}{errors}").into()
            })
    }
}
