//! People behind names: who counts, how often, and for how long; and who may do what besides.

use std::collections::BTreeSet;

use super::stage::*;
use crate::gate::identity::{Identities, Identity};
use crate::gate::permit::Baseline;
use crate::gate::policy::{Policy, RateActor};
use crate::gate::principal::{Approver, Right};
use crate::gate::{
    ActionKind, ActorClass, Answer, EventKind, GateState, HaltScope, Principal, ReasonCode, Request, decide,
};

/// Another name of a person.
fn also(name: &str, person: &str) -> Principal {
    Principal { person: person.into(), ..principal(name, ActorClass::Human, &["checkout-oncall"]) }
}

fn identity(of: &Principal) -> Identity {
    Identity {
        name: of.sub.clone(),
        person: (!of.person.is_empty()).then(|| of.person.clone()),
        rights: of.rights.clone(),
        class: of.class,
        teams: of.teams.iter().cloned().collect(),
        token_sha256: Vec::new(),
        k8s_subjects: Vec::new(),
        mtls_names: Vec::new(),
        jwt_subjects: Vec::new(),
        oidc_subjects: Vec::new(),
        may_act_as: of.may_act_as.iter().cloned().collect(),
        on_behalf_of: of.delegation.clone(),
    }
}

fn identities(all: &[Principal]) -> Identities {
    let mut all: Vec<Identity> = all.iter().map(identity).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Identities { all }
}

/// A rollback that needs two people.
fn two() -> Policy {
    let mut policy = asking_policy();
    policy.allowed_actions.iter_mut().for_each(|row| row.quorum = 2);
    policy
}

fn asked(policy: &Policy) -> GateState {
    let mut state = gate();
    assert_eq!(ask(&mut state, 1, &rollback(), &orca(), policy, &burning()).answer, Answer::NeedsApproval);
    state
}

fn rollback() -> Request {
    request(ActionKind::Rollback)
}

fn answer(state: &GateState, policy: &Policy) -> Answer {
    decide(&rollback(), &orca(), Some(policy), Some(&burning()), state, NOW + 10).answer
}

#[test]
fn two_names_of_one_person_are_one_approval() {
    let policy = two();
    for (first, second) in [
        (bob(), also("@bob-admin", "bob")),
        (also("@bob-admin", "bob"), bob()),
        (also("@b1", "bob"), also("@b2", "bob")),
    ] {
        let mut state = asked(&policy);
        approve_all(&mut state, &[first, second.clone()], NOW + 1);
        let approval = state.approval("apr_1").expect("it is there");
        assert_eq!(approval.have(), 1, "{:?}", approval.votes);
        let refused =
            state.approve("apr_1", &second, &approval.action_digest, None, NOW + 2).expect_err("the same person");
        assert_eq!(refused.code, ReasonCode::AlreadyApproved);
        assert_eq!(answer(&state, &policy), Answer::NeedsApproval);
        approve_all(&mut state, &[ada()], NOW + 3);
        assert_eq!(answer(&state, &policy), Answer::Allow);
    }
}

#[test]
fn nobody_approves_their_own_request_under_another_name() {
    let policy = asking_policy();
    let mut state = gate();
    ask(&mut state, 1, &rollback(), &bob(), &policy, &burning());
    let digest = rollback().digest();
    let refused = state.approve("apr_1", &also("@bob-admin", "bob"), &digest, None, NOW + 1).expect_err("his own");
    assert_eq!(refused.code, ReasonCode::OwnRequest);
    // Whichever of the names asks, and whether or not one of them is that of the person.
    for (asks, says) in [(also("@bob-admin", "bob"), bob()), (also("@b1", "robert"), also("@b2", "robert"))] {
        let mut state = gate();
        ask(&mut state, 1, &rollback(), &asks, &policy, &burning());
        let refused = state.approve("apr_1", &says, &digest, None, NOW + 1).expect_err("his own under another name");
        assert_eq!(refused.code, ReasonCode::OwnRequest, "{} asks", asks.sub);
        approve_all(&mut state, &[ada()], NOW + 1);
        let given = decide(&rollback(), &asks, Some(&policy), Some(&burning()), &state, NOW + 2);
        assert_eq!(given.answer, Answer::Allow, "another person's counts");
    }
    // The only one whom the policy names is the one who asks.
    let mut alone = policy.clone();
    alone.allowed_actions.iter_mut().for_each(|row| row.approvers = vec![Approver::Person("@bob".into())]);
    let asked = decide(&rollback(), &also("@bob-admin", "bob"), Some(&alone), Some(&burning()), &gate(), NOW);
    assert!(asked.codes().contains(&ReasonCode::NobodyToAsk), "{:?}", asked.codes());
    // Nor does the one who sent the agent.
    let known = identities(&[also("@boss", "ada"), ada(), Principal { delegation: vec!["@boss".into()], ..orca() }]);
    let one = known.named("ai-operator/orca-ops").expect("it is there");
    let agent = known.principal(one, crate::gate::Via::Token);
    let mut state = gate();
    ask(&mut state, 1, &rollback(), &agent, &policy, &burning());
    let refused = state.approve("apr_1", &ada(), &digest, None, NOW + 1).expect_err("hers under another name");
    assert_eq!(refused.code, ReasonCode::OwnRequest);
}

