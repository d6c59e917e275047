//! Giving back: by a guard, by the Java-style verbs, by force, and for callers that are gone.
//!
//! A release sets the owner's count on the server to what this client counts. It may therefore be repeated until the
//! server has answered, by whoever comes to it first, and two that meet become one.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Engine, LONGEST_RETRY_PAUSE, RETRY_PAUSE, describe,
    detach::Detached,
    hand_over::Passed,
    hold::Hold,
    jitter,
    line::Next,
    protocol::{Admission, Call, Released, Rest, Wake},
    registry::{NameRef, SlotRef},
    slot::Taken,
    transport::Fault,
    unexpected,
    wakeup::Source,
};
use crate::{
    error::{Error, LossCause, Refusal, Result},
    events::Event,
    telemetry::{self, End},
};

/// A hold in somebody's hand. Dropping it gives the hold back in the background.
#[derive(Debug)]
pub(crate) struct Grip {
    slot: SlotRef,
    hold: Arc<Hold>,
    token: Option<i64>,
    /// Whether this handle is to give the hold back.
    armed: bool,
}

impl Grip {
    pub(crate) fn new(slot: SlotRef, hold: Arc<Hold>, token: Option<i64>) -> Self {
        Self {
            slot,
            hold,
            token,
            armed: true,
        }
    }

    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    /// What the server should have for the owner.
    pub(super) fn rest(&self) -> Rest {
        let watchdog = self.engine().settings.watchdog_timeout;
        let rest = self.slot.to_renew(Instant::now(), watchdog);
        rest.map_or(Rest::NONE, |(_, rest)| rest)
    }

    pub(crate) fn call(&self) -> &Call {
        &self.slot.call
    }

    pub(crate) fn token(&self) -> Option<i64> {
        self.token
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.slot.engine()
    }

    /// Tells the line of this process about the grant.
    pub(crate) fn announce(&self) {
        self.slot.announce_grant();
    }

    /// Leaves the hold to the Java-style verbs.
    pub(crate) fn loosen(mut self) {
        self.slot.loosen(&self.hold);
        self.armed = false;
    }

    /// Lets the hold last for `lease` from now on and no longer, on the server as well, if it is still held.
    pub(crate) async fn set_lease(&mut self, lease: Duration) -> Result<()> {
        let engine = self.engine().clone();
        let now = Instant::now();
        let name = self.slot.call.shown.clone();
        let lost = |cause| Error::Lost {
            name: name.clone(),
            cause,
        };
        let number = engine.next_number();
        let hold = self
            .slot
            .relet(&self.hold, number, lease, now)
            .map_err(lost)?;
        engine.replace_hold(&self.hold, &hold);
        self.hold = hold;
        engine.settle(&self.slot).await?;
        let watchdog = engine.settings.watchdog_timeout;
        if self.slot.to_settle(Instant::now(), watchdog).is_some() {
            return Err(Error::Refused {
                name,
                refusal: Refusal::OutOfMemory,
                message: "the lease could not be set".to_owned(),
            });
        }
        self.hold.loss(Instant::now()).map(lost).map_or(Ok(()), Err)
    }

    /// Gives the hold back and waits for the server's word.
    pub(crate) async fn release(mut self) -> Result<()> {
        self.armed = false;
        let engine = self.engine().clone();
        let taken = self.slot.take(&self.hold, Instant::now());
        match taken {
            Ok(taken) => {
                engine.end_hold(&self.slot.call, &self.hold, End::Released);
                let releasing = engine.give_back(self.slot.clone(), taken);
                drop(self);
                releasing.await
            }
            Err(cause) => {
                engine.expire_given_up(&self.slot, Instant::now());
                Err(Error::Lost {
                    name: self.slot.call.shown.clone(),
                    cause,
                })
            }
        }
    }

    /// Takes the hold out of the books, so that it is not renewed any more, and lets the server know in the background.
    fn abandon(&mut self) {
        let engine = self.engine().clone();
        match self.slot.take(&self.hold, Instant::now()) {
            Ok(_) => {
                engine.end_hold(&self.slot.call, &self.hold, End::Released);
                engine.settle_in_background(self.slot.clone());
            }
            Err(_) => {
                engine.expire_given_up(&self.slot, Instant::now());
            }
        }
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        if self.armed {
            self.abandon();
        }
    }
}

