//! Answers of range queries: values on a grid of moments.
//!
//! Three kinds come this way. Gauges are compared with their bound, one event a slice. Increments that the server
//! summed (`aggregated`, over `raw_series_max`) are booked in the slice that ends at their moment. Coarse history
//! (`increase` over five minutes or an hour) fills the coarse tiers at a cold start without remote read.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::status::DataReason;
use crate::engine::{Coverage, Labels, SliceDelta};
use crate::spec::model::Bound;

use super::fanout::{Fanout, Met, child_key};
use super::increment::SeriesHarvest;
use super::plan::{Fetch, Plan, Role};
use super::samples::RawSeries;

mod book;

pub use book::GridBook;

/// One coarse span of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoarseSpan {
    /// Its start, seconds.
    pub start_s: i64,
    /// Events in it.
    pub total: u64,
    /// Bad ones.
    pub bad: u64,
}

/// What a coarse answer says of one series of one SLI.
#[derive(Debug, Clone, PartialEq)]
pub struct CoarseHarvest {
    /// Index into `Plan::slis`.
    pub sli: usize,
    /// Series labels.
    pub labels: Labels,
    /// Spans in time order.
    pub spans: Vec<CoarseSpan>,
}

/// The SLIs that one series of a range answer belongs to. Aggregations drop the metric name, so it is put back.
fn uses(plan: &Plan, fetch: &Fetch, series: &RawSeries) -> Vec<(usize, Role)> {
    match &fetch.metric {
        None => fetch.slis.iter().map(|&sli| (sli, Role::Value)).collect(),
        Some(metric) if series.label("__name__").is_empty() => {
            let mut labels = series.labels.clone();
            labels.insert(0, ("__name__".into(), metric.clone()));
            labels.sort();
            plan.uses_of(&labels)
        }
        Some(_) => plan.uses_of(&series.labels),
    }
}

/// Lets the fan-out know which children an answer holds, and how busy they are.
pub fn meet(plan: &Plan, fanout: &mut Fanout, fetch: &Fetch, answer: &[RawSeries]) {
    if fetch.slis.iter().all(|&sli| plan.slis[sli].by.is_empty()) {
        return;
    }
    let mut met = Vec::new();
    for series in distinct(answer) {
        let Some(&(at_ms, _)) = series.samples.as_slice().last() else { continue };
        for (sli, role) in uses(plan, fetch, series) {
            let child = plan.series_labels(sli, &series.labels);
            let events = match role {
                Role::Total => series.samples.iter().map(|(_, value)| value).filter(|value| value.is_finite()).sum(),
                Role::Value => series.samples.len() as f64,
                Role::Bad | Role::Good => continue,
            };
            if !child.is_empty() {
                met.push(Met { sli, child: child_key(&child), events, at_ms });
            }
        }
    }
    fanout.meet(plan, met);
}

/// The series that a row of an answer is booked to.
fn rows_of(plan: &Plan, fanout: &Fanout, sli: usize, series: &RawSeries) -> Vec<Labels> {
    match plan.slis[sli].by.is_empty() {
        true => vec![Labels::new()],
        false => fanout.bookings(plan, sli, &series.labels).into_iter().map(|booking| booking.labels).collect(),
    }
}

/// What an answer says of one series of one SLI, slice by slice.
#[derive(Debug, Clone, PartialEq)]
pub struct GridHarvest {
    /// Index into `Plan::slis`.
    pub sli: usize,
    /// Series labels.
    pub labels: Labels,
    /// By slice.
    pub slices: BTreeMap<i64, Cell>,
    /// A fault found in its data.
    pub fault: Option<DataReason>,
}

/// One slice of a grid answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cell {
    /// Events: 1 for a gauge.
    pub total: u64,
    /// Bad ones.
    pub bad: u64,
    /// Rows of the answer that it was made of.
    pub rows: u32,
}

impl GridHarvest {
    /// All of it, for a ledger that holds none of these slices.
    pub fn whole(self) -> SeriesHarvest {
        let deltas = self.slices.into_iter().map(|(slice, cell)| cell.delta(slice)).collect();
        SeriesHarvest { sli: self.sli, labels: self.labels, deltas, fault: self.fault }
    }
}

impl Cell {
    fn delta(self, slice: i64) -> SliceDelta {
        SliceDelta { slice, total: self.total, bad: self.bad, coverage: Coverage::Known }
    }
}

/// The series of an answer, each label set once.
fn distinct(answer: &[RawSeries]) -> impl Iterator<Item = &RawSeries> {
    let mut seen = BTreeSet::new();
    answer.iter().filter(move |series| seen.insert(&series.labels))
}

/// Judges a gauge on the slice grid: the value at the end of a slice stands for it, the worst of several series
/// decides, and a slice without a number stays unknown.
pub fn gauge(
    plan: &Plan,
    fanout: &Fanout,
    fetch: &Fetch,
    answer: &[RawSeries],
    resolution_ms: i64,
) -> Vec<GridHarvest> {
    let mut worst: BTreeMap<(usize, Labels), (BTreeMap<i64, Cell>, bool)> = BTreeMap::new();
    for series in distinct(answer) {
        for (sli, _) in uses(plan, fetch, series) {
            let Some(bound) = plan.slis[sli].bound else { continue };
            for labels in rows_of(plan, fanout, sli, series) {
                let entry = worst.entry((sli, labels)).or_default();
                for (at, value) in series.samples.iter() {
                    if !value.is_finite() {
                        entry.1 = true;
                        continue;
                    }
                    let bad = match bound {
                        Bound::Max(max) => value > max,
                        Bound::Min(min) => value < min,
                    };
                    let cell = entry.0.entry(at.div_euclid(resolution_ms) - 1).or_default();
                    *cell = Cell { total: 1, bad: cell.bad.max(u64::from(bad)), rows: cell.rows + 1 };
                }
            }
        }
    }
    worst
        .into_iter()
        .map(|((sli, labels), (slices, not_a_number))| GridHarvest {
            sli,
            labels,
            slices,
            fault: not_a_number.then_some(DataReason::NotANumber),
        })
        .collect()
}

