//! A group lock of ours and one of the JVM exclude each other where they have a value in common.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use redlatch::{LossCause, Owner};
use redlatch_support::{eventually_async, jvm::jvm_or_skip, unique_name};

use crate::{
    common::{
        QUICK, Stage, WAKE_LIMIT, asleep, assert_lost, channel, close, ms, quiet, secs, subscribed,
        wait_for,
    },
    java::assert_not_owner,
    sets::{Held, ONE, TWO, nothing_left, ours, theirs, values, wait_there},
    synchronizers::served_there,
};

const ROUNDS: usize = 5;
/// How far the two ends of a hold may be from what its lease promises: the machine is busy.
const NEAR: i64 = 500;

fn epoch_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_millis()).expect("small")
}

/// Both values are this owner's, so often, for about this long.
#[track_caller]
fn assert_both(seen: &BTreeMap<String, Held>, owner: &str, count: i64, left: Duration) {
    assert_eq!(seen.keys().collect::<Vec<_>>(), [ONE, TWO]);
    for held in seen.values() {
        assert_eq!(
            (held.owner.as_str(), held.count),
            (owner, count),
            "{seen:?}"
        );
        let due = epoch_ms() + i64::try_from(left.as_millis()).expect("small");
        assert!((due - NEAR..=due + NEAR).contains(&held.until), "{seen:?}");
    }
}

