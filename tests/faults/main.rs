//! What goes wrong, and what is left of it. Tests named `b<number>` hold a bar that the reliability notes in
//! `docs/guarantees.md` state by the same number.

mod bars;
mod cancel;
mod connections;
mod kit;
mod races;
mod refusals;
mod scale;
mod silence;
