//! The per-name tables: who holds, who waits, who listens. An entry lives as long as somebody uses it.
//!
//! Lock order: a shard of the table, then a name, then a slot. Handles are therefore never dropped inside.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use dashmap::DashMap;
use tokio::time::Instant;

use super::{
    Engine, Hashing,
    acquire::Wish,
    crowd::Crowd,
    hold::Hold,
    line::{Bed, Line},
    protocol::{Admission, Call, Value},
    slot::Slot,
    wakeup::{Channel, Subscription},
};

/// All names in use.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    names: DashMap<Bytes, Arc<Name>, Hashing>,
}

/// One name.
#[derive(Debug)]
pub(crate) struct Name {
    key: Bytes,
    users: AtomicUsize,
    /// All who wait for it in this process.
    crowd: Crowd,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    slots: Vec<Arc<Slot>>,
    /// Before a lock that one at a time holds, or the writers' side of one that is shared.
    exclusive: Line,
    /// Before the readers' side.
    shared: Line,
}

impl Inner {
    fn lines(&self) -> [&Line; 2] {
        [&self.exclusive, &self.shared]
    }

    fn line(&mut self, admission: Admission) -> &mut Line {
        match admission {
            Admission::Shared => &mut self.shared,
            // Those who ask each for itself never stand in line, but may sleep beside it.
            Admission::Exclusive | Admission::Each => &mut self.exclusive,
        }
    }
}

impl Name {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_idle(&self) -> bool {
        let inner = self.inner();
        inner.slots.is_empty() && inner.lines().iter().all(|line| line.is_empty())
    }
}

impl Registry {
    /// Every slot that holds something.
    pub(crate) fn held(&self, engine: &Arc<Engine>) -> Vec<SlotRef> {
        let mut held = Vec::new();
        for entry in &self.names {
            let inner = entry.value().inner();
            for slot in &inner.slots {
                if !slot.is_idle() {
                    held.push(SlotRef::new(engine, entry.value(), slot));
                }
            }
        }
        held
    }

    /// Every hold in the books, with its kind.
    pub(crate) fn left(&self) -> Vec<(&'static str, Arc<Hold>)> {
        let mut left = Vec::new();
        for entry in &self.names {
            for slot in &entry.value().inner().slots {
                let kind = slot.call.protocol.kind();
                left.extend(slot.holds().into_iter().map(|hold| (kind, hold)));
            }
        }
        left
    }

    /// Names in use; for tests and statistics.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// A use of a name.
#[derive(Debug)]
pub(crate) struct NameRef {
    engine: Arc<Engine>,
    name: Arc<Name>,
}

/// Whether a slot is the one of `field` that counts what `call`'s kind does. A reader and a plain lock's owner have the same
/// field, and never one hold in common: what one kind is told says nothing about the other's.
fn is_of(slot: &Slot, call: &Call, field: &Bytes) -> bool {
    let counted = |call: &Call| call.protocol.renewal().name;
    slot.call.field == *field && counted(&slot.call) == counted(call)
}

impl NameRef {
    pub(crate) fn get(engine: &Arc<Engine>, key: &Bytes) -> Self {
        let name = {
            let entry = engine.registry.names.entry(key.clone()).or_insert_with(|| {
                Arc::new(Name {
                    key: key.clone(),
                    users: AtomicUsize::new(0),
                    crowd: Crowd::default(),
                    inner: Mutex::default(),
                })
            });
            // Counted under the table's lock, so that nobody removes the entry in between.
            entry.users.fetch_add(1, Ordering::AcqRel);
            entry.clone()
        };
        Self {
            engine: engine.clone(),
            name,
        }
    }

    /// The slot of `call`'s owner and kind, if there is one.
    pub(crate) fn own(&self, call: &Call) -> Option<SlotRef> {
        self.alike(call, &call.field)
    }

