//! What was booked of series that come on the slice grid. They have no cursors: a slice that is read again is compared
//! with what was booked of it, so it counts once, and what a first answer lacked is made up.

use std::collections::{BTreeMap, HashMap};

use super::{Cell, GridHarvest};
use crate::engine::{Labels, SliceDelta};
use crate::query::increment::SeriesDeltas;

/// Slices booked, by series.
#[derive(Debug, Default)]
pub struct GridBook {
    /// Slices remembered per series.
    depth: i64,
    series: HashMap<(usize, Labels), BookedRow>,
}

/// The newest slices of one series.
#[derive(Debug, Default)]
struct BookedRow {
    /// Slices up to here are done with.
    floor: i64,
    slices: BTreeMap<i64, BookedSlice>,
}

/// One slice.
#[derive(Debug, Clone, Copy, Default)]
struct BookedSlice {
    /// What was booked; `None` for a slice that no answer had a number for.
    booked: Option<Cell>,
    /// Rows it was made of, or `u32::MAX` when more will not come.
    rows: u32,
}

impl BookedRow {
    fn newest(&self) -> i64 {
        self.slices.iter().rev().find(|(_, slot)| slot.booked.is_some()).map_or(self.floor, |(&slice, _)| slice)
    }

    fn keep(&mut self, depth: i64) {
        let newest = self.slices.last_key_value().map_or(self.floor, |(&slice, _)| slice);
        self.floor = self.floor.max(newest - depth);
        self.slices = self.slices.split_off(&(self.floor + 1));
    }
}

impl GridBook {
    /// An empty book that can correct the newest `depth` slices of each series.
    pub fn new(depth: i64) -> Self {
        GridBook { depth, ..GridBook::default() }
    }

    /// Notes what a ledger holds of a series; `newest` is its newest slice, `slices` those it can still tell apart.
    pub fn note(&mut self, sli: usize, labels: &Labels, newest: i64, slices: impl Iterator<Item = SliceDelta>) {
        let mut booked = BookedRow { floor: newest - self.depth, ..BookedRow::default() };
        let of = slices.filter(|delta| delta.slice > booked.floor);
        // How many rows they were made of nobody knows any more: they are not asked for again.
        let slot = |delta: &SliceDelta| BookedSlice {
            booked: Some(Cell { total: delta.total, bad: delta.bad, rows: 0 }),
            rows: u32::MAX,
        };
        booked.slices = of.map(|delta| (delta.slice, slot(&delta))).collect();
        if booked.slices.is_empty() {
            booked.floor = newest;
        }
        self.series.insert((sli, labels.clone()), booked);
    }

    /// Books an answer; what is returned was not booked before. Slices up to `floor` are not taken.
    pub fn book(&mut self, harvest: GridHarvest, floor: i64) -> SeriesDeltas {
        let GridHarvest { sli, labels, slices, fault } = harvest;
        let mut deltas = Vec::new();
        if let (Some((&first, _)), true) = (slices.first_key_value(), self.depth > 0) {
            let fresh = || BookedRow { floor: floor.max(first - 1), ..BookedRow::default() };
            let booked = self.series.entry((sli, labels.clone())).or_insert_with(fresh);
            let floor = floor.max(booked.floor);
            for (slice, cell) in slices.into_iter().filter(|&(slice, _)| slice > floor) {
                let slot = booked.slices.entry(slice).or_default();
                let old = slot.booked.unwrap_or_default();
                if cell.total < old.total || cell.bad < old.bad {
                    continue;
                }
                let more = Cell { total: cell.total - old.total, bad: cell.bad - old.bad, rows: 0 };
                if slot.booked.is_none() || more != Cell::default() {
                    deltas.push(more.delta(slice));
                }
                *slot = BookedSlice { booked: Some(cell), rows: slot.rows.max(cell.rows) };
            }
            booked.keep(self.depth);
        }
        SeriesDeltas { sli, labels, deltas, fault, ..SeriesDeltas::default() }
    }

    /// The first slice before `asked` that should be read again: since then fewer rows answered than now.
    pub fn gap(&self, harvest: &GridHarvest, asked: i64) -> Option<i64> {
        let booked = self.series.get(&(harvest.sli, harvest.labels.clone()))?;
        let rows = harvest.slices.last_key_value()?.1.rows;
        let mut gap = None;
        for slice in (booked.floor + 1..asked).rev() {
            if booked.slices.get(&slice).is_some_and(|slot| slot.rows >= rows) {
                break;
            }
            gap = Some(slice);
        }
        gap
    }

    /// Whether an answer has rows of slices before `asked` that were not booked.
    pub fn lacks(&self, harvest: &GridHarvest, asked: i64) -> bool {
        let Some(booked) = self.series.get(&(harvest.sli, harvest.labels.clone())) else { return true };
        let rows = |slice: &i64| booked.slices.get(slice).map_or(0, |slot| slot.rows);
        harvest.slices.range(booked.floor + 1..asked.max(booked.floor + 1)).any(|(slice, cell)| cell.rows > rows(slice))
    }

    /// The slices in `[from, to)` were read again: what they lack now will not come.
    pub fn settle(&mut self, key: &(usize, Labels), from: i64, to: i64) {
        let Some(booked) = self.series.get_mut(key) else { return };
        for slice in from.max(booked.floor + 1)..to {
            booked.slices.entry(slice).or_default().rows = u32::MAX;
        }
    }

    /// Rows of the last answer that `slice` was made of.
    pub fn rows(&self, key: &(usize, Labels), slice: i64) -> usize {
        let slot = self.series.get(key).and_then(|booked| booked.slices.get(&slice)?.booked);
        slot.map_or(0, |cell| cell.rows as usize)
    }

    /// Whether a series is remembered.
    pub fn follows(&self, key: &(usize, Labels)) -> bool {
        self.series.contains_key(key)
    }

    /// The newest booked slice of every series.
    pub fn newest(&self) -> impl Iterator<Item = (&(usize, Labels), i64)> {
        self.series.iter().map(|(key, booked)| (key, booked.newest()))
    }

    /// Forgets series of which nothing since `slice` was booked, of SLIs that were `heard`.
    pub fn forget_silent(&mut self, slice: i64, heard: impl Fn(usize) -> bool) {
        self.series.retain(|&(sli, _), booked| booked.newest() >= slice || !heard(sli));
    }
}
