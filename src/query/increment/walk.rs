//! Walking one cursor over what was read of it, and booking what its counter gained.

use std::collections::{BTreeMap, HashMap};

use super::accumulator::Accumulator;
use super::births::{Birth, Waits};
use super::cursors::{Feed, Kind};
use super::delta::{CounterDelta, Deltas, FirstSample};
use super::evidence::Evidence;
use super::pair::{Count, CounterPair, PairLimit};
use super::reason::Reason;
use super::settling::distrust;
use super::{Read, ReadDeltas, Series, Tracker, accumulator, note_doubt};
use crate::engine::status::DataReason;
use crate::query::fanout::Fanout;
use crate::query::fetch::Role;
use crate::query::samples::key_of;

impl Tracker {
    /// Walks one pair from where its cursor stands.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn walk(
        &mut self,
        pair: &CounterPair<'_>,
        evidence: &Evidence,
        waits: &HashMap<(u32, u32), PairLimit>,
        read: &Read<'_>,
        walked: &mut Vec<CounterDelta>,
        accumulators: &mut BTreeMap<u32, Accumulator>,
        births: &mut Vec<Birth>,
        found: &mut ReadDeltas,
    ) {
        let until_ms = read.until_ms;
        let raws = || [Some(pair.whole), pair.part, pair.lower].into_iter().flatten().map(|raw| key_of(&raw.labels));
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
        let mut deltas =
            Deltas { tracker: self, evidence, raw, since_ms, last, doubt, first: None, flickers: Vec::new(), found };
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
}

/// Books what a counter pair gained to the series that it feeds.
pub(super) fn book<'a>(
    fanout: &mut Fanout,
    series: &[Series],
    resolution_ms: i64,
    kind: Kind,
    feeds: impl Iterator<Item = &'a Feed>,
    delta: &CounterDelta,
    accumulators: &mut BTreeMap<u32, Accumulator>,
) {
    for feed in feeds {
        let accumulator = accumulator(feed.series, resolution_ms, accumulators);
        match kind {
            Kind::Own => accumulator.book(feed.role, delta),
            _ => accumulator.book_of(delta, good(feed.role, delta.events)),
        }
        if let Some(child) = feed.child.filter(|_| kind != Kind::Own || feed.role == Role::Total) {
            fanout.note(series[feed.series as usize].sli, child, delta.events.whole, delta.at_ms);
        }
    }
}

/// How many of these events of a histogram are good to the series that plays `role`.
fn good(role: Role, events: Count) -> f64 {
    match role {
        Role::Upper => events.good,
        Role::Lower => events.lower,
        _ => events.part,
    }
}

/// How many of these events are bad, where the other ones are counted.
fn bad_by(kind: Kind, role: Role, events: Count) -> f64 {
    match (kind, role) {
        (Kind::Own, Role::Total) => events.whole,
        (Kind::Own, _) => -events.whole,
        (_, role) => events.whole - good(role, events),
    }
}
