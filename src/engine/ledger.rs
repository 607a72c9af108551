//! The ledger: all slices of all series, the only truth.
//!
//! Every number Slowburn prints is a function of it and the time asked for. It stores counts, never ratios: a mean of
//! ratios ignores traffic. What is not known of a slice is marked so, never counted as "no events".
//!
//! Deliberately absent: budgets and burn rates (`burn`), samples and increments (`query`).

mod cut;
mod evidence;
mod hours;
mod interval;
mod judge;
mod series;
mod sums;
mod tier;
mod undo;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::ops::{Bound, Sub};

use serde::{Deserialize, Serialize};

use super::{Labels, Slo};

pub use evidence::Test as Evidence;
pub use hours::HourRecord;
pub use interval::{BadBounds, End};
pub use series::SeriesLedger;
pub use tier::Slot;

/// Resolutions a ledger can have, seconds: slices must tile its 5-minute slots.
pub const RESOLUTIONS_S: [i64; 12] = [10, 12, 15, 20, 25, 30, 50, 60, 75, 100, 150, 300];
/// The longest step in which a slice can be remembered, seconds.
pub const STEP_MAX_S: i64 = 3600;
/// The resolution where nothing else is said, seconds.
pub const RESOLUTION_DEFAULT_S: i64 = 30;

/// What is known of a slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Coverage {
    /// Nothing said of it (yet): unknown, never "no events".
    #[default]
    Unknown,
    /// Samples bracket it, but some of its data is missing or was bridged across a hole.
    Partial,
    /// Samples bracket it closely.
    Known,
}

/// What one read adds to one slice of one series. Counts add up; coverage only ever improves from `Unknown`, and
/// `Partial` wins over `Known` (a slice of which part was bridged stays partial).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceDelta {
    /// Slice index: `floor(unix_seconds / resolution)`.
    pub slice: i64,
    /// Events gained in it.
    pub total: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// What this read knows of it.
    pub coverage: Coverage,
}

/// Sums over one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSum {
    /// Events.
    pub total: u64,
    /// Bad events.
    pub bad: u64,
    /// Slices judged (quantile SLIs): good, bad or undecided.
    pub judged: u64,
    /// Slices judged bad.
    pub judged_bad: u64,
    /// Judged slices of which the evidence says neither; they count as good.
    pub undecided: u64,
    /// Slices known or partial.
    pub known: u64,
    /// Slices partial.
    pub partial: u64,
    /// Slices the window spans. Like `known` and `partial` they are as long as they are read, also where several are
    /// judged as one.
    pub slices: u64,
}

impl Sub for WindowSum {
    type Output = WindowSum;

    /// Without a part of it.
    fn sub(self, part: WindowSum) -> WindowSum {
        WindowSum {
            total: self.total.saturating_sub(part.total),
            bad: self.bad.saturating_sub(part.bad),
            judged: self.judged.saturating_sub(part.judged),
            judged_bad: self.judged_bad.saturating_sub(part.judged_bad),
            undecided: self.undecided.saturating_sub(part.undecided),
            known: self.known.saturating_sub(part.known),
            partial: self.partial.saturating_sub(part.partial),
            slices: self.slices.saturating_sub(part.slices),
        }
    }
}

/// What became of the slices given to a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events that came too late for every tier.
    pub dropped: u64,
    /// Changes of slices that were already known when newer ones were: late samples, a corrected read.
    pub corrected: u64,
}

/// All series of all SLOs.
#[derive(Debug)]
pub struct Ledger {
    resolution_s: i64,
    /// Boxed: most SLOs have one series, and a map's node has room for eleven.
    series: BySlo,
    /// The ends of intervals, of interpolated SLOs only.
    ends: BySlo,
}

type BySlo = BTreeMap<String, OfSlo>;
type OfSlo = BTreeMap<Labels, Box<SeriesLedger>>;

/// Walks SLOs in id order, so that each is found where the one before it was, without a search.
#[derive(Debug)]
pub struct Walk<'a> {
    ledger: &'a Ledger,
    /// What comes after the last SLO that was asked for; `None` before the first.
    rest: Option<Peekable<btree_map::Range<'a, String, OfSlo>>>,
}

impl<'a> Walk<'a> {
    /// Every series of an SLO, in label order. SLOs are to be asked for in ascending order of their ids.
    pub fn of(&mut self, slo_id: &str) -> impl Iterator<Item = (&'a Labels, &'a SeriesLedger)> + use<'a> {
        let from = (Bound::Included(slo_id), Bound::Unbounded);
        let rest = self.rest.get_or_insert_with(|| self.ledger.series.range::<str, _>(from).peekable());
        while rest.next_if(|(id, _)| id.as_str() < slo_id).is_some() {}
        let of_slo = rest.next_if(|(id, _)| id.as_str() == slo_id).map(|(_, of_slo)| of_slo);
        of_slo.into_iter().flatten().map(|(labels, series)| (labels, series.as_ref()))
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger::new(RESOLUTION_DEFAULT_S)
    }
}

impl Ledger {
    /// An empty ledger.
    ///
    /// # Panics
    /// When `resolution_s` is not one of [`RESOLUTIONS_S`].
    pub fn new(resolution_s: i64) -> Self {
        assert!(RESOLUTIONS_S.contains(&resolution_s), "resolution {resolution_s}s does not tile 5 minutes");
        Ledger { resolution_s, series: BTreeMap::new(), ends: BTreeMap::new() }
    }

