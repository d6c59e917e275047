//! What must hold at every moment, whatever goes wrong.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    taker::PERMITS,
    world::{State, World},
};
use crate::{
    engine::hold::{Hold, Lease},
    lock::{Kind, LockGuard},
};

pub(super) const WATCHDOG: Duration = Duration::from_secs(3);
pub(super) const SAFETY_POLL: Duration = Duration::from_secs(1);
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
pub(super) const OUTAGE_PATIENCE: Duration = Duration::from_secs(5);

/// How long after its cause, or the last trouble, a holder is told: a third of the watchdog timeout, and a round trip or
/// two with a quick retry between.
const TOLD: u64 = 1_000 + 300;
/// How long after a lock became free a waiter has it, messages or not: a poll with its jitter and its grace, and some
/// round trips.
const SERVED: u64 = 1_250 + 20 + 80;
/// The same after trouble: before it, a subscription that is never confirmed and the longest pause between two tries.
const SERVED_AFTER: u64 = 1_000 + 625 + SERVED;
/// For how long after trouble a holder may lose its lock by it.
const LOSES: u64 = 3_000 + 500;

/// A guard in somebody's hand.
#[derive(Debug)]
pub(super) struct Entry {
    client: usize,
    name: Bytes,
    owner: Bytes,
    /// Which of the server's tenures it belongs to. One request of an owner is under way at a time, so it is the latest.
    tenure: u64,
    hold: Arc<Hold>,
    token: Option<i64>,
    lost: bool,
}

#[derive(Debug)]
struct Waiter {
    client: usize,
    name: Bytes,
    since: u64,
}

#[derive(Debug, Default)]
struct Pages {
    entries: BTreeMap<u64, Entry>,
    waiters: BTreeMap<u64, Waiter>,
    tokens: BTreeMap<Bytes, i64>,
    /// Permits in somebody's hand, and whose client it is.
    permits: BTreeMap<u64, (usize, i64)>,
    number: u64,
}

/// Who believes to hold what, and who waits for what.
#[derive(Debug)]
pub(super) struct Book {
    world: Arc<World>,
    pages: Mutex<Pages>,
}

/// Somebody waits; dropping it says that nobody does any more.
pub(super) struct Waits<'a>(&'a Book, u64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.pages().waiters.remove(&self.1);
    }
}

