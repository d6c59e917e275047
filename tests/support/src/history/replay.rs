//! What one owner had of one lock, by its own account.

use super::judge::{Rule, Violation};
use super::op::{Action, Fault, History, LockKind, Op, Outcome};

/// Two clocks of one process are read one after the other.
const READ: u64 = 2_000;
/// The side that is not told of a loss, and leaves what it could not find out to the time to live.
const UNTOLD: &str = "jvm";

/// From a first grant to the last release.
#[derive(Clone, Debug)]
pub(super) struct Hold<'a> {
    /// The first grant.
    pub(super) grant: &'a Op,
    /// When the owner knew.
    pub(super) start: u64,
    /// Until when it was sure; before the start where the grant was noticed too late.
    pub(super) end: u64,
    /// When the server had surely given it up.
    pub(super) gone: u64,
}

impl Hold<'_> {
    pub(super) fn token(&self) -> Option<i64> {
        match self.grant.outcome {
            Outcome::Granted(token) => token,
            _ => None,
        }
    }
}

/// How an outcome that nobody knew ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The owner asked, until the server's answer was what it believed.
    FoundOut,
    /// The process was killed; with the time to live.
    Killed,
    /// Its owner cannot find out; with the time to live.
    TimeToLive,
    /// Not yet.
    Open,
}

/// A time in which a lock may have been taken, by somebody who does not know.
#[derive(Clone, Debug)]
pub(super) struct Doubt<'a> {
    pub(super) op: &'a Op,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) ending: Ending,
}

#[derive(Debug, Default)]
pub(super) struct Replay<'a> {
    pub(super) holds: Vec<Hold<'a>>,
    pub(super) doubts: Vec<Doubt<'a>>,
    /// How many answers were compared with what they had to be.
    pub(super) counts: usize,
    /// How many holds were lost.
    pub(super) lost: usize,
}

/// When a process was killed.
pub(super) fn killed<'a>(
    faults: impl IntoIterator<Item = &'a Fault>,
    process: &str,
) -> Option<u64> {
    faults
        .into_iter()
        .find(|fault| fault.kind == "kill" && fault.process == process)
        .map(|fault| fault.from)
}

/// Whether the owner is one of those who are not told what became of their locks.
fn untold(op: &Op) -> bool {
    op.process.starts_with(UNTOLD)
}

struct State<'a> {
    history: &'a History,
    killed: Option<u64>,
    replay: Replay<'a>,
    hold: Option<Hold<'a>>,
    depth: u32,
    /// Entries of a lost hold that were not given back yet.
    stale: u32,
    /// How many more, or fewer, the server may count than the owner believes.
    unsure: u32,
}

