//! What a policy means once it is read, and who can be asked. Mistakes have a file each in `tests/configs/bad`.

use std::sync::Arc;

use jiff::civil::{Weekday, date, time};
use proptest::prelude::*;

use crate::gate::answer::Answer;
use crate::gate::freeze::{FreezeTime, WeekTime};
use crate::gate::policy::{Action, Policy, RateActor};
use crate::gate::principal::Approver;
use crate::gate::{ActionClass, ActionKind, ActorClass};
use crate::spec::{Options, identity, load_text, load_texts};

const SERVICE: &str =
    "name: checkout\nowner: x\nslo: {availability: {objective: 99.9, sli: {total: m, bad: 'm{a=\"b\"}'}}}\n";

#[test]
fn every_optional_field_is_read() {
    let text = include_str!("../../../tests/configs/good/policy-optional.yaml");
    let loaded = load_text("policy-optional.yaml", text);
    assert_eq!(loaded.render(false), "");
    let policy = loaded.policies.iter().find(|policy| policy.service == "checkout").expect("it is there");
    let row = |kind| policy.allowed(kind).expect("it is allowed");
    let rollback = row(ActionKind::Rollback);
    assert_eq!((rollback.quorum, rollback.four_eyes, rollback.require_approval), (2, true, true));
    assert_eq!(rollback.approvers, [Approver::Team("checkout-oncall".into()), Approver::Person("@ada".into())]);
    assert_eq!(rollback.irreversible, ["v39", "v40-schema-*"]);
    assert!(rollback.is_irreversible("v40-schema-7") && !rollback.is_irreversible("v40"));
    let scale = Action::Scale { min_replicas: 3, max_replicas: 50, max_step: Some(10), max_utilization: 0.7 };
    assert_eq!(row(ActionKind::Scale).action, scale);
    assert_eq!(row(ActionKind::Config).class, Some(ActionClass::Mitigate));
    let [weekend, sale] = policy.freeze.as_slice() else { panic!("two windows") };
    let moment = |day, hour| WeekTime { day, time: time(hour, 0, 0, 0) };
    let weekly = FreezeTime::Weekly { from: moment(Weekday::Friday, 16), until: moment(Weekday::Monday, 8) };
    assert_eq!((&weekend.when, weekend.time_zone.as_str()), (&weekly, "Europe/Berlin"));
    assert_eq!((weekend.actors.as_slice(), weekend.mitigate_exempt), (&ActorClass::ALL[1..], false));
    let once = FreezeTime::Once { from: date(2026, 11, 26).at(18, 0, 0, 0), until: date(2026, 11, 30).at(0, 0, 0, 0) };
    assert_eq!((&sale.when, sale.actors.as_slice(), sale.mitigate_exempt), (&once, &ActorClass::ALL[..], true));
    let budgets: Vec<_> =
        policy.rate_budgets.iter().map(|one| (one.actor.clone(), one.action, one.max, one.per_s)).collect();
    let orca = RateActor::Sub("ai-operator/orca-ops".into());
    assert_eq!(
        budgets,
        [
            (None, None, 10, 3600),
            (Some(RateActor::Class(ActorClass::Robot)), Some(ActionKind::Rollback), 2, 86_400),
            (Some(orca), Some(ActionKind::Scale), 3, 3600),
        ]
    );
    let times = (policy.cool_down_s, policy.settle_s, policy.correlate_within_s, policy.permit_ttl_s);
    assert_eq!(times, (600, 300, 7200, 60));
    assert_eq!((policy.dependency_group.as_deref(), policy.one_change_at_a_time), (Some("shop"), true));
    assert_eq!(policy.dependencies, ["payments"]);
    assert_eq!((policy.transition.max_unavailable, policy.transition.duration_s), (0.0, 90));
    let data = (policy.data.partial_mitigate, policy.data.stale_mitigate, policy.data.absent_mitigate);
    assert_eq!(data, (Answer::Deny, Answer::Deny, Answer::NeedsApproval));
    assert_eq!(policy.data.min_events, 100);
}

