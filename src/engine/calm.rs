//! How soon a message is believed.
//!
//! A message means no more than "try again", and whoever has the right to publish can send any number of them. One try at
//! a time is all that they can cause; who is woken time after time while nothing has changed takes its time for the next,
//! a little, so that a flood costs the server some tries a second and a true message some milliseconds.

use std::time::Duration;

use tokio::time::Instant;

/// Messages in vain in a row that are followed at once. A lock that goes from hand to hand each time has moved on by far
/// more than one round trip and [`SLACK`] after so many.
const BELIEVED: u32 = 32;
/// What servers leave out, which count in whole milliseconds.
const SLACK: Duration = Duration::from_millis(2);
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// How long a lock was busy yet, at some moment between the question and its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) left: Option<Duration>,
    pub(super) asked: Instant,
    pub(super) answered: Instant,
}

impl Found {
    /// Whether `next` is what comes of this when nothing happens but that time goes by.
    fn goes_on_as(&self, next: &Self) -> bool {
        let (Some(before), Some(after)) = (self.left, next.left) else {
            return self.left == next.left;
        };
        let longest = next.answered.saturating_duration_since(self.asked);
        let shortest = next.asked.saturating_duration_since(self.answered);
        before <= after.saturating_add(longest + SLACK)
            && after.saturating_add(shortest) <= before.saturating_add(SLACK)
    }
}

/// What one waiter makes of its messages.
#[derive(Debug)]
pub(super) struct Calm {
    longest: Duration,
    in_vain: u32,
    /// What was found after the first of these messages.
    since: Option<Found>,
}

impl Calm {
    /// For one that can tell by the time left whether anything has changed.
    pub(super) const PATIENT: Self = Self::new(Duration::from_millis(20));
    /// For one that cannot.
    pub(super) const QUICK: Self = Self::new(Duration::from_millis(5));

    const fn new(longest: Duration) -> Self {
        Self {
            longest,
            in_vain: 0,
            since: None,
        }
    }

    /// A message came, and the lock is busy. Where it is so for what was left before, less the time that went by, the same
    /// holder has it still and there was nothing to tell.
    pub(super) fn in_vain(&mut self, found: Found) {
        if self.since.is_some_and(|before| before.goes_on_as(&found)) {
            self.in_vain_again();
        } else {
            (self.in_vain, self.since) = (0, Some(found));
        }
    }

    /// As [`in_vain`](Self::in_vain) for what has no time to tell by.
    pub(super) fn in_vain_again(&mut self) {
        self.in_vain = self.in_vain.saturating_add(1);
    }

    /// How long to wait before the next try.
    pub(super) fn pause(&self) -> Duration {
        let beyond = self.in_vain.saturating_sub(BELIEVED);
        if beyond == 0 {
            return Duration::ZERO;
        }
        (FIRST_PAUSE * 2_u32.saturating_pow((beyond - 1).min(8))).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);
    /// From a question to its answer.
    const TRIP: Duration = Duration::from_micros(150);

    /// The pause after each of `count` messages that come every `gap`, when the lock has `left(n)` at the nth.
    fn pauses(count: u32, gap: Duration, left: impl Fn(u32) -> Option<Duration>) -> Vec<Duration> {
        let mut calm = Calm::PATIENT;
        let begun = Instant::now();
        let each = (0..count).map(|n| {
            let asked = begun + gap * n;
            calm.in_vain(Found {
                left: left(n),
                asked,
                answered: asked + TRIP,
            });
            calm.pause()
        });
        each.collect()
    }

    #[test]
    fn a_flood_is_slowed_down_step_by_step_and_no_further() {
        let gap = Duration::from_micros(200);
        for left in [
            pauses(100, gap, |n| Some(LEASE - gap * n)),
            pauses(100, gap, |_| None),
        ] {
            let believed = BELIEVED as usize + 1;
            assert!(left[..believed].iter().all(Duration::is_zero), "{left:?}");
            let ms: Vec<_> = left[believed..].iter().map(Duration::as_millis).collect();
            assert_eq!(ms[..7], [1, 2, 4, 8, 16, 20, 20]);
            assert!(ms[7..].iter().all(|pause| *pause == 20), "{ms:?}");
        }
    }

    /// Answers come late, now and then.
    #[test]
    fn a_busy_client_tells_a_flood_all_the_same() {
        let mut calm = Calm::PATIENT;
        let begun = Instant::now();
        for n in 0..100 {
            let asked = begun + Duration::from_millis(10) * n;
            let at = asked + Duration::from_millis(u64::from(n * 7 % 30));
            calm.in_vain(Found {
                left: Some(LEASE - (at - begun)),
                asked,
                answered: asked + Duration::from_millis(30),
            });
        }
        assert_eq!(calm.pause(), Duration::from_millis(20));
    }

    /// Another process is faster each time, and each time it is another hold.
    #[test]
    fn a_lock_that_goes_from_hand_to_hand_slows_nobody_down() {
        for micros in [200, 1_000, 20_000] {
            let gap = Duration::from_micros(micros);
            let left = pauses(2_000, gap, |_| Some(LEASE));
            assert!(left.iter().all(Duration::is_zero), "{micros}: {left:?}");
            // Leases of every length.
            let left = pauses(2_000, gap, |n| Some(LEASE / (n % 7 + 1)));
            assert!(left.iter().all(Duration::is_zero), "{micros}: {left:?}");
        }
    }
}
