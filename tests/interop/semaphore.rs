//! One semaphore, both sides.

use std::time::{Duration, Instant};

use redlatch_support::{jvm::jvm_or_skip, unique_name};

use crate::{
    common::{Stage, asleep, client, close, direct, loud, quiet, secs, shared_jvm},
    synchronizers::{
        Java, counter, semaphore_channel, served_here, served_there, unsubscribed, wait_here,
    },
};

/// Every step by either side leaves what the same step by the other side leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_leaves_the_same_on_the_server() {
    let Some(driver) = jvm_or_skip("every_step_leaves_the_same_on_the_server") else {
        return;
    };
    let (jvm, client, direct) = (shared_jvm(driver), client().await, direct());
    let (ours, theirs) = (unique_name("s-ours"), unique_name("s-theirs"));
    let (semaphore, java) = (client.semaphore(ours.as_str()), Java::new(jvm, &theirs));
    let same = |step: &str| {
        let (here, there) = (counter(&direct, &ours), counter(&direct, &theirs));
        assert_eq!(here, there, "after {step}");
        let (here, there) = (direct.pttl(&ours), direct.pttl(&theirs));
        assert!(
            (here - there).abs() < 5_000,
            "ttl after {step}: {here}, {there}"
        );
        assert_eq!(here < 0, there < 0, "ttl after {step}: {here}, {there}");
    };
    let set = semaphore.try_set_permits(10).await.expect("answers");
    assert_eq!(set, java.truth("stryset", &["10"]).await);
    same("set");
    let set = semaphore.try_set_permits(7).await.expect("answers");
    assert_eq!(set, java.truth("stryset", &["7"]).await);
    same("set again");
    semaphore.acquire_many(3).await.expect("ten").forget();
    java.value("sacquire", &["3"]).await;
    same("acquire");
    let got = semaphore.try_acquire_many(8).await.expect("answers");
    assert_eq!(got.is_some(), java.truth("stryacquire", &["8"]).await);
    same("refused");
    semaphore.release(2).await.expect("answers");
    java.value("srelease", &["2"]).await;
    same("release");
    let there = semaphore.release_if_exists(1).await.expect("answers");
    assert_eq!(there, java.truth("sreleaseifexists", &["1"]).await);
    same("release if it is there");
    semaphore.add_permits(-20).await.expect("answers");
    java.value("sadd", &["-20"]).await;
    same("take away");
    let left = semaphore.available_permits().await.expect("answers");
    assert_eq!(left, java.number("savailable", &[]).await);
    semaphore.add_permits(25).await.expect("answers");
    java.value("sadd", &["25"]).await;
    same("add");
    let all = semaphore.drain_permits().await.expect("answers");
    assert_eq!(all, java.number("sdrain", &["0"]).await);
    same("drain");
    assert!(semaphore.delete().await.expect("answers"));
    assert!(java.truth("sdelete", &[]).await);
    same("delete");
    let none = semaphore.drain_permits().await.expect("answers");
    assert_eq!(none, java.number("sdrain", &["0"]).await);
    let there = semaphore.release_if_exists(1).await.expect("answers");
    assert_eq!(there, java.truth("sreleaseifexists", &["1"]).await);
    same("nothing there");
    let set = semaphore.try_set_permits_for(3, secs(60)).await;
    assert!(set.expect("answers"));
    assert!(java.truth("strysetfor", &["3", "60000"]).await);
    same("set for a time");
    semaphore.release(1).await.expect("answers");
    java.value("srelease", &["1"]).await;
    same("release within its time");
    semaphore.add_permits(1).await.expect("answers");
    java.value("sadd", &["1"]).await;
    same("add within its time");
    close(client).await;
}

