//! Any number of situations out of a seed, over all that a decision can rest on: what the lattice holds fixed varies too.

use super::stage::*;
use crate::engine::Seconds;
use crate::gate::answer::Answer;
use crate::gate::policy::{CheckKind, Policy, RateActor, RateBudget, SafetyCheck};
use crate::gate::principal::Approver;
use crate::gate::verdict::{Outcome, Verdict};
use crate::gate::view::Upstream;
use crate::gate::{
    ActionClass, ActionKind, ActorClass, Event, EventKind, GateState, HaltScope, Inputs, Permit, PermitState,
    Principal, Request, View, decide,
};

/// SplitMix64: the same situations on every machine.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).expect("an index")].clone()
    }

    /// A time of up to `s` seconds ago.
    fn ago(&mut self, s: u64) -> Seconds {
        NOW - i64::try_from(self.below(s)).expect("small")
    }
}

/// A situation: all that a decision is made from, and the events its book is the fold of.
pub struct Case {
    pub request: Request,
    pub who: Principal,
    pub policy: Option<Policy>,
    pub view: Option<View>,
    pub events: Vec<Event>,
    pub now: Seconds,
}

impl Case {
    pub fn of(dice: &mut Dice) -> Self {
        let policy = a_policy(dice);
        let view = a_view(dice);
        let (request, who) = (a_request(dice), a_principal(dice));
        let mut events = a_past(dice, &who);
        let now = if dice.one_in(8) { NOW + i64::try_from(dice.below(400)).expect("small") } else { NOW };
        if dice.one_in(2) {
            events.extend(a_yes(dice, &events, &request, &who, &policy, &view));
        }
        let (policy, view) = (Some(policy), Some(view));
        let (no_policy, no_view) = (dice.one_in(60), dice.one_in(60));
        Case { request, who, policy: policy.filter(|_| !no_policy), view: view.filter(|_| !no_view), events, now }
    }

    pub fn gate(&self) -> GateState {
        GateState::fold(&self.events)
    }

    pub fn decide(&self) -> crate::gate::Decision {
        let (policy, view) = (self.policy.as_ref(), self.view.as_ref());
        decide(&self.request, &self.who, policy, view, &self.gate(), self.now)
    }

    /// As the daemon writes it down.
    pub fn inputs(&self) -> Inputs {
        let (policy, view) = (self.policy.as_ref(), self.view.as_ref());
        Inputs::of(&self.request, &self.who, policy, view, &self.gate(), self.now)
    }
}

fn a_principal(dice: &mut Dice) -> Principal {
    let mut who = dice.of(&[orca(), orca(), deployer(), dan(), ada()]);
    if dice.one_in(4) {
        who.delegation.push("@ada".into());
    }
    if dice.one_in(4) {
        who.may_act_as.insert("ai-operator/orca".into());
    }
    who
}

fn a_request(dice: &mut Dice) -> Request {
    // Mostly one of the first five, of which there are more kinds of cases.
    let kinds = if dice.one_in(6) { &ActionKind::ALL[..] } else { &ActionKind::ALL[..5] };
    let mut request = request(dice.of(kinds));
    if dice.one_in(12) {
        request = super::acts::custom_request(dice.of(&["flush-cache", "failover"]));
    }
    if dice.one_in(40) {
        request.arguments.clear();
    }
    if request.action == ActionKind::Scale {
        request.replicas = Some(dice.of(&[0, 2, 3, 5, 8, 10, 12, 30, 50, 51]));
        request.from_replicas = dice.of(&[None, Some(10), Some(9)]);
    }
    if request.to_version.is_some() && dice.one_in(3) {
        request.to_version = Some(dice.of(&["v39", "v40", "v41", "v42", "v43"]).into());
        request.from_version = Some(dice.of(&["v42", "v41"]).into());
    }
    request.reason = dice
        .of(&[
            None,
            Some("slo_burn_rate_exceeded"),
            Some("error_budget_exhausted"),
            Some("because"),
            Some("slo_breach"),
        ])
        .map(str::to_string);
    request.actor = dice.of(&[None, None, None, Some("ai-operator/orca"), Some("@ada")]).map(str::to_string);
    request.suspected_change = dice.of(&[None, None, Some("v42"), Some("v40")]).map(str::to_string);
    request.break_glass = dice.one_in(12);
    if dice.one_in(40) {
        request.service = "search".into();
    }
    if dice.one_in(20) {
        request.resource = "deployment/other".into();
    }
    request
}

