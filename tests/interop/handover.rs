//! One handover in each direction, with all there is to check about it; used by many tests.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    time::{Duration, Instant},
};

use redlatch::{Client, Owner, Reentrant};
use redlatch_support::{Direct, eventually_async, jvm::Jvm};

use crate::{
    common::{WAKE_LIMIT, asleep, secs, subscribed, wait_for},
    java::{JavaLock, wait_in_jvm},
    kinds::{Shared, derived},
};

/// A lock and those who meet there: who holds it has it as an `H`, who waits for it as a `W`. Nobody else may use the
/// server meanwhile: what runs there is counted.
pub(crate) struct Place<'a, H = Reentrant, W = H> {
    pub(crate) jvm: &'a Jvm,
    pub(crate) client: &'a Client,
    pub(crate) direct: &'a Direct,
    /// What both applications call it.
    pub(crate) name: &'a str,
    /// What the server calls it.
    pub(crate) key: &'a str,
    pub(crate) kinds: PhantomData<(H, W)>,
}

impl<'a> Place<'a> {
    /// A reentrant lock with the same name everywhere.
    pub(crate) fn new(jvm: &'a Jvm, client: &'a Client, direct: &'a Direct, name: &'a str) -> Self {
        Self::of(jvm, client, direct, name)
    }
}

impl<'a, H: Shared, W: Shared> Place<'a, H, W> {
    /// A lock with the same name everywhere.
    pub(crate) fn of(jvm: &'a Jvm, client: &'a Client, direct: &'a Direct, name: &'a str) -> Self {
        Self {
            jvm,
            client,
            direct,
            name,
            key: name,
            kinds: PhantomData,
        }
    }

    #[track_caller]
    fn assert_hash(&self, due: &BTreeMap<String, String>) {
        let seen = self.direct.hgetall(self.key);
        assert_eq!(&seen, due, "the hash of {:?}", self.key);
    }

    /// The waiter is subscribed, if its kind is, and has its place in the queue, if its kind has one.
    #[track_caller]
    fn assert_waits(&self, owner: &str) {
        if let Some(channel) = W::channel(self.key, owner) {
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
        if W::QUEUES {
            let queue = derived("redisson_lock_queue", self.key);
            let queue = self.direct.cmd(&["LRANGE", &queue, "0", "-1"]);
            assert_eq!(queue.strings(), [owner], "the queue of {:?}", self.key);
        }
    }

    /// Nothing is left of it, apart from the fencing counter, which stays.
    async fn assert_free(&self, owner: &str) {
        assert!(
            !self.direct.exists(self.key),
            "{:?} is still there: {:?}",
            self.key,
            self.direct.hgetall(self.key)
        );
        if let Some(channel) = W::channel(self.key, owner) {
            subscribed(self.direct, &channel, 0).await;
        }
        let counter = derived("redisson_lock_token", self.key);
        let pattern = self.pattern();
        // The JVM removes what guards its unlock without waiting for it.
        eventually_async("nothing left on the server", secs(5), async || {
            let left = self.direct.cmd(&["KEYS", &pattern]).accepted().strings();
            left.iter().all(|key| *key == counter)
        })
        .await;
    }

    /// Matches every key with the lock's name in it, whatever is in that.
    fn pattern(&self) -> String {
        let mut pattern = String::from("*");
        for letter in self.key.chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern + "*"
    }

    /// The JVM holds, Rust is refused, waits, and is woken. Gives the time from the unlock to the grant.
    pub(crate) async fn jvm_to_rust(&self) -> Duration {
        let holder = JavaLock::<H>::of(self.jvm, self.name);
        let owner = Owner::fresh();
        let id = format!("{}:{owner}", self.client.id());
        let lock = W::of(self.client, self.name).with_owner(owner);
        holder.lock().await;
        let held = H::hash(&holder.owner().await);
        self.assert_hash(&held);
        let refused = lock.try_lock().await.expect("answers");
        assert!(refused.is_none(), "granted {refused:?} beside the JVM");
        self.assert_hash(&held);

        let (channel, before) = (W::channel(self.key, &id), self.client.stats());
        let waiter = wait_for(lock);
        match &channel {
            Some(channel) => {
                subscribed(self.direct, channel, 1).await;
                asleep(self.client).await;
            }
            None => {
                eventually_async("our waiter has looked a few times", secs(5), async || {
                    self.client.stats().attempts >= before.attempts + 4
                })
                .await;
            }
        }
        self.assert_waits(&id);
        self.assert_hash(&held);
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
        if channel.is_some() {
            assert_eq!(
                stats.wakeups_by_message,
                before.wakeups_by_message + 1,
                "a message wakes the one waiter: {stats:?}"
            );
        }
        assert_eq!(guard.owner_id(), W::field(&id));
        self.assert_hash(&W::hash(&id));
        guard.unlock().await.expect("held");
        self.assert_free(&id).await;
        took
    }

    /// Rust holds, the JVM is refused, waits, and is woken. Gives the time from the unlock to the grant.
    pub(crate) async fn rust_to_jvm(&self) -> Duration {
        let owner = Owner::fresh();
        let lock = H::of(self.client, self.name).with_owner(owner);
        let guard = lock.lock().await.expect("free");
        let held = H::hash(&format!("{}:{owner}", self.client.id()));
        self.assert_hash(&held);
        let waiter = JavaLock::<W>::of(self.jvm, self.name);
        let id = waiter.owner().await;
        assert!(!waiter.try_lock().await, "the JVM got in beside {guard:?}");
        self.assert_hash(&held);

        let waiting = wait_in_jvm(self.direct, self.key, &waiter).await;
        self.assert_waits(&id);
        self.assert_hash(&held);
        let released = Instant::now();
        guard.unlock().await.expect("held");
        let (reply, granted) = waiting.await.expect("joins");
        reply.expect("granted after the unlock");
        let took = granted.saturating_duration_since(released);
        assert!(
            took < WAKE_LIMIT,
            "the JVM was in only {took:?} after our unlock"
        );
        self.assert_hash(&W::hash(&id));
        waiter.unlock().await;
        self.assert_free(&id).await;
        took
    }
}
