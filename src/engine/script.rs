//! Lua scripts: what they are called and where their text is.

use std::{fmt, sync::LazyLock};

use bytes::Bytes;

use super::transport::Request;

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
    /// The same for many callers at once: their keys in turn, their arguments in turn, and how many of each one has.
    pub(crate) gathered: Option<&'static Script>,
}

impl Script {
    pub(crate) const fn new(
        name: &'static str,
        file: &'static str,
        source: &'static str,
        sha: fn() -> String,
        gathered: Option<&'static Self>,
    ) -> Self {
        Self {
            name,
            file,
            source,
            sha: LazyLock::new(sha),
            gathered,
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

/// Declares a script by its path below `src/scripts`, and by those of the fragments it builds on, if any; `gathered`, where
/// it is to run for many callers at once as well.
macro_rules! script {
    ($name:literal $(, after $($fragment:literal),+)?) => {
        script!(@ $name, $crate::engine::script::lua!($name), None,
            concat!($($($crate::engine::script::lua!($fragment),)+)? $crate::engine::script::lua!($name)))
    };
    (gathered $name:literal $(, after $($fragment:literal),+)?) => {{
        static GATHERED: $crate::engine::script::Script = script!(@ concat!($name, " for each of many"),
            $crate::engine::script::lua!("gather/each"), None,
            concat!($($($crate::engine::script::lua!($fragment),)+)?
                "local function run(KEYS, ARGV)\n", $crate::engine::script::lua!($name), "end\n",
                $crate::engine::script::lua!("gather/each")));
        script!(@ $name, $crate::engine::script::lua!($name), Some(&GATHERED),
            concat!($($($crate::engine::script::lua!($fragment),)+)? $crate::engine::script::lua!($name)))
    }};
    (@ $name:expr, $file:expr, $gathered:expr, $source:expr) => {{
        const SOURCE: &str = $source;
        let sha = || $crate::engine::transport::sha1(SOURCE);
        $crate::engine::script::Script::new($name, $file, SOURCE, sha, $gathered)
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

impl Command {
    /// The command on its way to a server: see [`Request::Script`].
    pub(super) fn request(self, late: bool) -> Request {
        Request::Script {
            script: self.script,
            keys: self.keys,
            args: self.args,
            late,
        }
    }
}

/// A decimal argument.
pub(crate) fn decimal(n: impl Into<u64>) -> Bytes {
    match n.into() {
        0 => Bytes::from_static(b"0"),
        1 => Bytes::from_static(b"1"),
        n => Bytes::from(n.to_string()),
    }
}

#[cfg(test)]
mod tests;