impl Engine {
    /// Releases the latest hold without a guard of `call`'s owner.
    pub(crate) async fn release_loose(self: &Arc<Self>, call: &Call) -> Result<()> {
        let now = Instant::now();
        let slot = NameRef::get(self, &call.name).own(call);
        let taken = slot.and_then(|slot| {
            self.expire(&slot, now);
            slot.take_loose(now).map(|taken| (slot, taken))
        });
        let Some((slot, (hold, taken))) = taken else {
            return Err(Error::NotHeld {
                name: call.shown.clone(),
                owner: call.owner,
            });
        };
        self.end_hold(&slot.call, &hold, End::Released);
        self.give_back(slot, taken).await
    }

    /// Tells the server about a hold that has been taken out of `slot`. The release goes on if the caller leaves.
    fn give_back(
        self: &Arc<Self>,
        slot: SlotRef,
        taken: Taken,
    ) -> impl Future<Output = Result<()>> + use<> {
        let (name, shown) = (slot.call.name.clone(), slot.call.shown.clone());
        let span = telemetry::release(slot.call.protocol.kind(), &shown);
        let patience = self.settings.outage_patience;
        let engine = self.clone();
        // Closing waits for this: the lock would stay until its time to live is over.
        let under_way = self.background.enter();
        let settling = Detached::committed(
            &self.background,
            {
                let engine = self.clone();
                async move {
                    let _under_way = under_way;
                    engine.settle(&slot).await?;
                    match slot.was_gone(taken) {
                        Some(cause) => Err(Error::Lost {
                            name: slot.call.shown.clone(),
                            cause,
                        }),
                        None => Ok(()),
                    }
                }
            },
            |_| {},
        );
        let releasing = async move {
            match timeout(patience, settling).await {
                Ok(Ok(())) => engine.release_replicated(&name, &shown).await,
                Ok(failed) => failed,
                Err(_) => Err(Error::Unreachable {
                    name: shown,
                    reason: "no answer to the release; it goes on in the background".to_owned(),
                    indeterminate: true,
                }),
            }
        };
        async move {
            let outcome = span.within(releasing).await;
            span.ended(&outcome);
            outcome
        }
    }

    /// Brings the server's count of `slot` in line with this client's, without anybody waiting for it.
    pub(crate) fn settle_in_background(self: &Arc<Self>, slot: SlotRef) {
        let engine = self.clone();
        self.background.spawn(async move {
            // Nobody is there to hear of a failure: what the server still holds ends with its time to live.
            let _ = engine.settle(&slot).await;
        });
    }

    /// Brings the server's count of `slot` in line with this client's, however often it takes, and no longer than the
    /// server could still hold anything.
    pub(crate) async fn settle(self: &Arc<Self>, slot: &SlotRef) -> Result<()> {
        slot.settling.store(false, Ordering::Release);
        let shown = &slot.call.shown;
        let watchdog = self.settings.watchdog_timeout;
        let mut pause = RETRY_PAUSE;
        let mut may_pass = true;
        loop {
            // Held for one try only: whoever comes in between tells the server the truth as well as this does.
            let gate = slot.gate.clone().lock_owned().await;
            let now = Instant::now();
            let doubtful = slot.is_uncertain();
            let Some(rest) = slot.to_settle(now, watchdog) else {
                return Ok(());
            };
            let generation = slot.generation();
            let counted = slot.counted();
            let call = counted.as_ref().unwrap_or(&slot.call);
            let era = self.era();
            let next = if std::mem::take(&mut may_pass) && !doubtful {
                self.next_of(slot, &rest)
            } else {
                Next::Free
            };
            if let Next::Pass(contender) = next {
                match self.pass_on(slot, contender, rest, gate).await {
                    Passed::On | Passed::Released(_) => return Ok(()),
                    Passed::No => continue,
                }
            }
            let for_others = matches!(next, Next::FreeForOthers);
            if for_others {
                self.step_aside(slot);
            }
            let command = call.protocol.release(call, &rest);
            let fault = match self.run(command, now + self.settings.command_timeout).await {
                Ok(reply) => {
                    let Some(released) = Released::decode(&reply) else {
                        slot.settled(rest.holds);
                        return Err(unexpected(shown, &reply));
                    };
                    if let Released::Freed { others, .. } = released
                        && for_others
                    {
                        self.stepped_aside(slot, others);
                    }
                    self.released(slot, &released, rest.holds, generation, doubtful);
                    if matches!(released, Released::Freed { .. }) {
                        self.note_release(slot, &rest, era);
                    }
                    return Ok(());
                }
                Err(fault) => fault,
            };
            match &fault {
                Fault::Refused { refusal, .. } if refusal.is_transient() => {}
                Fault::Refused {
                    refusal: Refusal::OutOfMemory,
                    ..
                } if rest.holds > 0 => {
                    // A count cannot be written now. The server's stays too high until the last hold goes, which
                    // writes nothing; the lock is held either way.
                    slot.certain();
                    return Ok(());
                }
                Fault::Refused {
                    refusal: Refusal::WrongType,
                    ..
                } => {
                    let losses = slot.absent(generation, !doubtful);
                    self.report_losses(slot, losses);
                    return Ok(());
                }
                Fault::Refused { .. } | Fault::Closed => {
                    // No repeat will change the answer; the time to live will.
                    slot.settled(rest.holds);
                    return Err(describe(shown, fault, true));
                }
                Fault::Unknown { .. } => {
                    self.counters.unknown_outcomes.one();
                    slot.unknown(std::time::Duration::ZERO);
                }
                Fault::NotSent { .. } => {}
            }
            if Instant::now() >= slot.gone_by() {
                slot.settled(rest.holds);
                return Err(describe(shown, fault, true));
            }
            drop(gate);
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
        }
    }

