//! The JVM side of the interop tests: builds the Redisson driver of `tests/interop/driver` and runs
//! it.
//!
//! Everything here blocks; async tests call it from a thread or through `spawn_blocking`.
//!
//! ```no_run
//! use redlatch_support::jvm::{self, Jvm, JvmOptions};
//!
//! let Some(driver) = jvm::jvm_or_skip("my_test") else { return };
//! let jvm = Jvm::start(driver, &JvmOptions::single("127.0.0.1:6379"));
//! jvm.call("w1", "lock", &["lock", "orders"]).unwrap();
//! let refused = jvm.call("w2", "unlock", &["lock", "orders"]).unwrap_err();
//! assert_eq!(refused.class, "IllegalMonitorStateException");
//! ```
//!
//! Operations (arguments in order, results in brackets). `K` is a lock kind: `lock`, `fair`,
//! `spin`, `fenced`, `read`, `write`, `nonreentrant`, `nonreentrantfair`; `N` is the lock's name;
//! times are milliseconds. Three kinds are made of parts, the lines of `N`: `group` (the group, then
//! the values: `s:` and a string, `i:` and an int, `l:` and a long), `multi` (names, in the order in
//! which they are taken) and `red` (one name, on the first server and all those of
//! [`JvmOptions::also`]).
//!
//! * `lock K N`, `lockint K N` (interruptible), `lockfor K N lease`
//! * `trylock K N` \[bool\], `trylockfor K N wait lease` \[bool\], lease `-1` = kept alive by the
//!   watchdog
//! * `unlock K N`, `forceunlock K N` \[bool\]
//! * `islocked K N`, `isheld K N`, `isheldby K N threadid` \[bool\], `holdcount K N`, `ttl K N`
//!   \[number\]
//! * of a fenced lock \[number\]: `locktoken K N`, `gettoken K N`, `trylocktoken K N` (Redisson waits here), `trylocktoken
//!   K N wait lease` (nothing when it is busy)
//! * `threadid` \[number\], `interrupt worker` \[did the worker exist\]
//! * `contend K N counterkey duration threads think` \[cycles\], with one [`Interval`] for each
//!   critical section; with a seventh argument `goeson` a failed cycle does not end it
//! * `record process seed duration threads watchdog K:N...`, with the line of a [`History`](crate::history::History) for
//!   each operation; of a read/write lock `readwrite:N`
//!
//! Semaphores, `N` first:
//!
//! * `sacquire N n`, `stryacquire N n` \[bool\], `stryacquirefor N n wait` \[bool\]
//! * `srelease N n`, `sreleaseifexists N n` \[bool\], `sadd N n`, `sdrain N 0` \[number\]
//! * `stryset N n`, `strysetfor N n ttl` \[bool\], `savailable N` \[number\], `sdelete N` \[bool\]
//!
//! Semaphores with permit ids, which are joined by commas; lease `-1` = none:
//!
//! * `pacquire N n lease` \[ids\], `ptryacquire N n wait lease` \[ids, or nothing\]
//! * `prelease N id`, `ptryrelease N id` \[bool\], `preleaseall N ids`, `ptryreleaseall N ids` \[number\]
//! * `pavailable N`, `pacquired N`, `ppermits N` \[number\]
//! * `ptryset N n` \[bool\], `pset N n`, `padd N n`, `pdelete N` \[bool\]
//! * `pupdatelease N id lease` \[bool\], `pleasetime N id` \[number\]
//!
//! Latches:
//!
//! * `ltryset N n` \[bool\], `lcountdown N`, `lcount N` \[number\], `lawait N`, `lawaitfor N wait` \[bool\],
//!   `ldelete N` \[bool\]

mod answer;
mod build;
mod options;
mod process;
mod shared;
mod thread;
mod token;
mod tools;

pub use answer::{Interval, JvmError, Pending, Reply};
pub use build::{DriverJar, driver, jvm_or_skip};
pub use options::{JvmMode, JvmOptions, JvmSharding};
pub use process::Jvm;
pub use thread::{Answer, JvmThread, answer, follow};
pub use tools::{JvmTools, availability};
