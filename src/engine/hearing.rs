//! Whether a channel's messages reach us, and whether somebody is to be told once they do.

use super::sync::{AtomicBool, AtomicU64, Ordering};

/// See the module.
#[derive(Debug)]
pub(crate) struct Hearing {
    /// The connection (by epoch) on which the server has confirmed the subscription; 0 for none.
    confirmed: AtomicU64,
    /// Whether messages may have been lost since somebody looked last.
    deaf: AtomicBool,
}

impl Hearing {
    pub(crate) fn new() -> Self {
        Self {
            confirmed: AtomicU64::new(0),
            deaf: AtomicBool::new(false),
        }
    }

    /// Whether the server is known to send us messages on this connection, the current one.
    pub(crate) fn is_live(&self, epoch: u64) -> bool {
        epoch != 0 && self.confirmed.load(Ordering::Acquire) == epoch
    }

    /// Call before a look at what the messages are about: what is published between the look and the confirmation is
    /// lost, so [`confirm`](Self::confirm) speaks for another look.
    pub(crate) fn before_look(&self, epoch: u64) {
        if !self.is_live(epoch) {
            // A read-modify-write, as in `confirm`: whichever is later knows of the other, so that either the look
            // comes after the server's word, or the server's word asks for another look.
            self.deaf.swap(true, Ordering::AcqRel);
        }
    }

    /// The server has confirmed the subscription; says whether to look, since messages may have been lost.
    pub(crate) fn confirm(&self, epoch: u64) -> bool {
        self.confirmed.store(epoch, Ordering::Release);
        self.deaf.swap(false, Ordering::AcqRel)
    }

    /// Nobody wants messages any more, and soon none will come.
    pub(crate) fn given_up(&self) {
        self.confirmed.store(0, Ordering::Release);
    }

    /// The server has taken the subscription away, nobody knows when.
    pub(crate) fn taken_away(&self) {
        self.confirmed.store(0, Ordering::Release);
        self.deaf.store(true, Ordering::Release);
    }
}
