//! `exclusions` and `budget_resets`: what people decided about the past or the future, with their name and their reason.
//!
//! A file of its own, told by its keys. What it names is looked up when all files are read, and each SLO is given what
//! is for it.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::engine::exclusion::{Exclusion, SPAN_MAX_S, Span, Weekly, Withdrawal};
use crate::engine::{BudgetReset, Seconds};

use super::alerting;
use super::model::Model;
use super::problem::{Code, Place};
use super::reader::{At, Fields, Report, nearest};
use super::tree::Value;
use super::window::{WEEKDAYS, time_zone};

/// Most entries of one list.
const ENTRIES_MAX: usize = 1_000;
/// Most exclusions, and most resets, of one SLO.
const OF_AN_SLO_MAX: usize = 200;
const DAY_S: i64 = 86_400;
/// Moments are from 1970 to 2200.
const SECONDS_MAX: i64 = 230 * 366 * DAY_S;

/// Something that was decided, with the places that later checks point at.
pub(crate) struct PlacedCorrection {
    pub decided: Decided,
    /// Of its name, or of the entry.
    pub place: Place,
    scope: Scope,
    /// Labels it is only for, with their places.
    when: Vec<(String, Place)>,
}

/// What was decided.
pub(crate) enum Decided {
    Exclusion(Arc<Exclusion>),
    Reset(Arc<BudgetReset>),
}

/// Which SLOs it is for.
enum Scope {
    Everything,
    Services(Vec<(String, Place)>),
    Slos(Vec<(String, Place)>),
}

/// Reads a document of exclusions and budget resets.
pub(crate) fn read(root: &At<'_>, report: &mut Report<'_>) -> Vec<PlacedCorrection> {
    let Some(mut fields) = root.map(report) else { return Vec::new() };
    let (exclusions, resets) = (fields.get("exclusions"), fields.get("budget_resets"));
    fields.finish(report);
    let mut found = Vec::new();
    for item in exclusions.map(|at| entries(&at, report)).unwrap_or_default() {
        found.extend(exclusion(&item, report));
    }
    for item in resets.map(|at| entries(&at, report)).unwrap_or_default() {
        found.extend(reset(&item, report));
    }
    found
}

fn entries<'a>(at: &At<'a>, report: &mut Report<'_>) -> Vec<At<'a>> {
    let items = at.list(report).unwrap_or_default();
    if items.len() > ENTRIES_MAX {
        report.error(at, Code::InvalidValue, format!("over {ENTRIES_MAX} entries")).write("several files");
        return Vec::new();
    }
    items
}

fn exclusion(item: &At<'_>, report: &mut Report<'_>) -> Option<PlacedCorrection> {
    let mut fields = item.map(report)?;
    let name_at = fields.need(report, "name", "sunday-maintenance");
    let place = name_at.as_ref().map_or(item.node.place, |at| at.node.place);
    let name = name_at.and_then(|at| super::name::read(&at, report));
    let zone = fields.get("time_zone").map(|at| time_zone(&at, report).unwrap_or(TimeZone::UTC));
    let span = match fields.get("every") {
        Some(every) => weekly(&every, &mut fields, zone, report).map(Span::Weekly),
        None => once(&mut fields, zone.as_ref(), report),
    };
    let (scope, when) = scope(&mut fields, report);
    let signed = signature(&mut fields, report);
    let withdrawn = fields.get("withdrawn").map(|at| withdrawal(&at, report));
    fields.finish(report);
    let (author, reason) = signed?;
    let withdrawn = match withdrawn {
        None => None,
        Some(said) => Some(said?),
    };
    let labels = when.iter().map(|(label, value, _)| (label.clone(), value.clone())).collect();
    let exclusion = Exclusion { name: name?, span: span?, when: labels, author, reason, withdrawn };
    Some(PlacedCorrection {
        decided: Decided::Exclusion(Arc::new(exclusion)),
        place,
        scope: scope?,
        when: when.into_iter().map(|(label, _, place)| (label, place)).collect(),
    })
}

