//! What semaphores and latches do: numbers, and marks that say what has been done.

use bytes::Bytes;

use super::{Outcome, Server, malformed, number, refused};
use crate::engine::transport::{Fault, Reply};

/// A mark's request and its time to live, and what follows them.
fn split(args: &[Bytes]) -> Result<(&[Bytes; 2], &[Bytes]), Fault> {
    args.split_first_chunk().ok_or_else(malformed)
}

/// What has not been done.
fn nothing() -> Reply {
    Reply::Array(vec![Reply::Nil, Reply::Int(1)])
}

fn done(answer: Reply) -> Reply {
    Reply::Array(vec![answer, Reply::Int(1)])
}

impl Server {
    pub(super) fn acquire_permits(&mut self, mark: &Bytes, key: &Bytes, args: &[Bytes]) -> Outcome {
        let (request, wanted) = split(args)?;
        let free = self.value(key)?;
        let (mut taken, mut answer) = (0, String::new());
        for wanted in wanted {
            let wanted = number(wanted)?;
            let fits = free - taken >= wanted;
            taken += if fits { wanted } else { 0 };
            answer.push(if fits { '1' } else { '0' });
        }
        if taken > 0 {
            self.incrby(key, -taken)?;
            self.mark(mark, request, &answer)?;
        }
        Ok(done(Reply::Text(answer.into())))
    }

    pub(super) fn release_permits(&mut self, mark: &Bytes, key: &Bytes, args: &[Bytes]) -> Outcome {
        let (request, [permits, announcement, if_there]) = split(args)? else {
            return Err(malformed());
        };
        if if_there == "1" && !self.exists(key) {
            return Ok(nothing());
        }
        let total = self.incrby(key, number(permits)?)?;
        self.mark(mark, request, &total.to_string())?;
        self.announce(announcement, total.to_string().into())?;
        Ok(done(Reply::Int(total)))
    }

    pub(super) fn add_permits(&mut self, mark: &Bytes, key: &Bytes, args: &[Bytes]) -> Outcome {
        let (request, [permits, announcement]) = split(args)? else {
            return Err(malformed());
        };
        let total = self.incrby(key, number(permits)?)?;
        self.persist(key);
        self.mark(mark, request, &total.to_string())?;
        self.announce(announcement, total.to_string().into())?;
        Ok(done(Reply::Int(total)))
    }

    pub(super) fn drain_permits(&mut self, mark: &Bytes, key: &Bytes, args: &[Bytes]) -> Outcome {
        let (request, _) = split(args)?;
        let Some(all) = self.get(key)? else {
            return Ok(nothing());
        };
        number(&all).map_err(|_| not_a_number())?;
        self.set(key, Bytes::from_static(b"0"), None);
        self.mark(mark, request, &String::from_utf8_lossy(&all))?;
        Ok(done(Reply::Text(all)))
    }

    pub(super) fn try_set_permits(&mut self, mark: &Bytes, key: &Bytes, args: &[Bytes]) -> Outcome {
        let (request, [permits, announcement, ttl]) = split(args)? else {
            return Err(malformed());
        };
        if self.get(key)?.is_some() {
            return Ok(nothing());
        }
        let ttl = u64::try_from(number(ttl)?).unwrap_or(0);
        let ends = (ttl > 0).then(|| self.now.saturating_add(ttl));
        self.set(key, permits.clone(), ends);
        self.mark(mark, request, &String::from_utf8_lossy(permits))?;
        self.announce(announcement, permits.clone())?;
        Ok(done(Reply::Text(permits.clone())))
    }

    pub(super) fn delete_permits(
        &mut self,
        mark: &Bytes,
        all: &[Bytes],
        args: &[Bytes],
    ) -> Outcome {
        let (request, _) = split(args)?;
        let deleted = all.iter().filter(|key| self.del(key)).count();
        if deleted == 0 {
            return Ok(nothing());
        }
        self.mark(mark, request, "1")?;
        Ok(done(Reply::Int(1)))
    }

    pub(super) fn probe_permits(&self, key: &Bytes, least: &Bytes) -> i64 {
        let too_few = |free: &Bytes| number(free).unwrap_or(0) < number(least).unwrap_or(0);
        match self.get(key) {
            Ok(None) => -1,
            Ok(Some(free)) if too_few(&free) => -1,
            _ => -2,
        }
    }

    pub(super) fn try_set_count(&mut self, mark: &Bytes, key: &Bytes, args: &[Bytes]) -> Outcome {
        let (request, [count, announcement]) = split(args)? else {
            return Err(malformed());
        };
        if self.exists(key) {
            return Ok(nothing());
        }
        self.set(key, count.clone(), None);
        self.mark(mark, request, &String::from_utf8_lossy(count))?;
        self.announce(announcement, Bytes::from_static(b"1"))?;
        Ok(done(Reply::Text(count.clone())))
    }

    pub(super) fn count_down(&mut self, mark: &Bytes, key: &Bytes, args: &[Bytes]) -> Outcome {
        let (request, [by, announcement]) = split(args)? else {
            return Err(malformed());
        };
        let (before, by) = (self.count(key)?, number(by)?);
        let left = (before - by).max(0);
        if left > 0 {
            self.incrby(key, -by)?;
        } else {
            self.del(key);
        }
        self.mark(mark, request, &left.to_string())?;
        if left == 0 && before > 0 {
            self.announce(announcement, Bytes::from_static(b"0"))?;
        }
        Ok(done(Reply::Int(left)))
    }

    pub(super) fn delete_count(&mut self, mark: &Bytes, key: &Bytes, args: &[Bytes]) -> Outcome {
        let (request, [announcement]) = split(args)? else {
            return Err(malformed());
        };
        if !self.del(key) {
            return Ok(nothing());
        }
        self.mark(mark, request, "1")?;
        self.announce(announcement, Bytes::from_static(b"1"))?;
        Ok(done(Reply::Int(1)))
    }

    pub(super) fn count(&self, key: &Bytes) -> Result<i64, Fault> {
        self.value(key)
    }

    pub(super) fn probe_count(&self, key: &Bytes) -> i64 {
        let closed = self.count(key).is_ok_and(|count| count > 0);
        if closed { -1 } else { -2 }
    }

    /// The number in a key; zero where there is none.
    pub(super) fn value(&self, key: &Bytes) -> Result<i64, Fault> {
        let text = self.get(key)?;
        text.as_ref()
            .map_or(Ok(0), |text| number(text).map_err(|_| not_a_number()))
    }

    fn incrby(&mut self, key: &Bytes, n: i64) -> Result<i64, Fault> {
        let total = self.value(key)?.checked_add(n);
        let total = total.ok_or_else(|| refused("ERR increment or decrement would overflow"))?;
        self.put(key, total);
        Ok(total)
    }

    fn mark(&mut self, mark: &Bytes, request: &[Bytes; 2], answer: &str) -> Result<(), Fault> {
        let [request, ttl] = request;
        let text = format!("{}:{answer}", String::from_utf8_lossy(request));
        let ttl = u64::try_from(number(ttl)?).unwrap_or(0);
        self.set(mark, text.into(), Some(self.now.saturating_add(ttl)));
        Ok(())
    }
}

fn not_a_number() -> Fault {
    refused("WRONGTYPE the value is not a number")
}
