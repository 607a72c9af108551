//! Events of the gate as records of the audit log, and back: the log is all that outlives the process.
//!
//! Each event is one record. The head says who, what and why for people and searches; `event` holds the event itself,
//! from which the gate state is built again.

use serde_json::{Value, json};

use crate::audit::proof::Glance;
use crate::audit::record::{Kind, Record};
use crate::gate::approval::Approval;
use crate::gate::check::Decision;
use crate::gate::event::{Event, EventKind};
use crate::gate::request::Request;
use crate::gate::{GateState, Identities, Principal};

/// Who did it, and what is known beside the event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The credential behind it; none where the gate acts by itself.
    pub principal: Option<&'a Principal>,
    /// Tag that the policy wants.
    pub incident_tag: Option<&'a str>,
    /// The decision, for the event that tells of one.
    pub decision: Option<&'a Decision>,
    /// What was decided from.
    pub inputs: Option<&'a Value>,
    /// What was asked, where the event itself does not hold it.
    pub request: Option<&'a Request>,
    /// What others said of the service then: shown, and no part of the decision.
    pub beside: Option<&'a Value>,
}

/// The name under which the gate records what it does by itself.
pub const SELF: &str = "slowburn";

/// The record of an event. `gate` is from before the event.
pub fn record(event: &Event, gate: &GateState, context: &Context<'_>, time_ms: i64) -> Record {
    let by = context.principal.map_or(SELF, |principal| principal.sub.as_str());
    let mut record = Record::new(kind_of(&event.kind), by, event.kind.as_str(), time_ms);
    record.principal = context.principal.map(
        |principal| json!({"sub": principal.sub, "via": principal.via.as_str(), "class": principal.class.as_str(), "delegation": principal.delegation}),
    );
    record.incident_tag = context.incident_tag.map(str::to_owned);
    record.event = Some(serde_json::to_value(event).expect("events are plain data"));
    if let Some(request) = context.request {
        say_request(&mut record, request);
    }
    match &event.kind {
        EventKind::Decided { id, actor, action, answer, reasons, action_digest, service, .. } => {
            record.actor = actor.clone();
            record.action = action.as_str().into();
            record.service = Some(service.clone());
            let approved = context.decision.and_then(|decision| decision.approval.as_ref());
            record.approval = Some(approval_of(approved.is_some(), approved.and_then(|need| need.id.as_deref()), gate));
            record.decision = Some(json!({
                "id": id, "result": answer.as_str(), "reasons": reasons, "action_digest": action_digest,
                "class": context.decision.map(|decision| decision.class),
                "checks": context.decision.map(|decision| &decision.checks),
            }));
            record.inputs = context.decision.map(|decision| {
                json!({
                    "policy": decision.policy_digest, "data_state": decision.data.state.as_str(),
                    "data_reason": decision.data.reason.as_str(), "snapshot": context.inputs.map(|inputs| &inputs["view"]),
                    "replay": context.inputs,
                })
            });
            if let (Some(inputs), Some(beside)) = (&mut record.inputs, context.beside) {
                inputs["context"] = beside.clone();
            }
        }
        EventKind::PermitIssued { permit } => {
            record.actor = permit.actor.clone();
            say_request(&mut record, &permit.request);
            record.approval = Some(approval_of(permit.approval.is_some(), permit.approval.as_deref(), gate));
            record.decision = Some(json!({"id": permit.decision_id}));
            if permit.break_glass {
                record.kind = Kind::BreakGlass;
            }
        }
        EventKind::DecisionRepeated { id, permit, .. } => {
            say_permit(&mut record, permit, gate);
            record.decision = Some(json!({"id": id}));
        }
        EventKind::PermitRedeemed { id, .. }
        | EventKind::PermitRefused { id, .. }
        | EventKind::PermitExpired { id }
        | EventKind::PermitRevoked { id, .. }
        | EventKind::OutcomeReported { permit: id, .. } => say_permit(&mut record, id, gate),
        EventKind::ApprovalAsked { approval } => say_approval(&mut record, approval),
        EventKind::ApprovalVoted { id, vote, .. } => {
            say_approval_id(&mut record, id, gate);
            record.reason = vote.reason.clone();
        }
        EventKind::ApprovalVoteLapsed { id, why, .. } => {
            say_approval_id(&mut record, id, gate);
            record.reason = Some(why.clone());
        }
        EventKind::ApprovalRejected { id, reason, .. } | EventKind::ApprovalRevoked { id, reason, .. } => {
            say_approval_id(&mut record, id, gate);
            record.reason = Some(reason.clone());
        }
        EventKind::ApprovalWithdrawn { id }
        | EventKind::ApprovalExpired { id }
        | EventKind::ApprovalSuperseded { id, .. }
        | EventKind::ApprovalConsumed { id, .. } => say_approval_id(&mut record, id, gate),
        EventKind::Halted { halt } => {
            record.actor = halt.owner.clone();
            record.reason = Some(halt.reason.clone());
            if let crate::gate::HaltScope::Service(service) = &halt.scope {
                record.service = Some(service.clone());
            }
        }
        EventKind::Resumed { reason, .. } => record.reason = Some(reason.clone()),
        EventKind::ChangeObserved { change } => {
            record.actor = change.by.clone().unwrap_or_else(|| by.to_owned());
            record.service = Some(change.service.clone());
            record.resource = Some(change.resource.clone());
            record.from_version = change.from_version.clone();
            record.to_version = change.version.clone();
        }
        EventKind::Judged { verdict } => {
            record.service = Some(verdict.service.clone());
            record.reason = Some(verdict.message.clone());
            say_permit(&mut record, &verdict.permit, gate);
        }
    }
    record
}

