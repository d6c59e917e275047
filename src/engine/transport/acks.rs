//! Asking a server how many of its replicas have what it has just done.
//!
//! `WAIT` holds up everything else on its connection, so it has one of its own. There it would count only what that
//! connection has written: an announcement that nobody hears is written first, which puts it behind everything the server
//! has done until then. All that are to be confirmed at a time are confirmed by one `WAIT`. A replica that has stopped
//! holds up nobody whose number is reached without it.

use std::{
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fred::{prelude::ClientLike, types::Value};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use super::{
    Evidence, Fault, PubSub, Reply, Request,
    lane::{Lane, Purpose},
    link::{Link, custom_command},
    loads::is_unknown_script,
    node::{eval_words, pace},
};
use crate::config::{ReplicaPolicy, Replicas, Settings};

/// Confirmed by one `WAIT`.
const MOST_AT_ONCE: usize = 256;
/// How long one `WAIT` may take before those are let in who came meanwhile.
const ROUND: Duration = Duration::from_millis(50);

/// What is to be on the replicas.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    /// A channel with the slot of the name, that nobody listens to.
    pub(crate) channel: Bytes,
    /// A look at what must still be there: after a failover the answer would be about another history.
    pub(crate) look: Option<Request>,
}

struct Pending {
    proof: Proof,
    looked: Option<Reply>,
    deadline: Instant,
    answer: oneshot::Sender<Result<Evidence, Fault>>,
}

/// The questions to one server.
#[derive(Debug)]
pub(super) struct Acks {
    pub(super) lane: Arc<Lane>,
    /// As many as there are callers that wait for an answer.
    questions: mpsc::UnboundedSender<Pending>,
    asked: std::sync::Mutex<Option<mpsc::UnboundedReceiver<Pending>>>,
    policy: ReplicaPolicy,
    publish: &'static str,
    /// The most replicas that were connected to the server at any time.
    replicas: AtomicU32,
    over: Notify,
}

impl Acks {
    pub(super) fn new(
        config: &super::dial::Dial,
        settings: &Settings,
        pubsub: PubSub,
    ) -> Option<Arc<Self>> {
        let policy = settings.replica_policy?;
        let (questions, asked) = mpsc::unbounded_channel();
        Some(Arc::new(Self {
            lane: Lane::new(Purpose::Acks, config.clone(), pace(settings), None),
            questions,
            asked: std::sync::Mutex::new(Some(asked)),
            policy,
            publish: if pubsub.sharded() {
                "SPUBLISH"
            } else {
                "PUBLISH"
            },
            replicas: AtomicU32::new(0),
            over: Notify::new(),
        }))
    }

    /// Asks until as many replicas as the policy wants have it, or the deadline is there.
    pub(super) async fn confirm(&self, proof: Proof, deadline: Instant) -> Result<Evidence, Fault> {
        let (answer, answered) = oneshot::channel();
        let pending = Pending {
            proof,
            looked: None,
            deadline,
            answer,
        };
        if self.questions.send(pending).is_err() {
            return Err(Fault::Closed);
        }
        answered.await.unwrap_or(Err(Fault::Closed))
    }

    /// No more questions.
    pub(super) fn end(&self) {
        self.lane.close();
        self.over.notify_one();
    }

    /// The task that asks.
    pub(super) async fn run(self: Arc<Self>) {
        let taken = self.asked.lock().ok().and_then(|mut asked| asked.take());
        let Some(mut asked) = taken else {
            return;
        };
        let mut pending: Vec<Pending> = Vec::new();
        let mut last = Weak::new();
        loop {
            if pending.is_empty() {
                tokio::select! {
                    first = asked.recv() => match first {
                        Some(first) => pending.push(first),
                        None => return,
                    },
                    () = self.over.notified() => return,
                }
            }
            while pending.len() < MOST_AT_ONCE
                && let Ok(next) = asked.try_recv()
            {
                pending.push(next);
            }
            pending.retain(|one| !one.answer.is_closed());
            let Some(first) = pending.iter().map(|one| one.deadline).min() else {
                continue;
            };
            let round = self.round(&mut pending, first, &mut last).await;
            self.answer(&mut pending, round);
        }
    }

