//! What a decision leaves behind: a permit, a question to people, or the denial alone.

use std::sync::Arc;

use super::GateState;
use crate::engine::Seconds;
use crate::gate::answer::Answer;
use crate::gate::approval::{APPROVAL_TTL_S, Approval, ApprovalState};
use crate::gate::check::Decision;
use crate::gate::decide::decide_with;
use crate::gate::event::{Event, EventKind};
use crate::gate::permit::{BREAK_GLASS_TTL_S, Permit, PermitState};
use crate::gate::policy::{PERMIT_TTL_MAX_S, Policy};
use crate::gate::principal::Principal;
use crate::gate::reason::{ReasonCode, Refusal};
use crate::gate::request::Request;
use crate::gate::view::View;

/// Fresh ids, each unlike every other one and not to be guessed: chance comes in as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// Of the decision.
    pub decision: String,
    /// Of the permit, where there will be one.
    pub permit: String,
    /// Of the approval, where one is asked for.
    pub approval: String,
}

/// What comes of an idempotency key that may have been used.
#[derive(Debug)]
pub enum Repeat {
    /// Decide. The permit that was given for the key is taken back first, where it would not be redeemed any more.
    Anew(Option<Box<Event>>),
    /// Give this permit back, with the decision as it is made now.
    Permit(Box<Permit>, Box<Decision>),
}

impl GateState {
    /// What to do with an idempotency key before deciding. An allow is given back while its permit lives and would be
    /// redeemed now; everything else is decided anew, for what stood against it may be gone. `revoked` has what to write
    /// down first.
    ///
    /// # Errors
    /// The key was used for something else.
    pub fn repeat(
        &self,
        principal: &Principal,
        request: &Request,
        pinned: impl Fn(&Permit) -> Option<Arc<Policy>>,
        current: Option<&Policy>,
        view: Option<&View>,
        now: Seconds,
    ) -> Result<Repeat, Refusal> {
        let Some(key) = request.idempotency_key.as_deref() else { return Ok(Repeat::Anew(None)) };
        let Some(decided) = self.decided(&principal.sub, key) else { return Ok(Repeat::Anew(None)) };
        if decided.action_digest != request.digest() {
            let what = format!("the idempotency key {key} was used for another request, decision {}", decided.id);
            return Err(Refusal::new(ReasonCode::DigestDiffers, what));
        }
        let permit = decided.permit.as_deref().and_then(|id| self.permit(id));
        let Some(permit) = permit.filter(|permit| permit.is_live(now)) else { return Ok(Repeat::Anew(None)) };
        // Whose act it is belongs to what is asked for: a permit is no answer for anybody else, nor for a name that is not theirs.
        if principal.actor(request.actor.as_deref()) != Some(&permit.actor) {
            let who = request.actor.as_deref().unwrap_or(&principal.sub);
            let what = format!("the idempotency key {key} was used for {}, and not for {who}", permit.actor);
            return Err(Refusal::new(ReasonCode::DigestDiffers, what));
        }
        let revoked = |reason| {
            let kind = EventKind::PermitRevoked { id: permit.id.clone(), reason };
            Ok(Repeat::Anew(Some(Box::new(at(now, kind)))))
        };
        // What is claimed this time can make it stricter, too.
        let asked = decide_with(request, principal, current, None, view, self, now, Some(permit));
        if let Some(check) = asked.checks.iter().find(|check| check.stops() && check.effect.answer() == asked.answer)
            && asked.answer != Answer::Allow
        {
            return revoked(check.code);
        }
        match self.second_look(permit, principal, pinned(permit).as_deref(), current, view, now) {
            Ok(mut decisions) => Ok(Repeat::Permit(Box::new(permit.clone()), Box::new(decisions.swap_remove(0)))),
            Err((refusal, _)) => revoked(refusal.code),
        }
    }

