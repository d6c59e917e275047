//! One server: a lane for requests, a lane for messages, and the scripts it knows.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fred::{
    clients::Pipeline,
    prelude::{Client, ClientLike, Error as FredError, LuaInterface, PubsubInterface},
    types::{Key, MultipleKeys, Value},
};
use tokio::{runtime::Handle, task::JoinHandle, time::Instant};

use super::{
    Evidence, Fault, NodeId, PubSub, Reply, Request, SignalSink,
    acks::{Acks, Proof},
    dial::Dial,
    gather::{self, Entered, Gather},
    lane::{Lane, Pace, Purpose},
    link::{Link, LinkOwner, custom, custom_command},
    loads::{Loads, is_unknown_script},
};
use crate::config::Settings;

/// Times a script is loaded for one call before the refusal is passed on.
const LOAD_ATTEMPTS: usize = 3;

/// Two supervised connections to one server.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    /// `host:port`, as it is reached.
    pub(super) address: String,
    commands: Arc<Lane>,
    subscriber: Arc<Lane>,
    /// Where the client has a policy about replicas.
    acks: Option<Arc<Acks>>,
    loads: Loads,
    /// Requests that go together.
    pub(super) gather: Gather,
    /// Where tasks of this server run, once it is started.
    runtime: OnceLock<Handle>,
    /// How long a link may owe a reply before it is given up.
    stuck_after: Duration,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Times that govern the connections of a client.
pub(super) fn pace(settings: &Settings) -> Pace {
    Pace {
        connect: settings.connect_timeout,
        heartbeat: settings.heartbeat,
        pong: settings.command_timeout,
    }
}

impl Node {
    /// A server that `config` leads to, with the link for requests that is there already, if one is.
    pub(super) fn new(
        config: &Dial,
        settings: &Settings,
        pubsub: PubSub,
        first: Option<LinkOwner>,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let pace = pace(settings);
        let hosts = config.server.hosts();
        Arc::new(Self {
            id: NodeId(NEXT.fetch_add(1, Ordering::Relaxed)),
            address: hosts
                .first()
                .map_or_else(|| "server".to_owned(), ToString::to_string),
            commands: Lane::new(Purpose::Commands, config.clone(), pace, first),
            subscriber: Lane::new(Purpose::Subscriber, config.clone(), pace, None),
            acks: Acks::new(config, settings, pubsub),
            loads: Loads::default(),
            gather: Gather::default(),
            runtime: OnceLock::new(),
            stuck_after: settings.command_timeout.mul_f64(0.9),
            tasks: Mutex::default(),
        })
    }

    /// Connects, and keeps connected until [`close`](Self::close).
    pub(super) fn start(&self, runtime: &Handle, sink: &SignalSink) {
        let _ = self.runtime.set(runtime.clone());
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in [&self.commands, &self.subscriber] {
            tasks.push(runtime.spawn(lane.clone().supervise(self.id, sink.clone())));
        }
        if let Some(acks) = &self.acks {
            tasks.push(runtime.spawn(acks.lane.clone().supervise(self.id, sink.clone())));
            tasks.push(runtime.spawn(acks.clone().run()));
        }
    }

    /// Where tasks run; none before there are any.
    pub(super) fn runtime(&self) -> Option<&Handle> {
        self.runtime.get()
    }

    /// The open link for requests, waiting for one until `deadline`. Nothing has been sent yet, so a caller may leave.
    pub(super) async fn link(&self, deadline: Instant) -> Result<Arc<Link>, Fault> {
        self.commands.link(deadline).await
    }

    /// Sends one request, over `link` or with others of its slot, and waits for its reply until `deadline`.
    pub(super) async fn execute(
        self: &Arc<Self>,
        link: &Link,
        slot: u16,
        request: &Request,
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        let on_the_way = match gather::enter(self, slot, request, deadline) {
            Entered::Waiting(waiting) => return waiting.answer(deadline).await,
            Entered::Alone(on_the_way) => Some(on_the_way),
            Entered::Aside => None,
        };
        let reply = self.execute_alone(link, request, false, deadline).await;
        drop(on_the_way);
        reply
    }

