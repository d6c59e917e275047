//! Settings, checked before anything is sent.

use std::{fmt, sync::Arc, time::Duration};

use crate::error::{Error, Result};

/// Longest accepted lock name in bytes, prefix included.
pub(crate) const MAX_NAME_BYTES: usize = 8_192;
/// Longest accepted lease: 2^53 ms, past which a Lua number is no longer exact.
const MAX_LEASE_MS: u128 = 1 << 53;

/// Shortest accepted lease: a shorter one would often be over before its grant arrives.
const SHORTEST_LEASE: Duration = Duration::from_millis(10);
/// Longest accepted time for connecting, and between two signs of life.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// How long a process lets others have a lock first that it has freed for all.
pub(crate) const LONGEST_ASIDE: Duration = Duration::from_millis(10);
/// Longest accepted time for a lock to go from hand to hand in one process.
const LONGEST_RUN: Duration = Duration::from_secs(10);

/// Turns the application's lock names into the names on the server.
pub(crate) type NameMapper = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// How waiters are woken on a cluster. Everybody who uses a lock must agree, since neither way hears the other.
///
/// *Redisson*: `ShardedSubscriptionMode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardedPubSub {
    /// Sharded where the cluster can (from Redis 7.0 on), as Redisson decides by default.
    #[default]
    Auto,
    /// `SPUBLISH` and `SSUBSCRIBE`: a message stays in its shard.
    On,
    /// `PUBLISH` and `SUBSCRIBE`: every message goes to every node.
    Off,
    /// Says and hears everything both ways, where the cluster can, for a fleet whose members have different settings.
    Both,
}

/// How many replicas must have a lock before its holder hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replicas {
    /// This many.
    AtLeast(u32),
    /// So many that most of the copies have it, the server's own included. A replica counts once it has been seen: one that
    /// is gone is still waited for.
    Majority,
    /// All that have been seen.
    All,
}

impl Replicas {
    /// How many of `replicas` these are.
    pub(crate) fn of(self, replicas: u32) -> u32 {
        match self {
            Self::AtLeast(wanted) => wanted,
            // The server's own copy is one of the majority.
            Self::Majority => replicas.div_ceil(2),
            Self::All => replicas,
        }
    }
}

/// A version of the servers' protocol.
///
/// *Redisson*: `Protocol`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// For servers, or proxies before them, that do not know the other one.
    Resp2,
    /// From Redis 6.0 on.
    #[default]
    Resp3,
}

/// What must be said about replicas before a grant or a release counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplicaPolicy {
    pub(crate) replicas: Replicas,
    pub(crate) within: Duration,
    pub(crate) on_disk: bool,
}

/// For how long a lock may go from hand to hand in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandOver {
    /// How often.
    pub(crate) passes: u32,
    pub(crate) time: Duration,
}

/// All settings of a client, valid by construction.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) watchdog_timeout: Duration,
    pub(crate) renewal_batch: usize,
    pub(crate) safety_poll: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) outage_patience: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) sharded_pubsub: ShardedPubSub,
    pub(crate) topology_refresh: Duration,
    pub(crate) replica_policy: Option<ReplicaPolicy>,
    pub(crate) hand_over: HandOver,
    pub(crate) name_mapper: Option<NameMapper>,
    pub(crate) max_waiters: usize,
    pub(crate) max_waiters_per_name: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            watchdog_timeout: Duration::from_secs(30),
            renewal_batch: 100,
            safety_poll: Duration::from_secs(1),
            command_timeout: Duration::from_secs(3),
            outage_patience: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            heartbeat: Duration::from_secs(2),
            sharded_pubsub: ShardedPubSub::Auto,
            topology_refresh: Duration::from_secs(2),
            replica_policy: None,
            hand_over: HandOver {
                passes: 64,
                time: Duration::from_millis(5),
            },
            name_mapper: None,
            max_waiters: 100_000,
            max_waiters_per_name: 100_000,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("watchdog_timeout", &self.watchdog_timeout)
            .field("renewal_batch", &self.renewal_batch)
            .field("safety_poll", &self.safety_poll)
            .field("command_timeout", &self.command_timeout)
            .field("outage_patience", &self.outage_patience)
            .field("connect_timeout", &self.connect_timeout)
            .field("heartbeat", &self.heartbeat)
            .field("sharded_pubsub", &self.sharded_pubsub)
            .field("topology_refresh", &self.topology_refresh)
            .field("replica_policy", &self.replica_policy)
            .field("hand_over", &self.hand_over)
            .field("max_waiters", &self.max_waiters)
            .field("max_waiters_per_name", &self.max_waiters_per_name)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Checks each setting and how they go together.
    pub(crate) fn validate(&self) -> Result<()> {
        let at_least = |field, value: Duration, least: Duration| {
            if value < least {
                Err(Error::invalid(
                    field,
                    format!("{value:?} is shorter than {least:?}"),
                ))
            } else {
                Ok(())
            }
        };
        let ms = Duration::from_millis;
        at_least("watchdog_timeout", self.watchdog_timeout, ms(100))?;
        at_least("safety_poll", self.safety_poll, ms(10))?;
        at_least("command_timeout", self.command_timeout, ms(10))?;
        at_least("connect_timeout", self.connect_timeout, ms(10))?;
        at_least("heartbeat", self.heartbeat, ms(10))?;
        at_least("topology_refresh", self.topology_refresh, ms(50))?;
        if self.hand_over.time > LONGEST_RUN {
            let reason = format!("longer than {LONGEST_RUN:?}: others would wait for it");
            return Err(Error::invalid("local_hand_over", reason));
        }
        if let Some(policy) = self.replica_policy {
            at_least("replicas", policy.within, ms(10))?;
            if policy.within > LONGEST_PAUSE {
                return Err(Error::invalid("replicas", "longer than an hour"));
            }
            if policy.replicas == Replicas::AtLeast(0) {
                return Err(Error::invalid("replicas", "at least none is no policy"));
            }
        }
        at_least(
            "outage_patience",
            self.outage_patience,
            self.command_timeout,
        )?;
        lease_ms("watchdog_timeout", self.watchdog_timeout)?;
        for (field, value) in [
            ("connect_timeout", self.connect_timeout),
            ("heartbeat", self.heartbeat),
            ("topology_refresh", self.topology_refresh),
        ] {
            if value > LONGEST_PAUSE {
                return Err(Error::invalid(
                    field,
                    format!("{value:?} is longer than an hour"),
                ));
            }
        }
        if self.command_timeout > self.watchdog_timeout {
            return Err(Error::invalid(
                "command_timeout",
                format!(
                    "{:?} is longer than the watchdog timeout of {:?}, so a hold could end while one command is in flight",
                    self.command_timeout, self.watchdog_timeout
                ),
            ));
        }
        if self.safety_poll > self.watchdog_timeout {
            return Err(Error::invalid(
                "safety_poll",
                "longer than the watchdog timeout, so it would come too late to be of use",
            ));
        }
        for (field, most) in [
            ("max_waiters", self.max_waiters),
            ("max_waiters_per_name", self.max_waiters_per_name),
        ] {
            if most == 0 {
                return Err(Error::invalid(field, "nobody could wait"));
            }
        }
        if !(1..=1_000).contains(&self.renewal_batch) {
            return Err(Error::invalid(
                "renewal_batch",
                format!("{} is not between 1 and 1000", self.renewal_batch),
            ));
        }
        Ok(())
    }

    /// The name on the server for a name of the application.
    pub(crate) fn map_name(&self, name: &str) -> Result<String> {
        if name.is_empty() {
            return Err(Error::invalid("name", "a lock name must not be empty"));
        }
        let mapped = match &self.name_mapper {
            Some(map) => map(name),
            None => name.to_owned(),
        };
        if mapped.is_empty() || mapped.len() > MAX_NAME_BYTES {
            return Err(Error::invalid(
                "name",
                format!(
                    "{} bytes on the server, where 1 to {MAX_NAME_BYTES} are accepted",
                    mapped.len()
                ),
            ));
        }
        Ok(mapped)
    }
}

