//! Keeping up with sentinels: they say which server is the master, and when that changes.
//!
//! Every sentinel is listened to. Each says which master it knows and from which election (the *epoch*); the latest
//! election counts, whoever tells of it first. So a sentinel that was cut off cannot call the client back to a master that
//! has been deposed.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use fred::prelude::{EventInterface, PubsubInterface, ServerConfig};
use fred::types::{RespVersion, Value, config::Server};
use futures_util::future::join_all;
use std::pin::pin;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::JoinSet,
    time::{Duration, Instant, sleep, timeout},
};

use super::{
    Fault, PubSub, Reply,
    chart::Address,
    dial::Dial,
    fleet::Fleet,
    link::{Link, LinkOwner},
    node::Node,
    router::Router,
};
use crate::{config::Settings, engine::jitter, error::Refusal};

/// Where sentinels announce another master.
const SWITCH: &str = "+switch-master";
/// Sentinels listened to.
const MOST_SENTINELS: usize = 16;
/// How long the others may take once one sentinel has answered.
const OTHERS: Duration = Duration::from_millis(300);
/// How long most sentinels may be behind the one that tells first of an election. They tell each other every two seconds.
const BEHIND: Duration = Duration::from_secs(5);
/// Pause before a sentinel is tried again that is not there.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a sentinel says of the master.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    master: Address,
    epoch: u64,
    /// The other sentinels it knows.
    peers: Vec<Address>,
}

/// How sentinels are reached, and what they are asked about.
#[derive(Debug, Clone)]
struct Watch {
    config: Dial,
    sentinels: Vec<Address>,
    name: String,
}

impl Watch {
    fn read(config: &Dial) -> Option<Self> {
        let ServerConfig::Sentinel {
            hosts,
            service_name,
            username,
            password,
        } = &config.server
        else {
            return None;
        };
        let mut reached = config.clone();
        reached.username.clone_from(username);
        reached.password.clone_from(password);
        reached.database = None;
        // Questions on a connection that listens.
        reached.version = RespVersion::RESP3;
        let address = |server: &Server| Address {
            host: server.host.to_string(),
            port: server.port,
        };
        Some(Self {
            config: reached,
            sentinels: hosts.iter().map(address).collect(),
            name: service_name.clone(),
        })
    }

    async fn open(&self, sentinel: &Address, limit: Duration) -> Result<LinkOwner, Fault> {
        LinkOwner::open(&self.config.at(sentinel), limit).await
    }

    /// What a sentinel knows of the master.
    async fn word(&self, link: &Link, said_by: &str, deadline: Instant) -> Result<Word, Fault> {
        let ask = async |what: &str| link.query("SENTINEL", &[what, &self.name], deadline).await;
        // The epoch first: it changes before the address does, and an old address must not pass for a new one.
        let epoch = fields(&ask("MASTER").await?)
            .get("config-epoch")
            .and_then(|epoch| epoch.parse().ok());
        let master = match ask("GET-MASTER-ADDR-BY-NAME").await? {
            Reply::Array(parts) => match parts.as_slice() {
                [Reply::Text(host), Reply::Text(port)] => {
                    let [host, port] = [host, port].map(|text| String::from_utf8_lossy(text));
                    Address::parse(&format!("{host}:{port}"), said_by)
                }
                _ => None,
            },
            _ => None,
        };
        let (Some(master), Some(epoch)) = (master, epoch) else {
            return Err(Fault::Refused {
                refusal: Refusal::Other,
                text: format!("the sentinel knows no address of {:?}", self.name),
            });
        };
        let peers = match ask("SENTINELS").await {
            Ok(Reply::Array(peers)) => peers
                .iter()
                .filter_map(|peer| reached(&self::fields(peer), said_by))
                .collect(),
            _ => Vec::new(),
        };
        Ok(Word {
            master,
            epoch,
            peers,
        })
    }

