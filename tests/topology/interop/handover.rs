//! Everything is handed over in both directions, on each master, however messages are sent.

use std::time::{Duration, Instant};

use redlatch::{Client, Kind, Lock, Owner, ShardedPubSub};
use redlatch_support::{
    Cluster,
    jvm::{Jvm, JvmSharding, JvmThread, jvm_or_skip},
};

use super::{WAKE_LIMIT, can_shard, jvm_on, ours_on, waits_in_jvm};
use crate::common::{asleep, close, secs, stage, until};

/// Two clients of different kinds on one cluster.
struct Pair<'a> {
    cluster: &'a Cluster,
    jvm: &'a Jvm,
    client: &'a Client,
    /// How often the JVM subscribes to a channel.
    slowest: Duration,
}

impl Pair<'_> {
    fn note(&mut self, what: &str, took: Duration) {
        assert!(took < WAKE_LIMIT, "{what}: {took:?}");
        self.slowest = self.slowest.max(took);
    }

    /// A lock of this kind, which the JVM calls `java`; a waiter listens on `channel` and perhaps its owner id.
    async fn locks<K: Kind>(
        &mut self,
        java: &str,
        master: usize,
        kind: impl Fn(&Client, &str) -> Lock<K>,
    ) {
        let name = self.cluster.name_on(self.cluster.masters()[master], java);
        let stem = match java {
            "read" | "write" => "redisson_rwlock",
            _ => "redisson_lock__channel",
        };
        let owner = Owner::fresh();
        let lock = kind(self.client, &name).with_owner(owner);
        let thread = JvmThread::new(self.jvm);
        let args = [java, &name];

        // The JVM holds, we wait. Beside a reader another may read, so there the JVM writes.
        let holds = if java == "read" { "write" } else { java };
        thread.value("lock", &[holds, &name]).await;
        assert!(lock.try_lock().await.expect("answers").is_none());
        let before = self.client.stats().wakeups_by_message;
        let waiting = tokio::spawn(async move {
            let guard = lock.lock().wait(secs(20)).await;
            (guard, Instant::now())
        });
        asleep(self.client, 1).await;
        let freed = Instant::now();
        thread.value("unlock", &[holds, &name]).await;
        let (guard, granted) = waiting.await.expect("joins");
        let guard = guard.expect("granted");
        assert_eq!(self.client.stats().wakeups_by_message, before + 1, "{java}");
        self.note(java, granted.saturating_duration_since(freed));
        guard.unlock().await.expect("held");

        // We hold, the JVM waits.
        let writing = self.client.read_write_lock(&*name);
        let lock = kind(self.client, &name).with_owner(owner);
        let (guard, writer) = if java == "read" {
            (None, Some(writing.write().await.expect("free")))
        } else {
            (Some(lock.lock().await.expect("free")), None)
        };
        let refused = thread.value("trylock", &args).await;
        assert_eq!(refused, "false", "{java}");
        let mut channel = format!("{stem}:{{{name}}}");
        if java == "fair" {
            channel = format!("{channel}:{}", thread.owner().await);
        }
        let waiting = waits_in_jvm(self.cluster, &thread, "lock", &args, &name, &channel, 1).await;
        let freed = Instant::now();
        if let Some(guard) = guard {
            guard.unlock().await.expect("held");
        }
        if let Some(writer) = writer {
            writer.unlock().await.expect("held");
        }
        let granted = waiting.await.expect("joins");
        self.note(java, granted.saturating_duration_since(freed));
        thread.value("unlock", &args).await;
        let home = self.cluster.direct_for(&name);
        until("it is free", || !home.exists(&name)).await;
    }

    async fn semaphores(&mut self, master: usize) {
        let name = self.cluster.name_on(self.cluster.masters()[master], "sem");
        let semaphore = self.client.semaphore(&*name);
        let thread = JvmThread::new(self.jvm);
        assert_eq!(thread.value("stryset", &[&name, "1"]).await, "true");
        thread.value("sacquire", &[&name, "1"]).await;
        let before = self.client.stats().wakeups_by_message;
        let waits = semaphore.acquire().wait(secs(20));
        let waiting = tokio::spawn(async move { (waits.await, Instant::now()) });
        asleep(self.client, 1).await;
        let freed = Instant::now();
        thread.value("srelease", &[&name, "1"]).await;
        let (permit, granted) = waiting.await.expect("joins");
        let permit = permit.expect("granted");
        assert_eq!(self.client.stats().wakeups_by_message, before + 1);
        self.note("semaphore", granted.saturating_duration_since(freed));

        let channel = format!("redisson_sc:{{{name}}}");
        let args = [&*name, "1"];
        let waiting =
            waits_in_jvm(self.cluster, &thread, "sacquire", &args, &name, &channel, 1).await;
        let freed = Instant::now();
        permit.release().await.expect("taken");
        let granted = waiting.await.expect("joins");
        self.note("semaphore", granted.saturating_duration_since(freed));
        assert_eq!(semaphore.available_permits().await.expect("answers"), 0);
        assert!(semaphore.delete().await.expect("answers"));
    }

    async fn latches(&mut self, master: usize) {
        let name = self
            .cluster
            .name_on(self.cluster.masters()[master], "latch");
        let latch = self.client.count_down_latch(&*name);
        let thread = JvmThread::new(self.jvm);
        assert_eq!(thread.value("ltryset", &[&name, "1"]).await, "true");
        let waits = latch.wait().limit(secs(20));
        let waiting = tokio::spawn(async move { (waits.await, Instant::now()) });
        asleep(self.client, 1).await;
        let freed = Instant::now();
        thread.value("lcountdown", &[&name]).await;
        let (open, when) = waiting.await.expect("joins");
        open.expect("open");
        self.note("latch", when.saturating_duration_since(freed));

        assert!(latch.try_set_count(1).await.expect("answers"));
        let channel = format!("redisson_countdownlatch__channel__{{{name}}}");
        let waiting = waits_in_jvm(
            self.cluster,
            &thread,
            "lawait",
            &[&name],
            &name,
            &channel,
            1,
        )
        .await;
        let freed = Instant::now();
        latch.count_down().await.expect("counted");
        let when = waiting.await.expect("joins");
        self.note("latch", when.saturating_duration_since(freed));
    }
}

