//! Does the cure fit? The burn has to begin after the change that is undone, and must not be the upstream's.

use super::Case;
use crate::engine::{Seconds, SloState};
use crate::gate::action::{ActionClass, ActionKind};
use crate::gate::check::{Check, ClearBy, Effect, span};
use crate::gate::observed::Change;
use crate::gate::reason::ReasonCode;
use crate::gate::view::SloView;

/// A burn may be seen to begin so long before the change it follows: slices and the report of a change are no finer.
const BEFORE_S: i64 = 60;
/// An upstream that began to burn so long after this service is no cause of it.
const UPSTREAM_AFTER_S: i64 = 300;

pub(super) fn cause(case: &Case<'_>, checks: &mut Vec<Check>) {
    if case.class != ActionClass::Mitigate {
        return;
    }
    let burning: Vec<&SloView> = case.view.slos.iter().filter(|slo| slo.burns() && case.speaks(slo)).collect();
    // What does not burn has no cause; that it does not burn is said by the check of necessity.
    if burning.is_empty() {
        return;
    }
    let begins = |slo: &&SloView| slo.onset.or(slo.since);
    if let Some(request) = case.request
        && (request.action == ActionKind::Rollback || request.suspected_change.is_some())
    {
        checks.push(follows(case, burning.iter().filter_map(begins)));
    }
    if !case.view.upstreams.is_empty() {
        checks.push(upstream(case, burning.iter().filter_map(begins).min()));
    }
}

fn uncorrelated(case: &Case<'_>, id: &'static str, what: String) -> Check {
    let effect = case.by_actor(Effect::NeedsApproval, Effect::Warn);
    Check::new(id, effect, ReasonCode::NotCorrelated, what).clear(ClearBy::Approval)
}

/// The change that is held to be the cause: the one named, else the one that brought the version that is left, else the
/// newest.
fn suspect<'a>(case: &Case<'a>) -> Option<&'a Change> {
    let request = case.request?;
    let of_resource = || case.gate.changes_of(case.service).rev().filter(|change| change.resource == request.resource);
    let brought = |version: &str| of_resource().find(|change| change.version.as_deref() == Some(version));
    match (request.suspected_change.as_deref(), request.from_version.as_deref()) {
        (Some(named), _) => brought(named),
        (None, Some(from)) => brought(from),
        (None, None) => of_resource().next(),
    }
}

/// Some burn began after the change, and not long after.
fn follows(case: &Case<'_>, onsets: impl Iterator<Item = Seconds> + Clone) -> Check {
    let id = "cause.change";
    let Some(change) = suspect(case) else {
        return uncorrelated(case, id, "the change that is suspected was never observed".into());
    };
    let name = change.version.as_deref().unwrap_or(&change.resource);
    let within = case.policy.correlate_within_s;
    let after = |onset: &Seconds| (change.at - BEFORE_S..=change.at + within).contains(onset);
    let bound = format!("within {} after {name}", span(within));
    let Some(first) = onsets.clone().min() else {
        return uncorrelated(case, id, format!("it burns for longer than is known; {name} came at {}", change.at));
    };
    let check = match onsets.clone().find(after) {
        Some(onset) => {
            let lag = span((onset - change.at).max(0));
            Check::holds(id, format!("the errors rose {lag} after {name}")).observed("onset", onset)
        }
        None if first < change.at => {
            let ago = span(change.at - first);
            uncorrelated(case, id, format!("the errors rose {ago} before {name}")).observed("onset", first)
        }
        None => {
            let later = span(first - change.at);
            uncorrelated(case, id, format!("the errors rose {later} after {name}: too late")).observed("onset", first)
        }
    };
    check.observed("change_at", change.at).bound(bound)
}

/// No service that this one depends on burns alike.
fn upstream(case: &Case<'_>, onset: Option<Seconds>) -> Check {
    let id = "cause.upstream";
    let burns = |state: SloState| matches!(state, SloState::FastBurn | SloState::SlowBurn);
    let alike = case.view.upstreams.iter().find(|upstream| {
        let began = upstream.onset.zip(onset).is_none_or(|(theirs, ours)| theirs <= ours + UPSTREAM_AFTER_S);
        burns(upstream.state) && began
    });
    if let Some(upstream) = alike {
        let what = format!("{} burns alike: the cause may be there", upstream.service);
        return uncorrelated(case, id, what).observed("upstream", upstream.service.as_str());
    }
    match case.view.upstreams.iter().find(|upstream| upstream.state == SloState::Unknown) {
        Some(unknown) => {
            let what = format!("how {} stands is not known", unknown.service);
            Check::new(id, Effect::Warn, ReasonCode::DataAbsent, what).clear(ClearBy::Data)
        }
        None => Check::holds(id, "no service it depends on burns alike"),
    }
}
