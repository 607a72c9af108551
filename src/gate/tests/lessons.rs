//! What went wrong in other gates, each as a test of this one. `docs/gate.md` says where each comes from.

use super::stage::*;
use crate::engine::{DataReason, SloState};
use crate::gate::event::EventKind;
use crate::gate::policy::{AllowedAction, CheckKind, Policy, SafetyCheck};
use crate::gate::verdict::{Outcome, Verdict};
use crate::gate::{
    ActionKind, Answer, Decision, GateState, HaltScope, Observed, Principal, ReasonCode, Request, View, decide,
};

fn machine(request: &Request, policy: &Policy, view: &View, gate: &GateState) -> Decision {
    decide(request, &orca(), Some(policy), Some(view), gate, NOW)
}

fn rollback() -> Request {
    request(ActionKind::Rollback)
}

fn deploy() -> Request {
    request(ActionKind::Deploy)
}

#[test]
fn an_empty_answer_is_not_a_yes() {
    let nothing = View { slos: Vec::new(), ..calm() };
    assert_eq!(machine(&deploy(), &policy(), &nothing, &gate()).answer, Answer::Deny);
    let blind = decide(&deploy(), &orca(), Some(&policy()), None, &gate(), NOW);
    assert_eq!(blind.answer, Answer::Deny);
    // SLOs without a source are no SLOs that are well.
    let mut view = calm();
    view.slos[0].data_reason = DataReason::NoSource;
    view.slos[0].data = crate::engine::DataState::Absent;
    view.slos[0].state = SloState::Unknown;
    let unnamed = Policy { safety_checks: Vec::new(), ..policy() };
    for policy in [policy(), unnamed] {
        let decision = machine(&deploy(), &policy, &view, &gate());
        assert_eq!((decision.answer, decision.codes().contains(&ReasonCode::DataAbsent)), (Answer::Deny, true));
    }
}

#[test]
fn a_number_that_is_not_known_is_not_zero() {
    let mut policy = policy();
    for (kind, threshold) in [(CheckKind::MustHaveBudgetLeft, 0.0), (CheckKind::MustNotBurnFasterThan, 1000.0)] {
        policy.safety_checks = vec![SafetyCheck { kind, slo: SLO.into(), threshold }];
        let mut view = calm();
        view.slos[0].budget_remaining = None;
        view.slos[0].windows.iter_mut().for_each(|window| window.burn = None);
        assert_eq!(machine(&deploy(), &policy, &view, &gate()).answer, Answer::Deny, "{kind:?}");
        view.slos[0].windows.iter_mut().for_each(|window| window.burn = Some(f64::NAN));
        view.slos[0].budget_remaining = Some(f64::NAN);
        assert_eq!(machine(&deploy(), &policy, &view, &gate()).answer, Answer::Deny, "{kind:?}");
    }
}

#[test]
fn an_objective_that_the_policy_does_not_name_counts_too() {
    let mut view = calm();
    view.slos.push(slo("checkout-latency-p95", SloState::FastBurn, Data::Fresh));
    let decision = machine(&deploy(), &policy(), &view, &gate());
    assert_eq!((decision.answer, decision.codes().contains(&ReasonCode::FastBurn)), (Answer::Deny, true));
    view.slos[1] = slo("checkout-latency-p95", SloState::Unknown, Data::Absent);
    assert_eq!(machine(&deploy(), &policy(), &view, &gate()).answer, Answer::Deny);
}

#[test]
fn a_rule_that_cannot_be_read_forbids() {
    let mut frozen = policy();
    let mut window = freeze(&MACHINES);
    window.time_zone = "Atlantis/Poseidonis".into();
    frozen.freeze.push(window);
    assert_eq!(machine(&rollback(), &frozen, &burning(), &gate()).answer, Answer::Deny);
    let mut unknown = policy();
    unknown.safety_checks[0].slo = "checkout-gone".into();
    let decision = machine(&rollback(), &unknown, &burning(), &gate());
    assert_eq!((decision.answer, decision.codes().contains(&ReasonCode::DataAbsent)), (Answer::Deny, true));
}

