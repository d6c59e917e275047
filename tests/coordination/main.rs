//! Semaphores and latches: their laws, and what is left of them when something goes wrong.

mod cancel;
mod concurrency;
mod faults;
mod kit;
mod latch;
mod leases;
mod outages;
mod permits;
mod refusals;
mod semaphore;
