//! Is the judge of histories worth its name? Histories that are kept with what is to be said of them, and a recorded one
//! that is forged in many ways.

use redlatch_support::history::{Action, History, LockKind, Op, Outcome, Rule, judge};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/history/kept");
const RECORDED: &str = include_str!("../src/history/kept/recorded.txt");

fn recorded() -> History {
    RECORDED.parse().expect("kept")
}

fn rule(history: &History) -> Option<Rule> {
    judge(history).err().map(|violation| violation.rule)
}

#[test]
fn kept_histories_are_judged_as_they_say() {
    let mut rules = Vec::new();
    for file in std::fs::read_dir(KEPT).expect("a folder") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("text");
        let expected = text.lines().find_map(|line| line.strip_prefix("# expect "));
        let expected = expected.unwrap_or_else(|| panic!("{} expects nothing", path.display()));
        let history: History = text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let verdict = judge(&history);
        let said = match &verdict {
            Ok(_) => "Fine".to_owned(),
            Err(violation) => format!("{:?}", violation.rule),
        };
        assert_eq!(said, expected, "{}: {verdict:?}", path.display());
        rules.push(said);
    }
    rules.sort_unstable();
    rules.dedup();
    // Every rule, and Fine.
    assert_eq!(rules.len(), 10, "{rules:?}");
}

#[test]
fn a_history_reads_as_it_was_written() {
    let history = recorded();
    assert_eq!(history.to_string().parse::<History>(), Ok(history));
    for broken in ["rust-0 1 plain a lock 1 2", "fault cut a b c d", "seed x"] {
        assert!(broken.parse::<History>().is_err(), "{broken}");
    }
}

/// One after the other: the first grant and the last release of an owner, by their places in the history.
fn turns(history: &History) -> Vec<(usize, usize)> {
    let mut turns = Vec::new();
    for (at, op) in history.ops.iter().enumerate() {
        let of_owner = |other: &&(usize, &Op)| {
            other.1.owner() == op.owner()
                && (&other.1.name, other.1.kind) == (&op.name, op.kind)
                && matches!(other.1.action, Action::Lock | Action::Unlock)
        };
        let rest = history.ops.iter().enumerate().skip(at + 1);
        let next = rest
            .collect::<Vec<_>>()
            .iter()
            .find(of_owner)
            .map(|next| next.0);
        let mut before = history.ops[..at].iter().enumerate().collect::<Vec<_>>();
        before.reverse();
        let enters = !before
            .iter()
            .find(of_owner)
            .is_some_and(|before| matches!(before.1.outcome, Outcome::Granted(_)));
        if let (Outcome::Granted(_), true, Some(next)) = (op.outcome, enters, next)
            && history.ops[next].outcome == Outcome::Released
        {
            turns.push((at, next));
        }
    }
    turns.sort_by_key(|turn| history.ops[turn.0].returned);
    turns
}

/// Turns of one lock that followed each other, of different owners.
fn pairs(history: &History, kind: LockKind) -> Vec<[(usize, usize); 2]> {
    let turns = turns(history);
    let turns: Vec<_> = turns
        .iter()
        .filter(|turn| history.ops[turn.0].kind == kind)
        .collect();
    let pairs = turns.windows(2).map(|pair| [*pair[0], *pair[1]]);
    pairs
        .filter(|[one, other]| history.ops[one.0].owner() != history.ops[other.0].owner())
        .collect()
}

#[test]
fn two_tokens_that_change_places_are_found() {
    let history = recorded();
    let pairs = pairs(&history, LockKind::Fenced);
    assert!(pairs.len() > 10, "{}", pairs.len());
    for [(one, _), (other, _)] in pairs {
        let mut forged = history.clone();
        forged.ops[one].outcome = history.ops[other].outcome;
        forged.ops[other].outcome = history.ops[one].outcome;
        assert_eq!(rule(&forged), Some(Rule::Token), "{}", history.ops[one]);
    }
}

#[test]
fn a_hold_that_lasts_until_the_next_has_begun_is_found() {
    let history = recorded();
    for kind in [LockKind::Fenced, LockKind::Fair, LockKind::Write] {
        let pairs = pairs(&history, kind);
        assert!(pairs.len() > 5, "{kind}: {}", pairs.len());
        for [(_, unlock), (next, _)] in pairs {
            let mut forged = history.clone();
            let began = history.ops[next].returned.expect("granted");
            let op = &mut forged.ops[unlock];
            op.called = began + 1;
            op.returned = Some(began + 1);
            op.until = op.until.map(|until| until.max(began + 1));
            assert_eq!(
                rule(&forged),
                Some(Rule::Overlap),
                "{}",
                history.ops[unlock]
            );
        }
    }
}