#[test]
fn a_rollback_to_what_was_never_measured_is_a_question() {
    let mut view = burning();
    view.history.clear();
    let decision = machine(&rollback(), &policy(), &view, &gate());
    assert_eq!((decision.answer, decision.codes()), (Answer::NeedsApproval, vec![ReasonCode::EffectUnknown]));
    let far = Request { to_version: Some("v40".into()), ..rollback() };
    let decision = machine(&far, &policy(), &burning(), &gate());
    assert_eq!((decision.answer, decision.codes().contains(&ReasonCode::TooManyVersionsBack)), (Answer::Deny, true));
}

#[test]
fn a_healthy_service_is_not_cured_and_a_burning_one_is() {
    let decision = machine(&rollback(), &policy(), &calm(), &gate());
    assert_eq!((decision.answer, decision.codes()), (Answer::NeedsApproval, vec![ReasonCode::NotNecessary]));
    assert_eq!(machine(&rollback(), &policy(), &burning(), &gate()).answer, Answer::Allow);
    // Nor is the cure held up by the burn, as a gate on budgets alone would.
    let spent = view(SloState::FastBurn, Data::Fresh);
    let mut spent = View { ..spent };
    spent.slos[0].budget_remaining = Some(-3.0);
    assert_eq!(machine(&rollback(), &policy(), &spent, &gate()).answer, Answer::Allow);
}

#[test]
fn a_gate_that_can_ask_nobody_denies() {
    let mut mute = burning();
    mute.health.can_ask = false;
    let decision = machine(&rollback(), &asking_policy(), &mute, &gate());
    assert_eq!((decision.answer, decision.codes().contains(&ReasonCode::NobodyToAsk)), (Answer::Deny, true));
    let mut unnamed = asking_policy();
    unnamed.allowed_actions.iter_mut().for_each(|row| row.approvers.clear());
    let decision = machine(&rollback(), &unnamed, &burning(), &gate());
    assert_eq!((decision.answer, decision.codes().contains(&ReasonCode::NobodyToAsk)), (Answer::Deny, true));
}

#[test]
fn an_approved_request_is_allowed_when_it_comes_again() {
    let mut gate = gate();
    ask(&mut gate, 1, &rollback(), &orca(), &asking_policy(), &burning());
    // Asking again while it waits opens no second question.
    ask(&mut gate, 2, &rollback(), &orca(), &asking_policy(), &burning());
    assert_eq!(gate.approvals().count(), 1);
    approve_all(&mut gate, &[ada()], NOW);
    let decision = ask(&mut gate, 3, &rollback(), &orca(), &asking_policy(), &burning());
    assert_eq!(decision.answer, Answer::Allow);
    let redeemed = gate.redeem(
        "prm_3",
        &orca(),
        &rollback(),
        Some(&asking_policy()),
        Some(&asking_policy()),
        Some(&burning()),
        NOW + 10,
    );
    assert_eq!(redeemed.answer, Answer::Allow, "{:?}", redeemed.refusal);
}

#[test]
fn an_id_that_somebody_made_up_is_no_approval() {
    let refused = gate().approve("apr_1", &ada(), &rollback().digest(), None, NOW);
    assert_eq!(refused.err().map(|refusal| refusal.code), Some(ReasonCode::UnknownApproval));
    // A request has no member that could carry one.
    let mut body = serde_json::to_value(rollback()).expect("plain data");
    body["approval"] = "apr_1".into();
    let fault = Request::parse(body.to_string().as_bytes()).expect_err("it is refused");
    assert_eq!(fault.code, ReasonCode::UnknownField);
}

#[test]
fn nothing_is_not_everything() {
    let body = |member: &str, value: &str| {
        let mut body = serde_json::to_value(rollback()).expect("plain data");
        body[member] = value.into();
        Request::parse(body.to_string().as_bytes()).map_err(|fault| fault.code)
    };
    for member in ["service", "resource", "from_version", "to_version"] {
        for value in ["", "*", "deployment/*", " "] {
            assert_eq!(body(member, value).err(), Some(ReasonCode::MalformedRequest), "{member}: {value:?}");
        }
    }
    assert_eq!(body("resource", "deployment/").err(), Some(ReasonCode::MalformedRequest));
    assert!(body("resource", RESOURCE).is_ok());
}

