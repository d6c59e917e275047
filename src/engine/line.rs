//! The line of this process before a name, with what its members share, and a place in it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    acquire::{Patience, Wish},
    attempt::orphaned,
    protocol::Admission,
    queue::{
        self, Queue, Verdict,
        resting::{Resting, Spot},
    },
    registry::NameRef,
    release::Grip,
    wakeup::{Channel, Subscription},
};
use crate::config::{HandOver, LONGEST_ASIDE};

/// One who waits, for what it wishes, until it is given a grip of its own.
pub(super) type Contender = queue::Contender<Wish, Grip>;
type Place = queue::Place<Wish, Grip>;

/// Contenders of this process who let one of them speak for all.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) queue: Queue<Wish, Grip>,
    /// Those beside it, who asked each for itself.
    pub(super) resting: Resting<Wish, Grip>,
    /// Places of the server's queue that have gone by since those behind were seen to.
    places: u32,
    /// The one subscription of all in line.
    pub(super) subscription: Option<Subscription>,
    run: Option<Run>,
    aside: Option<Aside>,
}

/// Since when and how often the lock has gone from hand to hand.
#[derive(Debug, Clone, Copy)]
struct Run {
    since: Instant,
    passes: u32,
}

/// How many others go first, after the lock was freed for all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aside {
    /// The count of the channel from before.
    since: u64,
    others: u64,
}

impl Aside {
    /// One other goes first, as far as is known; `since` is the channel's count by now.
    pub(super) fn after(since: u64) -> Self {
        Self { since, others: 1 }
    }

    /// Whether all of them have had it and freed it again. One message is our own.
    fn is_over(self, count: u64) -> bool {
        count > self.since + self.others
    }
}

/// What becomes of a lock that is given back.
#[derive(Debug)]
pub(super) enum Next {
    /// It goes to this one, if the server agrees.
    Pass(Arc<Contender>),
    /// Others go first.
    FreeForOthers,
    /// It is free for whoever comes.
    Free,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.resting.is_empty()
    }

    /// Who gets the lock that `kind`'s owner `field` gives back, where the server keeps the order: the first of this process,
    /// if it turns out to be its turn. There is no limit, since others come when it is theirs.
    pub(super) fn next_in_order(&mut self, kind: &str, field: &Bytes, limit: HandOver) -> Next {
        let fits = |wish: &Wish| wish.call.protocol.kind() == kind && wish.call.field != *field;
        if limit.passes == 0 {
            return Next::Free;
        }
        self.resting.serve(fits).map_or(Next::Free, Next::Pass)
    }

    /// One more place goes by: how many have since those behind were seen to, where that is due. It costs the server a walk
    /// over all, so it is the rarer the more there are.
    pub(super) fn places(&mut self) -> u32 {
        self.places += 1;
        if (self.places as usize) * 2 < self.resting.len() {
            return 0;
        }
        std::mem::take(&mut self.places)
    }

    /// The lock came from the server.
    pub(super) fn note_grant(&mut self) {
        self.run = None;
        self.aside = None;
    }

    /// Who gets the lock that `kind`'s owner `field` gives back.
    pub(super) fn next(&mut self, kind: &str, field: &Bytes, limit: HandOver) -> Next {
        if limit.passes == 0 {
            return Next::Free;
        }
        let run = *self.run.get_or_insert_with(|| Run {
            since: Instant::now(),
            passes: 0,
        });
        if run.passes >= limit.passes || run.since.elapsed() >= limit.time {
            return Next::FreeForOthers;
        }
        let fits = |wish: &Wish| wish.call.protocol.kind() == kind && wish.call.field != *field;
        let Some(contender) = self.queue.serve(fits) else {
            return Next::Free;
        };
        self.run = Some(Run {
            passes: run.passes + 1,
            ..run
        });
        Next::Pass(contender)
    }

    /// Lets others go first.
    pub(super) fn step_aside(&mut self, aside: Aside) {
        self.aside = Some(aside);
    }

    /// The lock has been freed, and so many others may want it. True where nobody does and this line need not wait.
    pub(super) fn stepped_aside(&mut self, others: u32) -> bool {
        match &mut self.aside {
            Some(aside) if others > 0 => {
                aside.others = others.into();
                false
            }
            aside => aside.take().is_some(),
        }
    }
}

/// A place in the line of this process. Dropping it gives the place up: the next in line takes over, and the
/// subscription ends with the last.
#[derive(Debug)]
pub(crate) struct Ticket {
    name: NameRef,
    admission: Admission,
    place: Place,
}

impl Ticket {
    /// Takes a place; `None` where one who would not wait is refused at once.
    pub(super) fn take(name: &NameRef, wish: &Wish, impatient: bool) -> Option<Self> {
        let admission = wish.call.protocol.admission();
        let place = name.line(admission, |line| {
            line.queue
                .join(&wish.call.field, impatient, || wish.clone())
        })?;
        Some(Self {
            name: name.clone(),
            admission,
            place,
        })
    }

    fn line<R>(&self, with: impl FnOnce(&mut Line) -> R) -> R {
        self.name.line(self.admission, with)
    }

    fn contender(&self) -> Option<&Arc<Contender>> {
        match &self.place {
            Place::Head => None,
            Place::Waiting { contender, .. } => Some(contender),
        }
    }

