//! The Helm chart, rendered by a real Helm: it says what the manifests of `deploy/kubernetes` say, object by object, fits
//! every Kubernetes from 1.29 on, and runs a daemon that takes its settings. No cluster is needed.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::parts::part;
use crate::manifests::{calls_of, kustomized, unfit_for_the_operator};
use crate::newcomer::{ends_with, project};

const CHART: &str = "deploy/helm/slowburn";
/// The values files of the chart's tests.
const VALUES: [&str; 4] = ["standalone", "lease", "rules", "everything"];

/// Runs Helm in the project's folder: what it prints, or what it complains of.
fn helm(args: &[&str]) -> Result<String, String> {
    let output = Command::new(part("helm")).args(args).current_dir(project("")).output().expect("helm starts");
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).expect("text")),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The arguments that render the chart as it would be installed, with the rules that the manifests have.
fn rendering<'a>(values: &'a [&'a str]) -> Vec<&'a str> {
    let own = ["template", "slowburn", CHART, "--namespace", "slowburn"];
    let rules = ["--set-file", r"rules.checkout\.yaml=deploy/kubernetes/base/checkout.yaml"];
    own.into_iter().chain(rules).chain(values.iter().copied()).collect()
}

fn rendered(values: &str) -> (String, Vec<Value>) {
    let file = format!("{CHART}/ci/{values}.yaml");
    let text = helm(&rendering(&["--values", &file])).unwrap_or_else(|error| panic!("{values}: {error}"));
    let objects = text.split("\n---\n").map(|object| object.trim_start_matches("---\n"));
    let objects = objects.map(|object| {
        serde_saphyr::from_str::<Value>(object).unwrap_or_else(|error| panic!("{values}: {error}\n{object}"))
    });
    let objects = objects.collect();
    (text, objects)
}

/// An object without what only one of the two tools writes: the namespace, Helm's labels, and the ways by which changed
/// settings roll the pods (a hash in the name, a checksum in an annotation).
fn plain(mut object: Value, namespaced: &str) -> ((String, String), Value) {
    fn strip(value: &mut Value) {
        match value {
            Value::Array(items) => {
                items.iter_mut().for_each(strip);
                // In lists of things with names the order says nothing.
                if items.iter().all(|item| item["name"].is_string()) {
                    items.sort_by_key(|item| item["name"].as_str().map(str::to_owned));
                }
            }
            Value::Object(fields) => {
                let helms = ["app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"];
                helms.iter().chain(&["helm.sh/chart", "checksum/config", "helm.sh/resource-policy"]).for_each(|key| {
                    fields.remove(*key);
                });
                fields.values_mut().for_each(strip);
                fields.retain(|_, value| *value != json!({}));
            }
            Value::String(text) => {
                if let Some(rest) = text.strip_prefix("slowburn-config-")
                    && rest.len() == 10
                {
                    *text = "slowburn-config".to_owned();
                }
            }
            _ => {}
        }
    }
    // Settings are compared by what they say.
    if let Some(Value::String(text)) = object["data"].get_mut("slowburn.yaml") {
        let mut settings: Value = serde_saphyr::from_str(text).expect("YAML");
        if let Some(lease) = settings["audit"].get_mut("lease").and_then(Value::as_object_mut) {
            assert!(lease.remove("duration").is_none_or(|duration| duration == "15s"), "the default");
        }
        object["data"]["slowburn.yaml"] = settings;
    }
    object["metadata"]
        .as_object_mut()
        .expect("metadata")
        .retain(|key, value| key != "namespace" || value != namespaced);
    if let Some(containers) = object["spec"]["template"]["spec"].get_mut("containers") {
        // The default of an image that is not `latest`.
        containers[0]
            .as_object_mut()
            .expect("a container")
            .retain(|key, value| key != "imagePullPolicy" || value != "IfNotPresent");
    }
    strip(&mut object);
    // The manifests name the object, and not its labels, where nothing selects by them.
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    metadata.retain(|key, value| key != "labels" || *value != json!({"app.kubernetes.io/name": "slowburn"}));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ((text(&object["kind"]), text(&object["metadata"]["name"])), object)
}

fn plain_all(objects: Vec<Value>) -> BTreeMap<(String, String), Value> {
    let of_release = objects.into_iter().filter(|object| object["kind"] != "Namespace");
    of_release.map(|object| plain(object, "slowburn")).collect()
}

#[test]
fn the_chart_and_the_manifests_are_one() {
    for folder in ["standalone", "lease", "rules"] {
        let (chart, manifests) = (plain_all(rendered(folder).1), plain_all(kustomized(folder).1));
        assert!(manifests.len() >= 6, "{folder}: {:?}", manifests.keys());
        assert_eq!(chart.keys().collect::<Vec<_>>(), manifests.keys().collect::<Vec<_>>(), "{folder}");
        for (name, object) in &manifests {
            assert_eq!(chart[name], *object, "{folder}, {name:?}: the chart at the left");
        }
    }
}

#[test]
fn every_template_is_rendered_and_nothing_is_lint() {
    let (text, _) = rendered("everything");
    for entry in std::fs::read_dir(project(CHART).join("templates")).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        if name.ends_with(".yaml") {
            assert!(text.contains(&format!("# Source: slowburn/templates/{name}\n")), "{name}");
        }
    }
    for values in VALUES {
        let file = format!("{CHART}/ci/{values}.yaml");
        let rules = r"rules.checkout\.yaml=deploy/kubernetes/base/checkout.yaml";
        helm(&["lint", "--strict", CHART, "--values", &file, "--set-file", rules]).expect("clean");
    }
    let chart: Value = {
        let text = std::fs::read_to_string(project(CHART).join("Chart.yaml")).expect("there");
        serde_saphyr::from_str(&text).expect("YAML")
    };
    assert_eq!(
        (&chart["version"], &chart["appVersion"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!(env!("CARGO_PKG_VERSION")))
    );
}

/// With every switch on: the daemon takes the settings and the arguments, and the objects find each other.
#[test]
fn what_the_switches_make_fits_together() {
    let (_, objects) = rendered("everything");
    let of = |kind: &str| objects.iter().filter(|one| one["kind"] == kind).collect::<Vec<_>>();
    let named = |kind: &str, name: &str| {
        let found = of(kind).into_iter().find(|one| one["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    let config = &named("ConfigMap", "slowburn-config")["data"];
    let loaded = slowburn::config::load_text("slowburn.yaml", config["slowburn.yaml"].as_str().expect("settings"));
    assert!(!loaded.is_fatal(), "{}", loaded.render(false));
    let settings = &loaded.settings;
    assert_eq!(settings.external_url.as_deref(), Some("https://slowburn.example.com"));
    assert_eq!(settings.audit.lease.as_ref().map(|lease| lease.name.as_str()), Some("slowburn"));
    assert!(settings.tls.is_some() && settings.raw_series_max == 50_000);
    let text = config["identities.yaml"].as_str().expect("identities");
    let identities = slowburn::spec::identity::load_text("identities.yaml", text);
    assert!(identities.identities.by_k8s_subject("system:serviceaccount:ops:orca").is_some(), "{text}");

    let [pods] = of("StatefulSet")[..] else { panic!("one StatefulSet") };
    let mut calls = Vec::new();
    let pod = &pods["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["image"].as_str().map(|image| image.starts_with("registry.example.com/slowburn@sha256:")),
        Some(true)
    );
    let mut own = pod["containers"][0].clone();
    own["image"] = json!("slowburn:tried");
    calls_of(&own, &mut calls);
    let mut args: Vec<&str> = calls[0].iter().map(String::as_str).collect();
    args.push("--help");
    ends_with(&args, 0, "Usage: slowburn run");
    // What is mounted is there, and what the settings name is mounted.
    let volumes: Vec<&Value> = pod["volumes"].as_array().expect("volumes").iter().map(|one| &one["name"]).collect();
    for mount in pod["containers"][0]["volumeMounts"].as_array().expect("mounts") {
        assert!(volumes.contains(&&mount["name"]) || mount["name"] == "data", "{mount}");
    }
    assert_eq!(pod["containers"][0]["resources"]["limits"]["memory"], "2Gi", "a value wins over the size of the fleet");
    assert_eq!(pod["containers"][0]["resources"]["requests"]["memory"], "640Mi");
    assert_eq!(pod["containers"][0]["livenessProbe"]["httpGet"]["scheme"], "HTTPS");
    assert_eq!(pod["serviceAccountName"], of("ServiceAccount")[0]["metadata"]["name"]);

    // Services and budgets select the pods, the monitor one Service, and what comes from outside goes to the gate's.
    let labels = &pods["spec"]["template"]["metadata"]["labels"];
    let selects =
        |selector: &Value| selector.as_object().expect("labels").iter().all(|(key, value)| labels[key] == *value);
    for service in of("Service") {
        assert!(selects(&service["spec"]["selector"]), "{service}");
    }
    assert!(selects(&of("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"]));
    assert!(selects(&of("NetworkPolicy")[0]["spec"]["podSelector"]["matchLabels"]));
    let monitored = |service: &Value| {
        let selector = &of("ServiceMonitor")[0]["spec"]["selector"];
        let own = &service["metadata"]["labels"];
        let equal = selector["matchLabels"].as_object().expect("labels").iter().all(|(key, value)| own[key] == *value);
        let absent = selector["matchExpressions"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|one| one["operator"] == "DoesNotExist" && own[one["key"].as_str().expect("a key")].is_null());
        equal && absent
    };
    let scraped: Vec<&Value> = of("Service").into_iter().filter(|one| monitored(one)).collect();
    assert_eq!(scraped.iter().map(|one| &one["metadata"]["name"]).collect::<Vec<_>>(), ["slowburn"]);
    named("Service", "slowburn-gate");
    let backend = &of("Ingress")[0]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert_eq!(*backend, json!({"name": "slowburn-gate", "port": {"name": "http"}}));
    assert_eq!(of("HTTPRoute")[0]["spec"]["rules"][0]["backendRefs"][0]["name"], "slowburn-gate");

    // Rules and dashboards are those of the project.
    let read = |path: &str| std::fs::read_to_string(project(path)).expect("there");
    let rules: Value = serde_saphyr::from_str(&read("rules/prometheus/slowburn.yaml")).expect("YAML");
    assert_eq!(of("PrometheusRule")[0]["spec"], rules);
    let watched = [of("PrometheusRule"), of("ServiceMonitor")].concat();
    assert_eq!(unfit_for_the_operator(&watched), Vec::<String>::new());
    for name in ["fleet", "slo", "safe-to-act", "slowburn"] {
        let shown = &named("ConfigMap", &format!("slowburn-dashboard-{name}"))["data"][format!("slowburn-{name}.json")];
        assert_eq!(shown.as_str(), Some(read(&format!("dashboards/{name}.json")).as_str()), "{name}");
    }
}

#[test]
fn without_a_lease_one_replica_is_asked() {
    let identities = "gate.identities.identities[0].name=@ada";
    let text = helm(&rendering(&["--set", identities])).expect("it renders");
    assert!(text.contains("statefulset.kubernetes.io/pod-name: slowburn-0\n"), "{text}");
    let other = helm(&["template", "prod", CHART, "--set", r"rules.a\.yaml=name: a"]).expect("it renders");
    assert!(other.contains("\n  name: prod-slowburn-config\n"), "{other}");
}

#[test]
fn wrong_values_are_refused_with_what_to_write() {
    let refused = |values: &[&str], says: &str| {
        let Err(error) = helm(&rendering(values)) else { panic!("{values:?} is taken, and not refused: {says}") };
        assert!(error.contains(says), "{values:?} does not say {says:?}:\n{error}");
    };
    let error = helm(&["template", "slowburn", CHART]).expect_err("nothing is promised");
    assert!(error.contains("--set-file rules.checkout") && error.contains("slowburn init"), "{error}");
    refused(&["--set", "replica=3"], "'replica' not allowed");
    refused(&["--set", "fleetSize=tiny"], "/fleetSize");
    refused(&["--set", "settings.prometheus.url=prometheus:9090"], "/settings/prometheus/url");
    refused(&["--set", "settings.listen=0.0.0.0:1"], "/settings");
    refused(&["--set", "rules.checkout=name: a"], "/rules");
    refused(&["--set", "gate.lease.duration=15"], "/gate/lease/duration");
    refused(&["--set", "image.digest=latest"], "/image/digest");
    refused(&["--set", "ingress.enabled=true"], "such as slowburn.example.com");
    refused(&["--set", "httpRoute.enabled=true"], "name the Gateway");
}

/// The command of deploy/README.md, but that it prints what it would install.
#[test]
fn the_documented_command_renders_what_is_wanted() {
    let text = std::fs::read_to_string(project("deploy/README.md")).expect("there");
    let lines =
        text.lines().skip_while(|line| !line.starts_with("    helm install")).take_while(|line| !line.is_empty());
    let command = lines.collect::<Vec<_>>().join("\n");
    let command = command.trim().replacen("helm install", "\"$HELM\" template", 1);
    let command = command.replace("=checkout.yaml", "=deploy/kubernetes/base/checkout.yaml");
    let output = Command::new("sh").args(["-c", &command]).env("HELM", part("helm")).current_dir(project("")).output();
    let output = output.expect("sh starts");
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.contains("  checkout.yaml: |\n") && text.contains("url: http://prometheus.monitoring:9090\n"),
        "{text}"
    );
}

/// All that is applied, against Kubernetes' own schemas of each minor.
#[test]
fn the_objects_fit_every_kubernetes() {
    let folder = tempfile::tempdir().expect("a folder");
    // What others define has no schema in Kubernetes: it is looked at above.
    let others = ["HTTPRoute", "ServiceMonitor", "PrometheusRule"];
    let mut files = Vec::new();
    let mut write = |name: String, objects: Vec<Value>| {
        let own = objects.into_iter().filter(|one| !others.iter().any(|kind| one["kind"] == *kind));
        let texts: Vec<String> = own.map(|object| serde_json::to_string(&object).expect("JSON")).collect();
        assert!(!texts.is_empty(), "{name}");
        let file = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, texts.join("\n---\n")).expect("written");
        files.push(file);
    };
    for values in VALUES {
        write(format!("chart-{values}"), rendered(values).1);
    }
    // Each folder that can be applied, however deep it stands.
    let root = project("deploy/kubernetes");
    let (mut open, mut applied) = (vec![root.clone()], 0);
    while let Some(at) = open.pop() {
        let entries = std::fs::read_dir(&at).expect("a folder").map(|entry| entry.expect("an entry").path());
        open.extend(entries.filter(|path| path.is_dir()));
        let name = at.strip_prefix(&root).expect("it is within").display().to_string();
        // What is in `monitoring` is the operator's alone: `manifests` looks at it.
        if at.join("kustomization.yaml").is_file() && name != "base" && name != "monitoring" {
            write(name.replace('/', "-"), kustomized(&name).1);
            applied += 1;
        }
    }
    assert!(applied >= 6, "{applied}");
    let wrong = folder.path().join("wrong.yaml");
    std::fs::write(
        &wrong,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"port": 1}}).to_string(),
    )
    .expect("written");
    let python = project("target/parts/python");
    let schemas = python.join("kubernetes_validate/kubernetes-json-schema");
    let mut minors: Vec<u32> = std::fs::read_dir(schemas)
        .expect("run tests/parts to fetch the schemas of Kubernetes")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.split('.').nth(1)?.parse().ok())
        .filter(|minor| *minor >= 29)
        .collect();
    minors.sort_unstable();
    minors.dedup();
    assert!(minors.len() >= 9, "{minors:?}");
    for minor in minors {
        let held = |files: &[std::path::PathBuf]| {
            let output = Command::new("python3")
                .args(["-m", "kubernetes_validate", "--strict", "--kubernetes-version", &format!("1.{minor}")])
                .args(files)
                .env("PYTHONPATH", &python)
                .output()
                .expect("python3 starts");
            let said = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&said).into_owned())
        };
        let (fits, said) = held(&files);
        assert!(fits && !said.contains("WARN"), "1.{minor}: {said}");
        let (fits, said) = held(std::slice::from_ref(&wrong));
        assert!(!fits, "1.{minor} takes what is no Service: {said}");
    }
}
