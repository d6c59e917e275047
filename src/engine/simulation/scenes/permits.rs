//! Permits on their way back: every change is made once, however its answer fares.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::sleep;

use super::{
    super::stage::{Fate, Hand, Stage},
    secs, settings,
};
use crate::{client::Client, coordination::SemaphorePermit, error::Refusal};

const RELEASE: &str = "semaphore/release";
/// How the mark of a request is read.
const MARK: &str = "GET";

/// A client with the one permit of a semaphore.
async fn with_a_permit() -> (Arc<Stage>, Client, Arc<Hand>, SemaphorePermit) {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let semaphore = client.semaphore("s");
    stage.server().put(&Bytes::from_static(b"s"), 1);
    let permit = semaphore.acquire().await.expect("there");
    (stage, client, hand, permit)
}

/// How many somebody else can have.
async fn available(stage: &Arc<Stage>) -> usize {
    let (other, _) = stage.client(settings());
    let semaphore = other.semaphore("s");
    let mut permits = Vec::new();
    while let Some(permit) = semaphore.try_acquire().await.expect("answers") {
        permits.push(permit);
    }
    let count = permits.len();
    for permit in permits {
        permit.release().await.expect("had");
    }
    count
}

#[tokio::test(start_paused = true)]
async fn what_a_request_has_done_is_found_out_and_done_once() {
    for (fate, times) in [(Fate::ReplyLost, 1), (Fate::RequestLost, 2)] {
        let (stage, _client, hand, permit) = with_a_permit().await;
        hand.next(RELEASE, fate.clone());
        permit.release().await.expect("found out");
        assert_eq!(hand.asked(RELEASE).len(), times, "{fate:?}");
        assert_eq!(hand.asked(MARK).len(), 1, "{fate:?}");
        assert_eq!(available(&stage).await, 1, "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mark_is_asked_for_more_and_more_gently_until_it_is_read() {
    let (stage, _client, hand, permit) = with_a_permit().await;
    hand.next(RELEASE, Fate::ReplyLost);
    hand.always(MARK, Fate::Refused(Refusal::Loading));
    drop(permit);
    sleep(secs(20)).await;
    let asked = hand.asked(MARK).len();
    assert!((10..=120).contains(&asked), "{asked} in twenty seconds");
    hand.always(MARK, Fate::Answered);
    sleep(secs(2)).await;
    assert_eq!(hand.asked(RELEASE).len(), 1);
    assert_eq!(available(&stage).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_permit_outlasts_a_server_that_is_full() {
    let (stage, client, hand, permit) = with_a_permit().await;
    hand.always(RELEASE, Fate::Refused(Refusal::OutOfMemory));
    drop(permit);
    sleep(secs(30)).await;
    let asked = hand.asked(RELEASE).len();
    assert!((15..=180).contains(&asked), "{asked} in thirty seconds");
    hand.always(RELEASE, Fate::Answered);
    sleep(secs(2)).await;
    assert_eq!(available(&stage).await, 1);
    // What another refusal says no repeat will change.
    let permit = client.semaphore("s").acquire().await.expect("there");
    hand.always(RELEASE, Fate::Refused(Refusal::NoPermission));
    let before = hand.asked(RELEASE).len();
    drop(permit);
    sleep(secs(30)).await;
    assert_eq!(hand.asked(RELEASE).len() - before, 1);
}
