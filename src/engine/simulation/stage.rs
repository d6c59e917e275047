//! The same server with a hand on every request, for scenes in which all is as it should be but one thing.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until, timeout},
};

pub(super) use crate::engine::memory::{NODE, REPLY};
use crate::{
    client::Client,
    config::Settings,
    engine::{
        Engine,
        memory::{Hub, Link, server::Server},
        transport::{
            BoxFuture, Evidence, Fault, NodeId, PubSub, Reply, Request, Signal, SignalSink,
            Transport, acks::Proof,
        },
    },
    error::Refusal,
    runtime::Home,
};

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    /// What should.
    Answered,
    /// It never arrives, and nobody knows.
    RequestLost,
    /// It is executed, and nobody knows.
    ReplyLost,
    /// There is no connection.
    NotSent,
    /// The server does not do it.
    Refused(Refusal),
    /// It is executed, and the server says this.
    Answers(Reply),
    /// The server says this, whatever it has been asked: for scripts that it has not been taught.
    Says(Reply),
    /// The same, when there is a permit.
    SaysWhen(Arc<Semaphore>, Reply),
    /// It is executed, and answered when there is a permit.
    Held(Arc<Semaphore>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One server, and who uses it.
pub(super) struct Stage {
    hub: Arc<Hub>,
    started: Instant,
    clients: AtomicUsize,
}

impl Stage {
    pub(super) fn new() -> Arc<Self> {
        let hub = Hub::new();
        // As if every client were alone.
        hub.server().ledger.audience = Some(0);
        Arc::new(Self {
            hub,
            started: Instant::now(),
            clients: AtomicUsize::new(0),
        })
    }

    /// The server as of now.
    pub(super) fn server(&self) -> MutexGuard<'_, Server> {
        self.hub.server()
    }

    /// How many hold a name.
    pub(super) fn holders(&self, name: &'static str) -> usize {
        self.server()
            .fields(&Bytes::from_static(name.as_bytes()))
            .len()
    }

    /// How long a name lasts on the server, in milliseconds.
    pub(super) fn left(&self, name: &'static str) -> i64 {
        self.server().pttl(&Bytes::from_static(name.as_bytes()))
    }

    pub(super) fn forget(&self, name: &'static str) {
        self.server()
            .take_away(&Bytes::from_static(name.as_bytes()));
    }

    /// A client, and the hand on its requests.
    pub(super) fn client(self: &Arc<Self>, settings: Settings) -> (Client, Arc<Hand>) {
        let home = Home::current().expect("a runtime");
        let link = Link::new(&self.hub, home.handle.clone(), settings.command_timeout);
        let hand = Arc::new(Hand {
            stage: self.clone(),
            link,
            fates: Mutex::default(),
            always: Mutex::default(),
            asked: Mutex::default(),
            args: Mutex::default(),
            deaf: Arc::default(),
            silent: AtomicBool::new(false),
            fails_over: AtomicBool::new(false),
            has_slots: AtomicBool::new(false),
            replicas: Mutex::default(),
            proofs: Mutex::default(),
        });
        let number = self.clients.fetch_add(1, Ordering::Relaxed) + 1;
        let engine = Engine::start(settings, number.to_string(), hand.clone(), home);
        (Client::of(&engine), hand)
    }
}

/// What is wanted of a request with this script or verb.
type Wanted = (&'static str, Fate);

/// A client's transport.
pub(super) struct Hand {
    stage: Arc<Stage>,
    link: Arc<Link>,
    fates: Mutex<VecDeque<Wanted>>,
    always: Mutex<Vec<Wanted>>,
    asked: Mutex<Vec<(Duration, &'static str)>>,
    /// What each script was given the last time.
    args: Mutex<BTreeMap<&'static str, Vec<Bytes>>>,
    deaf: Arc<AtomicBool>,
    silent: AtomicBool,
    pub(super) fails_over: AtomicBool,
    /// Names have slots, by their last letter, and a request is about one slot only.
    pub(super) has_slots: AtomicBool,
    replicas: Mutex<VecDeque<Result<Evidence, Fault>>>,
    proofs: Mutex<Vec<Proof>>,
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hand")
    }
}

impl Hand {
    /// The next request with this script or verb meets this, and the one after it what is said next.
    pub(super) fn next(&self, what: &'static str, fate: Fate) {
        lock(&self.fates).push_back((what, fate));
    }

    /// All requests with this script or verb meet this from now on.
    pub(super) fn always(&self, what: &'static str, fate: Fate) {
        let mut always = lock(&self.always);
        always.retain(|(other, _)| *other != what);
        always.push((what, fate));
    }

    /// What the replicas say to the next question.
    pub(super) fn replicas_say(&self, evidence: Result<Evidence, Fault>) {
        lock(&self.replicas).push_back(evidence);
    }

    pub(super) fn tell(&self, signal: Signal) {
        self.link.tell(signal);
    }

    /// No message arrives any more, and the client does not know.
    pub(super) fn mute(&self) {
        self.deaf.store(true, Ordering::Release);
    }

    /// No message arrives any more, and the client knows.
    pub(super) fn deafen(&self) {
        self.mute();
        self.stage.server().hang_up(self.link.number());
        self.tell(Signal::SubscriberDown {
            node: NODE,
            reason: "on purpose".to_owned(),
        });
    }

    /// Nothing gets through to the server any more, or everything again.
    pub(super) fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Release);
    }

    /// How many channels it is subscribed to.
    pub(super) fn channels(&self) -> usize {
        self.stage.server().channels(self.link.number())
    }

    /// When requests with this script or verb were sent, from the beginning.
    pub(super) fn asked(&self, what: &str) -> Vec<Duration> {
        let asked = lock(&self.asked);
        let those = asked.iter().filter(|(_, name)| *name == what);
        those.map(|(at, _)| *at).collect()
    }

    /// The arguments of the last request with this script.
    pub(super) fn args(&self, what: &str) -> Vec<Bytes> {
        lock(&self.args).get(what).cloned().unwrap_or_default()
    }

    /// Waits until requests with this script or verb have been sent so many times.
    pub(super) async fn until_asked(&self, what: &str, times: usize) {
        let asking = async {
            while self.asked(what).len() < times {
                sleep(REPLY).await;
            }
        };
        let asked = timeout(Duration::from_secs(60), asking).await;
        asked.expect("it is asked");
    }

    /// The questions the replicas were asked.
    pub(super) fn proofs(&self) -> Vec<Proof> {
        std::mem::take(&mut lock(&self.proofs))
    }

    fn fate(&self, name: &str) -> Fate {
        if self.silent.load(Ordering::Acquire) {
            return Fate::NotSent;
        }
        let mut fates = lock(&self.fates);
        let at = fates.iter().position(|(what, _)| *what == name);
        if let Some((_, fate)) = at.and_then(|at| fates.remove(at)) {
            return fate;
        }
        let always = lock(&self.always);
        let always = always.iter().find(|(what, _)| *what == name);
        always.map_or(Fate::Answered, |(_, fate)| fate.clone())
    }
}

