//! What the tasks do, and who meets whom.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redlatch::{Client, Error, Kind, Lock, LockGuard, Owner, Semaphore};
use redlatch_support::{Dice, Server};
use tokio::time::sleep;

const NAMES: u64 = 3;
const PERMITS: u32 = 3;
const SEMAPHORE: &str = "soak:semaphore";
/// How long a task waits for its turn.
const WAIT: Duration = Duration::from_secs(20);

/// One critical section under way.
#[derive(Debug)]
struct Stay {
    number: u64,
    reads: bool,
    /// Somebody came in while it was there.
    met: bool,
}

/// What all tasks share.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    inside: Mutex<HashMap<String, Vec<Stay>>>,
    failures: Mutex<Vec<String>>,
    stays: AtomicU64,
    cancelled: AtomicU64,
    lost: AtomicU64,
    unreachable: AtomicU64,
}

impl Stage {
    pub(crate) async fn new(clients: &[Client]) -> Self {
        let semaphore = clients[0].semaphore(SEMAPHORE);
        let set = semaphore.try_set_permits(PERMITS).await;
        assert!(
            set.expect("the server is there"),
            "somebody was here before"
        );
        // Each client listens once, so that all it starts at the first need has been started.
        let guard = clients[0].lock("soak:warm").lock().await.expect("free");
        for client in clients {
            let short = Duration::from_millis(100);
            let waited = client.lock("soak:warm").with_owner(Owner::fresh());
            let waited = waited.lock().wait(short).await;
            assert!(waited.is_err_and(|error| error.is_timeout()));
        }
        guard.unlock().await.expect("held");
        Self::default()
    }

    pub(crate) fn counts(&self) -> String {
        let [stays, cancelled, lost, unreachable] =
            [&self.stays, &self.cancelled, &self.lost, &self.unreachable]
                .map(|count| count.load(Ordering::Relaxed));
        format!("{stays} holds, {cancelled} given up, {lost} lost, {unreachable} unreachable")
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        lock(&self.failures).clone()
    }

    fn fail(&self, failure: String) {
        let mut failures = lock(&self.failures);
        if failures.len() < 20 {
            failures.push(failure);
        }
    }

    /// What is on the server although nobody holds or waits any more.
    pub(crate) async fn left_behind(&self, server: &Server, deadline: Instant) -> Vec<String> {
        let direct = server.direct();
        let left = || {
            let mut left = direct.cmd(&["PUBSUB", "CHANNELS"]).strings();
            left.extend(
                direct
                    .cmd(&["KEYS", "*"])
                    .strings()
                    .into_iter()
                    .filter(|key| {
                        // These are meant to stay: permits, the last token, and the marks that make changes count once.
                        let stays = ["redlatch_once:", "redisson_lock_token:"];
                        key != SEMAPHORE && !stays.iter().any(|stem| key.starts_with(stem))
                    }),
            );
            let permits = direct.cmd(&["GET", SEMAPHORE]).text();
            if permits != PERMITS.to_string() {
                left.push(format!("{permits} permits"));
            }
            left
        };
        while !left().is_empty() && Instant::now() < deadline {
            sleep(Duration::from_millis(50)).await;
        }
        left()
            .into_iter()
            .map(|what| format!("left on the server: {what}"))
            .collect()
    }

    fn enter(&self, name: &str, reads: bool) -> u64 {
        let number = self.stays.fetch_add(1, Ordering::Relaxed);
        let mut inside = lock(&self.inside);
        let stays = inside.entry(name.to_owned()).or_default();
        for stay in stays.iter_mut() {
            stay.met |= !(reads && stay.reads);
        }
        stays.push(Stay {
            number,
            reads,
            met: false,
        });
        number
    }

