//! Reviews as API servers send them: every kind and operation that is held, everybody who may send one, and what is no review.

use axum::http::Method;
use serde_json::{Value, json};

use super::act::{self, IntendedAct};
use super::*;
use crate::web::gate::tests::{ADA, Gate, ORCA, gate, rollback};

const API: &str = "apiserver-token";
const ROBOT: &str = "system:serviceaccount:ops:orca";

fn deployment(version: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "checkout", "namespace": "shop", "labels": null, "managedFields": [{"x": 1}]},
        "spec": {"replicas": replicas, "template": {"metadata": {}, "spec": {"containers": [{"image": format!("registry:5000/checkout:{version}")}]}}},
    })
}

fn review(user: &str, resource: (&str, &str, Option<&str>), operation: &str, before: Value, after: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": resource.0, "version": "v1", "resource": resource.1}, "subResource": resource.2,
            "requestKind": null, "name": "checkout", "namespace": "shop", "operation": operation,
            "userInfo": {"username": user, "groups": ["system:authenticated"], "extra": {"a": ["b"]}},
            "object": after, "oldObject": before, "dryRun": false, "options": null, "newInAFutureRelease": {"x": []},
        },
    })
}

const DEPLOYMENTS: (&str, &str, Option<&str>) = ("apps", "deployments", None);

/// The rollback of the fixture as it reaches the API server.
fn back(user: &str) -> Value {
    review(user, DEPLOYMENTS, "UPDATE", deployment("v42", 3), deployment("v41", 3))
}

async fn admit(gate: &Gate, review: &Value) -> Value {
    let (status, answer) = gate.post(API, "/admission", review).await;
    assert_eq!((status, &answer["response"]["uid"]), (StatusCode::OK, &json!("u-1")), "{answer:#}");
    answer["response"].clone()
}

