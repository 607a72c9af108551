//! One entry under `slo:`: what it promises and where its events come from.
//!
//! The scalar form says the objective (`availability: 99.9`) or the bound (`latency_p95_ms: 800`); the long form says
//! the same as `objective` or `max`, and everything else.

use std::collections::BTreeMap;

use crate::engine::severity::SeverityRule;
use crate::engine::{Slo, Speed, Unit};

use super::alerting::{self, PlacedClause};
use super::burn::{Misfit, shown};
use super::defaults::Defaults;
use super::duration::TimeSpan;
use super::indicator::Indicator;
use super::model::{SliSource, SloSpec};
use super::problem::{Code, Place};
use super::reader::{At, Fields, Report};
use super::sli::{self, Telemetry};
use super::tree::{Key, Value};

/// What the service says for all its SLOs.
pub(crate) struct Service<'a> {
    pub name: String,
    pub owner: String,
    pub telemetry: Option<Telemetry<'a>>,
    /// `None`: the default policy.
    pub clauses: Option<Vec<PlacedClause<'a>>>,
    pub severity: Vec<SeverityRule>,
    pub annotations: BTreeMap<String, String>,
    pub resolution: TimeSpan,
    pub defaults: &'static Defaults,
}

/// An SLO and the place of its key.
pub(crate) struct PlacedSlo {
    pub spec: SloSpec,
    pub place: Place,
}

/// Labels of an alert's own identity: a series label of that name would be lost.
const RESERVED_LABELS: [&str; 10] =
    ["alertname", "service", "slo", "slo_id", "owner", "severity", "sev", "kind", "le", "quantile"];

/// The parts of the long form that every SLO has.
struct Common<'a> {
    objective: Option<At<'a>>,
    window: Option<TimeSpan>,
    confidence: Confidence,
    by: Vec<String>,
    clauses: Option<Vec<PlacedClause<'a>>>,
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Copy)]
enum Confidence {
    Default,
    Off,
    At(f64),
}

fn common<'a>(fields: &mut Fields<'a>, service: &Service<'_>, report: &mut Report<'_>) -> Common<'a> {
    let objective = fields.get("objective");
    let window = fields.get("window").and_then(|at| window(&at, report));
    let confidence = fields.get("confidence").map_or(Confidence::Default, |at| confidence(&at, report));
    let by = fields.get("by").and_then(|at| by(&at, report)).unwrap_or_default();
    let clauses = fields.get("alert_policies").map(|at| alerting::policies(&at, report));
    let mut annotations = service.annotations.clone();
    for key in ["description", "runbook"] {
        if let Some(text) = fields.get(key).and_then(|at| at.text(report)) {
            annotations.insert(key.into(), text.into());
        }
    }
    Common { objective, window, confidence, by, clauses, annotations }
}

/// Reads a rolling window.
pub(crate) fn window(at: &At<'_>, report: &mut Report<'_>) -> Option<TimeSpan> {
    let calendar = match &at.node.value {
        Value::Map(_) => true,
        Value::Text(text) => {
            let text = text.to_lowercase();
            ["calendar", "month", "quarter", "week", "year", "monthly", "weekly"]
                .iter()
                .any(|word| text == *word || text.starts_with("calendar"))
        }
        _ => false,
    };
    if calendar {
        report
            .error(at, Code::InvalidDuration, "calendar windows are not supported yet: a window is a rolling duration")
            .write(format!("{}: 30d", at.key()));
        return None;
    }
    at.duration(report)
}

fn confidence(at: &At<'_>, report: &mut Report<'_>) -> Confidence {
    match &at.node.value {
        Value::Text(text) if text == "off" => return Confidence::Off,
        Value::Bool(false) => return Confidence::Off,
        _ => {}
    }
    match at.number(report) {
        Some(number) if number > 0.0 && number <= 0.5 => Confidence::At(number),
        Some(_) => {
            let what = "confidence is the chance of a false alarm that you accept: over 0, at most 0.5";
            report.error(at, Code::InvalidValue, what).write("confidence: 0.001, or off");
            Confidence::Default
        }
        None => Confidence::Default,
    }
}

