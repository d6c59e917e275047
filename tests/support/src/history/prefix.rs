//! The shortest beginning of a history in which something is broken.

use super::judge::{Violation, judge};
use super::op::{Action, History, Outcome};

/// The beginning of a history, up to a time: what had not returned by then is unknown, and what had not been called has
/// not happened.
fn cut(history: &History, at: u64) -> History {
    let called = history.ops.iter().filter(|op| op.called <= at);
    let ops = called.map(|op| {
        let mut op = op.clone();
        if op.done() > at {
            op.returned = None;
            // Somebody who is about to be told of a loss is on his way to be, and no doubt remains.
            op.outcome = match (op.action, op.outcome) {
                (Action::Unlock, Outcome::Lost(_)) => op.outcome,
                _ => Outcome::Unknown,
            };
        }
        op
    });
    History {
        seed: history.seed,
        ops: ops
            .filter(|op| op.action != Action::Queue || op.returned.is_some())
            .collect(),
        faults: history.faults.clone(),
        left: Vec::new(),
        end: None,
    }
}

/// The shortest beginning of a history that is broken, and how; none when nothing is.
///
/// It has the operations of the broken lock only. Where the history as a whole is needed to see it, it is all of it.
pub fn shortest_broken(history: &History) -> Option<(History, Violation)> {
    let whole = judge(history).err()?;
    let mut of_name = history.clone();
    if let Some(name) = &whole.name {
        of_name.ops.retain(|op| op.name == *name);
    }
    let mut times: Vec<u64> = of_name.ops.iter().filter_map(|op| op.returned).collect();
    times.sort_unstable();
    let broken = |at: u64| judge(&cut(&of_name, at)).err();
    let first = times.partition_point(|at| broken(*at).is_none());
    Some(
        match times.get(first).and_then(|at| Some((*at, broken(*at)?))) {
            Some((at, violation)) => (cut(&of_name, at), violation),
            None => (of_name, whole),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::LockKind;

    const RECORDED: &str = include_str!("kept/recorded.txt");

    fn times(history: &History) -> Vec<u64> {
        let mut times: Vec<_> = history.ops.iter().filter_map(|op| op.returned).collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn no_beginning_of_a_history_is_broken_that_is_not() {
        let history: History = RECORDED.parse().expect("kept");
        for at in times(&history) {
            assert_eq!(judge(&cut(&history, at)).err(), None, "cut at {at}");
        }
        assert!(shortest_broken(&history).is_none());
    }

    #[test]
    fn what_is_broken_stays_broken_and_begins_with_the_shortest() {
        let mut history: History = RECORDED.parse().expect("kept");
        // Somebody in the middle has it until the next one is in.
        let middle = times(&history)[history.ops.len() / 2];
        let unlock = history.ops.iter().position(|op| {
            op.kind == LockKind::Fenced && op.outcome == Outcome::Released && op.called > middle
        });
        let unlock = unlock.expect("many are given back");
        let (name, released) = (history.ops[unlock].name.clone(), history.ops[unlock].called);
        let grants = history
            .ops
            .iter()
            .filter(|op| op.name == name && op.is_granted());
        let next = grants
            .filter_map(|op| op.returned)
            .filter(|at| *at > released);
        let next = next.min().expect("there is a next one");
        history.ops[unlock].called = next + 1;
        history.ops[unlock].returned = Some(next + 1);

        let (shortest, violation) = shortest_broken(&history).expect("they met");
        assert_eq!(judge(&shortest).err(), Some(violation));
        assert!(shortest.ops.iter().all(|op| op.called <= next + 1));
        let mut verdicts = times(&history)
            .into_iter()
            .map(|at| judge(&cut(&history, at)));
        let fine = verdicts.by_ref().take_while(Result::is_ok).count();
        assert!(fine > 0);
        assert!(verdicts.all(|verdict| verdict.is_err()), "not for good");
    }
}
