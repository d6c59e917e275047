//! A client's transport into the simulated network.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::world::{Answer, COMMANDS, MESSAGES, NODE, Op, Outcome, World, unknown};
use crate::engine::transport::{
    BoxFuture, Evidence, Fault, NodeId, PubSub, Reply, Request, SignalSink, Transport, acks::Proof,
};

/// See the module.
pub(super) struct Link {
    world: Arc<World>,
    client: usize,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.client)
    }
}

/// A caller that waits. When it stops, what has not been sent never will be.
struct Waiting {
    world: Arc<World>,
    client: usize,
    lane: usize,
    id: u64,
}

impl Waiting {
    fn give_up(&self) -> bool {
        self.world.state().give_up(self.client, self.lane, self.id)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Link {
    pub(super) fn new(world: &Arc<World>, client: usize) -> Self {
        Self {
            world: world.clone(),
            client,
        }
    }

    fn post(&self, lane: usize, op: Op, deadline: Instant) -> BoxFuture<Outcome> {
        let (world, client) = (self.world.clone(), self.client);
        Box::pin(async move {
            if world.state().peers[client].gone {
                return Err(Fault::Closed);
            }
            let until = world.ms(deadline);
            let (id, answer) = world.change(|state| state.post(client, lane, op, until));
            let waiting = Waiting {
                world,
                client,
                lane,
                id,
            };
            match timeout_at(deadline, answer).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(unknown("the connection is gone")),
                Err(_) if waiting.give_up() => Err(Fault::NotSent {
                    reason: "no connection".to_owned(),
                }),
                Err(_) => Err(unknown("no answer in time")),
            }
        })
    }
}

impl Transport for Link {
    fn send(&self, request: Request, deadline: Instant) -> BoxFuture<Result<Reply, Fault>> {
        let answer = self.post(COMMANDS, Op::Ask(request), deadline);
        Box::pin(async move {
            match answer.await? {
                Answer::Reply(reply) => Ok(reply),
                Answer::Unheard(_) => Ok(Reply::Odd("another answer")),
            }
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
        let answer = self.post(MESSAGES, Op::Subscribe(channels), deadline);
        Box::pin(async move { answer.await.map(drop) })
    }

    fn unsubscribe(
        &self,
        _: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<(), Fault>> {
        let answer = self.post(MESSAGES, Op::Unsubscribe(channels), deadline);
        Box::pin(async move { answer.await.map(drop) })
    }

    fn unheard(
        &self,
        _: NodeId,
        channels: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<Result<Vec<Bytes>, Fault>> {
        let answer = self.post(MESSAGES, Op::Unheard(channels), deadline);
        Box::pin(async move {
            match answer.await? {
                Answer::Unheard(channels) => Ok(channels),
                Answer::Reply(_) => Ok(Vec::new()),
            }
        })
    }

    fn replicated(&self, _: Bytes, _: Proof, _: Instant) -> BoxFuture<Result<Evidence, Fault>> {
        Box::pin(async {
            Ok(Evidence {
                acked: 0,
                wanted: 0,
                looked: None,
            })
        })
    }

    fn start(&self, sink: SignalSink) {
        let client = self.client;
        self.world.change(|state| {
            state.peers[client].sink = Some(sink);
            state.connect(client);
        });
    }

    fn close(&self) -> BoxFuture<()> {
        let client = self.client;
        self.world.change(|state| state.leave(client));
        Box::pin(async {})
    }
}