fn unknown() -> Fault {
    Fault::Unknown {
        reason: "no answer".to_owned(),
    }
}

async fn answer(
    link: &Link,
    hub: &Hub,
    fate: Fate,
    request: Request,
    deadline: Instant,
) -> Result<Reply, Fault> {
    match fate {
        Fate::Answered => link.send(request, deadline).await,
        Fate::RequestLost => {
            sleep_until(deadline).await;
            Err(unknown())
        }
        Fate::ReplyLost => {
            let _ = hub.execute(&request);
            sleep_until(deadline).await;
            Err(unknown())
        }
        Fate::NotSent => {
            sleep_until(deadline).await;
            Err(Fault::NotSent {
                reason: "no connection".to_owned(),
            })
        }
        Fate::Refused(refusal) => {
            sleep(REPLY).await;
            Err(Fault::Refused {
                text: format!("{refusal:?}"),
                refusal,
            })
        }
        Fate::Answers(reply) => {
            let done = hub.execute(&request);
            sleep(REPLY).await;
            done.map(|_| reply)
        }
        Fate::Says(reply) => {
            sleep(REPLY).await;
            Ok(reply)
        }
        Fate::SaysWhen(permits, reply) => {
            permits.acquire().await.expect("open").forget();
            Ok(reply)
        }
        Fate::Held(permits) => {
            let reply = hub.execute(&request);
            permits.acquire().await.expect("open").forget();
            reply
        }
    }
}

impl Transport for Hand {
    fn send(&self, request: Request, deadline: Instant) -> BoxFuture<Result<Reply, Fault>> {
        let name = match &request {
            Request::Script { script, .. } => script.name,
            Request::Query { verb, .. } => verb,
        };
        let at = self.stage.started.elapsed();
        lock(&self.asked).push((at, name));
        let (link, hub, mut fate) = (self.link.clone(), self.stage.hub.clone(), self.fate(name));
        if let Request::Script { keys, args, .. } = &request {
            lock(&self.args).insert(name, args.clone());
            let mut pairs = keys.windows(2);
            if pairs.any(|two| self.slot(&two[0]) != self.slot(&two[1])) {
                fate = Fate::Refused(Refusal::Other);
            }
        }
        Box::pin(async move { answer(&link, &hub, fate, request, deadline).await })
    }

    fn slot(&self, name: &[u8]) -> u16 {
        let last = name.last().copied().unwrap_or_default();
        u16::from(self.has_slots.load(Ordering::Acquire)) * u16::from(last)
    }

    fn fails_over(&self) -> bool {
        self.fails_over.load(Ordering::Acquire)
    }

    fn pubsub(&self) -> PubSub {
        self.link.pubsub()
    }

    fn home(&self, channel: &[u8]) -> Option<NodeId> {
        self.link.home(channel)
    }

    fn subscribe(
        &self,
        node: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<(), Fault>> {
        self.link.subscribe(node, channels, deadline)
    }

    fn unsubscribe(
        &self,
        node: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<(), Fault>> {
        self.link.unsubscribe(node, channels, deadline)
    }

    fn unheard(
        &self,
        node: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<Vec<Bytes>, Fault>> {
        self.link.unheard(node, channels, deadline)
    }

    fn replicated(
        &self,
        _: Bytes,
        proof: Proof,
        deadline: Instant,
    ) -> BoxFuture<Result<Evidence, Fault>> {
        let looked = proof
            .look
            .clone()
            .map(|look| self.stage.hub.execute(&look).expect("looks"));
        lock(&self.proofs).push(proof);
        let said = lock(&self.replicas).pop_front();
        Box::pin(async move {
            match said {
                Some(Ok(evidence)) => Ok(Evidence { looked, ..evidence }),
                Some(Err(fault @ Fault::Refused { .. })) => Err(fault),
                Some(Err(fault)) => {
                    sleep_until(deadline).await;
                    Err(fault)
                }
                None => panic!("nobody said what the replicas have"),
            }
        })
    }

    fn start(&self, sink: SignalSink) {
        let deaf = self.deaf.clone();
        self.link.start(Arc::new(move |signal| {
            let is_message = matches!(signal, Signal::Message { .. });
            if !(is_message && deaf.load(Ordering::Acquire)) {
                sink(signal);
            }
        }));
    }

    fn close(&self) -> BoxFuture<()> {
        self.link.close()
    }
}