/// The event of a record; `None` for records that change nothing in the gate state.
pub fn event(body: Option<&[u8]>) -> Option<Event> {
    serde_json::from_slice(body?).ok()
}

/// Who told of something, as it stands in a record that no decision reads.
pub fn principal_of(principal: &Principal) -> Value {
    json!({"sub": principal.sub, "via": principal.via.as_str(), "class": principal.class.as_str()})
}

/// Whether this should have been an event of the gate state, and is none that is known.
pub fn is_unread(glance: Glance<'_>) -> bool {
    let event = glance.event.and_then(|text| serde_json::from_slice::<Value>(text).ok());
    event.is_some_and(|event| event.get("at").is_some() && event.get("kind").is_some())
}

/// That a policy came into force, or that a service has none any more.
pub fn policy_load(service: &str, digest: Option<&crate::gate::Digest>, by: &str, time_ms: i64) -> Record {
    let action = if digest.is_some() { "policy_load" } else { "policy_removed" };
    let mut record = Record::new(Kind::PolicyLoad, by, action, time_ms);
    record.service = Some(service.to_owned());
    record.inputs = Some(json!({"policy": digest}));
    record
}

/// Who there is from now on, as far as it is not as before: names, never what proves them.
pub fn identities_load(before: &Identities, after: &Identities, by: &str, time_ms: i64) -> Option<Record> {
    let names = |of: &Identities, other: &Identities, differs: bool| -> Vec<String> {
        let is = |one: &&crate::gate::Identity| match other.named(&one.name) {
            None => !differs,
            Some(known) => differs && known != *one,
        };
        of.all.iter().filter(is).map(|one| one.name.clone()).collect()
    };
    let (added, removed, changed) =
        (names(after, before, false), names(before, after, false), names(after, before, true));
    if added.is_empty() && removed.is_empty() && changed.is_empty() {
        return None;
    }
    let mut record = Record::new(Kind::Identities, by, "identities_load", time_ms);
    let digest = crate::gate::Digest::of(after).ok();
    record.event = Some(json!({"added": added, "removed": removed, "changed": changed, "identities": digest}));
    Some(record)
}

/// That a person took the log as it is, with what speaks against it.
pub fn accepted(principal: &Principal, doubts: &[String], reason: &str, time_ms: i64) -> Record {
    let mut record = Record::new(Kind::Accepted, principal.sub.as_str(), "accept_log", time_ms);
    record.principal = Some(principal_of(principal));
    record.reason = Some(reason.to_owned());
    record.event = Some(json!({"doubts": doubts}));
    record
}

fn kind_of(kind: &EventKind) -> Kind {
    match kind {
        EventKind::Decided { .. } => Kind::Decision,
        EventKind::PermitIssued { .. } | EventKind::DecisionRepeated { .. } => Kind::Permit,
        EventKind::PermitRedeemed { .. } | EventKind::PermitRefused { .. } => Kind::Presented,
        EventKind::PermitExpired { .. } | EventKind::ApprovalExpired { .. } => Kind::Expired,
        EventKind::PermitRevoked { .. } | EventKind::ApprovalRevoked { .. } => Kind::Revoked,
        EventKind::ApprovalAsked { .. }
        | EventKind::ApprovalVoted { .. }
        | EventKind::ApprovalVoteLapsed { .. }
        | EventKind::ApprovalRejected { .. }
        | EventKind::ApprovalWithdrawn { .. }
        | EventKind::ApprovalSuperseded { .. }
        | EventKind::ApprovalConsumed { .. } => Kind::Approval,
        EventKind::Halted { .. } | EventKind::Resumed { .. } => Kind::Halt,
        EventKind::ChangeObserved { .. } | EventKind::OutcomeReported { .. } => Kind::Acted,
        EventKind::Judged { .. } => Kind::Verdict,
    }
}

fn say_request(record: &mut Record, request: &Request) {
    record.service = Some(request.service.clone());
    record.resource = Some(request.resource.clone());
    record.from_version = request.from_version.clone();
    record.to_version = request.to_version.clone();
    record.reason = request.reason.clone();
    record.incident_id = request.incident_id.clone();
}

fn say_permit(record: &mut Record, id: &str, gate: &GateState) {
    let Some(permit) = gate.permit(id) else { return };
    let reason = record.reason.take();
    say_request(record, &permit.request);
    record.reason = reason.or(record.reason.take());
    record.approval = Some(approval_of(permit.approval.is_some(), permit.approval.as_deref(), gate));
    record.decision = Some(json!({"id": permit.decision_id}));
}

fn say_approval(record: &mut Record, approval: &Approval) {
    say_request(record, &approval.request);
    record.decision = Some(json!({"id": approval.decision_id}));
    record.approval = Some(json!({
        "required": true, "approved_by": approved_by(approval), "approval_id": approval.id, "quorum": approval.need,
        "covers": approval.covers,
    }));
}

fn say_approval_id(record: &mut Record, id: &str, gate: &GateState) {
    if let Some(approval) = gate.approval(id) {
        say_approval(record, approval);
    }
}

/// `approval` of the record: who must say yes, and who did.
fn approval_of(required: bool, id: Option<&str>, gate: &GateState) -> Value {
    let approval = id.and_then(|id| gate.approval(id));
    json!({
        "required": required,
        "approved_by": approval.and_then(approved_by),
        "approval_id": id,
        "quorum": approval.map(|approval| approval.need),
        "covers": approval.map(|approval| &approval.covers),
    })
}

/// One name, or all of them where more than one was needed.
fn approved_by(approval: &Approval) -> Option<String> {
    let names: Vec<&str> = approval.votes.iter().map(|vote| vote.by.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}
