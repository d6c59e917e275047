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
                Ok(Some(Ok(word))) => {
                    best = Some(later_of(best, word));
                }
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

/// Which of two words is about the later election; of one election the first.
fn later_of(one: Option<Word>, other: Word) -> Word {
    match one {
        Some(one) if one.epoch >= other.epoch => one,
        _ => other,
    }
}

/// Whether a word is to be followed, where `election` was the last. The latest election counts. Only where the master is gone
/// and more than half of the known sentinels have named another one is it followed whatever its number: then they have
/// been set up anew.
fn counts(
    word: &Word,
    said: &HashMap<Address, Word>,
    known: usize,
    election: u64,
    open: bool,
) -> bool {
    let agree = |other: &&Word| other.master == word.master;
    let most = said.values().filter(agree).count() * 2 > known;
    word.epoch > election || (most && !open)
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
    let mut known: Vec<Address> = Vec::new();
    // The last word of each.
    let mut said: HashMap<Address, Word> = HashMap::new();
    let mut found = watch.sentinels.clone();
    loop {
        for sentinel in found.drain(..) {
            if known.len() < MOST_SENTINELS && !known.contains(&sentinel) {
                known.push(sentinel.clone());
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
        if counts(&word, &said, known.len(), fleet.election(), fleet.is_open()) {
            fleet.succeed(&word.master, word.epoch);
        }
        said.insert(sentinel, word);
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
mod tests {
    use super::*;

    #[test]
    fn a_flat_list_is_read() {
        let text = |text: &'static str| Reply::Text(text.into());
        let list = Reply::Array(
            ["name", "m", "ip", "10.0.0.1", "port", "7000", "odd"]
                .map(text)
                .into(),
        );
        let fields = fields(&list);
        assert_eq!(fields.len(), 3);
        let address = reached(&fields, "me").expect("both");
        assert_eq!((&*address.host, address.port), ("10.0.0.1", 7000));
        assert_eq!(reached(&self::fields(&Reply::Nil), "me"), None);
    }

    fn word(port: u16, epoch: u64) -> Word {
        Word {
            master: at(port),
            epoch,
            peers: Vec::new(),
        }
    }

    fn at(port: u16) -> Address {
        Address::parse(&format!("10.0.0.1:{port}"), "me").expect("good")
    }

    #[test]
    fn the_later_election_is_the_better_word() {
        assert_eq!(later_of(None, word(1, 3)), word(1, 3));
        assert_eq!(later_of(Some(word(1, 3)), word(2, 4)), word(2, 4));
        assert_eq!(later_of(Some(word(1, 3)), word(2, 2)), word(1, 3));
        assert_eq!(later_of(Some(word(1, 3)), word(2, 3)), word(1, 3));
    }

    #[test]
    fn a_word_counts_by_its_election_or_where_most_agree_and_nobody_is_there() {
        let said = |ports: &[u16]| {
            let words = ports.iter().enumerate();
            let words =
                words.map(|(by, port)| (at(100 + u16::try_from(by).expect("few")), word(*port, 1)));
            words.collect::<HashMap<_, _>>()
        };
        let (none, two, split) = (said(&[]), said(&[7, 7]), said(&[7, 8]));
        for (epoch, said, known, open, due) in [
            (6, &none, 3, true, true),
            (5, &none, 3, false, false),
            (4, &none, 3, false, false),
            // Set up anew: two of three, while nobody answers.
            (1, &two, 3, false, true),
            (1, &two, 3, true, false),
            (1, &two, 4, false, false),
            (1, &split, 3, false, false),
            (1, &split, 1, false, true),
        ] {
            let follows = counts(&word(7, epoch), said, known, 5, open);
            assert_eq!(follows, due, "{epoch} {said:?} {known} {open}");
        }
    }

    #[test]
    fn a_number_among_the_fields_is_read_too() {
        let list = Reply::Array(vec![
            Reply::Text("ip".into()),
            Reply::Text("10.0.0.1".into()),
            Reply::Text("port".into()),
            Reply::Int(7000),
        ]);
        assert_eq!(reached(&fields(&list), "me"), Some(at(7000)));
    }
}
