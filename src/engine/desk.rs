//! What the synchronizers of one client share for each name: a desk, with a line of those who ask and a book of what
//! they hold.
//!
//! A desk talks to the server on behalf of all who stand in its line: one request asks for everybody, in their order. It
//! passes over who does not fit, so one who wants much never stops one who wants little. One of those who wait leads: it
//! sleeps on the channel, and asks again for all.
//!
//! | state of an asker | event | next | who moves it |
//! |---|---|---|---|
//! | in line | the server served it | holds, in the book | [`Desk::book`] |
//! | in line | the server refused the request, or the client closed | failed | [`Desk::fail`] |
//! | in line | it left | gone; what it is served yet goes back | [`Place`] dropped |
//! | holds | given back, dropped, closed | gone | [`Place::give_up`], [`Desk::close`] |
//!
//! Invariant: if anybody waits, somebody leads.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use dashmap::DashMap;
use tokio::time::Instant;

use super::{
    Engine,
    asker::Asker,
    crowd::Crowd,
    protocol::Batch,
    trade::{Answers, Ask, Names, Trade},
    transport::Fault,
    wakeup::{Channel, Subscription},
};
use crate::error::{Error, Result};

/// Callers asked for in one request.
const ASKERS_A_CALL: usize = 100;
/// Ids of permits in one request.
const IDS_A_CALL: usize = 20_000;

/// Several calls that become one.
#[derive(Debug)]
pub(crate) struct Tally {
    count: Mutex<u64>,
    /// Nobody waits for it with a limit, so it is tried for as long as the client is open.
    pub(super) patient: bool,
    pub(super) outcome: OnceLock<Result<i64>>,
}

/// Largest sum of calls made one.
const LARGEST_TALLY: u64 = i32::MAX as u64;

/// What the last request for the line found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looked {
    /// The channel's count from before it was sent.
    pub(super) count: u64,
    /// The least that was refused.
    refused: u32,
    pub(super) next: Option<Instant>,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    askers: BTreeMap<u64, Arc<Asker>>,
    leader: Option<u64>,
    subscription: Option<Subscription>,
    /// Whether the subscription has been waited for.
    heard: bool,
    looked: Option<Looked>,
    held: HashMap<u64, Arc<Ask>>,
    tallies: [Option<Arc<Tally>>; 2],
    /// What went wrong last, as long as nothing has gone right since.
    trouble: Option<Fault>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) names: Names,
    pub(crate) trade: &'static dyn Trade,
    pub(super) users: AtomicUsize,
    /// Whose turn it is to talk to the server: one at a time, so that an unknown outcome is found out before the next.
    pub(super) gate: Arc<tokio::sync::Mutex<()>>,
    line: Mutex<Line>,
    /// All who wait here.
    pub(super) crowd: Crowd,
}

impl Desk {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who to ask for in one request: the first in line, whoever wants least, and those nobody has asked for yet; `own`
    /// in any case. With it the channel's count, where messages are heard.
    pub(super) fn compose(&self, own: &Arc<Asker>) -> (Vec<Arc<Asker>>, Option<u64>) {
        let line = self.line();
        let mut chosen = BTreeMap::new();
        let mut ids = own.ask.ids.len();
        if line.askers.contains_key(&own.id) {
            chosen.insert(own.id, own.clone());
        }
        let first = line.askers.values().take(ASKERS_A_CALL);
        let rest = line.askers.values().skip(ASKERS_A_CALL);
        let least = rest.min_by_key(|asker| asker.ask.permits);
        let unasked = line.askers.values().rev();
        let unasked = unasked.take_while(|asker| !asker.was_asked());
        for asker in least
            .into_iter()
            .chain(first)
            .chain(unasked.take(ASKERS_A_CALL))
        {
            let more = ids + asker.ask.ids.len();
            if more <= IDS_A_CALL && !chosen.contains_key(&asker.id) {
                ids = more;
                chosen.insert(asker.id, asker.clone());
            }
        }
        let count = line
            .subscription
            .as_ref()
            .filter(|_| line.heard)
            .map(|subscription| subscription.channel().before_try());
        (chosen.into_values().collect(), count)
    }

    /// Whether any of these still stands in line.
    pub(super) fn any_waits(&self, askers: &[Arc<Asker>]) -> bool {
        let line = self.line();
        askers
            .iter()
            .any(|asker| line.askers.contains_key(&asker.id))
    }

