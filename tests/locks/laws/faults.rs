//! What holds when the server or the connection does not.

use redlatch::{Client, LossCause, Owner};
use redlatch_support::{Action, Proxy, Rule, Server};

use super::Subject;
use crate::common::{asleep, close, ms, secs};

pub(super) async fn a_restarted_server_is_noticed<K: Subject>() {
    let server = Server::start();
    let connect = async || {
        let builder = Client::builder().url(server.url()).expect("url");
        let builder = builder.watchdog_timeout(ms(1_500));
        builder.connect().await.expect("connects")
    };
    let (holder, waiter) = (connect().await, connect().await);
    let guard = K::rival(&holder, "restart").lock().await.expect("free");
    let waiting = tokio::spawn({
        let lock = K::of(&waiter, "restart");
        async move { lock.lock().wait(secs(30)).await }
    });
    if K::WOKEN {
        asleep(&waiter, 1).await;
    }
    server.kill();
    server.restart();
    let begun = std::time::Instant::now();
    let granted = waiting.await.expect("joins").expect("granted");
    let took = begun.elapsed();
    assert!(took < secs(4), "only {took:?} after the restart");
    let told = tokio::time::timeout(secs(4), guard.lost()).await;
    let cause = told.expect("with the first look");
    assert!(
        matches!(cause, LossCause::Vanished | LossCause::TakenOver),
        "{cause:?}"
    );
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    // What was taken after the restart is kept as ever.
    let renewals = waiter.stats().renewals;
    redlatch_support::eventually_async("six renewals", secs(10), async || {
        waiter.stats().renewals >= renewals + 6
    })
    .await;
    assert!(!granted.is_lost());
    granted.unlock().await.expect("held");
    close(holder).await;
    close(waiter).await;
}

/// A client behind a proxy with a short command timeout, and its lock with all scripts loaded.
async fn proxied<K: Subject>(server: &Server) -> (Client, Proxy, redlatch::Lock<K>) {
    let proxy = Proxy::start(server.port()).await;
    let client = Client::builder()
        .url(proxy.url())
        .expect("url")
        .command_timeout(ms(500))
        .connect()
        .await
        .expect("connects");
    let lock = K::of(&client, "reply").with_owner(Owner::fresh());
    let guard = lock.lock().await.expect("free");
    guard.unlock().await.expect("held");
    (client, proxy, lock)
}

pub(super) async fn a_lost_reply_is_found_out<K: Subject>() {
    for action in [Action::StallReplies, Action::CutAfterForward] {
        let server = Server::start();
        let (client, proxy, lock) = proxied::<K>(&server).await;
        let direct = server.direct();
        let rule = proxy.rule(Rule::new("EVALSHA").action(action.clone()));
        let outer = lock.lock().await.expect("granted all the same");
        assert_eq!(rule.hits(), 1);
        assert_eq!(K::count(&direct, "reply", &outer.owner_id()), 1);
        if K::REENTRANT {
            let rule = proxy.rule(Rule::new("EVALSHA").action(action.clone()));
            let inner = lock.lock().await.expect("granted all the same");
            assert_eq!(rule.hits(), 1);
            assert_eq!(K::count(&direct, "reply", &outer.owner_id()), 2);
            inner.unlock().await.expect("held");
        }
        outer.unlock().await.expect("held");
        // And for a caller that does not wait for the answer: nothing may stay behind.
        proxy.rule(Rule::new("EVALSHA").action(action.clone()));
        drop(lock.lock().wait(ms(50)).await);
        redlatch_support::eventually_async("nobody holds it", secs(5), async || {
            !direct.exists("reply")
        })
        .await;
        close(client).await;
    }
}

pub(super) async fn a_release_without_a_reply_is_done_once<K: Subject>() {
    for action in [Action::StallReplies, Action::CutAfterForward] {
        let server = Server::start();
        let (client, proxy, lock) = proxied::<K>(&server).await;
        let direct = server.direct();
        let outer = lock.lock().await.expect("free");
        if K::REENTRANT {
            let inner = lock.lock().await.expect("re-enters");
            proxy.rule(Rule::new("EVALSHA").action(action.clone()));
            inner.unlock().await.expect("found to have worked");
            assert_eq!(K::count(&direct, "reply", &outer.owner_id()), 1);
        }
        proxy.rule(Rule::new("EVALSHA").action(action.clone()));
        outer.unlock().await.expect("found to have worked");
        assert!(!direct.exists("reply"));
        let leftovers = direct.cmd(&["KEYS", "*"]).accepted().strings();
        let remains: Vec<_> = leftovers
            .iter()
            .filter(|key| !K::remains("reply").contains(key))
            .collect();
        assert!(remains.is_empty(), "{remains:?}");
        close(client).await;
    }
}
