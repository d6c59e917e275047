//! Channels and those who listen on them: one subscription per channel and process, counted.
//!
//! A wake-up only ever means "try again". Messages, a subscription that came back, the safety poll and a release in
//! this process all end in [`Channel::wake`], which counts; a waiter remembers the count from before its last try and
//! so misses nothing that happened in between.
//!
//! A channel is heard at the server that is responsible for it, by the [`Ear`] there, whose task does all the subscribing
//! and unsubscribing. When another server becomes responsible, the channel gets another ear.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use dashmap::DashMap;
use tokio::sync::mpsc;

use self::ear::Ear;
pub(crate) use super::bell::Source;
use super::{
    Engine, Hashing,
    bell::Bell,
    hearing::Hearing,
    transport::{NodeId, Transport},
};

mod ear;

/// One channel with at least one listener.
#[derive(Debug)]
pub(crate) struct Channel {
    name: Bytes,
    /// Those who have a use for it, and those of them who want its messages.
    users: AtomicUsize,
    listeners: AtomicUsize,
    /// Rings for listeners to try again.
    bell: Bell,
    /// Where it is heard, if anybody knows.
    ear: Mutex<Option<Arc<Ear>>>,
    /// Whether its messages reach us.
    hearing: Hearing,
    /// Whether the last subscription failed.
    failed: AtomicBool,
}

impl Channel {
    /// How often it has rung.
    pub(crate) fn count(&self) -> u64 {
        self.bell.count()
    }

    /// The count to remember before a try. Where nothing is heard yet, it rings once something is: what was published
    /// between the try and then is lost.
    pub(crate) fn before_try(&self) -> u64 {
        let count = self.count();
        self.hearing.before_look(self.epoch());
        count
    }

    /// Tells listeners to try again.
    pub(crate) fn wake(&self, source: Source) {
        self.bell.ring(source);
    }

    fn ear(&self) -> Option<Arc<Ear>> {
        lock(&self.ear).clone()
    }

    /// The current connection for messages where it is heard; 0 for none.
    fn epoch(&self) -> u64 {
        lock(&self.ear).as_ref().map_or(0, |ear| ear.epoch())
    }

    /// Whether the server is known to send us its messages.
    fn is_live(&self) -> bool {
        self.hearing.is_live(self.epoch())
    }

    /// Waits until the count is not `seen` any more; says what changed it last.
    pub(crate) async fn woken(&self, seen: u64) -> Source {
        self.bell.rung(seen).await
    }
}

/// All channels of a client.
#[derive(Debug)]
pub(crate) struct Wakeups {
    channels: DashMap<Bytes, Arc<Channel>, Hashing>,
    transport: Arc<dyn Transport>,
    ears: Mutex<HashMap<NodeId, Arc<Ear>>>,
    next_epoch: AtomicU64,
    /// Ears that have no task yet, one for each server at most.
    born: mpsc::UnboundedSender<Arc<Ear>>,
    unborn: Mutex<Option<mpsc::UnboundedReceiver<Arc<Ear>>>>,
    myself: Weak<Self>,
}

/// A use of a channel. Dropping it ends the subscription with the last.
#[derive(Debug)]
pub(crate) struct Subscription {
    wakeups: Arc<Wakeups>,
    channel: Arc<Channel>,
    /// Whether it wants messages.
    listens: bool,
}

impl Subscription {
    pub(crate) fn channel(&self) -> Arc<Channel> {
        self.channel.clone()
    }

    /// Whether messages are wanted. Where they are not, they come only for as long as others want them.
    pub(crate) fn hears(&self) -> bool {
        self.listens
    }

    /// Wants messages from now on. The subscription is made by the task; see
    /// [`until_confirmed`](Wakeups::until_confirmed).
    pub(crate) fn listen(&mut self) {
        if self.listens {
            return;
        }
        self.listens = true;
        self.channel.listeners.fetch_add(1, Ordering::AcqRel);
        if !self.channel.is_live() {
            self.wakeups.note_change(&self.channel);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let last = self.listens && self.channel.listeners.fetch_sub(1, Ordering::AcqRel) == 1;
        if self.channel.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wakeups
                .channels
                .remove_if(&self.channel.name, |_, channel| {
                    channel.users.load(Ordering::Acquire) == 0
                });
        }
        if last {
            self.channel.hearing.given_up();
            self.wakeups.note_change(&self.channel);
        }
    }
}

impl Wakeups {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Arc<Self> {
        let (born, unborn) = mpsc::unbounded_channel();
        Arc::new_cyclic(|myself| Self {
            channels: DashMap::default(),
            transport,
            ears: Mutex::default(),
            next_epoch: AtomicU64::new(1),
            born,
            unborn: Mutex::new(Some(unborn)),
            myself: myself.clone(),
        })
    }

    /// Listens on a channel.
    pub(crate) fn subscribe(&self, name: &Bytes) -> Subscription {
        let mut subscription = self.reserve(name);
        subscription.listen();
        subscription
    }