    /// Somebody came in on us, so we must have lost it, which `lost` says.
    fn leave(&self, name: &str, number: u64, lost: bool) {
        let mut inside = lock(&self.inside);
        let stays = inside.get_mut(name).expect("entered");
        let place = stays.iter().position(|stay| stay.number == number);
        let stay = stays.swap_remove(place.expect("entered"));
        if stay.met && !lost {
            self.fail(format!(
                "an overlap on {name}, and the first holder knows of no loss"
            ));
        }
    }

    /// Errors that faults explain are counted, others are failures.
    fn note(&self, what: &str, error: &Error) {
        if error.is_lost() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else if error.is_retryable() || error.is_indeterminate() {
            self.unreachable.fetch_add(1, Ordering::Relaxed);
        } else {
            self.fail(format!("{what}: {error}"));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One task, until `end`.
pub(crate) async fn run(stage: Arc<Stage>, client: Client, seed: u64, number: usize, end: Instant) {
    let mut dice = Dice::new(seed, number as u64);
    while Instant::now() < end {
        let name = format!("soak:{}", dice.below(NAMES));
        let of = |kind: &str| format!("{name}:{kind}");
        match dice.below(8) {
            0..=2 => hold(&stage, &client.lock(of("lock")), false, &mut dice).await,
            3 => hold(&stage, &client.fair_lock(of("fair")), false, &mut dice).await,
            4 => hold(&stage, &client.fenced_lock(of("fenced")), false, &mut dice).await,
            5 | 6 => {
                let both = client.read_write_lock(of("rw"));
                if dice.below(4) == 0 {
                    hold(&stage, both.write_lock(), false, &mut dice).await;
                } else {
                    hold(&stage, both.read_lock(), true, &mut dice).await;
                }
            }
            _ => take(&stage, &client.semaphore(SEMAPHORE), &mut dice).await,
        }
    }
}

async fn hold<K: Kind>(stage: &Stage, lock: &Lock<K>, reads: bool, dice: &mut Dice) {
    let acquire = lock.lock().wait(WAIT).into_future();
    let granted = if dice.below(5) == 0 {
        // Too impatient more often than not.
        let patience = sleep(Duration::from_micros(dice.below(4_000)));
        tokio::select! {
            granted = acquire => granted,
            () = patience => {
                stage.cancelled.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    } else {
        acquire.await
    };
    let guard = match granted {
        Ok(guard) => guard,
        Err(error) => return stage.note(lock.name(), &error),
    };
    let stay = stage.enter(lock.name(), reads);
    sleep(Duration::from_micros(dice.below(2_000))).await;
    if dice.below(6) == 0 {
        enter_again(stage, lock, &guard).await;
    }
    stage.leave(lock.name(), stay, guard.is_lost());
    match dice.below(4) {
        0 => drop(guard),
        1 => {
            // Begun, and perhaps given up: it is unlocked all the same.
            let unlock = guard.unlock();
            let _ = tokio::time::timeout(Duration::from_micros(dice.below(500)), unlock).await;
        }
        _ => {
            if let Err(error) = guard.unlock().await {
                stage.note(lock.name(), &error);
            }
        }
    }
}

async fn enter_again<K: Kind>(stage: &Stage, lock: &Lock<K>, outer: &LockGuard<K>) {
    let inner = lock.clone().with_owner(outer.owner());
    match inner.lock().wait(WAIT).await {
        Ok(inner) => {
            if let Err(error) = inner.unlock().await {
                stage.note(lock.name(), &error);
            }
        }
        Err(error) => stage.note(lock.name(), &error),
    }
}

async fn take(stage: &Stage, semaphore: &Semaphore, dice: &mut Dice) {
    match semaphore.acquire().wait(WAIT).await {
        Ok(permit) => {
            sleep(Duration::from_micros(dice.below(2_000))).await;
            if dice.below(3) == 0 {
                drop(permit);
            } else if let Err(error) = permit.release().await {
                stage.note(SEMAPHORE, &error);
            }
        }
        Err(error) => stage.note(SEMAPHORE, &error),
    }
}
