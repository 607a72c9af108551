//! What a series of an SLO looked like over a range of time: counts, burn rates with their limits, budget left, point by
//! point, from the ledger.
//!
//! **Edges.** Points end on the grid of the step, so that the same hour is the same point whoever asks, and the first and
//! the last point are as long as the range leaves them. Their counts add up to those of the range: nothing lies between
//! two points or in both.
//!
//! **What a point says** is what an evaluation at its end would have said from the slices as they stand today: late
//! samples, exclusions and what was counted again since are in it.
//!
//! **What is not known** has no count. A point of which no slice is known, or which somebody decided not to count, has
//! neither events nor a ratio; it is not one without events.
//!
//! Deliberately absent: what else happened (changes, decisions, alerts). Whoever shows the range lays it beside.

use std::sync::Arc;

use serde::Serialize;

use super::budget::Budget;
use super::exclusion::Cuts;
use super::ledger::SeriesLedger;
use super::slo::{Slo, Speed};
use super::window::{Reading, Window};
use super::{Labels, Seconds};

/// Most points of one range: as many as Prometheus answers.
pub const POINTS_MAX: i64 = 11_000;
/// Times past this (year 5138) or before its negative are no times.
const TIME_MAX_S: i64 = 100_000_000_000;

/// A range of time in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    from: Seconds,
    to: Seconds,
    step_s: i64,
}

/// Why a range cannot be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeFault {
    /// Its end is not after its start.
    Empty,
    /// It begins or ends where no time is.
    NoTime,
    /// It has more than [`POINTS_MAX`] points; with steps of so many seconds it would have fewer.
    TooMany(i64, i64),
}

impl std::fmt::Display for RangeFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RangeFault::Empty => f.write_str("the range ends before it begins, or holds no whole slice"),
            RangeFault::NoTime => f.write_str("the range begins or ends at a moment that no calendar has"),
            RangeFault::TooMany(points, step_s) => {
                let step = super::duration::exact(*step_s);
                write!(
                    f,
                    "the range has {points} points, {POINTS_MAX} at most are answered: use a step of {step} or more"
                )
            }
        }
    }
}

impl std::error::Error for RangeFault {}

impl Range {
    /// From `from` to `to` in steps of `step_s`. Its edges are moved back to the grid of slices of `slice_s` seconds, and a
    /// step that is no whole number of them is made longer until it is.
    ///
    /// # Errors
    /// It is empty, no time at all, or has too many points.
    pub fn new(from: Seconds, to: Seconds, step_s: i64, slice_s: i64) -> Result<Self, RangeFault> {
        if [from, to].iter().any(|time| time.abs() > TIME_MAX_S) {
            return Err(RangeFault::NoTime);
        }
        let slice_s = slice_s.max(1);
        let whole = |seconds: i64| (seconds.clamp(1, TIME_MAX_S) + slice_s - 1) / slice_s * slice_s;
        let (from, to) = (from.div_euclid(slice_s) * slice_s, to.div_euclid(slice_s) * slice_s);
        if to <= from {
            return Err(RangeFault::Empty);
        }
        let range = Range { from, to, step_s: whole(step_s) };
        match range.points() {
            points if points > POINTS_MAX => {
                // One step more than needed: the first and the last point may be short.
                Err(RangeFault::TooMany(points, whole((to - from) / (POINTS_MAX - 1) + 1)))
            }
            _ => Ok(range),
        }
    }

    fn points(&self) -> i64 {
        (self.to + self.step_s - 1).div_euclid(self.step_s) - self.from.div_euclid(self.step_s)
    }

    /// `(start, end)` of each point.
    fn steps(self) -> impl Iterator<Item = (Seconds, Seconds)> {
        let first = self.from.div_euclid(self.step_s);
        (first..first + self.points()).map(move |step| {
            let (start, end) = (step * self.step_s, (step + 1) * self.step_s);
            (start.max(self.from), end.min(self.to))
        })
    }
}

/// A series over a range.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// Start of the first point.
    pub from: Seconds,
    /// End of the last point.
    pub to: Seconds,
    /// Length of the points between.
    pub step_s: i64,
    /// Start of what is known of the series at all; `None` where nothing is.
    pub known_from: Option<Seconds>,
    /// Windows of the burn clauses, shortest first: [`Point::burn`] has a rate for each.
    pub windows: Vec<BurnWindow>,
    /// In the order of time.
    pub points: Vec<Point>,
}

