//! One who asks for something at a desk, and what has become of it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::{sync::Notify, time::Instant};

use super::trade::Ask;
use crate::error::Result;

/// One who asks.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) id: u64,
    pub(super) ask: Arc<Ask>,
    verdict: Mutex<Option<Result<Instant>>>,
    asked: AtomicBool,
    pub(super) told: Notify,
}

impl Asker {
    pub(super) fn new(id: u64, ask: Arc<Ask>) -> Self {
        Self {
            id,
            ask,
            verdict: Mutex::default(),
            asked: AtomicBool::new(false),
            told: Notify::new(),
        }
    }

    pub(super) fn decide(&self, verdict: Result<Instant>) {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        self.told.notify_one();
    }

    /// When what was granted was asked for, or why nothing was.
    pub(super) fn verdict(&self) -> Option<Result<Instant>> {
        self.verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the server has answered for it.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// The server has answered for it.
    pub(super) fn note_asked(&self) {
        self.asked.store(true, Ordering::Release);
    }

    /// Something about it has changed.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }
}
