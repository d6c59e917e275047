//! Those who asked each for itself, keep their order on the server and sleep: a holder of the same process gives the lock
//! to the first, if it is its turn there.
//!
//! Who hears nothing sleeps for only as long as an owner of this process has the lock, who tells it what became of it.

use std::{collections::BTreeMap, sync::Arc};

use super::{Contender, HEAD, IN_SERVICE, NOT_SERVED, Ordering, REFUSED};

/// Where one sleeps: by when its owner asked, with a number where several do by the same place.
pub(crate) type Spot = (u64, u64);

/// See the module.
#[derive(Debug)]
pub(crate) struct Resting<W, G> {
    beds: BTreeMap<Spot, Sleeper<W, G>>,
    next: u64,
}

#[derive(Debug)]
struct Sleeper<W, G> {
    contender: Arc<Contender<W, G>>,
    /// Nothing that the server says reaches it.
    deaf: bool,
}

impl<W, G> Default for Resting<W, G> {
    fn default() -> Self {
        Self {
            beds: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<W, G> Resting<W, G> {
    /// Somebody goes to sleep, who asked when `asked` says.
    pub(crate) fn lie_down(
        &mut self,
        asked: u64,
        field: &bytes::Bytes,
        wants: W,
        deaf: bool,
    ) -> (Spot, Arc<Contender<W, G>>) {
        let contender = Contender::new(field, wants, false, HEAD);
        let spot = (asked, self.next);
        self.next += 1;
        let sleeper = Sleeper {
            contender: contender.clone(),
            deaf,
        };
        self.beds.insert(spot, sleeper);
        (spot, contender)
    }

    /// Takes the first, to be given the lock: tell what comes of it to [`served`](Self::served),
    /// [`not_served`](Self::not_served) or [`not_yet`](Self::not_yet).
    pub(crate) fn serve(&mut self, fits: impl FnOnce(&W) -> bool) -> Option<Arc<Contender<W, G>>> {
        let sleeper = self
            .beds
            .values()
            .find(|sleeper| sleeper.contender.is_head())?;
        if !fits(&sleeper.contender.wants) {
            return None;
        }
        let contender = sleeper.contender.clone();
        contender.verdict.store(IN_SERVICE, Ordering::Release);
        Some(contender)
    }

    /// It has the lock. False when it left meanwhile, and nobody will take the gift.
    pub(crate) fn served(&mut self, contender: &Contender<W, G>, gift: G) -> bool {
        contender.receive(gift)
    }

    /// It has not, or nobody knows: it is to ask.
    pub(crate) fn not_served(&mut self, contender: &Contender<W, G>) {
        if contender.is_in_service() {
            contender.tell(NOT_SERVED);
        }
    }

    /// It is not its turn yet: it sleeps on.
    pub(crate) fn not_yet(&mut self, contender: &Contender<W, G>) {
        if contender.is_in_service() {
            contender.verdict.store(HEAD, Ordering::Release);
            // Who wanted to get up meanwhile waits for this word.
            contender.told.notify_one();
        }
    }

    /// Nobody of this process has the lock any more: who hears nothing is to see for itself.
    pub(crate) fn rouse_deaf(&mut self) {
        for sleeper in self.beds.values() {
            if sleeper.deaf && sleeper.contender.is_head() {
                sleeper.contender.tell(NOT_SERVED);
            }
        }
    }

    /// Somebody would get up. False while it is being served, or has been.
    pub(crate) fn get_up(&mut self, spot: Spot) -> bool {
        let awake = (self.beds.get(&spot)).is_none_or(|sleeper| sleeper.contender.is_head());
        if awake {
            self.beds.remove(&spot);
        }
        awake
    }

    /// A bed is given up, whatever is under way.
    pub(crate) fn leave(&mut self, spot: Spot) {
        if let Some(sleeper) = self.beds.remove(&spot)
            && sleeper.contender.is_in_service()
        {
            sleeper.contender.verdict.store(REFUSED, Ordering::Release);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.beds.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.beds.is_empty()
    }
}