    /// Waits for the turn. Cancel safe.
    pub(crate) async fn turn(&self) -> Verdict {
        match self.contender() {
            None => Verdict::Head,
            Some(contender) => contender.verdict().await,
        }
    }

    /// Waits until the lock is given to it, asleep as it is; false when that came to nothing, and it is to ask. Cancel safe.
    pub(crate) async fn served(&self) -> bool {
        match self.contender() {
            None => std::future::pending().await,
            Some(contender) => contender.served().await,
        }
    }

    /// What it was given, unless that is over already: then it is no more in line.
    pub(crate) fn gift(&self) -> Option<Grip> {
        let grip = self.contender()?.take()?;
        grip.hold().loss(Instant::now()).is_none().then_some(grip)
    }

    /// The channel the line listens on, if it does.
    pub(crate) fn channel(&self) -> Option<Arc<Channel>> {
        self.line(|line| line.subscription.as_ref().map(Subscription::channel))
    }

    /// Lets the line listen on `channel` from now on.
    pub(crate) fn listen(&self, channel: &Bytes) -> Arc<Channel> {
        let subscription = self.name.engine().wakeups.subscribe(channel);
        let channel = subscription.channel();
        let before = self.line(|line| line.subscription.replace(subscription));
        drop(before);
        channel
    }

    /// The head sleeps from now on, and may be given the lock. `busy` where it knows that nobody else could get it.
    pub(crate) fn rest(&mut self, wish: &Wish, busy: bool) {
        let place = &mut self.place;
        self.name.line(self.admission, |line| {
            let field = &wish.call.field;
            line.queue.rest(place, busy, field, || wish.clone());
        });
    }

    /// The head is about to ask: true. False when it has been given the lock, which this waits for if it is about to be.
    pub(crate) async fn ask(&self) -> bool {
        while !self.line(|line| line.queue.ask(&self.place)) {
            if self.turn().await == Verdict::Served {
                return false;
            }
        }
        true
    }

    /// The head is awake, and lets others go first where it is their turn. Each of them has a moment to take the lock, which
    /// begins when it was freed; where nobody does, or time runs out for the head, or somebody behind it would not wait, it
    /// asks.
    pub(crate) async fn step_aside(&self, patience: Patience) {
        self.line(|line| line.queue.wake(&self.place));
        loop {
            let now = Instant::now();
            let late = match patience {
                Patience::None => true,
                Patience::Until(deadline) => deadline < now + 2 * LONGEST_ASIDE,
                Patience::Unlimited => false,
            };
            let stood = self.line(|line| {
                let channel = line.subscription.as_ref().map(Subscription::channel)?;
                let count = channel.count();
                if line.aside?.is_over(count) {
                    line.aside = None;
                }
                let aside = line.aside.filter(|_| !line.queue.has_impatient());
                aside.map(|_| (channel, count))
            });
            let Some((channel, count)) = stood.filter(|_| !late) else {
                return;
            };
            tokio::select! {
                biased;
                _ = self.served() => return,
                _ = channel.woken(count) => {}
                () = tokio::time::sleep_until(now + LONGEST_ASIDE) => return,
            }
        }
    }

    /// The lock is busy: those who would not wait need not ask themselves.
    pub(crate) fn refuse_impatient(&self) {
        self.line(|line| line.queue.refuse_impatient());
    }

    /// The head gets no answer: those in line who would not wait need not find out themselves.
    pub(crate) fn fail_impatient(&self) {
        self.line(|line| line.queue.fail_impatient());
    }

    /// Whether others were there before.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.place, Place::Waiting { .. })
    }
}

/// Where one sleeps who asked for itself. Dropping it gives the bed up, and what it was given in it.
#[derive(Debug)]
pub(super) struct Bed {
    name: NameRef,
    spot: Spot,
    contender: Arc<Contender>,
}

impl Bed {
    pub(super) fn new(name: NameRef, spot: Spot, contender: Arc<Contender>) -> Self {
        Self {
            name,
            spot,
            contender,
        }
    }

    fn resting<R>(&self, with: impl FnOnce(&mut Resting<Wish, Grip>) -> R) -> R {
        (self.name).line(Admission::Each, |line| with(&mut line.resting))
    }

    /// Waits until the lock is given to it; false when it is to ask. Cancel safe.
    pub(super) async fn served(&self) -> bool {
        self.contender.served().await
    }

    /// Gets up to ask. False when it has been given the lock, which this waits for if it is about to be.
    pub(super) async fn get_up(&self) -> bool {
        while !self.resting(|resting| resting.get_up(self.spot)) {
            if self.contender.outcome().await {
                return false;
            }
        }
        true
    }

    /// What it was given, unless that is over already.
    pub(super) fn gift(&self) -> Option<Grip> {
        let grip = self.contender.take()?;
        grip.hold().loss(Instant::now()).is_none().then_some(grip)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.resting(|resting| resting.leave(self.spot));
        if let Some(grip) = self.contender.take() {
            orphaned(grip);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let unused = self.line(|line| {
            line.queue.leave(&self.place);
            if line.queue.is_empty() {
                // Its count goes with the channel.
                line.aside = None;
                line.subscription.take()
            } else {
                None
            }
        });
        drop(unused);
        if let Some(grip) = self.contender().and_then(|contender| contender.take()) {
            orphaned(grip);
        }
    }
}

#[cfg(test)]
mod tests;
