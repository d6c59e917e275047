//! The wait of the synchronizers: asking for a whole line, and sleeping until asking again is worth it.
//!
//! ```text
//! ask for all in line ──refused──► the leader: listen ──► ask for all ──► park until message │ next end │ poll │ reconnect
//!                                  the others: park until they are served or lead
//! ```

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{
    Engine,
    acquire::Patience,
    asker::Asker,
    calm::Calm,
    crowd::Waiter,
    describe,
    desk::{DeskRef, Looked, Place, Tally},
    detach::Detached,
    hold::{later, margin},
    jitter,
    lead::until,
    once::{Failed, out_of_memory, passing},
    poll::Look,
    script::Command,
    trade::{Ask, Undo},
    transport::{Fault, Reply},
    unexpected,
    wakeup::{Channel, Source},
};
use crate::{
    error::{Error, Result},
    telemetry,
};

/// Shorter silences are no news.
const SILENCE: Duration = Duration::from_millis(100);

/// What was granted. Dropping it gives it back in the background.
#[derive(Debug)]
pub(crate) struct Grant {
    place: Place,
    /// Until when it is good by the local clock; `None` without a lease.
    pub(crate) valid_until: Option<Instant>,
}

impl Grant {
    pub(crate) fn ask(&self) -> &Arc<Ask> {
        self.place.ask()
    }

    pub(crate) fn desk(&self) -> &DeskRef {
        self.place.desk()
    }

    /// Keeps what was granted.
    pub(crate) fn forget(self) {
        self.place.give_up();
    }

    /// Takes it out of the book: what is in it is for the caller to give back. `None` after closing.
    pub(crate) fn give_up(&self) -> Option<Arc<Ask>> {
        self.place.give_up()
    }
}

