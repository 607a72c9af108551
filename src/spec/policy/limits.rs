//! How often, how long, and what missing data means: `rate_budgets`, the durations, `transition`, `data`.

use super::{DAY_S, count, rows, share, short_text};
use crate::gate::ActionKind;
use crate::gate::ActorClass;
use crate::gate::answer::Answer;
use crate::gate::policy::{AllowedAction, DataRules, RateActor, RateBudget, Transition};
use crate::gate::state::ACTS_KEPT_S;
use crate::spec::duration::TimeSpan;
use crate::spec::problem::{Code, Place};
use crate::spec::reader::{At, Fields, Report};
use crate::spec::tree::Value;

/// Most acts of one rate budget.
const ACTS_MAX: u64 = 10_000;
/// Most events that can be asked for.
const EVENTS_MAX: u64 = 1_000_000_000;

/// A duration of at most `most_s` seconds.
pub(super) fn span(fields: &mut Fields<'_>, key: &'static str, most_s: i64, report: &mut Report<'_>) -> Option<i64> {
    let at = fields.get(key)?;
    within(&at, most_s, report)
}

fn within(at: &At<'_>, most_s: i64, report: &mut Report<'_>) -> Option<i64> {
    let span = at.duration(report)?;
    if span.seconds() <= most_s {
        return Some(span.seconds());
    }
    let most = TimeSpan::from_seconds(most_s).map(|most| most.to_string()).unwrap_or_default();
    let what = format!("{span} is too long: at most {most}");
    report.error(at, Code::InvalidDuration, what).write(format!("{}: {most}", at.key()));
    None
}

/// Reads `rate_budgets`; the place of each.
pub(super) fn rate_budgets(
    at: &At<'_>,
    allowed: &[AllowedAction],
    report: &mut Report<'_>,
) -> (Vec<RateBudget>, Vec<Place>) {
    let (mut budgets, mut places): (Vec<RateBudget>, Vec<Place>) = (Vec::new(), Vec::new());
    for item in rows(at, report) {
        let Some((budget, place)) = rate_budget(&item, allowed, report) else { continue };
        let same = |earlier: &RateBudget| {
            (&earlier.actor, earlier.action, earlier.per_s) == (&budget.actor, budget.action, budget.per_s)
        };
        if budgets.iter().any(same) {
            let what = "the same actors and action have a budget for the same time already";
            report.error(&item, Code::DuplicateKey, what).write("one row for each");
        }
        budgets.push(budget);
        places.push(place);
    }
    (budgets, places)
}

fn rate_budget(at: &At<'_>, allowed: &[AllowedAction], report: &mut Report<'_>) -> Option<(RateBudget, Place)> {
    let mut fields = at.map(report)?;
    let max = fields.need(report, "max", "3").and_then(|at| count(&at, report, 1, ACTS_MAX));
    let per_s = fields.need(report, "per", "1h").and_then(|at| within(&at, ACTS_KEPT_S, report));
    let action_at = fields.get("action");
    // Those of this policy's own first: the others are known everywhere.
    let own = |at: &At<'_>| {
        let named =
            |row: &&AllowedAction| matches!(&at.node.value, Value::Text(text) if text == row.action.kind().as_str());
        allowed.iter().find(named).map(|row| row.action.kind())
    };
    let action = action_at.as_ref().map(|at| own(at).or_else(|| at.choice(report, &ActionKind::NAMES)));
    if let (Some(at), Some(Some(kind))) = (&action_at, action)
        && !allowed.iter().any(|row| row.action.kind() == kind)
    {
        let what = format!("{} is not an allowed action, so this budget is never spent", kind.as_str());
        report.warn(at, Code::Unreachable, what).write("an action of allowed_actions");
    }
    let (class_at, actor_at) = (fields.get("class"), fields.get("actor"));
    let actor = match (&class_at, &actor_at) {
        (Some(_), Some(at)) => {
            let what = "`class` and `actor` both say whom it limits";
            report.error(at, Code::DuplicateKey, what).write("one of them");
            None
        }
        (Some(at), None) => {
            let classes = ActorClass::ALL.map(|class| (class.as_str(), class));
            Some(Some(RateActor::Class(at.choice(report, &classes)?)))
        }
        (None, Some(at)) => short_text(at, report).map(|name| Some(RateActor::Sub(name))),
        (None, None) => Some(None),
    };
    fields.finish(report);
    let action = match action {
        // It was written, and is wrong: for every action is not what was meant.
        Some(None) => return None,
        read => read.flatten(),
    };
    let place = actor_at.as_ref().map_or(at.node.place, |at| at.node.place);
    Some((RateBudget { actor: actor?, action, max: max?, per_s: per_s? }, place))
}

/// What a change of pods costs while it runs.
pub(super) fn transition(at: &At<'_>, report: &mut Report<'_>) -> Transition {
    let default = Transition::default();
    let Some(mut fields) = at.map(report) else { return default };
    let gone = fields.get("max_unavailable").and_then(|at| share(&at, report, true, "0.25"));
    let duration_s = span(&mut fields, "duration", DAY_S, report);
    fields.finish(report);
    Transition {
        max_unavailable: gone.unwrap_or(default.max_unavailable),
        duration_s: duration_s.unwrap_or(default.duration_s),
    }
}

/// What missing data means. Only ever stricter than the table, but for `absent_mitigate`.
pub(super) fn data(at: &At<'_>, report: &mut Report<'_>) -> DataRules {
    let default = DataRules::default();
    let Some(mut fields) = at.map(report) else { return default };
    let mut answer = |key, default| match fields.get(key) {
        Some(at) => on_doubt(&at, report).unwrap_or(default),
        None => default,
    };
    let partial_mitigate = answer("partial_mitigate", default.partial_mitigate);
    let stale_mitigate = answer("stale_mitigate", default.stale_mitigate);
    let absent_mitigate = answer("absent_mitigate", default.absent_mitigate);
    let events = fields.get("min_events").and_then(|at| at.whole(report, 1..=EVENTS_MAX));
    fields.finish(report);
    DataRules { partial_mitigate, stale_mitigate, absent_mitigate, min_events: events.unwrap_or(default.min_events) }
}

fn on_doubt(at: &At<'_>, report: &mut Report<'_>) -> Option<Answer> {
    if matches!(&at.node.value, Value::Text(text) if text == Answer::Allow.as_str()) {
        let what = "no robot acts on doubtful data by itself";
        report.error(at, Code::InvalidValue, what).write(format!("{}: needs_approval or deny", at.key()));
        return None;
    }
    let answers = [Answer::NeedsApproval, Answer::Deny].map(|answer| (answer.as_str(), answer));
    at.choice(report, &answers)
}
