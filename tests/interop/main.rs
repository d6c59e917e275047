//! The same locks from both sides: this crate here, the real Redisson in a JVM there, one server between them.
//!
//! Without a JDK and Maven each test says so and passes; under `CI=true` it fails.

mod common;
mod contention;
mod fair;
mod fenced;
mod force;
mod group;
mod group_values;
mod handover;
mod inspection;
mod java;
mod kinds;
mod kinds_handover;
mod latch;
mod late;
mod lease;
mod multi;
mod names;
mod non_owner;
mod oracle;
mod permits;
mod prefix;
mod protocol;
mod read_write;
mod recorded;
mod red;
mod reentry;
mod renewal;
mod semaphore;
mod set_contention;
mod sets;
mod synchronizers;
mod wake;
mod worker;
