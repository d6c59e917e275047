//! The read/write lock: who shares, who is kept out, and what is left in the hash.

use std::{collections::BTreeMap, time::Instant};

use redlatch::{LossCause, Owner, ReadWriteLock};
use redlatch_support::{Direct, eventually_async};

use crate::common::{
    asleep, client, client_with, close, direct, markers, ms, name, nothing_but, secs,
};

fn hash(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
    fields
        .iter()
        .map(|(field, value)| ((*field).to_owned(), (*value).to_owned()))
        .collect()
}

/// A key in Redisson's layout, with one reader that no client keeps alive.
fn dead_reader(direct: &Direct, name: &str, ttl_ms: u64) {
    let ttl = ttl_ms.to_string();
    direct
        .cmd(&["HSET", name, "mode", "read", "dead:1", "1"])
        .accepted();
    direct.cmd(&["PEXPIRE", name, &ttl]).accepted();
    let marker = format!("{{{name}}}:dead:1:rwlock_timeout:1");
    direct.cmd(&["SET", &marker, "1", "PX", &ttl]).accepted();
}

#[tokio::test]
async fn the_hash_is_redissons_with_a_marker_for_each_read_hold() {
    let (client, name) = (client().await, name("layout"));
    let lock = client.read_write_lock(&*name).with_owner(Owner::fresh());
    let first = lock.read().await.expect("free");
    let second = lock.read().lease(secs(10)).await.expect("re-enters");
    let reader = first.owner_id();
    assert_eq!(
        direct().hgetall(&name),
        hash(&[("mode", "read"), (&reader, "2")])
    );
    let marker = |hold: u32| format!("{{{name}}}:{reader}:rwlock_timeout:{hold}");
    assert_eq!(markers(&name).len(), 2);
    assert!((29_000..=30_000).contains(&direct().pttl(&marker(1))));
    assert!((9_000..=10_000).contains(&direct().pttl(&marker(2))));
    assert!((29_000..=30_000).contains(&direct().pttl(&name)));
    // The longer hold goes first: the shorter one is all that is left.
    first.unlock().await.expect("held");
    assert_eq!(markers(&name), [marker(1)]);
    assert!((8_000..=10_000).contains(&direct().pttl(&name)));
    second.unlock().await.expect("held");

    let write = lock.write().await.expect("free");
    let writer = write.owner_id();
    assert_eq!(writer, format!("{reader}:write"));
    assert_eq!(
        direct().hgetall(&name),
        hash(&[("mode", "write"), (&writer, "1")])
    );
    let read = lock.read().await.expect("a writer reads as well");
    assert_eq!(
        direct().hgetall(&name),
        hash(&[("mode", "write"), (&writer, "1"), (&reader, "1")])
    );
    write.unlock().await.expect("held");
    assert_eq!(
        direct().hgetall(&name),
        hash(&[("mode", "read"), (&reader, "1")])
    );
    read.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_share_here_and_elsewhere() {
    let (one, other, name) = (client().await, client().await, name("share"));
    let mut guards = Vec::new();
    for client in [&one, &one, &other, &other] {
        let lock = client.read_write_lock(&*name).with_owner(Owner::fresh());
        guards.push(lock.read().wait(secs(5)).await.expect("shared"));
    }
    let write = other.read_write_lock(&*name).with_owner(Owner::fresh());
    let refused = write.write_lock().try_lock().await.expect("answers");
    assert!(refused.is_none());
    for guard in guards {
        guard.unlock().await.expect("held");
    }
    let guard = write.write().await.expect("free");
    guard.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(one).await;
    close(other).await;
}

/// Starts readers and waits until they stand before the lock.
async fn waiting_readers(
    lock: &ReadWriteLock,
    count: usize,
) -> Vec<tokio::task::JoinHandle<(Instant, redlatch::LockGuard<redlatch::Read>)>> {
    (0..count)
        .map(|_| {
            let lock = lock.with_owner(Owner::fresh());
            tokio::spawn(async move {
                let guard = lock.read().wait(secs(20)).await.expect("granted");
                (Instant::now(), guard)
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaw_4_four_readers_come_in_together_when_the_writer_leaves() {
    let far = |builder: redlatch::ClientBuilder| builder.safety_poll(secs(20));
    let (writer, reader, name) = (client().await, client_with(far).await, name("convoy"));
    let write = writer.read_write_lock(&*name).write().await.expect("free");
    let tasks = waiting_readers(&reader.read_write_lock(&*name), 4).await;
    asleep(&reader, 1).await;
    eventually_async("all stand in line", secs(5), async || {
        reader.inspect(&*name).await.expect("answers").waiting_here == 4
    })
    .await;
    let released = Instant::now();
    write.unlock().await.expect("held");
    let mut guards = Vec::new();
    for task in tasks {
        let (when, guard) = task.await.expect("joins");
        let took = when.saturating_duration_since(released);
        println!("a reader in after {took:?}");
        assert!(took < ms(500), "{took:?}");
        guards.push(guard);
    }
    assert!(guards.iter().all(|guard| !guard.is_lost()), "all at once");
    for guard in guards {
        guard.unlock().await.expect("held");
    }
    nothing_but(&name, &[]).await;
    close(writer).await;
    close(reader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaw_4_a_downgrade_lets_waiting_readers_in() {
    let far = |builder: redlatch::ClientBuilder| builder.safety_poll(secs(20));
    let (writer, reader, name) = (client().await, client_with(far).await, name("downgrade"));
    let lock = writer.read_write_lock(&*name);
    let write = lock.write().await.expect("free");
    let read = lock.read().await.expect("a writer reads as well");
    let tasks = waiting_readers(&reader.read_write_lock(&*name), 2).await;
    asleep(&reader, 1).await;
    let released = Instant::now();
    write.unlock().await.expect("held");
    for task in tasks {
        let (when, guard) = task.await.expect("joins");
        assert!(when.saturating_duration_since(released) < ms(500));
        guard.unlock().await.expect("held");
    }
    assert!(!read.is_lost());
    assert!(lock.read_lock().raw().is_locked().await.expect("answers"));
    assert!(!lock.write_lock().raw().is_locked().await.expect("answers"));
    read.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(writer).await;
    close(reader).await;
}

#[tokio::test]
async fn a_reader_cannot_become_a_writer() {
    let (client, name) = (client().await, name("upgrade"));
    let lock = client.read_write_lock(&*name).with_owner(Owner::fresh());
    let read = lock.read().await.expect("free");
    let error = lock
        .write()
        .wait(ms(100))
        .await
        .expect_err("waits for itself");
    assert!(error.is_timeout(), "{error}");
    assert!(!read.is_lost());
    read.unlock().await.expect("held");
    close(client).await;
}

/// Number 2 of the original's flaws: a read unlock under a write hold stopped the write's renewal.
#[tokio::test]
async fn flaw_2_a_read_unlock_under_a_write_hold_leaves_the_write_renewed() {
    let client = client_with(|builder| builder.watchdog_timeout(ms(600))).await;
    let name = name("renewed");
    let lock = client.read_write_lock(&*name).with_owner(Owner::fresh());
    let write = lock.write().await.expect("free");
    let read = lock.read().await.expect("a writer reads as well");
    read.unlock().await.expect("held");
    let renewals = client.stats().renewals;
    eventually_async("six renewals", secs(10), async || {
        client.stats().renewals >= renewals + 6
    })
    .await;
    assert!(!write.is_lost());
    assert!(direct().exists(&name));
    write.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
}

#[tokio::test]
async fn flaw_20_renewal_keeps_every_marker_of_ours_and_none_of_others() {
    let client = client_with(|builder| builder.watchdog_timeout(ms(900))).await;
    let (name, direct) = (name("markers"), direct());
    dead_reader(&direct, &name, 1_500);
    let lock = client.read_write_lock(&*name).with_owner(Owner::fresh());
    let guards = [
        lock.read().await.expect("shared"),
        lock.read().await.expect("re-enters"),
    ];
    let dead = format!("{{{name}}}:dead:1:rwlock_timeout:1");
    eventually_async("the dead reader's marker ends", secs(5), async || {
        !direct.exists(&dead)
    })
    .await;
    assert_eq!(markers(&name).len(), 2, "ours are kept");
    assert!(guards.iter().all(|guard| !guard.is_lost()));
    let writer = self::client().await;
    let write = writer.read_write_lock(&*name);
    assert!(
        write
            .write_lock()
            .try_lock()
            .await
            .expect("answers")
            .is_none()
    );
    for guard in guards {
        guard.unlock().await.expect("held");
    }
    // Its field is left in the hash, and does not count without a marker.
    let guard = write.write_lock().try_lock().await.expect("answers");
    guard.expect("free").unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
    close(writer).await;
}

#[tokio::test]
async fn a_dead_reader_blocks_a_writer_for_its_time_and_no_longer() {
    let (client, name, direct) = (client().await, name("zombie"), direct());
    dead_reader(&direct, &name, 700);
    let begun = Instant::now();
    let guard = client.read_write_lock(&*name).write().wait(secs(5)).await;
    let took = begun.elapsed();
    assert!((ms(500)..ms(1_500)).contains(&took), "{took:?}");
    guard.expect("granted").unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
}

#[tokio::test]
async fn each_side_is_asked_and_forced_by_itself() {
    let (client, name) = (client().await, name("sides"));
    let lock = client.read_write_lock(&*name).with_owner(Owner::fresh());
    let (read, write) = (lock.read_lock().raw(), lock.write_lock().raw());
    let guard = lock.read().await.expect("free");
    assert!(read.is_locked().await.expect("answers"));
    assert!(!write.is_locked().await.expect("answers"));
    assert!(!write.force_unlock().await.expect("answers"));
    assert!(!guard.is_lost());
    assert!(read.force_unlock().await.expect("answers"));
    assert_eq!(guard.lost().await, LossCause::ForceUnlocked);
    drop(guard);

    let guard = lock.write().await.expect("free");
    let inner = lock.read().await.expect("a writer reads as well");
    assert!(read.is_locked().await.expect("answers"));
    assert!(write.is_locked().await.expect("answers"));
    assert_eq!(read.hold_count().await.expect("answers"), 1);
    assert_eq!(write.hold_count().await.expect("answers"), 1);
    assert!(!read.force_unlock().await.expect("answers"));
    assert!(write.force_unlock().await.expect("answers"));
    assert_eq!(guard.lost().await, LossCause::ForceUnlocked);
    assert_eq!(inner.lost().await, LossCause::ForceUnlocked);
    drop((guard, inner));
    for marker in markers(&name) {
        direct().cmd(&["DEL", &marker]).accepted();
    }
    close(client).await;
}

#[tokio::test]
async fn a_plain_lock_of_the_same_name_is_respected() {
    let (client, name) = (client().await, name("plain"));
    let plain = client.lock(&*name).lock().await.expect("free");
    let lock = client.read_write_lock(&*name).with_owner(Owner::fresh());
    assert!(
        lock.read_lock()
            .try_lock()
            .await
            .expect("answers")
            .is_none()
    );
    assert!(
        lock.write_lock()
            .try_lock()
            .await
            .expect("answers")
            .is_none()
    );
    plain.unlock().await.expect("held");
    close(client).await;
}

/// A lease on one side ends there, whatever keeps the other side alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_on_one_side_ends_under_the_other() {
    let (client, other, name) = (client().await, client().await, name("one-side"));
    let lock = client.read_write_lock(&*name).with_owner(Owner::fresh());
    let theirs = other.read_write_lock(&*name);
    let write = lock.write().lease(ms(300)).await.expect("free");
    let read = lock.read().await.expect("a writer reads as well");
    let shared = theirs
        .read()
        .wait(secs(5))
        .await
        .expect("the write lease is over");
    assert!(!read.is_lost());
    assert!(write.unlock().await.expect_err("lost").is_lost());
    shared.unlock().await.expect("held");
    read.unlock().await.expect("held");
    nothing_but(&name, &[]).await;

    let write = lock.write().await.expect("free");
    let read = lock
        .read()
        .lease(ms(300))
        .await
        .expect("a writer reads as well");
    assert_eq!(read.lost().await, LossCause::LeaseExpired);
    write.unlock().await.expect("held");
    // The server's clock comes a moment later.
    let next = theirs.write().wait(secs(2)).await;
    next.expect("nobody reads").unlock().await.expect("held");
    drop(read);
    nothing_but(&name, &[]).await;

    // And what is left of a lease that ran out does not stay in the hash of those who read on.
    let reading = theirs.read().await.expect("free");
    let short = lock.read().lease(ms(200)).await.expect("shared");
    assert_eq!(short.lost().await, LossCause::LeaseExpired);
    eventually_async("its field is gone", secs(5), async || {
        direct().hgetall(&name).len() == 2
    })
    .await;
    reading.unlock().await.expect("held");
    drop(short);
    nothing_but(&name, &[]).await;
    close(client).await;
    close(other).await;
}

/// A writer who reads on leaves the hash for as long as it reads, not for as long as it would have written.
#[tokio::test]
async fn a_downgrade_lasts_as_long_as_the_read() {
    let (client, name) = (client().await, name("shorter"));
    let lock = client.read_write_lock(&*name).with_owner(Owner::fresh());
    let write = lock.write().lease(secs(100)).await.expect("free");
    let read = lock
        .read()
        .lease(secs(5))
        .await
        .expect("a writer reads as well");
    write.unlock().await.expect("held");
    let left = direct().pttl(&name);
    assert!((3_000..=5_000).contains(&left), "{left} ms left");
    read.unlock().await.expect("held");
    close(client).await;
}

/// A JVM that renews its own read sets the whole hash to its own time, also where that is less than ours.
#[tokio::test]
async fn a_hash_cut_short_by_another_reader_is_mended() {
    let client = client_with(|builder| builder.watchdog_timeout(ms(1_500))).await;
    let name = name("cut");
    let guard = client
        .read_write_lock(&*name)
        .read()
        .lease(secs(60))
        .await
        .expect("free");
    direct().cmd(&["PEXPIRE", &name, "3000"]).accepted();
    eventually_async("the next look mends it", secs(2), async || {
        direct().pttl(&name) > 50_000
    })
    .await;
    assert!(direct().pttl(&name) <= 60_000);
    guard.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_lost_it_unawares_asks_as_everybody() {
    let (client, other, name) = (client().await, client().await, name("unaware"));
    let lock = client.read_write_lock(&*name).with_owner(Owner::fresh());
    let write = lock.write().await.expect("free");
    direct().cmd(&["DEL", &name]).accepted();
    let theirs = other.read_write_lock(&*name).write().await.expect("free");
    let tasks = waiting_readers(&client.read_write_lock(&*name), 1).await;
    asleep(&client, 1).await;
    let attempts = client.stats().attempts;
    let refused = lock.read().wait(ms(500)).await.expect_err("others write");
    assert!(refused.is_timeout(), "{refused}");
    let asked = client.stats().attempts - attempts;
    assert!(asked <= 5, "{asked} attempts in half a second");
    theirs.unlock().await.expect("held");
    for task in tasks {
        task.await.expect("joins").1.unlock().await.expect("held");
    }
    drop(write);
    close(client).await;
    close(other).await;
}

#[tokio::test]
async fn names_with_braces_and_colons_have_their_own_markers() {
    let (client, stem) = (client().await, name("stem"));
    for name in [
        format!("{{{stem}}}:"),
        format!("{stem}:"),
        format!("x{{{stem}}}y"),
    ] {
        let lock = client.read_write_lock(&*name);
        let one = lock.with_owner(Owner::fresh()).read().await.expect("free");
        let other = lock
            .with_owner(Owner::fresh())
            .read()
            .await
            .expect("shared");
        one.unlock().await.expect("held");
        let writer = lock.with_owner(Owner::fresh());
        assert!(
            writer.try_write().await.expect("answers").is_none(),
            "{name}"
        );
        other.unlock().await.expect("held");
    }
    nothing_but(&stem, &[]).await;
    close(client).await;
}

#[tokio::test]
async fn a_read_in_a_multi_lock_under_the_own_write_lasts_as_long_as_it_says() {
    let (client, name) = (client().await, name("under"));
    let owner = Owner::fresh();
    let lock = client.read_write_lock(&*name).with_owner(owner);
    let write = lock.write().await.expect("free");
    let both = redlatch::MultiLock::new([
        redlatch::AnyLock::from(lock.read_lock()),
        redlatch::AnyLock::from(client.lock(format!("{name}-x"))),
    ])
    .expect("two of them");
    let guard = both
        .with_owner(owner)
        .lock()
        .lease(secs(100))
        .await
        .expect("free");
    assert!(direct().pttl(&name) > 95_000);
    write.unlock().await.expect("held");
    assert!(direct().pttl(&name) > 95_000);
    guard.unlock().await.expect("held");
    nothing_but(&name, &[]).await;
    close(client).await;
}

/// A JVM's second send of an unlock that found nothing is answered with success.
#[tokio::test]
async fn flaw_18_unlocking_what_is_gone_fails_however_often() {
    let (client, name) = (client().await, name("gone"));
    let lock = client.read_write_lock(&*name).with_owner(Owner::fresh());
    let guards = (lock.write().await.expect("free"), lock.write_lock().raw());
    guards.1.lock().await.expect("re-enters");
    direct().cmd(&["DEL", &name]).accepted();
    assert!(guards.0.unlock().await.expect_err("lost").is_lost());
    for _ in 0..2 {
        let refused = guards.1.unlock().await.expect_err("lost");
        assert!(
            matches!(refused, redlatch::Error::NotHeld { .. }),
            "{refused}"
        );
    }
    assert!(!direct().exists(&name));
    close(client).await;
}
