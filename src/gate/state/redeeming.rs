//! Redeeming a permit: once, by whom it was issued to, for what was decided, and only after every check has run again.
//! The second look can only be stricter: under the policy of the decision and under the one of now, the stricter counts.

use std::collections::BTreeSet;

use super::GateState;
use super::recording::at;
use crate::engine::Seconds;
use crate::gate::answer::Answer;
use crate::gate::check::Decision;
use crate::gate::decide::decide_with;
use crate::gate::event::{Event, EventKind};
use crate::gate::permit::{Baseline, Permit, PermitState};
use crate::gate::policy::Policy;
use crate::gate::principal::{Principal, Via};
use crate::gate::reason::{ReasonCode, Refusal};
use crate::gate::request::Request;
use crate::gate::view::View;

/// What redeeming came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Redemption {
    /// Allow: act now. Anything else: do not.
    pub answer: Answer,
    /// Why not; the decisions' reasons, or that of the permit itself.
    pub refusal: Option<Refusal>,
    /// The decision on the current view, and the one under the pinned policy where it is another: the stricter first.
    pub decisions: Vec<Decision>,
    /// What to write down before answering.
    pub events: Vec<Event>,
}

impl GateState {
    /// Redeems a permit. `presented` is what is about to be done; `pinned` the policy of the decision, where it is still
    /// known; `current` and `view` are those of now. Nothing may be done before the events are written down.
    #[expect(clippy::too_many_arguments, reason = "all that a decision needs, twice")]
    pub fn redeem(
        &self,
        id: &str,
        principal: &Principal,
        presented: &Request,
        pinned: Option<&Policy>,
        current: Option<&Policy>,
        view: Option<&View>,
        now: Seconds,
    ) -> Redemption {
        let refused = |refusal: Refusal, decisions: Vec<Decision>, kind: Option<EventKind>| Redemption {
            answer: Answer::Deny,
            events: kind.map(|kind| at(now, kind)).into_iter().collect(),
            refusal: Some(refusal),
            decisions,
        };
        let Some(permit) = self.permit(id) else {
            let refusal = Refusal::new(ReasonCode::UnknownPermit, format!("there is no permit {id:?}"));
            return refused(refusal, Vec::new(), None);
        };
        if let Err(refusal) = presentable(permit, principal, presented, now) {
            let (id, sub, reason) = (id.to_string(), principal.sub.clone(), refusal.code);
            return refused(refusal, Vec::new(), Some(EventKind::PermitRefused { id, sub, reason }));
        }
        match self.second_look(permit, principal, pinned, current, view, now) {
            Ok(decisions) => {
                let baseline = view.map(|view| Baseline::of(view, &permit.request.resource)).unwrap_or_default();
                let event = at(now, EventKind::PermitRedeemed { id: id.into(), baseline });
                Redemption { answer: Answer::Allow, refusal: None, decisions, events: vec![event] }
            }
            Err((refusal, decisions)) => {
                // It was worth something on other premises. Ask again.
                let kind = EventKind::PermitRevoked { id: id.into(), reason: refusal.code };
                refused(refusal, decisions, Some(kind))
            }
        }
    }

    /// A permit that an earlier process gave is not redeemed while the log is in doubt, by nobody: that it was used may be what is
    /// missing.
    pub fn doubted(&self, permit: &Permit, principal: &Principal, now: Seconds) -> Redemption {
        let id = permit.id.clone();
        let what = format!("permit {id} is of before this start, and the audit log may lack its use: ask again");
        let reason = ReasonCode::LogInDoubt;
        Redemption {
            answer: Answer::Deny,
            refusal: Some(Refusal::new(reason, what)),
            decisions: Vec::new(),
            events: vec![at(now, EventKind::PermitRefused { id, sub: principal.sub.clone(), reason })],
        }
    }