/// A window of burn clauses, and what may burn in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BurnWindow {
    /// Length, seconds.
    pub window_s: i64,
    /// The limit of each clause that has this window.
    pub limits: Vec<BurnLimit>,
}

/// What a clause allows to burn in a window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BurnLimit {
    /// Burn-rate factor.
    pub factor: f64,
    /// Page or ticket.
    pub speed: Speed,
    /// The clause as it was written.
    pub clause: Arc<str>,
}

/// One step of a range.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Its start.
    pub from: Seconds,
    /// Its end.
    pub to: Seconds,
    /// Events (or judged slices) in it; `None` where nothing is known.
    pub total: Option<u64>,
    /// Bad ones among them.
    pub bad: Option<u64>,
    /// `bad / total`; `None` without events.
    pub error_ratio: Option<f64>,
    /// What is known of it.
    pub data: PointData,
    /// Share of its slices that are known, 0..=1.
    pub coverage: f64,
    /// Length of the steps in which its counts are kept, seconds. Where that is longer than the point, the point has its
    /// share of them by time.
    pub grain_s: i64,
    /// Burn rate over each of [`History::windows`], up to its end.
    pub burn: Vec<Option<f64>>,
    /// What was left of the main window's budget at its end; may be negative.
    pub budget_remaining: Option<f64>,
}

/// What is known of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PointData {
    /// Every slice.
    Known,
    /// Some slices, or some of them not fully.
    Partial,
    /// Nothing.
    Unknown,
    /// It does not count, by somebody's decision.
    Excluded,
}

/// The history of one series. `filling`: older history is still being read, and windows that begin before what has been read
/// have no ratio.
pub fn history(slo: &Slo, series: &SeriesLedger, labels: &Labels, range: Range, filling: bool) -> History {
    let known_from = series.begins();
    let read_from = if filling { known_from.unwrap_or(range.to) } else { Seconds::MIN };
    let reach_s = slo.longest_s();
    let cuts = Cuts::of(&slo.terms.exclusions, labels, range.from - reach_s, range.to);
    let reading = Reading { slo, series, labels, cuts: &cuts, read_from, mean_per_s: None };
    let windows = windows(slo);
    let points = range.steps().map(|(from, to)| point(&reading, &windows, from, to)).collect();
    History { from: range.from, to: range.to, step_s: range.step_s, known_from, windows, points }
}

fn windows(slo: &Slo) -> Vec<BurnWindow> {
    let mut windows: Vec<BurnWindow> = Vec::new();
    for clause in &slo.burn {
        for window_s in [clause.short_s, clause.long_s] {
            let place = windows.binary_search_by_key(&window_s, |window| window.window_s).unwrap_or_else(|place| {
                windows.insert(place, BurnWindow { window_s, limits: Vec::new() });
                place
            });
            let limit = BurnLimit { factor: clause.factor, speed: clause.speed, clause: Arc::clone(&clause.text) };
            if !windows[place].limits.contains(&limit) {
                windows[place].limits.push(limit);
            }
        }
    }
    windows
}

fn point(reading: &Reading<'_>, windows: &[BurnWindow], from: Seconds, to: Seconds) -> Point {
    let own = reading.window(to, to - from);
    let data = data_of(&own);
    let counted = matches!(data, PointData::Known | PointData::Partial);
    let budget = Budget::read(reading, &reading.slo.period(), to);
    // A budget of which nothing is known is not whole.
    let budget_known = budget.so_far.sum.known > 0;
    Point {
        from,
        to,
        total: counted.then_some(own.total),
        bad: counted.then_some(own.bad),
        error_ratio: (counted && own.total > 0).then(|| own.bad as f64 / own.total as f64),
        data,
        coverage: (own.sum.known as f64 / own.sum.slices.max(1) as f64).clamp(0.0, 1.0),
        grain_s: reading.series.grain_s(from),
        burn: windows.iter().map(|window| reading.window(to, window.window_s).burn).collect(),
        budget_remaining: budget.remaining.filter(|_| budget_known),
    }
}

fn data_of(window: &Window) -> PointData {
    match window.sum {
        sum if sum.slices == 0 => PointData::Excluded,
        sum if sum.known == 0 => PointData::Unknown,
        sum if sum.known < sum.slices || sum.partial > 0 => PointData::Partial,
        _ => PointData::Known,
    }
}

#[cfg(test)]
mod tests;
