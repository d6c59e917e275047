//! A master with replicas, watched by sentinels that put a replica in its place.
//!
//! What a method tells is asked of the sentinels at that moment, since masters change. A killed or frozen one is not
//! asked.

mod builder;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::replication;
use crate::resp::{Direct, Value};
use crate::server::{Server, StartError};
use crate::wait::{done, settled};

pub use builder::SentinelsBuilder;

/// The name by which the sentinels know the master.
pub const MASTER_NAME: &str = "mymaster";

/// How often a failover that does not come about is asked for again.
const FAILOVER_AGAIN: Duration = Duration::from_secs(6);

/// A master, replicas and sentinels, for a test of its own.
///
/// Each is a [`Server`], with all that may be done to one. A server that is started again is what the sentinels make
/// of it a moment later; [`Sentinels::wait_ready`] waits for that.
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
    /// One connection to each, for the questions asked here.
    server_lookers: Vec<Direct>,
    sentinel_lookers: Vec<Direct>,
    /// What every sentinel is told after its start; nothing where it keeps its own periods.
    periods: Vec<String>,
}

impl Sentinels {
    /// Starts a master, two replicas and three sentinels, and waits until all is well.
    ///
    /// # Panics
    ///
    /// When no server is to be had or it does not come about, saying why.
    #[track_caller]
    pub fn start() -> Sentinels {
        Sentinels::builder().start()
    }

    /// Starts a master, two replicas and three sentinels, and waits until all is well.
    pub fn try_start() -> Result<Sentinels, StartError> {
        Sentinels::builder().try_start()
    }

    /// Sentinels and servers with other settings than the usual ones.
    pub fn builder() -> SentinelsBuilder {
        SentinelsBuilder::default()
    }

