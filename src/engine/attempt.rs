//! Asking for a lock: one request, what comes back, and asking again where nothing does.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Engine, LONGEST_RETRY_PAUSE, RETRY_PAUSE,
    acquire::{Patience, Wish},
    describe,
    detach::Detached,
    hold::later,
    jitter,
    protocol::{Ask, Attempt, MOST_HOLDS},
    registry::SlotRef,
    release::Grip,
    slot::Begun,
    transport::Fault,
    unexpected,
};
use crate::{
    error::{Error, LossCause, Refusal, Result},
    events::Event,
};

/// Where a caller stands when its time is up: whether it waited for the lock, or for the server.
#[derive(Debug)]
pub(crate) enum Standing {
    /// The lock is busy, as far as anybody knows.
    Waiting,
    /// No answer has come yet.
    Asking { since: Instant },
    /// The last try failed.
    Failing(Fault),
}

/// Shorter silences are no news.
const SILENCE: Duration = Duration::from_millis(100);

/// What one caller has come to, told by its tries and read when its time is up.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    standing: Mutex<Standing>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            standing: Mutex::new(Standing::Waiting),
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
}

/// What the server said.
pub(crate) enum Tried {
    Granted(Grip),
    Busy { left: Option<Duration> },
}

/// Why one try came to nothing.
pub(super) enum Failure {
    /// Trying again may help.
    Passing(Fault),
    /// The grant took longer than the lease it was for.
    Late { took: Duration },
    /// It will not.
    Final(Error),
}

impl Engine {
    /// Asks until the server has answered, or until there is no point in asking for this caller. `on_failure` hears of
    /// every try that came to nothing. A caller that `stays` takes a place where the server keeps a queue.
    pub(crate) async fn ask_for(
        self: &Arc<Self>,
        slot: &SlotRef,
        wish: &Wish,
        stays: bool,
        progress: &Progress,
        on_failure: impl Fn() + Send,
    ) -> Result<Tried> {
        let mut pause = RETRY_PAUSE;
        loop {
            progress.note_asking();
            let (fault, since) = match self.attempt(slot.clone(), wish, stays).await {
                Ok(tried) => {
                    progress.note(Standing::Waiting);
                    return Ok(tried);
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(fault)) => {
                    // Waiters that become head during an outage do not each start anew.
                    let since = match fault {
                        Fault::Refused { .. } => progress.started,
                        _ => self.last_answer(),
                    };
                    (fault, since)
                }
                Err(Failure::Late { took }) => {
                    let reason = format!("the grant took {took:?}, longer than its lease");
                    (Fault::NotSent { reason }, progress.started)
                }
            };
            self.give_up_when_hopeless(wish, &fault, progress.started, since)?;
            progress.note(Standing::Failing(fault));
            on_failure();
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
        }
    }

    /// An error when there is no point in another try: the server has been silent for too long for a caller who set no
    /// limit of its own.
    fn give_up_when_hopeless(
        &self,
        wish: &Wish,
        fault: &Fault,
        started: Instant,
        since: Instant,
    ) -> Result<()> {
        let settings = &self.settings;
        let limit = match wish.patience {
            Patience::Until(_) => return Ok(()),
            Patience::None => later(started, settings.command_timeout),
            Patience::Unlimited => later(since, settings.outage_patience),
        };
        if Instant::now() < limit {
            return Ok(());
        }
        Err(describe(&wish.call.shown, fault.clone(), false))
    }

    /// Resolves once the server has been silent for too long for a caller that waits without a limit of its own.
    pub(crate) async fn until_hopeless(&self, wish: &Wish, progress: &Progress) {
        if wish.patience != Patience::Unlimited {
            return std::future::pending().await;
        }
        loop {
            let since = self.last_answer().max(progress.started);
            let limit = later(since, self.settings.outage_patience);
            if Instant::now() >= limit {
                return;
            }
            sleep_until(limit).await;
        }
    }

    /// The error for a caller in line before a server that does not answer.
    pub(crate) fn no_answer(&self, wish: &Wish) -> Error {
        let fault = no_answer_for(self.last_answer().elapsed());
        describe(&wish.call.shown, fault, false)
    }

    /// The fault to report to a caller whose time is up, where it was the server that kept it waiting.
    pub(crate) fn silence(&self, progress: Progress) -> Option<Fault> {
        let standing = progress.standing.into_inner();
        match standing.unwrap_or_else(PoisonError::into_inner) {
            // Whoever waits is looked after by the safety poll, so there have been answers if there was a server.
            Standing::Waiting => {
                let settings = &self.settings;
                let silent = self.last_answer().elapsed();
                (silent > settings.safety_poll * 3 + settings.command_timeout)
                    .then(|| no_answer_for(silent))
            }
            Standing::Failing(fault) => Some(fault),
            Standing::Asking { since } => {
                let silent = since.elapsed();
                (silent >= SILENCE && self.last_answer() < since).then(|| no_answer_for(silent))
            }
        }
    }

    /// One try. If the caller leaves in the middle, the try finishes and gives back what it got.
    async fn attempt(
        self: &Arc<Self>,
        slot: SlotRef,
        wish: &Wish,
        stays: bool,
    ) -> Result<Tried, Failure> {
        let gate = slot.gate.clone().lock_owned().await;
        let (engine, wish) = (self.clone(), wish.clone());
        let trying = async move {
            let outcome = try_once(&engine, slot.clone(), &wish, stays, gate).await;
            (slot, outcome)
        };
        let (_, outcome) = Detached::new(&self.background, trying, |(slot, outcome)| {
            if let Ok(Tried::Granted(grip)) = outcome {
                orphaned(grip);
            }
            slot.repair();
        })
        .await;
        outcome
    }
}

