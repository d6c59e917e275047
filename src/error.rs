//! What can go wrong, sorted by what a caller can do about it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{fencing::StaleToken, owner::Owner};

/// The result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation failed.
///
/// "Somebody else holds the lock" is not an error: `try_lock` answers it with `None`. The predicates
/// ([`is_timeout`](Self::is_timeout), [`is_lost`](Self::is_lost), [`is_retryable`](Self::is_retryable),
/// [`is_indeterminate`](Self::is_indeterminate)) say what a caller may do next.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The lock was busy for as long as the caller was willing to wait.
    #[non_exhaustive]
    TimedOut {
        /// The lock.
        name: Arc<str>,
        /// How long was waited.
        waited: Duration,
    },
    /// The owner does not hold the lock. Redisson: `IllegalMonitorStateException`.
    #[non_exhaustive]
    NotHeld {
        /// The lock.
        name: Arc<str>,
        /// Who asked.
        owner: Owner,
    },
    /// The owner holds the lock already and the lock may not be entered twice. Redisson: `IllegalMonitorStateException`.
    #[non_exhaustive]
    AlreadyHeld {
        /// The lock.
        name: Arc<str>,
        /// Who asked.
        owner: Owner,
    },
    /// The fencing counter is behind a token that this client has seen: the server has lost its data, and tokens of new
    /// grants would be lower than those of old ones. Nothing was taken. See
    /// [`Lock::raise_counter`](crate::Lock::raise_counter).
    #[non_exhaustive]
    FencingReset {
        /// The lock.
        name: Arc<str>,
        /// The highest token this client has seen.
        seen: i64,
        /// The counter as the server has it.
        counter: i64,
    },
    /// A write came with an older fencing token than the resource has seen. Nothing was written.
    #[non_exhaustive]
    Stale {
        /// The resource.
        name: Arc<str>,
        /// Both tokens.
        stale: StaleToken,
    },
    /// Too few of the servers of a majority could be asked. What was granted is given back.
    #[non_exhaustive]
    NoQuorum {
        /// The members.
        name: Arc<str>,
        /// How many granted the lock at the last try.
        granted: usize,
        /// How many it takes.
        needed: usize,
        /// What the others said.
        failures: Vec<String>,
    },
    /// The lock was held and has been lost; whatever it protected may have been touched by others since.
    #[non_exhaustive]
    Lost {
        /// The lock.
        name: Arc<str>,
        /// How it was lost.
        cause: LossCause,
    },
    /// The key exists and is not a lock. Nothing was changed.
    #[non_exhaustive]
    WrongType {
        /// The lock.
        name: Arc<str>,
    },
    /// The lock was granted, and fewer replicas than the client's policy wants had it in time. It is given back.
    #[non_exhaustive]
    NotReplicated {
        /// The lock.
        name: Arc<str>,
        /// Replicas that had it.
        acked: u32,
        /// Replicas that should have it; 0 when not even the server could be asked.
        wanted: u32,
    },
    /// The lock was released and is free; fewer replicas than the client's policy wants have heard of it. After a failover
    /// it may be held until its time to live is over.
    #[non_exhaustive]
    ReleaseNotReplicated {
        /// The lock.
        name: Arc<str>,
        /// Replicas that had it.
        acked: u32,
        /// Replicas that should have it; 0 when not even the server could be asked.
        wanted: u32,
    },
    /// On a cluster a name and all that is derived from it must have one slot, which braces in the name prevent here:
    /// Redisson could take such a lock and never release it. Nothing was sent.
    #[non_exhaustive]
    CrossSlot {
        /// The name.
        name: Arc<str>,
        /// A key or channel derived from it that has another slot.
        key: String,
    },
    /// The caller's input or a setting is not acceptable. Nothing was sent.
    #[non_exhaustive]
    InvalidArgument {
        /// The argument or setting.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The server could not be reached, or did not answer, for as long as the operation may take.
    #[non_exhaustive]
    Unreachable {
        /// The lock, or what else was asked for.
        name: Arc<str>,
        /// The last thing that went wrong.
        reason: String,
        /// Whether the operation may have taken effect. An acquire is taken back in the background, so it never is.
        indeterminate: bool,
    },
    /// The server answered with an error.
    #[non_exhaustive]
    Refused {
        /// The lock, or what else was asked for.
        name: Arc<str>,
        /// What kind of refusal it is.
        refusal: Refusal,
        /// The server's own words.
        message: String,
    },
    /// The server's user lacks rights: see [`Client::self_test`](crate::Client::self_test). Nothing was changed.
    ///
    /// Where no [`self_test`](crate::ClientBuilder::self_test) was asked for, a missing right shows when it is needed, as
    /// [`Refused`](Self::Refused). Two do not: without the right to publish a lock is given back and its waiters are not
    /// woken ([`Event::WakeUpRefused`](crate::Event::WakeUpRefused)), and without that to subscribe they hear nothing
    /// ([`Event::SubscriptionFailed`](crate::Event::SubscriptionFailed)). They look for themselves then, once a second.
    #[non_exhaustive]
    MissingRights {
        /// What is to be granted, in the words of `ACL SETUSER`: `+publish`, `~app:*`, `&redisson_lock__channel:{app:*`.
        rights: Vec<String>,
        /// The server's own words about the first.
        message: String,
    },
    /// The server answered something this crate does not understand.
    #[non_exhaustive]
    UnexpectedReply {
        /// The lock, or what else was asked for.
        name: Arc<str>,
        /// What came.
        reply: String,
    },
    /// As many wait already as may: see [`max_waiters`](crate::ClientBuilder::max_waiters) and
    /// [`max_waiters_per_name`](crate::ClientBuilder::max_waiters_per_name). Nothing was taken.
    #[non_exhaustive]
    TooManyWaiters {
        /// The lock.
        name: Arc<str>,
        /// How many may.
        limit: usize,
    },
    /// This process is a copy, by `fork`, of the one that connected the client. Nothing was sent, since both have the same
    /// connections: connect anew.
    Forked,
    /// The client has been closed, or the runtime on which it was connected is gone.
    Closed,
    /// The Redis client could not be set up from its configuration.
    Redis(fred::error::Error),
}

