//! Those who stand before a semaphore: who asks for them, who wakes them, and what that costs.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    super::stage::{Fate, Hand, Stage},
    counted, ints, ms, secs, settings,
};
use crate::{
    client::Client,
    config::Settings,
    coordination::SemaphorePermit,
    engine::{desk::DeskRef, transport::Signal},
    error::{Error, Result},
};

const ACQUIRE: &str = "semaphore/acquire";
const RELEASE: &str = "semaphore/release";

/// A client before a semaphore with so many permits.
fn before(permits: i64, settings: Settings) -> (Arc<Stage>, Client, Arc<Hand>) {
    let stage = Stage::new();
    let (client, hand) = stage.client(settings);
    stage.server().put(&Bytes::from_static(b"s"), permits);
    (stage, client, hand)
}

type Waiting = JoinHandle<Result<SemaphorePermit>>;

/// Somebody who waits for a permit, and sleeps by now.
async fn waits(client: &Client) -> Waiting {
    let semaphore = client.semaphore("s");
    let waiting = tokio::spawn(async move { semaphore.acquire().await });
    sleep(ms(20)).await;
    waiting
}

async fn granted(waiting: Waiting) -> SemaphorePermit {
    let granted = timeout(secs(60), waiting).await;
    granted.expect("in time").expect("joins").expect("granted")
}

/// No message comes, so the release of this process wakes them.
#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_back_wakes_its_own_process_where_no_message_can_come() {
    for knows in [true, false] {
        let (_stage, client, hand) = before(1, settings());
        let permit = client.semaphore("s").acquire().await.expect("there");
        let next = waits(&client).await;
        if knows {
            hand.deafen();
        } else {
            hand.mute();
            hand.next(RELEASE, Fate::Answers(ints(&[1, 0])));
        }
        permit.release().await.expect("had");
        let woken = timeout(ms(10), granted(next)).await;
        assert!(woken.is_ok(), "{knows}: it waits for the safety poll");
    }
}

#[tokio::test(start_paused = true)]
async fn who_stands_behind_others_has_a_place_among_those_who_may_wait() {
    let (_stage, client, hand) = before(
        9,
        Settings {
            max_waiters_per_name: 1,
            ..settings()
        },
    );
    let answered = Arc::new(Semaphore::new(0));
    hand.next(ACQUIRE, Fate::Held(answered.clone()));
    let _first = waits(&client).await;
    let second = waits(&client).await;
    assert!(!second.is_finished());
    let third = timeout(ms(1), client.semaphore("s").acquire().into_future()).await;
    let error = third.expect("at once").expect_err("one waits");
    assert!(matches!(error, Error::TooManyWaiters { .. }), "{error}");
    answered.add_permits(1);
    drop(granted(second).await);
}

