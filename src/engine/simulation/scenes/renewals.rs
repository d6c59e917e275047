//! The watchdog: when it asks, when it is late, and what it says of it.

use futures_util::{FutureExt, StreamExt};
use tokio::time::{advance, sleep};

use super::{
    super::stage::{Fate, Stage},
    RENEW, lock, ms, secs, settings,
};
use crate::{
    config::Settings,
    engine::transport::Signal,
    events::{Event, Events},
};

/// The times at which a hold was confirmed too late, of those told by now.
fn late(events: &mut Events) -> Vec<std::time::Duration> {
    let mut late = Vec::new();
    while let Some(Some(event)) = events.next().now_or_never() {
        if let Event::RenewedLate { after, .. } = event {
            late.push(after);
        }
    }
    late
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_renewed_three_times_in_a_timeout_and_at_once_after_a_reconnect() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let _guard = lock(&client, 1).lock().await.expect("free");
    sleep(secs(9)).await;
    assert_eq!(hand.asked(RENEW), [], "not yet");
    sleep(secs(2)).await;
    assert_eq!(hand.asked(RENEW).len(), 1);
    sleep(secs(5)).await;
    hand.tell(Signal::CommandsUp);
    sleep(ms(10)).await;
    assert_eq!(hand.asked(RENEW).len(), 2, "what there was may be gone");
    sleep(secs(3)).await;
    assert_eq!(hand.asked(RENEW).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_catches_up_with_one_round() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let guard = lock(&client, 1).lock().await.expect("free");
    advance(secs(25)).await;
    sleep(secs(20)).await;
    let asked = hand.asked(RENEW);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1] - asked[0] >= secs(10), "{asked:?}");
    assert!(!guard.is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_without_an_answer_is_given_up_in_time_whatever_the_command_timeout_is() {
    let stage = Stage::new();
    let (client, hand) = stage.client(Settings {
        command_timeout: secs(30),
        outage_patience: secs(30),
        ..settings()
    });
    let guard = lock(&client, 1).lock().await.expect("free");
    hand.next(RENEW, Fate::RequestLost);
    sleep(secs(40)).await;
    assert!(!guard.is_lost(), "asked again");
}

#[tokio::test(start_paused = true)]
async fn one_renewal_at_a_time_is_on_its_way_for_a_hold() {
    let stage = Stage::new();
    let (client, hand) = stage.client(Settings {
        command_timeout: secs(30),
        outage_patience: secs(30),
        ..settings()
    });
    let _guard = lock(&client, 1).lock().await.expect("free");
    hand.always(RENEW, Fate::NotSent);
    sleep(secs(29)).await;
    let asked = hand.asked(RENEW);
    assert!(asked.len() >= 3, "{asked:?}");
    let apart = asked.windows(2).all(|two| two[1] - two[0] >= secs(5));
    assert!(apart, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_was_confirmed_late_is_told_and_no_other() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let mut events = client.events();
    let guard = lock(&client, 1).lock().await.expect("free");
    sleep(secs(35)).await;
    assert_eq!(late(&mut events), [], "three in time");
    hand.always(RENEW, Fate::NotSent);
    sleep(secs(18)).await;
    hand.always(RENEW, Fate::Answered);
    sleep(secs(5)).await;
    let late = late(&mut events);
    assert_eq!(late.len(), 1, "{late:?}");
    assert!(late[0] > secs(20), "{late:?}");
    assert!(!guard.is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_looked_at_and_not_renewed_and_over_when_it_is() {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings());
    let lease = lock(&client, 1).lock().lease(secs(15));
    let guard = lease.await.expect("free");
    sleep(secs(11)).await;
    assert_eq!(hand.asked(RENEW).len(), 1);
    assert_eq!(client.stats().renewals, 0);
    assert!(stage.left("n") < 5_000);
    sleep(secs(5)).await;
    assert_eq!(client.stats().losses, 1, "told by nobody but the clock");
    assert!(guard.is_lost());
}

/// Its time is over here a little sooner than there.
#[tokio::test(start_paused = true)]
async fn a_lost_hold_that_is_given_up_does_not_stay_for_the_rest_of_its_lease() {
    let stage = Stage::new();
    let (client, _) = stage.client(settings());
    let hour = lock(&client, 1).lock().lease(secs(3_600));
    let guard = hour.await.expect("free");
    guard.lost().await;
    sleep(ms(100)).await;
    assert_eq!(client.stats().losses, 1);
    assert!(stage.left("n") > 3_000, "there it is held");
    assert!(guard.unlock().await.expect_err("lost").is_lost());
    sleep(ms(10)).await;
    assert_eq!(stage.holders("n"), 0);
}
