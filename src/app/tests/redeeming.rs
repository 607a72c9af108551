//! What a permit is for is looked at again when it is redeemed, and not only at each poll: a node with all that runs on it,
//! and the workload that a pod is one of.

use super::*;
use crate::gate::ActionClass;
use crate::gate::policy::NodeLimits;
use crate::gate_service::{Looking, Observe};
use crate::prometheus::nodes::{NodeSeen, TenantSeen};
use crate::prometheus::workloads::Seen;

const NODE: &str = "k8s-gpu-17";
const WORKLOAD: &str = "deployment/llm-gateway";

/// What is found of one thing; `Err`: nobody answers.
type Look<T> = Result<Option<T>, ()>;

/// What runs now, in the place of a Prometheus: the node and the workload.
#[derive(Clone)]
struct Now(Look<NodeSeen>, Look<Seen>);

impl Observe for Now {
    fn look<'a>(&'a self, service: &'a str, resource: &'a str, _at_s: i64) -> Looking<'a, Seen> {
        assert_eq!((service, resource), (SERVICE, WORKLOAD));
        let seen = self.1.clone();
        Box::pin(async move { seen })
    }

    fn look_at_node<'a>(&'a self, name: &'a str, _at_s: i64) -> Looking<'a, NodeSeen> {
        assert_eq!(name, NODE);
        let seen = self.0.clone();
        Box::pin(async move { seen })
    }
}

fn tenant(service: &str, ready_elsewhere: Option<u32>) -> ((String, String), TenantSeen) {
    let tenant = TenantSeen { pods: 1, ready: 1, ready_elsewhere };
    ((service.to_owned(), format!("deployment/{service}")), tenant)
}

fn node<const N: usize>(tenants: [((String, String), TenantSeen); N]) -> NodeSeen {
    NodeSeen { at_s: AT + 15, every_s: 30, tenants: tenants.into(), strangers: BTreeMap::new() }
}

fn well() -> NodeSeen {
    node([tenant(SERVICE, Some(3))])
}

fn pods(replicas: u32, generation: u64) -> Seen {
    let version = Some("v42".to_owned());
    Seen {
        at_s: AT + 15,
        replicas: Some(replicas),
        generation: Some(generation),
        version,
        every_s: 30,
        utilization: None,
    }
}

/// All is well at the poll, and the permit is redeemed when it is like this; what is said of it.
async fn redeemed(resource: &str, now: &Now) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::scaled((AT + 21) * 1000, 1.0);
    let log = open_log(audit::Options::new(folder.path()), clock.clone()).await.0.expect("a log");
    let gate = open_gate(&log, folder.path().to_owned(), &(everybody(), None), &clock, false).await.expect("a gate");
    let nodes = NodeLimits { nodes: vec!["k8s-gpu-*".into()], min_left: 2, max_per_day: 2, ignore_namespaces: vec![] };
    let restart = AllowedAction { class: Some(ActionClass::Risk), ..AllowedAction::new(Action::Restart) };
    let approvers = vec![Approver::Person("@ada".into())];
    let drain = AllowedAction { approvers, ..AllowedAction::new(Action::Drain(nodes)) };
    let policy = Policy { allowed_actions: vec![drain, restart], ..Policy::new(SERVICE) };
    gate.take_rules(
        Rules {
            policies: [(SERVICE.to_owned(), Arc::new(policy))].into(),
            services: [SERVICE, "checkout", "search"].map(str::to_owned).into(),
            workloads: [(SERVICE.to_owned(), [WORKLOAD.to_owned()].into())].into(),
            current: true,
        },
        "start",
    );
    let mut snapshot = fleet();
    // Of the service itself only what is well; the others are as they are: checkout burns.
    snapshot.slos.retain(|entry| entry.slo.service != SERVICE || entry.slo.id == SLO);
    gate.poll(Poll {
        snapshot: &snapshot,
        ledger: &Ledger::new(30),
        seen: [(SERVICE.to_owned(), [(WORKLOAD.to_owned(), pods(3, 7))].into())].into(),
        nodes: [(NODE.to_owned(), well())].into(),
        unread: Default::default(),
        clock_skew_s: Some(0.0),
    });
    gate.observe_with(Arc::new(now.clone()));
    let action = if resource.starts_with("node/") { "drain" } else { "restart" };
    let body = json!({"service": SERVICE, "action": action, "resource": resource, "reason": "XID 79"}).to_string();
    let answer = gate.decide(&robot(), body.as_bytes()).await.expect("an answer");
    let answer = serde_json::to_value(&answer).expect("JSON");
    let permit = answer["permit"]["id"].as_str().unwrap_or_else(|| panic!("{answer:#}"));
    let said = gate.redeem(&robot(), permit, None).await.expect("an answer");
    log.close();
    (said["decision"] == "allow", said.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_looked_at_again_when_its_permit_is_redeemed() {
    let strange = NodeSeen { strangers: [("lab".to_owned(), 1)].into(), ..well() };
    for (what, seen, why) in [
        ("as it was", Ok(Some(well())), None),
        ("nobody answers", Err(()), None),
        ("two are left of one service more", Ok(Some(node([tenant(SERVICE, Some(2))]))), None),
        ("too few are ready elsewhere now", Ok(Some(node([tenant(SERVICE, Some(1))]))), Some("ready elsewhere")),
        ("it is not seen how many", Ok(Some(node([tenant(SERVICE, None)]))), Some("ready elsewhere")),
        (
            "a service that burns has come to run there",
            Ok(Some(node([tenant(SERVICE, Some(3)), tenant("checkout", Some(9))]))),
            Some("checkout runs there too"),
        ),
        (
            "a service has come that nobody knows",
            Ok(Some(node([tenant(SERVICE, Some(3)), tenant("lab", Some(9))]))),
            Some("lab runs there too"),
        ),
        ("a pod of nobody has come", Ok(Some(strange)), Some("1 in lab")),
        ("it is gone", Ok(None), Some("is not observed")),
    ] {
        let now = Now(seen, Err(()));
        let (allowed, said) = redeemed(&format!("node/{NODE}"), &now).await;
        assert_eq!(allowed, why.is_none(), "{what}: {said}");
        assert!(why.is_none_or(|why| said.contains(why)), "{what}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_looked_at_again_as_the_workload_that_it_is_of() {
    for (what, seen, why) in [
        ("as it was", Ok(Some(pods(3, 7))), None),
        ("nobody answers", Err(()), None),
        ("somebody changed it", Ok(Some(pods(3, 8))), Some("generation_changed")),
        ("it is the only one now", Ok(Some(pods(1, 7))), Some("the only pod")),
        ("it is gone", Ok(None), Some("generation_changed")),
    ] {
        let now = Now(Err(()), seen);
        for resource in ["pod/llm-gateway-5d8f7c9b4-x2x9k", WORKLOAD] {
            if resource == WORKLOAD && why == Some("the only pod") {
                continue;
            }
            let (allowed, said) = redeemed(resource, &now).await;
            assert_eq!(allowed, why.is_none(), "{what}, {resource}: {said}");
            assert!(why.is_none_or(|why| said.contains(why)), "{what}, {resource}: {said}");
        }
    }
}