    /// As [`execute`](Self::execute), over `link` and as it is. With `asking` the server executes it although the slot is
    /// still on its way to it.
    pub(super) async fn execute_alone(
        &self,
        link: &Link,
        request: &Request,
        asking: bool,
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        let mut reply = self.once(link, request, asking, deadline).await;
        let Request::Script { script, late, .. } = request else {
            return reply;
        };
        for _ in 0..LOAD_ATTEMPTS {
            if !is_unknown_script(&reply) {
                break;
            }
            let load = async || {
                let sent = Instant::now();
                self.noted(link, sent, link.load(script, deadline).await)
            };
            self.loads.once(script, load).await?;
            if !late {
                break;
            }
            reply = self.once(link, request, asking, deadline).await;
        }
        reply
    }

    async fn once(
        &self,
        link: &Link,
        request: &Request,
        asking: bool,
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        let sent = Instant::now();
        let reply = if asking {
            let reply = pin!(ask(&link.client, request));
            link.answered(reply, deadline).await
        } else {
            let reply = pin!(send(&link.client, request));
            link.answered(reply, deadline).await
        };
        self.noted(link, sent, reply)
    }

    /// Looks after a link that owes a reply.
    fn noted(
        &self,
        link: &Link,
        sent: Instant,
        reply: Result<Reply, Fault>,
    ) -> Result<Reply, Fault> {
        if matches!(reply, Err(Fault::Unknown { .. })) {
            // Replies come in order, so nothing on this link has been answered for that long.
            if sent.elapsed() >= self.stuck_after {
                link.abandon();
            } else {
                self.commands.suspect();
            }
        }
        reply
    }

    /// Subscribes. In the sharded mode to one channel only: the client takes one answer a call.
    pub(super) async fn subscribe(
        &self,
        mode: PubSub,
        channels: &[Bytes],
        deadline: Instant,
    ) -> Result<(), Fault> {
        let link = self.subscriber.link(deadline).await?;
        if mode.sharded() {
            for channel in texts(channels)? {
                let reply =
                    pin!(async { link.client.ssubscribe(channel).await.map(|()| Value::Null) });
                link.answered(reply, deadline).await.inspect_err(|fault| {
                    if !matches!(fault, Fault::Refused { .. }) {
                        self.subscriber.suspect();
                    }
                })?;
            }
        }
        if mode.plain() {
            let channels = texts(channels)?;
            let batch = link.client.pipeline();
            let queued = async { batch.subscribe(channels).await };
            confirmed(&self.subscriber, &link, deadline, &batch, queued).await?;
        }
        Ok(())
    }

    /// Takes subscriptions back.
    pub(super) async fn unsubscribe(
        &self,
        mode: PubSub,
        channels: &[Bytes],
        deadline: Instant,
    ) -> Result<(), Fault> {
        // To name none would mean all.
        if channels.is_empty() {
            return Ok(());
        }
        let link = self.subscriber.link(deadline).await?;
        if mode.sharded() {
            for channel in texts(channels)? {
                let batch = link.client.pipeline();
                let queued = async { batch.sunsubscribe(channel).await };
                confirmed(&self.subscriber, &link, deadline, &batch, queued).await?;
            }
        }
        if mode.plain() {
            let channels = texts(channels)?;
            let batch = link.client.pipeline();
            let queued = async { batch.unsubscribe(channels).await };
            confirmed(&self.subscriber, &link, deadline, &batch, queued).await?;
        }
        Ok(())
    }

    /// How many replicas have all that was done here by now.
    pub(super) async fn replicated(
        &self,
        proof: Proof,
        deadline: Instant,
    ) -> Result<Evidence, Fault> {
        match &self.acks {
            Some(acks) => acks.confirm(proof, deadline).await,
            None => Err(Fault::NotSent {
                reason: "this client does not ask about replicas".to_owned(),
            }),
        }
    }

