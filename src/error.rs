//! What can go wrong, sorted by what a caller can do about it.

use std::{fmt, sync::Arc, time::Duration};

pub use self::refusal::Refusal;
pub(crate) use self::shown::cut;
use self::shown::{Said, Shown};
use crate::{fencing::StaleToken, owner::Owner};

mod refusal;
mod shown;

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
                Said(&failures.join("; "))
            ),
            Self::Stale { name, stale } => write!(f, "write to {} refused: {stale}", Shown(name)),
            Self::Lost { name, cause } => write!(f, "lock {} was lost: {cause}", Shown(name)),
            Self::WrongType { name } => {
                write!(f, "key {} holds something of another type", Shown(name))
            }
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
            Self::InvalidArgument { field, reason } => {
                write!(f, "invalid {field}: {}", Said(reason))
            }
            Self::Unreachable {
                name,
                reason,
                indeterminate,
            } => {
                write!(
                    f,
                    "no answer from the server for {}: {}",
                    Shown(name),
                    Said(reason)
                )?;
                if *indeterminate {
                    f.write_str("; it may have taken effect")?;
                }
                Ok(())
            }
            Self::Refused {
                name,
                refusal: Refusal::Certificate,
                message,
            } => write!(f, "no TLS with {}: {}", Shown(name), Said(message)),
            Self::Refused {
                name,
                refusal: Refusal::PlaintextPassword,
                message,
            } => write!(
                f,
                "the password was not sent to {}: {}",
                Shown(name),
                Said(message)
            ),
            Self::Refused { name, message, .. } => {
                write!(f, "the server refused {}: {}", Shown(name), Said(message))
            }
            Self::MissingRights { rights, message } => {
                write!(
                    f,
                    "the server's user lacks {}: {}",
                    Said(&rights.join(" ")),
                    Said(message)
                )
            }
            Self::UnexpectedReply { name, reply } => {
                write!(f, "unexpected reply for {}: {}", Shown(name), Said(reply))
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
            Self::Redis(error) => write!(f, "redis client: {}", Said(&error.to_string())),
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

    /// Would begin a line of its own in a log, and colour what comes after.
    const HOSTILE: &str = "a\nERROR forged\r\x1b[31m\u{202e}\0 \u{9b}2J";

    fn all(text: &str) -> Vec<Error> {
        let name: Arc<str> = text.into();
        let (owner, text) = (Owner::fresh(), text.to_owned());
        let refused = |refusal| Error::Refused {
            name: name.clone(),
            refusal,
            message: text.clone(),
        };
        vec![
            Error::TimedOut {
                name: name.clone(),
                waited: Duration::ZERO,
            },
            Error::NotHeld {
                name: name.clone(),
                owner,
            },
            Error::AlreadyHeld {
                name: name.clone(),
                owner,
            },
            Error::FencingReset {
                name: name.clone(),
                seen: 2,
                counter: 1,
            },
            Error::NoQuorum {
                name: name.clone(),
                granted: 0,
                needed: 1,
                failures: vec![text.clone(); 9],
            },
            Error::Lost {
                name: name.clone(),
                cause: LossCause::Vanished,
            },
            Error::WrongType { name: name.clone() },
            Error::NotReplicated {
                name: name.clone(),
                acked: 0,
                wanted: 1,
            },
            Error::ReleaseNotReplicated {
                name: name.clone(),
                acked: 0,
                wanted: 1,
            },
            Error::CrossSlot {
                name: name.clone(),
                key: text.clone(),
            },
            Error::invalid("name", text.clone()),
            Error::Unreachable {
                name: name.clone(),
                reason: text.clone(),
                indeterminate: true,
            },
            refused(Refusal::Other),
            refused(Refusal::Certificate),
            refused(Refusal::PlaintextPassword),
            Error::MissingRights {
                rights: vec![text.clone(); 9],
                message: text.clone(),
            },
            Error::UnexpectedReply {
                name: name.clone(),
                reply: text.clone(),
            },
            Error::TooManyWaiters {
                name: name.clone(),
                limit: 1,
            },
            Error::Redis(fred::error::Error::new(
                fred::error::ErrorKind::Unknown,
                text,
            )),
        ]
    }

    /// Names come from strangers, and logs are read by lines.
    #[test]
    fn nothing_in_a_name_or_a_reply_reaches_a_log_as_it_is() {
        let long = format!("{HOSTILE}{}", "\u{202e}x".repeat(3_000));
        for text in [HOSTILE, &long] {
            for error in all(text) {
                let (shown, debug) = (error.to_string(), format!("{error:?}"));
                for seen in [&shown, &debug] {
                    let raw = |c: char| c.is_control() || c == '\u{202e}';
                    assert!(!seen.contains(raw), "{seen:?}");
                }
                assert!(shown.contains("a\\nERROR"), "{shown}");
                assert!(shown.chars().count() < 6_000, "{}: {debug}", shown.len());
            }
        }
        let shown = Error::WrongType { name: long.into() }.to_string();
        assert!(shown.len() < 1_000, "{shown}");
    }
}