fn reset(item: &At<'_>, report: &mut Report<'_>) -> Option<PlacedCorrection> {
    let mut fields = item.map(report)?;
    let zone = fields.get("time_zone").map(|at| time_zone(&at, report).unwrap_or(TimeZone::UTC));
    let at = fields.need(report, "at", "2026-11-07T04:00:00Z").and_then(|at| moment(&at, zone.as_ref(), report));
    let (scope, when) = scope(&mut fields, report);
    let signed = signature(&mut fields, report);
    fields.finish(report);
    let (author, reason) = signed?;
    let labels = when.iter().map(|(label, value, _)| (label.clone(), value.clone())).collect();
    Some(PlacedCorrection {
        decided: Decided::Reset(Arc::new(BudgetReset { at: at?, when: labels, author, reason })),
        place: item.node.place,
        scope: scope?,
        when: when.into_iter().map(|(label, _, place)| (label, place)).collect(),
    })
}

/// Who and why: both are needed.
fn signature(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<(String, String)> {
    let author = fields.need(report, "author", "alice").and_then(|at| at.text(report));
    let reason = fields.need(report, "reason", "INC-2026-042, agreed with the owner").and_then(|at| at.text(report));
    Some((author?.to_string(), reason?.to_string()))
}

fn withdrawal(at: &At<'_>, report: &mut Report<'_>) -> Option<Withdrawal> {
    let mut fields = at.map(report)?;
    let signed = signature(&mut fields, report);
    fields.finish(report);
    let (author, reason) = signed?;
    Some(Withdrawal { author, reason })
}

type WrittenLabels = Vec<(String, String, Place)>;

/// Reads `services` or `slos`, and `when`.
fn scope(fields: &mut Fields<'_>, report: &mut Report<'_>) -> (Option<Scope>, WrittenLabels) {
    let (services, slos) = (fields.get("services"), fields.get("slos"));
    let scope = match (services, slos) {
        (Some(at), None) if matches!(&at.node.value, Value::Text(text) if text == "all") => Some(Scope::Everything),
        (Some(at), None) => names(&at, report).map(Scope::Services),
        (None, Some(at)) => names(&at, report).map(Scope::Slos),
        (None, None) => {
            let what = "it does not say for what";
            report
                .error(&fields.at, Code::MissingKey, what)
                .write("services: [checkout], services: all, or slos: [checkout-availability]");
            None
        }
        (Some(_), Some(at)) => {
            report.error(&at, Code::DuplicateKey, "`services` and `slos` are both given").write("one of them");
            None
        }
    };
    let Some(at) = fields.get("when") else { return (scope, Vec::new()) };
    let labels = alerting::labels(&at, report);
    let place = |name: &str| match &at.node.value {
        Value::Map(entries) => {
            entries.iter().find(|(key, _)| key.name == name).map_or(at.node.place, |(key, _)| key.place)
        }
        _ => at.node.place,
    };
    let labels = labels
        .into_iter()
        .map(|(name, value)| {
            let place = place(&name);
            (name, value, place)
        })
        .collect();
    (scope, labels)
}

fn names(at: &At<'_>, report: &mut Report<'_>) -> Option<Vec<(String, Place)>> {
    let items = at.list(report)?;
    if items.is_empty() {
        report.error(at, Code::MissingKey, "this list is empty").write("names, or services: all");
        return None;
    }
    Some(items.iter().filter_map(|item| Some((item.text(report)?.to_string(), item.node.place))).collect())
}

fn once(fields: &mut Fields<'_>, zone: Option<&TimeZone>, report: &mut Report<'_>) -> Option<Span> {
    let from = fields.need(report, "from", "2026-11-07T02:00:00Z").and_then(|at| moment(&at, zone, report));
    let to_at = fields.need(report, "to", "2026-11-07T04:00:00Z");
    let to = to_at.as_ref().and_then(|at| moment(at, zone, report));
    let (from, to, at) = (from?, to?, to_at?);
    if to <= from {
        report
            .error(&at, Code::InvalidValue, "it ends before it begins")
            .write("from: the earlier moment, to: the later one");
        return None;
    }
    if to - from > SPAN_MAX_S {
        report
            .error(&at, Code::InvalidValue, "an exclusion of over 366 days")
            .write("the SLO left out, or another objective");
        return None;
    }
    Some(Span::Once { from, to })
}

fn weekly(every: &At<'_>, fields: &mut Fields<'_>, zone: Option<TimeZone>, report: &mut Report<'_>) -> Option<Weekly> {
    let weekdays = weekdays(every, report);
    let at = fields.need(report, "at", "\"02:00\"").and_then(|at| time_of_day(&at, report));
    let length_at = fields.need(report, "for", "2h");
    let length = length_at.as_ref().and_then(|at| at.duration(report));
    let mut edge = |key| fields.get(key).map(|at| moment(&at, zone.as_ref(), report));
    let (since, until) = (edge("since"), edge("until"));
    for key in ["from", "to"] {
        if let Some(at) = fields.get(key) {
            let instead = if key == "from" { "since" } else { "until" };
            report
                .error(&at, Code::InvalidValue, format!("`{key}` belongs to an exclusion that comes once"))
                .write(instead);
        }
    }
    let (weekdays, length_s) = (weekdays?, length?.seconds());
    let most_s = if weekdays.len() > 1 { DAY_S } else { 7 * DAY_S };
    if length_s >= most_s {
        let what = "one begins before the last has ended, so nothing is left that counts";
        report.error(&length_at?, Code::InvalidValue, what).write(if most_s == DAY_S {
            "for: under 1d"
        } else {
            "for: under 7d"
        });
        return None;
    }
    let (since, until) = (given(since)?, given(until)?);
    Some(Weekly { weekdays, at: at?, length_s, time_zone: zone.unwrap_or(TimeZone::UTC), since, until })
}

/// Nothing where it was not written, and `None` where it was and is wrong.
fn given<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        Some(None) => None,
        Some(some) => Some(some),
        None => Some(None),
    }
}

