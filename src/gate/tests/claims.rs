//! What is said may make an answer stricter, never looser; what is observed decides. And a key, a chain of steps or a
//! name is no way round that.

use std::sync::Arc;

use super::stage::*;
use crate::engine::Now;
use crate::gate::observed::Change;
use crate::gate::permit::{Baseline, PermitState};
use crate::gate::state::Repeat;
use crate::gate::{
    ActionKind, Answer, Decision, EventKind, GateState, HaltScope, Outcome, Policy, ReasonCode, Request, View, decide,
};

fn keyed(action: ActionKind, key: &str) -> Request {
    Request { idempotency_key: Some(key.into()), ..request(action) }
}

/// What the daemon does with a key: gives a permit back, or decides anew and records it.
fn ask_keyed(gate: &mut GateState, n: u64, request: &Request, policy: &Policy, view: &View, now: i64) -> Decision {
    let pinned = |_: &crate::gate::Permit| Some(Arc::new(policy.clone()));
    match gate.repeat(&orca(), request, pinned, Some(policy), Some(view), now).expect("the same request") {
        Repeat::Permit(permit, decision) => {
            assert!(permit.is_live(now) && decision.answer == Answer::Allow);
            *decision
        }
        Repeat::Anew(revoked) => {
            revoked.iter().for_each(|event| gate.apply(event));
            ask_at(gate, n, request, &orca(), policy, view, now)
        }
    }
}

// === Idempotency keys

#[test]
fn a_key_gives_an_allow_back_only_while_its_permit_lives() {
    let (policy, request) = (policy(), keyed(ActionKind::Deploy, "build-77"));
    let mut state = gate();
    state.apply(&change(DEPLOYED, "v41", "v42"));
    let first = ask_keyed(&mut state, 1, &request, &policy, &calm(), NOW);
    assert_eq!(first.answer, Answer::Allow, "{:?}", first.codes());
    assert_eq!(ask_keyed(&mut state, 2, &request, &policy, &calm(), NOW + 5).answer, Answer::Allow);
    assert!(state.permit("prm_2").is_none(), "one act, one permit");
    // Used: the same key never again, whatever else holds; another key is another act.
    let event = at(NOW + 10, EventKind::PermitRedeemed { id: "prm_1".into(), baseline: Baseline::default() });
    state.apply(&event);
    for now in [NOW + 11, NOW + 3600, NOW + 20 * 3600] {
        let again = ask_keyed(&mut state, 3, &request, &policy, &View { at: now - 15, ..calm() }, now);
        assert_eq!((again.answer, again.codes().contains(&ReasonCode::PermitUsed)), (Answer::Deny, true), "{now}");
    }
}

#[test]
fn a_key_gives_no_allow_back_that_would_not_be_redeemed_now() {
    let (policy, request) = (policy(), keyed(ActionKind::Deploy, "build-77"));
    let halted = halt("hlt_1", HaltScope::Global, &MACHINES);
    for (view, event) in
        [(burning(), None), (view(crate::engine::SloState::Ok, Data::Stale), None), (calm(), Some(halted))]
    {
        let mut state = gate();
        assert_eq!(ask_keyed(&mut state, 1, &request, &policy, &calm(), NOW).answer, Answer::Allow);
        event.iter().for_each(|event| state.apply(event));
        let again = ask_keyed(&mut state, 2, &request, &policy, &view, NOW + 5);
        assert_eq!(again.answer, Answer::Deny, "{:?}", again.codes());
        assert!(matches!(state.permit("prm_1").expect("it is remembered").state, PermitState::Revoked { .. }));
    }
}

