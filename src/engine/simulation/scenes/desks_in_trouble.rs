//! Semaphores on a server that does not answer, or does not do it: what is tried again, for how long, and the word for it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{
    super::stage::{Fate, Hand, Stage},
    ms, secs, settings,
};
use crate::{
    client::Client,
    coordination::{PermitId, SemaphorePermit},
    error::{Error, Refusal, Result},
};

const ACQUIRE: &str = "semaphore/acquire";
/// How the mark of a request is read.
const MARK: &str = "GET";
/// How long a mark lasts.
const MARK_TIME: Duration = secs(300);

fn patience() -> Duration {
    settings().outage_patience
}

/// A client before a semaphore with so many permits.
fn before(permits: i64) -> (Arc<Stage>, Client, Arc<Hand>) {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    stage.server().put(&Bytes::from_static(b"s"), permits);
    (stage, client, hand)
}

fn is_unreachable<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::Unreachable { .. }))
}

fn is_refused<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::Refused { .. }))
}

async fn timed<T>(future: impl IntoFuture<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    (future.await, begun.elapsed())
}

async fn acquires(client: &Client, limit: Duration) -> (Result<SemaphorePermit>, Duration) {
    timed(client.semaphore("s").acquire().wait(limit)).await
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_whatever_the_server_does_and_its_silence_is_told() {
    let (_stage, client, hand) = before(1);
    sleep(ms(10)).await;
    hand.silence(true);
    for limit in [ms(300), secs(25)] {
        let (outcome, took) = acquires(&client, limit).await;
        assert!(is_unreachable(&outcome), "{limit:?}: {outcome:?}");
        assert!(took >= limit && took < limit + ms(10), "{took:?}");
    }
    hand.silence(false);
    drop(client.semaphore("s").acquire().await.expect("there"));
    hand.silence(true);
    let (outcome, _) = acquires(&client, ms(50)).await;
    let timeout = matches!(&outcome, Err(error) if error.is_timeout());
    assert!(timeout, "too short a silence to be told: {outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_now_is_asked_for_until_the_patience_is_over() {
    let (_stage, client, hand) = before(1);
    hand.always(ACQUIRE, Fate::Refused(Refusal::NoReplicas));
    let (outcome, took) = timed(client.semaphore("s").acquire()).await;
    assert!(is_refused(&outcome), "{outcome:?}");
    assert!(
        took >= patience() && took < patience() + secs(1),
        "{took:?}"
    );
    let (outcome, took) = acquires(&client, secs(5)).await;
    assert!(is_refused(&outcome), "its reason is told: {outcome:?}");
    assert!(took < secs(6), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_leads_is_sent_home_first() {
    let (_stage, client, hand) = before(0);
    let begun = Instant::now();
    let waiting = [(); 2].map(|()| {
        let semaphore = client.semaphore("s");
        tokio::spawn(async move {
            let outcome = semaphore.acquire().await;
            (is_unreachable(&outcome), begun.elapsed())
        })
    });
    sleep(secs(5)).await;
    hand.silence(true);
    let [leader, follower] = waiting.map(|waiting| async { waiting.await.expect("joins") });
    let ((leader, first), (follower, second)) = (leader.await, follower.await);
    assert!(leader && follower);
    assert!(first >= secs(4) + patience(), "{first:?}");
    assert!(second >= first, "{first:?}, {second:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_who_has_left() {
    for fate in [Fate::NotSent, Fate::RequestLost, Fate::ReplyLost] {
        let (stage, client, hand) = before(1);
        sleep(ms(10)).await;
        hand.next(ACQUIRE, fate.clone());
        let (outcome, _) = acquires(&client, secs(1)).await;
        assert!(is_unreachable(&outcome), "{fate:?}: {outcome:?}");
        sleep(secs(30)).await;
        assert_eq!(hand.asked(ACQUIRE).len(), 1, "{fate:?}");
        assert_eq!(client.engine().residue(), Default::default());
        let free = stage.server().number(&Bytes::from_static(b"s"));
        assert_eq!(free, Some(1), "{fate:?}: it goes back");
    }
    let (_stage, client, hand) = before(1);
    hand.always(ACQUIRE, Fate::Refused(Refusal::NoReplicas));
    let (_, _) = acquires(&client, secs(1)).await;
    let asked = hand.asked(ACQUIRE).len();
    sleep(secs(6)).await;
    assert!(hand.asked(ACQUIRE).len() <= asked + 1);
}

/// The caller holds nothing, whatever has been done.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_found_out_any_more_ends_with_its_mark() {
    let (_stage, client, hand) = before(1);
    hand.next(ACQUIRE, Fate::ReplyLost);
    hand.always(MARK, Fate::NotSent);
    let (outcome, took) = acquires(&client, secs(1_000)).await;
    let error = outcome.expect_err("in doubt");
    assert!(
        matches!(
            error,
            Error::Unreachable {
                indeterminate: false,
                ..
            }
        ),
        "{error}"
    );
    assert!(took > MARK_TIME - secs(10) && took < MARK_TIME, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_may_find_out_is_told_at_once() {
    let (_stage, client, hand) = before(1);
    hand.next(ACQUIRE, Fate::ReplyLost);
    hand.always(MARK, Fate::Refused(Refusal::NoPermission));
    let (outcome, took) = acquires(&client, secs(1_000)).await;
    assert!(is_refused(&outcome), "{outcome:?}");
    assert!(took < secs(4), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_gives_back_during_an_outage_is_kept_for_as_long_as_any_caller() {
    let (stage, client, hand) = before(1);
    let permit = client.semaphore("s").acquire().await.expect("there");
    hand.silence(true);
    let (outcome, took) = timed(permit.release()).await;
    assert!(outcome.expect_err("silent").is_indeterminate());
    assert!(
        took >= patience() && took < patience() + secs(4),
        "{took:?}"
    );
    let other = client.semaphore("t");
    let (outcome, took) = timed(other.release(1)).await;
    let error = outcome.expect_err("silent");
    assert!(!error.is_indeterminate(), "it is never done: {error}");
    assert!(
        took >= patience() && took < patience() + secs(4),
        "{took:?}"
    );
    hand.silence(false);
    sleep(secs(10)).await;
    let free = |name| stage.server().number(&Bytes::from_static(name));
    assert_eq!((free(b"s"), free(b"t")), (Some(1), None));
}

#[tokio::test(start_paused = true)]
async fn permits_with_ids_are_asked_for_more_and_more_gently() {
    let (_stage, client, hand) = before(1);
    let what = "permits/acquire";
    hand.always(what, Fate::Refused(Refusal::NoReplicas));
    let (outcome, took) = timed(client.expirable_semaphore("s").acquire()).await;
    assert!(is_refused(&outcome), "{outcome:?}");
    assert!(
        took >= patience() && took < patience() + secs(1),
        "{took:?}"
    );
    let tries = hand.asked(what).len();
    assert!((8..=60).contains(&tries), "{tries} in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn what_may_be_said_twice_is_said_for_as_long_as_the_patience_lasts() {
    let (_stage, client, hand) = before(1);
    let id: PermitId = "00".repeat(16).parse().expect("an id");
    hand.silence(true);
    let lease = async { client.expirable_semaphore("s").lease_time(&id).await };
    let (outcome, took) = timed(lease).await;
    assert!(is_unreachable(&outcome), "{outcome:?}");
    assert!(
        took >= patience() && took < patience() + secs(4),
        "{took:?}"
    );
}
