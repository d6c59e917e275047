//! One latch, both sides.

use std::time::Instant;

use redlatch_support::{jvm::jvm_or_skip, unique_name};

use crate::{
    common::{Stage, asleep, client, close, direct, quiet, shared_jvm},
    synchronizers::{Java, counter, served_here, served_there, unsubscribed, wait_here},
};

fn channel(key: &str) -> String {
    format!("redisson_countdownlatch__channel__{{{key}}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_leaves_the_same_on_the_server() {
    let Some(driver) = jvm_or_skip("every_step_leaves_the_same_on_the_server") else {
        return;
    };
    let (jvm, client, direct) = (shared_jvm(driver), client().await, direct());
    let (ours, theirs) = (unique_name("l-ours"), unique_name("l-theirs"));
    let (latch, java) = (
        client.count_down_latch(ours.as_str()),
        Java::new(jvm, &theirs),
    );
    let same = |step: &str| {
        let (here, there) = (counter(&direct, &ours), counter(&direct, &theirs));
        assert_eq!(here, there, "after {step}");
        assert_eq!(direct.pttl(&ours), direct.pttl(&theirs), "after {step}");
    };
    let count = async || {
        let here = latch.count().await.expect("answers");
        let there = java.number("lcount", &[]).await;
        assert_eq!(i64::try_from(here).expect("small"), there);
    };
    latch.count_down().await.expect("answers");
    java.value("lcountdown", &[]).await;
    same("count down of nothing");
    for (set, wanted) in [("2", true), ("5", false)] {
        let here = latch.try_set_count(set.parse().expect("a number")).await;
        let here = here.expect("answers");
        assert_eq!(
            (here, java.truth("ltryset", &[set]).await),
            (wanted, wanted)
        );
        same("set");
    }
    for _ in 0..3 {
        count().await;
        latch.count_down().await.expect("answers");
        java.value("lcountdown", &[]).await;
        same("count down");
    }
    count().await;
    assert!(!latch.delete().await.expect("answers"));
    assert!(!java.truth("ldelete", &[]).await);
    assert!(latch.try_set_count(0).await.expect("answers"));
    assert!(java.truth("ltryset", &["0"]).await);
    same("set to zero");
    latch.count_down().await.expect("answers");
    java.value("lcountdown", &[]).await;
    same("count down of zero");
    assert!(latch.try_set_count(9).await.expect("answers"));
    assert!(java.truth("ltryset", &["9"]).await);
    assert!(latch.delete().await.expect("answers"));
    assert!(java.truth("ldelete", &[]).await);
    same("delete");
    close(client).await;
}

/// Both sides count the same latch down, and those who wait on both are let through by the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_side_opens_it_for_both() {
    let Some(driver) = jvm_or_skip("either_side_opens_it_for_both") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let (client, direct) = (stage.client().await, stage.server.direct());
    // The name's own tag makes no difference to the channel.
    for name in [unique_name("l-both"), unique_name("l-{tag}-both")] {
        let latch = client.count_down_latch(name.as_str());
        let (java, waiter) = (Java::new(&stage.jvm, &name), Java::new(&stage.jvm, &name));
        for ours_is_last in [true, false] {
            assert!(latch.try_set_count(2).await.expect("answers"));
            let there = waiter
                .waits(&direct, &channel(&name), "get", "lawait", &[])
                .await;
            let here = wait_here(latch.wait());
            asleep(&client).await;
            let messages = client.stats().wakeups_by_message;
            if ours_is_last {
                java.value("lcountdown", &[]).await;
            } else {
                latch.count_down().await.expect("answers");
            }
            assert!(!here.is_finished() && !there.is_finished());
            let opened = Instant::now();
            if ours_is_last {
                latch.count_down().await.expect("answers");
            } else {
                java.value("lcountdown", &[]).await;
            }
            let (_, took_there) = served_there(there, opened).await;
            let ((), took_here) = served_here(&client, here, opened, messages).await;
            println!("ours last: {ours_is_last}; JVM {took_there:?}, Rust {took_here:?}");
            assert_eq!(counter(&direct, &name), None);
        }
        unsubscribed(&direct, &channel(&name)).await;
    }
    close(client).await;
}

/// A deletion by the JVM wakes those who wait here, which it does not do there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_deletion_wakes_a_rust_waiter() {
    let Some(driver) = jvm_or_skip("a_jvm_deletion_wakes_a_rust_waiter") else {
        return;
    };
    let _quiet = quiet().await;
    let stage = Stage::shared(driver).await;
    let client = stage.client().await;
    let name = unique_name("l-delete");
    let (latch, java) = (
        client.count_down_latch(name.as_str()),
        Java::new(&stage.jvm, &name),
    );
    assert!(java.truth("ltryset", &["3"]).await);
    let waiting = wait_here(latch.wait());
    asleep(&client).await;
    let messages = client.stats().wakeups_by_message;
    let deleted = Instant::now();
    assert!(java.truth("ldelete", &[]).await);
    served_here(&client, waiting, deleted, messages).await;
    close(client).await;
}
