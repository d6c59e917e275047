//! The transport that speaks to real servers, over two lanes of fred clients: one for requests, one for messages.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use fred::{
    clients::Pipeline,
    prelude::{Client, ClientLike, Config, Error as FredError, LuaInterface, PubsubInterface},
    types::{ClusterHash, CustomCommand, Key, MultipleKeys, Value},
};
use tokio::{runtime::Handle, task::JoinHandle, time::Instant};

use super::{
    BoxFuture, Fault, Reply, Request, SignalSink, Transport,
    lane::{Lane, Pace, Purpose},
    link::{Link, LinkOwner, custom},
};
use crate::config::Settings;

/// Two supervised connections to one server.
#[derive(Debug)]
pub(crate) struct FredTransport {
    commands: Arc<Lane>,
    subscriber: Arc<Lane>,
    /// How long a link may owe a reply before it is given up.
    stuck_after: Duration,
    runtime: Handle,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl FredTransport {
    /// Opens the connection for requests, so that a wrong address or password is found out now.
    pub(crate) async fn connect(
        config: &Config,
        settings: &Settings,
        runtime: Handle,
    ) -> Result<Self, Fault> {
        let pace = Pace {
            connect: settings.connect_timeout,
            heartbeat: settings.heartbeat,
            pong: settings.command_timeout,
        };
        let first = LinkOwner::open(config, pace.connect).await?;
        Ok(Self {
            commands: Lane::new(Purpose::Commands, config.clone(), pace, Some(first)),
            subscriber: Lane::new(Purpose::Subscriber, config.clone(), pace, None),
            stuck_after: settings.command_timeout.mul_f64(0.9),
            runtime,
            tasks: Mutex::default(),
        })
    }
}

impl Transport for FredTransport {
    fn send(&self, request: Request, deadline: Instant) -> BoxFuture<Result<Reply, Fault>> {
        let lane = self.commands.clone();
        let stuck_after = self.stuck_after;
        Box::pin(async move {
            let link = lane.link(deadline).await?;
            let sent = Instant::now();
            let reply = pin!(execute(&link.client, request));
            let reply = link.answered(reply, deadline).await;
            if matches!(reply, Err(Fault::Unknown { .. })) {
                // Replies come in order, so nothing on this link has been answered for that long.
                if sent.elapsed() >= stuck_after {
                    link.abandon();
                } else {
                    lane.suspect();
                }
            }
            reply
        })
    }

    fn subscribe(&self, channels: Vec<Bytes>, deadline: Instant) -> BoxFuture<Result<(), Fault>> {
        let lane = self.subscriber.clone();
        Box::pin(async move {
            let link = lane.link(deadline).await?;
            let batch = link.client.pipeline();
            let queued = async { batch.subscribe(texts(&channels)?).await };
            confirmed(&lane, &link, deadline, &batch, queued).await
        })
    }

    fn unsubscribe(&self, channels: Vec<Bytes>, deadline: Instant) -> BoxFuture<Result<(), Fault>> {
        let lane = self.subscriber.clone();
        Box::pin(async move {
            let link = lane.link(deadline).await?;
            let batch = link.client.pipeline();
            let queued = async { batch.unsubscribe(texts(&channels)?).await };
            confirmed(&lane, &link, deadline, &batch, queued).await
        })
    }

    fn start(&self, sink: SignalSink) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in [&self.commands, &self.subscriber] {
            tasks.push(self.runtime.spawn(lane.clone().supervise(sink.clone())));
        }
    }

    fn close(&self) -> BoxFuture<()> {
        self.commands.close();
        self.subscriber.close();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async move {
            for task in tasks {
                let _ = task.await;
            }
        })
    }
}

impl Drop for FredTransport {
    fn drop(&mut self) {
        self.commands.close();
        self.subscriber.close();
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
        let ping = CustomCommand::new_static("PING", ClusterHash::Random, false);
        batch.custom::<(), Value>(ping, Vec::new()).await?;
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

async fn execute(client: &Client, request: Request) -> Result<Value, FredError> {
    match request {
        Request::Script { sha, keys, args } => {
            let keys: MultipleKeys = keys.into_iter().map(Key::from).collect::<Vec<_>>().into();
            let args: Vec<Value> = args.into_iter().map(Value::Bytes).collect();
            client.evalsha(sha, keys, args).await
        }
        Request::Load { source } => client.script_load(source).await,
        Request::Query { verb, args } => custom(client, verb, args).await,
    }
}

/// Channel names as the client wants them. They are built from `str`s, so the check never fails.
fn texts(channels: &[Bytes]) -> Result<Vec<String>, FredError> {
    channels
        .iter()
        .map(|channel| {
            String::from_utf8(channel.to_vec()).map_err(|_| {
                FredError::new(
                    fred::error::ErrorKind::InvalidArgument,
                    "a channel name is not utf-8",
                )
            })
        })
        .collect()
}

/// The digest by which a server knows a script.
pub(crate) fn sha1(source: &str) -> String {
    fred::util::sha1_hash(source)
}
