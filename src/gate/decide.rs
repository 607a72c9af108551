//! The decision: a pure function of a request, who asks, the policy, the view of the service, the gate state and a moment.
//!
//! Every check runs, so the answer is complete; the strictest wins. A check that cannot be answered does not pass: it
//! asks or denies. No free text has a say: a claimed reason is a word that is held against the ledger, or only shown.
//!
//! | module | checks |
//! |---|---|
//! | `standing` | the gate itself, halts, freezes, changes under way, rates, what acts came to |
//! | `premise` | the allow-list, versions and replicas as observed |
//! | `argument` | what an action of the policy's own is done to, and with what |
//! | `autonomy` | whether a machine has earned to do it by itself |
//! | `node` | what runs on a node, and what is left without it |
//! | `data` | whether there is data to decide on |
//! | `budget` | headroom for a risk, necessity for a cure, claims, budget and burn bounds |
//! | `effect` | availability after the act, on the pessimistic side |
//! | `cause` | whether the burn follows the change, and is not the upstream's |
//! | `consent` | whose yes is needed, and whether it is there |

mod argument;
mod autonomy;
mod budget;
mod cause;
mod consent;
mod data;
mod effect;
mod node;
mod options;
mod premise;
mod standing;

use super::action::{ActionClass, ActionKind};
use super::answer::Answer;
use super::canonical::Digest;
use super::check::{Check, ClearBy, DataSummary, Decision, Effect};
use super::permit::Permit;
use super::policy::{Action, AllowedAction, Policy};
use super::principal::{ActorClass, Principal, Right};
use super::reason::ReasonCode;
use super::request::Request;
use super::state::GateState;
use super::view::{SloView, View};
use crate::engine::{DataReason, DataState, Seconds};

pub use effect::good_ratio_low;
pub use options::{Allowed, allowed};

/// Decides. `policy` is that of the service, `view` what is known of it: `None` where there is none, which denies.
pub fn decide(
    request: &Request,
    principal: &Principal,
    policy: Option<&Policy>,
    view: Option<&View>,
    gate: &GateState,
    now: Seconds,
) -> Decision {
    decide_with(request, principal, policy, None, view, gate, now, None)
}

/// [`decide`] for whoever knows the digest of the policy already.
pub fn decide_under(
    request: &Request,
    principal: &Principal,
    policy: Option<&Policy>,
    digest: Option<Digest>,
    view: Option<&View>,
    gate: &GateState,
    now: Seconds,
) -> Decision {
    decide_with(request, principal, policy, digest, view, gate, now, None)
}

/// Decides again while `permit` is redeemed: it does not stand in its own way, and rests on the yes it was issued on.
#[expect(clippy::too_many_arguments, reason = "all that a decision needs")]
pub(super) fn decide_with(
    request: &Request,
    principal: &Principal,
    policy: Option<&Policy>,
    digest: Option<Digest>,
    view: Option<&View>,
    gate: &GateState,
    now: Seconds,
    permit: Option<&Permit>,
) -> Decision {
    let nothing = Policy::new(&request.service);
    // A policy or a view of another service says nothing of this one.
    let own_policy = policy.filter(|policy| policy.service == request.service);
    let own_view = view.filter(|view| view.service == request.service);
    let mut checks = identity(request, principal, own_view.is_some(), own_policy.is_some());
    let ruling = own_policy.unwrap_or(&nothing);
    let row = ruling.allowed(request.action);
    let mut decision = Decision {
        answer: Answer::Deny,
        class: row.and_then(|row| row.class).unwrap_or_else(|| natural_class(request, own_view, now)),
        actor: principal.actor(request.actor.as_deref()).unwrap_or(&principal.sub).to_string(),
        at: now,
        action_digest: request.digest(),
        policy_digest: own_policy.map(|policy| digest.unwrap_or_else(|| policy.digest())),
        checks: Vec::new(),
        data: DataSummary { state: DataState::Absent, reason: DataReason::NoSeries, slo: None, oldest_age_s: None },
        approval: None,
        break_glass: request.break_glass,
        generation: None,
        retry_after_s: None,
    };
    if let Some(view) = own_view {
        let case = Case {
            service: &request.service,
            action: Some(request.action),
            class: decision.class,
            request: Some(request),
            sub: &principal.sub,
            acting: principal.actor(request.actor.as_deref()).unwrap_or(&principal.sub),
            actor: principal.class,
            policy: ruling,
            row,
            view,
            gate,
            now,
            permit,
        };
        if own_policy.is_some() {
            checks.push(premise::allowed(&case));
            checks.extend(premise::actor(&case));
        }
        checks.extend(premise::resource(&case));
        checks.extend(case.checks());
        decision.data = data::summary(&case);
        decision.generation = view.observed.workload_of(&request.resource).and_then(|workload| workload.generation);
        // Whoever says it is somebody else is told nothing of what others asked for.
        if checks.iter().all(|check| check.code != ReasonCode::ActorMismatch) {
            decision.approval = consent::consent(&case, principal, &decision, &mut checks);
        }
    }
    if request.break_glass {
        break_glass(request, principal, own_view.is_some(), &mut checks);
    }
    checks.iter_mut().for_each(Check::or_usual_flip);
    let open = checks.iter().filter(|check| check.covered_by.is_none());
    // Nothing checked is nothing allowed.
    decision.answer = open.map(|check| check.effect.answer()).max().unwrap_or(Answer::Deny);
    decision.retry_after_s = retry_after(&checks, now);
    decision.checks = checks;
    decision
}

