//! Rights, and what is told to whom: users with nothing to spare, and the self-test.

mod features;
mod kit;
mod self_test;
