//! A lane keeps one link open for one purpose: it connects, watches the link's health, replaces it when it is over,
//! and gives up never, so that no caller ever depends on a task that may have died.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout_at},
};

use super::{
    Fault, NodeId, Signal, SignalSink,
    dial::Dial,
    link::{Identity, Link, LinkOwner, alive},
};
use crate::engine::{fork::Process, jitter};

/// First pause after a failed connect; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What a lane is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Commands,
    Subscriber,
    /// Asking about replicas; nothing depends on its order.
    Acks,
}

/// Times that govern a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Limit for connecting, in all.
    pub(super) connect: Duration,
    /// Pause between two health checks.
    pub(super) heartbeat: Duration,
    /// Limit for the answer to a health check.
    pub(super) pong: Duration,
}

/// One supervised connection.
pub(super) struct Lane {
    purpose: Purpose,
    config: Dial,
    pace: Pace,
    current: watch::Sender<Stage>,
    suspicion: Notify,
    /// Links that carried requests and may still be open on the server.
    predecessors: Mutex<Vec<Identity>>,
    process: Process,
    first: Mutex<Option<LinkOwner>>,
}

#[derive(Debug, Clone)]
enum Stage {
    Connecting { reason: String },
    Open(Arc<Link>),
    Closed,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration has the password in it.
        f.debug_struct("Lane")
            .field("purpose", &self.purpose)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

impl Lane {
    /// A lane, with the link it begins with if there is one already.
    pub(super) fn new(
        purpose: Purpose,
        config: Dial,
        pace: Pace,
        first: Option<LinkOwner>,
    ) -> Arc<Self> {
        let (current, _) = watch::channel(Stage::Connecting {
            reason: "not connected yet".to_owned(),
        });
        Arc::new(Self {
            purpose,
            config,
            pace,
            current,
            suspicion: Notify::new(),
            predecessors: Mutex::default(),
            process: Process::current(),
            first: Mutex::new(first),
        })
    }

    /// The open link, waiting for one until `deadline`.
    pub(super) async fn link(&self, deadline: Instant) -> Result<Arc<Link>, Fault> {
        if let Stage::Open(link) = &*self.current.borrow() {
            return Ok(link.clone());
        }
        let mut stages = self.current.subscribe();
        let stage = timeout_at(
            deadline,
            stages.wait_for(|stage| !matches!(stage, Stage::Connecting { .. })),
        )
        .await;
        match stage {
            Ok(Ok(stage)) => match &*stage {
                Stage::Open(link) => Ok(link.clone()),
                Stage::Connecting { .. } | Stage::Closed => Err(Fault::Closed),
            },
            Ok(Err(_)) => Err(Fault::Closed),
            Err(_) => {
                let reason = match &*self.current.borrow() {
                    Stage::Connecting { reason } => reason.clone(),
                    Stage::Open(_) | Stage::Closed => "not connected in time".to_owned(),
                };
                Err(Fault::NotSent { reason })
            }
        }
    }

    /// Says that a request went unanswered: the link is checked at once instead of at the next heartbeat.
    pub(super) fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Stops the lane: no link will be opened any more and the current one ends.
    pub(super) fn close(&self) {
        self.current.send_replace(Stage::Closed);
    }

    /// Limit for the answer to a health check.
    pub(super) fn pong(&self) -> Duration {
        self.pace.pong
    }

