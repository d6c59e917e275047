//! What the server's user must be allowed to do: as rules for `ACL SETUSER`, and as a test that names what is missing.
//!
//! ```
//! use redlatch::access::{self, Feature};
//!
//! let rules = access::rules([Feature::SpinLock], "app:");
//! assert_eq!(
//!     rules.to_string(),
//!     "resetkeys ~app:* resetchannels -@all +client|id +client|info +client|kill +del +evalsha +exists +hexists +hget \
//!      +hset +info +pexpire +ping +pttl +script|load"
//! );
//! // ACL SETUSER shop on >PASSWORD <rules>
//! ```

use std::{collections::BTreeSet, fmt};

mod login;
mod self_test;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub use self::login::Secret;
#[cfg(test)]
pub(crate) use self::self_test::SCRIPTS;
pub(crate) use self::{
    login::{Opening, check_address},
    self_test::missing_at_login,
};

/// Something this crate does that takes rights on the server.
///
/// A multi-lock takes what its members take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Feature {
    /// [`Client::lock`](crate::Client::lock) and [`rlock`](crate::Client::rlock).
    ReentrantLock,
    /// [`Client::fair_lock`](crate::Client::fair_lock).
    FairLock,
    /// [`Client::read_write_lock`](crate::Client::read_write_lock).
    ReadWriteLock,
    /// [`Client::fenced_lock`](crate::Client::fenced_lock).
    FencedLock,
    /// [`Client::spin_lock`](crate::Client::spin_lock).
    SpinLock,
    /// [`Client::non_reentrant_lock`](crate::Client::non_reentrant_lock).
    NonReentrantLock,
    /// [`Client::non_reentrant_fair_lock`](crate::Client::non_reentrant_fair_lock).
    NonReentrantFairLock,
    /// [`Client::group_lock`](crate::Client::group_lock).
    GroupLock,
    /// [`Client::semaphore`](crate::Client::semaphore).
    Semaphore,
    /// [`Client::expirable_semaphore`](crate::Client::expirable_semaphore).
    ExpirableSemaphore,
    /// [`Client::count_down_latch`](crate::Client::count_down_latch).
    CountDownLatch,
    /// [`Client::fenced_cell`](crate::Client::fenced_cell).
    FencedCell,
    /// [`Client::election`](crate::Client::election).
    Election,
    /// [`Client::once_per`](crate::Client::once_per).
    Schedule,
    /// [`Client::inspect`](crate::Client::inspect).
    Inspect,
    /// Names with a `{` in them, whose other keys and channels are called differently.
    TaggedNames,
    /// A database other than 0.
    Database,
    /// A cluster. Each of its nodes has users of its own.
    Cluster,
    /// Messages that stay in their shard, which is what a cluster from Redis 7.0 on is used with unless
    /// [`sharded_pubsub`](crate::ClientBuilder::sharded_pubsub) says otherwise. Older servers know no such commands, nor
    /// rules with them.
    ShardedMessages,
    /// A policy about [`replicas`](crate::ClientBuilder::replicas).
    Replicas,
    /// A policy about [`replicas_on_disk`](crate::ClientBuilder::replicas_on_disk), which older servers than 7.2 do not know,
    /// nor rules with it.
    ReplicasOnDisk,
}

impl Feature {
    /// Every feature there is.
    pub const ALL: &'static [Self] = &[
        Self::ReentrantLock,
        Self::FairLock,
        Self::ReadWriteLock,
        Self::FencedLock,
        Self::SpinLock,
        Self::NonReentrantLock,
        Self::NonReentrantFairLock,
        Self::GroupLock,
        Self::Semaphore,
        Self::ExpirableSemaphore,
        Self::CountDownLatch,
        Self::FencedCell,
        Self::Election,
        Self::Schedule,
        Self::Inspect,
        Self::TaggedNames,
        Self::Database,
        Self::Cluster,
        Self::ShardedMessages,
        Self::Replicas,
        Self::ReplicasOnDisk,
    ];
}

/// The rules that give a user what these features take, and take away whatever else it had, but passwords.
///
/// `prefix` is what all names on the server begin with: that of [`key_prefix`](crate::ClientBuilder::key_prefix), what a
/// name mapper puts in front, or what the names themselves begin with. Empty stands for all names, and so for all keys.
///
/// They hold on Redis from 6.2 on and on Valkey.
pub fn rules(features: impl IntoIterator<Item = Feature>, prefix: &str) -> Rules {
    let features: BTreeSet<Feature> = features.into_iter().collect();
    let examples: Vec<_> = names(&features, PLACEHOLDER)
        .into_iter()
        .map(|rest| format!("{prefix}{rest}"))
        .map(|name| Example::new(&features, name, Some(prefix), PLACEHOLDER))
        .collect();
    Rules::new(&features, &examples)
}