/// What the checks look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    pub service: &'a str,
    /// `None` where a signal asks for a whole class.
    pub action: Option<ActionKind>,
    pub class: ActionClass,
    pub request: Option<&'a Request>,
    pub sub: &'a str,
    /// The name it acts under.
    pub acting: &'a str,
    pub actor: ActorClass,
    pub policy: &'a Policy,
    pub row: Option<&'a AllowedAction>,
    pub view: &'a View,
    pub gate: &'a GateState,
    pub now: Seconds,
    /// The permit that is being redeemed.
    pub permit: Option<&'a Permit>,
}

impl<'a> Case<'a> {
    /// Every check but those on who asks and who says yes.
    pub fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::with_capacity(24);
        standing::standing(self, &mut checks);
        premise::premise(self, &mut checks);
        argument::arguments(self, &mut checks);
        node::node(self, &mut checks);
        checks.extend(autonomy::autonomy(self));
        data::quality(self, &mut checks);
        budget::budget(self, &mut checks);
        effect::effect(self, &mut checks);
        cause::cause(self, &mut checks);
        checks
    }

    /// What the policy and halts say of this very action and of who does it.
    pub fn rules(&self) -> Vec<Check> {
        let mut checks = vec![premise::allowed(self), standing::halted(self)];
        checks.extend(premise::actor(self));
        checks
    }

    /// What a check comes to for robots and pipelines, and what for people.
    pub fn by_actor(&self, robot: Effect, human: Effect) -> Effect {
        if self.actor.is_human() { human } else { robot }
    }

    /// SLOs the decision rests on: all that have a source, and those the policy names. Naming one leaves none of the
    /// others out: a check more must not make anything looser. Empty is no data, not no SLO.
    pub fn governing(&self) -> Vec<&'a SloView> {
        let named = |slo: &SloView| self.policy.safety_checks.iter().any(|check| check.slo == slo.id);
        self.view.slos.iter().filter(|slo| slo.data_reason != DataReason::NoSource || named(slo)).collect()
    }

    /// Whether a number of this SLO is evidence: known, and of now.
    pub fn speaks(&self, slo: &SloView) -> bool {
        matches!(slo.data, DataState::Fresh | DataState::Partial) && !data::is_old(self)
    }
}

/// What the action is for, where the policy does not say: by what is observed, not by what is claimed.
fn natural_class(request: &Request, view: Option<&View>, now: Seconds) -> ActionClass {
    match request.action {
        ActionKind::Scale => {
            // What somebody only said of it makes no cure of a risk.
            let seen = view.and_then(|view| premise::seen(view, &request.resource, now)).filter(|one| !one.told);
            let now_has = seen.and_then(|one| one.replicas);
            match now_has.zip(request.replicas) {
                Some((has, wants)) if wants > has => ActionClass::Mitigate,
                _ => ActionClass::Risk,
            }
        }
        other => other.class(),
    }
}

/// Who asks, and for what. These no broken glass lifts.
fn identity(request: &Request, principal: &Principal, known: bool, ruled: bool) -> Vec<Check> {
    let mut checks = Vec::with_capacity(8);
    let claim = request.actor.as_deref();
    checks.push(match principal.actor(claim) {
        Some(actor) => Check::holds("actor", format!("{} acts as {actor}", principal.sub)),
        None => {
            let what = format!("{} may not act as {}", principal.sub, claim.unwrap_or_default());
            Check::new("actor", Effect::Deny, ReasonCode::ActorMismatch, what).clear(ClearBy::Request)
        }
    });
    if !known {
        let what = format!("there is no service {:?} with an SLO", request.service);
        checks.push(Check::new("service", Effect::Deny, ReasonCode::UnknownService, what).clear(ClearBy::Request));
    }
    if !ruled {
        let what = format!("no policy allows anything for {:?}", request.service);
        checks.push(Check::new("policy", Effect::Deny, ReasonCode::NoPolicy, what).clear(ClearBy::Policy));
    }
    checks
}

/// A person with a reason is let through against every check but who asks and for which service.
fn break_glass(request: &Request, principal: &Principal, known: bool, checks: &mut Vec<Check>) {
    let may = principal.class.is_human() && principal.has(Right::BreakGlass) && request.reason.is_some() && known;
    if !may || checks.iter().any(|check| check.code == ReasonCode::ActorMismatch) {
        let what = "break-glass access is for people with that right, with a reason, for one service that exists";
        let check = Check::new("break_glass", Effect::Deny, ReasonCode::BreakGlassRefused, what);
        checks.push(check.clear(ClearBy::Nothing));
        return;
    }
    for check in checks.iter_mut().filter(|check| check.effect > Effect::Warn) {
        check.covered_by = Some("break_glass".into());
    }
    let what = format!("{} uses break-glass access", principal.sub);
    checks.push(Check::new("break_glass", Effect::Warn, ReasonCode::BreakGlass, what));
}

/// When the clock alone may change the answer: all that deny must say when they end.
fn retry_after(checks: &[Check], now: Seconds) -> Option<i64> {
    let denying = checks.iter().filter(|check| check.effect == Effect::Deny && check.covered_by.is_none());
    let ends: Option<Vec<Seconds>> = denying.map(|check| check.clears_at).collect();
    ends?.into_iter().max().map(|end| end.saturating_sub(now).max(1)).filter(|wait| *wait < 366 * 86_400)
}

/// Limits of the scale row.
fn scale_limits(row: Option<&AllowedAction>) -> Option<(u32, u32, Option<u32>, f64)> {
    match &row?.action {
        Action::Scale { min_replicas, max_replicas, max_step, max_utilization } => {
            Some((*min_replicas, *max_replicas, *max_step, *max_utilization))
        }
        _ => None,
    }
}