    /// The slot of the owner `field` that counts what `call`'s kind does, if there is one.
    pub(crate) fn alike(&self, call: &Call, field: &Bytes) -> Option<SlotRef> {
        self.first(|slot| is_of(slot, call, field))
    }

    /// A slot with this field, if there is one; for fields that one kind alone has.
    pub(crate) fn find(&self, field: &Bytes) -> Option<SlotRef> {
        self.first(|slot| slot.call.field == *field)
    }

    fn first(&self, fits: impl Fn(&Slot) -> bool) -> Option<SlotRef> {
        let inner = self.name.inner();
        let slot = inner.slots.iter().find(|slot| fits(slot));
        slot.map(|slot| SlotRef::new(&self.engine, &self.name, slot))
    }

    /// The slot of `call`'s owner and kind, made where there is none.
    pub(crate) fn slot(&self, call: &Call) -> SlotRef {
        let mut inner = self.name.inner();
        let own = |slot: &&Arc<Slot>| is_of(slot, call, &call.field);
        let slot = match inner.slots.iter().find(own) {
            Some(slot) => slot.clone(),
            None => {
                let mut slot = Slot::new(call.clone(), self.engine.next_number());
                // What is sent about one lock of a group depends on what the same owner has by others.
                let sibling = inner.slots.iter().find(|other| {
                    call.values.is_some()
                        && other.call.values.is_some()
                        && other.call.owner == call.owner
                });
                if let Some(sibling) = sibling {
                    slot.gate = sibling.gate.clone();
                }
                let slot = Arc::new(slot);
                inner.slots.push(slot.clone());
                slot
            }
        };
        SlotRef::new(&self.engine, &self.name, &slot)
    }

    /// Every slot on this name.
    pub(crate) fn slots(&self) -> Vec<SlotRef> {
        let inner = self.name.inner();
        inner
            .slots
            .iter()
            .map(|slot| SlotRef::new(&self.engine, &self.name, slot))
            .collect()
    }

    /// Until when an owner other than `field` holds the name in this process, undoubted and by the local clock.
    pub(crate) fn held_by_other(&self, field: &Bytes, now: Instant) -> Option<Instant> {
        let inner = self.name.inner();
        inner
            .slots
            .iter()
            .filter(|slot| slot.call.field != *field)
            .filter_map(|slot| slot.held_until(now))
            .max()
    }

    /// Does something with a line before the name.
    pub(super) fn line<R>(&self, admission: Admission, with: impl FnOnce(&mut Line) -> R) -> R {
        with(self.name.inner().line(admission))
    }

