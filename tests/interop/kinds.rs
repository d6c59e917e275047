//! The kinds of lock, as the tests of both sides need them.

use std::collections::BTreeMap;

use redlatch::{
    Client, Fair, Fenced, Kind, Lock, NonReentrant, NonReentrantFair, Read, Reentrant, Spin, Write,
};

/// A kind that both sides have.
pub(crate) trait Shared: Kind + Sized {
    /// What the JVM driver calls it.
    const JAVA: &'static str;
    /// Its waiters stand in a queue on the server.
    const QUEUES: bool = false;
    /// What its hash says beside who holds it.
    const MODE: Option<&'static str> = None;

    /// The lock of this name.
    fn of(client: &Client, name: &str) -> Lock<Self>;

    /// The field of an owner, `<client>:<thread>`, in the hash.
    fn field(owner: &str) -> String {
        owner.to_owned()
    }

    /// The channel on which this owner is woken, worked out apart from the crate; none when it looks by itself.
    fn channel(key: &str, _owner: &str) -> Option<String> {
        Some(derived("redisson_lock__channel", key))
    }

    /// The hash while this owner holds the lock once and nobody else does.
    fn hash(owner: &str) -> BTreeMap<String, String> {
        let mode = Self::MODE.map(|mode| ("mode".to_owned(), mode.to_owned()));
        mode.into_iter()
            .chain([(Self::field(owner), "1".to_owned())])
            .collect()
    }
}

/// `prefix:{key}`, or without the braces when the key has one.
pub(crate) fn derived(prefix: &str, key: &str) -> String {
    if key.contains('{') {
        format!("{prefix}:{key}")
    } else {
        format!("{prefix}:{{{key}}}")
    }
}

fn own_channel(key: &str, owner: &str) -> Option<String> {
    Some(format!(
        "{}:{owner}",
        derived("redisson_lock__channel", key)
    ))
}

fn rw_channel(key: &str) -> Option<String> {
    Some(derived("redisson_rwlock", key))
}

impl Shared for Reentrant {
    const JAVA: &'static str = "lock";

    fn of(client: &Client, name: &str) -> Lock<Self> {
        client.lock(name)
    }
}

impl Shared for Fenced {
    const JAVA: &'static str = "fenced";

    fn of(client: &Client, name: &str) -> Lock<Self> {
        client.fenced_lock(name)
    }
}

impl Shared for NonReentrant {
    const JAVA: &'static str = "nonreentrant";

    fn of(client: &Client, name: &str) -> Lock<Self> {
        client.non_reentrant_lock(name)
    }
}

impl Shared for Spin {
    const JAVA: &'static str = "spin";

    fn of(client: &Client, name: &str) -> Lock<Self> {
        client.spin_lock(name)
    }

    fn channel(_: &str, _: &str) -> Option<String> {
        None
    }
}

impl Shared for Fair {
    const JAVA: &'static str = "fair";
    const QUEUES: bool = true;

    fn of(client: &Client, name: &str) -> Lock<Self> {
        client.fair_lock(name)
    }

    fn channel(key: &str, owner: &str) -> Option<String> {
        own_channel(key, owner)
    }
}

impl Shared for NonReentrantFair {
    const JAVA: &'static str = "nonreentrantfair";
    const QUEUES: bool = true;

    fn of(client: &Client, name: &str) -> Lock<Self> {
        client.non_reentrant_fair_lock(name)
    }

    fn channel(key: &str, owner: &str) -> Option<String> {
        own_channel(key, owner)
    }
}

impl Shared for Read {
    const JAVA: &'static str = "read";
    const MODE: Option<&'static str> = Some("read");

    fn of(client: &Client, name: &str) -> Lock<Self> {
        client.read_write_lock(name).read_lock().clone()
    }

    fn channel(key: &str, _: &str) -> Option<String> {
        rw_channel(key)
    }
}

impl Shared for Write {
    const JAVA: &'static str = "write";
    const MODE: Option<&'static str> = Some("write");

    fn of(client: &Client, name: &str) -> Lock<Self> {
        client.read_write_lock(name).write_lock().clone()
    }

    fn field(owner: &str) -> String {
        format!("{owner}:write")
    }

    fn channel(key: &str, _: &str) -> Option<String> {
        rw_channel(key)
    }
}
