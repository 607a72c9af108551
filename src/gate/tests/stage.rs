//! What the tests of the gate play on: one service, the people and programs around it, and each state it can be in.

use std::collections::BTreeSet;

use crate::engine::slo::Speed;
use crate::engine::{DataReason, DataState, Labels, Seconds, SloState};
use crate::gate::approval::ApprovalState;
use crate::gate::freeze::{FreezeTime, FreezeWindow};
use crate::gate::permit::Baseline;
use crate::gate::policy::{Action, AllowedAction, CheckKind, Policy, SafetyCheck};
use crate::gate::principal::Approver;
use crate::gate::view::{ClauseView, Stops, VersionRecord, WindowView};
use crate::gate::{
    ActionClass, ActionKind, ActorClass, Change, Decision, Event, EventKind, GateState, Halt, HaltScope, Health, Ids,
    Observed, Permit, PermitState, Principal, Request, SloView, Via, View, Workload, decide,
};

/// When everything happens.
pub const NOW: Seconds = 1_790_000_000;
/// When the errors rose, where something burns: a minute after the last deploy.
pub const ONSET: Seconds = NOW - 1500;
pub const DEPLOYED: Seconds = ONSET - 60;
pub const SERVICE: &str = "checkout";
pub const RESOURCE: &str = "deployment/checkout-service";
pub const NODE: &str = "node/k8s-gpu-17";
pub const SLO: &str = "checkout-availability";
const BUDGET: f64 = 0.001;

// === Who there is

pub fn principal(sub: &str, class: ActorClass, teams: &[&str]) -> Principal {
    Principal {
        sub: sub.into(),
        person: String::new(),
        rights: None,
        via: Via::Token,
        class,
        may_act_as: BTreeSet::new(),
        teams: teams.iter().map(|team| (*team).to_string()).collect(),
        delegation: Vec::new(),
    }
}

/// A person on call, whom the policy names.
pub fn ada() -> Principal {
    principal("@ada", ActorClass::Human, &["checkout-oncall"])
}

/// Another one.
pub fn bob() -> Principal {
    principal("@bob", ActorClass::Human, &["checkout-oncall"])
}

/// A person whom the policy does not name.
pub fn dan() -> Principal {
    principal("@dan", ActorClass::Human, &["search"])
}

pub fn orca() -> Principal {
    principal("ai-operator/orca-ops", ActorClass::Robot, &[])
}

pub fn deployer() -> Principal {
    principal("deployer", ActorClass::Pipeline, &[])
}

pub fn of_class(class: ActorClass) -> Principal {
    match class {
        ActorClass::Human => dan(),
        ActorClass::Robot => orca(),
        ActorClass::Pipeline => deployer(),
    }
}

// === What is asked

pub fn request(action: ActionKind) -> Request {
    let versions = |from: &str, to: &str| (Some(from.to_string()), Some(to.to_string()));
    let (from_version, to_version) = match action {
        ActionKind::Rollback => versions("v42", "v41"),
        ActionKind::Deploy => versions("v42", "v43"),
        _ => (None, None),
    };
    Request {
        service: SERVICE.into(),
        action,
        resource: if action.is_of_node() { NODE.into() } else { RESOURCE.into() },
        from_version,
        to_version,
        from_replicas: None,
        replicas: (action == ActionKind::Scale).then_some(12),
        arguments: Default::default(),
        reason: Some("see INC-7".into()),
        incident_id: None,
        suspected_change: None,
        actor: None,
        break_glass: false,
        idempotency_key: None,
    }
}

/// The action that stands for a class.
pub fn of_action_class(class: ActionClass) -> Request {
    request(match class {
        ActionClass::Observe => ActionKind::Config,
        ActionClass::Mitigate => ActionKind::Rollback,
        ActionClass::Risk => ActionKind::Deploy,
    })
}

pub fn scale(replicas: u32) -> Request {
    Request { replicas: Some(replicas), ..request(ActionKind::Scale) }
}

// === What the policy says

