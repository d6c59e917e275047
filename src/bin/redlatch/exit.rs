//! How the command ends.

use std::{fmt, process::ExitCode};

use redlatch::Error;

/// The words of the help about it.
pub(crate) const TABLE: &str = "\
Exit codes:
  0        done; `doctor` has found nothing
  1, 2     `doctor` has found something to look at (1) or a problem (2)
  3        `show`: there is nothing of this name; `unlock`: nobody held it
  64       the command line makes no sense, or the name is that of something else
  69       the server cannot be reached, or refuses
  75       `run`: the lock was busy for as long as --wait says; the program was not started
  79       `run`: the lock was lost, and the program was stopped
  126, 127 `run`: the program cannot be run, or is not there
  128+n    `run`: the program was ended by signal n
  any      `run`: what the program ended with";

/// Why the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Done,
    LooksOdd,
    Problem,
    Nothing,
    Usage,
    Server,
    #[cfg(unix)]
    Busy,
    #[cfg(unix)]
    Lost,
    /// As another program ended.
    Other(u8),
}

impl Code {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::LooksOdd => 1,
            Self::Problem => 2,
            Self::Nothing => 3,
            Self::Usage => 64,
            Self::Server => 69,
            #[cfg(unix)]
            Self::Busy => 75,
            #[cfg(unix)]
            Self::Lost => 79,
            Self::Other(number) => number,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        code.number().into()
    }
}

/// What went wrong, and how the command ends for it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(Code::Server, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::InvalidArgument { .. } | Error::WrongType { .. } | Error::CrossSlot { .. } => {
                Code::Usage
            }
            _ => Code::Server,
        };
        Self::new(code, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