/// What fences a permit off fences off its repetition: another generation, and a policy that is not known any more.
#[test]
fn a_key_gives_no_allow_back_for_what_was_fenced_off() {
    let (ruling, request) = (policy(), keyed(ActionKind::Deploy, "build-77"));
    let mut moved = calm();
    moved.observed.workloads[0].generation = Some(8);
    let wider = Policy { settle_s: ruling.settle_s + 1, ..ruling.clone() };
    let mut stricter = ruling.clone();
    stricter.freeze.push(freeze(&MACHINES));
    for (view, current, pinned, expected) in [
        (moved, ruling.clone(), Some(ruling.clone()), ReasonCode::GenerationChanged),
        (calm(), wider.clone(), None, ReasonCode::PolicyChanged),
        // As known as it was, but for what it says: that is another policy.
        (calm(), wider, Some(stricter), ReasonCode::PolicyChanged),
    ] {
        let mut state = gate();
        assert_eq!(ask_keyed(&mut state, 1, &request, &ruling, &calm(), NOW).answer, Answer::Allow);
        let pinned = |_: &crate::gate::Permit| pinned.clone().map(Arc::new);
        let repeat = state.repeat(&orca(), &request, pinned, Some(&current), Some(&view), NOW + 5);
        let Ok(Repeat::Anew(Some(revoked))) = repeat else { panic!("{repeat:?}") };
        assert_eq!(revoked.kind, EventKind::PermitRevoked { id: "prm_1".into(), reason: expected });
    }
}

#[test]
fn a_key_remembers_no_denial_and_no_question_whose_cause_is_gone() {
    // A halt that is lifted.
    let (ruling, request) = (policy(), keyed(ActionKind::Deploy, "build-77"));
    let mut state = gate();
    state.apply(&halt("hlt_1", HaltScope::Global, &MACHINES));
    assert_eq!(ask_keyed(&mut state, 1, &request, &ruling, &calm(), NOW).answer, Answer::Deny);
    state.apply(&at(NOW, EventKind::Resumed { id: "hlt_1".into(), by: "@ada".into(), reason: "over".into() }));
    assert_eq!(ask_keyed(&mut state, 2, &request, &ruling, &calm(), NOW + 1).answer, Answer::Allow);
    // Approvals that came: asked again with the same key, they lead somewhere.
    let (ruling, request) = (asking_policy(), keyed(ActionKind::Rollback, "fix-1"));
    let mut state = gate();
    let first = ask_keyed(&mut state, 1, &request, &ruling, &burning(), NOW);
    assert_eq!(first.answer, Answer::NeedsApproval);
    let second = ask_keyed(&mut state, 2, &request, &ruling, &burning(), NOW + 2);
    let need = second.approval.expect("who is asked is said every time");
    assert_eq!((need.id.as_deref(), need.need, need.have), (Some("apr_1"), 1, 0));
    approve_all(&mut state, &[ada()], NOW + 3);
    assert_eq!(ask_keyed(&mut state, 3, &request, &ruling, &burning(), NOW + 4).answer, Answer::Allow);
}

#[test]
fn a_key_is_for_one_request_and_for_one_principal() {
    let (policy, request) = (policy(), keyed(ActionKind::Deploy, "build-77"));
    let mut state = gate();
    ask_keyed(&mut state, 1, &request, &policy, &calm(), NOW);
    let other = Request { to_version: Some("v44".into()), ..request.clone() };
    let nothing = |_: &crate::gate::Permit| None;
    let refused =
        state.repeat(&orca(), &other, nothing, Some(&policy), Some(&calm()), NOW).expect_err("another request");
    assert_eq!(refused.code, ReasonCode::DigestDiffers);
    let theirs =
        state.repeat(&deployer(), &request, nothing, Some(&policy), Some(&calm()), NOW).expect("theirs is new");
    assert!(matches!(theirs, Repeat::Anew(None)));
}

