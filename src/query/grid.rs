//! Answers of range queries: values on a grid of moments.
//!
//! Six kinds come this way. Gauges are compared with their bound, one event a slice; those of who waits in a queue are
//! added up, and of counters of who was let in it is asked whether they moved (`queue`). Ratios and rates of foreign queries are taken as they are. Increments that the server summed (`aggregated`,
//! over `raw_series_max`) are booked in the slice that ends at their moment. Coarse history (`increase` over five minutes
//! or an hour) fills the coarse tiers at a cold start without remote read.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::ledger::End;
use crate::engine::status::DataReason;
use crate::engine::{Coverage, Labels, RATIO_SCALE, SliceDelta};
use crate::spec::model::Bound;

use super::fanout::{Fanout, Met, child_key};
use super::fetch::{Ask, Fetch, Plan, Role};
use super::increment::SeriesDeltas;
use super::samples::RawSeries;

mod book;
mod through;

pub use book::GridBook;
pub use through::{Through, through};

/// Names the series of a gauge of who waits among those on the slice grid, which are else the counts of the same labels.
const WAITING: &str = "__waiting__";

/// The labels under which the gauge of a series is known on the slice grid.
pub fn waiting_labels(of: &Labels) -> Labels {
    of.iter().chain([(WAITING, "1")]).collect()
}

