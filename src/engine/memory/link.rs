//! A client's transport to the server in memory.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, sleep_until},
};

use super::{faults::Failure, hub::Hub, wire::Wire};
use crate::engine::{
    hold::later,
    transport::{
        BoxFuture, Evidence, Fault, NodeId, PubSub, Reply, Request, Signal, SignalSink, Transport,
        acks::Proof,
    },
};

/// The one server.
pub(crate) const NODE: NodeId = NodeId(1);
/// As long as a reply takes.
pub(crate) const REPLY: Duration = Duration::from_millis(1);

/// See the module.
pub(crate) struct Link {
    hub: Arc<Hub>,
    number: u64,
    wire: Arc<Wire>,
    sink: Mutex<Option<SignalSink>>,
    /// No connection comes about before.
    cut_off_until: Mutex<Option<Instant>>,
    runtime: Handle,
    /// After this long without an answer a connection counts as gone.
    patience: Duration,
    myself: Weak<Self>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.number)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.hub.server().hang_up(self.number);
    }
}

impl Link {
    /// A client of `hub`, with its tasks on `runtime`. A connection that owes an answer for `patience` is given up.
    pub(crate) fn new(hub: &Arc<Hub>, runtime: Handle, patience: Duration) -> Arc<Self> {
        hub.welcome(|number| {
            Arc::new_cyclic(|myself| Self {
                hub: hub.clone(),
                number,
                wire: Arc::default(),
                sink: Mutex::default(),
                cut_off_until: Mutex::default(),
                runtime,
                patience,
                myself: myself.clone(),
            })
        })
    }

    /// Which client of the server it is.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    fn sink(&self) -> MutexGuard<'_, Option<SignalSink>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut_off_until(&self) -> MutexGuard<'_, Option<Instant>> {
        let until = self.cut_off_until.lock();
        until.unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when no connection can be had; `None` where one can.
    fn away_until(&self) -> Option<Instant> {
        let own = *self.cut_off_until();
        let own = own.filter(|until| Instant::now() < *until);
        own.max(self.hub.silent_until())
    }

    /// Something happens to this client.
    pub(crate) fn tell(&self, signal: Signal) {
        let sink = self.sink().clone();
        if let Some(sink) = sink {
            sink(signal);
        }
    }

    /// Breaks both connections; the next ones come after `pause`, and no sooner than an earlier cut has it, once the server
    /// answers.
    pub(crate) fn cut(&self, reason: &str, pause: Duration) {
        {
            let mut until = self.cut_off_until();
            *until = (*until).max(Some(later(Instant::now(), pause)));
        }
        let (epoch, was_up) = self.wire.cut();
        self.hub.server().hang_up(self.number);
        if was_up {
            let reason = reason.to_owned();
            self.tell(Signal::SubscriberDown {
                node: NODE,
                reason: reason.clone(),
            });
            self.tell(Signal::CommandsDown { reason });
        }
        let weak = self.myself.clone();
        self.runtime.spawn(async move {
            loop {
                // Held by nobody who sleeps.
                let Some(link) = weak.upgrade() else {
                    return;
                };
                let Some(until) = link.away_until() else {
                    if link.wire.reconnect(epoch) {
                        link.tell(Signal::SubscriberUp { node: NODE });
                        link.tell(Signal::CommandsUp);
                    }
                    return;
                };
                drop(link);
                sleep_until(until).await;
            }
        });
    }

    /// The server has fallen silent, which this client notices when an answer is overdue.
    pub(super) fn notices_silence(&self) {
        let (weak, patience) = (self.myself.clone(), self.patience);
        self.runtime.spawn(async move {
            sleep(patience).await;
            if let Some(link) = weak.upgrade()
                && link.hub.silent_until().is_some()
            {
                link.cut("the server does not answer", Duration::ZERO);
            }
        });
    }

    /// A request about messages: nothing is lost of it while the connection lives.
    fn change<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&Hub) -> T + Send + 'static,
    ) -> BoxFuture<Result<T, Fault>> {
        let (hub, wire) = (self.hub.clone(), self.wire.clone());
        Box::pin(async move {
            let (_, done) = wire.carry(&hub, deadline, work).await?;
            Ok(done)
        })
    }
}

impl Transport for Link {
    fn send(&self, request: Request, deadline: Instant) -> BoxFuture<Result<Reply, Fault>> {
        let (hub, wire) = (self.hub.clone(), self.wire.clone());
        Box::pin(async move {
            let work = |hub: &Hub| {
                let failure = hub.failure(&request);
                let done = matches!(failure, None | Some(Failure::ReplyLost));
                (failure, done.then(|| hub.execute(&request)))
            };
            let (epoch, (failure, reply)) = wire.clone().carry(&hub, deadline, work).await?;
            let answer = async {
                match (failure, reply) {
                    (None, Some(reply)) => {
                        sleep(REPLY).await;
                        reply
                    }
                    (Some(Failure::Refused(refusal)), _) => {
                        sleep(REPLY).await;
                        let text = format!("{refusal:?}, as the test wanted it");
                        Err(Fault::Refused { refusal, text })
                    }
                    _ => std::future::pending().await,
                }
            };
            wire.back(epoch, deadline, answer).await
        })
    }

    fn slot(&self, _: &[u8]) -> u16 {
        0
    }

    fn fails_over(&self) -> bool {
        false
    }

    fn pubsub(&self) -> PubSub {
        PubSub::Plain
    }

    fn home(&self, _: &[u8]) -> Option<NodeId> {
        Some(NODE)
    }

    fn subscribe(
        &self,
        _: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<(), Fault>> {
        let number = self.number;
        self.change(deadline, move |hub| {
            let mut server = hub.server();
            for channel in channels {
                server.subscribe(number, channel);
            }
        })
    }

    fn unsubscribe(
        &self,
        _: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<(), Fault>> {
        let number = self.number;
        self.change(deadline, move |hub| {
            let mut server = hub.server();
            for channel in channels {
                server.unsubscribe(number, &channel);
            }
        })
    }

    fn unheard(
        &self,
        _: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<Vec<Bytes>, Fault>> {
        let number = self.number;
        self.change(deadline, move |hub| {
            let server = hub.server();
            let unheard = channels.into_iter();
            unheard
                .filter(|channel| !server.hears(number, channel))
                .collect()
        })
    }

    fn replicated(
        &self,
        _: Bytes,
        proof: Proof,
        deadline: Instant,
    ) -> BoxFuture<Result<Evidence, Fault>> {
        // There are no replicas.
        self.change(deadline, move |hub| Evidence {
            acked: 0,
            wanted: 0,
            looked: proof.look.and_then(|look| hub.execute(&look).ok()),
        })
    }

    fn start(&self, sink: SignalSink) {
        *self.sink() = Some(sink.clone());
        self.wire.connect();
        sink(Signal::SubscriberUp { node: NODE });
        sink(Signal::CommandsUp);
    }

    fn close(&self) -> BoxFuture<()> {
        self.wire.close();
        self.hub.server().hang_up(self.number);
        Box::pin(async {})
    }
}
