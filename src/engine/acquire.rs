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
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Engine, LONGEST_RETRY_PAUSE, RETRY_PAUSE, describe,
    detach::Detached,
    hold::{Lease, later},
    jitter,
    protocol::{Admission, Ask, Attempt, Call, Wake},
    queue::Verdict,
    registry::{NameRef, SlotRef, Ticket},
    release::Grip,
    transport::Fault,
    unexpected,
    wakeup::{Channel, Source, Subscription},
};
use crate::{
    error::{Error, Refusal, Result},
    events::Event,
};

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

/// Where a caller stands when its time is up: whether it waited for the lock, or for the server.
#[derive(Debug)]
enum Standing {
    /// The lock is busy, as far as anybody knows.
    Waiting,
    /// No answer has come yet.
    Asking { since: Instant },
    /// The last try failed.
    Failing(Fault),
}

/// Shorter silences are no news.
const SILENCE: Duration = Duration::from_millis(100);

/// What came of one try.
enum Tried {
    Granted(Grip),
    Busy { left: Option<Duration> },
}

/// Why one try came to nothing.
enum Failure {
    /// Trying again may help.
    Passing(Fault),
    /// It will not.
    Final(Error),
}

impl Engine {
    /// Acquires, or answers `None` when the lock stayed busy for as long as the caller would wait.
    pub(crate) async fn acquire(self: &Arc<Self>, wish: Wish) -> Result<Option<Grip>> {
        self.check_open()?;
        let standing = Mutex::new(Standing::Waiting);
        let contending = self.contend(&wish, &standing);
        let Patience::Until(deadline) = wish.patience else {
            return contending.await;
        };
        match timeout_at(deadline, contending).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.counters.waits_abandoned.one();
                let standing = standing
                    .into_inner()
                    .unwrap_or_else(PoisonError::into_inner);
                match self.silence(standing) {
                    Some(fault) => Err(describe(&wish.call.shown, fault, false)),
                    None => Ok(None),
                }
            }
        }
    }

    /// The fault to report to a caller whose time is up, where it was the server that kept it waiting.
    fn silence(&self, standing: Standing) -> Option<Fault> {
        match standing {
            Standing::Waiting => None,
            Standing::Failing(fault) => Some(fault),
            Standing::Asking { since } => {
                let silent = since.elapsed() >= SILENCE && self.last_answer() < since;
                silent.then(|| Fault::NotSent {
                    reason: format!("no answer for {:?}", since.elapsed()),
                })
            }
        }
    }

    async fn contend(
        self: &Arc<Self>,
        wish: &Wish,
        standing: &Mutex<Standing>,
    ) -> Result<Option<Grip>> {
        let call = &wish.call;
        let name = NameRef::get(self, &call.name);
        let impatient = wish.patience == Patience::None;
        loop {
            if call.protocol.reentrant()
                && let Some(slot) = name.find(&call.field)
                && slot.live(Instant::now()) > 0
            {
                let repair = Repair(slot.clone());
                match self.attempt(slot, wish).await {
                    Ok(Tried::Granted(grip)) => return Ok(Some(grip)),
                    // Lost meanwhile, or in doubt: stand in line as everybody.
                    Ok(Tried::Busy { .. }) | Err(Failure::Passing(_)) => {}
                    Err(Failure::Final(error)) => return Err(error),
                }
                drop(repair);
            }
            let ticket = if call.protocol.admission() == Admission::Each {
                None
            } else {
                let Some(ticket) = name.join(&call.field, impatient) else {
                    return Ok(None);
                };
                match ticket.turn().await {
                    Verdict::Head => Some(ticket),
                    Verdict::Enter => continue,
                    Verdict::Refused => return Ok(None),
                }
            };
            let lead = Lead {
                engine: self,
                wish,
                name: &name,
                ticket,
                own: None,
                standing,
            };
            return lead.run().await;
        }
    }

    /// One try. If the caller leaves in the middle, the try finishes and gives back what it got.
    async fn attempt(self: &Arc<Self>, slot: SlotRef, wish: &Wish) -> Result<Tried, Failure> {
        let gate = slot.gate.clone().lock_owned().await;
        let (engine, wish) = (self.clone(), wish.clone());
        let trying = async move {
            let outcome = try_once(&engine, slot.clone(), &wish, gate).await;
            (slot, outcome)
        };
        let (_, outcome) = Detached::new(&self.background, trying, |(slot, outcome)| {
            if let Ok(Tried::Granted(grip)) = outcome {
                let engine = grip.engine().clone();
                engine.counters.orphans_released.one();
                engine.events.tell(|| Event::OrphanReleased {
                    name: grip.call().shown.clone(),
                    owner: grip.call().owner,
                });
            }
            slot.repair();
        })
        .await;
        outcome
    }
}

