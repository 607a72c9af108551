//! What counters really gained in a window, by how a server could have seen it: steps between two scrapes, first
//! samples of new series, and steps over a hole in the scrapes.
//!
//! `rate` and `increase` see the first kind (and extrapolate it), never the second, and the third only where their window
//! reaches over the hole. Pure. The rules of steps and falls are those of [`crate::query::increment`]; deliberately
//! absent: slices, because here only the sums of one window are wanted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::query::promql::{Counts, Selectors};
use crate::query::{RawLabels, RawSeries, Selector};

/// A step over more than so many usual intervals is a step over a hole.
const HOLE_INTERVALS: f64 = 2.5;
/// So many intervals say what is usual.
const INTERVALS: usize = 1000;

/// Bad events and all events.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Events {
    /// Bad ones.
    pub bad: f64,
    /// All.
    pub total: f64,
}

impl Events {
    /// Both together.
    pub fn and(self, other: Events) -> Events {
        Events { bad: self.bad + other.bad, total: self.total + other.total }
    }

    /// Share of bad ones; `None` without events.
    pub fn ratio(self) -> Option<f64> {
        (self.total > 0.0).then(|| self.bad / self.total)
    }
}

/// What was gained in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gains {
    /// Between two scrapes.
    pub seen: Events,
    /// First samples of series that appeared on a target that was being scraped.
    pub born: Events,
    /// How many such series there were.
    pub born_series: usize,
    /// Over holes in the scrapes.
    pub holes: Events,
    /// How many holes there were, over all targets.
    pub hole_count: usize,
    /// The longest, seconds.
    pub hole_longest_s: i64,
}

/// How one step came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Seen,
    Born,
    Hole,
}

/// A walk over raw samples, span by span in time order.
pub struct Walk<'a> {
    total: Selector,
    part: Selector,
    counts: Counts,
    target_labels: &'a [String],
    from_ms: i64,
    intervals: Vec<i64>,
    usual_ms: Option<i64>,
    last: BTreeMap<RawLabels, (i64, f64)>,
    targets: HashMap<Vec<String>, i64>,
    /// By selector (total, part) and kind.
    sums: [[f64; 3]; 2],
    born_series: usize,
    holes: BTreeSet<(Vec<String>, i64)>,
    hole_longest_ms: i64,
}

impl<'a> Walk<'a> {
    /// A walk that counts from `from_ms` on; samples up to there only say where series stood.
    ///
    /// # Errors
    /// A selector that cannot be read.
    pub fn new(selectors: &Selectors, target_labels: &'a [String], from_ms: i64) -> Result<Self, String> {
        Ok(Walk {
            total: Selector::parse(&selectors.total)?,
            part: Selector::parse(&selectors.part)?,
            counts: selectors.counts,
            target_labels,
            from_ms,
            intervals: Vec::new(),
            usual_ms: None,
            last: BTreeMap::new(),
            targets: HashMap::new(),
            sums: [[0.0; 3]; 2],
            born_series: 0,
            holes: BTreeSet::new(),
            hole_longest_ms: 0,
        })
    }

    /// What has to be read: one selector where it holds the other.
    pub fn selectors(&self) -> Vec<Selector> {
        match self.total.contains(&self.part) {
            true => vec![self.total.clone()],
            false => vec![self.total.clone(), self.part.clone()],
        }
    }

    /// The samples of one span.
    pub fn take(&mut self, series: &[RawSeries]) {
        let all: Vec<(&RawSeries, Vec<String>)> = series.iter().map(|one| (one, self.target(one))).collect();
        for (one, target) in &all {
            if let Some((at_ms, _)) = one.samples.iter().next() {
                let first = self.targets.entry(target.clone()).or_insert(at_ms);
                *first = at_ms.min(*first);
            }
            if self.intervals.len() < INTERVALS {
                self.intervals.extend(one.samples.as_slice().windows(2).map(|pair| pair[1].0 - pair[0].0));
            }
        }
        self.intervals.sort_unstable();
        self.usual_ms = self.intervals.get(self.intervals.len() / 2).copied();
        for (one, target) in all {
            self.walk(one, &target);
        }
    }

    fn target(&self, series: &RawSeries) -> Vec<String> {
        self.target_labels.iter().map(|name| series.label(name).to_owned()).collect()
    }

