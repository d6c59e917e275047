//! One connection, one life.
//!
//! A [`Link`] wraps a fred client that is never allowed to reconnect: when its socket is gone, the link is gone, and
//! the lane opens another. That one rule contains most of what a self-healing client does to counted scripts: nothing
//! is ever sent twice, nothing queued while disconnected runs later, no subscription is restored behind our back.
//!
//! # The fence
//!
//! A closed socket does not stop the server from executing what it had not read yet: a stopped server that wakes up
//! reads the old connection's bytes too, in any order with the new one's. So the first thing a new command link does
//! is to have the server end its predecessor (`CLIENT KILL` by id *and* address, so that a restarted server, whose
//! ids begin anew, never loses an innocent connection). Only then is the link handed to callers.

use std::{
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use fred::{
    prelude::{
        Builder, Client, ClientLike, Error as FredError, ErrorKind, EventInterface, LuaInterface,
    },
    types::{ClusterHash, CustomCommand, Value},
};
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{Fault, Reply, dial::Dial};
use crate::{
    engine::script::Script,
    error::{Refusal, cut},
};

/// Messages a link keeps for a receiver that is behind; past that it reports a loss. Ten thousand that come at once on a
/// single core leave 2,700 behind. The client has room for as many of each of nine things, whether anybody looks or not: it
/// is 3 MiB.
const MESSAGE_BACKLOG: usize = 4_096;
/// The same for a link that is not for messages.
const NO_BACKLOG: usize = 8;

/// How long a client that has failed may take to say why.
const TELLS_WHY: Duration = Duration::from_millis(100);

/// Who a connection is in the server's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    id: String,
    address: String,
}

/// A live connection, of no use once it is over.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    identity: OnceLock<Identity>,
    /// Turns true once the connection is over.
    over: watch::Receiver<bool>,
    ended: Arc<watch::Sender<bool>>,
}

/// The one owner of a connection. Dropping it ends the connection.
#[derive(Debug)]
pub(super) struct LinkOwner {
    link: Arc<Link>,
    task: JoinHandle<()>,
}

impl LinkOwner {
    /// Connects, learns its own identity and gives up after `limit`. For requests.
    pub(super) async fn open(config: &Dial, limit: Duration) -> Result<Self, Fault> {
        Self::open_with(NO_BACKLOG, config, limit).await
    }

    /// As [`open`](Self::open), for messages.
    pub(super) async fn open_to_hear(config: &Dial, limit: Duration) -> Result<Self, Fault> {
        Self::open_with(MESSAGE_BACKLOG, config, limit).await
    }

    async fn open_with(backlog: usize, config: &Dial, limit: Duration) -> Result<Self, Fault> {
        let deadline = Instant::now() + limit;
        let candidates = timeout_at(deadline, config.candidates()).await;
        let mut failed = Fault::NotSent {
            reason: "the resolver did not answer in time".to_owned(),
        };
        let candidates = candidates.unwrap_or_else(|_| Err(failed.clone()))?;
        let count = candidates.len();
        for (place, candidate) in candidates.iter().enumerate() {
            // One that does not answer leaves time for the others.
            let rest = deadline.saturating_duration_since(Instant::now());
            let share = rest / u32::try_from(count - place).unwrap_or(u32::MAX);
            match Self::open_at(backlog, candidate, share).await {
                Ok(owner) => return Ok(owner),
                Err(fault) => failed = fault,
            }
        }
        Err(failed)
    }

