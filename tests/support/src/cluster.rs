//! A cluster of real servers on loopback, its failovers and its moving slots.
//!
//! What a method tells about the cluster is asked of the nodes at that moment, since masters change. A killed or
//! frozen node is not asked.

mod builder;
mod migration;
mod slot;
mod view;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::replication;
use crate::resp::{Direct, Value};
use crate::server::{Server, StartError, unique_name};
use crate::wait::{done, settled};

use view::View;

pub use builder::ClusterBuilder;
pub use migration::Migration;
pub use slot::{SLOTS, slot_of};

/// How often a failover that does not come about is asked for again.
const FAILOVER_AGAIN: Duration = Duration::from_secs(6);

/// A cluster of its own for a test.
///
/// Each node is a [`Server`], with all that may be done to one: [`Server::kill`], [`Server::freeze`],
/// [`Server::thaw`], [`Server::restart`]. A node that is started again is a member as before; its data it has back
/// with [`ClusterBuilder::appendonly`], or from its master.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
    ids: Vec<String>,
    /// One connection to each node, for the questions asked here.
    lookers: Vec<Direct>,
}

impl Cluster {
    /// Starts three masters with one replica each and waits until all is well.
    ///
    /// # Panics
    ///
    /// When no server is to be had or the cluster does not come about, saying why.
    #[track_caller]
    pub fn start() -> Cluster {
        Cluster::builder().start()
    }

    /// Starts three masters with one replica each and waits until all is well.
    pub fn try_start() -> Result<Cluster, StartError> {
        Cluster::builder().try_start()
    }