    /// Asks a sentinel over a connection of its own.
    async fn ask(&self, sentinel: &Address, limit: Duration) -> Result<Word, Fault> {
        let mut owner = self.open(sentinel, limit).await?;
        let word = self
            .word(owner.link(), &sentinel.host, Instant::now() + limit)
            .await;
        owner.end().await;
        word
    }
}

/// A flat list of names and values.
pub(super) fn fields(reply: &Reply) -> HashMap<String, String> {
    let text = |reply: &Reply| match reply {
        Reply::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Int(n) => n.to_string(),
        _ => String::new(),
    };
    let Reply::Array(items) = reply else {
        return HashMap::new();
    };
    let pairs = items.chunks_exact(2);
    pairs
        .filter_map(|pair| Some((text(pair.first()?), text(pair.get(1)?))))
        .collect()
}

pub(super) fn reached(fields: &HashMap<String, String>, said_by: &str) -> Option<Address> {
    Address::parse(
        &format!("{}:{}", fields.get("ip")?, fields.get("port")?),
        said_by,
    )
}

/// Finds the master and connects to it.
pub(super) async fn connect(
    config: &Dial,
    settings: &Settings,
    runtime: Handle,
) -> Result<Router, Fault> {
    let limit = settings.connect_timeout;
    let Some(watch) = Watch::read(config).filter(|watch| !watch.sentinels.is_empty()) else {
        return Err(Fault::NotSent {
            reason: "no sentinel was named".to_owned(),
        });
    };
    let word = first_word(&watch, limit).await?;
    let config_there = config.at(&word.master);
    let first = LinkOwner::open(&config_there, limit).await?;
    let node = Node::new(&config_there, settings, PubSub::Plain, Some(first));
    Ok(Router::over_master(
        config, settings, runtime, node, word.epoch,
    ))
}

/// The latest word of those sentinels that answer soon.
async fn first_word(watch: &Watch, limit: Duration) -> Result<Word, Fault> {
    let (sender, mut words) = mpsc::channel(MOST_SENTINELS);
    let asking = join_all(watch.sentinels.iter().map(|sentinel| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(watch.ask(sentinel, limit).await).await;
        }
    }));
    drop(sender);
    let choosing = async {
        let mut best: Option<Word> = None;
        let mut failed = Fault::NotSent {
            reason: "no sentinel answered".to_owned(),
        };
        loop {
            let wait = if best.is_some() { OTHERS } else { limit * 2 };
            match timeout(wait, words.recv()).await {
                Ok(Some(Ok(word))) => best = Some(later(best, word)),
                Ok(Some(Err(fault))) => failed = fault,
                Ok(None) | Err(_) => return best.ok_or(failed),
            }
        }
    };
    let mut choosing = pin!(choosing);
    tokio::select! {
        biased;
        word = &mut choosing => word,
        _ = asking => choosing.await,
    }
}

/// The word from the later election; of the same one, what was said first.
fn later(best: Option<Word>, word: Word) -> Word {
    match best {
        Some(best) if best.epoch >= word.epoch => best,
        _ => word,
    }
}

/// Those who say which server is the master.
#[derive(Debug, Default, Clone)]
struct Council {
    known: Vec<Address>,
    /// The last word of each.
    said: HashMap<Address, Word>,
    /// Since when most of them have been against the latest election.
    overruled: Option<Instant>,
}

impl Council {
    /// Whether it is one more to be listened to.
    fn admits(&mut self, sentinel: &Address) -> bool {
        let new = self.known.len() < MOST_SENTINELS && !self.known.contains(sentinel);
        if new {
            self.known.push(sentinel.clone());
        }
        new
    }

