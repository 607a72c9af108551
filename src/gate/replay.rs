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
use super::view::{Scene, View};
use crate::engine::{Seconds, SloState};

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

impl Flip {
    /// How the answers to one request differ; `None` where they do not.
    pub fn between(one: &Inputs, other: &Inputs) -> Option<Flip> {
        let (before, after) = (one.decide(), other.decide());
        if before.answer == after.answer {
            return None;
        }
        let (was, is) = (before.codes(), after.codes());
        Some(Flip {
            inputs: one.digest(),
            at: one.now,
            service: one.request.service.clone(),
            sub: one.principal.sub.clone(),
            before: before.answer,
            after: after.answer,
            gone: was.iter().filter(|code| !is.contains(code)).copied().collect(),
            new: is.iter().filter(|code| !was.contains(code)).copied().collect(),
        })
    }
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
        Flip::between(self, &self.under(policy))
    }

    /// The same, with another policy of the service.
    #[must_use]
    pub fn under(&self, policy: Option<&Policy>) -> Self {
        let mut other = Inputs { policy: policy.cloned(), ..self.clone() };
        if let Some((was, is)) = self.policy.as_ref().zip(policy) {
            other.gate = other.gate.under(was, is, self.request.action);
        }
        other
    }

    /// The same, had the SLOs stood as they do in `scene`. What it does not know stays as it was: SLOs and services that
    /// it has not, traffic of peers, versions, and all that is observed.
    #[must_use]
    pub fn seen_in(&self, scene: &Scene<'_>) -> Self {
        let mut other = self.clone();
        let Some(view) = &mut other.view else { return other };
        let names: Vec<String> = view.upstreams.iter().map(|upstream| upstream.service.clone()).collect();
        let Some(seen) = scene.view(&view.service, &names, view.observed.clone(), view.health.clone()) else {
            return other;
        };
        for slo in &mut view.slos {
            if let Some(seen) = seen.slos.iter().find(|seen| seen.id == slo.id) {
                slo.clone_from(seen);
            }
        }
        for (upstream, seen) in view.upstreams.iter_mut().zip(&seen.upstreams) {
            if seen.state != SloState::Unknown {
                upstream.clone_from(seen);
            }
        }
        other
    }
}