/// Somebody who may act under several names, such as an enforcement point, has a permit under one of them.
#[test]
fn a_key_gives_no_allow_back_under_another_name() {
    let orca = crate::gate::Principal { may_act_as: ["robot/a", "robot/b"].map(str::to_owned).into(), ..orca() };
    let (policy, request) = (policy(), keyed(ActionKind::Deploy, "build-77"));
    let under = |actor: Option<&str>| Request { actor: actor.map(str::to_owned), ..request.clone() };
    let nothing = |_: &crate::gate::Permit| None;
    for (first, others) in [
        (None, [Some("robot/a"), Some("@ada"), Some("robot/c")]),
        (Some("robot/a"), [None, Some("robot/b"), Some("@ada")]),
    ] {
        let mut state = gate();
        assert_eq!(ask(&mut state, 1, &under(first), &orca, &policy, &calm()).answer, Answer::Allow);
        for other in others {
            let repeat = state.repeat(&orca, &under(other), nothing, Some(&policy), Some(&calm()), NOW + 1);
            assert_eq!(repeat.expect_err("another one's").code, ReasonCode::DigestDiffers, "{first:?} {other:?}");
            // Nor is it redeemed for another one than it was given to.
            let Some(other) = other else { continue };
            let presented = under(Some(other));
            let (policy, calm) = (Some(&policy), Some(&calm()));
            let redeemed = state.redeem("prm_1", &orca, &presented, policy, policy, calm, NOW + 1);
            assert_eq!(redeemed.refusal.map(|refusal| refusal.code), Some(ReasonCode::DigestDiffers), "{other}");
        }
        let same = state.repeat(&orca, &under(first), nothing, Some(&policy), Some(&calm()), NOW + 1);
        assert!(matches!(same.expect("its own"), Repeat::Permit(..)));
        // Its own name may be said or left out.
        if first.is_none() {
            let said = under(Some(&orca.sub));
            let same = state.repeat(&orca, &said, nothing, Some(&policy), Some(&calm()), NOW + 1);
            assert!(matches!(same.expect("its own"), Repeat::Permit(..)));
            let redeemed = state.redeem("prm_1", &orca, &said, Some(&policy), Some(&policy), Some(&calm()), NOW + 2);
            assert_eq!(redeemed.answer, Answer::Allow);
        }
    }
}

/// The same key with a claim that the ledger refutes, or another suspect: what is said now counts, too.
#[test]
fn a_key_gives_no_allow_back_for_claims_that_would_have_been_asked_about() {
    let policy = policy();
    let claims: [&dyn Fn(&mut Request); 2] =
        [&|request| request.reason = Some("error_budget_exhausted".into()), &|request| {
            request.suspected_change = Some("v7".into())
        }];
    for claim in claims {
        let mut state = gate();
        state.apply(&change(DEPLOYED, "v41", "v42"));
        let request = keyed(ActionKind::Rollback, "fix-1");
        assert_eq!(ask_keyed(&mut state, 1, &request, &policy, &burning(), NOW).answer, Answer::Allow);
        let mut again = request.clone();
        claim(&mut again);
        let first = decide(&again, &orca(), Some(&policy), Some(&burning()), &gate(), NOW);
        assert_ne!(first.answer, Answer::Allow, "said at once it is a question");
        let now = ask_keyed(&mut state, 2, &again, &policy, &burning(), NOW + 5);
        assert_ne!(now.answer, Answer::Allow, "{:?}", now.codes());
        assert!(matches!(state.permit("prm_1").expect("it is remembered").state, PermitState::Revoked { .. }));
    }
}

#[test]
fn an_unused_permit_can_be_given_back_by_its_holder() {
    let mut state = gate();
    ask(&mut state, 1, &request(ActionKind::Deploy), &orca(), &policy(), &calm());
    assert_eq!(state.release("prm_1", &deployer(), NOW).expect_err("not theirs").code, ReasonCode::PrincipalDiffers);
    let event = state.release("prm_1", &orca(), NOW + 1).expect("its own");
    state.apply(&event);
    assert_eq!(state.release("prm_1", &orca(), NOW + 2).expect_err("once").code, ReasonCode::PermitRevoked);
    assert_eq!(state.open_permits_of(SERVICE).count(), 0, "others need not wait");
}

// === What came of it

/// A rollback of orca's that was redeemed a minute ago, on generation 7, in a fast burn.
fn redeemed() -> GateState {
    let mut state = gate();
    ask_at(&mut state, 1, &request(ActionKind::Rollback), &orca(), &policy(), &burning(), NOW);
    let baseline = Baseline::of(&burning(), RESOURCE);
    state.apply(&at(NOW, EventKind::PermitRedeemed { id: "prm_1".into(), baseline }));
    let events = state.outcome("prm_1", &orca(), false, Some("kubectl failed"), NOW + 5).expect("its own");
    events.iter().for_each(|event| state.apply(event));
    state
}

