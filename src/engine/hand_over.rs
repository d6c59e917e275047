//! A lock that goes from hand to hand in one process: one script is release and grant.
//!
//! The lock is not free in between, and no message is sent. The next one's hold is registered before anything is sent and
//! under its own gate, as with any acquire; the first's is out of the books, as with any release. Where it comes to nothing
//! the release goes on in the ordinary way, and the next one asks for itself. After a number of times, or some time, the
//! lock is freed for all.
//!
//! The next one depends on the answer, so a task waits for it: whoever gives the lock back need not go on polling.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedMutexGuard, oneshot},
    time::Instant,
};

use super::{
    Engine,
    attempt::{book_grant, failed, orphaned},
    line::{Aside, Contender, Line, Next},
    protocol::{Admission, Ask, Attempt, Released, Rest},
    registry::SlotRef,
    release::Grip,
    wakeup::Source,
};
use crate::telemetry;

/// The next in line, while the server is asked to give it the lock. It hears of it in any case.
struct Heir<'a> {
    from: &'a SlotRef,
    contender: Option<Arc<Contender>>,
}

impl Heir<'_> {
    /// Does something with the line it waits in, or beside.
    fn line<R>(&self, with: impl FnOnce(&mut Line, Admission) -> R) -> R {
        let admission = self.from.call.protocol.admission();
        (self.from.name()).line(admission, |line| with(line, admission))
    }

    /// It has the lock.
    fn served(mut self, grip: Grip) {
        let Some(contender) = self.contender.take() else {
            return;
        };
        let there = self.line(|line, admission| match admission {
            Admission::Each => line.resting.served(&contender, grip),
            _ => line.queue.served(&contender, grip),
        });
        if !there && let Some(grip) = contender.take() {
            orphaned(grip);
        }
    }

    /// It is not its turn.
    fn not_yet(mut self) {
        if let Some(contender) = self.contender.take() {
            self.line(|line, _| line.resting.not_yet(&contender));
        }
    }
}

impl Drop for Heir<'_> {
    fn drop(&mut self) {
        if let Some(contender) = self.contender.take() {
            self.line(|line, admission| match admission {
                Admission::Each => line.resting.not_served(&contender),
                _ => line.queue.not_served(&contender),
            });
        }
    }
}

/// What became of a lock that was to be passed on.
#[derive(Debug)]
pub(super) enum Passed {
    /// The next one has it.
    On,
    /// It was not the next one's turn, so it is as released; or the first did not have it.
    Released(Released),
    /// It is to be released, or found out about.
    No,
}

impl Engine {
    /// Who gets the lock of `slot`, whose last hold is out of the books.
    pub(super) fn next_of(&self, slot: &SlotRef, rest: &Rest) -> Next {
        let call = &slot.call;
        // Many numbers that only one process has seen are many that a master which takes over may give out once more.
        let numbers_fall = call.protocol.fenced() && self.transport.fails_over();
        if rest.holds > 0 || numbers_fall || self.check_open().is_err() {
            return Next::Free;
        }
        let (kind, field, limit) = (call.protocol.kind(), &call.field, self.settings.hand_over);
        let admission = call.protocol.admission();
        slot.name().line(admission, |line| match admission {
            Admission::Exclusive => line.next(kind, field, limit),
            Admission::Each => line.next_in_order(kind, field, limit),
            Admission::Shared => Next::Free,
        })
    }

    /// Gives the lock of `slot`, whose last hold is out of the books, to the next in line, and books what comes of it. It
    /// goes on if the caller leaves, or does not look.
    pub(super) async fn pass_on(
        self: &Arc<Self>,
        slot: &SlotRef,
        contender: Arc<Contender>,
        rest: Rest,
        gate: OwnedMutexGuard<()>,
    ) -> Passed {
        let (engine, slot) = (self.clone(), slot.clone());
        let (tell, told) = oneshot::channel();
        self.background.spawn(async move {
            let (generation, era) = (slot.generation(), engine.era());
            let passed = engine.pass_to(&slot, contender).await;
            match &passed {
                Passed::On => {
                    slot.settled(0);
                    engine.note_release(&slot, &rest, era);
                }
                Passed::Released(released) => {
                    engine.released(&slot, released, 0, generation, false);
                    if matches!(released, Released::Freed { .. }) {
                        engine.note_release(&slot, &rest, era);
                    }
                }
                Passed::No => {}
            }
            drop(gate);
            let _ = tell.send(passed);
        });
        told.await.unwrap_or(Passed::No)
    }

    async fn pass_to(self: &Arc<Self>, slot: &SlotRef, contender: Arc<Contender>) -> Passed {
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
            places: heir.line(|line, _| line.places()),
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
                // It asks itself, and hears what is wrong. Where its hold is in doubt, so is the other's release.
                let _ = failed(self, &next, &begun, fault);
                if next.is_uncertain() {
                    slot.unknown(Duration::ZERO);
                }
                return Passed::No;
            }
        };
        match Released::decode(&reply) {
            Some(released @ Released::Freed { .. }) => {
                next.not_granted(&begun, None);
                heir.not_yet();
                return Passed::Released(released);
            }
            Some(Released::NotHeld) => {
                next.not_granted(&begun, None);
                return Passed::Released(Released::NotHeld);
            }
            Some(Released::Kept) | None => {}
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
            telemetry::hand_over(call.protocol.kind());
            heir.served(grip);
        }
        Passed::On
    }

    /// Lets others have the lock first that is about to be freed for all.
    pub(super) fn step_aside(&self, slot: &SlotRef) {
        // Where nobody of this process listens nobody waits.
        let Some(channel) = slot.channels().into_iter().next() else {
            return;
        };
        let aside = Aside::after(channel.count());
        let name = slot.name();
        name.line(Admission::Exclusive, |line| line.step_aside(aside));
    }

    /// The lock is free. So many others have heard of it, and go first; if nobody has, and nobody waits in the other line,
    /// nobody need wait for them.
    pub(super) fn stepped_aside(&self, slot: &SlotRef, others: u32) {
        let name = slot.name();
        let readers = name.line(Admission::Shared, |line| !line.queue.is_empty());
        let others = others.max(u32::from(readers));
        let withdrawn = name.line(Admission::Exclusive, |line| line.stepped_aside(others));
        if withdrawn {
            for channel in slot.channels() {
                channel.wake(Source::Release);
            }
        }
    }
}
