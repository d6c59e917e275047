//! The safety poll: looks at everything somebody of this process waits for, hundreds in one call, and wakes those whose
//! lock is free. It is what bounds a wait when a message got lost, and it is what a reconnect sets off.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use dashmap::{DashMap, DashSet};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Engine, Hashing,
    bell::Bell,
    desk::Desk,
    jitter,
    protocol::{Batch, Call, FREE},
    script::{Command, Script},
    wakeup::{Channel, Source},
};

/// Locks in one call.
const LOCKS_A_CALL: usize = 500;

/// How often those are looked after who need it for their own sake.
const RESTLESS: Duration = Duration::from_secs(1);

/// How much a message may be later than the look that found its lock free.
const GRACE: Duration = Duration::from_millis(20);

/// Who sleeps, waiting for a lock.
#[derive(Debug, Default)]
pub(crate) struct Poll {
    sleepers: DashMap<u64, Sleeper, Hashing>,
    /// Sleepers that must be looked after more often than the others.
    restless: AtomicUsize,
    next: AtomicU64,
    under_way: DashSet<Group>,
    /// Somebody went to sleep, or a look is wanted now.
    work: Notify,
    hurry: Notify,
    /// Whether it is wanted since a connection came back.
    reconnected: AtomicBool,
    restless_came: Notify,
    /// Rings for those who look for themselves, when a look is wanted now.
    pub(super) wanted: Bell,
}

/// What a sleeper waits for, and how one looks at it.
#[derive(Debug, Clone)]
pub(crate) enum Look {
    Lock(Arc<Call>),
    Desk(Arc<Desk>),
}

impl Look {
    fn probe(&self) -> &'static Script {
        match self {
            Self::Lock(call) => call.protocol.probe(),
            Self::Desk(desk) => desk.trade.probe(),
        }
    }

    /// Whether it must be looked after more often than others.
    fn restless(&self) -> bool {
        match self {
            Self::Lock(call) => call.protocol.keeps_place(),
            Self::Desk(_) => false,
        }
    }

    /// A name that says where one looks.
    fn key(&self) -> &[u8] {
        match self {
            Self::Lock(call) => &call.name,
            Self::Desk(desk) => &desk.names.key,
        }
    }

    /// What is looked at once, however many wait for it.
    fn target(&self) -> Bytes {
        match self {
            Self::Lock(call) => call.protocol.look_for(call),
            Self::Desk(desk) => desk.names.key.clone(),
        }
    }

    fn add_to(&self, batch: &mut Batch) {
        match self {
            Self::Lock(call) => call.protocol.look(call, batch),
            Self::Desk(desk) => desk.look(batch),
        }
    }
}

#[derive(Debug)]
struct Sleeper {
    look: Look,
    channel: Arc<Channel>,
}

/// A sleeper's entry; dropping it takes the entry back.
#[derive(Debug)]
pub(crate) struct Sleeping<'a> {
    poll: &'a Poll,
    id: u64,
    restless: bool,
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        self.poll.sleepers.remove(&self.id);
        if self.restless {
            self.poll.restless.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Poll {
    /// Includes a waiter in the looks to come.
    pub(crate) fn sleep(&self, look: Look, channel: &Arc<Channel>) -> Sleeping<'_> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let restless = look.restless();
        self.sleepers.insert(
            id,
            Sleeper {
                look,
                channel: channel.clone(),
            },
        );
        if restless && self.restless.fetch_add(1, Ordering::AcqRel) == 0 {
            self.restless_came.notify_one();
        }
        self.work.notify_one();
        Sleeping {
            poll: self,
            id,
            restless,
        }
    }

    /// Looks now instead of at the next interval.
    pub(crate) fn now(&self) {
        self.wanted.ring(Source::Moved);
        self.hurry.notify_one();
        self.work.notify_one();
    }

    /// Looks now, since a connection came back.
    pub(crate) fn reconnected(&self) {
        self.reconnected.store(true, Ordering::Release);
        self.now();
    }

    /// Waiters included.
    pub(crate) fn len(&self) -> usize {
        self.sleepers.len()
    }
}

/// Who is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Everybody,
    /// Those whose kind asks for it.
    Restless,
}

/// The task that looks.
pub(crate) async fn run(engine: Weak<Engine>) {
    let mut rounds = Rounds::default();
    loop {
        let Some(strong) = engine.upgrade() else {
            return;
        };
        let poll = strong.poll.clone();
        let interval = strong.settings.safety_poll;
        drop(strong);
        if poll.sleepers.is_empty() {
            poll.work.notified().await;
            rounds = Rounds::default();
        }
        let mut source = Source::Poll;
        let round = tokio::select! {
            biased;
            () = poll.hurry.notified() => {
                rounds = Rounds::default();
                if poll.reconnected.swap(false, Ordering::AcqRel) {
                    source = Source::Reconnect;
                }
                Round::Everybody
            }
            round = rounds.next(&poll, interval) => round,
        };
        let Some(strong) = engine.upgrade() else {
            return;
        };
        look(&strong, round, source);
    }
}

/// When to look next, and after whom.
#[derive(Debug, Default)]
struct Rounds {
    everybody: Option<Instant>,
    restless: Option<Instant>,
}

