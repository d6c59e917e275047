//! The laws of the lock, on a real server.

mod basics;
mod common;
mod crowds;
mod fair;
mod fair_hand_over;
mod fenced;
mod group;
mod hand_over;
mod handles;
mod laws;
mod multi;
mod multi_faults;
mod owners;
mod read_write;
mod settings;
mod spin;
mod waiting;
mod watchdog;
