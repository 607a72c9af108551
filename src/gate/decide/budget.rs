//! The two sides of the gate, from the ledger: a risk needs headroom, a cure needs necessity. And the bounds on budget
//! and burn that the policy sets.

use super::Case;
use crate::engine::slo::Speed;
use crate::engine::{DataReason, SloState};
use crate::gate::action::ActionClass;
use crate::gate::check::{Check, ClearBy, Effect, span};
use crate::gate::policy::CheckKind;
use crate::gate::reason::ReasonCode;
use crate::gate::view::{ClauseView, SloView};

pub(super) fn budget(case: &Case<'_>, checks: &mut Vec<Check>) {
    match case.class {
        ActionClass::Risk => {
            let known = case.view.slos.iter().filter(|slo| slo.data_reason != DataReason::NoSource);
            checks.extend(known.map(|slo| headroom(case, slo)));
        }
        ActionClass::Mitigate => checks.push(necessity(case)),
        ActionClass::Observe => {}
    }
    checks.extend(claim(case));
    bounds(case, checks);
}

/// Room for a risk: nothing burns fast, and budget is left.
fn headroom(case: &Case<'_>, slo: &SloView) -> Check {
    let id = "slo.headroom";
    let refused = case.by_actor(Effect::Deny, Effect::NeedsApproval);
    let spent = slo.budget_remaining.is_some_and(|left| left <= 0.0) || slo.state == SloState::Exhausted;
    let check = if slo.state == SloState::FastBurn {
        let what = format!("{} burns fast", slo.id);
        Check::new(id, refused, ReasonCode::FastBurn, what).clear(ClearBy::State).flips(slower(slo, Speed::Fast))
    } else if spent {
        let what = format!("the error budget of {} is spent", slo.id);
        Check::new(id, refused, ReasonCode::BudgetExhausted, what)
            .clear(ClearBy::State)
            .flip(format!("allowed again when {} has budget left", slo.id))
    } else if let Some((clause, burn)) = begins(case, slo) {
        let (short, long) = (span(clause.short_s), span(clause.long_s));
        let what =
            format!("{} burns {burn:.1} over {short}: it pages as soon as {long} is over the limit, too", slo.id);
        let flip = format!("allowed again at {short} burn < {}", trim(clause.factor));
        Check::new(id, refused, ReasonCode::FastBurn, what).clear(ClearBy::State).flip(flip)
    } else if slo.state == SloState::SlowBurn {
        let what = format!("{} burns slowly", slo.id);
        Check::new(id, Effect::Warn, ReasonCode::SlowBurn, what).clear(ClearBy::State).flips(slower(slo, Speed::Slow))
    } else if slo.state == SloState::Unknown {
        // Whether that stops anybody is for the data check to say; it is no room either.
        let what = format!("the state of {} is not known", slo.id);
        Check::new(id, Effect::Warn, ReasonCode::DataAbsent, what).clear(ClearBy::Data)
    } else {
        Check::holds(id, format!("{} has headroom", slo.id))
    };
    with_burns(check, slo).bound("no fast burn, budget left")
}

/// Fewest bad events that are a burn that begins, and no chance.
const BEGINS_EVENTS: u64 = 10;

/// A fast burn that has begun and does not page yet: the short window of a fast clause is over, by more than a few events,
/// while the long one fills. To wait for the page would be to deploy into the first minute of an outage.
fn begins<'a>(case: &Case<'_>, slo: &'a SloView) -> Option<(&'a ClauseView, f64)> {
    let fast = slo.clauses.iter().filter(|clause| clause.speed == Speed::Fast && !clause.firing);
    let over = fast.filter_map(|clause| {
        let window = slo.window(clause.short_s)?;
        let burn = window.burn.filter(|burn| *burn > clause.factor)?;
        (case.speaks(slo) && window.bad >= BEGINS_EVENTS.max(case.policy.data.min_events)).then_some((clause, burn))
    });
    over.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Something to cure: a burn that is on now.
fn necessity(case: &Case<'_>) -> Check {
    let id = "slo.necessity";
    let bound = "a burn clause fires";
    let evident = |slo: &&SloView| slo.burns() && case.speaks(slo);
    let worst = case.view.slos.iter().filter(evident).max_by_key(|slo| slo.state == SloState::FastBurn);
    if let Some(slo) = worst {
        return with_burns(Check::holds(id, format!("{} burns", slo.id)), slo).bound(bound);
    }
    let effect = case.by_actor(Effect::NeedsApproval, Effect::Warn);
    let check = Check::new(
        id,
        effect,
        ReasonCode::NotNecessary,
        "no burn rate is over its limit, so there is nothing to mitigate",
    );
    let check = check.bound(bound).clear(ClearBy::Approval);
    match nearest(case) {
        Some((slo, clause, share)) => {
            let (burn, long) = (share * clause.factor, span(clause.long_s));
            let flip = format!("{}: {long} burn > {} (now {burn:.2})", slo.id, trim(clause.factor));
            with_burns(check, slo).flip(flip)
        }
        None => check,
    }
}

/// The clause that is nearest to firing, and how near: its burn over its factor.
fn nearest<'a>(case: &Case<'a>) -> Option<(&'a SloView, &'a ClauseView, f64)> {
    let shares = case.view.slos.iter().flat_map(|slo| {
        slo.clauses.iter().filter_map(move |clause| Some((slo, clause, burn(slo, clause.long_s)? / clause.factor)))
    });
    shares.max_by(|a, b| a.2.total_cmp(&b.2))
}

fn burn(slo: &SloView, window_s: i64) -> Option<f64> {
    slo.window(window_s).and_then(|window| window.burn)
}

