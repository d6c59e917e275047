//! A server in memory: a pure state machine that does what our scripts do, with time as a number.
//!
//! It is compared with a real server in `model.rs`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::engine::{script::Script, transport::Reply};

mod counted;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

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

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// Milliseconds.
    now: u64,
    keys: BTreeMap<Bytes, Entry>,
    known: BTreeSet<&'static str>,
    /// Messages that nobody has carried away yet: channel and payload.
    said: Vec<(Bytes, Bytes)>,
    /// How often each field (by key and name) has been made anew: the number of its tenure.
    tenures: BTreeMap<(Bytes, Bytes), u64>,
    /// Tenures that vanished though nobody gave them back, and when.
    forgotten: BTreeMap<(Bytes, Bytes, u64), u64>,
    /// How many clients hear a message, where a script asks.
    pub(super) audience: i64,
    /// When each key was there last.
    seen: BTreeMap<Bytes, u64>,
}

type Outcome = Result<Reply, String>;

impl Server {
    /// Time goes on.
    pub(super) fn at(&mut self, now: u64) {
        self.now = now;
        let (keys, seen) = (&mut self.keys, &mut self.seen);
        keys.retain(|key, entry| {
            let there = entry.ends.is_none_or(|ends| now <= ends);
            seen.insert(
                key.clone(),
                if there {
                    now
                } else {
                    entry.ends.unwrap_or(now)
                },
            );
            there
        });
    }

    /// Whether the script is known. It is, from now on.
    pub(super) fn learn(&mut self, script: &'static Script) -> bool {
        !self.known.insert(script.name)
    }

    pub(super) fn forget_scripts(&mut self) {
        self.known.clear();
    }

    /// Everything is gone.
    pub(super) fn empty(&mut self) {
        for key in self.keys.keys().cloned().collect::<Vec<_>>() {
            self.bereave(&key);
        }
        self.keys.clear();
    }

    /// Notes that whoever holds `key` is about to lose it without a word.
    fn bereave(&mut self, key: &Bytes) {
        if let Some(Entry {
            value: Value::Hash(fields),
            ..
        }) = self.keys.get(key)
        {
            for field in fields.keys() {
                let hold = (key.clone(), field.clone());
                let tenure = self.tenures.get(&hold).copied().unwrap_or(0);
                let (key, field) = hold;
                self.forgotten.insert((key, field, tenure), self.now);
            }
        }
    }

    /// Which tenure of a field is the latest.
    pub(super) fn tenure(&self, key: &Bytes, field: &Bytes) -> u64 {
        let hold = (key.clone(), field.clone());
        self.tenures.get(&hold).copied().unwrap_or(0)
    }

    /// When a tenure vanished that its holder had not given back.
    pub(super) fn forgot(&self, key: &Bytes, field: &Bytes, tenure: u64) -> Option<u64> {
        let hold = (key.clone(), field.clone(), tenure);
        self.forgotten.get(&hold).copied()
    }

    /// Since when a key is free; `None` while it is not.
    pub(super) fn free_since(&self, key: &Bytes) -> Option<u64> {
        (!self.keys.contains_key(key)).then(|| self.seen.get(key).copied().unwrap_or(0))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.keys()
    }