/// Rollback, deploy and scale, an availability floor; nobody is asked.
pub fn policy() -> Policy {
    let row = |action| AllowedAction {
        approvers: vec![Approver::Team("checkout-oncall".into())],
        ..AllowedAction::new(action)
    };
    let limits = Action::Scale { min_replicas: 3, max_replicas: 50, max_step: Some(10), max_utilization: 0.8 };
    Policy {
        allowed_actions: vec![
            row(Action::Rollback { max_versions_back: 1 }),
            row(limits),
            row(Action::Deploy),
            AllowedAction { class: Some(ActionClass::Observe), ..row(Action::Config) },
        ],
        safety_checks: vec![SafetyCheck {
            kind: CheckKind::MustNotReduceAvailabilityBelow,
            slo: SLO.into(),
            threshold: 99.0,
        }],
        cool_down_s: 600,
        ..Policy::new(SERVICE)
    }
}

/// The same, where every action needs a yes.
pub fn asking_policy() -> Policy {
    let mut policy = policy();
    policy.allowed_actions.iter_mut().for_each(|row| row.require_approval = true);
    policy
}

pub fn row(policy: &mut Policy, kind: ActionKind) -> &mut AllowedAction {
    policy.allowed_actions.iter_mut().find(|row| row.action.kind() == kind).expect("it is allowed")
}

/// A window that holds now, since a minute.
pub fn freeze(actors: &[ActorClass]) -> FreezeWindow {
    let moment =
        |s: i64| jiff::Timestamp::from_second(NOW + s).expect("a time").to_zoned(jiff::tz::TimeZone::UTC).datetime();
    FreezeWindow {
        reason: "the sale".into(),
        when: FreezeTime::Once { from: moment(-60), until: moment(3600) },
        time_zone: "UTC".into(),
        actors: actors.to_vec(),
        mitigate_exempt: false,
    }
}

// === How the service stands

pub const SLO_STATES: [SloState; 5] =
    [SloState::Ok, SloState::SlowBurn, SloState::FastBurn, SloState::Exhausted, SloState::Unknown];

/// The states of data that a decision tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    Fresh,
    LowTraffic,
    Partial,
    Stale,
    /// Fresh, but the evaluation stands still.
    OldView,
    Absent,
    Filling,
}

impl Data {
    pub const ALL: [Data; 7] =
        [Data::Fresh, Data::LowTraffic, Data::Partial, Data::Stale, Data::OldView, Data::Absent, Data::Filling];

    pub fn as_str(self) -> &'static str {
        match self {
            Data::Fresh => "fresh",
            Data::LowTraffic => "low_traffic",
            Data::Partial => "partial",
            Data::Stale => "stale",
            Data::OldView => "old_view",
            Data::Absent => "absent",
            Data::Filling => "filling",
        }
    }

    /// Nobody knows how it stands now.
    pub fn is_blind(self) -> bool {
        matches!(self, Data::Stale | Data::OldView | Data::Absent | Data::Filling)
    }
}

