//! The library's own structures, built from the same files, with loom's atomics and a `Notify` over loom's locks: the
//! tests beside run them under every order that the memory model allows.

// The structures' own tests run where they live, also where somebody asks for the tests of all libraries.
#![cfg(not(test))]
// What the tests do not call.
#![allow(dead_code)]
// The files say `pub(crate)` where the library ends at them.
#![allow(missing_docs)]

#[path = "../../../src/engine/bell.rs"]
mod bell;
#[path = "../../../src/engine/hearing.rs"]
mod hearing;
#[path = "../../../src/engine/hold.rs"]
mod hold;
mod notify;
pub mod orders;
#[path = "../../../src/engine/queue.rs"]
mod queue;

mod sync {
    pub(crate) use loom::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    };

    pub(crate) use crate::notify::Notify;
}

mod error {
    /// Why a hold is lost; the library has more of them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum LossCause {
        Unreachable,
        LeaseExpired,
    }
}