    /// A use of a channel by one who does not listen yet, and is told by this process.
    pub(crate) fn reserve(&self, name: &Bytes) -> Subscription {
        let channel = {
            let entry = self.channels.entry(name.clone()).or_insert_with(|| {
                Arc::new(Channel {
                    name: name.clone(),
                    users: AtomicUsize::new(0),
                    listeners: AtomicUsize::new(0),
                    bell: Bell::new(),
                    ear: Mutex::new(self.home(name)),
                    hearing: Hearing::new(),
                    failed: AtomicBool::new(false),
                })
            });
            entry.users.fetch_add(1, Ordering::AcqRel);
            entry.clone()
        };
        // A table outlives its entries' users only through this handle.
        let wakeups = self.myself.upgrade();
        let wakeups = wakeups.unwrap_or_else(|| Self::new(self.transport.clone()));
        Subscription {
            wakeups,
            channel,
            listens: false,
        }
    }

    /// Somebody began to listen, or nobody does any more.
    fn note_change(&self, channel: &Channel) {
        if let Some(ear) = channel.ear() {
            ear.note_change(channel.name.clone());
        }
    }

    /// The ear for a channel, as of now.
    fn home(&self, channel: &Bytes) -> Option<Arc<Ear>> {
        let node = self.transport.home(channel)?;
        Some(self.ear_at(node))
    }

    fn ear_at(&self, node: NodeId) -> Arc<Ear> {
        let mut ears = lock(&self.ears);
        let ear = ears.entry(node).or_insert_with(|| {
            let ear = Arc::new(Ear::new(node));
            let _ = self.born.send(ear.clone());
            ear
        });
        ear.clone()
    }

    /// Whether the server is known to send us the channel's messages.
    pub(crate) fn is_live(&self, channel: &Channel) -> bool {
        channel.is_live()
    }

    /// Other servers are responsible for some channels: those are heard there from now on.
    pub(crate) fn rehome(&self) {
        let channels: Vec<_> = self.channels.iter().map(|entry| entry.clone()).collect();
        for channel in channels {
            let Some(home) = self.home(&channel.name) else {
                continue;
            };
            let old = lock(&channel.ear).replace(home.clone());
            if old.as_ref().is_some_and(|old| old.node == home.node) {
                continue;
            }
            if let Some(old) = old {
                old.note_change(channel.name.clone());
            }
            channel.hearing.taken_away();
            home.note_change(channel.name.clone());
        }
    }

    /// A server is of no use any more.
    pub(crate) fn forget(&self, node: NodeId) {
        if let Some(ear) = lock(&self.ears).remove(&node) {
            ear.end();
        }
    }

    /// Waits until the subscription is confirmed or has failed, or something speaks for trying at once; for `limit` at
    /// most.
    pub(crate) async fn until_confirmed(&self, channel: &Channel, limit: Duration) {
        let count = channel.count();
        let settled = channel.bell.until(|| {
            let failed = channel.failed.load(Ordering::Acquire);
            self.is_live(channel) || failed || channel.count() != count
        });
        let _ = tokio::time::timeout(limit, settled).await;
    }

    /// A message came in.
    pub(crate) fn message(&self, channel: &Bytes) {
        if let Some(channel) = self.channels.get(channel) {
            channel.wake(Source::Message);
        }
    }

    /// Tells those to try again whom no message on this channel reaches.
    pub(crate) fn tell_deaf(&self, channel: &Bytes) {
        if let Some(channel) = self.channels.get(channel)
            && !channel.is_live()
        {
            channel.wake(Source::Release);
        }
    }

    /// Tells everybody to try again.
    pub(crate) fn wake_all(&self, source: Source) {
        for channel in &self.channels {
            channel.wake(source);
        }
    }

    /// A connection for messages is there, with no subscription on it.
    pub(crate) fn connected(&self, node: NodeId) {
        let epoch = self.next_epoch.fetch_add(1, Ordering::AcqRel);
        self.ear_at(node).connected(epoch);
    }

    /// The connection for messages is gone.
    pub(crate) fn disconnected(&self, node: NodeId) {
        // A server that is not ours any more has no ear, and its connections end a little later.
        if let Some(ear) = lock(&self.ears).get(&node) {
            ear.connected(0);
        }
    }

    /// Channels somebody listens on.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// The channel, if somebody listens to it and it is to be heard by this ear.
    fn wanted(&self, name: &Bytes, ear: &Ear) -> Option<Arc<Channel>> {
        let channel = self.channels.get(name)?.clone();
        if channel.listeners.load(Ordering::Acquire) == 0 {
            return None;
        }
        let here = channel.ear().is_some_and(|home| home.node == ear.node);
        here.then_some(channel)
    }
}

/// The task that keeps the ears.
pub(crate) async fn run(engine: Weak<Engine>, wakeups: Arc<Wakeups>) {
    let Some(mut unborn) = lock(&wakeups.unborn).take() else {
        return;
    };
    // They end with this task.
    let mut ears = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            biased;
            ear = unborn.recv() => match ear {
                Some(ear) => {
                    ears.spawn(ear::run(engine.clone(), wakeups.clone(), ear));
                }
                None => return,
            },
            Some(_) = ears.join_next() => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