    /// The fields of a hash; none where it is something else.
    pub(super) fn fields(&self, key: &Bytes) -> BTreeMap<Bytes, Bytes> {
        match self.keys.get(key).map(|entry| &entry.value) {
            Some(Value::Hash(fields)) => fields.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// Messages said since the last time.
    pub(super) fn take_said(&mut self) -> Vec<(Bytes, Bytes)> {
        std::mem::take(&mut self.said)
    }

    pub(super) fn set(&mut self, key: &Bytes, text: &'static str) {
        let value = Value::Text(Bytes::from_static(text.as_bytes()));
        self.keys.insert(key.clone(), Entry { value, ends: None });
    }

    pub(super) fn del(&mut self, key: &Bytes) -> bool {
        self.seen.insert(key.clone(), self.now);
        self.keys.remove(key).is_some()
    }

    pub(super) fn pttl(&self, key: &Bytes) -> i64 {
        match self.keys.get(key) {
            None => -2,
            Some(Entry { ends: None, .. }) => -1,
            Some(Entry {
                ends: Some(ends), ..
            }) => (*ends - self.now) as i64,
        }
    }

    fn pexpire(&mut self, key: &Bytes, ms: i64) {
        let ends = u64::try_from(ms).unwrap_or(0) + self.now;
        if let Some(entry) = self.keys.get_mut(key) {
            entry.ends = Some(ends);
        }
    }

    fn exists(&self, key: &Bytes) -> bool {
        self.keys.contains_key(key)
    }

    fn hget(&self, key: &Bytes, field: &Bytes) -> Result<Option<Bytes>, String> {
        match self.keys.get(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Hash(fields)) => Ok(fields.get(field).cloned()),
            Some(Value::Text(_)) => Err(WRONG_TYPE.to_owned()),
        }
    }

    fn hset(&mut self, key: &Bytes, field: &Bytes, value: &Bytes) -> Result<(), String> {
        let entry = self.keys.entry(key.clone()).or_insert_with(|| Entry {
            value: Value::Hash(BTreeMap::new()),
            ends: None,
        });
        match &mut entry.value {
            Value::Hash(fields) => {
                if fields.insert(field.clone(), value.clone()).is_none() {
                    let hold = (key.clone(), field.clone());
                    *self.tenures.entry(hold).or_default() += 1;
                }
                self.seen.insert(key.clone(), self.now);
                Ok(())
            }
            Value::Text(_) => Err(WRONG_TYPE.to_owned()),
        }
    }

    fn get(&self, key: &Bytes) -> Result<Option<Bytes>, String> {
        match self.keys.get(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(Value::Hash(_)) => Err(WRONG_TYPE.to_owned()),
        }
    }

    fn announce(&mut self, call: &Bytes, message: Bytes) {
        let call = std::str::from_utf8(call).expect("text");
        let (how, channel) = call.split_once(' ').expect("a word, a blank and a channel");
        assert_eq!(how, "PUBLISH", "one server");
        let channel = Bytes::copy_from_slice(channel.as_bytes());
        self.said.push((channel, message));
    }

    /// Does what the script of this name does.
    ///
    /// # Panics
    ///
    /// For a script nobody has taught it, with its name.
    pub(super) fn run(&mut self, script: &str, keys: &[Bytes], args: &[Bytes]) -> Outcome {
        match script {
            "reentrant/acquire" => self.acquire(&keys[0], args),
            "fenced/acquire" => self.acquire_fenced(&keys[0], &keys[1], args),
            "reentrant/pass" => self.pass(&keys[0], args),
            "fenced/pass" => self.pass_fenced(&keys[0], &keys[1], args),
            "fenced/raise_counter" => self.raise_counter(&keys[0], &args[0]),
            "reentrant/release" => self.release(&keys[0], args),
            "reentrant/force_release" => {
                self.bereave(&keys[0]);
                if !self.del(&keys[0]) {
                    return Ok(Reply::Int(0));
                }
                self.announce(&args[0], Bytes::from_static(b"0"));
                Ok(Reply::Int(1))
            }
            "renew/hash" => {
                let mut args = args.iter();
                let (mut times, mut more) = ((0, 0), 0);
                let answers = keys.iter().map(|key| {
                    let mut next = || args.next().cloned().unwrap_or_default();
                    if more == 0 {
                        times = (number(&next()), number(&next()));
                        more = number(&next());
                    }
                    more -= 1;
                    Reply::Int(self.renew(key, &next(), times))
                });
                Ok(Reply::Array(answers.collect()))
            }
            "probe/ttl" => {
                let left = keys.iter().map(|key| Reply::Int(self.pttl(key)));
                Ok(Reply::Array(left.collect()))
            }
            "inspect/hash" => {
                if self.get(&keys[0]).is_ok_and(|text| text.is_some()) {
                    return Err(WRONG_TYPE.to_owned());
                }
                let mut answer = vec![Reply::Int(self.pttl(&keys[0]))];
                for (field, value) in self.fields(&keys[0]) {
                    answer.extend([Reply::Text(field), Reply::Text(value)]);
                }
                Ok(Reply::Array(answer))
            }
            "semaphore/acquire" => self.acquire_permits(keys, args),
            "semaphore/release" => self.release_permits(keys, args),
            "probe/semaphore" => {
                let pairs = keys.iter().zip(args);
                let answers = pairs.map(|(key, least)| self.probe_permits(key, least));
                Ok(Reply::Array(answers.map(Reply::Int).collect()))
            }
            unknown => panic!("the simulated server does not know {unknown}"),
        }
    }

    /// Does a plain command.
    ///
    /// # Panics
    ///
    /// For one nobody has taught it, with its name.
    pub(super) fn query(&mut self, verb: &str, args: &[Bytes]) -> Outcome {
        match verb {
            "EXISTS" => Ok(Reply::Int(i64::from(self.exists(&args[0])))),
            "PTTL" => Ok(Reply::Int(self.pttl(&args[0]))),
            "GET" => Ok(self.get(&args[0])?.map_or(Reply::Nil, Reply::Text)),
            "DEL" => {
                let deleted = args.iter().filter(|key| self.del(key)).count();
                Ok(Reply::Int(deleted as i64))
            }
            "HEXISTS" => {
                let value = self.hget(&args[0], &args[1])?;
                Ok(Reply::Int(i64::from(value.is_some())))
            }
            "HGET" => Ok(self
                .hget(&args[0], &args[1])?
                .map_or(Reply::Nil, Reply::Text)),
            unknown => panic!("the simulated server does not know {unknown}"),
        }
    }

    fn acquire(&mut self, key: &Bytes, args: &[Bytes]) -> Outcome {
        let [ttl, field, holds] = args else {
            panic!("three arguments")
        };
        if !self.exists(key) {
            if holds != "1" {
                return Ok(ints(&[2, 0]));
            }
            self.hset(key, field, holds)?;
            self.pexpire(key, number(ttl));
            return Ok(ints(&[1, 1]));
        }
        if self.hget(key, field)?.is_none() {
            return Ok(ints(&[0, self.pttl(key)]));
        }
        self.hset(key, field, holds)?;
        self.outlast(key, ttl);
        Ok(ints(&[1, number(holds)]))
    }

    fn acquire_fenced(&mut self, key: &Bytes, counter: &Bytes, args: &[Bytes]) -> Outcome {
        let [ttl, field, holds, floor, token] = args else {
            panic!("five arguments")
        };
        let free = !self.exists(key);
        if free && holds != "1" {
            return Ok(ints(&[2, 0]));
        }
        if !free && self.hget(key, field)?.is_none() {
            return Ok(ints(&[0, self.pttl(key)]));
        }
        let mut token = number(token);
        if free || token == 0 {
            let count = self.get(counter)?.map_or(0, |text| number(&text));
            if count < number(floor) {
                return Ok(ints(&[3, count]));
            }
            token = count + 1;
            self.put(counter, token);
        }
        self.hset(key, field, holds)?;
        self.outlast(key, ttl);
        Ok(ints(&[1, number(holds), token]))
    }

    fn raise_counter(&mut self, counter: &Bytes, least: &Bytes) -> Outcome {
        let count = self.get(counter)?.map_or(0, |text| number(&text));
        if count >= number(least) {
            return Ok(Reply::Int(count));
        }
        self.put(counter, number(least));
        Ok(Reply::Int(number(least)))
    }

    fn release(&mut self, key: &Bytes, args: &[Bytes]) -> Outcome {
        let [field, holds, ttl, announcement] = args else {
            panic!("four arguments")
        };
        if self.hget(key, field)?.is_none() {
            return Ok(Reply::Nil);
        }
        if holds != "0" {
            self.pexpire(key, number(ttl));
            self.hset(key, field, holds)?;
            return Ok(Reply::Int(0));
        }
        self.del(key);
        self.announce(announcement, Bytes::from_static(b"0"));
        let others = self.audience - 1;
        Ok(Reply::Int(if others > 0 { 2 + others } else { 1 }))
    }

    fn pass(&mut self, key: &Bytes, args: &[Bytes]) -> Outcome {
        if self.hget(key, &args[0])?.is_none() {
            return Ok(Reply::Nil);
        }
        self.hand_over(key, args)?;
        Ok(ints(&[1, 1]))
    }

    fn pass_fenced(&mut self, key: &Bytes, counter: &Bytes, args: &[Bytes]) -> Outcome {
        if self.hget(key, &args[0])?.is_none() {
            return Ok(Reply::Nil);
        }
        let count = self.get(counter)?.map_or(0, |text| number(&text));
        if count < number(&args[3]) {
            return Ok(ints(&[3, count]));
        }
        self.put(counter, count + 1);
        self.hand_over(key, args)?;
        Ok(ints(&[1, 1, count + 1]))
    }

    fn hand_over(&mut self, key: &Bytes, args: &[Bytes]) -> Result<(), String> {
        self.del(key);
        self.hset(key, &args[1], &Bytes::from_static(b"1"))?;
        self.pexpire(key, number(&args[2]));
        Ok(())
    }

    fn renew(&mut self, key: &Bytes, field: &Bytes, (ttl, most): (i64, i64)) -> i64 {
        match self.hget(key, field) {
            Err(_) => -2,
            Ok(Some(_)) => {
                let left = self.pttl(key);
                if ttl > 0 && (ttl >= most || left < ttl) {
                    self.pexpire(key, ttl);
                } else if ttl > 0 && left > 2 * most {
                    self.pexpire(key, most);
                }
                1
            }
            Ok(None) => -i64::from(self.exists(key)),
        }
    }

    /// Raises the time to live, and never lowers it.
    fn outlast(&mut self, key: &Bytes, ttl: &Bytes) {
        if self.pttl(key) < number(ttl) {
            self.pexpire(key, number(ttl));
        }
    }

    pub(super) fn put(&mut self, key: &Bytes, number: i64) {
        let value = Value::Text(number.to_string().into());
        let ends = self.keys.get(key).and_then(|entry| entry.ends);
        self.keys.insert(key.clone(), Entry { value, ends });
    }
}

fn ints(numbers: &[i64]) -> Reply {
    Reply::Array(numbers.iter().copied().map(Reply::Int).collect())
}

fn number(text: &Bytes) -> i64 {
    let text = std::str::from_utf8(text).expect("text");
    text.parse().expect("a number")
}
