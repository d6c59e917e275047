//! What the features `metrics` and `tracing` tell, and that the documents say the same.
//!
//! A recorder and a subscriber are set for one thread, and each test has one of its own with its client on it, so tests see
//! nothing of each other.

mod documents;
mod durations;
mod ends;
mod kit;
mod promql;
#[path = "../../examples/telemetry/sale.rs"]
mod sale;
mod spans;
mod told;
mod totals;
mod wakeups;
mod watch;
