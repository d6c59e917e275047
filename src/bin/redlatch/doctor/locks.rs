//! Locks that are stuck, or will be.

use std::collections::{BTreeMap, BTreeSet};

use redlatch::{console::Names, fred::util::redis_keyslot};

use super::{Finding, Weight};
use crate::{
    exit::Failure,
    look::{
        find::{find, find_markers},
        glob::matches,
        thing::{Sort, Thing},
    },
    server::{Server, number},
    span,
};

/// A place whose deadline has been over for this long, or that does not listen, holds up a fair lock that is free.
const PATIENCE_MS: i64 = 1_000;

/// How many things were looked at, and what was found.
pub(super) async fn examine(
    server: &Server,
    pattern: &str,
) -> Result<(usize, Vec<Finding>), Failure> {
    let things = find(server, pattern, false).await?;
    let mut findings = Vec::new();
    for thing in &things {
        findings.extend(judge(thing));
        findings.extend(split(thing, server.is_cluster));
    }
    findings.extend(stray_markers(server, pattern, &things).await?);
    Ok((things.len(), findings))
}

fn judge(thing: &Thing) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |weight, check, message: String, advice| {
        findings.push(Finding::new(weight, check, &thing.name, message, advice));
    };
    if thing.no_ttl && thing.held == Some(true) {
        find(
            Weight::Problem,
            "no-ttl",
            "it is held and has no time to live: if its holder is gone, it stays held for ever"
                .to_owned(),
            "find out who has run PERSIST or written it by hand; `redlatch unlock --force` if the holder is gone",
        );
    }
    let without = thing
        .queue
        .iter()
        .position(|place| place.deadline_in_ms.is_none());
    if let Some(at) = without {
        find(
            Weight::Problem,
            "fair-queue",
            format!(
                "{} stands at place {} of the queue without a deadline: nobody behind it will ever get in",
                thing.queue[at].owner,
                at + 1
            ),
            "LREM it from the queue if its process is gone",
        );
    }
    if let Some(head) = thing.queue.first()
        && thing.held == Some(false)
        && !head.listening
    {
        let when = match head.deadline_in_ms {
            Some(ms) if ms > 0 => format!("for {} at most", span::shown(ms.unsigned_abs())),
            Some(_) => "until somebody asks for the lock".to_owned(),
            None => "for ever".to_owned(),
        };
        find(
            Weight::Warning,
            "fair-queue",
            format!(
                "it is free, and the next, {}, does not listen: {} wait {when}",
                head.owner,
                thing.queue.len() - 1
            ),
            "its process is gone, or sleeps between two looks; who asks next puts it out when its deadline is over",
        );
    } else if let Some(head) = thing.queue.first()
        && thing.held == Some(false)
        && head.deadline_in_ms.is_some_and(|ms| ms < -PATIENCE_MS)
    {
        find(
            Weight::Warning,
            "fair-queue",
            format!(
                "it is free, and the deadline of the next, {}, is over",
                head.owner
            ),
            "who asks for the lock next puts it out",
        );
    }
    for owner in &thing.owners {
        if owner.markers_ms.as_ref().is_some_and(Vec::is_empty) {
            find(
                Weight::Warning,
                "reader",
                format!(
                    "reader {} has no marker any more: it is gone, and the lock is kept by others",
                    owner.owner
                ),
                "nothing: it is thrown out when the others have left",
            );
        }
    }
    if thing.kind == Sort::ExpirableSemaphore {
        let over = thing
            .permits
            .iter()
            .filter(|permit| permit.lease_left_ms.is_some_and(|ms| ms < 0));
        let over = over.count();
        if over > 0 {
            find(
                Weight::Note,
                "permits",
                format!("{over} permits whose lease is over have not been taken back"),
                "nothing: who asks for a permit next takes them back",
            );
        }
        if thing.count.is_none() {
            find(
                Weight::Problem,
                "permits",
                "its permits are gone, and some of them are still taken: nobody gets one"
                    .to_owned(),
                "set the permits again",
            );
        }
    }
    findings
}