/// The two turn out to be one person, or the machine to act for the one who said yes.
#[test]
fn a_yes_lapses_when_it_turns_out_to_be_ones_own() {
    let policy = asking_policy();
    let carol = principal("@carol", ActorClass::Human, &["search"]);
    let for_bob = Principal { delegation: vec!["@bob".into()], ..orca() };
    for (asks, known) in [
        (orca(), vec![bob(), for_bob]),
        (carol.clone(), vec![bob(), Principal { person: "bob".into(), ..carol.clone() }]),
        (carol.clone(), vec![also("@bob", "bob"), Principal { person: "bob".into(), ..carol }]),
    ] {
        let mut state = gate();
        ask(&mut state, 1, &rollback(), &asks, &policy, &burning());
        approve_all(&mut state, &[bob()], NOW + 1);
        let before = identities(&[asks.clone(), bob()]);
        assert_eq!(state.lapsed_votes(&before, NOW + 2), [], "nothing changed");
        let lapsed = state.lapsed_votes(&identities(&known), NOW + 2);
        assert_eq!(lapsed.len(), 1, "{}", asks.sub);
        lapsed.iter().for_each(|event| state.apply(event));
        assert_eq!(state.approval("apr_1").map(|approval| approval.have()), Some(0));
    }
}

/// An approval is of who asked, under the name they asked under: an enforcement point asks for many.
#[test]
fn a_yes_to_one_name_is_none_to_another_of_the_same_principal() {
    let policy = asking_policy();
    let point = Principal { may_act_as: ["robot/a", "robot/b"].map(str::to_owned).into(), ..orca() };
    let under = |name: &str| Request { actor: Some(name.into()), ..rollback() };
    let answer =
        |state: &GateState, name| decide(&under(name), &point, Some(&policy), Some(&burning()), state, NOW + 3).answer;
    let mut state = gate();
    ask(&mut state, 1, &under("robot/a"), &point, &policy, &burning());
    // The question of the other one stands beside it.
    ask(&mut state, 2, &under("robot/b"), &point, &policy, &burning());
    assert_eq!(state.open_approvals_of(SERVICE).count(), 2);
    let digest = rollback().digest();
    let vote = state.approve("apr_1", &ada(), &digest, None, NOW + 1).expect("she may");
    state.apply(&vote);
    assert_eq!((answer(&state, "robot/a"), answer(&state, "robot/b")), (Answer::Allow, Answer::NeedsApproval));
}

#[test]
fn what_somebody_said_counts_while_they_may_say_it() {
    let policy = two();
    let everybody = [ada(), bob(), orca()];
    let gone = |who: &str| identities(&everybody.iter().filter(|one| one.sub != who).cloned().collect::<Vec<_>>());
    let moved = Principal { teams: BTreeSet::from(["search".to_owned()]), ..bob() };
    let merged = Principal { person: "ada".into(), ..bob() };
    let others = [
        gone("@bob"),
        identities(&[ada(), moved, orca()]),
        identities(&[ada(), merged, orca()]),
        identities(&[ada(), Principal { class: ActorClass::Robot, ..bob() }, orca()]),
        Identities::default(),
    ];
    for (n, now_known) in others.iter().enumerate() {
        let mut state = asked(&policy);
        approve_all(&mut state, &[ada(), bob()], NOW + 1);
        assert_eq!(state.lapsed_votes(&identities(&everybody), NOW + 2), [], "nothing changed");
        assert_eq!(answer(&state, &policy), Answer::Allow);
        // Granted and not used: it has to be asked for again.
        let mut before = state.clone();
        let lapsed = before.lapsed_votes(now_known, NOW + 5);
        lapsed.iter().for_each(|event| before.apply(event));
        assert_eq!(answer(&before, &policy), Answer::NeedsApproval, "case {n}");
        // Used for a permit that was not redeemed: it is not redeemed any more.
        ask_at(&mut state, 2, &rollback(), &orca(), &policy, &burning(), NOW + 3);
        let redeemed = |state: &GateState| {
            state.redeem("prm_2", &orca(), &rollback(), Some(&policy), Some(&policy), Some(&burning()), NOW + 6).answer
        };
        assert_eq!(redeemed(&state), Answer::Allow);
        let lapsed = state.lapsed_votes(now_known, NOW + 5);
        lapsed.iter().for_each(|event| state.apply(event));
        assert_eq!(redeemed(&state), Answer::Deny, "case {n}");
    }
}

