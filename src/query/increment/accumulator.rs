//! The increments of one series while one read is walked, and their settling into whole events.

use std::collections::BTreeMap;

use crate::engine::status::DataReason;
use crate::engine::{Coverage, SliceDelta};

use super::cursors::{Feed, Kind};
use super::delta::CounterDelta;
use super::pair::Count;
use super::reason::Reason;
use super::{Mark, TrackedSeries, accumulator};
use crate::query::fanout::Fanout;
use crate::query::fetch::Role;

/// Slices that one read may span: a day of 10-second slices, three and a half of 30-second ones. Of a longer hole only
/// the newest slices are marked; the others stay unknown.
const SPAN_MAX: i64 = 10_000;
/// Exporters that do not read count and bucket at one moment are off by a few events, made up at the next scrape: this
/// share of the good events is carried on.
const UNEVEN: f64 = 0.01;
/// Bad events that were none are taken back from a slice no further back than so many scrapes.
const TAKEN_BACK_SCRAPES: i64 = 3;
/// Rounding noise of floating-point counters, events.
const NOISE: f64 = 1e-6;

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    total: f64,
    part: f64,
    known: bool,
    partial: bool,
    /// There was a sample in it, or an interval between two.
    seen: bool,
    /// A gain lies in an interval that touches it.
    moved: bool,
    /// A first sample in it only set a start.
    begins: bool,
    /// A value in it is no number, and none after it says what it was.
    spoilt: bool,
    /// A value in it is too large to count by ones.
    unusable: bool,
}

/// What became of the increments of one read.
#[derive(Debug)]
pub(super) struct Settled {
    pub deltas: Vec<SliceDelta>,
    pub fault: Option<DataReason>,
    /// Slices of earlier reads, and how many of their bad events were none.
    pub corrections: Vec<(i64, u64)>,
}

#[derive(Debug)]
pub(super) struct Accumulator {
    resolution_ms: i64,
    base: i64,
    cells: std::collections::VecDeque<Cell>,
    bad_part: bool,
    newest_ms: Option<i64>,
    fault: Option<DataReason>,
    /// First samples and new values that could not be placed.
    unplaced: Vec<(i64, Reason)>,
    /// Bad events by slice that newer reads booked, next to where older history joins on.
    newer: BTreeMap<i64, f64>,
}

impl Accumulator {
    pub fn new(resolution_ms: i64) -> Self {
        Accumulator {
            resolution_ms,
            base: 0,
            cells: std::collections::VecDeque::new(),
            bad_part: false,
            newest_ms: None,
            fault: None,
            unplaced: Vec::new(),
            newer: BTreeMap::new(),
        }
    }

    /// Time of the newest sample of a total, milliseconds.
    pub fn newest_ms(&self) -> Option<i64> {
        self.newest_ms
    }

    /// When something could not be placed, and why.
    pub fn unplaced(&self) -> &[(i64, Reason)] {
        &self.unplaced
    }

    /// Something is wrong with its data.
    pub fn fault(&mut self, fault: DataReason) {
        self.fault = Some(fault);
    }

    /// Books one gain of a series by itself.
    pub fn book(&mut self, role: Role, gain: &CounterDelta) {
        match role {
            Role::Total => self.book_total(gain),
            _ => self.book_part(role, gain),
        }
    }

    /// Books one gain of the count of a histogram, `good` events of which are good.
    pub fn book_of(&mut self, gain: &CounterDelta, good: f64) {
        self.book_total(gain);
        self.book_part(Role::Good, &CounterDelta { events: Count { whole: good, ..Count::default() }, ..*gain });
    }

    /// Newer reads booked `bad` events at `at_ms`; fewer where good ones came too early.
    pub fn booked_by_newer(&mut self, at_ms: i64, bad: f64) {
        *self.newer.entry(at_ms.div_euclid(self.resolution_ms)).or_default() += bad;
    }

