//! A queue of waiters of both sides, and what the server says about it.

use std::time::{Duration, Instant};

use redlatch::{Client, Fair, LockGuard, Owner, Result};
use redlatch_support::{Direct, eventually_async, jvm::Jvm};
use tokio::task::JoinHandle;

use crate::{
    common::{LIMIT, secs, wait_for},
    java::{Answer, JavaLock, follow},
    kinds::{Shared, derived},
};

/// No deadline of these tests is further away: what is left of the lock, and what twenty waiters add to each other's.
const MOST: i64 = 30_000 + 20 * 308_000;

/// The queue of a fair lock on the server.
pub(super) struct Queue<'a> {
    pub(super) direct: &'a Direct,
    pub(super) key: &'a str,
}

impl Queue<'_> {
    /// Who waits, head first.
    pub(super) fn members(&self) -> Vec<String> {
        let queue = derived("redisson_lock_queue", self.key);
        let seen = self.direct.cmd(&["LRANGE", &queue, "0", "-1"]);
        seen.accepted().strings()
    }

    /// The deadlines of these members, in milliseconds from now by the server's clock. Nobody else may have one.
    #[track_caller]
    pub(super) fn deadlines(&self, members: &[String]) -> Vec<i64> {
        let deadlines = derived("redisson_lock_timeout", self.key);
        let count = self.direct.cmd(&["ZCARD", &deadlines]).int();
        assert_eq!(
            usize::try_from(count).ok(),
            Some(members.len()),
            "deadlines of {members:?}"
        );
        let time = self.direct.cmd(&["TIME"]).accepted().strings();
        let time: Vec<i64> = time.iter().map(|part| part.parse().expect("a")).collect();
        let now = time[0] * 1000 + time[1] / 1000;
        members
            .iter()
            .map(|member| self.direct.cmd(&["ZSCORE", &deadlines, member]).int() - now)
            .collect()
    }

    /// The queue is exactly this, each member has a deadline in the future, and nobody's is before that of the one in
    /// front, so that nobody is put out in the wrong order.
    #[track_caller]
    pub(super) fn assert_is(&self, members: &[String]) {
        assert_eq!(self.members(), members, "the queue of {:?}", self.key);
        let deadlines = self.deadlines(members);
        let mut before = 0;
        for (place, deadline) in deadlines.iter().enumerate() {
            assert!(
                *deadline > 0 && *deadline <= MOST && *deadline >= before,
                "deadline {place} of {deadlines:?} of {members:?}"
            );
            before = *deadline;
        }
    }

    /// Waits until the queue is exactly this.
    pub(super) async fn becomes(&self, members: &[String]) {
        eventually_async(&format!("the queue {members:?}"), secs(5), async || {
            self.members() == members
        })
        .await;
    }
}

/// A waiter, and how its wait ends.
pub(super) enum Waiter<'a, K: Shared = Fair> {
    Rust(JoinHandle<(Result<LockGuard<K>>, Instant)>),
    Java(JavaLock<'a, K>, JoinHandle<(Answer, Instant)>),
}

/// Where a waiter comes from.
#[derive(Clone, Copy)]
pub(super) enum Side<'a> {
    Rust(&'a Client),
    Java(&'a Jvm),
}

impl Side<'_> {
    /// How many of its tasks sleep before a lock.
    fn sleepers(self) -> usize {
        let Self::Rust(client) = self else {
            return 0;
        };
        let residue = client.residue();
        let (_, count) = residue.split_once("sleepers: ").expect("is said");
        let count: String = count.chars().take_while(char::is_ascii_digit).collect();
        count.parse().expect("a number")
    }
}

/// Somebody who has the lock.
pub(super) enum Holder<'a, K: Shared = Fair> {
    Rust(LockGuard<K>),
    Java(JavaLock<'a, K>),
}

impl<'a, K: Shared> Holder<'a, K> {
    /// Takes the free lock.
    pub(super) async fn take(side: Side<'a>, name: &str) -> Self {
        match side {
            Side::Rust(client) => {
                let lock = K::of(client, name).with_owner(Owner::fresh());
                Self::Rust(lock.lock().await.expect("free"))
            }
            Side::Java(jvm) => {
                let lock = JavaLock::of(jvm, name);
                lock.lock().await;
                Self::Java(lock)
            }
        }
    }