/// What is not written is as a policy that says nothing has it.
#[test]
fn what_is_left_out_is_the_default() {
    let text = format!("{SERVICE}---\nservice: checkout\nallowed_actions: [{{type: restart}}]\n");
    let read = load_text("a.yaml", &text).policies.remove(0);
    let default = Policy { allowed_actions: read.allowed_actions.clone(), ..Policy::new("checkout") };
    assert_eq!(read, default);
}

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// What is said of a policy whose deploy asks as `asks` says, where these identities are known.
fn said(asks: &str, identities: &str) -> (bool, String) {
    let people = identity::load_text("identities.yaml", identities);
    assert!(!people.is_fatal(), "{}", people.render(false));
    let text = format!("{SERVICE}---\nservice: checkout\nallowed_actions: [{{type: deploy, {asks}}}]\n");
    let options = Options { people: Some(Arc::new(people.identities)), ..Options::default() };
    let loaded = load_texts(&[("a.yaml", &text)], &options);
    (loaded.is_fatal(), loaded.render(false))
}

fn person(name: &str, team: &str, hash: usize) -> String {
    // A credential of its own for each.
    let hash = format!("{:a>63}{hash}", "");
    format!("  - {{name: \"{name}\", class: human, teams: [{team}], token_sha256: [{hash}]}}\n")
}

#[test]
fn a_yes_that_nobody_can_give_is_refused_when_the_policy_is_read() {
    const ONCALL: &str = "require_approval: true, approvers: [{team: checkout-oncall}]";
    let robot = format!("  - {{name: orca, class: robot, teams: [checkout-oncall], token_sha256: [{HASH}]}}\n");
    let no_credential = "  - {name: \"@ada\", class: human, teams: [checkout-oncall]}\n".to_string();
    let (ada, bob) = (person("@ada", "checkout-oncall", 1), person("@bob", "checkout-oncall", 2));
    for (asks, rows, expected) in [
        (ONCALL, String::new(), "without identities nobody can give it"),
        (ONCALL, robot.clone(), "no person with a credential is one of them"),
        (ONCALL, no_credential, "no person with a credential is one of them"),
        (ONCALL, person("@ada", "search-oncall", 1), "no person with a credential is one of them"),
        (
            "require_approval: true, approvers: [{person: \"@eve\"}]",
            ada.clone(),
            "no person with a credential is one of them",
        ),
        (
            "require_approval: true, quorum: 2, approvers: [{team: checkout-oncall}]",
            ada.clone() + &robot,
            "the approval of 2 people of team:checkout-oncall, and 1 could give it",
        ),
        (
            "four_eyes: true, approvers: [{team: checkout-oncall}]",
            ada.clone(),
            "the approval of 2 people of team:checkout-oncall, and 1 could give it",
        ),
        (
            "irreversible: [v9], approvers: [{person: \"@eve\"}]",
            ada.clone(),
            "no person with a credential is one of them",
        ),
        // The same person by two ways is one.
        (
            "require_approval: true, quorum: 2, approvers: [{team: checkout-oncall}, {person: \"@ada\"}]",
            ada.clone(),
            "and 1 could give it",
        ),
    ] {
        let (fatal, text) =
            said(asks, &format!("identities:\n{}", if rows.is_empty() { "  []\n".into() } else { rows }));
        assert!(fatal && text.contains(expected), "{asks}: {text}");
    }
    for (asks, rows) in [
        (ONCALL, ada.clone()),
        ("require_approval: true, quorum: 2, approvers: [{team: checkout-oncall}]", ada.clone() + &bob),
        ("four_eyes: true, approvers: [{team: checkout-oncall}]", ada.clone() + &bob),
        ("require_approval: true, approvers: [{person: ada}]", ada.clone()),
        // Nobody is asked.
        ("require_approval: false", String::new()),
    ] {
        let rows = if rows.is_empty() { "  []\n".into() } else { rows };
        assert_eq!(said(asks, &format!("identities:\n{rows}")), (false, String::new()), "{asks}");
    }
}

