//! Futures that outlive their caller.
//!
//! A request that has been sent cannot be unsent, so a caller that leaves in the middle must not take the answer with
//! it. A [`Detached`] future runs inside its caller as long as the caller waits, at no cost but a box, and moves to a
//! task of its own when the caller drops it unfinished.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{runtime::Handle, sync::Notify, task::JoinHandle};

/// Counts what goes on behind callers' backs, so that closing can wait for it.
#[derive(Debug)]
pub(crate) struct Background {
    runtime: Handle,
    running: Arc<Running>,
}

#[derive(Debug, Default)]
struct Running {
    count: AtomicUsize,
    idle: Notify,
}

/// One thing that goes on, counted until it is dropped. Counts down however it ends, also when its runtime drops it.
#[derive(Debug)]
pub(crate) struct One(Arc<Running>);

impl One {
    fn new(running: &Arc<Running>) -> Self {
        running.count.fetch_add(1, Ordering::AcqRel);
        Self(running.clone())
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Background {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            running: Arc::default(),
        }
    }

    /// Counts something that goes on in a caller.
    pub(crate) fn enter(&self) -> One {
        One::new(&self.running)
    }

    /// Runs `future` to its end on the client's runtime. Callable from any thread, never blocks, never panics; when
    /// the runtime is gone the future is dropped.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let one = self.enter();
        self.runtime.spawn(async move {
            let _one = one;
            future.await;
        });
    }

    /// Runs `future` on the client's runtime for as long as the result lives. Closing does not wait for it.
    pub(crate) fn attend(&self, future: impl Future<Output = ()> + Send + 'static) -> Attendant {
        Attendant(self.runtime.spawn(future))
    }

    /// Waits until nothing goes on.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.running.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// How much goes on.
    pub(crate) fn count(&self) -> usize {
        self.running.count.load(Ordering::Acquire)
    }
}

/// A task that ends with whom it serves.
#[derive(Debug)]
pub(crate) struct Attendant(JoinHandle<()>);

impl Drop for Attendant {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// See the module.
pub(crate) struct Detached<T: Send + 'static> {
    future: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    started: bool,
    background: Arc<Background>,
    /// What becomes of a result nobody waits for.
    unclaimed: fn(T),
}

impl<T: Send + 'static> Detached<T> {
    pub(crate) fn new(
        background: &Arc<Background>,
        future: impl Future<Output = T> + Send + 'static,
        unclaimed: fn(T),
    ) -> Self {
        Self {
            future: Some(Box::pin(future)),
            started: false,
            background: background.clone(),
            unclaimed,
        }
    }

    /// As [`new`](Self::new), but runs to its end even if nobody ever polls it.
    pub(crate) fn committed(
        background: &Arc<Background>,
        future: impl Future<Output = T> + Send + 'static,
        unclaimed: fn(T),
    ) -> Self {
        let mut detached = Self::new(background, future, unclaimed);
        detached.started = true;
        detached
    }
}

impl<T: Send + 'static> Future for Detached<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.started = true;
        let Some(future) = self.future.as_mut() else {
            return Poll::Pending;
        };
        let output = std::task::ready!(future.as_mut().poll(context));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take().filter(|_| self.started) {
            let unclaimed = self.unclaimed;
            self.background
                .spawn(async move { unclaimed(future.await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::atomic::AtomicBool, time::Duration};
    use tokio::time::{sleep, timeout};

    static UNCLAIMED: AtomicUsize = AtomicUsize::new(0);

    #[tokio::test(start_paused = true)]
    async fn a_dropped_future_finishes_and_its_result_is_disposed_of() {
        let background = Arc::new(Background::new(Handle::current()));
        let detached = Detached::new(
            &background,
            async {
                sleep(Duration::from_secs(1)).await;
                7
            },
            |seven| {
                UNCLAIMED.fetch_add(seven, Ordering::Relaxed);
            },
        );
        assert!(timeout(Duration::from_millis(1), detached).await.is_err());
        background.idle().await;
        assert_eq!(UNCLAIMED.load(Ordering::Relaxed), 7);
    }

    #[tokio::test]
    async fn a_future_never_polled_never_runs() {
        static RAN: AtomicBool = AtomicBool::new(false);
        let background = Arc::new(Background::new(Handle::current()));
        drop(Detached::new(
            &background,
            async { RAN.store(true, Ordering::Relaxed) },
            |()| {},
        ));
        background.idle().await;
        assert!(!RAN.load(Ordering::Relaxed));
    }

    #[test]
    fn dropping_after_the_runtime_is_gone_does_nothing() {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let background = Arc::new(Background::new(runtime.handle().clone()));
        drop(runtime);
        background.spawn(async {});
        assert_eq!(background.count(), 0);
    }
}
