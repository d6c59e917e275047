//! A cluster, whose nodes have a user each.

use std::collections::BTreeSet;

use redlatch::{Client, ClientBuilder};
use redlatch_support::Cluster;

use crate::kit::{
    Feature, PASSWORD, asleep, close, connect, forget_refusals, make_user, missing,
    nothing_was_refused, rules, secs,
};

const LOCK: [Feature; 5] = [
    Feature::ReentrantLock,
    Feature::Semaphore,
    Feature::Inspect,
    Feature::Cluster,
    Feature::ShardedMessages,
];

/// Makes the user on every node, but for one right.
fn make_users(cluster: &Cluster, but: &str) {
    let mut rules = rules(&LOCK, "app:");
    rules.retain(|rule| rule != but);
    for node in cluster.nodes() {
        make_user(&node.direct(), "shop", &rules);
    }
}

fn builder(cluster: &Cluster) -> ClientBuilder {
    let builder = Client::builder().cluster(cluster.urls()).expect("urls");
    builder
        .credentials("shop", PASSWORD)
        .key_prefix("app:")
        .safety_poll(secs(20))
}

#[tokio::test]
async fn a_cluster_takes_no_more_than_it_says() {
    let cluster = Cluster::builder().masters(3).replicas(0).start();
    if cluster.nodes()[0].binary().major() < 7 {
        return println!("this server knows no sharded messages");
    }
    make_users(&cluster, "");
    for node in cluster.nodes() {
        forget_refusals(&node.direct());
    }
    let one = connect(builder(&cluster).self_test(LOCK)).await;
    let two = connect(builder(&cluster).self_test(LOCK)).await;
    for master in cluster.masters() {
        let name = cluster.name_on(master, "app:lock");
        let name = name.strip_prefix("app:").expect("it begins with it");
        let guard = one.lock(name).lock().await.expect("free");
        let waiting = tokio::spawn({
            let lock = two.lock(name);
            async move { lock.lock().wait(secs(10)).await }
        });
        asleep(&two, 1).await;
        one.inspect(name).await.expect("answers");
        guard.unlock().await.expect("held");
        let guard = waiting.await.expect("joins").expect("woken");
        guard.unlock().await.expect("held");
        let semaphore = one.semaphore(format!("{name}-s"));
        semaphore.release(1).await.expect("given");
        drop(semaphore.acquire().await.expect("there"));
    }
    close(one).await;
    close(two).await;
    for node in cluster.nodes() {
        nothing_was_refused(&node.direct());
    }

    // Each right is named, but the one that is not tried and the one without which nothing is found.
    let rights: BTreeSet<_> = rules(&LOCK, "app:")
        .into_iter()
        .filter(|rule| rule.starts_with(['~', '&', '+']))
        .filter(|rule| !["+asking", "+cluster|nodes"].contains(&rule.as_str()))
        // Sharded messages are in use, so these are not.
        .filter(|rule| !["+subscribe", "+unsubscribe"].contains(&rule.as_str()))
        .collect();
    for right in rights {
        make_users(&cluster, &right);
        let outcome = builder(&cluster).self_test(LOCK).connect().await;
        assert_eq!(missing(outcome, &right), [right.as_str()]);
    }
}
