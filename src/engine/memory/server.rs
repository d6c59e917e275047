//! A server in memory: a pure state machine that does what our scripts do, with time as a number.
//!
//! It is compared with a real server in `simulation/model.rs`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    engine::transport::{Fault, Reply, Request},
    error::Refusal,
};

mod cells;
mod counted;
#[cfg(test)]
mod ledger;
mod locks;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Hash(BTreeMap<Bytes, Bytes>),
    Text(Bytes),
}

#[derive(Debug, Clone)]
struct Entry {
    value: Value,
    ends: Option<u64>,
}

/// A message that nobody has carried away yet.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) channel: Bytes,
    pub(crate) payload: Bytes,
    /// The numbers of the clients that hear it.
    pub(crate) hearers: BTreeSet<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// Milliseconds.
    now: u64,
    keys: BTreeMap<Bytes, Entry>,
    said: Vec<Said>,
    /// Who hears a channel: the numbers of clients.
    hearers: BTreeMap<Bytes, BTreeSet<u64>>,
    #[cfg(test)]
    pub(in crate::engine) ledger: ledger::Ledger,
}

pub(crate) type Outcome = Result<Reply, Fault>;

impl Server {
    /// Time goes on.
    pub(crate) fn at(&mut self, now: u64) {
        let now = self.now.max(now);
        self.now = now;
        let is_over = |entry: &Entry| entry.ends.is_some_and(|ends| ends < now);
        #[cfg(test)]
        for (key, entry) in self.keys.iter().filter(|(_, entry)| is_over(entry)) {
            self.ledger.gone(key, entry.ends.unwrap_or(now));
        }
        self.keys.retain(|_, entry| !is_over(entry));
    }

    /// Everything is gone.
    pub(crate) fn empty(&mut self) {
        for key in self.keys.keys().cloned().collect::<Vec<_>>() {
            self.take_away(&key);
        }
    }

    /// A key is gone without a word to whoever has it; whether it was there.
    pub(crate) fn take_away(&mut self, key: &Bytes) -> bool {
        #[cfg(test)]
        self.ledger.bereaved(key, &self.fields(key), self.now);
        self.del(key)
    }

    /// A client hears a channel from now on.
    pub(crate) fn subscribe(&mut self, client: u64, channel: Bytes) {
        self.hearers.entry(channel).or_default().insert(client);
    }

    /// A client hears a channel no more.
    pub(crate) fn unsubscribe(&mut self, client: u64, channel: &Bytes) {
        if let Some(hearers) = self.hearers.get_mut(channel) {
            hearers.remove(&client);
            if hearers.is_empty() {
                self.hearers.remove(channel);
            }
        }
    }

    /// A client hears nothing any more.
    pub(crate) fn hang_up(&mut self, client: u64) {
        self.hearers.retain(|_, hearers| {
            hearers.remove(&client);
            !hearers.is_empty()
        });
    }

    pub(crate) fn hears(&self, client: u64, channel: &Bytes) -> bool {
        let hearers = self.hearers.get(channel);
        hearers.is_some_and(|hearers| hearers.contains(&client))
    }

