//! What is left by callers that leave, and by a client that closes.

use std::{future::IntoFuture, time::Instant};

use redlatch::{Error, LossCause, Owner};
use redlatch_support::polled;

use super::{Subject, rig::Rig};
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

/// A panic, and a task that is stopped.
pub(super) async fn a_task_that_dies_gives_it_back<K: Subject>() {
    let (client, name) = (client().await, name("dies"));
    let lock = K::of(&client, &name).with_owner(Owner::fresh());
    for panics in [true, false] {
        let (sender, held) = tokio::sync::oneshot::channel();
        let task = tokio::spawn({
            let lock = lock.clone();
            async move {
                let _outer = lock.lock().await.expect("free");
                let _inner = match K::REENTRANT {
                    true => Some(lock.lock().await.expect("re-enters")),
                    false => None,
                };
                let _ = sender.send(());
                assert!(!panics, "on purpose");
                std::future::pending::<()>().await;
            }
        });
        held.await.expect("it holds the lock");
        task.abort();
        assert!(task.await.is_err());
        until_nothing_is_left(&client).await;
        nothing_but(&name, &K::remains(&name)).await;
    }
    close(client).await;
}

/// A client whose runtime is gone, as its process would be: others wait for its time to live and no longer.
pub(super) async fn a_dead_client_blocks_for_its_time_to_live<K: Subject>() {
    let rig = Rig::<K>::new(|builder| builder).await;
    let url = rig.server.url();
    let (client, guard) = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let held = runtime.block_on(async {
            let builder = redlatch::Client::builder().url(url).expect("url");
            let builder = builder.watchdog_timeout(ms(900));
            let client = builder.connect().await.expect("connects");
            let guard = K::of(&client, "dead").lock().await.expect("free");
            (client, guard)
        });
        runtime.shutdown_background();
        held
    })
    .await
    .expect("no panic");
    let died = Instant::now();
    let waiting = rig.waiting("dead").await;
    let next = waiting.granted_within("a dead holder of 0.9 s", secs(2), died);
    next.await.unlock().await.expect("held");
    drop((client, guard));
    rig.end(&["dead"]).await;
}

/// Everything that can be asked of a client that has been closed.
pub(super) async fn a_closed_client_answers_closed<K: Subject>() {
    let rig = Rig::<K>::new(|builder| builder).await;
    let lock = rig.lock("closed");
    let raw = lock.raw();
    raw.lock().await.expect("free");
    let guard = K::of(&rig.holder, "closed-too").lock().await.expect("free");
    let report = rig.holder.close(secs(5)).await;
    assert_eq!((report.released, report.unreleased.len()), (2, 0));
    rig.direct.reset_stats();
    for (number, outcome) in [
        lock.lock().await.map(drop),
        lock.lock().wait(secs(5)).await.map(drop),
        lock.lock().lease(secs(5)).await.map(drop),
        lock.try_lock().await.map(drop),
        raw.lock().await.map(drop),
        raw.try_lock_for(secs(5), None).await.map(drop),
        raw.force_unlock().await.map(drop),
        raw.is_locked().await.map(drop),
        raw.is_held_by_current().await.map(drop),
        raw.hold_count().await.map(drop),
        raw.remaining_ttl().await.map(drop),
        rig.holder.inspect("closed").await.map(drop),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(
            matches!(outcome, Err(Error::Closed)),
            "{number}: {outcome:?}"
        );
    }
    // What it held it holds no more.
    let late = raw.unlock().await;
    assert!(matches!(late, Err(Error::NotHeld { .. })), "{late:?}");
    assert_eq!(guard.lost().await, LossCause::Closed);
    assert!(guard.run(async {}).await.is_err());
    assert!(guard.unlock().await.expect_err("closed").is_lost());
    assert_eq!(rig.direct.command_calls("evalsha"), 0, "something was sent");
    rig.end(&["closed", "closed-too"]).await;
}
