//! Slots on the move: under a holder, under a waiter, and under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use redlatch::Owner;
use redlatch_support::slot_of;

use crate::{
    common::{asleep, client_with, close, far_sighted, hearers, ms, other_than, secs, stage},
    contention::Contention,
};

/// Where Redisson is 28 s late: the waiter's subscription goes with the slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_follows_its_slot_and_wakes_by_message() {
    let cluster = stage().await;
    let (one, other) = (far_sighted(&cluster).await, far_sighted(&cluster).await);
    let mut worst = Duration::ZERO;
    for round in 0..3 {
        let name = cluster.name_on(cluster.masters()[round], "follows");
        let slot = slot_of(&name);
        let guard = one.lock(&*name).lock().await.expect("free");
        let lock = other.lock(&*name);
        let waiting = tokio::spawn(async move {
            let guard = lock.lock().wait(secs(20)).await;
            (guard, Instant::now())
        });
        asleep(&other, 1).await;
        cluster.move_slot(slot, other_than(&cluster, cluster.master_of_slot(slot)));
        // At once, so that the subscription is gone and nobody has noticed yet.
        guard.unlock().await.expect("held");
        let freed = Instant::now();
        let (guard, granted) = waiting.await.expect("joins");
        let took = granted - freed;
        println!("woken {took:?} after an unlock right after the move");
        worst = worst.max(took);
        guard.expect("granted").unlock().await.expect("held");

        // Later, with the subscription in its new place: by message.
        let before = other.stats().wakeups_by_message;
        let guard = one.lock(&*name).lock().await.expect("free");
        let lock = other.lock(&*name);
        let waiting = tokio::spawn(async move { lock.lock().wait(secs(20)).await });
        asleep(&other, 1).await;
        cluster.move_slot(slot, other_than(&cluster, cluster.master_of_slot(slot)));
        let home = cluster.master_of_slot(slot).direct();
        let channel = format!("redisson_lock__channel:{{{name}}}");
        redlatch_support::eventually("the waiter listens at the new master", secs(5), || {
            hearers(&home, &channel) == 1
        });
        tokio::time::sleep(ms(20)).await;
        let freed = Instant::now();
        guard.unlock().await.expect("held");
        let guard = waiting.await.expect("joins").expect("granted");
        let took = freed.elapsed();
        println!("woken {took:?} after a later unlock");
        assert!(took < ms(200), "{took:?}");
        assert_eq!(other.stats().wakeups_by_message, before + 1);
        guard.unlock().await.expect("held");
    }
    assert!(worst < ms(300), "{worst:?}");
    close(one).await;
    close(other).await;
}

/// A holder notices nothing: no error, no loss, the same holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_keeps_what_it_has_at_every_step() {
    let cluster = stage().await;
    let client = client_with(&cluster, |builder| builder.watchdog_timeout(secs(3))).await;
    let name = cluster.name_on(cluster.masters()[0], "keeps");
    let owner = Owner::fresh();
    let raw = client.rlock(&*name).with_owner(owner);
    raw.lock().await.expect("free");
    let guard = client
        .lock(&*name)
        .with_owner(owner)
        .lock()
        .await
        .expect("re-enters");
    let target = other_than(&cluster, cluster.master_of_key(&name));
    let migration = cluster.begin_migration(slot_of(&name), target);
    // The key is still at the source.
    raw.lock().await.expect("re-enters");
    assert_eq!(raw.hold_count().await.expect("answers"), 3);
    migration.migrate_keys();
    // The key is at the target, the slot is not: ASK.
    raw.unlock().await.expect("held");
    assert_eq!(raw.hold_count().await.expect("answers"), 2);
    // New names of the slot are made at the target.
    let beside = cluster.name_in_slot(slot_of(&name), "beside");
    let new = client.lock(&*beside).lock().await.expect("free");
    assert_eq!(client.stats().unknown_outcomes, 0);
    migration.finish();
    raw.unlock().await.expect("held");
    assert!(!guard.is_lost());
    new.unlock().await.expect("held");
    guard.unlock().await.expect("held");
    assert_eq!(client.stats().losses, 0);
    let home = cluster.master_of_key(&name).direct();
    assert_eq!(home.cmd(&["EXISTS", &name]).int(), 0);
    close(client).await;
}

/// 0 wrong replies, 0 double executions, counted: each release of a semaphore counts once, tokens never repeat, and
/// holders never meet, while slots go round and round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_astray_under_load() {
    const MOVES: usize = 24;
    let cluster = stage().await;
    let clients = [
        client_with(&cluster, |builder| builder).await,
        client_with(&cluster, |builder| builder).await,
    ];
    let names: Vec<_> = (0..3)
        .map(|i| cluster.name_on(cluster.masters()[i], "load"))
        .collect();
    let contentions: Vec<_> = names
        .iter()
        .map(|name| Contention::start(&clients, name, 4))
        .collect();
    // Permits made, in the same slots: a request executed twice would show in the sum.
    let stop = Arc::new(AtomicBool::new(false));
    let made: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let counter = cluster.name_in_slot(slot_of(name), "permits");
            let (client, stop, sum) = (
                clients[i % 2].clone(),
                stop.clone(),
                Arc::new(AtomicI64::new(0)),
            );
            let (semaphore, added) = (client.semaphore(&*counter), sum.clone());
            let task = tokio::spawn(async move {
                assert!(semaphore.try_set_permits(0).await.expect("answers"));
                while !stop.load(Ordering::Acquire) {
                    semaphore.release(1).await.expect("released");
                    added.fetch_add(1, Ordering::AcqRel);
                }
            });
            (counter, sum, task)
        })
        .collect();
    let begun = Instant::now();
    for round in 0..MOVES {
        let slot = slot_of(&names[round % names.len()]);
        let target = other_than(&cluster, cluster.master_of_slot(slot));
        let migration = cluster.begin_migration(slot, target);
        migration.migrate_keys();
        migration.finish();
    }
    let moved = begun.elapsed();
    for contention in &contentions {
        let took = contention.goes_on(20, secs(10)).await;
        assert!(took < secs(2), "{took:?} for 20 turns");
    }
    stop.store(true, Ordering::Release);
    for (counter, sum, task) in made {
        task.await.expect("no panic");
        let home = cluster.direct_for(&counter);
        let there = home
            .cmd(&["GET", &counter])
            .text()
            .parse::<i64>()
            .expect("a number");
        assert_eq!(there, sum.load(Ordering::Acquire), "permits of {counter}");
        println!("{there} permits made, each once");
        home.cmd(&["DEL", &counter]);
    }
    for contention in contentions {
        let seen = contention.end().await;
        assert_eq!(seen.errors, Vec::<String>::new());
        assert_eq!(seen.lost, 0);
        let summary = seen.assert_exclusive();
        println!(
            "{} turns, the longest wait {:?}",
            seen.turns(),
            summary.longest_wait
        );
    }
    println!("{MOVES} slots moved in {moved:?}");
    for client in clients {
        println!("{:?}", client.stats());
        close(client).await;
    }
}