#[test]
fn what_a_policy_does_not_list_is_denied() {
    let nothing = Policy::new(SERVICE);
    for kind in ActionKind::ALL {
        let decision = machine(&request(kind), &nothing, &burning(), &gate());
        assert_eq!((decision.answer, decision.codes().contains(&ReasonCode::ActionNotAllowed)), (Answer::Deny, true));
    }
    let without = decide(&rollback(), &orca(), None, Some(&burning()), &gate(), NOW);
    assert_eq!((without.answer, without.codes().contains(&ReasonCode::NoPolicy)), (Answer::Deny, true));
}

#[test]
fn a_halt_has_an_owner_a_reason_an_end_and_is_lifted_by_people_only() {
    let mut gate = gate();
    gate.apply(&halt("hlt_1", HaltScope::Service(SERVICE.into()), &MACHINES));
    let resume = |who: &Principal, reason| gate.resume("hlt_1", who, reason, NOW).map_err(|refusal| refusal.code);
    assert_eq!(resume(&orca(), "it is fine"), Err(ReasonCode::HaltNeedsPerson));
    assert_eq!(resume(&deployer(), "it is fine"), Err(ReasonCode::HaltNeedsPerson));
    assert_eq!(resume(&dan(), "  "), Err(ReasonCode::ReasonMissing));
    assert!(resume(&dan(), "INC-7 is over").is_ok());
    let unreasoned = gate.halt("hlt_2", HaltScope::Global, &[], &dan(), " ", 60, NOW);
    assert_eq!(unreasoned.err().map(|refusal| refusal.code), Some(ReasonCode::ReasonMissing));
}

#[test]
fn a_freeze_binds_machines_and_not_the_people_on_call() {
    let mut policy = policy();
    policy.freeze.push(freeze(&MACHINES));
    let decision = |who: &Principal| decide(&deploy(), who, Some(&policy), Some(&calm()), &gate(), NOW);
    assert_eq!((decision(&deployer()).answer, decision(&dan()).answer), (Answer::Deny, Answer::Allow));
    assert!(decision(&deployer()).codes().contains(&ReasonCode::Frozen));
    // A cure goes on only where the policy says so.
    let cure = |policy: &Policy| machine(&rollback(), policy, &burning(), &gate()).answer;
    assert_eq!(cure(&policy), Answer::Deny);
    policy.freeze[0].mitigate_exempt = true;
    assert_eq!(cure(&policy), Answer::Allow);
}

#[test]
fn a_target_that_cannot_be_left_again_asks_a_person() {
    let mut policy = policy();
    row(&mut policy, ActionKind::Rollback).irreversible = vec!["v41*".into()];
    let decision = machine(&rollback(), &policy, &burning(), &gate());
    assert_eq!((decision.answer, decision.codes()), (Answer::NeedsApproval, vec![ReasonCode::Irreversible]));
}

#[test]
fn doing_it_again_and_again_asks_a_person() {
    let judged = |outcome, n: i64| {
        let permit = permit(&format!("prm_j{n}"), &orca(), &rollback(), NOW - 9000 + n * 600);
        let verdict = Verdict { at: permit.issued_at + 400, ..Verdict::without(&permit, outcome, "judged", NOW - 400) };
        let (id, baseline) = (permit.id.clone(), Default::default());
        [
            issued(&permit),
            at(permit.issued_at + 5, EventKind::PermitRedeemed { id, baseline }),
            at(permit.issued_at + 400, EventKind::Judged { verdict: Box::new(verdict) }),
        ]
    };
    let after = |events: Vec<crate::gate::Event>| {
        let mut gate = gate();
        events.iter().for_each(|event| gate.apply(event));
        let decision = machine(&rollback(), &policy(), &burning(), &gate);
        (decision.answer, decision.codes())
    };
    assert_eq!(after(judged(Outcome::NoEffect, 0).to_vec()).0, Answer::Allow);
    let twice = [judged(Outcome::NoEffect, 0), judged(Outcome::NoEffect, 1)].concat();
    assert_eq!(after(twice), (Answer::NeedsApproval, vec![ReasonCode::Ineffective]));
    assert_eq!(after(judged(Outcome::Worse, 0).to_vec()), (Answer::NeedsApproval, vec![ReasonCode::MadeWorse]));
    let flip_flop = vec![change(NOW - 1200, "v42", "v41"), change(NOW - 900, "v41", "v42")];
    assert!(after(flip_flop).1.contains(&ReasonCode::FlipFlop));
}