/// How a lock was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossCause {
    /// Its fixed lease ran out.
    LeaseExpired,
    /// It could not be renewed in time: the server did not answer, or this process was stopped for too long.
    Unreachable,
    /// The key is gone from the server although its time was not up: deleted, flushed, evicted, or the server came
    /// back without its data.
    Vanished,
    /// Somebody else holds it on the server.
    TakenOver,
    /// This client freed it by force.
    ForceUnlocked,
    /// The client was closed and gave it back, or the runtime on which it was connected is gone.
    Closed,
}

/// Why the server refused a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// `OOM`: the server may not use more memory.
    OutOfMemory,
    /// `READONLY`: the server is a replica.
    ReadOnly,
    /// `NOREPLICAS`: too few replicas for writes.
    NoReplicas,
    /// `LOADING`: the server is reading its data.
    Loading,
    /// `BUSY`: a script blocks the server.
    Busy,
    /// `MASTERDOWN`: a replica without its primary.
    MasterDown,
    /// `CLUSTERDOWN`, `MOVED`, `ASK`, `TRYAGAIN`: the cluster sends us elsewhere.
    Cluster,
    /// `NOPERM`: the user lacks a right.
    NoPermission,
    /// `NOAUTH`, `WRONGPASS`: not authenticated.
    NotAuthenticated,
    /// A certificate was not accepted: the server's by this client, or this client's by the server. Nothing was sent.
    Certificate,
    /// A password would have gone to another machine without TLS: see
    /// [`allow_plaintext_password`](crate::ClientBuilder::allow_plaintext_password). Nothing was sent.
    PlaintextPassword,
    /// `WRONGTYPE`: the key is something else.
    WrongType,
    /// `NOSCRIPT`: the script is not loaded; handled inside this crate.
    NoScript,
    /// `max number of clients reached`.
    TooManyClients,
    /// Any other error reply.
    Other,
}