    /// Whether the master that one names is to be followed. The latest election counts. Only where the master is gone and
    /// most sentinels name another one is it followed whatever its number: then they have been set up anew. Where somebody
    /// speaks of the present election still, they may as well be behind, and the new master not be connected to yet: so
    /// this is to last.
    fn follows(&mut self, sentinel: Address, word: &Word, election: u64, gone: bool) -> bool {
        self.said.insert(sentinel, word.clone());
        if !gone || word.epoch > election {
            self.overruled = None;
            return word.epoch > election;
        }
        let (agree, others): (Vec<_>, Vec<_>) = self
            .said
            .values()
            .partition(|other| other.master == word.master);
        if agree.len() * 2 <= self.known.len() {
            return false;
        }
        if others.iter().all(|other| other.epoch < election) {
            return true;
        }
        self.overruled.get_or_insert_with(Instant::now).elapsed() >= BEHIND
    }
}

/// The task that listens to the sentinels.
pub(super) async fn keep(fleet: Weak<Fleet>) {
    let Some((watch, interval, limit)) = fleet.upgrade().and_then(|fleet| {
        let settings = &fleet.settings;
        let times = (settings.topology_refresh, settings.connect_timeout);
        Some((Arc::new(Watch::read(&fleet.config)?), times.0, times.1))
    }) else {
        return;
    };
    let (sender, mut words) = mpsc::channel(MOST_SENTINELS);
    // They end with this task.
    let mut listeners = JoinSet::new();
    let mut council = Council::default();
    let mut found = watch.sentinels.clone();
    loop {
        for sentinel in found.drain(..) {
            if council.admits(&sentinel) {
                let listener = Listener {
                    watch: watch.clone(),
                    sentinel,
                    interval,
                    limit,
                    fleet: fleet.clone(),
                    words: sender.clone(),
                };
                listeners.spawn(listener.run());
            }
        }
        let Some((sentinel, word)) = words.recv().await else {
            return;
        };
        let Some(fleet) = fleet.upgrade() else {
            return;
        };
        found.clone_from(&word.peers);
        if council.follows(sentinel, &word, fleet.election(), !fleet.is_open()) {
            fleet.succeed(&word.master, word.epoch);
        }
    }
}

/// Listens to one sentinel.
struct Listener {
    watch: Arc<Watch>,
    sentinel: Address,
    interval: Duration,
    limit: Duration,
    fleet: Weak<Fleet>,
    words: mpsc::Sender<(Address, Word)>,
}

impl Listener {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Ok(mut owner) = self.watch.open(&self.sentinel, self.limit).await {
                if self.listen(owner.link()).await {
                    pause = FIRST_PAUSE;
                }
                owner.end().await;
            }
            if self.words.is_closed() {
                return;
            }
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Passes on what the sentinel says until it is silent. True when it has said anything.
    async fn listen(&self, link: &Arc<Link>) -> bool {
        let mut messages = link.client.message_rx();
        let deadline = Instant::now() + self.limit;
        let subscribing = pin!(async { link.client.subscribe(SWITCH).await.map(|()| Value::Null) });
        if link.answered(subscribing, deadline).await.is_err() {
            return false;
        }
        let mut spoken = false;
        let Some(mut doubts) = self.fleet.upgrade().map(|fleet| fleet.doubts()) else {
            return false;
        };
        loop {
            let deadline = Instant::now() + self.limit;
            let word = self.watch.word(link, &self.sentinel.host, deadline).await;
            match word {
                Ok(word) => {
                    let said = (self.sentinel.clone(), word);
                    spoken = self.words.send(said).await.is_ok();
                }
                // It may not know the master yet.
                Err(Fault::Refused { .. }) => {}
                Err(_) => return spoken,
            }
            tokio::select! {
                message = messages.recv() => if message.is_err() {
                    // Some were missed, or the connection is over: ask, or find out.
                    sleep(FIRST_PAUSE).await;
                },
                doubted = doubts.changed() => match doubted {
                    Ok(()) => sleep(FIRST_PAUSE).await,
                    Err(_) => return spoken,
                },
                () = sleep(jitter(self.interval)) => {}
                () = link.until_over() => return spoken,
            }
        }
    }
}

#[cfg(test)]
mod tests;