    /// The fields of a hash; none where it is something else.
    pub(crate) fn fields(&self, key: &Bytes) -> BTreeMap<Bytes, Bytes> {
        match self.keys.get(key).map(|entry| &entry.value) {
            Some(Value::Hash(fields)) => fields.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// Messages said since the last time.
    pub(crate) fn take_said(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.said)
    }

    /// Does what a request asks for.
    pub(crate) fn serve(&mut self, request: &Request) -> Outcome {
        match request {
            Request::Script {
                script, keys, args, ..
            } => self.run(script.name, keys, args),
            Request::Query { verb, args, .. } => self.query(verb, args),
        }
    }

    /// Does what the script of this name does. One that nobody has taught it is refused, and nothing is done.
    pub(crate) fn run(&mut self, script: &str, keys: &[Bytes], args: &[Bytes]) -> Outcome {
        match (script, keys) {
            ("reentrant/acquire", [key]) => self.acquire(key, args),
            ("fenced/acquire", [key, counter]) => self.acquire_fenced(key, counter, args),
            ("reentrant/pass", [key]) => self.pass(key, args),
            ("fenced/pass", [key, counter]) => self.pass_fenced(key, counter, args),
            ("fenced/raise_counter", [counter]) => self.raise_counter(counter, args),
            ("reentrant/release", [key]) => self.release(key, args),
            ("reentrant/force_release", [key]) => self.force_release(key, args),
            ("spin/release", [key]) => self.release_unheard(key, args),
            ("spin/force_release", [key]) => Ok(Reply::Int(i64::from(self.take_away(key)))),
            ("renew/hash", keys) => {
                let mut args = args.iter();
                let mut next = || args.next().ok_or_else(malformed);
                let (mut times, mut more) = ((0, 0), 0);
                let mut answers = Vec::new();
                for key in keys {
                    if more == 0 {
                        times = (number(next()?)?, number(next()?)?);
                        more = number(next()?)?;
                    }
                    more -= 1;
                    answers.push(Reply::Int(self.renew(key, next()?, times)));
                }
                Ok(Reply::Array(answers))
            }
            ("probe/ttl", keys) => {
                let left = keys.iter().map(|key| Reply::Int(self.pttl(key)));
                Ok(Reply::Array(left.collect()))
            }
            ("inspect/hash", [key]) => self.inspect(key),
            ("semaphore/acquire", [mark, key]) => self.acquire_permits(mark, key, args),
            ("semaphore/release", [mark, key]) => self.release_permits(mark, key, args),
            ("semaphore/add", [mark, key]) => self.add_permits(mark, key, args),
            ("semaphore/drain", [mark, key]) => self.drain_permits(mark, key, args),
            ("semaphore/try_set", [mark, key]) => self.try_set_permits(mark, key, args),
            ("semaphore/delete", [mark, all @ ..]) => self.delete_permits(mark, all, args),
            ("probe/semaphore", keys) => {
                let pairs = keys.iter().zip(args);
                let answers = pairs.map(|(key, least)| self.probe_permits(key, least));
                Ok(Reply::Array(answers.map(Reply::Int).collect()))
            }
            ("latch/try_set", [mark, key]) => self.try_set_count(mark, key, args),
            ("latch/count_down", [mark, key]) => self.count_down(mark, key, args),
            ("latch/count", [key]) => self.count(key).map(Reply::Int),
            ("latch/delete", [mark, key]) => self.delete_count(mark, key, args),
            ("probe/latch", keys) => {
                let answers = keys.iter().map(|key| self.probe_count(key));
                Ok(Reply::Array(answers.map(Reply::Int).collect()))
            }
            ("fencing/claim", [key]) => self.claim(key, args),
            ("fencing/set", [key]) => self.set_fenced(key, args),
            (unknown, _) => Err(unsupported(unknown)),
        }
    }

    /// Does a plain command. One that nobody has taught it is refused.
    pub(crate) fn query(&mut self, verb: &str, args: &[Bytes]) -> Outcome {
        match (verb, args) {
            ("EXISTS", [key]) => Ok(Reply::Int(i64::from(self.exists(key)))),
            ("PTTL", [key]) => Ok(Reply::Int(self.pttl(key))),
            ("GET", [key]) => Ok(self.get(key)?.map_or(Reply::Nil, Reply::Text)),
            ("DEL", keys) => {
                let deleted = keys.iter().filter(|key| self.del(key)).count();
                Ok(Reply::Int(i64::try_from(deleted).unwrap_or(i64::MAX)))
            }
            ("PEXPIRE", [key, ms]) => {
                let (there, ms) = (self.exists(key), number(ms)?);
                self.pexpire(key, ms);
                Ok(Reply::Int(i64::from(there)))
            }
            ("PERSIST", [key]) => Ok(Reply::Int(i64::from(self.persist(key)))),
            ("HEXISTS", [key, field]) => {
                let value = self.hget(key, field)?;
                Ok(Reply::Int(i64::from(value.is_some())))
            }
            ("HGET", [key, field]) => Ok(self.hget(key, field)?.map_or(Reply::Nil, Reply::Text)),
            ("HMGET", [key, fields @ ..]) => {
                let values = fields.iter().map(|field| self.hget(key, field));
                let values = values.map(|value| Ok(value?.map_or(Reply::Nil, Reply::Text)));
                Ok(Reply::Array(values.collect::<Result<_, Fault>>()?))
            }
            // No list is ever made here.
            ("LRANGE", [key, _, _]) if self.exists(key) => Err(wrong_type()),
            ("LRANGE", [_, _, _]) => Ok(Reply::Array(Vec::new())),
            ("PUBSUB", [what, channels @ ..]) if what == "NUMSUB" => {
                let pairs = channels.iter().flat_map(|channel| {
                    let heard = self.hearers.get(channel).map_or(0, BTreeSet::len);
                    let heard = i64::try_from(heard).unwrap_or(i64::MAX);
                    [Reply::Text(channel.clone()), Reply::Int(heard)]
                });
                Ok(Reply::Array(pairs.collect()))
            }
            (unknown, _) => Err(unsupported(unknown)),
        }
    }

    pub(crate) fn pttl(&self, key: &Bytes) -> i64 {
        match self.keys.get(key) {
            None => -2,
            Some(Entry { ends: None, .. }) => -1,
            Some(Entry {
                ends: Some(ends), ..
            }) => i64::try_from(ends.saturating_sub(self.now)).unwrap_or(i64::MAX),
        }
    }

    /// A lock as somebody else would have it.
    pub(crate) fn give_to(&mut self, key: &Bytes, field: &Bytes, ms: i64) -> Result<(), Fault> {
        self.take_away(key);
        self.hset(key, field, &Bytes::from_static(b"1"))?;
        self.pexpire(key, ms);
        Ok(())
    }

    fn del(&mut self, key: &Bytes) -> bool {
        let there = self.keys.remove(key).is_some();
        #[cfg(test)]
        if there {
            self.ledger.gone(key, self.now);
        }
        there
    }

    fn pexpire(&mut self, key: &Bytes, ms: i64) {
        let Some(ms) = u64::try_from(ms).ok().filter(|ms| *ms > 0) else {
            self.del(key);
            return;
        };
        if let Some(entry) = self.keys.get_mut(key) {
            entry.ends = Some(self.now.saturating_add(ms));
        }
    }

    fn persist(&mut self, key: &Bytes) -> bool {
        let entry = self.keys.get_mut(key);
        entry.is_some_and(|entry| entry.ends.take().is_some())
    }

    fn exists(&self, key: &Bytes) -> bool {
        self.keys.contains_key(key)
    }

    fn hget(&self, key: &Bytes, field: &Bytes) -> Result<Option<Bytes>, Fault> {
        match self.keys.get(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Hash(fields)) => Ok(fields.get(field).cloned()),
            Some(Value::Text(_)) => Err(wrong_type()),
        }
    }

