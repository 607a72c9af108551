//! Pyrra: `kind: ServiceLevelObjective` of `pyrra.dev`, with its four indicators.
//!
//! Pyrra's alerts have four tiers whose windows are scaled from 28 days to the window of the SLO, and a `for`. Slowburn
//! has no `for`: its short windows are what makes a burn last. Pyrra knows no services; one is named by a label, else
//! the SLO stands alone in a service of its own name.

use std::collections::BTreeMap;

use promql_parser::parser::Expr;

use super::alerts::{self, AlertTier, Policy};
use super::draft::{At, Draft, Source, Window};
use super::labels::{self, Label};
use super::shape::{Count, Exact, Reading};
use super::{ImportContext, ResourceMetadata};
use crate::engine::alert::AlertKind;
use crate::engine::severity::{Condition, Sev};
use crate::engine::{AlertExtras, Speed};
use crate::spec::duration::TimeSpan;
use crate::spec::origin::{Origin, OriginFormat};
use crate::spec::problem::Code;
use crate::spec::reader::{At as Node, Fields, Report};
use crate::spec::selector;

/// Labels that name the service, first wins.
const SERVICE_LABELS: [&str; 4] = ["pyrra.dev/service", "app.kubernetes.io/name", "service", "app"];
const PREFIX: &str = "pyrra.dev/";

/// Reads a document.
pub(crate) fn read(root: &Node<'_>, file: usize, cx: &ImportContext<'_>, report: &mut Report<'_>) -> Option<Draft> {
    let mut fields = root.map(report)?;
    let (_, _, _) = (fields.filled("apiVersion"), fields.filled("kind"), fields.filled("status"));
    let metadata = super::metadata(&mut fields, report);
    let spec = fields.need(report, "spec", "{target: \"99.9\", window: 30d, indicator: ...}");
    fields.finish(report);
    let (own_name, spec) = (metadata.name.clone()?, spec?);
    report.subject = format!("SLO {}", own_name.it);
    let mut spec = spec.map(report)?;
    let target = spec.need(report, "target", "\"99.9\"").and_then(|at| target(&at, report));
    let window = spec.need(report, "window", "30d").and_then(|at| Some((at.duration(report)?, at.node.place)));
    let description = spec.filled("description").and_then(|at| at.text(report)).map(str::to_string);
    let mut reading = Reading { bare: true, ..Reading::default() };
    let indicator = spec.need(report, "indicator", "{ratio: {errors: {metric: ...}, total: {metric: ...}}}");
    let source = indicator.and_then(|at| {
        let (kind, source) = read_indicator(&at, &mut reading, report)?;
        Some((kind, At { it: source, place: at.node.place }))
    });
    let alerting_at = spec.filled("alerting");
    let alerting = alerting_at.as_ref().and_then(|at| read_alerting(at, report)).unwrap_or_default();
    // How Pyrra writes its rules is of no matter here.
    for key in ["performanceOverAccuracy", "partial_response_strategy", "ruleOutput"] {
        spec.filled(key);
    }
    spec.finish(report);

    let instead = "metadata: {labels: {pyrra.dev/team: team-checkout}}";
    let owner = labels::owner_or(&metadata.labels, cx.owner, own_name.place, instead, report);
    let (objective, (window, window_place), (kind, source), owner) = (target?, window?, source?, owner?);
    let (service, name) = names(&metadata, own_name, kind);
    let budget = (100.0 - objective.it) / 100.0;
    let policy = policy(&alerting, budget, window, cx.resolution, &name, report);
    let mut notes = reading.notes;
    let carried = stripped(&metadata.labels);
    Some(Draft {
        file,
        owner,
        objective,
        window: Some(At { it: Window::Rolling(window), place: window_place }),
        source,
        policy: At { it: policy, place: alerting_at.map_or(name.place, |at| at.node.place) },
        mute: alerting.muted(),
        annotations: labels::annotations(&stripped(&metadata.annotations), &mut notes),
        origin: Origin {
            format: OriginFormat::Pyrra,
            service: None,
            alert: Some(alerting.name.clone().unwrap_or_else(|| "ErrorBudgetBurn".into()))
                .filter(|_| alerting.burnrates),
            slo: metadata.name.map(|name| name.it).unwrap_or_default(),
            namespace: metadata.namespace,
            labels: carried
                .iter()
                .map(|label| (label.name.clone(), label.value.it.clone()))
                .collect::<BTreeMap<_, _>>(),
        },
        labels: labels::of_alerts(&carried, &mut notes),
        alerts: alerting.extras(cx),
        description,
        service,
        name,
        notes,
    })
}

