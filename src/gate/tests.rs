//! Tests of the gate as a whole: every cell of its lattice, the threats it stands against, and history decided again.

mod acts;
pub(crate) mod cases;
mod claims;
mod edges;
mod lattice;
mod lessons;
mod people;
mod reasons;
pub(crate) mod replay;
pub(crate) mod stage;
mod strictness;
mod threats;