fn weekdays(at: &At<'_>, report: &mut Report<'_>) -> Option<Vec<i8>> {
    if matches!(&at.node.value, Value::Text(text) if text == "day") {
        return Some((1..=7).collect());
    }
    let items = match &at.node.value {
        Value::List(_) => at.list(report)?,
        _ => vec![at.clone()],
    };
    if items.is_empty() {
        report
            .error(at, Code::MissingKey, "no weekday")
            .write("every: sunday, every: [saturday, sunday] or every: day");
    }
    let mut days: Vec<i8> = items.iter().map(|item| item.choice(report, &WEEKDAYS)).collect::<Option<_>>()?;
    days.sort_unstable();
    days.dedup();
    (!days.is_empty()).then_some(days)
}

fn time_of_day(at: &At<'_>, report: &mut Report<'_>) -> Option<Time> {
    let text = at.spelled(report)?;
    let text = text.trim_matches(['"', '\'']);
    let read = (text.len() == 5).then(|| Time::strptime("%H:%M", text).ok()).flatten();
    if read.is_none() {
        report.error(at, Code::InvalidValue, format!("{text:?} is no time of the day")).write("at: \"02:00\"");
    }
    read
}

/// Reads a moment: `2026-11-07T02:00:00Z`, or by the clocks of the entry's `time_zone` `2026-11-07 02:00` or `2026-11-07`.
fn moment(at: &At<'_>, zone: Option<&TimeZone>, report: &mut Report<'_>) -> Option<Seconds> {
    let text = at.text(report)?;
    let sane = |seconds: &Seconds| (0..SECONDS_MAX).contains(seconds);
    if let Some(seconds) = text.parse::<Timestamp>().ok().map(Timestamp::as_second).filter(sane) {
        return Some(seconds);
    }
    let civil =
        text.parse::<DateTime>().ok().or_else(|| Some(text.parse::<Date>().ok()?.to_datetime(Time::midnight())));
    match (civil, zone) {
        (Some(civil), Some(zone)) if (1970..=2200).contains(&civil.year()) => {
            civil.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp().as_second())
        }
        (Some(_), Some(_)) | (None, _) => {
            let shown: String = text.chars().take(60).collect();
            let what = format!("{shown:?} is no moment");
            report.error(at, Code::InvalidValue, what).write(format!("{}: 2026-11-07T02:00:00Z", at.key()));
            None
        }
        (Some(_), None) => {
            let what = format!("{text:?} does not say whose clocks show it");
            report
                .error(at, Code::MissingKey, what)
                .write(format!("{}: {text}Z, or time_zone: Europe/Paris beside it", at.key()));
            None
        }
    }
}

