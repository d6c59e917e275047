//! A server in a few lines, whose every answer a test chooses.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fred::prelude::{Config, ServerConfig};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    PubSub, Request, Signal, SignalSink,
    chart::{Address, Layout, claims},
    dial::Dial,
    fleet::{Chart, Fleet, Topology, lock},
};
use crate::{config::Settings, engine::script::Script};

/// What the server does with a command.
pub(super) enum Answer {
    /// As any server would.
    Usual,
    /// These bytes, a whole frame but for its end.
    Say(String),
    /// The same, somewhat later.
    After(Duration, String),
    Silence,
    HangUp,
}

/// Who a connection is.
pub(super) const INFO: &str = "id=7 addr=127.0.0.1:7";

pub(super) fn say(frame: impl Into<String>) -> Answer {
    Answer::Say(frame.into())
}

type Judge = dyn Fn(&[String]) -> Answer + Send + Sync;

pub(super) struct Fake {
    pub(super) port: u16,
    seen: Arc<Mutex<Vec<Vec<String>>>>,
    /// Connections that are open.
    open: Arc<AtomicUsize>,
    /// Connections there have been.
    accepted: Arc<AtomicUsize>,
    cut: watch::Sender<()>,
}

impl Fake {
    pub(super) async fn start(judge: impl Fn(&[String]) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let fake = Self {
            port,
            seen: Arc::default(),
            open: Arc::default(),
            accepted: Arc::default(),
            cut: watch::channel(()).0,
        };
        let judge: Arc<Judge> = Arc::new(judge);
        let (seen, open, accepted) = (fake.seen.clone(), fake.open.clone(), fake.accepted.clone());
        let cut = fake.cut.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let (judge, seen, open) = (judge.clone(), seen.clone(), open.clone());
                let mut cut = cut.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = serve(stream, &judge, &seen) => {}
                        _ = cut.changed() => {}
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        fake
    }

    /// One that answers as any other.
    pub(super) async fn usual() -> Self {
        Self::start(|_| Answer::Usual).await
    }

    pub(super) fn address(&self) -> Address {
        at(self.port)
    }

    /// How many commands have come that begin so.
    pub(super) fn count(&self, words: &[&str]) -> usize {
        let seen = lock(&self.seen);
        seen.iter().filter(|command| begins(command, words)).count()
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Ends all connections.
    pub(super) fn hang_up(&self) {
        self.cut.send_replace(());
    }
}

/// Whether a command has these words first.
pub(super) fn begins(command: &[String], words: &[&str]) -> bool {
    command.len() >= words.len() && command.iter().zip(words).all(|(a, b)| a == b)
}

async fn serve(
    stream: TcpStream,
    judge: &Arc<Judge>,
    seen: &Mutex<Vec<Vec<String>>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let line = line(&mut stream).await?;
        let mut command = Vec::new();
        if let Some(count) = figure(&line, '*') {
            for _ in 0..count {
                let length = figure(&self::line(&mut stream).await?, '$')?;
                let mut word = vec![0; length + 2];
                stream.read_exact(&mut word).await.ok()?;
                word.truncate(length);
                command.push(String::from_utf8_lossy(&word).into_owned());
            }
        } else {
            // As people type it, and the client says hello.
            command.extend(line.split_whitespace().map(str::to_owned));
        }
        let answer = judge(&command);
        lock(seen).push(command.clone());
        let frame = match answer {
            Answer::Say(frame) => Some(frame),
            Answer::After(pause, frame) => {
                sleep(pause).await;
                Some(frame)
            }
            Answer::Usual if begins(&command, &["CLIENT", "INFO"]) => Some(text(INFO)),
            Answer::Usual => Some("+OK".to_owned()),
            Answer::Silence => None,
            Answer::HangUp => return None,
        };
        if let Some(frame) = frame {
            let frame = format!("{frame}\r\n");
            stream.write_all(frame.as_bytes()).await.ok()?;
        }
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let length = stream.read_line(&mut line).await.ok()?;
    (length > 0).then_some(line)
}

/// The figure of a line such as `*3` or `$11`.
fn figure(line: &str, sign: char) -> Option<usize> {
    line.trim().strip_prefix(sign)?.parse().ok()
}

/// A text as a frame.
pub(super) fn text(text: &str) -> String {
    format!("${}\r\n{text}", text.len())
}

pub(super) fn at(port: u16) -> Address {
    Address {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

/// How one server at a port is reached.
pub(super) fn dial(port: u16) -> Dial {
    dial_to(ServerConfig::new_centralized("127.0.0.1", port))
}

pub(super) fn dial_to(server: ServerConfig) -> Dial {
    let config = Config {
        server,
        ..Config::default()
    };
    Dial::new(config, None, false)
}

/// What `CLUSTER NODES` says: ports, epochs and slots.
pub(super) fn view(masters: &[(u16, u64, &str)]) -> String {
    let line = |(port, epoch, slots): &(u16, u64, &str)| {
        format!(
            "id{port} 127.0.0.1:{port}@1{port},nowhere.invalid master - 0 1 {epoch} connected {slots}\n"
        )
    };
    masters.iter().map(line).collect()
}

pub(super) fn layout(masters: &[(u16, u64, &str)]) -> Layout {
    Layout::merge(&[claims(&view(masters), "127.0.0.1", false)])
}

/// A cluster with these masters.
pub(super) fn cluster(masters: &[(u16, u64, &str)]) -> Arc<Fleet> {
    let seeds: Vec<_> = masters.iter().map(|(port, ..)| *port).collect();
    cluster_from(&seeds, masters)
}

/// As it is reached from these servers.
pub(super) fn cluster_from(seeds: &[u16], masters: &[(u16, u64, &str)]) -> Arc<Fleet> {
    let config = dial_cluster(seeds);
    let mut fleet = fleet(&config, Chart::Slots(Arc::default()), PubSub::Sharded);
    fleet.topology = Topology::Cluster;
    fleet.adopt(&layout(masters));
    Arc::new(fleet)
}

pub(super) fn dial_cluster(seeds: &[u16]) -> Dial {
    let seeds = seeds.iter().map(|port| ("127.0.0.1", *port));
    dial_to(ServerConfig::new_clustered(seeds.collect()))
}

pub(super) fn fleet(config: &Dial, chart: Chart, pubsub: PubSub) -> Fleet {
    let settings = Settings::default();
    Fleet::new(config, &settings, Handle::current(), pubsub, chart)
}

/// What was told.
pub(super) type Told = Arc<Mutex<Vec<Signal>>>;

pub(super) fn sink() -> (SignalSink, Told) {
    let told = Told::default();
    let sink: SignalSink = {
        let told = told.clone();
        Arc::new(move |signal| lock(&told).push(signal))
    };
    (sink, told)
}

/// A port at which nobody is.
pub(super) async fn nobodys_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound").port()
}

/// A script about a name.
pub(super) fn script(name: &'static str) -> Request {
    static SCRIPT: Script = Script::new("some", "", "", || "sha".to_owned(), None);
    Request::Script {
        script: &SCRIPT,
        keys: vec![name.into()],
        args: Vec::new(),
        late: true,
    }
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Waits for what is to come about.
pub(super) async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = soon();
    while !there() {
        assert!(Instant::now() < deadline, "{what}: did not come about");
        sleep(Duration::from_millis(2)).await;
    }
}
