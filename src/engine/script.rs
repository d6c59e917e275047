//! Lua scripts: what they are called, where their text is, and how one gets to run on a server that may not know it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::transport::{Fault, Reply, Request, Transport};
use crate::error::Refusal;

/// A script file.
pub(crate) struct Script {
    /// `kind/verb`, as in `src/scripts/kind/verb.lua`.
    pub(crate) name: &'static str,
    /// The text of that file.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "read by the tests of the headers")
    )]
    pub(crate) file: &'static str,
    /// The text the server runs: the file, behind what it shares with others.
    pub(crate) source: &'static str,
    sha: LazyLock<String>,
}

impl Script {
    pub(crate) const fn new(
        name: &'static str,
        file: &'static str,
        source: &'static str,
        sha: fn() -> String,
    ) -> Self {
        Self {
            name,
            file,
            source,
            sha: LazyLock::new(sha),
        }
    }

    /// The SHA-1 by which the server knows the script.
    pub(crate) fn sha(&'static self) -> &'static str {
        &self.sha
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({})", self.name)
    }
}

/// Declares a script by its path below `src/scripts`, and by that of a fragment it builds on where there is one.
macro_rules! script {
    ($name:literal) => {
        script!(@ $name, $crate::engine::script::lua!($name))
    };
    ($name:literal, after $fragment:literal) => {
        script!(@ $name, concat!($crate::engine::script::lua!($fragment), $crate::engine::script::lua!($name)))
    };
    (@ $name:literal, $source:expr) => {{
        const SOURCE: &str = $source;
        $crate::engine::script::Script::new($name, $crate::engine::script::lua!($name), SOURCE, || {
            $crate::engine::transport::fred_transport::sha1(SOURCE)
        })
    }};
}
macro_rules! lua {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/scripts/",
            $name,
            ".lua"
        ))
    };
}
pub(crate) use lua;
pub(crate) use script;

/// Renews, or looks at, the plain hash of many locks.
pub(crate) static RENEW_HASH: Script = script!("renew/hash");
/// The time left of many locks.
pub(crate) static PROBE_TTL: Script = script!("probe/ttl");
/// All fields of one lock.
pub(crate) static INSPECT_HASH: Script = script!("inspect/hash");

/// A script with its keys and arguments.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) script: &'static Script,
    pub(crate) keys: Vec<Bytes>,
    pub(crate) args: Vec<Bytes>,
}

/// A decimal argument.
pub(crate) fn decimal(n: impl Into<u64>) -> Bytes {
    match n.into() {
        0 => Bytes::from_static(b"0"),
        1 => Bytes::from_static(b"1"),
        n => Bytes::from(n.to_string()),
    }
}

/// Runs scripts by digest and loads those the server does not know: once for all callers that found out together.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    loads: Mutex<HashMap<&'static str, Arc<Load>>>,
}

/// How often a script has been loaded. A caller that saw an older figure before its refusal need not load again.
#[derive(Debug, Default)]
struct Load {
    times: Mutex<u64>,
    turn: tokio::sync::Mutex<()>,
}

impl Load {
    fn times(&self) -> u64 {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Times a script is loaded for one call before the refusal is passed on.
const LOAD_ATTEMPTS: usize = 3;

impl Scripts {
    fn load_of(&self, script: &'static Script) -> Arc<Load> {
        self.loads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(script.name)
            .or_default()
            .clone()
    }

    /// Runs `command`. A refusal for an unknown script is the server's word that nothing was executed, so it is cured
    /// here and never seen by a caller.
    pub(crate) async fn run(
        &self,
        transport: &dyn Transport,
        command: Command,
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        let script = command.script;
        let request = request(command);
        let reply = transport.send(request.clone(), deadline).await;
        if !is_unknown_script(&reply) {
            return reply;
        }
        let mut reply = reply;
        for _ in 0..LOAD_ATTEMPTS {
            self.load(transport, script, deadline).await?;
            reply = transport.send(request.clone(), deadline).await;
            if !is_unknown_script(&reply) {
                break;
            }
        }
        reply
    }

    /// Runs `command` as it is, now or not at all: where the script is unknown, it is loaded and `None` is the answer,
    /// so that the caller can make up its mind anew. For commands that must not arrive later than they were made.
    pub(crate) async fn run_now(
        &self,
        transport: &dyn Transport,
        command: Command,
        deadline: Instant,
    ) -> Result<Option<Reply>, Fault> {
        let script = command.script;
        let reply = transport.send(request(command), deadline).await;
        if is_unknown_script(&reply) {
            self.load(transport, script, deadline).await?;
            return Ok(None);
        }
        reply.map(Some)
    }

    /// Loads a script, unless somebody else has done so since the caller found it unknown.
    async fn load(
        &self,
        transport: &dyn Transport,
        script: &'static Script,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let load = self.load_of(script);
        let seen = load.times();
        let _turn = load.turn.lock().await;
        if load.times() == seen {
            let source = script.source;
            transport.send(Request::Load { source }, deadline).await?;
            *load.times.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
        Ok(())
    }
}

fn request(command: Command) -> Request {
    Request::Script {
        sha: command.script.sha(),
        keys: command.keys,
        args: command.args,
    }
}

fn is_unknown_script(reply: &Result<Reply, Fault>) -> bool {
    matches!(
        reply,
        Err(Fault::Refused {
            refusal: Refusal::NoScript,
            ..
        })
    )
}

#[cfg(test)]
mod tests;