impl PlacedCorrection {
    /// Its name, where it has one.
    pub fn name(&self) -> Option<&str> {
        match &self.decided {
            Decided::Exclusion(exclusion) => Some(&exclusion.name),
            Decided::Reset(_) => None,
        }
    }

    /// Gives it to the SLOs of `model` that it is for. What it names and is not there is a fault, unless files are
    /// `incomplete`.
    pub fn apply(&self, model: &mut Model, incomplete: bool, report: &mut Report<'_>) {
        self.look_up(model, incomplete, report);
        let mut fits = false;
        let mut any = false;
        for spec in &mut model.slos {
            let named = |names: &[(String, Place)], name: &str| names.iter().any(|(known, _)| known == name);
            let meant = match &self.scope {
                Scope::Everything => true,
                Scope::Services(names) => named(names, &spec.slo.service),
                Scope::Slos(names) => named(names, &spec.slo.id),
            };
            if !meant {
                continue;
            }
            any = true;
            if !spec.slo.is_by_every_label() && !self.when.iter().all(|(label, _)| spec.slo.by.contains(label)) {
                continue;
            }
            fits = true;
            let terms = &mut Arc::make_mut(&mut spec.slo).terms;
            let count = match &self.decided {
                Decided::Exclusion(exclusion) => {
                    terms.exclusions.push(Arc::clone(exclusion));
                    terms.exclusions.len()
                }
                Decided::Reset(reset) => {
                    terms.resets.push(Arc::clone(reset));
                    terms.resets.sort_by_key(|reset| reset.at);
                    terms.resets.len()
                }
            };
            if count > OF_AN_SLO_MAX {
                let what = format!("{} has over {OF_AN_SLO_MAX} of them", spec.slo.id);
                report.error_at(self.place, "", Code::InvalidValue, what).write("one that comes every week, or fewer");
                return;
            }
        }
        if let (true, false, Some((label, place))) = (any, fits, self.when.first()) {
            let what = format!("no SLO it is for has the series label {label:?}, so it never matches");
            report.warn_at(*place, "", Code::Unreachable, what).write(format!("by: [{label}] at the SLO, or no when"));
        }
    }

    fn look_up(&self, model: &Model, incomplete: bool, report: &mut Report<'_>) {
        let (noun, names, known): (_, _, Vec<&str>) = match &self.scope {
            Scope::Everything => return,
            Scope::Services(names) => {
                ("service", names, model.services.iter().map(|service| service.name.as_str()).collect())
            }
            Scope::Slos(names) => ("SLO", names, model.slos.iter().map(|spec| spec.slo.id.as_str()).collect()),
        };
        for (name, place) in names.iter().filter(|(name, _)| !incomplete && !known.contains(&name.as_str())) {
            let shown: String = name.chars().take(60).collect();
            let problem = report.error_at(*place, "", Code::UnknownReference, format!("there is no {noun} {shown:?}"));
            problem.instead = nearest(name, &known).map(str::to_string);
        }
    }
}
