//! Holds: what this process believes it owns, and until when.
//!
//! A [`Hold`] is one grant; a [`Slot`] is all that one owner has on one name, which on the server is one hash field
//! with a count. Only this client writes that field, so the slot's count is the truth and the server's a copy of it:
//! scripts *set* the count and are therefore harmless to repeat.
//!
//! | state of a hold | event | next | who moves it |
//! |---|---|---|---|
//! | pending | granted | held | [`Slot::granted`] |
//! | pending | refused, unanswered, caller left | gone | [`Slot::not_granted`] |
//! | held | renewal failed | suspect | [`Slot::suspect`] |
//! | suspect | renewal succeeded | held | [`Slot::confirm`] |
//! | held, suspect | unlocked, guard dropped | gone, then the server is told | [`Slot::take`] |
//! | held, suspect | its time is over by the local clock | lost | [`Slot::expire`] |
//! | held, suspect | the server says it is not there | lost | [`Slot::lose`] |
//!
//! Invariants: a hold is in its slot before its acquire is sent (as pending) and out of it before its release is sent.
//! The generation changes whenever a slot goes from no hold to a first one, and an answer of the server acts only on
//! the generation it was asked for. Lost is for ever: nothing leads back from it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use self::tenure::{Entry, Tenure};
use super::{
    hold::{Hold, Lease, later, margin},
    protocol::{Call, Rest},
};
use crate::error::LossCause;

mod tenure;

/// All that one owner has on one name.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) call: Call,
    /// At most one script that changes the count is in flight. An async mutex, held while waiting for the reply.
    pub(crate) gate: Arc<tokio::sync::Mutex<()>>,
    /// Whether a renewal is in flight.
    pub(crate) renewing: AtomicBool,
    /// Whether a repair of the server's count has been set off and has not begun.
    pub(crate) settling: AtomicBool,
    /// Handles that keep the slot in its table.
    pub(super) users: AtomicUsize,
    /// Callers that wait with a place in the server's queue, which they share.
    pub(crate) queued: AtomicUsize,
    /// Whether the owner may have a place in the server's queue.
    pub(crate) placed: AtomicBool,
    /// When the owner asked for its place, as a number that only grows.
    pub(crate) asked: AtomicU64,
    /// The fencing token of what is held; 0 for none.
    pub(crate) token: AtomicI64,
    tenure: Mutex<Tenure>,
}

/// A count the server never has: what it has is to be set anew.
const UNCONFIRMED: u32 = u32::MAX;

/// An acquire that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) generation: u64,
    /// Holds on the server once granted.
    pub(crate) holds: u32,
    pub(crate) ttl: Duration,
    lease: Lease,
}