    fn book_total(&mut self, gain: &CounterDelta) {
        if matches!(gain.why, Reason::NotANumber | Reason::TooLarge) {
            return self.no_number(gain);
        }
        let at = gain.at_ms.div_euclid(self.resolution_ms);
        self.newest_ms = self.newest_ms.max(Some(gain.at_ms));
        let moved = gain.events.whole > 0.0;
        let cell = self.cell(at);
        cell.total += gain.events.whole;
        cell.seen = true;
        cell.moved |= moved;
        self.cover(at, gain);
    }

    /// A value is no count. Where no later one bridges it, nothing is known from it on.
    fn no_number(&mut self, gain: &CounterDelta) {
        self.fault(DataReason::NotANumber);
        if !gain.hole {
            return;
        }
        let at = gain.at_ms.div_euclid(self.resolution_ms);
        let from = gain.from_ms.map_or(at, |from| from.div_euclid(self.resolution_ms));
        for slice in from.max(at - SPAN_MAX)..=at {
            let cell = self.cell(slice);
            (cell.spoilt, cell.unusable) = (true, cell.unusable || gain.why == Reason::TooLarge);
        }
    }

    /// A first sample at `at_ms` only set a start, or waits to be placed.
    pub fn begins(&mut self, at_ms: i64) {
        self.cell(at_ms.div_euclid(self.resolution_ms)).begins = true;
    }

    /// What a sample at `at_ms` is worth could not be decided: its slice may lack events.
    pub fn doubt(&mut self, at_ms: i64, why: Reason) {
        self.cell(at_ms.div_euclid(self.resolution_ms)).partial = true;
        self.unplaced.push((at_ms, why));
    }

    fn book_part(&mut self, role: Role, gain: &CounterDelta) {
        if matches!(gain.why, Reason::NotANumber | Reason::TooLarge) {
            return self.no_number(gain);
        }
        self.bad_part |= role == Role::Bad;
        self.cell(gain.at_ms.div_euclid(self.resolution_ms)).part += gain.events.whole;
    }

    fn cover(&mut self, at: i64, gain: &CounterDelta) {
        let Some(from_ms) = gain.from_ms else { return };
        let from = from_ms.div_euclid(self.resolution_ms).max(at - SPAN_MAX);
        for slice in from..=at {
            let cell = self.cell(slice);
            cell.seen = true;
            cell.moved |= gain.events.whole > 0.0;
        }
        if gain.hole {
            // The slice the hole begins in was known up to there; its end carries what the hole hid.
            for slice in from + 1..=at {
                self.cell(slice).partial = true;
            }
        } else {
            for slice in from..=at {
                self.cell(slice).known = true;
            }
        }
    }

    fn cell(&mut self, slice: i64) -> &mut Cell {
        if self.cells.is_empty() {
            self.base = slice;
        }
        while slice < self.base && self.cells.len() < SPAN_MAX as usize {
            self.cells.push_front(Cell::default());
            self.base -= 1;
        }
        let index = slice.saturating_sub(self.base).clamp(0, SPAN_MAX - 1) as usize;
        if index >= self.cells.len() {
            self.cells.resize(index + 1, Cell::default());
        }
        &mut self.cells[index]
    }

    /// The slices in which the total was there, and whether it may have moved in them.
    pub fn marks(&self) -> Vec<Mark> {
        let cells = self.cells.iter().zip(self.base..).filter(|(cell, _)| cell.seen);
        cells.map(|(cell, slice)| Mark { slice, moved: cell.moved, begins: cell.begins }).collect()
    }