async fn everything_is_handed_over(test: &str, theirs: JvmSharding, modes: &[ShardedPubSub]) {
    let Some(driver) = jvm_or_skip(test) else {
        return;
    };
    let cluster = stage().await;
    if theirs == JvmSharding::On && !can_shard(&cluster) {
        println!("skipped: no sharded messages before Redis 7");
        return;
    }
    let jvm = jvm_on(driver, &cluster, theirs);
    for &mode in modes {
        let client = ours_on(&cluster, mode).await;
        let mut pair = Pair {
            cluster: &cluster,
            jvm: &jvm,
            client: &client,
            slowest: Duration::ZERO,
        };
        pair.locks("lock", 0, |client, name| client.lock(name))
            .await;
        pair.locks("fair", 1, |client, name| client.fair_lock(name))
            .await;
        pair.locks("fenced", 2, |client, name| client.fenced_lock(name))
            .await;
        pair.locks("write", 0, |client, name| {
            client.read_write_lock(name).write_lock().clone()
        })
        .await;
        pair.locks("read", 1, |client, name| {
            client.read_write_lock(name).read_lock().clone()
        })
        .await;
        for master in 0..3 {
            pair.semaphores(master).await;
            pair.latches(master).await;
        }
        println!(
            "{theirs:?} there, {mode:?} here: woken in {:?} at most",
            pair.slowest
        );
        close(client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_decide_by_themselves() {
    let (test, modes) = ("both_sides_decide_by_themselves", [ShardedPubSub::Auto]);
    everything_is_handed_over(test, JvmSharding::Auto, &modes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_that_shards_is_heard() {
    let (test, modes) = (
        "a_jvm_that_shards_is_heard",
        [ShardedPubSub::On, ShardedPubSub::Both],
    );
    everything_is_handed_over(test, JvmSharding::On, &modes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_that_does_not_shard_is_heard() {
    let (test, modes) = (
        "a_jvm_that_does_not_shard_is_heard",
        [ShardedPubSub::Off, ShardedPubSub::Both],
    );
    everything_is_handed_over(test, JvmSharding::Off, &modes).await;
}