    /// Live permits of the view's service whose premises no longer hold: take them back now, before anybody acts.
    /// `pinned` gives the policy of a digest, where it is still known.
    pub fn revocations<'p>(
        &self,
        view: &View,
        current: Option<&Policy>,
        pinned: impl Fn(&Permit) -> Option<&'p Policy>,
        now: Seconds,
    ) -> Vec<Event> {
        let live = self.open_permits_of(&view.service).filter(|permit| permit.is_live(now));
        let worse = live.filter_map(|permit| {
            let holder = Principal {
                sub: permit.sub.clone(),
                person: String::new(),
                rights: None,
                via: Via::Local,
                class: permit.actor_class,
                may_act_as: BTreeSet::from([permit.actor.clone()]),
                teams: BTreeSet::new(),
                delegation: Vec::new(),
            };
            let (refusal, _) = self.second_look(permit, &holder, pinned(permit), current, Some(view), now).err()?;
            Some(at(now, EventKind::PermitRevoked { id: permit.id.clone(), reason: refusal.code }))
        });
        worse.collect()
    }

    /// Permits and approvals that ran out and of which no event says so yet.
    pub fn expiries(&self, now: Seconds) -> Vec<Event> {
        let permits =
            self.open_permits().filter(|permit| permit.state == PermitState::Live && permit.expires_at <= now);
        let permits = permits.map(|permit| EventKind::PermitExpired { id: permit.id.clone() });
        let open = self.open_approvals.values().flatten().filter_map(|id| self.approvals.get(id));
        let approvals = open.filter(|approval| approval.expires_at <= now);
        let approvals = approvals.map(|approval| EventKind::ApprovalExpired { id: approval.id.clone() });
        permits.chain(approvals).map(|kind| at(now, kind)).collect()
    }

    /// A person takes a log as it is whose end may be missing. What it says is still to be used may have been used where
    /// nobody knows of any more: every live permit and open approval ends.
    pub fn ended_by_acceptance(&self, by: &Principal, now: Seconds) -> Vec<Event> {
        let permits = self.open_permits().filter(|permit| permit.is_live(now));
        let permits =
            permits.map(|permit| EventKind::PermitRevoked { id: permit.id.clone(), reason: ReasonCode::LogInDoubt });
        let open = self.open_approvals.values().flatten().filter_map(|id| self.approvals.get(id));
        let approvals = open.filter(|approval| now < approval.expires_at).map(|approval| EventKind::ApprovalRevoked {
            id: approval.id.clone(),
            by: by.sub.clone(),
            reason: "the audit log was accepted with its end in doubt: ask again".into(),
        });
        permits.chain(approvals).map(|kind| at(now, kind)).collect()
    }

    /// The holder gives a permit back that was not used: others need not wait until it expires.
    ///
    /// # Errors
    /// There is no such permit, it is somebody else's, or it is not live.
    pub fn release(&self, id: &str, principal: &Principal, now: Seconds) -> Result<Event, Refusal> {
        let unknown = || Refusal::new(ReasonCode::UnknownPermit, format!("there is no permit {id:?}"));
        let permit = self.permit(id).ok_or_else(unknown)?;
        presentable(permit, principal, &permit.request, now)?;
        Ok(at(now, EventKind::PermitRevoked { id: id.into(), reason: ReasonCode::Released }))
    }

    /// The fence, and every check again under both policies. The decisions, the stricter first; or why not.
    pub(super) fn second_look(
        &self,
        permit: &Permit,
        principal: &Principal,
        pinned: Option<&Policy>,
        current: Option<&Policy>,
        view: Option<&View>,
        now: Seconds,
    ) -> Result<Vec<Decision>, (Refusal, Vec<Decision>)> {
        let resource = &permit.request.resource;
        let generation = view.and_then(|view| view.observed.workload_of(resource)).and_then(|one| one.generation);
        if generation != permit.generation && !permit.break_glass {
            let was = |generation: Option<u64>| generation.map_or("not observed".to_string(), |n| n.to_string());
            let what = format!("{resource}: generation {}, was {}", was(generation), was(permit.generation));
            return Err((Refusal::new(ReasonCode::GenerationChanged, what), Vec::new()));
        }
        let again = |policy| decide_with(&permit.request, principal, policy, None, view, self, now, Some(permit));
        let mut decisions = vec![again(current)];
        if current.map(Policy::digest) != permit.policy_digest && !permit.break_glass {
            match pinned.filter(|pinned| Some(pinned.digest()) == permit.policy_digest) {
                Some(pinned) => decisions.push(again(Some(pinned))),
                None => {
                    let what = "the policy it was decided under is not known any more";
                    return Err((Refusal::new(ReasonCode::PolicyChanged, what), decisions));
                }
            }
        }
        decisions.sort_by_key(|decision| std::cmp::Reverse(decision.answer));
        let strictest = &decisions[0];
        if strictest.answer == Answer::Allow {
            return Ok(decisions);
        }
        let stops: Vec<&str> =
            strictest.checks.iter().filter(|check| check.stops()).map(|check| check.message.as_ref()).collect();
        let what = format!("it would be {} now: {}", strictest.answer.as_str(), stops.join("; "));
        Err((Refusal::new(ReasonCode::StateWorsened, what), decisions))
    }
}

/// Whether this permit can be presented by this principal, for this.
fn presentable(permit: &Permit, principal: &Principal, presented: &Request, now: Seconds) -> Result<(), Refusal> {
    let refuse = |code, what: String| Err(Refusal::new(code, what));
    let id = &permit.id;
    if permit.sub != principal.sub || permit.actor_class != principal.class {
        return refuse(ReasonCode::PrincipalDiffers, format!("permit {id} is not {}'s", principal.sub));
    }
    if presented.actor.is_some() && principal.actor(presented.actor.as_deref()) != Some(&permit.actor) {
        let who = presented.actor.as_deref().unwrap_or_default();
        return refuse(ReasonCode::DigestDiffers, format!("permit {id} is for {}, and not for {who}", permit.actor));
    }
    if presented.digest() != permit.action_digest || permit.request.digest() != permit.action_digest {
        let what = format!("permit {id} is for {}, presented is {}", permit.action_digest, presented.digest());
        return refuse(ReasonCode::DigestDiffers, what);
    }
    match &permit.state {
        PermitState::Live if permit.is_live(now) => Ok(()),
        PermitState::Live | PermitState::Expired => {
            refuse(ReasonCode::PermitExpired, format!("permit {id} has expired"))
        }
        PermitState::Redeemed { .. } | PermitState::Judged { .. } => {
            refuse(ReasonCode::PermitUsed, format!("permit {id} was used already"))
        }
        PermitState::Revoked { code, .. } => {
            refuse(ReasonCode::PermitRevoked, format!("permit {id} was revoked: {code}"))
        }
    }
}
