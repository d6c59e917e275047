//! The bell: no ring is missed.

use loom::{
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::every_order;
use crate::bell::{Bell, Source};

/// A waiter notes the count, finds the lock taken and waits; the holder frees it and rings.
pub fn who_notes_the_count_before_looking_is_woken() {
    every_order(|| {
        let bell = Arc::new(Bell::new());
        let free = Arc::new(AtomicBool::new(false));
        let holder = {
            let (bell, free) = (bell.clone(), free.clone());
            thread::spawn(move || {
                free.store(true, Ordering::Release);
                bell.ring(Source::Release);
            })
        };
        loop {
            let seen = bell.count();
            if free.load(Ordering::Acquire) {
                break;
            }
            // A ring that is missed is a deadlock, which loom reports.
            assert_eq!(block_on(bell.rung(seen)), Source::Release);
        }
        holder.join().expect("ends");
    });
}

/// Two wait, one of them for a condition that comes without a ring.
pub fn all_who_wait_are_woken() {
    every_order(|| {
        let bell = Arc::new(Bell::new());
        let ready = Arc::new(AtomicBool::new(false));
        let seen = bell.count();
        let other = {
            let bell = bell.clone();
            thread::spawn(move || {
                block_on(bell.rung(seen));
            })
        };
        let nudger = {
            let (bell, ready) = (bell.clone(), ready.clone());
            thread::spawn(move || {
                ready.store(true, Ordering::Release);
                bell.nudge();
                bell.ring(Source::Message);
            })
        };
        block_on(bell.until(|| ready.load(Ordering::Acquire)));
        other.join().expect("is woken");
        nudger.join().expect("ends");
    });
}
