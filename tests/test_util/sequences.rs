//! Random sequences of operations, over the server in memory and over a real one: the same answers, word for word.
//!
//! `REDLATCH_SEQUENCE_SEED` repeats one seed alone.

use std::fmt::Debug;

use redlatch::{Client, Error, FencingToken, Kind, Owner, RawLock, Result, test_util::FakeServer};
use redlatch_support::Dice;

use crate::rig::{Rig, ms, real, secs};

const SEQUENCES: u64 = 24;
const OPERATIONS: usize = 120;

/// An answer without what differs from run to run: of an error its kind, of a time whether there is one.
fn said<T: Debug>(outcome: Result<T>) -> String {
    match outcome {
        Ok(value) => format!("{value:?}"),
        Err(Error::Refused { refusal, .. }) => format!("refused: {refusal:?}"),
        Err(error) => {
            let text = format!("{error:?}");
            let kind = text.split([' ', '(']).next().unwrap_or_default();
            kind.to_owned()
        }
    }
}

async fn on_lock<K: Kind>(lock: RawLock<K>, dice: &mut Dice) -> String {
    let lock = lock.with_owner(owner(dice));
    let other = owner(dice);
    match dice.below(9) {
        0..=2 => {
            // Nobody renews these, so that only what is said here happens.
            let outcome = lock.try_lock_for(ms(0), Some(secs(60))).await;
            format!("try_lock {}", said(outcome))
        }
        3 | 4 => format!("unlock {}", said(lock.unlock().await)),
        5 => format!("is_locked {}", said(lock.is_locked().await)),
        6 => format!("is_held_by {}", said(lock.is_held_by(other).await)),
        7 => {
            let left = lock.remaining_ttl().await;
            format!(
                "{} left {}",
                said(lock.hold_count().await),
                said(left.map(|left| left.is_some()))
            )
        }
        _ => format!("force_unlock {}", said(lock.force_unlock().await)),
    }
}

fn owner(dice: &mut Dice) -> Owner {
    Owner::explicit(1 + dice.below(2)).expect("small")
}

async fn on_semaphore(client: &Client, name: &str, dice: &mut Dice) -> String {
    let semaphore = client.semaphore(name);
    let permits = 1 + u32::try_from(dice.below(3)).expect("small");
    match dice.below(10) {
        0 | 1 => {
            let taken = semaphore.try_acquire_many(permits).await;
            let taken = taken.map(|permit| permit.map(|permit| permit.forget()));
            format!("try_acquire {permits} {}", said(taken))
        }
        2 => format!("release {}", said(semaphore.release(permits).await)),
        3 => {
            let done = semaphore.release_if_exists(permits).await;
            format!("release_if_exists {}", said(done))
        }
        4 => {
            let added = semaphore.add_permits(i64::from(permits) - 2).await;
            format!("add {}", said(added))
        }
        5 => format!("try_set {}", said(semaphore.try_set_permits(permits).await)),
        6 => format!("drain {}", said(semaphore.drain_permits().await)),
        7 => {
            let ends = semaphore.remaining_ttl().await;
            let ends = ends.map(|left| left.is_some_and(|left| left < secs(3_600)));
            let there = semaphore.available_permits().await;
            format!("available {} {}", said(there), said(ends))
        }
        8 => format!("delete {}", said(semaphore.delete().await)),
        _ => {
            let set = semaphore.expire(secs(60)).await;
            let left = semaphore.remaining_ttl().await.map(|left| left.is_some());
            let cleared = match dice.below(2) {
                0 => semaphore.clear_expire().await,
                _ => Ok(()),
            };
            format!("expire {} {} {}", said(set), said(left), said(cleared))
        }
    }
}

async fn on_latch(client: &Client, name: &str, dice: &mut Dice) -> String {
    let latch = client.count_down_latch(name);
    match dice.below(6) {
        0 => format!("set {}", said(latch.try_set_count(1 + dice.below(3)).await)),
        1 | 2 => format!("count_down {}", said(latch.count_down().await)),
        3 => format!("count {}", said(latch.count().await)),
        4 => format!("wait {}", said(latch.wait().limit(ms(5)).await)),
        _ => format!("delete {}", said(latch.delete().await)),
    }
}

