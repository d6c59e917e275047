//! What the benchmarks share: a server, a raw client, figures.

// Each benchmark is built with all of it, and uses a part.
#![allow(dead_code)]

use std::{
    error::Error,
    fs,
    process::{self, ExitCode},
};

use redlatch::fred::{
    prelude::{Builder, Client as Fred, ClientLike, Config, LuaInterface},
    types::RespVersion,
};
use redlatch_support::Server;

pub(crate) mod machine;
pub(crate) mod raw;
pub(crate) mod tool;

pub(crate) type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Clock ticks a second in `/proc/PID/stat`; the same on every Linux.
const TICKS: f64 = 100.0;

/// A server of our own, or the one that `REDIS_URL` names, and its address.
pub(crate) fn server() -> Result<(Option<Server>, String)> {
    if let Ok(url) = std::env::var("REDIS_URL") {
        return Ok((None, url));
    }
    let server = Server::builder().try_start()?;
    let url = server.url();
    Ok((Some(server), url))
}

/// Which server it is.
pub(crate) fn who(server: Option<&Server>) -> String {
    server.map_or_else(
        || "the server of REDIS_URL".to_owned(),
        |server| format!("{} {}", server.binary().path.display(), server.version()),
    )
}

/// How a benchmark ends.
pub(crate) fn exit_code(name: &str, outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The middle and the ends.
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: *sorted.get(sorted.len() / 2)?,
            lowest: *sorted.first()?,
            highest: *sorted.last()?,
        })
    }
}

/// Jain's index: 1 where all had it equally often, 1/n where one of n had it always.
pub(crate) fn jain(had: impl Iterator<Item = u64>) -> f64 {
    let (mut tasks, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for had in had.map(|had| had as f64) {
        tasks += 1.0;
        sum += had;
        squares += had * had;
    }
    if squares > 0.0 {
        sum * sum / (tasks * squares)
    } else {
        0.0
    }
}

/// The figure below which this share of them lies.
pub(crate) fn at_share(mut figures: Vec<u64>, share: f64) -> f64 {
    figures.sort_unstable();
    let last = figures.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    figures.get(at).map_or(0.0, |figure| *figure as f64)
}

/// A client set up as redlatch sets up its own, with these scripts loaded.
pub(crate) async fn raw_client(url: &str, scripts: &[&str]) -> Result<Fred> {
    let mut config = Config::from_url_centralized(url)?;
    config.version = RespVersion::RESP3;
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| {
        connection.max_command_attempts = 1;
        connection.tcp.nodelay = Some(true);
    });
    let client = builder.build()?;
    client.init().await?;
    for script in scripts {
        client.script_load::<(), _>(*script).await?;
    }
    Ok(client)
}

/// Seconds of processor time.
pub(crate) struct CpuTime {
    pub(crate) own: f64,
    /// Of child processes that have ended.
    pub(crate) children: f64,
}

impl CpuTime {
    pub(crate) fn now() -> Option<Self> {
        Self::of(process::id())
    }

    /// What another process has had so far.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything; the 14th to 17th field come after it.
        let (_, fields) = stat.rsplit_once(") ")?;
        let ticks: Vec<f64> = fields
            .split(' ')
            .skip(11)
            .take(4)
            .map_while(|field| field.parse().ok())
            .collect();
        match ticks[..] {
            [user, system, child_user, child_system] => Some(Self {
                own: (user + system) / TICKS,
                children: (child_user + child_system) / TICKS,
            }),
            _ => None,
        }
    }
}
