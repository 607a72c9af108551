//! What a Prometheus holds of the stacks that presets know: which of their metrics, of which workloads, and what the last
//! day kept.
//!
//! One query finds out which metrics there are; then a few for each preset that is there, whatever the number of its
//! workloads. Metrics of very many raw series are not asked about by label: that is said.

mod place;
mod proposal;

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::label::{MatchOp, Matcher};

use crate::prometheus::{Client, Fault};
use crate::query::plan::parse_le;
use crate::query::promql::expr;
use crate::query::{RawSeries, Selector};
use crate::spec::model::{Part, Trust};
use crate::spec::{Family, Measure, Preset, PresetGeneration, TimeUnit, Times};
use place::{By, Place, Places, SEPARATOR, matches_of};
pub use proposal::ProposedSlo;
use proposal::{Proposal, age_of, availability, bound_of};

/// Metrics of more raw series than this are not asked about.
const SERIES_MAX: f64 = 50_000.0;
/// With more raw series than this only the last hour is looked at, not the last day.
const SERIES_OF_A_DAY: f64 = 2_000.0;
/// Most workloads of one preset.
const WORKLOADS_MAX: usize = 50;

/// What was found.
#[derive(Debug, Default)]
pub struct Discovered {
    /// Workloads with metrics of a preset, each of which could become a service.
    pub workloads: Vec<Workload>,
    /// How many presets they are of.
    pub presets: usize,
    /// What was not looked at, and why.
    pub remarks: Vec<String>,
    /// Jobs none of whose metrics a preset knows: the name, and metrics of theirs that look like requests.
    pub strangers: Vec<(String, Vec<String>)>,
}

/// One workload: a service to be.
#[derive(Debug, Default)]
pub struct Workload {
    /// The preset whose metrics it has.
    pub preset: String,
    /// The labels that tell it apart, as the preset calls them, the main one first: those of its environment (job,
    /// namespace, cluster) beside it where its value is in several.
    pub matches: Vec<(String, String)>,
    /// The SLOs that the last day kept.
    pub slos: Vec<ProposedSlo>,
    /// Keys that were left out, and why.
    pub left_out: Vec<(String, String)>,
    /// The metrics that it was found by.
    pub metrics: BTreeSet<String>,
}

/// Looks for these presets at `at_s`.
///
/// # Errors
/// The first query that could not be answered.
pub async fn discover(client: &Client, presets: impl Iterator<Item = &Preset>, at_s: i64) -> Result<Discovered, Fault> {
    let presets: Vec<&Preset> = presets.collect();
    let wanted = |probe: Probe<'_>| beside(probe.measure).into_iter().chain([probe.metric]);
    let names: Vec<String> = presets.iter().flat_map(|preset| probes(preset)).flat_map(wanted).collect();
    let mut looker = Looker { client, at_s, series: BTreeMap::new() };
    // A regular expression of all names at once; each is a few bytes.
    for chunk in names.chunks(200) {
        let query = expr::aggregate("count", &["__name__"], &expr::any_of(chunk));
        for row in client.query(&query, at_s).await?.series {
            looker.series.insert(row.label("__name__").to_owned(), last(&row));
        }
    }
    let mut found = Discovered::default();
    let mut known_jobs = BTreeSet::new();
    for preset in presets {
        looker.preset(preset, &mut known_jobs, &mut found).await?;
    }
    keep_the_best(&mut found.workloads);
    let without = found.workloads.extract_if(.., |workload| workload.slos.is_empty());
    found.remarks.extend(without.map(|workload| {
        let why: Vec<String> = workload.left_out.iter().map(|(key, why)| format!("{key}: {why}")).collect();
        format!("{}: nothing to write for {} ({})", workload.preset, workload.told_by(), why.join("; "))
    }));
    found.presets = found.workloads.iter().map(|workload| &workload.preset).collect::<BTreeSet<_>>().len();
    found.strangers = looker.strangers(&known_jobs).await?;
    Ok(found)
}

/// Of one workload whose metrics several presets read the one with most SLOs is kept, the first of equals: their selectors
/// differ by a label alone.
fn keep_the_best(workloads: &mut Vec<Workload>) {
    let beaten = |(place, one): (usize, &Workload)| {
        workloads.iter().enumerate().any(|(nth, other)| {
            let same = nth != place && one.matches == other.matches && !one.metrics.is_disjoint(&other.metrics);
            same && (other.slos.len(), place) > (one.slos.len(), nth)
        })
    };
    let mut beaten: Vec<bool> = workloads.iter().enumerate().map(beaten).collect();
    beaten.reverse();
    workloads.retain(|_| !beaten.pop().expect("one for each"));
}

