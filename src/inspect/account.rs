//! What a count is made of: every raw series, what it said, what was booked of it and why, so that an auditor can add it
//! up by hand.
//!
//! It is read again from Prometheus by the code that a cold start reads with, so it says what the ledger holds; slice by
//! slice what the samples sum up to is held against what was booked, and each slice in which the two differ is named.
//!
//! Deliberately absent: rules of its own (`query::increment` has them), and printing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::engine::Coverage;
use crate::engine::status::DataReason;
use crate::prometheus::backfill::{self, Way};
use crate::prometheus::survey::{far_off, survey};
use crate::prometheus::{Client, Fault, Source, SourceOptions};
use crate::query::Plan;
use crate::query::fetch::Role;
use crate::query::increment::{Reason, SeriesDeltas, Traced};
use crate::query::plan::Survey;
use crate::spec::Model;

/// Counters are read from so much before the window, seconds: what is doubtful about one is remembered for an hour.
const LEAD_S: i64 = 2 * 3600;
/// Slices listed in which samples and counts differ.
const DIFFERING_MAX: usize = 100;

/// A question.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Id of the SLO.
    pub slo: &'a str,
    /// End of the window, seconds, on the slice grid.
    pub at_s: i64,
    /// Its length, seconds.
    pub window_s: i64,
    /// Changes listed at most.
    pub changes_max: usize,
    /// Raw series listed at most.
    pub series_max: usize,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// Id of the SLO.
    pub slo: String,
    /// Start of the window, seconds.
    pub from: i64,
    /// Its end, seconds.
    pub at: i64,
    /// Its length, seconds.
    pub window_s: i64,
    /// Length of a slice, seconds: a sample counts in the slice that it lies in.
    pub resolution_s: i64,
    /// What was booked in the window.
    pub counts: Counts<u64>,
    /// What the changes below sum up to, those that are not listed too.
    pub summed: Counts<f64>,
    /// How many of the window's slices are known, in part, or not at all.
    pub slices: Slices,
    /// Slices in which the two differ.
    pub differing: Vec<Differing>,
    /// Slices that differ and are not listed.
    pub differing_left_out: usize,
    /// Changes by reason.
    pub reasons: Vec<OfReason>,
    /// How it was read.
    pub read: How,
    /// Raw series that count for it, in label order.
    pub series: Vec<OfSeries>,
    /// Raw series that are not listed.
    pub series_left_out: usize,
    /// Changes that are not listed.
    pub changes_left_out: usize,
    /// What must be known of its numbers.
    pub notes: Vec<String>,
}

/// Events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Counts<N> {
    /// All of them.
    pub total: N,
    /// Bad ones.
    pub bad: N,
}

/// Slices of the window by what is known of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Slices {
    /// Known.
    pub known: u64,
    /// Known in part.
    pub partial: u64,
    /// Nothing is known.
    pub unknown: u64,
}

/// A slice in which what was booked is not what the samples sum up to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Differing {
    /// Its start, seconds.
    pub at: i64,
    /// What was booked.
    pub counts: Counts<u64>,
    /// What the samples sum up to.
    pub summed: Counts<f64>,
    /// Why: a reason of a data state, `taken_back` or `summed_by_server`.
    pub why: &'static str,
}

/// All changes of one reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfReason {
    /// The reason.
    pub why: Reason,
    /// What it means.
    pub says: &'static str,
    /// Changes.
    pub changes: u64,
    /// Events booked by them.
    pub events: f64,
}

/// How the samples were read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct How {
    /// From when on, seconds: a while before the window, since what is doubtful shows in what came before.
    pub from: i64,
    /// `remote_read` or `queries`.
    pub by: &'static str,
    /// The selectors that were asked for.
    pub selectors: Vec<String>,
    /// Requests sent.
    pub requests: usize,
    /// Raw samples read, of all that was read along.
    pub samples: usize,
}

