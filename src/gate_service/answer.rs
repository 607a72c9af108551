//! What the gate answers, as JSON: the shape `safe-to-act/v1`.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Value, json};

use crate::audit::Receipt;
use crate::engine::Seconds;
use crate::gate::answer::Answer;
use crate::gate::approval::Approval;
use crate::gate::check::Decision;
use crate::gate::event::{Event, EventKind};
use crate::gate::halt::Halt;
use crate::gate::permit::{Permit, PermitState};
use crate::gate::request::Request;
use crate::gate::state::Redemption;
use crate::gate::state::{GateState, Ids};

/// RFC 3339, UTC.
pub fn moment(at: Seconds) -> String {
    jiff::Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.to_string())
}

fn action(request: &Request, decision: Option<&Decision>) -> Value {
    let mut action = json!({
        "type": request.action.as_str(), "service": request.service, "resource": request.resource,
        "digest": decision.map_or_else(|| request.digest(), |decision| decision.action_digest),
    });
    let members = [
        ("from_version", request.from_version.clone().map(Value::from)),
        ("to_version", request.to_version.clone().map(Value::from)),
        ("from_replicas", request.from_replicas.map(Value::from)),
        ("replicas", request.replicas.map(Value::from)),
        ("arguments", (!request.arguments.is_empty()).then(|| json!(request.arguments))),
        ("class", decision.map(|decision| decision.class.as_str().into())),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            action[name] = value;
        }
    }
    action
}

/// The answer to a request for a decision, with what it left behind. Written as JSON without a copy of its checks: many
/// are asked for, and few read.
#[derive(Debug)]
pub struct Answered {
    decision: Decision,
    /// The permit was given before, for the same idempotency key.
    repeated: bool,
    id: Option<String>,
    action: Value,
    approval: Option<Value>,
    permit: Option<Value>,
    valid_until: Option<String>,
    /// What others say of the service: no part of the decision.
    context: Option<Value>,
    receipt: Option<Receipt>,
}

impl Answered {
    /// A decision. `events` are what it left behind; none when it was only explained.
    pub(super) fn now(
        decision: Decision,
        request: &Request,
        ids: Option<&Ids>,
        events: &[Event],
        gate: &GateState,
        page: Option<&str>,
    ) -> Self {
        let permit = events.iter().find_map(|event| match &event.kind {
            EventKind::PermitIssued { permit } => Some(permit),
            _ => None,
        });
        let approval = decision.approval.as_ref().map(|need| {
            let asked = events.iter().find_map(|event| match &event.kind {
                EventKind::ApprovalAsked { approval } => Some(approval.as_ref()),
                _ => None,
            });
            let known = asked.or_else(|| need.id.as_deref().and_then(|id| gate.approval(id)));
            json!({
                "id": known.map(|approval| &approval.id), "need": need.need, "have": need.have,
                "from": need.from.iter().map(ToString::to_string).collect::<Vec<_>>(), "covers": need.covers,
                "expires_at": known.map(|approval| moment(approval.expires_at)),
                "url": known.zip(page).map(|(approval, page)| format!("{page}/#approval-{}", approval.id)),
            })
        });
        Answered {
            repeated: false,
            id: ids.map(|ids| ids.decision.clone()),
            action: action(request, Some(&decision)),
            approval,
            valid_until: permit.map(|permit| moment(permit.expires_at)),
            permit: permit.map(|permit| held(permit)),
            context: None,
            receipt: None,
            decision,
        }
    }

    /// A permit given again for its idempotency key, with the decision as it would be made now.
    pub(super) fn again(decision: Decision, permit: &Permit, request: &Request) -> Self {
        Answered {
            repeated: true,
            id: Some(permit.decision_id.clone()),
            action: action(request, Some(&decision)),
            approval: None,
            valid_until: Some(moment(permit.expires_at)),
            permit: Some(held(permit)),
            context: None,
            receipt: None,
            decision,
        }
    }

    /// With what others say of the service.
    #[must_use]
    pub(super) fn beside(self, context: Option<Value>) -> Self {
        Answered { context, ..self }
    }

    /// It is on record; the receipt goes with it.
    pub(super) fn on_record(&mut self, receipt: Option<Receipt>) {
        self.receipt = receipt;
    }
}

