//! A multi-lock of ours and one of the JVM over the same names, in whatever order.

use std::time::{Duration, Instant};

use redlatch::{Client, MultiGuard, MultiLock, Owner, Result};
use redlatch_support::{Direct, eventually_async, jvm::jvm_or_skip, unique_name};
use tokio::task::JoinHandle;

use crate::{
    common::{LIMIT, QUICK, Stage, WAKE_LIMIT, asleep, close, ms, quiet, secs},
    java::{assert_not_owner, follow},
    sets::nothing_left,
    synchronizers::{Java, served_there},
};

const ROUNDS: usize = 5;

fn three(stem: &str) -> [String; 3] {
    ["a", "b", "c"].map(|letter| format!("{stem}-{letter}"))
}

fn ours(client: &Client, names: &[String]) -> MultiLock {
    let members = names.iter().map(|name| client.lock(name.as_str()));
    let lock = MultiLock::new(members).expect("some, and none twice");
    lock.with_owner(Owner::fresh())
}

fn theirs<'a>(stage: &'a Stage, names: &[String]) -> Java<'a> {
    let parts: Vec<_> = names.iter().map(String::as_str).collect();
    Java::set(&stage.jvm, "multi", &parts)
}

fn reversed(names: &[String]) -> Vec<String> {
    names.iter().rev().cloned().collect()
}

/// Each name is this owner's, so often, and nobody else's.
#[track_caller]
fn assert_held(direct: &Direct, names: &[String], owner: &str, count: i64) {
    for name in names {
        let hash: Vec<_> = direct.hgetall(name).into_iter().collect();
        assert_eq!(hash, [(owner.to_owned(), count.to_string())], "{name}");
    }
}

#[track_caller]
fn assert_free(direct: &Direct, names: &[String]) {
    for name in names {
        assert!(!direct.exists(name), "{name}: {:?}", direct.hgetall(name));
    }
}

fn wait_here(lock: MultiLock) -> JoinHandle<(Result<MultiGuard>, Instant)> {
    tokio::spawn(async move { (lock.lock().wait(LIMIT).await, Instant::now()) })
}

/// The JVM waits for this name: it is subscribed.
async fn waits_for(direct: &Direct, name: &str) {
    crate::common::subscribers(direct, name, 1).await;
}

