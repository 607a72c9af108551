//! The allow-list and its limits, and whether the caller's premise is what is observed.

use super::standing::LOOK_BACK_S;
use super::{Case, scale_limits};
use crate::engine::Seconds;
use crate::gate::action::ActionKind;
use crate::gate::check::{Check, ClearBy, Effect};
use crate::gate::observed::{Workload, is_pod_of, returns};
use crate::gate::policy::{Action, RateActor};
use crate::gate::reason::ReasonCode;
use crate::gate::request::Request;
use crate::gate::view::View;

/// What was seen longer ago than this is not known, seconds.
pub(super) const SEEN_MAX_S: i64 = 300;

/// The workload, if it was seen lately.
pub(super) fn seen<'v>(view: &'v View, resource: &str, now: Seconds) -> Option<&'v Workload> {
    let lately = |one: &&Workload| one.seen_at >= now - one.good_for_s.map_or(SEEN_MAX_S, |good| good.min(SEEN_MAX_S));
    view.observed.workload_of(resource).filter(lately)
}

/// The allow-list.
pub(super) fn allowed(case: &Case<'_>) -> Check {
    let action = case.action.as_ref().map_or("", ActionKind::as_str);
    match case.row {
        Some(_) => Check::holds("action", format!("the policy allows {action}")),
        None => {
            let what = format!("the policy of {} does not list {action}", case.service);
            Check::new("action", Effect::Deny, ReasonCode::ActionNotAllowed, what).clear(ClearBy::Policy)
        }
    }
}

/// Whether the policy lets this actor do it; nothing where it names none.
pub(super) fn actor(case: &Case<'_>) -> Option<Check> {
    let row = case.row.filter(|row| !row.actors.is_empty())?;
    let means = |actor: &RateActor| match actor {
        RateActor::Class(class) => *class == case.actor,
        RateActor::Sub(name) => name == case.sub || name == case.acting,
    };
    let id = "action.actor";
    if row.actors.iter().any(means) {
        return Some(Check::holds(id, format!("the policy lets {} do it", case.acting)));
    }
    let what = format!("the policy of {} does not let {} do {}", case.service, case.acting, row.action.kind().as_str());
    Some(Check::new(id, Effect::Deny, ReasonCode::ActorNotAllowed, what).clear(ClearBy::Policy))
}

/// A service that says what runs it has no other resources.
pub(super) fn resource(case: &Case<'_>) -> Option<Check> {
    let (request, own) = (case.request?, case.view.resources.as_ref()?);
    let id = "resource";
    let other_kind = match case.row.map(|row| &row.action) {
        // A node is of no one service, and the policy says which of them it means.
        Some(action) if action.of_nodes().is_some() => return None,
        // So is what an action of the policy is for, unless it is one of the workloads.
        Some(Action::Custom(custom)) => !own.iter().any(|one| one.split('/').next() == Some(&custom.resource)),
        _ => false,
    };
    let one_pod = request.action == ActionKind::Restart && own.iter().any(|one| is_pod_of(&request.resource, one));
    if other_kind {
        return None;
    }
    if one_pod || own.contains(&request.resource) {
        return Some(Check::holds(id, format!("{} belongs to {}", request.resource, case.service)));
    }
    let what = format!("{} is not one of the workloads of {}", request.resource, case.service);
    let check = Check::new(id, Effect::Deny, ReasonCode::ForeignResource, what).clear(ClearBy::Request);
    Some(check.flip(format!("ask for {}", own.join(" or "))))
}

/// Versions and replicas.
pub(super) fn premise(case: &Case<'_>, checks: &mut Vec<Check>) {
    let Some(request) = case.request else { return };
    let workload = seen(case.view, &request.resource, case.now);
    if request.action.is_of_node() {
        return;
    }
    // What an action of the policy is done to need not be a thing that runs, unless the caller says that it does.
    let custom = matches!(request.action, ActionKind::Custom(_));
    if custom && workload.is_none() && request.from_version.is_none() {
        return;
    }
    if request.action == ActionKind::Scale {
        replicas(case, request, workload.and_then(|workload| workload.replicas), checks);
    } else {
        version(case, request, workload.and_then(|workload| workload.version.as_deref()), checks);
    }
    if let Some(to) = &request.to_version
        && case.row.is_some_and(|row| row.is_irreversible(to))
    {
        let what = format!("{to} cannot be rolled back once it runs");
        checks.push(
            Check::new("irreversible", Effect::NeedsApproval, ReasonCode::Irreversible, what).clear(ClearBy::Approval),
        );
    }
}

fn stale(id: &'static str, what: String) -> Check {
    Check::new(id, Effect::Deny, ReasonCode::StalePremise, what).clear(ClearBy::Request)
}

fn unobserved(case: &Case<'_>, id: &'static str, what: String) -> Check {
    let effect = case.by_actor(Effect::NeedsApproval, Effect::Warn);
    Check::new(id, effect, ReasonCode::PremiseUnobserved, what).clear(ClearBy::Data)
}

