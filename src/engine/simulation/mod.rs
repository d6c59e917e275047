//! The engine as it is, over a network and a server in memory, with time and faults by seed.
//!
//! ```text
//! worker ─► lock ─► engine ─► link ─► world ─► server        book: what must hold meanwhile
//!                                      └ faults, dice         run: who comes and goes, and what is left
//! scenes ─► lock ─► engine ─► stage ─────────► server        one fault at one moment, and what comes of it
//! ```
//!
//! The server, and the connections of scenes, are those of `engine/memory/`, which the test kit gives to users.
//!
//! `REDLATCH_SIM_SEEDS` says how many seeds are run, `REDLATCH_SIM_SEED` which one alone, with all that happens.

mod book;
mod dice;
mod faults;
mod link;
mod model;
mod run;
mod scenes;
mod stage;
mod taker;
mod worker;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use self::dice::uuid;
use self::run::{Limits, run};

/// Lines of a failing run that are shown.
const SHOWN: usize = 80;
const THREADS: usize = 2;

fn from_env(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

/// The least of something, up to `most`, with which a run fails.
fn least(most: u64, fails: impl Fn(u64) -> bool) -> u64 {
    let (mut passing, mut failing) = (0, most);
    if fails(0) {
        return 0;
    }
    while failing - passing > 1 {
        let middle = passing + (failing - passing) / 2;
        if fails(middle) {
            failing = middle;
        } else {
            passing = middle;
        }
    }
    failing
}

/// A failing seed with as few faults and operations as it takes, in words.
fn describe(seed: u64) -> String {
    let full = run(seed, Limits::NONE, false);
    let mut limits = Limits {
        faults: full.faults,
        operations: full.operations,
    };
    let fails = |limits| run(seed, limits, false).violation.is_some();
    limits.faults = least(limits.faults, |faults| fails(Limits { faults, ..limits }));
    limits.operations = least(limits.operations, |operations| {
        fails(Limits {
            operations,
            ..limits
        })
    });
    let shortest = run(seed, limits, true);
    let from = shortest.trace.len().saturating_sub(SHOWN);
    format!(
        "seed {seed}: {:?}\nwith {limits:?}: {:?}\n{}",
        full.violation,
        shortest.violation,
        shortest.trace[from..].join("\n")
    )
}

#[test]
fn two_thousand_seeds() {
    if let Some(seed) = from_env("REDLATCH_SIM_SEED") {
        let report = run(seed, Limits::NONE, true);
        println!("{}", report.trace.join("\n"));
        assert!(report.violation.is_none(), "{}", describe(seed));
        return;
    }
    let seeds = from_env("REDLATCH_SIM_SEEDS").unwrap_or(2_000);
    let [next, faults, grants, hand_overs] = [const { AtomicU64::new(0) }; 4];
    let failing = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failing.load(Ordering::Relaxed) != u64::MAX {
                        return;
                    }
                    let report = run(seed, Limits::NONE, false);
                    faults.fetch_add(report.faults, Ordering::Relaxed);
                    grants.fetch_add(report.grants, Ordering::Relaxed);
                    hand_overs.fetch_add(report.hand_overs, Ordering::Relaxed);
                    if report.violation.is_some() {
                        failing.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failing = failing.into_inner();
    assert!(failing == u64::MAX, "{}", describe(failing));
    println!(
        "{seeds} seeds, {faults:?} faults, {grants:?} grants to those who were left, {hand_overs:?} of them by hand"
    );
    assert!(
        grants.into_inner() >= 50 * seeds,
        "hardly anybody got a lock"
    );
    assert!(hand_overs.into_inner() >= seeds, "hardly any was passed on");
}

#[test]
fn a_seed_is_the_same_every_time() {
    for seed in 0..12 {
        let (first, second) = (run(seed, Limits::NONE, true), run(seed, Limits::NONE, true));
        let differs = first
            .trace
            .iter()
            .zip(&second.trace)
            .position(|(a, b)| a != b);
        let at = differs.map(|at| (at, &first.trace[at], &second.trace[at]));
        assert!(at.is_none(), "seed {seed}: {at:?}");
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
}
