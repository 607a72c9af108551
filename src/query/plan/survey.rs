//! The questions that find out what a Prometheus holds of what SLOs could read: which generation of a metric there is,
//! which buckets a histogram has, and whether it is a native one.
//!
//! Asked once where something must be known, not in each poll, and one query for each metric, not for each SLO: selectors
//! are merged as those of the polls are. Deliberately absent: when to ask. That is `app`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::known::{Known, is_surveyed};
use super::merge::merge;
use crate::query::bucket::{le_spellings, parse_le, same_bound};
use crate::query::fetch::{Ask, Fetch, Plan, Role, Sli, Use, Uses};
use crate::query::grid;
use crate::query::promql::request;
use crate::query::samples::{RawSeries, Samples};
use crate::query::selector::Selector;
use crate::spec::{Model, SliSource};

/// A bucket that holds so many times the events of a higher one, and so many more, is in no cumulative histogram.
const CROOKED_SHARE: f64 = 1.25;
const CROOKED_EVENTS: f64 = 100.0;

/// What a probe looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProbeTarget {
    Series,
    Buckets,
    Native,
}

/// The questions of one survey.
#[derive(Debug)]
pub struct Probes {
    /// SLO id, place of the generation, what is looked for; by index into the plan's SLIs.
    targets: Vec<(String, usize, ProbeTarget)>,
    plan: Plan,
    /// The first of the fetches that look for native histograms, and the first behind them.
    natives: (usize, usize),
    /// It is also asked how many events buckets hold.
    heights: bool,
    found: Vec<Found>,
}

#[derive(Debug, Clone, Default)]
struct Found {
    exists: bool,
    failed: bool,
    /// Buckets: bound, how it is spelled, how many series.
    buckets: Vec<(f64, String, f64)>,
    /// Bound, and how many events its buckets hold.
    heights: Vec<(f64, f64)>,
    schema: Option<i32>,
}

