//! What the tests of group locks, multi-locks and red-locks share.

use std::collections::BTreeMap;

use redlatch::{Client, Group, Lock};
use redlatch_support::{Direct, eventually_async, jvm::Jvm};

use crate::{
    common::{channel, secs},
    synchronizers::Java,
};

/// A value on the server: whose it is, how often, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) owner: String,
    pub(crate) count: i64,
    pub(crate) until: i64,
}

/// A group on the server, by the fields of its values. Whatever else is in the hash is an error.
pub(crate) fn values(direct: &Direct, group: &str) -> BTreeMap<String, Held> {
    let hash = direct.hgetall(group);
    let mut values = BTreeMap::new();
    for (field, owner) in hash.iter().filter(|(field, _)| !field.contains(':')) {
        let number = |what: &str| -> i64 {
            let text = &hash[&format!("{field}:{owner}:{what}")];
            text.parse()
                .unwrap_or_else(|_| panic!("{what} is {text:?}"))
        };
        let held = Held {
            owner: owner.clone(),
            count: number("lock_count"),
            until: number("expire_time"),
        };
        values.insert(field.clone(), held);
    }
    assert_eq!(hash.len(), values.len() * 3, "of {group:?}: {hash:?}");
    values
}

/// The hash fields of texts in the default codec.
pub(crate) const ONE: &str = "1gKBFfuWlWbVFCZ0MXudYA";
pub(crate) const TWO: &str = "OveuHIeYbLrR8UZ4xKFXcw";

/// A group lock of ours over texts.
pub(crate) fn ours(client: &Client, group: &str, texts: &[&str]) -> Lock<Group> {
    client.group_lock(group, texts.iter().copied())
}

/// The JVM's group lock over the same texts, in the hands of a new thread.
pub(crate) fn theirs<'a>(jvm: &'a Jvm, group: &str, texts: &[&str]) -> Java<'a> {
    let texts: Vec<_> = texts.iter().map(|text| format!("s:{text}")).collect();
    let mut parts = vec![group];
    parts.extend(texts.iter().map(String::as_str));
    Java::set(jvm, "group", &parts)
}

/// Neither a key nor a subscription is left of anything with these names.
pub(crate) async fn nothing_left(direct: &Direct, stem: &str) {
    eventually_async(
        &format!("nothing is left of {stem:?}"),
        secs(5),
        async || {
            let pattern = format!("*{stem}*");
            let keys = direct.cmd(&["KEYS", &pattern]).accepted().strings();
            let channels = direct.cmd(&["PUBSUB", "CHANNELS", &pattern]);
            keys.is_empty() && channels.accepted().strings().is_empty()
        },
    )
    .await;
}

/// Begins to wait for a lock in the JVM; comes back when only a message, or the lock's own end, lets it in.
pub(crate) async fn wait_there(
    direct: &Direct,
    key: &str,
    java: &Java<'_>,
) -> tokio::task::JoinHandle<(crate::java::Answer, std::time::Instant)> {
    java.waits(direct, &channel(key), "evalsha", "lock", &[])
        .await
}
