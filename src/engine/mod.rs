//! How anything is claimed. The engine knows no lock kind; it is told what to say by a [`protocol::Protocol`].
//!
//! ```text
//!  lock/  ──►  acquire ──►  queue (this process) ──►  detach ──►  script ──►  transport ──►  server
//!                 │  parks on wakeup, woken by message, expiry, poll, reconnect
//!                 └─►  hold (slots, generations)  ◄──  renewal (watchdog)
//!              release ◄── guard dropped, unlock, lost outcome, close
//! ```

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{task::JoinHandle, time::Instant};
use uuid::Uuid;

use self::{
    bell::Bell,
    crowd::Crowd,
    desk::Desks,
    detach::{Attendant, Background},
    fork::Process,
    once::Marks,
    poll::Poll,
    protocol::{Ask, Call, Rest, Wake},
    recent::Recent,
    registry::{NameRef, Registry},
    renewal::Renewal,
    script::Command,
    tokens::Tokens,
    transport::{Fault, PubSub, Reply, Request, Signal, Transport},
    wakeup::{Subscription, Wakeups},
};
use crate::{
    config::Settings,
    error::{Error, Refusal, Result},
    events::{Event, EventBus},
    runtime::{Home, OwnThread},
    stats::Counters,
    telemetry::{self, End},
};

pub(crate) mod acquire;
mod asker;
pub(crate) mod attempt;
mod bell;
mod calm;
pub(crate) mod close;
pub(crate) mod crowd;
pub(crate) mod desk;
pub(crate) mod detach;
mod fork;
#[cfg(test)]
mod fuzz;
mod hand_over;
mod hearing;
pub(crate) mod hold;
mod lead;
pub(crate) mod line;
mod loss;
#[cfg(feature = "test-util")]
pub(crate) mod memory;
pub(crate) mod once;
pub(crate) mod poll;
pub(crate) mod protocol;
pub(crate) mod queue;
mod recent;
pub(crate) mod registry;
pub(crate) mod release;
pub(crate) mod renewal;
mod replicated;
mod rights;
pub(crate) mod script;
#[cfg(test)]
mod simulation;
pub(crate) mod slot;
mod sync;
pub(crate) mod tokens;
pub(crate) mod trade;
pub(crate) mod transport;
pub(crate) mod waiting;
pub(crate) mod wakeup;

/// How tables hash: by chance, and the same every time in a simulation.
#[cfg(not(test))]
type Hashing = std::hash::RandomState;
#[cfg(test)]
type Hashing = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// All that the locks of one client share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) settings: Settings,
    /// The first part of every owner field of this client.
    pub(crate) client_id: String,
    /// Which server this is, for putting locks in an order.
    pub(crate) server: String,
    pub(crate) events: EventBus,
    pub(crate) counters: Counters,
    transport: Arc<dyn Transport>,
    background: Arc<Background>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Where all of it runs, if that is a thread of the client's own.
    _own_thread: Option<OwnThread>,
    registry: Registry,
    desks: Desks,
    marks: Marks,
    wakeups: Arc<Wakeups>,
    poll: Arc<Poll>,
    renewal: Arc<Renewal>,
    tokens: Tokens,
    /// All who wait.
    crowd: Crowd,
    recent: Recent,
    era: AtomicU64,
    numbers: AtomicU64,
    closed: AtomicBool,
    process: Process,
    connects: AtomicU64,
    born: Instant,
    /// When the server last answered anything, in milliseconds since `born`.
    answered: AtomicU64,
}

