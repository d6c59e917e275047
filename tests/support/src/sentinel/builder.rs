//! Starts servers and sentinels and makes them find one another.

use std::time::Duration;

use super::{MASTER_NAME, Sentinels};
use crate::finder::Flavor;
use crate::replicated::{Replicated, ReplicatedBuilder};
use crate::resp::Direct;
use crate::server::{Server, StartError, start_all};
use crate::tls::Certificates;
use crate::wait::settled;

/// How long a server may take to answer a question.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// After what silence a server is missed, with quick periods.
const QUICK_DOWN_AFTER: Duration = Duration::from_millis(600);
/// The same with the periods that sentinels have by themselves.
const SLOW_DOWN_AFTER: Duration = Duration::from_millis(1500);

/// The periods of a sentinel that make a failover quick, in milliseconds.
///
/// Shorter is not better. What a sentinel knows of a replica counts for five ping periods, and while the master is
/// down it asks a replica once a second: below 200 no replica is ever good enough to be promoted. With a publish
/// period of 100 the other sentinels turn a replica that was just promoted back.
const QUICK: [&str; 16] = [
    "info-period",
    "200",
    "ping-period",
    "300",
    "ask-period",
    "50",
    "publish-period",
    "500",
    "election-timeout",
    "1000",
    "min-link-reconnect-period",
    "100",
    "slave-reconf-timeout",
    "500",
    "tilt-period",
    "500",
];

/// Says how servers and sentinels are to be started.
#[derive(Clone, Debug)]
pub struct SentinelsBuilder {
    servers: ReplicatedBuilder,
    sentinels: u16,
    quorum: Option<u16>,
    down_after: Option<Duration>,
    failover_timeout: Duration,
    quick: bool,
    flavor: Option<Flavor>,
    password: Option<String>,
    sentinel_password: Option<String>,
    certificates: Option<Certificates>,
}

impl Default for SentinelsBuilder {
    fn default() -> SentinelsBuilder {
        SentinelsBuilder {
            servers: Replicated::builder(),
            sentinels: 3,
            quorum: None,
            down_after: None,
            failover_timeout: Duration::from_secs(3),
            quick: true,
            flavor: None,
            password: None,
            sentinel_password: None,
            certificates: None,
        }
    }
}

impl SentinelsBuilder {
    /// How many replicas the master begins with; two unless said otherwise.
    pub fn replicas(mut self, replicas: usize) -> SentinelsBuilder {
        self.servers = self.servers.replicas(replicas);
        self
    }

    /// How many sentinels; three unless said otherwise.
    pub fn sentinels(mut self, sentinels: u16) -> SentinelsBuilder {
        self.sentinels = sentinels;
        self
    }

    /// How many sentinels must miss the master; a majority unless said otherwise.
    pub fn quorum(mut self, quorum: u16) -> SentinelsBuilder {
        self.quorum = Some(quorum);
        self
    }

    /// How long a server may be silent before a sentinel misses it.
    ///
    /// Unless said otherwise 600 ms with the quick periods and 1.5 s with those the sentinels have by themselves. It
    /// should be well above the ping period, 300 ms or a second: a server whose role changes cuts its connections, and
    /// a sentinel then counts from the last ping. With less, one failover begets the next.
    pub fn down_after(mut self, down_after: Duration) -> SentinelsBuilder {
        self.down_after = Some(down_after);
        self
    }

    /// How long a failover may take before it is given up; three seconds unless said otherwise. The next one by
    /// themselves the sentinels try after twice that time.
    pub fn failover_timeout(mut self, timeout: Duration) -> SentinelsBuilder {
        self.failover_timeout = timeout;
        self
    }

    /// Whether the sentinels look at the servers more often than they would by themselves; they do unless said
    /// otherwise. Redis 6.2 has its own periods in any case.
    pub fn quick(mut self, quick: bool) -> SentinelsBuilder {
        self.quick = quick;
        self
    }

    /// The flavor, instead of the one `REDLATCH_TEST_SERVER` names.
    pub fn flavor(mut self, flavor: Flavor) -> SentinelsBuilder {
        self.servers = self.servers.flavor(flavor);
        self.flavor = Some(flavor);
        self
    }

    /// More words for the command line of every server, not of the sentinels.
    pub fn args<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> SentinelsBuilder {
        self.servers = self.servers.args(words);
        self
    }

