//! What a Prometheus holds of the stacks that presets know: which of their metrics, of which workloads, and what the last
//! day kept.
//!
//! One query finds out which metrics there are; then a few for each preset that is there, whatever the number of its
//! workloads. Metrics of very many raw series are not asked about by label: that is said.

use std::collections::BTreeMap;

use promql_parser::label::{MatchOp, Matcher};

use crate::prometheus::{Client, Fault};
use crate::query::plan::parse_le;
use crate::query::{RawSeries, Selector};
use crate::spec::model::Part;
use crate::spec::{Family, Measure, Preset, PresetGeneration, TimeUnit, Times, shown};

/// Metrics of more raw series than this are not asked about.
const SERIES_MAX: f64 = 50_000.0;
/// With more raw series than this only the last hour is looked at, not the last day.
const SERIES_OF_A_DAY: f64 = 2_000.0;
/// Most workloads of one preset.
const WORKLOADS_MAX: usize = 50;
/// Objectives that are written, the highest that was kept.
const OBJECTIVES: [f64; 6] = [99.9, 99.5, 99.0, 98.0, 95.0, 90.0];
/// Share of requests that have to be within a bound of time for it to be written. A p95 needs 95 %, each slice of it.
const WITHIN: f64 = 0.98;
/// Ages that are written, seconds.
const AGES_S: [f64; 14] =
    [5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 21_600.0, 43_200.0, 90_000.0];

/// What was found.
#[derive(Debug, Default)]
pub struct Discovered {
    /// Workloads with metrics of a preset, each of which could become a service.
    pub workloads: Vec<Workload>,
    /// How many presets have metrics there.
    pub presets: usize,
    /// What was not looked at, and why.
    pub remarks: Vec<String>,
}

/// One workload: a service to be.
#[derive(Debug)]
pub struct Workload {
    /// The preset whose metrics it has.
    pub preset: String,
    /// The label that tells it apart, as the preset calls it.
    pub label: String,
    /// The value of that label.
    pub value: String,
    /// The SLOs that the last day kept.
    pub slos: Vec<ProposedSlo>,
    /// Keys that were left out, and why.
    pub left_out: Vec<(String, String)>,
}

/// An SLO that the last day kept.
#[derive(Debug, Clone, PartialEq)]
pub struct ProposedSlo {
    /// Key of `slo:`.
    pub key: String,
    /// The scalar to write behind it: an objective or a bound.
    pub value: String,
    /// What it was taken from.
    pub because: String,
}

/// Looks for these presets at `at_s`.
///
/// # Errors
/// The first query that could not be answered.
pub async fn discover(client: &Client, presets: impl Iterator<Item = &Preset>, at_s: i64) -> Result<Discovered, Fault> {
    let presets: Vec<&Preset> = presets.collect();
    let names: Vec<String> = presets.iter().flat_map(|preset| probes(preset)).map(|probe| probe.metric).collect();
    let mut looker = Looker { client, at_s, series: BTreeMap::new() };
    // A regular expression of all names at once; each is a few bytes.
    let alternatives: Vec<String> = names.iter().map(|name| regex::escape(name)).collect();
    for chunk in alternatives.chunks(200) {
        let query = format!("count by (__name__) ({{__name__=~\"{}\"}})", chunk.join("|"));
        for row in client.query(&query, at_s).await?.series {
            looker.series.insert(row.label("__name__").to_owned(), last(&row));
        }
    }
    let mut found = Discovered::default();
    for preset in presets {
        looker.preset(preset, &mut found).await?;
    }
    Ok(found)
}

