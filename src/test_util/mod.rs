//! For the tests of an application: what does it do when it waits for a lock, when it loses one, when the server is away?
//!
//! | | [`FakeServer`] | [`TestServer`] |
//! |---|---|---|
//! | what it is | a server in memory, beneath the same client | a `valkey-server` or `redis-server` of the test's own |
//! | where it runs | anywhere: no process, no socket | where a binary is installed |
//! | time | the runtime's own, so `tokio::time::pause` makes leases pass in no time | real |
//! | what it knows | plain, non-reentrant, spin and fenced locks, multi-locks of them, fenced cells, semaphores, latches | everything |
//! | faults | all below | a lock lost, connections cut, silence |
//!
//! What the fake does not know (fair, read/write and group locks, semaphores with permit ids) it refuses with
//! [`Refusal::Unsupported`](crate::Refusal::Unsupported), and does nothing. What it does know is compared with a real server,
//! script by script and sequence by sequence. It is one server: no cluster, no sentinel, no replica.
//!
//! Everything above the connection is the library as it is in production: waiting, renewing, finding out about lost replies,
//! telling a holder that its lock is lost. So the faults are those of production too:
//!
//! | fault | what it stands for |
//! |---|---|
//! | [`lose_lock_now`](FakeServer::lose_lock_now) | the key was deleted by hand, evicted, or forgotten in a failover |
//! | [`take_over`](FakeServer::take_over) | the same, and somebody else has taken the lock since |
//! | [`lose_all_data`](FakeServer::lose_all_data) | the server restarted without its data, or was flushed |
//! | [`drop_next_wake_up`](FakeServer::drop_next_wake_up) | a message got lost: the server drops those of a slow receiver, a network those of a dying connection |
//! | [`cut_connections`](FakeServer::cut_connections) | a proxy or the server closed all connections, with answers on their way |
//! | [`partition`](FakeServer::partition) | one client cannot reach the server, while others can |
//! | [`silence`](FakeServer::silence) | the server is stopped, swaps, or hangs in a long command; packets are dropped |
//! | [`fail_next`](FakeServer::fail_next) | one request or its answer got lost, or the server refused it |
//!
//! # Examples
//!
//! What was protected by a lock stops when the lock is lost:
//!
//! ```
//! use redlatch::{Error, LossCause, test_util::FakeServer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> redlatch::Result<()> {
//! let server = FakeServer::new();
//! let client = server.client()?;
//! let guard = client.lock("orders:42").lock().await?;
//!
//! assert!(server.lose_lock_now("orders:42"));
//! // Would take for ever; the watchdog finds out at its next renewal, which by a paused clock is at once.
//! let outcome = guard.run(std::future::pending::<()>()).await;
//! assert!(matches!(outcome, Err(Error::Lost { cause: LossCause::Vanished, .. })));
//! # Ok(())
//! # }
//! ```
//!
//! *Redisson*: none; its own tests start containers.

mod fake;
mod server;

pub use self::{
    fake::FakeServer,
    server::{StartError, TestServer},
};
pub use crate::engine::memory::{Failure, RequestKind};