    async fn open_at(backlog: usize, config: &Dial, limit: Duration) -> Result<Self, Fault> {
        config.check_exposure()?;
        let mut builder = Builder::from_config((**config).clone());
        builder.with_connection_config(|connection| {
            connection.connection_timeout = limit;
            connection.internal_command_timeout = limit;
            connection.max_command_attempts = 1;
            connection.max_redirections = 0;
            connection.disable_cluster_health_check = true;
            connection.tcp.nodelay = Some(true);
        });
        builder.with_performance_config(|performance| {
            performance.broadcast_channel_capacity = backlog;
        });
        let client = builder.build().map_err(|error| fault(&error))?;
        let (ended, over) = watch::channel(false);
        let ended = Arc::new(ended);
        let running = client.connect();
        let failure = Arc::new(OnceLock::new());
        let task = tokio::spawn({
            let ended = Ended(ended.clone());
            let mut over = over.clone();
            let failure = failure.clone();
            async move {
                // Also where the task does not run to its end, since its runtime is gone.
                let _ended = ended;
                let router = running;
                let abort = router.abort_handle();
                tokio::select! {
                    outcome = router => if let Ok(Err(error)) = outcome {
                        let _ = failure.set(fault(&error));
                    },
                    _ = over.wait_for(|over| *over) => abort.abort(),
                }
            }
        });
        let owner = Self {
            link: Arc::new(Link {
                client,
                identity: OnceLock::new(),
                over,
                ended,
            }),
            task,
        };
        let link = &owner.link;
        // The first command waits for the connection. fred's own `wait_for_connect` may miss it and wait for ever.
        let deadline = Instant::now() + limit;
        let answer = link.query("CLIENT", &["INFO"], deadline).await;
        match answer {
            Ok(Reply::Text(text)) => {
                if let Some(identity) = Identity::parse(&text) {
                    let _ = link.identity.set(identity);
                }
            }
            // Connected, but the server does not say as whom.
            Ok(_) | Err(Fault::Refused { .. }) => {}
            Err(silent) => {
                // Commands are cancelled a moment before the client says why.
                let _ = timeout(TELLS_WHY, link.until_over()).await;
                return Err(config.explain(failure.get().cloned().unwrap_or(silent)));
            }
        }
        Ok(owner)
    }

    /// The connection, to be shared with callers.
    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Ends the connection now: the socket is closed and the client's task is gone when this returns.
    pub(super) async fn end(&mut self) {
        self.link.abandon();
        let _ = (&mut self.task).await;
    }
}

/// Says that a connection is over.
struct Ended(Arc<watch::Sender<bool>>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl Drop for LinkOwner {
    fn drop(&mut self) {
        self.link.abandon();
    }
}

impl Link {
    /// Declares the connection over; its owner closes the socket.
    pub(super) fn abandon(&self) {
        self.ended.send_replace(true);
    }

    /// Resolves once the connection is over.
    pub(super) async fn until_over(&self) {
        let mut over = self.over.clone();
        let _ = over.wait_for(|over| *over).await;
    }

    /// Has the server end the connection `predecessor`. `Ok(false)` when it was gone already.
    pub(super) async fn fence(
        &self,
        predecessor: &Identity,
        deadline: Instant,
    ) -> Result<bool, Fault> {
        let reply = self
            .query(
                "CLIENT",
                &["KILL", "ID", &predecessor.id, "ADDR", &predecessor.address],
                deadline,
            )
            .await?;
        Ok(reply.as_int().is_some_and(|killed| killed > 0))
    }

    /// Runs one command of ours that takes no lock name.
    pub(super) async fn query(
        &self,
        verb: &'static str,
        args: &[&str],
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        let args = args
            .iter()
            .map(|arg| Bytes::copy_from_slice(arg.as_bytes()))
            .collect();
        let reply = pin!(custom(&self.client, verb, args));
        self.answered(reply, deadline).await
    }

    /// Who this connection is in the server's eyes, if the server said so.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.identity.get().cloned()
    }

    /// Waits for `reply`, for the end of the connection or for the deadline, whichever is first. The reply comes pinned,
    /// since it is kilobytes of state that would otherwise be moved about.
    pub(super) async fn answered(
        &self,
        reply: Pin<&mut impl Future<Output = Result<Value, FredError>>>,
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        tokio::select! {
            biased;
            outcome = timeout_at(deadline, reply) => match outcome {
                Ok(Ok(value)) => Ok(convert(value)),
                Ok(Err(error)) => Err(fault(&error)),
                Err(_) => Err(Fault::Unknown { reason: "no reply in time".to_owned() }),
            },
            () = self.until_over() => Err(Fault::Unknown { reason: "the connection ended before the reply".to_owned() }),
        }
    }

    /// As [`answered`](Self::answered) for many requests, each with an answer of its own; `None` where any is missing.
    pub(super) async fn answered_all(
        &self,
        replies: Pin<&mut impl Future<Output = Vec<Result<Value, FredError>>>>,
        deadline: Instant,
    ) -> Option<Vec<Result<Reply, Fault>>> {
        let answer = |reply: Result<Value, FredError>| match reply {
            Ok(value) => Ok(convert(value)),
            Err(error) => Err(fault(&error)),
        };
        tokio::select! {
            biased;
            outcome = timeout_at(deadline, replies) => {
                outcome.ok().map(|replies| replies.into_iter().map(answer).collect())
            }
            () = self.until_over() => None,
        }
    }

    /// Has the server load a script.
    pub(super) async fn load(&self, script: &Script, deadline: Instant) -> Result<Reply, Fault> {
        let source = script.source;
        let loading = pin!(async { self.client.script_load(source).await });
        self.answered(loading, deadline).await
    }

    /// What arrives on the channels this link subscribed to.
    pub(super) fn messages(&self) -> broadcast::Receiver<fred::types::Message> {
        self.client.message_rx()
    }
}