/// The labels of the series whose gauge this is; `None` where it is none.
pub fn series_of(labels: &Labels) -> Option<Labels> {
    labels.get(WAITING)?;
    Some(labels.iter().filter(|(name, _)| *name != WAITING).collect())
}

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
pub(super) fn uses(plan: &Plan, fetch: &Fetch, series: &RawSeries) -> Vec<(usize, Role)> {
    let Some(metric) = &fetch.metric else { return fetch.roles.clone() };
    let mut found = if series.label("__name__").is_empty() {
        let mut labels = series.labels.to_vec();
        labels.insert(0, ("__name__".into(), metric.clone()));
        labels.sort();
        plan.uses_of(&labels)
    } else {
        plan.uses_of(&series.labels)
    };
    // A counter of who was let in may be another SLI's count: each is read the way it was asked for.
    found.retain(|(_, role)| (role.ask() == Ask::Gauge) == (fetch.ask == Ask::Gauge));
    found
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
                Role::Value | Role::Share | Role::Waiting => series.samples.len() as f64,
                Role::Bad | Role::Good | Role::Upper | Role::Lower | Role::Through => continue,
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
    pub fn whole(self) -> SeriesDeltas {
        let deltas = self.slices.into_iter().map(|(slice, cell)| cell.delta(slice)).collect();
        SeriesDeltas { sli: self.sli, labels: self.labels, deltas, fault: self.fault, ..SeriesDeltas::default() }
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

/// All that answers on the slice grid say, but for sums of counters. Slices before `from_slice` were read along
/// to judge by and are not answered for.
pub fn values(
    plan: &Plan,
    fanout: &Fanout,
    answers: &[(&Fetch, &[RawSeries])],
    from_slice: i64,
    resolution_ms: i64,
) -> Vec<GridHarvest> {
    let mut harvests: Vec<GridHarvest> =
        answers.iter().flat_map(|(fetch, answer)| gauge(plan, fanout, fetch, answer, resolution_ms)).collect();
    harvests.extend(rates(plan, fanout, answers, resolution_ms));
    harvests.extend(waiting(plan, fanout, answers, resolution_ms));
    for harvest in &mut harvests {
        harvest.slices = harvest.slices.split_off(&from_slice);
    }
    harvests
}

/// Relative difference below which two numbers of foreign queries are the same.
const SAME: f64 = 1e-6;

/// What the series of a gauge say of one slice.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The largest share of bad events, in the counts of the ledger.
    bad: u64,
    rows: u32,
    /// There is a series that cannot be trusted.
    distrusted: bool,
}

/// By slice.
type GridSlices = BTreeMap<i64, Seen>;

/// Judges gauges and shares on the slice grid: the value at the end of a slice stands for it, and the worst of several
/// series decides. A slice without a number stays unknown, and one of which a series cannot be trusted is never good.
pub fn gauge(
    plan: &Plan,
    fanout: &Fanout,
    fetch: &Fetch,
    answer: &[RawSeries],
    resolution_ms: i64,
) -> Vec<GridHarvest> {
    let mut worst: BTreeMap<(usize, Labels), (GridSlices, Option<DataReason>)> = BTreeMap::new();
    for series in distinct(answer) {
        for (sli, role) in uses(plan, fetch, series) {
            let meta = &plan.slis[sli];
            let bad = |value: f64| match (role, meta.bound) {
                (Role::Share, _) => {
                    (-SAME..=1.0 + SAME).contains(&value).then(|| (value * RATIO_SCALE as f64).round() as u64)
                }
                (Role::Value, Some(Bound::Max(max))) => value.is_finite().then(|| u64::from(value > max)),
                (Role::Value, Some(Bound::Min(min))) => value.is_finite().then(|| u64::from(value < min)),
                _ => None,
            };
            if !matches!(role, Role::Value | Role::Share) {
                continue;
            }
            for labels in rows_of(plan, fanout, sli, series) {
                let entry = worst.entry((sli, labels)).or_default();
                let mut still = Still::new(meta.trust.frozen_after);
                for (at, value) in series.samples.iter() {
                    let slice = at.div_euclid(resolution_ms) - 1;
                    let Some(bad) = bad(value) else {
                        entry.1 = Some(DataReason::NotANumber);
                        continue;
                    };
                    let fault = match () {
                        () if meta.trust.is_sentinel(value) => Some(DataReason::Sentinel),
                        () if still.is_frozen(slice, value) => Some(DataReason::Frozen),
                        () => None,
                    };
                    let seen = entry.0.entry(slice).or_default();
                    match fault {
                        Some(reason) => (entry.1, seen.distrusted) = (Some(reason), true),
                        None => *seen = Seen { bad: seen.bad.max(bad), rows: seen.rows + 1, ..*seen },
                    }
                }
            }
        }
    }
    let judged = |(slice, seen): (i64, Seen), total: u64| {
        (seen.bad > 0 || !seen.distrusted).then_some((slice, Cell { total, bad: seen.bad, rows: seen.rows }))
    };
    worst
        .into_iter()
        .map(|((sli, labels), (slices, fault))| {
            let total = if plan.slis[sli].bound.is_some() { 1 } else { RATIO_SCALE };
            let slices = slices.into_iter().filter_map(|of| judged(of, total)).collect();
            GridHarvest { sli, labels, slices, fault }
        })
        .collect()
}

/// How many wait at the end of each slice, under the labels of [`waiting_labels`]: the series add up, a part of
/// somebody is somebody, and where a number is none nothing is known of the slice.
fn waiting(plan: &Plan, fanout: &Fanout, answers: &[(&Fetch, &[RawSeries])], resolution_ms: i64) -> Vec<GridHarvest> {
    /// By slice: how many, in how many rows, and whether one is no number.
    type Waiting = BTreeMap<i64, (f64, u32, bool)>;
    let mut sums: BTreeMap<(usize, Labels), Waiting> = BTreeMap::new();
    for (fetch, answer) in answers {
        for series in distinct(answer) {
            for (sli, _) in uses(plan, fetch, series).into_iter().filter(|&(_, role)| role == Role::Waiting) {
                for labels in rows_of(plan, fanout, sli, series) {
                    let of = sums.entry((sli, labels)).or_default();
                    for (at, value) in series.samples.iter() {
                        let sum = of.entry(at.div_euclid(resolution_ms) - 1).or_default();
                        match (0.0..=COUNT_MAX).contains(&value) {
                            true => *sum = (sum.0 + value, sum.1 + 1, sum.2),
                            false => sum.2 = true,
                        }
                    }
                }
            }
        }
    }
    let harvest = |((sli, labels), slices): ((usize, Labels), Waiting)| {
        let fault = slices.values().any(|&(_, _, bad)| bad).then_some(DataReason::NotANumber);
        let cell = |(slice, (sum, rows, no_number)): (i64, (f64, u32, bool))| {
            (!no_number).then_some((slice, Cell { total: (sum - 1e-6).ceil().max(0.0) as u64, bad: 0, rows }))
        };
        let slices = slices.into_iter().filter_map(cell).collect();
        GridHarvest { sli, labels: waiting_labels(&labels), slices, fault }
    };
    sums.into_iter().map(harvest).collect()
}

/// For how long one gauge has stood still.
struct Still {
    /// From so many slices without a change on it is frozen.
    most: Option<i64>,
    /// The value, and the slice it was first seen in.
    since: Option<(f64, i64)>,
}

impl Still {
    fn new(most: Option<u32>) -> Self {
        Still { most: most.map(i64::from), since: None }
    }

    fn is_frozen(&mut self, slice: i64, value: f64) -> bool {
        let Some(most) = self.most else { return false };
        match self.since {
            Some((was, since)) if was == value => slice - since >= most,
            _ => {
                self.since = Some((value, slice));
                false
            }
        }
    }
}

/// Whole events out of rates. What is left over of a slice cannot wait for the next one, for each slice is read more
/// than once; so the events of a slice are rounded by its place in a sequence that is spread evenly. Sums stay right,
/// and whoever reads the slice gets the same.
fn rates(plan: &Plan, fanout: &Fanout, answers: &[(&Fetch, &[RawSeries])], resolution_ms: i64) -> Vec<GridHarvest> {
    let seconds = resolution_ms as f64 / 1000.0;
    let of_rates = sums(plan, fanout, answers).into_iter().filter(|((sli, _), _)| plan.slis[*sli].rates);
    of_rates
        .map(|((sli, labels), (sums, not_a_number))| {
            let over = |sum: &Sum| sum.part.zip(sum.total).is_some_and(|(part, total)| part > total * (1.0 + SAME));
            let above = sums.values().any(over).then_some(DataReason::BadAboveTotal);
            let cell = |(at, sum): (i64, Sum)| {
                let slice = at.div_euclid(resolution_ms) - 1;
                let events = |rate: f64| (rate * seconds + 1e-6 + spread(slice)).floor() as u64;
                let (total, bad) = (events(sum.total?), events(sum.part.unwrap_or(0.0)));
                // Bad events are events: an outage in which nothing but errors is counted is no silence.
                let total = if over(&sum) { total.max(bad) } else { total };
                Some((slice, Cell { total, bad: bad.min(total), rows: sum.rows }))
            };
            let fault = not_a_number.then_some(DataReason::NotANumber).or(above);
            GridHarvest { sli, labels, slices: sums.into_iter().filter_map(cell).collect(), fault }
        })
        .collect()
}

/// A number in [0, 1) for each slice, as even over any stretch of slices as can be: multiples of the golden ratio.
fn spread(slice: i64) -> f64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    ((slice as u64).wrapping_mul(GOLDEN) >> 11) as f64 / (1u64 << 53) as f64
}

