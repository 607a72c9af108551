//! Where reading stands: the cursors, and where older history joins on.
//!
//! Deliberately absent: what of it survives a restart. That is `saved`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::ended::LabelHash;
use super::pair::Count;
use crate::query::fetch::Role;

/// Where one pair was read to.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub key: u128,
    pub target: u32,
    /// Which series it feeds; `None` after a restart until its labels are seen again.
    pub feeds: Option<Box<[Feed]>>,
    pub last: Option<Last>,
    /// Another series goes on from it: what it said up to then is that one's past.
    pub ended_ms: Option<i64>,
    /// Another series may have taken its place: it has ended if its next sample is later than this.
    pub gone_after_ms: Option<i64>,
    /// It has, and this is what it said last.
    pub gone: Option<Box<Asleep>>,
    /// Time of the newest sample in any answer, whatever it said.
    pub seen_ms: Option<i64>,
    /// What is walked.
    pub kind: Kind,
    /// Its labels, hashed, to tell what a series goes on from; `None` after a restart until its first read.
    pub labels: Option<Box<[LabelHash]>>,
}

/// What is walked with one cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// A series by itself.
    Own,
    /// The count of a histogram and one of its buckets.
    Pair,
    /// The count of a histogram and the buckets on both sides of a threshold.
    Between,
}

impl Kind {
    /// Raw series beside the first.
    pub fn more(self) -> usize {
        match self {
            Kind::Own => 0,
            Kind::Pair => 1,
            Kind::Between => 2,
        }
    }
}

impl Raw {
    /// One of which nothing is known yet.
    pub fn new(key: u128, target: u32) -> Self {
        Raw {
            key,
            target,
            feeds: None,
            last: None,
            ended_ms: None,
            gone_after_ms: None,
            gone: None,
            seen_ms: None,
            kind: Kind::Own,
            labels: None,
        }
    }

    /// Ends it: should it come back, it begins anew.
    pub fn end(&mut self) {
        self.ended_ms = self.ended_ms.max(self.last.take().map(|last| last.at_ms));
        self.gone_after_ms = None;
    }

    pub fn series(&self) -> impl Iterator<Item = u32> + '_ {
        self.feeds.iter().flatten().map(|feed| feed.series)
    }
}

/// A series that a raw series counts for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feed {
    pub series: u32,
    pub role: Role,
    /// The child of a fan-out that it is booked for.
    pub child: Option<u128>,
    /// How fast the total of its SLI grows on the target.
    pub pace: u32,
    /// It is the one by which the raw series moves that pace.
    pub leads: bool,
}

/// The last count that was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Last {
    pub at_ms: i64,
    pub count: Count,
}

/// Most last values of silent raw series that are kept; the oldest go first. One takes 64 bytes, so all of them 16 MB.
const ASLEEP_MAX: usize = 250_000;

/// The last value of a raw series that has been silent for long. Narrow, for there may be many.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Asleep {
    pub at_ms: i64,
    count: [f64; 4],
}

impl Asleep {
    pub fn of(last: Last) -> Self {
        let Count { whole, part, lower, good } = last.count;
        Asleep { at_ms: last.at_ms, count: [whole, part, lower, good] }
    }

    pub fn last(self) -> Last {
        let [whole, part, lower, good] = self.count;
        Last { at_ms: self.at_ms, count: Count { whole, part, lower, good } }
    }
}

/// Drops what is older than `oldest_ms`, and the oldest of too many.
pub(super) fn bound(asleep: &mut HashMap<u128, Asleep>, oldest_ms: i64) {
    asleep.retain(|_, silent| silent.at_ms >= oldest_ms);
    if asleep.len() > ASLEEP_MAX {
        let mut times: Vec<i64> = asleep.values().map(|silent| silent.at_ms).collect();
        let (_, &mut newest_of_old, _) = times.select_nth_unstable(asleep.len() - ASLEEP_MAX);
        asleep.retain(|_, silent| silent.at_ms > newest_of_old);
    }
}

/// Raw series whose first sample only set their start, and when that was.
#[derive(Debug, Clone, Default)]
pub struct Starts(pub(super) HashMap<u128, i64>);

/// Where reading older history ends: it books what the newer reads could not, and nothing that they booked.
#[derive(Debug, Clone, Copy)]
pub struct Join<'a> {
    /// Where the newer reads began.
    pub starts: &'a Starts,
    /// Older history ends here, milliseconds; what lies before is its own, also where it was decided on later.
    pub ends_ms: i64,
}

impl Join<'_> {
    /// Up to when increments of a counter that is made of these raw series are booked, milliseconds.
    pub(super) fn until_ms(&self, raws: impl Iterator<Item = u128>) -> i64 {
        let starts = raws.filter_map(|raw| self.starts.0.get(&raw).copied());
        starts.fold(self.ends_ms, i64::max)
    }

    /// The newest sample it can have to do with, milliseconds.
    pub fn newest_ms(&self) -> i64 {
        self.starts.0.values().copied().fold(self.ends_ms, i64::max)
    }
}