/// One raw series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfSeries {
    /// Its labels, `__name__` among them; of a histogram those of its count.
    pub labels: BTreeMap<String, String>,
    /// What it counts: `total`, `bad`, `good`; of a histogram `total` with its bucket as `good`.
    pub counts_as: Vec<&'static str>,
    /// Samples in the window.
    pub samples: usize,
    /// Events booked of it.
    pub events: f64,
    /// Of a histogram, how many of them were good.
    pub good: Option<f64>,
    /// Its changes in time order.
    pub changes: Vec<Traced>,
}

/// Whoever can explain counts: what is read from where.
#[derive(Debug, Clone)]
pub struct Explainer {
    /// The Prometheus.
    pub client: Client,
    /// All SLOs.
    pub model: Arc<Model>,
    /// How it is read.
    pub options: SourceOptions,
}

impl Explainer {
    /// Explains with the SLOs of the same service alone: these share its targets, and with them its evidence.
    ///
    /// # Errors
    /// Prometheus does not answer.
    pub async fn of_service(&self, asked: &Asked<'_>) -> Result<Account, Fault> {
        let service = self.model.slo(asked.slo).map_or("", |spec| spec.slo.service.as_str());
        let slos = self.model.slos.iter().filter(|spec| spec.slo.service == service).cloned().collect();
        account(&self.client, &Model { slos, services: Vec::new() }, &self.options, asked).await
    }
}

/// Reads everything that `model` reads, and writes down what became of the samples of one SLO; the counts are those of
/// its whole.
///
/// # Errors
/// Prometheus does not answer.
pub async fn account(
    client: &Client,
    model: &Model,
    options: &SourceOptions,
    asked: &Asked<'_>,
) -> Result<Account, Fault> {
    let Asked { at_s, window_s, .. } = *asked;
    let surveyed = survey(client, model, true, at_s, options, far_off()).await;
    if let (true, Some((_, fault))) = (surveyed.known.is_empty(), surveyed.faults.into_iter().next()) {
        return Err(fault);
    }
    let mut known = Survey::default();
    known.learn(surveyed.known);
    let plan = Arc::new(Plan::surveyed(model, &known).0);
    let sli = plan.slis.iter().position(|sli| sli.id == asked.slo).unwrap_or(usize::MAX);
    let options = SourceOptions { clock: None, ..options.clone() };
    let resolution_s = options.resolution_s;
    let mut source = Source::new(client.clone(), Arc::clone(&plan), options, None);
    source.trace(sli);
    let from_s = backfill::recent_from(at_s).min((at_s - window_s - LEAD_S).div_euclid(resolution_s) * resolution_s);
    let (way, poll) = backfill::recent(&mut source, from_s, at_s).await;
    if let (true, Some((_, fault))) = (poll.series.is_empty(), poll.faults.first()) {
        return Err(fault.clone());
    }
    let (from, to) = ((at_s - window_s).div_euclid(resolution_s), at_s.div_euclid(resolution_s));
    let whole = |deltas: &&SeriesDeltas| deltas.sli == sli && deltas.labels.is_empty();
    let booked = Booked::of(poll.series.iter().filter(whole));
    let mut summing = Summing { from, to, resolution_ms: resolution_s * 1000, ..Summing::default() };
    let traced = source.traced().map(|traced| (traced.series().collect::<Vec<_>>(), traced.left_out));
    let (traced, left_out) = traced.unwrap_or_default();
    let mut series: Vec<OfSeries> = traced
        .into_iter()
        .filter_map(|(labels, changes)| {
            let uses = plan.uses_of(labels).into_iter().filter(|&(of, _)| of == sli);
            let roles: Vec<Role> = uses.map(|(_, role)| role).collect();
            summing.take(labels, &roles, changes)
        })
        .collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut notes = plan.notes.get(asked.slo).cloned().unwrap_or_default();
    notes.extend(source.notes().filter(|(of, _)| *of == sli).map(|(_, note)| note));
    if series.is_empty() {
        notes.push("no raw counters are counted for it: its values are read once a slice, or there are none".into());
    }
    let summed_by_server = series.is_empty() && booked.slices.values().any(|(counts, _)| counts.total > 0);
    let (differing, differing_left_out) = summing.differing(&booked, summed_by_server);
    let selectors = plan.fetches.iter().filter(|fetch| fetch.slis.contains(&sli)).map(|fetch| fetch.expr.clone());
    let mut account = Account {
        slo: asked.slo.to_owned(),
        from: at_s - window_s,
        at: at_s,
        window_s,
        resolution_s,
        counts: booked.counts(from, to),
        summed: summing.sum(),
        slices: booked.known(from, to),
        differing,
        differing_left_out,
        reasons: summing.reasons(),
        read: How {
            from: from_s,
            by: if way == Way::RemoteRead { "remote_read" } else { "queries" },
            selectors: selectors.collect(),
            requests: poll.requests + surveyed.requests,
            samples: poll.samples,
        },
        series_left_out: series.len().saturating_sub(asked.series_max),
        changes_left_out: left_out,
        series,
        notes,
    };
    account.bound(asked);
    Ok(account)
}