/// An SLO in this state, on this data.
pub fn slo(id: &str, state: SloState, data: Data) -> SloView {
    // Burn over 5 min, 30 min, 1 h, 6 h.
    let burns = match state {
        SloState::Ok | SloState::Exhausted => [0.5; 4],
        SloState::SlowBurn => [8.0; 4],
        SloState::FastBurn => [20.0; 4],
        SloState::Unknown => [f64::NAN; 4],
    };
    let rate = if data == Data::LowTraffic { 0.001 } else { 20.0 };
    let windows = [300, 1800, 3600, 21_600].into_iter().zip(burns).map(|(window_s, burn)| {
        let known = !burn.is_nan();
        let total = if known { (window_s as f64 * rate).ceil() as u64 } else { 0 };
        let bad = if known { (total as f64 * burn * BUDGET).round() as u64 } else { 0 };
        WindowView { window_s, total, bad, burn: known.then_some(burn) }
    });
    let fast = state == SloState::FastBurn;
    let slow = fast || state == SloState::SlowBurn;
    let clause = |speed, long_s, short_s, factor, firing| ClauseView { speed, long_s, short_s, factor, firing };
    let (state_of_data, reason) = match data {
        Data::Fresh | Data::LowTraffic | Data::OldView => (DataState::Fresh, DataReason::None),
        Data::Partial => (DataState::Partial, DataReason::SeriesMissing),
        Data::Stale => (DataState::Stale, DataReason::SamplesOld),
        Data::Absent => (DataState::Absent, DataReason::NoSeries),
        Data::Filling => (DataState::Partial, DataReason::Filling),
    };
    SloView {
        id: id.into(),
        objective: 99.9,
        budget: BUDGET,
        series: 1,
        worst: Labels::default(),
        state,
        since: slow.then_some(ONSET + 300),
        onset: slow.then_some(ONSET),
        data: state_of_data,
        data_reason: reason,
        newest: (data != Data::Absent).then_some(NOW - 15),
        budget_remaining: match state {
            SloState::Unknown => None,
            SloState::Exhausted => Some(-0.1),
            _ => Some(0.8),
        },
        windows: windows.collect(),
        clauses: vec![clause(Speed::Fast, 3600, 300, 14.4, fast), clause(Speed::Slow, 21_600, 1800, 6.0, slow)],
    }
}

pub fn view(state: SloState, data: Data) -> View {
    let record = |version: &str, bad| VersionRecord {
        resource: RESOURCE.into(),
        version: version.into(),
        slo: SLO.into(),
        total: 100_000,
        bad,
    };
    View {
        service: SERVICE.into(),
        at: if data == Data::OldView { NOW - 600 } else { NOW - 15 },
        slos: vec![slo(SLO, state, data)],
        upstreams: Vec::new(),
        peers: Some(0.4),
        history: vec![record("v41", 10), record("v42", 40)],
        observed: Observed {
            workloads: vec![Workload {
                resource: RESOURCE.into(),
                seen_at: NOW - 15,
                version: Some("v42".into()),
                generation: Some(7),
                replicas: Some(10),
                utilization: Some(0.5),
                good_for_s: None,
                told: false,
            }],
            nodes: Vec::new(),
        },
        resources: None,
        health: Health {
            policy_current: true,
            warm: true,
            audit_writable: true,
            log_proved: true,
            leads: true,
            unwitnessed: Stops::Nothing,
            clock_skew_s: Some(0.2),
            can_ask: true,
        },
    }
}

/// All is well.
pub fn calm() -> View {
    view(SloState::Ok, Data::Fresh)
}

/// It burns fast since the last deploy.
pub fn burning() -> View {
    view(SloState::FastBurn, Data::Fresh)
}

// === What happened before

pub fn at(at: Seconds, kind: EventKind) -> Event {
    Event { at, kind }
}

pub fn change(at_s: Seconds, from: &str, to: &str) -> Event {
    let change = Change {
        service: SERVICE.into(),
        resource: RESOURCE.into(),
        at: at_s,
        from_version: Some(from.into()),
        version: Some(to.into()),
        generation: None,
        replicas: None,
        by: Some("deployer".into()),
    };
    at(at_s, EventKind::ChangeObserved { change })
}

/// v41 ran for two days, then came v42.
pub fn gate() -> GateState {
    GateState::fold(&[change(DEPLOYED - 2 * 86_400, "v40", "v41"), change(DEPLOYED, "v41", "v42")])
}

/// A permit of somebody for something, issued then.
pub fn permit(id: &str, who: &Principal, request: &Request, issued_at: Seconds) -> Permit {
    Permit {
        id: id.into(),
        decision_id: format!("dec_of_{id}"),
        sub: who.sub.clone(),
        actor_class: who.class,
        actor: who.sub.clone(),
        request: request.clone(),
        action_digest: request.digest(),
        policy_digest: Some(policy().digest()),
        generation: Some(7),
        class: ActionClass::Risk,
        group: None,
        approval: None,
        break_glass: false,
        issued_at,
        epoch: 0,
        expires_at: issued_at + 120,
        settle_s: 300,
        state: PermitState::Live,
    }
}

