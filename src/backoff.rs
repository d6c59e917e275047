//! How a spinning waiter paces itself.

use std::time::Duration;

/// Pauses between the tries of a waiter that nobody wakes: growing up to a limit, or always the same.
///
/// *Redisson*: `LockOptions.BackOff`, with the same option names and defaults.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use redlatch::BackOff;
///
/// let patient = BackOff::exponential()
///     .initial_delay(Duration::from_millis(5))
///     .max_delay(Duration::from_millis(500));
/// let steady = BackOff::constant(Duration::from_millis(64));
/// # let _ = (patient, steady);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    initial_delay: Duration,
    max_delay: Duration,
    multiplier: u32,
}

/// The longest pause: more is no waiting but giving up.
const LONGEST: Duration = Duration::from_secs(3_600);
/// The shortest pause: less is a busy loop.
const SHORTEST: Duration = Duration::from_micros(100);

impl BackOff {
    /// From 1 ms, doubled after each try, up to 128 ms.
    ///
    /// *Redisson*: `ExponentialBackOff`.
    #[must_use]
    pub fn exponential() -> Self {
        Self {
            initial_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(128),
            multiplier: 2,
        }
    }

    /// Always this long.
    ///
    /// *Redisson*: `ConstantBackOff`, whose default is 64 ms.
    #[must_use]
    pub fn constant(delay: Duration) -> Self {
        Self {
            initial_delay: delay,
            max_delay: delay,
            multiplier: 1,
        }
    }

    /// The first pause. At least 0.1 ms is waited whatever it says.
    #[must_use]
    pub fn initial_delay(mut self, delay: Duration) -> Self {
        self.initial_delay = delay;
        self
    }

    /// The longest pause. More than an hour is not waited.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// By how much a pause is longer than the one before.
    #[must_use]
    pub fn multiplier(mut self, multiplier: u32) -> Self {
        self.multiplier = multiplier;
        self
    }

    /// The pause after one of `last`, or the first one.
    pub(crate) fn next(self, last: Option<Duration>) -> Duration {
        match last {
            None => self.initial_delay,
            Some(last) => last.saturating_mul(self.multiplier.max(1)),
        }
        .min(self.max_delay)
        .clamp(SHORTEST, LONGEST)
    }
}

impl Default for BackOff {
    fn default() -> Self {
        Self::exponential()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_are_never_nothing() {
        let ms = Duration::from_millis;
        let pauses = |backoff: BackOff| {
            let mut last = None;
            (0..10)
                .map(|_| {
                    let next = backoff.next(last);
                    last = Some(next);
                    next
                })
                .collect::<Vec<_>>()
        };
        let growing = pauses(BackOff::exponential());
        assert_eq!(&growing[..4], [ms(1), ms(2), ms(4), ms(8)]);
        assert_eq!(growing[9], ms(128));
        assert_eq!(pauses(BackOff::constant(ms(64))), [ms(64); 10]);
        let nothing = BackOff::exponential().initial_delay(Duration::ZERO);
        assert!(pauses(nothing).iter().all(|pause| *pause >= SHORTEST));
        let endless = BackOff::exponential()
            .max_delay(Duration::MAX)
            .multiplier(u32::MAX);
        assert_eq!(pauses(endless)[9], LONGEST);
    }
}
