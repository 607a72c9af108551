//! Reading Prometheus: transport, decoding, and the source that turns polls into slices.
//!
//! prometheus-http-query builds and sends the requests; the answers are read by [`answer`], because the crate drops
//! `warnings` (a partial Thanos answer would look complete), fails whole answers on one native histogram and has no
//! bound on their size.

pub mod answer;
mod booking;
pub mod client;
pub mod fault;
mod group;
mod groups;
mod health;
pub mod history;
pub mod lookback;
pub mod nodes;
pub mod options;
pub mod poll;
pub mod position;
mod reader;
pub mod source;
mod span;
pub mod survey;
pub mod workloads;

pub use client::{Client, ClientOptions};
pub use fault::Fault;
pub use health::SeriesHealth;
pub use history::{backfill, remote_read};
pub use options::SourceOptions;
pub use poll::Poll;
pub use position::Position;
pub use source::Source;