/// The words around an act are no part of it.
#[test]
fn whoever_asks_in_other_words_finds_what_was_granted() {
    let policy = asking_policy();
    let mut state = asked(&policy);
    approve_all(&mut state, &[ada()], NOW + 1);
    for (n, reason) in ["The error rate is high.", "slo_burn_rate_exceeded", "x"].into_iter().enumerate() {
        let mut copy = state.clone();
        let words = Request { reason: Some(reason.into()), incident_id: Some(format!("INC-{n}")), ..rollback() };
        assert_eq!(
            ask_at(&mut copy, 2, &words, &orca(), &policy, &burning(), NOW + 2).answer,
            Answer::Allow,
            "{reason}"
        );
    }
    // A question about the same resource that is granted is not taken away by the next one, which is asked.
    let mut further = policy.clone();
    row(&mut further, ActionKind::Rollback).action = crate::gate::policy::Action::Rollback { max_versions_back: 2 };
    let mut both = asked(&further);
    approve_all(&mut both, &[ada()], NOW + 1);
    let mut view = burning();
    view.history.push(crate::gate::view::VersionRecord { version: "v40".into(), ..view.history[0].clone() });
    let older = Request { to_version: Some("v40".into()), ..rollback() };
    let second = ask_at(&mut both, 3, &older, &orca(), &further, &view, NOW + 2);
    assert_eq!(second.answer, Answer::NeedsApproval, "{:?}", second.codes());
    assert_eq!(both.open_approvals_of(SERVICE).count(), 2);
    assert_eq!(answer(&both, &further), Answer::Allow);
    // Another act is another question, and takes nothing away that was granted.
    let other = Request { to_version: Some("v40".into()), ..rollback() };
    ask_at(&mut state, 3, &other, &orca(), &policy, &burning(), NOW + 2);
    assert_eq!(answer(&state, &policy), Answer::Allow);
}

