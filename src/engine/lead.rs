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

use tokio::time::{Instant, sleep};

use super::{
    Engine,
    acquire::{Patience, Repair, Wish},
    attempt::{Progress, Tried},
    calm::{Calm, Found},
    crowd::Waiter,
    detach::One,
    hold::later,
    jitter,
    line::{Bed, Ticket},
    poll::Look,
    protocol::{Admission, Wake},
    registry::{NameRef, SlotRef},
    release::Grip,
    wakeup::{Channel, Source, Subscription},
};
use crate::{
    error::Result,
    events::Event,
    telemetry::{self, Woken},
};

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

/// What came of it.
pub(super) enum Led {
    Granted(Grip),
    Busy,
    /// It was given the lock, for a time that was over when it came to look: to be tried anew, from the end of the line.
    TooLate,
}

/// What ended a sleep.
enum Roused {
    /// The lock was given to it.
    Served,
    /// It is to ask: something was heard, or the time is up.
    Woken(Option<Source>),
}

/// The one contender of its line that talks to the server.
pub(super) struct Lead<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) wish: &'a Wish,
    pub(super) name: &'a NameRef,
    /// Its place in line; none where everybody asks for itself.
    pub(super) ticket: Option<Ticket>,
    /// A channel of its own, where there is no line to share one.
    pub(super) own: Option<Subscription>,
    /// Where it sleeps, where there is no line.
    pub(super) bed: Option<Bed>,
    /// Counted among those who wait, once it does.
    pub(super) waiter: Option<Waiter<'a>>,
    pub(super) progress: &'a Progress,
}