async fn on_fenced(client: &Client, name: &str, dice: &mut Dice) -> String {
    let lock = client.fenced_lock(name);
    let token = FencingToken::new(i64::try_from(dice.below(6)).expect("small"));
    let cell = client.fenced_cell(format!("{name}:cell"));
    match dice.below(8) {
        0 => format!("last {}", said(lock.last_token().await)),
        1 => format!("raise {token} {}", said(lock.raise_counter(token).await)),
        2 => format!("claim {token} {}", said(cell.claim(token).await)),
        3 => format!("set {token} {}", said(cell.set(token, "value").await)),
        4 => format!("get {}", said(cell.get().await)),
        _ => on_lock(lock.raw().clone(), dice).await,
    }
}

async fn look(client: &Client, name: &str) -> String {
    let seen = client.inspect(name).await;
    let seen = seen.map(|seen| {
        let holds: Vec<_> = seen.holders.iter().map(|holder| holder.holds).collect();
        (holds, seen.ttl.is_some(), seen.waiting_clients, seen.queue)
    });
    format!("inspect {}", said(seen))
}

/// What is answered to the operations of one seed.
async fn answers(rig: &Rig, seed: u64) -> Vec<String> {
    let mut dice = Dice::new(seed, 1);
    let clients = [rig.client().await, rig.client().await];
    // The last is used as everything.
    let names = ["a", "b", "anything"].map(|name| format!("{name}-{seed}"));
    let mut answers = Vec::new();
    for _ in 0..OPERATIONS {
        let at = usize::try_from(dice.below(2)).expect("small");
        let name = dice.one_of(&names).clone();
        let client = &clients[at];
        let sort = dice.below(8);
        let key = match name.strip_prefix("anything") {
            Some(_) => name.clone(),
            None => format!("{name}-{sort}"),
        };
        let answer = match sort {
            0 | 1 => on_lock(client.rlock(key.as_str()), &mut dice).await,
            2 => {
                on_lock(
                    client.non_reentrant_lock(key.as_str()).raw().clone(),
                    &mut dice,
                )
                .await
            }
            3 => on_lock(client.spin_lock(key.as_str()).raw().clone(), &mut dice).await,
            4 => on_fenced(client, &key, &mut dice).await,
            5 => on_semaphore(client, &key, &mut dice).await,
            6 => on_latch(client, &key, &mut dice).await,
            _ => look(client, &key).await,
        };
        answers.push(format!("{at} {key}: {answer}"));
    }
    for client in clients {
        client.close(secs(5)).await;
    }
    answers
}

/// The same by a clock that goes as fast as it can.
fn answers_of_the_fake(seed: u64) -> Vec<String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime
        .expect("a runtime")
        .block_on(answers(&Rig::Fake(FakeServer::new()), seed))
}

#[test]
fn the_fake_and_a_real_server_give_the_same_answers_to_any_sequence() {
    let seeds = match std::env::var("REDLATCH_SEQUENCE_SEED") {
        Ok(_) => {
            let seed = Dice::seed("REDLATCH_SEQUENCE_SEED");
            seed..seed + 1
        }
        Err(_) => 0..SEQUENCES,
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let rig = runtime.block_on(async { Rig::Real(real().await) });
    let mut done = Vec::new();
    for seed in seeds {
        let (ours, real) = (
            answers_of_the_fake(seed),
            runtime.block_on(answers(&rig, seed)),
        );
        let differs = ours.iter().zip(&real).position(|(ours, real)| ours != real);
        if let Some(at) = differs {
            panic!(
                "seed {seed}, operation {at}: {} of a real server, {} of the fake; before that {:#?}",
                real[at],
                ours[at],
                &ours[at.saturating_sub(12)..at]
            );
        }
        assert_eq!(ours.len(), real.len());
        done.extend(ours);
    }
    // Much was granted and much refused, or nothing has been compared.
    for word in [
        "try_lock Some",
        "try_lock None",
        "unlock ()",
        "NotHeld",
        "WrongType",
        "wait ",
    ] {
        let times = done.iter().filter(|answer| answer.contains(word)).count();
        assert!(times > 0, "{word}: never in {} answers", done.len());
    }
}
