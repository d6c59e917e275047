//! Dice that begin where they are told to (splitmix64), so that a run with them can be had again.

use std::time::{SystemTime, UNIX_EPOCH};

/// A row of numbers that its seed decides.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The row `number` of those that belong to a seed.
    pub fn new(seed: u64, number: u64) -> Dice {
        Dice(seed ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    /// The seed that the environment variable `name` gives, else one that is seldom the same twice.
    ///
    /// # Panics
    ///
    /// When the variable is no number.
    #[track_caller]
    pub fn seed(name: &str) -> u64 {
        if let Ok(seed) = std::env::var(name) {
            return seed
                .parse()
                .unwrap_or_else(|_| panic!("{name} must be a number, not {seed:?}"));
        }
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_micros() as u64)
    }

    /// From 0 to one less than `below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.roll() % below
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}