#[tokio::test(start_paused = true)]
async fn one_asks_for_all_who_came_meanwhile() {
    let (_stage, client, hand) = before(0, settings());
    let answered = Arc::new(Semaphore::new(0));
    hand.next(ACQUIRE, Fate::Held(answered.clone()));
    let (asked, _waiting) = counted(&hand, ACQUIRE, async {
        let first = waits(&client).await;
        let mut waiting = vec![first];
        for _ in 0..5 {
            waiting.push(waits(&client).await);
        }
        answered.add_permits(1);
        sleep(ms(20)).await;
        waiting
    })
    .await;
    // The first for itself, the others together, and once more by the one who leads, when it listens.
    assert!((2..=3).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn who_wants_no_less_than_was_just_refused_is_not_asked_for() {
    let (_stage, client, hand) = before(1, settings());
    #[expect(clippy::async_yields_async, reason = "who waits goes on waiting")]
    let acquires = async |permits| {
        let semaphore = client.semaphore("s");
        let waiting = tokio::spawn(async move { semaphore.acquire_many(permits).await });
        sleep(ms(20)).await;
        waiting
    };
    let _three = acquires(3).await;
    for (permits, requests) in [(3, 0), (2, 1), (2, 0), (1, 1)] {
        let (asked, _waiting) = counted(&hand, ACQUIRE, acquires(permits)).await;
        assert_eq!(asked, requests, "{permits}");
    }
}

/// A request may name 20,000 of them.
#[tokio::test(start_paused = true)]
async fn so_many_ids_go_in_a_request_and_the_others_in_another() {
    let (_stage, client, hand) = before(0, settings());
    let what = "permits/acquire";
    let answered = Arc::new(Semaphore::new(0));
    let (one, two) = (ints(&[-1, 1]), ints(&[-1, 1, 1]));
    hand.next(what, Fate::SaysWhen(answered.clone(), one.clone()));
    hand.next(what, Fate::Says(two));
    hand.next(what, Fate::Says(one));
    #[expect(clippy::async_yields_async, reason = "who waits goes on waiting")]
    let acquires = async |permits| {
        let semaphore = client.expirable_semaphore("s");
        let waiting = tokio::spawn(async move { semaphore.acquire_many(permits).await });
        sleep(ms(20)).await;
        waiting
    };
    let waiting = [
        acquires(1).await,
        acquires(9_999).await,
        acquires(10_000).await,
        acquires(10_000).await,
    ];
    answered.add_permits(1);
    for waiting in waiting {
        let permit = waiting.await.expect("joins");
        permit.expect("granted").forget();
    }
    assert_eq!(hand.asked(what).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn permits_that_come_back_together_go_in_one_request() {
    let (_stage, client, hand) = before(6, settings());
    let semaphore = client.semaphore("s");
    let mut permits = Vec::new();
    for _ in 0..6 {
        permits.push(semaphore.acquire().await.expect("there"));
    }
    let answered = Arc::new(Semaphore::new(0));
    hand.next(RELEASE, Fate::Held(answered.clone()));
    let (asked, ()) = counted(&hand, RELEASE, async {
        for permit in permits {
            drop(permit);
            sleep(ms(1)).await;
        }
        answered.add_permits(1);
        sleep(ms(20)).await;
    })
    .await;
    assert_eq!(asked, 2, "one, and all that came meanwhile");
    assert_eq!(semaphore.acquire_many(6).await.expect("there").count(), 6);
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_once_nobody_waits() {
    let (_stage, client, _) = before(1, settings());
    let _permit = client.semaphore("s").acquire().await.expect("there");
    let waiting = client.semaphore("s").acquire().wait(secs(1)).await;
    assert!(waiting.expect_err("busy").is_timeout());
    let residue = client.engine().residue();
    assert_eq!((residue.names, residue.channels), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn messages_in_vain_slow_who_waits_for_a_permit_down() {
    let (stage, client, hand) = before(0, settings());
    let waiting = waits(&client).await;
    let flood = async {
        for _ in 0..400 {
            hand.tell(Signal::Message {
                channel: Bytes::from_static(b"redisson_sc:{s}"),
                payload: Bytes::from_static(b"1"),
            });
            sleep(ms(2)).await;
        }
    };
    let (asked, ()) = counted(&hand, ACQUIRE, flood).await;
    assert!((32..=250).contains(&asked), "{asked} of 400");
    let (other, _) = stage.client(settings());
    other.semaphore("s").release(1).await.expect("answers");
    let _permit = timeout(ms(40), granted(waiting)).await.expect("soon");
    // Who is woken now and then is not slowed down at all.
    let waiting = waits(&client).await;
    for _ in 0..20 {
        tokio::time::advance(std::time::Duration::from_micros(300)).await;
        let told = async {
            hand.tell(Signal::Message {
                channel: Bytes::from_static(b"redisson_sc:{s}"),
                payload: Bytes::from_static(b"1"),
            });
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        };
        let (asked, ()) = counted(&hand, ACQUIRE, told).await;
        assert_eq!(asked, 1, "at once");
        sleep(ms(20)).await;
    }
    drop(waiting);
}

#[tokio::test(start_paused = true)]
async fn permits_that_come_back_here_slow_nobody_down() {
    let (_stage, client, hand) = before(0, settings());
    let many = client.semaphore("s");
    let waiting = tokio::spawn(async move { many.acquire_many(50).await });
    sleep(ms(20)).await;
    hand.deafen();
    for n in 0..49 {
        client.semaphore("s").release(1).await.expect("answers");
        let (asked, ()) = counted(&hand, ACQUIRE, async {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(asked, 1, "{n}: at once");
        sleep(ms(20)).await;
    }
    client.semaphore("s").release(1).await.expect("answers");
    assert_eq!(granted(waiting).await.count(), 50);
}

/// Where more wait than are asked for in one request, nobody says anything that would have them ask again.
#[tokio::test(start_paused = true)]
async fn all_who_fit_are_served_at_once_however_many_they_are() {
    for (waiters, permits, requests) in [(3, 1, 1), (150, 1, 2), (150, 150, 2), (350, 300, 4)] {
        let (stage, client, hand) = before(0, settings());
        let mut waiting = Vec::new();
        for _ in 0..waiters {
            let semaphore = client.semaphore("s");
            waiting.push(tokio::spawn(async move { semaphore.acquire().await }));
        }
        sleep(ms(20)).await;
        let asked = hand.asked(ACQUIRE).len();
        assert!(
            asked <= 3 + waiters / 10,
            "{asked} requests for {waiters} who come"
        );
        let (other, _) = stage.client(settings());
        let (asked, ()) = counted(&hand, ACQUIRE, async {
            let released = other.semaphore("s").release(permits).await;
            released.expect("answers");
            sleep(ms(20)).await;
        })
        .await;
        let served = waiting.iter().filter(|one| one.is_finished()).count();
        assert_eq!(served, permits as usize, "{waiters} wait");
        assert_eq!(asked, requests, "{permits} for {waiters}");
    }
}

/// The last one leaves, and before it has taken the desk out of the table somebody comes.
#[test]
fn a_desk_stays_where_it_is_for_who_comes_as_the_last_one_leaves() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (_stage, client, permit) = runtime.block_on(async {
        let (stage, client, _) = before(1, settings());
        let permit = client.semaphore("s").acquire().await;
        (stage, client, permit.expect("there"))
    });
    let engine = client.engine();
    let last = engine.desks.all(engine).pop().expect("there is one");
    let (trade, names) = (last.trade, last.names.clone());
    permit.forget();
    let key = (trade.kind(), names.key.clone());
    let entry = engine.desks.desks.get(&key).expect("it is used");
    let came = std::thread::scope(|scope| {
        let leaving = scope.spawn(move || drop(last));
        while entry.users.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
        let came = DeskRef::keep(engine, entry.value());
        drop(entry);
        leaving.join().expect("no panic");
        came
    });
    let next = DeskRef::get(engine, trade, &names);
    assert!(Arc::ptr_eq(came.desk(), next.desk()));
    drop((came, next));
    assert_eq!(engine.residue().names, 0);
}