/// Sums of one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    total: Option<f64>,
    part: Option<f64>,
    /// Buckets that the part is made of.
    buckets: u32,
    /// Rows they are made of; one that counts for both counts twice.
    rows: u32,
    /// A value among them is negative or no number: what the others say is no sum.
    spoilt: bool,
}

/// Sums by moment, for one series of one SLI.
type Sums = BTreeMap<i64, Sum>;

/// Differences of sums that are the same are no further below zero than this.
const DUST: f64 = 1e-9;
/// Count and bucket may be read a moment apart: this share of the events is made up by the next sum.
const UNEVEN: f64 = 0.01;

/// The largest sum that still counts single events.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

fn sums(plan: &Plan, fanout: &Fanout, answers: &[(&Fetch, &[RawSeries])]) -> BTreeMap<(usize, Labels), (Sums, bool)> {
    // Of a histogram, the row of a count and the row of its bucket: one without the other says nothing. Either may be told
    // apart further, for an SLI that shares its request: the labels that both have make the row.
    let mut both: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for (fetch, _) in answers {
        for &sli in fetch.slis.iter().filter(|&&sli| plan.slis[sli].histogram) {
            let own = fetch.keep.iter().map(String::as_str).collect();
            both.entry(sli).and_modify(|both| *both = &*both & &own).or_insert(own);
        }
    }
    let mut rows: BTreeMap<(usize, Labels, Labels), (Sums, bool)> = BTreeMap::new();
    for (fetch, answer) in answers {
        for series in distinct(answer) {
            for (sli, role) in uses(plan, fetch, series) {
                if matches!(role, Role::Value | Role::Share | Role::Waiting | Role::Through) {
                    continue;
                }
                let of_row = |name: &str| name != "le" && both.get(&sli).is_some_and(|both| both.contains(name));
                let row: Labels = series.labels.iter().filter(|(name, _)| of_row(name)).cloned().collect();
                let labels = rows_of(plan, fanout, sli, series).into_iter();
                for (labels, weight) in labels.flat_map(|labels| weighed(plan, sli, role, labels)) {
                    let of = rows.entry((sli, labels, row.clone())).or_default();
                    for (at, value) in series.samples.iter() {
                        let moment = of.0.entry(at).or_default();
                        // A difference of two equal sums is off by binary dust.
                        let value = if (-DUST..0.0).contains(&value) { 0.0 } else { value };
                        if !(0.0..=COUNT_MAX).contains(&value) {
                            (of.1, moment.spoilt) = (true, true);
                            continue;
                        }
                        let side = if role == Role::Total { &mut moment.total } else { &mut moment.part };
                        *side = Some(side.unwrap_or(0.0) + weight * value);
                        moment.buckets += u32::from(role != Role::Total);
                        moment.rows += 1;
                    }
                }
            }
        }
    }
    let mut sums: BTreeMap<(usize, Labels), (Sums, bool)> = BTreeMap::new();
    for ((sli, labels, _), (moments, not_a_number)) in rows {
        let needed = buckets_of(plan, sli, &labels);
        let of = sums.entry((sli, labels)).or_default();
        of.1 |= not_a_number;
        for (at, Sum { total, part, buckets, rows, spoilt }) in moments {
            if !spoilt && plan.slis[sli].histogram && (total.is_none() || buckets < needed) {
                continue;
            }
            let sum = of.0.entry(at).or_default();
            sum.spoilt |= spoilt;
            let add = |to: &mut Option<f64>, more: Option<f64>| *to = more.map(|more| to.unwrap_or(0.0) + more).or(*to);
            add(&mut sum.total, total);
            add(&mut sum.part, part);
            sum.rows += rows;
        }
    }
    for (moments, _) in sums.values_mut() {
        moments.retain(|_, sum| !sum.spoilt);
    }
    sums
}

