//! Distributed locks on Redis and Valkey, the way Redisson takes them, byte for byte: a Rust service and a JVM service
//! can hold, wait for and hand over the same lock.
//!
//! ```no_run
//! # async fn example() -> redlatch::Result<()> {
//! use std::time::Duration;
//! use redlatch::Client;
//!
//! let client = Client::connect("redis://127.0.0.1:6379").await?;
//! let lock = client.lock("orders:42");
//!
//! let guard = lock.lock().wait(Duration::from_secs(2)).await?;
//! let sold = guard.run(async { /* read, think, write */ 1 }).await?; // stops when the lock is lost
//! guard.unlock().await?;
//! # let _ = sold;
//! # Ok(())
//! # }
//! ```
//!
//! # Which lock
//!
//! | for | take |
//! |---|---|
//! | one at a time | [`Client::lock`] |
//! | in the order in which they came, over all processes | [`Client::fair_lock`] |
//! | many readers or one writer | [`Client::read_write_lock`] |
//! | work that must be right even if its holder is stopped for too long | [`Client::fenced_lock`], with [`fencing`] |
//! | very short holds on very many names | [`Client::spin_lock`] |
//! | an owner that must not enter twice | [`Client::non_reentrant_lock`], [`Client::non_reentrant_fair_lock`] |
//! | several locks at once, of any kind and client | [`MultiLock::new`] |
//! | a lock that outlives the loss of a server | [`MultiLock::majority`] |
//! | many values of one group at once | [`Client::group_lock`] |
//! | a number of holders at a time | [`Client::semaphore`], [`Client::expirable_semaphore`] |
//! | waiting until others are done | [`Client::count_down_latch`] |
//! | one process that leads while the others know who | [`Client::election`] |
//! | a job that runs once a period, whoever starts it | [`Client::once_per`] |
//!
//! Use one kind of lock for a name. Plain, fair, fenced, spin and non-reentrant locks of one name do exclude each other, but
//! do not all wake each other, and a plain one comes in before a fair queue.
//!
//! # Which surface
//!
//! [`Client::lock`] gives a [`Lock`], whose [`LockGuard`] holds the lock: for everything new. [`Client::rlock`] gives a
//! [`RawLock`] with Redisson's own verbs, where the current task holds the lock: for ports, and for holds that no
//! scope of the program matches.
//!
//! # What it promises
//!
//! Two holders at once are impossible for as long as the server keeps its data and time passes at the same speed for it
//! and for us. Where that cannot be had (a failover, a flush, a process stopped for longer than its lease), the holder is
//! told: see [`LockGuard::lost`]. No lock on one server can promise more.
//!
//! # Features
//!
//! All are off by default, and add to what there is.
//!
//! - `blocking`: `redlatch::blocking`, the same locks for programs without an async runtime.
//! - `metrics`: durations, holds, waiters, losses and wake-ups, by the `metrics` facade. [Names and units][operations].
//! - `tracing`: spans of acquires, releases and requests, and what [`Client::events`] tells, by the `tracing` crate.
//! - `tls-rustls`: `rediss://` addresses, and `Tls` for what the system's authorities do not cover.
//! - `test-util`: `test_util`, for the tests of an application: a real server of their own or one in memory, and faults on
//!   request. Meant for `[dev-dependencies]`.
//! - `cli`: the command `redlatch`, for shells and operators; nothing for programs.
//!
//! [operations]: https://docs.rs/crate/redlatch/latest/source/docs/operations.md

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod access;
mod address;
mod backoff;
#[cfg(feature = "blocking")]
pub mod blocking;
mod client;
mod config;
mod connect;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod console;
mod coordination;
pub mod election;
mod engine;
mod error;
mod events;
pub mod fencing;
mod inspect;
mod limits;
mod lock;
mod naming;
mod owner;
mod runtime;
mod schedule;
mod stats;
mod telemetry;
#[cfg(feature = "test-util")]
pub mod test_util;
#[cfg(feature = "tls-rustls")]
mod tls;

pub use fred;

pub use crate::{
    access::Secret,
    backoff::BackOff,
    client::{Client, ClientBuilder},
    config::{Protocol, Replicas, ShardedPubSub},
    coordination::{
        AcquireExpirable, AcquirePermits, CountDownLatch, ExpirablePermit, ExpirableSemaphore,
        PermitId, Semaphore, SemaphorePermit, WaitForLatch,
    },
    election::{Campaign, Election, Leader, Leadership, Observe},
    engine::close::{CloseReport, Unreleased},
    error::{Error, LossCause, Refusal, Result},
    events::{Event, Events},
    inspect::{Holder, Inspection},
    lock::{
        Acquire, AcquireMulti, AnyLock, Fair, Fenced, FencingToken, Group, GroupValue, HoldState,
        Kind, Lock, LockGuard, MultiGuard, MultiLock, NonReentrant, NonReentrantFair, RawLock,
        RawMultiLock, Read, ReadWriteLock, Reentrant, Spin, Write,
    },
    owner::Owner,
    schedule::{Outcome, Schedule},
    stats::Stats,
};

#[cfg(feature = "tls-rustls")]
pub use crate::tls::Tls;

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the operations guide, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/operations.md")]
struct Operations;

/// The examples of the guide to testing, compiled and run.
#[cfg(all(doctest, feature = "test-util"))]
#[doc = include_str!("../docs/testing.md")]
struct Testing;