/// Those with Pyrra's prefix, without it: what Pyrra puts on series and alerts.
fn stripped(labels: &[Label]) -> Vec<Label> {
    let own = labels.iter().filter_map(|label| {
        let name = label.name.strip_prefix(PREFIX)?.to_string();
        let fits = selector::is_label_name(&name) && !label.value.it.is_empty();
        fits.then(|| Label { name, value: label.value.clone() })
    });
    own.collect()
}

/// The service and the SLO within it. Pyrra has one name for both.
fn names(metadata: &ResourceMetadata, own: At<String>, kind: &'static str) -> (At<String>, At<String>) {
    let of_label = |name: &&str| metadata.labels.iter().find(|label| label.name == **name).map(|label| &label.value);
    match SERVICE_LABELS.iter().find_map(|name| of_label(name).filter(|value| !value.it.is_empty())) {
        Some(service) if service.it != own.it => {
            let rest = own.it.strip_prefix(&service.it).map(|rest| rest.trim_start_matches(['-', '_', '.']));
            let name = rest.filter(|rest| !rest.is_empty()).unwrap_or(&own.it).to_string();
            (service.clone(), At { it: name, place: own.place })
        }
        _ => (own.clone(), At { it: kind.to_string(), place: own.place }),
    }
}

fn target(at: &Node<'_>, report: &mut Report<'_>) -> Option<At<f64>> {
    let text = at.spelled(report)?;
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Some(At { it: number, place: at.node.place }),
        _ => {
            let what = format!("{text:?} is no percentage");
            report.error(at, Code::InvalidObjective, what).write("target: \"99.9\"");
            None
        }
    }
}

fn read_indicator(at: &Node<'_>, reading: &mut Reading, report: &mut Report<'_>) -> Option<(&'static str, Source)> {
    let mut fields = at.map(report)?;
    let all = ["ratio", "latency", "latencyNative", "bool_gauge"].map(|key| fields.filled(key));
    fields.finish(report);
    match &all {
        [Some(at), None, None, None] => Some(("errors", ratio(at, "errors", false, reading, report)?)),
        [None, Some(at), None, None] => Some(("latency", ratio(at, "success", true, reading, report)?)),
        [None, None, Some(at), None] => Some(("latency", native(at, reading, report)?)),
        [None, None, None, Some(at)] => Some(("up", bool_gauge(at, report)?)),
        [None, None, None, None] => {
            report
                .error(at, Code::InvalidSli, "this SLO has no indicator")
                .write("one of ratio, latency, latencyNative and bool_gauge");
            None
        }
        _ => {
            report
                .error(at, Code::InvalidSli, "an SLO has one indicator, and this one has several")
                .write("one of them");
            None
        }
    }
}

/// `ratio` and `latency`: a part and the total.
fn ratio(
    at: &Node<'_>,
    part: &'static str,
    of_good: bool,
    reading: &mut Reading,
    report: &mut Report<'_>,
) -> Option<Source> {
    let mut fields = at.map(report)?;
    let part_at = fields.need(report, part, "{metric: 'http_requests_total{code=~\"5..\"}'}");
    let total_at = fields.need(report, "total", "{metric: http_requests_total}");
    let by = grouping(&mut fields, report);
    fields.finish(report);
    let part = part_at.as_ref().and_then(|at| metric(at, report));
    let total = total_at.as_ref().and_then(|at| metric(at, report));
    let (part, total, by) = (part?, total?, by?);
    if of_good && super::shape::le_of(&part).is_none() {
        let what = "the metric of `success` has no `le` that is a number, so no bound of good events";
        let name = part.name.as_deref().unwrap_or("http_request_duration_seconds_bucket");
        report.error(&part_at?, Code::InvalidSli, what).write(format!("metric: '{name}{{le=\"0.2\"}}'"));
        return None;
    }
    let [part, total] = [part, total].map(Expr::VectorSelector);
    if part == total {
        let what = "the two metrics are the same: every event would be an error";
        report.error(&part_at?, Code::InvalidSli, what).write("the part of the events that are errors, by a label");
        return None;
    }
    let exact = match of_good {
        true => reading.good_events(&part, &total),
        false => reading.events(&part, &total),
    };
    match exact {
        Ok(exact) => Some(Source::Exact(grouped(exact, &by))),
        Err(why) => {
            report.error(at, Code::InvalidSli, why).write("two bare selectors of counters");
            None
        }
    }
}

fn grouped(exact: Exact, by: &[String]) -> Exact {
    let on = |count: Count| Count { by: by.to_vec(), ..count };
    match exact {
        Exact::Bad { total, bad } => Exact::Bad { total: on(total), bad: on(bad) },
        Exact::Good { total, good } => Exact::Good { total: on(total), good: on(good) },
        Exact::Histogram { selector, le, .. } => Exact::Histogram { selector, le, by: by.to_vec() },
    }
}