pub fn issued(permit: &Permit) -> Event {
    at(permit.issued_at, EventKind::PermitIssued { permit: Box::new(permit.clone()) })
}

/// Since a minute, for an hour.
pub fn halt(id: &str, scope: HaltScope, actors: &[ActorClass]) -> Event {
    let halt = Halt {
        id: id.into(),
        scope,
        actors: actors.to_vec(),
        owner: "@ada".into(),
        reason: "INC-7".into(),
        at: NOW - 60,
        until: NOW + 3600,
    };
    at(NOW - 60, EventKind::Halted { halt })
}

pub const MACHINES: [ActorClass; 2] = [ActorClass::Robot, ActorClass::Pipeline];

/// Whether and how the service is being changed, or kept from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changing {
    Idle,
    InFlight,
    Settling,
    CoolingDown,
    Frozen,
    Halted,
}

impl Changing {
    pub const ALL: [Changing; 6] = [
        Changing::Idle,
        Changing::InFlight,
        Changing::Settling,
        Changing::CoolingDown,
        Changing::Frozen,
        Changing::Halted,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Changing::Idle => "idle",
            Changing::InFlight => "in_flight",
            Changing::Settling => "settling",
            Changing::CoolingDown => "cooling_down",
            Changing::Frozen => "frozen",
            Changing::Halted => "halted",
        }
    }

    /// The policy under which it is in this state.
    pub fn ruled(self, policy: &mut Policy) {
        if self == Changing::Frozen {
            policy.freeze.push(freeze(&MACHINES));
        }
    }

    /// What happened within the last 100 seconds that put it into this state.
    pub fn happen(self, gate: &mut GateState) {
        let other = permit("prm_other", &principal("argo", ActorClass::Pipeline, &[]), &scale(11), NOW - 90);
        match self {
            Changing::Idle | Changing::Frozen => {}
            Changing::InFlight => gate.apply(&issued(&other)),
            Changing::Settling => {
                gate.apply(&issued(&other));
                let id = other.id.clone();
                gate.apply(&at(NOW - 80, EventKind::PermitRedeemed { id, baseline: Baseline::default() }));
                let done = EventKind::OutcomeReported { permit: other.id, applied: true, note: None };
                gate.apply(&at(NOW - 60, done));
            }
            Changing::CoolingDown => {
                let EventKind::ChangeObserved { change } = change(NOW - 100, "w1", "w2").kind else { return };
                let change = Change { resource: "deployment/checkout-worker".into(), ..change };
                gate.apply(&at(NOW - 100, EventKind::ChangeObserved { change }));
            }
            Changing::Halted => {
                gate.apply(&halt("hlt_1", HaltScope::Service(SERVICE.into()), &MACHINES));
            }
        }
    }
}

// === What is done with a decision

pub fn ids(n: u64) -> Ids {
    Ids { decision: format!("dec_{n}"), permit: format!("prm_{n}"), approval: format!("apr_{n}") }
}

/// Decides and takes what comes of it into the gate state, as the daemon does.
pub fn ask(gate: &mut GateState, n: u64, request: &Request, who: &Principal, policy: &Policy, view: &View) -> Decision {
    ask_at(gate, n, request, who, policy, view, NOW)
}

pub fn ask_at(
    gate: &mut GateState,
    n: u64,
    request: &Request,
    who: &Principal,
    policy: &Policy,
    view: &View,
    now: Seconds,
) -> Decision {
    let decision = decide(request, who, Some(policy), Some(view), gate, now);
    for event in gate.record(&ids(n), request, who, Some(policy), &decision) {
        gate.apply(&event);
    }
    decision
}

/// Everybody who can says yes to what waits.
pub fn approve_all(gate: &mut GateState, people: &[Principal], now: Seconds) {
    let open: Vec<_> = gate.approvals().filter(|one| one.state == ApprovalState::Pending).cloned().collect();
    for approval in open {
        for person in people {
            if let Ok(event) = gate.approve(&approval.id, person, &approval.action_digest, None, now) {
                gate.apply(&event);
            }
        }
    }
}