/// The series that a row counts for, and how much: where a threshold lies between two bounds, the ends of the interval as
/// well.
fn weighed(plan: &Plan, sli: usize, role: Role, labels: Labels) -> Vec<(Labels, f64)> {
    let Some(between) = plan.slis[sli].between else { return vec![(labels, 1.0)] };
    let ends = End::BOTH.map(|end| end.labels(&labels));
    let [least, most] = ends;
    match role {
        Role::Upper if between.lower.is_none() => vec![(labels, between.share), (least, 1.0), (most, 0.0)],
        Role::Upper => vec![(labels, between.share), (least, 1.0)],
        Role::Lower => vec![(labels, 1.0 - between.share), (most, 1.0)],
        _ => vec![(labels, 1.0), (least, 1.0), (most, 1.0)],
    }
}

/// How many buckets the good events of one histogram are made of.
fn buckets_of(plan: &Plan, sli: usize, labels: &Labels) -> u32 {
    let both = plan.slis[sli].between.is_some_and(|between| between.lower.is_some()) && !End::is_in(labels);
    1 + u32::from(both)
}

/// Whole events of one moment; fractions wait for the next one in `rest`. `None` where the total is not known, or the
/// good part of it. There are no fewer events than bad ones; what is owed because more were good than there were is not
/// carried on for ever.
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
    let (events, bad_events) = (take(total, &mut rest.0), take(bad, &mut rest.1));
    if rest.1 < -(1.0 + UNEVEN * total) {
        rest.1 = 0.0;
    }
    // By less than one they differ because fractions of both wait.
    let events = if bad > total + 1.0 { events.max(bad_events) } else { events };
    Some((events, bad_events.min(events)))
}

/// Whether more is bad than there is, by more than fractions and extrapolation make of it.
fn is_above(good_part: bool, sum: &Sum) -> bool {
    let Some((total, part)) = sum.total.zip(sum.part) else { return false };
    part > total * (1.0 + UNEVEN) + 1.0 || !good_part && part > total + 1.0
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
            let above = sums.values().any(|sum| is_above(good_part, sum)).then_some(DataReason::BadAboveTotal);
            let slices = sums.into_iter().filter_map(|(at, sum)| {
                let (total, bad) = whole(good_part, sum, 1.0, &mut rest)?;
                Some((at.div_euclid(resolution_ms) - 1, Cell { total, bad, rows: sum.rows }))
            });
            let fault = not_a_number.then_some(DataReason::NotANumber).or(above);
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

#[cfg(test)]
mod tests;
