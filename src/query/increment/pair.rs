//! What is walked with one cursor: a raw series, or the count of a histogram together with one or two of its buckets.
//!
//! They are walked as one, at the moments all have: a bucket that came late, was hidden or is no number can then
//! never make the events between look slow.

use std::collections::HashMap;
use std::iter::Peekable;
use std::slice::Iter;

use super::Tracker;
use super::cursors::Feed;
use crate::query::fetch::{Plan, Role};
use crate::query::samples::RawSeries;

/// A total waits this long for its part before it is booked without it, milliseconds.
const PAIR_WAIT_MS: i64 = 60_000;

/// The largest value at which a counter still counts single events; what is beyond it, negative or no number is no
/// count.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

/// Rounding noise of floating-point shares, events.
const NOISE: f64 = 1e-6;

/// What a cursor's series say at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Count {
    pub whole: f64,
    /// The bucket's count; 0 of a series by itself.
    pub part: f64,
    /// The count of the bucket below it, where a threshold lies between the two; else 0.
    pub lower: f64,
    /// Events that count as good where a threshold lies between the two: a whole number, and a function of the counts
    /// alone, so that who began to read earlier or later books the same; else `part`.
    pub good: f64,
}

impl Count {
    /// Both together.
    pub fn plus(self, other: Count) -> Count {
        Count {
            whole: self.whole + other.whole,
            part: self.part + other.part,
            lower: self.lower + other.lower,
            good: self.good + other.good,
        }
    }
}

/// One moment of a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub at_ms: i64,
    /// `None` where a value is no count.
    pub count: Option<Count>,
    /// ... because one is too large to count by ones.
    pub too_large: bool,
}

/// Samples to walk with one cursor.
#[derive(Debug, Clone, Copy)]
pub(super) struct CounterPair<'a> {
    /// Index of its cursor.
    pub id: u32,
    pub whole: &'a RawSeries,
    pub part: Option<&'a RawSeries>,
    pub lower: Option<&'a RawSeries>,
    /// Share of the events between the two buckets that counts as good.
    pub share: Option<f64>,
}

/// The value of a series at one of its moments; moments are asked for in time order.
fn value_at(samples: &mut Peekable<Iter<'_, (i64, f64)>>, at_ms: i64) -> Option<f64> {
    while samples.next_if(|&&(at, _)| at < at_ms).is_some() {}
    samples.next_if(|&&(at, _)| at == at_ms).map(|&(_, value)| value)
}

impl<'a> CounterPair<'a> {
    /// Its moments up to `until_ms`, in time order.
    pub fn points(&self, until_ms: i64) -> impl Iterator<Item = Point> + use<'a> {
        let [mut parts, mut lowers] =
            [self.part, self.lower].map(|raw| raw.map(|raw| raw.samples.as_slice().iter().peekable()));
        let share = self.share;
        let moments = self.whole.samples.as_slice().iter().take_while(move |&&(at, _)| at <= until_ms);
        moments.filter_map(move |&(at_ms, whole)| {
            let part = parts.as_mut().map_or(Some(0.0), |parts| value_at(parts, at_ms))?;
            let lower = lowers.as_mut().map_or(Some(0.0), |lowers| value_at(lowers, at_ms))?;
            let counts = |value: f64| (0.0..=COUNT_MAX).contains(&value);
            let all = counts(whole) && counts(part) && counts(lower);
            let good = share.map_or(part, |share| (lower + share * (part - lower) + NOISE).floor());
            let too_large = [whole, part, lower].iter().any(|&value| value.is_finite() && value > COUNT_MAX);
            Some(Point { at_ms, too_large, count: all.then_some(Count { whole, part, lower, good }) })
        })
    }
}

/// Whether the moments of a total and its part can be matched.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairLimit {
    pub limit_ms: i64,
    /// There is a total but no good part: nothing may be said (it would read as "all bad").
    pub widowed: bool,
}

impl Tracker {
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
