//! What is heard at one server: a task that is told which channels *may* have changed, and compares what is wanted with
//! what is there, so that the order in which waiters come and go does not matter.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use super::{Channel, Source, Wakeups, lock};
use crate::{
    engine::{
        Engine, Hashing, jitter,
        transport::{Fault, NodeId, Transport},
    },
    error::Refusal,
    events::Event,
};

/// Channels in one call.
const CHANNELS_A_CALL: usize = 500;
/// First pause before a channel is tried again that could not be subscribed to; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Pause before a channel is tried again whose slot is on the move.
const MOVING: Duration = Duration::from_millis(20);
/// How often it is checked whether the server still sends sharded messages: a slot that moves away takes its
/// subscriptions along without a word that the client would pass on.
const ROLL_CALL: Duration = Duration::from_millis(100);

/// What is heard at one server.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) node: NodeId,
    /// The current connection for messages; 0 while there is none.
    epoch: AtomicU64,
    changed: Mutex<HashSet<Bytes, Hashing>>,
    work: Notify,
    over: AtomicBool,
}

impl Ear {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            epoch: AtomicU64::new(0),
            changed: Mutex::default(),
            work: Notify::new(),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(super) fn note_change(&self, name: Bytes) {
        lock(&self.changed).insert(name);
        self.work.notify_one();
    }

    /// Another connection, by its epoch; 0 for none.
    pub(super) fn connected(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
        self.work.notify_one();
    }

    /// The server is of no use any more.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.connected(0);
    }

    fn take_changed(&self) -> HashSet<Bytes, Hashing> {
        std::mem::take(&mut *lock(&self.changed))
    }
}

/// The task of an ear.
pub(super) async fn run(engine: Weak<Engine>, wakeups: Arc<Wakeups>, ear: Arc<Ear>) {
    let mut listening = Listening {
        wakeups,
        ear,
        there: HashSet::default(),
        doubtful: HashSet::new(),
        epoch: 0,
        pause: FIRST_PAUSE,
        cautious: false,
        refused: HashMap::new(),
        later: Vec::new(),
    };
    loop {
        let sharded = listening.wakeups.transport.pubsub().sharded();
        let roll_call = async {
            if sharded && !listening.there.is_empty() {
                sleep(jitter(ROLL_CALL)).await;
            } else {
                std::future::pending().await
            }
        };
        let due = tokio::select! {
            biased;
            () = listening.ear.work.notified() => Due::CatchUp,
            () = listening.until_again() => Due::Again,
            () = roll_call => Due::RollCall,
        };
        let Some(engine) = engine.upgrade() else {
            return;
        };
        if listening.ear.over.load(Ordering::Acquire) {
            return;
        }
        match due {
            Due::CatchUp => listening.catch_up(&engine, sharded).await,
            Due::Again => listening.again(),
            Due::RollCall => listening.call_roll(&engine).await,
        }
    }
}

/// What an ear is to do.
enum Due {
    CatchUp,
    Again,
    RollCall,
}

struct Listening {
    wakeups: Arc<Wakeups>,
    ear: Arc<Ear>,
    /// Channels the server sends us, on the connection `epoch`.
    there: HashSet<Bytes, Hashing>,
    /// Channels it may send us or not: their subscription went unanswered.
    doubtful: HashSet<Bytes>,
    epoch: u64,
    pause: Duration,
    /// A refused channel costs its neighbours the connection, so after a refusal each is tried alone.
    cautious: bool,
    refused: HashMap<Bytes, Instant>,
    /// What is to be tried again, and when.
    later: Vec<(Instant, Arc<Channel>)>,
}

