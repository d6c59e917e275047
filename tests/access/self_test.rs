//! The self-test names exactly what is missing, before a lock is taken, and leaves nothing behind.

use std::time::Instant;

use redlatch::{Client, Error, Event};
use redlatch_support::{Proxy, Server};
use tokio_stream::StreamExt;

use crate::kit::{
    Feature, PASSWORD, asleep, builder, close, connect, forget_refusals, make_user, missing,
    nothing_is_left, nothing_was_refused, rules, secs,
};

/// Everything there is on one server, but the other database, which is part of the address.
fn features() -> Vec<Feature> {
    use Feature::{Cluster, Database, ReplicasOnDisk, ShardedMessages};
    let all = Feature::ALL.iter().copied();
    all.filter(|feature| ![Cluster, Database, ReplicasOnDisk, ShardedMessages].contains(feature))
        .collect()
}

/// The rules but for one.
fn without(all: &[String], right: &str) -> Vec<String> {
    all.iter().filter(|rule| *rule != right).cloned().collect()
}

#[tokio::test]
async fn every_right_that_is_missing_is_named_and_no_other() {
    let server = Server::builder().start();
    let direct = server.direct();
    let all = rules(&features(), "app:");
    let rights: Vec<_> = all
        .iter()
        .filter(|rule| rule.starts_with(['~', '&', '+']))
        .collect();
    assert!(rights.len() > 55, "{rights:?}");
    for right in &rights {
        make_user(&direct, "shop", &without(&all, right));
        let outcome = builder(&server, "shop")
            .self_test(features())
            .connect()
            .await;
        assert_eq!(missing(outcome, right), [right.to_string()]);
    }
    nothing_is_left(&direct).await;

    // With all of them it passes, and the server has nothing to say about it.
    make_user(&direct, "shop", &all);
    forget_refusals(&direct);
    close(connect(builder(&server, "shop").self_test(features())).await).await;
    nothing_is_left(&direct).await;
    nothing_was_refused(&direct);
}

#[tokio::test]
async fn each_feature_asks_for_its_own_rights_only() {
    let server = Server::builder().start();
    let direct = server.direct();
    for feature in features() {
        let all = rules(&[feature], "app:");
        make_user(&direct, "shop", &all);
        forget_refusals(&direct);
        let client = connect(builder(&server, "shop").self_test([feature])).await;
        nothing_was_refused(&direct);
        close(client).await;
        for right in all.iter().filter(|rule| rule.starts_with(['~', '&', '+'])) {
            make_user(&direct, "shop", &without(&all, right));
            let outcome = builder(&server, "shop")
                .self_test([feature])
                .connect()
                .await;
            let what = format!("{feature:?} without {right}");
            assert_eq!(missing(outcome, &what), [right.as_str()], "{what}");
        }
    }
    nothing_is_left(&direct).await;
}

/// The refusal may come back before anything waits for it. It must be heard all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refused_subscription_is_noticed_every_time() {
    let server = Server::start();
    let direct = server.direct();
    let all = rules(&[Feature::ReentrantLock], "app:");
    for right in ["+subscribe", "+unsubscribe"] {
        make_user(&direct, "shop", &without(&all, right));
        for _ in 0..60 {
            let builder = builder(&server, "shop").self_test([Feature::ReentrantLock]);
            assert_eq!(missing(builder.connect().await, right), [right]);
        }
    }
}

#[tokio::test]
async fn b15_without_publish_nobody_gets_as_far_as_a_lock() {
    let server = Server::start();
    let direct = server.direct();
    let all = rules(&[Feature::ReentrantLock], "app:");
    make_user(&direct, "mute", &without(&all, "+publish"));
    make_user(&direct, "shop", &all);

    // At the start, by name.
    let builder = || builder(&server, "mute");
    let error = builder()
        .self_test([Feature::ReentrantLock])
        .connect()
        .await
        .expect_err("may not publish");
    assert!(!error.is_retryable() && !error.is_indeterminate());
    let text = error.to_string();
    assert!(text.contains("+publish"), "{text}");
    assert_eq!(missing(Err::<(), _>(error), "mute"), ["+publish"]);

    // Without the test: released, said to be, and the waiter looks for itself.
    let holder = connect(builder()).await;
    let waiter = connect(crate::kit::builder(&server, "shop")).await;
    let mut events = holder.events();
    let guard = holder.lock("b15").lock().await.expect("free");
    let waiting = tokio::spawn({
        let lock = waiter.lock("b15");
        async move { lock.lock().wait(secs(30)).await }
    });
    asleep(&waiter, 1).await;
    guard
        .unlock()
        .await
        .expect("released, although nobody is told");
    let released = Instant::now();
    let refused = async {
        loop {
            if let Some(Event::WakeUpRefused { name, .. }) = events.next().await {
                return name;
            }
        }
    };
    let name = tokio::time::timeout(secs(2), refused).await.expect("told");
    assert_eq!(&*name, "b15");
    let guard = waiting.await.expect("joins").expect("granted");
    let took = released.elapsed();
    println!("B15: a waiter that is not woken gets the lock after {took:?}");
    assert!(took < secs(2), "{took:?}");
    guard.unlock().await.expect("held");
    close(holder).await;
    close(waiter).await;
    nothing_is_left(&direct).await;
}