#[test]
fn a_release_that_was_not_made_is_found() {
    let history = recorded();
    for kind in [LockKind::Fenced, LockKind::Fair, LockKind::Write] {
        for [(grant, unlock), (next, _)] in pairs(&history, kind) {
            // Past its own deadline nobody is expected to give anything back.
            let until = history.ops[grant].until.unwrap_or(u64::MAX);
            if history.ops[next].returned.expect("granted") < until {
                let mut forged = history.clone();
                forged.ops.remove(unlock);
                assert!(rule(&forged).is_some(), "{}", history.ops[unlock]);
            }
        }
    }
}

#[test]
fn an_answer_to_a_count_that_is_wrong_is_found() {
    let history = recorded();
    let sure = |op: &Op| {
        let doubtful = |other: &Op| {
            other.owner() == op.owner()
                && matches!(
                    other.outcome,
                    Outcome::Unknown | Outcome::Error | Outcome::Lost(_)
                )
        };
        !history.ops.iter().any(doubtful)
    };
    let mut counts = 0;
    for (at, op) in history.ops.iter().enumerate() {
        if let (Outcome::Counted(holds), true) = (op.outcome, sure(op)) {
            let mut forged = history.clone();
            forged.ops[at].outcome = Outcome::Counted(holds + 1);
            assert_eq!(rule(&forged), Some(Rule::Count), "{op}");
            counts += 1;
        }
    }
    assert!(counts > 10, "{counts}");
}

#[test]
fn turns_of_a_fair_lock_that_change_places_are_found() {
    let history = recorded();
    let entered = |lock: &Op| {
        history.ops.iter().find(|sight| {
            sight.action == Action::Queue
                && sight.owner() == lock.owner()
                && (lock.called..=lock.returned.unwrap_or_default())
                    .contains(&sight.returned.unwrap_or_default())
        })
    };
    let mut swaps = 0;
    for [(one, one_unlock), (other, other_unlock)] in pairs(&history, LockKind::Fair) {
        let (first, second) = (&history.ops[one], &history.ops[other]);
        let (Some(saw), Some(saw_second)) = (entered(first), entered(second)) else {
            continue;
        };
        let cut_off = history.faults.iter().any(|fault| {
            fault.process == first.process
                && fault.from <= second.returned.unwrap_or_default()
                && fault.to >= first.called
        });
        // What was seen may be the place of a try before, otherwise.
        let its_own = saw.called >= first.called;
        if its_own && saw.returned < Some(saw_second.called.max(second.called)) && !cut_off {
            let mut forged = history.clone();
            for (to, from) in [
                (one, other),
                (other, one),
                (one_unlock, other_unlock),
                (other_unlock, one_unlock),
            ] {
                let from = &history.ops[from];
                let to = &mut forged.ops[to];
                to.returned = from.returned;
                if to.action == Action::Unlock {
                    to.called = from.called;
                }
                to.until = to.until.map(|_| from.until.unwrap_or(u64::MAX));
            }
            assert_eq!(rule(&forged), Some(Rule::Order), "{first}");
            swaps += 1;
        }
    }
    assert!(swaps > 3, "{swaps}");
}

#[test]
fn a_dead_silence_with_somebody_waiting_is_found() {
    // All that happens after the middle happens ten seconds later, but for the calls of those who wait by then.
    let mut history = recorded();
    // Nothing excuses it.
    for fault in &mut history.faults {
        fault.to = fault.from;
    }
    let mut times: Vec<u64> = history.ops.iter().filter_map(|op| op.returned).collect();
    times.sort_unstable();
    let middle = times[times.len() / 2];
    let later = |time: u64| {
        if time > middle {
            time + 10_000_000
        } else {
            time
        }
    };
    for op in &mut history.ops {
        op.called = later(op.called);
        op.returned = op.returned.map(later);
        op.until = op.until.map(later);
        if let Outcome::Lost(at) = op.outcome {
            op.outcome = Outcome::Lost(later(at));
        }
    }
    history.end = history.end.map(later);
    assert_eq!(rule(&history), Some(Rule::Wait));
}
