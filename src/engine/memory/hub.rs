//! The server in memory as its clients see it, with the faults that are to come.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    faults::{Failure, RequestKind},
    link::Link,
    server::{Outcome, Server},
};
use crate::engine::{
    hold::later,
    transport::{Request, Signal},
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module.
pub(crate) struct Hub {
    server: Mutex<Server>,
    started: Instant,
    numbers: AtomicU64,
    links: Mutex<Vec<Weak<Link>>>,
    silent_until: Mutex<Option<Instant>>,
    failures: Mutex<Vec<(RequestKind, Failure)>>,
    /// Groups of channels, each of which is to lose a message.
    lossy: Mutex<Vec<Vec<Bytes>>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

impl Hub {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            server: Mutex::default(),
            started: Instant::now(),
            numbers: AtomicU64::new(1),
            links: Mutex::default(),
            silent_until: Mutex::default(),
            failures: Mutex::default(),
            lossy: Mutex::default(),
        })
    }

    /// The server as of now.
    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        let mut server = lock(&self.server);
        let now = self.started.elapsed().as_millis();
        server.at(u64::try_from(now).unwrap_or(u64::MAX));
        server
    }

    /// Takes a client in; its number.
    pub(super) fn welcome(&self, make: impl FnOnce(u64) -> Arc<Link>) -> Arc<Link> {
        let link = make(self.numbers.fetch_add(1, Ordering::Relaxed));
        let mut links = lock(&self.links);
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(&link));
        link
    }

    /// All clients there are.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).iter().filter_map(Weak::upgrade).collect()
    }

    /// Does what a request asks for, and carries the messages that come of it.
    pub(crate) fn execute(&self, request: &Request) -> Outcome {
        let mut server = self.server();
        let outcome = server.serve(request);
        let said = server.take_said();
        drop(server);
        for message in said {
            if self.loses(&message.channel) {
                continue;
            }
            for link in self.links() {
                if message.hearers.contains(&link.number()) {
                    link.tell(Signal::Message {
                        channel: message.channel.clone(),
                        payload: message.payload.clone(),
                    });
                }
            }
        }
        outcome
    }

    /// Until when nothing is answered; `None` where it is.
    pub(super) fn silent_until(&self) -> Option<Instant> {
        let mut silent = lock(&self.silent_until);
        *silent = silent.filter(|until| Instant::now() < *until);
        *silent
    }

    /// Nothing is answered for so long. Clients that notice find no connection until then.
    pub(crate) fn silence(&self, duration: Duration) {
        {
            let mut silent = lock(&self.silent_until);
            let until = later(Instant::now(), duration);
            *silent = Some(silent.map_or(until, |before| before.max(until)));
        }
        for link in self.links() {
            link.notices_silence();
        }
    }

    /// The next request of this kind meets this; those said before come first.
    pub(crate) fn fail_next(&self, kind: RequestKind, failure: Failure) {
        lock(&self.failures).push((kind, failure));
    }

    /// What becomes of a request, where it is not done as it should be.
    pub(super) fn failure(&self, request: &Request) -> Option<Failure> {
        let mut failures = lock(&self.failures);
        let at = failures.iter().position(|(kind, _)| kind.is_of(request))?;
        Some(failures.remove(at).1)
    }

    /// The next message on any of these channels reaches nobody.
    pub(crate) fn lose_next(&self, channels: Vec<Bytes>) {
        lock(&self.lossy).push(channels);
    }

    fn loses(&self, channel: &Bytes) -> bool {
        let mut lossy = lock(&self.lossy);
        let at = lossy.iter().position(|group| group.contains(channel));
        at.map(|at| lossy.remove(at)).is_some()
    }
}