    /// The events of a decision that was made on this very state: write them down, apply them, then answer.
    pub fn record(
        &self,
        ids: &Ids,
        request: &Request,
        principal: &Principal,
        policy: Option<&Policy>,
        decision: &Decision,
    ) -> Vec<Event> {
        let at = decision.at;
        let mut events = vec![EventKind::Decided {
            id: ids.decision.clone(),
            sub: principal.sub.clone(),
            actor: decision.actor.clone(),
            service: request.service.clone(),
            action: request.action,
            class: decision.class,
            action_digest: decision.action_digest,
            answer: decision.answer,
            reasons: decision.codes(),
            idempotency_key: request.idempotency_key.clone(),
            probe: decision.probes(),
        }];
        match decision.answer {
            Answer::Allow => {
                let permit = permit(ids, request, principal, policy, decision);
                let consumed = permit.approval.clone();
                events.push(EventKind::PermitIssued { permit: Box::new(permit) });
                let permit = ids.permit.clone();
                events.extend(consumed.map(|id| EventKind::ApprovalConsumed { id, permit }));
            }
            Answer::NeedsApproval => {
                events.extend(self.question(ids, request, principal, decision));
            }
            Answer::Deny => {}
        }
        events.into_iter().map(|kind| Event { at, kind }).collect()
    }

    /// A question to people, unless it is asked already. It takes the place of older ones about the same action
    /// that nobody has answered; what was granted stays so.
    fn question(&self, ids: &Ids, request: &Request, principal: &Principal, decision: &Decision) -> Vec<EventKind> {
        let (Some(need), Some(policy_digest)) = (&decision.approval, decision.policy_digest) else { return Vec::new() };
        if need.id.is_some() {
            return Vec::new();
        }
        let approval = Approval {
            id: ids.approval.clone(),
            decision_id: ids.decision.clone(),
            sub: principal.sub.clone(),
            actor: decision.actor.clone(),
            person: principal.person.clone(),
            delegation: principal.delegation.clone(),
            request: request.clone(),
            action_digest: decision.action_digest,
            policy_digest,
            rule_digest: need.rule,
            generation: decision.generation,
            covers: need.covers.clone(),
            from: need.from.clone(),
            need: need.need,
            votes: Vec::new(),
            asked_at: decision.at,
            expires_at: decision.at + APPROVAL_TTL_S,
            state: ApprovalState::Pending,
        };
        let older = self.open_approvals_of(&request.service).filter(|older| {
            older.sub == principal.sub
                && older.actor == decision.actor
                && older.state == ApprovalState::Pending
                && older.request.action == request.action
                && older.request.resource == request.resource
        });
        let superseded =
            older.map(|older| EventKind::ApprovalSuperseded { id: older.id.clone(), by: approval.id.clone() });
        let mut events: Vec<EventKind> = superseded.collect();
        events.push(EventKind::ApprovalAsked { approval: Box::new(approval) });
        events
    }
}

fn permit(ids: &Ids, request: &Request, principal: &Principal, policy: Option<&Policy>, decision: &Decision) -> Permit {
    let ttl_s = match decision.break_glass {
        true => BREAK_GLASS_TTL_S,
        false => policy.map_or(0, |policy| policy.permit_ttl_s).clamp(0, PERMIT_TTL_MAX_S),
    };
    let covered = |check: &&crate::gate::Check| check.covered_by.is_some();
    let rests_on =
        decision.approval.as_ref().filter(|_| !decision.break_glass && decision.checks.iter().any(|c| covered(&c)));
    Permit {
        id: ids.permit.clone(),
        decision_id: ids.decision.clone(),
        sub: principal.sub.clone(),
        actor_class: principal.class,
        actor: decision.actor.clone(),
        request: request.clone(),
        action_digest: decision.action_digest,
        policy_digest: decision.policy_digest,
        generation: decision.generation,
        class: decision.class,
        group: policy.and_then(|policy| policy.dependency_group.clone()),
        approval: rests_on.and_then(|need| need.id.clone()),
        break_glass: decision.break_glass,
        issued_at: decision.at,
        epoch: 0,
        expires_at: decision.at + ttl_s,
        settle_s: policy.map_or(300, |policy| policy.settle_s),
        state: PermitState::Live,
    }
}

/// The time an event carries, for the modules beside this one.
pub(super) fn at(at: Seconds, kind: EventKind) -> Event {
    Event { at, kind }
}
