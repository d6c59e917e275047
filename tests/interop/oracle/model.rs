//! What a lock is in the end: who has entered it how often, and what each verb makes of that.

use std::collections::BTreeMap;

/// Two owners of ours, then two threads of a JVM.
pub(super) const ACTORS: usize = 4;
const OURS: usize = 2;

/// Is this one of ours?
pub(super) fn ours(actor: usize) -> bool {
    actor < OURS
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    TryLock,
    /// Only asked for where it does not wait.
    LockFor,
    Unlock,
    ForceUnlock,
    IsLocked,
    IsHeld,
    HoldCount,
    Ttl,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Done,
    Truth(bool),
    Number(i64),
    /// The caller does not hold the lock.
    NotOwner,
    /// The caller holds it already and may not enter again.
    Again,
}

/// What a request is about: a lock of one side, or a side of a read/write lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Only,
    Read,
    Write,
}

/// In what kinds differ here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) kind: &'static str,
    pub(super) reentrant: bool,
    pub(super) fair: bool,
    pub(super) fenced: bool,
    pub(super) sides: &'static [Side],
}

#[derive(Debug)]
pub(super) struct Model {
    rules: Rules,
    mode: Option<Side>,
    holds: BTreeMap<(usize, Side), u32>,
    /// The last fencing token.
    pub(super) counter: i64,
    /// Whether each owner of ours believes that it holds the lock, which the JVM may have freed by force.
    believes: [bool; OURS],
    /// Freed by force, so that markers of readers may be left.
    pub(super) forced: bool,
}

impl Model {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            mode: None,
            holds: BTreeMap::new(),
            counter: 0,
            believes: [false; OURS],
            forced: false,
        }
    }

    pub(super) fn count(&self, actor: usize, side: Side) -> u32 {
        self.holds.get(&(actor, side)).copied().unwrap_or(0)
    }

    /// Whether an attempt would be granted.
    pub(super) fn admits(&self, actor: usize, side: Side) -> bool {
        let writes = || self.count(actor, Side::Write) > 0;
        match side {
            Side::Only if self.count(actor, side) > 0 => {
                self.rules.reentrant && !self.refuses(actor)
            }
            Side::Only => self.holds.is_empty() && !self.refuses(actor),
            Side::Read => self.mode != Some(Side::Write) || writes(),
            Side::Write => self.mode.is_none() || writes(),
        }
    }

    /// Whether an attempt is refused since the caller may not enter again. An owner of ours goes by what it believes.
    fn refuses(&self, actor: usize) -> bool {
        let believes = ours(actor) && self.believes[actor];
        !self.rules.reentrant && (believes || self.count(actor, Side::Only) > 0)
    }

    pub(super) fn apply(&mut self, actor: usize, side: Side, verb: Verb) -> Reply {
        match verb {
            Verb::TryLock | Verb::LockFor if self.refuses(actor) => Reply::Again,
            Verb::TryLock => Reply::Truth(self.enter(actor, side)),
            Verb::LockFor => {
                assert!(self.enter(actor, side), "would wait");
                Reply::Done
            }
            Verb::Unlock => self.leave(actor, side),
            Verb::ForceUnlock => Reply::Truth(self.force(actor, side)),
            Verb::IsLocked => Reply::Truth(self.is_locked(side)),
            Verb::IsHeld => Reply::Truth(self.count(actor, side) > 0),
            Verb::HoldCount => Reply::Number(self.count(actor, side).into()),
            // Compared with the server's.
            Verb::Ttl => Reply::Done,
        }
    }

    fn enter(&mut self, actor: usize, side: Side) -> bool {
        if !self.admits(actor, side) {
            return false;
        }
        let count = self.holds.entry((actor, side)).or_default();
        *count += 1;
        // A JVM takes a number each time.
        if self.rules.fenced && (*count == 1 || !ours(actor)) {
            self.counter += 1;
        }
        if side != Side::Only && self.mode.is_none() {
            self.mode = Some(side);
        }
        if ours(actor) {
            self.believes[actor] = true;
        }
        true
    }

    fn leave(&mut self, actor: usize, side: Side) -> Reply {
        let free = self.holds.is_empty();
        let Some(count) = self.holds.get_mut(&(actor, side)) else {
            if ours(actor) {
                self.believes[actor] = false;
            }
            // Unlocking a fair lock that is gone succeeds in the JVM.
            let fine = self.rules.fair && free && !ours(actor);
            return if fine { Reply::Done } else { Reply::NotOwner };
        };
        *count -= 1;
        if *count == 0 {
            self.holds.remove(&(actor, side));
            if ours(actor) {
                self.believes[actor] = false;
            }
        }
        if self.holds.is_empty() {
            self.mode = None;
        } else if side == Side::Write && !self.holds.contains_key(&(actor, side)) {
            self.mode = Some(Side::Read);
        }
        Reply::Done
    }

    fn force(&mut self, actor: usize, side: Side) -> bool {
        let held = match side {
            Side::Only => !self.holds.is_empty(),
            _ => self.mode == Some(side),
        };
        if held {
            self.holds.clear();
            self.mode = None;
            self.forced = true;
            if ours(actor) {
                // Both are owners of one client.
                self.believes = [false; OURS];
            }
        }
        held
    }

    fn is_locked(&self, side: Side) -> bool {
        match side {
            Side::Only => !self.holds.is_empty(),
            Side::Read => self.holds.keys().any(|(_, side)| *side == Side::Read),
            Side::Write => self.mode == Some(Side::Write),
        }
    }

    /// The hash as it is on the server.
    pub(super) fn hash(&self, ids: &[String; ACTORS]) -> BTreeMap<String, String> {
        let mode = self.mode.map(|side| {
            let mode = if side == Side::Read { "read" } else { "write" };
            ("mode".to_owned(), mode.to_owned())
        });
        let fields = self.holds.iter().map(|((actor, side), count)| {
            let id = &ids[*actor];
            let field = match side {
                Side::Write => format!("{id}:write"),
                _ => id.clone(),
            };
            (field, count.to_string())
        });
        fields.chain(mode).collect()
    }
}