    /// Lets one who waits by its place on the server sleep, to be given the lock in passing. `None` where it hears nothing
    /// and nobody of this process has the lock, who would tell it.
    pub(super) fn lie_down(&self, slot: &Slot, wish: &Wish, deaf: bool) -> Option<Bed> {
        let mut inner = self.name.inner();
        let field = &slot.call.field;
        let told = |other: &Arc<Slot>| other.call.field != *field && other.has_it();
        if deaf && !inner.slots.iter().any(told) {
            return None;
        }
        let asked = slot.asked.load(Ordering::Acquire);
        let resting = &mut inner.line(Admission::Each).resting;
        let (spot, contender) = resting.lie_down(asked, field, wish.clone(), deaf);
        Some(Bed::new(self.clone(), spot, contender))
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Where those who wait for the name are counted.
    pub(crate) fn crowd(&self) -> &Crowd {
        &self.name.crowd
    }

    /// How many stand in line in this process, heads included, and how many wait each for itself.
    pub(crate) fn contenders(&self) -> usize {
        let inner = self.name.inner();
        let lined: usize = inner.lines().iter().map(|line| line.queue.len()).sum();
        let queued: usize = inner
            .slots
            .iter()
            .map(|slot| slot.queued.load(Ordering::Acquire))
            .sum();
        lined + queued
    }
}

impl Clone for NameRef {
    fn clone(&self) -> Self {
        self.name.users.fetch_add(1, Ordering::AcqRel);
        Self {
            engine: self.engine.clone(),
            name: self.name.clone(),
        }
    }
}

impl Drop for NameRef {
    fn drop(&mut self) {
        if self.name.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.engine
                .registry
                .names
                .remove_if(&self.name.key, |_, name| {
                    name.users.load(Ordering::Acquire) == 0 && name.is_idle()
                });
        }
    }
}

/// A use of a slot.
#[derive(Debug)]
pub(crate) struct SlotRef {
    slot: Arc<Slot>,
    name: NameRef,
}

impl SlotRef {
    /// Call with the name's lock held.
    fn new(engine: &Arc<Engine>, name: &Arc<Name>, slot: &Arc<Slot>) -> Self {
        slot.users.fetch_add(1, Ordering::AcqRel);
        name.users.fetch_add(1, Ordering::AcqRel);
        Self {
            slot: slot.clone(),
            name: NameRef {
                engine: engine.clone(),
                name: name.clone(),
            },
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.name.engine
    }

    pub(super) fn name(&self) -> &NameRef {
        &self.name
    }

    /// Finds out in the background what the server holds, if that is in doubt and nobody does so yet.
    pub(crate) fn repair(&self) {
        if self.slot.is_uncertain() && !self.slot.settling.swap(true, Ordering::AcqRel) {
            self.name.engine.settle_in_background(self.clone());
        }
    }

    /// Tells the line of this process that the slot's owner was granted the lock.
    pub(crate) fn announce_grant(&self) {
        let mut inner = self.name.name.inner();
        match self.slot.call.protocol.admission() {
            Admission::Exclusive => {
                if self.slot.count() == 1 {
                    inner.exclusive.note_grant();
                }
                inner.exclusive.queue.granted(&self.slot.call.field);
            }
            Admission::Shared => inner.shared.queue.admit_all(),
            Admission::Each => {}
        }
    }

    /// The call with what the same owner holds of its values by other locks of the group; `None` for other kinds. Call
    /// with the gate held.
    pub(crate) fn counted(&self) -> Option<Call> {
        let values = self.slot.call.values.as_ref()?;
        let inner = self.name.name.inner();
        let beside = |field: &Bytes| {
            inner
                .slots
                .iter()
                .filter(|other| !Arc::ptr_eq(other, &self.slot))
                .filter(|other| other.call.owner == self.slot.call.owner)
                .filter(|other| {
                    let values = other.call.values.as_deref().unwrap_or_default();
                    values.iter().any(|value| value.field == *field)
                })
                .map(|other| other.count())
                .sum()
        };
        let mut call = self.slot.call.clone();
        call.values = Some(
            values
                .iter()
                .map(|value| Value {
                    field: value.field.clone(),
                    beside: beside(&value.field),
                })
                .collect(),
        );
        Some(call)
    }

    /// The channels the lines of this process listen on for the name.
    pub(crate) fn channels(&self) -> Vec<Arc<Channel>> {
        let inner = self.name.name.inner();
        inner
            .lines()
            .iter()
            .filter_map(|line| line.subscription.as_ref())
            .map(Subscription::channel)
            .collect()
    }
}

impl std::ops::Deref for SlotRef {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.slot
    }
}

impl Clone for SlotRef {
    fn clone(&self) -> Self {
        self.slot.users.fetch_add(1, Ordering::AcqRel);
        Self {
            slot: self.slot.clone(),
            name: self.name.clone(),
        }
    }
}

impl Drop for SlotRef {
    fn drop(&mut self) {
        let mut inner = self.name.name.inner();
        if self.slot.users.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // Nobody else will find out what the server holds. Once only, should the runtime be gone.
        if self.slot.is_uncertain() && !self.slot.settling.load(Ordering::Acquire) {
            let again = Self::new(&self.name.engine, &self.name.name, &self.slot);
            drop(inner);
            again.repair();
        } else if self.slot.is_idle() {
            inner.slots.retain(|slot| !Arc::ptr_eq(slot, &self.slot));
        }
    }
}
