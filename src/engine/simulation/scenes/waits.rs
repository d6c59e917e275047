//! Those who wait: who is asked for them, and who wakes them.

use tokio::time::{sleep, timeout};

use super::{
    super::stage::{Fate, NODE, Stage},
    ACQUIRE, RELEASE, counted, granted, lock, ms, secs, settings, waits,
};
use crate::{
    engine::transport::{Reply, Signal},
    error::Error,
};

/// No message comes, so the release of this process wakes them.
#[tokio::test(start_paused = true)]
async fn a_release_wakes_its_own_process_where_no_message_can_come() {
    for knows in [true, false] {
        let stage = Stage::new();
        let (client, hand) = stage.client(settings());
        let guard = lock(&client, 1).lock().await.expect("free");
        let next = waits(&lock(&client, 2)).await;
        if knows {
            hand.deafen();
        } else {
            hand.mute();
            hand.next(RELEASE, Fate::Answers(Reply::Int(2)));
        }
        guard.unlock().await.expect("held");
        let woken = timeout(ms(10), granted(next)).await;
        assert!(woken.is_ok(), "{knows}: it waits for the safety poll");
    }
}

/// A server that is not ours any more is not listened to, whatever becomes of the connection.
#[tokio::test(start_paused = true)]
async fn a_release_wakes_its_own_process_where_the_server_that_was_heard_is_gone() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let guard = lock(&client, 1).lock().await.expect("free");
    let next = waits(&lock(&client, 2)).await;
    hand.mute();
    hand.tell(Signal::Gone { node: NODE });
    guard.unlock().await.expect("held");
    let woken = timeout(ms(10), granted(next)).await;
    assert!(woken.is_ok(), "it waits for the safety poll");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_behind_its_own_process_asks_once_and_sleeps() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let guard = lock(&client, 1).lock().await.expect("free");
    let (asked, next) = counted(&hand, ACQUIRE, waits(&lock(&client, 2))).await;
    assert_eq!(asked, 1, "the holder is known");
    guard.unlock().await.expect("held");
    drop(granted(next).await);
}

#[tokio::test(start_paused = true)]
async fn who_would_not_wait_is_not_kept_by_a_server_that_does_not_answer() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    hand.always(ACQUIRE, Fate::NotSent);
    let head = waits(&lock(&client, 1)).await;
    let trying = lock(&client, 2);
    let error = timeout(secs(4), trying.try_lock()).await;
    let error = error.expect("as long as a command").expect_err("silent");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    hand.always(ACQUIRE, Fate::Answered);
    drop(granted(head).await);
}

#[tokio::test(start_paused = true)]
async fn the_figures_count_whoever_is_there() {
    let stage = Stage::new();
    let (client, _) = stage.client(settings());
    let guard = lock(&client, 1).lock().await.expect("free");
    let next = waits(&lock(&client, 2)).await;
    let residue = client.engine().residue();
    assert_eq!((residue.names, residue.channels, residue.holds), (1, 1, 1));
    assert_eq!(residue.sleepers, 1);
    guard.unlock().await.expect("held");
    granted(next).await.unlock().await.expect("held");
    sleep(ms(10)).await;
    assert_eq!(client.engine().residue(), Default::default());
}