impl Engine {
    /// Asks for something and waits for it. `None` when it was not to be had for as long as the caller would wait.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        desk: &DeskRef,
        ask: impl Fn() -> Ask,
        patience: Patience,
    ) -> Result<Option<Grant>> {
        let acquire = telemetry::acquire(desk.trade.kind(), &desk.names.shown);
        let outcome = acquire.within(self.claim_here(desk, ask, patience)).await;
        acquire.ended(&outcome, patience != Patience::None);
        outcome
    }

    async fn claim_here(
        self: &Arc<Self>,
        desk: &DeskRef,
        ask: impl Fn() -> Ask,
        patience: Patience,
    ) -> Result<Option<Grant>> {
        self.check_process()?;
        self.check_open()?;
        let started = Instant::now();
        loop {
            let place = desk.join(Arc::new(ask()));
            let mut waiter = None;
            if !place.alone {
                waiter = Some(self.wait_at(&desk.crowd, desk.trade.kind(), &desk.names.shown)?);
            }
            let served = self.serve(&place, patience, waiter);
            let limit = match patience {
                Patience::None => Some(later(started, self.settings.command_timeout)),
                Patience::Until(deadline) => Some(deadline),
                Patience::Unlimited => None,
            };
            let sent = match limit {
                None => served.await?,
                Some(limit) => match timeout_at(limit, served).await {
                    Ok(served) => served?,
                    Err(_) => return self.out_of_time(&place, patience, started),
                },
            };
            let Some(sent) = sent else {
                return Ok(None);
            };
            // Closed meanwhile: dropping the place gives back what closing has not found.
            self.check_open()?;
            let lease = place.ask().lease_ms;
            let valid_until = (lease > 0).then(|| {
                let lease = Duration::from_millis(lease);
                later(sent, lease.saturating_sub(margin(lease)))
            });
            if valid_until.is_some_and(|until| Instant::now() >= until) {
                // It came later than its lease lasts; dropping the place gives back whatever is left.
                continue;
            }
            self.counters.grants.one();
            return Ok(Some(Grant { place, valid_until }));
        }
    }

    /// The caller's time is over: whether it waited for others, or for the server.
    fn out_of_time(
        &self,
        place: &Place,
        patience: Patience,
        started: Instant,
    ) -> Result<Option<Grant>> {
        self.counters.waits_abandoned.one();
        if let Some(verdict) = place.asker.verdict() {
            // What was granted at this very moment goes back with the place.
            return verdict.map(|_| None);
        }
        let silent = self.last_answer().elapsed();
        let settings = &self.settings;
        let blind = silent > settings.safety_poll * 3 + settings.command_timeout;
        let unasked = !place.asker.was_asked()
            && (patience == Patience::None || started.elapsed() >= SILENCE)
            && self.last_answer() < started;
        match place.desk.trouble() {
            Some(fault) => Err(describe(&place.desk.names.shown, fault, false)),
            None if blind || unasked => Err(self.no_answer_of(place)),
            None => Ok(None),
        }
    }

    fn no_answer_of(&self, place: &Place) -> Error {
        let fault = place.desk.trouble().unwrap_or_else(|| Fault::NotSent {
            reason: format!("no answer for {:?}", self.last_answer().elapsed()),
        });
        describe(&place.desk.names.shown, fault, false)
    }

    /// Waits until `place` is served, and says when that was asked for; `None` when it would not wait.
    async fn serve<'a>(
        self: &'a Arc<Self>,
        place: &'a Place,
        patience: Patience,
        mut waiter: Option<Waiter<'a>>,
    ) -> Result<Option<Instant>> {
        let started = Instant::now();
        let settings = &self.settings;
        // The one who leads finds out first.
        let others = settings.outage_patience + settings.command_timeout * 2;
        let patient = patience != Patience::None;
        let mut waited = false;
        let mut calm = Calm::QUICK;
        loop {
            if let Some(verdict) = place.asker.verdict() {
                return verdict.map(Some);
            }
            self.check_open()?;
            let answered = place.asker.was_asked() || patient && place.known_refused();
            if !answered {
                self.take_turn(place, patience).await?;
                continue;
            }
            if !patient {
                return Ok(None);
            }
            if !waited {
                waited = true;
                if waiter.is_none() {
                    let (desk, kind) = (&place.desk, place.desk.trade.kind());
                    waiter = Some(self.wait_at(&desk.crowd, kind, &desk.names.shown)?);
                }
                self.counters.waits.one();
            }
            if !place.leads() {
                tokio::select! {
                    () = place.asker.told() => {}
                    () = self.until_silent(patience, started, others) => {
                        return Err(self.no_answer_of(place));
                    }
                }
                continue;
            }
            let (channel, fresh) = place.desk.listen(self);
            if fresh {
                // No longer than until somebody would look anyway.
                let limit = self.settings.command_timeout.min(self.settings.safety_poll);
                self.wakeups.until_confirmed(&channel, limit).await;
                place.desk.hears();
            }
            match place.desk.looked() {
                Some((looked, channel)) => {
                    let woken = self.park(place, patience, &channel, looked).await;
                    if woken == Some(Source::Message) {
                        calm.in_vain_again();
                        if !calm.pause().is_zero() {
                            sleep(jitter(calm.pause())).await;
                        }
                    }
                }
                None => self.take_turn(place, patience).await?,
            }
        }
    }

    /// Waits for the desk's turn and asks for all in line, unless the answer comes from somebody else's turn.
    async fn take_turn(self: &Arc<Self>, place: &Place, patience: Patience) -> Result<()> {
        let started = Instant::now();
        let settings = &self.settings;
        // Asked at least once, however long there has been no reason to.
        let limit = (settings.outage_patience)
            .saturating_sub(self.last_answer().elapsed())
            .max(settings.command_timeout);
        let turn = async {
            let asked_before = place.asker.was_asked();
            let gate = place.desk.gate.clone().lock_owned().await;
            let needless = if asked_before {
                place.desk.looked().is_some()
            } else {
                place.asker.was_asked()
            };
            if !needless && place.asker.verdict().is_none() {
                self.round(place, gate).await;
            }
        };
        tokio::select! {
            biased;
            () = turn => Ok(()),
            () = self.until_silent(patience, started, limit) => Err(self.no_answer_of(place)),
        }
    }

    /// Resolves once the server has been silent for `limit` since then, for a caller without a limit of its own.
    async fn until_silent(&self, patience: Patience, since: Instant, limit: Duration) {
        if patience != Patience::Unlimited {
            return std::future::pending().await;
        }
        loop {
            let limit = later(self.last_answer().max(since), limit);
            if Instant::now() >= limit {
                return;
            }
            sleep_until(limit).await;
        }
    }

    /// Sleeps until something speaks for asking again; says what it was, if it came by the channel.
    async fn park(
        &self,
        place: &Place,
        patience: Patience,
        channel: &Arc<Channel>,
        looked: Looked,
    ) -> Option<Source> {
        let (started, limit) = (Instant::now(), self.settings.outage_patience);
        let look = Look::Desk(place.desk.desk().clone());
        let _sleeping = self.poll.sleep(look, channel);
        let woken = tokio::select! {
            biased;
            () = place.asker.told() => return None,
            source = channel.woken(looked.count) => Some(source),
            () = until(looked.next) => None,
            // The next request finds out what is wrong.
            () = self.until_silent(patience, started, limit) => {
                place.desk.forget_look();
                None
            }
        };
        let desk = &place.desk;
        self.note_woken(woken, desk.trade.kind(), &desk.names.shown);
        woken
    }

    /// Asks for all in line. Goes on if the caller leaves.
    async fn round(self: &Arc<Self>, place: &Place, gate: OwnedMutexGuard<()>) {
        let (engine, desk, own) = (self.clone(), place.desk.clone(), place.asker.clone());
        let asking = async move {
            // Closing waits for this, so that it finds whatever is granted here.
            let _under_way = engine.background.enter();
            while engine.ask_for_all(&desk, &own).await {}
            drop(gate);
        };
        Detached::new(&self.background, asking, |()| {}).await;
    }

    /// One request for the line; whether another is called for at once.
    async fn ask_for_all(self: &Arc<Self>, desk: &DeskRef, own: &Arc<Asker>) -> bool {
        let (askers, count) = desk.compose(own);
        if askers.is_empty() {
            return false;
        }
        if let Err(closed) = self.check_open() {
            desk.fail(&askers, &closed);
            return false;
        }
        let asks: Vec<_> = askers.iter().map(|asker| asker.ask.clone()).collect();
        let command = desk.trade.ask(&desk.names, &asks);
        self.counters.attempts.one();
        let sent = Instant::now();
        let patience = self.settings.outage_patience;
        let go_on = |fault: &Fault, doubtful: bool| {
            let refused = matches!(fault, Fault::Refused { .. }) && sent.elapsed() > patience;
            // In doubt it is found out what happened, whether anybody waits for it or not.
            passing(fault) && (doubtful || desk.any_waits(&askers) && !refused)
        };
        let outcome = if desk.trade.repeatable() {
            self.again(desk, &command, go_on).await
        } else {
            self.once(desk, &command, go_on).await
        };
        let error = match outcome {
            Ok(reply) => match desk.trade.answers(&reply, asks.len()) {
                Some(answers) => {
                    let (orphans, more) = desk.book(&askers, &answers, count, sent);
                    for orphan in orphans {
                        self.counters.orphans_released.one();
                        self.undo_in_background(desk, &orphan);
                    }
                    return more;
                }
                None => unexpected(&desk.names.shown, &reply),
            },
            // An attempt that cannot be found out about is nobody's; the caller holds nothing.
            Err(failed) => Failed {
                doubtful: false,
                ..failed
            }
            .describe(&desk.names.shown),
        };
        desk.fail(&askers, &error);
        false
    }

    /// Does what many calls do, as one request, and gives the answer to each of them. `patient`: for as long as it takes.
    pub(crate) async fn add_up(
        self: &Arc<Self>,
        desk: &DeskRef,
        n: u64,
        patient: bool,
    ) -> Result<i64> {
        if !patient {
            self.check_open()?;
        }
        let adding = self.adding_up(desk, desk.tally(n, patient));
        let adding = Detached::committed(&self.background, adding, |_| {});
        self.in_time(desk, adding).await
    }

    fn adding_up(
        self: &Arc<Self>,
        desk: &DeskRef,
        tally: Arc<Tally>,
    ) -> impl Future<Output = Result<i64>> + use<> {
        let (engine, desk) = (self.clone(), desk.clone());
        // Closing waits for this: a permit on its way back would stay taken for ever.
        let under_way = self.background.enter();
        async move {
            let _under_way = under_way;
            let _gate = desk.gate.clone().lock_owned().await;
            if let Some(outcome) = tally.outcome.get() {
                return outcome.clone();
            }
            let sum = desk.close_tally(&tally);
            let command = desk.trade.sum(&desk.names, sum);
            let outcome = engine.do_once(&desk, &command, tally.patient).await;
            let outcome = outcome.and_then(|answer| {
                answer
                    .as_int()
                    .ok_or_else(|| unexpected(&desk.names.shown, &answer))
            });
            let _ = tally.outcome.set(outcome.clone());
            outcome
        }
    }

    /// Runs a marked command once, for its caller, and to its end if the caller leaves.
    pub(crate) async fn deed(
        self: &Arc<Self>,
        desk: &DeskRef,
        command: Command,
        patient: bool,
    ) -> Result<Reply> {
        if !patient {
            self.check_open()?;
        }
        let (engine, kept) = (self.clone(), desk.clone());
        let under_way = self.background.enter();
        let doing = async move {
            let _under_way = under_way;
            let _gate = kept.gate.clone().lock_owned().await;
            engine.do_once(&kept, &command, patient).await
        };
        let doing = Detached::committed(&self.background, doing, |_| {});
        self.in_time(desk, doing).await
    }

    async fn in_time<T: Send + 'static>(
        &self,
        desk: &DeskRef,
        doing: Detached<Result<T>>,
    ) -> Result<T> {
        // A little more than a request for an impatient caller takes, so that its own word comes first.
        let limit = self.settings.outage_patience + self.settings.command_timeout;
        match timeout(limit, doing).await {
            Ok(done) => done,
            Err(_) => Err(Error::Unreachable {
                name: desk.names.shown.clone(),
                reason: "no answer; it goes on in the background".to_owned(),
                indeterminate: true,
            }),
        }
    }

    /// The caller has the desk's gate.
    async fn do_once(&self, desk: &DeskRef, command: &Command, patient: bool) -> Result<Reply> {
        let until = later(Instant::now(), self.settings.outage_patience);
        let go_on = |fault: &Fault, _doubtful: bool| {
            if patient {
                passing(fault) || out_of_memory(fault)
            } else {
                passing(fault) && Instant::now() < until
            }
        };
        let outcome = self.once(desk, command, go_on).await;
        desk.forget_look();
        if let Some(channel) = desk.channel()
            && !self.wakeups.is_live(&channel)
        {
            // Where no message can come, this process's own line is told directly.
            channel.wake(Source::Release);
        }
        outcome.map_err(|failed| failed.describe(&desk.names.shown))
    }

    /// Runs a command that may be repeated, for its caller.
    pub(crate) async fn repeat(&self, desk: &DeskRef, command: &Command) -> Result<Reply> {
        self.check_open()?;
        let until = later(Instant::now(), self.settings.outage_patience);
        let go_on = |fault: &Fault, _doubtful: bool| passing(fault) && Instant::now() < until;
        self.again(desk, command, go_on)
            .await
            .map_err(|failed| failed.describe(&desk.names.shown))
    }

    /// Gives back what was granted, with nobody waiting for it.
    pub(crate) fn undo_in_background(self: &Arc<Self>, desk: &DeskRef, ask: &Ask) {
        match desk.trade.undo(&desk.names, ask) {
            Undo::Nothing => {}
            Undo::Sum(n) => {
                let adding = self.adding_up(desk, desk.tally(n, true));
                self.background.spawn(async move {
                    // Nobody is there to hear of a failure.
                    let _ = adding.await;
                });
            }
            Undo::Deed(command) => {
                let (engine, desk) = (self.clone(), desk.clone());
                self.background.spawn(async move {
                    let _gate = desk.gate.clone().lock_owned().await;
                    let _ = engine.do_once(&desk, &command, true).await;
                });
            }
        }
    }

    /// Gives back what was granted, and waits for it: what the server said.
    pub(crate) async fn undo(self: &Arc<Self>, desk: &DeskRef, ask: &Ask) -> Result<Option<i64>> {
        match desk.trade.undo(&desk.names, ask) {
            Undo::Nothing => Ok(None),
            Undo::Sum(n) => self.add_up(desk, n, true).await.map(Some),
            Undo::Deed(command) => {
                let answer = self.deed(desk, command, true).await?;
                super::once::number(&desk.names, &answer)
            }
        }
    }
}
