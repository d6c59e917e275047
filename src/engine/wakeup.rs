//! Channels and those who listen on them: one subscription per channel and process, counted.
//!
//! A wake-up only ever means "try again". Messages, a subscription that came back, the safety poll and a release in
//! this process all end in [`Channel::wake`], which counts; a waiter remembers the count from before its last try and
//! so misses nothing that happened in between.
//!
//! One task does all subscribing and unsubscribing. It is told which channels *may* have changed and compares what is
//! wanted with what is there, so the order in which waiters come and go does not matter.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use dashmap::DashMap;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    Engine, jitter,
    transport::{Fault, Transport},
};
use crate::events::Event;

/// Channels in one `SUBSCRIBE`.
const CHANNELS_A_CALL: usize = 500;
/// First pause before a channel is tried again that could not be subscribed to; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What woke a waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Source {
    Message,
    Poll,
    Release,
    Closed,
}

impl Source {
    fn from_code(code: u8) -> Self {
        [Self::Message, Self::Poll, Self::Release, Self::Closed]
            .into_iter()
            .find(|source| *source as u8 == code)
            .unwrap_or(Self::Message)
    }
}

/// One channel with at least one listener.
#[derive(Debug)]
pub(crate) struct Channel {
    name: Bytes,
    listeners: AtomicUsize,
    /// How often listeners have been told to try again.
    count: AtomicU64,
    source: AtomicU8,
    /// The connection (by epoch) on which the server has confirmed the subscription; 0 for none.
    confirmed: AtomicU64,
    /// Whether the last subscription failed.
    failed: AtomicBool,
    told: Notify,
}

impl Channel {
    /// The count to remember before a try.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Tells listeners to try again.
    pub(crate) fn wake(&self, source: Source) {
        self.source.store(source as u8, Ordering::Release);
        self.count.fetch_add(1, Ordering::AcqRel);
        self.told.notify_waiters();
    }

    /// Waits until the count is not `seen` any more; says what changed it last.
    pub(crate) async fn woken(&self, seen: u64) -> Source {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.count() != seen {
                return Source::from_code(self.source.load(Ordering::Acquire));
            }
            told.await;
        }
    }
}

/// All channels of a client.
#[derive(Debug)]
pub(crate) struct Wakeups {
    channels: DashMap<Bytes, Arc<Channel>>,
    /// The current subscriber connection; 0 while there is none.
    epoch: AtomicU64,
    next_epoch: AtomicU64,
    changed: Mutex<HashSet<Bytes>>,
    work: Notify,
    myself: Weak<Self>,
}

/// A use of a channel. Dropping it ends the subscription with the last.
#[derive(Debug)]
pub(crate) struct Subscription {
    wakeups: Arc<Wakeups>,
    channel: Arc<Channel>,
}

impl Subscription {
    pub(crate) fn channel(&self) -> Arc<Channel> {
        self.channel.clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.channel.listeners.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wakeups
                .channels
                .remove_if(&self.channel.name, |_, channel| {
                    channel.listeners.load(Ordering::Acquire) == 0
                });
            self.wakeups.note_change(self.channel.name.clone());
        }
    }
}