/// Sums of one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    total: Option<f64>,
    part: Option<f64>,
    /// Rows they are made of; one that counts for both counts twice.
    rows: u32,
}

/// Sums by moment, for one series of one SLI.
type Sums = BTreeMap<i64, Sum>;

/// The largest sum that still counts single events.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

fn sums(plan: &Plan, fanout: &Fanout, answers: &[(&Fetch, &[RawSeries])]) -> BTreeMap<(usize, Labels), (Sums, bool)> {
    // Of a histogram, the row of a count and the row of its bucket: one without the other says nothing.
    let mut rows: BTreeMap<(usize, Labels, Labels), (Sums, bool)> = BTreeMap::new();
    for (fetch, answer) in answers {
        for series in distinct(answer) {
            for (sli, role) in uses(plan, fetch, series) {
                let row: Labels = match plan.slis[sli].histogram {
                    true => {
                        series.labels.iter().filter(|(name, _)| name != "le" && name != "__name__").cloned().collect()
                    }
                    false => Labels::new(),
                };
                for labels in rows_of(plan, fanout, sli, series) {
                    let of = rows.entry((sli, labels, row.clone())).or_default();
                    for (at, value) in series.samples.iter() {
                        if !(0.0..=COUNT_MAX).contains(&value) {
                            of.1 = true;
                            continue;
                        }
                        let moment = of.0.entry(at).or_default();
                        let side = if role == Role::Total { &mut moment.total } else { &mut moment.part };
                        *side = Some(side.unwrap_or(0.0) + value);
                        moment.rows += 1;
                    }
                }
            }
        }
    }
    let mut sums: BTreeMap<(usize, Labels), (Sums, bool)> = BTreeMap::new();
    for ((sli, labels, _), (moments, not_a_number)) in rows {
        let of = sums.entry((sli, labels)).or_default();
        of.1 |= not_a_number;
        for (at, Sum { total, part, rows }) in moments {
            if plan.slis[sli].histogram && (total.is_none() || part.is_none()) {
                continue;
            }
            let sum = of.0.entry(at).or_default();
            let add = |to: &mut Option<f64>, more: Option<f64>| *to = more.map(|more| to.unwrap_or(0.0) + more).or(*to);
            add(&mut sum.total, total);
            add(&mut sum.part, part);
            sum.rows += rows;
        }
    }
    sums
}

/// Whole events of one moment; fractions wait for the next one in `rest`. `None` where the total is not known, or the
/// good part of it.
fn whole(good_part: bool, sum: Sum, scale: f64, rest: &mut (f64, f64)) -> Option<(u64, u64)> {
    let total = sum.total? * scale;
    let part = match sum.part {
        None if good_part => return None,
        part => part.unwrap_or(0.0) * scale,
    };
    let bad = if good_part { total - part } else { part };
    let take = |sum: f64, rest: &mut f64| {
        let events = (sum + *rest + 1e-6).floor().max(0.0);
        *rest += sum - events;
        events as u64
    };
    let total = take(total, &mut rest.0);
    Some((total, take(bad, &mut rest.1).min(total)))
}

/// Increments that the server summed over one slice each.
pub fn aggregated(
    plan: &Plan,
    fanout: &Fanout,
    answers: &[(&Fetch, &[RawSeries])],
    resolution_ms: i64,
) -> Vec<GridHarvest> {
    sums(plan, fanout, answers)
        .into_iter()
        .map(|((sli, labels), (sums, not_a_number))| {
            let mut rest = (0.0, 0.0);
            let good_part = plan.slis[sli].good_part;
            let slices = sums.into_iter().filter_map(|(at, sum)| {
                let (total, bad) = whole(good_part, sum, 1.0, &mut rest)?;
                Some((at.div_euclid(resolution_ms) - 1, Cell { total, bad, rows: sum.rows }))
            });
            let fault = not_a_number.then_some(DataReason::NotANumber);
            GridHarvest { sli, labels, slices: slices.collect(), fault }
        })
        .collect()
}

/// Increases over `span_s` each, already scaled to tile (`increase[span + scrape] × span / (span + scrape)`).
pub fn coarse(
    plan: &Plan,
    fanout: &Fanout,
    answers: &[(&Fetch, &[RawSeries])],
    span_s: i64,
    scale: f64,
) -> Vec<CoarseHarvest> {
    sums(plan, fanout, answers)
        .into_iter()
        .map(|((sli, labels), (sums, _))| {
            let mut rest = (0.0, 0.0);
            let good_part = plan.slis[sli].good_part;
            let spans = sums
                .into_iter()
                .filter_map(|(at, sum)| {
                    let (total, bad) = whole(good_part, sum, scale, &mut rest)?;
                    Some(CoarseSpan { start_s: at.div_euclid(1000) - span_s, total, bad })
                })
                .collect();
            CoarseHarvest { sli, labels, spans }
        })
        .collect()
}