impl Rounds {
    async fn next(&mut self, poll: &Poll, interval: Duration) -> Round {
        let now = Instant::now();
        let everybody = *self.everybody.get_or_insert_with(|| now + jitter(interval));
        loop {
            let restless = (poll.restless.load(Ordering::Acquire) > 0).then(|| {
                *self
                    .restless
                    .get_or_insert_with(|| Instant::now() + jitter(RESTLESS))
            });
            tokio::select! {
                biased;
                () = sleep_until(restless.map_or(everybody, |restless| restless.min(everybody))) => {}
                () = poll.restless_came.notified() => continue,
            }
            self.restless = None;
            if Instant::now() < everybody {
                return Round::Restless;
            }
            self.everybody = None;
            return Round::Everybody;
        }
    }
}

/// Sends the looks on their way, without waiting: a server that does not answer keeps nobody.
fn look(engine: &Arc<Engine>, round: Round, source: Source) {
    // By script, since kinds may look differently; one entry a name, however many wait for it.
    type Names = HashMap<Bytes, (Look, Vec<Arc<Channel>>), Hashing>;
    let mut calls: HashMap<Group, Names, Hashing> = HashMap::default();
    for sleeper in &engine.poll.sleepers {
        if round == Round::Restless && !sleeper.look.restless() {
            continue;
        }
        let target = sleeper.look.target();
        let slot = engine.transport.slot(sleeper.look.key());
        calls
            .entry((sleeper.look.probe().name, slot))
            .or_default()
            .entry(target)
            .or_insert_with(|| (sleeper.look.clone(), Vec::new()))
            .1
            .push(sleeper.channel.clone());
    }
    for (group, names) in calls {
        // Not while the last look is still under way.
        let Some(under_way) = UnderWay::enter(engine, group) else {
            continue;
        };
        let (engine, names) = (engine.clone(), names.into_values().collect::<Vec<_>>());
        let background = engine.background.clone();
        background.spawn(async move {
            let mut again = false;
            for chunk in names.chunks(LOCKS_A_CALL) {
                again |= look_at(&engine, chunk, source).await;
            }
            drop(under_way);
            match source {
                _ if !again => {}
                Source::Reconnect => engine.poll.reconnected(),
                _ => engine.poll.now(),
            }
        });
    }
}

/// What one call can be about: a script, and a slot.
type Group = (&'static str, u16);

/// A look on its way.
struct UnderWay {
    poll: Arc<Poll>,
    group: Group,
}

impl UnderWay {
    fn enter(engine: &Engine, group: Group) -> Option<Self> {
        let poll = engine.poll.clone();
        poll.under_way.insert(group).then_some(Self { poll, group })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.poll.under_way.remove(&self.group);
    }
}

/// Looks at some; true where one has to look anew, at whoever waits by then.
async fn look_at(engine: &Engine, chunk: &[(Look, Vec<Arc<Channel>>)], source: Source) -> bool {
    let Some((first, _)) = chunk.first() else {
        return false;
    };
    let mut batch = Batch::default();
    for (look, _) in chunk {
        look.add_to(&mut batch);
    }
    let command = Command {
        script: first.probe(),
        keys: batch.keys,
        args: batch.args,
    };
    engine.counters.polls.one();
    let deadline = Instant::now() + engine.settings.command_timeout;
    // Now or not at all: a look that keeps a place must not come behind the waiter's own next request.
    let reply = match engine.run_now(command, deadline).await {
        Ok(Some(reply)) => reply,
        // The script was unknown and is loaded now.
        Ok(None) => return true,
        Err(_) => return false,
    };
    let Some(answers) = reply.as_ints() else {
        return false;
    };
    let free: Vec<_> = answers
        .into_iter()
        .zip(chunk)
        .filter(|(answer, _)| *answer == FREE)
        .flat_map(|(_, (_, channels))| channels)
        .map(|channel| (channel, channel.count()))
        .collect();
    if free.is_empty() {
        return false;
    }
    // The message of a release this very moment gets the chance to come first.
    sleep(GRACE).await;
    for (channel, count) in free {
        if channel.count() == count {
            channel.wake(source);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    /// The rounds up to the first that looks at everybody, and how long they took.
    async fn rounds(poll: &Poll) -> (Vec<Round>, Duration) {
        let begun = Instant::now();
        let (mut rounds, mut seen) = (Rounds::default(), Vec::new());
        loop {
            seen.push(rounds.next(poll, INTERVAL).await);
            if seen.last() == Some(&Round::Everybody) {
                return (seen, begun.elapsed());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_is_looked_at_once_an_interval_and_the_restless_each_second() {
        let poll = Poll::default();
        // Give or take a quarter.
        let interval = INTERVAL.mul_f64(0.7)..INTERVAL.mul_f64(1.3);
        let (seen, took) = rounds(&poll).await;
        assert_eq!(seen, [Round::Everybody]);
        assert!(interval.contains(&took), "{took:?}");
        poll.restless.store(2, Ordering::Release);
        let (seen, took) = rounds(&poll).await;
        assert!((6..=16).contains(&seen.len()), "{seen:?}");
        assert!(interval.contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_becomes_restless_is_looked_after_within_a_second() {
        let poll = Arc::new(Poll::default());
        let begun = Instant::now();
        let waiting = tokio::spawn({
            let poll = poll.clone();
            async move { Rounds::default().next(&poll, INTERVAL).await }
        });
        sleep(Duration::from_secs(2)).await;
        poll.restless.store(1, Ordering::Release);
        poll.restless_came.notify_one();
        assert_eq!(waiting.await.expect("no panic"), Round::Restless);
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{:?}",
            begun.elapsed()
        );
    }
}