impl Serialize for Answered {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let decision = &self.decision;
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("schema", "safe-to-act/v1")?;
        map.serialize_entry("decision_id", &self.id)?;
        map.serialize_entry("decision", decision.answer.as_str())?;
        // What an Argo Rollouts web metric reads: the word alone, and `allow` only beside a permit.
        let argo = match (decision.answer, &self.permit) {
            (Answer::Allow, None) => "would_allow",
            (answer, _) => answer.as_str(),
        };
        map.serialize_entry("argo", argo)?;
        if self.repeated {
            map.serialize_entry("repeated", &true)?;
        }
        map.serialize_entry("at", &moment(decision.at))?;
        map.serialize_entry("actor", &decision.actor)?;
        map.serialize_entry("action", &self.action)?;
        map.serialize_entry("reasons", &decision.reasons())?;
        map.serialize_entry("checks", &decision.checks)?;
        map.serialize_entry("data", &data(decision))?;
        map.serialize_entry("context", &self.context)?;
        map.serialize_entry("policy", &json!({"digest": decision.policy_digest}))?;
        map.serialize_entry("approval", &self.approval)?;
        map.serialize_entry("permit", &self.permit)?;
        map.serialize_entry("retry_after_s", &decision.retry_after_s)?;
        map.serialize_entry("valid_until", &self.valid_until)?;
        map.serialize_entry("audit", &self.receipt)?;
        map.end()
    }
}

fn data(decision: &Decision) -> Value {
    json!({
        "state": decision.data.state.as_str(), "reason": decision.data.reason.as_str(), "slo": decision.data.slo,
        "oldest_age_s": decision.data.oldest_age_s,
    })
}

/// What the answer to a decision says of its permit.
fn held(permit: &Permit) -> Value {
    json!({
        "id": permit.id, "expires_at": moment(permit.expires_at),
        "ttl_s": permit.expires_at - permit.issued_at, "break_glass": permit.break_glass, "epoch": permit.epoch,
    })
}

/// What redeeming came to.
pub fn redemption(redemption: &Redemption, held: &Permit, now: Seconds) -> Value {
    let strictest = redemption.decisions.first();
    json!({
        "schema": "safe-to-act/v1",
        "decision_id": held.decision_id,
        "decision": redemption.answer.as_str(),
        "argo": redemption.answer.as_str(),
        "at": moment(now),
        "action": action(&held.request, strictest),
        "reasons": match &redemption.refusal {
            Some(refusal) => json!([{
                "id": "permit", "effect": Answer::Deny.as_str(), "code": refusal.code, "message": refusal.message,
            }]),
            None => json!([]),
        },
        "checks": strictest.map(|decision| &decision.checks),
        "data": strictest.map(|decision| json!({
            "state": decision.data.state.as_str(), "reason": decision.data.reason.as_str(), "slo": decision.data.slo,
        })),
        "permit": permit(held, now),
        "audit": Value::Null,
    })
}

/// A permit and what became of it.
pub fn permit(permit: &Permit, now: Seconds) -> Value {
    let (state, code) = match &permit.state {
        PermitState::Live if permit.is_live(now) => ("live", None),
        PermitState::Live | PermitState::Expired => ("expired", None),
        PermitState::Redeemed { .. } => ("redeemed", None),
        PermitState::Judged { .. } => ("judged", None),
        PermitState::Revoked { code, .. } => ("revoked", Some(code)),
    };
    json!({
        "id": permit.id, "decision_id": permit.decision_id, "sub": permit.sub, "actor": permit.actor, "state": state,
        "code": code, "action": action(&permit.request, None), "break_glass": permit.break_glass, "epoch": permit.epoch,
        "issued_at": moment(permit.issued_at), "expires_at": moment(permit.expires_at),
    })
}

/// A question to people: what is observed beside what is asked for, and the requester's words as a claim.
pub fn approval(approval: &Approval, observed: Value, now: Seconds) -> Value {
    let votes = approval.votes.iter();
    json!({
        "id": approval.id, "state": approval.state_at(now).as_str(), "asked_by": approval.sub, "actor": approval.actor,
        "action": action(&approval.request, None), "claimed_reason": approval.request.reason,
        "incident_id": approval.request.incident_id, "observed": observed, "covers": approval.covers,
        "from": approval.from.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "need": approval.need, "have": approval.have(), "decision_id": approval.decision_id,
        "votes": votes.map(|vote| json!({"by": vote.by, "at": moment(vote.at), "reason": vote.reason})).collect::<Vec<_>>(),
        "asked_at": moment(approval.asked_at), "expires_at": moment(approval.expires_at),
    })
}

/// A halt.
pub fn halt(halt: &Halt) -> Value {
    json!({
        "id": halt.id, "scope": halt.scope, "actors": halt.actors.iter().map(|class| class.as_str()).collect::<Vec<_>>(),
        "owner": halt.owner, "reason": halt.reason, "at": moment(halt.at), "until": moment(halt.until),
    })
}
