//! Anything may come in: names, times, addresses and, above all, replies. Nothing of it makes anybody panic.
//!
//! Each test begins with the kept cases in `tests/corpus/`, and makes others of them until its time is over:
//! `REDLATCH_FUZZ_SECONDS` for all of them together, 8 by default. `REDLATCH_FUZZ_SEED` makes them the same again. A case
//! that has found something belongs into the corpus.

mod answering;
mod calls;
mod input;
mod names;
mod replies;

use std::time::{Duration, Instant};

use redlatch_support::Dice;

pub(in crate::engine) use self::replies::Replies;

/// Tests that share the time.
const TESTS: u32 = 4;

/// Runs cases by their number for this test's share of the time, at least `least`.
pub(in crate::engine) fn fuzz(what: &str, least: u64, mut case: impl FnMut(&mut Dice, u64)) {
    let seconds = std::env::var("REDLATCH_FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(8.0, |seconds| seconds.parse().expect("a number"));
    let share = Duration::from_secs_f64(seconds) / TESTS;
    let seed = Dice::seed("REDLATCH_FUZZ_SEED");
    let begun = Instant::now();
    let mut number = 0;
    while number < least || begun.elapsed() < share {
        let _told = Told { seed, number };
        case(&mut Dice::new(seed, number), number);
        number += 1;
    }
    println!(
        "{what}: {number} cases in {:?}, seed {seed}",
        begun.elapsed()
    );
}

/// Says which case failed.
struct Told {
    seed: u64,
    number: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, number } = self;
            eprintln!("case {number} of REDLATCH_FUZZ_SEED={seed}");
        }
    }
}
