//! The wait loop: the only place that waits for a lock.
//!
//! ```text
//! try ──busy──► listen ──► try again ──busy──► park until message │ ms left │ poll │ reconnect ──► try again
//! ```
//!
//! Whatever ends a wait early (time is up, the caller is dropped, an error) drops what this loop holds: its place in
//! line, its subscription, its entry with the safety poll, and a request in flight, which finishes by itself and hands
//! back what it was granted.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Engine, LONGEST_RETRY_PAUSE, RETRY_PAUSE,
    attempt::{Progress, Tried},
    calm::{Calm, Found},
    crowd::Waiter,
    describe,
    detach::One,
    hold::{Lease, later},
    jitter,
    poll::Look,
    protocol::{Admission, Call, Wake},
    queue::Verdict,
    registry::{NameRef, SlotRef, Ticket},
    release::Grip,
    transport::Fault,
    wakeup::{Channel, Source, Subscription},
};
use crate::{error::Result, events::Event};

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
        let grip = self.acquire_here(&wish).await?;
        match grip {
            Some(grip) if self.settings.replica_policy.is_some() => {
                self.hold_replicated(grip, wish.patience).await.map(Some)
            }
            grip => Ok(grip),
        }
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
        if let Some(slot) = name.find(&call.field)
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
                let Some(ticket) = name.join(call, impatient) else {
                    return Ok(None);
                };
                if ticket.is_waiting() && self.entry(&name, call, false, admits)?.is_some() {
                    // Granted between the look above and the line, whose word to enter has passed by then.
                    continue;
                }
                if ticket.is_waiting() && waiter.is_none() {
                    waiter = Some(self.wait_at(name.crowd(), &call.shown)?);
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
                }
            };
            let lead = Lead {
                engine: self,
                wish,
                name: &name,
                ticket,
                own: None,
                waiter,
                progress,
            };
            return lead.run().await;
        }
    }

    /// Takes back a place in the server's queue, until the server has answered or the place is past its time anyway.
    fn leave_in_background(self: &Arc<Self>, slot: SlotRef) {
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
                    Ok(_) | Err(Fault::Closed) => return,
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
struct Repair(SlotRef);

impl Drop for Repair {
    fn drop(&mut self) {
        self.0.repair();
    }
}

/// A waiter that may have a place in the server's queue. Dropping it gives the place up with the owner's last waiter.
struct Queued<'a> {
    slot: &'a SlotRef,
    /// Whether there may be something to take back.
    armed: bool,
    /// Closing waits until the place is given up.
    _under_way: One,
}

impl<'a> Queued<'a> {
    /// Call before anything is sent.
    fn enter(slot: &'a SlotRef) -> Self {
        slot.queued.fetch_add(1, Ordering::AcqRel);
        Self {
            slot,
            armed: true,
            _under_way: slot.engine().background.enter(),
        }
    }

    /// The lock was granted, and the place is gone with that.
    fn granted(mut self) {
        self.armed = false;
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let last = self.slot.queued.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && self.armed {
            self.slot.engine().leave_in_background(self.slot.clone());
        }
    }
}

/// The one contender of its line that talks to the server.
struct Lead<'a> {
    engine: &'a Arc<Engine>,
    wish: &'a Wish,
    name: &'a NameRef,
    /// Its place in line; none where everybody asks for itself.
    ticket: Option<Ticket>,
    /// A subscription of its own, where there is no line to share one.
    own: Option<Subscription>,
    /// Counted among those who wait, once it does.
    waiter: Option<Waiter<'a>>,
    progress: &'a Progress,
}

