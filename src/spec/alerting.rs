//! Who is told, how fast and how loudly: `alert_policies` and `severity_mapping`.

use crate::engine::alert::AlertKind;
use crate::engine::severity::{Condition, Sev, SeverityRule};
use crate::engine::{Slo, Speed};

use super::burn::{self, Clause, Misfit, shown};
use super::duration::TimeSpan;
use super::problem::{Code, Place};
use super::reader::{At, Report, nearest};

/// A burn clause with the place it was read from.
#[derive(Debug, Clone)]
pub(crate) struct PlacedClause<'a> {
    pub speed: Speed,
    pub clause: Clause,
    pub at: At<'a>,
}

/// Most clauses of one speed in one policy.
const CLAUSES_MAX: usize = 16;
/// Most rows of a severity mapping.
const RULES_MAX: usize = 100;

/// Reads `alert_policies`: all clauses of all its policies, fast ones first. `off` is none: no burn is an alert.
pub(crate) fn policies<'a>(at: &At<'a>, report: &mut Report<'_>) -> Vec<PlacedClause<'a>> {
    match &at.node.value {
        super::tree::Value::Text(text) if text == "off" => return Vec::new(),
        super::tree::Value::Bool(false) => return Vec::new(),
        _ => {}
    }
    let Some(items) = at.list(report) else { return Vec::new() };
    if items.is_empty() {
        report
            .error(at, Code::MissingKey, "alert_policies is empty, and an SLO without alerts tells nobody")
            .write("leave alert_policies out for the default policy, or alert_policies: off");
    }
    let mut clauses = Vec::new();
    for item in items {
        let Some(mut fields) = item.map(report) else { continue };
        if let Some(kind) = fields.need(report, "type", "burn_rate") {
            kind.choice(report, &[("burn_rate", ())]);
        }
        let (fast, slow) = (fields.get("fast_burn"), fields.get("slow_burn"));
        if fast.is_none() && slow.is_none() {
            report
                .error(&item, Code::MissingKey, "a burn-rate policy needs fast_burn, slow_burn or both")
                .write("fast_burn: \"1h > 14.4x\"");
        }
        for (speed, found) in [(Speed::Fast, fast), (Speed::Slow, slow)] {
            if let Some(found) = found {
                read_clauses(&found, speed, &mut clauses, report);
            }
        }
        fields.finish(report);
    }
    clauses.sort_by_key(|placed| placed.speed);
    clauses
}

fn read_clauses<'a>(at: &At<'a>, speed: Speed, clauses: &mut Vec<PlacedClause<'a>>, report: &mut Report<'_>) {
    let items = match at.node.value {
        super::tree::Value::List(_) => at.list(report).unwrap_or_default(),
        _ => vec![at.clone()],
    };
    if items.len() > CLAUSES_MAX {
        report.error(at, Code::InvalidBurn, format!("over {CLAUSES_MAX} burn clauses"));
        return;
    }
    if items.is_empty() {
        report
            .error(at, Code::InvalidBurn, "the list of burn clauses is empty")
            .write(format!("{}: \"1h > 14.4x\"", at.key()));
    }
    for item in items {
        let Some(text) = item.text(report) else { continue };
        match burn::parse(text) {
            Ok(clause) => clauses.push(PlacedClause { speed, clause, at: item }),
            Err(fault) => {
                let place = item.part(fault.from, fault.length, report.source);
                report.error_at(place, &item.path, Code::InvalidBurn, fault.what).instead = fault.instead;
            }
        }
    }
}

