//! What fenced cells do: a token and a value.

use bytes::Bytes;

use super::{Outcome, Server, malformed, number};
use crate::engine::transport::{Fault, Reply};

const TOKEN: Bytes = Bytes::from_static(b"token");
const VALUE: Bytes = Bytes::from_static(b"value");

impl Server {
    pub(super) fn claim(&mut self, key: &Bytes, args: &[Bytes]) -> Outcome {
        let [token] = args else {
            return Err(malformed());
        };
        if let Some(refusal) = self.stale(key, token)? {
            return Ok(refusal);
        }
        self.hset(key, &TOKEN, token)?;
        let value = self.hget(key, &VALUE)?.map_or(Reply::Nil, Reply::Text);
        let answer = [Reply::Int(1), Reply::Int(number(token)?), value];
        Ok(Reply::Array(answer.into()))
    }

    pub(super) fn set_fenced(&mut self, key: &Bytes, args: &[Bytes]) -> Outcome {
        let [token, value] = args else {
            return Err(malformed());
        };
        if let Some(refusal) = self.stale(key, token)? {
            return Ok(refusal);
        }
        self.hset(key, &TOKEN, token)?;
        self.hset(key, &VALUE, value)?;
        Ok(super::ints(&[1, number(token)?]))
    }

    fn stale(&self, key: &Bytes, token: &Bytes) -> Result<Option<Reply>, Fault> {
        let newest = self.hget(key, &TOKEN)?;
        let newest = newest.as_ref().map_or(Ok(0), number)?;
        Ok((newest > number(token)?).then(|| super::ints(&[0, newest])))
    }
}