    fn walk(&mut self, series: &RawSeries, target: &[String]) {
        let fits = |selector: &Selector| {
            selector.metric == series.label("__name__") && selector.matches(|name| series.label(name))
        };
        let feeds = [fits(&self.total), fits(&self.part)];
        let known_since = self.targets.get(target).copied().unwrap_or(i64::MAX);
        let mut last = self.last.get(&series.labels).copied();
        for (at_ms, value) in series.samples.iter() {
            if !value.is_finite() || value < 0.0 || last.is_some_and(|(was_ms, _)| at_ms <= was_ms) {
                continue;
            }
            let step = match last {
                None if known_since < at_ms => Some((value, Kind::Born)),
                None => None,
                Some((was_ms, before)) => {
                    let over_hole = self
                        .usual_ms
                        .is_some_and(|usual_ms| (at_ms - was_ms) as f64 > HOLE_INTERVALS * usual_ms as f64);
                    let kind = if over_hole { Kind::Hole } else { Kind::Seen };
                    match value - before {
                        rise if rise >= 0.0 => Some((rise, kind)),
                        // A small fall is a glitch: the old value stands until it is passed again.
                        _ if value > before * 0.875 => continue,
                        _ => Some((value, kind)),
                    }
                }
            };
            if let Some((gain, kind)) = step.filter(|_| at_ms > self.from_ms) {
                self.book(feeds, gain, kind, target, at_ms, last);
            }
            last = Some((at_ms, value));
        }
        if let Some(last) = last {
            self.last.insert(series.labels.clone(), last);
        }
    }

    fn book(
        &mut self,
        feeds: [bool; 2],
        gain: f64,
        kind: Kind,
        target: &[String],
        at_ms: i64,
        last: Option<(i64, f64)>,
    ) {
        for (sums, fed) in self.sums.iter_mut().zip(feeds) {
            if fed {
                sums[kind as usize] += gain;
            }
        }
        match (kind, last) {
            (Kind::Born, _) => self.born_series += usize::from(gain > 0.0),
            (Kind::Hole, Some((was_ms, _))) => {
                self.holes.insert((target.to_vec(), at_ms));
                self.hole_longest_ms = self.hole_longest_ms.max(at_ms - was_ms);
            }
            _ => {}
        }
    }

    /// The sums.
    pub fn gains(&self) -> Gains {
        let of = |kind: Kind| {
            let (total, part) = (self.sums[0][kind as usize], self.sums[1][kind as usize]);
            match self.counts {
                Counts::Bad => Events { bad: part, total },
                Counts::Good => Events { bad: total - part, total },
                Counts::BadBeside => Events { bad: part, total: total + part },
            }
        };
        Gains {
            seen: of(Kind::Seen),
            born: of(Kind::Born),
            born_series: self.born_series,
            holes: of(Kind::Hole),
            hole_count: self.holes.len(),
            hole_longest_s: self.hole_longest_ms / 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Samples;

    fn raw(instance: &str, code: &str, samples: &[(i64, f64)]) -> RawSeries {
        let labels = [("__name__", "m"), ("code", code), ("instance", instance), ("job", "j")];
        RawSeries {
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            samples: Samples::new(samples.iter().map(|(at_s, value)| (at_s * 1000, *value)).collect()),
        }
    }

    fn gains(from_s: i64, spans: &[&[RawSeries]]) -> Gains {
        let selectors = Selectors { total: "m".into(), part: "m{code=~\"5..\"}".into(), counts: Counts::Bad };
        let labels = ["instance".to_owned(), "job".to_owned()];
        let mut walk = Walk::new(&selectors, &labels, from_s * 1000).expect("selectors");
        assert_eq!(walk.selectors().len(), 1, "the part lies in the total");
        spans.iter().for_each(|span| walk.take(span));
        walk.gains()
    }

    #[test]
    fn a_first_sample_counts_where_its_target_was_scraped_before() {
        let steady: Vec<(i64, f64)> = (0..10).map(|n| (n * 30, 100.0 + n as f64)).collect();
        let found = gains(
            0,
            &[&[raw("a", "200", &steady), raw("a", "500", &[(120, 3.0), (150, 4.0)]), raw("b", "500", &[(120, 7.0)])]],
        );
        assert_eq!(found.born, Events { bad: 3.0, total: 3.0 }, "b is a target that nobody saw before");
        assert_eq!((found.born_series, found.seen), (1, Events { bad: 1.0, total: 10.0 }));
    }

    #[test]
    fn holes_resets_and_glitches_are_told_apart() {
        let samples = [(0, 100.0), (30, 110.0), (60, 109.0), (90, 111.0), (120, 5.0), (720, 25.0), (750, 26.0)];
        let found = gains(0, &[&[raw("a", "200", &samples)]]);
        assert_eq!(found.seen.total, 10.0 + 1.0 + 5.0 + 1.0);
        assert_eq!((found.holes.total, found.hole_count, found.hole_longest_s), (20.0, 1, 600));
        assert_eq!(found.born, Events::default());
    }

    #[test]
    fn spans_join_and_what_lies_before_only_sets_the_start() {
        let first = [raw("a", "500", &[(0, 50.0), (30, 60.0), (60, 70.0)])];
        let second = [raw("a", "500", &[(60, 70.0), (90, 80.0), (120, f64::NAN), (150, 100.0)])];
        let found = gains(45, &[&first, &second]);
        assert_eq!(found.seen, Events { bad: 40.0, total: 40.0 });
    }
}
