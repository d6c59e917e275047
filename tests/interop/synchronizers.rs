//! Semaphores and latches in the hands of JVM threads.

use std::time::{Duration, Instant};

use redlatch::{Client, Result};
use redlatch_support::{
    Direct, eventually_async,
    jvm::{Jvm, JvmError},
    unique_name,
};
use tokio::task::JoinHandle;

use crate::{
    common::{LIMIT, WAKE_LIMIT, secs},
    java::{Answer, answer, follow},
};

/// One JVM thread and one synchronizer.
pub(crate) struct Java<'a> {
    jvm: &'a Jvm,
    worker: String,
    subject: Vec<String>,
}

impl<'a> Java<'a> {
    /// A synchronizer in the hands of a new thread.
    pub(crate) fn new(jvm: &'a Jvm, name: &str) -> Self {
        Self {
            jvm,
            worker: unique_name("thread"),
            subject: vec![name.to_owned()],
        }
    }

    /// A lock of a kind that is named to the driver by its parts, in the hands of a new thread.
    pub(crate) fn set(jvm: &'a Jvm, kind: &str, parts: &[&str]) -> Self {
        Self {
            jvm,
            worker: unique_name("thread"),
            subject: vec![kind.to_owned(), parts.join("\n")],
        }
    }

    /// The owner id on the first server.
    pub(crate) async fn owner(&self) -> String {
        let thread = self.jvm.start_call(&self.worker, "threadid", &[]);
        let thread = answer(thread).await.expect("a thread has an id").value;
        format!("{}:{thread}", self.jvm.uuid())
    }

    /// Begins an operation.
    pub(crate) fn begin(&self, op: &str, more: &[&str]) -> redlatch_support::jvm::Pending {
        let mut args: Vec<&str> = self.subject.iter().map(String::as_str).collect();
        args.extend(more);
        self.jvm.start_call(&self.worker, op, &args)
    }

    /// Runs an operation (see `redlatch_support::jvm`).
    pub(crate) async fn run(&self, op: &str, more: &[&str]) -> Answer {
        answer(self.begin(op, more)).await
    }

    /// Its result, as text.
    pub(crate) async fn value(&self, op: &str, more: &[&str]) -> String {
        match self.run(op, more).await {
            Ok(reply) => reply.value,
            Err(error) => panic!("{op} {more:?} of {:?} in the JVM: {error}", self.subject),
        }
    }

    /// Its result, as a boolean.
    pub(crate) async fn truth(&self, op: &str, more: &[&str]) -> bool {
        self.value(op, more).await == "true"
    }

    /// Its result, as a number.
    pub(crate) async fn number(&self, op: &str, more: &[&str]) -> i64 {
        let value = self.value(op, more).await;
        value
            .parse()
            .unwrap_or_else(|_| panic!("{op} in the JVM gave {value:?}, not a number"))
    }

    /// How it failed.
    pub(crate) async fn failure(&self, op: &str, more: &[&str]) -> JvmError {
        match self.run(op, more).await {
            Ok(reply) => panic!("{op} {more:?} gave {:?}", reply.value),
            Err(error) => error,
        }
    }

    /// Begins to wait. Comes back when the thread has asked twice with this command, before and after subscribing, so that
    /// only a message lets it in. The count is the server's, so nobody else may use the server meanwhile.
    pub(crate) async fn waits(
        &self,
        direct: &Direct,
        channel: &str,
        command: &str,
        op: &str,
        more: &[&str],
    ) -> JoinHandle<(Answer, Instant)> {
        let before = direct.command_calls(command);
        let waiting = follow(self.begin(op, more));
        eventually_async("the JVM has subscribed", secs(5), async || {
            direct.numsub(channel) == 1
        })
        .await;
        eventually_async("the JVM has asked twice", secs(5), async || {
            direct.command_calls(command) >= before + 2
        })
        .await;
        waiting
    }
}

/// The channel of a semaphore, worked out apart from the crate.
pub(crate) fn semaphore_channel(key: &str) -> String {
    if key.contains('{') {
        format!("redisson_sc:{key}")
    } else {
        format!("redisson_sc:{{{key}}}")
    }
}

/// The number in a key.
pub(crate) fn counter(direct: &Direct, key: &str) -> Option<String> {
    let value = direct.cmd(&["GET", key]).accepted();
    (!value.is_nil()).then(|| value.text())
}

/// Waits in a task of its own; gives what came, and when.
pub(crate) fn wait_here<T: Send + 'static>(
    waiting: impl IntoFuture<Output = Result<T>, IntoFuture: Send + 'static>,
) -> JoinHandle<(Result<T>, Instant)> {
    let waiting = waiting.into_future();
    tokio::spawn(async move { (waiting.await, Instant::now()) })
}

/// Our waiter was served, by a message and in time.
pub(crate) async fn served_here<T>(
    client: &Client,
    waiting: JoinHandle<(Result<T>, Instant)>,
    since: Instant,
    messages_before: u64,
) -> (T, Duration) {
    let (got, when) = waiting.await.expect("joins");
    let took = when.saturating_duration_since(since);
    let stats = client.stats();
    assert!(took < WAKE_LIMIT, "in only after {took:?}: {stats:?}");
    assert!(stats.wakeups_by_message > messages_before, "{stats:?}");
    assert_eq!(stats.wakeups_by_poll, 0, "{stats:?}");
    (got.expect("served"), took)
}

/// The JVM's waiter was served, in time.
pub(crate) async fn served_there(
    waiting: JoinHandle<(Answer, Instant)>,
    since: Instant,
) -> (String, Duration) {
    let (reply, when) = waiting.await.expect("joins");
    let took = when.saturating_duration_since(since);
    assert!(took < WAKE_LIMIT, "the JVM was in only after {took:?}");
    (reply.expect("served").value, took)
}

/// Whether nobody is subscribed any more.
pub(crate) async fn unsubscribed(direct: &Direct, channel: &str) {
    eventually_async("no subscription is left", LIMIT, async || {
        direct.numsub(channel) == 0
    })
    .await;
}