/// Labels of an environment, the widest first.
const ENVIRONMENT: [&str; 3] = ["cluster", "namespace", "job"];
/// Names of metrics that look like requests.
const OF_REQUESTS: &str = ".*(request|response|rpc|call|message|query|duration|latency).*_(total|count|bucket)";
/// Most jobs without a preset that are named.
const STRANGERS_MAX: usize = 20;

/// A metric whose presence shows that a family can be measured.
struct Probe<'a> {
    /// The labels that its series have, where those are not all of the preset's.
    labels: Option<&'a Vec<String>>,
    family: Family,
    measure: &'a Measure,
    generation: Option<&'a PresetGeneration>,
    metric: String,
}

fn probes(preset: &Preset) -> Vec<Probe<'_>> {
    let mut probes = Vec::new();
    for (&family, sli) in &preset.slis {
        match &sli.measure {
            Measure::Generations(all) => {
                for one in all {
                    let metric = metric_of(&one.measure);
                    probes.extend(metric.map(|metric| Probe {
                        labels: sli.labels.as_ref(),
                        family,
                        measure: &one.measure,
                        generation: Some(one),
                        metric,
                    }));
                }
            }
            measure => {
                let metric = metric_of(measure);
                probes.extend(metric.map(|metric| Probe {
                    labels: sli.labels.as_ref(),
                    family,
                    measure,
                    generation: None,
                    metric,
                }));
            }
        }
    }
    probes
}

/// The metrics without which the first one of a measure does not tell enough.
fn beside(measure: &Measure) -> Vec<String> {
    match measure {
        Measure::Queue { .. } => measure.metrics().split_off(1),
        _ => Vec::new(),
    }
}

/// The metric that has to be there.
fn metric_of(measure: &Measure) -> Option<String> {
    let first = measure.metrics().into_iter().next()?;
    Some(match measure {
        Measure::Histogram(_) | Measure::Queue { .. } => format!("{first}_count"),
        _ => first,
    })
}

struct Looker<'a> {
    client: &'a Client,
    at_s: i64,
    /// Raw series by metric.
    series: BTreeMap<String, f64>,
}

/// Rows of an answer by the label that tells workloads apart.
type ByValue = BTreeMap<String, f64>;

