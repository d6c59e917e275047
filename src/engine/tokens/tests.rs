//! Whose floor is kept, and for how many names.

use super::*;
use crate::lock::{Fenced, Reentrant, kind::sealed::Sealed};

fn call(name: usize) -> Call {
    Call {
        name: name.to_string().into(),
        ..Call::example(Fenced::protocol(), 1)
    }
}

#[test]
fn each_name_has_a_floor_of_its_own() {
    let tokens = Tokens::default();
    for name in 1..=3 {
        tokens.note(&call(name), Some(name as i64 * 10));
    }
    tokens.note(&call(1), Some(4));
    tokens.note(&call(2), None);
    let floors = [1, 2, 3, 4].map(|name| tokens.floor(&call(name)));
    assert_eq!(floors, [10, 20, 30, 0]);
    let plain = Call {
        protocol: Reentrant::protocol(),
        ..call(1)
    };
    tokens.note(&plain, Some(99));
    assert_eq!(tokens.floor(&plain), 0, "no numbers");
    assert_eq!(tokens.floor(&call(1)), 10);
}

#[test]
fn no_more_names_are_kept_than_a_client_can_afford() {
    let tokens = Tokens::default();
    for name in 0..NAMES + 3 {
        tokens.note(&call(name), Some(1));
    }
    assert_eq!(tokens.0.len(), NAMES);
    assert_eq!(tokens.floor(&call(NAMES + 2)), 1, "the latest is kept");
}