    /// One `WAIT` for all.
    async fn round(
        &self,
        pending: &mut [Pending],
        first: Instant,
        last: &mut Weak<Link>,
    ) -> Result<Evidence, Fault> {
        let link = self.lane.link(first).await?;
        if !std::ptr::eq(last.as_ptr(), Arc::as_ptr(&link)) {
            // What was there on another connection may have been another server's.
            pending.iter_mut().for_each(|one| one.looked = None);
            *last = Arc::downgrade(&link);
        }
        let wanted = self.wanted(&link, first).await?;
        let left = first.saturating_duration_since(Instant::now());
        let limit = left.min(ROUND).max(Duration::from_millis(1));
        let wait = u64::try_from(limit.as_millis()).unwrap_or(1).max(1);
        let pipeline = link.client.pipeline();
        let mut looks = Vec::new();
        for (at, one) in pending.iter().enumerate() {
            if let (None, Some(look)) = (&one.looked, &one.proof.look) {
                let (verb, words) = eval_words(look);
                queue(&pipeline, verb, words).await?;
                looks.push(at);
            }
        }
        let channel = pending.first().map(|one| one.proof.channel.clone());
        let announcement = vec![channel.unwrap_or_default(), Bytes::from_static(b"0")];
        queue(&pipeline, self.publish, announcement).await?;
        let (verb, words) = match self.policy.on_disk {
            false => ("WAIT", vec![wanted.to_string(), wait.to_string()]),
            true => (
                "WAITAOF",
                vec!["1".to_owned(), wanted.to_string(), wait.to_string()],
            ),
        };
        queue(
            &pipeline,
            verb,
            words.into_iter().map(Bytes::from).collect(),
        )
        .await?;
        // What the server needs for the rest, and the way there and back.
        let deadline = Instant::now() + limit + self.lane.pong();
        let replying = pin!(pipeline.try_all::<Value>());
        let Some(mut replies) = link.answered_all(replying, deadline).await else {
            link.abandon();
            return Err(silent());
        };
        let counted = replies.pop().ok_or_else(odd)??;
        // Where the announcement was refused, the count is about nothing.
        replies.pop().ok_or_else(odd)??;
        for (at, reply) in looks.into_iter().zip(replies) {
            let Some(one) = pending.get_mut(at) else {
                continue;
            };
            if is_unknown_script(&reply) {
                // Looked at in the next round.
                self.load(&link, &one.proof, deadline).await?;
                return Err(silent());
            }
            one.looked = Some(reply?);
        }
        Ok(Evidence {
            acked: acked(&counted).ok_or_else(odd)?,
            wanted,
            looked: None,
        })
    }

    async fn load(&self, link: &Link, proof: &Proof, deadline: Instant) -> Result<(), Fault> {
        let Some(Request::Script { script, .. }) = &proof.look else {
            return Ok(());
        };
        link.load(script, deadline).await.map(|_| ())
    }

    /// How many replicas the policy wants, as of now.
    async fn wanted(&self, link: &Link, deadline: Instant) -> Result<u32, Fault> {
        if let Replicas::AtLeast(wanted) = self.policy.replicas {
            return Ok(wanted);
        }
        if let Reply::Text(info) = link.query("INFO", &["replication"], deadline).await? {
            let info = String::from_utf8_lossy(&info);
            let connected = info.lines().find_map(|line| {
                let count = line.trim().strip_prefix("connected_slaves:")?;
                count.parse::<u32>().ok()
            });
            self.replicas
                .fetch_max(connected.unwrap_or(0), Ordering::AcqRel);
        }
        let replicas = self.replicas.load(Ordering::Acquire);
        // Whoever asks for replicas does not mean none.
        Ok(self.policy.replicas.of(replicas).max(1))
    }

    /// Tells those for whom it is decided.
    fn answer(&self, pending: &mut Vec<Pending>, round: Result<Evidence, Fault>) {
        let now = Instant::now();
        let enough = round
            .as_ref()
            .is_ok_and(|evidence| evidence.acked >= evidence.wanted);
        let all = std::mem::take(pending);
        for one in all {
            let silent = matches!(round, Err(Fault::Unknown { .. } | Fault::NotSent { .. }));
            if !enough && one.deadline > now && (round.is_ok() || silent) {
                pending.push(one);
                continue;
            }
            let answer = round.clone().map(|evidence| Evidence {
                looked: one.looked,
                ..evidence
            });
            let _ = one.answer.send(answer);
        }
    }
}

/// How many replicas have it, by the answer to `WAIT` or `WAITAOF`.
fn acked(counted: &Reply) -> Option<u32> {
    let acked = match counted {
        Reply::Int(acked) => *acked,
        Reply::Array(both) => match both.as_slice() {
            // Not even on the server's own disk.
            [Reply::Int(0), Reply::Int(_)] => 0,
            [Reply::Int(_), Reply::Int(acked)] => *acked,
            _ => return None,
        },
        _ => return None,
    };
    u32::try_from(acked).ok()
}

fn silent() -> Fault {
    Fault::Unknown {
        reason: "no answer about the replicas".to_owned(),
    }
}

fn odd() -> Fault {
    Fault::Unknown {
        reason: "an odd answer to WAIT".to_owned(),
    }
}

async fn queue(
    pipeline: &fred::clients::Pipeline<fred::prelude::Client>,
    verb: &'static str,
    words: Vec<Bytes>,
) -> Result<(), Fault> {
    let words: Vec<Value> = words.into_iter().map(Value::Bytes).collect();
    let queued: Result<(), _> = pipeline.custom(custom_command(verb), words).await;
    queued.map_err(|error| super::link::fault(&error))
}

#[cfg(test)]
mod tests;