impl Lead<'_> {
    pub(super) async fn run(mut self) -> Result<Led> {
        let engine = self.engine;
        let call = &self.wish.call;
        let exclusive = call.protocol.admission() == Admission::Exclusive;
        // Kept over all tries, so that an unknown outcome is found out by the next one and repaired after the last.
        let repair = Repair(self.name.slot(call));
        let slot = &repair.0;
        let stays = self.wish.patience != Patience::None;
        let in_order = stays && call.protocol.keeps_place();
        let queued = in_order.then(|| Queued::enter(slot));
        let may_rest = in_order && engine.settings.hand_over.passes > 0;
        if may_rest {
            self.reserve();
        }
        let mut backoff = None;
        // Set when something spoke for trying, whatever this process believes about its own holds.
        let mut prompted = self
            .ticket
            .as_ref()
            .is_none_or(|ticket| !ticket.is_waiting());
        let mut waited = false;
        let mut calm = Calm::PATIENT;
        let mut told = false;
        loop {
            engine.check_open()?;
            let channel = self.channel();
            let mut seen = channel.as_deref().map(Channel::before_try);
            let here = if exclusive && !prompted {
                self.held_here(channel.as_deref())
            } else {
                None
            };
            let asked = told.then(Instant::now);
            let left = match here {
                Some(left) => Some(left),
                None => {
                    if let Some(ticket) = &self.ticket {
                        ticket.step_aside(self.wish.patience).await;
                        if !ticket.ask().await {
                            return self.served(queued);
                        }
                        seen = channel.as_deref().map(Channel::before_try);
                    }
                    match self.ask(slot, stays).await? {
                        Tried::Granted(grip) => {
                            self.leave_queue(queued);
                            grip.announce();
                            return Ok(Led::Granted(grip));
                        }
                        Tried::Busy { left } => left,
                    }
                }
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
                return Ok(Led::Busy);
            }
            if !waited {
                waited = true;
                if self.waiter.is_none() {
                    self.waiter = Some(engine.wait_at(
                        self.name.crowd(),
                        call.protocol.kind(),
                        &call.shown,
                    )?);
                }
                engine.counters.waits.one();
            }
            match call.protocol.wake(call) {
                Wake::Backoff(pauses) => {
                    let next = pauses.next(backoff);
                    backoff = Some(next);
                    let rest = async {
                        sleep(jitter(next)).await;
                        None
                    };
                    if let Roused::Served = self.rest(false, rest).await {
                        return self.served(queued);
                    }
                }
                Wake::Channel(name) => {
                    let deaf = self.own.as_ref().is_some_and(|own| !own.hears());
                    if may_rest {
                        self.bed = self.name.lie_down(slot, self.wish, deaf);
                    }
                    let unheard = deaf && self.bed.is_none();
                    let heard = channel.zip(seen).filter(|(channel, seen)| {
                        // Told meanwhile: there is no need to listen before the next try.
                        !unheard || channel.count() != *seen
                    });
                    let Some((channel, seen)) = heard else {
                        let channel = self.listen(&name);
                        // No longer than until somebody would look at the lock anyway.
                        let settings = &engine.settings;
                        let limit = settings.command_timeout.min(settings.safety_poll);
                        engine.wakeups.until_confirmed(&channel, limit).await;
                        // An unlock may have slipped in before the subscription, unless the holder is one of ours.
                        (prompted, told) = (false, false);
                        continue;
                    };
                    told = match self.park(&channel, seen, left).await {
                        Roused::Served => return self.served(queued),
                        Roused::Woken(source) => source == Some(Source::Message),
                    };
                    if told && !calm.pause().is_zero() {
                        let rest = async {
                            sleep(jitter(calm.pause())).await;
                            None
                        };
                        if let Roused::Served = self.rest(true, rest).await {
                            return self.served(queued);
                        }
                    }
                    prompted = true;
                }
            }
        }
    }

    /// The lock was passed on to it.
    fn served(&self, queued: Option<Queued<'_>>) -> Result<Led> {
        self.leave_queue(queued);
        let gift = match (&self.ticket, &self.bed) {
            (Some(ticket), _) => ticket.gift(),
            (None, bed) => bed.as_ref().and_then(Bed::gift),
        };
        let grip = self.engine.received(gift)?;
        Ok(grip.map_or(Led::TooLate, Led::Granted))
    }

    /// It was granted the lock, and its place in the server's queue is gone with that.
    fn leave_queue(&self, queued: Option<Queued<'_>>) {
        let Some(queued) = queued else {
            return;
        };
        queued.granted();
        // Others of the same owner may enter now.
        if let Some(own) = &self.own {
            own.channel().wake(Source::Release);
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

    /// How long an owner of this process holds the lock yet, when that is beyond doubt and its end will be heard of, or
    /// is not waited for.
    fn held_here(&self, channel: Option<&Channel>) -> Option<Duration> {
        let now = Instant::now();
        let until = self.name.held_by_other(&self.wish.call.field, now)?;
        let heard = |channel| self.engine.wakeups.is_live(channel);
        let silent = matches!(
            self.wish.call.protocol.wake(&self.wish.call),
            Wake::Backoff(_)
        );
        (silent || channel.is_some_and(heard)).then(|| until.saturating_duration_since(now))
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
        let own = self
            .own
            .get_or_insert_with(|| self.engine.wakeups.reserve(channel));
        own.listen();
        own.channel()
    }

    /// Has a channel by which this process can tell it, and does not listen yet.
    fn reserve(&mut self) {
        if let Wake::Channel(name) = self.wish.call.protocol.wake(&self.wish.call) {
            self.own = Some(self.engine.wakeups.reserve(&name));
        }
    }

    /// Sleeps for as long as `rest` takes, or until the lock is given to it or was tried to.
    async fn rest(&mut self, busy: bool, rest: impl Future<Output = Option<Source>>) -> Roused {
        if let Some(bed) = &self.bed {
            let source = tokio::select! {
                biased;
                served = bed.served() => if served { return Roused::Served } else { None },
                source = rest => source,
            };
            if !bed.get_up().await {
                return Roused::Served;
            }
            self.bed = None;
            return Roused::Woken(source);
        }
        let Some(ticket) = &mut self.ticket else {
            return Roused::Woken(rest.await);
        };
        ticket.rest(self.wish, busy);
        tokio::select! {
            biased;
            served = ticket.served() => if served { Roused::Served } else { Roused::Woken(None) },
            source = rest => Roused::Woken(source),
        }
    }

    /// Sleeps until something speaks for trying again, or the lock is given to it.
    async fn park(&mut self, channel: &Arc<Channel>, seen: u64, left: Option<Duration>) -> Roused {
        let (engine, wish, progress) = (self.engine, self.wish, self.progress);
        let sleeping = engine.poll.sleep(Look::Lock(wish.call.clone()), channel);
        // Not before a millisecond, and without `left` for as long as the safety poll finds nothing.
        let expiry = left.map(|left| later(Instant::now(), left.max(Duration::from_millis(1))));
        let rest = async {
            let woken = tokio::select! {
                biased;
                source = channel.woken(seen) => Some(source),
                () = until(expiry) => None,
                // The next try finds out what is wrong.
                () = engine.until_hopeless(wish, progress) => None,
            };
            engine.note_woken(woken, wish.call.protocol.kind(), &wish.call.shown);
            woken
        };
        let roused = self.rest(true, rest).await;
        drop(sleeping);
        roused
    }
}

impl Engine {
    /// Counts what ended a wait: the channel, or the time if nothing came by it.
    pub(super) fn note_woken(&self, by: Option<Source>, kind: &'static str, shown: &Arc<str>) {
        let counters = &self.counters;
        let (counter, woken) = match by {
            None => (&counters.wakeups_by_expiry, Woken::Ttl),
            Some(Source::Message) => (&counters.wakeups_by_message, Woken::Message),
            Some(Source::Release) => (&counters.wakeups_by_release, Woken::Release),
            Some(Source::Closed) => (&counters.wakeups_by_release, Woken::Closed),
            Some(Source::Moved) => (&counters.wakeups_by_release, Woken::Subscribed),
            Some(Source::Poll) => (&counters.wakeups_by_poll, Woken::Poll),
            Some(Source::Reconnect) => (&counters.wakeups_by_poll, Woken::Reconnect),
        };
        counter.one();
        telemetry::woken(kind, woken);
        if matches!(by, Some(Source::Poll | Source::Reconnect)) {
            self.events.tell(|| Event::WakeUpMissed {
                name: shown.clone(),
            });
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
