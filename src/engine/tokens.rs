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
mod tests {
    use super::*;
    use crate::lock::{fenced::Fenced, kind::sealed::Sealed, reentrant::Reentrant};

    fn call(name: &str) -> Call {
        Call {
            name: Bytes::copy_from_slice(name.as_bytes()),
            ..Call::example(Fenced::protocol(), 1)
        }
    }

    #[test]
    fn the_highest_token_of_each_name_is_kept() {
        let tokens = Tokens::default();
        for (name, token) in [("a", 5), ("b", 7), ("a", 3), ("c", 1)] {
            tokens.note(&call(name), Some(token));
        }
        assert_eq!(tokens.floor(&call("a")), 5);
        assert_eq!(tokens.floor(&call("b")), 7);
        assert_eq!(tokens.floor(&call("c")), 1);
        assert_eq!(tokens.floor(&call("d")), 0);
        tokens.note(&call("a"), None);
        assert_eq!(tokens.floor(&call("a")), 5);
    }

    #[test]
    fn a_kind_without_tokens_has_no_floor() {
        let tokens = Tokens::default();
        let plain = Call::example(Reentrant::protocol(), 1);
        tokens.note(&plain, Some(5));
        assert_eq!(tokens.floor(&plain), 0);
        assert!(tokens.0.is_empty());
        tokens.note(&call("n"), Some(5));
        assert_eq!(tokens.floor(&plain), 0, "whoever else uses the name");
    }

    #[test]
    fn no_more_names_are_remembered_than_said() {
        let tokens = Tokens::default();
        for number in 0..NAMES + 3 {
            tokens.note(&call(&number.to_string()), Some(1));
        }
        assert_eq!(tokens.0.len(), NAMES);
        let last = call(&(NAMES + 2).to_string());
        assert_eq!(tokens.floor(&last), 1);
    }
}
