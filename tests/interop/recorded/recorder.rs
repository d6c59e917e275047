//! The Rust process of the recorded runs: this test binary, started again. It says of every operation when it was called,
//! when it returned and what came of it, in the words of a history.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use redlatch::{Client, Error, Fair, Fenced, FencingToken, Kind, Lock, LockGuard, Owner};
use redlatch::{Read, Reentrant, Write};
use redlatch_support::{
    Dice, as_wanted,
    history::{Action, LockKind, Op, Outcome},
};
use tokio::time::{sleep, timeout};

use super::{Order, RECORDER, WATCHDOG};
use crate::{
    common::{ms, secs},
    kinds::Shared,
    worker::now_micros,
};

/// How long the server may be asked until it says what the owner believes.
const SETTLE_LIMIT: Duration = secs(20);

/// A kind whose grants can be written down.
trait Recorded: Shared {
    const KIND: LockKind;

    fn token(_: &LockGuard<Self>) -> Option<FencingToken> {
        None
    }
}

impl Recorded for Reentrant {
    const KIND: LockKind = LockKind::Plain;
}

impl Recorded for Fair {
    const KIND: LockKind = LockKind::Fair;
}

impl Recorded for Read {
    const KIND: LockKind = LockKind::Read;
}

impl Recorded for Write {
    const KIND: LockKind = LockKind::Write;
}

impl Recorded for Fenced {
    const KIND: LockKind = LockKind::Fenced;

    fn token(guard: &LockGuard<Self>) -> Option<FencingToken> {
        Some(guard.token())
    }
}

/// Not a test: what the process does. Without an order it ends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process() {
    let Ok(order) = std::env::var(RECORDER) else {
        return;
    };
    let order: Order = order.parse().expect("an order of ours");
    let url = format!("redis://127.0.0.1:{}", order.port);
    let builder = as_wanted!(Client::builder().url(url).expect("a good address"));
    let client = builder
        .watchdog_timeout(WATCHDOG)
        .command_timeout(ms(500))
        .heartbeat(secs(1))
        .connect()
        .await
        .expect("connects");
    // The harness has begun a line.
    println!("\nclient {}", client.id());
    let over = Arc::new(AtomicBool::new(false));
    let running: Vec<_> = (0..order.tasks)
        .map(|number| {
            let task = Task {
                process: order.process.clone(),
                client: client.clone(),
                owner: Owner::explicit(number).expect("a small number"),
                dice: Dice::new(order.seed, number),
            };
            let (over, locks) = (over.clone(), order.locks.clone());
            tokio::spawn(async move { task.run(&locks, &over).await })
        })
        .collect();
    tokio::task::block_in_place(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
    });
    over.store(true, Ordering::Relaxed);
    for task in running {
        task.await.expect("no panic");
    }
    let report = client.close(secs(5)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
    println!("closed {}", client.residue());
}

/// One owner.
struct Task {
    process: String,
    client: Client,
    owner: Owner,
    dice: Dice,
}

/// An operation that was called.
struct Called {
    op: Op,
}

impl Called {
    fn ended(mut self, outcome: Outcome) {
        self.op.returned = Some(now_micros());
        self.op.outcome = outcome;
        println!("op {}", self.op);
    }
}

