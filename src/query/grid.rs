//! Answers of range queries: values on a grid of moments.
//!
//! Three kinds come this way. Gauges are compared with their bound, one event a slice. Increments that the server
//! summed (`aggregated`, over `raw_series_max`) are booked in the slice that ends at their moment. Coarse history
//! (`increase` over five minutes or an hour) fills the coarse tiers at a cold start without remote read.

use std::collections::BTreeMap;

use crate::engine::status::DataReason;
use crate::engine::{Coverage, Labels, SliceDelta};
use crate::spec::model::Bound;

use super::increment::SeriesHarvest;
use super::plan::{Fetch, Plan, Role};
use super::samples::RawSeries;

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

/// Judges a gauge on the slice grid: the value at the end of a slice stands for it, the worst of several series
/// decides, and a slice without a number stays unknown.
pub fn gauge(plan: &Plan, fetch: &Fetch, answer: &[RawSeries], resolution_ms: i64) -> Vec<SeriesHarvest> {
    let mut worst: BTreeMap<(usize, Labels), (BTreeMap<i64, bool>, bool)> = BTreeMap::new();
    for series in answer {
        for (sli, _) in uses(plan, fetch, series) {
            let Some(bound) = plan.slis[sli].bound else { continue };
            let entry = worst.entry((sli, plan.series_labels(sli, &series.labels))).or_default();
            for (at, value) in series.samples.iter() {
                if value.is_nan() || value.is_infinite() {
                    entry.1 = true;
                    continue;
                }
                let bad = match bound {
                    Bound::Max(max) => value > max,
                    Bound::Min(min) => value < min,
                };
                *entry.0.entry(at.div_euclid(resolution_ms) - 1).or_default() |= bad;
            }
        }
    }
    worst
        .into_iter()
        .map(|((sli, labels), (slices, not_a_number))| SeriesHarvest {
            sli,
            labels,
            deltas: slices
                .into_iter()
                .map(|(slice, bad)| SliceDelta { slice, total: 1, bad: u64::from(bad), coverage: Coverage::Known })
                .collect(),
            fault: not_a_number.then_some(DataReason::NotANumber),
        })
        .collect()
}

/// Sums of total and part by moment, for one series of one SLI.
type Sums = BTreeMap<i64, (Option<f64>, f64)>;

fn sums(plan: &Plan, answers: &[(&Fetch, Vec<RawSeries>)]) -> BTreeMap<(usize, Labels), Sums> {
    let mut sums: BTreeMap<(usize, Labels), Sums> = BTreeMap::new();
    for (fetch, answer) in answers {
        for series in answer {
            for (sli, role) in uses(plan, fetch, series) {
                let of = sums.entry((sli, plan.series_labels(sli, &series.labels))).or_default();
                for (at, value) in series.samples.iter().filter(|(_, value)| value.is_finite() && *value >= 0.0) {
                    let sum = of.entry(at).or_default();
                    match role {
                        Role::Total => sum.0 = Some(sum.0.unwrap_or(0.0) + value),
                        _ => sum.1 += value,
                    }
                }
            }
        }
    }
    sums
}

/// Whole events of one moment; fractions wait for the next one in `rest`.
fn whole(good_part: bool, total: f64, part: f64, rest: &mut (f64, f64)) -> (u64, u64) {
    let bad = if good_part { total - part } else { part };
    let take = |sum: f64, rest: &mut f64| {
        let events = (sum + *rest + 1e-6).floor().max(0.0);
        *rest += sum - events;
        events as u64
    };
    let total = take(total, &mut rest.0);
    (total, take(bad, &mut rest.1).min(total))
}

/// Increments that the server summed over one slice each.
pub fn aggregated(plan: &Plan, answers: &[(&Fetch, Vec<RawSeries>)], resolution_ms: i64) -> Vec<SeriesHarvest> {
    sums(plan, answers)
        .into_iter()
        .map(|((sli, labels), sums)| {
            let mut rest = (0.0, 0.0);
            let good_part = plan.slis[sli].good_part;
            let deltas = sums
                .into_iter()
                .filter_map(|(at, (total, part))| {
                    let (total, bad) = whole(good_part, total?, part, &mut rest);
                    let slice = at.div_euclid(resolution_ms) - 1;
                    Some(SliceDelta { slice, total, bad, coverage: Coverage::Known })
                })
                .collect();
            SeriesHarvest { sli, labels, deltas, fault: None }
        })
        .collect()
}

/// Increases over `span_s` each, already scaled to tile (`increase[span + scrape] × span / (span + scrape)`).
pub fn coarse(plan: &Plan, answers: &[(&Fetch, Vec<RawSeries>)], span_s: i64, scale: f64) -> Vec<CoarseHarvest> {
    sums(plan, answers)
        .into_iter()
        .map(|((sli, labels), sums)| {
            let mut rest = (0.0, 0.0);
            let good_part = plan.slis[sli].good_part;
            let spans = sums
                .into_iter()
                .filter_map(|(at, (total, part))| {
                    let (total, bad) = whole(good_part, total? * scale, part * scale, &mut rest);
                    Some(CoarseSpan { start_s: at.div_euclid(1000) - span_s, total, bad })
                })
                .collect();
            CoarseHarvest { sli, labels, spans }
        })
        .collect()
}
