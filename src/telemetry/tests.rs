//! What can be said without a server.

#[cfg(feature = "metrics")]
#[test]
fn every_kind_that_scripts_are_for_has_keys_of_its_own() {
    use std::{collections::BTreeSet, fs};

    use super::meters::KINDS;

    // Folders that hold what several kinds share, and what is built on one of them.
    let shared = [
        "access", "election", "fencing", "gather", "inspect", "probe", "publish", "renew",
        "schedule",
    ];
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripts");
    let folders = fs::read_dir(scripts).expect("a folder").map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("a name")
    });
    let folders: BTreeSet<_> = folders
        .filter(|folder| !shared.contains(&folder.as_str()))
        .collect();
    // Those without scripts of their own.
    let borrowing = ["non_reentrant", "non_reentrant_fair"];
    let kinds: BTreeSet<_> = KINDS
        .into_iter()
        .filter(|kind| !borrowing.contains(kind))
        .map(str::to_owned)
        .collect();
    assert_eq!(folders, kinds);
}

#[test]
fn values_of_labels_are_called_what_their_place_says() {
    use super::{End, Outcome, Woken};

    assert_eq!(Outcome::TEXTS[Outcome::Granted as usize], "granted");
    assert_eq!(Outcome::TEXTS[Outcome::Cancelled as usize], "cancelled");
    assert_eq!(End::TEXTS[End::Abandoned as usize], "abandoned");
    assert_eq!(Woken::TEXTS[Woken::Closed as usize], "closed");
}

/// What stands in back quotes in the rows that begin like this, in the guide for those who run it.
#[cfg(feature = "metrics")]
fn documented(row: &str) -> std::collections::BTreeSet<&'static str> {
    let guide = include_str!("../../docs/operations.md");
    let row = guide.lines().find_map(|line| line.strip_prefix(row));
    let words = row.expect("a row").split('`').skip(1).step_by(2);
    // The type that tells the same to a program.
    words.filter(|word| *word != "LossCause").collect()
}

#[cfg(feature = "metrics")]
#[test]
fn all_values_of_labels_are_documented_and_none_besides() {
    use super::{
        End, Outcome, Woken,
        meters::{CAUSES, KINDS},
    };

    assert_eq!(documented("| `kind` |"), KINDS.into());
    assert_eq!(
        documented("| `outcome` of an acquire |"),
        Outcome::TEXTS.into()
    );
    assert_eq!(documented("| `outcome` of a hold |"), End::TEXTS.into());
    assert_eq!(documented("| `cause` |"), CAUSES.into());
    assert_eq!(documented("| `source` |"), Woken::TEXTS.into());
}