fn by(at: &At<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let names = sli::label_names(at, report)?;
    for name in &names {
        if RESERVED_LABELS.contains(&name.as_str()) {
            let what = format!("`by` cannot have {name:?}: alerts have a label of that name of their own");
            report.error(at, Code::InvalidName, what);
        }
    }
    Some(names)
}

/// Reads an objective in percent.
pub(crate) fn objective(at: &At<'_>, report: &mut Report<'_>) -> Option<f64> {
    let number = at.number(report)?;
    let key = at.key();
    if number == 100.0 {
        report
            .error(at, Code::InvalidObjective, "an objective of 100 has no error budget")
            .write(format!("{key}: 99.9"));
        return None;
    }
    if number > 0.0 && number <= 1.0 {
        let percent = (number * 1e8).round() / 1e6;
        let instead = if percent < 100.0 { shown(percent) } else { "99.9".into() };
        report
            .error(at, Code::InvalidObjective, format!("an objective is in percent, and {number} % is nearly nothing"))
            .write(format!("{instead}, not {number}"));
        return None;
    }
    if number <= 0.0 || number > 100.0 {
        report
            .error(
                at,
                Code::InvalidObjective,
                format!("an objective is a percentage over 0 and under 100, found {number}"),
            )
            .write(format!("{key}: 99.9"));
        return None;
    }
    if number < 50.0 {
        let lets = shown(100.0 - number);
        report.warn(
            at,
            Code::InvalidObjective,
            format!("an objective of {number} % lets {lets} % of all events be bad"),
        );
    }
    Some(number)
}

/// Reads the value of a known key of `slo:`.
pub(crate) fn read(
    key: &Key,
    at: &At<'_>,
    indicator: Indicator,
    service: &Service<'_>,
    report: &mut Report<'_>,
) -> Option<PlacedSlo> {
    let mut bound = None;
    let mut events = false;
    let mut explicit = None;
    let mut broken = false;
    let mut said;
    match &at.node.value {
        Value::Map(_) => {
            let mut fields = at.map(report)?;
            said = common(&mut fields, service, report);
            if indicator != Indicator::Availability {
                bound = fields.need(report, "max", "800").and_then(|at| positive(&at, report));
                broken |= bound.is_none();
            }
            let method = fields.get("method");
            events = method.as_ref().is_some_and(|at| method_is_events(at, indicator, report));
            if let Some(at) = fields.get("sli") {
                explicit = sli::explicit(&at, indicator, bound, report);
                broken |= explicit.is_none();
            }
            let on_gauge = explicit.as_ref().is_some_and(|found| matches!(found.source, SliSource::Gauge { .. }));
            if let (Some(method), true, true) = (&method, events, on_gauge) {
                let what = "a gauge has one value per slice and no events to count";
                report.error(method, Code::InvalidSli, what).write("leave method out");
            }
            if indicator == Indicator::Availability && said.objective.is_none() {
                fields.need(report, "objective", "99.9");
            }
            fields.finish(report);
        }
        _ => {
            said = Common {
                objective: None,
                window: None,
                confidence: Confidence::Default,
                by: Vec::new(),
                clauses: None,
                annotations: service.annotations.clone(),
            };
            match indicator {
                Indicator::Availability => said.objective = Some(at.clone()),
                _ => bound = Some(positive(at, report)?),
            }
        }
    }
    let objective = match (&said.objective, indicator) {
        (Some(at), _) => objective(at, report),
        (None, Indicator::Quantile { per_mille, .. }) if events => Some(f64::from(per_mille) / 10.0),
        (None, Indicator::Availability) => None,
        (None, _) => Some(service.defaults.objective_of_slices),
    };
    let source = match (&explicit, broken) {
        (Some(found), _) => Ok(found.source.clone()),
        (None, true) => return None,
        (None, false) => sli::from_preset(service.telemetry.as_ref(), indicator, bound),
    };
    let unit = match (indicator, &source) {
        (_, Ok(SliSource::Gauge { .. })) | (Indicator::Freshness { .. }, _) => Unit::GaugeSlices,
        (Indicator::Quantile { per_mille, .. }, _) if !events => {
            Unit::QuantileSlices { quantile: f64::from(per_mille) / 1000.0 }
        }
        _ => Unit::Events,
    };
    let target_labels = explicit.and_then(|found| found.target_labels);
    finish(key, &indicator.name(), objective?, unit, source, target_labels, said, service, report)
}