fn later(state: crate::engine::SloState, version: Option<&str>, generation: u64) -> View {
    let mut view = View { at: NOW + 400, ..view(state, Data::Fresh) };
    for slo in &mut view.slos {
        slo.windows.iter_mut().for_each(|window| window.burn = window.burn.map(|burn| burn * 3.0));
    }
    let workload = &mut view.observed.workloads[0];
    (workload.seen_at, workload.generation) = (NOW + 395, Some(generation));
    workload.version = version.map(str::to_owned);
    view
}

#[test]
fn that_nothing_was_done_is_a_claim_and_frees_nothing() {
    use crate::engine::SloState::FastBurn;
    let mut state = redeemed();
    // The way is not free, and there is no verdict, before the act would have settled.
    let (burning, policy) = (burning(), policy());
    let next =
        decide(&scale(12), &orca(), Some(&policy), Some(&View { at: NOW + 20, ..burning.clone() }), &state, NOW + 30);
    assert!(next.codes().contains(&ReasonCode::ChangeInFlight), "{:?}", next.codes());
    assert_eq!(state.verdicts(&View { at: NOW + 100, ..burning }, NOW + 110), []);
    assert!(state.outcome("prm_1", &orca(), true, None, NOW + 6).is_err(), "one outcome is reported");
    // What runs is what ran: it is believed then.
    let events = state.verdicts(&later(FastBurn, Some("v42"), 7), NOW + 405);
    let [verdict] = events.as_slice() else { panic!("{events:?}") };
    let EventKind::Judged { verdict } = &verdict.kind else { panic!("{verdict:?}") };
    assert_eq!((verdict.outcome, verdict.contradicted), (Outcome::NotApplied, false));
    // What runs contradicts it: judged as done, worse at that, and robots are halted.
    for (version, generation) in [(Some("v41"), 8), (Some("v42"), 8), (None, 8)] {
        let events = state.verdicts(&later(FastBurn, version, generation), NOW + 405);
        let [judged, halted] = events.as_slice() else { panic!("{events:?}") };
        let EventKind::Judged { verdict } = &judged.kind else { panic!("{judged:?}") };
        assert_eq!((verdict.outcome, verdict.contradicted), (Outcome::Worse, true), "{}", verdict.message);
        assert!(matches!(halted.kind, EventKind::Halted { .. }));
    }
    // A change that was seen and undone again contradicts it too.
    state.apply(&change(NOW + 30, "v42", "v41"));
    state.apply(&change(NOW + 60, "v41", "v42"));
    let events = state.verdicts(&later(FastBurn, Some("v42"), 7), NOW + 405);
    assert_eq!(events.len(), 2, "{events:?}");
}