/// Sends one acquire and books what comes back.
async fn try_once(
    engine: &Arc<Engine>,
    slot: SlotRef,
    wish: &Wish,
    gate: OwnedMutexGuard<()>,
) -> Result<Tried, Failure> {
    // Closing waits for this, so that it finds whatever is granted here.
    let _under_way = engine.background.enter();
    engine.check_open().map_err(Failure::Final)?;
    let settings = &engine.settings;
    let call = &wish.call;
    let sent = Instant::now();
    engine.expire(&slot, sent);
    let begun = slot.begin(wish.lease, engine.next_number(), settings.watchdog_timeout);
    let ask = Ask {
        holds: begun.holds,
        ttl_ms: u64::try_from(begun.ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX),
        wait_ms: match wish.patience {
            Patience::Until(deadline) => {
                let left = deadline.saturating_duration_since(sent);
                Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
            }
            Patience::None | Patience::Unlimited => None,
        },
    };
    engine.counters.attempts.one();
    let command = call.protocol.acquire(call, &ask);
    let reply = engine.run(command, sent + settings.command_timeout).await;
    let reply = match reply {
        Ok(reply) => reply,
        Err(fault) => return Err(failed(engine, &slot, &begun, fault)),
    };
    match call.protocol.decode(&reply) {
        Some(Attempt::Granted { holds, token }) => {
            let (hold, losses) = slot.granted(
                &begun,
                engine.next_number(),
                sent,
                holds,
                engine.next_number(),
                wish.loose,
            );
            engine.track_hold(&hold);
            engine.report_losses(&slot, losses);
            let grip = Grip::new(slot, hold, token);
            let took = sent.elapsed();
            if took > begun.ttl / 3 {
                engine.events.tell(|| Event::AcquiredLate {
                    name: call.shown.clone(),
                    took,
                });
            }
            drop(gate);
            engine.check_open().map_err(Failure::Final)?;
            if grip.hold().loss(Instant::now()).is_some() {
                // The answer took longer than the lease. Dropping the grip gives back whatever is left.
                return Ok(Tried::Busy {
                    left: Some(Duration::ZERO),
                });
            }
            engine.counters.grants.one();
            Ok(Tried::Granted(grip))
        }
        Some(Attempt::Busy { left }) => {
            let losses = slot.not_granted(&begun, true);
            engine.report_losses(&slot, losses);
            Ok(Tried::Busy { left })
        }
        None => {
            slot.unknown(begun.ttl);
            Err(Failure::Final(unexpected(&call.shown, &reply)))
        }
    }
}

