//! How things stand whatever is asked for: the gate itself, halts, freezes, changes under way, rates, and what earlier
//! acts came to.

use super::Case;
use crate::engine::Seconds;
use crate::gate::action::{ActionClass, ActionKind};
use crate::gate::check::{Check, ClearBy, Effect, span};
use crate::gate::observed::{Change, returns};
use crate::gate::permit::Permit;
use crate::gate::policy::RateActor;
use crate::gate::reason::ReasonCode;
use crate::gate::verdict::Outcome;

/// Skew of the clocks that is said, seconds.
const SKEW_WARN_S: f64 = 5.0;
/// Skew of the clocks beyond which nothing is decided for robots, seconds.
const SKEW_DENY_S: f64 = 30.0;
/// How long acts and changes are remembered against doing the same again, seconds.
pub(super) const LOOK_BACK_S: i64 = 4 * 3600;
/// A change that was seen while the clock was ahead holds machines up until then, where it is no longer than this, seconds.
const AHEAD_S: i64 = 4 * 3600;
/// Acts without effect after which a person is asked.
const NO_EFFECT_MAX: usize = 2;
/// Different acts denied within [`PROBING_S`] after which a machine is denied everything.
const DENIALS_MAX: usize = 20;
/// See [`DENIALS_MAX`], seconds.
const PROBING_S: i64 = 600;

pub(super) fn standing(case: &Case<'_>, checks: &mut Vec<Check>) {
    gate(case, checks);
    checks.push(halted(case));
    checks.push(frozen(case));
    checks.push(in_flight(case));
    checks.push(cooling_down(case));
    rates(case, checks);
    checks.extend(flip_flop(case));
    checks.extend(effectiveness(case));
    checks.push(probing(case));
    checks.extend(begun(case));
}

/// The gate itself.
fn gate(case: &Case<'_>, checks: &mut Vec<Check>) {
    let health = &case.view.health;
    if !health.leads {
        let what = "another process decides here: this one only explains";
        let check = Check::new("gate.leader", Effect::Deny, ReasonCode::NotLeader, what).clear(ClearBy::Gate);
        checks.push(check.flip("ask the one that decides, or wait until this one has taken over"));
    }
    if !health.policy_current {
        let what = "the newest policy files were refused: older ones are in force";
        let effect = case.by_actor(Effect::Deny, Effect::Warn);
        checks.push(
            Check::new("gate.policy", effect, ReasonCode::PolicyInvalid, what)
                .clear(ClearBy::Gate)
                .flip("slowburn check names each problem with its file and line; mend it and reload"),
        );
    }
    if !health.warm {
        let what = "history is still being read: burns and budgets are not known yet";
        checks.push(Check::new("gate.warm", Effect::Deny, ReasonCode::NotWarm, what).clear(ClearBy::Gate));
    }
    if !health.audit_writable {
        let what = "the audit log cannot be written, and nothing is allowed that is not on record";
        checks.push(Check::new("gate.audit", Effect::Deny, ReasonCode::AuditUnwritable, what).clear(ClearBy::Gate));
    }
    if !health.log_proved {
        let what = "the audit log cannot be proved complete: halts, uses of permits and approvals may be missing";
        let effect = case.by_actor(Effect::Deny, Effect::Warn);
        let check = Check::new("gate.memory", effect, ReasonCode::LogInDoubt, what).clear(ClearBy::Person);
        checks.push(check.flip("a person looks at it and runs slowburn audit accept"));
    }
    if health.unwitnessed.stops(case.class) {
        let what = "too few witnesses have confirmed the audit log, so an older copy could have been put in its place";
        let effect = case.by_actor(Effect::Deny, Effect::Warn);
        let check = Check::new("gate.witness", effect, ReasonCode::LogUnwitnessed, what).clear(ClearBy::Gate);
        checks.push(check.flip("the witnesses answer again, or the settings ask for fewer of them"));
    }
    let skew = health.clock_skew_s.map(f64::abs);
    let (effect, what) = match skew {
        Some(skew) if skew <= SKEW_WARN_S => (Effect::Allow, "the clocks agree".to_string()),
        Some(skew) if skew <= SKEW_DENY_S => (Effect::Warn, format!("the clocks differ by {skew:.0}s")),
        Some(skew) => (case.by_actor(Effect::Deny, Effect::Warn), format!("the clocks differ by {skew:.0}s")),
        // Without an answer of Prometheus there is no clock to compare: the data check says the rest.
        None => (Effect::Warn, "Prometheus's clock is not known".to_string()),
    };
    let code = if effect == Effect::Allow { ReasonCode::Holds } else { ReasonCode::ClockSkew };
    let mut check = Check::new("gate.clock", effect, code, what).bound("<= 30s");
    if effect != Effect::Allow {
        check = check.clear(ClearBy::Gate);
    }
    if let Some(skew) = health.clock_skew_s {
        check = check.observed("skew_s", skew);
    }
    checks.push(check);
}

