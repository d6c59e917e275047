//! tokio's `Notify` as its documentation has it, over loom's locks: tokio's own does not run under loom.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use loom::sync::{Mutex, MutexGuard};

#[derive(Debug)]
pub(crate) struct Notify(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// A call of `notify_one` that nobody waited for.
    permit: bool,
    /// How often all who waited were told.
    rounds: u64,
    next: u64,
    waiters: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    told: bool,
    waker: Option<Waker>,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::default()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no thread panics while it holds this")
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified {
            notify: self,
            rounds: self.state().rounds,
            id: None,
            done: false,
        }
    }

    pub(crate) fn notify_one(&self) {
        let mut state = self.state();
        let waker = match state.waiters.iter_mut().find(|waiter| !waiter.told) {
            Some(waiter) => {
                waiter.told = true;
                waiter.waker.take()
            }
            None => {
                state.permit = true;
                None
            }
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn notify_waiters(&self) {
        let mut state = self.state();
        state.rounds += 1;
        let wakers: Vec<_> = state
            .waiters
            .iter_mut()
            .filter_map(|waiter| waiter.waker.take())
            .collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[derive(Debug)]
pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    rounds: u64,
    id: Option<u64>,
    done: bool,
}

impl Notified<'_> {
    /// Whether it was told; if not, it is told from now on.
    fn look(&mut self, waker: &Waker) -> bool {
        if self.done {
            return true;
        }
        let mut state = self.notify.state();
        let mine = |waiter: &&mut Waiter| Some(waiter.id) == self.id;
        if state.rounds != self.rounds {
            self.done = true;
        } else if let Some(waiter) = state.waiters.iter_mut().find(mine) {
            self.done = waiter.told;
            waiter.waker = Some(waker.clone());
        } else if std::mem::take(&mut state.permit) {
            self.done = true;
        } else {
            let id = state.next;
            state.next += 1;
            self.id = Some(id);
            state.waiters.push(Waiter {
                id,
                told: false,
                waker: Some(waker.clone()),
            });
        }
        if self.done {
            state.waiters.retain(|waiter| Some(waiter.id) != self.id);
        }
        self.done
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.get_mut().look(context.waker()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let mut state = self.notify.state();
        let at = state
            .waiters
            .iter()
            .position(|waiter| Some(waiter.id) == self.id);
        let told = at.is_some_and(|at| state.waiters.remove(at).told);
        drop(state);
        if told && !self.done {
            // It was for whoever waits next.
            self.notify.notify_one();
        }
    }
}
