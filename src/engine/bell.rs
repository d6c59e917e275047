//! A counter that wakes: who remembers the count from before a look misses nothing that happens after it.

use super::sync::{AtomicU8, AtomicU64, Notify, Ordering};

/// What rang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Source {
    Message,
    Poll,
    /// The same look, since a connection came back.
    Reconnect,
    Release,
    Closed,
    /// Nobody knows: messages may have been lost while its server changed.
    Moved,
}

impl Source {
    fn from_code(code: u8) -> Self {
        use Source::{Closed, Message, Moved, Poll, Reconnect, Release};
        [Message, Poll, Reconnect, Release, Closed, Moved]
            .into_iter()
            .find(|source| *source as u8 == code)
            .unwrap_or(Self::Message)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Bell {
    /// How often it has rung.
    count: AtomicU64,
    source: AtomicU8,
    told: Notify,
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self {
            count: AtomicU64::new(0),
            source: AtomicU8::new(Source::Message as u8),
            told: Notify::new(),
        }
    }

    /// The count to remember before a look.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn ring(&self, source: Source) {
        self.source.store(source as u8, Ordering::Release);
        self.count.fetch_add(1, Ordering::AcqRel);
        self.nudge();
    }

    /// Lets those who wait look at their conditions again.
    pub(crate) fn nudge(&self) {
        self.told.notify_waiters();
    }

    /// Waits until it has rung since `seen`; says who rang last.
    pub(crate) async fn rung(&self, seen: u64) -> Source {
        self.until(|| self.count() != seen).await;
        Source::from_code(self.source.load(Ordering::Acquire))
    }

    /// Waits until the condition holds, which is looked at after each ring and each nudge.
    pub(crate) async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            // Hears all that is said from here on, polled or not.
            let told = self.told.notified();
            if holds() {
                return;
            }
            told.await;
        }
    }
}
