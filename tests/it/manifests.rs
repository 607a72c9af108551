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

/// Fields that the Prometheus operator (v0.8x and v0.9x, `monitoring.coreos.com/v1`) has, of those that stand here; it drops
/// others without a word.
const OPERATOR: [(&str, &[&str]); 5] = [
    ("object", &["apiVersion", "kind", "metadata", "spec"]),
    ("group", &["name", "interval", "labels", "limit", "partial_response_strategy", "query_offset", "rules"]),
    ("rule", &["alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"]),
    ("monitor", &["jobLabel", "selector", "namespaceSelector", "endpoints", "targetLabels", "podTargetLabels"]),
    ("endpoint", &["port", "path", "interval", "scrapeTimeout", "scheme", "tlsConfig", "params", "honorLabels"]),
];

/// What in an object the operator would not take.
fn unfit(what: &str, value: &Value) -> Vec<String> {
    let known = OPERATOR.iter().find(|(name, _)| *name == what).map(|(_, fields)| *fields).expect("a form");
    let fields = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let mut faults: Vec<String> =
        fields.filter(|name| !known.contains(name)).map(|name| format!("{what} has no {name}")).collect();
    let texts =
        |value: &Value| value.is_null() || value.as_object().is_some_and(|all| all.values().all(Value::is_string));
    let is_span = |value: &Value| {
        let units = ["ms", "s", "m", "h", "d", "w", "y"];
        let span =
            |text: &str| units.iter().any(|unit| text.strip_suffix(unit).is_some_and(|n| n.parse::<u32>().is_ok()));
        value.is_null() || value.as_str().is_some_and(span)
    };
    let mut must = |holds: bool, why: &str| {
        if !holds {
            faults.push(format!("{what}: {why}: {value}"));
        }
    };
    match what {
        "group" => {
            must(value["name"].as_str().is_some_and(|name| !name.is_empty()), "a name");
            must(is_span(&value["interval"]), "interval is a duration");
        }
        "rule" => {
            must(value["expr"].is_string(), "expr is required");
            must(value["alert"].is_string() != value["record"].is_string(), "one of alert and record");
            must(texts(&value["labels"]) && texts(&value["annotations"]), "labels and annotations are texts");
            must(is_span(&value["for"]) && is_span(&value["keep_firing_for"]), "durations");
        }
        "monitor" => must(value["selector"].is_object() && value["endpoints"].is_array(), "selector and endpoints"),
        "endpoint" => must(is_span(&value["interval"]), "interval is a duration"),
        _ => must(value["metadata"]["name"].is_string(), "a name"),
    }
    faults
}

#[test]
fn the_operator_takes_the_rules_and_scrapes_the_replicas_as_the_job_that_they_ask_for() {
    let (text, objects) = kustomized("monitoring");
    let of = |kind: &str| objects.iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("{text}"));
    let (rules, monitor) = (of("PrometheusRule"), of("ServiceMonitor"));
    let mut faults = [unfit("object", rules), unfit("object", monitor), unfit("monitor", &monitor["spec"])].concat();
    let page = std::fs::read_to_string(project("docs/runbooks.md")).expect("there");
    let mut alerts = 0;
    for group in rules["spec"]["groups"].as_array().expect("groups") {
        faults.extend(unfit("group", group));
        for rule in group["rules"].as_array().expect("rules") {
            faults.extend(unfit("rule", rule));
            let Some(name) = rule["alert"].as_str() else { continue };
            let runbook = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
            assert!(runbook.ends_with(&format!("/runbooks.html#{}", name.to_lowercase())), "{name}: {runbook}");
            assert!(page.contains(&format!("\n## {name}\n")), "docs/runbooks.md says nothing of {name}");
            alerts += 1;
        }
    }
    assert!(alerts >= 13, "{alerts}");
    for endpoint in monitor["spec"]["endpoints"].as_array().expect("endpoints") {
        faults.extend(unfit("endpoint", endpoint));
    }
    assert_eq!(faults, Vec::<String>::new());
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

#[test]
fn what_the_operator_does_not_take_is_seen() {
    for (what, wrong) in [
        ("rule", json!({"alert": "A", "expr": "up == 0", "keepFiringFor": "5m"})),
        ("rule", json!({"alert": "A"})),
        ("rule", json!({"alert": "A", "expr": "up", "labels": {"severity": 1}})),
        ("rule", json!({"alert": "A", "expr": "up", "for": "five"})),
        ("group", json!({"rules": []})),
        ("monitor", json!({"endpoints": []})),
        ("endpoint", json!({"port": "http", "interval": 30})),
    ] {
        assert_eq!(unfit(what, &wrong).len(), 1, "{what} {wrong}");
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
