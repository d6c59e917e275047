//! One handover in each direction, with all there is to check about it; used by many tests.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use redlatch::Client;
use redlatch_support::{Direct, jvm::Jvm};

use crate::{
    common::{WAKE_LIMIT, asleep, channel, subscribers, wait_for},
    java::{JavaLock, wait_in_jvm},
};

/// A lock and those who meet there. Nobody else may use the server meanwhile: what runs there is counted.
pub(crate) struct Place<'a> {
    pub(crate) jvm: &'a Jvm,
    pub(crate) client: &'a Client,
    pub(crate) direct: &'a Direct,
    /// What both applications call it.
    pub(crate) name: &'a str,
    /// What the server calls it.
    pub(crate) key: &'a str,
}

impl<'a> Place<'a> {
    /// A lock with the same name everywhere.
    pub(crate) fn new(jvm: &'a Jvm, client: &'a Client, direct: &'a Direct, name: &'a str) -> Self {
        Self {
            jvm,
            client,
            direct,
            name,
            key: name,
        }
    }

    fn assert_held_by(&self, owner: &str) {
        let seen = self.direct.hgetall(self.key);
        let due = BTreeMap::from([(owner.to_owned(), "1".to_owned())]);
        assert_eq!(seen, due, "the hash of {:?}", self.key);
    }

    fn assert_channel_known(&self) {
        let channel = channel(self.key);
        let seen = self
            .direct
            .cmd(&["PUBSUB", "CHANNELS"])
            .accepted()
            .strings();
        assert!(
            seen.contains(&channel),
            "{channel:?} is not among the channels {seen:?}"
        );
    }

    async fn assert_free(&self) {
        assert!(
            !self.direct.exists(self.key),
            "{:?} is still there: {:?}",
            self.key,
            self.direct.hgetall(self.key)
        );
        subscribers(self.direct, self.key, 0).await;
    }

    /// The JVM holds, Rust is refused, waits, and is woken. Gives the time from the unlock to the grant.
    pub(crate) async fn jvm_to_rust(&self) -> Duration {
        let holder = JavaLock::new(self.jvm, self.name);
        let lock = self.client.lock(self.name);
        holder.lock().await;
        self.assert_held_by(&holder.owner().await);
        let refused = lock.try_lock().await.expect("answers");
        assert!(refused.is_none(), "granted {refused:?} beside the JVM");

        let woken_before = self.client.stats().wakeups_by_message;
        let waiter = wait_for(lock);
        subscribers(self.direct, self.key, 1).await;
        self.assert_channel_known();
        asleep(self.client).await;
        let released = Instant::now();
        holder.unlock().await;
        let (guard, granted) = waiter.await.expect("joins");
        let guard = guard.expect("granted after the unlock");
        let took = granted.saturating_duration_since(released);
        let stats = self.client.stats();
        assert!(
            took < WAKE_LIMIT,
            "in only {took:?} after the JVM's unlock; {stats:?}"
        );
        assert_eq!(
            stats.wakeups_by_message,
            woken_before + 1,
            "a message wakes the one waiter: {stats:?}"
        );
        self.assert_held_by(&guard.owner_id());
        guard.unlock().await.expect("held");
        self.assert_free().await;
        took
    }

    /// Rust holds, the JVM is refused, waits, and is woken. Gives the time from the unlock to the grant.
    pub(crate) async fn rust_to_jvm(&self) -> Duration {
        let guard = self.client.lock(self.name).lock().await.expect("free");
        self.assert_held_by(&guard.owner_id());
        let waiter = JavaLock::new(self.jvm, self.name);
        assert!(!waiter.try_lock().await, "the JVM got in beside {guard:?}");

        let waiting = wait_in_jvm(self.direct, self.key, &waiter).await;
        self.assert_channel_known();
        let released = Instant::now();
        guard.unlock().await.expect("held");
        let (reply, granted) = waiting.await.expect("joins");
        reply.expect("granted after the unlock");
        let took = granted.saturating_duration_since(released);
        assert!(
            took < WAKE_LIMIT,
            "the JVM was in only {took:?} after our unlock"
        );
        self.assert_held_by(&waiter.owner().await);
        waiter.unlock().await;
        self.assert_free().await;
        took
    }
}
