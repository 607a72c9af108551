//! The interval that the bad events of an interpolated SLI lie in: a series of its own for each end.
//!
//! Kept as whole series beside the main one, under its labels and one more that no user can write, so that windows,
//! judged slices, the store and history are those of every series. Nobody who asks for the series of an SLO sees them.

use serde::{Deserialize, Serialize};

use crate::engine::Labels;

/// The label that tells the ends from the series they belong to.
const BAD: &str = "__bad__";

/// One end of the interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Bad events there are at least: those above the upper bound.
    Least,
    /// Bad events there are at most: those above the lower bound.
    Most,
}

impl End {
    /// Both ends.
    pub const BOTH: [End; 2] = [End::Least, End::Most];

    /// The labels that this end of the series `of` is kept under.
    pub fn labels(self, of: &Labels) -> Labels {
        let word = match self {
            End::Least => "least",
            End::Most => "most",
        };
        of.iter().chain([(BAD, word)]).collect()
    }

    /// Whether these are labels of an end.
    pub fn is_in(labels: &Labels) -> bool {
        labels.get(BAD).is_some()
    }

    /// The labels of the series that an end belongs to; those of a series are its own.
    pub fn owner(labels: &Labels) -> Labels {
        labels.iter().filter(|(name, _)| *name != BAD).collect()
    }
}

/// What the bad events (or judged slices) of a window are between, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadBounds {
    /// At least.
    pub least: u64,
    /// At most.
    pub most: u64,
}
