//! One name, looked at in full.

use std::time::{SystemTime, UNIX_EPOCH};

use redlatch::console::{Answer, Names};

use super::{
    names::{is_field, is_owner, is_value},
    thing::{Holding, Permit, Place, Sort, Thing},
};
use crate::{
    exit::Failure,
    server::{Server, items, number, pairs, text},
};

/// The score of a permit that has no lease.
const NEVER: i64 = 922_337_203_685_477;
/// Most permits that are shown one by one.
const MOST_PERMITS: &str = "99";
/// Most owners for whose markers is asked.
const MOST_MARKERS: u64 = 1_000;

/// What there is of this name; `None` where there is nothing.
pub(crate) async fn look(server: &Server, name: &str) -> Result<Option<Thing>, Failure> {
    let kind = server.key(name, "TYPE", []).await?;
    match text(&kind).as_str() {
        "hash" => match hash(server, name).await? {
            Some(thing) => Ok(Some(thing)),
            None => Err(not_a_lock(name, "hash")),
        },
        "string" => counter(server, name).await.map(Some),
        "none" => free(server, name).await,
        other => Err(not_a_lock(name, other)),
    }
}

fn not_a_lock(name: &str, kind: &str) -> Failure {
    let name = crate::print::name(name);
    Failure::usage(format!("{name} is a {kind} of something else, no lock"))
}

/// A lock that is held, or was a moment ago; `None` for another hash.
pub(crate) async fn hash(server: &Server, name: &str) -> Result<Option<Thing>, Failure> {
    let field = server.key(name, "HRANDFIELD", []).await?;
    if field == Answer::Nil {
        // It was freed just now.
        return free(server, name).await;
    }
    if !is_field(&text(&field)) {
        return Ok(None);
    }
    let fields = server.key(name, "HGETALL", []).await?;
    let fields: Vec<(String, String)> = pairs(&fields)
        .map(|(field, value)| (field, text(value)))
        .collect();
    if fields.is_empty() {
        return free(server, name).await;
    }
    let Some(mut thing) = read_fields(name, &fields) else {
        return Ok(None);
    };
    let ttl = number(&server.key(name, "PTTL", []).await?).unwrap_or(-2);
    thing.ttl_ms = u64::try_from(ttl).ok();
    thing.no_ttl = ttl == -1;
    thing.held = Some(true);
    sides(server, &mut thing).await?;
    if thing.kind == Sort::ReadWrite {
        markers(server, &mut thing).await?;
    }
    Ok(Some(thing))
}

/// Owners and holds, as the fields have them.
fn read_fields(name: &str, fields: &[(String, String)]) -> Option<Thing> {
    let mode = fields.iter().find(|(field, _)| field == "mode");
    let is_group = fields.iter().any(|(field, _)| is_value(field));
    let mut thing = Thing::new(
        name,
        match mode {
            Some(_) => Sort::ReadWrite,
            None if is_group => Sort::Group,
            None => Sort::Lock,
        },
    );
    thing.mode = mode.map(|(_, mode)| mode.clone());
    for (field, value) in fields {
        let (value_of, owner) = match field.strip_suffix(":lock_count") {
            Some(counted) => match counted.split_once(':') {
                Some((value, owner)) => (Some(value.to_owned()), owner),
                None => continue,
            },
            None => (None, field.as_str()),
        };
        let Ok(holds) = value.parse() else { continue };
        if is_owner(owner) && !owner.ends_with(":expire_time") {
            thing.owners.push(Holding {
                owner: owner.to_owned(),
                holds,
                value: value_of,
                markers_ms: None,
            });
        }
    }
    thing
        .owners
        .sort_by(|a, b| (&a.value, &a.owner).cmp(&(&b.value, &b.owner)));
    (!thing.owners.is_empty() || mode.is_some()).then_some(thing)
}

