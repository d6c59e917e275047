//! A hold: lost is for ever.

use std::time::Duration;

use loom::{sync::Arc, thread};
use tokio::time::Instant;

use super::every_order;
use crate::{
    error::LossCause,
    hold::{Hold, Lease},
};

const LEASE: Duration = Duration::from_secs(10);

/// A renewal's answer comes while two look at a deadline that is over: once one has seen it, all do.
pub fn what_was_seen_to_be_over_stays_over() {
    let start = Instant::now();
    every_order(move || {
        let (end, late) = (start + LEASE, start + LEASE * 2);
        let hold = Arc::new(Hold::new(1, Lease::Watched, start, end));
        let renewal = {
            let hold = hold.clone();
            thread::spawn(move || hold.extend(start + LEASE * 3))
        };
        let other = {
            let hold = hold.clone();
            thread::spawn(move || hold.loss(late).is_some())
        };
        let here = hold.loss(late).is_some();
        let after = hold.loss(late).is_some();
        assert!(after || !here, "it came back");
        let there = other.join().expect("ends");
        renewal.join().expect("ends");
        let at_last = hold.loss(late).is_some();
        assert_eq!(at_last, here || there, "one saw it and it is not so");
        assert_eq!(at_last, hold.loss(start).is_some(), "at any time");
    });
}

/// The server's word and the clock's: one of them is the first, and the hold is lost.
pub fn one_alone_is_the_first_to_tell() {
    let start = Instant::now();
    every_order(move || {
        let hold = Arc::new(Hold::new(1, Lease::Watched, start, start + LEASE));
        let told = |cause| {
            let hold = hold.clone();
            thread::spawn(move || hold.mark_lost(cause))
        };
        let one = told(LossCause::Unreachable);
        let other = told(LossCause::LeaseExpired);
        let firsts = [one, other].map(|thread| thread.join().expect("ends"));
        assert_eq!(firsts.iter().filter(|first| **first).count(), 1);
        assert!(hold.loss(start).is_some());
    });
}
