//! Checks what the holders of a lock say about it: no two may have held it at the same time.
//!
//! [`check`] looks at critical sections alone. [`judge`] looks at all operations of a [`History`], with their outcomes, known
//! and unknown, and at all that locks promise. A history can be written down and read again, one operation a line; what
//! the columns are says [`Op`]. Those in `history/kept` are tests.

mod judge;
mod op;
mod order;
mod prefix;
mod replay;
mod waits;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use judge::{Rule, Verdict, Violation, judge};
pub use op::{Action, Fault, History, LockKind, Op, Outcome};
pub use prefix::shortest_broken;
pub use replay::Ending;

/// One critical section; both instants lie inside the time the lock was held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The process, such as `jvm-1`.
    pub process: String,
    /// The thread or task in it.
    pub thread: String,
    /// Epoch microseconds, read after the grant.
    pub granted_micros: u64,
    /// Epoch microseconds, read before the release is asked for.
    pub released_micros: u64,
}

/// A history in which nobody met anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many critical sections there were.
    pub count: usize,
    /// How many each process had.
    pub by_process: BTreeMap<String, usize>,
    /// The longest time from one grant to the next, whoever got them.
    pub longest_wait: Duration,
    /// From the first grant to the last release.
    pub span: Duration,
}

/// Two critical sections that met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The one that was granted first.
    pub first: Box<Interval>,
    /// The one that was granted while the first had not been released.
    pub second: Box<Interval>,
}

impl Summary {
    /// How many critical sections the processes have whose names begin like this.
    pub fn count_of(&self, prefix: &str) -> usize {
        self.by_process
            .iter()
            .filter(|(process, _)| process.starts_with(prefix))
            .map(|(_, count)| count)
            .sum()
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} [{}, {}]",
            self.process, self.thread, self.granted_micros, self.released_micros
        )
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = self.first.released_micros.min(self.second.released_micros);
        write!(
            f,
            "two holders at once for {} µs: {} and {}",
            until - self.second.granted_micros,
            self.first,
            self.second
        )
    }
}

impl std::error::Error for Overlap {}

/// Looks for two critical sections that met, in any order of the intervals; reports the pair whose second one was
/// granted first. Sections that only touch, one released in the microsecond in which the next was granted, did not
/// meet.
///
/// # Panics
///
/// When an interval ends before it begins: somebody set the clock back during the run, and nothing can be said.
#[track_caller]
pub fn check(intervals: &[Interval]) -> Result<Summary, Overlap> {
    check_shared(intervals, |_| false)
}

/// Like [`check`], where those critical sections may meet each other of which `shares` is true: the readers of a
/// read/write lock. Nobody may meet any other.
///
/// # Panics
///
/// As [`check`].
#[track_caller]
pub fn check_shared(
    intervals: &[Interval],
    shares: impl Fn(&Interval) -> bool,
) -> Result<Summary, Overlap> {
    let mut sorted: Vec<&Interval> = intervals.iter().collect();
    sorted.sort_by_key(|interval| (interval.granted_micros, interval.released_micros));

    let mut summary = Summary {
        count: sorted.len(),
        ..Summary::default()
    };
    // Of all before, and of those that share with nobody, the one that ended last.
    let (mut latest, mut latest_alone): (Option<&Interval>, Option<&Interval>) = (None, None);
    let mut granted_before: Option<u64> = None;
    for interval in &sorted {
        assert!(
            interval.granted_micros <= interval.released_micros,
            "{interval} ends before it begins; was the clock set back?"
        );
        let alone = !shares(interval);
        if let Some(first) = if alone { latest } else { latest_alone }
            && interval.granted_micros < first.released_micros
        {
            return Err(Overlap {
                first: Box::new(first.clone()),
                second: Box::new((*interval).clone()),
            });
        }
        if let Some(before) = granted_before {
            let wait = Duration::from_micros(interval.granted_micros - before);
            summary.longest_wait = summary.longest_wait.max(wait);
        }
        *summary
            .by_process
            .entry(interval.process.clone())
            .or_default() += 1;
        granted_before = Some(interval.granted_micros);
        let later = |before: Option<&Interval>| {
            before.is_none_or(|before| before.released_micros <= interval.released_micros)
        };
        if later(latest) {
            latest = Some(interval);
        }
        if alone && later(latest_alone) {
            latest_alone = Some(interval);
        }
    }
    if let (Some(first), Some(last)) = (sorted.first(), latest) {
        summary.span = Duration::from_micros(last.released_micros - first.granted_micros);
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(process: &str, granted_micros: u64, released_micros: u64) -> Interval {
        Interval {
            process: process.to_owned(),
            thread: "0".to_owned(),
            granted_micros,
            released_micros,
        }
    }

    #[test]
    fn an_empty_history_is_fine() {
        assert_eq!(check(&[]), Ok(Summary::default()));
    }

    #[test]
    fn a_clean_history_is_summed_up_in_any_order() {
        let history = [
            interval("jvm-2", 70, 80),
            interval("jvm-1", 10, 20),
            interval("rust-1", 20, 20),
            interval("rust-1", 20, 35),
        ];
        let summary = check(&history).expect("nobody met anybody");
        assert_eq!(summary.count, 4);
        assert_eq!(summary.count_of("jvm-"), 2);
        assert_eq!(summary.count_of("rust-1"), 2);
        assert_eq!(summary.count_of("python"), 0);
        assert_eq!(summary.longest_wait, Duration::from_micros(50));
        assert_eq!(summary.span, Duration::from_micros(70));
    }

    #[test]
    fn the_first_overlap_is_reported_with_both_holders() {
        let history = [
            interval("a", 100, 200),
            interval("b", 150, 160),
            interval("c", 10, 31),
            interval("d", 30, 40),
        ];
        let overlap = check(&history).expect_err("c and d met");
        assert_eq!(overlap.first.process, "c");
        assert_eq!(overlap.second.process, "d");
        let text = overlap.to_string();
        assert!(text.contains("for 1 µs: c 0 [10, 31] and d 0"), "{text}");
    }

    #[test]
    fn one_inside_another_is_an_overlap() {
        for (from, to) in [(15, 16), (15, 15), (10, 20), (19, 30)] {
            let history = [interval("a", 10, 20), interval("b", from, to)];
            assert!(check(&history).is_err(), "[{from}, {to}] in [10, 20]");
        }
    }

    #[test]
    fn readers_may_meet_each_other_and_nobody_else() {
        let reads = |interval: &Interval| interval.process == "r";
        let (long, short) = (interval("r", 10, 50), interval("r", 15, 20));
        let history = [long.clone(), short.clone(), interval("w", 50, 60)];
        let summary = check_shared(&history, reads).expect("only readers met");
        assert_eq!(summary.span, Duration::from_micros(50));

        let met =
            |writer: Interval| check_shared(&[long.clone(), short.clone(), writer], reads).is_err();
        assert!(met(interval("w", 49, 60)), "behind the shorter one only");
        assert!(met(interval("w", 12, 13)), "inside");
        assert!(met(interval("w", 5, 16)), "before both");
        assert!(!met(interval("w", 5, 10)), "touching");
        assert!(check(&[long.clone(), short.clone()]).is_err());
    }

    #[test]
    #[should_panic(expected = "set back")]
    fn a_backward_interval_is_no_history() {
        let _ = check(&[interval("a", 20, 10)]);
    }
}
