//! What the structures are made of that many threads touch. `tests/loom` builds the same structures with loom's in
//! their place.

pub(crate) use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

pub(crate) use tokio::sync::Notify;
