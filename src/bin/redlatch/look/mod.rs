//! What there is on the server: reads only.

pub(crate) mod detail;
pub(crate) mod find;
pub(crate) mod glob;
pub(crate) mod names;
pub(crate) mod thing;
