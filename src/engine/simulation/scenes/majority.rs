//! More than half of three servers.

use std::sync::Arc;

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use super::{
    super::stage::{Fate, Hand, Stage},
    ACQUIRE, ms, secs, settings,
};
use crate::{
    client::Client,
    error::{Error, LossCause, Refusal},
    lock::MultiLock,
    owner::Owner,
};

/// Three servers, and a client of each.
struct Three {
    stages: Vec<Arc<Stage>>,
    clients: Vec<Client>,
    hands: Vec<Arc<Hand>>,
    lock: MultiLock,
}

impl Three {
    fn new() -> Self {
        let stages: Vec<_> = (0..3).map(|_| Stage::new()).collect();
        let (clients, hands): (Vec<_>, Vec<_>) =
            stages.iter().map(|stage| stage.client(settings())).unzip();
        let members = clients.iter().zip(["a", "b", "c"]);
        let lock = MultiLock::majority(members.map(|(client, name)| client.lock(name)));
        Self {
            stages,
            clients,
            hands,
            lock: lock
                .expect("three of them")
                .with_owner(Owner::explicit(1).expect("small")),
        }
    }

    fn holders(&self) -> [usize; 3] {
        [0, 1, 2].map(|at| self.stages[at].holders(["a", "b", "c"][at]))
    }
}