/// Checks a lease that a caller asks for.
pub(crate) fn check_lease(lease: Duration) -> Result<()> {
    check_lease_as("lease", lease)
}

/// As [`check_lease`], for one that its caller calls `field`.
pub(crate) fn check_lease_as(field: &'static str, lease: Duration) -> Result<()> {
    lease_ms(field, lease)?;
    if lease < SHORTEST_LEASE {
        return Err(Error::invalid(
            field,
            format!("{lease:?} is shorter than {SHORTEST_LEASE:?}"),
        ));
    }
    Ok(())
}

/// A time to live in whole milliseconds, rounded up.
pub(crate) fn lease_ms(field: &'static str, lease: Duration) -> Result<u64> {
    let ms = lease.as_nanos().div_ceil(1_000_000);
    if ms == 0 {
        return Err(Error::invalid(field, "zero is not a lease"));
    }
    if ms > MAX_LEASE_MS {
        return Err(Error::invalid(
            field,
            format!("{lease:?} is longer than 2^53 ms"),
        ));
    }
    u64::try_from(ms).map_err(|_| Error::invalid(field, "too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        Settings::default().validate().expect("valid");
    }

    #[test]
    fn contradictions_name_the_field() {
        let mut settings = Settings {
            watchdog_timeout: Duration::from_secs(2),
            ..Settings::default()
        };
        let error = settings.validate().expect_err("3 s commands, 2 s watchdog");
        assert!(error.to_string().contains("command_timeout"), "{error}");
        settings.command_timeout = Duration::from_secs(1);
        settings.validate().expect("valid");
        settings.renewal_batch = 0;
        let error = settings.validate().expect_err("no batch");
        assert!(error.to_string().contains("renewal_batch"), "{error}");
    }

    #[test]
    fn leases_are_checked_and_rounded_up() {
        assert!(check_lease(Duration::from_millis(9)).is_err());
        assert!(check_lease(Duration::from_millis(10)).is_ok());
        assert!(lease_ms("lease", Duration::ZERO).is_err());
        assert!(lease_ms("lease", Duration::MAX).is_err());
        assert!(lease_ms("lease", Duration::from_millis(u64::MAX)).is_err());
        assert_eq!(lease_ms("lease", Duration::from_micros(1)).ok(), Some(1));
        assert_eq!(
            lease_ms("lease", Duration::from_micros(1_001)).ok(),
            Some(2)
        );
    }

    #[test]
    fn names_are_checked_after_mapping() {
        let mut settings = Settings::default();
        assert!(settings.map_name("").is_err());
        assert!(settings.map_name(&"x".repeat(MAX_NAME_BYTES)).is_ok());
        assert!(settings.map_name(&"x".repeat(MAX_NAME_BYTES + 1)).is_err());
        settings.name_mapper = Some(Arc::new(|name| format!("app:{name}")));
        assert_eq!(settings.map_name("a").ok().as_deref(), Some("app:a"));
        assert!(settings.map_name(&"x".repeat(MAX_NAME_BYTES)).is_err());
    }
}
