//! The client: connections, settings, and where locks come from.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use fred::types::config::{ClusterDiscoveryPolicy, Config, ServerConfig};

use crate::{
    access::Opening,
    address::{self, Parsed},
    config::{HandOver, NameMapper, ReplicaPolicy, Replicas, Settings, ShardedPubSub},
    connect::{How, connect_error},
    engine::{
        Engine,
        close::CloseReport,
        script::{Command, INSPECT_HASH},
        transport::{BoxFuture, Fault, dial::Dial, router::Router},
    },
    error::{Error, Result, cut},
    events::Events,
    inspect::Inspection,
    naming,
    runtime::Home,
    stats::Stats,
};

/// A connection to one server, and the source of locks on it. Cheap to clone; all clones are one client.
///
/// A client has an id of its own (a random UUID), which is the first part of every owner it locks for, one connection
/// for requests and one for messages. Both are watched and replaced when they fail.
///
/// *Redisson*: `RedissonClient`.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> redlatch::Result<()> {
/// use std::time::Duration;
///
/// let client = redlatch::Client::connect("redis://127.0.0.1:6379").await?;
/// let guard = client.lock("orders:42").lock().await?;
/// // ... nobody else is here ...
/// guard.unlock().await?;
/// client.close(Duration::from_secs(2)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    engine: Arc<Engine>,
}

impl Client {
    /// Connects with default settings to `redis://[user][:password]@host[:port][/db]`, to `rediss://` with the feature
    /// `tls-rustls`, or to a Unix socket by `redis+unix:///path[?db=n]`. Without a port it is 6379; a `db` is a number up to
    /// 255.
    ///
    /// # Cancel safety
    ///
    /// A caller that leaves leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an address that makes no sense, [`Error::Unreachable`] when no server answers there
    /// within the connect timeout, [`Error::Refused`] when it turns us away.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self> {
        Self::builder().url(url)?.connect().await
    }

    /// A client with settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client of an engine over another transport than the usual one.
    #[cfg(feature = "test-util")]
    pub(crate) fn of(engine: &Arc<Engine>) -> Self {
        Self {
            engine: engine.clone(),
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// This client's id: the first part of the owner of every lock it holds.
    ///
    /// *Redisson*: `RedissonClient.getId()`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.engine.client_id
    }

    /// What happens in this client from now on. See [`Event`](crate::Event).
    #[must_use]
    pub fn events(&self) -> Events {
        self.engine.events.subscribe()
    }

    /// What this client has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine.counters.snapshot()
    }

    /// Looks at a lock from outside: who holds it, for how long yet, who stands in a fair queue, and how many clients wait.
    /// Works on locks of any kind and client, JVMs included; three commands.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::WrongType`] when the key is not a lock, and those of any question to the server.
    pub async fn inspect(&self, name: impl Into<Arc<str>>) -> Result<Inspection> {
        let shown: Arc<str> = name.into();
        let name = self.engine.settings.map_name(&shown)?;
        let channels = [naming::lock_channel(&name), naming::rw_channel(&name)].map(Bytes::from);
        let queue = Bytes::from(naming::fair_queue(&name));
        let name = Bytes::from(name);
        let command = Command {
            script: &INSPECT_HASH,
            keys: vec![name.clone()],
            args: Vec::new(),
        };
        let sharded = self.engine.pubsub().sharded();
        let subcommand = Bytes::from_static(if sharded {
            b"SHARDNUMSUB"
        } else {
            b"NUMSUB" as &[u8]
        });
        let numsub = [&subcommand, &channels[0], &channels[1]];
        let (first, last) = (Bytes::from_static(b"0"), Bytes::from_static(b"-1"));
        let range = [&queue, &first, &last];
        let (fields, waiters, queue) = tokio::try_join!(
            self.engine.read(&shown, &command),
            self.engine
                .query_about(&shown, channels[0].clone(), "PUBSUB", &numsub),
            self.engine.query(&shown, "LRANGE", &range),
        )?;
        let here = self.engine.waiting_here(&name);
        Inspection::decode(&fields, &waiters, &queue, here).ok_or_else(|| Error::UnexpectedReply {
            name: shown,
            reply: cut(&format!("{fields:?} {waiters:?} {queue:?}")).to_owned(),
        })
    }

    /// Gives back every lock this client holds and every permit its guards hold, all side by side, waits for what is still
    /// under way, and ends all connections and tasks. Whatever is waited for fails with [`Error::Closed`], guards still around report
    /// [`LossCause::Closed`](crate::LossCause::Closed). Says which locks it could not give back before `limit` was over:
    /// those end with their time to live.
    ///
    /// Dropping the last handle without closing gives nothing back and says nothing, but leaves no connection open.
    ///
    /// # Cancel safety
    ///
    /// A caller that leaves in the middle leaves the client closed for new work; call it again to finish.
    ///
    /// *Redisson*: `shutdown`, which leaves held locks to their time to live.
    pub async fn close(&self, limit: Duration) -> CloseReport {
        self.engine.close(limit).await
    }

    /// Entries in this client's tables; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn residue(&self) -> String {
        format!("{:?}", self.engine.residue())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id())
            .field("settings", &self.engine.settings)
            .finish_non_exhaustive()
    }
}

