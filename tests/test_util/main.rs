//! The test kit: that the server in memory answers as a real one does, that faults do what they say, and that nothing is left
//! running.

mod conformance;
mod faults;
mod orders;
mod processes;
mod rig;
mod sequences;
mod unknown;