/// What must happen for no clause of this speed to fire, and when that is at the present pace: old events leave the
/// long window evenly while new ones come at the rate of the short one.
fn slower(slo: &SloView, speed: Speed) -> Option<String> {
    let firing = slo.clauses.iter().filter(|clause| clause.firing && clause.speed == speed);
    let last = firing.map(|clause| {
        let (long, short) = (burn(slo, clause.long_s), burn(slo, clause.short_s));
        let wait = long.zip(short).and_then(|(long, short)| {
            (short < clause.factor && short < long)
                .then(|| clause.long_s as f64 * ((long - clause.factor) / (long - short)).clamp(0.0, 1.0))
        });
        (wait, clause)
    });
    // The clause that takes longest decides; one that never clears at this pace is the longest.
    let longest = last.max_by(|a, b| a.0.unwrap_or(f64::MAX).total_cmp(&b.0.unwrap_or(f64::MAX)));
    longest.map(|(wait, clause)| {
        let goal = format!("allowed again at {} burn < {}", span(clause.long_s), trim(clause.factor));
        match wait {
            // A falling short window ends the alert at once; the long one is the slower of the two.
            Some(wait) => format!("{goal}, at this pace in {}", span((wait / 60.0).ceil() as i64 * 60)),
            None => format!("{goal}; it does not fall yet"),
        }
    })
}

fn with_burns(mut check: Check, slo: &SloView) -> Check {
    check = check.observed("slo", slo.id.as_str()).observed("state", state(slo.state));
    for window in &slo.windows {
        if let Some(burn) = window.burn {
            check = check.observed(format!("burn_{}", span(window.window_s)), round(burn));
        }
    }
    if let Some(left) = slo.budget_remaining {
        check = check.observed("budget_remaining", round(left));
    }
    check
}

/// A reason that can be checked is checked.
fn claim(case: &Case<'_>) -> Option<Check> {
    let claimed = case.request?.reason.as_deref()?;
    let is = |state: SloState| move |slo: &SloView| slo.state == state;
    let spent =
        |slo: &SloView| slo.state == SloState::Exhausted || slo.budget_remaining.is_some_and(|left| left <= 0.0);
    let any = |holds: &dyn Fn(&SloView) -> bool| case.view.slos.iter().any(|slo| case.speaks(slo) && holds(slo));
    let holds = match claimed {
        "slo_burn_rate_exceeded" | "burn_rate_exceeded" => any(&SloView::burns),
        "slo_fast_burn" | "fast_burn" => any(&is(SloState::FastBurn)),
        "slo_slow_burn" | "slow_burn" => any(&SloView::burns),
        "error_budget_exhausted" | "budget_exhausted" => any(&spent),
        "slo_breach" => any(&|slo: &SloView| slo.burns() || spent(slo)),
        // Free text: shown to people, and of no weight.
        _ => return None,
    };
    if holds {
        return Some(Check::holds("claim", format!("the ledger shows {claimed}")).observed("claimed", claimed));
    }
    let effect = case.by_actor(Effect::NeedsApproval, Effect::Warn);
    let what = format!("the ledger does not show {claimed}");
    let check = Check::new("claim", effect, ReasonCode::ClaimRefuted, what).observed("claimed", claimed);
    Some(check.clear(ClearBy::State).flip("ask again without that reason, or in words of your own"))
}

/// `must_have_budget_left` and `must_not_burn_faster_than`. They are about room for a risk: a cure is only warned.
fn bounds(case: &Case<'_>, checks: &mut Vec<Check>) {
    let refused = match case.class {
        ActionClass::Risk => case.by_actor(Effect::Deny, Effect::NeedsApproval),
        ActionClass::Mitigate | ActionClass::Observe => Effect::Warn,
    };
    for rule in &case.policy.safety_checks {
        // One that is not there is said by the data check.
        let Some(slo) = case.view.slo(&rule.slo) else { continue };
        let (id, code, value, holds, bound) = match rule.kind {
            CheckKind::MustNotReduceAvailabilityBelow => continue,
            CheckKind::MustHaveBudgetLeft => {
                let left = slo.budget_remaining.map(|left| left * 100.0);
                let holds = left.is_some_and(|left| left >= rule.threshold);
                ("safety.budget_left", ReasonCode::BudgetTooLow, left, holds, format!(">= {}%", rule.threshold))
            }
            CheckKind::MustNotBurnFasterThan => {
                let burn = slo.recent().and_then(|window| window.burn);
                let holds = burn.is_some_and(|burn| burn <= rule.threshold);
                ("safety.burn", ReasonCode::BurnTooFast, burn, holds, format!("<= {}", rule.threshold))
            }
        };
        let shown = value.map_or("not known".to_string(), |value| format!("{:.2}", value));
        let check = if holds {
            Check::holds(id, format!("{}: {shown}", slo.id))
        } else {
            let what = format!("{}: {shown}, and the policy asks for {bound}", slo.id);
            let flip = format!("allowed again at {bound}");
            Check::new(id, refused, code, what).clear(ClearBy::State).flip(flip)
        };
        let check = check.observed("slo", slo.id.as_str()).bound(bound);
        checks.push(match value {
            Some(value) => check.observed("value", round(value)),
            None => check,
        });
    }
}

fn state(state: SloState) -> &'static str {
    match state {
        SloState::Ok => "ok",
        SloState::SlowBurn => "slow_burn",
        SloState::FastBurn => "fast_burn",
        SloState::Exhausted => "exhausted",
        SloState::Unknown => "unknown",
    }
}

/// Four decimals: what people read, and as much as a decision can rest on.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// A factor as it is written: 14.4, 2.1429.
fn trim(factor: f64) -> f64 {
    round(factor)
}