/// Books a try that got no good answer.
fn failed(engine: &Engine, slot: &SlotRef, begun: &super::hold::Begun, fault: Fault) -> Failure {
    match &fault {
        Fault::NotSent { .. } => {
            slot.not_granted(begun, false);
            Failure::Passing(fault)
        }
        Fault::Unknown { .. } => {
            engine.counters.unknown_outcomes.one();
            slot.unknown(begun.ttl);
            Failure::Passing(fault)
        }
        Fault::Refused { refusal, .. } => {
            let passing = refusal.is_transient();
            if matches!(refusal, Refusal::NoPermission | Refusal::Other) {
                // It may have stopped in the middle of the script.
                slot.unknown(begun.ttl);
            } else {
                slot.not_granted(begun, false);
            }
            if passing {
                Failure::Passing(fault)
            } else {
                Failure::Final(describe(&slot.call.shown, fault, false))
            }
        }
        Fault::Closed => {
            slot.not_granted(begun, false);
            Failure::Final(Error::Closed)
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
                let deadline = Instant::now() + engine.settings.outage_patience;
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
    standing: &'a Mutex<Standing>,
}

impl Lead<'_> {
    async fn run(mut self) -> Result<Option<Grip>> {
        let engine = self.engine;
        let call = &self.wish.call;
        let exclusive = call.protocol.admission() == Admission::Exclusive;
        let started = Instant::now();
        // Kept over all tries, so that an unknown outcome is found out by the next one and repaired after the last.
        let repair = Repair(self.name.slot(call));
        let slot = &repair.0;
        let mut leaving = Leaving {
            engine,
            call,
            armed: false,
        };
        let mut pause = RETRY_PAUSE;
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
                None => match self.ask(slot).await {
                    Ok(Tried::Granted(grip)) => {
                        leaving.armed = false;
                        grip.announce(exclusive);
                        return Ok(Some(grip));
                    }
                    Ok(Tried::Busy { left }) => {
                        self.note(Standing::Waiting);
                        pause = RETRY_PAUSE;
                        left
                    }
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Passing(fault)) => {
                        self.give_up_when_hopeless(&fault, started)?;
                        self.note(Standing::Failing(fault));
                        sleep(jitter(pause)).await;
                        pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
                        continue;
                    }
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
                        let limit = engine.settings.command_timeout;
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

    async fn ask(&self, slot: &SlotRef) -> Result<Tried, Failure> {
        self.note_asking();
        self.engine.attempt(slot.clone(), self.wish).await
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
        let sleeping = engine.poll.sleep(&self.wish.call, channel);
        // Not before a millisecond, and without `left` for as long as the safety poll finds nothing.
        let expiry = left.map(|left| later(Instant::now(), left.max(Duration::from_millis(1))));
        let counter = tokio::select! {
            source = channel.woken(seen) => match source {
                Source::Message => &engine.counters.wakeups_by_message,
                Source::Reconnect => &engine.counters.wakeups_by_reconnect,
                Source::Release | Source::Closed => &engine.counters.wakeups_by_release,
                Source::Poll => {
                    engine.events.tell(|| Event::WakeUpMissed {
                        name: self.wish.call.shown.clone(),
                    });
                    &engine.counters.wakeups_by_poll
                }
            },
            () = until(expiry) => &engine.counters.wakeups_by_expiry,
        };
        counter.one();
        drop(sleeping);
        if let Some(ticket) = &self.ticket {
            ticket.unpark();
        }
    }

    fn note(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// Notes that an answer is waited for, unless the try before has failed.
    fn note_asking(&self) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*standing, Standing::Waiting) {
            *standing = Standing::Asking {
                since: Instant::now(),
            };
        }
    }

    /// An error when there is no point in another try: the server has been silent for too long for a caller who set no
    /// limit of its own.
    fn give_up_when_hopeless(&self, fault: &Fault, started: Instant) -> Result<()> {
        let settings = &self.engine.settings;
        let limit = match self.wish.patience {
            Patience::Until(_) => return Ok(()),
            Patience::None => started + settings.command_timeout,
            // Waiters that become head during an outage do not each start anew.
            Patience::Unlimited => {
                let since = match fault {
                    Fault::Refused { .. } => started,
                    _ => self.engine.last_answer(),
                };
                since + settings.outage_patience
            }
        };
        if Instant::now() < limit {
            return Ok(());
        }
        Err(describe(&self.wish.call.shown, fault.clone(), false))
    }
}

/// Sleeps until then, or for ever.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
