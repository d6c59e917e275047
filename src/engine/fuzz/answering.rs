//! A server that answers at once, as it is told.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::engine::transport::{
    BoxFuture, Evidence, Fault, NodeId, PubSub, Reply, Request, Signal, SignalSink, Transport,
    acks::Proof,
};

const NODE: NodeId = NodeId(1);

type Answer = Box<dyn FnMut(&Request) -> Result<Reply, Fault> + Send>;

/// See the module. A [`Fault::Unknown`] comes with the deadline, and not before it.
pub(super) struct Answering {
    answer: Mutex<Answer>,
    pub(super) requests: AtomicU64,
}

impl Answering {
    pub(super) fn new(
        answer: impl FnMut(&Request) -> Result<Reply, Fault> + Send + 'static,
    ) -> Self {
        Self {
            answer: Mutex::new(Box::new(answer)),
            requests: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answering")
    }
}

impl Transport for Answering {
    fn send(&self, request: Request, deadline: Instant) -> BoxFuture<Result<Reply, Fault>> {
        self.requests.fetch_add(1, Ordering::AcqRel);
        let answer = {
            let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
            (*answer)(&request)
        };
        Box::pin(async move {
            if matches!(answer, Err(Fault::Unknown { .. })) {
                sleep_until(deadline).await;
            }
            // As long as a reply takes, or nothing would ever come to an end.
            tokio::time::sleep(Duration::from_millis(1)).await;
            answer
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

    fn subscribe(&self, _: NodeId, _: Vec<Bytes>, _: Instant) -> BoxFuture<Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    fn unsubscribe(&self, _: NodeId, _: Vec<Bytes>, _: Instant) -> BoxFuture<Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    fn unheard(
        &self,
        _: NodeId,
        _: Vec<Bytes>,
        _: Instant,
    ) -> BoxFuture<Result<Vec<Bytes>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
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
        sink(Signal::SubscriberUp { node: NODE });
        sink(Signal::CommandsUp);
        // Payloads of every kind, on channels of every name.
        for payload in [&b""[..], b"0", b"x", b"\xff", b"9223372036854775808"] {
            sink(Signal::Message {
                channel: Bytes::from_static(b"redisson_lock__channel:{n}"),
                payload: Bytes::copy_from_slice(payload),
            });
        }
    }

    fn close(&self) -> BoxFuture<()> {
        Box::pin(async {})
    }
}
