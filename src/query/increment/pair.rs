//! What is walked with one cursor: a raw series, or the count of a histogram together with one or two of its buckets.
//!
//! They are walked as one, at the moments all have: a bucket that came late, was hidden or is no number can then
//! never make the events between look slow.

use std::iter::Peekable;
use std::slice::Iter;

use crate::query::samples::RawSeries;

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
pub(super) struct PairPoint {
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
    pub fn points(&self, until_ms: i64) -> impl Iterator<Item = PairPoint> + use<'a> {
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
            Some(PairPoint { at_ms, too_large, count: all.then_some(Count { whole, part, lower, good }) })
        })
    }
}
