//! Chance, by seed.

use std::{cell::RefCell, time::Duration};

use uuid::Uuid;

/// A generator (splitmix64): the same seed gives the same numbers for ever.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// Different for every seed, and for every use of one seed.
    pub(super) fn new(seed: u64, salt: u64) -> Self {
        let mut dice = Self(seed ^ salt.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        dice.next();
        dice
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
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
        let at = self.below(all.len() as u64) as usize;
        &all[at]
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