impl Lead<'_> {
    async fn run(mut self) -> Result<Option<Grip>> {
        let engine = self.engine;
        let call = &self.wish.call;
        let exclusive = call.protocol.admission() == Admission::Exclusive;
        // Kept over all tries, so that an unknown outcome is found out by the next one and repaired after the last.
        let repair = Repair(self.name.slot(call));
        let slot = &repair.0;
        let stays = self.wish.patience != Patience::None;
        let queued = (stays && call.protocol.keeps_place()).then(|| Queued::enter(slot));
        let mut backoff = None;
        // Set when something spoke for trying, whatever this process believes about its own holds.
        let mut prompted = self.channel().is_none();
        let mut waited = false;
        let mut calm = Calm::PATIENT;
        let mut told = false;
        loop {
            engine.check_open()?;
            let channel = self.channel();
            let seen = channel.as_deref().map(Channel::count);
            let here = if exclusive && !prompted {
                self.held_here(channel.as_deref())
            } else {
                None
            };
            let asked = told.then(Instant::now);
            let left = match here {
                Some(left) => Some(left),
                None => match self.ask(slot, stays).await? {
                    Tried::Granted(grip) => {
                        if let Some(queued) = queued {
                            queued.granted();
                            // Others of the same owner may enter now.
                            if let Some(own) = &self.own {
                                own.channel().wake(Source::Release);
                            }
                        }
                        grip.announce();
                        return Ok(Some(grip));
                    }
                    Tried::Busy { left } => left,
                },
            };
            if let Some(asked) = asked {
                calm.in_vain(Found {
                    left,
                    asked,
                    answered: Instant::now(),
                });
            }
            if let Some(ticket) = &self.ticket {
                ticket.refuse_impatient();
            }
            if !stays {
                return Ok(None);
            }
            if !waited {
                waited = true;
                if self.waiter.is_none() {
                    self.waiter = Some(engine.wait_at(self.name.crowd(), &call.shown)?);
                }
                engine.counters.waits.one();
            }
            match call.protocol.wake(call) {
                Wake::Backoff(pauses) => {
                    let next = pauses.next(backoff);
                    backoff = Some(next);
                    sleep(jitter(next)).await;
                }
                Wake::Channel(name) => {
                    let (Some(channel), Some(seen)) = (channel, seen) else {
                        let channel = self.listen(&name);
                        // No longer than until somebody would look at the lock anyway.
                        let settings = &engine.settings;
                        let limit = settings.command_timeout.min(settings.safety_poll);
                        engine.wakeups.until_confirmed(&channel, limit).await;
                        // An unlock may have slipped in before the subscription, unless the holder is one of ours.
                        (prompted, told) = (false, false);
                        continue;
                    };
                    told = self.park(&channel, seen, left).await == Some(Source::Message);
                    if told && !calm.pause().is_zero() {
                        sleep(jitter(calm.pause())).await;
                    }
                    prompted = true;
                }
            }
        }
    }

    async fn ask(&self, slot: &SlotRef, stays: bool) -> Result<Tried> {
        let on_failure = || {
            if let Some(ticket) = &self.ticket {
                ticket.fail_impatient();
            }
        };
        let (wish, progress) = (self.wish, self.progress);
        let engine = self.engine;
        engine
            .ask_for(slot, wish, stays, progress, on_failure)
            .await
    }

    /// How long an owner of this process holds the lock yet, when that is beyond doubt and its end will be heard of.
    fn held_here(&self, channel: Option<&Channel>) -> Option<Duration> {
        let now = Instant::now();
        let until = self.name.held_by_other(&self.wish.call.field, now)?;
        let heard = channel.is_some_and(|channel| self.engine.wakeups.is_live(channel));
        heard.then(|| until.saturating_duration_since(now))
    }

    fn channel(&self) -> Option<Arc<Channel>> {
        match (&self.ticket, &self.own) {
            (Some(ticket), _) => ticket.channel(),
            (None, own) => own.as_ref().map(Subscription::channel),
        }
    }

    fn listen(&mut self, channel: &bytes::Bytes) -> Arc<Channel> {
        if let Some(ticket) = &self.ticket {
            return ticket.listen(channel);
        }
        let subscription = self.engine.wakeups.subscribe(channel);
        let channel = subscription.channel();
        self.own = Some(subscription);
        channel
    }

    /// Sleeps until something speaks for trying again; says what it was, if not the time.
    async fn park(
        &self,
        channel: &Arc<Channel>,
        seen: u64,
        left: Option<Duration>,
    ) -> Option<Source> {
        let engine = self.engine;
        if let Some(ticket) = &self.ticket {
            ticket.park();
        }
        let sleeping = engine
            .poll
            .sleep(Look::Lock(self.wish.call.clone()), channel);
        // Not before a millisecond, and without `left` for as long as the safety poll finds nothing.
        let expiry = left.map(|left| later(Instant::now(), left.max(Duration::from_millis(1))));
        let mut woken = None;
        let counter = tokio::select! {
            biased;
            source = channel.woken(seen) => match *woken.insert(source) {
                Source::Message => &engine.counters.wakeups_by_message,
                Source::Release | Source::Closed => &engine.counters.wakeups_by_release,
                Source::Poll => {
                    engine.events.tell(|| Event::WakeUpMissed {
                        name: self.wish.call.shown.clone(),
                    });
                    &engine.counters.wakeups_by_poll
                }
                Source::Moved => &engine.counters.wakeups_by_poll,
            },
            () = until(expiry) => &engine.counters.wakeups_by_expiry,
            // The next try finds out what is wrong.
            () = engine.until_hopeless(self.wish, self.progress) => &engine.counters.wakeups_by_expiry,
        };
        counter.one();
        drop(sleeping);
        if let Some(ticket) = &self.ticket {
            ticket.unpark();
        }
        woken
    }
}

/// Sleeps until then, or for ever.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
