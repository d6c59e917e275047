//! Whether a history of operations is one that locks allow.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::op::{Fault, History, LockKind, Op};
use super::replay::{Ending, Hold, Replay, replay, shares};
use super::{Interval, check_shared, order, waits};

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Two owners were sure of it at once.
    Overlap,
    /// A token was not higher than that of an earlier grant.
    Token,
    /// Of a fair lock: granted before somebody who stood in line earlier.
    Order,
    /// The server counted other holds than the owner had.
    Count,
    /// Given back, or lost, by somebody who did not have it.
    Ownership,
    /// Lost before its time was over.
    EarlyLoss,
    /// Free while somebody waited, for too long.
    Wait,
    /// An outcome nobody found out.
    Unknown,
    /// Something was left on the server.
    Left,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The lock, if it was about one.
    pub name: Option<String>,
    /// Who did what.
    pub what: String,
}

/// A history in which nothing was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many operations there were.
    pub ops: usize,
    /// How often each side got a lock.
    pub grants: BTreeMap<String, usize>,
    /// How many holds were lost.
    pub lost: usize,
    /// How many answers to counts were compared.
    pub counts: usize,
    /// How many tokens were compared.
    pub tokens: usize,
    /// How many pairs of waiters had to be granted in their order, and were.
    pub pairs: usize,
    /// What became of the outcomes that nobody knew.
    pub unknown: BTreeMap<Ending, usize>,
    /// The longest time from a call to its grant.
    pub longest_wait: Duration,
    /// The longest time that a lock was free, or might have been, while somebody waited for it.
    pub longest_gap: Duration,
}

impl Violation {
    pub(super) fn of(rule: Rule, op: &Op, what: &str) -> Self {
        Self {
            rule,
            name: Some(op.name.clone()),
            what: format!("{op}: {what}"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A wait is judged by the time it took, which says less on a busy machine than all else.
        let kind = match self.rule {
            Rule::Wait => "slow history",
            _ => "broken history",
        };
        let name = self.name.as_deref().unwrap_or("the server");
        write!(f, "{kind} ({:?}) of {name}: {}", self.rule, self.what)
    }
}

impl std::error::Error for Violation {}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} operations, grants {:?}, {} holds lost",
            self.ops, self.grants, self.lost
        )?;
        writeln!(
            f,
            "compared: {} counts, {} tokens, {} pairs of waiters in their order",
            self.counts, self.tokens, self.pairs
        )?;
        writeln!(f, "unknown outcomes and how they ended: {:?}", self.unknown)?;
        write!(
            f,
            "longest wait {:?}, longest time free with somebody waiting {:?}",
            self.longest_wait, self.longest_gap
        )
    }
}

/// All that is known of one lock.
pub(super) struct Seen<'a> {
    pub(super) ops: Vec<&'a Op>,
    pub(super) faults: Vec<&'a Fault>,
    pub(super) replay: Replay<'a>,
}

/// Judges a history. One without an end may be the beginning of a longer one: what may yet be put right counts as right.
///
/// What holds:
///
/// - the times in which owners were sure of a lock, from the grant to whatever was first of release, loss and deadline, do
///   not meet, but for those of readers;
/// - the server counts the holds that the owner believes in, give or take those of which it does not know;
/// - tokens rise with the grants;
/// - who was in a fair queue before another had entered it is granted first;
/// - nobody loses a lock before its time;
/// - a lock that nobody has, or may have, is granted to those of our side who wait for it within a bound;
/// - all unknown outcomes were found out about, or ended with the time to live where their owner was killed or is a JVM;
/// - nothing was left on the server.
pub fn judge(history: &History) -> Result<Verdict, Violation> {
    let mut verdict = Verdict {
        ops: history.ops.len(),
        ..Verdict::default()
    };
    let mut names: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in &history.ops {
        names.entry(&op.name).or_default().push(op);
    }
    for (name, ops) in names {
        let of_name = |fault: &&Fault| fault.name.as_deref().is_none_or(|hit| hit == name);
        let seen = Seen {
            faults: history.faults.iter().filter(of_name).collect(),
            replay: owners(history, &ops)?,
            ops,
        };
        sum_up(&seen, &mut verdict);
        exclusive(&seen.replay.holds)?;
        verdict.tokens += tokens(&seen.replay.holds)?;
        verdict.pairs += order::check(&seen)?;
        let gap = waits::check(&seen, history.end)?;
        verdict.longest_gap = verdict.longest_gap.max(gap);
        if let (Some(_), Some(open)) = (
            history.end,
            seen.replay
                .doubts
                .iter()
                .find(|doubt| doubt.ending == Ending::Open),
        ) {
            return Err(Violation::of(Rule::Unknown, open.op, "never found out"));
        }
    }
    match history.left.first() {
        Some(left) => Err(Violation {
            rule: Rule::Left,
            name: None,
            what: left.clone(),
        }),
        None => Ok(verdict),
    }
}