    /// Books what the server said. Gives what was granted to those who have left, and whether it is worth it to ask on
    /// at once for those who were not asked for.
    pub(super) fn book(
        &self,
        askers: &[Arc<Asker>],
        answers: &Answers,
        count: Option<u64>,
        sent: Instant,
    ) -> (Vec<Arc<Ask>>, bool) {
        let mut line = self.line();
        let mut orphans = Vec::new();
        let (mut served_any, mut refused, mut passed_over) = (false, u32::MAX, 0);
        for (asker, served) in askers.iter().zip(&answers.served) {
            asker.note_asked();
            if !*served {
                refused = refused.min(asker.ask.permits);
                passed_over += usize::from(line.askers.contains_key(&asker.id));
                asker.told.notify_one();
                continue;
            }
            served_any = true;
            if line.askers.remove(&asker.id).is_some() {
                line.held.insert(asker.id, asker.ask.clone());
                line.pass_on(asker.id);
                asker.decide(Ok(sent));
            } else {
                orphans.push(asker.ask.clone());
            }
        }
        line.looked = count.map(|count| Looked {
            count,
            refused,
            next: answers
                .next
                .map(|next| super::hold::later(Instant::now(), next)),
        });
        let left_over = served_any && line.askers.len() > passed_over;
        let unheard = line.unsubscribe();
        drop(line);
        drop(unheard);
        (orphans, left_over)
    }

    /// Sends these home with an error.
    pub(super) fn fail(&self, askers: &[Arc<Asker>], error: &Error) {
        let mut line = self.line();
        for asker in askers {
            if line.askers.remove(&asker.id).is_some() {
                line.pass_on(asker.id);
                asker.decide(Err(error.clone()));
            }
        }
        let unheard = line.unsubscribe();
        drop(line);
        drop(unheard);
    }

    /// Sends everybody home, and gives what is held: it is for the caller to give back.
    pub(super) fn close(&self) -> Vec<Arc<Ask>> {
        let mut line = self.line();
        for asker in std::mem::take(&mut line.askers).into_values() {
            asker.decide(Err(Error::Closed));
        }
        line.leader = None;
        let unheard = line.unsubscribe();
        let held = std::mem::take(&mut line.held).into_values().collect();
        drop(line);
        drop(unheard);
        held
    }

    /// Adds `n` to what goes to the server with the next request of this kind.
    pub(super) fn tally(&self, n: u64, patient: bool) -> Arc<Tally> {
        let mut line = self.line();
        let pending = &mut line.tallies[usize::from(patient)];
        if let Some(tally) = pending {
            let mut count = tally.count.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sum) = count.checked_add(n).filter(|sum| *sum <= LARGEST_TALLY) {
                *count = sum;
                drop(count);
                return tally.clone();
            }
        }
        let tally = Arc::new(Tally {
            count: Mutex::new(n),
            patient,
            outcome: OnceLock::new(),
        });
        *pending = Some(tally.clone());
        tally
    }

    /// Ends a tally, so that nobody adds to it any more; what it came to.
    pub(super) fn close_tally(&self, tally: &Arc<Tally>) -> u64 {
        let mut line = self.line();
        let pending = &mut line.tallies[usize::from(tally.patient)];
        if pending
            .as_ref()
            .is_some_and(|other| Arc::ptr_eq(other, tally))
        {
            *pending = None;
        }
        *tally.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last look found, as long as nothing speaks against it.
    pub(super) fn looked(&self) -> Option<(Looked, Arc<Channel>)> {
        let line = self.line();
        let channel = line.subscription.as_ref()?.channel();
        let looked = line.looked?;
        let good =
            looked.count == channel.count() && looked.next.is_none_or(|next| Instant::now() < next);
        good.then_some((looked, channel))
    }

    /// The server's state has changed by our own hand.
    pub(super) fn forget_look(&self) {
        self.line().looked = None;
    }

    /// The channel, if anybody listens.
    pub(super) fn channel(&self) -> Option<Arc<Channel>> {
        self.line().subscription.as_ref().map(Subscription::channel)
    }

    /// Listens, if nobody does; says whether the subscription is yet to be waited for.
    pub(super) fn listen(&self, engine: &Engine) -> (Arc<Channel>, bool) {
        let mut line = self.line();
        let heard = line.heard;
        let subscription = line
            .subscription
            .get_or_insert_with(|| engine.wakeups.subscribe(&self.names.channel));
        (subscription.channel(), !heard)
    }

    /// The subscription has been waited for.
    pub(super) fn hears(&self) {
        self.line().heard = true;
    }

    pub(super) fn note_trouble(&self, trouble: Option<Fault>) {
        self.line().trouble = trouble;
    }

    pub(super) fn trouble(&self) -> Option<Fault> {
        self.line().trouble.clone()
    }

    /// Adds this name to a probe.
    pub(super) fn look(&self, batch: &mut Batch) {
        let least = self
            .line()
            .askers
            .values()
            .map(|asker| asker.ask.permits)
            .min();
        self.trade
            .look(&self.names, least.unwrap_or_default(), batch);
    }
}

