//! Which names there are: `SCAN` on every server that has keys, never `KEYS`.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use redlatch::console::Answer;

use super::{
    detail,
    glob::matches,
    names::{before, behind, marker, without_owner},
    thing::{Sort, Thing},
};
use crate::{
    exit::{Code, Failure},
    server::{Master, Server, items, text},
};

/// Keys that the server looks at in one call.
const PAGE: &str = "1000";
/// Looks that are under way at a time.
const AT_ONCE: usize = 64;

/// All that is there of names that match, sorted by name. With `counters`, every whole number as well.
pub(crate) async fn find(
    server: &Server,
    pattern: &str,
    counters: bool,
) -> Result<Vec<Thing>, Failure> {
    let mut hashes = BTreeSet::new();
    let mut others = BTreeSet::new();
    for master in server.masters().await? {
        hashes.extend(scan(server, &master, pattern, "hash").await?);
        for (prefix, kind) in [
            ("redisson_lock_queue", "list"),
            ("redisson_lock_token", "string"),
        ] {
            let keys = scan(server, &master, &format!("{prefix}:*"), kind).await?;
            others.extend(
                keys.iter()
                    .filter_map(|key| behind(prefix, key))
                    .map(str::to_owned),
            );
        }
        let leases = scan(server, &master, "*:timeout", "zset").await?;
        others.extend(
            leases
                .iter()
                .filter_map(|key| before(key, "timeout"))
                .map(str::to_owned),
        );
        others.extend(waited_for(server, &master).await?);
        if counters {
            others.extend(scan(server, &master, pattern, "string").await?);
        }
    }
    others.retain(|name| matches(pattern, name) && !hashes.contains(name));
    let mut things = Vec::new();
    let names: Vec<(String, bool)> = hashes
        .into_iter()
        .map(|name| (name, true))
        .chain(others.into_iter().map(|name| (name, false)))
        .collect();
    for some in names.chunks(AT_ONCE) {
        let looks = some.iter().map(|(name, is_hash)| async move {
            if *is_hash {
                detail::hash(server, name).await
            } else {
                detail::look(server, name).await
            }
        });
        for thing in join_all(looks).await {
            match thing {
                Ok(thing) => things.extend(thing),
                // Something else of this name.
                Err(failure) if failure.code == Code::Usage => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    // A deadline alone is no sign that a number is a semaphore's.
    things.retain(|thing| counters || thing.kind != Sort::Counter);
    things.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(things)
}

/// Names for which somebody waits, be there a key or not.
async fn waited_for(server: &Server, master: &Master) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for word in ["CHANNELS", "SHARDCHANNELS"] {
        let channels = match server
            .ask_master(master, "PUBSUB", [word, "redisson_*"])
            .await
        {
            Ok(channels) => channels,
            // Older servers know no such thing.
            Err(_) if word == "SHARDCHANNELS" => Answer::Nil,
            Err(failure) => return Err(failure),
        };
        for channel in items(&channels).iter().map(text) {
            let latch = channel
                .strip_prefix("redisson_countdownlatch__channel__{")
                .and_then(|rest| rest.strip_suffix('}'));
            let name = ["redisson_lock__channel", "redisson_rwlock", "redisson_sc"]
                .iter()
                .find_map(|prefix| behind(prefix, without_owner(&channel)));
            names.extend(latch.or(name).map(str::to_owned));
        }
    }
    Ok(names)
}

/// Every marker of a reader there is: the key, the lock, the reader and the number of its hold.
pub(crate) async fn find_markers(
    server: &Server,
) -> Result<Vec<(String, String, String, u64)>, Failure> {
    let mut found = Vec::new();
    for master in server.masters().await? {
        let keys = scan(server, &master, "*:rwlock_timeout:*", "string").await?;
        found.extend(keys.into_iter().filter_map(|key| {
            let (name, owner, hold) = marker(&key)?;
            Some((key.clone(), name.to_owned(), owner.to_owned(), hold))
        }));
    }
    Ok(found)
}

/// The keys of one server that match and are of a type.
pub(crate) async fn scan(
    server: &Server,
    master: &Master,
    pattern: &str,
    kind: &str,
) -> Result<BTreeSet<String>, Failure> {
    let mut keys = BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let words = [
            cursor.as_str(),
            "MATCH",
            pattern,
            "COUNT",
            PAGE,
            "TYPE",
            kind,
        ];
        let page = server.ask_master(master, "SCAN", words).await?;
        let [next, found] = items(&page) else {
            return Err(Failure::server("SCAN was answered with something else"));
        };
        // A name that is no text is nobody's lock.
        let texts = items(found).iter().filter_map(|key| match key {
            Answer::Text(key) => std::str::from_utf8(key).ok().map(str::to_owned),
            _ => None,
        });
        keys.extend(texts);
        cursor = text(next);
        if cursor == "0" || cursor.is_empty() {
            return Ok(keys);
        }
    }
}
