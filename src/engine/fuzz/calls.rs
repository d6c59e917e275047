//! Every call of every kind before a server that may say anything: it ends, and nobody panics.

use std::{
    cell::Cell,
    panic,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redlatch_support::Dice;
use tokio::{
    runtime::Builder,
    time::{Instant, timeout},
};

use super::{Replies, answering::Answering, fuzz, input::duration};
use crate::{
    client::Client,
    config::Settings,
    engine::{Engine, protocol::MOST_HOLDS, transport::Fault},
    error::{Error, Refusal, Result},
    lock::{FencingToken, Kind, Lock, MultiLock},
    runtime::Home,
};

/// Calls of a case.
const CALLS: u64 = 16;
/// Far more than any call may take, by the paused clock.
const END: Duration = Duration::from_secs(120);

std::thread_local! {
    /// Panics in the tasks of this thread, whoever hears of them.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

fn count_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.set(PANICS.get() + 1);
        before(info);
    }));
}

fn client(answering: Arc<Answering>) -> Client {
    let settings = Settings {
        watchdog_timeout: Duration::from_secs(3),
        command_timeout: Duration::from_millis(200),
        outage_patience: Duration::from_millis(500),
        ..Settings::default()
    };
    let home = Home::current().expect("a runtime");
    let engine = Engine::start(settings, "fuzzed".to_owned(), answering, home);
    Client::of(&engine)
}

async fn hold<K: Kind>(lock: Lock<K>, dice: &mut Dice) -> Result<()> {
    let wait = duration(dice).min(Duration::from_secs(30));
    let acquire = lock.lock().wait(wait);
    let begun = Instant::now();
    let lease = duration(dice);
    let guard = match dice.below(3) {
        0 => acquire.lease(lease).await?,
        _ => acquire.await?,
    };
    let sure = guard.valid_until() - begun.into_std();
    assert!(
        sure <= lease.max(Duration::from_secs(3)).saturating_add(END),
        "{sure:?} of {lease:?}"
    );
    if dice.below(2) == 0 {
        let _ = timeout(Duration::from_secs(dice.below(8)), guard.lost()).await;
    }
    guard.unlock().await
}

async fn ask<K: Kind>(lock: Lock<K>, dice: &mut Dice) -> Result<()> {
    let raw = lock.raw();
    match dice.below(8) {
        0 => raw.is_locked().await.map(drop),
        1 => raw.is_held_by_current().await.map(drop),
        2 => raw.hold_count().await.map(drop),
        3 => raw.remaining_ttl().await.map(drop),
        4 => raw.force_unlock().await.map(drop),
        5 => raw.unlock().await,
        _ => raw.try_lock().await.map(drop),
    }
}

async fn either<K: Kind>(lock: Lock<K>, dice: &mut Dice) -> Result<()> {
    match dice.below(2) {
        0 => ask(lock, dice).await,
        _ => hold(lock, dice).await,
    }
}

async fn call(client: &Client, dice: &mut Dice) -> Result<()> {
    let limit = duration(dice).min(Duration::from_secs(5));
    match dice.below(14) {
        0 => either(client.lock("n"), dice).await,
        1 => either(client.fair_lock("n"), dice).await,
        2 => either(client.fenced_lock("n"), dice).await,
        3 => either(client.spin_lock("n"), dice).await,
        4 => either(client.non_reentrant_lock("n"), dice).await,
        5 => either(client.group_lock("n", ["a", "b"]), dice).await,
        6 => either(client.read_write_lock("n").read_lock().clone(), dice).await,
        7 => either(client.read_write_lock("n").write_lock().clone(), dice).await,
        8 => {
            let semaphore = client.semaphore("n");
            match dice.below(6) {
                0 => semaphore.try_set_permits(2).await.map(drop),
                1 => semaphore.release(1).await,
                2 => semaphore.available_permits().await.map(drop),
                3 => semaphore.drain_permits().await.map(drop),
                4 => semaphore.delete().await.map(drop),
                _ => semaphore.acquire().wait(limit).await?.release().await,
            }
        }
        9 => {
            let semaphore = client.expirable_semaphore("n");
            match dice.below(5) {
                0 => semaphore.try_set_permits(2).await.map(drop),
                1 => semaphore.add_permits(1).await,
                2 => semaphore.available_permits().await.map(drop),
                3 => semaphore.delete().await.map(drop),
                _ => semaphore.acquire().wait(limit).await?.release().await,
            }
        }
        10 => {
            let latch = client.count_down_latch("n");
            match dice.below(4) {
                0 => latch.try_set_count(1).await.map(drop),
                1 => latch.count_down().await,
                2 => latch.count().await.map(drop),
                _ => latch.wait().limit(limit).await,
            }
        }
        11 => {
            let cell = client.fenced_cell("n");
            cell.claim(FencingToken::new(dice.roll() as i64)).await?;
            cell.set(FencingToken::new(1), "x").await?;
            cell.get().await.map(drop)
        }
        12 => client.inspect("n").await.map(drop),
        _ => {
            let multi = MultiLock::new([client.lock("n"), client.lock("m")])?;
            multi.lock().wait(limit).await?.unlock().await
        }
    }
}

