//! A slot on its way from one master to another, in steps.

use super::{Cluster, link_port};
use crate::resp::Value;
use crate::server::Server;
use crate::wait::{done, settled};

/// How many keys move with one command.
const BATCH: &str = "100";
/// How long, in milliseconds, a node may take to move them.
const MOVE_LIMIT: &str = "5000";

/// A slot on its way to another master.
///
/// Until [`Migration::finish`], the source serves the keys it still has and answers `ASK` for the others; the target
/// serves what is asked of it after `ASKING` and answers `MOVED` otherwise. A script over keys of both gets `TRYAGAIN`,
/// from Redis 6.2 on the target alone: there the source answers `ASK` as soon as one key is away.
///
/// When this value goes out of scope the slot stays as it is.
#[derive(Debug)]
#[must_use = "a slot stays between two masters until finish() or abort()"]
pub struct Migration<'a> {
    cluster: &'a Cluster,
    slot: u16,
    from: &'a Server,
    to: &'a Server,
}

impl<'a> Migration<'a> {
    #[track_caller]
    pub(super) fn begin(cluster: &'a Cluster, slot: u16, to: &'a Server) -> Migration<'a> {
        let from = cluster.master_of_slot(slot);
        let (source, target) = (cluster.id_of(from), cluster.id_of(to));
        assert!(
            source != target,
            "slot {slot} is served by {} already; pass another master",
            to.address()
        );
        let migration = Migration {
            cluster,
            slot,
            from,
            to,
        };
        migration.set(to, &["IMPORTING", source]);
        migration.set(from, &["MIGRATING", target]);
        migration
    }

    /// The slot.
    pub fn slot(&self) -> u16 {
        self.slot
    }

    /// The master that gives the slot away.
    pub fn from(&self) -> &'a Server {
        self.from
    }

    /// The master that gets the slot.
    pub fn to(&self) -> &'a Server {
        self.to
    }

    /// Moves all keys of the slot that the source has at this moment; returns how many they were.
    ///
    /// # Panics
    ///
    /// When a node refuses.
    #[track_caller]
    pub fn migrate_keys(&self) -> usize {
        self.carry(self.from, self.to)
    }

    /// Moves one key; `false` when the source does not have it.
    ///
    /// # Panics
    ///
    /// When a node refuses.
    #[track_caller]
    pub fn migrate_key(&self, key: &str) -> bool {
        self.carry_keys(self.from, self.to, &[key.into()])
    }

    /// Gives the slot to the target and tells all masters, then waits until all nodes know.
    ///
    /// # Panics
    ///
    /// When the source still has keys of the slot, or a node refuses.
    #[track_caller]
    pub fn finish(self) {
        let left = self.keys(self.from);
        assert!(
            left.is_empty(),
            "{} still has {} keys of slot {}; call migrate_keys() first",
            self.from.address(),
            left.len(),
            self.slot
        );
        let target = self.cluster.id_of(self.to);
        let others = self.cluster.masters().into_iter();
        let others =
            others.filter(|node| ![self.from.port(), self.to.port()].contains(&node.port()));
        for node in [self.to, self.from].into_iter().chain(others) {
            self.set(node, &["NODE", target]);
        }
        done(settled("all nodes to know the slot's new master", || {
            for (index, view) in self.cluster.views()? {
                let owner = view.members().find(|member| member.serves(self.slot));
                if owner.is_none_or(|owner| owner.id != target) {
                    let at = self.cluster.nodes[index].address();
                    return Err(format!("{at} knows {owner:?} as the master"));
                }
            }
            Ok(())
        }));
    }

    /// Leaves the slot where it was, moving back the keys that went ahead.
    ///
    /// # Panics
    ///
    /// When a node refuses.
    #[track_caller]
    pub fn abort(self) {
        self.set(self.from, &["STABLE"]);
        self.carry(self.to, self.from);
        self.set(self.to, &["STABLE"]);
    }

    #[track_caller]
    fn set(&self, node: &Server, words: &[&str]) {
        let slot = self.slot.to_string();
        let mut command = vec!["CLUSTER", "SETSLOT", &slot];
        command.extend(words);
        if let Err(error) = node.direct().ask(&command) {
            panic!("{}: {error}", node.address());
        }
    }

    #[track_caller]
    fn keys(&self, node: &Server) -> Vec<Vec<u8>> {
        let slot = self.slot.to_string();
        let words = ["CLUSTER", "GETKEYSINSLOT", &slot, BATCH];
        let keys = node.direct().cmd(&words).accepted();
        let bytes = |key: &Value| match key {
            Value::Bulk(bytes) => bytes.clone(),
            other => panic!("CLUSTER GETKEYSINSLOT was answered with {other:?}"),
        };
        keys.items().iter().map(bytes).collect()
    }

    #[track_caller]
    fn carry(&self, from: &Server, to: &Server) -> usize {
        let mut count = 0;
        loop {
            let keys = self.keys(from);
            if keys.is_empty() {
                return count;
            }
            count += keys.len();
            self.carry_keys(from, to, &keys);
        }
    }

    /// Moves keys; `false` when the node has none of them.
    #[track_caller]
    fn carry_keys(&self, from: &Server, to: &Server, keys: &[Vec<u8>]) -> bool {
        let port = link_port(to).to_string();
        let mut words: Vec<&[u8]> = vec![b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0"];
        words.push(MOVE_LIMIT.as_bytes());
        if let Some(password) = to.password() {
            words.extend([b"AUTH", password.as_bytes()]);
        }
        words.push(b"KEYS");
        words.extend(keys.iter().map(Vec::as_slice));
        from.direct().cmd(&words).accepted().text() != "NOKEY"
    }
}