impl Engine {
    /// Starts an engine over `transport`, with its tasks on `runtime`.
    pub(crate) fn start(
        settings: Settings,
        server: String,
        transport: Arc<dyn Transport>,
        home: Home,
    ) -> Arc<Self> {
        let Home { handle, own } = home;
        telemetry::describe();
        let engine = Arc::new(Self {
            settings,
            client_id: random().to_string(),
            server,
            events: EventBus::new(),
            counters: Counters::default(),
            transport: transport.clone(),
            background: Arc::new(Background::new(handle.clone())),
            tasks: Mutex::default(),
            _own_thread: own,
            registry: Registry::default(),
            desks: Desks::default(),
            marks: Marks::default(),
            wakeups: Wakeups::new(transport.clone()),
            poll: Arc::default(),
            renewal: Arc::default(),
            tokens: Tokens::default(),
            crowd: Crowd::default(),
            recent: Recent::default(),
            era: AtomicU64::new(0),
            numbers: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            process: Process::current(),
            connects: AtomicU64::new(0),
            born: Instant::now(),
            answered: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&engine);
        engine.tasks().extend([
            handle.spawn(renewal::run(weak.clone())),
            handle.spawn(close::noticing(weak.clone(), poll::run(weak.clone()))),
            handle.spawn(wakeup::run(weak.clone(), engine.wakeups.clone())),
        ]);
        transport.start(Arc::new(move |signal| {
            if let Some(engine) = Weak::upgrade(&weak) {
                engine.on_signal(signal);
            }
        }));
        engine
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_signal(self: &Arc<Self>, signal: Signal) {
        match signal {
            Signal::Message { channel, payload } => {
                // Locks say 0 or 1, semaphores how many permits there are.
                let number = std::str::from_utf8(&payload).map(str::parse::<i64>);
                if matches!(number, Ok(Ok(_))) {
                    self.wakeups.message(&channel);
                } else {
                    self.counters.odd_messages.one();
                }
            }
            Signal::MessagesLost => self.poll.now(),
            Signal::CommandsUp => {
                self.connects.fetch_add(1, Ordering::AcqRel);
                self.counters.connects.one();
                self.renewal.hurry();
                self.poll.reconnected();
                self.events.tell(|| Event::Connected);
            }
            Signal::SubscriberUp { node } => self.wakeups.connected(node),
            Signal::SubscriberDown { node, reason } => {
                self.wakeups.disconnected(node);
                self.events.tell(|| Event::Disconnected { reason });
            }
            Signal::Moved => self.wakeups.rehome(),
            Signal::Gone { node } => {
                self.wakeups.forget(node);
                self.era.fetch_add(1, Ordering::AcqRel);
                self.release_again();
            }
            Signal::CommandsDown { reason } => self.events.tell(|| Event::Disconnected { reason }),
            Signal::NotFenced { reason } => self.events.tell(|| Event::NotFenced { reason }),
        }
    }

    /// Times a connection for requests became usable.
    fn connects(&self) -> u64 {
        self.connects.load(Ordering::Acquire)
    }

    /// A number nobody else has: for holds and generations.
    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Runs a script. One that the server does not know is loaded first.
    async fn run(&self, command: Command, deadline: Instant) -> Result<Reply, Fault> {
        self.send(command.request(true), deadline).await
    }

    /// Sends a request. What a server says that has been replaced meanwhile does not count.
    async fn send(&self, request: Request, deadline: Instant) -> Result<Reply, Fault> {
        if !self.process.is_this() {
            return Err(Fault::Closed);
        }
        let era = self.era();
        let span = telemetry::request(&request);
        let reply = span.within(self.transport.send(request, deadline)).await;
        let reply = if reply.is_ok() && self.era() != era {
            Err(Fault::Unknown {
                reason: "another server became the master meanwhile".to_owned(),
            })
        } else {
            self.note_answer(&reply);
            reply
        };
        span.answered(&reply);
        reply
    }

    /// A number that changes when servers are given up for others.
    fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// Runs a script as it is, now or not at all: where it is unknown, it is loaded and `None` is the answer, so that the
    /// caller can make up its mind anew. For commands that must not arrive later than they were made.
    async fn run_now(&self, command: Command, deadline: Instant) -> Result<Option<Reply>, Fault> {
        match self.send(command.request(false), deadline).await {
            Err(Fault::Refused {
                refusal: Refusal::NoScript,
                ..
            }) => Ok(None),
            reply => reply.map(Some),
        }
    }

    /// Runs a read-only command about a key, again where its reply got lost, until the command timeout is over.
    pub(crate) async fn query(
        &self,
        name: &Arc<str>,
        verb: &'static str,
        args: &[&Bytes],
    ) -> Result<Reply> {
        let about = args.first().map_or_else(Bytes::new, |key| (*key).clone());
        self.query_about(name, about, verb, args).await
    }

    /// As [`query`](Self::query), at the server that has the key or channel `about`.
    pub(crate) async fn query_about(
        &self,
        name: &Arc<str>,
        about: Bytes,
        verb: &'static str,
        args: &[&Bytes],
    ) -> Result<Reply> {
        let args = args.iter().map(|arg| (*arg).clone()).collect();
        self.ask(name, Request::Query { verb, args, about }).await
    }

    /// Runs a read-only script, as [`query`](Self::query).
    pub(crate) async fn read(&self, name: &Arc<str>, command: &Command) -> Result<Reply> {
        self.ask(name, command.clone().request(true)).await
    }

    async fn ask(&self, name: &Arc<str>, request: Request) -> Result<Reply> {
        self.check_process()?;
        self.check_open()?;
        let deadline = Instant::now() + self.settings.command_timeout;
        loop {
            match self.send(request.clone(), deadline).await {
                Err(Fault::Unknown { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(jitter(RETRY_PAUSE)).await;
                }
                Ok(reply) => return Ok(reply),
                Err(fault) => return Err(describe(name, fault, false)),
            }
        }
    }

    /// Runs in the background what may be repeated and may be lost, also while the client closes.
    pub(crate) fn tell(self: &Arc<Self>, command: Command) {
        let engine = self.clone();
        self.background.spawn(async move {
            let deadline = Instant::now() + engine.settings.command_timeout;
            // What it leaves undone ends by itself.
            let _ = engine.run(command, deadline).await;
        });
    }

    /// A task that ends with the result: see [`Background::attend`].
    pub(crate) fn attend(&self, future: impl Future<Output = ()> + Send + 'static) -> Attendant {
        self.background.attend(future)
    }

    /// Rings when messages may have been lost, for those who look for themselves.
    pub(crate) fn look_wanted(&self) -> &Bell {
        &self.poll.wanted
    }

    /// Listens on a channel.
    pub(crate) fn subscribe(&self, channel: &Bytes) -> Subscription {
        self.wakeups.subscribe(channel)
    }

    /// How changes are announced and heard.
    pub(crate) fn pubsub(&self) -> PubSub {
        self.transport.pubsub()
    }

    /// Whether all keys and channels of one thing are served by one server, as a script needs them.
    pub(crate) fn check_slots<'a>(
        &self,
        name: &Arc<str>,
        together: impl IntoIterator<Item = &'a Bytes>,
    ) -> Result<()> {
        let mut together = together.into_iter();
        let Some(first) = together.next() else {
            return Ok(());
        };
        let slot = self.transport.slot(first);
        match together.find(|key| self.transport.slot(key) != slot) {
            None => Ok(()),
            Some(other) => Err(Error::CrossSlot {
                name: name.clone(),
                key: String::from_utf8_lossy(other).into(),
            }),
        }
    }

    /// As [`check_slots`](Self::check_slots) for all that a call may ever name.
    pub(crate) fn check_call(&self, call: &Call) -> Result<()> {
        // A name without a brace becomes the tag of all that is derived from it.
        if !call.name.iter().any(|byte| matches!(byte, b'{' | b'}')) {
            return Ok(());
        }
        let protocol = call.protocol;
        let commands = [
            protocol.acquire(call, &Ask::FIRST),
            protocol.release(call, &Rest::NONE),
        ];
        let channel = match protocol.wake(call) {
            Wake::Channel(channel) => Some(channel),
            Wake::Backoff(_) => None,
        };
        let keys = commands.iter().flat_map(|command| &command.keys);
        self.check_slots(&call.shown, keys.chain(&channel))
    }

    fn note_answer<T>(&self, reply: &Result<T, Fault>) {
        if matches!(reply, Ok(_) | Err(Fault::Refused { .. })) {
            let ms = self.born.elapsed().as_millis();
            self.answered
                .store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Release);
        }
    }

    /// When the server last answered anything.
    fn last_answer(&self) -> Instant {
        self.born + Duration::from_millis(self.answered.load(Ordering::Acquire))
    }

    /// How many wait for a name in this process; its holder does not count.
    pub(crate) fn waiting_here(self: &Arc<Self>, name: &Bytes) -> usize {
        NameRef::get(self, name).contenders()
    }

    /// Figures for tests and for closing: what is still in any table.
    pub(crate) fn residue(&self) -> Residue {
        Residue {
            names: self.registry.len() + self.desks.len(),
            channels: self.wakeups.len(),
            sleepers: self.poll.len(),
            holds: self.renewal.held(),
            background: self.background.count(),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for task in self.tasks().drain(..) {
            task.abort();
        }
        for (kind, hold) in self.registry.left() {
            telemetry::hold_ended(kind, hold.asked_for(), End::Abandoned);
        }
    }
}

/// What is still in any table of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Residue {
    pub(crate) names: usize,
    pub(crate) channels: usize,
    pub(crate) sleepers: usize,
    pub(crate) holds: usize,
    pub(crate) background: usize,
}

/// First pause before a request is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause before a request is tried again.
const LONGEST_RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Between three quarters and five quarters of `pause`.
pub(crate) fn jitter(pause: Duration) -> Duration {
    // The lower bits of a random uuid: this crate needs no better dice.
    let dice = random().as_u128() as u32;
    pause.mul_f64(0.75 + 0.5 * f64::from(dice) / f64::from(u32::MAX))
}

/// A random uuid; in a simulation, one by its seed.
fn random() -> Uuid {
    #[cfg(test)]
    if let Some(uuid) = simulation::uuid() {
        return uuid;
    }
    Uuid::new_v4()
}

/// A fault in a caller's words.
fn describe(name: &Arc<str>, fault: Fault, indeterminate: bool) -> Error {
    let name = name.clone();
    match fault {
        Fault::NotSent { reason } => Error::Unreachable {
            name,
            reason,
            indeterminate: false,
        },
        Fault::Unknown { reason } => Error::Unreachable {
            name,
            reason,
            indeterminate,
        },
        Fault::Refused {
            refusal: Refusal::WrongType,
            ..
        } => Error::WrongType { name },
        Fault::Refused { refusal, text } => Error::Refused {
            name,
            refusal,
            message: text,
        },
        Fault::Closed => Error::Closed,
    }
}

/// A reply in nobody's language.
pub(crate) fn unexpected(name: &Arc<str>, reply: &Reply) -> Error {
    Error::UnexpectedReply {
        name: name.clone(),
        reply: format!("{reply:?}").chars().take(200).collect(),
    }
}
