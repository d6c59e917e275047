//! Chance, by seed.

use std::{cell::RefCell, time::Duration};

use uuid::Uuid;

/// The same seed gives the same numbers for ever.
#[derive(Debug, Clone)]
pub(super) struct Dice(redlatch_support::Dice);

impl Dice {
    /// Different for every seed, and for every use of one seed.
    pub(super) fn new(seed: u64, salt: u64) -> Self {
        let seed = seed ^ salt.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let mut dice = Self(redlatch_support::Dice::new(seed, 0));
        dice.next();
        dice
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.roll()
    }

    /// Below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True this often in a thousand.
    pub(super) fn chance(&mut self, in_a_thousand: u64) -> bool {
        self.below(1_000) < in_a_thousand
    }

    /// From `least` to `most`, both included.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub(super) fn ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    pub(super) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        self.0.one_of(all)
    }
}

std::thread_local! {
    /// What the engine draws from, where a simulation runs on this thread.
    static ENGINE: RefCell<Option<Dice>> = const { RefCell::new(None) };
}

/// Has the engines of this thread draw by seed, for as long as it lives.
pub(super) struct Loaded;

impl Loaded {
    pub(super) fn new(seed: u64) -> Self {
        ENGINE.with(|dice| *dice.borrow_mut() = Some(Dice::new(seed, 1)));
        Self
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        ENGINE.with(|dice| *dice.borrow_mut() = None);
    }
}

/// What an engine draws instead of a random uuid; `None` where no simulation runs.
pub(in crate::engine) fn uuid() -> Option<Uuid> {
    ENGINE.with(|dice| {
        let mut dice = dice.borrow_mut();
        let dice = dice.as_mut()?;
        Some(Uuid::from_u64_pair(dice.next(), dice.next()))
    })
}
