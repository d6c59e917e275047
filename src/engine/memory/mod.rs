//! A server in memory and the connections to it, without a socket: what the simulation runs against, and the fake server of
//! the test kit.
//!
//! ```text
//! engine ─► link (a client's connection) ─► hub ─► server        simulation: a network of its own before the server
//!                                            └ faults
//! ```

mod faults;
mod hub;
mod link;
pub(crate) mod server;
mod wire;

pub use self::faults::{Failure, RequestKind};
#[cfg(test)]
pub(crate) use self::link::{NODE, REPLY};
pub(crate) use self::{hub::Hub, link::Link};
