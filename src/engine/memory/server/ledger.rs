//! What the simulation wants to know of a server beyond what a server knows itself.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Server, number};
use crate::engine::script::Script;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::engine) struct Ledger {
    known: BTreeSet<&'static str>,
    /// How often each field (by key and name) has been made anew: the number of its tenure.
    tenures: BTreeMap<(Bytes, Bytes), u64>,
    /// Tenures that vanished though nobody gave them back, and when.
    forgotten: BTreeMap<(Bytes, Bytes, u64), u64>,
    /// When each key that is gone was there last.
    seen: BTreeMap<Bytes, u64>,
    /// How many clients hear a message, where a script asks; otherwise as many as do.
    pub(in crate::engine) audience: Option<i64>,
}

impl Ledger {
    pub(super) fn granted(&mut self, key: &Bytes, field: &Bytes) {
        let hold = (key.clone(), field.clone());
        *self.tenures.entry(hold).or_default() += 1;
    }

    pub(super) fn gone(&mut self, key: &Bytes, when: u64) {
        self.seen.insert(key.clone(), when);
    }

    /// Whoever holds `key` is about to lose it without a word.
    pub(super) fn bereaved(&mut self, key: &Bytes, fields: &BTreeMap<Bytes, Bytes>, now: u64) {
        for field in fields.keys() {
            let tenure = self.tenure(key, field);
            self.forgotten
                .insert((key.clone(), field.clone(), tenure), now);
        }
    }

    fn tenure(&self, key: &Bytes, field: &Bytes) -> u64 {
        let hold = (key.clone(), field.clone());
        self.tenures.get(&hold).copied().unwrap_or(0)
    }
}

impl Server {
    /// Whether the script is known. It is, from now on.
    pub(in crate::engine) fn learn(&mut self, script: &'static Script) -> bool {
        !self.ledger.known.insert(script.name)
    }

    pub(in crate::engine) fn forget_scripts(&mut self) {
        self.ledger.known.clear();
    }

    /// Which tenure of a field is the latest.
    pub(in crate::engine) fn tenure(&self, key: &Bytes, field: &Bytes) -> u64 {
        self.ledger.tenure(key, field)
    }

    /// When a tenure vanished that its holder had not given back.
    pub(in crate::engine) fn forgot(&self, key: &Bytes, field: &Bytes, tenure: u64) -> Option<u64> {
        let hold = (key.clone(), field.clone(), tenure);
        self.ledger.forgotten.get(&hold).copied()
    }

    /// Since when a key is free; `None` while it is not.
    pub(in crate::engine) fn free_since(&self, key: &Bytes) -> Option<u64> {
        (!self.exists(key)).then(|| self.ledger.seen.get(key).copied().unwrap_or(0))
    }

    pub(in crate::engine) fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.keys()
    }

    /// Makes a key something else than a lock.
    pub(in crate::engine) fn spoil(&mut self, key: &Bytes) {
        self.set(key, Bytes::from_static(b"5"), None);
    }

    /// The number in a key; `None` where there is none.
    pub(in crate::engine) fn number(&self, key: &Bytes) -> Option<i64> {
        number(&self.get(key).ok()??).ok()
    }

    /// How many channels a client hears.
    pub(in crate::engine) fn channels(&self, client: u64) -> usize {
        let hearers = self.hearers.values();
        hearers.filter(|hearers| hearers.contains(&client)).count()
    }
}
