//! What a JVM is started with.

use std::time::Duration;

/// How Redisson finds the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JvmMode {
    /// One server; the only address.
    #[default]
    Single,
    /// A cluster; some of its nodes.
    Cluster,
    /// A master watched by sentinels; the sentinels. The master's name is `mymaster` unless
    /// `--master-name` is in `extra`.
    Sentinel,
}

/// How Redisson wakes waiters on a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JvmSharding {
    /// By `SPUBLISH` where the cluster can.
    Auto,
    /// By `SPUBLISH`.
    On,
    /// By `PUBLISH`.
    Off,
}

/// What a [`Jvm`](super::Jvm) is started with. `None` leaves Redisson's default.
#[derive(Debug, Clone, Default)]
pub struct JvmOptions {
    /// `host:port` or a `redis://` / `rediss://` address; several in the cluster and sentinel
    /// modes.
    pub addresses: Vec<String>,
    /// How the addresses are meant.
    pub mode: JvmMode,
    /// `lockWatchdogTimeout`; renewals come every third of it.
    pub watchdog: Option<Duration>,
    /// Command timeout.
    pub timeout: Option<Duration>,
    /// Put before every object name by a name mapper (the counter key of `contend` is not touched).
    pub prefix: Option<String>,
    /// RESP3 instead of RESP2.
    pub resp3: bool,
    /// Further independent servers, for `red` locks.
    pub also: Vec<String>,
    /// Redisson's `StringCodec` instead of its default codec.
    pub string_codec: bool,
    /// `shardedSubscriptionMode` of a cluster.
    pub sharding: Option<JvmSharding>,
    /// `scanInterval` of a cluster: how often Redisson asks who is responsible for what.
    pub scan: Option<Duration>,
    /// Further driver options, as `--name`, value pairs.
    pub extra: Vec<String>,
}

impl JvmOptions {
    /// One server with Redisson's defaults.
    pub fn single(address: impl Into<String>) -> Self {
        Self {
            addresses: vec![address.into()],
            ..Self::default()
        }
    }

    /// Cluster nodes with Redisson's defaults.
    pub fn cluster(addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let addresses = addresses.into_iter().map(Into::into).collect();
        Self {
            addresses,
            mode: JvmMode::Cluster,
            ..Self::default()
        }
    }

    /// Sets the watchdog timeout.
    #[must_use]
    pub fn watchdog(mut self, watchdog: Duration) -> Self {
        self.watchdog = Some(watchdog);
        self
    }

    /// Sets the command timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the name prefix.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets how waiters are woken on a cluster.
    #[must_use]
    pub fn sharding(mut self, sharding: JvmSharding) -> Self {
        self.sharding = Some(sharding);
        self
    }

    /// Sets how often a cluster is looked at.
    #[must_use]
    pub fn scan(mut self, interval: Duration) -> Self {
        self.scan = Some(interval);
        self
    }

    /// Speaks RESP3.
    #[must_use]
    pub fn resp3(mut self) -> Self {
        self.resp3 = true;
        self
    }

    /// Adds an independent server.
    #[must_use]
    pub fn also(mut self, address: impl Into<String>) -> Self {
        self.also.push(address.into());
        self
    }

    /// Encodes values by Redisson's `StringCodec`.
    #[must_use]
    pub fn string_codec(mut self) -> Self {
        self.string_codec = true;
        self
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        let full = |address: &String| match address.contains("://") {
            true => address.clone(),
            false => format!("redis://{address}"),
        };
        for address in &self.addresses {
            add("--address", full(address));
        }
        for address in &self.also {
            add("--also", full(address));
        }
        if self.string_codec {
            add("--codec", "string".to_owned());
        }
        let mode = match self.mode {
            JvmMode::Single => "single",
            JvmMode::Cluster => "cluster",
            JvmMode::Sentinel => "sentinel",
        };
        add("--mode", mode.to_owned());
        if let Some(watchdog) = self.watchdog {
            add("--watchdog", watchdog.as_millis().to_string());
        }
        if let Some(timeout) = self.timeout {
            add("--timeout", timeout.as_millis().to_string());
        }
        if let Some(prefix) = &self.prefix {
            add("--prefix", prefix.clone());
        }
        if let Some(sharding) = self.sharding {
            let mode = match sharding {
                JvmSharding::Auto => "AUTO",
                JvmSharding::On => "ON",
                JvmSharding::Off => "OFF",
            };
            add("--sharded", mode.to_owned());
        }
        if let Some(scan) = self.scan {
            add("--scan", scan.as_millis().to_string());
        }
        if self.resp3 {
            add("--protocol", "RESP3".to_owned());
        }
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}
