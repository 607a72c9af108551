//! Deciding again: what a decision rested on can be written down whole, and gives the same decision to the bit. With
//! another policy it gives the flips: what would have been decided otherwise.

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::canonical::Digest;
use super::check::Decision;
use super::decide::decide;
use super::policy::Policy;
use super::principal::Principal;
use super::reason::ReasonCode;
use super::request::Request;
use super::state::GateState;
use super::view::View;
use crate::engine::Seconds;

/// Everything a decision rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// What was asked.
    pub request: Request,
    /// Who asked.
    pub principal: Principal,
    /// The policy of the service.
    pub policy: Option<Policy>,
    /// What was known of it.
    pub view: Option<View>,
    /// The part of the gate state that was read; see [`GateState::slice`].
    pub gate: GateState,
    /// When.
    pub now: Seconds,
}

/// One decision that another policy would have made otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// Digest of the inputs.
    pub inputs: Digest,
    /// When it was decided.
    pub at: Seconds,
    /// The service.
    pub service: String,
    /// Who asked.
    pub sub: String,
    /// What was answered.
    pub before: Answer,
    /// What would be answered.
    pub after: Answer,
    /// Reasons that were there before and are not now.
    pub gone: Vec<ReasonCode>,
    /// Reasons that are new.
    pub new: Vec<ReasonCode>,
}

impl Inputs {
    /// What [`decide`] is about to read, cut out of the whole state.
    pub fn of(
        request: &Request,
        principal: &Principal,
        policy: Option<&Policy>,
        view: Option<&View>,
        gate: &GateState,
        now: Seconds,
    ) -> Self {
        Inputs {
            request: request.clone(),
            principal: principal.clone(),
            policy: policy.cloned(),
            view: view.cloned(),
            gate: gate.slice(request, policy, &principal.sub, now),
            now,
        }
    }

    /// The address of these inputs: SHA-256 of their canonical form.
    pub fn digest(&self) -> Digest {
        Digest::of(self).expect("texts, flags, numbers and maps with text keys have a JSON form")
    }

    /// The decision, again.
    pub fn decide(&self) -> Decision {
        decide(&self.request, &self.principal, self.policy.as_ref(), self.view.as_ref(), &self.gate, self.now)
    }

    /// What another policy of the service would have changed: `None` where the answer is the same.
    pub fn flip(&self, policy: Option<&Policy>) -> Option<Flip> {
        let before = self.decide();
        let mut other = Inputs { policy: policy.cloned(), ..self.clone() };
        if let Some((was, is)) = self.policy.as_ref().zip(policy) {
            other.gate = other.gate.under(was.digest(), is.digest());
        }
        let after = other.decide();
        if before.answer == after.answer {
            return None;
        }
        let (was, is) = (before.codes(), after.codes());
        Some(Flip {
            inputs: self.digest(),
            at: self.now,
            service: self.request.service.clone(),
            sub: self.principal.sub.clone(),
            before: before.answer,
            after: after.answer,
            gone: was.iter().filter(|code| !is.contains(code)).copied().collect(),
            new: is.iter().filter(|code| !was.contains(code)).copied().collect(),
        })
    }
}