impl Probes {
    /// Questions about the SLOs that `wanted` names.
    pub fn new(model: &Model, wanted: impl Fn(&str) -> bool) -> Self {
        let mut targets = Vec::new();
        let mut uses: Vec<Use> = Vec::new();
        let mut exprs: BTreeMap<String, Vec<(usize, Role)>> = BTreeMap::new();
        for spec in model.slos.iter().filter(|spec| is_surveyed(spec) && wanted(&spec.slo.id)) {
            let sources: Vec<Cow<'_, SliSource>> = match &spec.source {
                Ok(SliSource::Generations(all)) => all.iter().map(|one| Cow::Borrowed(&one.source)).collect(),
                Ok(source) => [Cow::Borrowed(source)].into_iter().chain(source.underscored().map(Cow::Owned)).collect(),
                Err(_) => Vec::new(),
            };
            for (place, source) in sources.iter().enumerate() {
                let mut look = |what: ProbeTarget, selector: Result<Selector, String>, expr: &str| {
                    let sli = targets.len();
                    targets.push((spec.slo.id.clone(), place, what));
                    match selector {
                        Ok(selector) => {
                            let spelled = Vec::new();
                            uses.push(Use { sli, role: Role::Total, selector, le: None, spelled, native: false });
                        }
                        Err(_) => exprs.entry(expr.to_owned()).or_default().push((sli, Role::Value)),
                    }
                };
                match &**source {
                    SliSource::Ratio { total: expr, .. }
                    | SliSource::Gauge { expr, .. }
                    | SliSource::Query { total: Some(expr), .. }
                    | SliSource::Query { bad: expr, total: None, .. } => {
                        look(ProbeTarget::Series, Selector::parse(expr), expr);
                    }
                    SliSource::Counters { total, .. } => {
                        for expr in total.iter().take(1) {
                            look(ProbeTarget::Series, Selector::parse(expr), expr);
                        }
                    }
                    SliSource::Histogram { selector, .. } | SliSource::Queue { histogram: selector, .. } => {
                        let Ok(base) = Selector::parse(selector) else { continue };
                        look(ProbeTarget::Buckets, Ok(base.renamed(format!("{}_bucket", base.metric))), "");
                        look(ProbeTarget::Native, Ok(base), "");
                    }
                    SliSource::Generations(_) => {}
                }
            }
        }
        let slis: Vec<Sli> = targets.iter().map(|(id, _, what)| probe(id, *what)).collect();
        let is_native = |u: &&Use| targets[u.sli].2 == ProbeTarget::Native;
        let (native, plain): (Vec<&Use>, Vec<&Use>) = uses.iter().partition(is_native);
        // What cannot be asked about was refused when the SLO was planned, and nobody else's question suffers from it.
        let mut fetches = merge(Ask::Counter, &plain, &slis).fetches;
        let first = fetches.len();
        fetches.extend(merge(Ask::Counter, &native, &slis).fetches);
        let natives = (first, fetches.len());
        fetches.extend(exprs.into_iter().map(|(expr, roles)| Fetch {
            ask: Ask::Gauge,
            expr,
            slis: roles.iter().map(|&(sli, _)| sli).collect(),
            metric: None,
            keep: Vec::new(),
            keep_undivided: Vec::new(),
            targets: Vec::new(),
            all: None,
            spelled: Vec::new(),
            roles,
            context: 0,
            le: None,
        }));
        let found = vec![Found::default(); targets.len()];
        Probes {
            targets,
            plan: Plan { fetches, slis, uses: Uses::new(uses), ..Plan::default() },
            natives,
            heights: true,
            found,
        }
    }

    /// The same without how many events buckets hold.
    pub fn without_heights(self) -> Self {
        Probes { heights: false, ..self }
    }

    /// The queries to ask, in order.
    pub fn queries(&self, resolution_s: i64) -> Vec<String> {
        let query = |(i, fetch): (usize, &Fetch)| match (self.natives.0..self.natives.1).contains(&i) {
            true => fetch.expr.clone(),
            false => request::count(&fetch.on_grid(resolution_s), &fetch.keep),
        };
        let heights = |&i: &usize| request::sum(&self.plan.fetches[i].expr, &self.plan.fetches[i].keep);
        self.plan.fetches.iter().enumerate().map(query).chain(self.of_buckets().iter().map(heights)).collect()
    }

    /// Which of the fetches are of buckets: how many events these hold is asked after all others.
    fn of_buckets(&self) -> Vec<usize> {
        let of_buckets =
            |&i: &usize| self.plan.fetches[i].slis.iter().any(|&sli| self.targets[sli].2 == ProbeTarget::Buckets);
        (0..self.natives.0).filter(|_| self.heights).filter(of_buckets).collect()
    }

    /// Takes the answer to the `i`th query.
    pub fn take(&mut self, i: usize, rows: &[RawSeries]) {
        if let Some(place) = i.checked_sub(self.plan.fetches.len()) {
            return self.take_heights(self.of_buckets()[place], rows);
        }
        for row in rows {
            for (sli, _) in grid::uses(&self.plan, &self.plan.fetches[i], row) {
                let (found, target) = (&mut self.found[sli], self.targets[sli].2);
                match (target, parse_le(row.label("le"))) {
                    (ProbeTarget::Buckets, Some(bound)) => {
                        found.exists = true;
                        let series: f64 = row.samples.iter().map(|(_, count)| count).sum();
                        // A count that is no number is no answer.
                        found.failed |= !series.is_finite();
                        found.buckets.push((bound, row.label("le").to_owned(), series));
                    }
                    (ProbeTarget::Buckets, None) => {}
                    // A metric of another kind under the name of the histogram.
                    (ProbeTarget::Native, _) => {}
                    (ProbeTarget::Series, _) => {
                        found.exists |= row.samples.iter().any(|(_, count)| count > 0.0);
                    }
                }
            }
        }
    }

    fn take_heights(&mut self, fetch: usize, rows: &[RawSeries]) {
        for row in rows {
            let Some(bound) = parse_le(row.label("le")) else { continue };
            for (sli, _) in grid::uses(&self.plan, &self.plan.fetches[fetch], row) {
                if self.targets[sli].2 == ProbeTarget::Buckets {
                    let events: f64 = row.samples.iter().map(|(_, events)| events).sum();
                    self.found[sli].heights.push((bound, events));
                }
            }
        }
    }

    /// Takes the native histograms in the answer to the `i`th query: their labels, and how fine they are.
    pub fn take_natives(&mut self, i: usize, rows: impl IntoIterator<Item = (Vec<(String, String)>, i32)>) {
        for (labels, schema) in rows {
            let row = RawSeries { labels: labels.into(), samples: Samples::default() };
            for (sli, _) in grid::uses(&self.plan, &self.plan.fetches[i], &row) {
                let found = &mut self.found[sli];
                if self.targets[sli].2 == ProbeTarget::Native {
                    found.exists = true;
                    found.schema = Some(found.schema.map_or(schema, |coarsest| coarsest.min(schema)));
                }
            }
        }
    }

    /// The `i`th query has no answer: nothing is said of what it asked about. A server that knows no native histograms
    /// refuses to be asked about them, and has none: that is an answer, and `true` says so.
    pub fn fail(&mut self, i: usize, refused: bool) -> bool {
        // What the buckets hold need not be known.
        let Some(fetch) = self.plan.fetches.get(i) else { return false };
        if refused && (self.natives.0..self.natives.1).contains(&i) {
            return true;
        }
        for &sli in &fetch.slis {
            self.found[sli].failed = true;
        }
        false
    }

    /// What was found of each SLO all of whose queries were answered.
    pub fn known(self) -> BTreeMap<String, Known> {
        let mut by_slo: BTreeMap<String, BTreeMap<usize, (Known, bool)>> = BTreeMap::new();
        let mut failed = BTreeSet::new();
        for ((id, place, _), found) in self.targets.into_iter().zip(self.found) {
            if found.failed {
                failed.insert(id.clone());
            }
            let (known, exists) = by_slo.entry(id).or_default().entry(place).or_default();
            *exists |= found.exists;
            known.native = known.native.or(found.schema);
            known.crooked = known.crooked.or(crooked(found.heights));
            let (bounds, spelled) = common(found.buckets);
            known.bounds.extend(bounds);
            known.spelled.extend(spelled);
        }
        by_slo.retain(|id, _| !failed.contains(id));
        let chosen = |of: BTreeMap<usize, (Known, bool)>| {
            let there = of.into_iter().find(|(_, (_, exists))| *exists);
            there.map(|(place, (known, _))| Known { generation: Some(place), ..known }).unwrap_or_default()
        };
        by_slo.into_iter().map(|(id, of)| (id, chosen(of))).collect()
    }
}