/// Replays the operations of one owner on one lock, in their order.
pub(super) fn replay<'a>(history: &'a History, ops: &[&'a Op]) -> Result<Replay<'a>, Violation> {
    let Some(first) = ops.first() else {
        return Ok(Replay::default());
    };
    let mut state = State {
        history,
        killed: killed(&history.faults, &first.process),
        replay: Replay::default(),
        hold: None,
        depth: 0,
        stale: 0,
        unsure: 0,
    };
    for op in ops {
        match op.action {
            Action::Lock => state.lock(op),
            Action::Unlock => state.unlock(op)?,
            Action::Count => state.count(op)?,
            Action::Queue => {}
        }
    }
    state.finish();
    Ok(state.replay)
}

impl<'a> State<'a> {
    /// When the time to live of something that was last touched then is over.
    fn over(&self, op: &Op) -> (u64, Ending) {
        match self.killed {
            Some(killed) => (killed.saturating_add(op.ttl), Ending::Killed),
            None if untold(op) => (op.done().saturating_add(op.ttl), Ending::TimeToLive),
            None => (u64::MAX, Ending::Open),
        }
    }

    fn doubt(&mut self, op: &'a Op, from: u64) {
        self.unsure += 1;
        let (to, ending) = self.over(op);
        self.replay.doubts.push(Doubt {
            op,
            from,
            to,
            ending,
        });
    }

    fn lock(&mut self, op: &'a Op) {
        match op.outcome {
            Outcome::Granted(_) if self.depth > 0 => {
                self.depth += 1;
                if let Some(hold) = &mut self.hold {
                    hold.end = hold.end.max(op.until.unwrap_or(hold.end));
                }
            }
            Outcome::Granted(_) => {
                self.depth = 1;
                self.hold = Some(Hold {
                    grant: op,
                    start: op.done(),
                    end: op.until.unwrap_or(u64::MAX),
                    gone: u64::MAX,
                });
            }
            Outcome::Error | Outcome::Unknown => self.doubt(op, op.called),
            _ => {}
        }
    }

    fn unlock(&mut self, op: &'a Op) -> Result<(), Violation> {
        if let Outcome::Lost(at) = op.outcome {
            return self.lose(op, at);
        }
        let Some(mut hold) = self.hold.take() else {
            return match op.outcome {
                Outcome::Released => Err(Violation::of(
                    Rule::Ownership,
                    op,
                    "gave back what it did not have",
                )),
                _ => Ok(()),
            };
        };
        let sure = op.until.unwrap_or(hold.end);
        self.depth -= 1;
        if self.depth > 0 {
            hold.end = sure;
            self.hold = Some(hold);
            if op.outcome != Outcome::Released {
                self.doubt(op, op.called);
            }
            return Ok(());
        }
        hold.end = op.called.min(sure);
        hold.gone = op.done();
        self.replay.holds.push(hold);
        if op.outcome != Outcome::Released {
            self.doubt(op, op.called);
        }
        Ok(())
    }

    /// It was lost, for a reason: until then nobody else may have taken it away.
    fn lose(&mut self, op: &'a Op, at: u64) -> Result<(), Violation> {
        let Some(mut hold) = self.hold.take() else {
            self.stale = self
                .stale
                .checked_sub(1)
                .ok_or_else(|| Violation::of(Rule::Ownership, op, "lost what it did not have"))?;
            return Ok(());
        };
        let due = match hold.grant.until {
            Some(until) => until.saturating_sub(READ),
            None => hold.start.saturating_add(op.ttl / 2),
        };
        if at < due {
            return Err(Violation::of(
                Rule::EarlyLoss,
                op,
                &format!("lost {} µs before its time was over", due - at),
            ));
        }
        hold.end = match op.until {
            Some(until) => op.called.min(at).min(until),
            // It worked on without knowing.
            None => hold.start,
        };
        // What was renewed without a reply lasts for as long again.
        hold.gone = op.done().saturating_add(op.ttl);
        self.stale = self.depth - 1;
        self.unsure += self.depth;
        self.depth = 0;
        self.replay.lost += 1;
        self.replay.holds.push(hold);
        Ok(())
    }

    fn count(&mut self, op: &'a Op) -> Result<(), Violation> {
        let Outcome::Counted(seen) = op.outcome else {
            return Ok(());
        };
        let sure = self.hold.as_ref().is_none_or(|hold| op.done() <= hold.end);
        let least = if sure { self.depth } else { 0 };
        let most = self.depth + self.unsure;
        if !(least..=most).contains(&seen) {
            let what = format!("had to be between {least} and {most}");
            return Err(Violation::of(Rule::Count, op, &what));
        }
        self.replay.counts += 1;
        if seen == self.depth {
            self.unsure = 0;
            for doubt in &mut self.replay.doubts {
                if doubt.ending == Ending::Open {
                    (doubt.to, doubt.ending) = (op.done(), Ending::FoundOut);
                }
            }
        }
        Ok(())
    }

    /// What is still held when no more is known.
    fn finish(&mut self) {
        let Some(mut hold) = self.hold.take() else {
            return;
        };
        let known = self.history.end.unwrap_or(u64::MAX);
        hold.end = hold.end.min(self.killed.unwrap_or(known));
        if let Some(killed) = self.killed {
            hold.gone = killed.saturating_add(hold.grant.ttl);
        }
        self.replay.holds.push(hold);
    }
}

/// Whether a lock of this kind lets others in that are of the same kind.
pub(super) fn shares(kind: LockKind) -> bool {
    kind == LockKind::Read
}
