//! History decided again: thousands of situations written down and read back give the same decisions to the bit, and another
//! policy the flips that are counted without the code that finds them.

use super::cases::{Case, Dice};
use super::stage::*;
use crate::gate::policy::Policy;
use crate::gate::replay::Inputs;
use crate::gate::{ActionKind, Answer, Decision, Event, EventKind, GateState, ReasonCode, Request, decide};

/// How many situations are recorded: `tests/run` asks for 10,000, which take a while without optimization.
fn size() -> usize {
    std::env::var("SLOWBURN_HISTORY").ok().and_then(|size| size.parse().ok()).unwrap_or(1_500)
}

/// The recorded situations.
pub fn history() -> impl Iterator<Item = Case> {
    let mut dice = Dice(2025);
    std::iter::repeat_with(move || Case::of(&mut dice)).take(size())
}

/// A policy that is stricter here and looser there.
pub fn changed() -> Policy {
    let mut policy = policy();
    row(&mut policy, ActionKind::Deploy).require_approval = true;
    policy.safety_checks[0].threshold = 99.7;
    policy.cool_down_s = 0;
    policy.data.min_events = 1;
    policy
}

/// What another policy would have decided, worked out from the events: yeses count as given under it.
pub fn decided_under(case: &Case, policy: &Policy) -> Decision {
    let own = case.policy.as_ref().map(Policy::digest);
    let events = case.events.iter().map(|event| match &event.kind {
        EventKind::ApprovalAsked { approval } if Some(approval.policy_digest) == own => {
            let mut approval = approval.clone();
            (approval.policy_digest, approval.rule_digest) = (policy.digest(), None);
            Event { kind: EventKind::ApprovalAsked { approval }, ..event.clone() }
        }
        _ => event.clone(),
    });
    let events: Vec<Event> = events.collect();
    let gate = GateState::fold(&events);
    decide(&case.request, &case.who, Some(policy), case.view.as_ref(), &gate, case.now)
}

#[test]
fn what_is_written_down_decides_the_same_to_the_bit() {
    let mut answers = [0; 3];
    for (n, case) in history().enumerate() {
        let decision = case.decide();
        answers[decision.answer as usize] += 1;
        let inputs = case.inputs();
        let text = serde_json::to_vec(&inputs).expect("plain data");
        let read: Inputs = serde_json::from_slice(&text).expect("it reads back");
        let again = read.decide();
        assert_eq!(again, decision, "case {n}");
        // Every bit, floating point numbers too; to work it all out takes time, so one in ten.
        if n % 10 == 0 {
            let bits = |decision: &Decision| serde_json::to_string(decision).expect("plain data");
            assert_eq!(bits(&again), bits(&decision), "case {n}");
            assert_eq!(serde_json::to_vec(&read).expect("plain data"), text, "case {n}");
            assert_eq!(read.digest(), inputs.digest(), "case {n}");
        }
    }
    assert!(answers.iter().all(|count| *count > size() / 50), "{answers:?}");
}

/// Many changes under way: what is written down of them decides the same, and does not grow with them.
#[test]
fn of_changes_under_way_the_one_that_is_read_is_written_down() {
    let (policy, deploy) = (policy(), request(ActionKind::Deploy));
    let other = |n: i64| Request { service: "search".into(), to_version: Some(format!("w{n}")), ..deploy.clone() };
    let mut state = gate();
    for n in 0..40 {
        let own = Request { to_version: Some(format!("w{n}")), ..deploy.clone() };
        state.apply(&issued(&permit(&format!("prm_{n}"), &deployer(), &own, NOW - 100 + n)));
        let mut grouped = permit(&format!("prm_g{n}"), &deployer(), &other(n), NOW - 60 + n);
        grouped.group = Some("shop".into());
        state.apply(&issued(&grouped));
    }
    let grouped = Policy { dependency_group: Some("shop".into()), ..policy.clone() };
    let many = Policy { one_change_at_a_time: false, ..policy.clone() };
    // Another service of the group may be at it for longer: who has no group waits for its own all the same.
    let slice = state.slice(&deploy, Some(&grouped), &orca().sub, NOW);
    let alone = |state: &GateState| decide(&deploy, &orca(), Some(&policy), Some(&calm()), state, NOW);
    assert_eq!(alone(&slice), alone(&state));
    for policy in [policy.clone(), grouped, many] {
        let decision = decide(&deploy, &orca(), Some(&policy), Some(&calm()), &state, NOW);
        let slice = state.slice(&deploy, Some(&policy), &orca().sub, NOW);
        assert_eq!(decide(&deploy, &orca(), Some(&policy), Some(&calm()), &slice, NOW), decision);
        assert_eq!(decision.codes().contains(&ReasonCode::ChangeInFlight), policy.one_change_at_a_time);
        assert!(slice.open_permits().count() <= 1 + usize::from(policy.dependency_group.is_some()));
    }
}

#[test]
fn another_policy_flips_exactly_what_it_decides_otherwise() {
    let policy = changed();
    let (mut stricter, mut looser) = (0, 0);
    for (n, case) in history().enumerate() {
        let (before, after) = (case.decide().answer, decided_under(&case, &policy).answer);
        let inputs = case.inputs();
        let flip = inputs.flip(Some(&policy)).map(|flip| (flip.before, flip.after));
        assert_eq!(flip, (before != after).then_some((before, after)), "case {n}");
        stricter += usize::from(after > before);
        looser += usize::from(after < before);
        // The same policy flips nothing, and none at all denies.
        if n % 50 == 0 {
            assert_eq!(inputs.flip(case.policy.as_ref()), None, "case {n}");
            let gone = inputs.flip(None).map_or(before, |flip| flip.after);
            assert!(gone == Answer::Deny || case.request.break_glass, "case {n}");
        }
    }
    assert!(stricter > size() / 100 && looser > size() / 100, "{stricter} and {looser}");
}