impl Task {
    async fn run(mut self, locks: &[(String, String)], over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let (kind, name) = self.dice.one_of(locks).clone();
            match kind.as_str() {
                "plain" => self.cycle::<Reentrant>(&name).await,
                "fenced" => self.cycle::<Fenced>(&name).await,
                "fair" => self.cycle::<Fair>(&name).await,
                "readwrite" if self.dice.below(4) == 0 => self.cycle::<Write>(&name).await,
                "readwrite" => self.cycle::<Read>(&name).await,
                _ => panic!("no such kind: {kind}"),
            }
            sleep(ms(self.dice.below(25))).await;
        }
    }

    fn call<K: Recorded>(&self, lock: &Lock<K>, action: Action, ttl: Duration) -> Called {
        let op = self.op(lock, action, ttl);
        println!("call {op}");
        Called { op }
    }

    fn op<K: Recorded>(&self, lock: &Lock<K>, action: Action, ttl: Duration) -> Op {
        Op {
            process: self.process.clone(),
            thread: self.owner.number().to_string(),
            kind: K::KIND,
            name: lock.name().to_owned(),
            action,
            called: now_micros(),
            returned: None,
            ttl: u64::try_from(ttl.as_micros()).expect("a short time"),
            outcome: Outcome::Unknown,
            until: None,
        }
    }

    /// Once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.dice.below(times) == 0
    }

    async fn cycle<K: Recorded>(&mut self, name: &str) {
        let lock = K::of(&self.client, name).with_owner(self.owner);
        let lease = self.once_in(8).then(|| ms(150 + self.dice.below(300)));
        let Some(guard) = self.acquire(&lock, lease).await else {
            return;
        };
        let ttl = lease.unwrap_or(WATCHDOG);
        let mut guards = vec![guard];
        let mut doubtful = false;
        if lease.is_none() && self.once_in(5) {
            doubtful = self.enter_again(&lock, &mut guards).await;
        }
        if self.once_in(4) {
            self.count(&lock).await;
        }
        let work = ms(match self.dice.below(12) {
            0 => self.dice.below(600),
            _ => self.dice.below(12),
        });
        let noticed = match &guards[..] {
            [.., last] => tokio::select! {
                _ = last.lost() => Some(now_micros()),
                () = sleep(work) => None,
            },
            [] => None,
        };
        while let Some(guard) = guards.pop() {
            doubtful |= self.release(&lock, guard, ttl, noticed).await;
            if !guards.is_empty() && self.once_in(2) {
                self.count(&lock).await;
            }
        }
        if doubtful {
            self.settle(&lock).await;
        } else if self.once_in(8) {
            self.count(&lock).await;
        }
    }

    /// Waits for the lock in one of several ways; one is to leave in the middle of it.
    async fn acquire<K: Recorded>(
        &mut self,
        lock: &Lock<K>,
        lease: Option<Duration>,
    ) -> Option<LockGuard<K>> {
        let (wait, leave) = match self.dice.below(10) {
            0 => (None, Some(ms(self.dice.below(60)))),
            1..4 => (Some(ms(self.dice.below(400))), None),
            _ => (None, None),
        };
        let mut acquire = lock.lock();
        if let Some(wait) = wait {
            acquire = acquire.wait(wait);
        }
        if let Some(lease) = lease {
            acquire = acquire.lease(lease);
        }
        let call = self.call(lock, Action::Lock, lease.unwrap_or(WATCHDOG));
        let granted = match leave {
            Some(leave) => timeout(leave, acquire.into_future()).await.ok(),
            None => Some(acquire.await),
        };
        match granted {
            Some(Ok(guard)) => {
                granted_to(call, &guard);
                return Some(guard);
            }
            Some(Err(Error::TimedOut { .. })) => call.ended(Outcome::Refused),
            Some(Err(Error::Unreachable { .. })) => {
                call.ended(Outcome::Error);
                self.settle(lock).await;
            }
            Some(Err(other)) => panic!("{other}"),
            None => {
                call.ended(Outcome::Unknown);
                self.settle(lock).await;
            }
        }
        None
    }

    /// Enters a lock that it has; says whether the owner is in doubt about what came of it.
    async fn enter_again<K: Recorded>(
        &self,
        lock: &Lock<K>,
        guards: &mut Vec<LockGuard<K>>,
    ) -> bool {
        let call = self.call(lock, Action::Lock, WATCHDOG);
        let entered = lock.lock().wait(secs(2)).await;
        // The first hold may have been lost meanwhile; then this is another one.
        if guards[0].is_lost() {
            for lost in guards.drain(..) {
                let mut told = self.op(lock, Action::Unlock, WATCHDOG);
                told.outcome = Outcome::Lost(told.called);
                told.called = call.op.called;
                told.returned = Some(call.op.called);
                told.until = Some(deadline(&lost));
                println!("op {told}");
                let _ = lost.unlock().await;
            }
        }
        let mut doubtful = guards.is_empty();
        match entered {
            Ok(guard) => {
                granted_to(call, &guard);
                guards.push(guard);
            }
            Err(Error::TimedOut { .. }) => call.ended(Outcome::Refused),
            Err(Error::Unreachable { .. } | Error::Lost { .. }) => {
                call.ended(Outcome::Error);
                doubtful = true;
            }
            Err(other) => panic!("{other}"),
        }
        doubtful
    }

    /// Gives one entry back; says whether the owner is in doubt about what is left of it.
    async fn release<K: Recorded>(
        &self,
        lock: &Lock<K>,
        guard: LockGuard<K>,
        ttl: Duration,
        noticed: Option<u64>,
    ) -> bool {
        let until = deadline(&guard);
        let mut call = self.call(lock, Action::Unlock, ttl);
        call.op.until = Some(until);
        let outcome = match guard.unlock().await {
            Ok(()) => Outcome::Released,
            Err(Error::Lost { .. }) => Outcome::Lost(noticed.unwrap_or_else(now_micros)),
            Err(Error::Unreachable { .. }) => Outcome::Error,
            Err(other) => panic!("{other}"),
        };
        call.ended(outcome);
        outcome != Outcome::Released
    }

    async fn count<K: Recorded>(&self, lock: &Lock<K>) -> Option<u32> {
        let call = self.call(lock, Action::Count, WATCHDOG);
        let counted = lock.raw().hold_count().await;
        call.ended(match &counted {
            Ok(holds) => Outcome::Counted(*holds),
            Err(Error::Unreachable { .. }) => Outcome::Error,
            Err(other) => panic!("{other}"),
        });
        counted.ok()
    }

    /// Asks until nothing is left.
    async fn settle<K: Recorded>(&self, lock: &Lock<K>) {
        let begun = Instant::now();
        while self.count(lock).await != Some(0) {
            assert!(
                begun.elapsed() < SETTLE_LIMIT,
                "an orphan of {} was left at {:?}",
                self.owner,
                lock.name()
            );
            sleep(ms(20)).await;
        }
    }
}

fn granted_to<K: Recorded>(mut call: Called, guard: &LockGuard<K>) {
    call.op.until = Some(deadline(guard));
    let token = K::token(guard).map(FencingToken::get);
    call.ended(Outcome::Granted(token));
}

/// Until when the guard is sure, as epoch microseconds. Both clocks are read without a stop between them.
fn deadline<K: Kind>(guard: &LockGuard<K>) -> u64 {
    loop {
        let before = now_micros();
        let (now, until) = (Instant::now(), guard.valid_until());
        if now_micros().saturating_sub(before) < 500 {
            let left = until.saturating_duration_since(now).as_micros();
            let over = now.saturating_duration_since(until).as_micros();
            return before + left as u64 - over as u64;
        }
    }
}