    pub(super) async fn unlock(self) {
        match self {
            Self::Rust(guard) => guard.unlock().await.expect("held"),
            Self::Java(lock) => lock.unlock().await,
        }
    }
}

/// Waiters in the order in which they were queued.
pub(super) struct Line<'a, K: Shared = Fair> {
    pub(super) queue: Queue<'a>,
    pub(super) ids: Vec<String>,
    waiters: Vec<Option<Waiter<'a, K>>>,
}

impl<'a, K: Shared> Line<'a, K> {
    pub(super) fn new(direct: &'a Direct, key: &'a str) -> Self {
        Self {
            queue: Queue { direct, key },
            ids: Vec::new(),
            waiters: Vec::new(),
        }
    }

    /// One more waiter. Comes back when it is the last in the queue and hears of its turn: by its channel, or asleep beside
    /// a holder of its own process.
    pub(super) async fn join(&mut self, side: Side<'a>) {
        let key = self.queue.key;
        let before = side.sleepers();
        match side {
            Side::Rust(client) => {
                let owner = Owner::fresh();
                self.ids.push(format!("{}:{owner}", client.id()));
                let lock = K::of(client, key).with_owner(owner);
                self.waiters.push(Some(Waiter::Rust(wait_for(lock))));
            }
            Side::Java(jvm) => {
                let lock = JavaLock::of(jvm, key);
                self.ids.push(lock.owner().await);
                let waiting = follow(lock.begin("lock", &[]));
                self.waiters.push(Some(Waiter::Java(lock, waiting)));
            }
        }
        let id = self.ids.last().expect("has just come");
        eventually_async("the waiter is last in the queue", secs(5), async || {
            self.queue.members().last() == Some(id)
        })
        .await;
        let channel = K::channel(key, id).expect("fair waiters have one");
        eventually_async("the waiter would hear of its turn", secs(5), async || {
            side.sleepers() > before || self.queue.direct.numsub(&channel) == 1
        })
        .await;
    }

    /// The time until somebody holds the lock; gives who, by number, its hold, and when it was granted.
    pub(super) async fn granted(&mut self, within: Duration) -> (usize, Holder<'a, K>, Instant) {
        let mut number = None;
        let (direct, key) = (self.queue.direct, self.queue.key);
        eventually_async("somebody gets the lock", within, async || {
            let holder = direct.hgetall(key).into_keys().next();
            number = holder.and_then(|id| self.ids.iter().position(|known| *known == id));
            number.is_some()
        })
        .await;
        let number = number.expect("has been found");
        match self.waiters[number].take().expect("granted once") {
            Waiter::Rust(waiting) => {
                let (guard, at) = waiting.await.expect("joins");
                (number, Holder::Rust(guard.expect("holds it")), at)
            }
            Waiter::Java(lock, waiting) => {
                let (reply, at) = waiting.await.expect("joins");
                reply.expect("holds it");
                (number, Holder::Java(lock), at)
            }
        }
    }

    /// Serves everybody in line, from the moment the holder leaves, and looks at the queue in between. Gives the order
    /// of the grants and the time each took.
    pub(super) async fn serve(&mut self, mut holder: Holder<'a, K>) -> (Vec<usize>, Vec<Duration>) {
        let (mut order, mut times) = (Vec::new(), Vec::new());
        let mut left: Vec<usize> = (0..self.ids.len()).collect();
        while !left.is_empty() {
            let released = Instant::now();
            holder.unlock().await;
            let (number, next, at) = self.granted(LIMIT).await;
            times.push(at.saturating_duration_since(released));
            order.push(number);
            left.retain(|other| *other != number);
            let due: Vec<String> = left.iter().map(|at| self.ids[*at].clone()).collect();
            self.queue.assert_is(&due);
            holder = next;
        }
        holder.unlock().await;
        assert!(!self.queue.direct.exists(self.queue.key), "still held");
        self.queue.assert_is(&[]);
        (order, times)
    }
}
