//! The increments of one series while one read is walked, and their settling into whole events.

use crate::engine::status::DataReason;
use crate::engine::{Coverage, SliceDelta};

use super::Mark;
use super::delta::CounterDelta;
use super::pair::Count;
use crate::query::fetch::Role;

/// Slices that one read may span: a day of 10-second slices, three and a half of 30-second ones. Of a longer hole only
/// the newest slices are marked; the others stay unknown.
const SPAN_MAX: i64 = 10_000;
/// Exporters that do not read count and bucket at one moment are off by a few events, made up at the next scrape: this
/// share of the good events is carried on.
const UNEVEN: f64 = 0.01;
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
}

#[derive(Debug)]
pub(super) struct Accumulator {
    resolution_ms: i64,
    base: i64,
    cells: std::collections::VecDeque<Cell>,
    bad_part: bool,
    newest_ms: Option<i64>,
    fault: Option<DataReason>,
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
        }
    }

    /// Time of the newest sample of a total, milliseconds.
    pub fn newest_ms(&self) -> Option<i64> {
        self.newest_ms
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

    fn book_total(&mut self, gain: &CounterDelta) {
        if gain.not_a_number {
            return self.fault(DataReason::NotANumber);
        }
        let at = gain.at_ms.div_euclid(self.resolution_ms);
        self.newest_ms = self.newest_ms.max(Some(gain.at_ms));
        let moved = gain.events.whole > 0.0;
        let cell = self.cell(at);
        cell.total += gain.events.whole;
        cell.seen = true;
        cell.moved |= moved;
        cell.begins |= gain.from_ms.is_none() && !moved;
        self.cover(at, gain);
    }

    fn book_part(&mut self, role: Role, gain: &CounterDelta) {
        if gain.not_a_number {
            return self.fault(DataReason::NotANumber);
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

    /// Turns sums into whole events. Fractions (coarse sources, weighted counters) wait in `residual` for the next slice,
    /// so that sums stay right. A bad count above its total is booked as it is, marked and reported.
    pub fn settle(self, good_part: bool, residual: &mut (f64, f64)) -> (Vec<SliceDelta>, Option<DataReason>) {
        let mut fault = self.fault;
        let mut deltas = Vec::with_capacity(self.cells.len());
        let part: f64 = self.cells.iter().map(|cell| cell.part).sum();
        for (cell, slice) in self.cells.into_iter().zip(self.base..) {
            let bad = if good_part && !self.bad_part { cell.total - cell.part } else { cell.part };
            let total = whole(cell.total + residual.0, &mut residual.0);
            let bad = whole(bad + residual.1, &mut residual.1);
            let mut partial = cell.partial;
            if bad > total {
                partial = true;
                fault = fault.or(Some(DataReason::BadAboveTotal));
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
        if residual.1 < -(1.0 + UNEVEN * part) {
            // Far more good than total: the two selectors do not belong together. Say so, and do not carry a debt for ever.
            fault = fault.or(Some(DataReason::BadAboveTotal));
            residual.1 = 0.0;
        }
        (deltas, fault)
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
