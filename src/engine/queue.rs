//! The queue of one process before one name: its head alone talks to the server, the others wait their turn. Who is at
//! its front and does not talk may be given the lock by a holder of the same process, in passing.
//!
//! | verdict | event | next | who moves it |
//! |---|---|---|---|
//! | waiting | everybody before it left, or was served | head | [`Queue::leave`], [`Queue::served`] |
//! | waiting | its own owner was granted the lock meanwhile | enter | [`Queue::granted`] |
//! | waiting for a shared lock | the head was granted it | enter | [`Queue::admit_all`] |
//! | waiting, in no mood to wait | the head parked, or was granted | refused | [`Queue::rest`], [`Queue::granted`] |
//! | waiting, in no mood to wait | the head gets no answer | silent | [`Queue::fail_impatient`] |
//! | head, before it asks or while it sleeps | a holder passes the lock on | in service | [`Queue::serve`] |
//! | in service | the server has done so | served | [`Queue::served`] |
//! | in service | it has not, or nobody knows | head, to ask at once | [`Queue::not_served`] |
//! | head | granted, gave up, dropped | gone | [`Queue::leave`] |
//!
//! Invariant: if anybody waits, somebody is head, or in service.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError},
};

use bytes::Bytes;

use super::sync::{AtomicU8, Mutex, Notify, Ordering};

// `tests/loom` builds this file too, from elsewhere.
#[path = "queue/resting.rs"]
pub(crate) mod resting;

/// What became of a contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It talks to the server now.
    Head,
    /// Its owner holds the lock, or the lock is shared and open: it asks at once, without standing in line.
    Enter,
    /// The lock is busy and it did not want to wait.
    Refused,
    /// The server does not answer, and it did not want to wait.
    Silent,
    /// It has the lock: see [`Contender::take`].
    Served,
}

const WAITING: u8 = 0;
const HEAD: u8 = 1;
const ENTER: u8 = 2;
const REFUSED: u8 = 3;
const SILENT: u8 = 4;
const IN_SERVICE: u8 = 5;
const SERVED: u8 = 6;
const NOT_SERVED: u8 = 7;

/// One who waits in line. `W` is what it wants, `G` what it is given.
#[derive(Debug)]
pub(crate) struct Contender<W, G> {
    pub(crate) wants: W,
    field: Bytes,
    impatient: bool,
    verdict: AtomicU8,
    told: Notify,
    gift: Mutex<Option<G>>,
}

impl<W, G> Contender<W, G> {
    fn new(field: &Bytes, wants: W, impatient: bool, verdict: u8) -> Arc<Self> {
        Arc::new(Self {
            wants,
            field: field.clone(),
            impatient,
            verdict: AtomicU8::new(verdict),
            told: Notify::new(),
            gift: Mutex::new(None),
        })
    }

    /// Waits for the verdict. Cancel safe: the verdict stays.
    pub(crate) async fn verdict(&self) -> Verdict {
        self.until(|verdict| match verdict {
            HEAD | NOT_SERVED => Some(Verdict::Head),
            ENTER => Some(Verdict::Enter),
            REFUSED => Some(Verdict::Refused),
            SILENT => Some(Verdict::Silent),
            SERVED => Some(Verdict::Served),
            _ => None,
        })
        .await
    }

    /// Waits until it has been served, or has been tried to: then false. Cancel safe.
    pub(crate) async fn served(&self) -> bool {
        self.until(|verdict| match verdict {
            SERVED => Some(true),
            NOT_SERVED => Some(false),
            _ => None,
        })
        .await
    }

    /// Waits until nobody is about to serve it; says whether it has been. Cancel safe.
    pub(crate) async fn outcome(&self) -> bool {
        self.until(|verdict| match verdict {
            IN_SERVICE => None,
            verdict => Some(verdict == SERVED),
        })
        .await
    }

    fn is_head(&self) -> bool {
        matches!(self.verdict.load(Ordering::Acquire), HEAD | NOT_SERVED)
    }

    async fn until<T>(&self, mut heard: impl FnMut(u8) -> Option<T>) -> T {
        loop {
            match heard(self.verdict.load(Ordering::Acquire)) {
                Some(verdict) => return verdict,
                // Said once and kept until it is heard.
                None => self.told.notified().await,
            }
        }
    }