    /// Whether there is a link right now.
    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.current.borrow(), Stage::Open(_))
    }

    fn closed(&self) -> bool {
        matches!(&*self.current.borrow(), Stage::Closed)
    }

    async fn until_closed(&self) {
        let mut stages = self.current.subscribe();
        let _ = stages
            .wait_for(|stage| matches!(stage, Stage::Closed))
            .await;
    }

    /// Moves to another stage, unless the lane has been closed meanwhile.
    fn enter(&self, stage: Stage) -> bool {
        self.current.send_if_modified(|current| {
            let open = !matches!(current, Stage::Closed);
            if open {
                *current = stage;
            }
            open
        })
    }

    /// Keeps the lane connected until it is closed.
    pub(super) async fn supervise(self: Arc<Self>, node: NodeId, sink: SignalSink) {
        let mut pause = FIRST_PAUSE;
        while !self.closed() {
            let opened = tokio::select! {
                opened = self.open(&sink) => opened,
                () = self.until_closed() => return,
            };
            match opened {
                Ok(mut owner) => {
                    pause = FIRST_PAUSE;
                    let reason = self.serve(owner.link(), node, &sink).await;
                    owner.end().await;
                    self.enter(Stage::Connecting {
                        reason: reason.clone(),
                    });
                    match self.purpose {
                        Purpose::Commands => sink(Signal::CommandsDown { reason }),
                        Purpose::Subscriber => sink(Signal::SubscriberDown { node, reason }),
                        Purpose::Acks => {}
                    }
                }
                Err(fault) => {
                    self.enter(Stage::Connecting {
                        reason: fault.to_string(),
                    });
                }
            }
            tokio::select! {
                () = sleep(jitter(pause)) => {}
                () = self.until_closed() => return,
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Opens a link and, for requests, makes sure that its predecessors are over on the server.
    async fn open(&self, sink: &SignalSink) -> Result<LinkOwner, Fault> {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(first) = first {
            return Ok(first);
        }
        let limit = self.pace.connect;
        let mut owner = match self.purpose {
            Purpose::Subscriber => LinkOwner::open_to_hear(&self.config, limit).await?,
            Purpose::Commands | Purpose::Acks => LinkOwner::open(&self.config, limit).await?,
        };
        let predecessors = self.lock_predecessors().clone();
        for predecessor in &predecessors {
            match owner
                .link()
                .fence(predecessor, Instant::now() + self.pace.connect)
                .await
            {
                Ok(_) => {}
                Err(Fault::Refused { text, .. }) => sink(Signal::NotFenced { reason: text }),
                Err(other) => {
                    owner.end().await;
                    return Err(other);
                }
            }
        }
        self.lock_predecessors().clear();
        Ok(owner)
    }

    /// Hands the link out until it is over; says why it ended.
    async fn serve(&self, link: &Arc<Link>, node: NodeId, sink: &SignalSink) -> String {
        if self.purpose == Purpose::Commands {
            match link.identity() {
                Some(identity) => self.lock_predecessors().push(identity),
                None => sink(Signal::NotFenced {
                    reason: "the server does not say which connection this is".to_owned(),
                }),
            }
        }
        if !self.enter(Stage::Open(link.clone())) {
            return "closed".to_owned();
        }
        let hears = (self.purpose == Purpose::Subscriber).then(|| link.messages());
        match self.purpose {
            Purpose::Commands => sink(Signal::CommandsUp),
            Purpose::Subscriber => sink(Signal::SubscriberUp { node }),
            Purpose::Acks => {}
        }
        tokio::select! {
            reason = self.watch_health(link) => reason,
            () = forward(hears, sink) => "the message stream ended".to_owned(),
            () = self.until_closed() => "closed".to_owned(),
        }
    }

    async fn watch_health(&self, link: &Link) -> String {
        loop {
            if !self.process.is_this() {
                // The connection is another process's as well: not a word.
                return std::future::pending().await;
            }
            tokio::select! {
                () = link.until_over() => return "the connection was closed".to_owned(),
                () = sleep(jitter(self.pace.heartbeat)) => {}
                () = self.suspicion.notified() => {}
            }
            if !alive(link, self.pace.pong).await {
                return "the server did not answer a ping".to_owned();
            }
        }
    }

    fn lock_predecessors(&self) -> std::sync::MutexGuard<'_, Vec<Identity>> {
        self.predecessors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes messages on until the stream ends; pends for ever where there is no stream.
async fn forward(
    messages: Option<tokio::sync::broadcast::Receiver<fred::types::Message>>,
    sink: &SignalSink,
) {
    use fred::types::Value;
    use tokio::sync::broadcast::error::RecvError;

    let Some(mut messages) = messages else {
        return std::future::pending().await;
    };
    loop {
        match messages.recv().await {
            Ok(message) => sink(Signal::Message {
                channel: message.channel.into_inner(),
                payload: match message.value {
                    Value::String(text) => text.into_inner(),
                    Value::Bytes(bytes) => bytes,
                    Value::Integer(n) => n.to_string().into(),
                    _ => bytes::Bytes::new(),
                },
            }),
            Err(RecvError::Lagged(_)) => sink(Signal::MessagesLost),
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests;
