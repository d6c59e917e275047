//! Starts the nodes of a cluster and makes them meet.

use std::time::Duration;

use super::slot::SLOTS;
use super::{Cluster, link_port};
use crate::finder::Flavor;
use crate::replication;
use crate::resp::Direct;
use crate::server::{Server, ServerBuilder, StartError, start_all};
use crate::tls::Certificates;
use crate::wait::settled;

/// How long a node may take to answer a question about the cluster.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// Says how a cluster is to be started.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    masters: u16,
    replicas: u16,
    node_timeout: Duration,
    node: ServerBuilder,
}

impl Default for ClusterBuilder {
    fn default() -> ClusterBuilder {
        ClusterBuilder {
            masters: 3,
            replicas: 1,
            node_timeout: Duration::from_secs(1),
            node: Server::builder(),
        }
    }
}

impl ClusterBuilder {
    /// How many masters; three unless said otherwise. A failover after a crash needs at least three.
    pub fn masters(mut self, masters: u16) -> ClusterBuilder {
        self.masters = masters;
        self
    }

    /// How many replicas each master has; one unless said otherwise.
    pub fn replicas(mut self, replicas: u16) -> ClusterBuilder {
        self.replicas = replicas;
        self
    }

    /// How long a node may be silent before the others replace it; a second unless said otherwise.
    pub fn node_timeout(mut self, timeout: Duration) -> ClusterBuilder {
        self.node_timeout = timeout;
        self
    }

    /// The flavor, instead of the one `REDLATCH_TEST_SERVER` names.
    pub fn flavor(mut self, flavor: Flavor) -> ClusterBuilder {
        self.node = self.node.flavor(flavor);
        self
    }

    /// More words for the command line of every node.
    pub fn args<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> ClusterBuilder {
        self.node = self.node.args(words);
        self
    }

    /// Whether every write is on disk before it is answered, so that the data of a node survive a restart.
    pub fn appendonly(mut self, on: bool) -> ClusterBuilder {
        self.node = self.node.appendonly(on);
        self
    }

    /// The password of the default user, on every node.
    pub fn password(mut self, password: impl Into<String>) -> ClusterBuilder {
        self.node = self.node.password(password);
        self
    }

    /// Lets the nodes speak TLS, with clients on a port of its own and with one another.
    ///
    /// As by [`ServerBuilder::tls`], the plain port stays open too.
    pub fn tls(mut self, certificates: &Certificates) -> ClusterBuilder {
        self.node =
            self.node
                .tls(certificates)
                .args(["--tls-cluster", "yes", "--tls-replication", "yes"]);
        self
    }

    /// Starts the cluster and waits until all is well.
    ///
    /// # Panics
    ///
    /// When no server is to be had or the cluster does not come about, saying why.
    #[track_caller]
    pub fn start(self) -> Cluster {
        self.try_start()
            .unwrap_or_else(|error| panic!("no test cluster: {error}"))
    }

    /// Starts the cluster and waits until all is well.
    pub fn try_start(self) -> Result<Cluster, StartError> {
        if self.masters == 0 {
            return Err(StartError::new("a cluster needs a master; ask for one"));
        }
        let count = usize::from(self.masters) * (1 + usize::from(self.replicas));
        let timeout = self.node_timeout.as_millis().to_string();
        let node = self.node.cluster_node().args([
            "--cluster-node-timeout",
            &timeout,
            "--cluster-replica-validity-factor",
            "0",
            // A replica stays with its master, and a master without slots stays one.
            "--cluster-allow-replica-migration",
            "no",
        ]);
        let node = node.args(replication::QUICK);
        let nodes = start_all(vec![node; count])?;
        wire(nodes, usize::from(self.masters)).map_err(|error| {
            StartError::new(format!(
                "the cluster did not come about: {error}; run again, or give it a longer node_timeout on a busy machine"
            ))
        })
    }
}

/// Makes a cluster of nodes that are alone; the first are its masters.
fn wire(nodes: Vec<Server>, masters: usize) -> Result<Cluster, String> {
    let lookers: Vec<Direct> = nodes.iter().map(Server::direct).collect();
    let mut ids = Vec::new();
    for (index, looker) in lookers.iter().enumerate() {
        looker.set_timeout(LOOK_LIMIT);
        ids.push(looker.ask(&["CLUSTER", "MYID"])?.text());
        // Different epochs from the start, so that no two nodes argue about one.
        looker.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
    }
    for (index, looker) in lookers[..masters].iter().enumerate() {
        let bound = |index| usize::from(SLOTS) * index / masters;
        give_slots(looker, &nodes[index], bound(index)..bound(index + 1))?;
    }
    for node in &nodes[1..] {
        let (port, bus) = (
            link_port(node).to_string(),
            node.bus_port().unwrap_or_default(),
        );
        lookers[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus.to_string()])?;
    }
    let cluster = Cluster {
        nodes,
        ids,
        lookers,
    };
    settled("the nodes to know one another", || cluster.all_met())?;
    for (index, looker) in cluster.lookers.iter().enumerate().skip(masters) {
        let replicas = (cluster.nodes.len() - masters) / masters;
        let master = &cluster.ids[(index - masters) / replicas];
        settled("a node to become a replica", || {
            looker.ask(&["CLUSTER", "REPLICATE", master])
        })?;
    }
    settled("the cluster to be well", || cluster.check())?;
    Ok(cluster)
}

fn give_slots(looker: &Direct, node: &Server, slots: std::ops::Range<usize>) -> Result<(), String> {
    let mut words = vec!["CLUSTER".to_owned()];
    if node.binary().major() >= 7 {
        words.push("ADDSLOTSRANGE".into());
        words.extend([slots.start, slots.end - 1].map(|slot| slot.to_string()));
    } else {
        words.push("ADDSLOTS".into());
        words.extend(slots.map(|slot| slot.to_string()));
    }
    looker.ask(&words).map(|_| ())
}

impl Cluster {
    fn all_met(&self) -> Result<(), String> {
        for (_, view) in self.views()? {
            for id in &self.ids {
                let known = view.member(id);
                if !known.is_some_and(|known| known.connected && !known.in_doubt) {
                    return Err(format!("{} knows {id} as {known:?}", view.own.id));
                }
            }
        }
        Ok(())
    }
}