impl Refusal {
    /// Sorts the text of an error; `None` when it does not look like an error *reply* at all.
    ///
    /// Servers before 7.0 wrap an error that occurs inside a script (`ERR Error running script ...: OOM ...`), so the
    /// code is looked for anywhere in the text.
    pub(crate) fn classify(text: &str) -> Option<Self> {
        const CODES: [(&str, Refusal); 17] = [
            ("NOSCRIPT", Refusal::NoScript),
            ("WRONGTYPE", Refusal::WrongType),
            ("OOM", Refusal::OutOfMemory),
            ("READONLY", Refusal::ReadOnly),
            ("NOREPLICAS", Refusal::NoReplicas),
            ("LOADING", Refusal::Loading),
            ("BUSY", Refusal::Busy),
            ("MASTERDOWN", Refusal::MasterDown),
            ("CLUSTERDOWN", Refusal::Cluster),
            ("MOVED", Refusal::Cluster),
            ("ASK", Refusal::Cluster),
            ("TRYAGAIN", Refusal::Cluster),
            ("CROSSSLOT", Refusal::Other),
            ("NOPERM", Refusal::NoPermission),
            ("NOAUTH", Refusal::NotAuthenticated),
            ("WRONGPASS", Refusal::NotAuthenticated),
            ("MISCONF", Refusal::Other),
        ];
        const PHRASES: [(&str, Refusal); 5] = [
            ("ACL failure in script", Refusal::NoPermission),
            ("command not allowed when used memory", Refusal::OutOfMemory),
            ("can't write against a read only replica", Refusal::ReadOnly),
            ("Not enough good replicas", Refusal::NoReplicas),
            (
                "can't run this command or subcommand",
                Refusal::NoPermission,
            ),
        ];
        let word = |code: &str| {
            text.split(|c: char| !c.is_ascii_alphanumeric())
                .any(|part| part == code)
        };
        let found = CODES
            .iter()
            .find(|(code, _)| text.starts_with(code) || (text.starts_with("ERR") && word(code)))
            .or_else(|| PHRASES.iter().find(|(phrase, _)| text.contains(phrase)));
        if let Some((_, refusal)) = found {
            return Some(*refusal);
        }
        if text.contains("max number of clients") {
            return Some(Self::TooManyClients);
        }
        text.starts_with("ERR ").then_some(Self::Other)
    }

    /// Whether waiting may cure it.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::ReadOnly
                | Self::NoReplicas
                | Self::Loading
                | Self::Busy
                | Self::MasterDown
                | Self::Cluster
                | Self::NoScript
                | Self::TooManyClients
        )
    }
}

impl Error {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidArgument {
            field,
            reason: reason.into(),
        }
    }

    /// The wait was over before the lock was free.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    /// A lock that was held is held no more: stop what it protected.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }

    /// Trying again later may succeed without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::NoQuorum { .. }
            | Self::TooManyWaiters { .. } => true,
            Self::Refused { refusal, .. } => {
                refusal.is_transient() || *refusal == Refusal::OutOfMemory
            }
            _ => false,
        }
    }

    /// The operation may or may not have taken effect on the server.
    #[must_use]
    pub fn is_indeterminate(&self) -> bool {
        matches!(
            self,
            Self::Unreachable {
                indeterminate: true,
                ..
            }
        )
    }
}

