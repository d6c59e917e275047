//! Single scenes: one thing goes wrong at one moment, by a clock that stands still meanwhile.

use std::time::Duration;

use crate::config::{HandOver, Settings};

mod majority;
mod sets;

pub(super) const ACQUIRE: &str = "reentrant/acquire";
pub(super) const RELEASE: &str = "reentrant/release";
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
