//! Places in the queue that the server keeps for fair locks: looks keep them, and a last word gives them up.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::sleep;

use super::{
    super::stage::{Fate, Hand, Stage},
    Waiting, call, counted, granted, ints, lock, ms, owner, passing, secs, settings, waits,
};
use crate::{
    client::Client,
    config::Settings,
    engine::transport::{Reply, Signal},
    error::Refusal,
    lock::{Fair, Lock, LockGuard},
};

const FAIR: &str = "fair/acquire";
const LOOK: &str = "fair/look";
const ABANDON: &str = "fair/abandon";
/// The look at locks without a queue.
const PROBE: &str = "probe/ttl";

fn fair(client: &Client, number: u64) -> Lock<Fair> {
    client.fair_lock("f").with_owner(owner(number))
}

/// A client before a fair lock that is somebody else's, and stays so.
fn before_a_busy_lock(stage: &Arc<Stage>, settings: Settings) -> (Client, Arc<Hand>) {
    let (client, hand) = stage.client(Settings {
        safety_poll: secs(10),
        ..settings
    });
    hand.always(FAIR, Fate::Says(ints(&[0, 1_000_000])));
    hand.always(LOOK, Fate::Says(ints(&[1_000_000, 1_000_000])));
    hand.always(ABANDON, Fate::Says(Reply::Nil));
    (client, hand)
}