pub(super) fn halted(case: &Case<'_>) -> Check {
    let stops = |halt: &&crate::gate::Halt| {
        halt.stops(case.service, case.action, [case.sub, case.acting], case.actor, case.now)
    };
    // The one that lasts longest says when it ends.
    match case.gate.halts(case.now).filter(stops).max_by_key(|halt| halt.until) {
        None => Check::holds("halt", "nothing is halted"),
        Some(halt) => {
            let left = span(halt.until - case.now);
            let what = format!("{} halted it: {} (halt {}, {left} left)", halt.owner, halt.reason, halt.id);
            Check::new("halt", Effect::Deny, ReasonCode::Halted, what)
                .observed("halt", halt.id.as_str())
                .clear(ClearBy::Person)
                .at(halt.until)
                .flip(format!("a person lifts halt {}, or it ends in {left}", halt.id))
        }
    }
}

fn frozen(case: &Case<'_>) -> Check {
    let windows = case.policy.freeze.iter().filter(|window| {
        window.actors.contains(&case.actor) && !(window.mitigate_exempt && case.class == ActionClass::Mitigate)
    });
    let held = windows.filter_map(|window| window.until(case.now).map(|until| (until, window)));
    if case.class == ActionClass::Observe {
        return Check::holds("freeze", "nothing would change");
    }
    match held.max_by_key(|(until, _)| *until) {
        None => Check::holds("freeze", "no freeze window holds"),
        Some((until, window)) => {
            let left = span(until.saturating_sub(case.now));
            let what = format!("frozen: {} ({left} left)", window.reason);
            Check::new("freeze", Effect::Deny, ReasonCode::Frozen, what)
                .observed("until", until)
                .clear(ClearBy::Time)
                .at(until)
                .flip(format!("the freeze ends in {left}"))
        }
    }
}

/// One change at a time, of the service and of its group, until it was judged.
fn in_flight(case: &Case<'_>) -> Check {
    let id = "concurrency";
    if !case.policy.one_change_at_a_time {
        return Check::holds(id, "the policy allows several changes at a time");
    }
    let group = case.policy.dependency_group.as_deref();
    let related = case.gate.in_the_way(case.service, group);
    let others = related.filter(|permit| case.permit.is_none_or(|own| own.id != permit.id));
    let prepares = |permit: &&Permit| case.request.is_some_and(|later| permit.request.prepares(later));
    let others = others.filter(|permit| !prepares(permit));
    let until = |permit: &Permit| permit.under_way(case.now);
    match others.filter_map(|permit| until(permit).map(|until| (until, permit))).max_by_key(|(until, _)| *until) {
        None => Check::holds(id, "no other change is under way"),
        Some((until, permit)) => {
            let (action, service, actor) = (permit.request.action.as_str(), &permit.request.service, &permit.actor);
            let what = format!("{actor} is changing {service}: {action}, permit {}", permit.id);
            let effect = case.by_actor(Effect::Deny, Effect::NeedsApproval);
            Check::new(id, effect, ReasonCode::ChangeInFlight, what)
                .observed("permit", permit.id.as_str())
                .clear(ClearBy::Time)
                .at(until.max(case.now + 1))
                .flip(format!("permit {} expires or its act is judged", permit.id))
        }
    }
}