fn no_answer_for(silent: Duration) -> Fault {
    Fault::NotSent {
        reason: format!("no answer for {silent:?}"),
    }
}

/// Sends one acquire and books what comes back.
async fn try_once(
    engine: &Arc<Engine>,
    slot: SlotRef,
    wish: &Wish,
    stays: bool,
    gate: OwnedMutexGuard<()>,
) -> Result<Tried, Failure> {
    // Closing waits for this, so that it finds whatever is granted here.
    let _under_way = engine.background.enter();
    engine.check_open().map_err(Failure::Final)?;
    let settings = &engine.settings;
    let call = &wish.call;
    let sent = Instant::now();
    engine.expire(&slot, sent);
    let live = slot.live(sent);
    if live > 0 {
        call.check_reentry().map_err(Failure::Final)?;
    }
    if live >= MOST_HOLDS as usize {
        let reason = format!("an owner enters a lock {MOST_HOLDS} times at most");
        return Err(Failure::Final(Error::invalid("holds", reason)));
    }
    let begun = slot.begin(wish.lease, engine.next_number(), settings.watchdog_timeout);
    let ask = Ask {
        holds: begun.holds,
        ttl_ms: begun.ttl_ms(),
        stays,
        placed: slot.placed.load(Ordering::Acquire),
        token: if begun.holds > 1 {
            slot.token.load(Ordering::Acquire)
        } else {
            0
        },
        floor: engine.tokens.floor(call),
        places: 0,
    };
    if stays && call.protocol.keeps_place() && !ask.placed {
        slot.asked.store(engine.next_number(), Ordering::Release);
    }
    engine.counters.attempts.one();
    let counted = slot.counted();
    let command = call
        .protocol
        .acquire(counted.as_ref().unwrap_or(call), &ask);
    let reply = engine.run(command, sent + settings.command_timeout).await;
    let reply = match reply {
        Ok(reply) => reply,
        Err(fault) => return Err(failed(engine, &slot, &begun, fault)),
    };
    match call.protocol.decode(&reply) {
        Some(Attempt::Granted { holds, token }) => {
            let grip = book_grant(engine, slot, wish, &begun, sent, holds, token);
            let took = sent.elapsed();
            drop(gate);
            engine.check_open().map_err(Failure::Final)?;
            if grip.hold().loss(Instant::now()).is_some() {
                // Dropping the grip gives back whatever is left.
                return Err(Failure::Late { took });
            }
            engine.counters.grants.one();
            Ok(Tried::Granted(grip))
        }
        Some(Attempt::Busy { left }) => {
            if stays {
                slot.placed.store(true, Ordering::Release);
            }
            let losses = slot.not_granted(&begun, Some(LossCause::TakenOver));
            engine.report_losses(&slot, losses);
            Ok(Tried::Busy { left })
        }
        Some(Attempt::Vanished) => {
            let losses = slot.not_granted(&begun, Some(LossCause::Vanished));
            engine.report_losses(&slot, losses);
            Ok(Tried::Busy {
                left: Some(Duration::ZERO),
            })
        }
        Some(Attempt::Behind { counter }) => {
            slot.not_granted(&begun, None);
            let name = call.shown.clone();
            let seen = ask.floor;
            engine.events.tell(|| Event::FencingReset {
                name: name.clone(),
                seen,
                counter,
            });
            Err(Failure::Final(Error::FencingReset {
                name,
                seen,
                counter,
            }))
        }
        None => {
            slot.unknown(begun.ttl);
            Err(Failure::Final(unexpected(&call.shown, &reply)))
        }
    }
}

/// Books what the server has granted.
pub(super) fn book_grant(
    engine: &Engine,
    slot: SlotRef,
    wish: &Wish,
    begun: &Begun,
    sent: Instant,
    holds: u32,
    token: Option<i64>,
) -> Grip {
    let call = &wish.call;
    slot.placed.store(false, Ordering::Release);
    engine.tokens.note(call, token);
    if token.is_some() || holds == 1 {
        slot.token
            .store(token.unwrap_or_default(), Ordering::Release);
    }
    let (hold, losses) = slot.granted(
        begun,
        engine.next_number(),
        sent,
        holds,
        engine.next_number(),
        wish.loose,
    );
    engine.begin_hold(call, &hold);
    engine.report_losses(&slot, losses);
    let took = sent.elapsed();
    if took > begun.ttl / 3 {
        engine.events.tell(|| Event::AcquiredLate {
            name: call.shown.clone(),
            took,
        });
    }
    Grip::new(slot, hold, token)
}

/// Tells of a grant whose caller has gone away.
pub(super) fn orphaned(grip: Grip) {
    let engine = grip.engine();
    engine.counters.orphans_released.one();
    engine.events.tell(|| Event::OrphanReleased {
        name: grip.call().shown.clone(),
        owner: grip.call().owner,
    });
}

/// Books a try that got no good answer.
pub(super) fn failed(engine: &Engine, slot: &SlotRef, begun: &Begun, fault: Fault) -> Failure {
    match &fault {
        Fault::NotSent { .. } => {
            slot.not_granted(begun, None);
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
                slot.not_granted(begun, None);
            }
            if passing {
                Failure::Passing(fault)
            } else {
                Failure::Final(describe(&slot.call.shown, fault, false))
            }
        }
        Fault::Closed => {
            slot.not_granted(begun, None);
            Failure::Final(Error::Closed)
        }
    }
}
