//! Reading Prometheus: transport, decoding, and the source that turns polls into slices.
//!
//! prometheus-http-query builds and sends the requests; the answers are read by [`answer`], because the crate drops
//! `warnings` (a partial Thanos answer would look complete), fails whole answers on one native histogram and has no
//! bound on their size.

pub mod answer;
pub mod backfill;
pub mod client;
pub mod fault;
mod group;
mod health;
pub mod lookback;
pub mod remote_read;
pub mod source;
mod split;
pub mod survey;
pub mod workloads;
pub mod xor;

pub use client::{Client, ClientOptions};
pub use fault::Fault;
pub use source::{Poll, Source, SourceOptions};