/// A metric whose presence shows that a family can be measured.
struct Probe<'a> {
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
                        family,
                        measure: &one.measure,
                        generation: Some(one),
                        metric,
                    }));
                }
            }
            measure => {
                let metric = metric_of(measure);
                probes.extend(metric.map(|metric| Probe { family, measure, generation: None, metric }));
            }
        }
    }
    probes
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
    async fn preset(&self, preset: &Preset, found: &mut Discovered) -> Result<(), Fault> {
        let there: Vec<Probe<'_>> =
            probes(preset).into_iter().filter(|probe| self.series.contains_key(&probe.metric)).collect();
        let Some(first) = there.first() else { return Ok(()) };
        found.presets += 1;
        if let Some(large) = there.iter().find(|probe| self.series[&probe.metric] > SERIES_MAX) {
            found.remarks.push(format!(
                "{}: {} has {} raw series, which are too many to be looked at by label: write telemetry: {{preset: {}, match: ...}}",
                preset.name, large.metric, self.series[&large.metric], preset.name
            ));
            return Ok(());
        }
        let Some(label) = self.label(preset, first).await? else {
            found.remarks.push(format!(
                "{}: {} is there, and has none of the labels that tell workloads apart ({})",
                preset.name,
                first.metric,
                labels_of(preset).join(", ")
            ));
            return Ok(());
        };
        let mut workloads: BTreeMap<String, Workload> = BTreeMap::new();
        let mut dropped = 0;
        for probe in &there {
            let own = own_label(probe, &label);
            // What is gone has gained something today, and has nothing to be judged by now.
            let now = self.by(&own, &format!("count by ({own}) ({})", probe.metric)).await?;
            for (value, slo) in self.slos(probe, &own).await?.into_iter().filter(|(value, _)| now.contains_key(value)) {
                let full = workloads.len() >= WORKLOADS_MAX && !workloads.contains_key(&value);
                if full {
                    dropped += 1;
                    continue;
                }
                let workload = workloads.entry(value.clone()).or_insert_with(|| Workload {
                    preset: preset.name.clone(),
                    label: label.clone(),
                    value,
                    slos: Vec::new(),
                    left_out: Vec::new(),
                });
                workload.take(slo);
            }
        }
        if dropped > 0 {
            found.remarks.push(format!(
                "{}: only the first {WORKLOADS_MAX} values of {label} are written; there are more",
                preset.name
            ));
        }
        let (some, none): (Vec<_>, Vec<_>) = workloads.into_values().partition(|workload| !workload.slos.is_empty());
        found.workloads.extend(some);
        for workload in none {
            let why: Vec<String> = workload.left_out.iter().map(|(key, why)| format!("{key}: {why}")).collect();
            found.remarks.push(format!(
                "{}: nothing to write for {label}={:?} ({})",
                preset.name,
                workload.value,
                why.join("; ")
            ));
        }
        Ok(())
    }

    /// The label that tells workloads apart here.
    async fn label(&self, preset: &Preset, probe: &Probe<'_>) -> Result<Option<String>, Fault> {
        for label in labels_of(preset) {
            let own = own_label(probe, &label);
            if !self.by(&own, &format!("count by ({own}) ({})", probe.metric)).await?.is_empty() {
                return Ok(Some(label));
            }
        }
        Ok(None)
    }

    async fn rows(&self, query: &str) -> Result<Vec<RawSeries>, Fault> {
        Ok(self.client.query(query, self.at_s).await?.series)
    }

    /// Numbers of a query by a label; rows without it are left out.
    async fn by(&self, label: &str, query: &str) -> Result<ByValue, Fault> {
        let rows = self.rows(query).await?;
        let row = |row: &RawSeries| (row.label(label).to_owned(), last(row));
        Ok(rows.iter().map(row).filter(|(value, number)| !value.is_empty() && number.is_finite()).collect())
    }

    /// What one family comes to, by workload.
    async fn slos(&self, probe: &Probe<'_>, label: &str) -> Result<Vec<(String, Slo)>, Fault> {
        let span = if self.series[&probe.metric] > SERIES_OF_A_DAY { "1h" } else { "1d" };
        match probe.measure {
            Measure::Ratio { total, part } => self.ratio(label, total, part, span).await,
            Measure::Histogram(times) | Measure::Queue { times, .. } => {
                self.times(probe.family, label, times, span).await
            }
            Measure::Gauge { expr, unit, trust } => self.ages(label, expr, *unit, trust.sentinel_over, span).await,
            Measure::Generations(_) | Measure::None(_) => Ok(Vec::new()),
        }
    }

    async fn ratio(&self, label: &str, total: &str, part: &Part, span: &str) -> Result<Vec<(String, Slo)>, Fault> {
        let gained = |selector: &str| format!("sum by ({label}) (increase({selector}[{span}]))");
        let (Part::Bad(text) | Part::Good(text) | Part::Beside(text)) = part;
        let all = self.by(label, &gained(total)).await?;
        let parts = self.by(label, &gained(text)).await?;
        let mut unlabelled: BTreeMap<String, String> = BTreeMap::new();
        for name in labels_that_tell(total, text) {
            let told = self.by(label, &format!("count by ({label}) ({})", having(total, &name))).await?;
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

    async fn times(&self, family: Family, label: &str, times: &Times, span: &str) -> Result<Vec<(String, Slo)>, Fault> {
        let Ok(base) = Selector::parse(&times.histogram) else { return Ok(Vec::new()) };
        let of = |end: &str| base.renamed(format!("{}_{end}", base.metric)).to_string();
        let all = self.by(label, &format!("sum by ({label}) (increase({}[{span}]))", of("count"))).await?;
        let rows = self.rows(&format!("sum by ({label}, le) (increase({}[{span}]))", of("bucket"))).await?;
        let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for row in &rows {
            if let Some(bound) = parse_le(row.label("le")).filter(|bound| bound.is_finite() && *bound > 0.0) {
                buckets.entry(row.label(label).to_owned()).or_default().push((bound, last(row)));
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
        label: &str,
        expr: &str,
        unit: TimeUnit,
        sentinel_over: Option<f64>,
        span: &str,
    ) -> Result<Vec<(String, Slo)>, Fault> {
        let known = sentinel_over.map_or_else(|| expr.to_owned(), |most| format!("({expr}) <= {most}"));
        let query = format!("max_over_time((max by ({label}) ({known}))[{span}:5m])");
        let oldest = self.by(label, &query).await?;
        Ok(oldest.into_iter().map(|(value, most)| (value, age_of(most / unit.per_second(), span))).collect())
    }
}

/// An SLO, or the key that was left out and why.
type Slo = Result<ProposedSlo, (String, String)>;

impl Workload {
    /// Of several generations the first that is there is read.
    fn take(&mut self, slo: Slo) {
        let family = |key: &str| key.split("_p95_").next().unwrap_or_default().to_owned();
        match slo {
            Ok(slo) if !self.slos.iter().any(|own| family(&own.key) == family(&slo.key)) => self.slos.push(slo),
            Err((key, why)) if !self.left_out.iter().any(|(own, _)| *own == key) => self.left_out.push((key, why)),
            _ => {}
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

fn lately(span: &str) -> &'static str {
    if span == "1h" { "hour" } else { "day" }
}

/// The highest objective that was kept.
fn availability(total: f64, bad: f64, span: &str) -> Slo {
    let key = "availability".to_owned();
    if total < 1.0 {
        return Err((key, format!("no requests in the last {}", lately(span))));
    }
    let share = (bad / total).clamp(0.0, 1.0);
    let kept = |objective: &&f64| share <= (100.0 - **objective) / 100.0 + 1e-9;
    let objective = OBJECTIVES.iter().find(kept).unwrap_or(&OBJECTIVES[OBJECTIVES.len() - 1]);
    let because = format!("{} % of about {total:.0} requests of the last {} failed", percent(share), lately(span));
    Ok(ProposedSlo { key, value: shown(*objective), because })
}

/// The smallest bucket that holds nearly all.
fn bound_of(family: Family, bounds: &[(f64, f64)], total: f64, unit: TimeUnit, span: &str) -> Slo {
    let word = family.as_str();
    let left_out = |why: String| Err((format!("{word}_p95_ms"), why));
    if total < 1.0 {
        return left_out(format!("no requests in the last {}", lately(span)));
    }
    let fits = |(_, within): &&(f64, f64)| within / total >= WITHIN;
    let Some(&(bound, within)) = bounds.iter().find(fits) else {
        return match bounds.last() {
            None => left_out("there is no bucket".into()),
            Some((top, within)) => left_out(format!(
                "only {} % are within the last bucket, {} {}",
                percent(within / total),
                shown(*top),
                unit.as_str()
            )),
        };
    };
    let seconds = bound / unit.per_second();
    let (key, value) = match seconds < 1.0 {
        true => (format!("{word}_p95_ms"), digits(seconds * 1000.0)),
        false => (format!("{word}_p95_s"), digits(seconds)),
    };
    let because = format!("a bucket; {} % of the last {} were within it", percent(within / total), lately(span));
    Ok(ProposedSlo { key, value, because })
}

/// The next round age over the oldest.
fn age_of(oldest_s: f64, span: &str) -> Slo {
    let key = "feature_freshness_max_delay_s".to_owned();
    match AGES_S.iter().find(|age| **age >= oldest_s * 1.1) {
        Some(age) => {
            let because = format!("the oldest of the last {} was {oldest_s:.0} s", lately(span));
            Ok(ProposedSlo { key, value: shown(*age), because })
        }
        None => Err((key, format!("the oldest of the last {} was {oldest_s:.0} s", lately(span)))),
    }
}

/// A number with the digits a bucket has, without those that a multiplication adds.
fn digits(number: f64) -> String {
    let rounded = (number * 1e9).round() / 1e9;
    let near = (rounded - number).abs() <= 1e-12 * number.abs();
    format!("{}", if near { rounded } else { number })
}

fn percent(share: f64) -> String {
    shown((share * 100_000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_objective_that_was_kept_is_written() {
        let of = |total, bad| availability(total, bad, "1d").expect("requests").value;
        assert_eq!([of(1e6, 0.0), of(1e6, 1000.0), of(1e6, 1001.0), of(1e6, 30_000.0)], ["99.9", "99.9", "99.5", "95"]);
        assert_eq!(of(100.0, 50.0), "90", "a service that is down gets no objective that it cannot be told of");
        let (key, why) = availability(0.0, 0.0, "1h").expect_err("nothing");
        assert_eq!((key.as_str(), why.as_str()), ("availability", "no requests in the last hour"));
    }

    #[test]
    fn a_bound_is_a_bucket_in_the_unit_that_reads_best() {
        let of = |bounds: &[(f64, f64)], unit| bound_of(Family::Latency, bounds, 1000.0, unit, "1d");
        let found = of(&[(0.1, 500.0), (0.25, 985.0), (1.0, 1000.0)], TimeUnit::Seconds).expect("a bucket");
        assert_eq!((found.key.as_str(), found.value.as_str()), ("latency_p95_ms", "250"));
        let found = of(&[(100.0, 500.0), (2500.0, 980.0)], TimeUnit::Milliseconds).expect("a bucket");
        assert_eq!((found.key.as_str(), found.value.as_str()), ("latency_p95_s", "2.5"));
        assert!(found.because.contains("98 % of the last day"), "{found:?}");
        let (_, why) = of(&[(0.1, 500.0)], TimeUnit::Seconds).expect_err("half of it is over the last bucket");
        assert_eq!(why, "only 50 % are within the last bucket, 0.1 s");
        assert_eq!(digits(12.78340394885894), "12.78340394885894");
        assert_eq!(digits(0.29 * 1000.0), "290");
    }

    #[test]
    fn an_age_is_rounded_up() {
        assert_eq!(age_of(290.0, "1d").expect("an age").value, "600");
        assert_eq!(age_of(250.0, "1d").expect("an age").value, "300");
        assert!(age_of(1e9, "1d").is_err());
    }

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
