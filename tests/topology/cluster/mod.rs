//! Redis and Valkey clusters.

mod basics;
