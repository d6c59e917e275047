//! The network between clients and the one server, event by event.
//!
//! Each client has two lanes, as the real transport has: for requests and for messages. A lane is a queue in each
//! direction. What is *pending* waits for a connection, what is on the *wire* arrives in the order in which it was put
//! there, and replies overtake each other. That is the order contract of the seam. Where a lane is cut, the server may
//! still read a first part of what was on the wire, until the next connection is there: that one is fenced.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use super::{dice::Dice, faults::Weather};
use crate::engine::{
    memory::server::Server,
    transport::{Fault, NodeId, Reply, Request, Signal, SignalSink},
};

mod traffic;

/// The one server.
pub(super) const NODE: NodeId = NodeId(1);

/// A reply takes longer than this only where a fault has it so.
const USUAL_LATENCY: u64 = 8;

/// What travels.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Ask(Request),
    Subscribe(Vec<Bytes>),
    Unsubscribe(Vec<Bytes>),
    Unheard(Vec<Bytes>),
}

/// What comes back.
#[derive(Debug)]
pub(super) enum Answer {
    Reply(Reply),
    Unheard(Vec<Bytes>),
}

pub(super) type Outcome = Result<Answer, Fault>;

#[derive(Debug)]
struct Parcel {
    id: u64,
    op: Op,
    deadline: u64,
    reply_lost: bool,
}

/// One of a client's two connections.
#[derive(Debug, Default)]
pub(super) struct Lane {
    up: bool,
    /// Changes with every cut.
    epoch: u64,
    pending: VecDeque<Parcel>,
    wire: VecDeque<Parcel>,
    /// What a cut left behind for the server to read.
    left: VecDeque<Parcel>,
    /// When the last parcel on the wire arrives.
    last: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Outcome>>,
}

/// A client, seen from outside.
#[derive(Default)]
pub(super) struct Peer {
    pub(super) sink: Option<SignalSink>,
    pub(super) subscribed: BTreeSet<Bytes>,
    /// No more is heard of it: closed or crashed.
    pub(super) gone: bool,
    frozen_until: u64,
    /// Until when something injected may still hold it up.
    trouble: u64,
    lanes: [Lane; 2],
}

pub(super) const COMMANDS: usize = 0;
pub(super) const MESSAGES: usize = 1;

#[derive(Debug)]
pub(super) enum Event {
    /// The first parcel on the wire reaches the server.
    Arrive(usize, usize, u64),
    /// The first parcel that a cut left behind does.
    Leftover(usize, usize),
    Reply(usize, usize, u64, Outcome),
    Message(usize, u64, Bytes, Bytes),
    Up(usize, usize),
}

/// All that is there.
#[derive(Default)]
pub(super) struct State {
    pub(super) now: u64,
    pub(super) server: Server,
    pub(super) peers: Vec<Peer>,
    pub(super) weather: Weather,
    events: BTreeMap<(u64, u64), Event>,
    numbers: u64,
    paused_until: u64,
    loading_until: u64,
    /// As a client's, for all of them.
    pub(super) trouble: u64,
    pub(super) tracing: bool,
    pub(super) trace: Vec<String>,
    pub(super) violation: Option<String>,
    signals: Vec<(usize, Signal)>,
}

/// What the tasks of a simulation share.
pub(super) struct World {
    state: Mutex<State>,
    changed: Notify,
    started: Instant,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(super) fn new(weather: Weather, tracing: bool) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                weather,
                tracing,
                ..State::default()
            }),
            changed: Notify::new(),
            started: Instant::now(),
        })
    }

    /// The state as of now.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.ms(Instant::now());
        if state.now != now {
            state.now = now;
            state.server.at(now);
        }
        state
    }

    pub(super) fn ms(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.started).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    /// Does something to the state, and lets what follows happen.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let done = change(&mut state);
        let signals = std::mem::take(&mut state.signals);
        let told: Vec<_> = signals
            .into_iter()
            .filter_map(|(client, signal)| Some((state.peers[client].sink.clone()?, signal)))
            .collect();
        drop(state);
        for (sink, signal) in told {
            sink(signal);
        }
        self.changed.notify_one();
        done
    }

    /// The task that lets time do its work.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let next = self.state().events.keys().next().map(|(at, _)| *at);
            let due = async {
                match next {
                    Some(at) => sleep_until(self.started + Duration::from_millis(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => {
                    while self.change(State::step) {}
                }
                () = self.changed.notified() => {}
            }
        }
    }
}

impl State {
    pub(super) fn trace(&mut self, line: impl FnOnce(&mut String)) {
        if self.tracing {
            let mut text = format!("{:>6} ", self.now);
            line(&mut text);
            self.trace.push(text);
        }
    }

    pub(super) fn violated(&mut self, what: String) {
        self.trace(|text| text.push_str(&what));
        let now = self.now;
        self.violation.get_or_insert(format!("at {now} ms: {what}"));
    }

