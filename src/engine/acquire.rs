//! Taking a lock: who may enter at once, who stands in line, and who leads it ([`Lead`]).

use std::sync::{Arc, atomic::Ordering};

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Engine, LONGEST_RETRY_PAUSE, RETRY_PAUSE,
    attempt::{Progress, Tried},
    describe,
    hold::{Lease, later},
    jitter,
    lead::{Lead, Led},
    line::Ticket,
    protocol::{Admission, Call, Released},
    queue::Verdict,
    registry::{NameRef, SlotRef},
    release::Grip,
    transport::Fault,
};
use crate::{error::Result, telemetry};

/// How long a caller waits for a busy lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Until then.
    Until(Instant),
    /// As long as the server answers.
    Unlimited,
}

/// What to acquire, and how.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) call: Arc<Call>,
    pub(crate) lease: Lease,
    pub(crate) patience: Patience,
    /// Without a guard.
    pub(crate) loose: bool,
}

impl Engine {
    /// Acquires, or answers `None` when the lock stayed busy for as long as the caller would wait.
    pub(crate) async fn acquire(self: &Arc<Self>, wish: Wish) -> Result<Option<Grip>> {
        let call = &wish.call;
        let acquire = telemetry::acquire(call.protocol.kind(), &call.shown);
        let acquiring = async {
            match self.acquire_here(&wish).await? {
                Some(grip) if self.settings.replica_policy.is_some() => {
                    self.hold_replicated(grip, wish.patience).await.map(Some)
                }
                grip => Ok(grip),
            }
        };
        let outcome = acquire.within(acquiring).await;
        acquire.ended(&outcome, wish.patience != Patience::None);
        outcome
    }

    /// As [`acquire`](Self::acquire), whatever the replicas say.
    async fn acquire_here(self: &Arc<Self>, wish: &Wish) -> Result<Option<Grip>> {
        self.check_process()?;
        self.check_open()?;
        let progress = Progress::new();
        let contending = self.contend(wish, &progress);
        let Patience::Until(deadline) = wish.patience else {
            return contending.await;
        };
        match timeout_at(deadline, contending).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.counters.waits_abandoned.one();
                match self.silence(progress) {
                    Some(fault) => Err(describe(&wish.call.shown, fault, false)),
                    None => Ok(None),
                }
            }
        }
    }

    /// The slot of a caller who need not stand in line: it holds the lock already, or what it holds lets it in.
    fn entry(
        &self,
        name: &NameRef,
        call: &Call,
        told: bool,
        admits: bool,
    ) -> Result<Option<SlotRef>> {
        let now = Instant::now();
        if let Some(slot) = name.own(call)
            && slot.live(now) > 0
        {
            call.check_reentry()?;
            return Ok(Some(slot));
        }
        let admitted = call
            .protocol
            .admitting_field(call)
            .filter(|_| admits)
            .and_then(|field| name.find(&field))
            .is_some_and(|slot| slot.live(now) > 0);
        let open = told && call.protocol.admission() == Admission::Shared;
        Ok((admitted || open).then(|| name.slot(call)))
    }

    async fn contend(self: &Arc<Self>, wish: &Wish, progress: &Progress) -> Result<Option<Grip>> {
        let call = &wish.call;
        let name = NameRef::get(self, &call.name);
        let impatient = wish.patience == Patience::None;
        // The line said to ask at once.
        let mut told = false;
        // What the owner holds beside may let it in, unless that turned out to be gone.
        let mut admits = true;
        let mut waiter = None;
        loop {
            if let Some(slot) = self.entry(&name, call, told, admits)? {
                let repair = Repair(slot);
                match self
                    .ask_for(&repair.0, wish, false, progress, || {})
                    .await?
                {
                    Tried::Granted(grip) => return Ok(Some(grip)),
                    // Lost meanwhile: stand in line as everybody.
                    Tried::Busy { .. } => drop(repair),
                }
                (told, admits) = (false, false);
            }
            let ticket = if call.protocol.admission() == Admission::Each {
                None
            } else {
                let Some(ticket) = Ticket::take(&name, wish, impatient) else {
                    return Ok(None);
                };
                if ticket.is_waiting() && self.entry(&name, call, false, admits)?.is_some() {
                    // Granted between the look above and the line, whose word to enter has passed by then.
                    continue;
                }
                if ticket.is_waiting() && waiter.is_none() {
                    waiter = Some(self.wait_at(name.crowd(), call.protocol.kind(), &call.shown)?);
                }
                let verdict = tokio::select! {
                    biased;
                    verdict = ticket.turn() => verdict,
                    () = self.until_hopeless(wish, progress) => Verdict::Silent,
                };
                match verdict {
                    Verdict::Head => Some(ticket),
                    Verdict::Enter => {
                        told = true;
                        continue;
                    }
                    Verdict::Refused => return Ok(None),
                    Verdict::Silent => return Err(self.no_answer(wish)),
                    Verdict::Served => {
                        self.counters.waits.one();
                        if let Some(grip) = self.received(ticket.gift())? {
                            return Ok(Some(grip));
                        }
                        continue;
                    }
                }
            };
            let lead = Lead {
                engine: self,
                wish,
                name: &name,
                ticket,
                own: None,
                bed: None,
                waiter: waiter.take(),
                progress,
            };
            match lead.run().await? {
                Led::Granted(grip) => return Ok(Some(grip)),
                Led::Busy => return Ok(None),
                Led::TooLate => {}
            }
        }
    }

    /// A lock that was passed on in this process, if it came in time.
    pub(super) fn received(&self, grip: Option<Grip>) -> Result<Option<Grip>> {
        self.check_open()?;
        Ok(grip)
    }

    /// Takes back a place in the server's queue, until the server has answered or the place is past its time anyway.
    pub(super) fn leave_in_background(self: &Arc<Self>, slot: SlotRef) {
        let engine = self.clone();
        self.background.spawn(async move {
            let until = later(Instant::now(), engine.settings.outage_patience);
            let mut pause = RETRY_PAUSE;
            loop {
                // Behind every acquire of this owner that is still in flight.
                let gate = slot.gate.clone().lock_owned().await;
                let Some(command) = slot.call.protocol.abandon(&slot.call) else {
                    return;
                };
                if slot.queued.load(Ordering::Acquire) > 0 {
                    // The owner waits again, by the place it still has.
                    return;
                }
                // From here on the place is given up, also where nobody will hear whether it is gone: in front comes back
                // only who was put out.
                slot.placed.store(false, Ordering::Release);
                let now = Instant::now();
                match engine
                    .run(command, now + engine.settings.command_timeout)
                    .await
                {
                    Ok(reply) => {
                        if let Some(Released::Freed { turn, .. }) = Released::decode(&reply) {
                            engine.call_here(&slot, turn.as_ref());
                        }
                        return;
                    }
                    Err(Fault::Closed) => return,
                    Err(Fault::Refused { refusal, .. }) if !refusal.is_transient() => return,
                    Err(_) if Instant::now() >= until => return,
                    Err(_) => {}
                }
                drop(gate);
                sleep(jitter(pause)).await;
                pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
            }
        });
    }
}

/// Finds out about what is still in doubt when a caller stops trying.
pub(super) struct Repair(pub(super) SlotRef);

impl Drop for Repair {
    fn drop(&mut self) {
        self.0.repair();
    }
}
