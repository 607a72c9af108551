//! What could be done now: for each action that the policy lists, what somebody would be told who asks for it, before it is
//! said with what. Checks that depend on the act itself (versions, replicas, targets) are left to the request.

use serde::{Deserialize, Serialize};

use super::{Case, premise};
use crate::engine::Seconds;
use crate::gate::action::{ActionClass, ActionKind};
use crate::gate::answer::Answer;
use crate::gate::check::Effect;
use crate::gate::policy::{AllowedAction, Policy};
use crate::gate::principal::Principal;
use crate::gate::reason::ReasonCode;
use crate::gate::state::GateState;
use crate::gate::view::View;

/// One action of the policy, as things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// The action.
    pub action: ActionKind,
    /// What it would be for: a scale is a cure upwards and a risk downwards.
    pub class: ActionClass,
    /// The answer at best: what is asked for can make it stricter.
    pub at_best: Answer,
    /// Why not allow.
    pub codes: Vec<ReasonCode>,
}

/// Every action that the policy lists for this service, in its order; nothing without a policy.
pub fn allowed(
    principal: &Principal,
    policy: Option<&Policy>,
    view: &View,
    gate: &GateState,
    now: Seconds,
) -> Vec<Allowed> {
    let Some(policy) = policy.filter(|policy| policy.service == view.service) else { return Vec::new() };
    let of_row = |row: &AllowedAction| {
        let action = row.action.kind();
        classes(row).into_iter().map(move |class| (action, class)).collect::<Vec<_>>()
    };
    let rows = policy.allowed_actions.iter().flat_map(|row| of_row(row).into_iter().map(move |one| (row, one)));
    rows.map(|(row, (action, class))| {
        let case = Case {
            service: &view.service,
            action: Some(action),
            class,
            request: None,
            sub: &principal.sub,
            acting: &principal.sub,
            actor: principal.class,
            policy,
            row: Some(row),
            view,
            gate,
            now,
            permit: None,
        };
        let mut checks = case.checks();
        checks.extend(premise::actor(&case));
        let mut at_best = checks.iter().map(|check| check.effect.answer()).max().unwrap_or(Answer::Deny);
        let mut codes: Vec<ReasonCode> = Vec::new();
        for check in checks.iter().filter(|check| check.effect > Effect::Warn) {
            if !codes.contains(&check.code) {
                codes.push(check.code);
            }
        }
        if (row.require_approval || row.four_eyes) && class != ActionClass::Observe {
            at_best = at_best.max(Answer::NeedsApproval);
            codes.push(ReasonCode::ApprovalRequired);
        }
        Allowed { action, class, at_best, codes }
    })
    .collect()
}

fn classes(row: &AllowedAction) -> Vec<ActionClass> {
    match (row.class, row.action.kind()) {
        (Some(class), _) => vec![class],
        (None, ActionKind::Scale) => vec![ActionClass::Mitigate, ActionClass::Risk],
        (None, kind) => vec![kind.class()],
    }
}