    fn dice(&mut self) -> &mut Dice {
        &mut self.weather.dice
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn at(&mut self, at: u64, event: Event) {
        let number = self.number();
        self.events.insert((at, number), event);
    }

    /// Until when a client, or the server, may be held up by something injected.
    pub(super) fn trouble_of(&self, client: usize) -> u64 {
        self.peers[client].trouble.max(self.trouble)
    }

    pub(super) fn note_trouble(&mut self, client: usize, until: u64) {
        let trouble = &mut self.peers[client].trouble;
        *trouble = until.max(*trouble);
    }

    fn lane(&mut self, client: usize, lane: usize) -> &mut Lane {
        &mut self.peers[client].lanes[lane]
    }

    /// Takes a request in. Nothing is lost by a lane that is down: it waits for the next connection.
    pub(super) fn post(
        &mut self,
        client: usize,
        lane: usize,
        op: Op,
        deadline: u64,
    ) -> (u64, oneshot::Receiver<Outcome>) {
        let id = self.number();
        let (answer, receiver) = oneshot::channel();
        let to = self.lane(client, lane);
        to.waiting.insert(id, answer);
        to.pending.push_back(Parcel {
            id,
            op,
            deadline,
            reply_lost: false,
        });
        self.pump(client, lane);
        (id, receiver)
    }

    /// A caller stops waiting. True where its request has never been sent, and never will be.
    pub(super) fn give_up(&mut self, client: usize, lane: usize, id: u64) -> bool {
        let lane = self.lane(client, lane);
        lane.waiting.remove(&id);
        let before = lane.pending.len();
        lane.pending.retain(|parcel| parcel.id != id);
        lane.pending.len() < before
    }

    fn pump(&mut self, client: usize, lane: usize) {
        let now = self.now;
        loop {
            let peer = &mut self.peers[client];
            if !peer.lanes[lane].up {
                return;
            }
            let leaves = peer.frozen_until;
            let Some(mut parcel) = peer.lanes[lane].pending.pop_front() else {
                return;
            };
            let fate = self.weather.fate(lane == MESSAGES);
            if fate.slow > USUAL_LATENCY {
                self.note_trouble(client, now + fate.slow);
            }
            if fate.request_lost || fate.reply_lost {
                self.note_trouble(client, parcel.deadline);
                let lost = if fate.request_lost {
                    "request"
                } else {
                    "reply"
                };
                let id = parcel.id;
                self.trace(|text| {
                    let _ = write!(text, "FAULT the {lost} {id} of {client} is lost");
                });
            }
            if fate.request_lost {
                continue;
            }
            parcel.reply_lost = fate.reply_lost;
            let to = self.lane(client, lane);
            // What a frozen client has said leaves it when it goes on.
            let arrives = to.last.max(now.max(leaves) + fate.slow);
            to.last = arrives;
            to.wire.push_back(parcel);
            let epoch = to.epoch;
            self.at(arrives, Event::Arrive(client, lane, epoch));
        }
    }

    /// Does what is due; false when nothing is.
    fn step(&mut self) -> bool {
        let Some(entry) = self.events.first_entry() else {
            return false;
        };
        if entry.key().0 > self.now {
            return false;
        }
        let event = entry.remove();
        let stalled = self.paused_until > self.now;
        match event {
            Event::Arrive(client, lane, epoch) if stalled => {
                self.at(self.paused_until, Event::Arrive(client, lane, epoch));
            }
            Event::Leftover(client, lane) if stalled => {
                self.at(self.paused_until, Event::Leftover(client, lane));
            }
            Event::Up(client, lane) if stalled => {
                self.at(self.paused_until, Event::Up(client, lane));
            }
            Event::Arrive(client, lane, epoch) => {
                let from = self.lane(client, lane);
                if from.epoch == epoch
                    && let Some(parcel) = from.wire.pop_front()
                {
                    self.execute(client, lane, parcel);
                }
            }
            Event::Leftover(client, lane) => {
                if let Some(parcel) = self.lane(client, lane).left.pop_front() {
                    self.execute(client, lane, parcel);
                }
            }
            Event::Reply(client, lane, id, outcome) => {
                let frozen = self.peers[client].frozen_until;
                if frozen > self.now {
                    self.at(frozen, Event::Reply(client, lane, id, outcome));
                } else if let Some(answer) = self.lane(client, lane).waiting.remove(&id) {
                    let _ = answer.send(outcome);
                }
            }
            Event::Message(client, epoch, channel, payload) => {
                let frozen = self.peers[client].frozen_until;
                if self.lane(client, MESSAGES).epoch != epoch {
                } else if frozen > self.now {
                    self.at(frozen, Event::Message(client, epoch, channel, payload));
                } else {
                    self.signals
                        .push((client, Signal::Message { channel, payload }));
                }
            }
            Event::Up(client, lane) => self.bring_up(client, lane),
        }
        true
    }
}

pub(super) fn unknown(reason: &str) -> Fault {
    Fault::Unknown {
        reason: reason.to_owned(),
    }
}
