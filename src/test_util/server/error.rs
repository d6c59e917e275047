//! Why there is no server.

use std::{fmt, io, path::PathBuf, time::Duration};

use super::find::VARIABLE;

/// A server for a test could not be started.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StartError {
    /// No server is installed. The text says what to install.
    NotFound,
    /// The binary cannot be run.
    #[non_exhaustive]
    NotRunnable {
        /// The binary.
        binary: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The binary ended instead of serving.
    #[non_exhaustive]
    Ended {
        /// The binary.
        binary: PathBuf,
        /// The last lines it wrote.
        log: String,
    },
    /// The binary runs and does not answer.
    #[non_exhaustive]
    Silent {
        /// The binary.
        binary: PathBuf,
        /// For how long.
        waited: Duration,
        /// The last lines it wrote.
        log: String,
    },
    /// This machine has no free port, no room for a folder, or the like.
    #[non_exhaustive]
    Machine {
        /// What the system says.
        reason: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => write!(
                f,
                "neither valkey-server nor redis-server is on the PATH: install one (apt-get install valkey-server or \
                 redis-server, dnf install valkey, apk add valkey, brew install valkey), or name a binary in {VARIABLE}; \
                 FakeServer needs none"
            ),
            Self::NotRunnable { binary, reason } => write!(
                f,
                "{} cannot be run: {reason}; name another server in {VARIABLE}",
                binary.display()
            ),
            Self::Ended { binary, log } => {
                write!(
                    f,
                    "{} ended instead of serving: {}",
                    binary.display(),
                    log.escape_debug()
                )
            }
            Self::Silent {
                binary,
                waited,
                log,
            } => write!(
                f,
                "{} did not answer within {waited:?}: {}",
                binary.display(),
                log.escape_debug()
            ),
            Self::Machine { reason } => write!(f, "no server can be started here: {reason}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Machine {
            reason: error.to_string(),
        }
    }
}
