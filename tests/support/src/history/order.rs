//! The order of a fair lock.

use super::judge::{Rule, Seen, Violation};
use super::op::{Action, LockKind, Op};

/// One who stood in line, or may have.
#[derive(Debug)]
struct Waiter<'a> {
    op: &'a Op,
    /// It was not in line before.
    not_before: u64,
    /// It was in line from then on; none where nobody saw it.
    since: Option<u64>,
}

/// Who was seen in line before another can have entered it is granted first. Says how many pairs were compared.
///
/// A waiter that was cut off for longer than a grant lasts is no longer where it was.
pub(super) fn check(seen: &Seen<'_>) -> Result<usize, Violation> {
    // Whoever enters once more what it has stands in no line.
    let firsts = seen.replay.holds.iter().map(|hold| hold.grant);
    let fair = firsts.filter(|op| op.kind == LockKind::Fair);
    let mut waiters: Vec<_> = fair.map(|op| waiter(seen, op)).collect();
    waiters.sort_by_key(|waiter| waiter.op.done());
    let mut pairs = 0;
    for (at, after) in waiters.iter().enumerate() {
        let Some(since) = after.since.filter(|_| !cut_off(seen, after.op)) else {
            continue;
        };
        // Granted before, and entered later. Who was granted before this one called is no concern of its.
        let earlier = waiters[..at].iter().rev();
        for before in earlier.take_while(|before| before.op.done() > after.op.called) {
            if before.not_before > since {
                let what = format!("in line since {since}, passed by {}", before.op);
                return Err(Violation::of(Rule::Order, after.op, &what));
            }
        }
        let later = waiters[at + 1..].iter();
        let contemporary = later.take_while(|later| later.op.called < after.op.done());
        pairs += contemporary
            .filter(|later| later.not_before > since)
            .count();
    }
    Ok(pairs)
}

fn waiter<'a>(seen: &Seen<'a>, op: &'a Op) -> Waiter<'a> {
    let of_owner = |action| {
        let ops = seen.ops.iter();
        ops.filter(move |other| other.owner() == op.owner() && other.action == action)
    };
    let entered =
        of_owner(Action::Queue).find(|sight| (op.called..=op.done()).contains(&sight.done()));
    let last = of_owner(Action::Lock)
        .filter(|other| other.done() <= op.called)
        .max_by_key(|other| other.done());
    // A place that goes with a grant is gone when that is known. One that is given up may be seen for a while yet.
    let place_is_new = |sight: &&&Op| {
        let looked = sight.until.unwrap_or(sight.called);
        let clean = last.is_none_or(|last| last.is_granted());
        sight.called >= op.called || (clean && looked >= op.called)
    };
    // Who came to nothing before may have kept the place of then, if it could not say that it leaves.
    let kept = || {
        let granted =
            of_owner(Action::Lock).filter(|other| other.is_granted() && other.done() < op.called);
        let granted = granted.map(|other| other.done()).max().unwrap_or(0);
        let before = |sight: &&&Op| (granted..op.called).contains(&sight.done());
        of_owner(Action::Queue)
            .filter(before)
            .map(|sight| sight.called)
            .max()
    };
    Waiter {
        op,
        not_before: match entered {
            Some(sight) => sight.called,
            None => kept().unwrap_or(op.called),
        },
        since: entered
            .filter(|sight| place_is_new(sight))
            .map(|sight| sight.done()),
    }
}

fn cut_off(seen: &Seen<'_>, op: &Op) -> bool {
    seen.faults.iter().any(|fault| {
        fault.process == op.process
            && fault.to - fault.from >= op.ttl
            && fault.from <= op.done()
            && fault.to >= op.called
    })
}