impl Book {
    pub(super) fn new(world: &Arc<World>) -> Self {
        Self {
            world: world.clone(),
            pages: Mutex::default(),
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody has a guard in hand.
    pub(super) fn granted<K: Kind>(&self, client: usize, guard: &LockGuard<K>) -> u64 {
        let mut state = self.world.state();
        let mut pages = self.pages();
        let grip = guard.grip();
        let name = Bytes::copy_from_slice(guard.name().as_bytes());
        let owner = Bytes::from(guard.owner_id());
        let entry = Entry {
            client,
            tenure: state.server.tenure(&name, &owner),
            name,
            owner,
            hold: grip.hold().clone(),
            token: grip.token(),
            lost: false,
        };
        let (name, owner) = (guard.name(), guard.owner());
        state.trace(|text| text.push_str(&format!("{client} {owner} has {name}")));
        pages.check_exclusion(&mut state, &entry);
        pages.check_token(&mut state, &entry);
        pages.number += 1;
        let id = pages.number;
        pages.entries.insert(id, entry);
        id
    }

    /// Somebody is about to give a guard back.
    pub(super) fn over(&self, id: u64) -> Option<Entry> {
        let entry = self.pages().entries.remove(&id);
        entry.filter(|entry| entry.hold.loss(Instant::now()).is_none())
    }

    /// The server says that a hold is gone that its holder believed to have `since` then.
    pub(super) fn found_gone(&self, entry: &Entry, since: Instant) {
        let mut state = self.world.state();
        let since = since.elapsed().as_millis() as u64;
        let troubled = state.trouble_of(entry.client) + LOSES + since >= state.now;
        // A lease may end while its release is on the way.
        let ended = Instant::now() >= entry.hold.valid_until();
        if entry.forgot(&state).is_none() && !troubled && !ended {
            state.violated(format!("{:?} had lost its hold for no reason", entry.owner));
        }
    }

    /// A client is no more.
    pub(super) fn forget(&self, client: usize) {
        let mut pages = self.pages();
        pages.entries.retain(|_, entry| entry.client != client);
        pages.permits.retain(|_, (whose, _)| *whose != client);
    }

    /// The permits of a client go back.
    pub(super) fn forget_permits(&self, client: usize) {
        let mut pages = self.pages();
        pages.permits.retain(|_, (whose, _)| *whose != client);
    }

    pub(super) fn waits(&self, client: usize, name: &str) -> Waits<'_> {
        let since = self.world.state().now;
        let mut pages = self.pages();
        pages.number += 1;
        let (id, name) = (pages.number, Bytes::copy_from_slice(name.as_bytes()));
        let waiter = Waiter {
            client,
            name,
            since,
        };
        pages.waiters.insert(id, waiter);
        Waits(self, id)
    }

    /// Somebody has permits in hand.
    pub(super) fn took(&self, client: usize, count: u32) -> u64 {
        let mut state = self.world.state();
        let mut pages = self.pages();
        pages.number += 1;
        let id = pages.number;
        pages.permits.insert(id, (client, i64::from(count)));
        let taken: i64 = pages.permits.values().map(|(_, count)| count).sum();
        state.trace(|text| text.push_str(&format!("{client} has {count} permits")));
        if taken > PERMITS {
            state.violated(format!("{taken} permits are taken of {PERMITS}"));
        }
        id
    }

    /// Somebody is about to give permits back.
    pub(super) fn gave(&self, id: u64) {
        self.pages().permits.remove(&id);
    }

    /// Permits in all hands.
    pub(super) fn permits(&self) -> i64 {
        self.pages().permits.values().map(|(_, count)| count).sum()
    }

    /// Looks at all that should be true at any time.
    pub(super) fn look(&self) {
        let mut state = self.world.state();
        let mut pages = self.pages();
        let now = Instant::now();
        for entry in pages.entries.values_mut() {
            entry.check_loss(&mut state, now);
        }
        for waiter in pages.waiters.values() {
            waiter.check(&mut state);
        }
    }

    /// How often each owner believes to hold `name`.
    pub(super) fn counts(&self, name: &Bytes) -> BTreeMap<Bytes, Bytes> {
        let mut counts = BTreeMap::<_, u64>::new();
        for entry in self.pages().entries.values() {
            if entry.name == *name && entry.hold.loss(Instant::now()).is_none() {
                *counts.entry(entry.owner.clone()).or_default() += 1;
            }
        }
        let text = |(owner, count): (Bytes, u64)| (owner, count.to_string().into());
        counts.into_iter().map(text).collect()
    }
}

/// Whether faults explain that a hold is lost: the server forgot it, or there was trouble.
fn explained(state: &State, entry: &Entry) -> bool {
    entry.forgot(state).is_some() || state.trouble_of(entry.client) + LOSES >= state.now
}

impl Pages {
    /// Nobody else may believe to hold it, but for those whose hold the server has forgotten and who are not told yet.
    fn check_exclusion(&self, state: &mut State, new: &Entry) {
        for old in self.entries.values() {
            if old.name != new.name
                || old.owner == new.owner
                || old.hold.loss(Instant::now()).is_some()
                || new.forgot(state).is_some()
            {
                continue;
            }
            if old.forgot(state).is_none() {
                state.violated(format!(
                    "two hold {:?}: {:?} and {:?}",
                    old.name, old.owner, new.owner
                ));
            }
        }
    }

    /// Tokens rise, but for holds that the server has forgotten before their holder heard of them.
    fn check_token(&mut self, state: &mut State, new: &Entry) {
        let Some(token) = new.token else {
            return;
        };
        let same = |old: &&Entry| old.name == new.name && old.owner == new.owner;
        let again = self
            .entries
            .values()
            .filter(same)
            .any(|old| old.token == new.token);
        let highest = self.tokens.entry(new.name.clone()).or_default();
        if token > *highest {
            *highest = token;
        } else if !again && new.forgot(state).is_none() {
            let highest = *highest;
            state.violated(format!("token {token} comes after {highest}"));
        }
    }
}

impl Entry {
    /// When the server forgot the hold, if it did.
    fn forgot(&self, state: &State) -> Option<u64> {
        state.server.forgot(&self.name, &self.owner, self.tenure)
    }

    fn check_loss(&mut self, state: &mut State, now: Instant) {
        let loss = self.hold.loss(now);
        let owner = &self.owner;
        let forgot = self.forgot(state);
        match loss {
            None if self.lost => state.violated(format!("{owner:?} was lost and is held again")),
            None => {
                let told_by = forgot.map(|at| at.max(state.trouble_of(self.client)) + TOLD);
                // Whatever the network does.
                let at_last = forgot.map(|at| at + WATCHDOG.as_millis() as u64);
                if told_by.min(at_last).is_some_and(|by| state.now > by) {
                    state.violated(format!("{owner:?} is not told that its hold is gone"));
                }
            }
            Some(_) if self.lost => {}
            Some(cause) => {
                self.lost = true;
                if self.hold.lease == Lease::Watched && !explained(state, self) {
                    let owner = &self.owner;
                    state.violated(format!("{owner:?} lost its hold for no reason: {cause:?}"));
                }
            }
        }
    }
}

impl Waiter {
    fn check(&self, state: &mut State) {
        let Some(free) = state.server.free_since(&self.name) else {
            return;
        };
        let trouble = state.trouble_of(self.client) + SERVED_AFTER;
        let due = trouble.max(free.max(self.since) + SERVED);
        if state.now > due && !state.peers[self.client].gone {
            let client = self.client;
            state.violated(format!(
                "a waiter of {client} does not get a lock that is free"
            ));
        }
    }
}
