//! Single scenes: one thing goes wrong at one moment, by a clock that stands still meanwhile.

use std::time::Duration;

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::stage::Hand;
use crate::{
    client::Client,
    config::{HandOver, Settings},
    engine::{
        protocol::Call,
        registry::{NameRef, SlotRef},
        transport::Reply,
    },
    error::Result,
    lock::{Fenced, Kind, Lock, LockGuard, Reentrant},
    owner::Owner,
};

mod closing;
mod desks;
mod desks_in_trouble;
mod grants;
mod hand_over;
mod majority;
mod permits;
mod places;
mod releases;
mod renewals;
mod replicas;
mod sets;
mod silence;
mod steps_aside;
mod waits;

pub(super) const ACQUIRE: &str = "reentrant/acquire";
pub(super) const RELEASE: &str = "reentrant/release";
pub(super) const PASS: &str = "reentrant/pass";
pub(super) const RENEW: &str = "renew/hash";

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// As by default, but nothing goes from hand to hand.
fn settings() -> Settings {
    Settings {
        hand_over: HandOver {
            passes: 0,
            time: Duration::ZERO,
        },
        ..Settings::default()
    }
}

/// As by default, but a lock goes from hand to hand so many times.
fn passing(passes: u32) -> Settings {
    Settings {
        hand_over: HandOver {
            passes,
            time: secs(1),
        },
        ..Settings::default()
    }
}

fn ints(numbers: &[i64]) -> Reply {
    Reply::Array(numbers.iter().copied().map(Reply::Int).collect())
}

fn owner(number: u64) -> Owner {
    Owner::explicit(number).expect("small")
}

fn lock(client: &Client, number: u64) -> Lock<Reentrant> {
    client.lock("n").with_owner(owner(number))
}

fn fenced(client: &Client, number: u64) -> Lock<Fenced> {
    client.fenced_lock("n").with_owner(owner(number))
}

/// What somebody would say about the lock.
fn call<K: Kind>(client: &Client, number: u64) -> Call {
    let protocol = K::protocol();
    Call {
        field: protocol.field(client.id(), owner(number)).into(),
        ..Call::example(protocol, number)
    }
}

/// What this process knows of somebody and the lock.
fn slot(client: &Client, call: &Call) -> SlotRef {
    NameRef::get(client.engine(), &call.name).slot(call)
}

type Waiting<K> = JoinHandle<Result<LockGuard<K>>>;

/// Somebody who waits for a lock, and sleeps by now.
async fn waits<K: Kind>(lock: &Lock<K>) -> Waiting<K> {
    let lock = lock.clone();
    let waiting = tokio::spawn(async move { lock.lock().await });
    sleep(ms(20)).await;
    waiting
}

async fn granted<K: Kind>(waiting: Waiting<K>) -> LockGuard<K> {
    let granted = timeout(secs(60), waiting).await;
    granted.expect("in time").expect("joins").expect("granted")
}

/// How many requests with this script or verb there are while something happens.
async fn counted<T>(hand: &Hand, what: &str, happens: impl Future<Output = T>) -> (usize, T) {
    let before = hand.asked(what).len();
    let outcome = happens.await;
    (hand.asked(what).len() - before, outcome)
}
