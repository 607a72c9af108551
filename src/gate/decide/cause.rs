//! Does the cure fit? The burn has to begin after the change that is undone, and must not be the upstream's.

use super::Case;
use crate::engine::{Seconds, SloState};
use crate::gate::action::{ActionClass, ActionKind};
use crate::gate::check::{Check, ClearBy, Effect, span};
use crate::gate::observed::{Change, returns};
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

/// The change that is held to be the cause: the one that brought the version that is left, or the one named, where
/// the act undoes it too; else the newest.
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

/// Why the change that the caller names is not taken for the cause: a name is a claim, and may only make it harder.
fn misnamed(case: &Case<'_>, onset: Seconds) -> Option<String> {
    let request = case.request?;
    let named = request.suspected_change.as_deref()?;
    let of_resource = || case.gate.changes_of(case.service).filter(|change| change.resource == request.resource);
    let newest = of_resource().rev().find(|other| other.version.is_some() && other.at - BEFORE_S <= onset)?;
    if newest.version.as_deref() != Some(named) {
        let came = newest.version.as_deref().unwrap_or(&newest.resource);
        return Some(format!("{named} is named as the cause, but {came} was the last change before the errors rose"));
    }
    // Going back from what came back already undoes nothing that the suspect brought.
    let left = request.from_version.as_deref().filter(|left| *left != named);
    let gone = request.action == ActionKind::Rollback && left.is_some_and(|left| is_return(case, left));
    gone.then(|| format!("{named} is named as the cause, but does not run any more"))
}

/// Whether a version came back: it had run before the version that it followed.
fn is_return(case: &Case<'_>, version: &str) -> bool {
    let Some(request) = case.request else { return false };
    let changes = case.gate.changes_of(case.service).filter(|change| change.resource == request.resource);
    returns(changes).last().is_some_and(|(change, back)| back && change.version.as_deref() == Some(version))
}

/// Some burn began after the change, and not long after.
fn follows(case: &Case<'_>, onsets: impl Iterator<Item = Seconds> + Clone) -> Check {
    let id = "cause.change";
    let Some(change) = suspect(case) else {
        return uncorrelated(case, id, "no change was observed that the act would undo".into());
    };
    let name = change.version.as_deref().unwrap_or(&change.resource);
    let within = case.policy.correlate_within_s;
    let after = |onset: &Seconds| (change.at - BEFORE_S..=change.at + within).contains(onset);
    let bound = format!("within {} after {name}", span(within));
    let Some(first) = onsets.clone().min() else {
        return uncorrelated(case, id, format!("since when it burns is not known, so {name} may not be the cause"));
    };
    if let Some(what) = misnamed(case, first) {
        return uncorrelated(case, id, what).observed("onset", first);
    }
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
        let what = format!(
            "{}, which this service depends on, burns at the same time: the cause may be there",
            upstream.service
        );
        return uncorrelated(case, id, what).observed("upstream", upstream.service.as_str());
    }
    match case.view.upstreams.iter().find(|upstream| upstream.state == SloState::Unknown) {
        Some(unknown) => {
            let what = format!("the state of {} is not known", unknown.service);
            Check::new(id, Effect::Warn, ReasonCode::DataAbsent, what).clear(ClearBy::Data)
        }
        None => Check::holds(id, "no service that it depends on burns at the same time"),
    }
}
