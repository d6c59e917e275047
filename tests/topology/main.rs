//! More than one server: clusters, sentinels and replicas, and what happens to locks when responsibility moves.

mod cluster;
mod common;
mod contention;
mod interop;
mod replication;
mod sentinel;
