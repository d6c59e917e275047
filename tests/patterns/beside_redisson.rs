//! Beside the real Redisson: the locks beneath are locks that it sees, and waits for.
//!
//! Without a JDK and Maven each test says so and passes; under `CI=true` it fails.

use std::time::Instant;

use redlatch::Outcome;
use redlatch_support::{
    Server, eventually_async,
    jvm::{Jvm, JvmOptions, JvmThread, follow, jvm_or_skip},
};

use crate::kit::{LIMIT, asleep, by_message, close, ms, secs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_that_holds_the_lock_keeps_a_campaign_waiting_and_the_other_way_round() {
    let test = "a_jvm_that_holds_the_lock_keeps_a_campaign_waiting_and_the_other_way_round";
    let Some(driver) = jvm_or_skip(test) else {
        return;
    };
    let server = Server::start();
    let jvm = Jvm::start(driver, &JvmOptions::single(server.url()));
    let client = by_message(&server.url()).await;
    let (java, direct) = (JvmThread::new(&jvm), server.direct());
    let election = client.election("shared");

    let token: i64 = java
        .value("locktoken", &["fenced", "shared"])
        .await
        .parse()
        .expect("a number");
    assert_eq!(
        election.leader().await.expect("answers"),
        None,
        "it says nothing"
    );
    let busy = election.campaign("ours").wait(ms(50)).await;
    assert!(busy.expect_err("is held").is_timeout());
    let waiting = tokio::spawn(election.campaign("ours").wait(LIMIT).into_future());
    asleep(&client).await;
    let freed = Instant::now();
    java.value("unlock", &["fenced", "shared"]).await;
    let leadership = waiting.await.expect("joins").expect("leads");
    assert!(
        freed.elapsed() < secs(5),
        "woken by its message: {:?}",
        freed.elapsed()
    );
    assert_eq!(leadership.term().get(), token + 1, "one counter for both");

    assert_eq!(java.value("islocked", &["fenced", "shared"]).await, "true");
    assert_eq!(java.value("trylock", &["fenced", "shared"]).await, "false");
    let pending = follow(java.begin("locktoken", &["fenced", "shared"]));
    let channel = "redisson_lock__channel:{shared}";
    eventually_async("the JVM waits", secs(10), async || {
        direct.numsub(channel) >= 1
    })
    .await;
    let seen = election.leader().await.expect("answers").expect("leads");
    assert_eq!(seen.value, "ours");
    leadership.resign().await.expect("led until now");
    let (answer, _) = pending.await.expect("joins");
    let theirs: i64 = answer.expect("granted").value.parse().expect("a number");
    assert_eq!(theirs, token + 2);
    assert_eq!(election.leader().await.expect("answers"), None);
    java.value("unlock", &["fenced", "shared"]).await;
    close(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jvm_that_holds_the_lock_keeps_a_job_from_running_and_the_other_way_round() {
    let test = "a_jvm_that_holds_the_lock_keeps_a_job_from_running_and_the_other_way_round";
    let Some(driver) = jvm_or_skip(test) else {
        return;
    };
    let server = Server::start();
    let jvm = Jvm::start(driver, &JvmOptions::single(server.url()));
    let client = by_message(&server.url()).await;
    let java = JvmThread::new(&jvm);
    let job = client.once_per("shared", secs(60));
    java.value("lock", &["lock", "shared"]).await;
    let outcome = job.run_if_due(async {}).await;
    assert!(matches!(outcome, Ok(Outcome::NotDue)), "{outcome:?}");
    java.value("unlock", &["lock", "shared"]).await;
    let outcome = job
        .run_if_due(java.value("trylock", &["lock", "shared"]))
        .await;
    let Ok(Outcome::Ran(theirs)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(theirs, "false", "it sees that somebody has the lock");
    assert_eq!(
        java.value("trylock", &["lock", "shared"]).await,
        "true",
        "and that it is free"
    );
    java.value("unlock", &["lock", "shared"]).await;
    close(client).await;
}
