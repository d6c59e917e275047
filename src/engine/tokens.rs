//! The highest fencing token seen on each name, so that a counter that went backwards is noticed.

use bytes::Bytes;
use dashmap::DashMap;

use super::protocol::Call;

/// Names remembered; past that one is forgotten for each new one.
const NAMES: usize = 65_536;

/// What this client has seen of fencing counters.
#[derive(Debug, Default)]
pub(crate) struct Tokens(DashMap<Bytes, i64>);

impl Tokens {
    /// The highest token seen on the call's name; 0 where none was, or where there are none.
    pub(crate) fn floor(&self, call: &Call) -> i64 {
        if !call.protocol.fenced() {
            return 0;
        }
        self.0.get(&call.name).map_or(0, |seen| *seen)
    }

    /// Notes a token.
    pub(crate) fn note(&self, call: &Call, token: Option<i64>) {
        let Some(token) = token.filter(|_| call.protocol.fenced()) else {
            return;
        };
        if let Some(mut seen) = self.0.get_mut(&call.name) {
            *seen = (*seen).max(token);
            return;
        }
        if self.0.len() >= NAMES {
            // Any will do; taken in a statement of its own, since the iterator locks what it looks at.
            let other = self.0.iter().next().map(|entry| entry.key().clone());
            if let Some(other) = other {
                self.0.remove(&other);
            }
        }
        self.0.insert(call.name.clone(), token);
    }
}

#[cfg(test)]
mod tests;