/// A lock of which no more than what stands beside it is there: a queue, or a counter.
async fn free(server: &Server, name: &str) -> Result<Option<Thing>, Failure> {
    let mut thing = Thing::new(name, Sort::Lock);
    thing.held = Some(false);
    sides(server, &mut thing).await?;
    if thing.kind == Sort::Lock && thing.waiting_clients == 0 {
        let leases = Names::of(name).permit_leases;
        let leases = server.key(&leases, "ZCARD", []).await;
        // A semaphore whose number is gone, and its permits are not.
        return match leases {
            Ok(answer) if number(&answer).is_some_and(|count| count > 0) => {
                counter(server, name).await.map(Some)
            }
            _ => Ok(None),
        };
    }
    Ok(Some(thing))
}

/// What stands beside a lock: its queue, its counter, and who listens.
pub(crate) async fn sides(server: &Server, thing: &mut Thing) -> Result<(), Failure> {
    let names = Names::of(&thing.name);
    // Each where it is: names with odd braces are all over a cluster.
    let queue = server.key(&names.fair_queue, "LRANGE", ["0", "-1"]);
    let deadlines = server.key(&names.fair_deadlines, "ZRANGE", ["0", "-1", "WITHSCORES"]);
    let token = server.key(&names.fencing_counter, "GET", []);
    let (queue, deadlines, token) = tokio::try_join!(queue, deadlines, token)?;
    let now = epoch_ms();
    let deadlines: Vec<(String, Option<i64>)> = pairs(&deadlines)
        .map(|(owner, score)| (owner, whole(score)))
        .collect();
    let owners: Vec<String> = items(&queue).iter().map(text).collect();
    let channel = |owner: &String| format!("{}:{owner}", names.lock_channel);
    let calls = owners.iter().map(channel);
    let channels: Vec<String> = [names.lock_channel.clone(), names.rw_channel.clone()]
        .into_iter()
        .chain(calls)
        .collect();
    let heard = hearers(server, &channels).await?;
    thing.waiting_clients = heard.iter().take(2).sum();
    for (owner, heard) in owners.into_iter().zip(&heard[2..]) {
        let deadline = deadlines.iter().find(|(of, _)| *of == owner);
        thing.queue.push(Place {
            deadline_in_ms: deadline.and_then(|(_, at)| at.map(|at| at - now)),
            listening: *heard > 0,
            owner,
        });
    }
    thing.token = number(&token);
    if thing.kind == Sort::Lock {
        if !thing.queue.is_empty() || !deadlines.is_empty() {
            thing.kind = Sort::Fair;
        } else if thing.token.is_some() {
            thing.kind = Sort::Fenced;
        }
    }
    Ok(())
}

/// The markers of readers.
async fn markers(server: &Server, thing: &mut Thing) -> Result<(), Failure> {
    let stem = Names::of(&thing.name).marker_stem;
    let mut asked = 0;
    for owner in &mut thing.owners {
        if owner.owner.ends_with(":write") || asked >= MOST_MARKERS {
            continue;
        }
        let mut left = Vec::new();
        for hold in 1..=owner.holds.min(MOST_MARKERS - asked) {
            asked += 1;
            let marker = format!("{stem}:{}:rwlock_timeout:{hold}", owner.owner);
            let ttl = number(&server.key(&marker, "PTTL", []).await?);
            left.extend(ttl.filter(|ttl| *ttl != -2));
        }
        owner.markers_ms = Some(left);
    }
    Ok(())
}

/// A semaphore, a latch, or another number.
async fn counter(server: &Server, name: &str) -> Result<Thing, Failure> {
    let names = Names::of(name);
    // What is long is no number, and may be very long.
    let length = number(&server.key(name, "STRLEN", []).await?).unwrap_or(0);
    if length > 20 {
        return Err(not_a_lock(name, "string"));
    }
    let value = server.key(name, "GET", []).await?;
    let count = number(&value);
    if count.is_none() && value != Answer::Nil {
        return Err(not_a_lock(name, "string"));
    }
    let mut thing = Thing::new(name, Sort::Counter);
    thing.count = count;
    let ttl = number(&server.key(name, "PTTL", []).await?).unwrap_or(-2);
    thing.ttl_ms = u64::try_from(ttl).ok();
    permits(server, &names, &mut thing).await?;
    let of_semaphore = hearers(server, &[names.semaphore_channel]).await?[0];
    let of_latch = hearers(server, &[names.latch_channel]).await?[0];
    if thing.permits_taken > 0 {
        thing.kind = Sort::ExpirableSemaphore;
    } else if of_semaphore > 0 {
        thing.kind = Sort::Semaphore;
    } else if of_latch > 0 {
        thing.kind = Sort::Latch;
    }
    thing.waiting_clients = of_semaphore + of_latch;
    Ok(thing)
}