    /// What it was given, once.
    pub(crate) fn take(&self) -> Option<G> {
        let mut gift = self.gift.lock().unwrap_or_else(PoisonError::into_inner);
        gift.take()
    }

    fn is_in_service(&self) -> bool {
        self.verdict.load(Ordering::Acquire) == IN_SERVICE
    }

    /// Takes a gift, if it still waits for one; otherwise whoever leaves finds it.
    fn receive(&self, gift: G) -> bool {
        let mut given = self.gift.lock().unwrap_or_else(PoisonError::into_inner);
        *given = Some(gift);
        drop(given);
        let waits = self.is_in_service();
        if waits {
            self.tell(SERVED);
        }
        waits
    }

    fn tell(&self, verdict: u8) {
        self.verdict.store(verdict, Ordering::Release);
        self.told.notify_one();
    }
}

/// A place in line.
#[derive(Debug)]
pub(crate) enum Place<W, G> {
    /// First at once, with nobody before.
    Head,
    /// Behind others, or asleep in front.
    Waiting {
        id: u64,
        contender: Arc<Contender<W, G>>,
    },
}

/// Who is in front.
#[derive(Debug)]
enum Front<W, G> {
    Nobody,
    /// It talks to the server, or is about to.
    Asks,
    /// It sleeps, or has not begun to ask yet.
    Ready(Arc<Contender<W, G>>),
    /// It is being given the lock.
    InService,
}

/// The line before one name.
#[derive(Debug)]
pub(crate) struct Queue<W, G> {
    front: Front<W, G>,
    /// Whether the head knows the lock to be busy and sleeps.
    parked: bool,
    next: u64,
    waiting: BTreeMap<u64, Arc<Contender<W, G>>>,
    impatient: BTreeSet<u64>,
    by_field: HashMap<Bytes, Vec<u64>>,
}

impl<W, G> Default for Queue<W, G> {
    fn default() -> Self {
        Self {
            front: Front::Nobody,
            parked: false,
            next: 1,
            waiting: BTreeMap::new(),
            impatient: BTreeSet::new(),
            by_field: HashMap::new(),
        }
    }
}