/// Settings of a client to be. Every setting is checked by [`connect`](Self::connect) before anything is sent.
#[must_use = "nothing happens until it is connected"]
#[derive(Clone, Default)]
pub struct ClientBuilder {
    pub(crate) config: Option<Config>,
    pub(crate) how: How,
    pub(crate) settings: Settings,
    command_timeout: Option<Duration>,
    safety_poll: Option<Duration>,
    pub(crate) dedicated_runtime: bool,
    pub(crate) opening: Opening,
}

impl ClientBuilder {
    /// Where the server is: see [`Client::connect`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an address that makes no sense.
    pub fn url(self, url: impl AsRef<str>) -> Result<Self> {
        Ok(self.reach(Parsed::read(url.as_ref())?))
    }

    /// A Redis or Valkey cluster, by the addresses of some of its nodes: one that answers is enough to find the others.
    /// User and password are those of the first address. All have TLS or none has.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an address that makes no sense, and for none.
    ///
    /// *Redisson*: `useClusterServers`.
    pub fn cluster(self, urls: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        let (mut first, hosts) = Parsed::together(urls)?;
        first.config.server = ServerConfig::Clustered {
            hosts,
            policy: ClusterDiscoveryPolicy::default(),
        };
        Ok(self.reach(first))
    }

    /// The master that sentinels watch under `master_name`, by the addresses of some sentinels. User, password and database
    /// of the first address are those of the servers; with TLS both are reached by it; sentinels that want a password have
    /// [`sentinel_credentials`](Self::sentinel_credentials).
    ///
    /// The client listens to all sentinels it can find and goes over to another master as soon as one of them names it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an address that makes no sense, and for none.
    ///
    /// *Redisson*: `useSentinelServers`.
    pub fn sentinel(
        self,
        master_name: impl Into<String>,
        urls: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self> {
        let (mut first, hosts) = Parsed::together(urls)?;
        first.config.server = ServerConfig::Sentinel {
            hosts,
            service_name: master_name.into(),
            username: None,
            password: None,
        };
        Ok(self.reach(first))
    }

    /// What the sentinels want to know, which may be something else than what the servers want. Call it after
    /// [`sentinel`](Self::sentinel).
    ///
    /// *Redisson*: `sentinelUsername` and `sentinelPassword`.
    pub fn sentinel_credentials(
        mut self,
        user: Option<impl Into<String>>,
        secret: impl Into<String>,
    ) -> Self {
        if let Some(config) = &mut self.config
            && let ServerConfig::Sentinel {
                username, password, ..
            } = &mut config.server
        {
            *username = user.map(Into::into);
            *password = Some(secret.into());
        }
        self
    }

    /// How waiters are woken on a cluster. Default [`ShardedPubSub::Auto`]; all clients of a lock must agree.
    ///
    /// *Redisson*: `shardedSubscriptionMode`.
    pub fn sharded_pubsub(mut self, mode: ShardedPubSub) -> Self {
        self.settings.sharded_pubsub = mode;
        self
    }

    /// How often a cluster is asked who is responsible for what when nothing speaks for it. Anything that looks like a
    /// change has it asked at once. Default 2 s.
    ///
    /// *Redisson*: `scanInterval`.
    pub fn topology_refresh(mut self, interval: Duration) -> Self {
        self.settings.topology_refresh = interval;
        self
    }

    /// Where the server is and how to log in, as fred says it.
    ///
    /// Only the configuration is taken: an existing fred client would bring its own ideas about sending requests again,
    /// which no lock survives.
    pub fn fred_config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// How long a lock without a lease lasts when nobody renews it: what others wait when this process dies. It is renewed
    /// every third of it. Default 30 s, at least 100 ms.
    ///
    /// *Redisson*: `lockWatchdogTimeout`.
    pub fn watchdog_timeout(mut self, timeout: Duration) -> Self {
        self.settings.watchdog_timeout = timeout;
        self
    }

    /// Locks renewed in one call. Default 100, at most 1000.
    ///
    /// *Redisson*: `lockWatchdogBatchSize`.
    pub fn renewal_batch(mut self, locks: usize) -> Self {
        self.settings.renewal_batch = locks;
        self
    }

    /// How often waiters look for themselves, in case a message got lost: one look for each name and process, hundreds in
    /// one call. Default 1 s.
    pub fn safety_poll(mut self, interval: Duration) -> Self {
        self.safety_poll = Some(interval);
        self
    }

    /// How often in a row, and for how long, a lock that is given back may go straight to the next who waits for it in
    /// this process: one script is then release and grant, and other processes do not hear of it. Then it is freed for
    /// all, and this process lets others go first. Default 64 times and 5 ms, whichever comes first; with 0 times every
    /// release frees the lock.
    ///
    /// All kinds but read and group locks do this, and fenced ones not where another server may take over. (A spin lock that
    /// is freed is announced to nobody, so who looks first has it.) A fair lock goes to whoever is next over all processes,
    /// so where that is one of this process there is no bound.
    ///
    /// *Redisson*: none.
    pub fn local_hand_over(mut self, times: u32, time: Duration) -> Self {
        self.settings.hand_over = HandOver {
            passes: times,
            time,
        };
        self
    }

    /// How long one request may take before its outcome counts as unknown. Default 3 s, or half the watchdog timeout
    /// where that is shorter.
    ///
    /// *Redisson*: `timeout`.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = Some(timeout);
        self
    }