impl Begun {
    /// What the server is told, in whole milliseconds.
    pub(crate) fn ttl_ms(&self) -> u64 {
        u64::try_from(self.ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// A hold taken out of its slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) generation: u64,
}

/// A hold that has just been lost.
pub(crate) type Loss = (Arc<Hold>, LossCause);

impl Slot {
    pub(super) fn new(call: Call, generation: u64) -> Self {
        Self {
            call,
            gate: Arc::default(),
            renewing: AtomicBool::new(false),
            settling: AtomicBool::new(false),
            users: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            placed: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            token: AtomicI64::new(0),
            tenure: Mutex::new(Tenure::new(generation)),
        }
    }

    fn tenure(&self) -> MutexGuard<'_, Tenure> {
        self.tenure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a hold that is about to be asked for. Call with the gate held.
    pub(crate) fn begin(&self, lease: Lease, next_generation: u64, watchdog: Duration) -> Begun {
        let mut tenure = self.tenure();
        if tenure.holds.is_empty() {
            tenure.generation = next_generation;
        }
        tenure.pending = Some(lease);
        let ttl = lease.length(watchdog);
        let holds = tenure.count().saturating_add(1);
        tenure.most = tenure.most.max(holds);
        Begun {
            generation: tenure.generation,
            holds,
            ttl,
            lease,
        }
    }

    /// Turns the pending hold into a held one. `holds` is the server's count: one, where more were expected, says that
    /// the earlier holds had vanished. Returns the hold and what was lost.
    pub(crate) fn granted(
        &self,
        begun: &Begun,
        id: u64,
        sent: Instant,
        holds: u32,
        next_generation: u64,
        loose: bool,
    ) -> (Arc<Hold>, Vec<Loss>) {
        let mut tenure = self.tenure();
        tenure.pending = None;
        tenure.wire = holds;
        tenure.uncertain = false;
        let lost = if holds < begun.holds {
            tenure.generation = next_generation;
            tenure.lose_all(LossCause::Vanished)
        } else {
            Vec::new()
        };
        let until = later(sent, begun.ttl)
            .checked_sub(margin(begun.ttl))
            .unwrap_or(sent);
        let hold = Arc::new(Hold::new(id, begun.lease, sent, until));
        tenure.gone_by = tenure.gone_by.max(later(Instant::now(), begun.ttl));
        if begun.lease == Lease::Watched || tenure.holds.is_empty() {
            tenure.confirmed = sent;
        }
        if begun.lease == Lease::Watched {
            for entry in &tenure.holds {
                if entry.hold.lease == Lease::Watched {
                    entry.hold.extend(until);
                }
            }
        }
        tenure.holds.push(Entry {
            hold: hold.clone(),
            loose,
        });
        (hold, lost)
    }

    /// Forgets the pending hold. A cause says that the server holds nothing of this owner's, so that whatever was held
    /// before is lost.
    pub(crate) fn not_granted(&self, begun: &Begun, absent: Option<LossCause>) -> Vec<Loss> {
        let mut tenure = self.tenure();
        tenure.pending = None;
        let Some(cause) = absent.filter(|_| tenure.generation == begun.generation) else {
            return Vec::new();
        };
        let doubtful = tenure.uncertain || !tenure.holds.is_empty();
        tenure.settled(0);
        // Of a set, the rest may still be there.
        tenure.uncertain = doubtful && self.call.values.is_some();
        tenure.lose_all(cause)
    }

    /// Notes that a script may or may not have run.
    pub(crate) fn unknown(&self, ttl: Duration) {
        let mut tenure = self.tenure();
        tenure.pending = None;
        tenure.uncertain = true;
        tenure.gone_by = tenure.gone_by.max(later(Instant::now(), ttl));
    }

    /// Notes that the server may have up to `most` holds that were released, for as long as that.
    pub(crate) fn may_be_left(&self, most: u32, ttl: Duration) {
        let mut tenure = self.tenure();
        tenure.most = tenure.most.max(most);
        tenure.uncertain = true;
        tenure.gone_by = tenure.gone_by.max(later(Instant::now(), ttl));
    }

    /// Takes a hold out, so that renewal passes it by from now on; `Err` when it was lost before.
    pub(crate) fn take(&self, hold: &Hold, now: Instant) -> Result<Taken, LossCause> {
        let mut tenure = self.tenure();
        let generation = tenure.generation;
        if let Some(at) = tenure
            .holds
            .iter()
            .position(|entry| entry.hold.id == hold.id)
            && hold.loss(now).is_none()
        {
            tenure.holds.remove(at);
            return Ok(Taken { generation });
        }
        Err(hold.loss(now).unwrap_or(LossCause::Vanished))
    }

    /// Puts a hold with a fixed lease from `now` on in the place of `hold`; the server is to be told. `Err` when it was
    /// lost before.
    pub(crate) fn relet(
        &self,
        hold: &Hold,
        id: u64,
        lease: Duration,
        now: Instant,
    ) -> Result<Arc<Hold>, LossCause> {
        let mut tenure = self.tenure();
        let entry = tenure
            .holds
            .iter_mut()
            .find(|entry| entry.hold.id == hold.id && hold.loss(now).is_none())
            .ok_or_else(|| hold.loss(now).unwrap_or(LossCause::Vanished))?;
        let until = later(now, lease).checked_sub(margin(lease)).unwrap_or(now);
        let next = Arc::new(Hold::new(id, Lease::Fixed(lease), hold.asked_for(), until));
        entry.hold = next.clone();
        tenure.uncertain = true;
        // Stays so until the server has confirmed it, whoever asks.
        tenure.wire = UNCONFIRMED;
        tenure.gone_by = tenure.gone_by.max(later(now, lease));
        Ok(next)
    }

    /// Takes the latest hold that has no guard.
    pub(crate) fn take_loose(&self, now: Instant) -> Option<(Arc<Hold>, Taken)> {
        let mut tenure = self.tenure();
        let generation = tenure.generation;
        let at = tenure
            .holds
            .iter()
            .rposition(|entry| entry.loose && entry.hold.loss(now).is_none())?;
        let entry = tenure.holds.remove(at);
        Some((entry.hold, Taken { generation }))
    }

    /// Takes every hold, as closed.
    pub(crate) fn take_all(&self, cause: LossCause) -> Vec<Loss> {
        self.tenure().lose_all(cause)
    }

    /// Cuts a hold loose from its guard.
    pub(crate) fn loosen(&self, hold: &Hold) {
        let mut tenure = self.tenure();
        if let Some(entry) = tenure
            .holds
            .iter_mut()
            .find(|entry| entry.hold.id == hold.id)
        {
            entry.loose = true;
        }
    }

    /// What the server should be set to, if it may differ. Call with the gate held.
    pub(crate) fn to_settle(&self, now: Instant, watchdog: Duration) -> Option<Rest> {
        let tenure = self.tenure();
        let holds = tenure.count();
        (tenure.uncertain || tenure.wire != holds).then(|| Rest {
            holds,
            most: tenure.most.max(holds),
            ttl_ms: tenure.ttl_ms(now, watchdog).max(1),
            lasts_ms: tenure.ttl_ms(now, watchdog).max(1),
            longest_ms: tenure.longest_ms(now, watchdog),
        })
    }

    /// Notes that the server's count is known.
    pub(crate) fn settled(&self, holds: u32) {
        self.tenure().settled(holds);
    }

    /// Notes that nothing is in doubt, although the server's count is not what it should be.
    pub(crate) fn certain(&self) {
        self.tenure().uncertain = false;
    }

    /// Notes that a release found nothing of this owner's on the server. `surprising` when nothing explains it.
    pub(crate) fn absent(&self, generation: u64, surprising: bool) -> Vec<Loss> {
        let mut tenure = self.tenure();
        tenure.settled(0);
        if surprising {
            tenure.found_gone = Some((generation, LossCause::Vanished));
        }
        tenure.lose_all(LossCause::Vanished)
    }

    /// Whether the tenure of `taken` had been lost by the time it was given back.
    pub(crate) fn was_gone(&self, taken: Taken) -> Option<LossCause> {
        self.tenure()
            .found_gone
            .filter(|(generation, _)| *generation == taken.generation)
            .map(|(_, cause)| cause)
    }

    /// When the server's copy is gone even if nobody ever releases it.
    pub(crate) fn gone_by(&self) -> Instant {
        self.tenure().gone_by
    }

    /// Whether an outcome is still to be found out.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.tenure().uncertain
    }

    /// The generation and what to renew; a time to live of zero where there is nothing to renew but only to look at.
    pub(crate) fn to_renew(&self, now: Instant, watchdog: Duration) -> Option<(u64, Rest)> {
        let tenure = self.tenure();
        if tenure.holds.is_empty() {
            return None;
        }
        let watched = tenure
            .holds
            .iter()
            .any(|entry| entry.hold.lease == Lease::Watched);
        Some((
            tenure.generation,
            Rest {
                holds: tenure.count(),
                most: tenure.most,
                ttl_ms: if watched {
                    tenure.ttl_ms(now, watchdog)
                } else {
                    0
                },
                lasts_ms: tenure.ttl_ms(now, watchdog),
                longest_ms: tenure.longest_ms(now, watchdog),
            },
        ))
    }

    /// Notes that the server may keep what it has for `ttl` from now on.
    pub(crate) fn may_last(&self, ttl: Duration) {
        let mut tenure = self.tenure();
        tenure.gone_by = tenure.gone_by.max(later(Instant::now(), ttl));
    }

    /// Applies the answer to a renewal sent at `sent`, or to a mere look where nothing was `renewed`. Returns the time since the confirmation before, if the generation still is
    /// the one that was renewed and something was renewed at all.
    pub(crate) fn confirm(
        &self,
        generation: u64,
        sent: Instant,
        renewed: bool,
        watchdog: Duration,
    ) -> Option<Duration> {
        let mut tenure = self.tenure();
        if tenure.generation != generation {
            return None;
        }
        let mut watched = false;
        for entry in &tenure.holds {
            entry.hold.suspect.store(false, Ordering::Release);
            if renewed && entry.hold.lease == Lease::Watched && entry.hold.lost.get().is_none() {
                entry.hold.extend(later(sent, watchdog - margin(watchdog)));
                watched = true;
            }
        }
        if !watched {
            return None;
        }
        let before = std::mem::replace(&mut tenure.confirmed, sent);
        tenure.gone_by = tenure.gone_by.max(later(Instant::now(), watchdog));
        Some(sent.saturating_duration_since(before))
    }

    /// Notes a failed renewal. True when the holds were not suspect before.
    pub(crate) fn suspect(&self, generation: u64) -> bool {
        let tenure = self.tenure();
        tenure.generation == generation
            && tenure
                .holds
                .iter()
                .filter(|entry| !entry.hold.suspect.swap(true, Ordering::AcqRel))
                .count()
                > 0
    }

    /// Loses all holds of `generation`.
    pub(crate) fn lose(&self, generation: u64, cause: LossCause) -> Vec<Loss> {
        let mut tenure = self.tenure();
        if tenure.generation != generation {
            return Vec::new();
        }
        if tenure.pending.is_none() {
            tenure.wire = 0;
        }
        // A set is lost with its first value: the others are to be given back with the guard.
        tenure.uncertain |= self.call.values.is_some();
        tenure.lose_all(cause)
    }

    /// Loses the holds whose time is over by the local clock. The server may still have them for a moment: a lease ends
    /// there by itself, a renewal that went unanswered may have been executed.
    pub(crate) fn expire(&self, now: Instant) -> Vec<Loss> {
        let mut tenure = self.tenure();
        let mut lost = Vec::new();
        tenure.holds.retain(|entry| match entry.hold.loss(now) {
            Some(cause) => {
                if entry.hold.mark_lost(cause) {
                    lost.push((entry.hold.clone(), cause));
                }
                false
            }
            None => true,
        });
        let outlives = self.call.protocol.outlives_lease();
        let some_remain = !lost.is_empty() && (outlives || !tenure.holds.is_empty());
        if some_remain
            || lost
                .iter()
                .any(|(_, cause)| *cause != LossCause::LeaseExpired)
        {
            tenure.uncertain = true;
        }
        lost
    }

    /// Holds that are not lost.
    pub(crate) fn live(&self, now: Instant) -> usize {
        self.tenure()
            .holds
            .iter()
            .filter(|entry| entry.hold.loss(now).is_none())
            .count()
    }

    /// Until when some hold lasts, by the local clock.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.tenure()
            .holds
            .iter()
            .filter(|entry| entry.hold.loss(now).is_none() && !entry.hold.is_suspect())
            .map(|entry| entry.hold.valid_until())
            .max()
    }

    /// The earliest local deadline among the holds.
    pub(crate) fn first_deadline(&self) -> Option<Instant> {
        self.tenure()
            .holds
            .iter()
            .map(|entry| entry.hold.valid_until())
            .min()
    }

    /// Every hold in the books.
    pub(super) fn holds(&self) -> Vec<Arc<Hold>> {
        let tenure = self.tenure();
        tenure
            .holds
            .iter()
            .map(|entry| entry.hold.clone())
            .collect()
    }

    /// Holds in the books.
    pub(super) fn count(&self) -> u32 {
        self.tenure().count()
    }

    /// Whether the owner has the lock, or is about to give it back.
    pub(super) fn has_it(&self) -> bool {
        let tenure = self.tenure();
        tenure.wire > 0 || !tenure.holds.is_empty()
    }

    /// Nothing held, nothing asked for.
    pub(super) fn is_idle(&self) -> bool {
        let tenure = self.tenure();
        tenure.holds.is_empty() && tenure.pending.is_none()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.tenure().generation
    }
}

#[cfg(test)]
mod tests;
