//! What is written down of every change of a counter while somebody asks what a count is made of, so that he can redo
//! it by hand. Nothing of it is kept otherwise.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::cursors::Raw;
use super::delta::CounterDelta;
use super::pair::{Count, CounterPair};
use super::reason::Reason;

/// Changes written down at most; what comes after is counted only.
const TRACED_MAX: usize = 1_000_000;

/// One change of one raw series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Traced {
    /// Time of the sample before, milliseconds; `None` where it counts from nothing, or where there is none.
    pub from_ms: Option<i64>,
    /// Time of the sample.
    pub at_ms: i64,
    /// What the counter said; `None` where it is no count.
    pub value: Option<f64>,
    /// What its bucket said; of histograms only.
    pub good_value: Option<f64>,
    /// Events booked.
    pub events: f64,
    /// Of a histogram, how many of them were good.
    pub good: Option<f64>,
    /// Why.
    pub why: Reason,
}

/// The labels of a raw series, and its changes in the order they were found.
type TracedSeries = (Vec<(String, String)>, Vec<Traced>);

/// What was written down, by raw series.
#[derive(Debug, Clone, Default)]
pub struct Tracing {
    /// The SLIs that are asked about.
    slis: BTreeSet<usize>,
    /// Labels of each raw series (of a histogram those of its count), and its changes in the order they were found.
    series: BTreeMap<u128, TracedSeries>,
    written: usize,
    /// Changes that were not written down.
    pub left_out: usize,
}

impl Tracing {
    pub(super) fn of(slis: BTreeSet<usize>) -> Self {
        Tracing { slis, ..Tracing::default() }
    }

    /// Labels and changes of each raw series.
    pub fn series(&self) -> impl Iterator<Item = (&[(String, String)], &[Traced])> {
        self.series.values().map(|(labels, changes)| (labels.as_slice(), changes.as_slice()))
    }

    /// Meets the raw series of a read, each with the SLIs that it feeds.
    pub(super) fn meet(&mut self, pairs: &[CounterPair<'_>], raws: &[Raw], sli_of: impl Fn(u32) -> usize) {
        for pair in pairs {
            let raw = &raws[pair.id as usize];
            if !raw.series().any(|series| self.slis.contains(&sli_of(series))) {
                continue;
            }
            let key = raw.key;
            self.series.entry(key).or_insert_with(|| (pair.whole.labels.to_vec(), Vec::new()));
        }
    }

    pub(super) fn note(&mut self, key: u128, pair: &CounterPair<'_>, delta: &CounterDelta) {
        // First samples are written down when they are placed.
        if delta.why == Reason::First {
            return;
        }
        let count = pair.points(delta.at_ms).last().filter(|point| point.at_ms == delta.at_ms);
        self.push(key, count.and_then(|point| point.count), pair.part.is_some(), delta);
    }

    pub(super) fn place(&mut self, key: u128, count: Count, delta: &CounterDelta) {
        self.push(key, Some(count), count.part > 0.0, delta);
    }

    fn push(&mut self, key: u128, count: Option<Count>, histogram: bool, delta: &CounterDelta) {
        let Some((_, changes)) = self.series.get_mut(&key) else { return };
        if self.written == TRACED_MAX {
            self.left_out += 1;
            return;
        }
        self.written += 1;
        let CounterDelta { from_ms, at_ms, events, why, .. } = *delta;
        let good = |count: Count| histogram.then_some(count.good);
        changes.push(Traced {
            from_ms,
            at_ms,
            value: count.map(|count| count.whole),
            good_value: count.and_then(good),
            events: events.whole,
            good: good(events),
            why,
        });
    }
}