    /// Whether every write is on disk before it is answered, so that the data survive a restart.
    pub fn appendonly(mut self, on: bool) -> SentinelsBuilder {
        self.servers = self.servers.appendonly(on);
        self
    }

    /// Lets a master refuse writes unless so many replicas were heard of in the last `max_lag`, in whole seconds.
    pub fn min_replicas(mut self, to_write: usize, max_lag: Duration) -> SentinelsBuilder {
        self.servers = self.servers.min_replicas(to_write, max_lag);
        self
    }

    /// The password of the default user, on every server but not on the sentinels.
    pub fn password(mut self, password: impl Into<String>) -> SentinelsBuilder {
        let password = password.into();
        self.servers = self.servers.password(password.clone());
        self.password = Some(password);
        self
    }

    /// The password of the default user on every sentinel.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> SentinelsBuilder {
        self.sentinel_password = Some(password.into());
        self
    }

    /// Lets servers and sentinels speak TLS, with clients and with one another, on ports of its own.
    ///
    /// As by [`ServerBuilder::tls`](crate::server::ServerBuilder::tls), the plain ports stay open too.
    pub fn tls(mut self, certificates: &Certificates) -> SentinelsBuilder {
        self.servers = self.servers.tls(certificates);
        self.certificates = Some(certificates.clone());
        self
    }

    /// Starts all and waits until all is well.
    ///
    /// # Panics
    ///
    /// When no server is to be had or it does not come about, saying why.
    #[track_caller]
    pub fn start(self) -> Sentinels {
        self.try_start()
            .unwrap_or_else(|error| panic!("no test sentinels: {error}"))
    }

    /// Starts all and waits until all is well.
    pub fn try_start(self) -> Result<Sentinels, StartError> {
        if self.sentinels == 0 {
            return Err(StartError::new("nobody would watch; ask for a sentinel"));
        }
        let servers = self.servers.clone().try_start()?.into_servers();
        let quick = self.quick && has_periods(&servers[0]);
        let configuration = self.configuration(servers[0].link_port(), quick);
        let mut sentinel = Server::builder().sentinel(configuration);
        if let Some(flavor) = self.flavor {
            sentinel = sentinel.flavor(flavor);
        }
        if let Some(password) = &self.sentinel_password {
            sentinel = sentinel.password(password);
        }
        if let Some(certificates) = &self.certificates {
            sentinel = sentinel
                .tls(certificates)
                .args(["--tls-replication", "yes"]);
        }
        let sentinels = start_all(vec![sentinel; self.sentinels.into()])?;
        let lookers = |servers: &[Server]| -> Vec<Direct> {
            let directs = servers.iter().map(Server::direct);
            directs
                .inspect(|direct| direct.set_timeout(LOOK_LIMIT))
                .collect()
        };
        let periods = if quick { &QUICK[..] } else { &[] };
        let all = Sentinels {
            server_lookers: lookers(&servers),
            sentinel_lookers: lookers(&sentinels),
            servers,
            sentinels,
            periods: periods.iter().map(|&word| word.into()).collect(),
        };
        let ready = || {
            for index in 0..all.sentinels.len() {
                all.hurry(index)?;
            }
            settled("the sentinels to be ready", || all.check())
        };
        ready().map_err(|error| {
            StartError::new(format!(
                "the sentinels did not come about: {error}; run again, or give them a longer down_after on a busy machine"
            ))
        })?;
        Ok(all)
    }

    fn configuration(&self, port: u16, quick: bool) -> String {
        let down_after = self.down_after.unwrap_or(if quick {
            QUICK_DOWN_AFTER
        } else {
            SLOW_DOWN_AFTER
        });
        let name = MASTER_NAME;
        let quorum = self.quorum.unwrap_or(self.sentinels / 2 + 1);
        let mut lines = vec![
            format!("sentinel monitor {name} 127.0.0.1 {port} {quorum}"),
            format!(
                "sentinel down-after-milliseconds {name} {}",
                down_after.as_millis()
            ),
            format!(
                "sentinel failover-timeout {name} {}",
                self.failover_timeout.as_millis()
            ),
            format!("sentinel parallel-syncs {name} 8"),
        ];
        if let Some(password) = &self.password {
            lines.push(format!("sentinel auth-pass {name} {password}"));
        }
        if let Some(password) = &self.sentinel_password {
            lines.push(format!("sentinel sentinel-pass {password}"));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// Whether a sentinel of this kind can be told its periods.
fn has_periods(server: &Server) -> bool {
    server.binary().major() >= 7
}
