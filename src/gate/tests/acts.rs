//! Actions beside the first five: on nodes, on one pod, and those that a policy defines itself. Their part of
//! `lattice.txt`, and what must hold of them whatever it says.

use std::fmt::Write as _;

use super::lattice::marks;
use super::stage::*;
use crate::engine::SloState;
use crate::gate::action::ActionName;
use crate::gate::autonomy::{Autonomy, Stage};
use crate::gate::observed::{Node, Tenant};
use crate::gate::policy::{Action, AllowedAction, Bounds, CustomAction, NodeLimits};
use crate::gate::request::Argument;
use crate::gate::verdict::{Outcome, Verdict};
use crate::gate::{
    ActionClass, ActionKind, ActorClass, Answer, EventKind, GateState, HaltScope, Policy, ReasonCode, Request, View,
    decide,
};

fn limits() -> NodeLimits {
    NodeLimits {
        nodes: vec!["k8s-gpu-*".into()],
        min_left: 2,
        max_per_day: 2,
        ignore_namespaces: vec!["kube-system".into()],
    }
}

fn custom(name: &str, reversible: bool) -> Action {
    let arguments = [("percent", Bounds::Between(1, 20)), ("region", Bounds::OneOf(vec!["eu".into(), "us".into()]))];
    Action::Custom(CustomAction {
        name: ActionName::new(name).expect("a name"),
        resource: "cache".into(),
        reversible,
        arguments: arguments.into_iter().map(|(key, bounds)| (key.to_owned(), bounds)).collect(),
    })
}

/// Everything there is, and nobody is asked.
fn wide() -> Policy {
    let mut policy = policy();
    // A floor that holds while it burns: what is looked at here is the rest.
    policy.safety_checks[0].threshold = 90.0;
    policy.allowed_actions.extend(rows());
    policy
}

/// What stands beside the first five, but for `scale` and the like, which every policy here has.
pub(super) fn rows() -> Vec<AllowedAction> {
    let actions = [
        Action::Restart,
        Action::Cordon(limits()),
        Action::Drain(limits()),
        custom("flush-cache", true),
        custom("failover", false),
    ];
    let row = |action| AllowedAction { approvers: approvers(), ..AllowedAction::new(action) };
    actions.into_iter().map(row).collect()
}

fn approvers() -> Vec<crate::gate::Approver> {
    vec![crate::gate::Approver::Team("checkout-oncall".into())]
}

fn tenant(service: &str, ready_elsewhere: Option<u32>, state: SloState) -> Tenant {
    let resource = format!("deployment/{service}");
    Tenant { service: service.into(), resource, pods: 1, ready_elsewhere, state, spent: false }
}

/// All is well, on the node too.
fn with_node(tenants: Vec<Tenant>) -> View {
    let strangers = [("kube-system".to_owned(), 2)].into();
    let node = Node { name: "k8s-gpu-17".into(), seen_at: NOW - 15, good_for_s: 90, tenants, strangers };
    let mut view = calm();
    view.observed.nodes = vec![node];
    view
}

fn well() -> View {
    with_node(vec![tenant(SERVICE, Some(9), SloState::Ok), tenant("search", Some(2), SloState::Ok)])
}

pub(super) fn custom_request(name: &str) -> Request {
    let arguments = [("percent", Argument::Number(5)), ("region", Argument::Word("eu".into()))];
    Request {
        resource: "cache/sessions".into(),
        arguments: arguments.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        ..request(ActionKind::named(name).expect("a name"))
    }
}

fn one_pod() -> Request {
    Request { resource: "pod/checkout-service-5d8f7c9b4-x2x9k".into(), ..request(ActionKind::Restart) }
}