#[tokio::test]
async fn a_user_confined_to_some_names_is_tested_on_those() {
    let server = Server::start();
    let direct = server.direct();
    let features = [Feature::ReentrantLock, Feature::TaggedNames];
    // The client does not know of `orders:`, but puts `app:` before it.
    let all = rules(&features, "app:orders:");
    make_user(&direct, "shop", &all);
    let client = connect(builder(&server, "shop")).await;
    let error = client.self_test(features).await;
    assert_eq!(missing(error, "app:"), ["~app:*"]);
    client
        .self_test_under("orders:", features)
        .await
        .expect("all that is asked for");
    for right in all.iter().filter(|rule| rule.starts_with(['~', '&'])) {
        make_user(&direct, "shop", &without(&all, right));
        let client = connect(builder(&server, "shop")).await;
        let outcome = client.self_test_under("orders:", features).await;
        assert_eq!(missing(outcome, right), [right.as_str()]);
        close(client).await;
    }

    // A mapper that keeps nothing of the name: the key itself is named.
    let odd = || {
        let url = format!("redis://127.0.0.1:{}", server.port());
        let builder = Client::builder().url(url).expect("url");
        builder
            .credentials("shop", PASSWORD)
            .name_mapper(|name| format!("[{}]", name.len()))
    };
    make_user(&direct, "shop", &rules(&[Feature::SpinLock], "app:"));
    let client = connect(odd()).await;
    let outcome = client.self_test([Feature::SpinLock]).await;
    assert_eq!(missing(outcome, "odd"), ["~\\[55\\]"]);
    close(client).await;
    nothing_is_left(&direct).await;
}

#[tokio::test]
async fn a_server_in_trouble_does_not_look_like_a_missing_right() {
    let server = Server::start();
    let direct = server.direct();
    make_user(&direct, "shop", &rules(&features(), "app:"));
    let client = connect(builder(&server, "shop")).await;
    direct.cmd(&["CONFIG", "SET", "maxmemory", "1"]).accepted();
    client
        .self_test(features())
        .await
        .expect("full, but allowed");
    direct.cmd(&["CONFIG", "SET", "maxmemory", "0"]).accepted();
    direct.cmd(&["REPLICAOF", "127.0.0.1", "1"]).accepted();
    client
        .self_test(features())
        .await
        .expect("a replica, but allowed");
    direct.cmd(&["REPLICAOF", "NO", "ONE"]).accepted();
    direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
    client
        .self_test(features())
        .await
        .expect("loads its script");
    // A user that is gone is no matter of rights.
    direct.cmd(&["ACL", "DELUSER", "shop"]).accepted();
    let error = client.self_test(features()).await.expect_err("gone");
    assert!(!matches!(error, Error::MissingRights { .. }), "{error}");
    close(client).await;
    nothing_is_left(&direct).await;
}

#[tokio::test]
async fn a_test_that_nobody_waits_for_leaves_nothing() {
    let server = Server::start();
    let direct = server.direct();
    make_user(&direct, "shop", &rules(&features(), "app:"));
    let client = connect(builder(&server, "shop")).await;
    for polls in 0..40 {
        redlatch_support::polled(polls, client.self_test(features())).await;
    }
    nothing_is_left(&direct).await;
    close(client).await;
}

#[tokio::test]
async fn another_database_takes_a_right_of_its_own() {
    let server = Server::start();
    let direct = server.direct();
    let features = [Feature::SpinLock, Feature::Database];
    let all = rules(&features, "app:");
    let in_three = || {
        let url = format!("redis://127.0.0.1:{}/3", server.port());
        let builder = Client::builder().url(url).expect("url");
        builder
            .credentials("shop", PASSWORD)
            .key_prefix("app:")
            .self_test(features)
    };
    make_user(&direct, "shop", &without(&all, "+select"));
    assert_eq!(missing(in_three().connect().await, "3"), ["+select"]);
    make_user(&direct, "shop", &all);
    let client = connect(in_three()).await;
    let guard = client.spin_lock("there").lock().await.expect("free");
    guard.unlock().await.expect("held");
    close(client).await;
}

#[tokio::test]
async fn it_costs_few_round_trips() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let client = Client::connect(url).await.expect("connects");
    client.self_test(features()).await.expect("may do anything");
    proxy.delay(std::time::Duration::from_millis(50));
    let started = Instant::now();
    client.self_test(features()).await.expect("may do anything");
    let took = started.elapsed();
    println!("{took:?} with 100 ms for a round trip");
    assert!(took < std::time::Duration::from_millis(1_300), "{took:?}");
    close(client).await;
}