    /// Remembers that nothing of `slot` is left, so that a server that takes over hears of it too.
    pub(super) fn note_release(self: &Arc<Self>, slot: &SlotRef, rest: &Rest, era: u64) {
        if self.transport.fails_over() {
            self.recent.note(&slot.call, rest.most);
        }
        if self.era() != era {
            // Too late to be among those that are said again.
            slot.may_be_left(rest.most, self.settings.watchdog_timeout);
            self.settle_in_background(slot.clone());
        }
    }

    /// Books the server's answer to a release.
    pub(super) fn released(
        &self,
        slot: &SlotRef,
        released: &Released,
        holds: u32,
        generation: u64,
        doubtful: bool,
    ) {
        self.counters.releases.one();
        match released {
            Released::Kept => slot.settled(holds),
            Released::Freed { heard, turn, .. } => {
                slot.settled(holds);
                self.call_here(slot, turn.as_ref());
                if !heard {
                    self.events.tell(|| Event::WakeUpRefused {
                        name: slot.call.shown.clone(),
                    });
                }
                // Where no message can come, this process's own lines are told directly.
                for channel in slot.channels() {
                    if !heard || !self.wakeups.is_live(&channel) {
                        channel.wake(Source::Release);
                    }
                }
            }
            Released::NotHeld => {
                let losses = slot.absent(generation, !doubtful);
                self.report_losses(slot, losses);
                self.call_here(slot, None);
            }
        }
    }

    /// The lock of `slot` is free, and it is this owner's turn, where the server keeps a queue. One of this process that hears
    /// nothing is told; where it is another's turn, all who hear nothing are to listen.
    pub(super) fn call_here(&self, slot: &SlotRef, turn: Option<&Bytes>) {
        let name = slot.name();
        let next = turn.and_then(|field| name.alike(&slot.call, field));
        match next.map(|slot| slot.call.protocol.wake(&slot.call)) {
            Some(Wake::Channel(channel)) => self.wakeups.tell_deaf(&channel),
            _ => name.line(Admission::Each, |line| line.resting.rouse_deaf()),
        }
    }

    /// Frees a lock whoever holds it. Sent once: a repeat could free somebody's newer hold.
    pub(crate) async fn force_release(self: &Arc<Self>, call: &Call) -> Result<bool> {
        self.check_open()?;
        let name = NameRef::get(self, &call.name);
        let held: Vec<_> = name
            .slots()
            .into_iter()
            .filter(|slot| slot.call.meets(call))
            .map(|slot| (slot.generation(), slot))
            .collect();
        let command = call.protocol.force_release(call);
        let deadline = Instant::now() + self.settings.command_timeout;
        let engine = self.clone();
        let call = call.clone();
        let forcing = Detached::new(
            &self.background,
            async move {
                let reply = engine
                    .run(command, deadline)
                    .await
                    .map_err(|fault| describe(&call.shown, fault, true))?;
                let freed = match Released::decode(&reply) {
                    Some(Released::Freed { heard, .. }) => {
                        if !heard {
                            let name = call.shown.clone();
                            engine.events.tell(|| Event::WakeUpRefused { name });
                        }
                        true
                    }
                    Some(Released::Kept) => false,
                    Some(Released::NotHeld) | None => return Err(unexpected(&call.shown, &reply)),
                };
                if freed {
                    for (generation, slot) in held {
                        let losses = slot.lose(generation, LossCause::ForceUnlocked);
                        engine.report_losses(&slot, losses);
                    }
                }
                Ok(freed)
            },
            |_| {},
        );
        forcing.await
    }
}