/// A permit for one act covers no other one: whoever did something else with it, and made things worse, did so.
#[test]
fn another_act_than_was_permitted_is_judged_by_what_it_came_to() {
    use crate::engine::SloState::FastBurn;
    let acted = |request: &Request| {
        let mut state = gate();
        ask_at(&mut state, 1, request, &orca(), &policy(), &burning(), NOW);
        let baseline = Baseline::of(&burning(), RESOURCE);
        state.apply(&at(NOW, EventKind::PermitRedeemed { id: "prm_1".into(), baseline }));
        let events = state.outcome("prm_1", &orca(), true, None, NOW + 5).expect("its own");
        events.iter().for_each(|event| state.apply(event));
        state
    };
    let outcome = |state: &GateState, view: &View| {
        let events = state.verdicts(view, NOW + 405);
        let EventKind::Judged { verdict } = &events[0].kind else { panic!("{events:?}") };
        assert_eq!(events.len() == 2, verdict.outcome == Outcome::Worse, "who made it worse is halted: {events:?}");
        (verdict.outcome, verdict.contradicted)
    };
    let back = acted(&request(ActionKind::Rollback));
    assert_eq!(outcome(&back, &later(FastBurn, Some("v13"), 9)), (Outcome::Worse, true));
    // As it was before: somebody put it back, or it was never done.
    assert_eq!(outcome(&back, &later(FastBurn, Some("v42"), 9)), (Outcome::NotApplied, false));
    // Another version, and no harm.
    let mut calm = later(FastBurn, Some("v13"), 9);
    calm.slos.iter_mut().flat_map(|slo| &mut slo.windows).for_each(|window| window.burn = Some(0.1));
    assert_eq!(outcome(&back, &calm), (Outcome::NotApplied, false));
    // Somebody else told of it.
    let mut told = back.clone();
    let mut event = change(NOW + 60, "v42", "v13");
    let EventKind::ChangeObserved { change } = &mut event.kind else { panic!("a change") };
    change.by = Some("deployer".into());
    told.apply(&event);
    assert_eq!(outcome(&told, &later(FastBurn, Some("v13"), 9)), (Outcome::NotApplied, false));
    // More replicas were permitted, and there are fewer than before.
    let more = acted(&scale(12));
    let mut fewer = later(FastBurn, Some("v42"), 9);
    fewer.observed.workloads[0].replicas = Some(3);
    assert_eq!(outcome(&more, &fewer), (Outcome::Worse, true));
    fewer.observed.workloads[0].replicas = burning().observed.workloads[0].replicas;
    assert_eq!(outcome(&more, &fewer), (Outcome::NotApplied, false));
}

/// Nothing shows what runs: that it became worse is not talked away.
#[test]
fn what_nobody_observes_is_not_excused_by_a_word() {
    let state = redeemed();
    let mut view = later(crate::engine::SloState::FastBurn, None, 7);
    view.observed.workloads.clear();
    let events = state.verdicts(&view, NOW + 405);
    let EventKind::Judged { verdict } = &events[0].kind else { panic!("{events:?}") };
    assert_eq!(verdict.outcome, Outcome::Worse);
}

// === Chains

/// v42 came, was rolled back to v41, and v41 is to be rolled back to v40.
fn after_one_step_back(seconds_ago: i64) -> (GateState, View) {
    let mut state = gate();
    let mut event = change(NOW - seconds_ago, "v42", "v41");
    if let EventKind::ChangeObserved { change } = &mut event.kind {
        change.by = Some("ai-operator/orca-ops".into());
    }
    state.apply(&event);
    let mut view = burning();
    view.observed.workloads[0].version = Some("v41".into());
    view.history.push(crate::gate::view::VersionRecord { version: "v40".into(), ..view.history[0].clone() });
    (state, view)
}

fn second_step(suspected: Option<&str>) -> Request {
    Request {
        from_version: Some("v41".into()),
        to_version: Some("v40".into()),
        suspected_change: suspected.map(str::to_owned),
        ..request(ActionKind::Rollback)
    }
}

#[test]
fn steps_back_one_after_the_other_are_counted_from_where_they_began() {
    for suspected in [None, Some("v42"), Some("v41"), Some("v40")] {
        for ago in [9, 300, 1200] {
            let (state, view) = after_one_step_back(ago);
            let decision = decide(&second_step(suspected), &orca(), Some(&policy()), Some(&view), &state, NOW);
            let codes = decision.codes();
            assert!(codes.contains(&ReasonCode::TooManyVersionsBack), "{suspected:?} {ago}: {codes:?}");
            assert_eq!(decision.answer, Answer::Deny);
            // Its own step back is a change that it waits for.
            assert_eq!(codes.contains(&ReasonCode::CoolingDown), ago < 600, "{suspected:?} {ago}: {codes:?}");
        }
    }
    // Where the policy allows two, the cause still has to fit.
    let mut policy = self::policy();
    row(&mut policy, ActionKind::Rollback).action = crate::gate::policy::Action::Rollback { max_versions_back: 2 };
    policy.cool_down_s = 0;
    for suspected in [None, Some("v42"), Some("v41")] {
        let (state, view) = after_one_step_back(300);
        let decision = decide(&second_step(suspected), &orca(), Some(&policy), Some(&view), &state, NOW);
        let codes = decision.codes();
        assert!(codes.contains(&ReasonCode::NotCorrelated), "{suspected:?}: {codes:?}");
        assert_eq!(decision.answer, Answer::NeedsApproval, "{codes:?}");
    }
    // A step back long ago is no part of the chain.
    let long_ago = [
        change(NOW - 2 * 86_400, "v40", "v41"),
        change(NOW - 6 * 3600, "v41", "v42"),
        change(NOW - 5 * 3600, "v42", "v41"),
    ];
    let (state, (_, view)) = (GateState::fold(&long_ago), after_one_step_back(9));
    let decision = decide(&second_step(None), &orca(), Some(&self::policy()), Some(&view), &state, NOW);
    assert!(!decision.codes().contains(&ReasonCode::TooManyVersionsBack), "{:?}", decision.codes());
}