impl Identity {
    /// Reads `id=` and `addr=` from the reply of `CLIENT INFO`.
    pub(super) fn parse(info: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(info).ok()?;
        let field = |key: &str| {
            text.split_whitespace()
                .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
                .map(str::to_owned)
        };
        Some(Self {
            id: field("id")?,
            address: field("addr")?,
        })
    }
}

/// Any command, by name.
pub(super) async fn custom(
    client: &Client,
    verb: &'static str,
    args: Vec<Bytes>,
) -> Result<Value, FredError> {
    let args: Vec<Value> = args.into_iter().map(Value::Bytes).collect();
    client.custom(custom_command(verb), args).await
}

pub(super) fn custom_command(verb: &'static str) -> CustomCommand {
    CustomCommand::new_static(verb, ClusterHash::Random, false)
}

/// The digest by which a server knows a script.
pub(crate) fn sha1(source: &str) -> String {
    fred::util::sha1_hash(source)
}

/// Pings within `limit`; false when there is no good answer.
pub(super) async fn alive(link: &Link, limit: Duration) -> bool {
    timeout(limit, link.query("PING", &[], Instant::now() + limit))
        .await
        .is_ok_and(|reply| !matches!(reply, Err(Fault::Unknown { .. } | Fault::NotSent { .. })))
}

pub(super) fn convert(value: Value) -> Reply {
    match value {
        Value::Null => Reply::Nil,
        Value::Integer(n) => Reply::Int(n),
        Value::String(text) => Reply::Text(text.into_inner()),
        Value::Bytes(bytes) => Reply::Text(bytes),
        Value::Array(items) => Reply::Array(items.into_iter().map(convert).collect()),
        Value::Boolean(flag) => Reply::Int(i64::from(flag)),
        Value::Double(_) => Reply::Odd("double"),
        // As the older protocol has it: names and values in turn.
        Value::Map(map) => {
            let pairs = map.inner().into_iter();
            let flat =
                pairs.flat_map(|(name, value)| [Reply::Text(name.into_bytes()), convert(value)]);
            Reply::Array(flat.collect())
        }
        Value::Queued => Reply::Odd("queued"),
        #[allow(unreachable_patterns)]
        _ => Reply::Odd("unknown"),
    }
}