impl Looker<'_> {
    async fn preset(
        &self,
        preset: &Preset,
        known_jobs: &mut BTreeSet<String>,
        found: &mut Discovered,
    ) -> Result<(), Fault> {
        let there: Vec<Probe<'_>> =
            probes(preset).into_iter().filter(|probe| self.series.contains_key(&probe.metric)).collect();
        if there.is_empty() {
            return Ok(());
        }
        for probe in &there {
            let jobs = self.by(&By::one("job"), &By::one("job").count(&probe.metric)).await?;
            known_jobs.extend(jobs.into_keys());
        }
        if let Some(large) = there.iter().find(|probe| self.series[&probe.metric] > SERIES_MAX) {
            found.remarks.push(format!(
                "{}: {} has {} raw series, which are too many to be looked at by label: write telemetry: {{preset: {}, match: ...}}",
                preset.name, large.metric, self.series[&large.metric], preset.name
            ));
            return Ok(());
        }
        let Some(label) = self.label(preset, &there).await? else {
            found.remarks.push(format!(
                "{}: {} is there, and has none of the labels that tell workloads apart ({})",
                preset.name,
                there[0].metric,
                labels_of(preset).join(", ")
            ));
            return Ok(());
        };
        let (env, places) = self.environment(&there, &label).await?;
        let mut workloads: BTreeMap<String, Workload> = BTreeMap::new();
        let mut dropped = 0;
        // Those whose series have the label first: the others are matched by the job that the workload has alone.
        let has = |probe: &&Probe<'_>| probe.labels.is_none_or(|labels| labels.contains(&label));
        for probe in there.iter().filter(has) {
            let mut by = By::one(&own_label(probe, &label));
            by.0.extend(env.iter().map(|name| (*name).to_owned()));
            // What is gone has gained something today, and has nothing to be judged by now.
            let now = self.by(&by, &by.count(&probe.metric)).await?;
            for (value, slo) in self.slos(probe, &by).await?.into_iter().filter(|(value, _)| now.contains_key(value)) {
                let full = workloads.len() >= WORKLOADS_MAX && !workloads.contains_key(&value);
                if full {
                    dropped += 1;
                    continue;
                }
                let workload = workloads.entry(value.clone()).or_insert_with(|| Workload {
                    preset: preset.name.clone(),
                    matches: matches_of(&label, &env, &value, &places),
                    ..Workload::default()
                });
                workload.metrics.insert(probe.metric.clone());
                workload.take(slo);
            }
        }
        for probe in there.iter().filter(|probe| !has(probe)) {
            let of_jobs: BTreeMap<String, Proposal> = self.slos(probe, &By::one("job")).await?.into_iter().collect();
            for (value, workload) in &mut workloads {
                workload.take_by_job(probe.family, &label, value, &places, &of_jobs);
            }
        }
        if dropped > 0 {
            found.remarks.push(format!(
                "{}: only the first {WORKLOADS_MAX} values of {label} are written; there are more",
                preset.name
            ));
        }
        found.workloads.extend(workloads.into_values());
        Ok(())
    }

    /// The label that tells workloads apart here: the first that series of any family have.
    async fn label(&self, preset: &Preset, there: &[Probe<'_>]) -> Result<Option<String>, Fault> {
        for label in labels_of(preset) {
            for probe in there {
                let own = By::one(&own_label(probe, &label));
                if !self.by(&own, &own.count(&probe.metric)).await?.is_empty() {
                    return Ok(Some(label));
                }
            }
        }
        Ok(None)
    }

    /// The labels of an environment that some value of `label` has more than one of, and in which each value is.
    async fn environment(&self, there: &[Probe<'_>], label: &str) -> Result<(Vec<&'static str>, Places), Fault> {
        let all: Vec<&'static str> = ENVIRONMENT.into_iter().filter(|name| *name != label).collect();
        let mut places = Places::new();
        for probe in there {
            let mut by = By::one(&own_label(probe, label));
            by.0.extend(all.iter().map(|name| (*name).to_owned()));
            for key in self.by(&by, &by.count(&probe.metric)).await?.into_keys() {
                let mut values = key.split(SEPARATOR).map(str::to_owned);
                let value = values.next().unwrap_or_default();
                places.entry(value).or_default().insert(all.iter().copied().zip(values).collect());
            }
        }
        let varies = |name: &&&'static str| {
            let differs =
                |of: &BTreeSet<Place>| of.iter().map(|place| place.get(**name)).collect::<BTreeSet<_>>().len() > 1;
            places.values().any(differs)
        };
        let env = all.iter().filter(varies).copied().collect();
        Ok((env, places))
    }

    /// Jobs that are scraped and whose metrics no preset knows.
    async fn strangers(&self, known: &BTreeSet<String>) -> Result<Vec<(String, Vec<String>)>, Fault> {
        let jobs = self.by(&By::one("job"), "count by (job) (up)").await?;
        let strangers: Vec<String> = jobs.into_keys().filter(|job| !known.contains(job)).take(STRANGERS_MAX).collect();
        if strangers.is_empty() {
            return Ok(Vec::new());
        }
        let theirs = expr::matching("", &[("__name__", OF_REQUESTS), ("job", &expr::alternatives(&strangers))]);
        let query = expr::aggregate("count", &["job", "__name__"], &theirs);
        let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in self.rows(&query).await? {
            let name = row.label("__name__");
            let base = name.strip_suffix("_bucket").or(name.strip_suffix("_count")).unwrap_or(name);
            // Those of the exporter's own library tell nothing of the service.
            if !["go_", "process_", "promhttp_", "prometheus_"].iter().any(|own| base.starts_with(own)) {
                metrics.entry(row.label("job").to_owned()).or_default().insert(base.to_owned());
            }
        }
        let of = |job: String| {
            let found = metrics.remove(&job).unwrap_or_default();
            (job, found.into_iter().take(3).collect())
        };
        Ok(strangers.into_iter().map(of).collect())
    }

    async fn rows(&self, query: &str) -> Result<Vec<RawSeries>, Fault> {
        Ok(self.client.query(query, self.at_s).await?.series)
    }

    /// Numbers of a query by labels; rows without the first one are left out.
    async fn by(&self, by: &By, query: &str) -> Result<ByValue, Fault> {
        let rows = self.rows(query).await?;
        let row = |row: &RawSeries| Some((by.value(row)?, last(row)));
        Ok(rows.iter().filter_map(row).filter(|(_, number)| number.is_finite()).collect())
    }

    /// What one family comes to, by workload.
    async fn slos(&self, probe: &Probe<'_>, by: &By) -> Result<Vec<(String, Proposal)>, Fault> {
        let span = if self.series[&probe.metric] > SERIES_OF_A_DAY { "1h" } else { "1d" };
        match probe.measure {
            Measure::Ratio { total, part } => self.ratio(by, total, part, span).await,
            Measure::Histogram(times) | Measure::Queue { times, .. } => {
                let slos = self.times(probe.family, by, times, span).await?;
                let Some(lacking) = beside(probe.measure).into_iter().find(|name| !self.series.contains_key(name))
                else {
                    return Ok(slos);
                };
                let why = (probe.family.as_str().to_owned(), format!("there is no metric {lacking} beside it"));
                Ok(slos.into_iter().map(|(value, _)| (value, Err(why.clone()))).collect())
            }
            Measure::Gauge { expr, unit, trust } => self.ages(by, expr, *unit, *trust, span).await,
            Measure::Generations(_) | Measure::None(_) => Ok(Vec::new()),
        }
    }

    async fn ratio(&self, by: &By, total: &str, part: &Part, span: &str) -> Result<Vec<(String, Proposal)>, Fault> {
        let gained = |selector: &str| expr::aggregate("sum", &by.0, &expr::over("increase", selector, span));
        let (Part::Bad(text) | Part::Good(text) | Part::Beside(text)) = part;
        let all = self.by(by, &gained(total)).await?;
        let parts = self.by(by, &gained(text)).await?;
        let mut unlabelled: BTreeMap<String, String> = BTreeMap::new();
        for name in labels_that_tell(total, text) {
            let told = self.by(by, &by.count(&having(total, &name))).await?;
            let without = all.keys().filter(|value| !told.contains_key(*value));
            unlabelled.extend(without.map(|value| (value.clone(), name.clone())));
        }
        let slo = |(value, total): (String, f64)| {
            if let Some(name) = unlabelled.get(&value) {
                return (value, Err(("availability".to_owned(), format!("its series have no label {name}"))));
            }
            let of_part = parts.get(&value).copied().unwrap_or(0.0);
            let (total, bad) = match part {
                Part::Bad(_) => (total, of_part),
                Part::Good(_) => (total, total - of_part),
                Part::Beside(_) => (total + of_part, of_part),
            };
            (value, availability(total, bad, span))
        };
        Ok(all.into_iter().map(slo).collect())
    }

    async fn times(
        &self,
        family: Family,
        by: &By,
        times: &Times,
        span: &str,
    ) -> Result<Vec<(String, Proposal)>, Fault> {
        let Ok(base) = Selector::parse(&times.histogram) else { return Ok(Vec::new()) };
        let of = |end: &str| base.renamed(format!("{}_{end}", base.metric)).to_string();
        let gained =
            |of: &[String], selector: &str| expr::aggregate("sum", of, &expr::over("increase", selector, span));
        let all = self.by(by, &gained(&by.0, &of("count"))).await?;
        let with_le = [by.0.as_slice(), &["le".to_owned()]].concat();
        let rows = self.rows(&gained(&with_le, &of("bucket"))).await?;
        let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for row in &rows {
            let bound = parse_le(row.label("le")).filter(|bound| bound.is_finite() && *bound > 0.0);
            if let (Some(bound), Some(value)) = (bound, by.value(row)) {
                buckets.entry(value).or_default().push((bound, last(row)));
            }
        }
        let slo = |(value, total): (String, f64)| {
            let mut bounds = buckets.remove(&value).unwrap_or_default();
            bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            (value, bound_of(family, &bounds, total, times.unit, span))
        };
        Ok(all.into_iter().map(slo).collect())
    }

    async fn ages(
        &self,
        by: &By,
        age: &str,
        unit: TimeUnit,
        trust: Trust,
        span: &str,
    ) -> Result<Vec<(String, Proposal)>, Fault> {
        let known = trust.sentinel_over.map_or_else(|| age.to_owned(), |most| expr::at_most(age, most));
        let known = trust.sentinel_under.map_or_else(|| known.clone(), |least| expr::at_least(&known, least));
        let query = expr::subquery("max_over_time", &expr::aggregate("max", &by.0, &known), span, "5m");
        let oldest = self.by(by, &query).await?;
        Ok(oldest.into_iter().map(|(value, most)| (value, age_of(most / unit.per_second(), span))).collect())
    }
}