async fn permit(gate: &Gate) -> String {
    let change =
        json!({"service": "checkout", "resource": "deployment/checkout", "from_version": "v41", "version": "v42"});
    assert_eq!(gate.post(ADA, "/v1/changes", &change).await.0, StatusCode::OK);
    let asked = gate.post(ORCA, "/v1/decisions", &rollback()).await.1;
    let path = format!("/v1/approvals/{}", asked["approval"]["id"].as_str().expect("a question"));
    let card = gate.get(&path).await.1;
    let yes = json!({"verdict": "approve", "action_digest": card["action"]["digest"]});
    assert_eq!(gate.post(ADA, &path, &yes).await.0, StatusCode::OK);
    let allowed = gate.post(ORCA, "/v1/decisions", &rollback()).await.1;
    allowed["permit"]["id"].as_str().expect("it was approved").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_needs_a_permit_and_it_is_used_here_once() {
    let gate = gate();
    let refused = admit(&gate, &back(ROBOT)).await;
    assert_eq!((&refused["allowed"], &refused["status"]["code"]), (&json!(false), &json!(403)), "{refused:#}");
    let message = refused["status"]["message"].as_str().expect("text");
    assert!(message.contains("no live permit for deploy or rollback of deployment/checkout"), "{message}");
    let id = permit(&gate).await;
    let state = || async { gate.get(&format!("/v1/permits/{id}")).await.1["state"].clone() };
    // Another version than the permit is for.
    let other = review(ROBOT, DEPLOYMENTS, "UPDATE", deployment("v42", 3), deployment("v40", 3));
    let refused = admit(&gate, &other).await;
    assert!(refused["status"]["message"].as_str().is_some_and(|text| text.contains("digest_differs")), "{refused:#}");
    let both = review(ROBOT, DEPLOYMENTS, "UPDATE", deployment("v42", 3), deployment("v41", 4));
    assert_eq!(admit(&gate, &both).await["allowed"], false, "two acts in one");
    let mut dry = back(ROBOT);
    dry["request"]["dryRun"] = true.into();
    let tried = admit(&gate, &dry).await;
    assert!(tried["allowed"] == true && tried["warnings"][0].is_string(), "{tried:#}");
    assert_eq!(state().await, "live", "a dry run spends nothing");
    let admitted = admit(&gate, &back(ROBOT)).await;
    assert_eq!(admitted["allowed"], true, "{admitted:#}");
    let notes = &admitted["auditAnnotations"];
    assert!(notes["leaf"].as_str().is_some_and(|leaf| leaf.starts_with("sha256:")), "{notes:#}");
    assert_eq!((&notes["permit"], state().await), (&json!(id), json!("redeemed")));
    assert_eq!(admit(&gate, &back(ROBOT)).await["allowed"], false);
    let record = gate.get(&format!("/v1/audit/{}", notes["seq"].as_str().expect("a number"))).await.1["record"].clone();
    assert_eq!((&record["actor"], &record["principal"]["via"]), (&json!("ai-operator/orca-ops"), &json!("admission")));
}

/// What has the same name in another namespace is another thing, and what another container is called is not what is deployed.
#[tokio::test(flavor = "multi_thread")]
async fn a_permit_is_used_for_nothing_that_only_looks_like_it() {
    let gate = gate();
    let id = permit(&gate).await;
    let mut elsewhere = back(ROBOT);
    elsewhere["request"]["namespace"] = "staging".into();
    let mut named = elsewhere.clone();
    named["request"]["object"]["metadata"]["annotations"] = json!({"slowburn.io/permit": id});
    let mut nameless = elsewhere.clone();
    nameless["request"]["namespace"] = Value::Null;
    nameless["request"]["name"] = "checkout-canary".into();
    // Two containers: the permitted version stood there before, and another one is what comes.
    let mut sidecar = back(ROBOT);
    for (side, images) in [("oldObject", ["app:v42", "proxy:v41"]), ("object", ["app:v99", "proxy:v41"])] {
        sidecar["request"][side]["spec"]["template"]["spec"]["containers"] =
            images.map(|image| json!({"image": image})).to_vec().into();
    }
    for (what, review) in [("elsewhere", elsewhere), ("named", named), ("another name", nameless), ("sidecar", sidecar)]
    {
        let refused = admit(&gate, &review).await;
        assert_eq!(refused["allowed"], false, "{what}: {refused:#}");
        let state = gate.get(&format!("/v1/permits/{id}")).await.1["state"].clone();
        assert_eq!(state, "live", "{what}: nothing was spent");
    }
    // Labels that say the permitted version, of the object and of its pods, and an image of another one.
    let labels = json!({"app.kubernetes.io/version": "v41"});
    let mut labelled = review(ROBOT, DEPLOYMENTS, "UPDATE", deployment("v42", 3), deployment("v99", 3));
    labelled["request"]["object"]["metadata"]["labels"] = labels.clone();
    labelled["request"]["object"]["spec"]["template"]["metadata"]["labels"] = labels;
    let refused = admit(&gate, &labelled).await;
    assert!(refused["status"]["message"].as_str().is_some_and(|text| text.contains("digest_differs")), "{refused:#}");
    assert_eq!(admit(&gate, &back(ROBOT)).await["allowed"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_reviews_at_once_one_is_admitted() {
    let gate = gate();
    permit(&gate).await;
    let reviews = (0..100).map(|_| async { admit(&gate, &back(ROBOT)).await["allowed"] == true });
    let admitted = futures_util::future::join_all(reviews).await;
    assert_eq!(admitted.iter().filter(|one| **one).count(), 1);
}

/// An API server tells what everybody in its cluster does: many are many, and one who changes too much is held alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_cluster_is_not_one_caller_who_asks_too_often() {
    let gate = gate();
    for n in 0..400 {
        let user = ["alice@example.com", "system:node:n1", "system:serviceaccount:kube-system:x"][n % 3];
        assert_eq!(admit(&gate, &back(user)).await["allowed"], true, "{n}");
    }
    let mut refused = Value::Null;
    for _ in 0..400 {
        refused = admit(&gate, &back(ROBOT)).await;
    }
    assert_eq!(
        (&refused["status"]["code"], &refused["auditAnnotations"]["reasons"]),
        (&json!(429), &json!("too_fast"))
    );
    for _ in 0..400 {
        assert_eq!(admit(&gate, &back("ada@example.com")).await["allowed"], true, "people pass");
    }
    let other = admit(&gate, &back("system:serviceaccount:ci:deployer")).await;
    assert!(other["status"]["message"].as_str().is_some_and(|text| text.contains("no live permit")), "{other:#}");
    // Whoever does not speak for an API server is held to the pace of one.
    let body = back(ROBOT).to_string();
    let mut statuses = Vec::new();
    for _ in 0..150 {
        statuses.push(gate.send("127.0.0.1:40000", "other", Method::POST, "/admission", &body).await.0);
    }
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_pass_with_warnings_and_the_system_passes() {
    let gate = gate();
    let person = admit(&gate, &back("alice@example.com")).await;
    assert_eq!((&person["allowed"], &person["auditAnnotations"]["by"]), (&json!(true), &json!("person")));
    let deploy = review("ada@example.com", DEPLOYMENTS, "UPDATE", deployment("v42", 3), deployment("v43", 3));
    let ada = admit(&gate, &deploy).await;
    assert_eq!(ada["allowed"], true);
    let warnings = ada["warnings"].as_array().expect("warnings");
    assert!(warnings.iter().any(|text| text.as_str().is_some_and(|text| text.contains("fast_burn"))), "{ada:#}");
    assert!(warnings.iter().all(|text| text.as_str().is_some_and(|text| text.chars().count() <= 120)), "{ada:#}");
    for user in
        ["system:serviceaccount:kube-system:deployment-controller", "system:node:n1", "system:kube-controller-manager"]
    {
        assert_eq!(admit(&gate, &back(user)).await["allowed"], true, "{user}");
    }
    for user in ["system:serviceaccount:ops:unknown", "system:serviceaccount:kube-systemx:a", ""] {
        let refused = admit(&gate, &back(user)).await;
        assert_eq!(refused["auditAnnotations"]["reasons"], "unknown_actor", "{user}: {refused:#}");
    }
    // A collection that is deleted is said without a name: any workload there may be meant.
    let mut all = review("system:serviceaccount:ops:unknown", DEPLOYMENTS, "DELETE", Value::Null, Value::Null);
    all["request"]["name"] = "".into();
    assert_eq!(admit(&gate, &all).await["auditAnnotations"]["reasons"], "unknown_actor");
    all["request"]["namespace"] = "other".into();
    assert_eq!(admit(&gate, &all).await["allowed"], true, "there is none of a service");
    let mut elsewhere = back("system:serviceaccount:ops:unknown");
    elsewhere["request"]["namespace"] = "other".into();
    assert_eq!(admit(&gate, &elsewhere).await["allowed"], true, "what is of no service passes");
    // Without a disk machines wait, and people do not.
    permit(&gate).await;
    gate.log.close();
    let refused = admit(&gate, &back(ROBOT)).await;
    assert_eq!((&refused["allowed"], &refused["status"]["code"]), (&json!(false), &json!(503)), "{refused:#}");
    assert_eq!(admit(&gate, &back("ada@example.com")).await["allowed"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_that_the_object_names_is_of_whom_the_controller_acts_for() {
    let gate = gate();
    let id = permit(&gate).await;
    let named = |user: &str, permit: &str| {
        let mut review = back(user);
        review["request"]["object"]["metadata"]["annotations"] = json!({"slowburn.io/permit": permit});
        review
    };
    let argo = "system:serviceaccount:argocd:controller";
    assert_eq!(admit(&gate, &named("system:serviceaccount:ci:deployer", &id)).await["allowed"], false, "not its own");
    assert_eq!(admit(&gate, &named(argo, "prm_nothing")).await["allowed"], false);
    let mut old = named(argo, &id);
    old["request"]["oldObject"]["metadata"]["annotations"] = json!({"slowburn.io/permit": id});
    assert_eq!(admit(&gate, &old).await["allowed"], false, "that one is of an earlier change");
    let admitted = admit(&gate, &named(argo, &id)).await;
    assert_eq!(admitted["allowed"], true, "{admitted:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_api_server_sends_reviews_and_only_reviews_are_read() {
    let gate = gate();
    let body = back(ROBOT).to_string();
    let send = |token: &'static str, path: &'static str, body: String| {
        let gate = &gate;
        async move { gate.send("127.0.0.1:40000", token, Method::POST, path, &body).await.0 }
    };
    assert_eq!(send("", "/admission", body.clone()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(send("nobody", "/admission", body.clone()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(send(ORCA, "/admission", body.clone()).await, StatusCode::FORBIDDEN);
    assert_eq!(send(ADA, "/admission/changes", body.clone()).await, StatusCode::FORBIDDEN);
    assert_eq!(send("", "/admission/changes/nobody", body.clone()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(send("", "/admission/changes/apiserver-token", body.clone()).await, StatusCode::OK);
    assert_eq!(send(API, "/admission/nothing", body.clone()).await, StatusCode::NOT_FOUND);
    let with = |pointer: &str, value: Value| {
        let mut review = back(ROBOT);
        *review.pointer_mut(pointer).expect("it is there") = value;
        review.to_string()
    };
    for wrong in [
        String::new(),
        "{".into(),
        "[]".into(),
        "null".into(),
        "{}".into(),
        "\u{0}".repeat(100),
        "[".repeat(20_000),
        with("/apiVersion", json!("admission.k8s.io/v1beta1")),
        with("/request", json!(null)),
        with("/request/uid", json!("")),
        with("/request/operation", json!(7)),
        with("/request/operation", json!("PATCH")),
        with("/request/operation", json!("update")),
        with("/request/userInfo", json!([])),
        with("/request/object", json!("x")),
        with("/request/object", json!([])),
        with("/request/oldObject/metadata", json!([])),
    ] {
        assert_eq!(
            send(API, "/admission", wrong.clone()).await,
            StatusCode::BAD_REQUEST,
            "{}",
            &wrong[..wrong.len().min(300)]
        );
    }
    // Objects as large as they come, and larger.
    let mut large = back(ROBOT);
    large["request"]["object"]["metadata"]["managedFields"] = "x".repeat(3 << 20).into();
    large["request"]["oldObject"]["spec"]["template"]["spec"]["volumes"] = "y".repeat(3 << 20).into();
    assert_eq!(send(API, "/admission", large.to_string()).await, StatusCode::OK);
    large["request"]["object"]["metadata"]["managedFields"] = "x".repeat(6 << 20).into();
    assert_eq!(send(API, "/admission", large.to_string()).await, StatusCode::PAYLOAD_TOO_LARGE);
    // Elsewhere bodies stay small.
    assert_ne!(send(ORCA, "/v1/decisions", "x".repeat(3 << 20)).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_workload_is_one_of_a_service() {
    let gate = gate();
    let new = |user: &str, name: &str, operation: &str| {
        let mut review = review(user, DEPLOYMENTS, operation, Value::Null, deployment("v1", 1));
        review["request"]["name"] = name.into();
        review
    };
    let ask = |review: Value| {
        let gate = &gate;
        async move { gate.post(API, "/admission/workloads", &review).await.1["response"].clone() }
    };
    let refused = ask(new("alice@example.com", "stranger", "CREATE")).await;
    let message = refused["status"]["message"].as_str().expect("text");
    assert!(message.contains("no SLO, no owner, no deploy"), "{message}");
    assert_eq!(ask(new("alice@example.com", "checkout", "CREATE")).await["allowed"], true);
    assert_eq!(ask(new("system:kube-controller-manager", "stranger", "CREATE")).await["allowed"], true);
    assert_eq!(ask(back("alice@example.com")).await["allowed"], true, "it is not new");
}

/// `(group, resource, subresource, operation, before, after)` and what it is: kinds, resources, versions, replicas.
#[test]
fn each_kind_and_operation_is_the_act_that_it_is() {
    let act = |resource, operation: &str, before: Value, after: Value| {
        let review = review("x", resource, operation, before, after);
        let review = review::read(review.to_string().as_bytes()).expect("a review");
        match act::what(&review) {
            IntendedAct::Nothing => "nothing".to_owned(),
            IntendedAct::Unfit { resource, .. } => format!("unfit {resource}"),
            IntendedAct::Act(act) => {
                let kinds: Vec<&str> = act.kinds.iter().map(|kind| kind.as_str()).collect();
                let replicas = act.replicas.map(|replicas| format!(" to {replicas}")).unwrap_or_default();
                format!("{} {} [{}]{replicas}", kinds.join("|"), act.resources.join("|"), act.versions.join(" "))
            }
        }
    };
    let (is, none) = (deployment("v42", 3), Value::Null);
    let restarted = |at: &str| {
        let mut object = is.clone();
        object["spec"]["template"]["metadata"] = json!({"annotations": {"kubectl.kubernetes.io/restartedAt": at}});
        object
    };
    let mut configured = is.clone();
    configured["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "b"}]);
    let beside = |app: &str, proxy: &str| {
        let mut object = is.clone();
        let images = [format!("registry:5000/checkout:{app}"), format!("proxy:{proxy}")];
        object["spec"]["template"]["spec"]["containers"] = images.map(|image| json!({"image": image})).to_vec().into();
        object
    };
    let mut labelled = is.clone();
    labelled["metadata"]["labels"] = json!({"app.kubernetes.io/version": "v41"});
    let mut touched = is.clone();
    touched["metadata"]["annotations"] = json!({"a": "b"});
    touched["status"] = json!({"replicas": 1});
    let imaged = |image: &str| {
        let mut object = is.clone();
        object["spec"]["template"]["spec"]["containers"] = json!([{"image": image}]);
        object
    };
    let called = |label: &str, image: &str| {
        let mut object = imaged(image);
        object["metadata"]["labels"] = json!({"app.kubernetes.io/version": label});
        object
    };
    let pinned = format!("checkout@sha256:{}", "0".repeat(64));
    let scale = |replicas: Value| json!({"metadata": {"name": "checkout"}, "spec": {"replicas": replicas}});
    let hpa = |min: u32, max: u32, target: &str| json!({"metadata": {"name": "h"}, "spec": {"minReplicas": min, "maxReplicas": max, "scaleTargetRef": {"kind": "Deployment", "name": target}}});
    let node = |cordoned: Value| json!({"metadata": {"name": "checkout"}, "spec": {"unschedulable": cordoned}});
    let tainted = |taints: Value| json!({"metadata": {"name": "checkout"}, "spec": {"taints": taints}});
    let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
    let (old, keeps) = (taint("nvidia.com/gpu", "NoSchedule"), taint("broken", "NoSchedule"));
    let (drives, prefers) = (taint("broken", "NoExecute"), taint("broken", "PreferNoSchedule"));
    let mut later = old.clone();
    later["timeAdded"] = "2026-03-02T09:30:00Z".into();
    // The images of two containers, of the same versions, and one of them from elsewhere.
    let mut swapped = beside("v42", "v41");
    swapped["spec"]["template"]["spec"]["containers"][0]["image"] = "evil.example/checkout:v42".into();
    let pod = |image: &str| json!({"metadata": {"name": "checkout"}, "spec": {"containers": [{"image": image}]}});
    let eviction = |pod: &str| {
        let mut review = review("x", ("", "pods", Some("eviction")), "CREATE", Value::Null, json!({"metadata": {}}));
        review["request"]["name"] = pod.into();
        let review = review::read(review.to_string().as_bytes()).expect("a review");
        match act::what(&review) {
            IntendedAct::Act(act) => act.resources.join(" "),
            other => format!("{other:?}"),
        }
    };
    let sets = ("apps", "statefulsets", None);
    let rollouts = ("argoproj.io", "rollouts", None);
    let hpas = ("autoscaling", "horizontalpodautoscalers", None);
    for (resource, operation, before, after, expected) in [
        (DEPLOYMENTS, "UPDATE", is.clone(), deployment("v41", 3), "deploy|rollback deployment/checkout [v41]"),
        (sets, "UPDATE", is.clone(), deployment("v41", 3), "deploy|rollback statefulset/checkout [v41]"),
        (rollouts, "UPDATE", is.clone(), deployment("v41", 3), "deploy|rollback rollout/checkout [v41]"),
        (DEPLOYMENTS, "UPDATE", is.clone(), labelled, "deploy|rollback deployment/checkout [v41]"),
        (DEPLOYMENTS, "UPDATE", is.clone(), called("v41", "checkout:v99"), "deploy|rollback deployment/checkout [v99]"),
        (
            DEPLOYMENTS,
            "UPDATE",
            is.clone(),
            called("41", "checkout:v41"),
            "deploy|rollback deployment/checkout [41 v41]",
        ),
        (DEPLOYMENTS, "CREATE", none.clone(), called("v41", "checkout:v99"), "deploy deployment/checkout [v99]"),
        (
            DEPLOYMENTS,
            "UPDATE",
            is.clone(),
            called("v41", &pinned),
            &format!("deploy|rollback deployment/checkout [v41 {}]", &pinned[9..]),
        ),
        (
            ("apps", "deployments", Some("")),
            "UPDATE",
            is.clone(),
            deployment("v41", 3),
            "deploy|rollback deployment/checkout [v41]",
        ),
        (
            DEPLOYMENTS,
            "UPDATE",
            beside("v42", "v41"),
            beside("v99", "v41"),
            "deploy|rollback deployment/checkout [v99]",
        ),
        (
            DEPLOYMENTS,
            "UPDATE",
            beside("v42", "v41"),
            beside("v41", "v41"),
            "deploy|rollback deployment/checkout [v41]",
        ),
        (DEPLOYMENTS, "UPDATE", beside("v42", "v41"), is.clone(), "config deployment/checkout []"),
        (DEPLOYMENTS, "UPDATE", is.clone(), deployment("v42", 5), "scale deployment/checkout [] to 5"),
        (DEPLOYMENTS, "UPDATE", is.clone(), deployment("v41", 5), "unfit deployment/checkout"),
        (DEPLOYMENTS, "UPDATE", restarted("a"), restarted("b"), "restart deployment/checkout []"),
        (DEPLOYMENTS, "UPDATE", is.clone(), restarted("b"), "restart deployment/checkout []"),
        (DEPLOYMENTS, "UPDATE", is.clone(), configured, "config deployment/checkout []"),
        (DEPLOYMENTS, "UPDATE", is.clone(), touched, "nothing"),
        (DEPLOYMENTS, "UPDATE", none.clone(), is.clone(), "unfit deployment/checkout"),
        (DEPLOYMENTS, "CREATE", none.clone(), is.clone(), "deploy deployment/checkout [v42]"),
        (DEPLOYMENTS, "DELETE", is.clone(), none.clone(), "unfit deployment/checkout"),
        (DEPLOYMENTS, "CONNECT", none.clone(), none.clone(), "nothing"),
        (("apps", "deployments", Some("status")), "UPDATE", is.clone(), deployment("v41", 9), "nothing"),
        (
            ("apps", "deployments", Some("scale")),
            "UPDATE",
            scale(json!(3)),
            scale(json!(9)),
            "scale deployment/checkout [] to 9",
        ),
        (
            ("apps", "statefulsets", Some("scale")),
            "UPDATE",
            scale(json!(3)),
            scale(json!(null)),
            "scale statefulset/checkout [] to 0",
        ),
        (("argoproj.io", "rollouts", Some("scale")), "UPDATE", scale(json!(3)), scale(json!(3)), "nothing"),
        (
            ("apps", "deployments", Some("scale")),
            "UPDATE",
            scale(json!(3)),
            scale(json!("9")),
            "unfit deployment/checkout",
        ),
        (hpas, "UPDATE", hpa(2, 9, "checkout"), hpa(4, 9, "checkout"), "scale deployment/checkout [] to 4"),
        (hpas, "UPDATE", hpa(2, 9, "checkout"), hpa(2, 3, "checkout"), "scale deployment/checkout [] to 3"),
        (hpas, "UPDATE", hpa(2, 9, "checkout"), hpa(1, 3, "checkout"), "config deployment/checkout []"),
        (hpas, "UPDATE", hpa(2, 9, "checkout"), hpa(2, 9, "other"), "unfit deployment/checkout"),
        (hpas, "UPDATE", hpa(2, 9, "checkout"), hpa(1, 9, "other"), "unfit deployment/checkout"),
        (hpas, "UPDATE", hpa(2, 9, "checkout"), hpa(2, 9, "checkout"), "nothing"),
        (hpas, "DELETE", hpa(2, 9, "checkout"), none.clone(), "config deployment/checkout []"),
        (("", "nodes", None), "UPDATE", node(json!(false)), node(json!(true)), "cordon|drain node/checkout []"),
        (("", "nodes", None), "UPDATE", node(json!(true)), node(json!(null)), "nothing"),
        (
            ("", "nodes", None),
            "UPDATE",
            tainted(json!([old])),
            tainted(json!([old, keeps])),
            "cordon|drain node/checkout []",
        ),
        (("", "nodes", None), "UPDATE", tainted(json!([old])), tainted(json!([drives])), "drain node/checkout []"),
        (("", "nodes", None), "UPDATE", tainted(json!([old, drives])), tainted(json!([drives])), "nothing"),
        (("", "nodes", None), "UPDATE", tainted(json!([old])), tainted(json!([later])), "nothing"),
        (("", "nodes", None), "UPDATE", tainted(json!(null)), tainted(json!([prefers])), "nothing"),
        (("", "nodes", None), "DELETE", node(json!(false)), none.clone(), "unfit node/checkout"),
        (
            DEPLOYMENTS,
            "UPDATE",
            is.clone(),
            imaged("evil.example/checkout:v42"),
            "deploy|rollback deployment/checkout [v42]",
        ),
        (DEPLOYMENTS, "UPDATE", is.clone(), imaged("registry:5000/checkout"), "unfit deployment/checkout"),
        (sets, "UPDATE", is.clone(), imaged("evil.example/x"), "unfit statefulset/checkout"),
        (DEPLOYMENTS, "UPDATE", beside("v42", "v41"), swapped, "deploy|rollback deployment/checkout [v42]"),
        (("", "pods", None), "UPDATE", pod("a:v42"), pod("a:v99"), "unfit pod/checkout"),
        (("", "pods", None), "UPDATE", pod("a:v42"), pod("a:v42"), "nothing"),
        (("", "pods", None), "DELETE", pod("a:v42"), none.clone(), "restart pod/checkout []"),
        (("", "pods", None), "CREATE", none.clone(), pod("a:v42"), "nothing"),
        (("", "pods", Some("ephemeralcontainers")), "UPDATE", pod("a:v42"), pod("a:v42"), "nothing"),
        (("", "configmaps", None), "UPDATE", none.clone(), none.clone(), "nothing"),
    ] {
        assert_eq!(act(resource, operation, before, after), expected, "{resource:?} {operation}");
    }
    assert_eq!(eviction("checkout-7d9f8b-x2x4z"), "pod/checkout-7d9f8b-x2x4z deployment/checkout rollout/checkout");
    assert_eq!(eviction("store-db-0"), "pod/store-db-0 statefulset/store-db deployment/store rollout/store");
    assert_eq!(eviction("alone"), "pod/alone");
}
