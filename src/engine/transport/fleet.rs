//! All servers of a client, and who of them is responsible for what.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    runtime::Handle,
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    Fault, NodeId, PubSub, Signal, SignalSink,
    chart::{Address, Layout, Redirect, slot_of},
    dial::Dial,
    node::Node,
};
use crate::config::Settings;

/// Who is responsible for what.
#[derive(Debug, Clone)]
pub(super) enum Chart {
    /// One server for everything.
    One(Arc<Node>),
    /// A server a slot.
    Slots(Arc<[Option<Arc<Node>>]>),
}

impl Chart {
    pub(super) fn home(&self, slot: u16) -> Option<&Arc<Node>> {
        match self {
            Self::One(node) => Some(node),
            Self::Slots(nodes) => nodes.get(usize::from(slot))?.as_ref(),
        }
    }
}

/// What the servers are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topology {
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
    pub(super) runtime: Handle,
    pub(super) pubsub: PubSub,
    pub(super) topology: Topology,
    pub(super) chart: watch::Sender<Chart>,
    /// From which election of the sentinels the master is.
    pub(super) election: AtomicU64,
    pub(super) nodes: Mutex<Nodes>,
    pub(super) sink: OnceLock<SignalSink>,
    /// The chart may be out of date.
    pub(super) doubt: watch::Sender<u64>,
    pub(super) tasks: Mutex<Vec<JoinHandle<()>>>,
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
pub(super) struct Nodes {
    pub(super) by_address: HashMap<Address, Arc<Node>>,
    pub(super) aliases: HashMap<Address, Address>,
    pub(super) closed: bool,
}

impl Fleet {
    pub(super) fn new(
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
    pub(super) fn slot(&self, key: &[u8]) -> u16 {
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

    pub(super) fn node(&self, id: NodeId) -> Result<Arc<Node>, Fault> {
        self.nodes()
            .into_iter()
            .find(|node| node.id == id)
            .ok_or_else(not_ours)
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.nodes).closed
    }

    pub(super) fn start(&self, sink: SignalSink) {
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
    pub(super) fn shut(&self) -> Vec<JoinHandle<()>> {
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
    pub(super) fn cast_doubt(&self) {
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
    pub(super) async fn home(&self, slot: u16, deadline: Instant) -> Result<Arc<Node>, Fault> {
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
    pub(super) async fn left(&self, slot: u16, node: NodeId) {
        let mut charts = self.chart.subscribe();
        let _ = charts
            .wait_for(|chart| chart.home(slot).is_none_or(|home| home.id != node))
            .await;
    }

    /// Reads a redirection, and notes what it says for good.
    pub(super) fn follow(&self, text: &str, said_by: &Node) -> Option<Redirect> {
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
    pub(super) fn open(&self, address: &Address) -> Result<Arc<Node>, Fault> {
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

pub(super) fn not_ours() -> Fault {
    Fault::NotSent {
        reason: "the server is not one of ours any more".to_owned(),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
