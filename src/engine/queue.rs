//! The queue of one process before one name: its head alone talks to the server, the others wait their turn.
//!
//! | verdict | event | next | who moves it |
//! |---|---|---|---|
//! | waiting | everybody before it left | head | [`Queue::leave`] of the one before |
//! | waiting | its own owner was granted the lock meanwhile | enter | [`Queue::granted`] |
//! | waiting for a shared lock | the head was granted it | enter | [`Queue::admit_all`] |
//! | waiting, in no mood to wait | the head parked, or was granted | refused | [`Queue::park`], [`Queue::granted`] |
//! | waiting, in no mood to wait | the head gets no answer | silent | [`Queue::fail_impatient`] |
//! | head | granted, gave up, dropped | gone | [`Queue::leave`] |
//!
//! Invariant: if anybody waits, somebody is head.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;

use super::sync::{AtomicU8, Notify, Ordering};

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
}

const WAITING: u8 = 0;
const HEAD: u8 = 1;
const ENTER: u8 = 2;
const REFUSED: u8 = 3;
const SILENT: u8 = 4;

/// One who waits in line.
#[derive(Debug)]
pub(crate) struct Contender {
    field: Bytes,
    impatient: bool,
    verdict: AtomicU8,
    told: Notify,
}

impl Contender {
    /// Waits for the verdict. Cancel safe: the verdict stays.
    pub(crate) async fn verdict(&self) -> Verdict {
        loop {
            match self.verdict.load(Ordering::Acquire) {
                HEAD => return Verdict::Head,
                ENTER => return Verdict::Enter,
                REFUSED => return Verdict::Refused,
                SILENT => return Verdict::Silent,
                // Said once and kept until it is heard.
                _ => self.told.notified().await,
            }
        }
    }

    fn tell(&self, verdict: u8) {
        self.verdict.store(verdict, Ordering::Release);
        self.told.notify_one();
    }
}

/// A place in line.
#[derive(Debug)]
pub(crate) enum Place {
    /// First at once, with nobody before.
    Head,
    /// Behind others.
    Waiting { id: u64, contender: Arc<Contender> },
}

/// The line before one name.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Whether somebody is head.
    headed: bool,
    /// Whether the head knows the lock to be busy and sleeps.
    parked: bool,
    next: u64,
    waiting: BTreeMap<u64, Arc<Contender>>,
    impatient: BTreeSet<u64>,
    by_field: HashMap<Bytes, Vec<u64>>,
}

impl Queue {
    /// Joins the line. `None` refuses one who would not wait.
    pub(crate) fn join(&mut self, field: &Bytes, impatient: bool) -> Option<Place> {
        if !self.headed {
            self.headed = true;
            return Some(Place::Head);
        }
        if impatient && self.parked {
            return None;
        }
        let contender = Arc::new(Contender {
            field: field.clone(),
            impatient,
            verdict: AtomicU8::new(WAITING),
            told: Notify::new(),
        });
        let id = self.next;
        self.next += 1;
        self.waiting.insert(id, contender.clone());
        self.by_field.entry(field.clone()).or_default().push(id);
        if impatient {
            self.impatient.insert(id);
        }
        Some(Place::Waiting { id, contender })
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Contender>> {
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

    /// The head found the lock busy and goes to sleep.
    pub(crate) fn park(&mut self) {
        self.parked = true;
        self.refuse_impatient();
    }

    /// The head is awake again.
    pub(crate) fn unpark(&mut self) {
        self.parked = false;
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
    pub(crate) fn leave(&mut self, place: &Place) {
        if let Place::Waiting { id, contender } = place {
            if self.remove(*id).is_some() {
                return;
            }
            if contender.verdict.load(Ordering::Acquire) != HEAD {
                return;
            }
        }
        self.parked = false;
        let next = self.waiting.keys().next().copied();
        match next.and_then(|id| self.remove(id)) {
            Some(contender) => contender.tell(HEAD),
            None => self.headed = false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.headed
    }

    /// Contenders in line, the head included.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.headed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(n: u8) -> Bytes {
        Bytes::copy_from_slice(&[n])
    }

    fn verdict(place: &Place) -> u8 {
        match place {
            Place::Head => HEAD,
            Place::Waiting { contender, .. } => contender.verdict.load(Ordering::Acquire),
        }
    }

    #[test]
    fn first_come_first_head() {
        let mut queue = Queue::default();
        let places: Vec<_> = (0..3)
            .map(|n| queue.join(&field(n), false).expect("patient"))
            .collect();
        assert_eq!(
            places.iter().map(verdict).collect::<Vec<_>>(),
            [HEAD, WAITING, WAITING]
        );
        queue.leave(&places[0]);
        assert_eq!(verdict(&places[1]), HEAD);
        assert_eq!(verdict(&places[2]), WAITING);
        queue.leave(&places[1]);
        queue.leave(&places[2]);
        assert!(queue.is_empty());
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn leaving_the_middle_keeps_the_order() {
        let mut queue = Queue::default();
        let places: Vec<_> = (0..3)
            .map(|n| queue.join(&field(n), false).expect("patient"))
            .collect();
        queue.leave(&places[1]);
        queue.leave(&places[0]);
        assert_eq!(verdict(&places[2]), HEAD);
    }

    #[test]
    fn an_owner_that_was_granted_enters_past_the_line() {
        let mut queue = Queue::default();
        let head = queue.join(&field(1), false).expect("head");
        let other = queue.join(&field(2), false).expect("patient");
        let same = queue.join(&field(1), false).expect("patient");
        queue.granted(&field(1));
        assert_eq!(verdict(&same), ENTER);
        queue.leave(&head);
        assert_eq!(verdict(&other), HEAD);
        queue.leave(&same);
        queue.leave(&other);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_shared_lock_lets_the_whole_line_in() {
        let mut queue = Queue::default();
        let places: Vec<_> = (0..4)
            .map(|n| queue.join(&field(n), n == 3).expect("the head is awake"))
            .collect();
        queue.admit_all();
        assert_eq!(
            places.iter().map(verdict).collect::<Vec<_>>(),
            [HEAD, ENTER, ENTER, ENTER]
        );
        for place in &places {
            queue.leave(place);
        }
        assert!(queue.is_empty());
    }

    #[test]
    fn nobody_waits_who_would_not() {
        let mut queue = Queue::default();
        let head = queue.join(&field(1), false).expect("head");
        let early = queue
            .join(&field(2), true)
            .expect("the head has not been refused yet");
        queue.park();
        assert_eq!(verdict(&early), REFUSED);
        assert!(queue.join(&field(3), true).is_none());
        queue.unpark();
        let again = queue.join(&field(4), true).expect("the head tries again");
        queue.granted(&field(1));
        assert_eq!(verdict(&again), REFUSED);
        queue.leave(&head);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_verdict_of_head_that_nobody_heard_is_passed_on() {
        let mut queue = Queue::default();
        let first = queue.join(&field(1), false).expect("head");
        let second = queue.join(&field(2), false).expect("patient");
        let third = queue.join(&field(3), false).expect("patient");
        queue.leave(&first);
        // The second was told to be head, and is dropped before it noticed.
        queue.leave(&second);
        assert_eq!(verdict(&third), HEAD);
    }
}