/// A lock name fit for a message: escaped, and cut where it is long.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LIMIT: usize = 120;
        let cut: String = self.0.chars().take(LIMIT).collect();
        write!(f, "\"{}", cut.escape_debug())?;
        f.write_str(if cut.len() < self.0.len() {
            "...\""
        } else {
            "\""
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { name, waited } => {
                write!(f, "{} was busy for {waited:?}", Shown(name))
            }
            Self::NotHeld { name, owner } => {
                write!(f, "lock {} is not held by owner {owner}", Shown(name))
            }
            Self::AlreadyHeld { name, owner } => write!(
                f,
                "lock {} is held by owner {owner} already and cannot be entered twice",
                Shown(name)
            ),
            Self::FencingReset {
                name,
                seen,
                counter,
            } => write!(
                f,
                "the fencing counter of lock {} is at {counter}, behind token {seen}: the server has lost its data",
                Shown(name)
            ),
            Self::NoQuorum {
                name,
                granted,
                needed,
                failures,
            } => write!(
                f,
                "{granted} of {needed} needed servers granted {}: {}",
                Shown(name),
                failures.join("; ")
            ),
            Self::Stale { name, stale } => write!(f, "write to {} refused: {stale}", Shown(name)),
            Self::Lost { name, cause } => write!(f, "lock {} was lost: {cause}", Shown(name)),
            Self::WrongType { name } => write!(f, "key {} holds something else", Shown(name)),
            Self::NotReplicated {
                name,
                acked,
                wanted,
            } => write!(
                f,
                "lock {} was granted, but only {acked} of {wanted} replicas had it in time; it is given back",
                Shown(name)
            ),
            Self::ReleaseNotReplicated {
                name,
                acked,
                wanted,
            } => write!(
                f,
                "lock {} is released, but only {acked} of {wanted} replicas have heard of it",
                Shown(name)
            ),
            Self::CrossSlot { name, key } => write!(
                f,
                "{} cannot be used on a cluster: {} is in another slot, because of the braces in the name",
                Shown(name),
                Shown(key)
            ),
            Self::InvalidArgument { field, reason } => write!(f, "invalid {field}: {reason}"),
            Self::Unreachable {
                name,
                reason,
                indeterminate,
            } => {
                write!(f, "no answer from the server for {}: {reason}", Shown(name))?;
                if *indeterminate {
                    f.write_str("; it may have taken effect")?;
                }
                Ok(())
            }
            Self::Refused {
                name,
                refusal: Refusal::Certificate,
                message,
            } => write!(f, "no TLS with {}: {message}", Shown(name)),
            Self::Refused {
                name,
                refusal: Refusal::PlaintextPassword,
                message,
            } => write!(f, "the password was not sent to {}: {message}", Shown(name)),
            Self::Refused { name, message, .. } => {
                write!(f, "the server refused {}: {message}", Shown(name))
            }
            Self::MissingRights { rights, message } => {
                write!(f, "the server's user lacks {}: {message}", rights.join(" "))
            }
            Self::UnexpectedReply { name, reply } => {
                write!(f, "unexpected reply for {}: {reply}", Shown(name))
            }
            Self::TooManyWaiters { name, limit } => write!(
                f,
                "no place to wait for {}: {limit} wait already, which is the limit",
                Shown(name)
            ),
            Self::Forked => {
                f.write_str("this process is a copy of the one that connected the client")
            }
            Self::Closed => f.write_str("the client is closed, or its runtime is gone"),
            Self::Redis(error) => write!(f, "redis client: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Redis(error) => Some(error),
            _ => None,
        }
    }
}

impl From<fred::error::Error> for Error {
    fn from(error: fred::error::Error) -> Self {
        Self::Redis(error)
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeaseExpired => "its lease ran out",
            Self::Unreachable => "it could not be renewed in time",
            Self::Vanished => "it is gone from the server",
            Self::TakenOver => "somebody else holds it",
            Self::ForceUnlocked => "it was freed by force",
            Self::Closed => "the client was closed, or its runtime is gone",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_replies_of_old_and_new_servers_are_told_apart() {
        let cases = [
            (
                "NOSCRIPT No matching script. Please use EVAL.",
                Some(Refusal::NoScript),
            ),
            ("NOSCRIPT No matching script.", Some(Refusal::NoScript)),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                Some(Refusal::WrongType),
            ),
            (
                "ERR Error running script (call to f_c0ffee): @user_script:9: WRONGTYPE Operation against a key",
                Some(Refusal::WrongType),
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Some(Refusal::OutOfMemory),
            ),
            (
                "ERR Error running script (call to f_c0ffee): @user_script:10: @user_script: 10: -OOM command not allowed when used memory > 'maxmemory'.",
                Some(Refusal::OutOfMemory),
            ),
            (
                "ERR Error running script (call to f_c0ffee): @user_script:10: @user_script: 10: -READONLY You can't write against a read only replica.",
                Some(Refusal::ReadOnly),
            ),
            (
                "READONLY You can't write against a read only replica.",
                Some(Refusal::ReadOnly),
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                Some(Refusal::Loading),
            ),
            ("BUSY Valkey is busy running a script.", Some(Refusal::Busy)),
            (
                "NOPERM this user has no permissions to run the 'evalsha' command",
                Some(Refusal::NoPermission),
            ),
            (
                "ERR ACL failure in script: User u has no permissions to run the 'pexpire' command script: on @user_script:11.",
                Some(Refusal::NoPermission),
            ),
            ("MOVED 866 127.0.0.1:7001", Some(Refusal::Cluster)),
            (
                "ERR max number of clients reached",
                Some(Refusal::TooManyClients),
            ),
            ("ERR something else", Some(Refusal::Other)),
            ("Connection closed.", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Refusal::classify(text), expected, "{text}");
        }
    }

    #[test]
    fn messages_escape_and_cut_names() {
        let name: Arc<str> = format!("a\nb{}", "x".repeat(500)).into();
        let shown = Error::WrongType { name }.to_string();
        assert!(shown.contains("a\\nb"), "{shown}");
        assert!(shown.len() < 200, "{shown}");
    }
}
