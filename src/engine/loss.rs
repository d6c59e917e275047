//! Holds that begin and end: the books of the watchdog, and who is told of a loss.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Engine,
    hold::{Hold, Lease},
    protocol::Call,
    registry::SlotRef,
    slot::Loss,
    wakeup::Source,
};
use crate::{
    events::Event,
    telemetry::{self, End},
};

impl Engine {
    /// Counts and tells losses, and wakes whoever waits for the lock in this process.
    pub(super) fn report_losses(&self, slot: &SlotRef, losses: Vec<Loss>) {
        if losses.is_empty() {
            return;
        }
        for (hold, cause) in &losses {
            self.end_hold(&slot.call, hold, End::Lost);
            self.counters.losses.one();
            telemetry::lost(slot.call.protocol.kind(), *cause);
            self.events.tell(|| Event::Lost {
                name: slot.call.shown.clone(),
                owner: slot.call.owner,
                cause: *cause,
            });
        }
        for channel in slot.channels() {
            channel.wake(Source::Release);
        }
        self.call_here(slot, None);
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

    /// A hold was granted.
    pub(super) fn begin_hold(&self, call: &Call, hold: &Arc<Hold>) {
        self.track_hold(hold);
        telemetry::hold_began(call.protocol.kind());
    }

    /// A hold is over.
    pub(super) fn end_hold(&self, call: &Call, hold: &Hold, end: End) {
        self.forget_hold(hold);
        telemetry::hold_ended(call.protocol.kind(), hold.asked_for(), end);
    }

    /// A hold goes on as another one.
    pub(super) fn replace_hold(&self, old: &Hold, new: &Arc<Hold>) {
        self.forget_hold(old);
        self.track_hold(new);
    }

    fn track_hold(&self, hold: &Arc<Hold>) {
        self.renewal
            .track(hold, matches!(hold.lease, Lease::Fixed(_)));
    }

    fn forget_hold(&self, hold: &Hold) {
        self.renewal
            .untrack(hold, matches!(hold.lease, Lease::Fixed(_)));
    }
}
