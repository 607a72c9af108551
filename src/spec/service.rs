//! `service.yaml`: a service, its owner, its SLOs, and who hears of them.

use std::collections::BTreeMap;

use crate::engine::EVERY_LABEL;

use super::alerting;
use super::defaults::defaults;
use super::duration::TimeSpan;
use super::indicator::{EXAMPLES, Indicator};
use super::model;
use super::preset::Presets;
use super::problem::{Code, Place};
use super::promise::{self, PlacedSlo};
use super::reader::{At, Fields, Report, nearest, unknown_key};
use super::telemetry;

/// A service as it was read, with the place of its name.
pub(crate) struct PlacedService {
    pub service: model::Service,
    pub place: Place,
    pub slos: Vec<PlacedSlo>,
    /// Nothing of it was refused, so what it does not have does not exist.
    pub whole: bool,
    /// It was made of a foreign file, each of which has some of its SLOs.
    pub imported: bool,
}

const SLOS_MAX: usize = 200;

/// Reads a service document.
pub(crate) fn read<'a>(
    root: &At<'a>,
    presets: &'a Presets,
    resolution: TimeSpan,
    report: &mut Report<'_>,
) -> Option<PlacedService> {
    let errors = report.errors();
    let mut fields = root.map(report)?;
    let name_at = fields.need(report, "name", "checkout");
    let place = name_at.as_ref().map_or(root.node.place, |at| at.node.place);
    let named = name_at.and_then(|at| super::name::read(&at, report));
    report.subject = named.as_ref().map_or("this service".into(), |name| format!("service {name}"));
    let shown = report.subject.clone();

    let is_blank = |at: &At<'_>| matches!(&at.node.value, super::tree::Value::Text(text) if text.trim().is_empty());
    let owner = fields.get("owner").filter(|at| !is_blank(at));
    if owner.is_none() {
        let what = format!("{shown} has no owner: no SLO, no owner, no deploy");
        let subject = std::mem::take(&mut report.subject);
        report.error_at(fields.place_of("owner"), "", Code::NoOwner, what).write("owner: team-checkout");
        report.subject = subject;
    }
    let owner = owner.and_then(|at| at.text(report));
    let mut optional = |key| fields.get(key).and_then(|at| at.text(report)).map(str::to_string);
    let (runtime, description) = (optional("runtime"), optional("description"));

    let slo_at = fields.get("slo");
    let mut slo_fields = slo_at.as_ref().and_then(|at| at.map(report));
    let policies_below = slo_fields.as_mut().and_then(|slo| slo.get("alert_policies"));
    let policies_at = one_of(fields.get("alert_policies"), policies_below, "alert_policies", report);
    let clauses = policies_at.map(|at| alerting::policies(&at, report));

    let incident = fields.get("incident").and_then(|at| read_incident(&at, report)).unwrap_or_default();
    let mapping_at = one_of(fields.get("severity_mapping"), incident.severity_mapping, "severity_mapping", report);
    let severity = mapping_at.as_ref().map(|at| alerting::severities(at, report)).unwrap_or_default();
    let telemetry = fields.get("telemetry").and_then(|at| telemetry::read(&at, presets, report));
    let target_labels = fields.get("target_labels").and_then(|at| super::sli::target_labels(&at, report));
    let workloads = fields.get("workloads").map(|at| super::workload::read(&at, report)).unwrap_or_default();
    fields.finish(report);

    let mut annotations = BTreeMap::new();
    for (key, text) in [("runbook", &incident.runbook), ("channel", &incident.channel), ("description", &description)] {
        if let Some(text) = text {
            annotations.insert(key.to_string(), text.clone());
        }
    }
    let parts = promise::Service {
        name: named.clone().unwrap_or_else(|| "unnamed".into()),
        owner: owner.unwrap_or("nobody").to_string(),
        telemetry,
        clauses,
        severity,
        annotations,
        target_labels,
        resolution,
        defaults: defaults(),
    };
    let slos = match slo_fields {
        Some(slo_fields) => read_slos(&slo_fields, &parts, report),
        None => Vec::new(),
    };
    if slo_at.is_none() || slo_at.is_some_and(|at| only_policies(&at)) {
        let subject = std::mem::take(&mut report.subject);
        let what = format!("{shown} has no SLO: no SLO, no owner, no deploy");
        report.error_at(place, "", Code::NoSlo, what).write("slo: {availability: 99.9}");
        report.subject = subject;
    }
    if let Some(at) = &mapping_at {
        check_when(at, &parts, &slos, report);
    }
    let service = model::Service {
        name: named?,
        owner: owner?.to_string(),
        runtime,
        channel: incident.channel,
        runbook: incident.runbook,
        workloads,
    };
    Some(PlacedService { service, place, slos, whole: report.errors() == errors, imported: false })
}

