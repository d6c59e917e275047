//! What is left by callers that leave, and by a client that closes.

use std::future::IntoFuture;

use redlatch::{Error, LossCause, Owner};
use redlatch_support::polled;

use super::Subject;
use crate::common::{
    asleep, client, client_with, close, direct, markers, ms, name, nothing_but, secs,
    until_nothing_is_left,
};

pub(super) async fn dropped_at_every_poll_nothing_is_left<K: Subject>() {
    let (client, name) = (client().await, name("polls"));
    let lock = K::of(&client, &name).with_owner(Owner::fresh());
    for polls in 0..12 {
        if let Some(guard) = polled(polls, lock.lock().into_future()).await {
            drop(polled(polls, guard.expect("free").unlock()).await);
        }
        until_nothing_is_left(&client).await;
        drop(polled(polls, lock.try_lock()).await);
        until_nothing_is_left(&client).await;
        nothing_but(&name, &K::remains(&name)).await;
    }
    if K::REENTRANT {
        let outer = lock.lock().await.expect("free");
        for polls in 0..8 {
            drop(polled(polls, lock.lock().into_future()).await);
            redlatch_support::eventually_async("the count is one again", secs(5), async || {
                K::count(&direct(), &name, &outer.owner_id()) == 1
            })
            .await;
            assert!(!outer.is_lost());
        }
        outer.unlock().await.expect("held");
    }
    nothing_but(&name, &K::remains(&name)).await;
    close(client).await;
}

pub(super) async fn dropped_as_a_waiter_nothing_is_left<K: Subject>() {
    let client = client_with(|builder| builder.safety_poll(ms(20))).await;
    let (holder, name) = (self::client().await, name("waiter"));
    let guard = K::rival(&holder, &name).lock().await.expect("free");
    let before = direct().hgetall(&name);
    let lock = K::of(&client, &name).with_owner(Owner::fresh());
    let mut allowed = vec![name.clone()];
    allowed.extend(markers(&name));
    allowed.extend(K::remains(&name));
    for polls in 0..14 {
        match polled(polls, lock.lock().wait(ms(120)).into_future()).await {
            None => {}
            Some(Err(error)) if error.is_timeout() => {}
            Some(other) => panic!("{other:?}"),
        }
        until_nothing_is_left(&client).await;
        assert_eq!(direct().hgetall(&name), before, "after {polls} polls");
        nothing_but(&name, &allowed).await;
    }
    guard.unlock().await.expect("held");
    nothing_but(&name, &K::remains(&name)).await;
    close(client).await;
    close(holder).await;
}

pub(super) async fn closing_gives_back_and_ends_every_wait<K: Subject>() {
    let (client, other) = (client().await, client().await);
    let (held, busy) = (name("held"), name("busy"));
    let guard = K::of(&client, &held).lock().await.expect("free");
    let theirs = K::rival(&other, &busy).lock().await.expect("free");
    let waiting = tokio::spawn({
        let lock = K::of(&client, &busy);
        async move { lock.lock().await }
    });
    if K::WOKEN {
        asleep(&client, 1).await;
    } else {
        redlatch_support::eventually_async("it waits", secs(5), async || client.stats().waits == 1)
            .await;
    }
    let report = client.close(secs(5)).await;
    assert_eq!((report.released, report.unreleased.len()), (1, 0));
    assert_eq!(guard.lost().await, LossCause::Closed);
    let ended = waiting.await.expect("joins").expect_err("closed");
    assert!(matches!(ended, Error::Closed), "{ended}");
    nothing_but(&held, &K::remains(&held)).await;
    theirs.unlock().await.expect("held");
    nothing_but(&busy, &K::remains(&busy)).await;
    close(other).await;
}