    /// Those that all tests of this process share, started by the first that asks.
    ///
    /// A test that uses them takes its lock names from [`unique_name`](crate::unique_name) and leaves the servers as
    /// they are. They stop when the process ends.
    ///
    /// # Panics
    ///
    /// When no server is to be had or it does not come about, saying why.
    #[track_caller]
    pub fn shared() -> &'static Sentinels {
        static SHARED: OnceLock<Sentinels> = OnceLock::new();
        SHARED.get_or_init(Sentinels::start)
    }

    /// The master and the replicas; first the one that began as the master.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The sentinels.
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// The address of every sentinel.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Server::url).collect()
    }

    /// The name by which the sentinels know the master.
    pub fn master_name(&self) -> &'static str {
        MASTER_NAME
    }

    /// The server that most sentinels call the master, be it awake or not.
    ///
    /// # Panics
    ///
    /// When no majority comes about among the sentinels that are awake.
    #[track_caller]
    pub fn master(&self) -> &Server {
        let found = settled("most sentinels to name one master", || {
            let named = self.named()?;
            named
                .iter()
                .find(|port| named.iter().filter(|other| other == port).count() * 2 > named.len())
                .and_then(|port| self.index_of(*port))
                .ok_or_else(|| format!("they name {named:?}"))
        });
        &self.servers[done(found)]
    }

    /// The servers that are awake, but for the master.
    #[track_caller]
    pub fn replicas(&self) -> Vec<&Server> {
        let master = self.master().port();
        let others = self.servers.iter();
        others
            .filter(|server| server.port() != master && server.is_awake())
            .collect()
    }

    /// Waits until all sentinels that are awake name another master than `old`, and that one takes writes.
    ///
    /// # Panics
    ///
    /// When that does not come about, telling what was seen last.
    #[track_caller]
    pub fn master_after(&self, old: &Server) -> &Server {
        let found = settled("another master that takes writes", || {
            self.named_after(old.port())
        });
        &self.servers[done(found)]
    }

    /// Has the sentinels put a replica in the master's place, and waits until all of them name it and it takes
    /// writes. The old master becomes a replica a moment later; [`Sentinels::wait_ready`] waits for that.
    ///
    /// # Panics
    ///
    /// When no failover comes about.
    #[track_caller]
    pub fn failover(&self) -> &Server {
        let old = self.master().port();
        let mut asked: Option<Instant> = None;
        let found = settled("the failover", || {
            let pending = asked.is_some_and(|asked| asked.elapsed() < FAILOVER_AGAIN);
            // Asked once more after it has come about, they would begin the next one.
            if !pending && self.named()?.iter().all(|&port| port == old) {
                let sentinel = self.awake(&self.sentinels).next();
                let index = sentinel.ok_or("no sentinel is awake")?;
                self.sentinel_lookers[index].ask(&["SENTINEL", "FAILOVER", MASTER_NAME])?;
                asked = Some(Instant::now());
            }
            self.named_after(old)
        });
        &self.servers[done(found)]
    }

    /// Waits until all is well: the master is awake, every server that is awake follows it, and every sentinel that is
    /// awake knows them and the other sentinels.
    ///
    /// # Panics
    ///
    /// When that does not come about, telling what is missing.
    #[track_caller]
    pub fn wait_ready(&self) {
        done(settled("the sentinels to be ready", || self.check()));
    }

    /// Starts a sentinel again, killing it first if it runs, with the quick periods that it does not keep by itself.
    ///
    /// # Panics
    ///
    /// When it is none of the sentinels, or does not start again.
    #[track_caller]
    pub fn restart_sentinel(&self, sentinel: &Server) {
        let own = self.sentinels.iter();
        let index = own
            .map(Server::port)
            .position(|port| port == sentinel.port())
            .unwrap_or_else(|| {
                panic!(
                    "the server at {} is no sentinel here; pass one of sentinels()",
                    sentinel.address()
                )
            });
        sentinel.restart();
        done(settled("a sentinel to take its periods", || {
            self.hurry(index)
        }));
    }

    /// Tells a sentinel its periods, if it is to have other than its own.
    fn hurry(&self, index: usize) -> Result<(), String> {
        if self.periods.is_empty() {
            return Ok(());
        }
        let mut words = vec!["SENTINEL".to_owned(), "DEBUG".into()];
        words.extend(self.periods.iter().cloned());
        self.sentinel_lookers[index].ask(&words).map(|_| ())
    }

    fn awake<'a>(&self, servers: &'a [Server]) -> impl Iterator<Item = usize> + use<'a> {
        let numbered = servers.iter().enumerate();
        numbered
            .filter(|(_, server)| server.is_awake())
            .map(|(index, _)| index)
    }

    fn index_of(&self, port: u16) -> Option<usize> {
        self.servers.iter().position(|server| server.port() == port)
    }

    /// The port of the master as each sentinel that is awake names it.
    fn named(&self) -> Result<Vec<u16>, String> {
        self.awake(&self.sentinels)
            .map(|index| {
                let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME];
                let answer = self.sentinel_lookers[index].ask(&words)?;
                let port = match &answer {
                    Value::Array(parts) if parts.len() == 2 => parts[1].text().parse().ok(),
                    _ => None,
                };
                port.ok_or_else(|| format!("a sentinel names the master {answer:?}"))
            })
            .collect()
    }

    /// The one master that all sentinels name, if it is another than the old one and takes writes.
    fn named_after(&self, old: u16) -> Result<usize, String> {
        let named = self.named()?;
        let port = *named.first().ok_or("no sentinel is awake")?;
        if port == old || named.iter().any(|&other| other != port) {
            return Err(format!(
                "the sentinels name {named:?}, the old one is {old}"
            ));
        }
        let index = self
            .index_of(port)
            .ok_or_else(|| format!("the sentinels name {port}, which is no server here"))?;
        // A write that changes nothing.
        self.server_lookers[index].ask(&["DEL", "redlatch:nothing"])?;
        Ok(index)
    }

    /// Whether all is well, or what is not.
    fn check(&self) -> Result<(), String> {
        let named = self.named()?;
        let port = *named.first().ok_or("no sentinel is awake")?;
        let master = self
            .index_of(port)
            .filter(|&at| self.servers[at].is_awake());
        let Some(master) = master.filter(|_| named.iter().all(|&other| other == port)) else {
            return Err(format!("the sentinels name {named:?} as the master"));
        };
        let replicas: Vec<usize> = self
            .awake(&self.servers)
            .filter(|&index| index != master)
            .collect();
        let lookers: Vec<_> = replicas
            .iter()
            .map(|&index| (&self.servers[index], &self.server_lookers[index]))
            .collect();
        replication::up(&self.server_lookers[master], &lookers)?;
        for index in self.awake(&self.sentinels) {
            let at = self.sentinels[index].address();
            let own = self.known(index, "MASTERS", None)?;
            if own
                .get(&port)
                .and_then(|told| told.get("flags"))
                .map(String::as_str)
                != Some("master")
            {
                return Err(format!("the sentinel at {at} knows the master as {own:?}"));
            }
            let known = self.known(index, "REPLICAS", Some(MASTER_NAME))?;
            for &replica in &replicas {
                let told = known.get(&self.servers[replica].port());
                let is = |name: &str, value: &str| {
                    told.and_then(|told| told.get(name))
                        .is_some_and(|found| found == value)
                };
                if !(is("flags", "slave")
                    && is("role-reported", "slave")
                    && is("master-link-status", "ok")
                    && is("master-port", &port.to_string()))
                {
                    return Err(format!("the sentinel at {at} knows a replica as {told:?}"));
                }
            }
            let known = self.known(index, "SENTINELS", Some(MASTER_NAME))?;
            for other in self.awake(&self.sentinels).filter(|&other| other != index) {
                let told = known.get(&self.sentinels[other].port());
                let flags = told.and_then(|told| told.get("flags"));
                // What it once said of the master stays in its flags and does not matter.
                let known = flags.is_some_and(|flags| {
                    !["s_down", "disconnected"]
                        .iter()
                        .any(|doubt| flags.contains(doubt))
                });
                if !known {
                    return Err(format!("the sentinel at {at} knows another as {told:?}"));
                }
            }
        }
        Ok(())
    }

    /// What a sentinel tells of the masters, replicas or sentinels, by their port.
    fn known(
        &self,
        sentinel: usize,
        what: &str,
        of: Option<&str>,
    ) -> Result<BTreeMap<u16, BTreeMap<String, String>>, String> {
        let words: Vec<&str> = ["SENTINEL", what].into_iter().chain(of).collect();
        let Value::Array(entries) = self.sentinel_lookers[sentinel].ask(&words)? else {
            return Err(format!("SENTINEL {what} was not answered with a list"));
        };
        let map = |entry: &Value| -> BTreeMap<String, String> {
            let flat = entry.strings();
            let (pairs, _) = flat.as_chunks::<2>();
            pairs
                .iter()
                .cloned()
                .map(|[name, value]| (name, value))
                .collect()
        };
        Ok(entries
            .iter()
            .map(map)
            .filter_map(|entry| Some((entry.get("port")?.parse().ok()?, entry)))
            .collect())
    }
}
