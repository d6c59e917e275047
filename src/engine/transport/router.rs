//! The transport that speaks to real servers: it knows which server is responsible for a name, and follows when that
//! changes.

use std::{
    collections::HashMap,
    fmt,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fred::prelude::ServerConfig;
use tokio::{
    runtime::Handle,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    BoxFuture, Evidence, Fault, NodeId, PubSub, Reply, Request, Signal, SignalSink, Transport,
    acks::Proof,
    chart::{Address, Layout, Redirect, slot_of},
    cluster,
    dial::Dial,
    link::LinkOwner,
    node::Node,
    sentinel,
};
use crate::{config::Settings, engine::jitter, error::Refusal};

/// How long a server that is not responsible any more may take to answer what is in flight.
const LAST_WORD: Duration = Duration::from_millis(100);
/// A server that keeps a request for that long may have been replaced.
const OVERDUE: Duration = Duration::from_millis(200);
/// Pause before a request is sent again that a slot on the move has turned away.
const MOVING: Duration = Duration::from_millis(5);
const LONGEST_MOVING: Duration = Duration::from_millis(100);

/// All servers of a client.
#[derive(Debug)]
pub(crate) struct Router {
    fleet: Arc<Fleet>,
}

/// Who is responsible for what.
#[derive(Debug, Clone)]
enum Chart {
    /// One server for everything.
    One(Arc<Node>),
    /// A server a slot.
    Slots(Arc<[Option<Arc<Node>>]>),
}

impl Chart {
    fn home(&self, slot: u16) -> Option<&Arc<Node>> {
        match self {
            Self::One(node) => Some(node),
            Self::Slots(nodes) => nodes.get(usize::from(slot))?.as_ref(),
        }
    }
}

/// What the servers are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topology {
    /// There is one.
    Single,
    /// One of them counts, and sentinels say which.
    Sentinel,
    /// Each has some slots.
    Cluster,
}

/// What the router shares with the task that keeps its chart.
pub(super) struct Fleet {
    /// What all connections have in common; the address is replaced.
    pub(super) config: Dial,
    pub(super) settings: Settings,
    runtime: Handle,
    pubsub: PubSub,
    topology: Topology,
    chart: watch::Sender<Chart>,
    /// From which election of the sentinels the master is.
    election: AtomicU64,
    nodes: Mutex<Nodes>,
    sink: OnceLock<SignalSink>,
    /// The chart may be out of date.
    doubt: watch::Sender<u64>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("pubsub", &self.pubsub)
            .field("topology", &self.topology)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Nodes {
    by_address: HashMap<Address, Arc<Node>>,
    aliases: HashMap<Address, Address>,
    closed: bool,
}

impl Router {
    /// Opens the first connection, so that a wrong address or password is found out now.
    pub(crate) async fn connect(
        config: &Dial,
        settings: &Settings,
        runtime: Handle,
    ) -> Result<Self, Fault> {
        match config.server {
            ServerConfig::Clustered { .. } => {
                return cluster::connect(config, settings, runtime).await;
            }
            ServerConfig::Sentinel { .. } => {
                return sentinel::connect(config, settings, runtime).await;
            }
            _ => {}
        }
        let first = LinkOwner::open(config, settings.connect_timeout).await?;
        let node = Node::new(config, settings, PubSub::Plain, Some(first));
        let fleet = Fleet::new(config, settings, runtime, PubSub::Plain, Chart::One(node));
        Ok(Self {
            fleet: Arc::new(fleet),
        })
    }

    /// A router over whichever server sentinels name.
    pub(super) fn over_master(
        config: &Dial,
        settings: &Settings,
        runtime: Handle,
        node: Arc<Node>,
        election: u64,
    ) -> Self {
        let mut fleet = Fleet::new(config, settings, runtime, PubSub::Plain, Chart::One(node));
        fleet.topology = Topology::Sentinel;
        *fleet.election.get_mut() = election;
        Self {
            fleet: Arc::new(fleet),
        }
    }

