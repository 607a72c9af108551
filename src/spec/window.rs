//! `window` and `windows` of an SLO: a duration that rolls, or a period of the calendar.

use jiff::tz::TimeZone;

use crate::engine::{Calendar, CalendarUnit, Period};

use super::problem::Code;
use super::reader::{At, Fields, Report, nearest};
use super::tree::Value;

/// Most windows of one SLO.
const WINDOWS_MAX: usize = 4;
const WORDS: [(&str, CalendarUnit); 4] = [
    ("week", CalendarUnit::Week),
    ("month", CalendarUnit::Month),
    ("quarter", CalendarUnit::Quarter),
    ("year", CalendarUnit::Year),
];
/// Monday is 1.
pub(crate) const WEEKDAYS: [(&str, i8); 7] =
    [("monday", 1), ("tuesday", 2), ("wednesday", 3), ("thursday", 4), ("friday", 5), ("saturday", 6), ("sunday", 7)];
pub(crate) const MONTHS: [(&str, i8); 12] = [
    ("january", 1),
    ("february", 2),
    ("march", 3),
    ("april", 4),
    ("may", 5),
    ("june", 6),
    ("july", 7),
    ("august", 8),
    ("september", 9),
    ("october", 10),
    ("november", 11),
    ("december", 12),
];

/// Reads `window`, or the list `windows`, of which the first is the main one. Empty where neither is given or right.
pub(crate) fn windows(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Vec<Period> {
    let (one, several) = (fields.get("window"), fields.get("windows"));
    match (one, several) {
        (None, None) => Vec::new(),
        (Some(at), None) => window(&at, report).into_iter().collect(),
        (None, Some(at)) => list(&at, report),
        (Some(one), Some(at)) => {
            let what = format!("`window` and `windows` are both given, the first on line {}", one.node.place.line);
            report.error(&at, Code::DuplicateKey, what).write("windows: [30d, month], the main one first");
            Vec::new()
        }
    }
}

fn list(at: &At<'_>, report: &mut Report<'_>) -> Vec<Period> {
    let Some(items) = at.list(report) else { return Vec::new() };
    if items.is_empty() || items.len() > WINDOWS_MAX {
        let what = format!("an SLO has 1 to {WINDOWS_MAX} windows, found {}", items.len());
        report.error(at, Code::InvalidValue, what).write("windows: [30d, month]");
        return Vec::new();
    }
    let mut windows: Vec<Period> = Vec::new();
    for item in &items {
        let Some(period) = window(item, report) else { continue };
        let name = period.label();
        if windows.iter().any(|earlier| earlier.label() == name) {
            let what = format!("two windows are called {name}: their numbers could not be told apart");
            report.error(item, Code::DuplicateId, what).write("one of them");
        } else {
            windows.push(period);
        }
    }
    windows
}

/// Reads one window.
fn window(at: &At<'_>, report: &mut Report<'_>) -> Option<Period> {
    match &at.node.value {
        Value::Map(_) => long_form(at, report),
        Value::Text(text) if text.starts_with(|c: char| c.is_alphabetic()) => {
            word(at, report).map(|unit| Period::Calendar(Calendar::new(unit, TimeZone::UTC)))
        }
        _ => rolling(at, report).map(Period::Rolling),
    }
}

/// Reads `week`, `month`, `quarter` or `year`.
fn word(at: &At<'_>, report: &mut Report<'_>) -> Option<CalendarUnit> {
    let text = at.text(report)?;
    if let Some((_, unit)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Some(*unit);
    }
    let words = WORDS.map(|(word, _)| word);
    let what = format!("{text:?} is no window: a duration, or one of {}", words.join(", "));
    let stem = text.trim_end_matches("ly").trim_end_matches('s');
    let instead = nearest(stem, &words).map_or("30d".into(), |word| format!("{}: {word}", at.key()));
    report.error(at, Code::InvalidDuration, what).write(instead);
    None
}

fn rolling(at: &At<'_>, report: &mut Report<'_>) -> Option<i64> {
    let span = at.duration(report)?;
    if !(3_600..=366 * 86_400).contains(&span.seconds()) {
        report
            .error(at, Code::InvalidDuration, format!("a window of {span}: it must be from 1h to 366d"))
            .write(format!("{}: 30d", at.key()));
        return None;
    }
    Some(span.seconds())
}

fn long_form(at: &At<'_>, report: &mut Report<'_>) -> Option<Period> {
    let mut fields = at.map(report)?;
    if let Some(length) = fields.get("rolling") {
        let length_s = rolling(&length, report);
        fields.finish(report);
        return length_s.map(Period::Rolling);
    }
    let unit = fields.need(report, "calendar", "month").and_then(|at| word(&at, report));
    let zone = match fields.get("time_zone") {
        Some(at) => time_zone(&at, report),
        None => Some(TimeZone::UTC),
    };
    let starts_at = fields.get("starts");
    fields.finish(report);
    let unit = unit?;
    let starts = match (starts_at, unit) {
        (None, _) => Some(1),
        (Some(at), CalendarUnit::Week) => at.choice(report, &WEEKDAYS),
        (Some(at), CalendarUnit::Quarter | CalendarUnit::Year) => at.choice(report, &MONTHS),
        (Some(at), CalendarUnit::Month) => {
            report.error(&at, Code::InvalidValue, "a month starts on its first day").write("leave starts out");
            None
        }
    };
    Some(Period::Calendar(Calendar { unit, zone: zone?, starts: starts? }))
}

/// Reads the name of a time zone.
pub(crate) fn time_zone(at: &At<'_>, report: &mut Report<'_>) -> Option<TimeZone> {
    let text = at.text(report)?;
    match TimeZone::get(text) {
        Ok(zone) if zone.iana_name().is_some() => return Some(zone),
        _ => {}
    }
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let shown: String = text.chars().take(60).collect();
    let what = format!("{shown:?} is no time zone: its name in the IANA database is needed");
    let instead = nearest(&shown, &names).unwrap_or("Europe/Paris");
    report.error(at, Code::InvalidValue, what).write(format!("{}: {instead}", at.key()));
    None
}
