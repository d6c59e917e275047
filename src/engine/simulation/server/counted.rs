//! What semaphores do: numbers, and marks that say what has been done.

use bytes::Bytes;

use super::{Entry, Outcome, Server, Value, number};
use crate::engine::transport::Reply;

impl Server {
    pub(super) fn acquire_permits(&mut self, keys: &[Bytes], args: &[Bytes]) -> Outcome {
        let free = self.get(&keys[1])?.map_or(0, |text| number(&text));
        let (mut taken, mut answer) = (0, String::new());
        for wanted in args[2..].iter().map(number) {
            let fits = free - taken >= wanted;
            taken += if fits { wanted } else { 0 };
            answer.push(if fits { '1' } else { '0' });
        }
        if taken > 0 {
            self.incrby(&keys[1], -taken)?;
            self.mark(&keys[0], args, &answer);
        }
        Ok(Reply::Array(vec![
            Reply::Text(answer.into()),
            Reply::Int(1),
        ]))
    }

    pub(super) fn release_permits(&mut self, keys: &[Bytes], args: &[Bytes]) -> Outcome {
        let [_, _, permits, announcement, if_there] = args else {
            panic!("five arguments")
        };
        if if_there == "1" && !self.exists(&keys[1]) {
            return Ok(Reply::Array(vec![Reply::Nil, Reply::Int(1)]));
        }
        let total = self.incrby(&keys[1], number(permits))?;
        self.mark(&keys[0], args, &total.to_string());
        self.announce(announcement, total.to_string().into());
        Ok(super::ints(&[total, 1]))
    }

    pub(super) fn probe_permits(&self, key: &Bytes, least: &Bytes) -> i64 {
        match self.get(key) {
            Ok(None) => -1,
            Ok(Some(free)) if number(&free) < number(least) => -1,
            _ => -2,
        }
    }

    /// The number in a key; `None` where there is none.
    pub(in super::super) fn number(&self, key: &Bytes) -> Option<i64> {
        self.get(key).ok()?.map(|text| number(&text))
    }

    fn incrby(&mut self, key: &Bytes, n: i64) -> Result<i64, String> {
        let total = self.get(key)?.map_or(0, |text| number(&text)) + n;
        self.put(key, total);
        Ok(total)
    }

    fn mark(&mut self, mark: &Bytes, args: &[Bytes], answer: &str) {
        let request = String::from_utf8_lossy(&args[0]);
        let value = Value::Text(format!("{request}:{answer}").into());
        let ends = Some(self.now + number(&args[1]) as u64);
        self.keys.insert(mark.clone(), Entry { value, ends });
    }
}
