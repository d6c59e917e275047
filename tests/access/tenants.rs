//! Names are chosen by strangers: a tenant's prefix is never left, and patterns in a name are no patterns.

use std::collections::BTreeSet;

use redlatch::{Client, Error, Refusal};
use redlatch_support::Server;

use crate::kit::{
    Feature, PASSWORD, asleep, close, connect, make_user, ms, nothing_is_left, nothing_was_refused,
    rules, secs,
};

const FEATURES: [Feature; 3] = [
    Feature::ReentrantLock,
    Feature::FairLock,
    Feature::TaggedNames,
];
/// Would allow much more where they were taken for patterns.
const PREFIXES: [&str; 3] = ["*:", "a[b-z]?:", "a\\*:"];
const NAMES: [&str; 5] = ["*", "[a-z]", "?", "}{x", "\\"];

async fn tenant(server: &Server, user: &str, prefix: &str) -> Client {
    let builder = Client::builder().url(format!("redis://127.0.0.1:{}", server.port()));
    let builder = builder.expect("url").credentials(user, PASSWORD);
    // Waiters depend on messages: they look for themselves far too late.
    let builder = builder.watchdog_timeout(secs(20)).safety_poll(secs(20));
    connect(builder.key_prefix(prefix)).await
}

#[tokio::test]
async fn patterns_in_names_and_prefixes_stand_for_themselves() {
    for prefix in PREFIXES {
        let server = Server::start();
        let direct = server.direct();
        make_user(&direct, "shop", &rules(&FEATURES, prefix));
        let one = tenant(&server, "shop", prefix).await;
        let other = tenant(&server, "shop", prefix).await;
        for name in NAMES {
            let held = (
                one.lock(name).lock().await.expect("free"),
                one.fair_lock(format!("{name}fair"))
                    .lock()
                    .await
                    .expect("free"),
            );
            let waiting = tokio::spawn({
                let (plain, fair) = (other.lock(name), other.fair_lock(format!("{name}fair")));
                async move {
                    let (plain, fair) =
                        tokio::join!(plain.lock().wait(secs(15)), fair.lock().wait(secs(15)));
                    plain.expect("woken").unlock().await.expect("held");
                    fair.expect("woken").unlock().await.expect("held");
                }
            });
            asleep(&other, 2).await;
            held.0.unlock().await.expect("held");
            held.1.unlock().await.expect("held");
            tokio::time::timeout(secs(10), waiting)
                .await
                .expect("woken by a message")
                .expect("served");
        }
        nothing_was_refused(&direct);
        // What the prefix would allow if it were a pattern belongs to somebody else.
        let foreign = tenant(&server, "shop", "ab1:").await;
        let error = foreign.lock("x").try_lock().await.expect_err("not theirs");
        let refused = matches!(
            error,
            Error::Refused {
                refusal: Refusal::NoPermission,
                ..
            }
        );
        assert!(refused, "{prefix}: {error:?}");
        close(one).await;
        close(other).await;
        foreign.close(ms(100)).await;
        nothing_is_left(&direct).await;
    }
}

/// Nobody guesses the owner of another client, and two clients of a process are strangers.
#[tokio::test]
async fn ids_are_random_uuids() {
    let server = Server::start();
    let mut ids = BTreeSet::new();
    for _ in 0..16 {
        let client = connect(Client::builder().url(server.url()).expect("url")).await;
        let id = client.id().to_owned();
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let parts: Vec<_> = id.split('-').collect();
        assert_eq!(
            parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12],
            "{id}"
        );
        assert!(parts.iter().all(|part| part.chars().all(hex)), "{id}");
        assert!(parts[2].starts_with('4'), "not a random one: {id}");
        assert!(parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
        assert!(ids.insert(parts[0].to_owned()), "{id} came twice");
        close(client).await;
    }
}