fn report(who: &str, mut times: Vec<Duration>) {
    times.sort();
    println!(
        "multi, {who}: {} times, median {:?}, longest {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_change_hands_from_the_jvm_to_rust() {
    let Some(driver) = jvm_or_skip("all_members_change_hands_from_the_jvm_to_rust") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let (stem, mut times) = (unique_name("multi-jvm"), Vec::new());
    let names = three(&stem);
    for round in 0..ROUNDS {
        let order = if round % 2 == 0 {
            names.to_vec()
        } else {
            reversed(&names)
        };
        let java = theirs(&stage, &order);
        java.run("lock", &[]).await.expect("free");
        let owner = java.owner().await;
        assert_held(&direct, &names, &owner, 1);
        let lock = ours(&client, &names);
        assert!(lock.try_lock().await.expect("answers").is_none());
        assert!(!lock.raw().is_held_by_current().await.expect("answers"));
        assert_held(&direct, &names, &owner, 1);

        let waiting = wait_here(lock);
        asleep(&client).await;
        let released = Instant::now();
        java.run("unlock", &[]).await.expect("held");
        let (guard, granted) = waiting.await.expect("joins");
        let guard = guard.expect("granted after the unlock");
        let took = granted.saturating_duration_since(released);
        assert!(took < WAKE_LIMIT, "in only after {took:?}");
        times.push(took);
        assert_held(
            &direct,
            &names,
            &format!("{}:{}", client.id(), guard.owner()),
            1,
        );
        guard.unlock().await.expect("held");
        assert_free(&direct, &names);
        nothing_left(&direct, &stem).await;
    }
    report("JVM to Rust", times);
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_change_hands_from_rust_to_the_jvm() {
    let Some(driver) = jvm_or_skip("all_members_change_hands_from_rust_to_the_jvm") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let (stem, mut times) = (unique_name("multi-rust"), Vec::new());
    let names = three(&stem);
    for round in 0..ROUNDS {
        let order = if round % 2 == 0 {
            names.to_vec()
        } else {
            reversed(&names)
        };
        let guard = ours(&client, &names).lock().await.expect("free");
        let owner = format!("{}:{}", client.id(), guard.owner());
        assert_held(&direct, &names, &owner, 1);
        let java = theirs(&stage, &order);
        assert!(!java.truth("trylock", &[]).await, "in beside {guard:?}");
        assert_not_owner(&java.run("unlock", &[]).await);
        assert_held(&direct, &names, &owner, 1);

        let waiting = follow(java.begin("lock", &[]));
        waits_for(&direct, &order[0]).await;
        let released = Instant::now();
        guard.unlock().await.expect("held");
        times.push(served_there(waiting, released).await.1);
        assert_held(&direct, &names, &java.owner().await, 1);
        java.run("unlock", &[]).await.expect("held");
        assert_free(&direct, &names);
        nothing_left(&direct, &stem).await;
    }
    report("Rust to JVM", times);
    close(client).await;
}

/// Members taken by one lock in the JVM, the set by the other side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_keeps_out_the_set() {
    let Some(driver) = jvm_or_skip("one_member_keeps_out_the_set") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct, stem) = (
        stage.client().await,
        stage.server.direct(),
        unique_name("multi-one"),
    );
    let names = three(&stem);
    for at in 0..3 {
        let (busy, name) = (client.lock(names[at].as_str()), &names[at]);
        let guard = busy.with_owner(Owner::fresh()).lock().await.expect("free");
        let java = theirs(&stage, &names);
        let owner = java.owner().await;
        assert!(!java.truth("trylock", &[]).await);
        assert_held(&direct, &names[at..=at], &guard.owner_id(), 1);
        assert!(
            names
                .iter()
                .all(|other| other == name || !direct.exists(other))
        );
        let waiting = follow(java.begin("lock", &[]));
        waits_for(&direct, name).await;
        // It keeps those before it while it waits.
        assert_held(&direct, &names[..at], &owner, 1);
        assert_held(&direct, &names[at..=at], &guard.owner_id(), 1);
        let released = Instant::now();
        guard.unlock().await.expect("held");
        let took = served_there(waiting, released).await.1;
        println!("the JVM has the set {took:?} after the release of member {at}");
        assert_held(&direct, &names, &owner, 1);

        let lock = ours(&client, &names);
        java.run("unlock", &[]).await.expect("held");
        let holder = crate::java::JavaLock::new(&stage.jvm, name);
        holder.lock().await;
        assert!(lock.try_lock().await.expect("answers").is_none());
        assert!(
            names
                .iter()
                .all(|other| other == name || !direct.exists(other))
        );
        let waiting = wait_here(lock);
        asleep(&client).await;
        let released = Instant::now();
        holder.unlock().await;
        let (guard, granted) = waiting.await.expect("joins");
        let took = granted.saturating_duration_since(released);
        assert!(took < WAKE_LIMIT, "in only after {took:?}");
        guard.expect("granted").unlock().await.expect("held");
        nothing_left(&direct, &stem).await;
    }
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_exact_on_every_member_and_ends_for_the_jvm() {
    const LEASE: Duration = ms(2_000);
    let Some(driver) = jvm_or_skip("a_lease_is_exact_on_every_member_and_ends_for_the_jvm") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct, stem) = (
        stage.client().await,
        stage.server.direct(),
        unique_name("multi-lease"),
    );
    let names = three(&stem);
    // Also where members had to be waited for: the lease begins with the last one.
    let java = theirs(&stage, &names[2..]);
    java.run("lock", &[]).await.expect("free");
    let lock = ours(&client, &names);
    let raw = lock.raw();
    let waiting = tokio::spawn(async move { raw.lock_for(LEASE).await });
    asleep(&client).await;
    java.run("unlock", &[]).await.expect("held");
    waiting.await.expect("joins").expect("granted");
    let begun = Instant::now();
    let left: Vec<_> = names.iter().map(|name| direct.pttl(name)).collect();
    println!("of {LEASE:?} the members have {left:?} ms");
    assert!(
        left.iter().all(|left| (1_900..=2_000).contains(left)),
        "{left:?}"
    );
    assert!(left[2] - left[0] <= 20, "{left:?}");
    let owner = format!("{}:", client.id());
    for name in &names {
        let hash = direct.hgetall(name);
        let ours = |(field, count): (&String, &String)| field.starts_with(&owner) && count == "1";
        assert!(hash.len() == 1 && hash.iter().all(ours), "{hash:?}");
    }
    let java = theirs(&stage, &reversed(&names));
    java.run("lock", &[]).await.expect("at the lease's end");
    let took = begun.elapsed();
    assert!(
        (LEASE - ms(100)..LEASE + ms(500)).contains(&took),
        "{took:?}"
    );
    assert!(lock.raw().unlock().await.is_err(), "it was over");
    assert_held(&direct, &names, &java.owner().await, 1);
    java.run("unlock", &[]).await.expect("held");

    // The JVM's lease, seen from here.
    java.run("trylockfor", &["1000", "2000"])
        .await
        .expect("free");
    let begun = Instant::now();
    let left: Vec<_> = names.iter().map(|name| direct.pttl(name)).collect();
    assert!(
        left.iter().all(|left| (1_900..=2_000).contains(left)),
        "{left:?}"
    );
    let guard = ours(&client, &names).lock().wait(LIMIT).await;
    let took = begun.elapsed();
    assert!(
        (LEASE - ms(100)..LEASE + ms(500)).contains(&took),
        "{took:?}"
    );
    guard
        .expect("at the lease's end")
        .unlock()
        .await
        .expect("held");
    nothing_left(&direct, &stem).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_counted_and_renewed() {
    let Some(driver) = jvm_or_skip("members_are_counted_and_renewed") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::quick(driver).await;
    let (client, direct) = (stage.quick_client().await, stage.server.direct());
    let (left, right) = (unique_name("multi-kept"), unique_name("multi-kept"));
    let (there, here) = (three(&left), three(&right));
    let java = theirs(&stage, &there);
    java.run("lock", &[]).await.expect("free");
    java.run("lock", &[]).await.expect("again");
    let lock = ours(&client, &here);
    let guard = lock.lock().await.expect("free");
    let again = lock.try_lock().await.expect("answers").expect("again");
    let owner = format!("{}:{}", client.id(), guard.owner());
    let (kept, begun) = (QUICK * 3, Instant::now());
    let wants = ours(&client, &reversed(&there));
    let wanting = theirs(&stage, &reversed(&here));
    let wait = kept.as_millis().to_string();
    let wait = [wait.as_str(), "-1"];
    let (refused, refused_there) = tokio::join!(
        wants.lock().wait(kept).into_future(),
        wanting.truth("trylockfor", &wait)
    );
    assert!(refused.expect_err("the JVM holds it").is_timeout());
    assert!(!refused_there, "the JVM got in");
    assert!(begun.elapsed() >= kept);
    assert_held(&direct, &there, &java.owner().await, 2);
    assert_held(&direct, &here, &owner, 2);
    for name in there.iter().chain(&here) {
        assert!(direct.pttl(name) > 1_000);
    }
    again.unlock().await.expect("held");
    assert_held(&direct, &here, &owner, 1);
    assert!(!wanting.truth("trylock", &[]).await);
    guard.unlock().await.expect("held");
    for count in [1, 0] {
        java.run("unlock", &[]).await.expect("held");
        if count > 0 {
            assert_held(&direct, &there, &java.owner().await, count);
            assert!(wants.try_lock().await.expect("answers").is_none());
        }
    }
    for stem in [left, right] {
        nothing_left(&direct, &stem).await;
    }
    close(client).await;
}

/// The JVM has one member and waits for ours, we have one and wait for theirs: the JVM alone would keep its own for all of
/// its patience, 4.5 seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opposite_orders_part_soon() {
    let Some(driver) = jvm_or_skip("opposite_orders_part_soon") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct, stem) = (
        stage.client().await,
        stage.server.direct(),
        unique_name("multi-orders"),
    );
    let names = three(&stem);
    let middle = client.lock(names[1].as_str()).with_owner(Owner::fresh());
    let middle = middle.lock().await.expect("free");
    let java = theirs(&stage, &reversed(&names));
    let there = follow(java.begin("lock", &[]));
    eventually_async("the JVM has the last one", secs(5), async || {
        direct.exists(&names[2])
    })
    .await;
    let here = wait_here(ours(&client, &names));
    eventually_async("both wait for the middle", secs(5), async || {
        direct.numsub(&crate::common::channel(&names[1])) == 2
    })
    .await;
    let begun = Instant::now();
    middle.unlock().await.expect("held");
    let ((answer, theirs), ours) = tokio::join!(
        async {
            let answer = there.await.expect("joins");
            java.run("unlock", &[]).await.expect("held");
            answer
        },
        async {
            let (guard, granted) = here.await.expect("joins");
            guard.expect("granted").unlock().await.expect("held");
            granted
        }
    );
    answer.expect("granted");
    let (theirs, ours) = (theirs - begun, ours - begun);
    println!("the JVM is in after {theirs:?}, we after {ours:?}");
    assert!(theirs.max(ours) < secs(2), "{theirs:?}, {ours:?}");
    nothing_left(&direct, &stem).await;
    close(client).await;
}