/// Rules for a user of the server, in the words of `ACL SETUSER`. [`Display`](fmt::Display) writes them in one line.
///
/// No rule has a space in it, so a line is taken apart at its spaces. A space in a prefix becomes `?`, any one character,
/// since the server takes no pattern with a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    keys: Vec<String>,
    channels: Vec<String>,
    commands: Vec<&'static str>,
}

impl Rules {
    fn new(features: &BTreeSet<Feature>, examples: &[Example]) -> Self {
        let patterns = |places: fn(&Example) -> &[Place]| {
            let all = examples.iter().flat_map(places);
            let all: Vec<_> = all.map(|place| place.pattern.clone()).collect();
            // The server takes no pattern beside one that allows everything, and others would be noise.
            let mut needed: Vec<String> = Vec::new();
            for pattern in &all {
                let within = all
                    .iter()
                    .any(|other| other != pattern && covers(other, pattern));
                if !within && !needed.contains(pattern) {
                    needed.push(pattern.clone());
                }
            }
            needed
        };
        Self {
            keys: patterns(|example| &example.keys),
            channels: patterns(|example| &example.channels),
            commands: commands(features).into_iter().collect(),
        }
    }

    /// The keys, each as `~pattern`.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.keys.iter().map(|pattern| format!("~{pattern}"))
    }

    /// The channels, each as `&pattern`.
    pub fn channels(&self) -> impl Iterator<Item = String> {
        self.channels.iter().map(|pattern| format!("&{pattern}"))
    }

    /// The commands, each as `+command` or `+command|subcommand`.
    pub fn commands(&self) -> impl Iterator<Item = String> {
        self.commands.iter().map(|command| format!("+{command}"))
    }

    /// All of it, word by word, as they follow the user's name in `ACL SETUSER`: old rules away, then keys, channels and
    /// commands.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let word = |word: &str| std::iter::once(word.to_owned());
        word("resetkeys")
            .chain(self.keys())
            .chain(word("resetchannels"))
            .chain(self.channels())
            .chain(word("-@all"))
            .chain(self.commands())
            .collect()
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

/// Stands for the rest of a name.
const PLACEHOLDER: &str = "redlatch-self-test";

/// The commands that these features take, with those of every connection.
fn commands(features: &BTreeSet<Feature>) -> BTreeSet<&'static str> {
    let own = features
        .iter()
        .flat_map(|feature| table::needs(*feature).commands)
        .copied()
        .flatten();
    table::CONNECTION.iter().chain(own).copied().collect()
}

/// A key or channel, and the pattern that allows it and its like.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    name: String,
    pattern: String,
}

/// A name nobody uses, and all that would belong to it.
#[derive(Debug, Clone)]
struct Example {
    name: String,
    keys: Vec<Place>,
    channels: Vec<Place>,
}

/// `rest`, and a name with a tag in it where such are asked for.
fn names(features: &BTreeSet<Feature>, rest: &str) -> Vec<String> {
    let mut names = vec![rest.to_owned()];
    if features.contains(&Feature::TaggedNames) {
        names.push(format!("{rest}{{{rest}}}"));
    }
    names
}

impl Example {
    /// What these features have for `name`. Patterns go as far as `stem`, which is before `rest` in it; without one they
    /// allow what they were made for.
    fn new(features: &BTreeSet<Feature>, name: String, stem: Option<&str>, rest: &str) -> Self {
        let place = |name: String| Place {
            pattern: stem
                .and_then(|stem| Some(name.find(&format!("{stem}{rest}"))? + stem.len()))
                .map_or_else(
                    || escaped(&name),
                    |end| format!("{}*", escaped(&name[..end])),
                ),
            name,
        };
        let all = |select: fn(&table::Needs) -> &'static [table::Naming]| {
            let mut places: Vec<Place> = Vec::new();
            for feature in features {
                for make in select(&table::needs(*feature)) {
                    let place = place(make(&name));
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
            }
            places
        };
        Self {
            keys: all(|needs| needs.keys),
            channels: all(|needs| needs.channels),
            name,
        }
    }
}

/// Whether a pattern made here allows all that another one does.
fn covers(pattern: &str, other: &str) -> bool {
    pattern
        .strip_suffix('*')
        .is_some_and(|stem| other.starts_with(stem))
}

/// Text for a pattern that stands for itself. What the server takes for space becomes any one character.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '*' | '?' | '[' | ']' | '\\' => pattern.extend(['\\', c]),
            '\0' | ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' => pattern.push('?'),
            c => pattern.push(c),
        }
    }
    pattern
}