/// Resolves clauses that the user wrote; a misfit is an error at the clause.
pub(crate) fn resolve(
    clauses: &[PlacedClause<'_>],
    slo: &mut Slo,
    resolution: TimeSpan,
    report: &mut Report<'_>,
) -> Option<()> {
    let window = window_of(slo);
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

/// Resolves the clauses of the default policy; those that do not fit this SLO are left out, and said.
pub(crate) fn resolve_defaults(
    clauses: &[(Speed, Clause)],
    slo: &mut Slo,
    place: Place,
    resolution: TimeSpan,
    report: &mut Report<'_>,
) {
    let window = window_of(slo);
    let (budget, mut left_out) = (slo.budget(), Vec::new());
    for (speed, clause) in clauses {
        match clause.resolve(*speed, window, budget, resolution) {
            Ok(clause) => slo.burn.push(clause),
            Err(_) => left_out.push(format!("{:?}", clause.text)),
        }
    }
    if left_out.is_empty() {
        return;
    }
    let none = if slo.burn.iter().any(|clause| clause.speed == Speed::Fast) { "" } else { ", so nothing pages" };
    let what = format!(
        "the default burn policy leaves out {}, which can never fire with a budget of {} % over {window}{none}",
        left_out.join(", "),
        shown(budget * 100.0)
    );
    report
        .warn_at(place, &format!("slo.{}", slo.name), Code::UselessBurn, what)
        .write(format!("alert_policies with burn rates under {}x", shown(1.0 / budget)));
}

fn window_of(slo: &Slo) -> TimeSpan {
    TimeSpan::from_seconds(slo.window_s).expect("the window was a TimeSpan")
}

/// Reads `severity_mapping`.
pub(crate) fn severities(at: &At<'_>, report: &mut Report<'_>) -> Vec<SeverityRule> {
    let Some(items) = at.list(report) else { return Vec::new() };
    if items.len() > RULES_MAX {
        report.error(at, Code::InvalidSeverity, format!("over {RULES_MAX} rows"));
        return Vec::new();
    }
    let mut rules: Vec<SeverityRule> = Vec::new();
    for item in items {
        let Some(rule) = severity_rule(&item, report) else { continue };
        if let Some(earlier) = rules.iter().position(|earlier| shadows(earlier, &rule)) {
            report
                .warn(
                    &item,
                    Code::Unreachable,
                    format!("this row is never reached: row {} above matches all it matches", earlier + 1),
                )
                .write(format!("the more special row first: above row {}", earlier + 1));
        }
        rules.push(rule);
    }
    rules
}

fn severity_rule(item: &At<'_>, report: &mut Report<'_>) -> Option<SeverityRule> {
    let mut fields = item.map(report)?;
    let condition = fields.need(report, "condition", "slo_breach").and_then(|at| condition(&at, report));
    let sev = fields.need(report, "severity", "SEV-2").and_then(|at| severity(&at, report));
    let mut when = std::collections::BTreeMap::new();
    if let Some(at) = fields.get("when") {
        when = labels(&at, report).into_iter().collect();
    }
    fields.finish(report);
    Some(SeverityRule { condition: condition?, when, sev: sev? })
}

/// Whether `earlier` matches everything that `later` matches.
fn shadows(earlier: &SeverityRule, later: &SeverityRule) -> bool {
    let covers = match (&earlier.condition, &later.condition) {
        (Condition::SloBreach, Condition::FastBurn | Condition::SlowBurn) => true,
        (Condition::BudgetBelow(wide), Condition::BudgetBelow(narrow)) => wide >= narrow,
        (a, b) => a == b,
    };
    covers && earlier.when.iter().all(|(name, value)| later.when.get(name) == Some(value))
}

const CONDITIONS: [&str; 5] = ["fast_burn", "slow_burn", "slo_breach", "budget_below(25%)", "data_missing"];

fn condition(at: &At<'_>, report: &mut Report<'_>) -> Option<Condition> {
    let text = at.text(report)?;
    match text {
        "fast_burn" => return Some(Condition::FastBurn),
        "slow_burn" => return Some(Condition::SlowBurn),
        "slo_breach" => return Some(Condition::SloBreach),
        "data_missing" => return Some(Condition::DataMissing),
        _ => {}
    }
    if let Some(rest) = text.strip_prefix("budget_below") {
        let percent = rest
            .trim()
            .strip_prefix('(')
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|rest| rest.trim().strip_suffix('%'))
            .and_then(|digits| digits.trim().parse::<f64>().ok());
        return match percent {
            Some(percent) if percent > 0.0 && percent < 100.0 => Some(Condition::BudgetBelow(percent / 100.0)),
            Some(_) => {
                let what = "budget_below needs a percentage between 0 and 100 of the error budget";
                report.error(at, Code::InvalidSeverity, what).write("condition: budget_below(25%)");
                None
            }
            None => {
                let what = format!("{text:?} does not say below which share of the budget");
                report.error(at, Code::InvalidSeverity, what).write("condition: budget_below(25%)");
                None
            }
        };
    }
    let known = CONDITIONS.join(", ");
    let instead = nearest(text, &CONDITIONS).map_or(format!("one of {known}"), |word| format!("condition: {word}"));
    report.error(at, Code::InvalidSeverity, format!("unknown condition {text:?}")).write(instead);
    None
}

/// Reads the kinds of alerts that are not raised.
pub(crate) fn mute(at: &At<'_>, report: &mut Report<'_>) -> Vec<AlertKind> {
    let kinds = AlertKind::ALL.map(|kind| (kind.as_str(), kind));
    let items = at.list(report).unwrap_or_default();
    let mut muted: Vec<AlertKind> = items.iter().filter_map(|item| item.choice(report, &kinds)).collect();
    muted.sort();
    muted.dedup();
    muted
}

/// Reads `SEV-1` to `SEV-5`.
pub(crate) fn severity(at: &At<'_>, report: &mut Report<'_>) -> Option<Sev> {
    let text = at.spelled(report)?;
    if let Ok(sev) = Sev::try_from(text.clone()) {
        return Some(sev);
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let guess = match text.to_lowercase().as_str() {
        "critical" | "page" => Sev::new(1),
        "warning" | "ticket" => Sev::new(3),
        "info" => Sev::new(4),
        _ => digits.parse().ok().and_then(Sev::new),
    };
    let instead = guess.map_or("SEV-1 (worst) to SEV-5".to_string(), |sev| format!("{}: {sev}", at.key()));
    report.error(at, Code::InvalidSeverity, format!("unknown severity {text:?}")).write(instead);
    None
}

/// Reads a map of label names to values.
pub(crate) fn labels(at: &At<'_>, report: &mut Report<'_>) -> Vec<(String, String)> {
    let Some(fields) = at.map(report) else { return Vec::new() };
    let mut labels = Vec::new();
    for (key, value) in fields.entries() {
        if !super::selector::is_label_name(&key.name) {
            report
                .error_at(key.place, &at.path, Code::InvalidName, format!("{:?} is no label name", key.name))
                .write("letters, digits and `_`, not starting with a digit or `__`");
        } else if let Some(text) = value.spelled(report) {
            match text.is_empty() {
                true => {
                    let what = "an empty label value means \"no such label\" to Prometheus";
                    report.error(&value, Code::InvalidValue, what);
                }
                false => labels.push((key.name.clone(), text)),
            }
        }
    }
    labels
}