fn positive(at: &At<'_>, report: &mut Report<'_>) -> Option<f64> {
    let number = at.number(report)?;
    if number <= 0.0 {
        report.error(at, Code::InvalidValue, format!("a bound of {number} is never kept: it must be over zero"));
        return None;
    }
    Some(number)
}

fn method_is_events(at: &At<'_>, indicator: Indicator, report: &mut Report<'_>) -> bool {
    let events = at.choice(report, &[("slices", false), ("events", true)]) == Some(true);
    match (indicator, events) {
        (Indicator::Quantile { .. }, _) | (Indicator::Availability, true) => {}
        (Indicator::Availability, false) => {
            let what = "availability counts events: `method` belongs to quantiles such as latency_p95_ms";
            report.error(at, Code::InvalidSli, what).write("leave method out");
        }
        (Indicator::Freshness { .. }, _) => {
            let what = "feature freshness counts slices: `method` belongs to quantiles such as latency_p95_ms";
            report.error(at, Code::InvalidSli, what).write("leave method out");
        }
    }
    events
}

/// Reads one entry of `custom:`.
pub(crate) fn read_custom(at: &At<'_>, service: &Service<'_>, report: &mut Report<'_>) -> Option<PlacedSlo> {
    let mut fields = at.map(report)?;
    let name = fields.need(report, "name", "checkout-funnel").and_then(|at| super::service::name(&at, report));
    let place = fields.place_of("name");
    let said = common(&mut fields, service, report);
    let objective = match &said.objective {
        Some(at) => objective(at, report),
        None => {
            fields.need(report, "objective", "99.9");
            None
        }
    };
    let (events, slices) = (fields.get("events"), fields.get("slices"));
    let mut target_labels = None;
    let source = match (&events, &slices) {
        (Some(at), None) => at.map(report).and_then(|mut inner| {
            let (total, bad, good) = (inner.get("total"), inner.get("bad"), inner.get("good"));
            target_labels = inner.get("target_labels").and_then(|at| sli::label_names(&at, report));
            inner.finish(report);
            sli::ratio(at, total, bad, good, report)
        }),
        (None, Some(at)) => at.map(report).and_then(|mut inner| {
            let query = inner.need(report, "query", "queue_depth");
            let expr = query.and_then(|at| sli::read_gauge(&at, report));
            let bound = sli::min_or_max(&mut inner, report);
            inner.finish(report);
            Some(SliSource::Gauge { expr: expr?.to_string(), bound: bound? })
        }),
        (None, None) => {
            report
                .error(at, Code::InvalidSli, "a custom SLO needs `events` or `slices`")
                .write("events: {total: ..., bad: ...} or slices: {query: ..., max: ...}");
            None
        }
        (Some(_), Some(slices)) => {
            report.error(slices, Code::InvalidSli, "`events` and `slices` are both given").write("one of them");
            None
        }
    };
    fields.finish(report);
    let unit = if events.is_some() { Unit::Events } else { Unit::GaugeSlices };
    let key = Key { name: String::new(), place };
    finish(&key, &name?, objective?, unit, Ok(source?), target_labels, said, service, report)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one SLO, each read elsewhere")]
fn finish(
    key: &Key,
    name: &str,
    objective: f64,
    unit: Unit,
    source: Result<SliSource, String>,
    target_labels: Option<Vec<String>>,
    said: Common<'_>,
    service: &Service<'_>,
    report: &mut Report<'_>,
) -> Option<PlacedSlo> {
    let window = said.window.unwrap_or(service.defaults.window);
    let clauses = said.clauses.as_ref().or(service.clauses.as_ref());
    let mut slo = Slo {
        id: format!("{}-{name}", service.name),
        service: service.name.clone(),
        name: name.to_string(),
        owner: service.owner.clone(),
        objective,
        window_s: window.seconds(),
        unit,
        burn: Vec::new(),
        confidence: match said.confidence {
            Confidence::Default => Some(service.defaults.confidence),
            Confidence::Off => None,
            Confidence::At(number) => Some(number),
        },
        severity: service.severity.iter().chain(&service.defaults.severity).cloned().collect(),
        by: said.by,
        annotations: said.annotations,
    };
    match clauses {
        Some(clauses) => resolve_written(clauses, &mut slo, window, service.resolution, report)?,
        None => resolve_defaults(&mut slo, key.place, window, service, report),
    }
    if let Err(reason) = &source {
        let problem = report.warn_at(
            key.place,
            &format!("slo.{}", key.name),
            Code::NoSource,
            format!("{} has no source of events: {reason}", slo.id),
        );
        problem.write("sli: {...} in the long form, or leave the SLO out");
    }
    let target_labels = target_labels
        .or_else(|| service.telemetry.as_ref().and_then(|telemetry| telemetry.target_labels.clone()))
        .unwrap_or_else(|| service.defaults.target_labels.clone());
    Some(PlacedSlo { spec: SloSpec { slo, source, target_labels }, place: key.place })
}

/// Resolves clauses that the user wrote; a misfit is an error at the clause.
fn resolve_written(
    clauses: &[PlacedClause<'_>],
    slo: &mut Slo,
    window: TimeSpan,
    resolution: TimeSpan,
    report: &mut Report<'_>,
) -> Option<()> {
    let mut fits = true;
    for placed in clauses {
        match placed.clause.resolve(placed.speed, window, slo.budget(), resolution) {
            Ok(clause) => {
                if clause.factor < 1.0 {
                    let what = format!(
                        "{:?} is a burn rate of {}x over {window}: it fires although the budget would last",
                        clause.text,
                        shown(clause.factor)
                    );
                    report.warn(&placed.at, Code::UselessBurn, what).write("a burn rate of 1x or more");
                }
                slo.burn.push(clause);
            }
            Err(misfit) => {
                fits = false;
                let (what, instead, code) = match misfit {
                    Misfit::Error { what, instead } => (what, instead, Code::InvalidBurn),
                    Misfit::NeverFires { what, instead } => (what, Some(instead), Code::UselessBurn),
                };
                report.error(&placed.at, code, what).instead = instead;
            }
        }
    }
    fits.then_some(())
}

/// Resolves the default policy; clauses that do not fit this SLO are left out, and said.
fn resolve_defaults(slo: &mut Slo, place: Place, window: TimeSpan, service: &Service<'_>, report: &mut Report<'_>) {
    let (budget, mut left_out) = (slo.budget(), Vec::new());
    for (speed, clause) in &service.defaults.clauses {
        match clause.resolve(*speed, window, budget, service.resolution) {
            Ok(clause) => slo.burn.push(clause),
            Err(_) => left_out.push(format!("{:?}", clause.text)),
        }
    }
    if left_out.is_empty() {
        return;
    }
    let none = if slo.burn.iter().any(|clause| clause.speed == Speed::Fast) { "" } else { ", so nothing pages" };
    let what = format!(
        "of the default burn policy, {} cannot fire with a budget of {} % over {window} and is left out{none}",
        left_out.join(", "),
        shown(budget * 100.0)
    );
    report
        .warn_at(place, &format!("slo.{}", slo.name), Code::UselessBurn, what)
        .write(format!("alert_policies with burn rates under {}x", shown(1.0 / budget)));
}