impl Account {
    /// Leaves out of the lists what is more than was asked for; sums are of everything.
    fn bound(&mut self, asked: &Asked<'_>) {
        let mut room = asked.changes_max;
        for (place, series) in self.series.iter_mut().enumerate() {
            let kept = if place < asked.series_max { series.changes.len().min(room) } else { 0 };
            self.changes_left_out += series.changes.len() - kept;
            series.changes.truncate(kept);
            room -= kept;
        }
        self.series.truncate(asked.series_max);
    }
}

/// What was booked of the whole, by slice.
#[derive(Debug, Default)]
struct Booked {
    slices: BTreeMap<i64, (Counts<u64>, Coverage)>,
    /// Slices of which nothing is known after all, and why.
    void: BTreeMap<i64, DataReason>,
    /// Slices of which bad events were taken back.
    taken_back: BTreeSet<i64>,
    fault: Option<DataReason>,
}

impl Booked {
    fn of<'a>(all: impl Iterator<Item = &'a SeriesDeltas>) -> Self {
        let mut booked = Booked::default();
        for deltas in all {
            booked.fault = deltas.fault.or(booked.fault);
            if let Some((from, to)) = deltas.void {
                let gone: Vec<i64> = booked.slices.range(from..to).map(|(&slice, _)| slice).collect();
                for slice in gone {
                    booked.slices.remove(&slice);
                    booked.void.insert(slice, deltas.fault.unwrap_or(DataReason::CounterFlickers));
                }
            }
            for &(slice, bad) in &deltas.corrections {
                if let Some((counts, _)) = booked.slices.get_mut(&slice) {
                    counts.bad -= bad.min(counts.bad);
                    booked.taken_back.insert(slice);
                }
            }
            for delta in &deltas.deltas {
                let (counts, coverage) =
                    booked.slices.entry(delta.slice).or_insert((Counts::default(), delta.coverage));
                counts.total += delta.total;
                counts.bad += delta.bad;
                *coverage = match (*coverage, delta.coverage) {
                    (Coverage::Partial, _) | (_, Coverage::Partial) => Coverage::Partial,
                    (before, now) => before.max(now),
                };
            }
        }
        booked
    }

    fn counts(&self, from: i64, to: i64) -> Counts<u64> {
        let add = |sum: Counts<u64>, (counts, _): &(Counts<u64>, Coverage)| Counts {
            total: sum.total + counts.total,
            bad: sum.bad + counts.bad,
        };
        self.slices.range(from..to).map(|(_, of)| of).fold(Counts::default(), add)
    }

    fn known(&self, from: i64, to: i64) -> Slices {
        let count = |wanted: Coverage| {
            self.slices.range(from..to).filter(|(_, (_, coverage))| *coverage == wanted).count() as u64
        };
        let (known, partial) = (count(Coverage::Known), count(Coverage::Partial));
        Slices { known, partial, unknown: (to - from).unsigned_abs() - known - partial }
    }
}

/// The changes within a window, summed.
#[derive(Debug, Default)]
struct Summing {
    from: i64,
    to: i64,
    resolution_ms: i64,
    /// Total, bad and good by slice.
    slices: BTreeMap<i64, [f64; 3]>,
    /// What is bad is what is not good.
    by_good: bool,
    reasons: BTreeMap<Reason, (u64, f64)>,
}