async fn leaves(waiting: Waiting<Fair>) {
    waiting.abort();
    assert!(waiting.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn places_are_looked_after_each_second_and_nobody_else_is() {
    let stage = Stage::new();
    let (other, _) = stage.client(settings());
    let _theirs = lock(&other, 9).lock().await.expect("free");
    let (client, hand) = before_a_busy_lock(&stage, settings());
    // Nobody beside it, and then somebody.
    let alone = waits(&fair(&client, 1)).await;
    sleep(secs(31)).await;
    let kept = hand.asked(LOOK).len();
    assert!((24..=40).contains(&kept), "{kept} in 31 seconds");
    leaves(alone).await;
    let plain = waits(&lock(&client, 1)).await;
    sleep(secs(33)).await;
    let looks = hand.asked(PROBE).len();
    assert!((2..=4).contains(&looks), "{looks} in 33 seconds");
    let before = hand.asked(LOOK).len();
    let waiting = waits(&fair(&client, 1)).await;
    sleep(ms(1_500)).await;
    assert!(
        hand.asked(LOOK).len() > before,
        "it comes in the middle of an interval"
    );
    sleep(secs(30)).await;
    let kept = hand.asked(LOOK).len() - before;
    assert!((24..=40).contains(&kept), "{kept} in 31.5 seconds");
    let looks = hand.asked(PROBE).len() - looks;
    assert!((2..=5).contains(&looks), "{looks} in 31.5 seconds");
    leaves(waiting).await;
    assert!(!plain.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_place_is_given_up_by_the_last_who_waits_for_it_and_by_nobody_else() {
    let stage = Stage::new();
    let (client, hand) = before_a_busy_lock(&stage, settings());
    let [first, second] = [
        waits(&fair(&client, 1)).await,
        waits(&fair(&client, 1)).await,
    ];
    leaves(first).await;
    sleep(secs(1)).await;
    assert_eq!(hand.asked(ABANDON), [], "the second waits");
    // The third is there before anything can be said.
    second.abort();
    let third = waits(&fair(&client, 1)).await;
    sleep(secs(1)).await;
    assert_eq!(hand.asked(ABANDON), [], "the third waits");
    leaves(third).await;
    sleep(secs(1)).await;
    assert_eq!(hand.asked(ABANDON).len(), 1);
    let waiting = waits(&fair(&client, 1)).await;
    hand.next(FAIR, Fate::Says(ints(&[1, 1])));
    hand.next(LOOK, Fate::Says(ints(&[-2])));
    granted(waiting).await.forget();
    sleep(secs(1)).await;
    assert_eq!(
        hand.asked(ABANDON).len(),
        1,
        "the grant has ended its place"
    );
}

#[tokio::test(start_paused = true)]
async fn a_place_is_given_up_again_and_again_while_that_may_help() {
    for (refusal, tries) in [(Refusal::Loading, 10..=60), (Refusal::NoPermission, 1..=1)] {
        let stage = Stage::new();
        let (client, hand) = before_a_busy_lock(&stage, settings());
        hand.always(ABANDON, Fate::Refused(refusal));
        leaves(waits(&fair(&client, 1)).await).await;
        sleep(secs(8)).await;
        let early = hand.asked(ABANDON).len();
        assert!(tries.contains(&early), "{refusal:?}: {early}");
        sleep(secs(8)).await;
        let all = hand.asked(ABANDON).len();
        assert!(tries.contains(&all), "{refusal:?}: {all}");
        assert_eq!(all > early, early > 1, "{refusal:?}: {early}, {all}");
        sleep(secs(60)).await;
        assert_eq!(hand.asked(ABANDON).len(), all, "{refusal:?}: past its time");
        assert_eq!(client.engine().residue(), Default::default());
    }
}

const PASS: &str = "fair/pass";

/// The field of somebody who wants the lock.
fn field(client: &Client, number: u64) -> Bytes {
    call::<Fair>(client, number).field
}

/// As above, but the lock is owner 1's and goes from hand to hand, and owners 2 and 3 rest.
async fn before_a_lock_of_ours(
    stage: &Arc<Stage>,
) -> (Client, Arc<Hand>, LockGuard<Fair>, [Waiting<Fair>; 2]) {
    let (client, hand) = before_a_busy_lock(stage, passing(64));
    hand.next(FAIR, Fate::Says(ints(&[1, 1])));
    let guard = fair(&client, 1).lock().await.expect("free");
    let waiting = [
        waits(&fair(&client, 2)).await,
        waits(&fair(&client, 3)).await,
    ];
    (client, hand, guard, waiting)
}

#[tokio::test(start_paused = true)]
async fn whoever_asked_first_is_next_however_often_it_asks_again() {
    let stage = Stage::new();
    let (client, hand, guard, [second, third]) = before_a_lock_of_ours(&stage).await;
    let channel = [b"redisson_lock__channel:{f}:", &field(&client, 2)[..]].concat();
    let (asked, ()) = counted(&hand, FAIR, async {
        hand.tell(Signal::Message {
            channel: channel.into(),
            payload: Bytes::from_static(b"0"),
        });
        sleep(ms(20)).await;
    })
    .await;
    assert_eq!(asked, 1, "the second");
    hand.next(PASS, Fate::Says(ints(&[1, 1])));
    let (asked, ()) = counted(&hand, PASS, async {
        guard.unlock().await.expect("held");
    })
    .await;
    assert_eq!(asked, 1);
    assert_eq!(hand.args(PASS)[1], field(&client, 2));
    granted(second).await.forget();
    assert!(!third.is_finished());
}

#[tokio::test(start_paused = true)]
async fn whose_turn_it_is_is_told_though_it_does_not_listen() {
    let stage = Stage::new();
    let (client, hand, guard, [_second, third]) = before_a_lock_of_ours(&stage).await;
    // It turned out not to be the second's turn.
    let turn = vec![Reply::Int(1), Reply::Text(field(&client, 3))];
    hand.next(PASS, Fate::Says(Reply::Array(turn)));
    hand.next(FAIR, Fate::Says(ints(&[1, 1])));
    guard.unlock().await.expect("held");
    sleep(ms(10)).await;
    assert!(third.is_finished(), "it waits to be looked at");
    granted(third).await.forget();
}

/// Callers of one owner share a channel. The first came while the lock was elsewhere, the second rests.
#[tokio::test(start_paused = true)]
async fn who_only_rests_and_leaves_does_not_end_what_another_listens_to() {
    let stage = Stage::new();
    let (client, hand) = before_a_busy_lock(&stage, passing(64));
    let listens = waits(&fair(&client, 2)).await;
    assert_eq!(hand.channels(), 1);
    hand.next(FAIR, Fate::Says(ints(&[1, 1])));
    let guard = fair(&client, 1).lock().await.expect("free");
    let (asked, rests) = counted(&hand, FAIR, waits(&fair(&client, 2))).await;
    assert_eq!(asked, 1, "it rests without listening");
    leaves(rests).await;
    sleep(ms(20)).await;
    assert_eq!(hand.channels(), 1);
    leaves(listens).await;
    sleep(ms(20)).await;
    assert_eq!(hand.channels(), 0);
    guard.forget();
}
