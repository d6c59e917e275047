//! The watchdog: one task keeps every watched hold alive and finds out about every hold that is gone.
//!
//! It ticks at a fixed rate, three times in a watchdog timeout, and at once after a reconnect. A tick packs all holds
//! into calls of [`Settings::renewal_batch`](crate::config::Settings) each, which go out side by side and fail one by
//! one: a call that fails is tried again quickly, for as long as the local clock gives its holds any time. Holds with
//! a fixed lease are looked at and never renewed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    Engine,
    hold::Hold,
    jitter,
    protocol::{Batch, Renewed, Rest},
    registry::SlotRef,
    script::Command,
};
use crate::{error::LossCause, events::Event, telemetry};

/// Ticks in a watchdog timeout.
const TICKS: u32 = 3;
/// Quick retries in a watchdog timeout.
const RETRIES: u32 = 30;

/// What the watchdog has to look after.
#[derive(Debug, Default)]
pub(crate) struct Renewal {
    held: AtomicUsize,
    /// Deadlines of holds that nothing extends.
    deadlines: Mutex<BTreeMap<(Instant, u64), Weak<Hold>>>,
    work: Notify,
    /// A connection came back: everything in doubt is asked about now.
    again: Notify,
}

impl Renewal {
    /// A hold was granted.
    pub(crate) fn track(&self, hold: &Arc<Hold>, fixed: bool) {
        if fixed {
            let mut deadlines = self.deadlines();
            let key = (hold.valid_until(), hold.id);
            let first = deadlines
                .first_key_value()
                .is_none_or(|(first, _)| key < *first);
            deadlines.insert(key, Arc::downgrade(hold));
            drop(deadlines);
            if first {
                self.work.notify_one();
            }
        }
        if self.held.fetch_add(1, Ordering::AcqRel) == 0 {
            self.work.notify_one();
        }
    }

    /// A hold is over, one way or another.
    pub(crate) fn untrack(&self, hold: &Hold, fixed: bool) {
        if fixed {
            self.deadlines().remove(&(hold.valid_until(), hold.id));
        }
        self.held.fetch_sub(1, Ordering::AcqRel);
    }

    /// A connection came back, or the client closes: no pause before the next try.
    pub(crate) fn hurry(&self) {
        self.again.notify_waiters();
        self.work.notify_one();
    }

