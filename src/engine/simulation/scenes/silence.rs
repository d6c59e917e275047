//! A server that does not answer, or does not do it: who is sent home when, and with which word.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    super::stage::{Fate, Hand, Stage},
    ACQUIRE, lock, ms, secs, settings, waits,
};
use crate::{
    client::Client,
    coordination::SemaphorePermit,
    engine::transport::Signal,
    error::{Error, Refusal, Result},
    lock::LockGuard,
};

fn patience() -> Duration {
    settings().outage_patience
}

/// A little longer, as long as one request more may take.
fn soon_after(took: Duration, due: Duration) -> bool {
    took >= due && took <= due + settings().command_timeout + secs(1)
}

fn is_unreachable<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::Unreachable { .. }))
}

async fn timed<T>(future: impl IntoFuture<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    (future.await, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn who_waits_without_a_limit_is_sent_home_after_the_patience_for_outages() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    hand.silence(true);
    let (outcome, took) = timed(lock(&client, 1).lock()).await;
    assert!(
        is_unreachable(&outcome) && soon_after(took, patience()),
        "{outcome:?} {took:?}"
    );
    hand.silence(false);
    // Asleep before somebody else's lock.
    let (other, _) = stage.client(settings());
    let guard = lock(&other, 2).lock().await.expect("free");
    let waiting = waits(&lock(&client, 1)).await;
    sleep(secs(20)).await;
    assert!(!waiting.is_finished(), "the server answers");
    hand.silence(true);
    let (outcome, took) = timed(waiting).await;
    let outcome = outcome.expect("joins");
    // Its last answer was that of a look, a second ago.
    assert!(
        is_unreachable(&outcome) && took + secs(2) >= patience() && took <= patience() + secs(4),
        "{outcome:?} {took:?}"
    );
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn who_set_a_limit_is_kept_to_it_whatever_the_server_does() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    hand.silence(true);
    let (outcome, took) = timed(lock(&client, 1).lock().wait(secs(25))).await;
    assert!(is_unreachable(&outcome), "{outcome:?}");
    assert!((secs(25)..secs(26)).contains(&took), "{took:?}");
    let (outcome, took) = timed(lock(&client, 1).lock().wait(ms(300))).await;
    assert!(is_unreachable(&outcome), "{outcome:?}");
    assert!((ms(300)..ms(400)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_now_is_asked_for_more_and_more_gently_and_not_for_ever() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    hand.always(ACQUIRE, Fate::Refused(Refusal::NoReplicas));
    let is_refused = |outcome: &Result<LockGuard>| matches!(outcome, Err(Error::Refused { .. }));
    let (outcome, took) = timed(lock(&client, 1).lock()).await;
    assert!(
        is_refused(&outcome) && soon_after(took, patience()),
        "{outcome:?} {took:?}"
    );
    let tries = hand.asked(ACQUIRE).len();
    assert!((8..=60).contains(&tries), "{tries} in ten seconds");
    let (outcome, took) = timed(async { lock(&client, 1).try_lock().await }).await;
    let refused = matches!(outcome, Err(Error::Refused { .. }));
    assert!(
        refused && soon_after(took, settings().command_timeout),
        "{outcome:?} {took:?}"
    );
}

/// The lock is somebody else's, and the server has been silent for the last `silent` of twenty seconds.
async fn at_the_end(silent: Duration) -> Result<LockGuard> {
    let stage = Stage::new();
    let (other, _) = stage.client(settings());
    let _guard = lock(&other, 2).lock().await.expect("free");
    let (client, hand) = stage.client(settings());
    let waiting = tokio::spawn({
        let lock = lock(&client, 1);
        async move { lock.lock().wait(secs(20)).await }
    });
    sleep(secs(20) - silent).await;
    hand.silence(true);
    waiting.await.expect("joins")
}

#[tokio::test(start_paused = true)]
async fn whether_the_lock_or_the_server_was_waited_for_is_told() {
    for silent in [ms(10), secs(4)] {
        let outcome = at_the_end(silent).await;
        assert!(
            matches!(&outcome, Err(error) if error.is_timeout()),
            "{silent:?}: {outcome:?}"
        );
    }
    let outcome = at_the_end(secs(8)).await;
    assert!(is_unreachable(&outcome), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_in_vain_slow_a_waiter_down_and_one_that_is_not_does_not() {
    let stage = Stage::new();
    let (other, _) = stage.client(settings());
    let guard = lock(&other, 2).lock().await.expect("free");
    let (client, hand) = stage.client(settings());
    let waiting = waits(&lock(&client, 1)).await;
    let before = hand.asked(ACQUIRE).len();
    for _ in 0..400 {
        hand.tell(Signal::Message {
            channel: bytes::Bytes::from_static(b"redisson_lock__channel:{n}"),
            payload: bytes::Bytes::from_static(b"0"),
        });
        sleep(ms(5)).await;
    }
    let asked = hand.asked(ACQUIRE).len() - before;
    assert!((32..=150).contains(&asked), "{asked} of 400");
    guard.unlock().await.expect("held");
    let (granted, took) = timed(waiting).await;
    drop(granted.expect("joins").expect("granted"));
    assert!(took < ms(40), "{took:?}");
}

/// A client before a semaphore whose one permit another has.
async fn before_a_semaphore(
    stage: &std::sync::Arc<Stage>,
) -> (Client, std::sync::Arc<Hand>, SemaphorePermit) {
    let (other, _) = stage.client(settings());
    let theirs = other.semaphore("s");
    stage.server().put(&bytes::Bytes::from_static(b"s"), 1);
    let permit = theirs.acquire().await.expect("there");
    let (client, hand) = stage.client(settings());
    (client, hand, permit)
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_permit_is_sent_home_after_the_patience_for_outages() {
    let stage = Stage::new();
    let (client, hand, permit) = before_a_semaphore(&stage).await;
    let semaphore = client.semaphore("s");
    let waiting = [(); 2].map(|()| {
        let semaphore = semaphore.clone();
        tokio::spawn(async move { semaphore.acquire().await })
    });
    sleep(secs(20)).await;
    assert!(
        waiting.iter().all(|waiting| !waiting.is_finished()),
        "the server answers"
    );
    hand.silence(true);
    let begun = Instant::now();
    for waiting in waiting {
        let outcome = waiting.await.expect("joins");
        assert!(is_unreachable(&outcome), "{outcome:?}");
        let took = begun.elapsed();
        // Who does not ask itself gives the one who does two requests more.
        assert!(
            took + secs(2) >= patience() && took <= patience() + secs(10),
            "{took:?}"
        );
    }
    let (outcome, took) = timed(semaphore.acquire()).await;
    assert!(is_unreachable(&outcome), "{outcome:?}");
    assert!(
        took >= settings().command_timeout && took <= patience() + secs(4),
        "{took:?}"
    );
    let (outcome, took) = timed(semaphore.try_acquire()).await;
    assert!(is_unreachable(&outcome), "{outcome:?}");
    assert!(took <= settings().command_timeout + ms(10), "{took:?}");
    drop(permit);
}

#[tokio::test(start_paused = true)]
async fn whether_a_permit_or_the_server_was_waited_for_is_told() {
    for (silent, blind) in [(ms(10), false), (secs(4), false), (secs(8), true)] {
        let stage = Stage::new();
        let (client, hand, permit) = before_a_semaphore(&stage).await;
        let waiting =
            tokio::spawn(async move { client.semaphore("s").acquire().wait(secs(20)).await });
        sleep(secs(20) - silent).await;
        hand.silence(true);
        let outcome = waiting.await.expect("joins");
        assert_eq!(is_unreachable(&outcome), blind, "{silent:?}: {outcome:?}");
        let timeout = matches!(&outcome, Err(error) if error.is_timeout());
        assert_eq!(timeout, !blind, "{silent:?}: {outcome:?}");
        drop(permit);
    }
}

#[tokio::test(start_paused = true)]
async fn who_stands_behind_another_goes_home_by_its_own_limit() {
    for limited in [true, false] {
        let stage = Stage::new();
        let (client, hand) = stage.client(settings());
        hand.silence(true);
        let waits = |number, limit: Option<Duration>| {
            let lock = lock(&client, number).lock();
            tokio::spawn(async move {
                timed(async {
                    match limit {
                        Some(limit) => lock.wait(limit).await,
                        None => lock.await,
                    }
                })
                .await
            })
        };
        let _head = waits(1, Some(secs(60)));
        sleep(ms(20)).await;
        let behind = waits(2, limited.then_some(secs(25)));
        let (outcome, took) = behind.await.expect("joins");
        assert!(is_unreachable(&outcome), "{outcome:?}");
        let due = if limited { secs(25) } else { patience() };
        assert!(took >= due && took < due + secs(1), "{limited}: {took:?}");
    }
}
