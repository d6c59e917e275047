//! Semaphores, latches, read/write locks and sets of locks: on every master, and while slots move.

use std::time::Instant;

use redlatch::{Client, LockGuard, MultiLock, Owner, Read};
use redlatch_support::{Cluster, slot_of};
use tokio::{task::JoinHandle, time::timeout};

use crate::common::{
    asleep, client_with, close, far_sighted, ms, other_than, secs, stage, stage_with,
};

/// Two clients and a name on each master.
async fn each_master() -> (Client, Client, Vec<String>) {
    let cluster = Cluster::shared();
    let names = cluster
        .masters()
        .into_iter()
        .map(|master| cluster.name_on(master, "object"))
        .collect();
    (
        far_sighted(cluster).await,
        far_sighted(cluster).await,
        names,
    )
}

fn timed<T: Send + 'static>(
    waits: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<(T, Instant)> {
    tokio::spawn(async move { (waits.await, Instant::now()) })
}

/// What came of a wait that a message ended.
async fn woken<T>(
    waiting: JoinHandle<(T, Instant)>,
    freed: Instant,
    client: &Client,
    before: u64,
) -> T {
    let (outcome, when) = waiting.await.expect("joins");
    let took = when.saturating_duration_since(freed);
    let stats = client.stats();
    assert!(took < ms(500), "{took:?}: {stats:?}");
    assert_eq!(stats.wakeups_by_message, before + 1);
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_change_hands_on_every_master() {
    let (one, other, names) = each_master().await;
    for name in names {
        let semaphore = one.semaphore(&*name);
        assert!(semaphore.try_set_permits(2).await.expect("answers"));
        let permits = semaphore.acquire_many(2).await.expect("free");
        let before = other.stats().wakeups_by_message;
        let waiting = timed(
            other
                .semaphore(&*name)
                .acquire()
                .wait(secs(10))
                .into_future(),
        );
        asleep(&other, 1).await;
        let freed = Instant::now();
        permits.release().await.expect("taken");
        let permit = woken(waiting, freed, &other, before)
            .await
            .expect("granted");
        assert_eq!(semaphore.available_permits().await.expect("answers"), 1);
        permit.release().await.expect("taken");
        assert!(semaphore.delete().await.expect("answers"));
    }
    close(one).await;
    close(other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_with_ids_change_hands_on_every_master() {
    let (one, other, names) = each_master().await;
    for name in names {
        let semaphore = one.expirable_semaphore(&*name);
        assert!(semaphore.try_set_permits(1).await.expect("answers"));
        let permit = semaphore.acquire().lease(secs(60)).await.expect("free");
        let before = other.stats().wakeups_by_message;
        let waits = other.expirable_semaphore(&*name).acquire().wait(secs(10));
        let waiting = timed(waits.into_future());
        asleep(&other, 1).await;
        let freed = Instant::now();
        permit.release().await.expect("taken");
        let permit = woken(waiting, freed, &other, before)
            .await
            .expect("granted");
        permit.release().await.expect("taken");
        assert!(semaphore.delete().await.expect("answers"));
    }
    close(one).await;
    close(other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latches_open_on_every_master() {
    let (one, other, names) = each_master().await;
    for name in names {
        let latch = one.count_down_latch(&*name);
        assert!(latch.try_set_count(1).await.expect("answers"));
        let before = other.stats().wakeups_by_message;
        let waits = other.count_down_latch(&*name).wait().limit(secs(10));
        let waiting = timed(waits.into_future());
        asleep(&other, 1).await;
        let freed = Instant::now();
        latch.count_down().await.expect("counted");
        woken(waiting, freed, &other, before).await.expect("open");
    }
    close(one).await;
    close(other).await;
}

/// Keys of one semaphore on both sides of a move: nothing can be done with it, and what was asked for is done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_semaphore_torn_apart_by_a_move_counts_once() {
    let cluster = stage().await;
    let (one, other) = (far_sighted(&cluster).await, far_sighted(&cluster).await);
    let name = cluster.name_on(cluster.masters()[0], "torn");
    let semaphore = one.semaphore(&*name);
    assert!(semaphore.try_set_permits(0).await.expect("answers"));
    let waiting = timed(
        other
            .semaphore(&*name)
            .acquire()
            .wait(secs(20))
            .into_future(),
    );
    asleep(&other, 1).await;

    let source = cluster.master_of_key(&name);
    let migration = cluster.begin_migration(slot_of(&name), other_than(&cluster, source));
    assert!(migration.migrate_key(&name), "the mark of the client stays");
    let releasing = timed(async move { (semaphore.release(2).await, semaphore) });
    // For a while, long enough for many tries.
    tokio::time::sleep(ms(300)).await;
    let was_stuck = !releasing.is_finished();
    println!("a release over torn keys waits: {was_stuck}");
    migration.migrate_keys();
    migration.finish();
    let ((released, semaphore), _) = timeout(secs(5), releasing)
        .await
        .expect("in time")
        .expect("joins");
    released.expect("released");
    let (permit, _) = waiting.await.expect("joins");
    let permit = permit.expect("granted");
    assert_eq!(semaphore.available_permits().await.expect("answers"), 1);
    permit.release().await.expect("taken");
    assert_eq!(semaphore.available_permits().await.expect("answers"), 2);
    assert!(semaphore.delete().await.expect("answers"));
    close(one).await;
    close(other).await;
}

/// A latch and both kinds of permits, with those who wait for them, while their slot goes round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_for_permits_and_latches_follow_their_slot() {
    let cluster = stage().await;
    let (one, other) = (far_sighted(&cluster).await, far_sighted(&cluster).await);
    for master in 0..3 {
        let source = cluster.masters()[master];
        let name = cluster.name_on(source, "semaphore");
        let [second, third] =
            ["permits", "latch"].map(|prefix| cluster.name_in_slot(slot_of(&name), prefix));
        let semaphore = one.semaphore(&*name);
        assert!(semaphore.try_set_permits(0).await.expect("answers"));
        let permits = one.expirable_semaphore(&*second);
        assert!(permits.try_set_permits(1).await.expect("answers"));
        let taken = permits.acquire().await.expect("free");
        let latch = one.count_down_latch(&*third);
        assert!(latch.try_set_count(1).await.expect("answers"));

        let waits = other.semaphore(&*name).acquire().wait(secs(20));
        let for_permit = timed(waits.into_future());
        let waits = other.expirable_semaphore(&*second).acquire().wait(secs(20));
        let for_id = timed(waits.into_future());
        let waits = other.count_down_latch(&*third).wait().limit(secs(20));
        let for_latch = timed(waits.into_future());
        asleep(&other, 3).await;
        cluster.move_slot(slot_of(&name), other_than(&cluster, source));
        let freed = Instant::now();
        semaphore.release(1).await.expect("released");
        taken.release().await.expect("taken");
        latch.count_down().await.expect("counted");
        let (permit, when) = for_permit.await.expect("joins");
        let mut latest = when;
        permit.expect("granted").release().await.expect("taken");
        let (permit, when) = for_id.await.expect("joins");
        latest = latest.max(when);
        permit.expect("granted").release().await.expect("taken");
        let (open, when) = for_latch.await.expect("joins");
        latest = latest.max(when);
        open.expect("open");
        let took = latest.saturating_duration_since(freed);
        println!("all three woken {took:?} after releases right after the move");
        assert!(took < ms(500), "{took:?}");
        assert!(semaphore.delete().await.expect("answers"));
        assert!(permits.delete().await.expect("answers"));
    }
    close(one).await;
    close(other).await;
}

/// Readers and writers at every step of a move. A reader's keys are two, so while the slot is between two masters new
/// readers and those who leave wait; writers are refused as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_writers_keep_apart_while_their_slot_moves() {
    let cluster = stage().await;
    let (one, other) = (far_sighted(&cluster).await, far_sighted(&cluster).await);
    let name = cluster.name_on(cluster.masters()[1], "book");
    let (ours, theirs) = (one.read_write_lock(&*name), other.read_write_lock(&*name));
    let nobody_writes = async || {
        let writing = theirs.write_lock().with_owner(Owner::fresh());
        assert!(writing.try_lock().await.expect("answers").is_none());
    };
    let reads = || {
        let reading = ours.read_lock().with_owner(Owner::fresh());
        tokio::spawn(reading.lock().wait(secs(20)).into_future())
    };
    let in_time = async |reading: JoinHandle<redlatch::Result<LockGuard<Read>>>| {
        let reading = timeout(secs(5), reading).await.expect("in time");
        reading.expect("joins").expect("shared")
    };
    let (stays, leaves) = (in_time(reads()).await, in_time(reads()).await);
    nobody_writes().await;

    let source = cluster.master_of_key(&name);
    let migration = cluster.begin_migration(slot_of(&name), other_than(&cluster, source));
    let comes = reads();
    nobody_writes().await;
    // The marker of the one who stays goes ahead. To the others that must not look as if nobody else read.
    let marker = format!("{{{name}}}:{}:rwlock_timeout:1", stays.owner_id());
    assert!(migration.migrate_key(&marker), "{marker}");
    let leaving = tokio::spawn(leaves.unlock());
    nobody_writes().await;
    tokio::time::sleep(ms(200)).await;
    assert!(!leaving.is_finished() && !comes.is_finished());
    migration.migrate_keys();
    nobody_writes().await;
    let waiting = timed(theirs.write().wait(secs(20)).into_future());
    asleep(&other, 1).await;
    migration.finish();
    let comes = in_time(comes).await;
    let left = timeout(secs(5), leaving).await.expect("in time");
    left.expect("joins").expect("held");
    nobody_writes().await;
    let freed = Instant::now();
    for reader in [stays, comes] {
        assert!(!reader.is_lost());
        reader.unlock().await.expect("held");
    }
    let (writer, when) = waiting.await.expect("joins");
    println!("the writer is in {:?} after the last reader", when - freed);
    assert!(when - freed < ms(500), "{:?}", when - freed);
    writer.expect("granted").unlock().await.expect("held");
    assert!(!cluster.direct_for(&name).exists(&name));
    assert_eq!(one.stats().losses + other.stats().losses, 0);
    close(one).await;
    close(other).await;
}

fn members(client: &Client, names: &[String]) -> Vec<redlatch::Lock> {
    names.iter().map(|name| client.lock(&**name)).collect()
}

/// Members on three masters, taken in one order whatever order they are named in, with a slot that moves under them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_multi_lock_spans_masters() {
    let cluster = stage().await;
    let (one, other) = (far_sighted(&cluster).await, far_sighted(&cluster).await);
    let mut names: Vec<_> = cluster
        .masters()
        .into_iter()
        .map(|master| cluster.name_on(master, "member"))
        .collect();
    let ours = MultiLock::new(members(&one, &names)).expect("three");
    names.reverse();
    let theirs = MultiLock::new(members(&other, &names)).expect("three");
    let guard = ours.lock().await.expect("free");
    assert_eq!(guard.held(), 3);
    assert!(theirs.try_lock().await.expect("answers").is_none());
    let waiting = timed(theirs.lock().wait(secs(20)).into_future());
    asleep(&other, 1).await;
    for name in &names {
        let source = cluster.master_of_key(name);
        cluster.move_slot(slot_of(name), other_than(&cluster, source));
    }
    let freed = Instant::now();
    guard.unlock().await.expect("held");
    let (guard, when) = waiting.await.expect("joins");
    println!("all members are theirs {:?} after the unlock", when - freed);
    assert!(when - freed < ms(500), "{:?}", when - freed);
    let guard = guard.expect("granted");
    assert_eq!(guard.held(), 3);
    guard.unlock().await.expect("held");
    for name in &names {
        assert!(!cluster.direct_for(name).exists(name));
    }
    close(one).await;
    close(other).await;
}

/// A majority of three masters, one of which is silent and is not replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_does_without_a_silent_master() {
    let cluster = stage_with(|builder| builder.node_timeout(secs(120))).await;
    let client = client_with(&cluster, |builder| builder.watchdog_timeout(secs(6))).await;
    let masters = cluster.masters();
    let names: Vec<_> = masters
        .iter()
        .map(|master| cluster.name_on(master, "majority"))
        .collect();
    let lock = MultiLock::majority(members(&client, &names)).expect("three");
    masters[0].freeze();
    let begun = Instant::now();
    let guard = lock.lock().wait(secs(5)).await.expect("two are enough");
    let took = begun.elapsed();
    println!("a majority beside a silent master after {took:?}");
    assert_eq!(guard.held(), 2);
    assert!(took < secs(1), "{took:?}");
    // Longer than the locks last without renewal.
    assert!(timeout(secs(7), guard.lost()).await.is_err());
    masters[0].thaw();
    guard.unlock().await.expect("held");
    cluster.wait_ok();
    close(client).await;
    for master in masters {
        assert_eq!(master.direct().cmd(&["DBSIZE"]).int(), 0);
    }
}