fn a_policy(dice: &mut Dice) -> Policy {
    let mut policy = if dice.one_in(2) { policy() } else { asking_policy() };
    let kinds = [
        (CheckKind::MustNotReduceAvailabilityBelow, [98.0, 99.0, 99.8]),
        (CheckKind::MustHaveBudgetLeft, [0.0, 10.0, 90.0]),
        (CheckKind::MustNotBurnFasterThan, [1.0, 2.0, 30.0]),
    ];
    if dice.one_in(3) {
        policy.safety_checks.clear();
    }
    for _ in 0..dice.below(3) {
        let (kind, thresholds) = dice.of(&kinds);
        let slo = dice.of(&[SLO, "checkout-latency-p95", "checkout-gone"]).to_string();
        policy.safety_checks.push(SafetyCheck { kind, slo, threshold: dice.of(&thresholds) });
    }
    if dice.one_in(2) {
        policy.allowed_actions.extend(super::acts::rows());
    }
    for row in &mut policy.allowed_actions {
        row.quorum = dice.of(&[1, 1, 2]);
        row.four_eyes = dice.one_in(6);
        if dice.one_in(6) {
            row.approvers = dice.of(&[Vec::new(), vec![Approver::Person("@ada".into())]]);
        }
        if dice.one_in(6) {
            row.irreversible = dice.of(&[vec!["v39".into()], vec!["v4*".into()]]);
        }
        if dice.one_in(5) {
            row.class = dice.of(&[Some(ActionClass::Mitigate), Some(ActionClass::Risk)]);
        }
    }
    if dice.one_in(8) {
        policy.allowed_actions.remove(0);
    }
    if dice.one_in(6) {
        let mut window = freeze(&dice.of(&[MACHINES.to_vec(), ActorClass::ALL.to_vec(), vec![ActorClass::Human]]));
        window.mitigate_exempt = dice.one_in(2);
        policy.freeze.push(window);
    }
    policy.cool_down_s = dice.of(&[0, 600, 7200]);
    if dice.one_in(4) {
        policy.rate_budgets.push(RateBudget {
            actor: dice.of(&[None, Some(RateActor::Class(ActorClass::Robot)), Some(RateActor::Sub("deployer".into()))]),
            action: dice.of(&[None, Some(ActionKind::Rollback)]),
            max: dice.of(&[1, 2]),
            per_s: 3600,
        });
    }
    policy.one_change_at_a_time = !dice.one_in(6);
    policy.dependency_group = dice.of(&[None, Some("shop".to_string())]);
    policy.data.absent_mitigate = dice.of(&[Answer::Deny, Answer::NeedsApproval]);
    policy.data.stale_mitigate = dice.of(&[Answer::NeedsApproval, Answer::NeedsApproval, Answer::Deny]);
    policy.data.min_events = dice.of(&[10, 10, 1_000_000]);
    policy
}

fn a_view(dice: &mut Dice) -> View {
    let data = |dice: &mut Dice| if dice.one_in(2) { Data::Fresh } else { dice.of(&Data::ALL) };
    let state = |dice: &mut Dice| dice.of(&SLO_STATES);
    let (one, first) = (data(dice), state(dice));
    let mut view = view(first, one);
    if dice.one_in(2) {
        let (state, data) = (state(dice), data(dice));
        view.slos.push(slo("checkout-latency-p95", state, data));
    }
    if dice.one_in(3) {
        let onset = Some(ONSET - i64::try_from(dice.below(900)).expect("small") + 300);
        view.upstreams.push(Upstream { service: "payments".into(), state: state(dice), onset });
    }
    if dice.one_in(6) {
        view.slos[0].onset = dice.of(&[None, Some(ONSET - 7200), Some(ONSET + 200)]);
    }
    if dice.one_in(6) {
        view.history.retain(|record| record.version != "v41");
    }
    if dice.one_in(2) {
        let (_, other) = dice.of(&super::acts::node_states());
        view.observed.nodes = other.observed.nodes;
    }
    let workload = &mut view.observed.workloads[0];
    workload.replicas = dice.of(&[Some(10), Some(10), None]);
    workload.utilization = dice.of(&[Some(0.5), Some(0.9), None]);
    workload.version = dice.of(&[Some("v42"), Some("v42"), Some("v43"), None]).map(str::to_string);
    workload.seen_at = dice.of(&[NOW - 15, NOW - 15, NOW - 4000]);
    let health = &mut view.health;
    health.policy_current = !dice.one_in(20);
    health.warm = !dice.one_in(20);
    health.audit_writable = !dice.one_in(20);
    health.can_ask = !dice.one_in(20);
    health.clock_skew_s = dice.of(&[Some(0.1), Some(0.1), Some(-8.5), Some(45.0), None]);
    view
}