impl Listening {
    /// Brings what is there in line with what is wanted.
    async fn catch_up(&mut self, engine: &Arc<Engine>, sharded: bool) {
        let (wakeups, node) = (self.wakeups.clone(), self.ear.node);
        let epoch = self.ear.epoch();
        if epoch == 0 {
            return;
        }
        let mut names = self.ear.take_changed();
        let came_back = epoch != self.epoch;
        if came_back {
            self.there.clear();
            self.doubtful.clear();
            self.pause = FIRST_PAUSE;
            self.epoch = epoch;
            names = wakeups
                .channels
                .iter()
                .map(|entry| entry.key().clone())
                .collect();
        }
        let (mut subscribe, mut unsubscribe) = (Vec::new(), Vec::new());
        let now = Instant::now();
        self.refused.retain(|_, until| *until > now);
        for name in names {
            if self.refused.contains_key(&name) {
                if let Some(channel) = wakeups.wanted(&name, &self.ear) {
                    channel.failed.store(true, Ordering::Release);
                    channel.bell.nudge();
                }
                continue;
            }
            match (wakeups.wanted(&name, &self.ear), self.there.contains(&name)) {
                (Some(channel), false) => subscribe.push(channel),
                (Some(channel), true) => confirm(&channel, epoch),
                (None, true) => unsubscribe.push(name),
                // It would be sent to nobody for as long as the connection lives.
                (None, false) if self.doubtful.contains(&name) => unsubscribe.push(name),
                (None, false) => {}
            }
        }
        let deadline = || Instant::now() + engine.settings.command_timeout;
        let chunk_size = if self.cautious || sharded {
            1
        } else {
            CHANNELS_A_CALL
        };
        for (index, chunk) in subscribe.chunks(chunk_size).enumerate() {
            match subscribe_all(&*wakeups.transport, node, chunk, deadline()).await {
                Ok(()) => {
                    self.pause = FIRST_PAUSE;
                    for channel in chunk {
                        self.there.insert(channel.name.clone());
                        self.doubtful.remove(&channel.name);
                        confirm(channel, epoch);
                    }
                }
                Err(fault) => {
                    let rest = subscribe
                        .get((index + 1) * chunk_size..)
                        .unwrap_or_default();
                    if elsewhere(&fault) {
                        // By then it has another ear.
                        self.again_later(chunk, MOVING);
                        self.again_later(rest, Duration::ZERO);
                        break;
                    }
                    if matches!(fault, Fault::Unknown { .. }) {
                        let names = chunk.iter().map(|channel| channel.name.clone());
                        self.doubtful.extend(names);
                    }
                    fail(engine, chunk, &fault);
                    let wait = self.wait_after(chunk, &fault);
                    self.again_later(chunk, wait);
                    self.again_later(rest, FIRST_PAUSE);
                    break;
                }
            }
        }
        // Those of a call that was refused as a whole are still to be tried.
        let calm = self.refused.is_empty() && self.later.is_empty();
        self.cautious &= !(calm && self.ear.epoch() == epoch);
        for chunk in unsubscribe.chunks(CHANNELS_A_CALL) {
            // Forgotten whatever comes of it: to subscribe twice does no harm, to think oneself subscribed does.
            let names = chunk.to_vec();
            let _ = wakeups.transport.unsubscribe(node, names, deadline()).await;
            for name in chunk {
                self.there.remove(name);
                self.doubtful.remove(name);
            }
        }
        if came_back {
            // Whatever was published meanwhile is lost: look once, for everybody at the same time.
            engine.poll.reconnected();
        }
    }

    fn wait_after(&mut self, chunk: &[Arc<Channel>], fault: &Fault) -> Duration {
        let mut wait = jitter(self.pause);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        if matches!(fault, Fault::Refused { .. }) {
            if let [channel] = chunk {
                let until = Instant::now() + MAX_PAUSE;
                self.refused.insert(channel.name.clone(), until);
                wait = MAX_PAUSE + FIRST_PAUSE;
            }
            self.cautious = true;
        }
        wait
    }

    /// Finds out which subscriptions the server has taken away.
    async fn call_roll(&mut self, engine: &Arc<Engine>) {
        let names: Vec<_> = self.there.iter().cloned().collect();
        for chunk in names.chunks(CHANNELS_A_CALL) {
            let deadline = Instant::now() + engine.settings.command_timeout;
            let asking = self
                .wakeups
                .transport
                .unheard(self.ear.node, chunk.to_vec(), deadline);
            let Ok(unheard) = asking.await else {
                return;
            };
            for name in unheard {
                if self.there.remove(&name)
                    && let Some(channel) = self.wakeups.wanted(&name, &self.ear)
                {
                    channel.hearing.taken_away();
                    self.ear.note_change(name);
                }
            }
        }
    }

    fn again_later(&mut self, channels: &[Arc<Channel>], pause: Duration) {
        let due = Instant::now() + pause;
        let channels = channels.iter().cloned();
        self.later.extend(channels.map(|channel| (due, channel)));
    }

    async fn until_again(&self) {
        match self.later.iter().map(|(due, _)| *due).min() {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    fn again(&mut self) {
        let now = Instant::now();
        for (_, channel) in self.later.extract_if(.., |(due, _)| *due <= now) {
            self.wakeups.note_change(&channel);
        }
    }
}

/// Whether another server is responsible for the channel.
fn elsewhere(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Refused {
            refusal: Refusal::Cluster,
            ..
        }
    )
}

async fn subscribe_all(
    transport: &dyn Transport,
    node: NodeId,
    channels: &[Arc<Channel>],
    deadline: Instant,
) -> Result<(), Fault> {
    let names = channels
        .iter()
        .map(|channel| channel.name.clone())
        .collect();
    transport.subscribe(node, names, deadline).await
}

fn confirm(channel: &Channel, epoch: u64) {
    channel.failed.store(false, Ordering::Release);
    if channel.hearing.confirm(epoch) {
        channel.wake(Source::Moved);
    } else {
        channel.bell.nudge();
    }
}

fn fail(engine: &Engine, channels: &[Arc<Channel>], fault: &Fault) {
    for channel in channels {
        channel.failed.store(true, Ordering::Release);
        channel.bell.nudge();
        engine.events.tell(|| Event::SubscriptionFailed {
            channel: String::from_utf8_lossy(&channel.name).into(),
            reason: fault.to_string(),
        });
    }
}