fn version(case: &Case<'_>, request: &Request, runs: Option<&str>, checks: &mut Vec<Check>) {
    let id = "premise.version";
    let resource = &request.resource;
    let check = match (runs, request.from_version.as_deref()) {
        (Some(runs), Some(from)) if runs != from => {
            stale(id, format!("{resource} runs {runs}, not {from}")).flip(format!("ask again from {runs}"))
        }
        (Some(runs), _) if request.to_version.as_deref() == Some(runs) && request.action != ActionKind::Config => {
            let what = format!("{resource} runs {runs} already");
            Check::new(id, Effect::Deny, ReasonCode::NothingToChange, what).clear(ClearBy::Request)
        }
        (Some(runs), _) => Check::holds(id, format!("{resource} runs {runs}")).observed("version", runs),
        (None, _) => unobserved(case, id, format!("which version of {resource} runs is not observed")),
    };
    checks.push(check);
    if let (Some(Action::Rollback { max_versions_back }), Some(to)) =
        (case.row.map(|row| &row.action), request.to_version.as_deref())
    {
        let from = runs.or(request.from_version.as_deref()).unwrap_or_default();
        checks.push(versions_back(case, request, from, to, *max_versions_back));
    }
}

/// How far back the target is, in the order in which versions were first seen to run. A chain of rollbacks counts from
/// where it began: the version before the first of those that were made lately.
fn versions_back(case: &Case<'_>, request: &Request, from: &str, to: &str, most: u32) -> Check {
    let id = "limit.versions_back";
    let of_resource = || case.gate.changes_of(case.service).filter(|change| change.resource == request.resource);
    let mut seen: Vec<&str> = Vec::new();
    for change in of_resource() {
        for version in [change.from_version.as_deref(), change.version.as_deref()].into_iter().flatten() {
            if !seen.contains(&version) {
                seen.push(version);
            }
        }
    }
    // As it was when what runs came last: a change that brought something else does not shorten it.
    let mut began = from;
    let (mut before, mut chain) = (None, None);
    for (change, back) in returns(of_resource()) {
        let left = change.from_version.as_deref().or(before);
        chain = match (back && change.at > case.now - LOOK_BACK_S, chain) {
            (true, Some(first)) => Some(first),
            (true, None) => left,
            (false, _) => None,
        };
        before = change.version.as_deref();
        if before == Some(from) {
            began = chain.unwrap_or(from);
        }
    }
    let from = began;
    let place = |version: &str| seen.iter().position(|seen| *seen == version);
    let Some((at, back_to)) = place(from).zip(place(to)) else {
        let unknown = if place(to).is_none() { to } else { from };
        let what = format!("{unknown} was never seen to run as {}", request.resource);
        let effect = case.by_actor(Effect::NeedsApproval, Effect::Warn);
        return Check::new(id, effect, ReasonCode::UnknownVersion, what).clear(ClearBy::Approval).flip(
            match seen.last() {
                Some(last) => format!("ask for a version that was seen to run, such as {last}; or a person approves"),
                None => {
                    "post the changes of this resource (/v1/changes), or name it in workloads; or a person approves"
                        .into()
                }
            },
        );
    };
    if back_to >= at {
        let what = format!("{to} is not earlier than {from}: that is a deploy");
        return Check::new(id, Effect::Deny, ReasonCode::TooManyVersionsBack, what).clear(ClearBy::Request);
    }
    let back = at - back_to;
    let check = if back <= most as usize {
        Check::holds(id, format!("{to} is {back} back from {from}"))
    } else {
        let what = format!("{to} is {back} versions back from {from}, at most {most} are allowed");
        let nearest = seen[at - (most as usize).min(at)];
        Check::new(id, Effect::Deny, ReasonCode::TooManyVersionsBack, what)
            .clear(ClearBy::Request)
            .flip(format!("ask for {nearest}"))
    };
    check.observed("versions_back", back as u64).bound(format!("<= {most}"))
}

fn replicas(case: &Case<'_>, request: &Request, runs: Option<u32>, checks: &mut Vec<Check>) {
    let id = "premise.replicas";
    let wants = request.replicas.unwrap_or_default();
    let resource = &request.resource;
    let check = match (runs, request.from_replicas) {
        (Some(runs), Some(from)) if runs != from => {
            stale(id, format!("{resource} has {runs} replicas, not {from}")).flip(format!("ask again from {runs}"))
        }
        (Some(runs), _) if runs == wants => {
            let what = format!("{resource} has {runs} replicas already");
            Check::new(id, Effect::Deny, ReasonCode::NothingToChange, what).clear(ClearBy::Request)
        }
        (Some(runs), _) => Check::holds(id, format!("{resource} has {runs} replicas")).observed("replicas", runs),
        (None, _) => unobserved(case, id, format!("how many replicas {resource} has is not observed")),
    };
    checks.push(check);
    let Some((least, most, max_step, _)) = scale_limits(case.row) else { return };
    let id = "limit.replicas";
    let bound = format!("{least}..={most}");
    let deny = |code, what: String, instead: u32| {
        Check::new(id, Effect::Deny, code, what).clear(ClearBy::Request).flip(format!("ask for {instead}"))
    };
    let check = if wants < least {
        deny(ReasonCode::BelowMinReplicas, format!("{wants} replicas are under min_replicas {least}"), least)
    } else if wants > most {
        deny(ReasonCode::AboveMaxReplicas, format!("{wants} replicas are over max_replicas {most}"), most)
    } else {
        Check::holds(id, format!("{wants} replicas are within the limits"))
    };
    checks.push(check.observed("replicas_asked", wants).bound(bound));
    if let (Some(step), Some(runs)) = (max_step, runs)
        && wants.abs_diff(runs) > step
    {
        let nearest = if wants > runs { runs + step } else { runs - step };
        let what = format!("{} replicas at once are over max_step {step}", wants.abs_diff(runs));
        checks.push(
            Check::new("limit.step", Effect::Deny, ReasonCode::StepTooLarge, what)
                .observed("step", wants.abs_diff(runs))
                .bound(format!("<= {step}"))
                .clear(ClearBy::Request)
                .flip(format!("ask for {nearest}")),
        );
    }
}
