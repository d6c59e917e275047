//! One client's connection to the server in memory: up or down, and requests on it in their order.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use super::hub::Hub;
use crate::engine::transport::Fault;

#[derive(Debug, Default)]
struct State {
    up: bool,
    closed: bool,
    /// Changes with every cut.
    epoch: u64,
    /// Who waits, in the order in which they came.
    line: BTreeSet<u64>,
    next: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Wire {
    state: Mutex<State>,
    changed: Notify,
}

/// A place among the requests of a connection.
struct Place {
    wire: Arc<Wire>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.wire.state();
        state.line.remove(&self.number);
        let others = !state.line.is_empty();
        drop(state);
        if others {
            self.wire.changed.notify_waiters();
        }
    }
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is there.
    pub(super) fn connect(&self) {
        self.state().up = true;
        self.changed.notify_waiters();
    }

    /// It is there again, unless it was cut once more since `epoch`; true where this made a difference.
    pub(super) fn reconnect(&self, epoch: u64) -> bool {
        let mut state = self.state();
        let comes_up = !state.up && !state.closed && state.epoch == epoch;
        state.up |= comes_up;
        drop(state);
        self.changed.notify_waiters();
        comes_up
    }

    /// It is gone. The number of this cut, and whether it was there.
    pub(super) fn cut(&self) -> (u64, bool) {
        let mut state = self.state();
        state.epoch += 1;
        let was_up = std::mem::take(&mut state.up);
        let epoch = state.epoch;
        drop(state);
        self.changed.notify_waiters();
        (epoch, was_up)
    }

    /// It is gone for good.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.cut();
    }

    /// Waits until a request can be done, and does it, at once where nothing is in the way: no earlier request, no connection
    /// that is gone, no silence of the server.
    pub(super) async fn carry<T>(
        self: Arc<Self>,
        hub: &Hub,
        deadline: Instant,
        work: impl FnOnce(&Hub) -> T,
    ) -> Result<(u64, T), Fault> {
        let place = {
            let mut state = self.state();
            let number = state.next;
            state.next += 1;
            state.line.insert(number);
            Place {
                wire: self.clone(),
                number,
            }
        };
        // The connection it is on.
        let mut on = None;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let first = {
                let state = self.state();
                match on {
                    _ if state.closed => return Err(closed(on.is_some())),
                    Some(epoch) if state.epoch != epoch => return Err(gone()),
                    None if state.up => on = Some(state.epoch),
                    _ => {}
                }
                state.line.first() == Some(&place.number)
            };
            let silent_until = hub.silent_until();
            match (on, silent_until) {
                (Some(epoch), None) if first => return Ok((epoch, work(hub))),
                _ => {}
            }
            let until = silent_until.map_or(deadline, |until| until.min(deadline));
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(until) => {}
            }
            if Instant::now() >= deadline {
                return Err(match on {
                    Some(_) => unknown("no answer in time"),
                    None => Fault::NotSent {
                        reason: "no connection".to_owned(),
                    },
                });
            }
        }
    }

    /// An answer on its way back over the connection of this number.
    pub(super) async fn back<T>(
        &self,
        epoch: u64,
        deadline: Instant,
        answer: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let broken = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.state().epoch != epoch {
                    return;
                }
                changed.await;
            }
        };
        tokio::select! {
            biased;
            () = broken => Err(gone()),
            answer = timeout_at(deadline, answer) => {
                answer.unwrap_or_else(|_| Err(unknown("no answer in time")))
            }
        }
    }
}

fn unknown(reason: &str) -> Fault {
    Fault::Unknown {
        reason: reason.to_owned(),
    }
}

fn gone() -> Fault {
    unknown("the connection is gone")
}

fn closed(was_sent: bool) -> Fault {
    if was_sent { gone() } else { Fault::Closed }
}