impl Wakeups {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            channels: DashMap::new(),
            epoch: AtomicU64::new(0),
            next_epoch: AtomicU64::new(1),
            changed: Mutex::default(),
            work: Notify::new(),
            myself: myself.clone(),
        })
    }

    /// Listens on a channel. The subscription is made by the task; see [`until_confirmed`](Self::until_confirmed).
    pub(crate) fn subscribe(&self, name: &Bytes) -> Subscription {
        let channel = {
            let entry = self.channels.entry(name.clone()).or_insert_with(|| {
                Arc::new(Channel {
                    name: name.clone(),
                    listeners: AtomicUsize::new(0),
                    count: AtomicU64::new(0),
                    source: AtomicU8::new(Source::Message as u8),
                    confirmed: AtomicU64::new(0),
                    failed: AtomicBool::new(false),
                    told: Notify::new(),
                })
            });
            entry.listeners.fetch_add(1, Ordering::AcqRel);
            entry.clone()
        };
        if !self.is_live(&channel) {
            self.note_change(name.clone());
        }
        // A table outlives its entries' users only through this handle.
        let wakeups = self.myself.upgrade().unwrap_or_else(Self::new);
        Subscription { wakeups, channel }
    }

    fn note_change(&self, name: Bytes) {
        self.changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name);
        self.work.notify_one();
    }

    /// Whether the server is known to send us the channel's messages.
    pub(crate) fn is_live(&self, channel: &Channel) -> bool {
        let epoch = self.epoch.load(Ordering::Acquire);
        epoch != 0 && channel.confirmed.load(Ordering::Acquire) == epoch
    }

    /// Waits until the subscription is confirmed or has failed, or something speaks for trying at once; for `limit` at
    /// most.
    pub(crate) async fn until_confirmed(&self, channel: &Channel, limit: Duration) {
        let count = channel.count();
        let settled = async {
            loop {
                let told = channel.told.notified();
                tokio::pin!(told);
                told.as_mut().enable();
                let failed = channel.failed.load(Ordering::Acquire);
                if self.is_live(channel) || failed || channel.count() != count {
                    return;
                }
                told.await;
            }
        };
        let _ = tokio::time::timeout(limit, settled).await;
    }

    /// A message came in.
    pub(crate) fn message(&self, channel: &Bytes) {
        if let Some(channel) = self.channels.get(channel) {
            channel.wake(Source::Message);
        }
    }

    /// Tells everybody to try again.
    pub(crate) fn wake_all(&self, source: Source) {
        for channel in &self.channels {
            channel.wake(source);
        }
    }

    /// A connection for messages is there, with no subscription on it.
    pub(crate) fn connected(&self) {
        self.epoch.store(
            self.next_epoch.fetch_add(1, Ordering::AcqRel),
            Ordering::Release,
        );
        self.work.notify_one();
    }

    /// The connection for messages is gone.
    pub(crate) fn disconnected(&self) {
        self.epoch.store(0, Ordering::Release);
    }

    /// Channels somebody listens on.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    fn wanted(&self, name: &Bytes) -> Option<Arc<Channel>> {
        self.channels.get(name).map(|entry| entry.clone())
    }

    fn take_changed(&self) -> HashSet<Bytes> {
        std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The task that subscribes and unsubscribes.
pub(crate) async fn run(engine: Weak<Engine>, wakeups: Arc<Wakeups>) {
    let mut there: HashSet<Bytes> = HashSet::new();
    let mut there_epoch = 0;
    let mut pause = FIRST_PAUSE;
    // A refused channel costs its neighbours the connection, so after a refusal each is tried alone.
    let mut cautious = false;
    let mut refused: HashMap<Bytes, Instant> = HashMap::new();
    loop {
        wakeups.work.notified().await;
        let Some(engine) = engine.upgrade() else {
            return;
        };
        let epoch = wakeups.epoch.load(Ordering::Acquire);
        if epoch == 0 {
            continue;
        }
        let mut names = wakeups.take_changed();
        let came_back = epoch != there_epoch;
        if came_back {
            there.clear();
            there_epoch = epoch;
            names = wakeups
                .channels
                .iter()
                .map(|entry| entry.key().clone())
                .collect();
        }
        let (mut subscribe, mut unsubscribe) = (Vec::new(), Vec::new());
        let now = Instant::now();
        refused.retain(|_, until| *until > now);
        for name in names {
            if refused.contains_key(&name) {
                if let Some(channel) = wakeups.wanted(&name) {
                    channel.failed.store(true, Ordering::Release);
                    channel.told.notify_waiters();
                }
                continue;
            }
            match (wakeups.wanted(&name), there.contains(&name)) {
                (Some(channel), false) => subscribe.push(channel),
                (Some(channel), true) => confirm(&channel, epoch),
                (None, true) => unsubscribe.push(name),
                (None, false) => {}
            }
        }
        let deadline = || Instant::now() + engine.settings.command_timeout;
        let chunk_size = if cautious { 1 } else { CHANNELS_A_CALL };
        for (index, chunk) in subscribe.chunks(chunk_size).enumerate() {
            match subscribe_all(&*engine.transport, chunk, deadline()).await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    for channel in chunk {
                        there.insert(channel.name.clone());
                        confirm(channel, epoch);
                    }
                }
                Err(fault) => {
                    fail(&engine, chunk, &fault);
                    let mut wait = jitter(pause);
                    pause = (pause * 2).min(MAX_PAUSE);
                    if matches!(fault, Fault::Refused { .. }) {
                        if let [channel] = chunk {
                            refused.insert(channel.name.clone(), Instant::now() + MAX_PAUSE);
                            wait = MAX_PAUSE + FIRST_PAUSE;
                        }
                        cautious = true;
                    }
                    again_later(&wakeups, chunk, wait);
                    let rest = subscribe
                        .get((index + 1) * chunk_size..)
                        .unwrap_or_default();
                    again_later(&wakeups, rest, FIRST_PAUSE);
                    break;
                }
            }
        }
        cautious &= !(refused.is_empty() && wakeups.epoch.load(Ordering::Acquire) == epoch);
        for chunk in unsubscribe.chunks(CHANNELS_A_CALL) {
            let names = chunk.to_vec();
            // Forgotten whatever comes of it: to subscribe twice does no harm, to think oneself subscribed does.
            let _ = engine.transport.unsubscribe(names, deadline()).await;
            for name in chunk {
                there.remove(name);
            }
        }
        if came_back {
            // Whatever was published meanwhile is lost: look once, for everybody at the same time.
            engine.poll.now();
        }
    }
}

async fn subscribe_all(
    transport: &dyn Transport,
    channels: &[Arc<Channel>],
    deadline: Instant,
) -> Result<(), Fault> {
    let names = channels
        .iter()
        .map(|channel| channel.name.clone())
        .collect();
    transport.subscribe(names, deadline).await
}

fn confirm(channel: &Channel, epoch: u64) {
    channel.failed.store(false, Ordering::Release);
    channel.confirmed.store(epoch, Ordering::Release);
    channel.told.notify_waiters();
}

fn fail(engine: &Engine, channels: &[Arc<Channel>], fault: &Fault) {
    for channel in channels {
        channel.failed.store(true, Ordering::Release);
        channel.told.notify_waiters();
        engine.events.tell(|| Event::SubscriptionFailed {
            channel: String::from_utf8_lossy(&channel.name).into(),
            reason: fault.to_string(),
        });
    }
}

fn again_later(wakeups: &Arc<Wakeups>, channels: &[Arc<Channel>], pause: Duration) {
    let names: Vec<_> = channels
        .iter()
        .map(|channel| channel.name.clone())
        .collect();
    let wakeups = Arc::downgrade(wakeups);
    tokio::spawn(async move {
        sleep(pause).await;
        if let Some(wakeups) = wakeups.upgrade() {
            for name in names {
                wakeups.note_change(name);
            }
        }
    });
}
