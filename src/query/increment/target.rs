//! A scraped target: since when it was seen, how often it is scraped, and which process answers.

use serde::{Deserialize, Serialize};

/// How many intervals are remembered: enough for a median that follows a changed setting within minutes.
const REMEMBERED: usize = 8;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Target {
    #[serde(skip)]
    pub key: u128,
    /// No label tells it from other targets: what it counts was summed over several.
    pub nameless: bool,
    pub first_ms: Option<i64>,
    pub last_ms: Option<i64>,
    /// When its counters began anew last, because its process did.
    pub restarted_ms: Option<i64>,
    /// Its newest process.
    pub process: Option<Known>,
    /// The newest intervals between scrapes, milliseconds, oldest first.
    pub intervals: Vec<i64>,
}

/// A process that answered for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The scrape that first showed it, milliseconds.
    pub seen_ms: i64,
    /// When it began, milliseconds.
    pub start_ms: i64,
    /// It was another one than before.
    pub new: bool,
}

/// What a process says of itself at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessMoment {
    pub at_ms: i64,
    pub start_ms: i64,
    /// It is another one than any before.
    pub new: bool,
}

impl Target {
    pub fn new(key: u128, nameless: bool) -> Self {
        Target { key, nameless, ..Target::default() }
    }

    /// Notes the scrapes of one read, in time order.
    pub fn note(&mut self, scrapes: &[i64]) {
        let Some((&first, &last)) = scrapes.first().zip(scrapes.last()) else { return };
        self.first_ms = Some(self.first_ms.map_or(first, |at| at.min(first)));
        self.intervals = self.newest_intervals(scrapes);
        self.last_ms = Some(self.last_ms.map_or(last, |at| at.max(last)));
    }

    /// The median interval, milliseconds; `None` before two scrapes were seen.
    pub fn interval_ms(&self) -> Option<i64> {
        median(&self.intervals)
    }

    /// Three of four intervals are no longer than this, including scrapes not noted yet; a single hole says nothing of it.
    pub fn beat_with(&self, scrapes: &[i64]) -> Option<i64> {
        let mut sorted = self.newest_intervals(scrapes);
        sorted.sort_unstable();
        sorted.get(3 * sorted.len().saturating_sub(1) / 4).copied()
    }

    /// The median interval including scrapes not noted yet.
    pub fn interval_with(&self, scrapes: &[i64]) -> Option<i64> {
        median(&self.newest_intervals(scrapes))
    }

    fn newest_intervals(&self, scrapes: &[i64]) -> Vec<i64> {
        let new = &scrapes[scrapes.partition_point(|&at| self.last_ms.is_some_and(|last| at <= last))..];
        let start = new.len().saturating_sub(REMEMBERED + 1);
        let mut intervals = self.intervals.clone();
        if start == 0
            && let Some((last, &first)) = self.last_ms.zip(new.first())
        {
            intervals.push(first - last);
        }
        intervals.extend(new[start..].windows(2).map(|pair| pair[1] - pair[0]));
        intervals.drain(..intervals.len().saturating_sub(REMEMBERED));
        intervals
    }
}

fn median(intervals: &[i64]) -> Option<i64> {
    let mut sorted = intervals.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}