#[tokio::test(start_paused = true)]
async fn a_majority_is_lost_with_the_first_member_that_it_takes_and_no_sooner() {
    let three = Three::new();
    let guard = three.lock.lock().await.expect("free");
    let mut lost = Box::pin(guard.lost());
    three.stages[0].forget("a");
    let waited = timeout(secs(25), &mut lost).await;
    assert!(waited.is_err(), "two of three are enough");
    assert_eq!((guard.held(), guard.is_lost()), (2, false));
    three.stages[1].forget("b");
    let told = timeout(secs(11), lost).await;
    assert_eq!(told.expect("with the next look"), LossCause::Vanished);
    assert!(guard.unlock().await.expect_err("lost").is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_majority_is_given_back_by_those_who_still_have_it() {
    let three = Three::new();
    let guard = three.lock.lock().await.expect("free");
    three.stages[0].forget("a");
    sleep(secs(11)).await;
    assert_eq!(guard.held(), 2);
    guard.unlock().await.expect("two confirm");
    assert_eq!(three.holders(), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_majority_is_held_whatever_the_silent_ones_would_say() {
    let three = Three::new();
    let raw = three.lock.raw();
    raw.lock().await.expect("free");
    let refuses = |at: usize| {
        three.hands[at].next("HEXISTS", Fate::Refused(Refusal::NoPermission));
    };
    refuses(2);
    assert!(raw.is_held_by_current().await.expect("two say so"));
    three.stages[0].forget("a");
    refuses(2);
    assert!(raw.is_held_by_current().await.is_err(), "it depends on it");
    three.stages[1].forget("b");
    refuses(2);
    assert!(!raw.is_held_by_current().await.expect("one is too few"));
}

#[tokio::test(start_paused = true)]
async fn a_majority_ends_before_each_of_its_members_might() {
    let three = Three::new();
    let lease = secs(10);
    let guard = three.lock.lock().lease(lease).await.expect("free");
    let single = three.clients[0].lock("other").lock().lease(lease);
    let sooner = single.await.expect("free").valid_until() - guard.valid_until();
    // A hundredth of the lease and two milliseconds. The other was asked for when the three had answered.
    assert_eq!(sooner - ms(102), ms(1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_costs_a_quarter_of_the_lease() {
    let three = Three::new();
    let lock = three.lock.server_timeout(secs(60));
    three.hands[1].next(ACQUIRE, Fate::RequestLost);
    let start = Instant::now();
    let guard = lock.lock().wait(secs(5)).lease(secs(1)).await;
    let guard = guard.expect("two of three");
    assert!(start.elapsed() <= ms(260), "{:?}", start.elapsed());
    assert!(guard.remaining() > ms(700), "{:?}", guard.remaining());
    guard.unlock().await.expect("two confirm");
}

/// The process stands still in the middle, nearly for as long as the lease takes.
#[tokio::test(start_paused = true)]
async fn a_majority_that_is_over_when_the_last_one_grants_it_is_no_majority() {
    let three = Three::new();
    let permits = Arc::new(Semaphore::new(0));
    for hand in &three.hands[1..] {
        hand.next(ACQUIRE, Fate::Held(permits.clone()));
    }
    let taking = tokio::spawn({
        let lock = three.lock.clone();
        async move { lock.lock().wait(ms(5)).lease(secs(1)).await }
    });
    sleep(ms(20)).await;
    permits.add_permits(2);
    tokio::time::advance(ms(970)).await;
    let error = taking.await.expect("joins").expect_err("too late");
    assert!(error.is_timeout(), "{error}");
    assert_eq!(three.holders(), [0; 3], "given back");
}

/// Whoever misses the majority sleeps until a member is free; it does not try again and again.
#[tokio::test(start_paused = true)]
async fn whoever_misses_a_majority_waits_for_each_busy_member_in_turn() {
    let three = Three::new();
    let take = async |at: usize, name: &str| {
        let (other, _) = three.stages[at].client(settings());
        other.lock(name).lock().await.expect("free")
    };
    let (_a, b) = (take(0, "a").await, take(1, "b").await);
    let waiting = tokio::spawn({
        let lock = three.lock.clone();
        async move { lock.lock().await }
    });
    // Each of the two: a try a round, and two in the wait for it.
    three.hands[1].until_asked(ACQUIRE, 4).await;
    let tries = [0, 1, 2].map(|at: usize| three.hands[at].asked(ACQUIRE).len());
    assert_eq!(tries, [4, 4, 2], "one after the other");
    sleep(ms(10)).await;
    let start = Instant::now();
    b.unlock().await.expect("held");
    let guard = waiting.await.expect("joins").expect("two of three");
    assert!(start.elapsed() < ms(10), "{:?}", start.elapsed());
    assert_eq!(guard.held(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_majority_in_trouble_is_waited_for_as_long_as_a_single_lock_and_gently() {
    let three = Three::new();
    for hand in &three.hands[1..] {
        hand.always(ACQUIRE, Fate::Refused(Refusal::NoPermission));
    }
    let start = Instant::now();
    let error = three.lock.lock().await.expect_err("one of three");
    assert!(
        matches!(error, Error::NoQuorum { granted: 1, .. }),
        "{error}"
    );
    let patience = settings().outage_patience;
    assert!(start.elapsed() >= patience, "{:?}", start.elapsed());
    assert!(
        start.elapsed() < patience + secs(1),
        "{:?}",
        start.elapsed()
    );
    let rounds = three.hands[0].asked(ACQUIRE).len();
    assert!(rounds < 120, "{rounds} rounds in {:?}", start.elapsed());
    assert_eq!(three.holders(), [0; 3]);

    let waiting = tokio::spawn({
        let lock = three.lock.clone();
        async move { lock.lock().await }
    });
    sleep(secs(3)).await;
    for hand in &three.hands[1..] {
        hand.always(ACQUIRE, Fate::Answered);
    }
    let guard = waiting.await.expect("joins").expect("they are back");
    guard.unlock().await.expect("held");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_majority_asks_few_times_a_second() {
    let three = Three::new();
    let mut held = Vec::new();
    for (at, name) in [(0, "a"), (1, "b")] {
        let (other, _) = three.stages[at].client(settings());
        held.push(other.lock(name).lock().await.expect("free"));
    }
    let waiting = three.lock.lock().wait(secs(10)).await;
    assert!(waiting.expect_err("busy").is_timeout());
    let rounds = three.hands[2].asked(ACQUIRE).len();
    assert!((10..=30).contains(&rounds), "{rounds}");
}
