//! Rights, and what is told to whom: users with nothing to spare, the self-test, passwords.

mod cluster;
mod features;
mod kit;
mod plaintext;
mod scripts;
mod secrets;
mod self_test;
mod tenants;