impl<W, G> Queue<W, G> {
    /// Joins the line. `None` refuses one who would not wait.
    pub(crate) fn join(
        &mut self,
        field: &Bytes,
        impatient: bool,
        wants: impl FnOnce() -> W,
    ) -> Option<Place<W, G>> {
        if self.is_empty() {
            self.front = Front::Asks;
            return Some(Place::Head);
        }
        if impatient && self.parked {
            return None;
        }
        let contender = Contender::new(field, wants(), impatient, WAITING);
        let id = self.next;
        self.next += 1;
        self.waiting.insert(id, contender.clone());
        self.by_field.entry(field.clone()).or_default().push(id);
        if impatient {
            self.impatient.insert(id);
        }
        Some(Place::Waiting { id, contender })
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Contender<W, G>>> {
        let contender = self.waiting.remove(&id)?;
        if contender.impatient {
            self.impatient.remove(&id);
        }
        if let Some(ids) = self.by_field.get_mut(&contender.field) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_field.remove(&contender.field);
            }
        }
        Some(contender)
    }

    /// Refuses those in line who would not wait.
    pub(crate) fn refuse_impatient(&mut self) {
        self.tell_impatient(REFUSED);
    }

    /// The head gets no answer: those in line who would not wait are told.
    pub(crate) fn fail_impatient(&mut self) {
        self.tell_impatient(SILENT);
    }

    fn tell_impatient(&mut self, verdict: u8) {
        for id in std::mem::take(&mut self.impatient) {
            if let Some(contender) = self.remove(id) {
                contender.tell(verdict);
            }
        }
    }

    /// The head sleeps from now on, and may be served. Where it knows the lock to be `busy`, those who would not wait need
    /// not ask.
    pub(crate) fn rest(
        &mut self,
        place: &mut Place<W, G>,
        busy: bool,
        field: &Bytes,
        wants: impl FnOnce() -> W,
    ) {
        if let Place::Head = place {
            let contender = Contender::new(field, wants(), false, HEAD);
            *place = Place::Waiting { id: 0, contender };
        }
        if let Place::Waiting { contender, .. } = place
            && contender.is_head()
        {
            contender.verdict.store(HEAD, Ordering::Release);
            self.front = Front::Ready(contender.clone());
            if busy {
                self.parked = true;
                self.refuse_impatient();
            }
        }
    }

    /// The head does not sleep any more.
    pub(crate) fn wake(&mut self, place: &Place<W, G>) {
        match place {
            Place::Waiting { contender, .. } if !contender.is_head() => {}
            _ => self.parked = false,
        }
    }

    /// The head is about to ask. False when it is being served or has been, so that it is to wait for what comes of that.
    pub(crate) fn ask(&mut self, place: &Place<W, G>) -> bool {
        if let Place::Waiting { contender, .. } = place
            && !contender.is_head()
        {
            return false;
        }
        self.parked = false;
        self.front = Front::Asks;
        true
    }

    /// Takes who is in front and does not ask, to be given the lock: tell what comes of it to [`served`](Self::served) or
    /// [`not_served`](Self::not_served).
    pub(crate) fn serve(&mut self, fits: impl FnOnce(&W) -> bool) -> Option<Arc<Contender<W, G>>> {
        match std::mem::replace(&mut self.front, Front::InService) {
            Front::Ready(contender) if fits(&contender.wants) => {
                contender.verdict.store(IN_SERVICE, Ordering::Release);
                Some(contender)
            }
            other => {
                self.front = other;
                None
            }
        }
    }

    /// It has the lock, and somebody else is in front. False when it left meanwhile, and nobody will take the gift.
    pub(crate) fn served(&mut self, contender: &Contender<W, G>, gift: G) -> bool {
        if !contender.receive(gift) {
            return false;
        }
        // Others of its owner enter with it, and none of them is head.
        self.granted(&contender.field);
        self.promote();
        true
    }

    /// It has not, or nobody knows, and goes on as the head it was.
    pub(crate) fn not_served(&mut self, contender: &Arc<Contender<W, G>>) {
        if contender.is_in_service() {
            self.parked = false;
            self.front = Front::Ready(contender.clone());
            contender.tell(NOT_SERVED);
        }
    }

    /// The lock was granted to the owner `field`, and to nobody else: contenders of the same owner may enter; those who
    /// would not wait are refused.
    pub(crate) fn granted(&mut self, field: &Bytes) {
        for id in self.by_field.remove(field).unwrap_or_default() {
            self.admit(id);
        }
        self.refuse_impatient();
    }

    /// The lock is shared and somebody got in: all may.
    pub(crate) fn admit_all(&mut self) {
        let ids: Vec<u64> = self.waiting.keys().copied().collect();
        for id in ids {
            self.admit(id);
        }
    }

    fn admit(&mut self, id: u64) {
        if let Some(contender) = self.remove(id) {
            contender.tell(ENTER);
        }
    }

    /// A place is given up; the next in line becomes head where it was the head's.
    pub(crate) fn leave(&mut self, place: &Place<W, G>) {
        if let Place::Waiting { id, contender } = place {
            if self.remove(*id).is_some() {
                return;
            }
            if !contender.is_in_service() && !contender.is_head() {
                return;
            }
            contender.verdict.store(REFUSED, Ordering::Release);
        }
        self.promote();
    }

    /// The next in line is in front.
    fn promote(&mut self) {
        self.parked = false;
        let next = self.waiting.keys().next().copied();
        self.front = match next.and_then(|id| self.remove(id)) {
            Some(contender) => {
                contender.tell(HEAD);
                Front::Ready(contender)
            }
            None => Front::Nobody,
        };
    }

    /// Whether somebody in line would not wait.
    pub(crate) fn has_impatient(&self) -> bool {
        !self.impatient.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.front, Front::Nobody)
    }

    /// Contenders in line, the head included.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + usize::from(!self.is_empty())
    }
}

#[cfg(test)]
#[path = "queue/tests.rs"]
mod tests;
