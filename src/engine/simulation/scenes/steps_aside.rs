//! After so many passes others go first: for how long, and for whom not.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{
    super::stage::{Hand, Stage},
    Waiting, granted, lock, ms, passing, waits,
};
use crate::{
    client::Client,
    config::LONGEST_ASIDE,
    engine::transport::Signal,
    lock::{LockGuard, Reentrant},
};

/// A lock that has been passed on as often as it may, and is to be freed next.
struct Scene {
    stage: Arc<Stage>,
    client: Client,
    hand: Arc<Hand>,
    guard: LockGuard<Reentrant>,
}

impl Scene {
    /// `audience` is how many clients hear of it, as the server says.
    async fn new(audience: i64) -> Self {
        let stage = Stage::new();
        stage.server().ledger.audience = Some(audience);
        let (client, hand) = stage.client(passing(1));
        let guard = lock(&client, 1).lock().await.expect("free");
        let next = waits(&lock(&client, 2)).await;
        guard.unlock().await.expect("held");
        let guard = granted(next).await;
        Self {
            stage,
            client,
            hand,
            guard,
        }
    }

    /// Frees the lock; how long it takes until somebody of this process has it.
    async fn freed(self, next: Waiting<Reentrant>) -> Duration {
        let start = Instant::now();
        self.guard.unlock().await.expect("held");
        drop(granted(next).await);
        start.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn others_who_wait_go_first() {
    // Whatever has been said on the channel before.
    for said in 0..3 {
        let scene = Scene::new(2).await;
        let next = waits(&lock(&scene.client, 3)).await;
        for _ in 0..said {
            scene.hand.tell(Signal::Message {
                channel: Bytes::from_static(b"redisson_lock__channel:{n}"),
                payload: Bytes::from_static(b"0"),
            });
            sleep(ms(20)).await;
        }
        let (other, _) = scene.stage.client(passing(0));
        let others = waits(&lock(&other, 1)).await;
        let start = Instant::now();
        scene.guard.unlock().await.expect("held");
        let others = granted(others).await;
        assert!(!next.is_finished(), "{said}: it was in front");
        others.unlock().await.expect("held");
        drop(granted(next).await);
        let took = start.elapsed();
        assert!(took < LONGEST_ASIDE, "{said}: {took:?}, when it is free");
    }
}

#[tokio::test(start_paused = true)]
async fn others_who_do_not_come_are_not_waited_for_for_long() {
    let scene = Scene::new(2).await;
    let next = waits(&lock(&scene.client, 3)).await;
    let took = scene.freed(next).await;
    assert!(
        took >= LONGEST_ASIDE && took < LONGEST_ASIDE + ms(4),
        "{took:?}"
    );
}

/// It hears of the release by the release itself, and not before its end.
#[tokio::test(start_paused = true)]
async fn a_line_that_hears_no_messages_steps_aside_all_the_same() {
    let scene = Scene::new(2).await;
    let next = waits(&lock(&scene.client, 3)).await;
    scene.hand.deafen();
    let took = scene.freed(next).await;
    assert!(
        took >= LONGEST_ASIDE && took < LONGEST_ASIDE + ms(4),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn where_nobody_else_is_nobody_steps_aside() {
    let scene = Scene::new(1).await;
    let next = waits(&lock(&scene.client, 3)).await;
    let took = scene.freed(next).await;
    assert!(took < ms(4), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_would_not_wait_does_not_step_aside() {
    let scene = Scene::new(2).await;
    let next = waits(&lock(&scene.client, 3)).await;
    scene.guard.unlock().await.expect("held");
    next.abort();
    let start = Instant::now();
    let tried = lock(&scene.client, 4).try_lock().await.expect("answers");
    assert!(tried.is_some());
    assert!(start.elapsed() < ms(3), "{:?}", start.elapsed());
}

/// However many others have the lock in turn meanwhile.
#[tokio::test(start_paused = true)]
async fn who_would_not_wait_behind_one_who_steps_aside_is_answered_soon() {
    let scene = Scene::new(9).await;
    let next = waits(&lock(&scene.client, 3)).await;
    let (other, _) = scene.stage.client(passing(0));
    let others = lock(&other, 1);
    scene.guard.unlock().await.expect("held");
    let theirs = others.lock().await.expect("free");
    let trying = tokio::spawn({
        let lock = lock(&scene.client, 4);
        async move {
            let start = Instant::now();
            let tried = lock.try_lock().await.expect("answers");
            (tried.is_some(), start.elapsed())
        }
    });
    for _ in 0..4 {
        scene.hand.tell(Signal::Message {
            channel: Bytes::from_static(b"redisson_lock__channel:{n}"),
            payload: Bytes::from_static(b"0"),
        });
        sleep(ms(5)).await;
    }
    let (had, took) = trying.await.expect("joins");
    assert!(!had, "it is the others'");
    assert!(took <= LONGEST_ASIDE + ms(2), "{took:?}");
    theirs.unlock().await.expect("held");
    drop(granted(next).await);
}

#[tokio::test(start_paused = true)]
async fn whose_time_is_nearly_up_does_not_step_aside() {
    for (left, aside) in [(ms(15), false), (ms(40), true)] {
        let scene = Scene::new(2).await;
        let wait = ms(100);
        let next = tokio::spawn({
            let lock = lock(&scene.client, 3);
            async move { lock.lock().wait(wait).await }
        });
        sleep(wait - left).await;
        let took = scene.freed(next).await;
        assert_eq!(took >= LONGEST_ASIDE, aside, "{left:?} left: {took:?}");
    }
}