    /// A cluster with other settings than the usual ones.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// The one cluster that all tests of this process share, started by the first that asks.
    ///
    /// A test that uses it takes its lock names from [`Cluster::name_on`] or [`unique_name`], and leaves nodes and
    /// slots as they are. It stops when the process ends.
    ///
    /// # Panics
    ///
    /// When no server is to be had or the cluster does not come about, saying why.
    #[track_caller]
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Cluster::start)
    }

    /// All nodes: first those that began as masters, then the replicas of the first of them, and so on.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// The address of every node.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::url).collect()
    }

    /// The address for TLS of every node.
    ///
    /// # Panics
    ///
    /// Without [`ClusterBuilder::tls`].
    #[track_caller]
    pub fn tls_urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::tls_url).collect()
    }

    /// The id by which the cluster knows a node.
    #[track_caller]
    pub fn id_of(&self, node: &Server) -> &str {
        &self.ids[self.index(node)]
    }

    /// The master that serves a slot; waits for one while its master is killed or frozen.
    ///
    /// # Panics
    ///
    /// When no node that is awake comes to serve the slot.
    #[track_caller]
    pub fn master_of_slot(&self, slot: u16) -> &Server {
        let found = settled(&format!("a master that serves slot {slot}"), || {
            let claims = self.claims()?;
            // Two may think so for a moment after a failover; the later epoch is right.
            let owner = claims
                .iter()
                .filter(|(_, view)| view.own.serves(slot))
                .max_by_key(|(_, view)| view.own.epoch);
            owner
                .map(|&(index, _)| index)
                .ok_or_else(|| format!("the masters are {}", self.ports(&claims)))
        });
        &self.nodes[done(found)]
    }

    /// The master that serves a key, as by [`Cluster::master_of_slot`].
    #[track_caller]
    pub fn master_of_key(&self, key: &str) -> &Server {
        self.master_of_slot(slot_of(key))
    }

    /// A client of the master that serves a key now.
    #[track_caller]
    pub fn direct_for(&self, key: &str) -> Direct {
        self.master_of_key(key).direct()
    }

    /// The masters that are awake and serve slots, by their first slot.
    #[track_caller]
    pub fn masters(&self) -> Vec<&Server> {
        let claims = done(settled("an answer of every node", || self.claims()));
        let mut masters: Vec<_> = claims
            .iter()
            .filter_map(|(index, view)| Some((view.own.slots.first()?.0, &self.nodes[*index])))
            .collect();
        masters.sort_by_key(|&(slot, _)| slot);
        masters.into_iter().map(|(_, node)| node).collect()
    }

    /// The replicas of a master that are awake, as they see it themselves.
    #[track_caller]
    pub fn replicas_of(&self, master: &Server) -> Vec<&Server> {
        let id = self.id_of(master);
        let views = done(settled("an answer of every node", || self.views()));
        views
            .iter()
            .filter(|(_, view)| view.own.master.as_deref() == Some(id))
            .map(|&(index, _)| &self.nodes[index])
            .collect()
    }

    /// A name that no other test uses and that this master serves now: `PREFIX-PID-TIME-COUNT-NUMBER`.
    ///
    /// # Panics
    ///
    /// When the node is no master with slots, or the prefix holds a brace.
    #[track_caller]
    pub fn name_on(&self, master: &Server, prefix: &str) -> String {
        let index = self.index(master);
        let view = done(settled("an answer of the master", || self.view(index)));
        slot::name_where(&unique_name(prefix), |slot| {
            view.own.is_master && view.own.serves(slot)
        })
    }

    /// A name that no other test uses and that belongs to this slot.
    ///
    /// # Panics
    ///
    /// When the prefix holds a brace.
    #[track_caller]
    pub fn name_in_slot(&self, slot: u16, prefix: &str) -> String {
        slot::name_where(&unique_name(prefix), |found| found == slot)
    }

    /// Makes a replica the master in place of its own, without loss, and waits until all nodes know.
    ///
    /// # Panics
    ///
    /// When the node is no replica or the failover does not come about.
    #[track_caller]
    pub fn failover(&self, replica: &Server) {
        let index = self.index(replica);
        let direct = replica.direct();
        let before = done(settled("an answer of the replica", || self.view(index)));
        assert!(
            !before.own.is_master,
            "{} is a master already; pass a replica",
            replica.address()
        );
        let mut asked: Option<Instant> = None;
        done(settled("the failover", || {
            if self.view(index)?.own.is_master {
                return self.check();
            }
            if asked.is_none_or(|asked| asked.elapsed() > FAILOVER_AGAIN) {
                direct.ask(&["CLUSTER", "FAILOVER"])?;
                asked = Some(Instant::now());
            }
            Err("the replica is not yet a master".into())
        }));
    }

    /// Waits until all is well: every slot is served by a node that is awake, all nodes that are awake agree and know
    /// one another, and every replica follows its master.
    ///
    /// # Panics
    ///
    /// When that does not come about, telling what is missing.
    #[track_caller]
    pub fn wait_ok(&self) {
        done(settled("the cluster to be well", || self.check()));
    }

    /// Starts to move a slot to another master and stops there, so that a test may look at what is in between.
    ///
    /// # Panics
    ///
    /// When the master serves the slot already, or a node refuses.
    #[track_caller]
    pub fn begin_migration<'a>(&'a self, slot: u16, to: &'a Server) -> Migration<'a> {
        Migration::begin(self, slot, to)
    }

    /// Moves a slot with its keys to another master, and waits until all nodes know.
    ///
    /// # Panics
    ///
    /// As [`Cluster::begin_migration`] and [`Migration::finish`].
    #[track_caller]
    pub fn move_slot(&self, slot: u16, to: &Server) {
        let migration = self.begin_migration(slot, to);
        migration.migrate_keys();
        migration.finish();
    }

    #[track_caller]
    fn index(&self, node: &Server) -> usize {
        let found = self.nodes.iter().position(|own| own.port() == node.port());
        found.unwrap_or_else(|| {
            panic!(
                "the server at {} is no node of this cluster; pass one of nodes()",
                node.address()
            )
        })
    }

    fn view(&self, index: usize) -> Result<View, String> {
        let text = self.lookers[index].ask(&["CLUSTER", "NODES"])?;
        let view = match &text {
            Value::Bulk(bytes) => View::parse(&String::from_utf8_lossy(bytes)),
            _ => None,
        };
        view.ok_or_else(|| format!("CLUSTER NODES was answered with {text:?}"))
    }

    /// How each node that is awake sees the cluster.
    fn views(&self) -> Result<Vec<(usize, View)>, String> {
        let awake = |&index: &usize| self.nodes[index].is_awake();
        (0..self.nodes.len())
            .filter(awake)
            .map(|index| Ok((index, self.view(index)?)))
            .collect()
    }

    /// The views of those that think themselves masters, but for one whose slots a later master serves.
    fn claims(&self) -> Result<Vec<(usize, View)>, String> {
        let mut claims = self.views()?;
        claims.retain(|(_, view)| view.own.is_master);
        let stale: BTreeSet<usize> = claims
            .iter()
            .filter(|(_, view)| {
                view.own.slots.first().is_some_and(|&(slot, _)| {
                    claims.iter().any(|(_, other)| {
                        other.own.serves(slot) && other.own.epoch > view.own.epoch
                    })
                })
            })
            .map(|&(index, _)| index)
            .collect();
        claims.retain(|(index, _)| !stale.contains(index));
        Ok(claims)
    }

    /// Whether all is well, or what is not.
    fn check(&self) -> Result<(), String> {
        let views = self.views()?;
        let at = |index: usize| self.nodes[index].address();
        let Some((_, first)) = views.first() else {
            return Err("no node is awake".into());
        };
        for (index, view) in &views {
            let at = at(*index);
            if view.covered() != SLOTS {
                return Err(format!("{at} knows {} slots served", view.covered()));
            }
            if view.ranges() != first.ranges() {
                return Err(format!("{at} sees other masters than the first node"));
            }
            for (other, seen) in &views {
                let known = view.member(&self.ids[*other]);
                let agrees = known.is_some_and(|known| {
                    known.connected
                        && !known.in_doubt
                        && (known.is_master, &known.master)
                            == (seen.own.is_master, &seen.own.master)
                });
                if !agrees {
                    return Err(format!(
                        "{at} knows {} as {known:?}",
                        self.nodes[*other].address()
                    ));
                }
            }
            let info = self.lookers[*index].ask(&["CLUSTER", "INFO"])?;
            if !matches!(&info, Value::Bulk(text) if text.starts_with(b"cluster_state:ok")) {
                return Err(format!("{at} says {info:?}"));
            }
        }
        for (_, _, id) in first.ranges() {
            let mut awake = views.iter();
            if !awake.any(|&(index, _)| self.ids[index] == id) {
                return Err(format!("a master is killed or frozen still: {id}"));
            }
        }
        for (index, view) in views.iter().filter(|(_, view)| view.own.is_master) {
            let replicas: Vec<_> = views
                .iter()
                .filter(|(_, other)| other.own.master.as_deref() == Some(&view.own.id))
                .map(|&(replica, _)| (&self.nodes[replica], &self.lookers[replica]))
                .collect();
            replication::up(&self.lookers[*index], &replicas)
                .map_err(|seen| format!("{}: {seen}", at(*index)))?;
        }
        Ok(())
    }

    fn ports(&self, views: &[(usize, View)]) -> String {
        let ports = views.iter().map(|&(index, _)| self.nodes[index].address());
        ports.collect::<Vec<_>>().join(", ")
    }
}

/// The port on which the other nodes reach this one.
fn link_port(node: &Server) -> u16 {
    match node.certificates() {
        Some(_) => node.tls_port(),
        None => node.port(),
    }
}
