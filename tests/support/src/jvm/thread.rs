//! One thread of a JVM, for async tests.

use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};

use super::answer::{JvmError, Pending, Reply};
use super::process::Jvm;
use crate::server::unique_name;

/// Past this a JVM call has failed, whatever it waits for.
const LIMIT: Duration = Duration::from_secs(60);

/// What a JVM call came to.
pub type Answer = Result<Reply, JvmError>;

/// A thread of a JVM: what it locks is its own.
#[derive(Debug)]
pub struct JvmThread<'a> {
    jvm: &'a Jvm,
    name: String,
}

impl<'a> JvmThread<'a> {
    /// A new thread.
    pub fn new(jvm: &'a Jvm) -> JvmThread<'a> {
        JvmThread {
            jvm,
            name: unique_name("thread"),
        }
    }

    /// The same thread again.
    pub fn again(&self) -> JvmThread<'a> {
        JvmThread {
            jvm: self.jvm,
            name: self.name.clone(),
        }
    }

    /// Begins an operation.
    pub fn begin(&self, op: &str, args: &[&str]) -> Pending {
        self.jvm.start_call(&self.name, op, args)
    }

    /// Runs an operation without holding up the runtime.
    pub async fn run(&self, op: &str, args: &[&str]) -> Answer {
        answer(self.begin(op, args)).await
    }

    /// Runs an operation that must not fail; gives its result.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub async fn value(&self, op: &str, args: &[&str]) -> String {
        match self.run(op, args).await {
            Ok(reply) => reply.value,
            Err(error) => panic!("{op} {args:?} in the JVM: {error}"),
        }
    }

    /// Interrupts the thread in the middle of what it does.
    pub async fn interrupt(&self) {
        self.value("interrupt", &[&self.name]).await;
    }

    /// The owner id on the server, without what a kind may add to it.
    pub async fn owner(&self) -> String {
        let thread = self.value("threadid", &[]).await;
        format!("{}:{thread}", self.jvm.uuid())
    }
}

/// Waits for a JVM call without holding up the runtime.
///
/// # Panics
///
/// When it does not end.
pub async fn answer(pending: Pending) -> Answer {
    follow(pending).await.expect("joins").0
}

/// Follows a JVM call from now on; gives its answer and when it came.
pub fn follow(mut pending: Pending) -> JoinHandle<(Answer, Instant)> {
    spawn_blocking(move || {
        let reply = pending
            .wait(LIMIT)
            .unwrap_or_else(|| panic!("no answer from the JVM within {LIMIT:?}"));
        (reply, Instant::now())
    })
}
