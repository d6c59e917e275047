//! Redis and Valkey clusters.

mod aftermath;
mod basics;
mod down;
mod failover;
mod migration;
mod objects;
mod pubsub;
mod renewal;
