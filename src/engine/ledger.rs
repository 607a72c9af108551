//! The ledger: all slices of all series, the only truth.

use serde::{Deserialize, Serialize};

/// What is known of a slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Coverage {
    /// Nothing said of it (yet): unknown, never "no events".
    #[default]
    Unknown,
    /// Samples bracket it, but some of its data is missing or was bridged across a hole.
    Partial,
    /// Samples bracket it closely.
    Known,
}

/// What one read adds to one slice of one series. Counts add up; coverage only ever improves from `Unknown`, and
/// `Partial` wins over `Known` (a slice of which part was bridged stays partial).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceDelta {
    /// Slice index: `floor(unix_seconds / resolution)`.
    pub slice: i64,
    /// Events gained in it.
    pub total: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// What this read knows of it.
    pub coverage: Coverage,
}

/// Sums over one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSum {
    /// Events.
    pub total: u64,
    /// Bad events.
    pub bad: u64,
    /// Slices judged good or bad (quantile SLIs).
    pub judged: u64,
    /// Slices judged bad.
    pub judged_bad: u64,
    /// Slices known or partial.
    pub known: u64,
    /// Slices partial.
    pub partial: u64,
    /// Slices the window spans.
    pub slices: u64,
}

/// All series of all SLOs.
#[derive(Debug, Default)]
pub struct Ledger {}
