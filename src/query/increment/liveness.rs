//! What is followed, and how lately it answered.

use std::collections::BTreeMap;

use super::Tracker;
use super::cursors::Raw;
use crate::engine::Labels;

/// Without a known scrape interval a raw series is live this long after a sample, milliseconds.
const LIVE_MS: i64 = 60_000;

/// The liveness of one series: what its data state is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Liveness {
    /// Time of the newest sample that says something of the total, milliseconds.
    pub newest_ms: Option<i64>,
    /// Raw series (of a histogram, counts with their bucket) that answered recently.
    pub live: usize,
    /// Scrape interval as observed, milliseconds.
    pub interval_ms: Option<i64>,
}

impl Tracker {
    /// How many raw series are followed.
    pub fn raw_series(&self) -> usize {
        self.raws.iter().map(|raw| 1 + raw.kind.more()).sum()
    }

    /// How many raw series feed each of the first `slis` SLIs.
    pub fn raw_series_of_slis(&self, slis: usize) -> Vec<usize> {
        self.per_sli(slis, self.raws.iter())
    }

    /// How many raw series of each of the first `slis` SLIs answered within `back_ms` before `now_ms`.
    pub fn live_of_slis(&self, slis: usize, now_ms: i64, back_ms: i64) -> Vec<usize> {
        let live = self.raws.iter().filter(|raw| raw.seen_ms.is_some_and(|at| at > now_ms - back_ms));
        self.per_sli(slis, live)
    }

    fn per_sli<'a>(&'a self, slis: usize, raws: impl Iterator<Item = &'a Raw>) -> Vec<usize> {
        let mut counts = vec![0; slis];
        for raw in raws {
            let mut fed: Vec<usize> = raw.series().map(|series| self.series[series as usize].sli).collect();
            fed.dedup();
            for sli in fed {
                counts[sli] += 1 + raw.kind.more();
            }
        }
        counts
    }

    /// The usual scrape interval of the targets of each of the first `slis` SLIs as observed, milliseconds.
    pub fn intervals_ms(&self, slis: usize) -> Vec<Option<i64>> {
        let mut intervals = vec![None; slis];
        for series in &self.series {
            intervals[series.sli] = intervals[series.sli].max(series.interval_ms);
        }
        intervals
    }

    /// Liveness of every series seen so far, in (SLI, labels) order. A raw series is live until two scrapes of its
    /// target, and two polls, have gone by without a sample of it.
    pub fn liveness(&self, now_ms: i64, poll_ms: i64) -> BTreeMap<(usize, &Labels), Liveness> {
        let mut live = vec![0usize; self.series.len()];
        for raw in &self.raws {
            let patience_ms = self.targets[raw.target as usize].interval_ms().unwrap_or(LIVE_MS).max(poll_ms) * 2;
            if raw.seen_ms.is_some_and(|at| at > now_ms - patience_ms) {
                raw.series().for_each(|series| live[series as usize] += 1);
            }
        }
        self.series
            .iter()
            .zip(live)
            .map(|(series, live)| {
                let liveness = Liveness { newest_ms: series.newest_ms, live, interval_ms: series.interval_ms };
                ((series.sli, &series.labels), liveness)
            })
            .collect()
    }
}
