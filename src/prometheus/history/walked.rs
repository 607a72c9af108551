//! How far a reading of history has come.
//!
//! Deliberately absent: what was found on the way. That is `older`.

use std::collections::{BTreeMap, BTreeSet};

use crate::query::Tracker;
use crate::query::queue::QueueBook;

/// How far raw history was walked.
pub(super) struct Walked<'a> {
    pub tracker: Tracker,
    pub queues: &'a mut QueueBook,
    /// Jobs of the targets that were met.
    pub jobs: BTreeSet<String>,
    /// Since when each metric was met, seconds.
    pub met: BTreeMap<String, i64>,
    pub from_s: i64,
    /// Everything up to here is booked, seconds.
    pub at_s: i64,
    pub to_s: i64,
}
