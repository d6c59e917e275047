//! Readers and writers of both sides at one lock.

mod dead;
mod force;
mod keep;
mod share;
mod wake;

use std::collections::BTreeMap;

use redlatch_support::Direct;

/// The hash with this mode and these fields.
fn hash(mode: &str, fields: &[(&str, u32)]) -> BTreeMap<String, String> {
    let fields = fields
        .iter()
        .map(|(field, count)| ((*field).to_owned(), count.to_string()));
    fields
        .chain([("mode".to_owned(), mode.to_owned())])
        .collect()
}

/// The marker of an owner's hold of this number, worked out apart from the crate.
fn marker(key: &str, owner: &str, hold: u32) -> String {
    format!("{{{key}}}:{owner}:rwlock_timeout:{hold}")
}

/// This owner has so many markers, and each lasts between `least` and `most` milliseconds.
#[track_caller]
fn assert_markers(direct: &Direct, key: &str, owner: &str, count: u32, least: i64, most: i64) {
    for hold in 1..=count {
        let left = direct.pttl(&marker(key, owner, hold));
        assert!(
            (least..=most).contains(&left),
            "marker {hold} of {owner} has {left} ms left"
        );
    }
    let next = marker(key, owner, count + 1);
    assert!(!direct.exists(&next), "{next} is there");
}
