//! The strictest check wins: whatever is added to a policy, whatever worsens, the answer never becomes weaker.

use super::cases::{Case, Dice};
use super::stage::*;
use crate::engine::{DataReason, DataState, SloState};
use crate::gate::check::Effect;
use crate::gate::policy::{Action, CheckKind, Policy, RateBudget, SafetyCheck};
use crate::gate::principal::Approver;
use crate::gate::view::Upstream;
use crate::gate::{ActorClass, Answer, HaltScope, Health, decide};

const CASES: usize = 500;

type Tighten = (&'static str, fn(&mut Policy));

/// What a policy can be tightened by.
const TIGHTER: &[Tighten] = &[
    ("a floor", |policy| check(policy, CheckKind::MustNotReduceAvailabilityBelow, SLO, 99.9)),
    ("a low floor", |policy| check(policy, CheckKind::MustNotReduceAvailabilityBelow, SLO, 1.5)),
    ("a floor for another", |policy| {
        check(policy, CheckKind::MustNotReduceAvailabilityBelow, "checkout-latency-p95", 50.0);
    }),
    ("budget left", |policy| check(policy, CheckKind::MustHaveBudgetLeft, "checkout-latency-p95", 1.0)),
    ("budget left of what is not there", |policy| check(policy, CheckKind::MustHaveBudgetLeft, "nowhere", 0.0)),
    ("a burn bound", |policy| check(policy, CheckKind::MustNotBurnFasterThan, SLO, 1.0)),
    ("a freeze", |policy| policy.freeze.push(freeze(&ActorClass::ALL))),
    ("a freeze for machines", |policy| policy.freeze.push(freeze(&MACHINES))),
    ("a freeze in a zone that is not there", |policy| {
        let mut window = freeze(&MACHINES);
        window.time_zone = "Atlantis/Poseidonis".into();
        policy.freeze.push(window);
    }),
    ("no exemption", |policy| policy.freeze.iter_mut().for_each(|window| window.mitigate_exempt = false)),
    ("a yes", |policy| policy.allowed_actions.iter_mut().for_each(|row| row.require_approval = true)),
    ("a larger quorum", |policy| policy.allowed_actions.iter_mut().for_each(|row| row.quorum += 1)),
    ("four eyes", |policy| policy.allowed_actions.iter_mut().for_each(|row| row.four_eyes = true)),
    ("irreversible targets", |policy| {
        policy.allowed_actions.iter_mut().for_each(|row| row.irreversible.push("*".into()));
    }),
    ("narrower limits", |policy| {
        for row in &mut policy.allowed_actions {
            match &mut row.action {
                Action::Rollback { max_versions_back } => *max_versions_back = (*max_versions_back).min(1),
                Action::Scale { min_replicas, max_replicas, max_step, max_utilization } => {
                    *min_replicas += 1;
                    *max_replicas -= 1;
                    *max_step = Some(1);
                    *max_utilization = 0.1;
                }
                _ => {}
            }
        }
    }),
    ("a row less", |policy| drop(policy.allowed_actions.pop())),
    ("a longer cool-down", |policy| policy.cool_down_s += 3600),
    ("a rate budget", |policy| {
        policy.rate_budgets.push(RateBudget { actor: None, action: None, max: 1, per_s: 7200 });
    }),
    ("one change at a time", |policy| policy.one_change_at_a_time = true),
    ("more events", |policy| policy.data.min_events *= 10_000_000),
    ("denials on doubtful data", |policy| {
        policy.data.partial_mitigate = Answer::Deny;
        policy.data.stale_mitigate = Answer::Deny;
        policy.data.absent_mitigate = Answer::Deny;
    }),
    ("a costlier change of pods", |policy| {
        policy.transition.max_unavailable = 1.0;
        policy.transition.duration_s += 3600;
    }),
];

fn check(policy: &mut Policy, kind: CheckKind, slo: &str, threshold: f64) {
    policy.safety_checks.push(SafetyCheck { kind, slo: slo.into(), threshold });
}

fn cases() -> impl Iterator<Item = Case> {
    let mut dice = Dice(4);
    std::iter::repeat_with(move || Case::of(&mut dice)).take(CASES)
}

/// The cases are worth something: every answer is among them many times, and nearly every reason of a decision.
#[test]
fn the_cases_have_every_answer() {
    let mut counts = [0; 3];
    let mut codes = std::collections::BTreeSet::new();
    for case in cases() {
        let decision = case.decide();
        counts[decision.answer as usize] += 1;
        codes.extend(decision.codes());
    }
    assert!(counts.iter().all(|count| *count > CASES / 50), "{counts:?}");
    assert!(codes.len() >= 45, "{}: {codes:?}", codes.len());
}

#[test]
fn a_tighter_policy_never_answers_weaker() {
    let mut tightened = 0;
    for (n, case) in cases().enumerate() {
        let Some(policy) = &case.policy else { continue };
        let before = case.decide();
        let gate = case.gate();
        for (what, tighten) in TIGHTER {
            let mut tighter = policy.clone();
            tighten(&mut tighter);
            let after = decide(&case.request, &case.who, Some(&tighter), case.view.as_ref(), &gate, case.now);
            assert!(
                after.answer >= before.answer,
                "case {n}, {what}: {:?} {:?}, then {:?} {:?}",
                before.answer,
                before.codes(),
                after.answer,
                after.codes()
            );
            tightened += usize::from(after.answer > before.answer);
        }
        let without = decide(&case.request, &case.who, None, case.view.as_ref(), &gate, case.now);
        assert!(without.answer == Answer::Deny || without.break_glass, "case {n}: no policy");
    }
    assert!(tightened > CASES / 4, "only {tightened} answers became stricter");
}

#[test]
fn a_halt_or_a_change_under_way_never_answers_weaker() {
    for (n, case) in cases().enumerate() {
        let before = case.decide();
        let mut gate = case.gate();
        let other = permit("prm_new", &principal("argo", ActorClass::Pipeline, &[]), &scale(11), case.now - 10);
        for event in [
            issued(&other),
            change(case.now - 5, "w1", "w2"),
            halt("hlt_new", HaltScope::Service(SERVICE.into()), &MACHINES),
            halt("hlt_all", HaltScope::Global, &ActorClass::ALL),
        ] {
            gate.apply(&event);
            let (policy, view) = (case.policy.as_ref(), case.view.as_ref());
            let after = decide(&case.request, &case.who, policy, view, &gate, case.now);
            assert!(after.answer >= before.answer, "case {n}: {:?}, then {:?}", before.codes(), after.codes());
        }
    }
}

#[test]
fn worse_data_or_a_gate_out_of_order_never_answers_weaker() {
    for (n, case) in cases().enumerate() {
        let Some(view) = &case.view else { continue };
        let before = case.decide();
        let gate = case.gate();
        let mut worse = Vec::new();
        for index in 0..view.slos.len() {
            for (state, reason) in [
                (DataState::Partial, DataReason::SeriesMissing),
                (DataState::Stale, DataReason::SamplesOld),
                (DataState::Absent, DataReason::NoSeries),
                (DataState::Absent, DataReason::Filling),
            ] {
                let mut other = view.clone();
                let slo = &mut other.slos[index];
                if state >= slo.data && slo.data_reason != DataReason::Filling {
                    (slo.data, slo.data_reason) = (state, reason);
                    worse.push((format!("{} {state:?}", slo.id), other));
                }
            }
        }
        let mut old = view.clone();
        old.at = case.now - 3600;
        worse.push(("an old view".into(), old));
        let mut upstream = view.clone();
        upstream.upstreams.push(Upstream { service: "db".into(), state: SloState::FastBurn, onset: None });
        worse.push(("a burning upstream".into(), upstream));
        let spoils: [fn(&mut Health); 5] = [
            |health| health.policy_current = false,
            |health| health.warm = false,
            |health| health.audit_writable = false,
            |health| health.clock_skew_s = Some(99.0),
            |health| health.can_ask = false,
        ];
        for (index, spoil) in spoils.into_iter().enumerate() {
            let mut other = view.clone();
            spoil(&mut other.health);
            worse.push((format!("health {index}"), other));
        }
        for (what, view) in worse {
            let after = decide(&case.request, &case.who, case.policy.as_ref(), Some(&view), &gate, case.now);
            assert!(after.answer >= before.answer, "case {n}, {what}: {:?}, then {:?}", before.codes(), after.codes());
        }
        let blind = decide(&case.request, &case.who, case.policy.as_ref(), None, &gate, case.now);
        assert_eq!(blind.answer, Answer::Deny, "case {n}: nothing is known");
    }
}

/// What holds for every decision whatever it rests on.
#[test]
fn the_answer_is_the_strictest_of_what_is_not_covered() {
    for (n, case) in cases().enumerate() {
        let decision = case.decide();
        let open = decision.checks.iter().filter(|check| check.covered_by.is_none());
        assert_eq!(Some(decision.answer), open.map(|check| check.effect.answer()).max(), "case {n}");
        for check in &decision.checks {
            let lifted = check.covered_by.as_deref();
            assert!(
                check.effect != Effect::Deny || lifted.is_none_or(|by| by == "break_glass"),
                "case {n}: a denial is covered by {lifted:?}"
            );
            assert!(
                check.effect == Effect::Allow
                    || check.clear_by.is_some()
                    || check.code == crate::gate::ReasonCode::BreakGlass,
                "case {n}: nothing is said to clear {:?}",
                check.code
            );
        }
        if decision.break_glass && decision.answer == Answer::Allow {
            assert!(case.who.class.is_human() && case.request.reason.is_some(), "case {n}");
        }
        let machine = !case.who.class.is_human();
        if machine && decision.answer == Answer::Allow && case.request.replicas.is_some_and(|wants| wants < 3) {
            panic!("case {n}: a machine below the least replicas");
        }
    }
}

/// A named approver who asks is nobody who can be asked.
#[test]
fn a_question_to_nobody_but_the_one_who_asks_is_a_denial() {
    let mut policy = asking_policy();
    row(&mut policy, crate::gate::ActionKind::Deploy).approvers = vec![Approver::Person("ada".into())];
    let request = request(crate::gate::ActionKind::Deploy);
    let ask = |who: &crate::gate::Principal| decide(&request, who, Some(&policy), Some(&calm()), &gate(), NOW);
    assert_eq!(ask(&bob()).answer, Answer::NeedsApproval);
    let own = ask(&ada());
    assert_eq!(own.answer, Answer::Deny);
    assert!(own.codes().contains(&crate::gate::ReasonCode::NobodyToAsk));
    let mut behalf = orca();
    behalf.delegation.push("@ada".into());
    assert_eq!(ask(&behalf).answer, Answer::Deny);
}
