//! The fenced lock and what checks its tokens.

use redlatch::{Client, Error, Event, FencingToken, LossCause, Owner, fencing::Checker};
use redlatch_support::Server;
use tokio_stream::StreamExt;

use crate::common::{client, close, direct, ms, name, secs};

#[tokio::test]
async fn flaw_16_every_grant_has_a_higher_token_and_a_re_entry_keeps_it() {
    let (one, other, name) = (client().await, client().await, name("tokens"));
    let mut last = FencingToken::new(0);
    for round in 0..6 {
        let client = if round % 2 == 0 { &one } else { &other };
        let lock = client.fenced_lock(&*name).with_owner(Owner::fresh());
        let guard = if round < 3 {
            lock.lock().await.expect("free")
        } else {
            lock.lock().lease(secs(5)).await.expect("free")
        };
        assert!(guard.token() > last, "{} after {last}", guard.token());
        assert!(
            round < 3 || direct().pttl(&name) <= 5_000,
            "the lease is kept"
        );
        let inner = lock.try_lock().await.expect("answers").expect("re-enters");
        assert_eq!(inner.token(), guard.token());
        let raw = lock.raw().lock().await.expect("re-enters");
        assert_eq!(raw, guard.token());
        lock.raw().unlock().await.expect("held");
        last = guard.token();
        assert_eq!(lock.last_token().await.expect("answers"), last);
        inner.unlock().await.expect("held");
        guard.unlock().await.expect("held");
    }
    assert_eq!(last.get(), 6, "one number a grant");
    close(one).await;
    close(other).await;
}

#[tokio::test]
async fn a_counter_that_went_backwards_is_an_error_and_an_event() {
    let server = Server::start();
    let client = Client::connect(server.url()).await.expect("connects");
    let lock = client.fenced_lock("reset").with_owner(Owner::fresh());
    for _ in 0..3 {
        lock.lock()
            .await
            .expect("free")
            .unlock()
            .await
            .expect("held");
    }
    let mut events = client.events();
    server.direct().cmd(&["FLUSHALL"]).accepted();
    for _ in 0..2 {
        let error = lock.lock().await.expect_err("tokens would be too low");
        assert!(
            matches!(
                error,
                Error::FencingReset {
                    seen: 3,
                    counter: 0,
                    ..
                }
            ),
            "{error}"
        );
        assert!(!server.direct().exists("reset"), "nothing was taken");
    }
    let told = tokio::time::timeout(secs(1), async {
        loop {
            if let Some(Event::FencingReset { seen, counter, .. }) = events.next().await {
                return (seen, counter);
            }
        }
    });
    assert_eq!(told.await.expect("an event"), (3, 0));
    let raised = lock.raise_counter(FencingToken::new(41)).await;
    assert_eq!(raised.expect("answers").get(), 41);
    let lower = lock.raise_counter(FencingToken::new(7)).await;
    assert_eq!(lower.expect("answers").get(), 41, "never lowered");
    let guard = lock.lock().await.expect("free");
    assert_eq!(guard.token().get(), 42);
    guard.unlock().await.expect("held");
    assert!(lock.raise_counter(FencingToken::new(-1)).await.is_err());
    close(client).await;
}

