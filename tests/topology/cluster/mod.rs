//! Redis and Valkey clusters.

mod aftermath;
mod basics;
mod failover;
mod migration;
mod pubsub;
mod renewal;