    /// Turns sums into whole events. Fractions (coarse sources, weighted counters) wait in the residual of the series for
    /// the next slice, so that sums stay right. A slice has no fewer events than bad ones; where the two selectors say
    /// otherwise it is marked, and said.
    pub fn settle(self, good_part: bool, histogram: bool, series: &mut TrackedSeries) -> Settled {
        let mut fault = self.fault;
        let mut deltas: Vec<SliceDelta> = Vec::with_capacity(self.cells.len());
        let mut corrections: Vec<(i64, u64)> = Vec::new();
        let part: f64 = self.cells.iter().map(|cell| cell.part).sum();
        let good_part = good_part && !self.bad_part;
        let back = TAKEN_BACK_SCRAPES * series.interval_ms.unwrap_or(0) / self.resolution_ms + 1;
        for (cell, slice) in self.cells.into_iter().zip(self.base..) {
            if cell.unusable {
                continue;
            }
            let bad = if good_part { cell.total - cell.part } else { cell.part };
            let mut total = whole(cell.total + series.residual.0, &mut series.residual.0);
            let bad = whole(bad + series.residual.1, &mut series.residual.1);
            let mut partial = cell.partial;
            // Errors of a total that is no number are no count of errors.
            if cell.spoilt && bad > total {
                continue;
            }
            if bad > total {
                (total, partial) = (bad, true);
                fault = fault.or(Some(DataReason::BadAboveTotal));
            }
            if good_part && series.residual.1 <= -1.0 {
                // More good events than events: the bucket was read too early the scrape before, and made it up.
                let mut owed = (-series.residual.1).floor() as u64;
                for back in (slice - back..=slice).rev() {
                    let booked = series.newest_bad.iter_mut().rev().find(|(booked, _)| *booked == back);
                    if let Some((_, bad)) = booked.filter(|(_, bad)| owed > 0 && *bad > 0) {
                        let taken = owed.min(*bad);
                        (*bad, owed) = (*bad - taken, owed - taken);
                        series.residual.1 += taken as f64;
                        corrections.push((back, taken));
                    }
                    if let Some(delta) = deltas.iter_mut().rev().find(|delta| delta.slice == back) {
                        let taken = owed.min(delta.bad);
                        (delta.bad, owed) = (delta.bad - taken, owed - taken);
                        series.residual.1 += taken as f64;
                    }
                }
            }
            let coverage = match (partial, cell.known) {
                (true, _) => Coverage::Partial,
                (false, true) => Coverage::Known,
                (false, false) => Coverage::Unknown,
            };
            if total > 0 || bad > 0 || coverage != Coverage::Unknown {
                deltas.push(SliceDelta { slice, total, bad, coverage });
            }
        }
        if good_part && let Some(newest) = deltas.last().map(|delta| delta.slice) {
            for delta in &deltas {
                match series.newest_bad.iter_mut().find(|(slice, _)| *slice == delta.slice) {
                    Some((_, bad)) => *bad += delta.bad,
                    None => series.newest_bad.push((delta.slice, delta.bad)),
                }
            }
            series.newest_bad.retain(|&(slice, bad)| bad > 0 && slice > newest - back);
        }
        // What older history owes at its end is made up for by what was booked next to it.
        for (slice, bad) in self.newer.into_iter().filter(|_| good_part) {
            let taken = (-series.residual.1).floor().min(bad.floor()).max(0.0);
            series.residual.1 += taken;
            corrections.extend((taken > 0.0).then_some((slice, taken as u64)));
        }
        // Count and bucket of one histogram may be a scrape apart; other selectors may not.
        let uneven = if histogram { 1.0 } else { UNEVEN };
        if series.residual.1 < -(1.0 + uneven * part) {
            // Far more good than total: the two selectors do not belong together. Say so, and do not carry a debt for ever.
            fault = fault.or(Some(DataReason::BadAboveTotal));
            series.residual.1 = 0.0;
        }
        Settled { deltas, fault, corrections }
    }
}

/// The whole events in `sum`; what is left over (or owed) goes to `rest`.
fn whole(sum: f64, rest: &mut f64) -> u64 {
    let events = (sum + NOISE).floor().max(0.0);
    *rest = sum - events;
    if rest.abs() <= NOISE {
        *rest = 0.0;
    }
    events as u64
}

/// Books what a counter pair gained to the series that it feeds.
pub(super) fn book<'a>(
    fanout: &mut Fanout,
    series: &[TrackedSeries],
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
pub(super) fn bad_by(kind: Kind, role: Role, events: Count) -> f64 {
    match (kind, role) {
        (Kind::Own, Role::Total) => events.whole,
        (Kind::Own, _) => -events.whole,
        (_, role) => events.whole - good(role, events),
    }
}
