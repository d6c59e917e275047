//! The command `redlatch`, as a shell sees it: the real binary, on real servers.
#![cfg(unix)]

mod doctor;
mod jvm;
mod kit;
mod looking;
mod lost;
mod many;
mod run;
mod secrets;