/// What a node may be like.
pub(super) fn node_states() -> Vec<(&'static str, View)> {
    let others = |state, spent| {
        let search = Tenant { spent, ..tenant("search", Some(2), state) };
        with_node(vec![tenant(SERVICE, Some(9), SloState::Ok), search])
    };
    let own = |ready| with_node(vec![tenant(SERVICE, ready, SloState::Ok)]);
    let mut strange = well();
    strange.observed.nodes[0].strangers.insert("lab".into(), 3);
    let mut old = well();
    old.observed.nodes[0].seen_at = NOW - 91;
    let mut other = well();
    other.observed.nodes[0].name = "k8s-gpu-18".into();
    vec![
        ("well", well()),
        ("nobody on it", with_node(Vec::new())),
        ("another service burns fast", others(SloState::FastBurn, false)),
        ("another service burns slowly", others(SloState::SlowBurn, false)),
        ("another service has no budget left", others(SloState::Ok, true)),
        ("how another service stands is not known", others(SloState::Unknown, false)),
        ("too few are ready elsewhere", own(Some(1))),
        ("who is ready elsewhere is not seen", own(None)),
        ("pods of nobody", strange),
        ("seen too long ago", old),
        ("not seen", calm()),
        ("another node was seen", other),
        ("its own service burns fast", View { observed: well().observed, ..burning() }),
        ("no data of its own service", View { observed: well().observed, ..view(SloState::Unknown, Data::Absent) }),
    ]
}

/// What else may be going on.
fn goings_on() -> Vec<(&'static str, GateState)> {
    let node = |name: &str, action| Request { resource: format!("node/{name}"), ..request(action) };
    let drain = |name: &str| node(name, ActionKind::Drain);
    // Issued so many seconds ago; those of more than a permit's life ago were used at once.
    let taken = |requests: &[(Request, i64)]| {
        let mut gate = gate();
        for (n, (request, ago)) in requests.iter().enumerate() {
            let id = format!("prm_{n}");
            let permit = Box::new(permit(&id, &deployer(), request, NOW - ago));
            gate.apply(&at(NOW - ago, EventKind::PermitIssued { permit }));
            if *ago > 120 {
                let baseline = crate::gate::permit::Baseline::default();
                gate.apply(&at(NOW - ago, EventKind::PermitRedeemed { id, baseline }));
            }
        }
        gate
    };
    let mut halted = gate();
    let scope = HaltScope::Service("search".into());
    halted.apply(&halt("hlt_1", scope, &[ActorClass::Robot, ActorClass::Pipeline]));
    vec![
        ("nothing", gate()),
        ("another node of the pool is being drained", taken(&[(drain("k8s-gpu-18"), 10)])),
        ("this node is being drained", taken(&[(drain("k8s-gpu-17"), 10)])),
        ("this node was cordoned a moment ago", taken(&[(node("k8s-gpu-17", ActionKind::Cordon), 10)])),
        ("this node and another one today", taken(&[(drain("k8s-gpu-18"), 9010), (drain("k8s-gpu-17"), 5010)])),
        ("one other node today", taken(&[(drain("k8s-gpu-18"), 5010)])),
        ("two other nodes today", taken(&[(drain("k8s-gpu-18"), 9010), (drain("k8s-gpu-19"), 5010)])),
        (
            "two other nodes, one of them yesterday",
            taken(&[(drain("k8s-gpu-18"), 86_500), (drain("k8s-gpu-19"), 5010)]),
        ),
        ("a service on it is halted for machines", halted),
    ]
}

fn line(text: &mut String, name: &str, request: &Request, view: &View, gate: &GateState) {
    line_of(text, name, request, &wide(), view, gate);
}

fn line_of(text: &mut String, name: &str, request: &Request, policy: &Policy, view: &View, gate: &GateState) {
    let mut cells: Vec<(String, Vec<&str>)> = Vec::new();
    for class in ActorClass::ALL {
        let decision = decide(request, &of_class(class), Some(policy), Some(view), gate, NOW);
        let cell = format!("{} [{}]", decision.answer.as_str(), marks(&decision).join(" "));
        match cells.iter_mut().find(|(same, _)| *same == cell) {
            Some((_, classes)) => classes.push(class.as_str()),
            None => cells.push((cell, vec![class.as_str()])),
        }
    }
    let cells: Vec<String> =
        cells.into_iter().map(|(cell, classes)| format!("{} {cell}", classes.join(" and "))).collect();
    writeln!(text, "{name} | {}", cells.join("; ")).expect("a text");
}

/// A machine that begins with a person's approval, or where the policy says, and what its acts came to: i improved, n no effect,
/// w worse, - not told or not done.
const RECORDS: [&str; 9] = ["", "i", "ii", "iin", "iini", "iiii", "iiiiw", "iiiiwi", "w--n"];

