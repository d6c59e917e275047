//! Closing: everything held goes back, and nothing stays open.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{Engine, hold::later, wakeup::Source};
use crate::{
    error::{Error, LossCause, Result},
    owner::Owner,
    telemetry::End,
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
    /// Semaphore permits given back that guards had held.
    pub permits: usize,
    /// Semaphores whose permits could not be given back, with what went wrong. Permits without a lease stay taken.
    pub unreleased_permits: Vec<(Arc<str>, String)>,
}

/// Permits on their way back: whose, how many, and what comes of it.
type Returning = (Arc<str>, usize, oneshot::Receiver<Result<Option<i64>>>);

impl CloseReport {
    async fn await_permits(&mut self, permits: Vec<Returning>, deadline: Instant) {
        for (name, count, outcome) in permits {
            let reason = match timeout_at(deadline, outcome).await {
                Ok(Ok(Ok(_))) => {
                    self.permits += count;
                    continue;
                }
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) => Error::Closed.to_string(),
                Err(_) => "the server did not answer in time".to_owned(),
            };
            self.unreleased_permits.push((name, reason));
        }
    }
}

impl Engine {
    /// Sends home whoever stands before a semaphore or a latch, and gives back what guards hold.
    fn give_back_permits(self: &Arc<Self>) -> Vec<Returning> {
        let mut returning = Vec::new();
        for desk in self.desks.all(self) {
            for ask in desk.close() {
                let (engine, desk) = (self.clone(), desk.clone());
                let (name, count) = (desk.names.shown.clone(), ask.permits as usize);
                let (sender, outcome) = oneshot::channel();
                self.background.spawn(async move {
                    let _ = sender.send(engine.undo(&desk, &ask).await);
                });
                returning.push((name, count, outcome));
            }
        }
        returning
    }

    /// Gives everything back, all locks side by side, and ends all connections and tasks.
    pub(crate) async fn close(self: &Arc<Self>, limit: Duration) -> CloseReport {
        let deadline = later(Instant::now(), limit);
        self.closed.store(true, Ordering::Release);
        self.wakeups.wake_all(Source::Closed);
        self.renewal.hurry();
        let permits = self.give_back_permits();
        // What is being acquired at this moment is found below, or finds the client closed.
        let _ = timeout(limit / 4, self.background.idle()).await;
        let mut releasing = Vec::new();
        for slot in self.registry.held(self) {
            let losses = slot.take_all(LossCause::Closed);
            if losses.is_empty() {
                continue;
            }
            for (hold, _) in &losses {
                self.end_hold(&slot.call, hold, End::Closed);
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
        report.await_permits(permits, deadline).await;
        let _ = timeout_at(deadline, self.background.idle()).await;
        self.erase_marks(deadline).await;
        self.transport.close().await;
        // What was still under way has been answered with "closed".
        let _ = timeout_at(deadline, self.background.idle()).await;
        let tasks = std::mem::take(&mut *self.tasks());
        // All before the first is waited for: a caller that leaves there has nobody else end the others.
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            let _ = task.await;
        }
        self.desks.clear();
        report
    }
}

/// Runs a task of an engine, and closes the engine where the task is dropped instead: its runtime is gone.
pub(super) async fn noticing(engine: Weak<Engine>, task: impl Future<Output = ()>) {
    let _abandoned = Abandoned(engine);
    task.await;
}

struct Abandoned(Weak<Engine>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(engine) = self.0.upgrade() {
            engine.abandon();
        }
    }
}

impl Engine {
    /// Closes without giving anything back, once the runtime that all tasks and connections lived on is gone: nobody would
    /// renew, wake or notice anything any more.
    fn abandon(self: &Arc<Self>) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        drop(self.transport.close());
        self.wakeups.wake_all(Source::Closed);
        drop(self.give_back_permits());
        for slot in self.registry.held(self) {
            self.report_losses(&slot, slot.take_all(LossCause::Closed));
        }
    }
}
