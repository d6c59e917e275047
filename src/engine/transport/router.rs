//! The transport that speaks to real servers: it knows which server is responsible for a name, and follows when that
//! changes.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use fred::prelude::ServerConfig;
use tokio::{runtime::Handle, time::Instant};

use super::{
    BoxFuture, Evidence, Fault, NodeId, PubSub, Reply, Request, SignalSink, Transport,
    acks::Proof,
    chart::{Layout, Redirect, slot_of},
    cluster,
    dial::Dial,
    fleet::{Chart, Fleet, Topology, lock},
    link::LinkOwner,
    node::Node,
    sentinel,
};
use crate::{config::Settings, error::Refusal};

/// All servers of a client.
#[derive(Debug)]
pub(crate) struct Router {
    fleet: Arc<Fleet>,
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
            let reply = node.execute(&link, 0, &request, deadline).await;
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

#[cfg(test)]
mod tests;
