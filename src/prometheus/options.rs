//! How a source is polled.

use crate::clock::Clock;

/// How to poll.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Slice length, seconds.
    pub resolution_s: i64,
    /// Time between polls, seconds; a multiple of `resolution_s`.
    pub poll_interval_s: i64,
    /// How far each read reaches behind the one before, seconds: samples that arrive late are still seen.
    pub overlap_s: i64,
    /// A request that answers with more raw series than this is summed by the server from then on.
    pub raw_series_max: usize,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Raw samples of the history of one SLO that are read by queries where there is no remote read.
    pub queried_samples_max: i64,
    /// The clock to hold the server's clock against; `None` when polls replay the past.
    pub clock: Option<Clock>,
}

impl Default for SourceOptions {
    fn default() -> Self {
        SourceOptions {
            resolution_s: 30,
            poll_interval_s: 30,
            overlap_s: 15,
            raw_series_max: 20_000,
            concurrency: 4,
            queried_samples_max: 2_000_000,
            clock: None,
        }
    }
}
