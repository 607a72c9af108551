//! The manifests of `deploy/kubernetes`: what they render to, and that it fits the daemon they run. No cluster is needed.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::parts::part;
use crate::newcomer::{ends_with, project};

/// What a folder of manifests renders to.
pub fn kustomized(folder: &str) -> (String, Vec<Value>) {
    let output = Command::new(part("kubectl"))
        .args(["kustomize", &format!("deploy/kubernetes/{folder}")])
        .current_dir(project(""))
        .output()
        .expect("kubectl starts");
    assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let objects = text.split("\n---\n").map(|object| {
        serde_saphyr::from_str::<Value>(object).unwrap_or_else(|error| panic!("{folder}: {error}\n{object}"))
    });
    let objects = objects.collect();
    (text, objects)
}

#[test]
fn the_manifests_render_and_call_the_daemon_as_it_wants_to_be_called() {
    for overlay in ["base", "sidecar/service", "sidecar/agent", "sidecar/prometheus", "standalone", "lease"] {
        let (text, objects) = kustomized(overlay);
        assert!(text.contains("kind: ConfigMap"), "{overlay}:\n{text}");
        let mut calls = Vec::new();
        objects.iter().for_each(|object| calls_of(object, &mut calls));
        assert_eq!(calls.len(), usize::from(overlay != "base"), "{overlay}: {calls:?}");
        // What follows a daemon has no rules, and is asked on loopback, where no kubelet asks.
        let follows = ["sidecar/service", "sidecar/agent"].contains(&overlay);
        // Rules that change are read again where they are: their ConfigMap keeps its name, and nothing is rolled.
        assert_eq!(text.contains("\n  name: slowburn-rules\n"), !follows, "{overlay}:\n{text}");
        // The fleet's pods are sent to when they are ready; an application takes traffic without what is beside it.
        let probes = |path: &str| text.matches(&format!("path: {path}\n")).count();
        let ready = usize::from(["standalone", "lease"].contains(&overlay));
        let alive = if follows { 0 } else { calls.len() };
        assert_eq!((probes("/healthz"), probes("/readyz")), (alive, ready), "{overlay}:\n{text}");
        for call in calls {
            assert!(follows || call.iter().any(|arg| arg == "--watch"), "{overlay}: {call:?}");
            let mut args: Vec<&str> = call.iter().map(String::as_str).collect();
            args.push("--help");
            ends_with(&args, 0, "Usage: slowburn run");
        }
    }
}

/// What an election asks for at the API server, and nothing else; `lease` counts what a real daemon asks for.
#[test]
fn the_lease_comes_with_the_rights_to_it_and_to_nothing_else() {
    let (text, objects) = kustomized("lease");
    let of = |kind: &str| objects.iter().filter(|one| one["kind"] == kind).collect::<Vec<_>>();
    let [role] = of("Role")[..] else { panic!("{text}") };
    let mut verbs: Vec<&str> = Vec::new();
    for rule in role["rules"].as_array().expect("rules") {
        assert_eq!((&rule["apiGroups"][0], &rule["resources"][0]), (&json!("coordination.k8s.io"), &json!("leases")));
        let own = rule["verbs"].as_array().expect("verbs").iter().filter_map(Value::as_str);
        let named = rule["resourceNames"] == json!(["slowburn"]);
        own.for_each(|verb| {
            assert!(named || verb == "create", "{verb} of every Lease");
            verbs.push(verb);
        });
    }
    verbs.sort_unstable();
    assert_eq!(verbs, ["create", "get", "update"]);
    assert!(of("ClusterRole").is_empty() && of("ClusterRoleBinding").is_empty());
    let pod = &of("StatefulSet")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], of("ServiceAccount")[0]["metadata"]["name"]);
    assert_eq!(pod["automountServiceAccountToken"], true);
    // The settings are taken as they are.
    let settings = of("ConfigMap").into_iter().find_map(|one| one["data"]["slowburn.yaml"].as_str()).expect("settings");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("slowburn.yaml"), settings).expect("written");
    let loaded = slowburn::config::load(&folder.path().join("slowburn.yaml"));
    assert!(!loaded.is_fatal(), "{}", loaded.render(false));
    let lease = loaded.settings.audit.lease.expect("it is set");
    assert_eq!((lease.name.as_str(), lease.duration), ("slowburn", std::time::Duration::from_secs(15)));
}

/// Machines are stopped when Slowburn is away, people are not, and both are told apart by one list.
#[test]
fn the_webhooks_hold_by_audience_and_read_what_is_served() {
    let (_, objects) = kustomized("admission");
    let webhooks = objects[0]["webhooks"].as_array().expect("a list");
    let policies: Vec<&str> = webhooks.iter().filter_map(|one| one["failurePolicy"].as_str()).collect();
    assert_eq!(policies, ["Fail", "Ignore", "Ignore"]);
    let condition = |n: usize| webhooks[n]["matchConditions"][0]["expression"].as_str().expect("CEL").trim().to_owned();
    assert_eq!(format!("!({})", condition(0)), condition(1), "one list, once in and once out");
    let served = std::fs::read_to_string(project("src/web/openapi.json")).expect("there");
    for webhook in webhooks {
        assert!(webhook["objectSelector"].is_null() && webhook["sideEffects"].is_string(), "{webhook}");
        assert!(webhook["timeoutSeconds"].as_u64().is_some_and(|seconds| seconds <= 3), "{webhook}");
        let path = webhook["clientConfig"]["service"]["path"].as_str().expect("a path");
        let (folder, check) = path.rsplit_once('/').expect("two parts");
        assert!(
            served.contains(&format!("\"{folder}/{{check}}\"")) && ["changes", "workloads"].contains(&check),
            "{path}"
        );
    }
}

/// The arguments of every container that runs Slowburn's image.
pub fn calls_of(value: &Value, calls: &mut Vec<Vec<String>>) {
    if value["image"].as_str().is_some_and(|image| image.starts_with("slowburn:")) {
        calls.push(serde_json::from_value(value["args"].clone()).expect("a list of arguments"));
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| calls_of(item, calls)),
        Value::Object(fields) => fields.values().for_each(|field| calls_of(field, calls)),
        _ => {}
    }
}