impl Workload {
    /// `model_name="llama", namespace="prod"`.
    pub fn told_by(&self) -> String {
        let pairs: Vec<String> = self.matches.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        pairs.join(", ")
    }

    /// Takes an SLO whose series lack the workload's label: by its job, where no other workload has that job.
    fn take_by_job(
        &mut self,
        family: Family,
        label: &str,
        key: &str,
        places: &Places,
        of_jobs: &BTreeMap<String, Proposal>,
    ) {
        let value = key.split(SEPARATOR).next().unwrap_or_default();
        let jobs_of = |value: &str| -> BTreeSet<String> {
            places.get(value).into_iter().flatten().filter_map(|place| place.get("job").cloned()).collect()
        };
        let mine: BTreeSet<String> = match self.matches.iter().find(|(name, _)| name == "job") {
            Some((_, job)) => [job.clone()].into(),
            None => jobs_of(value),
        };
        let shared = places.keys().any(|other| other != value && !jobs_of(other).is_disjoint(&mine));
        match (mine.first(), mine.len(), shared) {
            (Some(job), 1, false) => {
                let Some(slo) = of_jobs.get(job) else { return };
                if slo.is_ok() && !self.matches.iter().any(|(name, _)| name == "job") {
                    self.matches.push(("job".into(), job.clone()));
                }
                self.take(slo.clone());
            }
            _ => self.take(Err((
                family.as_str().to_owned(),
                format!(
                    "its series have no label {label}, and its job is not its own: a service of its own, matched by job"
                ),
            ))),
        }
    }