    /// Which of these sharded channels nobody hears here.
    pub(super) async fn unheard(
        &self,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, Fault> {
        let link = self.commands.link(deadline).await?;
        let mut args = vec![Bytes::from_static(b"SHARDNUMSUB")];
        args.extend(channels);
        let request = Request::Query {
            verb: "PUBSUB",
            args,
            about: Bytes::new(),
        };
        let Reply::Array(counts) = self.once(&link, &request, false, deadline).await? else {
            return Ok(Vec::new());
        };
        let unheard = counts.chunks(2).filter_map(|pair| match pair {
            [Reply::Text(channel), count] => (count.as_int() == Some(0)).then(|| channel.clone()),
            _ => None,
        });
        Ok(unheard.collect())
    }

    /// Whether requests can be sent right now.
    pub(super) fn is_open(&self) -> bool {
        self.commands.is_open()
    }

    /// Gives both connections up. Requests in flight end as [`Fault::Unknown`].
    pub(super) fn shut(&self) {
        self.commands.close();
        self.subscriber.close();
        if let Some(acks) = &self.acks {
            acks.end();
        }
    }

    /// As [`shut`](Self::shut), and waits for the end.
    pub(super) async fn close(&self) {
        self.shut();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let _ = task.await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Sends what `queued` puts into `batch`, a (un)subscription, and a `PING` behind it on the same socket, since the client
/// answers a subscription before the server has seen it, and an error of the subscription arrives as the answer to whatever
/// comes next. Both go in one batch: the client drops an error for which nothing is waiting yet.
///
/// After a refusal the link is given up: its replies can no longer be told apart.
async fn confirmed(
    lane: &Lane,
    link: &Link,
    deadline: Instant,
    batch: &Pipeline<Client>,
    queued: impl Future<Output = Result<(), FredError>>,
) -> Result<(), Fault> {
    let sent = pin!(async {
        queued.await?;
        let none: Vec<Value> = Vec::new();
        let () = batch.custom(custom_command("PING"), none).await?;
        batch.last().await
    });
    match link.answered(sent, deadline).await {
        Ok(_) => Ok(()),
        Err(fault) => {
            if matches!(fault, Fault::Refused { .. }) {
                link.abandon();
            }
            lane.suspect();
            Err(fault)
        }
    }
}

async fn send(client: &Client, request: &Request) -> Result<Value, FredError> {
    match request {
        Request::Script {
            script, keys, args, ..
        } => {
            let keys: Vec<_> = keys.iter().cloned().map(Key::from).collect();
            let keys: MultipleKeys = keys.into();
            let args: Vec<Value> = args.iter().cloned().map(Value::Bytes).collect();
            client.evalsha(script.sha(), keys, args).await
        }
        Request::Query { verb, args, .. } => custom(client, verb, args.clone()).await,
    }
}

/// Sends a request right behind `ASKING`, with nothing in between.
async fn ask(client: &Client, request: &Request) -> Result<Value, FredError> {
    let (verb, args) = eval_words(request);
    let pipeline = client.pipeline();
    let none: Vec<Value> = Vec::new();
    let () = pipeline.custom(custom_command("ASKING"), none).await?;
    let args: Vec<Value> = args.into_iter().map(Value::Bytes).collect();
    let () = pipeline.custom(custom_command(verb), args).await?;
    let mut replies = pipeline.try_all::<Value>().await.into_iter();
    match (replies.next(), replies.next()) {
        (Some(Ok(_)), Some(reply)) => reply,
        (Some(Err(error)), _) => Err(error),
        _ => Err(FredError::new(
            fred::error::ErrorKind::Protocol,
            "a reply is missing",
        )),
    }
}

impl Request {
    /// The command it is.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Script { .. } => "EVALSHA",
            Self::Query { verb, .. } => verb,
        }
    }
}

/// A request as a command and its words.
pub(super) fn eval_words(request: &Request) -> (&'static str, Vec<Bytes>) {
    match request {
        Request::Script {
            script, keys, args, ..
        } => {
            let mut words = vec![
                Bytes::from_static(script.sha().as_bytes()),
                keys.len().to_string().into(),
            ];
            words.extend(keys.iter().chain(args).cloned());
            (request.verb(), words)
        }
        Request::Query { verb, args, .. } => (verb, args.clone()),
    }
}

/// Channel names as the client wants them. They are built from `str`s, so the check never fails.
fn texts(channels: &[Bytes]) -> Result<Vec<String>, Fault> {
    channels
        .iter()
        .map(|channel| {
            String::from_utf8(channel.to_vec()).map_err(|_| Fault::NotSent {
                reason: "a channel name is not utf-8".to_owned(),
            })
        })
        .collect()
}
