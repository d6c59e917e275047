//! What a JVM answers, and when.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// One critical section of a `contend` run; both instants lie inside the time the lock was held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// The JVM thread, `<worker>-<number>`.
    pub thread: String,
    /// Epoch microseconds, read after the lock call returned.
    pub granted_micros: u64,
    /// Epoch microseconds, read before the unlock call.
    pub released_micros: u64,
}

/// The answer to a call that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The result; empty for an operation without one.
    pub value: String,
    /// How long the operation took inside the JVM.
    pub elapsed: Duration,
    /// The critical sections of a `contend` run.
    pub intervals: Vec<Interval>,
    /// The operations of a `record` run, each a line of a [`History`](crate::history::History).
    pub ops: Vec<String>,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JvmError {
    /// Simple name of the Java exception; [`JvmError::GONE`] and [`JvmError::NO_ANSWER`] come from
    /// this side.
    pub class: String,
    /// The exception's message.
    pub message: String,
    /// How long the operation took inside the JVM; zero for the two classes of this side.
    pub elapsed: Duration,
}

impl JvmError {
    /// The process ended before it answered.
    pub const GONE: &'static str = "JvmGone";
    /// No answer within the bound of [`Jvm::call`](super::Jvm::call).
    pub const NO_ANSWER: &'static str = "NoAnswer";

    pub(super) fn local(class: &str, message: impl Into<String>) -> Self {
        Self {
            class: class.to_owned(),
            message: message.into(),
            elapsed: Duration::ZERO,
        }
    }
}

impl fmt::Display for JvmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl std::error::Error for JvmError {}

/// A call under way.
#[derive(Debug)]
pub struct Pending {
    answer: Receiver<Result<Reply, JvmError>>,
    done: Option<Result<Reply, JvmError>>,
}

impl Pending {
    pub(super) fn new(answer: Receiver<Result<Reply, JvmError>>) -> Self {
        Self { answer, done: None }
    }

    /// Waits for the answer that long; `None` means "still running". Can be asked again, also after
    /// the answer.
    pub fn wait(&mut self, limit: Duration) -> Option<Result<Reply, JvmError>> {
        if self.done.is_none() {
            self.done = match self.answer.recv_timeout(limit) {
                Ok(answer) => Some(answer),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    Some(Err(JvmError::local(JvmError::GONE, "no answer")))
                }
            };
        }
        self.done.clone()
    }

    /// Is there an answer by now?
    pub fn is_done(&mut self) -> bool {
        self.wait(Duration::ZERO).is_some()
    }
}
