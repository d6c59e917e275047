//! A client lives in the process that connected it.
//!
//! A process that was copied by `fork` has the same sockets, the same ids and the same books as the one before. What it sent
//! would be taken for the other's, and what it heard would be missing there: so it sends nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Engine;
use crate::error::{Error, Result};

/// The process that connected a client.
#[derive(Debug)]
pub(crate) struct Process(AtomicU32);

impl Process {
    pub(crate) fn current() -> Self {
        Self(AtomicU32::new(std::process::id()))
    }

    /// Whether this is that process. Asks the system: what a copy remembers, it remembers wrongly.
    pub(crate) fn is_this(&self) -> bool {
        self.0.load(Ordering::Relaxed) == std::process::id()
    }

    /// Goes on as if this were a copy of that process.
    #[cfg(test)]
    pub(crate) fn pretend_to_be_copied(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Engine {
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.process.is_this() {
            return Ok(());
        }
        Err(Error::Forked)
    }
}
