//! How a request finds its server: after `MOVED`, `ASK` and `TRYAGAIN`, and away from one that has been replaced.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::{
    Fault, Reply, Request,
    chart::{Address, Redirect},
    fleet::{Fleet, not_ours},
    node::Node,
};
use crate::{engine::jitter, error::Refusal};

/// How long a server that is not responsible any more may take to answer what is in flight.
const LAST_WORD: Duration = Duration::from_millis(100);
/// A server that keeps a request for that long may have been replaced.
const OVERDUE: Duration = Duration::from_millis(200);
/// Pause before a request is sent again that a slot on the move has turned away.
const MOVING: Duration = Duration::from_millis(5);
const LONGEST_MOVING: Duration = Duration::from_millis(100);

impl Fleet {
    /// Sends a request to whom it concerns, and after it where that has changed. Only what a server has refused to
    /// execute is sent again.
    pub(super) async fn route(&self, request: Request, deadline: Instant) -> Result<Reply, Fault> {
        let slot = self.slot(request.about());
        let mut pause = MOVING;
        loop {
            let node = self.home(slot, deadline).await?;
            let reply = self.try_at(&node, slot, &request, deadline).await;
            let reply = match reply {
                None => continue,
                // It was given up while the request waited for its connection.
                Some(Err(Fault::Closed)) if !self.is_closed() => {
                    if Instant::now() >= deadline {
                        return Err(not_ours());
                    }
                    self.cast_doubt();
                    sleep(jitter(MOVING)).await;
                    continue;
                }
                Some(Err(fault @ (Fault::Unknown { .. } | Fault::NotSent { .. }))) => {
                    self.cast_doubt();
                    return Err(fault);
                }
                Some(reply) => reply,
            };
            let Err(Fault::Refused { refusal, text }) = &reply else {
                return reply;
            };
            match self.follow(text, &node) {
                Some(Redirect::Moved { .. }) => {
                    if self.home(slot, deadline).await?.id != node.id && pause == MOVING {
                        pause *= 2;
                        continue;
                    }
                }
                Some(Redirect::Ask { to }) => {
                    let reply = self.ask(&to, &request, deadline).await;
                    if !is_elsewhere(&reply) {
                        return reply;
                    }
                }
                Some(Redirect::TryAgain) => {}
                None => {
                    if refusal.is_transient() {
                        self.cast_doubt();
                    }
                    return reply;
                }
            }
            if Instant::now() + pause >= deadline {
                return reply;
            }
            sleep(jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_MOVING);
        }
    }

    /// One try at one server; `None` where the slot has left it before anything was sent.
    async fn try_at(
        &self,
        node: &Arc<Node>,
        slot: u16,
        request: &Request,
        deadline: Instant,
    ) -> Option<Result<Reply, Fault>> {
        let mut left = pin!(self.left(slot, node.id));
        let link = tokio::select! {
            biased;
            link = node.link(deadline) => match link {
                Ok(link) => link,
                Err(fault) => return Some(Err(fault)),
            },
            () = &mut left => return None,
        };
        let mut reply = pin!(node.execute(&link, slot, request, deadline));
        tokio::select! {
            biased;
            reply = self.doubting(reply.as_mut()) => return Some(reply),
            () = &mut left => {}
        }
        let late = timeout(LAST_WORD, reply).await;
        Some(late.unwrap_or_else(|_| {
            Err(Fault::Unknown {
                reason: format!("{} is not responsible any more and silent", node.address),
            })
        }))
    }

    /// Waits for a reply, with growing doubt.
    pub(super) async fn doubting<T>(&self, mut reply: Pin<&mut impl Future<Output = T>>) -> T {
        loop {
            tokio::select! {
                biased;
                reply = &mut reply => return reply,
                () = sleep(OVERDUE) => self.cast_doubt(),
            }
        }
    }

    async fn ask(
        &self,
        to: &Address,
        request: &Request,
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        let node = self.open(to)?;
        match node.link(deadline).await {
            Ok(link) => node.execute_alone(&link, request, true, deadline).await,
            Err(Fault::Closed) if !self.is_closed() => Err(not_ours()),
            Err(fault) => Err(fault),
        }
    }
}

fn is_elsewhere(reply: &Result<Reply, Fault>) -> bool {
    matches!(
        reply,
        Err(Fault::Refused {
            refusal: Refusal::Cluster,
            ..
        })
    )
}

#[cfg(test)]
mod tests;