/// Sorts a client's error by what it says about execution. Only an error *reply* says anything definite; whatever
/// else happens after a request was handed over counts as unknown.
pub(super) fn fault(error: &FredError) -> Fault {
    let text = cut(error.details()).to_owned();
    // The client ends a connection on which one request is answered with this, and says the same of all others that are
    // in flight there. Some of those may have been executed.
    if text.starts_with("CLUSTERDOWN") {
        return Fault::Unknown { reason: text };
    }
    if let Some(refusal) = Refusal::classify(&text) {
        return Fault::Refused { refusal, text };
    }
    match error.kind() {
        ErrorKind::Config | ErrorKind::InvalidArgument | ErrorKind::Url => {
            Fault::NotSent { reason: text }
        }
        ErrorKind::Auth | ErrorKind::InvalidCommand | ErrorKind::Cluster => Fault::Refused {
            refusal: Refusal::Other,
            text,
        },
        _ => Fault::Unknown { reason: text },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_read_from_client_info() {
        let info = b"id=7 addr=127.0.0.1:5000 laddr=127.0.0.1:6379 fd=8 name= resp=3\n";
        let identity = Identity::parse(info).expect("both fields");
        assert_eq!(
            identity,
            Identity {
                id: "7".into(),
                address: "127.0.0.1:5000".into()
            }
        );
        assert_eq!(Identity::parse(b"fd=8"), None);
        assert_eq!(Identity::parse(&[0xff, 0xfe]), None);
    }

    #[test]
    fn only_an_error_reply_is_definite() {
        let io = FredError::new(ErrorKind::IO, "Connection closed.");
        assert!(matches!(fault(&io), Fault::Unknown { .. }));
        let down = FredError::new(ErrorKind::Cluster, "CLUSTERDOWN The cluster is down");
        assert!(matches!(fault(&down), Fault::Unknown { .. }));
        let noscript = FredError::new(ErrorKind::Unknown, "NOSCRIPT No matching script.");
        assert!(matches!(
            fault(&noscript),
            Fault::Refused {
                refusal: Refusal::NoScript,
                ..
            }
        ));
    }

    #[test]
    fn whatever_a_server_may_say_is_taken_for_what_it_is() {
        let map = fred::types::Map::try_from(vec![("a", 1)]).expect("pairs");
        for (value, reply) in [
            (Value::Null, Reply::Nil),
            (Value::Integer(7), Reply::Int(7)),
            (Value::String("a".into()), Reply::Text("a".into())),
            (Value::Bytes("a".into()), Reply::Text("a".into())),
            (Value::Boolean(true), Reply::Int(1)),
            (Value::Boolean(false), Reply::Int(0)),
            (Value::Double(1.5), Reply::Odd("double")),
            (Value::Queued, Reply::Odd("queued")),
            (
                Value::Map(map),
                Reply::Array(vec![Reply::Text("a".into()), Reply::Int(1)]),
            ),
        ] {
            assert_eq!(convert(value.clone()), reply, "{value:?}");
            let array = convert(Value::Array(vec![value]));
            assert_eq!(array, Reply::Array(vec![reply]));
        }
    }

    #[test]
    fn what_the_client_would_not_send_was_not_sent() {
        for kind in [
            ErrorKind::Config,
            ErrorKind::InvalidArgument,
            ErrorKind::Url,
        ] {
            let fault = fault(&FredError::new(kind, "what is that"));
            assert!(matches!(fault, Fault::NotSent { .. }), "{fault:?}");
        }
        for kind in [
            ErrorKind::Auth,
            ErrorKind::InvalidCommand,
            ErrorKind::Cluster,
        ] {
            let fault = fault(&FredError::new(kind, "what is that"));
            assert!(matches!(fault, Fault::Refused { .. }), "{fault:?}");
        }
        for kind in [ErrorKind::Timeout, ErrorKind::Canceled, ErrorKind::Parse] {
            let fault = fault(&FredError::new(kind, "what is that"));
            assert!(matches!(fault, Fault::Unknown { .. }), "{fault:?}");
        }
    }
}
