//! Test support for redlatch: real servers, the truth as the server tells it, and a fault proxy.
//!
//! - [`finder`] finds a server binary on this machine or provides one.
//! - [`server`] starts it on a free loopback port and stops it again, whatever happens to the test.
//! - [`cluster`] makes a cluster of such servers, fails it over and moves its slots.
//! - [`replicated`] makes a master with replicas of them, [`sentinel`] one with sentinels.
//! - [`tls`] makes certificates for them.
//! - [`resp`] is a small blocking client that shows what the server really holds.
//! - [`history`] checks what processes say they did with locks.
//! - [`process`] starts the test binary again as another process.
//! - [`jvm`] drives the real Redisson.
//! - [`proxy`] sits between a client and a server and breaks what a test tells it to break.
//! - [`dice`] makes random runs that can be had again.
//! - [`mod@polled`] gives a future up in the middle.
//! - [`wait`] waits for a condition instead of sleeping.

pub mod cluster;
pub mod dice;
pub mod finder;
pub mod frame;
pub mod hand_over;
pub mod history;
pub mod jvm;
pub mod polled;
pub mod process;
pub mod proxy;
pub mod replicated;
mod replication;
pub mod resp;
pub mod sentinel;
pub mod server;
pub mod tls;
pub mod wait;

pub use cluster::{Cluster, slot_of};
pub use dice::Dice;
pub use finder::{Flavor, ServerBinary};
pub use hand_over::hand_over_is_off;
pub use polled::polled;
pub use process::Process;
pub use proxy::{Action, MessageAction, MessageRule, Proxy, Rule, RuleHandle};
pub use replicated::Replicated;
pub use resp::{Direct, Value};
pub use sentinel::Sentinels;
pub use server::{Server, ShiftedClock, unique_name};
pub use tls::Certificates;
pub use wait::{NOTHING_LEFT, alive_tasks, eventually, eventually_async, settled_tasks};