impl Line {
    /// The place of `id` is free: if it led, the next leads.
    fn pass_on(&mut self, id: u64) {
        if self.leader == Some(id) {
            self.leader = None;
        }
        if self.leader.is_none()
            && let Some((next, asker)) = self.askers.iter().next()
        {
            self.leader = Some(*next);
            asker.told.notify_one();
        }
    }

    /// The subscription, once nobody is in line.
    fn unsubscribe(&mut self) -> Option<Subscription> {
        if !self.askers.is_empty() {
            return None;
        }
        self.heard = false;
        self.looked = None;
        self.subscription.take()
    }
}

/// All desks of a client.
#[derive(Debug, Default)]
pub(crate) struct Desks {
    pub(super) desks: DashMap<(&'static str, Bytes), Arc<Desk>>,
}

impl Desks {
    pub(super) fn len(&self) -> usize {
        self.desks.len()
    }

    /// Forgets all desks: those who still use one have nothing to do there any more.
    pub(super) fn clear(&self) {
        self.desks.clear();
    }

    /// Every desk, kept for as long as the answer is.
    pub(super) fn all(&self, engine: &Arc<Engine>) -> Vec<DeskRef> {
        self.desks
            .iter()
            .map(|entry| DeskRef::keep(engine, entry.value()))
            .collect()
    }
}

/// A use of a desk. The last one takes it out of the table.
#[derive(Debug)]
pub(crate) struct DeskRef {
    engine: Arc<Engine>,
    desk: Arc<Desk>,
}

impl DeskRef {
    /// The desk of this name.
    pub(crate) fn get(engine: &Arc<Engine>, trade: &'static dyn Trade, names: &Names) -> Self {
        let entry = engine
            .desks
            .desks
            .entry((trade.kind(), names.key.clone()))
            .or_insert_with(|| {
                Arc::new(Desk {
                    names: names.clone(),
                    trade,
                    users: AtomicUsize::new(0),
                    gate: Arc::default(),
                    line: Mutex::default(),
                    crowd: Crowd::default(),
                })
            });
        Self::keep(engine, entry.value())
    }

    /// Only under the table's own lock, or beside another use.
    pub(super) fn keep(engine: &Arc<Engine>, desk: &Arc<Desk>) -> Self {
        desk.users.fetch_add(1, Ordering::AcqRel);
        Self {
            engine: engine.clone(),
            desk: desk.clone(),
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Joins the line.
    pub(super) fn join(&self, ask: Arc<Ask>) -> Place {
        let mut line = self.desk.line();
        let id = line.next;
        line.next += 1;
        let asker = Arc::new(Asker::new(id, ask));
        let alone = line.askers.is_empty();
        line.askers.insert(id, asker.clone());
        if line.leader.is_none() {
            line.leader = Some(id);
        }
        drop(line);
        Place {
            desk: self.clone(),
            asker,
            alone,
        }
    }
}

impl std::ops::Deref for DeskRef {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl Clone for DeskRef {
    fn clone(&self) -> Self {
        Self::keep(&self.engine, &self.desk)
    }
}

impl Drop for DeskRef {
    fn drop(&mut self) {
        if self.desk.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            let key = (self.desk.trade.kind(), self.desk.names.key.clone());
            self.engine.desks.desks.remove_if(&key, |_, desk| {
                Arc::ptr_eq(desk, &self.desk) && desk.users.load(Ordering::Acquire) == 0
            });
        }
    }
}

/// A place in line, and later what it was granted. Dropping it gives up the one or gives back the other.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) desk: DeskRef,
    pub(super) asker: Arc<Asker>,
    /// Whether nobody was there before.
    pub(super) alone: bool,
}

impl Place {
    pub(super) fn leads(&self) -> bool {
        self.desk.line().leader == Some(self.asker.id)
    }

    /// Whether the last look, which is still good, has refused as much or less.
    pub(super) fn known_refused(&self) -> bool {
        let live = |channel: &Channel| self.desk.engine.wakeups.is_live(channel);
        self.desk.looked().is_some_and(|(looked, channel)| {
            looked.refused <= self.asker.ask.permits && live(&channel)
        })
    }

    /// Takes what was granted out of the book; it is for the caller to give back, if it was there.
    pub(super) fn give_up(&self) -> Option<Arc<Ask>> {
        self.desk.line().held.remove(&self.asker.id)
    }

    /// What was asked for.
    pub(crate) fn ask(&self) -> &Arc<Ask> {
        &self.asker.ask
    }

    pub(crate) fn desk(&self) -> &DeskRef {
        &self.desk
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (held, _subscription) = {
            let mut line = self.desk.line();
            let held = line.held.remove(&self.asker.id);
            if line.askers.remove(&self.asker.id).is_some() {
                line.pass_on(self.asker.id);
            }
            (held, line.unsubscribe())
        };
        if let Some(ask) = held {
            self.desk.engine.undo_in_background(&self.desk, &ask);
        }
    }
}
