//! Under a user made for one feature that feature works, all of it, and the server has nothing to refuse.

use redlatch::{Client, Kind, Lock, RawLock};
use redlatch_support::Server;

use crate::kit::{
    Feature, asleep, builder, close, connect, make_user, ms, nothing_is_left, nothing_was_refused,
    rules, secs,
};

/// A server with a user for one feature, and two clients of it. Only messages wake its waiters.
struct Rig {
    server: Server,
    one: Client,
    two: Client,
    /// With or without a tag, below the prefix.
    names: Vec<&'static str>,
}

impl Rig {
    async fn new(feature: Feature) -> Self {
        Self::with(&[feature], &["plain"]).await
    }

    async fn with(features: &[Feature], names: &[&'static str]) -> Self {
        let server = Server::start();
        make_user(&server.direct(), "shop", &rules(features, "app:"));
        let client = async || {
            connect(
                builder(&server, "shop")
                    .watchdog_timeout(ms(900))
                    .safety_poll(ms(850))
                    .heartbeat(ms(200))
                    .self_test(features.iter().copied()),
            )
            .await
        };
        Self {
            one: client().await,
            two: client().await,
            server,
            names: names.to_vec(),
        }
    }

    /// Closes both clients; nothing is left and nothing was refused.
    async fn end(self) {
        close(self.one).await;
        close(self.two).await;
        let direct = self.server.direct();
        nothing_is_left(&direct).await;
        nothing_was_refused(&direct);
    }
}

/// What all locks do: taken, waited for, renewed, entered again, asked about, handed over, freed by force.
async fn lives<K: Kind>(rig: &Rig, make: impl Fn(&Client) -> Lock<K>, reentrant: bool) {
    let (mine, theirs) = (make(&rig.one), make(&rig.two));
    let guard = mine.lock().await.expect("free");
    if reentrant {
        let again = mine.lock().await.expect("enters again");
        again.unlock().await.expect("held");
    }
    assert!(theirs.try_lock().await.expect("answers").is_none());
    let waiting = tokio::spawn({
        let theirs = theirs.clone();
        async move { theirs.lock().wait(secs(20)).await }
    });
    asleep(&rig.two, 1).await;
    let renewals = rig.one.stats().renewals;
    redlatch_support::eventually_async("it is renewed", secs(5), async || {
        rig.one.stats().renewals > renewals + 3
    })
    .await;
    ask(mine.raw()).await;
    guard.unlock().await.expect("held");
    let guard = waiting.await.expect("joins").expect("handed over");
    let kept = mine.lock().wait(ms(30)).await.expect_err("is held");
    assert!(kept.is_timeout(), "{kept}");
    assert!(mine.raw().force_unlock().await.expect("answers"));
    guard.lost().await;
    guard.unlock().await.expect_err("was freed by force");
    // A lease that runs out, and one that is given up by a dropped future.
    let guard = mine.lock().lease(secs(5)).await.expect("free");
    let mut leaving = Box::pin(theirs.lock().wait(secs(20)).into_future());
    let left = tokio::time::timeout(ms(50), &mut leaving).await;
    assert!(left.is_err());
    drop(leaving);
    drop(guard);
    let guard = theirs.lock().wait(secs(5)).await.expect("free again");
    guard.unlock().await.expect("held");
}

async fn ask<K: Kind>(raw: &RawLock<K>) {
    assert!(raw.is_locked().await.expect("answers"));
    raw.is_held_by_current().await.expect("answers");
    raw.hold_count().await.expect("answers");
    raw.remaining_ttl().await.expect("answers");
}

#[tokio::test]
async fn the_plain_lock() {
    let rig = Rig::new(Feature::ReentrantLock).await;
    lives(&rig, |client| client.lock("plain"), true).await;
    rig.end().await;
}
