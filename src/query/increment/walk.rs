//! Walking one cursor over what was read of it, and booking what its counter gained.

use std::collections::{BTreeMap, HashMap};

use super::accumulator::{Accumulator, bad_by, book};
use super::births::{Birth, Waits};
use super::cursors::Feed;
use super::delta::{CounterDelta, Deltas, FirstSample};
use super::evidence::TargetEvidence;
use super::pair::CounterPair;
use super::reason::Reason;
use super::settling::distrust;
use super::{Read, ReadDeltas, Tracker, accumulator, note_doubt};
use crate::engine::status::DataReason;
use crate::query::fetch::{Plan, Role};

/// A total waits this long for its part before it is booked without it, milliseconds.
const PAIR_WAIT_MS: i64 = 60_000;

impl Tracker {
    /// Walks one pair from where its cursor stands.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn walk(
        &mut self,
        pair: &CounterPair<'_>,
        evidence: &TargetEvidence,
        waits: &HashMap<(u32, u32), PairLimit>,
        read: &Read<'_>,
        walked: &mut Vec<CounterDelta>,
        accumulators: &mut BTreeMap<u32, Accumulator>,
        births: &mut Vec<Birth>,
        found: &mut ReadDeltas,
    ) {
        let until_ms = read.until_ms;
        let raws = || [Some(pair.whole), pair.part, pair.lower].into_iter().flatten().map(|raw| raw.labels.key());
        let ours = |at_ms: i64, until_ms: Option<i64>| until_ms.is_none_or(|until_ms| at_ms <= until_ms);
        let join_ms = read.join.map(|join| join.until_ms(raws()));
        let doubt = self.doubts.remove(&pair.id).unwrap_or_default();
        let raw = &self.raws[pair.id as usize];
        let feeds = raw.feeds.as_deref().unwrap_or(&[]);
        let since = |feed: &Feed| self.since_ms.get(&self.series[feed.series as usize].sli).copied();
        let since_ms = feeds.iter().map(|feed| since(feed).unwrap_or(i64::MIN)).min().unwrap_or(i64::MIN);
        let wait_of = |feed: &Feed| waits.get(&(feed.series, raw.target));
        let limit_ms = feeds.iter().filter_map(wait_of).map(|wait| wait.limit_ms).min();
        let sli_of = |feed: &Feed| self.series[feed.series as usize].sli;
        // What a child cannot say of its events its whole cannot say either.
        let widowed: Vec<usize> =
            feeds.iter().filter(|feed| wait_of(feed).is_some_and(|wait| wait.widowed)).map(sli_of).collect();
        let last = raw.last;
        let from_ms = raw.ended_ms.map_or(since_ms, |ended_ms| since_ms.max(ended_ms + 1));
        let mut deltas =
            Deltas { tracker: self, evidence, raw, from_ms, last, doubt, first: None, flickers: Vec::new(), found };
        walked.clear();
        deltas.walk(pair, limit_ms.map_or(until_ms, |at| at.min(until_ms)), |delta| walked.push(delta));
        let Deltas { last, doubt, first, flickers, .. } = deltas;
        // Where values are no counts from before the seam on, what others count in those slices is not known either.
        let no_count = |delta: &CounterDelta| {
            matches!(delta.why, Reason::NotANumber | Reason::TooLarge)
                && delta.from_ms.is_some_and(|at| ours(at, join_ms))
        };
        for delta in walked.iter().filter(|delta| ours(delta.at_ms, join_ms) || no_count(delta)) {
            let there = |feed: &&Feed| !widowed.contains(&sli_of(feed));
            book(
                &mut self.fanout,
                &self.series,
                self.resolution_ms,
                raw.kind,
                feeds.iter().filter(there),
                delta,
                accumulators,
            );
            for feed in feeds.iter().filter(|feed| !there(feed)) {
                accumulator(feed.series, self.resolution_ms, accumulators).fault(DataReason::NoBucket);
            }
            if delta.why.is_doubt() {
                *found.reasons.entry(delta.why).or_default() += 1;
                note_doubt(feeds, self.resolution_ms, (delta.at_ms, delta.why), accumulators);
            }
            if let Some(tracing) = &mut self.tracing {
                tracing.note(raw.key, pair, delta);
            }
        }
        for delta in walked.iter().filter(|delta| !ours(delta.at_ms, join_ms) && !no_count(delta)) {
            for feed in feeds {
                let bad = bad_by(raw.kind, feed.role, delta.events);
                accumulator(feed.series, self.resolution_ms, accumulators).booked_by_newer(delta.at_ms, bad);
            }
        }
        if let Some(FirstSample { at_ms, count, start_ms }) = first.filter(|first| ours(first.at_ms, join_ms)) {
            births.push(Birth {
                key: raw.key,
                at_ms,
                count,
                since_ms,
                start_ms,
                waits: Waits::Nothing,
                beat_ms: 0,
                raws: raws().collect(),
            });
        }
        let nameless = self.targets[raw.target as usize].nameless;
        for (since_ms, at_ms) in flickers.into_iter().filter(|&(_, at_ms)| ours(at_ms, join_ms)) {
            let reason = if nameless { DataReason::CounterSummed } else { DataReason::CounterFlickers };
            for feed in feeds {
                distrust(self.uncountable.entry(feed.series).or_default(), since_ms, at_ms, reason);
            }
        }
        if !doubt.is_over(last.map_or(until_ms, |last| last.at_ms)) {
            self.doubts.insert(pair.id, doubt);
        }
        if let Some(FirstSample { at_ms, .. }) = first {
            for feed in feeds {
                let series = &mut self.series[feed.series as usize];
                series.first_ms = Some(series.first_ms.map_or(at_ms, |known| known.min(at_ms)));
            }
        }
        let seen_ms = pair.points(until_ms).last().map(|point| point.at_ms);
        let raw = &mut self.raws[pair.id as usize];
        raw.last = last;
        raw.seen_ms = raw.seen_ms.max(seen_ms);
    }

    /// Where total and part are different metrics: how far they may be walked, to the newest moment of a target that
    /// both have been seen at.
    pub(super) fn pair_limits(
        &self,
        plan: &Plan,
        pairs: &[CounterPair<'_>],
        until_ms: i64,
    ) -> HashMap<(u32, u32), PairLimit> {
        let mut newest: HashMap<(u32, u32), (Option<i64>, Option<i64>)> = HashMap::new();
        let mut newest_part: HashMap<u32, i64> = HashMap::new();
        for pair in pairs {
            let raw = &self.raws[pair.id as usize];
            for &Feed { series, role, .. } in raw.feeds.as_deref().unwrap_or(&[]) {
                let sli = &plan.slis[self.series[series as usize].sli];
                if sli.histogram || !sli.paired {
                    continue;
                }
                let Some(last) = pair.points(until_ms).last().map(|point| point.at_ms) else { continue };
                let entry = newest.entry((series, raw.target)).or_default();
                let side = if role == Role::Total { &mut entry.0 } else { &mut entry.1 };
                *side = Some(side.map_or(last, |at| at.max(last)));
                if role != Role::Total {
                    newest_part.entry(series).and_modify(|at| *at = last.max(*at)).or_insert(last);
                }
            }
        }
        type Newest = (Option<i64>, Option<i64>);
        let limit_of = |(&(series, target), &(total, part)): (&(u32, u32), &Newest)| {
            let sli = &plan.slis[self.series[series as usize].sli];
            let limit_ms = match (total, part) {
                (Some(total), Some(part)) if (total - part).abs() <= PAIR_WAIT_MS => total.min(part),
                _ => i64::MAX,
            };
            let alone = |total| newest_part.get(&series).is_none_or(|&part| total - part > PAIR_WAIT_MS);
            ((series, target), PairLimit { limit_ms, widowed: sli.good_part && total.is_some_and(alone) })
        };
        newest.iter().map(limit_of).collect()
    }
}

/// Whether the moments of a total and its part can be matched.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairLimit {
    pub limit_ms: i64,
    /// There is a total but no good part: nothing may be said (it would read as "all bad").
    pub widowed: bool,
}
