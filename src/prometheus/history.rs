//! What happened before the daemon began to poll, and how it is read.
//!
//! `recent` reads the last hours, [`backfill`] what is older, and books it. [`remote_read`] brings raw samples as compressed chunks, which
//! [`chunk`] tells apart and decodes; where a server does not offer that, instant queries do for small SLOs (`raw`), and
//! range queries for the others, in `pieces` as long as it takes.
//!
//! Deliberately absent: when history is wanted (`app`), and what may be booked of it (`query::increment`).

pub mod backfill;
mod bits;
pub mod chunk;
pub mod extent;
mod older;
mod pieces;
mod raw;
mod recent;
pub mod remote_read;
pub(super) mod tiling;
mod walked;
pub mod wire;
mod xor;
mod xor2;
