//! The laws of the lock, on a real server.

mod basics;
mod common;