/// `latencyNative`: a native histogram and a duration.
fn native(at: &Node<'_>, reading: &mut Reading, report: &mut Report<'_>) -> Option<Source> {
    let mut fields = at.map(report)?;
    let latency = fields.need(report, "latency", "200ms");
    let total = fields.need(report, "total", "{metric: http_request_duration_seconds}");
    let by = grouping(&mut fields, report);
    fields.finish(report);
    let bound = latency.and_then(|at| {
        let text = at.text(report)?;
        let parsed = humantime::parse_duration(text).ok().filter(|span| !span.is_zero());
        if parsed.is_none() {
            report.error(&at, Code::InvalidDuration, format!("{text:?} is no duration")).write("latency: 200ms");
        }
        parsed
    });
    let selector = total.and_then(|at| metric(&at, report));
    let (bound, selector, by) = (bound?, selector?, by?);
    reading
        .notes
        .push("a native histogram: events over the bound are those beyond it in its buckets, in seconds".into());
    Some(Source::Exact(Exact::Histogram { selector, le: bound.as_secs_f64(), by }))
}

/// `bool_gauge`: each sample is an event, and a sample of 0 is a bad one.
fn bool_gauge(at: &Node<'_>, report: &mut Report<'_>) -> Option<Source> {
    let mut fields = at.map(report)?;
    let metric_at = fields.need(report, "metric", "'probe_success{job=\"checkout\"}'");
    let by = grouping(&mut fields, report);
    fields.finish(report);
    let (selector, by) = (metric_at.and_then(|at| bare(&at, report))?, by?);
    let groups = if by.is_empty() { String::new() } else { format!(" by ({})", by.join(", ")) };
    Some(Source::Query {
        bad: format!("1 - avg{groups} ({selector})"),
        total: None,
        why: "a gauge has no events: a slice is as bad as the share of its series that are 0".into(),
        by,
    })
}

fn grouping(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    match fields.filled("grouping") {
        Some(at) => crate::spec::sli::label_names(&at, report).map(|mut names| {
            names.sort();
            names
        }),
        None => Some(Vec::new()),
    }
}

/// `{metric: SELECTOR}`.
fn metric(at: &Node<'_>, report: &mut Report<'_>) -> Option<promql_parser::parser::VectorSelector> {
    let mut fields = at.map(report)?;
    let found = fields.need(report, "metric", "'http_requests_total{job=\"checkout\"}'");
    fields.finish(report);
    bare(&found?, report)
}

fn bare(at: &Node<'_>, report: &mut Report<'_>) -> Option<promql_parser::parser::VectorSelector> {
    let text = at.text(report)?;
    match selector::selector(text) {
        Ok(found) => Some(found),
        Err(fault) => {
            report.error(at, Code::InvalidSelector, fault.what).instead =
                fault.selector.map(|selector| format!("metric: '{selector}'")).or(fault.advice);
            None
        }
    }
}

/// What `alerting` says.
struct PyrraAlerting {
    burnrates: bool,
    absent: bool,
    name: Option<String>,
    absent_name: Option<String>,
    /// Of the four tiers, fastest first.
    severities: [Option<At<String>>; 4],
    absent_severity: Option<At<String>>,
}

impl Default for PyrraAlerting {
    fn default() -> Self {
        PyrraAlerting {
            burnrates: true,
            absent: true,
            name: None,
            absent_name: None,
            severities: Default::default(),
            absent_severity: None,
        }
    }
}

impl PyrraAlerting {
    /// What alerts of each kind carry: the severity as its word, and the name where it is kept.
    fn extras(&self, cx: &ImportContext<'_>) -> BTreeMap<AlertKind, AlertExtras> {
        let mut all: BTreeMap<AlertKind, AlertExtras> = BTreeMap::new();
        let usual = [Speed::Fast, Speed::Fast, Speed::Slow, Speed::Slow];
        for (word, usual) in self.severities.iter().zip(usual) {
            let Some(At { it: word, .. }) = word else { continue };
            let speed = alerts::urgency(word).map_or(usual, |(speed, _)| speed);
            let kind = if speed == Speed::Fast { AlertKind::FastBurn } else { AlertKind::SlowBurn };
            // Of several words for one speed the first is that of the faster tier.
            let labels = &mut all.entry(kind).or_default().labels;
            if labels.is_empty() {
                labels.extend(alerts::own_word(word));
            }
        }
        if let Some(word) = &self.absent_severity {
            all.entry(AlertKind::DataMissing).or_default().labels.extend(alerts::own_word(&word.it));
        }
        if cx.alert_names {
            let burn = self.name.clone().unwrap_or_else(|| "ErrorBudgetBurn".into());
            let absent = self.absent_name.clone().unwrap_or_else(|| "SLOMetricAbsent".into());
            for (kind, name) in
                [(AlertKind::FastBurn, &burn), (AlertKind::SlowBurn, &burn), (AlertKind::DataMissing, &absent)]
            {
                all.entry(kind).or_default().name = Some(name.clone());
            }
        }
        all
    }

