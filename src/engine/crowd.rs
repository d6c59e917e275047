//! How many wait. Counted where a wait begins, so that what is free costs nothing; who comes when there is no place any
//! more is sent home with an error, so that nobody fills this process by asking for what others hold.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::Engine;
use crate::{
    error::{Error, Result},
    telemetry,
};

/// Those who wait at one place.
#[derive(Debug, Default)]
pub(crate) struct Crowd(AtomicUsize);

impl Crowd {
    fn enter(&self, most: usize) -> Option<Counted<'_>> {
        let more = |count: usize| (count < most).then(|| count + 1);
        let entered = (self.0).fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        entered.ok().map(|_| Counted(self))
    }
}

#[derive(Debug)]
struct Counted<'a>(&'a Crowd);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One who waits, counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Waiter<'a> {
    _client: Counted<'a>,
    _name: Counted<'a>,
    _told: telemetry::Waiting,
}

impl Engine {
    /// Counts one who waits for the name `shown`, where `here` counts all who do.
    pub(super) fn wait_at<'a>(
        &'a self,
        here: &'a Crowd,
        kind: &'static str,
        shown: &Arc<str>,
    ) -> Result<Waiter<'a>> {
        let full = |limit| Error::TooManyWaiters {
            name: shown.clone(),
            limit,
        };
        let settings = &self.settings;
        let (most, most_here) = (settings.max_waiters, settings.max_waiters_per_name);
        Ok(Waiter {
            _name: here.enter(most_here).ok_or_else(|| full(most_here))?,
            _client: self.crowd.enter(most).ok_or_else(|| full(most))?,
            _told: telemetry::Waiting::begin(kind),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_left_is_free_again() {
        let crowd = Crowd::default();
        let first = crowd.enter(2).expect("empty");
        let second = crowd.enter(2).expect("one more");
        assert!(crowd.enter(2).is_none());
        drop(first);
        let third = crowd.enter(2).expect("one has left");
        assert!(crowd.enter(2).is_none());
        drop((second, third));
        assert_eq!(crowd.0.into_inner(), 0);
    }
}
