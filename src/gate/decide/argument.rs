//! An action that the policy defines itself: whether it is done to what it is for, with arguments within their bounds,
//! and whether it can be taken back.

use super::Case;
use crate::gate::check::{Check, ClearBy, Effect};
use crate::gate::policy::{Action, CustomAction};
use crate::gate::reason::ReasonCode;
use crate::gate::request::Request;

pub(super) fn arguments(case: &Case<'_>, checks: &mut Vec<Check>) {
    let (Some(request), Some(Action::Custom(custom))) = (case.request, case.row.map(|row| &row.action)) else { return };
    checks.push(kind(custom, request));
    checks.push(bounds(custom, request));
    if !custom.reversible {
        let what = format!("{} cannot be taken back", custom.name.as_str());
        let check = Check::new("irreversible", Effect::NeedsApproval, ReasonCode::Irreversible, what);
        checks.push(check.clear(ClearBy::Approval));
    }
}

fn kind(custom: &CustomAction, request: &Request) -> Check {
    let id = "resource.kind";
    let kind = request.resource.split('/').next().unwrap_or_default();
    if kind == custom.resource {
        return Check::holds(id, format!("{} is for a {kind}", custom.name.as_str()));
    }
    let what = format!("{} is for a {}, and {} is a {kind}", custom.name.as_str(), custom.resource, request.resource);
    let check = Check::new(id, Effect::Deny, ReasonCode::ForeignResource, what).clear(ClearBy::Request);
    check.flip(format!("ask for {}/NAME", custom.resource))
}

/// All of the arguments that the policy names, within their bounds, and none besides.
fn bounds(custom: &CustomAction, request: &Request) -> Check {
    let id = "arguments";
    let refused = |what: String, flip: String| {
        Check::new(id, Effect::Deny, ReasonCode::ArgumentRefused, what).clear(ClearBy::Request).flip(flip)
    };
    let name = custom.name.as_str();
    for (key, value) in &request.arguments {
        match custom.arguments.get(key) {
            None => return refused(format!("{name} takes no {key}"), format!("ask without {key}")),
            Some(bounds) if !bounds.hold(value) => {
                let what = format!("{key} {value} is not one of {bounds}");
                return refused(what, format!("ask with {key} of {bounds}"));
            }
            Some(_) => {}
        }
    }
    match custom.arguments.iter().find(|(key, _)| !request.arguments.contains_key(*key)) {
        Some((key, bounds)) => refused(format!("{name} needs {key}"), format!("ask with {key} of {bounds}")),
        None => Check::holds(id, "the arguments are within their bounds"),
    }
}