    fn muted(&self) -> Vec<AlertKind> {
        let burns = [AlertKind::FastBurn, AlertKind::SlowBurn, AlertKind::Budget];
        let mut muted = if self.burnrates { Vec::new() } else { burns.to_vec() };
        muted.extend((!self.absent).then_some(AlertKind::DataMissing));
        muted
    }
}

fn read_alerting(at: &Node<'_>, report: &mut Report<'_>) -> Option<PyrraAlerting> {
    let mut fields = at.map(report)?;
    let mut flag = |key, fields: &mut Fields<'_>| fields.filled(key).and_then(|at| at.flag(report));
    let disabled = flag("disabled", &mut fields).unwrap_or(false);
    let burnrates = flag("burnrates", &mut fields).unwrap_or(true) && !disabled;
    let absent = flag("absent", &mut fields).unwrap_or(true);
    let mut name = |key| fields.filled(key).and_then(|at| at.text(report)).map(str::to_string);
    let (name, absent_name) = (name("name"), name("absentName"));
    let mut alerting = PyrraAlerting { burnrates, absent, name, absent_name, ..PyrraAlerting::default() };
    if let Some(at) = fields.filled("severities") {
        let mut own = at.map(report)?;
        let mut word = |key| {
            let at = own.filled(key)?;
            Some(At { it: at.text(report)?.to_string(), place: at.node.place })
        };
        alerting.severities = ["fastBurn", "mediumBurn", "slowBurn", "longTermBurn"].map(&mut word);
        alerting.absent_severity = word("absent");
        own.finish(report);
    }
    fields.finish(report);
    Some(alerting)
}

/// Pyrra's four tiers, for 28 days: short and long window in seconds, burn rate, and whether it pages.
const TIERS: [(i64, i64, f64, bool); 4] =
    [(300, 3600, 14.0, true), (1800, 21_600, 7.0, true), (7200, 86_400, 2.0, false), (21_600, 4 * 86_400, 1.0, false)];
const BASE_S: i64 = 28 * 86_400;

fn policy(
    alerting: &PyrraAlerting,
    budget: f64,
    window: TimeSpan,
    resolution: TimeSpan,
    name: &At<String>,
    report: &mut Report<'_>,
) -> Policy {
    if !alerting.burnrates {
        return Policy::Off;
    }
    let severity = |word: &Option<At<String>>| -> Option<(Speed, Sev)> {
        let word = word.as_ref()?;
        alerts::urgency(&word.it)
    };
    let mut tiers = Vec::new();
    for (&(short_s, long_s, factor, pages), word) in TIERS.iter().zip(&alerting.severities) {
        let usual = if pages { Speed::Fast } else { Speed::Slow };
        let (speed, sev) = match severity(word) {
            Some((speed, sev)) => (speed, Some(sev)),
            None => (usual, None),
        };
        let (short_s, long_s) = (scaled(short_s, window), scaled(long_s, window));
        tiers.push(AlertTier { long_s, short_s: Some(short_s), threshold: format!("{factor}x"), factor, speed, sev });
    }
    let absent = severity(&alerting.absent_severity);
    let resolved = alerts::resolve(&tiers, budget, window.seconds(), resolution);
    for warning in resolved.warnings {
        report.warn_at(name.place, "", Code::UselessBurn, warning);
    }
    match (resolved.policy, absent) {
        (Policy::Clauses { clauses, mut severity }, Some((_, sev))) => {
            severity.push((Condition::DataMissing, sev));
            Policy::Clauses { clauses, severity }
        }
        (policy, _) => policy,
    }
}

/// A window of 28 days' tiers in one of another length, to the minute, as Pyrra rounds it; at least a minute.
fn scaled(seconds: i64, window: TimeSpan) -> i64 {
    let exact = window.seconds() as f64 * seconds as f64 / BASE_S as f64;
    ((exact / 60.0).round() as i64).max(1) * 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_those_that_pyrra_writes_for_thirty_days() {
        let window = TimeSpan::parse("30d").expect("a duration");
        let shown: Vec<String> = TIERS
            .iter()
            .flat_map(|(short_s, long_s, _, _)| [*short_s, *long_s])
            .map(|seconds| TimeSpan::from_seconds(scaled(seconds, window)).expect("a span").to_string())
            .collect();
        assert_eq!(shown, ["5m", "1h4m", "32m", "6h26m", "2h9m", "1d1h43m", "6h26m", "4d6h51m"]);
    }
}
