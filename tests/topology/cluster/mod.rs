//! Redis and Valkey clusters.

mod basics;
mod migration;
