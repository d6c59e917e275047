//! The wait loop: the only place that waits for a lock.
//!
//! ```text
//! try ──busy──► listen ──► try again ──busy──► park until message │ ms left │ poll │ reconnect ──► try again
//! ```
//!
//! Whatever ends a wait early (time is up, the caller is dropped, an error) drops what this loop holds: its place in
//! line, its subscription, its entry with the safety poll, and a request in flight, which finishes by itself and hands
//! back what it was granted.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Engine,
    attempt::{Progress, Tried},
    describe,
    hold::{Lease, later},
    jitter,
    poll::Look,
    protocol::{Admission, Call, Wake},
    queue::Verdict,
    registry::{NameRef, SlotRef, Ticket},
    release::Grip,
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
        self.check_open()?;
        let progress = Progress::new();
        let contending = self.contend(&wish, &progress);
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

    /// The slot of a caller who is an owner and enters again.
    fn held_already(&self, name: &NameRef, call: &Call) -> Option<SlotRef> {
        let slot = name.find(&call.field)?;
        (call.protocol.reentrant() && slot.live(Instant::now()) > 0).then_some(slot)
    }

    async fn contend(self: &Arc<Self>, wish: &Wish, progress: &Progress) -> Result<Option<Grip>> {
        let call = &wish.call;
        let name = NameRef::get(self, &call.name);
        let impatient = wish.patience == Patience::None;
        loop {
            if let Some(slot) = self.held_already(&name, call) {
                let repair = Repair(slot);
                match self.ask_for(&repair.0, wish, progress, || {}).await? {
                    Tried::Granted(grip) => return Ok(Some(grip)),
                    // Lost meanwhile: stand in line as everybody.
                    Tried::Busy { .. } => drop(repair),
                }
            }
            let ticket = if call.protocol.admission() == Admission::Each {
                None
            } else {
                let Some(ticket) = name.join(&call.field, impatient) else {
                    return Ok(None);
                };
                if ticket.is_waiting() && self.held_already(&name, call).is_some() {
                    // Granted between the look above and the line, whose word to enter has passed by then.
                    continue;
                }
                let verdict = tokio::select! {
                    biased;
                    verdict = ticket.turn() => verdict,
                    () = self.until_hopeless(wish, progress) => Verdict::Silent,
                };
                match verdict {
                    Verdict::Head => Some(ticket),
                    Verdict::Enter => continue,
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
                progress,
            };
            return lead.run().await;
        }
    }
}

/// Finds out about what is still in doubt when a caller stops trying.
struct Repair(SlotRef);

impl Drop for Repair {
    fn drop(&mut self) {
        self.0.repair();
    }
}

/// Takes back what a waiter left on the server, unless it got the lock.
struct Leaving<'a> {
    engine: &'a Arc<Engine>,
    call: &'a Arc<Call>,
    armed: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        if let Some(command) = self.call.protocol.abandon(self.call) {
            let engine = self.engine.clone();
            self.engine.background.spawn(async move {
                let deadline = later(Instant::now(), engine.settings.outage_patience);
                let _ = engine.run(command, deadline).await;
            });
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
        let mut leaving = Leaving {
            engine,
            call,
            armed: false,
        };
        let mut backoff = None;
        // Set when something spoke for trying, whatever this process believes about its own holds.
        let mut prompted = self.channel().is_none();
        let mut waited = false;
        loop {
            engine.check_open()?;
            let channel = self.channel();
            let seen = channel.as_deref().map(Channel::count);
            let here = if exclusive && !prompted {
                self.held_here(channel.as_deref())
            } else {
                None
            };
            let left = match here {
                Some(left) => Some(left),
                None => match self.ask(slot).await? {
                    Tried::Granted(grip) => {
                        leaving.armed = false;
                        grip.announce(exclusive);
                        return Ok(Some(grip));
                    }
                    Tried::Busy { left } => left,
                },
            };
            if let Some(ticket) = &self.ticket {
                ticket.refuse_impatient();
            }
            if self.wish.patience == Patience::None {
                return Ok(None);
            }
            leaving.armed = true;
            if !waited {
                waited = true;
                engine.counters.waits.one();
            }
            match call.protocol.wake(call) {
                Wake::Backoff { first, longest } => {
                    let next = backoff.map_or(first, |last: Duration| (last * 2).min(longest));
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
                        prompted = false;
                        continue;
                    };
                    self.park(&channel, seen, left).await;
                    prompted = true;
                }
            }
        }
    }

    async fn ask(&self, slot: &SlotRef) -> Result<Tried> {
        let on_failure = || {
            if let Some(ticket) = &self.ticket {
                ticket.fail_impatient();
            }
        };
        let (wish, progress) = (self.wish, self.progress);
        self.engine.ask_for(slot, wish, progress, on_failure).await
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

    /// Sleeps until something speaks for trying again.
    async fn park(&self, channel: &Arc<Channel>, seen: u64, left: Option<Duration>) {
        let engine = self.engine;
        if let Some(ticket) = &self.ticket {
            ticket.park();
        }
        let sleeping = engine
            .poll
            .sleep(Look::Lock(self.wish.call.clone()), channel);
        // Not before a millisecond, and without `left` for as long as the safety poll finds nothing.
        let expiry = left.map(|left| later(Instant::now(), left.max(Duration::from_millis(1))));
        let counter = tokio::select! {
            source = channel.woken(seen) => match source {
                Source::Message => &engine.counters.wakeups_by_message,
                Source::Release | Source::Closed => &engine.counters.wakeups_by_release,
                Source::Poll => {
                    engine.events.tell(|| Event::WakeUpMissed {
                        name: self.wish.call.shown.clone(),
                    });
                    &engine.counters.wakeups_by_poll
                }
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
    }
}

/// Sleeps until then, or for ever.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