async fn case(kept: &Arc<Replies>, dice: &mut Dice, number: u64) {
    let (kept, mut theirs) = (kept.clone(), Dice::new(dice.roll(), number));
    // A script is answered as it should be by luck only; the first cases are answered by one reply throughout.
    let constant = kept.all().get(number as usize).cloned();
    let answering = Answering::new(move |_| match (&constant, theirs.below(40)) {
        (Some(constant), _) => Ok(constant.clone()),
        (None, 0) => Err(Fault::Unknown {
            reason: "no answer".to_owned(),
        }),
        (None, 1) => Err(Fault::Refused {
            refusal: *theirs.one_of(&[Refusal::WrongType, Refusal::NoScript, Refusal::Other]),
            text: "ERR".to_owned(),
        }),
        _ => Ok(kept.roll(&mut theirs)),
    });
    let client = client(Arc::new(answering));
    for _ in 0..CALLS {
        let outcome = timeout(END, call(&client, dice)).await;
        let outcome = outcome.expect("every call comes to an end");
        let closed = matches!(outcome, Err(Error::Closed | Error::Forked));
        assert!(!closed, "a reply has closed the client");
        let holds = client.engine().residue().holds;
        assert!(holds <= MOST_HOLDS as usize, "{holds} holds");
    }
    let closing = client.close(Duration::from_secs(1));
    timeout(END, closing).await.expect("closing ends");
}

#[test]
fn no_call_fares_badly_whatever_is_answered() {
    count_panics();
    let kept = Arc::new(Replies::kept());
    let least = kept.all().len() as u64;
    fuzz("calls", least, |dice, number| {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(case(&kept, dice, number));
        drop(runtime);
        assert_eq!(PANICS.get(), 0, "a task has panicked");
    });
}

#[tokio::test(start_paused = true)]
async fn a_copied_process_sends_nothing() {
    use crate::engine::transport::Reply;

    let granted = || Reply::Array(vec![Reply::Int(1), Reply::Int(1)]);
    let answering = Arc::new(Answering::new(move |_| Ok(granted())));
    let client = client(answering.clone());
    let guard = client.lock("n").lock().await.expect("granted");
    client.engine().process.pretend_to_be_copied();
    let sent = answering.requests.load(Ordering::Acquire);
    let forked = |outcome: Result<()>| {
        assert!(matches!(outcome, Err(Error::Forked)), "{outcome:?}");
    };
    forked(client.lock("m").lock().await.map(drop));
    forked(client.lock("m").try_lock().await.map(drop));
    forked(client.semaphore("s").acquire().await.map(drop));
    forked(client.inspect("n").await.map(drop));
    // Watched, and yet not renewed: the copy is told that it holds nothing, by its own clock.
    guard.lost().await;
    drop(guard);
    client
        .lock("n")
        .raw()
        .unlock()
        .await
        .expect_err("is not here");
    client.close(Duration::from_secs(1)).await;
    assert_eq!(answering.requests.load(Ordering::Acquire), sent);
}