    /// How long the server may be silent before a call without a limit of its own gives up. Default 10 s.
    pub fn outage_patience(mut self, patience: Duration) -> Self {
        self.settings.outage_patience = patience;
        self
    }

    /// How long connecting may take. Default 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Runs connections, renewals and everything else in the background on a thread of the client's own. Default: on the
    /// runtime on which [`connect`](Self::connect) is called.
    ///
    /// For programs whose tasks may block their runtime for long: locks are renewed all the same. Costs a thread, and a wake-up
    /// from one thread to the other with every request. The thread ends with the client.
    pub fn dedicated_runtime(mut self) -> Self {
        self.dedicated_runtime = true;
        self
    }

    /// How often each connection is checked for life. Default 2 s.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.settings.heartbeat = interval;
        self
    }

    /// Has every grant wait until so many replicas have it, `within` at most: what a failover must not forget. A lock that
    /// is not confirmed in time is given back, and its caller gets [`Error::NotReplicated`]. A release waits as well, and
    /// says [`Error::ReleaseNotReplicated`] where it stands on the master alone. Renewals and dropped guards do not wait.
    ///
    /// Off by default. It takes a connection and a round trip more, which all who acquire at the same time share. Even all
    /// replicas are no proof against everything: see the guarantees.
    ///
    /// *Redisson*: `checkLockSyncedSlaves` and `slavesSyncTimeout`, where any one replica is enough and a stopped one
    /// holds everybody up.
    pub fn replicas(mut self, replicas: Replicas, within: Duration) -> Self {
        let on_disk = self.settings.replica_policy.is_some_and(|set| set.on_disk);
        self.settings.replica_policy = Some(ReplicaPolicy {
            replicas,
            within,
            on_disk,
        });
        self
    }

    /// Like [`replicas`](Self::replicas), where it must be on the disks of the server and of so many replicas. Servers that
    /// can say so (from Redis 7.2 on) and keep an append-only file are needed.
    pub fn replicas_on_disk(self, replicas: Replicas, within: Duration) -> Self {
        let mut builder = self.replicas(replicas, within);
        if let Some(policy) = &mut builder.settings.replica_policy {
            policy.on_disk = true;
        }
        builder
    }

    /// Puts `prefix` before every name, on the server only.
    pub fn key_prefix(self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        self.name_mapper(move |name| format!("{prefix}{name}"))
    }

    /// Turns the application's names into the names on the server.
    ///
    /// *Redisson*: `nameMapper`.
    pub fn name_mapper(mut self, map: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let map: NameMapper = Arc::new(map);
        self.settings.name_mapper = Some(map);
        self
    }

    /// Checks the settings and connects. Call it inside a tokio runtime, which the client's tasks will run on: it may be of
    /// either flavor, and must be driven for as long as the client is used, be it from other runtimes. Once it is gone, the
    /// client is closed.
    ///
    /// # Cancel safety
    ///
    /// A caller that leaves leaves nothing behind.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`]; [`Error::InvalidArgument`] with the name of the setting that is not acceptable.
    pub async fn connect(self) -> Result<Client> {
        let home = |own| {
            if own {
                Home::dedicated()
            } else {
                Home::current()
            }
        };
        self.connect_on(home).await
    }

    /// Connects on the runtime that `home` gives, which hears whether a thread of its own is wanted.
    pub(crate) async fn connect_on(
        mut self,
        home: impl FnOnce(bool) -> Result<Home>,
    ) -> Result<Client> {
        self.settle()?;
        let mut config = self.config.ok_or_else(|| {
            Error::invalid("url", "no server was named: call url() or fred_config()")
        })?;
        if matches!(config.server, ServerConfig::Clustered { .. })
            && config.database.unwrap_or_default() != 0
        {
            return Err(Error::invalid("database", "a cluster has only database 0"));
        }
        self.opening.log_in(&mut config);
        let home = home(self.dedicated_runtime)?;
        let config = self.how.dial(config)?;
        let transport = connect_on(&home, &config, &self.settings).await?;
        let server = format!(
            "{}/{}",
            address::shown(&config),
            config.database.unwrap_or_default()
        );
        let engine = Engine::start(self.settings, server, Arc::new(transport), home);
        self.opening.check(Client { engine }).await
    }

    /// Completes the settings and checks them.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let watchdog = self.settings.watchdog_timeout;
        self.settings.command_timeout = self
            .command_timeout
            .unwrap_or(self.settings.command_timeout.min(watchdog / 2));
        self.settings.safety_poll = self
            .safety_poll
            .unwrap_or(self.settings.safety_poll.min(watchdog / 3));
        self.settings.validate()
    }
}

/// Connects on the runtime where the connections are to live.
async fn connect_on(home: &Home, config: &Dial, settings: &Settings) -> Result<Router> {
    let (dial, settings, runtime) = (config.clone(), settings.clone(), home.handle.clone());
    // Boxed, so that it does not weigh upon the depth of the caller's own types.
    let connecting: BoxFuture<_> =
        Box::pin(async move { Router::connect(&dial, &settings, runtime).await });
    let connected = if home.own.is_some() {
        // Ended with the caller: the thread ends when `home` is dropped.
        let connected = home.handle.spawn(connecting).await;
        connected.unwrap_or(Err(Fault::Closed))
    } else {
        connecting.await
    };
    connected.map_err(|fault| connect_error(config, fault))
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
