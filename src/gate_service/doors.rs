//! What the doors of other protocols need of the gate beside decisions: a key under which one act is asked for again and
//! again, and whether an act that has begun may go on.
//!
//! Deliberately absent: another way to decide. Each door asks [`GateService::decide`] and redeems as everybody does.

use super::{Blocked, GateService};
use crate::gate::canonical::Digest;
use crate::gate::permit::{Permit, PermitState};
use crate::gate::principal::Principal;
use crate::gate::reason::ReasonCode;
use crate::gate::request::Request;
use crate::gate::signals::{Signal, going_on};

/// Most acts of one kind that one principal begins within what keys are remembered for.
const KEYS_MAX: usize = 10_000;

impl GateService {
    /// An idempotency key for this very act under this name: who asks again gets the permit that still lives, whichever door it
    /// asks at. An act that was begun has used its key up, so the same act later has another one.
    ///
    /// # Errors
    /// There were more acts of this kind than are told apart.
    pub fn key_of(&self, principal: &Principal, request: &Request) -> Result<String, Blocked> {
        let state = self.read();
        let digest = request.digest();
        // Under another name it is another one's. A name is as long as a key may be.
        let name = request.actor.as_deref().filter(|name| *name != principal.sub);
        let name = name.map(|name| format!("/{}", Digest::of_bytes(name.as_bytes()))).unwrap_or_default();
        let mut keys = (1..=KEYS_MAX).map(|turn| format!("act/{digest}{name}/{turn}"));
        let free = |key: &String| state.gate.decided(&principal.sub, key).is_none_or(|decided| !decided.used);
        keys.find(free).ok_or_else(|| Blocked::Conflict("the same act was begun too often today".into()))
    }

    /// The act of this principal on this resource that has begun and is not judged: the id of its permit, and whether it is
    /// this very act.
    pub fn acting(&self, principal: &Principal, request: &Request) -> Option<(String, bool)> {
        let state = self.read();
        let mut open = state.gate.open_permits_of(&request.service);
        let own = open.find(|permit| {
            permit.sub == principal.sub
                && permit.request.resource == request.resource
                && matches!(permit.state, PermitState::Redeemed { denied: false, .. })
        })?;
        Some((own.id.clone(), own.action_digest == request.digest()))
    }

    /// Whether an act may go on: as the signal of its class says, for this principal, beside its own act.
    pub fn going_on(&self, principal: &Principal, request: &Request, own: Option<&str>) -> Signal {
        let state = self.read();
        let now = self.now();
        let service = request.service.as_str();
        let (policy, view) = (state.policy(service), self.view(&state, service, now));
        let Some(view) = view else {
            let (service, class) = (service.into(), request.action.class());
            return Signal { service, class, value: 0, codes: vec![ReasonCode::UnknownService] };
        };
        let own = own.and_then(|id| state.gate.permit(id)).filter(|permit| permit.sub == principal.sub);
        going_on(request, policy.as_deref(), &view, &state.gate, principal, own, now)
    }

    /// A permit by its id.
    pub fn permit_of(&self, id: &str) -> Option<Permit> {
        self.read().gate.permit(id).cloned()
    }

    /// A live permit that is `mine`: one that `fits`, where there is one.
    pub fn live_permit(&self, mine: &dyn Fn(&Permit) -> bool, fits: &dyn Fn(&Permit) -> bool) -> Option<Permit> {
        let state = self.read();
        let now = self.now();
        let live: Vec<&Permit> =
            state.gate.open_permits().filter(|permit| permit.is_live(now) && mine(permit)).collect();
        live.iter().find(|permit| fits(permit)).or(live.first()).map(|permit| Permit::clone(permit))
    }

    /// Its time, seconds: what expires does so by it.
    pub fn clock_s(&self) -> crate::engine::Seconds {
        self.now()
    }

    /// Whether this is the decision, of this principal, that asks for this approval, or was made since about the same act.
    pub fn asked_by(&self, principal: &Principal, approval: &str, decision: &str, key: &str) -> bool {
        let state = self.read();
        let asked = state.gate.approval(approval).filter(|approval| approval.sub == principal.sub);
        let again = state.gate.decided(&principal.sub, key);
        asked.is_some_and(|approval| approval.decision_id == decision || again.is_some_and(|one| one.id == decision))
    }
}
