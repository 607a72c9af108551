//! `policy.yaml`: what robots and people may do to a service, when, and under which checks.
//!
//! Read strictly into `gate::policy` and checked against the services and, where they are known, the people who could
//! say yes. Nothing here decides anything.

mod action;
mod check;
mod custom;
mod freeze;
mod limits;
#[cfg(test)]
mod tests;

use super::problem::{Code, Place};
use super::reader::{At, Fields, Report};
use super::tree::Value;
use crate::gate::policy::{CheckKind, Logging, PERMIT_TTL_MAX_S, Policy, SafetyCheck};

pub(crate) use check::check;

/// Most rows of a list in a policy.
const ROWS_MAX: usize = 100;
/// Longest text of a policy, bytes: a reason, a pattern of versions, a tag.
const TEXT_BYTES_MAX: usize = 253;

const DAY_S: i64 = 24 * 3600;

const CHECKS: [(&str, CheckKind); 3] = [
    ("must_not_reduce_availability_below", CheckKind::MustNotReduceAvailabilityBelow),
    ("must_have_budget_left", CheckKind::MustHaveBudgetLeft),
    ("must_not_burn_faster_than", CheckKind::MustNotBurnFasterThan),
];

/// A policy with the places that later checks point at.
#[derive(Debug)]
pub(crate) struct PlacedPolicy {
    pub policy: Policy,
    pub place: Place,
    /// Place of each safety check's `slo`.
    slos: Vec<Place>,
    /// Place of each allowed action's approvers, or of the action.
    approvers: Vec<Place>,
    /// Place of each dependency.
    dependencies: Vec<Place>,
    /// Place of each rate budget.
    budgets: Vec<Place>,
    /// Place of the dependency group.
    group: Place,
}

/// Reads a policy document.
pub(crate) fn read(root: &At<'_>, report: &mut Report<'_>) -> Option<PlacedPolicy> {
    let mut fields = root.map(report)?;
    let service_at = fields.need(report, "service", "checkout");
    let place = service_at.as_ref().map_or(root.node.place, |at| at.node.place);
    let service = service_at.and_then(|at| super::name::read(&at, report));
    report.subject = service.as_ref().map_or("this policy".into(), |name| format!("the policy of {name}"));
    refuse_blanks(root, report);
    let (allowed_actions, approvers) = action::read(&mut fields, report);
    let (mut safety_checks, mut slos) = (Vec::new(), Vec::new());
    if let Some(at) = fields.get("safety_checks") {
        for item in rows(&at, report) {
            if let Some((check, place)) = read_check(&item, report) {
                safety_checks.push(check);
                slos.push(place);
            }
        }
    }
    let logging = fields.get("logging").and_then(|at| read_logging(&at, report)).unwrap_or_default();
    let freeze = fields.get("freeze").map(|at| freeze::read(&at, &allowed_actions, report)).unwrap_or_default();
    let (rate_budgets, budgets) =
        fields.get("rate_budgets").map(|at| limits::rate_budgets(&at, &allowed_actions, report)).unwrap_or_default();
    let (dependencies, dependency_places) =
        fields.get("dependencies").map(|at| dependencies(&at, service.as_deref(), report)).unwrap_or_default();
    let one_at = fields.get("one_change_at_a_time");
    let one_change_at_a_time = one_at.as_ref().and_then(|at| at.flag(report)).unwrap_or(true);
    let group_at = fields.get("dependency_group");
    let dependency_group = group_at.as_ref().and_then(|at| super::name::read(at, report));
    if let (Some(at), false) = (&one_at, one_change_at_a_time)
        && dependency_group.is_some()
    {
        let what = "several changes at a time are allowed, so dependency_group holds nothing back";
        report.error(at, Code::InvalidValue, what).write("one_change_at_a_time: true, or no dependency_group");
    }
    let new = Policy::new(service.unwrap_or_default());
    let mut span = |key, most_s, default_s| limits::span(&mut fields, key, most_s, report).unwrap_or(default_s);
    let cool_down_s = span("cool_down", 7 * DAY_S, new.cool_down_s);
    let settle_s = span("settle", DAY_S, new.settle_s);
    let correlate_within_s = span("correlate_within", 7 * DAY_S, new.correlate_within_s);
    let permit_ttl_s = span("permit_ttl", PERMIT_TTL_MAX_S, new.permit_ttl_s);
    let transition = fields.get("transition").map(|at| limits::transition(&at, report)).unwrap_or_default();
    let data = fields.get("data").map(|at| limits::data(&at, report)).unwrap_or_default();
    fields.finish(report);
    let policy = Policy {
        allowed_actions,
        safety_checks,
        logging,
        freeze,
        cool_down_s,
        rate_budgets,
        one_change_at_a_time,
        dependency_group,
        dependencies,
        settle_s,
        correlate_within_s,
        permit_ttl_s,
        transition,
        data,
        ..new
    };
    if policy.service.is_empty() {
        return None;
    }
    let group = group_at.map_or(place, |at| at.node.place);
    Some(PlacedPolicy { policy, place, slos, approvers, dependencies: dependency_places, budgets, group })
}

/// A key without a value is no rule left out on purpose: `require_approval:` alone would ask nobody.
fn refuse_blanks(at: &At<'_>, report: &mut Report<'_>) {
    match &at.node.value {
        Value::Map(entries) => {
            for (key, node) in entries {
                let child = at.child(node, &key.name);
                if node.value == Value::Null {
                    let what = format!("{:?} has no value: what it was to hold would not hold", key.name);
                    report.error_at(key.place, &at.path, Code::MissingKey, what).write("a value, or no such key");
                } else {
                    refuse_blanks(&child, report);
                }
            }
        }
        Value::List(items) => {
            for (index, node) in items.iter().enumerate() {
                let child = At { node, path: format!("{}[{index}]", at.path) };
                refuse_blanks(&child, report);
            }
        }
        _ => {}
    }
}

