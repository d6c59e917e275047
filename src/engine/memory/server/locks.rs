//! What locks do: a hash, a field for each owner.

use bytes::Bytes;

use super::{Outcome, Server, ints, malformed, number};
use crate::engine::transport::{Fault, Reply};

impl Server {
    pub(super) fn acquire(&mut self, key: &Bytes, args: &[Bytes]) -> Outcome {
        let [ttl, field, holds] = args else {
            return Err(malformed());
        };
        if !self.exists(key) {
            if holds != "1" {
                return Ok(ints(&[2, 0]));
            }
            self.hset(key, field, holds)?;
            self.pexpire(key, number(ttl)?);
            return Ok(ints(&[1, 1]));
        }
        if self.hget(key, field)?.is_none() {
            return Ok(ints(&[0, self.pttl(key)]));
        }
        self.hset(key, field, holds)?;
        self.outlast(key, number(ttl)?);
        Ok(ints(&[1, number(holds)?]))
    }

    pub(super) fn acquire_fenced(
        &mut self,
        key: &Bytes,
        counter: &Bytes,
        args: &[Bytes],
    ) -> Outcome {
        let [ttl, field, holds, floor, token] = args else {
            return Err(malformed());
        };
        let free = !self.exists(key);
        if free && holds != "1" {
            return Ok(ints(&[2, 0]));
        }
        if !free && self.hget(key, field)?.is_none() {
            return Ok(ints(&[0, self.pttl(key)]));
        }
        let mut token = number(token)?;
        if free || token == 0 {
            let count = self.value(counter)?;
            if count < number(floor)? {
                return Ok(ints(&[3, count]));
            }
            token = count + 1;
            self.put(counter, token);
        }
        self.hset(key, field, holds)?;
        self.outlast(key, number(ttl)?);
        Ok(ints(&[1, number(holds)?, token]))
    }

    pub(super) fn raise_counter(&mut self, counter: &Bytes, args: &[Bytes]) -> Outcome {
        let [least] = args else {
            return Err(malformed());
        };
        let (count, least) = (self.value(counter)?, number(least)?);
        if count >= least {
            return Ok(Reply::Int(count));
        }
        self.put(counter, least);
        Ok(Reply::Int(least))
    }

    pub(super) fn release(&mut self, key: &Bytes, args: &[Bytes]) -> Outcome {
        let [rest @ .., announcement] = args else {
            return Err(malformed());
        };
        let reply = self.release_unheard(key, rest)?;
        if reply != Reply::Int(1) {
            return Ok(reply);
        }
        let heard = self.announce(announcement, Bytes::from_static(b"0"))?;
        Ok(Reply::Int(if heard > 1 { heard + 1 } else { 1 }))
    }

    pub(super) fn release_unheard(&mut self, key: &Bytes, args: &[Bytes]) -> Outcome {
        let [field, holds, ttl] = args else {
            return Err(malformed());
        };
        if self.hget(key, field)?.is_none() {
            return Ok(Reply::Nil);
        }
        if holds != "0" {
            self.pexpire(key, number(ttl)?);
            self.hset(key, field, holds)?;
            return Ok(Reply::Int(0));
        }
        self.del(key);
        Ok(Reply::Int(1))
    }

    pub(super) fn force_release(&mut self, key: &Bytes, args: &[Bytes]) -> Outcome {
        let [announcement] = args else {
            return Err(malformed());
        };
        if !self.take_away(key) {
            return Ok(Reply::Int(0));
        }
        self.announce(announcement, Bytes::from_static(b"0"))?;
        Ok(Reply::Int(1))
    }

    pub(super) fn pass(&mut self, key: &Bytes, args: &[Bytes]) -> Outcome {
        let [from, to, ttl] = args else {
            return Err(malformed());
        };
        if self.hget(key, from)?.is_none() {
            return Ok(Reply::Nil);
        }
        self.hand_over(key, to, number(ttl)?)?;
        Ok(ints(&[1, 1]))
    }

    pub(super) fn pass_fenced(&mut self, key: &Bytes, counter: &Bytes, args: &[Bytes]) -> Outcome {
        let [from, to, ttl, floor] = args else {
            return Err(malformed());
        };
        if self.hget(key, from)?.is_none() {
            return Ok(Reply::Nil);
        }
        let count = self.value(counter)?;
        if count < number(floor)? {
            return Ok(ints(&[3, count]));
        }
        self.put(counter, count + 1);
        self.hand_over(key, to, number(ttl)?)?;
        Ok(ints(&[1, 1, count + 1]))
    }

    fn hand_over(&mut self, key: &Bytes, to: &Bytes, ttl: i64) -> Result<(), Fault> {
        self.del(key);
        self.hset(key, to, &Bytes::from_static(b"1"))?;
        self.pexpire(key, ttl);
        Ok(())
    }

    pub(super) fn renew(&mut self, key: &Bytes, field: &Bytes, (ttl, most): (i64, i64)) -> i64 {
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

    pub(super) fn inspect(&self, key: &Bytes) -> Outcome {
        if self.get(key).is_ok_and(|text| text.is_some()) {
            return Err(super::wrong_type());
        }
        let mut answer = vec![Reply::Int(self.pttl(key))];
        for (field, value) in self.fields(key) {
            answer.extend([Reply::Text(field), Reply::Text(value)]);
        }
        Ok(Reply::Array(answer))
    }

    /// Raises the time to live, and never lowers it.
    fn outlast(&mut self, key: &Bytes, ttl: i64) {
        if self.pttl(key) < ttl {
            self.pexpire(key, ttl);
        }
    }
}