    /// Holds in all.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    fn deadlines(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Instant, u64), Weak<Hold>>> {
        self.deadlines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn first_deadline(&self) -> Option<Instant> {
        self.deadlines()
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    /// Takes out the deadlines that have passed; true when there was one.
    fn pass_deadlines(&self, now: Instant) -> bool {
        let mut deadlines = self.deadlines();
        let later = deadlines.split_off(&(now + Duration::from_nanos(1), 0));
        !std::mem::replace(&mut *deadlines, later).is_empty()
    }
}

/// The task.
pub(crate) async fn run(engine: Weak<Engine>) {
    // Connections there had been by the last round: everything held is asked about after another.
    let Some((renewal, period, mut connects)) = engine.upgrade().map(|engine| {
        (
            engine.renewal.clone(),
            engine.settings.watchdog_timeout / TICKS,
            engine.connects(),
        )
    }) else {
        return;
    };
    let mut tick = Instant::now() + period;
    loop {
        if renewal.held() == 0 {
            renewal.work.notified().await;
            tick = Instant::now() + period;
            let Some(engine) = engine.upgrade() else {
                return;
            };
            connects = engine.connects();
        }
        let next = renewal
            .first_deadline()
            .map_or(tick, |first| first.min(tick));
        tokio::select! {
            biased;
            () = sleep_until(next) => {}
            () = renewal.work.notified() => {}
        }
        let Some(engine) = engine.upgrade() else {
            return;
        };
        let now = Instant::now();
        if renewal.pass_deadlines(now) {
            engine.expire_all(now);
        }
        let reconnected = engine.connects() != connects;
        if now >= tick || reconnected {
            connects = engine.connects();
            round(&engine, now);
            if now >= tick {
                tick += period;
                if tick <= now {
                    // Stopped for longer than a period: there is nothing to catch up on.
                    tick = now + period;
                }
            }
        }
    }
}

/// Sends everything that is held on its way, without waiting.
fn round(engine: &Arc<Engine>, now: Instant) {
    // On a cluster a call is about one slot. All go out side by side, so a server that does not answer keeps nobody.
    let mut calls: HashMap<(&'static str, u16), Vec<SlotRef>> = HashMap::new();
    let mut held = engine.registry.held(engine);
    held.sort_by_cached_key(|slot| slot.first_deadline());
    for slot in held {
        engine.expire(&slot, now);
        if slot.live(now) > 0 && !slot.renewing.swap(true, Ordering::AcqRel) {
            let call = (
                slot.call.protocol.renewal().name,
                engine.transport.slot(&slot.call.name),
            );
            calls.entry(call).or_default().push(slot);
        }
    }
    for slots in calls.into_values() {
        let mut slots = slots.into_iter();
        loop {
            let chunk: Vec<_> = slots.by_ref().take(engine.settings.renewal_batch).collect();
            if chunk.is_empty() {
                break;
            }
            let chunk = Chunk {
                engine: engine.clone(),
                slots: chunk,
            };
            engine.background.spawn(chunk.renew());
        }
    }
}

/// The holds of one call.
struct Chunk {
    engine: Arc<Engine>,
    slots: Vec<SlotRef>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        for slot in &self.slots {
            slot.renewing.store(false, Ordering::Release);
        }
    }
}

impl Chunk {
    /// Renews until the server has answered for every hold, or none is left.
    async fn renew(self) {
        let engine = &self.engine;
        let watchdog = engine.settings.watchdog_timeout;
        // Far below a third of the timeout, so that a lost call leaves time for several more.
        let patience = engine.settings.command_timeout.min(watchdog / 6);
        loop {
            let again = engine.renewal.again.notified();
            tokio::pin!(again);
            again.as_mut().enable();
            if engine.check_open().is_err() {
                return;
            }
            let sent = Instant::now();
            let asked = self.ask(sent);
            let Some((first, ..)) = asked.first() else {
                return;
            };
            let mut batch = Batch::default();
            for (slot, _, rest) in &asked {
                slot.call.protocol.renew(&slot.call, rest, &mut batch);
            }
            let command = Command {
                script: first.call.protocol.renewal(),
                keys: batch.keys,
                args: batch.args,
            };
            let answers = match engine.run_now(command, sent + patience).await {
                Ok(Some(reply)) => reply.as_ints(),
                // The script was unknown and is loaded now: ask again, about what is held by then.
                Ok(None) => continue,
                Err(_) => None,
            };
            if let Some(answers) = answers.filter(|answers| answers.len() == asked.len()) {
                for ((slot, generation, rest), answer) in asked.into_iter().zip(answers) {
                    self.apply(slot, generation, &rest, sent, answer);
                }
                return;
            }
            self.doubt(&asked);
            let pause = jitter(watchdog / RETRIES);
            let next = asked
                .iter()
                .filter_map(|(slot, ..)| slot.first_deadline())
                .fold(Instant::now() + pause, Instant::min);
            tokio::select! {
                biased;
                () = sleep_until(next) => {}
                () = again => {}
            }
        }
    }

    /// What is still held, with its generation, as of now.
    fn ask(&self, now: Instant) -> Vec<(&SlotRef, u64, Rest)> {
        let watchdog = self.engine.settings.watchdog_timeout;
        self.slots
            .iter()
            .filter_map(|slot| {
                self.engine.expire(slot, now);
                let (generation, rest) = slot.to_renew(now, watchdog)?;
                Some((slot, generation, rest))
            })
            .collect()
    }

    fn apply(&self, slot: &SlotRef, generation: u64, rest: &Rest, sent: Instant, answer: i64) {
        let engine = &self.engine;
        let cause = match Renewed::decode(answer) {
            Some(Renewed::Held) => {
                let watchdog = engine.settings.watchdog_timeout;
                let renewed = rest.ttl_ms > 0;
                // What is over by now stays lost, and the server need not keep it for the time it was renewed for.
                slot.may_last(Duration::from_millis(rest.ttl_ms));
                engine.expire(slot, Instant::now());
                let since = slot.confirm(generation, sent, renewed, watchdog);
                if rest.ttl_ms > 0 {
                    engine.counters.renewals.one();
                    telemetry::renewed(slot.call.protocol.kind(), since, watchdog / TICKS);
                }
                if let Some(after) = since.filter(|since| *since > watchdog * 2 / TICKS) {
                    engine.events.tell(|| Event::RenewedLate {
                        name: slot.call.shown.clone(),
                        after,
                    });
                }
                return;
            }
            Some(Renewed::TakenOver) => LossCause::TakenOver,
            Some(Renewed::Vanished | Renewed::NotALock) | None => LossCause::Vanished,
        };
        engine.report_losses(slot, slot.lose(generation, cause));
    }

    fn doubt(&self, asked: &[(&SlotRef, u64, Rest)]) {
        self.engine.counters.renewal_failures.one();
        telemetry::renewal_failed();
        for (slot, generation, rest) in asked {
            // It may have been executed all the same.
            slot.may_last(Duration::from_millis(rest.ttl_ms));
            if slot.suspect(*generation) {
                self.engine.events.tell(|| Event::Suspect {
                    name: slot.call.shown.clone(),
                    owner: slot.call.owner,
                });
            }
        }
    }
}
