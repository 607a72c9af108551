//! Whose yes is needed, and whether it is there.
//!
//! A yes covers the reasons there were when it was asked for, on the same request, rule of the policy and generation. A reason that
//! came later asks again, and a denial is never covered.

use super::Case;
use crate::gate::action::ActionClass;
use crate::gate::approval::{Approval, ApprovalState};
use crate::gate::canonical::Digest;
use crate::gate::check::{ApprovalNeed, Check, ClearBy, Decision, Effect};
use crate::gate::principal::Approver;
use crate::gate::principal::{Principal, same_person};
use crate::gate::reason::ReasonCode;

/// Adds the policy's own demand, and marks what a live yes covers.
pub(super) fn consent(
    case: &Case<'_>,
    principal: &Principal,
    decision: &Decision,
    checks: &mut Vec<Check>,
) -> Option<ApprovalNeed> {
    let from = approvers(case);
    let need = quorum(case);
    if let Some(row) = case.row
        && case.class != ActionClass::Observe
        && (row.require_approval || row.four_eyes)
    {
        let names: Vec<String> = from.iter().map(Approver::to_string).collect();
        let approvals = if need == 1 { "an approval".into() } else { format!("{need} approvals") };
        let what = format!("{} needs {approvals} from {}", row.action.kind().as_str(), names.join(", "));
        let check = Check::new("approval", Effect::NeedsApproval, ReasonCode::ApprovalRequired, what);
        let flip = format!("{need} of {} approve it", names.join(", "));
        checks.push(check.clear(ClearBy::Approval).bound(format!("{need} distinct people")).flip(flip));
    }
    let asks = |check: &&Check| check.effect == Effect::NeedsApproval;
    let mut covers: Vec<ReasonCode> = checks.iter().filter(asks).map(|check| check.code).collect();
    covers.sort();
    covers.dedup();
    if covers.is_empty() {
        return None;
    }
    let rule = case.action.filter(|_| decision.policy_digest.is_some()).map(|kind| case.policy.rule_digest(kind));
    let fits = |approval: &&Approval| {
        same_question(case, principal, decision, rule, approval)
            && covers.iter().all(|code| approval.covers.contains(code))
    };
    let given = match case.permit {
        // The yes it was issued on was consumed by it.
        Some(permit) => permit.approval.as_deref().and_then(|id| case.gate.approval(id)).filter(|approval| {
            approval.state == ApprovalState::Consumed { permit: permit.id.clone() }
                && approval.action_digest == decision.action_digest
                && covers.iter().all(|code| approval.covers.contains(code))
        }),
        None => case
            .gate
            .open_approvals_of(case.service)
            .find(|approval| fits(approval) && *approval.state_at(case.now) == ApprovalState::Granted),
    };
    // A policy that asks for more people by now is not content with fewer.
    if let Some(approval) = given.filter(|approval| approval.have() >= need) {
        for check in checks.iter_mut().filter(|check| check.effect == Effect::NeedsApproval) {
            check.covered_by = Some(approval.id.clone());
        }
        let id = Some(approval.id.clone());
        return Some(ApprovalNeed { need, have: approval.have(), from, covers, id, rule });
    }
    // Who asks, or on whose behalf, is nobody who can be asked.
    let own = |name: &String| {
        let involved = [principal.sub.as_str(), principal.person(), decision.actor.as_str()];
        involved.into_iter().chain(principal.delegation.iter().map(String::as_str)).any(|one| same_person(one, name))
    };
    let others = from.iter().filter(|approver| !matches!(approver, Approver::Person(name) if own(name))).count();
    let enough = from.iter().any(|approver| matches!(approver, Approver::Team(_))) || others >= need as usize;
    if from.is_empty() || !enough || !case.view.health.can_ask {
        let what = match from.is_empty() || !enough {
            true => "an approval is needed, and the policy names too few people who could give it",
            false => "an approval is needed, and the approvers cannot be reached",
        };
        checks.push(Check::new("approval.channel", Effect::Deny, ReasonCode::NobodyToAsk, what).clear(ClearBy::Policy));
    }
    let pending =
        case.gate.open_approvals_of(case.service).find(|approval| fits(approval) && approval.is_open(case.now));
    Some(ApprovalNeed {
        need,
        have: pending.map_or(0, Approval::have),
        from,
        covers,
        id: pending.map(|approval| approval.id.clone()),
        rule,
    })
}

/// Asked by the same one, under the same name, for the same act, under the same rule, on the same generation.
fn same_question(
    case: &Case<'_>,
    principal: &Principal,
    decision: &Decision,
    rule: Option<Digest>,
    approval: &Approval,
) -> bool {
    let same_rule = match approval.rule_digest {
        Some(_) => approval.rule_digest == rule,
        None => Some(approval.policy_digest) == decision.policy_digest,
    };
    approval.sub == principal.sub
        && approval.actor == decision.actor
        && approval.action_digest == decision.action_digest
        && same_rule
        && approval.generation == decision.generation
        && approval.request.service == case.service
}

/// How many people must say yes. With four eyes two people look at every act: the one who asks is one of them, a robot
/// is none.
fn quorum(case: &Case<'_>) -> u32 {
    let Some(row) = case.row else { return 1 };
    let eyes = if row.four_eyes && !case.actor.is_human() { 2 } else { 1 };
    row.quorum.max(eyes)
}

/// Those of the action; where it names nobody, those of the other actions.
fn approvers(case: &Case<'_>) -> Vec<Approver> {
    let own = case.row.map(|row| row.approvers.clone()).unwrap_or_default();
    if !own.is_empty() {
        return own;
    }
    let mut all: Vec<Approver> =
        case.policy.allowed_actions.iter().flat_map(|row| row.approvers.iter().cloned()).collect();
    all.sort();
    all.dedup();
    all
}
