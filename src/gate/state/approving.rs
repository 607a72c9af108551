//! What people do with a question: yes, no, and taking either back.

use super::GateState;
use super::recording::at;
use crate::engine::Seconds;
use crate::gate::approval::{Approval, ApprovalState, Vote};
use crate::gate::canonical::Digest;
use crate::gate::event::{Event, EventKind};
use crate::gate::identity::Identities;
use crate::gate::principal::{Principal, Via};
use crate::gate::reason::{ReasonCode, Refusal};
use crate::gate::text::plain;

impl GateState {
    /// A person says yes to what they were shown: `shown` is the digest on the card they saw.
    ///
    /// # Errors
    /// The question is unknown, answered, expired, or about something else than was shown; the person is none, asked
    /// for it, is not named by the policy, or said yes already.
    pub fn approve(
        &self,
        id: &str,
        by: &Principal,
        shown: &Digest,
        reason: Option<&str>,
        now: Seconds,
    ) -> Result<Event, Refusal> {
        let approval = self.open(id, now)?;
        may_answer(approval, by)?;
        same_digest(approval, shown)?;
        if approval.votes.iter().any(|vote| by.is_person(&vote.by) || by.is_person(vote.person())) {
            return Err(Refusal::new(ReasonCode::AlreadyApproved, format!("{} approved already", by.sub)));
        }
        let person = by.person().to_owned();
        let vote = Vote { by: by.sub.clone(), person, at: now, reason: reason.map(said) };
        let granted = approval.have() + 1 >= approval.need;
        Ok(at(now, EventKind::ApprovalVoted { id: id.to_string(), vote, granted }))
    }

    /// A person says no. One no is enough.
    ///
    /// # Errors
    /// As of [`GateState::approve`], and when no reason is given.
    pub fn reject(&self, id: &str, by: &Principal, reason: &str, now: Seconds) -> Result<Event, Refusal> {
        let approval = self.open(id, now)?;
        may_answer(approval, by)?;
        let reason = reasoned(reason)?;
        Ok(at(now, EventKind::ApprovalRejected { id: id.to_string(), by: by.sub.clone(), reason }))
    }

    /// The requester takes the question back.
    ///
    /// # Errors
    /// It is unknown or closed, or somebody else asked.
    pub fn withdraw(&self, id: &str, by: &Principal, now: Seconds) -> Result<Event, Refusal> {
        let approval = self.open(id, now)?;
        if approval.sub != by.sub {
            return Err(Refusal::new(ReasonCode::PrincipalDiffers, format!("{} asked, not {}", approval.sub, by.sub)));
        }
        Ok(at(now, EventKind::ApprovalWithdrawn { id: id.to_string() }))
    }

    /// An approver takes a yes back that was not used yet.
    ///
    /// # Errors
    /// As of [`GateState::reject`].
    pub fn revoke_approval(&self, id: &str, by: &Principal, reason: &str, now: Seconds) -> Result<Event, Refusal> {
        let approval = self.known(id)?;
        match approval.state_at(now) {
            ApprovalState::Pending | ApprovalState::Granted => {}
            state => return Err(closed(approval, state)),
        }
        may_answer(approval, by)?;
        let reason = reasoned(reason)?;
        Ok(at(now, EventKind::ApprovalRevoked { id: id.to_string(), by: by.sub.clone(), reason }))
    }

    /// Approvals that rest on somebody who is not the one any more whom the policy asks for: what people said counts
    /// while they still may say it. Those of approvals that a live permit rests on go too, and the permit with them.
    pub fn lapsed_votes(&self, identities: &Identities, now: Seconds) -> Vec<Event> {
        let rests = |approval: &&Approval| match &approval.state {
            ApprovalState::Pending | ApprovalState::Granted => now < approval.expires_at,
            ApprovalState::Consumed { permit } => self.permit(permit).is_some_and(|permit| permit.is_live(now)),
            _ => false,
        };
        let mut events = Vec::new();
        for approval in self.approvals().filter(rests) {
            for vote in &approval.votes {
                let who = identities.named(&vote.by).map(|one| identities.principal(one, Via::Local));
                let asked = identities.named(&approval.sub).map(|one| identities.principal(one, Via::Local));
                let one_with = |by: &Principal| asked.as_ref().is_some_and(|asked| asked.is_one_with(by));
                let why = match who {
                    None => format!("{} is nobody any more", vote.by),
                    Some(by) if !approval.from.iter().any(|approver| by.is(approver)) => {
                        format!("{} is not whom the policy asks for any more", vote.by)
                    }
                    Some(by) if by.person() != vote.person() => format!("{} is another person now", vote.by),
                    Some(by) if one_with(&by) => format!("{} is the one who asked, or was asked for, now", vote.by),
                    Some(_) => continue,
                };
                let kind = EventKind::ApprovalVoteLapsed { id: approval.id.clone(), by: vote.by.clone(), why };
                events.push(at(now, kind));
            }
        }
        events
    }

    fn known(&self, id: &str) -> Result<&Approval, Refusal> {
        let unknown = || Refusal::new(ReasonCode::UnknownApproval, format!("there is no approval {id:?}"));
        self.approval(id).ok_or_else(unknown)
    }

    /// The approval, if people can still answer.
    fn open(&self, id: &str, now: Seconds) -> Result<&Approval, Refusal> {
        let approval = self.known(id)?;
        match approval.state_at(now) {
            ApprovalState::Pending => Ok(approval),
            state => Err(closed(approval, state)),
        }
    }
}

fn closed(approval: &Approval, state: &ApprovalState) -> Refusal {
    let code = match state {
        ApprovalState::Expired => ReasonCode::ApprovalExpired,
        _ => ReasonCode::ApprovalClosed,
    };
    Refusal::new(code, format!("approval {} is {}", approval.id, state.as_str()))
}

/// A person, named by the policy, who did not ask and on whose behalf was not asked.
fn may_answer(approval: &Approval, by: &Principal) -> Result<(), Refusal> {
    if !by.class.is_human() {
        return Err(Refusal::new(ReasonCode::NotAPerson, format!("{} is no person", by.sub)));
    }
    if approval.is_own(by) {
        return Err(Refusal::new(ReasonCode::OwnRequest, format!("{} asked for it, or was it asked for", by.sub)));
    }
    if !approval.from.iter().any(|approver| by.is(approver)) {
        let names: Vec<String> = approval.from.iter().map(ToString::to_string).collect();
        let what = format!("{} is not one of {}", by.sub, names.join(", "));
        return Err(Refusal::new(ReasonCode::NotAnApprover, what));
    }
    Ok(())
}

fn same_digest(approval: &Approval, shown: &Digest) -> Result<(), Refusal> {
    if *shown == approval.action_digest && approval.request.digest() == approval.action_digest {
        return Ok(());
    }
    let what = format!("what was shown is {shown}, what is asked is {}", approval.action_digest);
    Err(Refusal::new(ReasonCode::DigestDiffers, what))
}

/// A reason that says something, as it is stored: one plain line.
pub(super) fn reasoned(reason: &str) -> Result<String, Refusal> {
    match said(reason) {
        reason if reason.is_empty() => Err(Refusal::new(ReasonCode::ReasonMissing, "a reason is missing")),
        reason => Ok(reason),
    }
}

/// What somebody says, as it is stored.
pub(super) fn said(text: &str) -> String {
    plain(text).chars().take(crate::gate::request::REASON_BYTES_MAX).collect()
}