impl Summing {
    /// Takes one raw series; `None` where it counts nothing of this SLO in the window.
    fn take(&mut self, labels: &[(String, String)], roles: &[Role], changes: &[Traced]) -> Option<OfSeries> {
        let slice_of = |change: &Traced| change.at_ms.div_euclid(self.resolution_ms);
        let mut within: Vec<Traced> = changes.to_vec();
        within.retain(|change| (self.from..self.to).contains(&slice_of(change)));
        within.sort_by_key(|change| change.at_ms);
        if within.is_empty() || roles.is_empty() {
            return None;
        }
        let histogram = changes.iter().any(|change| change.good.is_some());
        self.by_good |= histogram || roles.contains(&Role::Good);
        for change in &within {
            let cell = self.slices.entry(change.at_ms.div_euclid(self.resolution_ms)).or_default();
            for role in roles {
                match role {
                    Role::Total => cell[0] += change.events,
                    Role::Bad => cell[1] += change.events,
                    Role::Good => cell[2] += change.events,
                    _ => {}
                }
            }
            cell[2] += change.good.unwrap_or(0.0);
            let (count, events) = self.reasons.entry(change.why).or_default();
            (*count, *events) = (*count + 1, *events + change.events);
        }
        let named = |role: &Role| match role {
            Role::Total => Some("total"),
            Role::Bad => Some("bad"),
            Role::Good => Some("good"),
            _ => None,
        };
        Some(OfSeries {
            labels: labels.iter().cloned().collect(),
            counts_as: roles.iter().filter_map(named).collect(),
            samples: within.len(),
            events: within.iter().map(|change| change.events).sum(),
            good: histogram.then(|| within.iter().filter_map(|change| change.good).sum()),
            changes: within,
        })
    }

    fn counts(&self, [total, bad, good]: [f64; 3]) -> Counts<f64> {
        Counts { total, bad: bad + if self.by_good { total - good } else { 0.0 } }
    }

    fn sum(&self) -> Counts<f64> {
        let sums = self.slices.values().fold([0.0; 3], |sum, of| [sum[0] + of[0], sum[1] + of[1], sum[2] + of[2]]);
        self.counts(sums)
    }

    fn reasons(&self) -> Vec<OfReason> {
        let of =
            |(&why, &(changes, events)): (&Reason, &(u64, f64))| OfReason { why, says: why.says(), changes, events };
        self.reasons.iter().map(of).collect()
    }

    /// Slices in which booked and summed differ by an event or more; fractions wait for the next slice.
    fn differing(&self, booked: &Booked, by_server: bool) -> (Vec<Differing>, usize) {
        let all: BTreeSet<i64> = self
            .slices
            .keys()
            .chain(booked.slices.range(self.from..self.to).map(|(slice, _)| slice))
            .copied()
            .collect();
        let mut differing = Vec::new();
        for slice in all {
            let summed = self.counts(self.slices.get(&slice).copied().unwrap_or_default());
            let counts = booked.slices.get(&slice).map_or(Counts::default(), |&(counts, _)| counts);
            let off = |a: u64, b: f64| (a as f64 - b).abs() >= 1.0;
            if !off(counts.total, summed.total) && !off(counts.bad, summed.bad) {
                continue;
            }
            let why = match booked.void.get(&slice) {
                Some(reason) => reason.as_str(),
                None if by_server => "summed_by_server",
                None if booked.taken_back.contains(&slice) => "taken_back",
                None if counts.bad == counts.total && counts.total as f64 > summed.total => {
                    DataReason::BadAboveTotal.as_str()
                }
                None => booked.fault.map_or("rounded", DataReason::as_str),
            };
            differing.push(Differing { at: slice * self.resolution_ms / 1000, counts, summed, why });
        }
        let left_out = differing.len().saturating_sub(DIFFERING_MAX);
        differing.truncate(DIFFERING_MAX);
        (differing, left_out)
    }
}