/// The permits of a semaphore that gives them ids.
async fn permits(server: &Server, names: &Names, thing: &mut Thing) -> Result<(), Failure> {
    let leases = names.permit_leases.as_str();
    if text(&server.key(leases, "TYPE", []).await?) != "zset" {
        return Ok(());
    }
    let card = number(&server.key(leases, "ZCARD", []).await?);
    thing.permits_taken = u64::try_from(card.unwrap_or(0)).unwrap_or(0);
    let now = epoch_ms();
    let shown = server.key(leases, "ZRANGE", ["0", MOST_PERMITS, "WITHSCORES"]);
    for pair in items(&shown.await?).chunks_exact(2) {
        let (Answer::Text(id), Some(end)) = (&pair[0], whole(&pair[1])) else {
            continue;
        };
        thing.permits.push(Permit {
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            lease_left_ms: (end < NEVER).then(|| end - now),
        });
    }
    Ok(())
}

/// How many clients hear each of these channels.
async fn hearers(server: &Server, channels: &[String]) -> Result<Vec<u64>, Failure> {
    let about = channels.first().map_or("", String::as_str);
    let mut heard = vec![0; channels.len()];
    let mut add = |answer: &Answer| {
        for (sum, (_, count)) in heard.iter_mut().zip(pairs(answer)) {
            *sum += number(count).map_or(0, i64::unsigned_abs);
        }
    };
    let words = |word| std::iter::once(word).chain(channels.iter().map(String::as_str));
    if !server.is_cluster {
        add(&server.ask(about, "PUBSUB", words("NUMSUB")).await?);
        return Ok(heard);
    }
    // Older clusters know no such thing.
    if let Ok(sharded) = server.ask(about, "PUBSUB", words("SHARDNUMSUB")).await {
        add(&sharded);
    }
    for master in server.known_masters().await? {
        let plain = server.ask_master(&master, "PUBSUB", words("NUMSUB"));
        add(&plain.await?);
    }
    Ok(heard)
}

/// A score without its fraction.
fn whole(score: &Answer) -> Option<i64> {
    let score: f64 = text(score).parse().ok()?;
    // Scores are times in milliseconds, which are exact.
    #[allow(clippy::cast_possible_truncation)]
    score.is_finite().then_some(score as i64)
}

pub(crate) fn epoch_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "2a9b0e6c-5e2a-4c39-9d1b-0f6f8b2f1c11:57";

    fn read(fields: &[(&str, &str)]) -> Option<Thing> {
        let fields: Vec<_> = fields
            .iter()
            .map(|(field, value)| ((*field).to_owned(), (*value).to_owned()))
            .collect();
        read_fields("a", &fields)
    }

    #[test]
    fn fields_say_what_lock_it_is() {
        let lock = read(&[(ONE, "2")]).expect("a lock");
        assert_eq!((lock.kind, lock.holds()), (Sort::Lock, 2));
        let writer = format!("{ONE}:write");
        let lock = read(&[("mode", "write"), (&writer, "1"), (ONE, "1")]).expect("a lock");
        assert_eq!((lock.kind, lock.owners.len()), (Sort::ReadWrite, 2));
        let value = "1gKBFfuWlWbVFCZ0MXudYA";
        let (count, end) = (
            format!("{value}:{ONE}:lock_count"),
            format!("{value}:{ONE}:expire_time"),
        );
        let group = read(&[(value, ONE), (&end, "1795409554301"), (&count, "3")]).expect("a lock");
        assert_eq!((group.kind, group.owners.len()), (Sort::Group, 1));
        assert_eq!(group.owners[0].value.as_deref(), Some(value));
        assert_eq!(group.owners[0].owner, ONE);
        assert!(read(&[("token", "7"), ("value", "x")]).is_none());
    }
}
