//! What goes wrong, and what is left of it. Tests named `b<number>` hold the fault that `docs/faults.md` lists under the
//! same number.

mod bars;
mod cancel;
mod clock;
mod connections;
mod costs;
mod crowd;
mod documents;
mod drops;
mod flood;
mod gathered;
mod hand_over;
mod kit;
mod nonsense;
mod races;
mod refusals;
mod scale;
mod set_under_lock;
mod silence;