    fn hset(&mut self, key: &Bytes, field: &Bytes, value: &Bytes) -> Result<(), Fault> {
        let entry = self.keys.entry(key.clone()).or_insert_with(|| Entry {
            value: Value::Hash(BTreeMap::new()),
            ends: None,
        });
        let Value::Hash(fields) = &mut entry.value else {
            return Err(wrong_type());
        };
        let _new = fields.insert(field.clone(), value.clone()).is_none();
        #[cfg(test)]
        if _new {
            self.ledger.granted(key, field);
        }
        Ok(())
    }

    fn get(&self, key: &Bytes) -> Result<Option<Bytes>, Fault> {
        match self.keys.get(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(Value::Hash(_)) => Err(wrong_type()),
        }
    }

    /// Puts a text in the place of whatever there is.
    fn set(&mut self, key: &Bytes, text: Bytes, ends: Option<u64>) {
        let value = Value::Text(text);
        self.keys.insert(key.clone(), Entry { value, ends });
    }

    /// Sets a number and keeps the time to live.
    pub(in crate::engine) fn put(&mut self, key: &Bytes, number: i64) {
        let ends = self.keys.get(key).and_then(|entry| entry.ends);
        self.set(key, number.to_string().into(), ends);
    }

    /// Says something on a channel; how many hear it.
    fn announce(&mut self, call: &Bytes, payload: Bytes) -> Result<i64, Fault> {
        let Some(channel) = call.strip_prefix(b"PUBLISH ") else {
            return Err(malformed());
        };
        let channel = Bytes::copy_from_slice(channel);
        let hearers = self.hearers.get(&channel).cloned().unwrap_or_default();
        let heard = i64::try_from(hearers.len()).unwrap_or(i64::MAX);
        self.said.push(Said {
            channel,
            payload,
            hearers,
        });
        #[cfg(test)]
        if let Some(audience) = self.ledger.audience {
            return Ok(audience);
        }
        Ok(heard)
    }
}

fn ints(numbers: &[i64]) -> Reply {
    Reply::Array(numbers.iter().copied().map(Reply::Int).collect())
}

fn number(text: &Bytes) -> Result<i64, Fault> {
    let number = std::str::from_utf8(text).map(str::parse);
    match number {
        Ok(Ok(number)) => Ok(number),
        _ => Err(refused("ERR value is not an integer or out of range")),
    }
}

fn refused(text: &str) -> Fault {
    Fault::Refused {
        refusal: Refusal::classify(text).unwrap_or(Refusal::Other),
        text: text.to_owned(),
    }
}

fn wrong_type() -> Fault {
    refused("WRONGTYPE Operation against a key holding the wrong kind of value")
}

fn malformed() -> Fault {
    refused("ERR wrong number of arguments")
}

/// What is not known here: a script or a command.
fn unsupported(what: &str) -> Fault {
    Fault::Refused {
        refusal: Refusal::Unsupported,
        text: format!("the server in memory does not know {what}: test it against a real one"),
    }
}