fn report(who: &str, mut times: Vec<Duration>) {
    times.sort();
    println!(
        "group, {who}: {} times, median {:?}, longest {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jvm_holds_values_and_rust_gets_the_others() {
    let Some(driver) = jvm_or_skip("the_jvm_holds_values_and_rust_gets_the_others") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let group = unique_name("group-jvm");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let java = theirs(&stage.jvm, &group, &["one", "two"]);
        java.run("lock", &[]).await.expect("free");
        let owner = java.owner().await;
        let held = values(&direct, &group);
        assert_both(&held, &owner, 1, secs(30));
        assert!((29_000..=30_000).contains(&direct.pttl(&group)));

        let meets = ours(&client, &group, &["three", "two"]).with_owner(Owner::fresh());
        let refused = meets.try_lock().await.expect("answers");
        assert!(refused.is_none(), "in beside the JVM: {refused:?}");
        assert_eq!(values(&direct, &group), held, "a refusal changes nothing");
        assert!(meets.raw().is_locked().await.expect("answers"));
        assert!(!meets.raw().is_held_by_current().await.expect("answers"));
        let left = meets.raw().remaining_ttl().await.expect("answers");
        assert!(left.expect("held") > secs(28), "{left:?}");

        let apart = ours(&client, &group, &["three"]).with_owner(Owner::fresh());
        let guard = apart.try_lock().await.expect("answers").expect("free");
        let both = values(&direct, &group);
        assert_eq!(both.len(), 3);
        assert_eq!((&both[ONE], &both[TWO]), (&held[ONE], &held[TWO]));
        guard.unlock().await.expect("held");
        assert_eq!(values(&direct, &group), held);

        let before = client.stats().wakeups_by_message;
        let waiting = wait_for(meets);
        asleep(&client).await;
        let released = Instant::now();
        java.run("unlock", &[]).await.expect("held");
        let (guard, granted) = waiting.await.expect("joins");
        let guard = guard.expect("granted after the unlock");
        let took = granted.saturating_duration_since(released);
        assert!(took < WAKE_LIMIT, "in only after {took:?}");
        assert_eq!(client.stats().wakeups_by_message, before + 1);
        times.push(took);
        let now = values(&direct, &group);
        assert!(now.len() == 2 && !now.contains_key(ONE), "{now:?}");
        guard.unlock().await.expect("held");
        nothing_left(&direct, &group).await;
    }
    report("JVM to Rust", times);
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_holds_values_and_the_jvm_gets_the_others() {
    let Some(driver) = jvm_or_skip("rust_holds_values_and_the_jvm_gets_the_others") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let group = unique_name("group-rust");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let lock = ours(&client, &group, &["two", "one"]).with_owner(Owner::fresh());
        let guard = lock.lock().await.expect("free");
        let held = values(&direct, &group);
        assert_both(&held, &guard.owner_id(), 1, secs(30));

        let meets = theirs(&stage.jvm, &group, &["three", "two"]);
        assert!(!meets.truth("trylock", &[]).await, "in beside {guard:?}");
        assert!(!meets.truth("trylockfor", &["50", "5000"]).await);
        assert_eq!(values(&direct, &group), held, "a refusal changes nothing");
        assert!(meets.truth("islocked", &[]).await);
        let apart = theirs(&stage.jvm, &group, &["three"]);
        assert!(apart.truth("trylock", &[]).await, "nothing in common");
        let both = values(&direct, &group);
        assert_eq!((&both[ONE], &both[TWO]), (&held[ONE], &held[TWO]));
        apart.run("unlock", &[]).await.expect("held");
        assert_eq!(values(&direct, &group), held);

        subscribed(&direct, &channel(&group), 0).await;
        let waiting = wait_there(&direct, &group, &meets).await;
        let released = Instant::now();
        guard.unlock().await.expect("held");
        times.push(served_there(waiting, released).await.1);
        let now = values(&direct, &group);
        assert!(now.len() == 2 && !now.contains_key(ONE), "{now:?}");
        meets.run("unlock", &[]).await.expect("held");
        nothing_left(&direct, &group).await;
    }
    report("Rust to JVM", times);
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_count_entries_in_the_same_fields() {
    let Some(driver) = jvm_or_skip("both_count_entries_in_the_same_fields") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let group = unique_name("group-counts");
    let java = theirs(&stage.jvm, &group, &["one", "two"]);
    let lock = ours(&client, &group, &["one", "two"]).with_owner(Owner::fresh());

    let owner = java.owner().await;
    java.run("lock", &[]).await.expect("free");
    java.run("lock", &[]).await.expect("again");
    assert!(java.truth("trylock", &[]).await);
    assert_both(&values(&direct, &group), &owner, 3, secs(30));
    for count in [2, 1] {
        java.run("unlock", &[]).await.expect("held");
        assert_both(&values(&direct, &group), &owner, count, secs(30));
        assert!(lock.try_lock().await.expect("answers").is_none());
    }
    java.run("unlock", &[]).await.expect("held");
    assert_not_owner(&java.run("unlock", &[]).await);

    let first = lock.lock().await.expect("free");
    let second = lock.lock().wait(secs(5)).await.expect("again");
    let third = lock.try_lock().await.expect("answers").expect("again");
    let owner = first.owner_id();
    for (count, guard) in [(3, second), (2, third)] {
        assert_both(&values(&direct, &group), &owner, count, secs(30));
        assert!(!java.truth("trylock", &[]).await);
        assert_not_owner(&java.run("unlock", &[]).await);
        guard.unlock().await.expect("held");
    }
    assert_both(&values(&direct, &group), &owner, 1, secs(30));
    first.unlock().await.expect("held");
    assert!(java.truth("trylock", &[]).await, "free");
    java.run("unlock", &[]).await.expect("held");
    nothing_left(&direct, &group).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_keep_the_other_side_out() {
    let Some(driver) = jvm_or_skip("renewals_keep_the_other_side_out") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::quick(driver).await;
    let (client, direct) = (stage.quick_client().await, stage.server.direct());
    // Side by side, in two groups: the JVM holds one, Rust the other.
    let (left, right) = (unique_name("group-kept"), unique_name("group-kept"));
    let holds = theirs(&stage.jvm, &left, &["one", "two"]);
    holds.run("lock", &[]).await.expect("free");
    let guard = ours(&client, &right, &["one", "two"]).lock().await;
    let guard = guard.expect("free");
    let (first, begun) = (
        (values(&direct, &left), values(&direct, &right)),
        Instant::now(),
    );
    let kept = QUICK * 3;
    let wants = ours(&client, &left, &["two", "three"]);
    let wanting = theirs(&stage.jvm, &right, &["two", "three"]);
    let wait = kept.as_millis().to_string();
    let wait = [wait.as_str(), "-1"];
    let (refused, refused_there) = tokio::join!(
        wants.lock().wait(kept).into_future(),
        wanting.truth("trylockfor", &wait)
    );
    assert!(refused.expect_err("the JVM holds it").is_timeout());
    assert!(!refused_there, "the JVM got in");
    assert!(begun.elapsed() >= kept);
    for (group, first, owner) in [
        (&left, &first.0, holds.owner().await),
        (&right, &first.1, guard.owner_id()),
    ] {
        let now = values(&direct, group);
        assert_eq!(now.len(), 2);
        for (field, held) in &now {
            assert_eq!((&held.owner, held.count), (&owner, 1));
            let later = held.until - first[field].until;
            assert!(later > 7_000, "renewed by {later} ms only");
            assert!(held.until > epoch_ms() + 1_000, "{held:?}");
        }
        assert!(direct.pttl(group) > 1_000);
    }
    assert!(!guard.is_lost());
    guard.unlock().await.expect("held");
    holds.run("unlock", &[]).await.expect("held");
    for group in [left, right] {
        nothing_left(&direct, &group).await;
    }
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_end_for_the_other_side() {
    const LEASE: Duration = ms(1500);
    let Some(driver) = jvm_or_skip("leases_end_for_the_other_side") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let group = unique_name("group-lease");
    let lease = LEASE.as_millis().to_string();

    let java = theirs(&stage.jvm, &group, &["one", "two"]);
    java.run("lockfor", &[&lease]).await.expect("free");
    let leased = Instant::now();
    assert_both(&values(&direct, &group), &java.owner().await, 1, LEASE);
    let guard = ours(&client, &group, &["two"]).lock().wait(secs(10)).await;
    let (guard, took) = (guard.expect("at the lease's end"), leased.elapsed());
    assert!(
        (LEASE - ms(100)..LEASE + ms(500)).contains(&took),
        "{took:?}"
    );
    println!("Rust is in {took:?} after a JVM lease of {LEASE:?} began");
    assert_not_owner(&java.run("unlock", &[]).await);
    assert!(!guard.is_lost());
    guard
        .unlock()
        .await
        .expect("the late unlock has not touched it");
    nothing_left(&direct, &group).await;

    // Forgotten, so that nothing gives it back before its end.
    let owner = Owner::fresh();
    let lock = ours(&client, &group, &["one", "two"]).with_owner(owner);
    lock.raw().lock_for(LEASE).await.expect("free");
    let leased = Instant::now();
    let owner = format!("{}:{}", client.id(), owner);
    assert_both(&values(&direct, &group), &owner, 1, LEASE);
    let meets = theirs(&stage.jvm, &group, &["two"]);
    meets.run("lock", &[]).await.expect("at the lease's end");
    let took = leased.elapsed();
    assert!(
        (LEASE - ms(100)..LEASE + ms(500)).contains(&took),
        "{took:?}"
    );
    println!("the JVM is in {took:?} after a lease of {LEASE:?} began");
    let held = values(&direct, &group);
    let late = lock.raw().unlock().await;
    assert!(late.is_err(), "it was over");
    assert_eq!(values(&direct, &group)[TWO], held[TWO]);
    meets.run("unlock", &[]).await.expect("held");
    nothing_left(&direct, &group).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_freed_by_rust_is_gone_for_the_jvm() {
    let Some(driver) = jvm_or_skip("a_part_freed_by_rust_is_gone_for_the_jvm") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::quick(driver).await;
    let (client, direct) = (stage.quick_client().await, stage.server.direct());
    let group = unique_name("group-force-jvm");
    let java = theirs(&stage.jvm, &group, &["one", "two"]);
    java.run("lock", &[]).await.expect("free");
    let lock = ours(&client, &group, &["two", "three"]);
    let waiting = wait_for(lock);
    asleep(&client).await;

    let forced = Instant::now();
    let part = ours(&client, &group, &["two"]).raw().force_unlock().await;
    assert!(part.expect("answers"), "it was held");
    let (guard, granted) = waiting.await.expect("joins");
    let guard = guard.expect("free");
    let took = granted.saturating_duration_since(forced);
    assert!(took < WAKE_LIMIT, "in only after {took:?}");
    let now = values(&direct, &group);
    assert_eq!(now[ONE].owner, java.owner().await, "the rest is theirs yet");
    assert_eq!(now[TWO].owner, guard.owner_id());

    assert_not_owner(&java.run("unlock", &[]).await);
    let after = values(&direct, &group);
    assert_eq!(after[TWO], now[TWO], "the JVM's unlock touched ours");
    assert!(!after.contains_key(ONE), "the rest went with the unlock");
    guard.unlock().await.expect("held");
    nothing_left(&direct, &group).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_freed_by_the_jvm_loses_the_guard() {
    let Some(driver) = jvm_or_skip("a_part_freed_by_the_jvm_loses_the_guard") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::quick(driver).await;
    let (client, direct) = (stage.quick_client().await, stage.server.direct());
    let group = unique_name("group-force-rust");
    // With a lease: without a release the rest would stay for a minute.
    let guard = ours(&client, &group, &["one", "two"])
        .lock()
        .lease(secs(60))
        .await;
    let guard = guard.expect("free");
    let waiter = theirs(&stage.jvm, &group, &["two", "three"]);
    let waiting = wait_there(&direct, &group, &waiter).await;

    let forced = Instant::now();
    let breaker = theirs(&stage.jvm, &group, &["two"]);
    assert!(breaker.truth("forceunlock", &[]).await, "it was held");
    served_there(waiting, forced).await;
    let told = tokio::time::timeout(ms(1_500), guard.lost()).await;
    assert_eq!(told.expect("by the next renewal"), LossCause::TakenOver);
    assert_eq!(values(&direct, &group)[TWO].owner, waiter.owner().await);
    assert!(values(&direct, &group).contains_key(ONE));
    assert_lost(&guard.unlock().await);
    eventually_async("the rest is given back", secs(1), async || {
        let now = values(&direct, &group);
        now.len() == 2 && !now.contains_key(ONE)
    })
    .await;
    assert!(waiter.truth("isheld", &[]).await);
    waiter.run("unlock", &[]).await.expect("held");
    nothing_left(&direct, &group).await;
    close(client).await;
}