/// After any change, of people too. A rollback does not wait for the change it undoes, unless that was a rollback
/// itself: one step back follows another only after the time to look what the first came to.
fn cooling_down(case: &Case<'_>) -> Check {
    let id = "cool_down";
    let undone = case.request.filter(|request| request.action == ActionKind::Rollback);
    let of_resource = case
        .gate
        .changes_of(case.service)
        .filter(|change| undone.is_some_and(|request| change.resource == request.resource));
    let newest = returns(of_resource).last();
    let undoes = |change: &Change| {
        undone.is_some_and(|request| change.version.is_some() && change.version == request.from_version)
            && newest.is_some_and(|(last, back)| last == change && !back)
    };
    let last =
        case.gate.changes_of(case.service).rev().find(|change| !undoes(change) && change.at <= case.now + AHEAD_S);
    let until = last.map(|change| (change, change.at + case.policy.cool_down_s));
    match until.filter(|(_, until)| case.now < *until) {
        None => Check::holds(id, "the last change is long enough ago"),
        Some((change, until)) => {
            let ago = span((case.now - change.at).max(0));
            let what = format!("{} changed {ago} ago", change.resource);
            Check::new(id, case.by_actor(Effect::Deny, Effect::Warn), ReasonCode::CoolingDown, what)
                .observed("changed_s_ago", case.now - change.at)
                .bound(format!(">= {}", span(case.policy.cool_down_s)))
                .clear(ClearBy::Time)
                .at(until)
                .flip(format!("allowed again in {}", span(until - case.now)))
        }
    }
}

/// How often this actor may do this to this service.
fn rates(case: &Case<'_>, checks: &mut Vec<Check>) {
    let Some(action) = case.action else { return };
    let budgets = case.policy.rate_budgets.iter().filter(|budget| {
        let means_actor = match &budget.actor {
            None => !case.actor.is_human(),
            Some(RateActor::Class(class)) => *class == case.actor,
            Some(RateActor::Sub(sub)) => sub == case.sub,
        };
        means_actor && budget.action.is_none_or(|only| only == action)
    });
    for budget in budgets {
        let since = case.now - budget.per_s;
        let own = |act: &&crate::gate::state::Act| {
            act.sub == case.sub && act.action == action && case.permit.is_none_or(|permit| permit.id != act.permit)
        };
        let acts = case.gate.acts_of(case.service).rev().take_while(|act| act.at > since).filter(own);
        let times: Vec<Seconds> = acts.map(|act| act.at).collect();
        let most = budget.max as usize;
        let bound = format!("<= {} in {}", budget.max, span(budget.per_s));
        let check = if times.len() < most {
            Check::holds("rate", format!("{} of {} in {}", times.len(), budget.max, span(budget.per_s)))
        } else {
            // Newest first: room is made when the one that fills the budget leaves the span.
            let end = times.get(most.wrapping_sub(1)).map_or(Seconds::MAX, |at| at + budget.per_s);
            let what = format!("{} did {} {} times in {}", case.sub, action.as_str(), times.len(), span(budget.per_s));
            Check::new("rate", Effect::Deny, ReasonCode::RateExceeded, what)
                .clear(ClearBy::Time)
                .at(end)
                .flip(format!("allowed again in {}", span(end.saturating_sub(case.now))))
        };
        checks.push(check.observed("acts", times.len() as u64).bound(bound));
    }
}