#[test]
fn the_suspect_is_what_came_last_before_the_errors_rose() {
    let decide = |suspected: &str, state: &GateState| {
        let request = Request { suspected_change: Some(suspected.into()), ..request(ActionKind::Rollback) };
        decide(&request, &orca(), Some(&policy()), Some(&burning()), state, NOW)
    };
    let state = gate();
    assert_eq!(decide("v42", &state).answer, Answer::Allow);
    for named in ["v41", "v40", "v99"] {
        let decision = decide(named, &state);
        assert_eq!(decision.answer, Answer::NeedsApproval, "{named}");
        assert!(decision.codes().contains(&ReasonCode::NotCorrelated), "{named}");
    }
    // Another one that came before them and is not what was last: whoever names it means something else.
    let mut state = GateState::fold(&[change(DEPLOYED - 600, "v40", "v41"), change(DEPLOYED, "v41", "v42")]);
    assert_eq!(decide("v42", &state).answer, Answer::Allow);
    let decision = decide("v41", &state);
    assert_eq!((decision.answer, decision.codes()), (Answer::NeedsApproval, vec![ReasonCode::NotCorrelated]));
    // What came since is not what rose them, and does not run any more, or does: the one that is left did.
    state.apply(&change(NOW - 300, "v42", "v43"));
    assert!(decide("v43", &state).codes().contains(&ReasonCode::NotCorrelated));
    // v43 came after the errors rose; blaming it does not make them its doing.
    let mut state = gate();
    let mut late = change(NOW - 700, "v42", "v43");
    let EventKind::ChangeObserved { change: Change { by, .. } } = &mut late.kind else { panic!("a change") };
    *by = None;
    state.apply(&late);
    assert!(decide("v43", &state).codes().contains(&ReasonCode::NotCorrelated));
}

// === Halts and the clock

#[test]
fn a_clock_that_went_ahead_and_came_back_ends_no_halt() {
    let mut state = GateState::new();
    state.apply(&halt("long", HaltScope::Global, &MACHINES));
    // An hour ahead somebody sets a short one; then the clock is set right.
    let event = state.halt("short", HaltScope::Global, &[], &ada(), "test", 60, NOW + 7200).expect("a halt");
    state.apply(&event);
    let stops = decide(&request(ActionKind::Deploy), &orca(), Some(&policy()), Some(&calm()), &state, NOW);
    assert!(stops.codes().contains(&ReasonCode::Halted));
    assert!(state.halts(NOW).any(|halt| halt.id == "long"), "it was set until {}", NOW + 3600);
}