#[tokio::test]
async fn a_stale_holder_is_refused_by_the_resource() {
    let (one, other, name) = (client().await, client().await, name("stale"));
    let (checker, cell) = (Checker::new(), one.fenced_cell(format!("{name}-cell")));
    assert_eq!(cell.get().await.expect("answers"), None);
    let stale = one
        .fenced_lock(&*name)
        .lock()
        .lease(ms(200))
        .await
        .expect("free");
    cell.set(stale.token(), "first").await.expect("the newest");
    cell.set(stale.token(), "again")
        .await
        .expect("the same holder");
    checker.check(&name, stale.token()).expect("the newest");
    // The holder sleeps through the end of its lease, and another comes in.
    let fresh = other
        .fenced_lock(&*name)
        .lock()
        .await
        .expect("the lease ends");
    checker.check(&name, fresh.token()).expect("the newest");
    cell.set(fresh.token(), "second").await.expect("the newest");
    // It wakes up and writes, without having looked.
    let refused = checker.check(&name, stale.token()).expect_err("stale");
    assert_eq!(refused.newest, fresh.token());
    let refused = cell.set(stale.token(), "late").await.expect_err("stale");
    match refused {
        Error::Stale { stale: tokens, .. } => {
            assert_eq!(
                (tokens.token, tokens.newest),
                (stale.token(), fresh.token())
            );
        }
        other => panic!("{other}"),
    }
    let (token, value) = cell.get().await.expect("answers").expect("written");
    assert_eq!((token, &value[..]), (fresh.token(), &b"second"[..]));
    assert_eq!(stale.lost().await, LossCause::LeaseExpired);
    drop(stale);
    fresh.unlock().await.expect("held");
    direct().cmd(&["SET", &name, "a string"]).accepted();
    let wrong = one.fenced_cell(&*name).set(token, "x").await;
    assert!(matches!(wrong, Err(Error::WrongType { .. })), "{wrong:?}");
    close(one).await;
    close(other).await;
}

/// Whoever claims a value shuts out all before, before it writes.
#[tokio::test]
async fn a_claim_refuses_older_holders_before_anything_newer_is_written() {
    let (client, name) = (client().await, name("claim"));
    let cell = client.fenced_cell(&*name);
    let [old, new] = [1, 2].map(FencingToken::new);
    assert_eq!(cell.claim(old).await.expect("the first"), None);
    assert_eq!(cell.get().await.expect("answers"), None);
    cell.set(old, "seen by both").await.expect("the newest");
    let seen = cell.claim(new).await.expect("newer");
    assert_eq!(seen.as_deref(), Some(&b"seen by both"[..]));
    let refused = [
        cell.set(old, "confirmed and lost")
            .await
            .expect_err("stale"),
        cell.claim(old).await.expect_err("stale"),
    ];
    for refused in refused {
        assert!(
            matches!(&refused, Error::Stale { stale, .. } if (stale.token, stale.newest) == (old, new)),
            "{refused}"
        );
    }
    let (token, value) = cell.get().await.expect("answers").expect("written");
    assert_eq!((token, &value[..]), (new, &b"seen by both"[..]));
    cell.claim(new).await.expect("the same again");
    cell.set(new, "newest").await.expect("the newest");
    direct().cmd(&["DEL", &name]).accepted();
    direct().cmd(&["SET", &name, "a string"]).accepted();
    let wrong = cell.claim(new).await;
    assert!(matches!(wrong, Err(Error::WrongType { .. })), "{wrong:?}");
    direct().cmd(&["DEL", &name]).accepted();
    close(client).await;
}

/// Who holds the lock without a number gets one of its own when it enters as a fenced holder.
#[tokio::test]
async fn a_plain_hold_has_no_token_to_keep() {
    let (one, other, name) = (client().await, client().await, name("plain"));
    let first = one.fenced_lock(&*name).lock().await.expect("free");
    let before = first.token();
    first.unlock().await.expect("held");
    let owner = Owner::fresh();
    let plain = other
        .lock(&*name)
        .with_owner(owner)
        .lock()
        .await
        .expect("free");
    let fenced = other.fenced_lock(&*name).with_owner(owner);
    let inner = fenced.lock().await.expect("re-enters");
    assert!(inner.token() > before, "{} after {before}", inner.token());
    let again = fenced.lock().await.expect("re-enters");
    assert_eq!(again.token(), inner.token());
    for guard in [again, inner] {
        guard.unlock().await.expect("held");
    }
    plain.unlock().await.expect("held");
    // A counter that falls behind under a hold is noticed when a number is to be taken.
    let held = other
        .lock(&*name)
        .with_owner(owner)
        .lock()
        .await
        .expect("free");
    direct()
        .cmd(&["DEL", &format!("redisson_lock_token:{{{name}}}")])
        .accepted();
    let behind = fenced.lock().await.expect_err("too low a number");
    assert!(matches!(behind, Error::FencingReset { .. }), "{behind}");
    assert!(!held.is_lost());
    held.unlock().await.expect("held");
    close(one).await;
    close(other).await;
}
