//! Tasks of several clients that contend for names, and what must be true of it afterwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use redlatch::{Client, Error, Fenced, Lock};
use redlatch_support::history::{self, Interval};
use tokio::task::JoinHandle;

use crate::common::secs;

/// What one name saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    intervals: Vec<Interval>,
    /// Fencing tokens in the order of the grants.
    tokens: Vec<(u64, i64)>,
    pub(crate) lost: usize,
    pub(crate) errors: Vec<String>,
}

impl Seen {
    pub(crate) fn turns(&self) -> usize {
        self.intervals.len()
    }

    /// Nobody met anybody, and no token was given twice or backwards.
    #[track_caller]
    pub(crate) fn assert_exclusive(&self) -> history::Summary {
        let summary = history::check(&self.intervals).unwrap_or_else(|met| panic!("{met}"));
        let mut tokens = self.tokens.clone();
        tokens.sort_unstable();
        for pair in tokens.windows(2) {
            assert!(pair[0].1 < pair[1].1, "tokens went back: {pair:?}");
        }
        summary
    }

    /// As [`assert_exclusive`](Self::assert_exclusive), but for what asynchronous replication explains: where two met since
    /// a failover forgot the first, the second has the higher token.
    #[track_caller]
    pub(crate) fn assert_fenced(&self) {
        if let Err(met) = history::check(&self.intervals) {
            let token = |granted: u64| {
                let found = self.tokens.iter().find(|(at, _)| *at == granted);
                found.expect("noted").1
            };
            let [first, second] = [&met.first, &met.second].map(|one| token(one.granted_micros));
            println!("{met}; tokens {first} and {second}");
            assert!(first < second, "{met}; tokens {first} and {second}");
        }
    }
}

/// Contention under way.
pub(crate) struct Contention {
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Seen>>,
}

fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_micros()).expect("before the year 500000")
}

impl Contention {
    /// Starts `tasks` tasks a client on the fenced lock `name`.
    pub(crate) fn start(clients: &[Client], name: &str, tasks: usize) -> Self {
        let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let tasks = (0..clients.len() * tasks)
            .map(|task| {
                let client = task % clients.len();
                let lock = clients[client].fenced_lock(name);
                let (stop, turns) = (stop.clone(), Arc::clone(&turns));
                tokio::spawn(contend(lock, format!("rust-{client}"), task, stop, turns))
            })
            .collect();
        Self { stop, turns, tasks }
    }

    /// Turns so far.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// Waits for some more turns; says how long they took.
    pub(crate) async fn goes_on(&self, turns: u64, limit: Duration) -> Duration {
        let (begun, goal) = (Instant::now(), self.turns() + turns);
        while self.turns() < goal {
            assert!(begun.elapsed() < limit, "nobody got in for {limit:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        begun.elapsed()
    }

    /// Lets everybody finish.
    pub(crate) async fn end(self) -> Seen {
        self.stop.store(true, Ordering::Release);
        let mut all = Seen::default();
        for task in self.tasks {
            let seen = task.await.expect("no panic");
            all.intervals.extend(seen.intervals);
            all.tokens.extend(seen.tokens);
            all.lost += seen.lost;
            all.errors.extend(seen.errors);
        }
        all
    }
}

async fn contend(
    lock: Lock<Fenced>,
    process: String,
    task: usize,
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Acquire) {
        let guard = match lock.lock().wait(secs(30)).await {
            Ok(guard) => guard,
            Err(error) => {
                seen.errors.push(error.to_string());
                continue;
            }
        };
        let granted = micros();
        seen.tokens.push((granted, guard.token().get()));
        turns.fetch_add(1, Ordering::AcqRel);
        tokio::task::yield_now().await;
        // Whatever happens after that is not this holder's any more.
        let lost = guard.is_lost();
        let released = micros();
        match guard.unlock().await {
            Ok(()) => {}
            Err(Error::Lost { .. }) => seen.lost += 1,
            Err(error) => seen.errors.push(error.to_string()),
        }
        if !lost {
            seen.intervals.push(Interval {
                process: process.clone(),
                thread: task.to_string(),
                granted_micros: granted,
                released_micros: released,
            });
        }
    }
    seen
}
