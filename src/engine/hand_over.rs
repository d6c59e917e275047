//! A lock that goes from hand to hand in one process: one script is release and grant.
//!
//! The lock is not free in between, and no message is sent. The next one's hold is registered before anything is sent and
//! under its own gate, as with any acquire; the first's is out of the books, as with any release. Where it comes to nothing
//! the release goes on in the ordinary way, and the next one asks for itself. After a number of times, or some time, the
//! lock is freed for all.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Engine,
    attempt::{book_grant, failed, orphaned},
    line::{Aside, Contender, Next},
    protocol::{Admission, Ask, Attempt, Rest},
    registry::SlotRef,
    release::Grip,
    transport::{Fault, Reply},
    wakeup::Channel,
};
use crate::{config::LONGEST_ASIDE, error::Refusal};

/// The next in line, while the server is asked to give it the lock. It hears of it in any case.
struct Heir<'a> {
    from: &'a SlotRef,
    contender: Option<Arc<Contender>>,
}

impl Heir<'_> {
    /// It has the lock.
    fn served(mut self, grip: Grip) {
        let Some(contender) = self.contender.take() else {
            return;
        };
        let admission = grip.call().protocol.admission();
        let there = self
            .from
            .name()
            .line(admission, |line| line.queue.served(&contender, grip));
        if !there && let Some(grip) = contender.take() {
            orphaned(grip);
        }
    }
}

impl Drop for Heir<'_> {
    fn drop(&mut self) {
        if let Some(contender) = self.contender.take() {
            let name = self.from.name();
            name.line(Admission::Exclusive, |line| {
                line.queue.not_served(&contender);
            });
        }
    }
}

/// What became of a lock that was to be passed on.
pub(super) enum Passed {
    /// The next one has it.
    On,
    /// The first did not have it.
    NotHeld,
    /// It is to be released.
    No,
}

impl Engine {
    /// Who gets the lock of `slot`, whose last hold is out of the books.
    pub(super) fn next_of(&self, slot: &SlotRef, rest: &Rest) -> Next {
        let call = &slot.call;
        if rest.holds > 0
            || call.protocol.admission() != Admission::Exclusive
            || self.check_open().is_err()
        {
            return Next::Free;
        }
        slot.name().line(Admission::Exclusive, |line| {
            line.next(call.protocol.kind(), &call.field, self.settings.hand_over)
        })
    }

    /// Gives the lock of `slot`, whose last hold is out of the books, to the next in line. Call with the gate held.
    pub(super) async fn pass_on(
        self: &Arc<Self>,
        slot: &SlotRef,
        contender: Arc<Contender>,
    ) -> Passed {
        let call = &slot.call;
        let wish = contender.wants.clone();
        let heir = Heir {
            from: slot,
            contender: Some(contender),
        };
        let next = slot.name().slot(&wish.call);
        let Ok(gate) = next.gate.clone().try_lock_owned() else {
            return Passed::No;
        };
        let sent = Instant::now();
        self.expire(&next, sent);
        if next.count() > 0 || next.is_uncertain() {
            return Passed::No;
        }
        let watchdog = self.settings.watchdog_timeout;
        let begun = next.begin(wish.lease, self.next_number(), watchdog);
        let ask = Ask {
            ttl_ms: begun.ttl_ms(),
            floor: self.tokens.floor(&wish.call),
            ..Ask::FIRST
        };
        let Some(command) = call.protocol.pass(call, &wish.call, &ask) else {
            next.not_granted(&begun, None);
            return Passed::No;
        };
        let reply = match self
            .run(command, sent + self.settings.command_timeout)
            .await
        {
            Ok(reply) => reply,
            Err(fault) => {
                if let Fault::Unknown { .. }
                | Fault::Refused {
                    refusal: Refusal::NoPermission | Refusal::Other,
                    ..
                } = fault
                {
                    slot.unknown(Duration::ZERO);
                }
                // It asks itself, and hears what is wrong.
                let _ = failed(self, &next, &begun, fault);
                return Passed::No;
            }
        };
        if reply == Reply::Nil {
            next.not_granted(&begun, None);
            return Passed::NotHeld;
        }
        let token = match call.protocol.decode(&reply) {
            Some(Attempt::Granted { holds: 1, token }) => token,
            Some(Attempt::Granted { .. }) | None => {
                // No answer that any script gives.
                slot.unknown(Duration::ZERO);
                next.unknown(begun.ttl);
                return Passed::No;
            }
            Some(_) => {
                next.not_granted(&begun, None);
                return Passed::No;
            }
        };
        let grip = book_grant(self, next, &wish, &begun, sent, 1, token);
        drop(gate);
        self.counters.releases.one();
        if grip.hold().loss(Instant::now()).is_none() {
            self.counters.grants.one();
            self.counters.hand_overs.one();
            heir.served(grip);
        }
        Passed::On
    }

    /// Lets others have the lock first that was freed for all, if any may have heard of it. `count` is that of the channel
    /// from before.
    pub(super) fn step_aside(&self, slot: &SlotRef, count: Option<u64>) {
        let Some(count) = count else {
            return;
        };
        let aside = Aside {
            until: Instant::now() + LONGEST_ASIDE,
            // One is our own message.
            count: count + 2,
        };
        let name = slot.name();
        name.line(Admission::Exclusive, |line| line.step_aside(aside));
    }
}

/// The count of the channel on which the line of this process listens.
pub(super) fn heard(slot: &SlotRef) -> Option<u64> {
    let channels = slot.channels();
    channels.first().map(|channel| Channel::count(channel))
}