fn with_record(outcomes: &str) -> GateState {
    let mut gate = gate();
    for who in [orca(), deployer()] {
        for (n, outcome) in outcomes.chars().enumerate() {
            let when = NOW - 80_000 + i64::try_from(n).expect("small") * 2000;
            let permit = permit(&format!("prm_{}_{n}", who.sub), &who, &request(ActionKind::Restart), when);
            let id = permit.id.clone();
            gate.apply(&at(when, EventKind::PermitIssued { permit: Box::new(permit.clone()) }));
            gate.apply(&at(when + 5, EventKind::PermitRedeemed { id, baseline: Default::default() }));
            let outcome = match outcome {
                'i' => Outcome::Improved,
                'n' => Outcome::NoEffect,
                'w' => Outcome::Worse,
                _ => Outcome::Inconclusive,
            };
            let verdict = Box::new(Verdict::without(&permit, outcome, "judged", when + 500));
            gate.apply(&at(when + 500, EventKind::Judged { verdict }));
        }
    }
    gate
}

/// Stages: where they begin, and where they end at most; two improved acts for the next one.
fn stages(text: &mut String) {
    for (starts, at_most) in [
        (Stage::Explain, Stage::Alone),
        (Stage::Approval, Stage::Alone),
        (Stage::Approval, Stage::Proven),
        (Stage::Proven, Stage::Alone),
        (Stage::Alone, Stage::Approval),
        (Stage::Alone, Stage::Alone),
    ] {
        let (from, to) = (starts.as_str(), at_most.as_str());
        writeln!(text, "\n== restart of a burning service by stages: starts {from}, at most {to}").expect("a text");
        let mut policy = wide();
        let own = policy.allowed_actions.iter_mut().find(|row| row.action.kind() == ActionKind::Restart);
        own.expect("it is there").autonomy = Some(Autonomy { starts, at_most, raise_after: 2 });
        for record in RECORDS {
            let name = if record.is_empty() { "nothing on record" } else { record };
            line_of(text, name, &request(ActionKind::Restart), &policy, &burning(), &with_record(record));
        }
        line_of(text, "nothing on record, calm", &request(ActionKind::Restart), &policy, &calm(), &gate());
    }
}

/// The part of `lattice.txt`.
pub(super) fn blocks() -> String {
    let mut text = String::new();
    for action in [ActionKind::Drain, ActionKind::Cordon] {
        writeln!(text, "\n== {} of a node: how the node stands", action.as_str()).expect("a text");
        for (name, view) in node_states() {
            line(&mut text, name, &request(action), &view, &gate());
        }
        writeln!(text, "\n== {} of a node that is well: what else goes on", action.as_str()).expect("a text");
        for (name, gate) in goings_on() {
            line(&mut text, name, &request(action), &well(), &gate);
        }
    }
    writeln!(text, "\n== actions of the policy, and restart of one pod").expect("a text");
    for name in ["flush-cache", "failover"] {
        for (state, view) in
            [("calm", calm()), ("burning", burning()), ("no data", view(SloState::Unknown, Data::Absent))]
        {
            line(&mut text, &format!("{name}, {state}"), &custom_request(name), &view, &gate());
        }
    }
    let argument = |key: &str, value| {
        let mut request = custom_request("flush-cache");
        request.arguments.insert(key.into(), value);
        request
    };
    let mut without = custom_request("flush-cache");
    without.arguments.remove("region");
    for (name, request) in [
        ("flush-cache, too much", argument("percent", Argument::Number(21))),
        ("flush-cache, a word for a number", argument("percent", Argument::Word("5".into()))),
        ("flush-cache, another word", argument("region", Argument::Word("mars".into()))),
        ("flush-cache, an argument more", argument("force", Argument::Word("yes".into()))),
        ("flush-cache, an argument less", without),
        (
            "flush-cache of another kind",
            Request { resource: "database/orders".into(), ..custom_request("flush-cache") },
        ),
        ("an action that the policy does not define", custom_request("wipe-cache")),
    ] {
        line(&mut text, name, &request, &calm(), &gate());
    }
    let mut only = burning();
    only.observed.workloads[0].replicas = Some(1);
    for (name, view) in [("calm", calm()), ("burning", burning()), ("burning, the only pod", only)] {
        line(&mut text, &format!("restart of one pod, {name}"), &one_pod(), &view, &gate());
    }
    stages(&mut text);
    text
}

