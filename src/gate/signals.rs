//! Signals: what the gate would say to a robot that asks for anything of a class, without anybody asking.

use serde::{Deserialize, Serialize};

use super::action::ActionClass;
use super::check::{Check, Effect};
use super::decide::Case;
use super::halt::HaltScope;
use super::permit::{Permit, PermitState};
use super::policy::Policy;
use super::principal::{ActorClass, Principal};
use super::reason::ReasonCode;
use super::request::Request;
use super::state::GateState;
use super::view::View;
use crate::engine::Seconds;

/// `slowburn_safe_to_act{service,class}`. Only a present 1 means yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The service.
    pub service: String,
    /// The class.
    pub class: ActionClass,
    /// 1 yes, 0 no, -1 not known.
    pub value: i8,
    /// Why not 1.
    pub codes: Vec<ReasonCode>,
}

/// Whether a service is being changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ChangeState {
    /// Nothing is under way.
    Idle,
    /// A permit is live, or redeemed and not reported.
    InFlight {
        /// Which.
        permit: String,
    },
    /// An act is done and not judged yet.
    Settling {
        /// Which.
        permit: String,
        /// Until when.
        until: Seconds,
    },
    /// A freeze window holds for robots.
    Frozen {
        /// Why.
        reason: String,
        /// Until when.
        until: Seconds,
    },
    /// A halt holds for robots.
    Halted {
        /// Which.
        id: String,
        /// Why.
        reason: String,
        /// Who set it.
        by: String,
        /// Until when.
        until: Seconds,
    },
}

impl ChangeState {
    /// As in metrics and answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            ChangeState::Idle => "idle",
            ChangeState::InFlight { .. } => "in_flight",
            ChangeState::Settling { .. } => "settling",
            ChangeState::Frozen { .. } => "frozen",
            ChangeState::Halted { .. } => "halted",
        }
    }
}

/// What a robot would be told that asks for anything of `class`: the checks that do not depend on the act. Approvals
/// that a policy asks for by action are left out; a check that would ask a person is no yes.
pub fn signal(class: ActionClass, policy: Option<&Policy>, view: &View, gate: &GateState, now: Seconds) -> Signal {
    let service = view.service.clone();
    let Some(policy) = policy.filter(|policy| policy.service == service) else {
        return Signal { service, class, value: 0, codes: vec![ReasonCode::NoPolicy] };
    };
    let case = Case {
        service: &service,
        action: None,
        class,
        request: None,
        sub: "",
        acting: "",
        actor: ActorClass::Robot,
        policy,
        row: None,
        view,
        gate,
        now,
        permit: None,
    };
    summed(&case, case.checks())
}

/// Whether an act that was begun may go on, as a canary asks at each step: [`signal`] for this very principal and action, to
/// whose own act, redeemed and not judged, neither its permit nor the change that it made of its resource stands in the way.
pub fn going_on(
    request: &Request,
    policy: Option<&Policy>,
    view: &View,
    gate: &GateState,
    principal: &Principal,
    own: Option<&Permit>,
    now: Seconds,
) -> Signal {
    let service = view.service.clone();
    let policy = policy.filter(|policy| policy.service == service);
    let row = policy.and_then(|policy| policy.allowed(request.action));
    let natural = || row.and_then(|row| row.class).unwrap_or_else(|| request.action.class());
    let class = own.map_or_else(natural, |own| own.class);
    let refused = |code| Signal { service: service.clone(), class, value: 0, codes: vec![code] };
    let Some(policy) = policy else { return refused(ReasonCode::NoPolicy) };
    let Some(acting) = principal.actor(request.actor.as_deref()) else { return refused(ReasonCode::ActorMismatch) };
    let case = Case {
        service: &service,
        action: None,
        class,
        request: None,
        sub: &principal.sub,
        acting: own.map_or(acting, |own| &own.actor),
        actor: principal.class,
        policy,
        row: None,
        view,
        gate,
        now,
        permit: own,
    };
    let begun = own.and_then(|own| Some((own.acting_since()?, own)));
    let own_change = begun.is_some_and(|(since, own)| {
        let mut lately = gate.changes_of(&service).rev().take_while(|change| change.at > now - policy.cool_down_s);
        lately.all(|change| change.at >= since && change.resource == own.request.resource)
    });
    let ruled = Case { action: Some(request.action), row, ..case }.rules();
    let general = case.checks().into_iter().filter(|check| !(check.code == ReasonCode::CoolingDown && own_change));
    summed(&case, ruled.into_iter().chain(general))
}

/// One value of all these checks.
fn summed(case: &Case<'_>, checks: impl IntoIterator<Item = Check>) -> Signal {
    let mut codes = Vec::new();
    let (mut refused, mut unknown) = (false, false);
    for check in checks.into_iter().filter(|check| check.effect > Effect::Warn) {
        let blind = matches!(
            check.code,
            ReasonCode::DataAbsent
                | ReasonCode::DataStale
                | ReasonCode::DataPartial
                | ReasonCode::LowTraffic
                | ReasonCode::NotWarm
                | ReasonCode::NotLeader
        );
        unknown |= blind;
        refused |= !blind && check.code != ReasonCode::NotNecessary;
        if !codes.contains(&check.code) {
            codes.push(check.code);
        }
    }
    // Nothing to cure is a no to cures, but without data nobody knows that.
    let value = match (refused, unknown, codes.is_empty()) {
        (_, _, true) => 1,
        (false, true, _) => -1,
        _ => 0,
    };
    Signal { service: case.service.into(), class: case.class, value, codes }
}

/// Whether the service is being changed, the strongest first: halted, frozen, in flight, settling.
pub fn change_state(policy: Option<&Policy>, service: &str, gate: &GateState, now: Seconds) -> ChangeState {
    let stops = |halt: &&super::halt::Halt| {
        halt.actors.contains(&ActorClass::Robot)
            && match &halt.scope {
                HaltScope::Global => true,
                HaltScope::Service(halted) => halted == service,
                HaltScope::Actor(_) | HaltScope::Action(_) => false,
            }
    };
    if let Some(halt) = gate.halts(now).filter(stops).max_by_key(|halt| halt.until) {
        return ChangeState::Halted {
            id: halt.id.clone(),
            reason: halt.reason.clone(),
            by: halt.owner.clone(),
            until: halt.until,
        };
    }
    let windows = policy.into_iter().flat_map(|policy| &policy.freeze);
    let held = windows.filter(|window| window.actors.contains(&ActorClass::Robot));
    let held = held.filter_map(|window| window.until(now).map(|until| (until, window)));
    if let Some((until, window)) = held.max_by_key(|(until, _)| *until) {
        return ChangeState::Frozen { reason: window.reason.clone(), until };
    }
    let mut settling = None;
    for permit in gate.open_permits_of(service) {
        match &permit.state {
            PermitState::Live if permit.is_live(now) => return ChangeState::InFlight { permit: permit.id.clone() },
            PermitState::Redeemed { reported_at: None, .. } => {
                return ChangeState::InFlight { permit: permit.id.clone() };
            }
            PermitState::Redeemed { reported_at: Some(done), .. } => {
                let until = done + permit.settle_s;
                settling = Some(ChangeState::Settling { permit: permit.id.clone(), until });
            }
            _ => {}
        }
    }
    settling.unwrap_or(ChangeState::Idle)
}