/// Every text is stored as it was digested: after a restart it is the same act, and the same words.
#[test]
fn a_reason_of_several_lines_is_one_line_from_the_beginning() {
    let body = |reason: &str| {
        let json = serde_json::json!({"service": SERVICE, "action": "rollback", "resource": RESOURCE,
            "from_version": "v42", "to_version": "v41", "reason": reason});
        Request::parse(json.to_string().as_bytes())
    };
    for reason in
        ["Error rate up.\nRolling back.", "zero\u{200b}width", "turned\u{202e}round", "tab\there", "\u{1b}[31mred"]
    {
        let request = body(reason).expect("a reason");
        let said = request.reason.as_deref().expect("it is there");
        assert!(!said.chars().any(|c| c.is_control() || crate::engine::text::hides(c)), "{said:?}");
        let stored: Request = serde_json::from_value(serde_json::to_value(&request).expect("JSON")).expect("it reads");
        assert_eq!((stored.digest(), &stored), (request.digest(), &request));
    }
    assert!(body("\n\u{200b} ").is_err(), "nothing is no reason");
    let hidden = serde_json::json!({"service": SERVICE, "action": "deploy", "resource": RESOURCE, "to_version": "v41\u{202e}04v"});
    assert!(Request::parse(hidden.to_string().as_bytes()).is_err());
    assert!(
        Request::parse(br#"["chat","deploy","deployment/chat",null,"v13",null,null,"arr",null,null,null,true,null]"#)
            .is_err()
    );
}

// === Who may

#[test]
fn a_person_does_what_their_rights_are() {
    let with = |rights: &[Right]| Principal { rights: Some(rights.iter().copied().collect()), ..dan() };
    let state = {
        let mut state = gate();
        state.apply(&halt("hlt_1", HaltScope::Global, &MACHINES));
        state
    };
    let emergency = Request { break_glass: true, ..rollback() };
    for right in [Right::BreakGlass, Right::Halt, Right::Resume] {
        for (who, may) in [(with(&[right]), true), (with(&[Right::Changes]), false), (dan(), true), (orca(), false)] {
            let done = match right {
                Right::BreakGlass => {
                    decide(&emergency, &who, Some(&policy()), Some(&burning()), &state, NOW).answer == Answer::Allow
                }
                Right::Halt => state.halt("h", HaltScope::Global, &[], &who, "INC-7", 60, NOW).is_ok(),
                _ => state.resume("hlt_1", &who, "over", NOW).is_ok(),
            };
            assert_eq!(done, may, "{right:?} {} {:?}", who.sub, who.rights);
        }
    }
}

#[test]
fn an_action_is_for_those_whom_the_policy_names() {
    let mut policy = policy();
    let other = Principal {
        may_act_as: BTreeSet::from(["robot/sub".to_owned()]),
        ..principal("robot/other", ActorClass::Robot, &[])
    };
    let acting = Request { actor: Some("robot/sub".into()), ..rollback() };
    let denied = |policy: &Policy, request: &Request, who: &Principal| {
        let decision = decide(request, who, Some(policy), Some(&burning()), &gate(), NOW);
        decision.codes().contains(&ReasonCode::ActorNotAllowed)
    };
    for (actors, who, request, expected) in [
        (vec![], &orca(), &rollback(), false),
        (vec![RateActor::Sub("ai-operator/orca-ops".into())], &orca(), &rollback(), false),
        (vec![RateActor::Sub("ai-operator/orca-ops".into())], &other, &rollback(), true),
        (vec![RateActor::Class(ActorClass::Robot)], &other, &rollback(), false),
        (vec![RateActor::Class(ActorClass::Pipeline)], &other, &rollback(), true),
        (vec![RateActor::Class(ActorClass::Human)], &dan(), &rollback(), false),
        (vec![RateActor::Sub("robot/sub".into())], &other, &acting, false),
    ] {
        row(&mut policy, ActionKind::Rollback).actors = actors.clone();
        assert_eq!(denied(&policy, request, who), expected, "{actors:?} {}", who.sub);
    }
}

/// What the policy says of other actions, of their budgets and of logging is no part of what people said yes to.
#[test]
fn a_yes_outlives_edits_of_the_policy_that_are_not_about_the_act() {
    let mut gate = gate();
    ask(&mut gate, 1, &request(ActionKind::Rollback), &orca(), &asking_policy(), &burning());
    approve_all(&mut gate, &[ada()], NOW);
    let answer = |edit: &dyn Fn(&mut Policy)| {
        let mut policy = asking_policy();
        edit(&mut policy);
        decide(&request(ActionKind::Rollback), &orca(), Some(&policy), Some(&burning()), &gate, NOW).answer
    };
    let budget = |action| crate::gate::policy::RateBudget { actor: None, action, max: 3, per_s: 3600 };
    assert_eq!(answer(&|_| ()), Answer::Allow);
    assert_eq!(answer(&|policy| row(policy, ActionKind::Deploy).require_approval = false), Answer::Allow);
    assert_eq!(
        answer(&|policy| policy.allowed_actions.retain(|row| row.action.kind() != ActionKind::Scale)),
        Answer::Allow
    );
    assert_eq!(answer(&|policy| policy.logging.incident_tag = Some("ai".into())), Answer::Allow);
    assert_eq!(answer(&|policy| policy.rate_budgets.push(budget(Some(ActionKind::Deploy)))), Answer::Allow);
    // What is about the act asks again, whether it became stricter or not.
    assert_eq!(answer(&|policy| row(policy, ActionKind::Rollback).quorum = 2), Answer::NeedsApproval);
    assert_eq!(
        answer(&|policy| row(policy, ActionKind::Rollback).irreversible = vec!["v1".into()]),
        Answer::NeedsApproval
    );
    assert_eq!(answer(&|policy| policy.rate_budgets.push(budget(None))), Answer::NeedsApproval);
    assert_eq!(answer(&|policy| policy.safety_checks[0].threshold = 98.0), Answer::NeedsApproval);
    assert_eq!(answer(&|policy| policy.allowed_actions.clear()), Answer::Deny);
}

#[test]
fn a_service_that_names_its_workloads_has_no_others() {
    let mut view = burning();
    for (resources, request, expected) in [
        (None, rollback(), false),
        (Some(vec![RESOURCE.to_owned()]), rollback(), false),
        (Some(vec!["deployment/other".to_owned()]), rollback(), true),
        (
            Some(vec![RESOURCE.to_owned()]),
            Request { resource: "secret/payments-db".into(), ..request(ActionKind::Deploy) },
            true,
        ),
    ] {
        view.resources = resources.clone();
        for who in [orca(), ada()] {
            let decision = decide(&request, &who, Some(&policy()), Some(&view), &gate(), NOW);
            assert_eq!(decision.codes().contains(&ReasonCode::ForeignResource), expected, "{resources:?} {}", who.sub);
            assert!(!expected || decision.answer == Answer::Deny);
        }
    }
}

#[test]
fn a_halt_of_a_name_that_is_acted_under_stops_whoever_acts_under_it() {
    let orca = Principal { may_act_as: BTreeSet::from(["orca-sub".to_owned()]), ..orca() };
    let acting = Request { actor: Some("orca-sub".into()), ..rollback() };
    for (halted, request, expected) in [
        ("orca-sub", &acting, true),
        ("ai-operator/orca-ops", &acting, true),
        ("ai-operator/orca-ops", &rollback(), true),
        ("orca-sub", &rollback(), false),
    ] {
        let mut state = gate();
        state.apply(&halt("hlt_1", HaltScope::Actor(halted.into()), &MACHINES));
        let decision = decide(request, &orca, Some(&policy()), Some(&burning()), &state, NOW);
        assert_eq!(decision.codes().contains(&ReasonCode::Halted), expected, "{halted} {:?}", request.actor);
    }
}

/// Whoever says it is somebody else is told nothing of what others asked for.
#[test]
fn a_forged_actor_sees_no_approval() {
    let policy = asking_policy();
    let state = asked(&policy);
    let forged = Request { actor: Some("@ada".into()), ..rollback() };
    let decision = decide(&forged, &orca(), Some(&policy), Some(&burning()), &state, NOW + 1);
    assert_eq!((decision.answer, decision.approval), (Answer::Deny, None));
}

/// Nobody is left who was asked: nothing gets through.
#[test]
fn a_policy_that_asks_for_who_is_gone_lets_nothing_through() {
    let mut policy = two();
    policy.allowed_actions.iter_mut().for_each(|row| row.approvers = vec![Approver::Person("@ada".into())]);
    let mut state = gate();
    let decision = ask(&mut state, 1, &rollback(), &orca(), &policy, &burning());
    assert_eq!((decision.answer, decision.codes().contains(&ReasonCode::NobodyToAsk)), (Answer::Deny, true));
    let event = at(NOW, EventKind::PermitRedeemed { id: "prm_1".into(), baseline: Baseline::default() });
    state.apply(&event);
    assert!(state.permit("prm_1").is_none());
}

/// A backup is put back in which a permit and an approval are unused that were used since: whoever accepts that log ends
/// both, and nothing else.
#[test]
fn what_may_have_been_used_ends_when_a_log_in_doubt_is_accepted() {
    let policy = two();
    let mut granted = asked(&policy);
    approve_all(&mut granted, &[ada(), bob()], NOW + 1);
    let mut permitted = granted.clone();
    ask_at(&mut permitted, 2, &rollback(), &orca(), &policy, &burning(), NOW + 3);
    let redeem = |state: &GateState, at| {
        state.redeem("prm_2", &orca(), &rollback(), Some(&policy), Some(&policy), Some(&burning()), at)
    };
    assert_eq!(redeem(&permitted, NOW + 6).answer, Answer::Allow);
    for state in [&mut granted, &mut permitted] {
        let ended = state.ended_by_acceptance(&ada(), NOW + 5);
        assert_eq!(ended.len(), 1, "{ended:?}");
        ended.iter().for_each(|event| state.apply(event));
        assert_eq!(state.ended_by_acceptance(&ada(), NOW + 6), [], "once");
        assert_eq!(answer(state, &policy), Answer::NeedsApproval);
    }
    let refused = redeem(&permitted, NOW + 6);
    assert_eq!(refused.refusal.map(|refusal| refusal.code), Some(ReasonCode::PermitRevoked));
}
