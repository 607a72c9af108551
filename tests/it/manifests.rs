//! The manifests of `deploy/kubernetes`: what they render to, and that it fits the daemon they run. No cluster is needed.

use std::io::Write as _;
use std::process::{Command, Stdio};

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
    for overlay in ["base", "sidecar/service", "sidecar/agent", "sidecar/prometheus", "standalone", "lease", "rules"] {
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
        let ready = usize::from(["standalone", "lease", "rules"].contains(&overlay));
        let alive = if follows { 0 } else { calls.len() };
        assert_eq!((probes("/healthz"), probes("/readyz")), (alive, ready), "{overlay}:\n{text}");
        // One that was restarted while Prometheus is down is found by its name, although it is not ready.
        if ready == 1 {
            let unready: Vec<&Value> =
                objects.iter().filter(|one| one["spec"]["publishNotReadyAddresses"] == true).collect();
            let [peers] = unready[..] else { panic!("{overlay}: people are sent to what is ready:\n{text}") };
            let named = objects.iter().find(|one| one["kind"] == "StatefulSet").map(|one| &one["spec"]["serviceName"]);
            assert_eq!(Some(&peers["metadata"]["name"]), named, "{overlay}:\n{text}");
        }
        for call in calls {
            let names = call.iter().find_map(|arg| arg.strip_prefix("--advertise=http://$(POD_NAME)."));
            assert!(names.is_none_or(|names| names == "slowburn-peers:9595"), "{overlay}: {call:?}");
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

/// What in these objects the Prometheus operator refuses, or drops without a word, as its own types say.
pub fn unfit_for_the_operator(objects: &[&Value]) -> Vec<String> {
    let packages = project("target/parts/operator");
    assert!(packages.is_dir(), "the operator's types are not there: tests/parts fetches them");
    let mut node = Command::new("node")
        .args([&project("tests/it/harness/operator/fit.mjs"), &packages])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let asked = serde_json::to_vec(objects).expect("JSON");
    node.stdin.take().expect("piped").write_all(&asked).expect("node reads");
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success(), "node failed: {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn the_operator_takes_the_rules_and_scrapes_the_replicas_as_the_job_that_they_ask_for() {
    let (text, objects) = kustomized("monitoring");
    let of = |kind: &str| objects.iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("{text}"));
    let (rules, monitor) = (of("PrometheusRule"), of("ServiceMonitor"));
    assert_eq!(unfit_for_the_operator(&objects.iter().collect::<Vec<_>>()), Vec::<String>::new());
    let page = std::fs::read_to_string(project("docs/runbooks.md")).expect("there");
    let mut alerts = 0;
    for group in rules["spec"]["groups"].as_array().expect("groups") {
        for rule in group["rules"].as_array().expect("rules") {
            let Some(name) = rule["alert"].as_str() else { continue };
            let runbook = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
            assert!(runbook.ends_with(&format!("/runbooks.html#{}", name.to_lowercase())), "{name}: {runbook}");
            assert!(page.contains(&format!("\n## {name}\n")), "docs/runbooks.md says nothing of {name}");
            alerts += 1;
        }
    }
    assert!(alerts >= 13, "{alerts}");
    // The rules are those of the file, to the letter that counts.
    let file = std::fs::read_to_string(project("rules/prometheus/slowburn.yaml")).expect("there");
    assert_eq!(rules["spec"], serde_saphyr::from_str::<Value>(&file).expect("YAML"));
    // One Service is scraped, by a port that it has, and its label makes the job.
    let (_, standalone) = kustomized("standalone");
    let services: Vec<&Value> = standalone.iter().filter(|one| one["kind"] == "Service").collect();
    let selector = &monitor["spec"]["selector"];
    let is_selected = |one: &&&Value| {
        let own = &one["metadata"]["labels"];
        let equal =
            selector["matchLabels"].as_object().expect("labels").iter().all(|(name, value)| own[name] == *value);
        let without = selector["matchExpressions"].as_array().into_iter().flatten();
        equal && without.filter_map(|one| one["key"].as_str()).all(|key| own[key].is_null())
    };
    let selected: Vec<&&Value> = services.iter().filter(is_selected).collect();
    let [service] = selected[..] else { panic!("{services:?}") };
    let port = &monitor["spec"]["endpoints"][0]["port"];
    assert!(service["spec"]["ports"].as_array().expect("ports").iter().any(|one| one["name"] == *port), "{service}");
    let job = monitor["spec"]["jobLabel"].as_str().expect("a label");
    assert_eq!(service["metadata"]["labels"][job], "slowburn");
    assert!(file.contains("job=\"slowburn\""));
}

/// A field that is spelt another way is dropped by the API server without a word, so it is as bad as a wrong one.
#[test]
fn what_the_operator_does_not_take_is_seen() {
    let (_, objects) = kustomized("monitoring");
    let of = |kind: &str| objects.iter().find(|one| one["kind"] == kind).expect("there");
    let rule = "/spec/groups/0/rules/0";
    let cases = [
        ("PrometheusRule", "/spec", "groupz", json!([]), "no such field"),
        ("PrometheusRule", "/spec/groups/0", "partialResponseStrategy", json!("warn"), "no such field"),
        ("PrometheusRule", "/spec/groups/0", "name", json!(""), "minLength"),
        ("PrometheusRule", rule, "keepFiringFor", json!("5m"), "no such field"),
        ("PrometheusRule", rule, "for", json!("five"), "pattern"),
        ("PrometheusRule", rule, "expr", Value::Null, "expr"),
        ("PrometheusRule", &format!("{rule}/labels"), "severity", json!(1), "string"),
        ("ServiceMonitor", "/spec", "joblabel", json!("app"), "no such field"),
        ("ServiceMonitor", "/spec/endpoints/0", "scrape_timeout", json!("10s"), "no such field"),
        ("ServiceMonitor", "/spec/endpoints/0", "interval", json!(30), "string"),
        ("ServiceMonitor", "/spec/selector", "matchlabels", json!({}), "no such field"),
        ("ServiceMonitor", "/metadata", "label", json!({}), "no such field"),
    ];
    for (kind, place, field, wrong, says) in cases {
        let mut object = of(kind).clone();
        object.pointer_mut(place).and_then(Value::as_object_mut).expect("a map").insert(field.to_owned(), wrong);
        let faults = unfit_for_the_operator(&[&object]);
        let is_it = |fault: &String| fault.contains(field) && fault.contains(says);
        assert!(faults.iter().any(is_it), "{kind} {place}/{field}: {faults:?}");
    }
    let other = json!({"kind": "Probe"});
    assert_eq!(unfit_for_the_operator(&[&other]), ["/kind: the operator has no Probe"]);
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
