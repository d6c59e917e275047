//! Waiters of both sides in one queue.

mod gone;
mod line;
mod once;
mod order;