fn verdict(request: &Request, view: &View, gate: &GateState) -> (Answer, Vec<ReasonCode>) {
    let decision = decide(request, &orca(), Some(&wide()), Some(view), gate, NOW);
    (decision.answer, decision.codes())
}

// === What holds whatever lattice.txt says

#[test]
fn a_machine_drains_only_what_is_seen_to_be_well() {
    for (name, view) in node_states() {
        let expected = matches!(name, "well" | "nobody on it" | "another service burns slowly");
        let (answer, codes) = verdict(&request(ActionKind::Drain), &view, &gate());
        assert_eq!(answer == Answer::Allow, expected, "{name}: {codes:?}");
    }
}

#[test]
fn one_node_of_a_pool_at_a_time_and_so_many_a_day() {
    let drain = request(ActionKind::Drain);
    for (name, gate) in goings_on() {
        let allowed = matches!(
            name,
            "nothing"
                | "one other node today"
                | "this node was cordoned a moment ago"
                | "this node and another one today"
                | "two other nodes, one of them yesterday"
        );
        let (answer, codes) = verdict(&drain, &well(), &gate);
        assert_eq!(answer == Answer::Allow, allowed, "{name}: {codes:?}");
        // What is written down beside the decision decides the same.
        let slice = gate.slice(&drain, Some(&wide()), &orca().sub, NOW);
        assert_eq!(verdict(&drain, &well(), &slice).0, answer, "{name}");
    }
}

/// The policy of another service allows the same pool: the pool is one all the same.
#[test]
fn a_pool_is_one_whichever_service_drains_it() {
    let mut gate = gate();
    let mut search = wide();
    search.service = "search".into();
    let drain = |service: &str, node: &str| Request {
        service: service.into(),
        resource: format!("node/{node}"),
        ..request(ActionKind::Drain)
    };
    let mut view = well();
    view.service = "search".into();
    let first = ask(&mut gate, 1, &drain("search", "k8s-gpu-17"), &orca(), &search, &view);
    assert_eq!(first.answer, Answer::Allow, "{:?}", first.codes());
    let mut second = with_node(vec![tenant(SERVICE, Some(9), SloState::Ok)]);
    second.observed.nodes[0].name = "k8s-gpu-18".into();
    let (answer, codes) = verdict(&drain(SERVICE, "k8s-gpu-18"), &second, &gate);
    assert_eq!((answer, codes.contains(&ReasonCode::ChangeInFlight)), (Answer::Deny, true), "{codes:?}");
}

#[test]
fn nodes_out_of_the_pool_and_actions_of_nobody_are_denied() {
    let elsewhere = Request { resource: "node/k8s-cpu-1".into(), ..request(ActionKind::Drain) };
    assert!(verdict(&elsewhere, &well(), &gate()).1.contains(&ReasonCode::ForeignResource));
    let (answer, codes) = verdict(&custom_request("wipe-cache"), &calm(), &gate());
    assert_eq!((answer, codes.contains(&ReasonCode::ActionNotAllowed)), (Answer::Deny, true));
    // Arguments are part of the act: a permit for 5 % is none for 20 %.
    let mut more = custom_request("flush-cache");
    more.arguments.insert("percent".into(), Argument::Number(20));
    assert_ne!(more.digest(), custom_request("flush-cache").digest());
}

#[test]
fn a_pod_is_restarted_where_its_service_has_it() {
    let mut burns = burning();
    burns.resources = Some(vec![RESOURCE.into()]);
    assert_eq!(verdict(&one_pod(), &burns, &gate()).0, Answer::Allow, "{:?}", verdict(&one_pod(), &burns, &gate()).1);
    let foreign = Request { resource: "pod/payments-5d8f7c9b4-x2x9k".into(), ..one_pod() };
    assert!(verdict(&foreign, &burns, &gate()).1.contains(&ReasonCode::ForeignResource));
    let scaled = Request { resource: one_pod().resource, ..scale(12) };
    assert!(verdict(&scaled, &burns, &gate()).1.contains(&ReasonCode::ForeignResource));
    assert_eq!(ActionKind::Restart.class(), ActionClass::Mitigate);
}
