//! What an application, or whoever speaks through it, puts in: times and addresses.

use std::time::Duration;

use redlatch_support::Dice;
use tokio::time::Instant;

use super::fuzz;
use crate::{
    address::{Parsed, shown},
    config::{check_lease, lease_ms},
    engine::hold::{later, margin},
};

/// From nothing to what no clock shows.
pub(super) fn duration(dice: &mut Dice) -> Duration {
    let some = [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_millis(10),
        Duration::from_secs(30),
        Duration::from_millis(1 << 53),
        Duration::from_millis(i64::MAX as u64),
        Duration::from_secs(u64::MAX),
        Duration::MAX,
    ];
    match dice.below(3) {
        0 => *dice.one_of(&some),
        1 => Duration::new(dice.roll(), 0),
        _ => Duration::from_micros(dice.roll() >> dice.below(64)),
    }
}

const PARTS: [&str; 28] = [
    "redis",
    "rediss",
    "redis+unix",
    "redis+uds",
    "http",
    "://",
    ":",
    "/",
    "//",
    "@",
    "?",
    "#",
    "%",
    "%2F",
    "%zz",
    "[",
    "]",
    "::1",
    "127.0.0.1",
    "localhost",
    "6379",
    "99999",
    "-1",
    "db=",
    "user",
    "pass",
    "ü",
    "\n",
];

fn address(dice: &mut Dice) -> String {
    let well_formed = [
        "redis://user:pass@localhost:6379/0",
        "redis+unix:///run/s?db=1",
    ];
    match dice.below(3) {
        0 => {
            let mut text = dice.one_of(&well_formed).to_string();
            for _ in 0..dice.below(4) {
                let at = dice.below(text.len() as u64 + 1) as usize;
                let at = (0..=at).rev().find(|at| text.is_char_boundary(*at));
                text.insert_str(at.unwrap_or_default(), dice.one_of::<&str>(&PARTS));
            }
            text
        }
        1 => {
            let rest: String = (0..dice.below(8)).map(|_| *dice.one_of(&PARTS)).collect();
            format!("redis://{rest}")
        }
        _ => (0..dice.below(10)).map(|_| *dice.one_of(&PARTS)).collect(),
    }
}

#[test]
fn times_and_addresses_of_any_kind_are_taken_or_refused() {
    fuzz("times and addresses", 1_000, |dice, _| {
        let (lease, now) = (duration(dice), Instant::now());
        assert!(later(now, lease) >= now);
        assert!(margin(lease) > Duration::ZERO);
        if check_lease(lease).is_ok() {
            let ms = lease_ms("lease", lease).expect("was checked");
            assert!((10..=1 << 53).contains(&ms), "{lease:?}");
            assert!(u128::from(ms) >= lease.as_millis());
        }
        let url = address(dice);
        if let Ok(read) = Parsed::read(&url) {
            // What is shown of it has no password in it.
            let shown = shown(&read.config);
            assert!(!shown.contains("pass@"), "{url:?}: {shown}");
            let hosts = read.config.server.hosts();
            assert_eq!(hosts.len(), 1, "{url:?}");
        }
    });
}
