//! The laws of the lock, on a real server.

mod basics;
mod common;
mod fair;
mod laws;
mod owners;
mod settings;
mod waiting;
mod watchdog;