/// Replays each owner of a lock.
fn owners<'a>(history: &'a History, ops: &[&'a Op]) -> Result<Replay<'a>, Violation> {
    let mut owners: BTreeMap<_, Vec<&Op>> = BTreeMap::new();
    for op in ops {
        let side = op.kind == LockKind::Write;
        owners.entry((op.owner(), side)).or_default().push(op);
    }
    let mut all = Replay::default();
    for ops in owners.values() {
        let one = replay(history, ops)?;
        all.holds.extend(one.holds);
        all.doubts.extend(one.doubts);
        all.counts += one.counts;
        all.lost += one.lost;
    }
    all.holds.sort_by_key(|hold| hold.start);
    Ok(all)
}

fn sum_up(seen: &Seen<'_>, verdict: &mut Verdict) {
    for op in seen.ops.iter().filter(|op| op.is_granted()) {
        let side = op.process.split('-').next().unwrap_or_default();
        *verdict.grants.entry(side.to_owned()).or_default() += 1;
        let waited = Duration::from_micros(op.done().saturating_sub(op.called));
        verdict.longest_wait = verdict.longest_wait.max(waited);
    }
    verdict.lost += seen.replay.lost;
    verdict.counts += seen.replay.counts;
    for doubt in &seen.replay.doubts {
        *verdict.unknown.entry(doubt.ending).or_default() += 1;
    }
}

fn exclusive(holds: &[Hold<'_>]) -> Result<(), Violation> {
    const SHARED: &str = "-r";
    let sure = holds.iter().filter(|hold| hold.start < hold.end);
    let intervals: Vec<_> = sure
        .map(|hold| {
            let op = hold.grant;
            let suffix = if shares(op.kind) { SHARED } else { "" };
            Interval {
                process: op.process.clone(),
                thread: format!("{}{suffix}", op.thread),
                granted_micros: hold.start,
                released_micros: hold.end,
            }
        })
        .collect();
    let checked = check_shared(&intervals, |one| one.thread.ends_with(SHARED));
    checked.map(|_| ()).map_err(|met| Violation {
        rule: Rule::Overlap,
        name: holds.first().map(|hold| hold.grant.name.clone()),
        what: met.to_string(),
    })
}

/// In the order of their tokens nobody was sure of the lock before the one before had ended.
fn tokens(holds: &[Hold<'_>]) -> Result<usize, Violation> {
    let mut sorted: Vec<_> = holds
        .iter()
        .filter_map(|hold| hold.token().map(|token| (token, hold)))
        .collect();
    sorted.sort_by_key(|(token, hold)| (*token, hold.start));
    for pair in sorted.windows(2) {
        let [(one, before), (other, after)] = pair else {
            continue;
        };
        if one == other || after.start < before.end {
            let what = format!("does not go with {}", before.grant);
            return Err(Violation::of(Rule::Token, after.grant, &what));
        }
    }
    Ok(sorted.len())
}