#[test]
fn an_approver_whom_nobody_knows_is_warned_of() {
    let asks = "require_approval: true, approvers: [{team: checkout-oncall}, {person: \"@adda\"}]";
    let (fatal, text) = said(asks, &format!("identities:\n{}", person("@ada", "checkout-oncall", 1)));
    assert!(!fatal && text.contains("person:@adda is nobody among the identities") && text.contains("@ada"), "{text}");
}

#[test]
fn a_budget_of_nobody_is_warned_of() {
    let people = identity::load_text("i.yaml", &format!("identities:\n{}", person("@ada", "t", 1)));
    let text = format!(
        "{SERVICE}---\nservice: checkout\nallowed_actions: [{{type: restart}}]\n\
         rate_budgets: [{{max: 1, per: 1h, actor: \"@add\"}}]\n"
    );
    let options = Options { people: Some(Arc::new(people.identities)), ..Options::default() };
    let loaded = load_texts(&[("a.yaml", &text)], &options);
    let text = loaded.render(false);
    assert!(!loaded.is_fatal() && text.contains("this budget limits nobody") && text.contains("actor: @ada"), "{text}");
}

/// What was taken without an error is within its bounds and asks people who are named. The bounded twin of the fuzz target
/// `policy`.
fn holds(text: &str) -> Result<(), TestCaseError> {
    let loaded = load_texts(&[("service.yaml", SERVICE), ("policy.yaml", text)], &Options::default());
    drop(loaded.render(false));
    if loaded.is_fatal() {
        return Ok(());
    }
    for policy in &loaded.policies {
        prop_assert!((1..=300).contains(&policy.permit_ttl_s));
        prop_assert!(policy.rate_budgets.iter().all(|budget| budget.max > 0 && budget.per_s > 0));
        prop_assert!(policy.freeze.iter().all(|window| !window.actors.is_empty()));
        for row in &policy.allowed_actions {
            prop_assert_ne!(row.class, Some(ActionClass::Observe));
            prop_assert!(row.quorum > 0 && (!row.require_approval || !row.approvers.is_empty()));
        }
    }
    Ok(())
}

/// The policy of the example that says everything, for this service.
fn whole() -> String {
    include_str!("../../../rules/policies/llm-chat.yaml").replace("llm-chat", "checkout").replace("[checkout]", "[]")
}

#[test]
fn the_example_that_says_everything_is_taken_with_what_it_says() {
    let text = whole();
    let loaded = load_texts(&[("service.yaml", SERVICE), ("policy.yaml", &text)], &Options::default());
    assert_eq!(loaded.render(false), "");
    assert_eq!((loaded.policies[0].freeze.len(), loaded.policies[0].rate_budgets.len()), (2, 3));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn no_slip_in_a_policy_panics_the_loader_or_gets_out_of_bounds(
        at in any::<prop::sample::Index>(),
        length in 0_usize..12,
        slip in prop_oneof![
            "\\PC{0,8}",
            prop::sample::select(vec![
                "0", "-1", "1e99", ".nan", "~", "[]", "{}", "true", "observe", "allow", "Fri 16:00", "2026-13-01", "9999d",
                "\n  - ", ": ", "\"", "&a", "*a", "<<: *a",
            ]).prop_map(str::to_string),
        ],
    ) {
        let text: Vec<char> = whole().chars().collect();
        let at = at.index(text.len());
        let end = (at + length).min(text.len());
        let slipped: String = text[..at].iter().copied().chain(slip.chars()).chain(text[end..].iter().copied()).collect();
        holds(&slipped)?;
    }
}