/// A clock that went days ahead, by a typing error or a bad battery, and was set right: what was used stays used, halts hold,
/// and budgets are as full as they were. They are forgotten in their time, by a clock that is trusted.
#[test]
fn a_clock_that_went_days_ahead_and_came_back_makes_nothing_new() {
    let (policy, request, other) =
        (policy(), keyed(ActionKind::Deploy, "build-77"), keyed(ActionKind::Deploy, "build-78"));
    for days in [2, 9, 40] {
        let mut state = gate();
        assert_eq!(ask_keyed(&mut state, 1, &request, &policy, &calm(), NOW).answer, Answer::Allow);
        state.apply(&at(NOW + 5, EventKind::PermitRedeemed { id: "prm_1".into(), baseline: Baseline::default() }));
        state.apply(&halt("long", HaltScope::Global, &MACHINES));
        // Days ahead something is asked, somebody sets a halt, an act is begun, and ticks come, none of which is trusted.
        let ahead = NOW + days * 86_400;
        ask_at(&mut state, 2, &other, &ada(), &policy, &View { at: ahead - 15, ..calm() }, ahead);
        state.apply(&issued(&permit("prm_3", &ada(), &scale(11), ahead)));
        let short = state.halt("short", HaltScope::Global, &[], &ada(), "test", 60, ahead).expect("a halt");
        state.apply(&short);
        state.sweep(Now { at: ahead, trusted: false });
        assert!(state.halts(NOW).any(|halt| halt.id == "long"), "{days} days");
        assert!(state.acts_of("checkout").any(|act| act.permit == "prm_1"), "{days} days");
        let long = at(NOW + 10, EventKind::Resumed { id: "long".into(), by: "@ada".into(), reason: "x".into() });
        state.apply(&long);
        let again = ask_keyed(&mut state, 4, &request, &policy, &calm(), NOW + 20);
        assert!(again.codes().contains(&ReasonCode::PermitUsed), "{days} days: {:?}", again.codes());
        // In its time nobody needs to know it any more.
        state.sweep(Now { at: NOW + 86_000, trusted: true });
        assert!(state.decided(&orca().sub, "build-77").is_some());
        state.sweep(Now { at: NOW + days * 86_400 + 8 * 86_400, trusted: true });
        assert!(state.decided(&orca().sub, "build-77").is_none(), "{days} days");
        assert!(state.acts_of("checkout").all(|act| act.permit != "prm_1"), "{days} days");
    }
}

/// What was seen while the clock was ahead was seen not long ago: machines wait after it as after any change.
#[test]
fn a_change_of_a_clock_that_was_ahead_is_waited_for() {
    let policy = Policy { cool_down_s: 600, ..policy() };
    for (at_s, waits) in [(NOW - 601, false), (NOW - 30, true), (NOW + 3600, true), (NOW + 30 * 86_400, false)] {
        let mut state = gate();
        state.apply(&change(at_s, "v41", "v42"));
        let decision = decide(&scale(11), &orca(), Some(&policy), Some(&calm()), &state, NOW);
        assert_eq!(decision.codes().contains(&ReasonCode::CoolingDown), waits, "{at_s}: {:?}", decision.codes());
    }
}

/// A pipeline that posts few replicas makes no cure of a step down: what runs is what counts, and where nothing shows it, nothing
/// does.
#[test]
fn replicas_that_were_only_posted_make_no_cure_of_fewer() {
    let policy = policy();
    let (has, step) =
        (burning().observed.workload(&scale(1).resource).and_then(|one| one.replicas).expect("it is seen"), 2);
    let fewer = scale(has - step);
    let denied = |view: &View, what: &str| {
        let decision = decide(&fewer, &orca(), Some(&policy), Some(view), &gate(), NOW);
        assert_eq!(decision.class, crate::gate::ActionClass::Risk, "{what}");
        assert_ne!(decision.answer, Answer::Allow, "{what}: {:?}", decision.codes());
    };
    denied(&burning(), "as it is seen");
    // The same workload, as somebody tells of it: two replicas, so that "fewer" looks like more.
    let mut told = burning();
    for workload in &mut told.observed.workloads {
        (workload.replicas, workload.told) = (Some(1), true);
    }
    denied(&told, "as it was posted");
    // And a posted change beside what is seen.
    let mut state = gate();
    let mut posted = change(NOW - 30, "v42", "v42");
    if let EventKind::ChangeObserved { change } = &mut posted.kind {
        (change.replicas, change.by) = (Some(1), Some("deployer".into()));
    }
    state.apply(&posted);
    let decision = decide(&fewer, &orca(), Some(&policy), Some(&burning()), &state, NOW);
    assert_eq!(decision.class, crate::gate::ActionClass::Risk);
    assert_ne!(decision.answer, Answer::Allow, "{:?}", decision.codes());
}