    /// Seconds in a slice.
    pub fn resolution_s(&self) -> i64 {
        self.resolution_s
    }

    /// The series `labels` of `slo`, made when it is new, with room for the SLO's longest window. A series whose unit
    /// or length of slices has changed begins anew: its slices were judged by another rule.
    ///
    /// # Panics
    /// When the SLO's own resolution is no multiple of the ledger's: `spec` refuses such SLOs.
    pub fn series_mut(&mut self, slo: &Slo, labels: &Labels) -> &mut SeriesLedger {
        let longest_s = slo.longest_s();
        let slice_s = slo.resolution_s.unwrap_or(self.resolution_s);
        let fresh = || Box::new(SeriesLedger::new(self.resolution_s, slo.unit, longest_s).judged_by(slice_s));
        let by_slo = if End::is_in(labels) { &mut self.ends } else { &mut self.series };
        if !by_slo.contains_key(&slo.id) {
            by_slo.insert(slo.id.clone(), BTreeMap::new());
        }
        let of_slo = by_slo.get_mut(&slo.id).expect("inserted just above");
        if of_slo.get(labels).is_none_or(|series| (series.unit, series.slice_s()) != (slo.unit, slice_s)) {
            of_slo.insert(labels.clone(), fresh());
        }
        let series = of_slo.get_mut(labels).expect("inserted just above");
        series.grow_to(longest_s);
        series
    }

    /// An empty series as `slo` keeps them.
    ///
    /// # Panics
    /// As [`Ledger::series_mut`].
    pub fn empty(&self, slo: &Slo) -> SeriesLedger {
        let slice_s = slo.resolution_s.unwrap_or(self.resolution_s);
        SeriesLedger::new(self.resolution_s, slo.unit, slo.longest_s()).judged_by(slice_s)
    }

    /// Puts a series back as it was kept, in place of one that is there.
    pub fn put_back(&mut self, slo_id: &str, labels: Labels, series: SeriesLedger) {
        let by_slo = if End::is_in(&labels) { &mut self.ends } else { &mut self.series };
        by_slo.entry(slo_id.to_owned()).or_default().insert(labels, Box::new(series));
    }

    /// The series `labels` of an SLO.
    pub fn get(&self, slo_id: &str, labels: &Labels) -> Option<&SeriesLedger> {
        let by_slo = if End::is_in(labels) { &self.ends } else { &self.series };
        by_slo.get(slo_id)?.get(labels).map(Box::as_ref)
    }

    /// The ends of the interval that the bad events of a series lie in; `None` where it is counted exactly.
    pub fn ends(&self, slo_id: &str, labels: &Labels) -> Option<[&SeriesLedger; 2]> {
        let of_slo = self.ends.get(slo_id)?;
        let [least, most] = End::BOTH.map(|end| of_slo.get(&end.labels(labels)));
        Some([least?, most?])
    }

    /// Every series of an SLO and the ends of every interval, under the labels they are kept under.
    pub fn kept(&self, slo_id: &str) -> impl Iterator<Item = (&Labels, &SeriesLedger)> {
        let ends = self.ends.get(slo_id).into_iter().flatten();
        self.of(slo_id).chain(ends.map(|(labels, series)| (labels, series.as_ref())))
    }

    /// Every series of an SLO, in label order.
    pub fn of(&self, slo_id: &str) -> impl Iterator<Item = (&Labels, &SeriesLedger)> {
        let of_slo = self.series.get(slo_id).into_iter().flatten();
        of_slo.map(|(labels, series)| (labels, series.as_ref()))
    }

    /// A walk over SLOs in id order.
    pub fn walk(&self) -> Walk<'_> {
        Walk { ledger: self, rest: None }
    }

    /// Forgets a series, and answers what it held.
    pub fn remove(&mut self, slo_id: &str, labels: &Labels) -> Option<SeriesLedger> {
        let by_slo = if End::is_in(labels) { &mut self.ends } else { &mut self.series };
        let of_slo = by_slo.get_mut(slo_id)?;
        let removed = of_slo.remove(labels);
        if of_slo.is_empty() {
            by_slo.remove(slo_id);
        }
        removed.map(|series| *series)
    }

    /// Keeps the `most` series of an SLO that have the newest slices, and the whole of a fan-out.
    pub fn keep_newest(&mut self, slo_id: &str, most: usize) {
        let Some(of_slo) = self.series.get_mut(slo_id).filter(|of_slo| of_slo.len() > most) else { return };
        let mut newest: Vec<Option<i64>> = of_slo.values().map(|series| series.newest()).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        let least = newest[most];
        of_slo.retain(|labels, series| labels.is_empty() || series.newest() > least);
        if let Some(ends) = self.ends.get_mut(slo_id) {
            ends.retain(|labels, _| of_slo.contains_key(&End::owner(labels)));
        }
    }

    /// Forgets every SLO that `keep` does not name.
    pub fn retain_slos(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.series.retain(|slo_id, _| keep(slo_id));
        self.ends.retain(|slo_id, _| keep(slo_id));
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.values().map(BTreeMap::len).sum()
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Memory of all series, bytes, without their names.
    pub fn bytes(&self) -> usize {
        let series = self.series.values().chain(self.ends.values()).flat_map(BTreeMap::values);
        series.map(|series| series.bytes()).sum()
    }
}