/// A to B, back to A, and to B again.
fn flip_flop(case: &Case<'_>) -> Option<Check> {
    let request = case.request?;
    let (from, to) = request.from_version.as_deref().zip(request.to_version.as_deref())?;
    let mut last: Option<&str> = None;
    let mut again = false;
    for change in case.gate.changes_of(case.service).filter(|change| change.resource == request.resource) {
        let Some(version) = change.version.as_deref() else { continue };
        let before = last.or(change.from_version.as_deref());
        again |= before == Some(from) && version == to && change.at > case.now - LOOK_BACK_S;
        last = Some(version);
    }
    if !again {
        return Some(Check::holds("flip_flop", "this step was not made lately"));
    }
    let what = format!("{from} to {to} was done already within {}", span(LOOK_BACK_S));
    let effect = case.by_actor(Effect::NeedsApproval, Effect::Warn);
    Some(Check::new("flip_flop", effect, ReasonCode::FlipFlop, what).clear(ClearBy::Approval))
}

/// What the same action came to lately.
fn effectiveness(case: &Case<'_>) -> Option<Check> {
    let action = case.action?;
    let lately = |verdict: &&crate::gate::Verdict| {
        verdict.action == action && verdict.at > case.now - LOOK_BACK_S && verdict.at <= case.now
    };
    let count = |outcome| case.gate.verdicts_of(case.service).filter(lately).filter(|v| v.outcome == outcome).count();
    let (worse, no_effect) = (count(Outcome::Worse), count(Outcome::NoEffect));
    let effect = case.by_actor(Effect::NeedsApproval, Effect::Warn);
    let check = if worse > 0 {
        let what = format!("{} made things worse within {}", action.as_str(), span(LOOK_BACK_S));
        Check::new("effectiveness", effect, ReasonCode::MadeWorse, what).clear(ClearBy::Approval)
    } else if no_effect >= NO_EFFECT_MAX {
        let what = format!("{} had no effect {no_effect} times within {}", action.as_str(), span(LOOK_BACK_S));
        Check::new("effectiveness", effect, ReasonCode::Ineffective, what).clear(ClearBy::Approval)
    } else {
        Check::holds("effectiveness", "nothing speaks against doing it again")
    };
    Some(check.observed("no_effect", no_effect as u64).observed("worse", worse as u64))
}

/// What an idempotency key stands for was begun already: a key is for one act.
fn begun(case: &Case<'_>) -> Option<Check> {
    let key = case.request.filter(|_| case.permit.is_none())?.idempotency_key.as_deref()?;
    let decided = case.gate.decided(case.sub, key).filter(|decided| decided.used)?;
    let what =
        format!("the permit of decision {} was used, so the idempotency key {key} cannot be used again", decided.id);
    let check = Check::new("idempotency", Effect::Deny, ReasonCode::PermitUsed, what).clear(ClearBy::Request);
    Some(check.flip("ask for another act with another key"))
}

/// A machine that is denied one act after the other is looking for a hole. To ask for the same again, or while something
/// only has to pass, is no search; nor is a cure for what burns, which is needed then.
fn probing(case: &Case<'_>) -> Check {
    let acts = case.gate.denials_since(case.sub, case.now - PROBING_S);
    let cures = case.class == ActionClass::Mitigate && case.view.slos.iter().any(|slo| slo.burns() && case.speaks(slo));
    let end = acts.get(DENIALS_MAX - 1).map(|at| at + PROBING_S);
    let (Some(end), false, false) = (end, case.actor.is_human(), cures) else {
        return Check::holds("probing", format!("{} different acts denied in {}", acts.len(), span(PROBING_S)));
    };
    let what = format!("{} was denied {} different acts in {}", case.sub, acts.len(), span(PROBING_S));
    Check::new("probing", Effect::Deny, ReasonCode::Probing, what)
        .bound(format!("< {DENIALS_MAX}"))
        .clear(ClearBy::Time)
        .at(end)
        .flip(format!("allowed again in {}", span(end - case.now)))
}
