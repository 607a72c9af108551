//! OpenSLO v1: objects of seven kinds that name each other, over all documents of all files.
//!
//! Only an SLO becomes something; the other kinds are read where an SLO names them. What the specification leaves open
//! is decided in `docs/import.md`, one by one.

mod alert;
mod indicator;
mod objects;

use std::collections::BTreeMap;

use super::alerts::{self, Policy};
use super::draft::{At, Draft, Source, Window};
use super::labels::{self, Label};
use super::shape::Reading;
use super::{Document, ImportContext};
use crate::spec::duration::TimeSpan;
use crate::spec::origin::{Origin, OriginFormat};
use crate::spec::problem::{Code, Place};
use crate::spec::reader::{At as Node, Fields, Report};
use crate::spec::tree::Value;
use indicator::ReadIndicator;
use objects::{Kind, Objects, OpenSloObject};

/// Drafts of all SLOs among the documents.
pub(crate) fn read(documents: &[Document<'_>], cx: &ImportContext<'_>, reports: &mut [Report<'_>]) -> Vec<Draft> {
    let objects = Objects::of(documents, reports);
    let mut drafts = Vec::new();
    for object in objects.of_kind(Kind::Slo) {
        drafts.extend(slo(object, &objects, cx, reports).unwrap_or_default());
        reports.iter_mut().for_each(|report| report.subject.clear());
    }
    drafts
}

/// How errors use up the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Occurrences,
    Timeslices,
    RatioTimeslices,
}

/// One entry of `objectives`.
struct Objective {
    name: Option<String>,
    /// Percent.
    target: At<f64>,
    op: Option<At<String>>,
    value: Option<f64>,
    slice_target: Option<f64>,
    slice_window: Option<At<TimeSpan>>,
}

fn slo(
    object: &OpenSloObject<'_>,
    objects: &Objects<'_>,
    cx: &ImportContext<'_>,
    reports: &mut [Report<'_>],
) -> Option<Vec<Draft>> {
    let file = object.file;
    reports[file].subject = format!("SLO {}", object.name.it);
    let report = &mut reports[file];
    let mut spec = object.spec(report)?;
    let description = spec.filled("description").and_then(|at| at.text(report)).map(str::to_string);
    let service_at = spec.need(report, "service", "checkout");
    let service =
        service_at.and_then(|at| Some(At { it: crate::spec::name::read(&at, report)?, place: at.node.place }));
    let window = spec.need(report, "timeWindow", "[{duration: 30d, isRolling: true}]");
    let window = window.and_then(|at| time_window(&at, report));
    let methods = [
        ("Occurrences", Method::Occurrences),
        ("Timeslices", Method::Timeslices),
        ("RatioTimeslices", Method::RatioTimeslices),
    ];
    let method = spec.need(report, "budgetingMethod", "Occurrences").and_then(|at| at.choice(report, &methods));
    let objectives_at = spec.need(report, "objectives", "[{target: 0.999}]");
    let objectives = objectives_at.as_ref().and_then(|at| read_objectives(at, report));
    let (inline, by_ref, policies) =
        (spec.filled("indicator"), spec.filled("indicatorRef"), spec.filled("alertPolicies"));
    let at = spec.at.clone();
    spec.finish(report);

    let indicator = match (inline, by_ref) {
        (Some(at), None) => indicator::inline(&at, file, objects, reports),
        (None, Some(at)) => indicator::by_name(&at, file, objects, reports),
        (None, None) => {
            let what = "this SLO has no indicator";
            reports[file].error(&at, Code::InvalidSli, what).write("indicatorRef: checkout-sli, or indicator: {...}");
            None
        }
        (Some(_), Some(at)) => {
            let what = "`indicator` and `indicatorRef` are both given";
            reports[file].error(&at, Code::InvalidSli, what).write("one of them");
            None
        }
    };
    let mut owner_labels = object.labels.clone();
    if let Some(service) = &service
        && let Some(found) = objects.find(Kind::Service, &service.it)
    {
        let near = |label: &Label| Label { value: At { place: service.place, ..label.value.clone() }, ..label.clone() };
        match found.file == file {
            true => owner_labels.extend(found.labels.iter().cloned()),
            false => owner_labels.extend(found.labels.iter().map(near)),
        }
    }
    let instead = "metadata: {labels: {owner: team-checkout}} at the SLO or its Service";
    let owner = labels::owner_or(&owner_labels, cx.owner, object.name.place, instead, &mut reports[file]);
    let alerting = match &policies {
        Some(at) => alert::read(at, file, objects, reports),
        None => Some(alert::Alerting::default()),
    };
    let (service, window, method, objectives, indicator, owner, alerting) =
        (service?, window?, method?, objectives?, indicator?, owner?, alerting?);
    let several = objectives.len() > 1;
    if several && matches!(indicator, ReadIndicator::Threshold { .. }) {
        let what = "an indicator that is compared with a threshold has one objective";
        reports[file].error(objectives_at.as_ref()?, Code::InvalidObjective, what).write("one SLO for each objective");
        return None;
    }
    let mut drafts = Vec::new();
    for (index, objective) in objectives.iter().enumerate() {
        let own = within(&service.it, &object.name.it);
        let name = match (several, &objective.name) {
            (false, _) => own,
            (true, Some(name)) => format!("{own}-{name}"),
            (true, None) => format!("{own}-{}", index + 1),
        };
        let name = At { it: name, place: if several { objective.target.place } else { object.name.place } };
        let report = &mut reports[file];
        let mut reading = Reading { bare: indicator.is_counter(), fixed: true, notes: indicator.notes().to_vec() };
        let source = source(&indicator, objective, method, cx, &mut reading, &object.name, report)?;
        let budget = (100.0 - objective.target.it) / 100.0;
        let policy = policy(&alerting, budget, &window, cx, &name, &mut reading.notes, report);
        let mut notes = reading.notes;
        notes.extend(alerting.notes.iter().cloned());
        drafts.push(Draft {
            file,
            service: service.clone(),
            owner: owner.clone(),
            objective: objective.target.clone(),
            window: Some(window.clone()),
            source: At { it: source, place: indicator.place(file) },
            policy: At { it: policy, place: policies.as_ref().map_or(name.place, |at| at.node.place) },
            mute: alerting.mute.clone(),
            alerts: BTreeMap::new(),
            labels: labels::of_alerts(&object.labels, &mut notes),
            annotations: labels::annotations(&object.annotations, &mut notes),
            description: description.clone(),
            origin: Origin {
                format: OriginFormat::Openslo,
                service: Some(service.it.clone()),
                slo: object.name.it.clone(),
                alert: None,
                namespace: None,
                labels: plain(&object.labels),
            },
            name,
            notes,
        });
    }
    Some(drafts)
}

/// The name without the service's in front, which the id has anyway.
fn within(service: &str, name: &str) -> String {
    let rest = name.strip_prefix(service).and_then(|rest| rest.strip_prefix('-')).filter(|rest| !rest.is_empty());
    rest.unwrap_or(name).to_string()
}

fn plain(labels: &[Label]) -> BTreeMap<String, String> {
    let fits = |label: &&Label| crate::spec::selector::is_label_name(&label.name) && !label.value.it.is_empty();
    labels.iter().filter(fits).map(|label| (label.name.clone(), label.value.it.clone())).collect()
}

/// Reads `timeWindow`: a list of one.
fn time_window(at: &Node<'_>, report: &mut Report<'_>) -> Option<At<Window>> {
    let items = at.list(report)?;
    let [item] = items.as_slice() else {
        let what = format!("timeWindow is a list of exactly one window, and this one has {}", items.len());
        report.error(at, Code::InvalidDuration, what).write("timeWindow: [{duration: 30d, isRolling: true}]");
        return None;
    };
    let mut fields = item.map(report)?;
    let duration = fields.need(report, "duration", "30d");
    let rolling = fields.need(report, "isRolling", "true").and_then(|at| at.flag(report));
    let calendar = fields.filled("calendar");
    fields.finish(report);
    let duration = duration?;
    let text = duration.text(report)?;
    let calendar_unit = text.ends_with(['M', 'Q', 'Y']);
    if rolling? {
        if calendar_unit {
            let what = format!(
                "{text:?}: months, quarters and years have no fixed length, so they cannot roll (m is minutes)"
            );
            report
                .error(&duration, Code::InvalidDuration, what)
                .write("duration: 30d, or isRolling: false with a calendar");
            return None;
        }
        if let Some(at) = calendar {
            report.error(&at, Code::InvalidDuration, "a rolling window has no calendar").write("isRolling: false");
            return None;
        }
        return Some(At { it: Window::Rolling(span(&duration, report)?), place: duration.node.place });
    }
    let Some(calendar) = calendar else {
        let what = "a window that does not roll needs a calendar";
        report
            .error(item, Code::MissingKey, what)
            .write("calendar: {startTime: \"2025-01-01 00:00:00\", timeZone: Europe/Paris}");
        return None;
    };
    let units = [("1w", "week"), ("1M", "month"), ("1Q", "quarter"), ("1Y", "year")];
    let Some((_, unit)) = units.iter().find(|(word, _)| *word == text) else {
        let what = format!("{text:?} is no period of the calendar (m is minutes, M is a month)");
        report.error(&duration, Code::InvalidDuration, what).write("1w, 1M, 1Q or 1Y; or isRolling: true");
        return None;
    };
    calendar_window(unit, &calendar, duration.node.place, report)
}

/// Reads `calendar`: the first moment of a period, by the clocks of a zone.
fn calendar_window(unit: &'static str, at: &Node<'_>, place: Place, report: &mut Report<'_>) -> Option<At<Window>> {
    let mut fields = at.map(report)?;
    let start_at = fields.need(report, "startTime", "\"2025-01-01 00:00:00\"");
    let zone = fields.need(report, "timeZone", "Europe/Paris");
    let zone = zone.and_then(|at| Some(At { it: at.text(report)?.to_string(), place: at.node.place }));
    fields.finish(report);
    let start_at = start_at?;
    let text = start_at.text(report)?;
    let Ok(start) = text.parse::<jiff::civil::DateTime>() else {
        let what = format!("{text:?} is no date and time without a zone");
        report.error(&start_at, Code::InvalidValue, what).write("startTime: \"2025-01-01 00:00:00\"");
        return None;
    };
    let at_midnight = start.time() == jiff::civil::Time::midnight();
    if !at_midnight || unit != "week" && start.day() != 1 {
        let first = if unit == "week" { "" } else { " of the first of a month" };
        let what = format!("a {unit} begins at midnight{first}, not at {start}");
        report.error(&start_at, Code::InvalidValue, what).write("startTime: \"2025-01-01 00:00:00\"");
        return None;
    }
    let starts = match unit {
        "week" => named(&super::super::window::WEEKDAYS, start.weekday().to_monday_one_offset()),
        "month" => None,
        _ => named(&super::super::window::MONTHS, start.month()),
    };
    Some(At { it: Window::Calendar { unit, zone: zone?, starts }, place })
}

fn named(words: &[(&str, i8)], number: i8) -> Option<String> {
    words.iter().find(|(_, own)| *own == number).map(|(word, _)| word.to_string())
}

/// A duration of OpenSLO: a whole number and one of `m h d w`; `M`, `Q` and `Y` are refused by who may not have them.
fn span(at: &Node<'_>, report: &mut Report<'_>) -> Option<TimeSpan> {
    let text = at.text(report)?;
    let (digits, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let fits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && "mhdw".contains(unit);
    match TimeSpan::parse(text) {
        Ok(span) if fits => Some(span),
        Ok(_) => {
            let what = format!("{text:?} is no duration of OpenSLO: a whole number and one of m, h, d, w");
            report.error(at, Code::InvalidDuration, what).write(format!("{}: 30d", at.key()));
            None
        }
        Err(fault) => {
            report.error(at, Code::InvalidDuration, fault.what).instead = fault.instead;
            None
        }
    }
}

fn read_objectives(at: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<Objective>> {
    let items = at.list(report)?;
    if items.is_empty() || items.len() > 20 {
        report
            .error(at, Code::InvalidObjective, "an SLO has 1 to 20 objectives")
            .write("objectives: [{target: 0.999}]");
        return None;
    }
    let read: Vec<Option<Objective>> = items.iter().map(|item| objective(item, report)).collect();
    read.into_iter().collect()
}

fn objective(at: &Node<'_>, report: &mut Report<'_>) -> Option<Objective> {
    let mut fields = at.map(report)?;
    let composite = ["indicator", "indicatorRef", "compositeWeight"].map(|key| fields.filled(key));
    if let Some(own) = composite.iter().flatten().next() {
        let what = "an objective with an indicator of its own makes a composite SLO, which is not imported";
        report.error(own, Code::InvalidSli, what).write("one SLO for each of the indicators");
    }
    let name = fields.filled("displayName").and_then(|at| at.spelled(report)).map(|name| slug(&name));
    let (ratio, percent) = (fields.filled("target"), fields.filled("targetPercent"));
    let target = match (&ratio, &percent) {
        (Some(at), None) => target(at, report),
        (None, Some(at)) => at.number(report).map(|it| At { it, place: at.node.place }),
        (None, None) => {
            report.error(at, Code::InvalidObjective, "this objective has no target").write("target: 0.999");
            None
        }
        (Some(_), Some(at)) => {
            report
                .error(at, Code::InvalidObjective, "`target` and `targetPercent` are both given")
                .write("one of them");
            None
        }
    };
    let op_at = fields.filled("op");
    let ops = [("lte", "lte"), ("gte", "gte"), ("lt", "lt"), ("gt", "gt")];
    let op = op_at.as_ref().and_then(|at| Some(At { it: at.choice(report, &ops)?.into(), place: at.node.place }));
    let value = fields.filled("value").and_then(|at| at.number(report));
    let slice_target_at = fields.filled("timeSliceTarget");
    let slice_target = slice_target_at.as_ref().and_then(|at| at.number(report));
    if let (Some(at), Some(number)) = (&slice_target_at, slice_target)
        && !(number > 0.0 && number <= 1.0)
    {
        report
            .error(at, Code::InvalidObjective, "timeSliceTarget is a ratio over 0 and at most 1")
            .write("timeSliceTarget: 0.95");
        return None;
    }
    let slice_window = fields.filled("timeSliceWindow").and_then(|at| {
        // The specification lets a bare number stand for minutes.
        if let Value::Number(minutes) = at.node.value {
            let it = TimeSpan::from_seconds((minutes * 60.0) as i64)?;
            return Some(At { it, place: at.node.place });
        }
        Some(At { it: span(&at, report)?, place: at.node.place })
    });
    fields.finish(report);
    let whole = composite.iter().flatten().next().is_none();
    let target = target.filter(|_| whole)?;
    Some(Objective { name, target, op, value, slice_target, slice_window })
}

fn target(at: &Node<'_>, report: &mut Report<'_>) -> Option<At<f64>> {
    let ratio = at.number(report)?;
    if ratio <= 0.0 || ratio >= 1.0 {
        let what = match ratio {
            1.0 => "an objective of 100 has no error budget".to_string(),
            _ => format!("target is a ratio over 0 and under 1, found {ratio}"),
        };
        let instead = if ratio > 1.0 { format!("targetPercent: {ratio}") } else { "target: 0.999".into() };
        report.error(at, Code::InvalidObjective, what).write(instead);
        return None;
    }
    Some(At { it: (ratio * 1e12).round() / 1e10, place: at.node.place })
}

fn slug(name: &str) -> String {
    let plain: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    plain.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-").chars().take(60).collect()
}

/// What an indicator is under an objective and a budgeting method.
fn source(
    indicator: &ReadIndicator,
    objective: &Objective,
    method: Method,
    cx: &ImportContext<'_>,
    reading: &mut Reading,
    name: &At<String>,
    report: &mut Report<'_>,
) -> Option<Source> {
    if let (Some(slice), true) = (&objective.slice_window, method != Method::Occurrences)
        && slice.it != cx.resolution
    {
        let what = format!("timeSliceWindow is {}: slices of Slowburn are {} long", slice.it, cx.resolution);
        report
            .warn_at(slice.place, "", Code::InvalidValue, what)
            .write("slowburn run --resolution, or the numbers of shorter slices");
    }
    if let ReadIndicator::Threshold { .. } = indicator {
        return indicator::compared(indicator, objective, method, reading, name, report);
    }
    if let Some(op) = &objective.op {
        let what = "`op` and `value` belong to a thresholdMetric, and this indicator is a ratio";
        report.error_at(op.place, "", Code::InvalidObjective, what).write("leave them out");
        return None;
    }
    let source = indicator.events(reading);
    match (method, objective.slice_target, source) {
        (Method::Occurrences, None, source) => Some(source),
        (Method::Occurrences, Some(_), _) => {
            let what = "timeSliceTarget belongs to the methods Timeslices and RatioTimeslices";
            report
                .error_at(objective.target.place, "", Code::InvalidObjective, what)
                .write("budgetingMethod: Timeslices");
            None
        }
        (Method::Timeslices, Some(target), Source::Exact(exact)) if target < 1.0 => {
            Some(Source::Slices { exact, quantile: target })
        }
        (Method::Timeslices, None, _) => {
            let what = "Timeslices needs to know when a slice is good: timeSliceTarget is missing";
            report.error_at(objective.target.place, "", Code::MissingKey, what).write("timeSliceTarget: 0.95");
            None
        }
        (Method::Timeslices, _, _) => {
            let what = "which slices are good is only told for two counters and a timeSliceTarget under 1";
            report.error_at(name.place, "", Code::InvalidSli, what).write("budgetingMethod: Occurrences");
            None
        }
        (Method::RatioTimeslices, _, source) => Some(indicator.sliced(source)),
    }
}

/// Clauses of the policies that an SLO names.
fn policy(
    alerting: &alert::Alerting,
    budget: f64,
    window: &At<Window>,
    cx: &ImportContext<'_>,
    name: &At<String>,
    notes: &mut Vec<String>,
    report: &mut Report<'_>,
) -> Policy {
    let Some(tiers) = &alerting.tiers else {
        notes.push("no alertPolicies: the default policy of Slowburn holds".into());
        return Policy::Default;
    };
    if tiers.is_empty() {
        return Policy::Off;
    }
    let window_s = window.it.seconds();
    let resolved = alerts::resolve(tiers, budget, window_s, cx.resolution);
    for warning in resolved.warnings {
        report.warn_at(name.place, "", Code::UselessBurn, warning);
    }
    resolved.policy
}

/// Where something stands that may be in another file: at what names it.
fn near(own: usize, other: usize, place: Place, reference: Place) -> Place {
    if own == other { place } else { reference }
}

/// The names of a reference, or what is wrong with it.
fn reference<'o>(
    at: &Node<'_>,
    kind: Kind,
    objects: &'o Objects<'o>,
    report: &mut Report<'_>,
) -> Option<&'o OpenSloObject<'o>> {
    let name = at.text(report)?;
    let found = objects.find(kind, name);
    if found.is_none() {
        let other =
            objects.other_kind(name).map(|kind| format!(" (a document of kind {} has this name)", kind.as_str()));
        let what = format!("there is no {} {name:?} in these files{}", kind.as_str(), other.unwrap_or_default());
        let near = crate::spec::reader::nearest(name, &objects.names(kind)).map(str::to_string);
        let instead = near.map_or_else(
            || format!("a document of kind: {} with this name, in one of the files given", kind.as_str()),
            |near| format!("{}: {near}", at.key()),
        );
        report.error(at, Code::UnknownReference, what).write(instead);
    }
    found
}

/// The keys of an object that stands inside of another one.
fn inline_spec<'a>(at: &Node<'a>, kind: Kind, report: &mut Report<'_>) -> Option<Fields<'a>> {
    let mut fields = at.map(report)?;
    fields.filled("apiVersion");
    if let Some(at) = fields.filled("kind") {
        at.choice(report, &[(kind.as_str(), ())])?;
    }
    fields.filled("metadata");
    let spec = fields.need(report, "spec", "{...}");
    fields.finish(report);
    spec?.map(report)
}