/// Two bounds of which the lower one holds far more events than the higher one: buckets that are read while they are
/// written, or of which some have gone, differ by less.
fn crooked(mut heights: Vec<(f64, f64)>) -> Option<(f64, f64)> {
    heights.retain(|(_, events)| events.is_finite());
    heights.sort_by(|a, b| a.0.total_cmp(&b.0));
    // A bound that is spelled in two ways holds what both hold.
    let mut sums: Vec<(f64, f64)> = Vec::new();
    for (bound, events) in heights {
        match sums.last_mut().filter(|last| same_bound(last.0, bound)) {
            Some(last) => last.1 += events,
            None => sums.push((bound, events)),
        }
    }
    let mut highest: Option<(f64, f64)> = None;
    for (bound, events) in sums {
        match highest {
            Some((lower, most)) if most > CROOKED_SHARE * events + CROOKED_EVENTS => return Some((lower, bound)),
            Some((_, most)) if most >= events => {}
            _ => highest = Some((bound, events)),
        }
    }
    None
}

/// The finite bounds that as many series have as any bound has, and those of their spellings that are not usual.
fn common(mut buckets: Vec<(f64, String, f64)>) -> (Vec<f64>, Vec<(f64, String)>) {
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    let mut bounds: Vec<(f64, f64)> = Vec::new();
    let mut spelled: Vec<(f64, String)> = Vec::new();
    for (bound, text, series) in buckets {
        let bound = match bounds.last_mut() {
            Some(last) if same_bound(last.0, bound) => {
                last.1 += series;
                last.0
            }
            _ => {
                bounds.push((bound, series));
                bound
            }
        };
        if !le_spellings(bound).contains(&text) && !spelled.contains(&(bound, text.clone())) {
            spelled.push((bound, text));
        }
    }
    let most = bounds.iter().map(|(_, series)| *series).fold(0.0, f64::max);
    bounds.retain(|(bound, series)| bound.is_finite() && *series >= most);
    let bounds: Vec<f64> = bounds.into_iter().map(|(bound, _)| bound).collect();
    spelled.retain(|(bound, _)| bounds.contains(bound));
    (bounds, spelled)
}

/// A stand-in for the planner: what an answer must be told apart by.
fn probe(id: &str, target: ProbeTarget) -> Sli {
    Sli {
        id: id.to_owned(),
        by: if target == ProbeTarget::Buckets { vec!["le".into()] } else { vec![] },
        ..Sli::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_bucket_that_holds_far_more_is_in_no_cumulative_histogram() {
        let of = |heights: &[(f64, f64)]| crooked(heights.to_vec());
        assert_eq!(of(&[(0.1, 10.0), (0.5, 4000.0), (f64::INFINITY, 4000.0)]), None);
        // Read apart, and just begun.
        assert_eq!(of(&[(0.1, 160.0), (0.5, 100.0), (1.0, 1e6), (f64::INFINITY, 0.99e6)]), None);
        assert_eq!(of(&[(0.01, 700.0), (0.001, 3000.0), (f64::INFINITY, 3000.0)]), Some((0.001, 0.01)));
        assert_eq!(of(&[(0.1, 1.0), (0.5, 900.0), (f64::INFINITY, 20.0)]), Some((0.5, f64::INFINITY)));
        // One bound in two spellings, each of one pod.
        assert_eq!(of(&[(0.5, 900.0), (1.0, 600.0), (1.0, 601.0)]), None);
        assert_eq!(of(&[(0.1, f64::NAN), (0.5, 1.0)]), None);
    }
}
