//! What people and operators met at the edges of the gate: a burn that has only begun, and words that did not help.

use super::cases::{Case, Dice};
use super::stage::*;
use crate::engine::SloState;
use crate::gate::check::ClearBy;
use crate::gate::{ActionKind, Answer, ReasonCode, View, decide};

fn deploy(view: &View) -> crate::gate::Decision {
    decide(&request(ActionKind::Deploy), &orca(), Some(&policy()), Some(view), &gate(), NOW)
}

/// Whatever asks or denies says what would let it through, unless nothing would.
#[test]
fn whatever_stops_says_what_would_let_it_through() {
    let (mut dice, mut seen) = (Dice(11), std::collections::BTreeSet::new());
    for n in 0..3_000 {
        for check in Case::of(&mut dice).decide().checks {
            if check.stops() && check.clear_by != Some(ClearBy::Nothing) {
                assert!(check.flip.as_ref().is_some_and(|flip| flip.len() > 8), "case {n}: {check:#?}");
                seen.insert(check.code);
            }
        }
    }
    let needed = [
        ReasonCode::ApprovalRequired,
        ReasonCode::UnknownVersion,
        ReasonCode::EffectUnknown,
        ReasonCode::ClaimRefuted,
        ReasonCode::PolicyInvalid,
    ];
    assert!(needed.iter().all(|code| seen.contains(code)) && seen.len() > 25, "{seen:?}");
}

/// With what the files are about that were refused, a person can find them.
#[test]
fn refused_rules_say_how_to_find_the_fault() {
    let mut view = calm();
    view.health.policy_current = false;
    let decision = deploy(&view);
    let check = decision.checks.iter().find(|check| check.code == ReasonCode::PolicyInvalid).expect("it is told");
    assert!(check.flip.as_ref().is_some_and(|flip| flip.contains("slowburn check")), "{check:?}");
}

/// In the first minute of an outage the short window is full of errors and the long one is not. That is no room for a risk.
#[test]
fn a_burn_that_has_only_begun_is_no_room_for_a_risk() {
    let begun = |burn: f64, bad: u64| {
        let mut view = calm();
        let slo = &mut view.slos[0];
        assert_eq!(slo.state, SloState::Ok);
        let short = slo.windows.iter_mut().find(|window| window.window_s == 300).expect("it has one");
        (short.burn, short.bad) = (Some(burn), bad);
        let decision = deploy(&view);
        (decision.answer, decision.codes().contains(&ReasonCode::FastBurn))
    };
    assert_eq!(begun(71.0, 426), (Answer::Deny, true));
    assert_eq!(begun(14.5, 87), (Answer::Deny, true));
    // Under the factor of the clause, or by a handful of events, it is none.
    assert_eq!(begun(14.3, 86), (Answer::Allow, false));
    assert_eq!(begun(71.0, 9), (Answer::Allow, false));
}

/// When it would be allowed again is worth saying where that can be told, and where it cannot it is said so.
#[test]
fn a_burn_says_when_it_ends_at_its_pace_and_never_that_it_does_not() {
    let flip = |short: f64| {
        let mut view = burning();
        let window = view.slos[0].windows.iter_mut().find(|window| window.window_s == 300).expect("it has one");
        window.burn = Some(short);
        let decision = deploy(&view);
        let check = decision.checks.into_iter().find(|check| check.code == ReasonCode::FastBurn).expect("it burns");
        check.flip.expect("a flip")
    };
    // From 20 to 14.4 in an hour's window that fills with 2: 3600 s * 5.6 / 18.
    assert_eq!(flip(2.0), "allowed again at 1h burn < 14.4, at this pace in 19m");
    for rising in [14.4, 20.0, 71.0] {
        assert_eq!(flip(rising), "allowed again at 1h burn < 14.4; it does not fall yet");
    }
}
