//! A master with replicas, watched by nobody.

use std::time::Duration;

use crate::finder::Flavor;
use crate::replication;
use crate::server::{Server, ServerBuilder, StartError, start_all};
use crate::wait::{done, settled};

/// A master and its replicas, for a test of its own.
///
/// A killed replica that is started again follows the master as before. A killed master that is started again is
/// empty, unless it began with [`ReplicatedBuilder::appendonly`], and so are its replicas then. Nobody takes over by
/// himself: see [`Sentinels`](crate::Sentinels).
#[derive(Debug)]
pub struct Replicated {
    /// The master first.
    servers: Vec<Server>,
}

/// Says how a master and its replicas are to be started.
#[derive(Clone, Debug)]
pub struct ReplicatedBuilder {
    replicas: usize,
    server: ServerBuilder,
}

impl Default for ReplicatedBuilder {
    fn default() -> ReplicatedBuilder {
        ReplicatedBuilder {
            replicas: 2,
            server: Server::builder().args(replication::QUICK),
        }
    }
}

impl ReplicatedBuilder {
    /// How many replicas; two unless said otherwise.
    pub fn replicas(mut self, replicas: usize) -> ReplicatedBuilder {
        self.replicas = replicas;
        self
    }

    /// The flavor, instead of the one `REDLATCH_TEST_SERVER` names.
    pub fn flavor(mut self, flavor: Flavor) -> ReplicatedBuilder {
        self.server = self.server.flavor(flavor);
        self
    }

    /// More words for the command line of every server.
    pub fn args<W: Into<String>>(
        mut self,
        words: impl IntoIterator<Item = W>,
    ) -> ReplicatedBuilder {
        self.server = self.server.args(words);
        self
    }

    /// Whether every write is on disk before it is answered, so that the data survive a restart.
    pub fn appendonly(mut self, on: bool) -> ReplicatedBuilder {
        self.server = self.server.appendonly(on);
        self
    }

    /// The password of the default user, on every server.
    pub fn password(mut self, password: impl Into<String>) -> ReplicatedBuilder {
        self.server = self.server.password(password);
        self
    }

    /// Lets a master refuse writes unless so many replicas were heard of in the last `max_lag`, in whole seconds.
    pub fn min_replicas(mut self, to_write: usize, max_lag: Duration) -> ReplicatedBuilder {
        let (count, lag) = (to_write.to_string(), max_lag.as_secs().to_string());
        self.server = self.server.args([
            "--min-replicas-to-write",
            &count,
            "--min-replicas-max-lag",
            &lag,
        ]);
        self
    }

    /// Starts the servers and waits until the replicas follow.
    ///
    /// # Panics
    ///
    /// When no server is to be had or the replicas do not follow, saying why.
    #[track_caller]
    pub fn start(self) -> Replicated {
        self.try_start()
            .unwrap_or_else(|error| panic!("no test servers: {error}"))
    }

    /// Starts the servers and waits until the replicas follow.
    pub fn try_start(self) -> Result<Replicated, StartError> {
        let master = self.server.clone().try_start()?;
        let port = master.port().to_string();
        let replica = self.server.args(["--replicaof", "127.0.0.1", &port]);
        let mut servers = vec![master];
        servers.extend(start_all(vec![replica; self.replicas])?);
        let replicated = Replicated { servers };
        settled("the replicas to follow their master", || replicated.check()).map_err(|error| {
            StartError::new(format!(
                "{error}; run again, and see the server.log of each"
            ))
        })?;
        Ok(replicated)
    }
}

impl Replicated {
    /// Starts a master and two replicas and waits until these follow.
    ///
    /// # Panics
    ///
    /// When no server is to be had or the replicas do not follow, saying why.
    #[track_caller]
    pub fn start() -> Replicated {
        Replicated::builder().start()
    }

    /// Servers with other settings than the usual ones.
    pub fn builder() -> ReplicatedBuilder {
        ReplicatedBuilder::default()
    }

    /// The master.
    pub fn master(&self) -> &Server {
        &self.servers[0]
    }

    /// The replicas.
    pub fn replicas(&self) -> &[Server] {
        &self.servers[1..]
    }

    /// Waits until every replica that is awake follows the master and the master knows.
    ///
    /// # Panics
    ///
    /// When that does not come about, telling what is missing.
    #[track_caller]
    pub fn wait_ok(&self) {
        done(settled("the replicas to follow their master", || {
            self.check()
        }));
    }

    /// The servers alone, the master first.
    pub(crate) fn into_servers(self) -> Vec<Server> {
        self.servers
    }

    fn check(&self) -> Result<(), String> {
        let awake = self.replicas().iter().filter(|replica| replica.is_awake());
        let replicas: Vec<_> = awake.map(|replica| (replica, replica.direct())).collect();
        let replicas: Vec<_> = replicas
            .iter()
            .map(|(replica, direct)| (*replica, direct))
            .collect();
        replication::up(&self.master().direct(), &replicas)
    }
}