    /// A router over a cluster that has been looked at.
    pub(super) fn over_cluster(
        config: &Dial,
        settings: &Settings,
        runtime: Handle,
        pubsub: PubSub,
        layout: &Layout,
    ) -> Self {
        let chart = Chart::Slots(Arc::default());
        let mut fleet = Fleet::new(config, settings, runtime, pubsub, chart);
        fleet.topology = Topology::Cluster;
        fleet.adopt(layout);
        Self {
            fleet: Arc::new(fleet),
        }
    }
}

impl Transport for Router {
    fn send(&self, request: Request, deadline: Instant) -> BoxFuture<Result<Reply, Fault>> {
        let fleet = self.fleet.clone();
        if fleet.topology != Topology::Single {
            return Box::pin(async move { fleet.route(request, deadline).await });
        }
        Box::pin(async move {
            let node = fleet.home(0, deadline).await?;
            let link = node.link(deadline).await?;
            let reply = node.execute(&link, request, false, deadline).await;
            reply.map_err(not_a_cluster)
        })
    }

    fn slot(&self, key: &[u8]) -> u16 {
        self.fleet.slot(key)
    }

    fn fails_over(&self) -> bool {
        self.fleet.topology != Topology::Single
    }

    fn pubsub(&self) -> PubSub {
        self.fleet.pubsub
    }

    fn home(&self, channel: &[u8]) -> Option<NodeId> {
        let slot = self.slot(channel);
        self.fleet.chart.borrow().home(slot).map(|node| node.id)
    }

