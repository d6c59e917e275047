//! Holds that begin and end: the books of the watchdog, and who is told of a loss.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Engine,
    hold::{Hold, Lease},
    registry::SlotRef,
    slot::Loss,
    wakeup::Source,
};
use crate::events::Event;

impl Engine {
    /// Counts and tells losses, and wakes whoever waits for the lock in this process.
    pub(super) fn report_losses(&self, slot: &SlotRef, losses: Vec<Loss>) {
        if losses.is_empty() {
            return;
        }
        for (hold, cause) in &losses {
            self.forget_hold(hold);
            self.counters.losses.one();
            self.events.tell(|| Event::Lost {
                name: slot.call.shown.clone(),
                owner: slot.call.owner,
                cause: *cause,
            });
        }
        for channel in slot.channels() {
            channel.wake(Source::Release);
        }
        self.call_here(slot.name(), None);
    }

    /// Loses what is over by the local clock, and finds out what the server has where that does not end by itself.
    pub(super) fn expire(self: &Arc<Self>, slot: &SlotRef, now: Instant) {
        self.report_losses(slot, slot.expire(now));
        slot.repair();
    }

    /// As [`expire`](Self::expire) for a hold that its holder gives up as well: the server need not keep it to its end.
    pub(super) fn expire_given_up(self: &Arc<Self>, slot: &SlotRef, now: Instant) {
        self.expire(slot, now);
        if now < slot.gone_by() || slot.call.protocol.outlives_lease() {
            self.settle_in_background(slot.clone());
        }
    }

    /// Loses whatever is over by the local clock.
    pub(super) fn expire_all(self: &Arc<Self>, now: Instant) {
        for slot in self.registry.held(self) {
            self.expire(&slot, now);
        }
    }

    pub(super) fn track_hold(&self, hold: &Arc<Hold>) {
        self.renewal
            .track(hold, matches!(hold.lease, Lease::Fixed(_)));
    }

    pub(super) fn forget_hold(&self, hold: &Hold) {
        self.renewal
            .untrack(hold, matches!(hold.lease, Lease::Fixed(_)));
    }
}