/// Changes, acts, verdicts, halts and denials of before.
fn a_past(dice: &mut Dice, who: &Principal) -> Vec<Event> {
    let mut events = vec![change(DEPLOYED - 2 * 86_400, "v40", "v41"), change(DEPLOYED, "v41", "v42")];
    for _ in 0..dice.below(3) {
        let (from, to) = dice.of(&[("v42", "v41"), ("v41", "v42"), ("v40", "v39")]);
        let when = dice.ago(20_000);
        events.push(change(when, from, to));
    }
    for n in 0..dice.below(4) {
        let owner = dice.of(&[who.clone(), deployer()]);
        let mut of = request(dice.of(&[ActionKind::Rollback, ActionKind::Restart, ActionKind::Drain]));
        if of.action.is_of_node() {
            of.resource = dice.of(&["node/k8s-gpu-17", "node/k8s-gpu-18"]).to_string();
        }
        let issued_at = dice.ago(6000);
        let other = Permit {
            group: dice.of(&[None, Some("shop".into())]),
            ..permit(&format!("prm_p{n}"), &owner, &of, issued_at)
        };
        events.push(issued(&other));
        if dice.one_in(2) {
            let (id, baseline) = (other.id.clone(), Default::default());
            events.push(at(issued_at + 5, EventKind::PermitRedeemed { id, baseline }));
            if dice.one_in(2) {
                let redeemed = Permit { state: PermitState::Expired, ..other };
                let outcome = dice.of(&[Outcome::Worse, Outcome::NoEffect, Outcome::Improved]);
                let verdict = Box::new(Verdict::without(&redeemed, outcome, "judged", issued_at + 400));
                events.push(at((issued_at + 400).min(NOW), EventKind::Judged { verdict }));
            }
        }
    }
    if dice.one_in(8) {
        let scope = dice.of(&[
            HaltScope::Global,
            HaltScope::Service(SERVICE.into()),
            HaltScope::Actor("deployer".into()),
            HaltScope::Action(ActionKind::Deploy),
        ]);
        let actors = dice.of(&[MACHINES.to_vec(), ActorClass::ALL.to_vec()]);
        events.push(halt("hlt_1", scope, &actors));
    }
    if dice.one_in(12) {
        for n in 0..25 {
            events.push(denied(n, who));
        }
    }
    events.sort_by_key(|event| event.at);
    events
}

/// A decision that denied.
pub fn denied(n: i64, who: &Principal) -> Event {
    // Each time something else: to ask for the same again is no search.
    let request = Request { to_version: Some(format!("w{n}")), ..request(ActionKind::Deploy) };
    at(
        NOW - 300 + n,
        EventKind::Decided {
            id: format!("dec_d{n}"),
            sub: who.sub.clone(),
            actor: who.sub.clone(),
            service: SERVICE.into(),
            action: request.action,
            class: ActionClass::Risk,
            action_digest: request.digest(),
            answer: Answer::Deny,
            reasons: Vec::new(),
            idempotency_key: None,
            probe: true,
        },
    )
}

/// The question asked a minute ago, and what people said to it.
fn a_yes(
    dice: &mut Dice,
    events: &[Event],
    request: &Request,
    who: &Principal,
    policy: &Policy,
    view: &View,
) -> Vec<Event> {
    let mut gate = GateState::fold(events);
    let decision = decide(request, who, Some(policy), Some(view), &gate, NOW - 60);
    let mut said = gate.record(&ids(1), request, who, Some(policy), &decision);
    said.iter().for_each(|event| gate.apply(event));
    let asked: Vec<_> = gate.approvals().cloned().collect();
    for approval in asked {
        for person in dice.of(&[vec![ada(), bob()], vec![bob()], vec![dan()]]) {
            if let Ok(event) = gate.approve(&approval.id, &person, &approval.action_digest, None, NOW - 30) {
                gate.apply(&event);
                said.push(event);
            }
        }
    }
    // An allow at that time left a permit; only what people said is meant.
    said.retain(|event| matches!(event.kind, EventKind::ApprovalAsked { .. } | EventKind::ApprovalVoted { .. }));
    said
}
