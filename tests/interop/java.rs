//! Locks in the hands of JVM threads.

use std::{marker::PhantomData, time::Instant};

use redlatch_support::{
    Direct, eventually_async,
    jvm::{Jvm, JvmThread, Pending},
};
use tokio::task::JoinHandle;

use redlatch::Reentrant;

pub(crate) use redlatch_support::jvm::{Answer, answer, follow};

use crate::{
    common::{secs, subscribed},
    kinds::Shared,
};

/// One JVM thread and one lock: what `RLock` is to Java code.
#[derive(Debug)]
pub(crate) struct JavaLock<'a, K = Reentrant> {
    thread: JvmThread<'a>,
    name: String,
    kind: PhantomData<K>,
}

impl<'a> JavaLock<'a> {
    /// A reentrant lock in the hands of a new thread.
    pub(crate) fn new(jvm: &'a Jvm, name: &str) -> Self {
        Self::of(jvm, name)
    }
}

impl<'a, K: Shared> JavaLock<'a, K> {
    /// A lock of this kind in the hands of a new thread.
    pub(crate) fn of(jvm: &'a Jvm, name: &str) -> Self {
        Self {
            thread: JvmThread::new(jvm),
            name: name.to_owned(),
            kind: PhantomData,
        }
    }

    /// A lock of another kind with the same name, in the hands of the same thread.
    pub(crate) fn other<O: Shared>(&self) -> JavaLock<'a, O> {
        JavaLock {
            thread: self.thread.again(),
            name: self.name.clone(),
            kind: PhantomData,
        }
    }

    /// Begins an operation (see `redlatch_support::jvm`) on the lock.
    pub(crate) fn begin(&self, op: &str, more: &[&str]) -> Pending {
        let mut args = vec![K::JAVA, &self.name];
        args.extend(more);
        self.thread.begin(op, &args)
    }

    /// Interrupts the thread in the middle of what it does.
    pub(crate) async fn interrupt(&self) {
        self.thread.interrupt().await;
    }

    /// Runs an operation without holding up the runtime.
    pub(crate) async fn run(&self, op: &str, more: &[&str]) -> Answer {
        answer(self.begin(op, more)).await
    }

    /// Runs an operation that must not fail; gives its result.
    pub(crate) async fn value(&self, op: &str, more: &[&str]) -> String {
        match self.run(op, more).await {
            Ok(reply) => reply.value,
            Err(error) => panic!("{op} {more:?} of {:?} in the JVM: {error}", self.name),
        }
    }

    pub(crate) async fn lock(&self) {
        self.value("lock", &[]).await;
    }

    pub(crate) async fn unlock(&self) {
        self.value("unlock", &[]).await;
    }

    pub(crate) async fn try_lock(&self) -> bool {
        self.truth("trylock").await
    }

    /// A question or attempt that Java answers with a boolean.
    pub(crate) async fn truth(&self, op: &str) -> bool {
        self.value(op, &[]).await == "true"
    }

    /// A question that Java answers with a number.
    pub(crate) async fn number(&self, op: &str) -> i64 {
        let value = self.value(op, &[]).await;
        value
            .parse()
            .unwrap_or_else(|_| panic!("{op} in the JVM gave {value:?}, not a number"))
    }

    /// The owner id on the server, without what a kind may add to it.
    pub(crate) async fn owner(&self) -> String {
        self.thread.owner().await
    }
}

/// Says that the JVM refused because the thread does not hold the lock.
#[track_caller]
pub(crate) fn assert_not_owner(answer: &Answer) {
    match answer {
        Err(error) if error.class == "IllegalMonitorStateException" => {}
        other => panic!("an IllegalMonitorStateException was due, not {other:?}"),
    }
}

/// Waits for the lock in the JVM. Comes back when the thread has asked twice, before and after subscribing, so that
/// from then on only a message, or the end of the lock's own time, lets it in. A waiter that looks by itself has asked
/// a few times by then.
///
/// The count is the server's, so nobody else may use the server meanwhile.
pub(crate) async fn wait_in_jvm<K: Shared>(
    direct: &Direct,
    key: &str,
    lock: &JavaLock<'_, K>,
) -> JoinHandle<(Answer, Instant)> {
    let scripts = || direct.command_calls("evalsha");
    let channel = K::channel(key, &lock.owner().await);
    let before = scripts();
    let waiting = follow(lock.begin("lock", &[]));
    let mut due = 4;
    if let Some(channel) = channel {
        subscribed(direct, &channel, 1).await;
        due = 2;
    }
    eventually_async("the JVM has asked often enough", secs(5), async || {
        scripts() >= before + due
    })
    .await;
    waiting
}