    fn subscribe(
        &self,
        node: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<(), Fault>> {
        let fleet = self.fleet.clone();
        Box::pin(async move {
            let node = fleet.node(node)?;
            let outcome = node.subscribe(fleet.pubsub, &channels, deadline).await;
            if let Err(Fault::Refused { text, .. }) = &outcome {
                fleet.follow(text, &node);
            }
            outcome
        })
    }

    fn unsubscribe(
        &self,
        node: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<(), Fault>> {
        let fleet = self.fleet.clone();
        Box::pin(async move {
            let node = fleet.node(node)?;
            let mode = fleet.pubsub;
            if !mode.sharded() {
                return node.unsubscribe(mode, &channels, deadline).await;
            }
            // A slot that moved took its sharded subscriptions along. To take one back where it was is refused, and a
            // refusal costs the connection, with all that others hear on it.
            let chart = fleet.chart.borrow().clone();
            let (here, moved): (Vec<_>, Vec<_>) = channels.into_iter().partition(|channel| {
                let home = chart.home(slot_of(channel));
                home.is_some_and(|home| home.id == node.id)
            });
            if mode.plain() {
                node.unsubscribe(PubSub::Broadcast, &moved, deadline)
                    .await?;
            }
            node.unsubscribe(mode, &here, deadline).await
        })
    }

    fn unheard(
        &self,
        node: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<Vec<Bytes>, Fault>> {
        let fleet = self.fleet.clone();
        Box::pin(async move {
            let node = fleet.node(node)?;
            let asking = pin!(node.unheard(channels, deadline));
            let unheard = fleet.doubting(asking).await?;
            if !unheard.is_empty() {
                fleet.cast_doubt();
            }
            Ok(unheard)
        })
    }

    fn replicated(
        &self,
        about: Bytes,
        proof: Proof,
        deadline: Instant,
    ) -> BoxFuture<Result<Evidence, Fault>> {
        let fleet = self.fleet.clone();
        Box::pin(async move {
            let slot = fleet.slot(&about);
            let node = fleet.home(slot, deadline).await?;
            let mut left = pin!(fleet.left(slot, node.id));
            tokio::select! {
                evidence = node.replicated(proof, deadline) => {
                    if let Err(Fault::Refused { text, .. }) = &evidence {
                        fleet.follow(text, &node);
                    }
                    evidence
                }
                () = &mut left => Err(Fault::Unknown {
                    reason: "another server is responsible".to_owned(),
                }),
            }
        })
    }

    fn start(&self, sink: SignalSink) {
        self.fleet.start(sink);
        let (fleet, runtime) = (Arc::downgrade(&self.fleet), &self.fleet.runtime);
        let keeper = match self.fleet.topology {
            Topology::Single => return,
            Topology::Cluster => runtime.spawn(cluster::keep(fleet)),
            Topology::Sentinel => runtime.spawn(sentinel::keep(fleet)),
        };
        lock(&self.fleet.tasks).push(keeper);
    }

    fn close(&self) -> BoxFuture<()> {
        let (fleet, tasks) = (self.fleet.clone(), self.fleet.shut());
        Box::pin(async move {
            for task in tasks {
                let _ = task.await;
            }
            for node in fleet.nodes() {
                node.close().await;
            }
        })
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        for task in lock(&self.fleet.tasks).drain(..) {
            task.abort();
        }
        for node in self.fleet.nodes() {
            node.shut();
        }
    }
}

impl Fleet {
    fn new(
        config: &Dial,
        settings: &Settings,
        runtime: Handle,
        pubsub: PubSub,
        chart: Chart,
    ) -> Self {
        Self {
            config: config.clone(),
            settings: settings.clone(),
            runtime,
            pubsub,
            topology: Topology::Single,
            chart: watch::channel(chart).0,
            election: AtomicU64::new(0),
            nodes: Mutex::default(),
            sink: OnceLock::new(),
            doubt: watch::channel(0).0,
            tasks: Mutex::default(),
        }
    }

    /// Where there are no slots, all names have the same.
    fn slot(&self, key: &[u8]) -> u16 {
        match self.topology {
            Topology::Cluster => slot_of(key),
            Topology::Single | Topology::Sentinel => 0,
        }
    }

    /// All servers in use.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<_> = lock(&self.nodes).by_address.values().cloned().collect();
        if let Chart::One(node) = &*self.chart.borrow() {
            nodes.push(node.clone());
        }
        nodes
    }

    fn node(&self, id: NodeId) -> Result<Arc<Node>, Fault> {
        self.nodes()
            .into_iter()
            .find(|node| node.id == id)
            .ok_or_else(not_ours)
    }

    fn is_closed(&self) -> bool {
        lock(&self.nodes).closed
    }

    fn start(&self, sink: SignalSink) {
        let doubt = self.doubt.clone();
        let sink = self.sink.get_or_init(|| {
            Arc::new(move |signal| {
                // Whoever hangs up may have been replaced.
                let down = Signal::is_down(&signal);
                sink(signal);
                if down {
                    doubt.send_modify(|doubts| *doubts += 1);
                }
            })
        });
        for node in self.nodes() {
            node.start(&self.runtime, sink);
        }
    }

    /// Gives all connections up. What comes back are the tasks whose end is still to come.
    fn shut(&self) -> Vec<JoinHandle<()>> {
        lock(&self.nodes).closed = true;
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        for task in &tasks {
            task.abort();
        }
        for node in self.nodes() {
            node.shut();
        }
        tasks
    }

    /// Something speaks for another look at who is responsible.
    fn cast_doubt(&self) {
        self.doubt.send_modify(|doubts| *doubts += 1);
    }

    /// Resolves when something does, from now on.
    pub(super) fn doubts(&self) -> watch::Receiver<u64> {
        self.doubt.subscribe()
    }

    pub(super) fn tell(&self, signal: Signal) {
        if let Some(sink) = self.sink.get() {
            sink(signal);
        }
    }

    /// The server that has the slot, waiting until `deadline` where nobody has it.
    async fn home(&self, slot: u16, deadline: Instant) -> Result<Arc<Node>, Fault> {
        if let Some(node) = self.chart.borrow().home(slot) {
            return Ok(node.clone());
        }
        self.cast_doubt();
        let mut charts = self.chart.subscribe();
        let chart = timeout_at(
            deadline,
            charts.wait_for(|chart| chart.home(slot).is_some()),
        )
        .await;
        match chart {
            Ok(Ok(chart)) => chart.home(slot).cloned().ok_or(Fault::Closed),
            Ok(Err(_)) => Err(Fault::Closed),
            Err(_) => Err(Fault::NotSent {
                reason: format!("no server of the cluster has slot {slot}"),
            }),
        }
    }

    /// Resolves once the slot is not `node`'s any more.
    async fn left(&self, slot: u16, node: NodeId) {
        let mut charts = self.chart.subscribe();
        let _ = charts
            .wait_for(|chart| chart.home(slot).is_none_or(|home| home.id != node))
            .await;
    }

    /// Sends a request to whom it concerns, and after it where that has changed. Only what a server has refused to
    /// execute is sent again.
    async fn route(&self, request: Request, deadline: Instant) -> Result<Reply, Fault> {
        let slot = self.slot(request.about());
        let mut pause = MOVING;
        loop {
            let node = self.home(slot, deadline).await?;
            let reply = self.try_at(&node, slot, &request, deadline).await;
            let reply = match reply {
                None => continue,
                // It was given up while the request waited for its connection.
                Some(Err(Fault::Closed)) if !self.is_closed() => {
                    self.cast_doubt();
                    sleep(jitter(MOVING)).await;
                    continue;
                }
                Some(Err(fault @ (Fault::Unknown { .. } | Fault::NotSent { .. }))) => {
                    self.cast_doubt();
                    return Err(fault);
                }
                Some(reply) => reply,
            };
            let Err(Fault::Refused { refusal, text }) = &reply else {
                return reply;
            };
            match self.follow(text, &node) {
                Some(Redirect::Moved { .. }) => {
                    if self.home(slot, deadline).await?.id != node.id && pause == MOVING {
                        pause *= 2;
                        continue;
                    }
                }
                Some(Redirect::Ask { to }) => {
                    let reply = self.ask(&to, request.clone(), deadline).await;
                    if !is_elsewhere(&reply) {
                        return reply;
                    }
                }
                Some(Redirect::TryAgain) => {}
                None => {
                    if refusal.is_transient() {
                        self.cast_doubt();
                    }
                    return reply;
                }
            }
            if Instant::now() + pause >= deadline {
                return reply;
            }
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_MOVING);
        }
    }

    /// One try at one server; `None` where the slot has left it before anything was sent.
    async fn try_at(
        &self,
        node: &Node,
        slot: u16,
        request: &Request,
        deadline: Instant,
    ) -> Option<Result<Reply, Fault>> {
        let mut left = pin!(self.left(slot, node.id));
        let link = tokio::select! {
            biased;
            link = node.link(deadline) => match link {
                Ok(link) => link,
                Err(fault) => return Some(Err(fault)),
            },
            () = &mut left => return None,
        };
        let mut reply = pin!(node.execute(&link, request.clone(), false, deadline));
        tokio::select! {
            biased;
            reply = self.doubting(reply.as_mut()) => return Some(reply),
            () = &mut left => {}
        }
        let late = timeout(LAST_WORD, reply).await;
        Some(late.unwrap_or_else(|_| {
            Err(Fault::Unknown {
                reason: format!("{} is not responsible any more and silent", node.address),
            })
        }))
    }

    /// Waits for a reply, with growing doubt.
    async fn doubting<T>(&self, mut reply: Pin<&mut impl Future<Output = T>>) -> T {
        loop {
            tokio::select! {
                biased;
                reply = &mut reply => return reply,
                () = sleep(OVERDUE) => self.cast_doubt(),
            }
        }
    }

    async fn ask(&self, to: &Address, request: Request, deadline: Instant) -> Result<Reply, Fault> {
        let node = self.open(to)?;
        match node.link(deadline).await {
            Ok(link) => node.execute(&link, request, true, deadline).await,
            Err(Fault::Closed) if !self.is_closed() => Err(not_ours()),
            Err(fault) => Err(fault),
        }
    }

    /// Reads a redirection, and notes what it says for good.
    fn follow(&self, text: &str, said_by: &Node) -> Option<Redirect> {
        if self.topology != Topology::Cluster {
            return None;
        }
        let host = Address::parse(&said_by.address, "").map_or_else(String::new, |at| at.host);
        let redirect = Redirect::parse(text, &host)?;
        self.cast_doubt();
        if let Redirect::Moved { slot, to } = &redirect
            && let Ok(node) = self.open(to)
        {
            let moved = self.chart.send_if_modified(|chart| {
                let Chart::Slots(nodes) = chart else {
                    return false;
                };
                let index = usize::from(*slot);
                if nodes
                    .get(index)
                    .is_some_and(|home| home.as_ref().is_some_and(|home| home.id == node.id))
                {
                    return false;
                }
                let mut changed = nodes.to_vec();
                if let Some(home) = changed.get_mut(index) {
                    *home = Some(node.clone());
                }
                *nodes = changed.into();
                true
            });
            if moved {
                self.tell(Signal::Moved);
            }
        }
        Some(redirect)
    }

    /// The server at an address, known or new.
    fn open(&self, address: &Address) -> Result<Arc<Node>, Fault> {
        let mut nodes = lock(&self.nodes);
        if nodes.closed {
            return Err(Fault::Closed);
        }
        let address = nodes.aliases.get(address).unwrap_or(address).clone();
        if let Some(node) = nodes.by_address.get(&address) {
            return Ok(node.clone());
        }
        let node = Node::new(&self.config.at(&address), &self.settings, self.pubsub, None);
        if let Some(sink) = self.sink.get() {
            node.start(&self.runtime, sink);
        }
        nodes.by_address.insert(address, node.clone());
        Ok(node)
    }

    /// From which election of the sentinels the master is.
    pub(super) fn election(&self) -> u64 {
        self.election.load(Ordering::Acquire)
    }

    /// Whether all servers can be sent requests right now.
    pub(super) fn is_open(&self) -> bool {
        self.nodes().iter().all(|node| node.is_open())
    }

    /// Makes a server the one that counts, from this election on.
    pub(super) fn succeed(&self, address: &Address, election: u64) {
        self.election.store(election, Ordering::Release);
        let named = format!("{}:{}", address.host, address.port);
        let same = self.nodes().iter().any(|node| node.address == named);
        if same || lock(&self.nodes).closed {
            return;
        }
        let node = Node::new(&self.config.at(address), &self.settings, self.pubsub, None);
        let old = self.chart.send_replace(Chart::One(node.clone()));
        if let Some(sink) = self.sink.get() {
            node.start(&self.runtime, sink);
        }
        self.tell(Signal::Moved);
        if let Chart::One(old) = old {
            old.shut();
            self.tell(Signal::Gone { node: old.id });
        }
    }

    /// Takes over a layout: connects to who is new and gives up who is gone. Says whether anything has changed.
    pub(super) fn adopt(&self, layout: &Layout) -> bool {
        let mut masters = Vec::new();
        lock(&self.nodes).aliases = layout.aliases.clone();
        for address in &layout.masters {
            let Ok(node) = self.open(address) else {
                return false;
            };
            masters.push(node);
        }
        let owners: Arc<[Option<Arc<Node>>]> = layout
            .owners
            .iter()
            .map(|owner| masters.get(usize::from((*owner)?)).cloned())
            .collect();
        let moved = self.chart.send_if_modified(|chart| {
            let Chart::Slots(nodes) = chart else {
                return false;
            };
            let id = |node: &Option<Arc<Node>>| node.as_ref().map(|node| node.id);
            let same = nodes.len() == owners.len()
                && nodes.iter().zip(owners.iter()).all(|(a, b)| id(a) == id(b));
            *nodes = owners;
            !same
        });
        let gone: Vec<_> = {
            let mut nodes = lock(&self.nodes);
            let gone = |address: &Address| !layout.masters.contains(address);
            let addresses: Vec<_> = nodes
                .by_address
                .keys()
                .filter(|a| gone(a))
                .cloned()
                .collect();
            addresses
                .iter()
                .filter_map(|address| nodes.by_address.remove(address))
                .collect()
        };
        if moved {
            self.tell(Signal::Moved);
        }
        for node in gone {
            node.shut();
            self.tell(Signal::Gone { node: node.id });
        }
        moved
    }
}

fn not_ours() -> Fault {
    Fault::NotSent {
        reason: "the server is not one of ours any more".to_owned(),
    }
}

/// A client of one server that is sent to another has been set up wrongly: nothing will change that.
fn not_a_cluster(fault: Fault) -> Fault {
    match fault {
        Fault::Refused { text, .. } if Redirect::parse(&text, "").is_some() => Fault::Refused {
            refusal: Refusal::Other,
            text: format!(
                "{text}; the server is a node of a cluster, which this client was not told"
            ),
        },
        fault => fault,
    }
}

fn is_elsewhere(reply: &Result<Reply, Fault>) -> bool {
    matches!(
        reply,
        Err(Fault::Refused {
            refusal: Refusal::Cluster,
            ..
        })
    )
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