/// What one side takes the other gives back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_are_taken_here_and_given_back_there() {
    let Some(driver) = jvm_or_skip("permits_are_taken_here_and_given_back_there") else {
        return;
    };
    let (jvm, client, direct) = (shared_jvm(driver), client().await, direct());
    for name in [unique_name("s-both"), unique_name("s-{tag}-both")] {
        let (semaphore, java) = (client.semaphore(name.as_str()), Java::new(jvm, &name));
        assert!(java.truth("stryset", &["2"]).await);
        semaphore.acquire_many(2).await.expect("two").forget();
        assert!(!java.truth("stryacquire", &["1"]).await);
        java.value("srelease", &["2"]).await;
        java.value("sacquire", &["2"]).await;
        assert!(semaphore.try_acquire().await.expect("answers").is_none());
        semaphore.release(2).await.expect("answers");
        assert_eq!(java.number("sdrain", &["0"]).await, 2);
        assert_eq!(semaphore.available_permits().await.expect("answers"), 0);
        assert_eq!(counter(&direct, &name).as_deref(), Some("0"));
    }
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_release_wakes_a_rust_waiter() {
    let Some(driver) = jvm_or_skip("a_jvm_release_wakes_a_rust_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let name = unique_name("s-wake-rust");
    let (semaphore, java) = (
        client.semaphore(name.as_str()),
        Java::new(&stage.jvm, &name),
    );
    let mut longest = Duration::ZERO;
    for way in ["srelease", "sadd", "stryset"] {
        if way == "stryset" {
            java.truth("sdelete", &[]).await;
        }
        let waiting = wait_here(semaphore.acquire_many(2));
        asleep(&client).await;
        let messages = client.stats().wakeups_by_message;
        let released = Instant::now();
        java.value(way, &["2"]).await;
        let (permit, took) = served_here(&client, waiting, released, messages).await;
        longest = longest.max(took);
        permit.forget();
        assert_eq!(counter(&direct, &name).as_deref(), Some("0"), "{way}");
    }
    println!("Rust waiter: longest {longest:?}");
    unsubscribed(&direct, &semaphore_channel(&name)).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rust_release_wakes_a_jvm_waiter() {
    let Some(driver) = jvm_or_skip("a_rust_release_wakes_a_jvm_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let name = unique_name("s-wake-jvm");
    let channel = semaphore_channel(&name);
    let (semaphore, java) = (
        client.semaphore(name.as_str()),
        Java::new(&stage.jvm, &name),
    );
    let mut longest = Duration::ZERO;
    for way in 0..5 {
        if way == 2 {
            assert!(semaphore.delete().await.expect("answers"));
        }
        let held = match way {
            3 => {
                semaphore.release(2).await.expect("answers");
                Some(semaphore.acquire_many(2).await.expect("two"))
            }
            _ => None,
        };
        let waiting = java
            .waits(&direct, &channel, "evalsha", "sacquire", &["2"])
            .await;
        let released = Instant::now();
        match (way, held) {
            (0, _) => semaphore.release(2).await.expect("answers"),
            (1, _) => semaphore.add_permits(2).await.expect("answers"),
            (2, _) => assert!(semaphore.try_set_permits(2).await.expect("answers")),
            (_, Some(held)) => drop(held),
            _ => assert!(semaphore.release_if_exists(2).await.expect("answers")),
        }
        let (_, took) = served_there(waiting, released).await;
        longest = longest.max(took);
        assert_eq!(counter(&direct, &name).as_deref(), Some("0"), "{way}");
    }
    println!("JVM waiter: longest {longest:?}");
    unsubscribed(&direct, &channel).await;
    close(client).await;
}

/// One message wakes as many JVM threads as there are permits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_release_serves_three_jvm_waiters() {
    let Some(driver) = jvm_or_skip("one_release_serves_three_jvm_waiters") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    let name = unique_name("s-three");
    let semaphore = client.semaphore(name.as_str());
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let java = Java::new(&stage.jvm, &name);
        let channel = semaphore_channel(&name);
        waiting.push(
            java.waits(&direct, &channel, "evalsha", "sacquire", &["1"])
                .await,
        );
    }
    let released = Instant::now();
    semaphore.release(3).await.expect("answers");
    for waiting in waiting {
        served_there(waiting, released).await;
    }
    assert_eq!(counter(&direct, &name).as_deref(), Some("0"));
    close(client).await;
}

/// Both sides take and give for a while, all permits are there in the end, and never more were taken.
#[test]
fn both_sides_contend_and_no_permit_is_lost() {
    let Some(driver) = jvm_or_skip("both_sides_contend_and_no_permit_is_lost") else {
        return;
    };
    const PERMITS: u32 = 3;
    let _loud = loud();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let (jvm, client, direct) = (shared_jvm(driver), client().await, direct());
        let name = unique_name("s-contend");
        let semaphore = client.semaphore(name.as_str());
        assert!(semaphore.try_set_permits(PERMITS).await.expect("answers"));
        let ours: Vec<_> = (0..4)
            .map(|_| {
                let semaphore = semaphore.clone();
                tokio::spawn(async move {
                    for round in 0..50_u32 {
                        let wanted = 1 + round % 2;
                        let permit = semaphore.acquire_many(wanted).wait(secs(20)).await;
                        permit.expect("granted").release().await.expect("done");
                    }
                })
            })
            .collect();
        let theirs = futures_util::future::join_all((0..3).map(|_| async {
            let java = Java::new(jvm, &name);
            for round in 0..50 {
                let wanted = (1 + round % 2).to_string();
                let got = java.truth("stryacquirefor", &[&wanted, "20000"]).await;
                assert!(got, "the JVM waited for 20 s");
                java.value("srelease", &[&wanted]).await;
            }
        }));
        let watch = async {
            loop {
                let left: i64 = counter(&direct, &name)
                    .and_then(|left| left.parse().ok())
                    .expect("there");
                assert!((0..=i64::from(PERMITS)).contains(&left), "{left} are left");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = async {
                theirs.await;
                for ours in ours {
                    ours.await.expect("no panic");
                }
            } => {}
            () = watch => {}
        }
        assert_eq!(counter(&direct, &name), Some(PERMITS.to_string()));
        println!("{:?}", client.stats());
        close(client).await;
    });
}
