//! What a backfill found, and how far back it goes for each SLI.

use std::collections::{BTreeMap, BTreeSet};

use super::pieces::Pieced;
use crate::engine::Ledger;
use crate::prometheus::fault::Fault;
use crate::query::increment::{Remembered, SeriesDeltas};
use crate::query::{Fetch, RawSeries};

/// What a backfill found.
#[derive(Debug)]
pub struct Older {
    /// Everything up to where the polls began.
    pub ledger: Ledger,
    /// The increments between the last old sample and the first new one; they belong to the newer ledger.
    pub joined: Vec<SeriesDeltas>,
    /// Requests it took.
    pub requests: usize,
    /// Samples in the answers.
    pub samples: usize,
    /// Bytes of the answers.
    pub bytes: usize,
    /// SLIs whose history is not whole, by index into the plan.
    pub short: BTreeMap<usize, Short>,
    /// SLIs that were counted by range queries, by index into the plan.
    pub approximate: BTreeSet<usize>,
    /// Raw samples that queries brought, or were expected to.
    pub queried: usize,
    /// What whoever reads on has to know of the counters.
    pub remembered: Remembered,
}

/// A history that could not be read as far back as it was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// What is newer than this was read, seconds; `None` where nothing was.
    pub since_s: Option<i64>,
    /// Why not what is older.
    pub fault: Fault,
}

impl Older {
    pub(super) fn new(resolution_s: i64) -> Self {
        Older {
            ledger: Ledger::new(resolution_s),
            joined: Vec::new(),
            requests: 0,
            samples: 0,
            bytes: 0,
            short: BTreeMap::new(),
            approximate: BTreeSet::new(),
            queried: 0,
            remembered: Remembered::default(),
        }
    }

    /// Counts an answer and hands out its series, and from where on they are there.
    pub(super) fn take(&mut self, read: Pieced) -> (Vec<RawSeries>, Option<(i64, Fault)>) {
        self.requests += read.requests;
        self.samples += samples(&read.series);
        self.bytes += read.bytes;
        (read.series, read.since)
    }

    /// Takes note that SLIs were not read before `since_s`, or not at all.
    pub(super) fn fall_short(&mut self, slis: &BTreeSet<usize>, since_s: Option<i64>, fault: &Fault) {
        for &sli in slis {
            let short = Short { since_s, fault: fault.clone() };
            let known = self.short.entry(sli).or_insert_with(|| short.clone());
            // Nothing is less than anything.
            known.since_s = known.since_s.zip(since_s).map(|(a, b)| a.max(b));
        }
    }
}

/// The SLIs of requests.
pub(super) fn slis_of(fetches: &[&Fetch]) -> BTreeSet<usize> {
    fetches.iter().flat_map(|fetch| fetch.slis.iter().copied()).collect()
}

/// Samples in these series.
pub(super) fn samples(series: &[RawSeries]) -> usize {
    series.iter().map(|series| series.samples.len()).sum()
}