/// Whether what belongs to a name lies in several slots of a cluster.
fn split(thing: &Thing, is_cluster: bool) -> Option<Finding> {
    let names = Names::of(&thing.name);
    let slot = redis_keyslot(thing.name.as_bytes());
    let others = match thing.kind {
        Sort::Semaphore => vec![names.semaphore_channel],
        Sort::Latch => vec![names.latch_channel],
        Sort::ExpirableSemaphore => vec![names.semaphore_channel, names.permit_leases],
        Sort::ReadWrite => vec![names.rw_channel, format!("{}:", names.marker_stem)],
        _ => vec![names.lock_channel, names.fair_queue],
    };
    let other = others
        .iter()
        .find(|other| redis_keyslot(other.as_bytes()) != slot)?;
    let weight = if is_cluster {
        Weight::Problem
    } else {
        Weight::Note
    };
    Some(Finding::new(
        weight,
        "slots",
        &thing.name,
        format!(
            "{other:?}, which belongs to it, has another slot of a cluster: there it is locked and never unlocked"
        ),
        "another name: without braces, or with one pair of them with something in between",
    ))
}

/// Markers of readers that no lock knows of.
async fn stray_markers(
    server: &Server,
    pattern: &str,
    things: &[Thing],
) -> Result<Vec<Finding>, Failure> {
    let held: BTreeMap<&str, &Thing> = things
        .iter()
        .map(|thing| (thing.name.as_str(), thing))
        .collect();
    let mut stray: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut findings = Vec::new();
    for (key, name, owner, hold) in find_markers(server).await? {
        if !matches(pattern, &name) {
            continue;
        }
        let ttl = number(&server.key(&key, "PTTL", []).await?).unwrap_or(-2);
        if ttl == -2 {
            continue;
        }
        if ttl == -1 {
            findings.push(Finding::new(
                Weight::Warning,
                "marker",
                &name,
                format!("marker {hold} of reader {owner} has no time to live, and keeps the lock from its writers"),
                "DEL it if the reader is gone",
            ));
        }
        let mut owners = held
            .get(name.as_str())
            .into_iter()
            .flat_map(|thing| &thing.owners);
        if !owners.any(|one| one.owner == owner && one.holds >= hold) {
            stray.entry(name).or_default().insert(owner);
        }
    }
    findings.extend(stray.into_iter().map(|(name, owners)| {
        let owners: Vec<String> = owners.into_iter().collect();
        Finding::new(
            Weight::Warning,
            "marker",
            &name,
            format!(
                "markers of readers that hold nothing: {}",
                owners.join(", ")
            ),
            "nothing: they end by themselves, and may keep the lock for as long as that takes",
        )
    }));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::thing::Place;

    fn place(deadline_in_ms: Option<i64>, listening: bool) -> Place {
        Place {
            owner: "u:1".to_owned(),
            deadline_in_ms,
            listening,
        }
    }

    fn checks(held: bool, queue: Vec<Place>) -> Vec<(Weight, &'static str)> {
        let mut thing = Thing::new("a", Sort::Fair);
        (thing.held, thing.queue) = (Some(held), queue);
        let findings = judge(&thing);
        findings.iter().map(|one| (one.weight, one.check)).collect()
    }

    #[test]
    fn a_queue_is_stuck_when_nobody_can_put_its_head_out() {
        assert_eq!(checks(true, vec![place(Some(100), true)]), []);
        assert_eq!(checks(false, vec![place(Some(100), true)]), []);
        let warned = [(Weight::Warning, "fair-queue")];
        assert_eq!(checks(false, vec![place(Some(100), false)]), warned);
        assert_eq!(checks(false, vec![place(Some(-5_000), true)]), warned);
        let queue = vec![place(Some(100), true), place(None, true)];
        assert_eq!(checks(true, queue), [(Weight::Problem, "fair-queue")]);
    }

    #[test]
    fn names_whose_parts_lie_apart_are_found() {
        let find = |name: &str, is_cluster| split(&Thing::new(name, Sort::Lock), is_cluster);
        for name in ["a", "a:{b}", "{a}b"] {
            assert_eq!(find(name, true), None, "{name}");
        }
        for name in ["x}y", "{x", "a{}b"] {
            assert_eq!(
                find(name, true).map(|one| one.weight),
                Some(Weight::Problem),
                "{name}"
            );
            assert_eq!(
                find(name, false).map(|one| one.weight),
                Some(Weight::Note),
                "{name}"
            );
        }
    }
}