#[test]
fn what_is_not_observed_is_a_question() {
    let unseen = View { observed: Observed::default(), ..burning() };
    let decision = machine(&rollback(), &policy(), &unseen, &gate());
    assert_eq!((decision.answer, decision.codes()), (Answer::NeedsApproval, vec![ReasonCode::PremiseUnobserved]));
    let down = Request { replicas: Some(5), ..scale(5) };
    assert!(machine(&down, &policy(), &unseen, &gate()).answer >= Answer::NeedsApproval);
}

/// What runs is known for two scrapes, and not for as long as Prometheus goes on telling the last sample.
#[test]
fn what_was_not_seen_for_two_scrapes_is_not_known() {
    for (good_for_s, ago, known) in [
        (Some(60), 59, true),
        (Some(60), 61, false),
        (Some(3600), 299, true),
        (Some(3600), 301, false),
        (None, 299, true),
    ] {
        let mut view = calm();
        let workload = &mut view.observed.workloads[0];
        (workload.good_for_s, workload.seen_at) = (good_for_s, NOW - ago);
        for request in [deploy(), scale(12)] {
            let decision = machine(&request, &policy(), &view, &gate());
            let unobserved = decision.codes().contains(&ReasonCode::PremiseUnobserved);
            assert_eq!(unobserved, !known, "{good_for_s:?} {ago}: {:?}", decision.codes());
        }
    }
}

#[test]
fn a_person_says_why_on_old_data_and_breaks_the_glass_on_none() {
    let ask = |request: &Request, data| {
        let view = view(SloState::FastBurn, data);
        decide(request, &dan(), Some(&policy()), Some(&view), &gate(), NOW)
    };
    let silent = Request { reason: None, ..rollback() };
    assert_eq!(ask(&rollback(), Data::Stale).answer, Answer::Allow);
    let decision = ask(&silent, Data::Stale);
    assert_eq!((decision.answer, decision.codes().contains(&ReasonCode::ReasonRequired)), (Answer::Deny, true));
    assert_eq!(ask(&rollback(), Data::Absent).answer, Answer::Deny);
    let broken = ask(&Request { break_glass: true, ..rollback() }, Data::Absent);
    assert_eq!((broken.answer, broken.break_glass), (Answer::Allow, true));
    assert!(broken.codes().contains(&ReasonCode::BreakGlass));
}

#[test]
fn a_class_is_what_is_observed_and_not_what_is_claimed() {
    // Ten replicas run: eight are fewer, whatever the caller believes.
    let claimed = Request { from_replicas: None, ..scale(8) };
    let decision = machine(&claimed, &policy(), &burning(), &gate());
    assert_eq!(decision.class, crate::gate::ActionClass::Risk);
    assert_eq!((decision.answer, decision.codes().contains(&ReasonCode::FastBurn)), (Answer::Deny, true));
    assert_eq!(machine(&scale(12), &policy(), &burning(), &gate()).answer, Answer::Allow);
    // Where it is not observed how many run, it is a risk.
    let unseen = View { observed: Observed::default(), ..burning() };
    assert_eq!(machine(&scale(12), &policy(), &unseen, &gate()).class, crate::gate::ActionClass::Risk);
}

#[test]
fn a_row_alone_allows_nothing_more_than_it_says() {
    let bare = AllowedAction::new(crate::gate::policy::Action::Restart);
    assert_eq!((bare.quorum, bare.require_approval, bare.four_eyes), (1, false, false));
    let policy = Policy { allowed_actions: vec![bare], ..policy() };
    assert_eq!(machine(&deploy(), &policy, &calm(), &gate()).answer, Answer::Deny);
}
