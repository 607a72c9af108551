//! `freeze`: times in which nothing is changed. Each says by whose clocks, and each can come.

use jiff::civil::{Date, DateTime, Time};

use super::{rows, short_text};
use crate::gate::freeze::{FreezeTime, FreezeWindow, WeekTime, zone};
use crate::gate::policy::AllowedAction;
use crate::gate::{ActionClass, ActionKind, ActorClass};
use crate::spec::problem::Code;
use crate::spec::reader::{At, Fields, Report, nearest};
use crate::spec::tree::Value;

const ONCE: &str = "2026-11-27 00:00";
const WEEKLY: &str = "Fri 16:00";

/// Reads `freeze`.
pub(super) fn read(at: &At<'_>, allowed: &[AllowedAction], report: &mut Report<'_>) -> Vec<FreezeWindow> {
    let mut windows = Vec::new();
    for item in rows(at, report) {
        let Some(window) = read_one(&item, report) else { continue };
        if window.mitigate_exempt && !allowed.is_empty() && allowed.iter().all(always_mitigates) {
            let what = "every action that is allowed mitigates, and mitigate_exempt lets those through";
            report.warn(&item, Code::Unreachable, what).write("mitigate_exempt: false");
        }
        windows.push(window);
    }
    windows
}

/// Whether an action is a cure whatever is asked: of a scale row only where the policy says so.
fn always_mitigates(row: &AllowedAction) -> bool {
    match row.class {
        Some(class) => class == ActionClass::Mitigate,
        None => matches!(row.action.kind(), ActionKind::Rollback | ActionKind::Restart),
    }
}

fn read_one(at: &At<'_>, report: &mut Report<'_>) -> Option<FreezeWindow> {
    let mut fields = at.map(report)?;
    let reason = fields.need(report, "reason", "the sale").and_then(|at| short_text(&at, report));
    let zone_at = fields.need(report, "time_zone", "Europe/Paris");
    let time_zone = zone_at.and_then(|at| zone_name(&at, report));
    let when = when(&mut fields, report);
    let actors = match fields.get("actors") {
        Some(at) => actors(&at, report),
        None => vec![ActorClass::Robot, ActorClass::Pipeline],
    };
    let mitigate_exempt = fields.get("mitigate_exempt").and_then(|at| at.flag(report)).unwrap_or(false);
    fields.finish(report);
    let window = FreezeWindow { reason: reason?, when: when?, time_zone: time_zone?, actors, mitigate_exempt };
    if never_comes(&window) {
        let what = "it ends before it begins by the clocks of its zone, so it never holds";
        report.error(at, Code::Unreachable, what).write("until: a later moment");
        return None;
    }
    Some(window)
}

/// From and until, both of the week or both of the calendar.
fn when(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<FreezeTime> {
    let (from, until) = (fields.need(report, "from", WEEKLY), fields.need(report, "until", "Mon 08:00"));
    let (from_at, until_at) = (from?, until?);
    let (from, until) = (moment(&from_at, report), moment(&until_at, report));
    match (from?, until?) {
        (Moment::Weekly(from), Moment::Weekly(until)) if from == until => {
            let what = "it begins where it ends: that is always or never";
            report.error(&until_at, Code::InvalidValue, what).write("until: another moment of the week");
            None
        }
        (Moment::Weekly(from), Moment::Weekly(until)) => Some(FreezeTime::Weekly { from, until }),
        (Moment::Once(from), Moment::Once(until)) => Some(FreezeTime::Once { from, until }),
        _ => {
            let what = "one of `from` and `until` is a moment of the week, the other one of the calendar";
            report.error(&until_at, Code::InvalidValue, what).write(format!("both as {WEEKLY}, or both as {ONCE}"));
            None
        }
    }
}

enum Moment {
    Weekly(WeekTime),
    Once(DateTime),
}

fn moment(at: &At<'_>, report: &mut Report<'_>) -> Option<Moment> {
    let text = at.text(report)?;
    let shown: String = text.chars().take(60).collect();
    if text.starts_with(|c: char| c.is_alphabetic()) {
        return match WeekTime::try_from(text.to_string()) {
            Ok(moment) => Some(Moment::Weekly(moment)),
            Err(_) => {
                let what = format!("{shown:?} is no moment of a week");
                report.error(at, Code::InvalidValue, what).write(format!("{}: {WEEKLY}", at.key()));
                None
            }
        };
    }
    let zoned = text.ends_with(['Z', 'z']) || text.get(10..).is_some_and(|time| time.contains(['+', '-']));
    let civil = text.parse::<DateTime>().ok();
    let civil = civil.or_else(|| Some(text.parse::<Date>().ok()?.to_datetime(Time::midnight())));
    match civil.filter(|civil| !zoned && (1970..=2200).contains(&civil.year())) {
        Some(civil) => Some(Moment::Once(civil)),
        None => {
            let what = match zoned {
                true => format!("{shown:?} has a zone of its own: these are the clocks of time_zone"),
                false => format!("{shown:?} is no moment"),
            };
            report
                .error(at, Code::InvalidValue, what)
                .write(format!("{key}: {WEEKLY}, or {key}: {ONCE}", key = at.key()));
            None
        }
    }
}

/// The zone's own wall clock may skip a whole window when summer time begins.
fn never_comes(window: &FreezeWindow) -> bool {
    let FreezeTime::Once { from, until } = &window.when else { return false };
    let Some(zone) = zone(&window.time_zone) else { return false };
    match (zone.to_timestamp(*from), zone.to_timestamp(*until)) {
        (Ok(from), Ok(until)) => until <= from,
        _ => true,
    }
}

fn zone_name(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = at.text(report)?;
    if let Some(name) = zone(text).and_then(|zone| zone.iana_name().map(str::to_string)) {
        return Some(name);
    }
    let names: Vec<String> = jiff::tz::TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let shown: String = text.chars().take(60).collect();
    let what = format!("{shown:?} is no time zone: its name in the IANA database is needed");
    let instead = nearest(&shown, &names).unwrap_or("Europe/Paris");
    report.error(at, Code::InvalidValue, what).write(format!("time_zone: {instead}"));
    None
}

fn actors(at: &At<'_>, report: &mut Report<'_>) -> Vec<ActorClass> {
    let classes = ActorClass::ALL.map(|class| (class.as_str(), class));
    let items = rows(at, report);
    if items.is_empty() && matches!(at.node.value, Value::List(_)) {
        let what = "it stops nobody, so it never holds";
        report.error(at, Code::Unreachable, what).write("actors: [robot, pipeline]");
    }
    let mut found: Vec<ActorClass> = items.iter().filter_map(|item| item.choice(report, &classes)).collect();
    found.sort();
    found.dedup();
    found
}
