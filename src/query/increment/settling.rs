//! What a read gave each series, once all of it was walked: sums, faults, and what is taken back of a series that flickers.

use std::collections::BTreeMap;

use super::accumulator::{Accumulator, Settled};
use super::doubt::Uncountable;
use super::{ReadDeltas, SeriesDeltas, Tracker, accumulator};
use crate::engine::status::DataReason;
use crate::query::fetch::{Plan, Sli};

/// Where several processes answer in turn the time before it showed is not trusted either, milliseconds.
const DISTRUSTED_MS: i64 = 3_600_000;

impl Tracker {
    pub(super) fn settle(
        &mut self,
        plan: &Plan,
        mut accumulators: BTreeMap<u32, Accumulator>,
        until_ms: i64,
        found: &mut ReadDeltas,
    ) {
        // What was booked of a series before it showed that it flickers is taken back though it says nothing now.
        for (&id, spans) in &self.uncountable {
            if spans.iter().any(|span| !span.said) {
                accumulator(id, self.resolution_ms, &mut accumulators);
            }
        }
        let slice_of = |at_ms: i64| at_ms.div_euclid(self.resolution_ms);
        for (id, accumulator) in accumulators {
            let series = &mut self.series[id as usize];
            series.newest_ms = series.newest_ms.max(accumulator.newest_ms());
            accumulator.unplaced().iter().for_each(|&(at_ms, why)| series.unplaced.note(at_ms, why));
            let Sli { good_part, histogram, queue, .. } = plan.slis[series.sli];
            let mut marks = if queue.is_some() { accumulator.marks() } else { Vec::new() };
            let Settled { mut deltas, mut fault, corrections } = accumulator.settle(good_part, histogram, series);
            let mut void = None;
            if let Some(spans) = self.uncountable.get_mut(&id) {
                let new = spans.iter().filter(|span| !span.said).map(|span| slice_of(span.since_ms));
                void = new.min().map(|from| (from, slice_of(until_ms) + 1));
                for span in &mut *spans {
                    let (from, to) = (slice_of(span.since_ms), slice_of(span.until_ms));
                    deltas.retain(|delta| !(from..=to).contains(&delta.slice));
                    marks.retain(|mark| !(from..=to).contains(&mark.slice));
                    span.said = true;
                    if span.until_ms >= until_ms.min(series.newest_ms.unwrap_or(until_ms)) {
                        fault = Some(span.reason);
                    }
                }
                if let Some((_, to)) = &mut void {
                    // What comes after the last of them is known again, and is booked below.
                    *to = spans.iter().map(|span| slice_of(span.until_ms) + 1).max().map_or(*to, |end| end.min(*to));
                }
            }
            let (sli, labels) = (series.sli, series.labels.clone());
            found.series.push(SeriesDeltas { sli, labels, deltas, void, corrections, fault, marks });
        }
        let old_ms = until_ms.saturating_sub(2 * DISTRUSTED_MS);
        self.uncountable.retain(|_, spans| {
            spans.retain(|span| span.until_ms >= old_ms);
            !spans.is_empty()
        });
        found.series.sort_by(|a, b| (a.sli, &a.labels).cmp(&(b.sli, &b.labels)));
    }
}

/// Nothing is known from an hour before a counter fell until an hour after: who answers in turn did so before it showed.
pub(super) fn distrust(spans: &mut Vec<Uncountable>, since_ms: i64, at_ms: i64, reason: DataReason) {
    let until_ms = at_ms + DISTRUSTED_MS;
    match spans.last_mut().filter(|span| since_ms <= span.until_ms) {
        Some(span) => span.until_ms = span.until_ms.max(until_ms),
        None => spans.push(Uncountable { since_ms: since_ms - DISTRUSTED_MS, until_ms, reason, said: false }),
    }
}
