//! What programs build on locks: leader election, and jobs that run once a period.

mod beside_redisson;
mod election;
mod election_faults;
mod kit;
mod schedule;
mod schedule_faults;
