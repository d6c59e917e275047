//! A lease ends when it says, both sides see the same time to live, and the other side gets in at its end.
//!
//! Nothing is published when a lease runs out on the server, so Rust gets in by its own timer. A lease of ours is given
//! back when its guard's deadline is over, which is a little before that.

use std::time::{Duration, Instant};

use redlatch::LossCause;
use redlatch_support::{Direct, jvm::jvm_or_skip, unique_name};

use crate::{
    common::{assert_lost, client, close, direct, ms, quiet, secs, shared_jvm, wait_for},
    java::{JavaLock, assert_not_owner, follow},
};

const LEASE: Duration = ms(1500);
/// How late a waiter may be in after the end of a lease that no message tells.
const LATE: Duration = ms(500);
/// How early the server may end a lease: it counts whole milliseconds.
const EARLY: Duration = ms(2);

/// Compares a time to live with the server's, asked before and after it.
fn assert_ttl(direct: &Direct, key: &str, seen: i64, before: i64) {
    let after = direct.pttl(key);
    assert!(
        (after..=before).contains(&seen) && after > 0,
        "saw {seen} ms, the server {before} before and {after} after"
    );
}

/// Checks when the waiter got in: not before the lease was over, and soon after.
fn assert_in_at_end(asked: Instant, leased: Instant, granted: Instant, early: Duration) {
    let (least, most) = (granted - leased, granted - asked);
    assert!(
        most + early >= LEASE,
        "in after {most:?}, with {LEASE:?} promised"
    );
    assert!(
        least < LEASE + LATE,
        "in only {least:?} after a lease of {LEASE:?} began"
    );
    println!("in between {least:?} and {most:?} after a lease of {LEASE:?} began");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_gets_in_when_a_jvm_lease_ends() {
    let Some(driver) = jvm_or_skip("rust_gets_in_when_a_jvm_lease_ends") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("lease-jvm"));
    let java = JavaLock::new(shared_jvm(driver), &name);
    let lock = client.lock(name.as_str());

    let asked = Instant::now();
    java.run("lockfor", &[&LEASE.as_millis().to_string()])
        .await
        .expect("free");
    let leased = Instant::now();
    let waiter = wait_for(lock.clone());

    let before = direct.pttl(&name);
    let seen = lock.raw().remaining_ttl().await.expect("answers");
    let seen = i64::try_from(seen.expect("held").as_millis()).expect("small");
    assert_ttl(&direct, &name, seen, before);

    let (guard, granted) = waiter.await.expect("joins");
    let guard = guard.expect("granted at the lease's end");
    assert_in_at_end(asked, leased, granted, EARLY);
    assert_not_owner(&java.run("unlock", &[]).await);
    assert!(
        direct.hgetall(&name).contains_key(&guard.owner_id()),
        "the late unlock took our hold away"
    );
    guard.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jvm_gets_in_when_a_rust_lease_ends() {
    let Some(driver) = jvm_or_skip("the_jvm_gets_in_when_a_rust_lease_ends") else {
        return;
    };
    let _quiet = quiet().await;
    let (client, direct, name) = (client().await, direct(), unique_name("lease-rust"));
    let (looker, java) = (
        JavaLock::new(shared_jvm(driver), &name),
        JavaLock::new(shared_jvm(driver), &name),
    );

    let asked = Instant::now();
    let guard = client
        .lock(name.as_str())
        .lock()
        .lease(LEASE)
        .await
        .expect("free");
    let leased = Instant::now();
    let waiter = follow(java.begin("lock", &[]));

    let before = direct.pttl(&name);
    let seen = looker.number("ttl").await;
    assert_ttl(&direct, &name, seen, before);

    let (reply, granted) = waiter.await.expect("joins");
    reply.expect("granted at the lease's end");
    assert_in_at_end(asked, leased, granted, EARLY);
    let valid_until = guard.valid_until();
    assert!(
        valid_until <= granted,
        "two holders for {:?}, by our guard's word",
        valid_until - granted
    );
    let cause = tokio::time::timeout(secs(1), guard.lost())
        .await
        .expect("the guard knows that its lease is over");
    assert_eq!(cause, LossCause::LeaseExpired);
    assert_lost(&guard.unlock().await);
    assert!(
        java.truth("isheld").await,
        "our late unlock took the JVM's hold away"
    );
    java.unlock().await;
    close(client).await;
}
