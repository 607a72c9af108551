//! What the act would do to availability, on the pessimistic side of what was measured. Nobody tries it out: a rollback
//! goes by what the target version was like, a scale-down by the load on the rest, and every change of pods costs what
//! is gone while it runs.

use super::{Case, premise, scale_limits};
use crate::gate::action::ActionKind;
use crate::gate::check::{Check, ClearBy, Effect};
use crate::gate::policy::{CheckKind, SafetyCheck};
use crate::gate::reason::ReasonCode;
use crate::gate::view::SloView;

/// Two-sided 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// Lower end of the 95 % interval of the ratio of good events (Wilson's score interval); `None` without events. Only
/// square roots and divisions: the same bits on every machine.
pub fn good_ratio_low(bad: u64, total: u64) -> Option<f64> {
    if total == 0 {
        return None;
    }
    let n = total as f64;
    let good = (total.saturating_sub(bad)) as f64 / n;
    let square = Z * Z;
    let centre = good + square / (2.0 * n);
    let spread = Z * (good * (1.0 - good) / n + square / (4.0 * n * n)).sqrt();
    Some(((centre - spread) / (1.0 + square / n)).clamp(0.0, 1.0))
}

pub(super) fn effect(case: &Case<'_>, checks: &mut Vec<Check>) {
    // A signal has no act whose effect could be told.
    let Some(request) = case.request else { return };
    for rule in &case.policy.safety_checks {
        if rule.kind == CheckKind::MustNotReduceAvailabilityBelow
            && let Some(slo) = case.view.slo(&rule.slo)
        {
            checks.push(floor(case, rule, slo));
        }
    }
    let workload = premise::seen(case.view, &request.resource, case.now);
    if let (ActionKind::Scale, Some((_, _, _, ceiling))) = (request.action, scale_limits(case.row)) {
        checks.extend(load(case, workload, request.replicas.unwrap_or_default(), ceiling));
    }
}

/// The expected share of good events, and where it comes from.
enum Forecast {
    /// The act takes nothing away.
    Unchanged,
    /// At least this much, percent.
    AtLeast(f64, &'static str),
    /// Nothing of its kind was measured.
    Unknown(String),
}

/// Share of the recent window that is lost while pods are replaced.
fn loss(case: &Case<'_>, slo: &SloView) -> f64 {
    let window_s = slo.recent().map_or(3600, |window| window.window_s).max(1);
    let share = case.policy.transition.duration_s as f64 / window_s as f64;
    (case.policy.transition.max_unavailable * share).clamp(0.0, 1.0)
}

fn forecast(case: &Case<'_>, slo: &SloView) -> Forecast {
    let Some(request) = case.request else { return Forecast::Unknown("no act".into()) };
    let recent = || slo.recent().and_then(|window| good_ratio_low(window.bad, window.total));
    let of_version = |version: &str| {
        let record =
            case.view.history.iter().find(|record| {
                record.resource == request.resource && record.version == version && record.slo == slo.id
            });
        record.and_then(|record| good_ratio_low(record.bad, record.total))
    };
    let after = |low: Option<f64>, lost: f64, from: &'static str, missing: &str| match low {
        Some(low) => Forecast::AtLeast((low - lost).max(0.0) * 100.0, from),
        None => Forecast::Unknown(missing.to_string()),
    };
    let runs = premise::seen(case.view, &request.resource, case.now);
    match request.action {
        ActionKind::Rollback => {
            let to = request.to_version.as_deref().unwrap_or_default();
            let missing = format!("nothing was measured of {} while {to} ran", slo.id);
            after(of_version(to), loss(case, slo), "the record of the target version", &missing)
        }
        ActionKind::Restart => {
            let record = runs.and_then(|runs| runs.version.as_deref()).and_then(of_version);
            let missing = format!("nothing was measured of {} lately", slo.id);
            after(record.or_else(recent), loss(case, slo), "the record of the version that runs", &missing)
        }
        ActionKind::Scale => match runs.and_then(|runs| runs.replicas).zip(request.replicas) {
            Some((has, wants)) if wants > has => Forecast::Unchanged,
            _ => after(recent(), 0.0, "the recent window", "nothing was measured lately"),
        },
        // Nothing that runs is touched.
        ActionKind::Cordon => {
            after(recent(), 0.0, "the recent window", &format!("nothing was measured of {} lately", slo.id))
        }
        ActionKind::Deploy | ActionKind::Config | ActionKind::Drain | ActionKind::Custom(_) => {
            let missing = format!("nothing was measured of {} lately", slo.id);
            after(recent(), loss(case, slo), "the recent window", &missing)
        }
    }
}

/// `must_not_reduce_availability_below`.
fn floor(case: &Case<'_>, rule: &SafetyCheck, slo: &SloView) -> Check {
    let id = "predict.floor";
    let bound = format!(">= {}%", rule.threshold);
    let check = match forecast(case, slo) {
        Forecast::Unchanged => Check::holds(id, format!("more replicas take nothing away from {}", slo.id)),
        Forecast::AtLeast(low, from) => {
            let shown = format!("{}: at least {low:.3}% good, by {from}", slo.id);
            if low >= rule.threshold {
                Check::holds(id, shown).observed("good_pct_low", low)
            } else {
                let effect = case.by_actor(Effect::Deny, Effect::NeedsApproval);
                Check::new(id, effect, ReasonCode::FloorBroken, format!("{shown}: under {}%", rule.threshold))
                    .observed("good_pct_low", low)
                    .clear(ClearBy::State)
                    .flip(format!("allowed again at {bound}"))
            }
        }
        Forecast::Unknown(what) => {
            let effect = case.by_actor(Effect::NeedsApproval, Effect::Warn);
            Check::new(id, effect, ReasonCode::EffectUnknown, what).clear(ClearBy::Approval)
        }
    };
    check.observed("slo", slo.id.as_str()).bound(bound)
}

/// The load on the replicas that stay: `utilisation × now / then`.
fn load(case: &Case<'_>, workload: Option<&crate::gate::Workload>, wants: u32, ceiling: f64) -> Option<Check> {
    let id = "predict.utilization";
    let has = workload.and_then(|workload| workload.replicas);
    // More replicas carry less each.
    if has.is_some_and(|has| wants >= has) {
        return None;
    }
    let bound = format!("<= {ceiling}");
    let used = workload.and_then(|workload| workload.utilization).filter(|used| used.is_finite() && *used >= 0.0);
    let Some((used, has)) = used.zip(has) else {
        let effect = case.by_actor(Effect::NeedsApproval, Effect::Warn);
        let what = "the load that fewer replicas would carry is not observed";
        return Some(Check::new(id, effect, ReasonCode::EffectUnknown, what).bound(bound).clear(ClearBy::Approval));
    };
    let then = if wants == 0 { f64::INFINITY } else { used * f64::from(has) / f64::from(wants) };
    let shown = format!("{wants} replicas would be used to {:.0}%", then * 100.0);
    let check = if then <= ceiling {
        Check::holds(id, shown)
    } else {
        let least = (used * f64::from(has) / ceiling).ceil();
        let effect = case.by_actor(Effect::Deny, Effect::NeedsApproval);
        Check::new(id, effect, ReasonCode::OverUtilization, shown)
            .clear(ClearBy::Request)
            .flip(format!("ask for {least:.0} or more"))
    };
    Some(check.observed("utilization", used).bound(bound))
}
