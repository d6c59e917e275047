//! Tasks of several clients that contend for names, and what must be true of it afterwards.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redlatch::{Client, Error, Fenced, FencingToken, Lock};
use redlatch_support::history::{self, Interval, Summary};
use tokio::{task::JoinHandle, time::sleep};

use crate::common::{micros, ms, secs};

/// A grant.
#[derive(Debug, Clone)]
struct Grant {
    at: u64,
    client: String,
    token: i64,
}

/// What one name saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    intervals: Vec<Interval>,
    grants: Vec<Grant>,
    /// Holders that were told so.
    pub(crate) lost: usize,
    /// Times a client was told that the counter is behind.
    pub(crate) resets: usize,
    pub(crate) errors: Vec<String>,
}

impl Seen {
    pub(crate) fn turns(&self) -> usize {
        self.intervals.len()
    }

    /// The history, with what others saw of the same name.
    #[track_caller]
    fn check(&self) -> Summary {
        history::check(&self.intervals).unwrap_or_else(|met| panic!("{met}"))
    }

    /// Adds the critical sections of others.
    pub(crate) fn add(&mut self, intervals: impl IntoIterator<Item = Interval>) {
        self.intervals.extend(intervals);
    }

    /// Nobody met anybody, and no token was given twice or backwards.
    #[track_caller]
    pub(crate) fn assert_exclusive(&self) -> Summary {
        let back = self.setbacks();
        assert!(back.is_empty(), "tokens went back: {back:?}");
        self.check()
    }

    /// As [`assert_exclusive`](Self::assert_exclusive) over failovers that began at these times, each of which may have
    /// lost the last numbers of the counter. No client is ever given a number twice. Says how often the counter went back.
    #[track_caller]
    pub(crate) fn assert_exclusive_but_for(&self, faults: &[u64]) -> (Summary, usize) {
        let back = self.setbacks();
        for (before, after) in &back {
            let explained = faults
                .iter()
                .any(|fault| before.at <= fault + 100_000 && *fault <= after.at);
            assert!(explained, "{before:?} {after:?}, failovers at {faults:?}");
        }
        self.assert_rising_for_each_client();
        (self.check(), back.len())
    }

    #[track_caller]
    fn assert_rising_for_each_client(&self) {
        let mut highest: HashMap<&str, i64> = HashMap::new();
        for grant in self.sorted() {
            let before = highest.entry(&grant.client).or_default();
            assert!(*before < grant.token, "{grant:?} after {before}");
            *before = grant.token;
        }
    }

    fn sorted(&self) -> Vec<&Grant> {
        let mut grants: Vec<_> = self.grants.iter().collect();
        grants.sort_by_key(|grant| grant.at);
        grants
    }

    /// Grants whose number is not higher than the one before.
    fn setbacks(&self) -> Vec<(&Grant, &Grant)> {
        self.sorted()
            .windows(2)
            .filter(|pair| pair[0].token >= pair[1].token)
            .map(|pair| (pair[0], pair[1]))
            .collect()
    }

    /// As [`assert_exclusive`](Self::assert_exclusive), but for those who were granted between these times by a master about
    /// to be replaced by one that had not heard of it. Such a one knows no better than to let the next in, and to give out
    /// a number again; but never to a client that has seen a higher one.
    #[track_caller]
    pub(crate) fn assert_exclusive_but_between(&self, from: u64, to: u64) {
        if let Err(met) = history::check(&self.intervals) {
            println!("{met}; between {from} and {to}?");
        }
        let mut others = self.intervals.clone();
        others.retain(|turn| !(from..=to).contains(&turn.granted_micros));
        assert!(others.len() > 20, "{} others", others.len());
        if let Err(met) = history::check(&others) {
            panic!("{met}");
        }
        self.assert_rising_for_each_client();
    }

    /// The longest time without a grant between two moments.
    pub(crate) fn longest_gap(&self, from: u64, to: u64) -> Duration {
        let grants = self.sorted();
        let within = grants.iter().map(|grant| grant.at);
        let times: Vec<_> = within.filter(|at| (from..=to).contains(at)).collect();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        Duration::from_micros(gaps.max().unwrap_or(to - from))
    }
}

/// Contention under way.
pub(crate) struct Contention {
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Seen>>,
}

impl Contention {
    /// Starts `tasks` tasks a client on the fenced lock `name`, which do nothing but take it and give it back.
    pub(crate) fn start(clients: &[Client], name: &str, tasks: usize) -> Self {
        Self::paced(clients, name, tasks, Duration::ZERO)
    }

    /// As [`start`](Self::start), with as much time under the lock and outside of it.
    pub(crate) fn paced(clients: &[Client], name: &str, tasks: usize, pace: Duration) -> Self {
        let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let tasks = (0..clients.len() * tasks)
            .map(|task| {
                let client = task % clients.len();
                let contender = Contender {
                    lock: clients[client].fenced_lock(name),
                    client: format!("rust-{client}"),
                    task,
                    pace,
                    stop: stop.clone(),
                    turns: Arc::clone(&turns),
                };
                tokio::spawn(contender.run())
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
            sleep(ms(1)).await;
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
            all.grants.extend(seen.grants);
            all.lost += seen.lost;
            all.resets += seen.resets;
            all.errors.extend(seen.errors);
        }
        all
    }
}

struct Contender {
    lock: Lock<Fenced>,
    client: String,
    task: usize,
    pace: Duration,
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
}

impl Contender {
    async fn run(self) -> Seen {
        let mut seen = Seen::default();
        while !self.stop.load(Ordering::Acquire) {
            let guard = match self.lock.lock().wait(secs(30)).await {
                Ok(guard) => guard,
                Err(Error::FencingReset { seen: token, .. }) => {
                    seen.resets += 1;
                    let token = FencingToken::new(token);
                    if let Err(error) = self.lock.raise_counter(token).await {
                        seen.errors.push(error.to_string());
                    }
                    continue;
                }
                Err(error) => {
                    seen.errors.push(error.to_string());
                    continue;
                }
            };
            let granted = micros();
            seen.grants.push(Grant {
                at: granted,
                client: self.client.clone(),
                token: guard.token().get(),
            });
            self.turns.fetch_add(1, Ordering::AcqRel);
            self.pause().await;
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
                    process: self.client.clone(),
                    thread: self.task.to_string(),
                    granted_micros: granted,
                    released_micros: released,
                });
            }
            self.pause().await;
        }
        seen
    }

    async fn pause(&self) {
        if self.pace.is_zero() {
            tokio::task::yield_now().await;
        } else {
            sleep(self.pace).await;
        }
    }
}
