//! One SLO: what every entry under `slo:` can say (`keyed` and `custom` read the rest), and the SLO it makes.

pub(crate) mod custom;
pub(crate) mod keyed;

use std::collections::BTreeMap;

use crate::engine::alert::AlertKind;
use crate::engine::severity::SeverityRule;
use crate::engine::{Period, Slo, Terms, Unit};

use super::alerting::{self, PlacedClause};
use super::burn::shown;
use super::defaults::Defaults;
use super::duration::TimeSpan;
use super::model::{Origin, SliSource, SloSpec};
use super::origin;
use super::problem::{Code, Place};
use super::reader::{At, Fields, Report};
use super::sli;
use super::telemetry::Telemetry;
use super::tree::Value;
use super::window;

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
pub(crate) const RESERVED_LABELS: [&str; 10] =
    ["alertname", "service", "slo", "slo_id", "owner", "severity", "sev", "kind", "le", "quantile"];

/// Largest `series_max`: each child costs as much memory and evaluation as an SLO.
const SERIES_MAX: u64 = 1_000;

/// The parts of the long form that every SLO has.
struct Common<'a> {
    objective: Option<At<'a>>,
    /// The main one first; empty for the default.
    windows: Vec<Period>,
    confidence: Confidence,
    by: Vec<String>,
    series_max: Option<u32>,
    clauses: Option<Vec<PlacedClause<'a>>>,
    /// Rows of its own, above those of the service.
    severity: Vec<SeverityRule>,
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    mute: Vec<AlertKind>,
    origin: Option<Origin>,
}

#[derive(Clone, Copy)]
enum Confidence {
    Default,
    Off,
    At(f64),
}

fn common<'a>(fields: &mut Fields<'a>, service: &Service<'_>, report: &mut Report<'_>) -> Common<'a> {
    let objective = fields.get("objective");
    let windows = window::windows(fields, report);
    if let Some(at) = fields.get("resolution") {
        let what = "the length of a slice is one for all SLOs of a daemon: an SLO cannot have its own";
        report.error(&at, Code::InvalidValue, what).write("slowburn run --resolution 30s, or a second daemon");
    }
    let confidence = fields.get("confidence").map_or(Confidence::Default, |at| confidence(&at, report));
    let by = fields.get("by").and_then(|at| by(&at, report)).unwrap_or_default();
    let series_max = fields.get("series_max").and_then(|at| series_max(&at, &by, report));
    let clauses = fields.get("alert_policies").map(|at| alerting::policies(&at, report));
    let severity = fields.get("severity_mapping").map(|at| alerting::severities(&at, report)).unwrap_or_default();
    let mut annotations = service.annotations.clone();
    for key in ["description", "runbook"] {
        if let Some(text) = fields.get(key).and_then(|at| at.text(report)) {
            annotations.insert(key.into(), text.into());
        }
    }
    if let Some(at) = fields.get("annotations") {
        annotations.extend(alerting::labels(&at, report));
    }
    let labels = fields.get("labels").map(|at| own_labels(&at, &by, report)).unwrap_or_default();
    let mute = fields.get("mute").map(|at| alerting::mute(&at, report)).unwrap_or_default();
    let origin = fields.get("origin").and_then(|at| origin::read(&at, report));
    Common { objective, windows, confidence, by, series_max, clauses, severity, annotations, labels, mute, origin }
}

/// Reads the labels that all alerts of an SLO carry.
fn own_labels(at: &At<'_>, by: &[String], report: &mut Report<'_>) -> BTreeMap<String, String> {
    let labels = alerting::labels(at, report);
    for (name, _) in &labels {
        let taken = by.contains(name) || RESERVED_LABELS.contains(&name.as_str());
        if taken {
            let what = format!("`labels` cannot have {name:?}: alerts have a label of that name of their own");
            report.error(at, Code::InvalidName, what).write("another name");
        }
    }
    labels.into_iter().collect()
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
            report
                .error(at, Code::InvalidName, what)
                .write("a label of another name, relabelled at the scrape if need be");
        }
    }
    Some(names)
}

/// Reads how many children have rows of their own.
fn series_max(at: &At<'_>, by: &[String], report: &mut Report<'_>) -> Option<u32> {
    let max = at.whole(report, 1..=SERIES_MAX)?;
    if by.is_empty() {
        let what = "`series_max` bounds the children of `by`, and there is no `by`";
        report.error(at, Code::InvalidValue, what).write("by: [model], or leave series_max out");
        return None;
    }
    u32::try_from(max).ok()
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

/// The parts of one SLO, read.
struct Parts<'a> {
    name: String,
    objective: f64,
    unit: Unit,
    source: Result<SliSource, String>,
    target_labels: Option<Vec<String>>,
    said: Common<'a>,
}

impl Parts<'_> {
    /// The SLO they make, with its burn clauses resolved.
    fn finish(self, place: Place, service: &Service<'_>, report: &mut Report<'_>) -> Option<PlacedSlo> {
        let mut windows = self.said.windows.into_iter();
        let main = windows.next().unwrap_or(Period::Rolling(service.defaults.window.seconds()));
        let window_s = main.nominal_s();
        let calendar = match main {
            Period::Calendar(calendar) => Some(calendar),
            Period::Rolling(_) => None,
        };
        let mut slo = Slo {
            id: format!("{}-{}", service.name, self.name),
            service: service.name.clone(),
            name: self.name,
            owner: service.owner.clone(),
            objective: self.objective,
            window_s,
            terms: Terms { calendar, more: windows.collect(), ..Terms::default() },
            unit: self.unit,
            burn: Vec::new(),
            confidence: match self.said.confidence {
                Confidence::Default => Some(service.defaults.confidence),
                Confidence::Off => None,
                Confidence::At(number) => Some(number),
            },
            severity: (self.said.severity.iter().chain(&service.severity).chain(&service.defaults.severity))
                .cloned()
                .collect(),
            by: self.said.by,
            series_max: self.said.series_max.unwrap_or(service.defaults.series_max),
            annotations: self.said.annotations,
            labels: self.said.labels,
            mute: self.said.mute,
        };
        match self.said.clauses.as_ref().or(service.clauses.as_ref()) {
            Some(clauses) => alerting::resolve(clauses, &mut slo, service.resolution, report)?,
            None => alerting::resolve_defaults(service.defaults, &mut slo, place, service.resolution, report),
        }
        let target_labels = self
            .target_labels
            .or_else(|| service.telemetry.as_ref().and_then(|telemetry| telemetry.target_labels.clone()))
            .unwrap_or_else(|| service.defaults.target_labels.clone());
        let spec = SloSpec { slo, source: self.source, target_labels, origin: self.said.origin };
        Some(PlacedSlo { spec, place })
    }
}
