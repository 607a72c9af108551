//! Reading Prometheus: transport, decoding, and the source that turns polls into slices.
//!
//! prometheus-http-query builds and sends the requests; the answers are read by [`answer`], because the crate drops
//! `warnings` (a partial Thanos answer would look complete), fails whole answers on one native histogram and has no
//! bound on their size.

pub mod answer;
pub mod client;
pub mod fault;
mod group;
mod health;
pub mod history;
pub mod lookback;
pub mod source;
mod split;
pub mod survey;
pub mod workloads;

pub use client::{Client, ClientOptions};
pub use fault::Fault;
pub use history::{backfill, remote_read};
pub use source::{Poll, Source, SourceOptions};
