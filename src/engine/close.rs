//! Closing: everything held goes back, and nothing stays open.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{Engine, hold::later, wakeup::Source};
use crate::{
    error::{Error, LossCause},
    owner::Owner,
};

/// What closing could not give back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreleased {
    /// The lock.
    pub name: Arc<str>,
    /// Its holder in this client.
    pub owner: Owner,
    /// What went wrong.
    pub reason: String,
}

/// What closing a client came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Locks given back.
    pub released: usize,
    /// Locks that stay on the server until their time to live is over.
    pub unreleased: Vec<Unreleased>,
}

impl Engine {
    /// Gives everything back, all locks side by side, and ends all connections and tasks.
    pub(crate) async fn close(self: &Arc<Self>, limit: Duration) -> CloseReport {
        let deadline = later(Instant::now(), limit);
        self.closed.store(true, Ordering::Release);
        self.wakeups.wake_all(Source::Closed);
        self.renewal.hurry();
        // What is being acquired at this moment is found below, or finds the client closed.
        let _ = timeout(limit / 4, self.background.idle()).await;
        let mut releasing = Vec::new();
        for slot in self.registry.held(self) {
            let losses = slot.take_all(LossCause::Closed);
            if losses.is_empty() {
                continue;
            }
            for (hold, _) in &losses {
                self.forget_hold(hold);
            }
            let (name, owner) = (slot.call.shown.clone(), slot.call.owner);
            let engine = self.clone();
            let (sender, outcome) = oneshot::channel();
            self.background.spawn(async move {
                let _ = sender.send(engine.settle(&slot).await);
            });
            releasing.push((name, owner, outcome));
        }
        let mut report = CloseReport::default();
        for (name, owner, outcome) in releasing {
            let outcome = match timeout_at(deadline, outcome).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(Error::Closed),
                Err(_) => {
                    report.unreleased.push(Unreleased {
                        name,
                        owner,
                        reason: "the server did not answer in time".to_owned(),
                    });
                    continue;
                }
            };
            match outcome {
                Ok(()) => report.released += 1,
                Err(error) => report.unreleased.push(Unreleased {
                    name,
                    owner,
                    reason: error.to_string(),
                }),
            }
        }
        let _ = timeout_at(deadline, self.background.idle()).await;
        self.transport.close().await;
        // What was still under way has been answered with "closed".
        let _ = timeout_at(deadline, self.background.idle()).await;
        let tasks = std::mem::take(&mut *self.tasks());
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        report
    }
}