/// Whether a `slo:` map names no SLO.
fn only_policies(at: &At<'_>) -> bool {
    match &at.node.value {
        super::tree::Value::Map(entries) => entries.iter().all(|(key, _)| key.name == "alert_policies"),
        _ => false,
    }
}

/// A key that may stand in two places stands in one of them.
fn one_of<'a>(first: Option<At<'a>>, second: Option<At<'a>>, key: &str, report: &mut Report<'_>) -> Option<At<'a>> {
    if let (Some(first), Some(second)) = (&first, &second) {
        let what = format!("{key} is given twice, also on line {}", first.node.place.line);
        report.error(second, Code::DuplicateKey, what).write("one of them");
    }
    first.or(second)
}

#[derive(Default)]
struct IncidentKeys<'a> {
    channel: Option<String>,
    runbook: Option<String>,
    severity_mapping: Option<At<'a>>,
}

fn read_incident<'a>(at: &At<'a>, report: &mut Report<'_>) -> Option<IncidentKeys<'a>> {
    let mut fields = at.map(report)?;
    let mut optional = |key| fields.get(key).and_then(|at| at.text(report)).map(str::to_string);
    let (channel, runbook) = (optional("channel"), optional("runbook"));
    let severity_mapping = fields.get("severity_mapping");
    fields.finish(report);
    Some(IncidentKeys { channel, runbook, severity_mapping })
}

fn read_slos(fields: &Fields<'_>, service: &promise::Service<'_>, report: &mut Report<'_>) -> Vec<PlacedSlo> {
    let mut slos: Vec<PlacedSlo> = Vec::new();
    for (key, at) in fields.entries() {
        match key.name.as_str() {
            "alert_policies" => continue,
            "custom" => {
                let items = at.list(report).unwrap_or_default();
                if items.len() > SLOS_MAX {
                    report.error(&at, Code::InvalidValue, format!("over {SLOS_MAX} custom SLOs"));
                }
                if items.is_empty() && matches!(at.node.value, super::tree::Value::List(_)) {
                    report.error(&at, Code::MissingKey, "the list of custom SLOs is empty").write("leave custom out");
                }
                for item in items.iter().take(SLOS_MAX) {
                    slos.extend(promise::custom::read(item, service, report));
                }
            }
            name => match Indicator::parse(name) {
                Ok(_) if at.node.value == super::tree::Value::Null => {
                    let what = format!("{name} has no value: an objective or a bound");
                    report.error(&at, Code::MissingKey, what).write(match name {
                        "availability" => "availability: 99.9".to_string(),
                        _ => format!("{name}: 800"),
                    });
                }
                Ok(indicator) => slos.extend(promise::keyed::read(key, &at, indicator, service, report)),
                Err(Some(what)) => {
                    let instead = nearest(name, &EXAMPLES).unwrap_or("latency_p95_ms");
                    report
                        .error_at(key.place, "slo", Code::UnknownKey, what)
                        .write(format!("a key such as {instead}:"));
                }
                Err(None) => unknown_key(report, key, "slo", &EXAMPLES),
            },
        }
    }
    let mut kept: Vec<PlacedSlo> = Vec::new();
    for slo in slos {
        match kept.iter().find(|earlier| earlier.spec.slo.id == slo.spec.slo.id) {
            Some(earlier) => {
                let what =
                    format!("the SLO {} is defined twice, first on line {}", slo.spec.slo.id, earlier.place.line);
                report.error_at(slo.place, "slo", Code::DuplicateId, what).write("one of them");
            }
            None => kept.push(slo),
        }
    }
    kept
}

/// A `when` on a label that no SLO of the service fans out to never matches.
fn check_when(at: &At<'_>, service: &promise::Service<'_>, slos: &[PlacedSlo], report: &mut Report<'_>) {
    let Some(items) = (match at.node.value {
        super::tree::Value::List(_) => at.list(report),
        _ => None,
    }) else {
        return;
    };
    let has = |label: &str| slos.iter().any(|slo| slo.spec.slo.by.iter().any(|by| by == label || by == EVERY_LABEL));
    if service.severity.iter().all(|rule| rule.when.is_empty()) || slos.is_empty() {
        return;
    }
    for item in &items {
        let Some(when) = item.node.get("when") else { continue };
        let super::tree::Value::Map(entries) = &when.value else { continue };
        for (key, value) in entries {
            if !has(&key.name) {
                let here = item.child(value, "when");
                let what =
                    format!("no SLO of this service has the series label {:?}, so this row never matches", key.name);
                report.warn(&here, Code::Unreachable, what).write(format!("by: [{}] at the SLO", key.name));
            }
        }
    }
}
