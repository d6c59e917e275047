//! How long a lock was free while somebody waited.

use std::time::Duration;

use super::judge::{Rule, Seen, Violation};
use super::op::{Action, Op};
use super::replay::killed;

/// Whose waits are bounded: a JVM that misses a message sleeps for as long as the lock was to last.
const OURS: &str = "rust";
/// A lost message costs two seconds at most; the rest is for a machine that is busy.
const BOUND: u64 = 2_500_000;

type Span = (u64, u64);

/// Every time in which nobody had the lock, or may have had it, ends in a grant before one of ours has waited for too
/// long. Not counted is time in which the waiter, or another who stood in line, was cut off. Says what the longest was.
pub(super) fn check(seen: &Seen<'_>, end: Option<u64>) -> Result<Duration, Violation> {
    let waits: Vec<&Op> = seen
        .ops
        .iter()
        .copied()
        .filter(|op| op.action == Action::Lock)
        .collect();
    let mut longest = 0;
    // The dead wait no longer.
    let ended = |op: &Op| {
        let killed = killed(seen.faults.iter().copied(), &op.process);
        op.done().min(killed.unwrap_or(u64::MAX))
    };
    for gap in gaps(seen, end) {
        let meets = |op: &Op| op.called < gap.1 && op.done() > gap.0;
        let present: Vec<&Op> = waits.iter().copied().filter(|op| meets(op)).collect();
        let faults = seen.faults.iter().filter(|fault| {
            let hit = |op: &&Op| op.process == fault.process;
            present.iter().any(hit)
        });
        let mut excused: Vec<Span> = faults.map(|fault| (fault.from, fault.to)).collect();
        excused.sort_unstable();
        for op in present.iter().filter(|op| op.process.starts_with(OURS)) {
            let waited = (op.called.max(gap.0), ended(op).min(gap.1));
            let length = waited.1.saturating_sub(waited.0);
            let counted = length - covered(waited, &excused).min(length);
            longest = longest.max(counted);
            if counted > BOUND {
                let what = format!("waited {counted} µs of {gap:?}, in which nobody had it");
                return Err(Violation::of(Rule::Wait, op, &what));
            }
        }
    }
    Ok(Duration::from_micros(longest))
}

/// The times in which nobody can have had the lock.
fn gaps(seen: &Seen<'_>, end: Option<u64>) -> Vec<Span> {
    let holds = seen.replay.holds.iter().map(|hold| (hold.start, hold.gone));
    let doubts = seen
        .replay
        .doubts
        .iter()
        .map(|doubt| (doubt.from, doubt.to));
    let mut busy: Vec<Span> = holds.chain(doubts).collect();
    busy.extend(end.map(|end| (end, end)));
    busy.sort_unstable();
    let mut free_from = seen.ops.iter().map(|op| op.called).min().unwrap_or(0);
    let mut gaps = Vec::new();
    for (from, to) in busy {
        if from > free_from {
            gaps.push((free_from, from));
        }
        free_from = free_from.max(to);
    }
    gaps
}

/// How much of a span these cover, which are sorted.
fn covered(span: Span, by: &[Span]) -> u64 {
    let mut covered = 0;
    let mut at = span.0;
    for (from, to) in by {
        let from = (*from).max(at);
        let to = (*to).min(span.1);
        if to > from {
            covered += to - from;
            at = to;
        }
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_twice_counts_once() {
        assert_eq!(covered((10, 20), &[]), 0);
        assert_eq!(covered((10, 20), &[(0, 10), (20, 30)]), 0);
        assert_eq!(
            covered((10, 20), &[(0, 12), (11, 14), (12, 13), (18, 90)]),
            6
        );
        assert_eq!(covered((10, 20), &[(0, 90), (12, 13)]), 10);
    }
}
