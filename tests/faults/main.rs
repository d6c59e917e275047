//! What goes wrong, and what is left of it. Tests named `b<number>` hold the fault that `docs/guarantees.md` lists under the
//! same number.

mod bars;
mod cancel;
mod connections;
mod kit;
mod races;
mod refusals;
mod scale;
mod silence;