fn rows<'a>(at: &At<'a>, report: &mut Report<'_>) -> Vec<At<'a>> {
    let items = at.list(report).unwrap_or_default();
    if items.len() > ROWS_MAX {
        report.error(at, Code::InvalidValue, format!("over {ROWS_MAX} rows"));
        return Vec::new();
    }
    items
}

/// A text of bounded length without control characters: it is shown to people and written down.
fn short_text(at: &At<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = at.text(report)?;
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        let what = format!("this text is over {TEXT_BYTES_MAX} bytes or holds control characters");
        report.error(at, Code::InvalidValue, what);
        return None;
    }
    Some(text.to_string())
}

/// A whole number of things.
fn count(at: &At<'_>, report: &mut Report<'_>, least: u64, most: u64) -> Option<u32> {
    at.whole(report, least..=most).and_then(|n| u32::try_from(n).ok())
}

/// A share, ratio in `least..=1`. Percentages are refused: 25 would mean everything.
fn share(at: &At<'_>, report: &mut Report<'_>, zero: bool, example: &str) -> Option<f64> {
    let (number, shown) = match &at.node.value {
        Value::Text(text) if text.ends_with('%') => {
            (text.trim_end_matches('%').trim().parse().unwrap_or(f64::NAN), text.chars().take(40).collect())
        }
        _ => {
            let number = at.number(report)?;
            if (0.0..=1.0).contains(&number) && (zero || number > 0.0) {
                return Some(number);
            }
            (number, number.to_string())
        }
    };
    let from = if zero { "from 0 to 1" } else { "over 0 and up to 1" };
    let instead = match (1.0..=100.0).contains(&number) {
        true => (number / 100.0).to_string(),
        false => example.to_string(),
    };
    let what = format!("{shown} is not a share {from}");
    report.error(at, Code::InvalidValue, what).write(format!("{}: {instead}", at.key()));
    None
}

fn read_check(at: &At<'_>, report: &mut Report<'_>) -> Option<(SafetyCheck, Place)> {
    let mut fields = at.map(report)?;
    let kind = fields.need(report, "name", "must_have_budget_left").and_then(|at| at.choice(report, &CHECKS));
    let slo_at = fields.need(report, "slo", "checkout-availability");
    let slo = slo_at.as_ref().and_then(|at| at.text(report));
    let threshold = fields.need(report, "threshold", "99.0").and_then(|at| {
        let number = at.number(report)?;
        let (fits, range) = match kind {
            Some(CheckKind::MustNotBurnFasterThan) => (number > 0.0, "a burn rate over 0"),
            Some(CheckKind::MustHaveBudgetLeft) => ((0.0..100.0).contains(&number), "a percentage from 0 to under 100"),
            _ => (number > 1.0 && number < 100.0, "a percentage over 1 and under 100"),
        };
        if !fits {
            let example = match kind {
                Some(CheckKind::MustNotBurnFasterThan) => "2",
                Some(CheckKind::MustHaveBudgetLeft) => "10",
                _ => "99.0",
            };
            report
                .error(&at, Code::InvalidValue, format!("the threshold {number} is not {range}"))
                .write(format!("threshold: {example}"));
        }
        fits.then_some(number)
    });
    fields.finish(report);
    let place = slo_at.as_ref().map_or(at.node.place, |at| at.node.place);
    Some((SafetyCheck { kind: kind?, slo: slo?.to_string(), threshold: threshold? }, place))
}

fn read_logging(at: &At<'_>, report: &mut Report<'_>) -> Option<Logging> {
    let mut fields = at.map(report)?;
    let audit_at = fields.get("audit");
    let audit = audit_at.as_ref().and_then(|at| at.flag(report)).unwrap_or(true);
    if let (Some(at), false) = (&audit_at, audit) {
        let what = "every decision is written down before it is answered: that cannot be switched off";
        report.error(at, Code::InvalidValue, what).write("audit: true, or no such key");
    }
    let incident_tag = fields.get("incident_tag").and_then(|at| short_text(&at, report));
    fields.finish(report);
    Some(Logging { audit, incident_tag })
}

/// Services this one depends on.
fn dependencies(at: &At<'_>, service: Option<&str>, report: &mut Report<'_>) -> (Vec<String>, Vec<Place>) {
    let (mut names, mut places): (Vec<String>, Vec<Place>) = (Vec::new(), Vec::new());
    for item in rows(at, report) {
        let Some(name) = super::name::read(&item, report) else { continue };
        if Some(name.as_str()) == service {
            report.error(&item, Code::InvalidValue, format!("{name} depends on itself")).write("the services it calls");
            continue;
        }
        if names.contains(&name) {
            report.error(&item, Code::DuplicateKey, format!("{name} is named twice")).write("each service once");
            continue;
        }
        names.push(name);
        places.push(item.node.place);
    }
    (names, places)
}

/// Keys that only make sense beside another one.
fn only_of(fields: &mut Fields<'_>, report: &mut Report<'_>, keys: &[&'static str], kind: &str, of: &str) {
    for key in keys {
        if let Some(at) = fields.get(key) {
            report.error(&at, Code::UnknownKey, format!("{kind} takes no {key}: it belongs to {of}"));
        }
    }
}