    /// Of several generations the first that is there is read.
    fn take(&mut self, slo: Proposal) {
        let family = |key: &str| key.split("_p95_").next().unwrap_or_default().to_owned();
        let has = |key: &str| self.slos.iter().any(|own| family(&own.key) == family(key));
        match slo {
            Ok(slo) if has(&slo.key) => {}
            Ok(slo) => {
                self.left_out.retain(|(key, _)| family(key) != family(&slo.key));
                self.slos.push(slo);
            }
            Err((key, _)) if has(&key) || self.left_out.iter().any(|(own, _)| *own == key) => {}
            Err(reason) => self.left_out.push(reason),
        }
    }
}

/// The workload's labels, the usual one first; `job` where a stack has none of its own.
fn labels_of(preset: &Preset) -> Vec<String> {
    let mut labels = preset.workload.clone();
    if !labels.iter().any(|label| label == "job") {
        labels.push("job".into());
    }
    labels
}

/// Labels by which a part is told apart from all events of the same metric. One that is not there tells nothing, and would
/// make everything look good.
fn labels_that_tell(total: &str, part: &str) -> Vec<String> {
    let (Ok(total), Ok(part)) = (Selector::parse(total), Selector::parse(part)) else { return Vec::new() };
    let tells = |m: &&Matcher| matches!(m.op, MatchOp::Equal | MatchOp::Re(_)) && !total.matchers.contains(m);
    let of_part = part.matchers.iter().filter(tells).map(|matcher| matcher.name.clone());
    if total.metric == part.metric { of_part.collect() } else { Vec::new() }
}

/// A selector of those series that have a label.
fn having(selector: &str, name: &str) -> String {
    let Ok(mut parsed) = Selector::parse(selector) else { return selector.to_owned() };
    parsed.matchers.push(Matcher::new(MatchOp::NotEqual, name, ""));
    parsed.to_string()
}

/// What the generation calls a label.
fn own_label(probe: &Probe<'_>, label: &str) -> String {
    probe.generation.and_then(|one| one.labels.get(label)).map_or_else(|| label.to_owned(), Clone::clone)
}

fn last(row: &RawSeries) -> f64 {
    row.samples.iter().last().map_or(f64::NAN, |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measured_family_can_be_looked_for() {
        for preset in crate::spec::Presets::default().all() {
            let measured = |sli: &&crate::spec::PresetSli| !matches!(sli.measure, Measure::None(_));
            let families = preset.slis.values().filter(measured).count();
            let mut found: Vec<Family> = probes(preset).iter().map(|probe| probe.family).collect();
            found.dedup();
            assert_eq!(found.len(), families, "{}", preset.name);
        }
    }
}
