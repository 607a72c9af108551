//! What one poll brought.

use super::fault::Fault;
use crate::engine::status::DataReason;
use crate::query::Harvest;
use crate::query::increment::SeriesHarvest;

/// One poll's result.
#[derive(Debug, Default)]
pub struct Poll {
    /// What each series gained.
    pub series: Vec<SeriesHarvest>,
    /// Requests sent.
    pub requests: usize,
    /// Raw samples in the answers.
    pub samples: usize,
    /// Bytes of the answers.
    pub bytes: usize,
    /// Requests that failed, with why.
    pub faults: Vec<(String, Fault)>,
    /// Requests whose answers were not wholly good, with why.
    pub doubts: Vec<(String, DataReason)>,
    /// Counter falls taken for restarts, and for glitches.
    pub resets: u64,
    /// See `resets`.
    pub glitches: u64,
}

impl Poll {
    /// Takes what reading counters found.
    pub(super) fn take(&mut self, harvest: Harvest) {
        self.series.extend(harvest.series);
        self.resets += harvest.resets;
        self.glitches += harvest.glitches;
    }
}
