//! Pages of reference that are printed from what the program itself says: its metrics, its HTTP; and the manifest that has
//! the rules of `rules/prometheus`. `UPDATE_EXPECT=1` writes them anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use slowburn::telemetry::names::{ALL, Kind, Metric};

/// The page of the metrics.
fn metrics() -> String {
    let mut out = String::from(
        "# Metrics\n\nEverything that `/metrics` shows, printed from the table in the source. A metric that is there today \
         keeps its name,\nkind and labels within a major version ([what is stable](../RELEASE.md#what-is-stable)).\n",
    );
    let of_slos = |metric: &&Metric| metric.name.starts_with("slowburn_slo_");
    let gate = |metric: &&Metric| {
        ["audit", "decision", "permit", "verdict", "halts", "approvals", "gate", "safe_to_act", "change_state", "auth"]
            .iter()
            .any(|word| metric.name["slowburn_".len()..].starts_with(word))
    };
    let groups: [(&str, Vec<&Metric>); 3] = [
        ("SLOs", ALL.iter().filter(of_slos).collect()),
        ("The gate and its audit log", ALL.iter().filter(gate).collect()),
        ("The process", ALL.iter().filter(|metric| !of_slos(metric) && !gate(metric)).collect()),
    ];
    assert_eq!(groups.iter().map(|(_, group)| group.len()).sum::<usize>(), ALL.len(), "each stands in one group");
    for (heading, group) in groups {
        write!(out, "\n## {heading}\n\n| metric | kind | meaning |\n|---|---|---|\n").expect("a String takes it");
        for metric in group {
            let name = match metric.kind {
                Kind::Histogram => format!("{}_bucket, _sum, _count", metric.name),
                _ => metric.name.to_owned(),
            };
            writeln!(out, "| `{name}` | {} | {} |", metric.kind.word(), metric.help()).expect("a String takes it");
        }
    }
    out
}

/// The page of HTTP.
fn http() -> String {
    let document: Value =
        serde_json::from_str(include_str!("../../src/web/openapi.json")).expect("the document is JSON");
    let mut out = String::from(
        "# HTTP\n\nEvery path, printed from the document at `/openapi.json`, which describes each request and answer in \
         full. Errors are\n`{error, hint}`. What needs a principal takes `Authorization: Bearer TOKEN` or a client \
         certificate; the page itself may\nsend a [sign-in](sign-in.md) instead. Reads are open on the machine itself \
         ([who may read](security.md#doors)).\n",
    );
    let text = |value: &Value| value.as_str().unwrap_or_default().replace('|', "\\|").replace('\n', " ");
    let groups: [(&str, &[&str]); 5] = [
        ("SLOs, alerts, incidents", &["/v1/slos", "/v1/services", "/v1/alerts", "/v1/incidents", "/v1/stream"]),
        ("The gate", &["/v1/"]),
        ("Other doors to the gate", &["/access", "/integrations", "/gate", "/admission", "/mcp", "/.well-known"]),
        ("The process", &["/"]),
        ("", &[]),
    ];
    let paths = document["paths"].as_object().expect("paths");
    let home = |path: &str| {
        let begins = |(_, begins): &(&str, &[&str])| begins.iter().any(|begin| path.starts_with(begin));
        groups.iter().position(begins).expect("every path has a group")
    };
    for (index, (heading, _)) in groups.iter().enumerate().filter(|(_, (heading, _))| !heading.is_empty()) {
        write!(out, "\n## {heading}\n\n| request | what it does | parameters | principal |\n|---|---|---|---|\n")
            .expect("a String takes it");
        for (path, methods) in paths.iter().filter(|(path, _)| home(path) == index) {
            for (method, says) in methods.as_object().expect("methods") {
                let parameters = says["parameters"].as_array().into_iter().flatten();
                let names: Vec<String> = parameters
                    .filter(|one| one["in"] != "path")
                    .map(|one| format!("`{}`", one["name"].as_str().unwrap_or_default()))
                    .collect();
                let needs = if says["security"].is_array() { "needed" } else { "" };
                let (method, summary) = (method.to_uppercase(), text(&says["summary"]));
                writeln!(out, "| `{method} {path}` | {summary} | {} | {needs} |", names.join(", "))
                    .expect("a String takes it");
            }
        }
    }
    for name in ["Request", "Action", "Decision", "Check", "Permit", "Approval", "Autonomy"] {
        let schema = &document["components"]["schemas"][name];
        let about = schema["description"].as_str().map(|about| format!("{about}.\n\n")).unwrap_or_default();
        write!(out, "\n## {name}\n\n{about}| member | form | meaning |\n|---|---|---|\n").expect("a String takes it");
        for (member, says) in schema["properties"].as_object().expect("members") {
            let form = form(says);
            writeln!(out, "| `{member}` | {form} | {} |", text(&says["description"])).expect("a String takes it");
        }
    }
    out
}

/// The form of a member in a few words.
fn form(says: &Value) -> String {
    if let Some(name) = says["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        let linked = ["Request", "Action", "Decision", "Check", "Permit", "Approval", "Autonomy"].contains(&name);
        return if linked { format!("[{name}](#{})", name.to_lowercase()) } else { name.to_lowercase() };
    }
    if let Some(words) = says["enum"].as_array() {
        return words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if let Some(any) = says["anyOf"].as_array() {
        let forms: Vec<String> = any.iter().map(form).collect();
        return forms.join(" or ");
    }
    match (says["const"].as_str(), says["type"].as_str()) {
        (Some(word), _) => format!("`{word}`"),
        (_, Some("string")) if says["format"] == "date-time" => "moment".into(),
        (_, Some("string")) => "text".into(),
        (_, Some("integer")) => "whole number".into(),
        (_, Some("boolean")) => "true or false".into(),
        (_, Some("array")) => format!("list of {}", form(&says["items"])),
        (_, Some(other)) => other.into(),
        _ => says["const"].as_bool().map_or("any".into(), |flag| format!("`{flag}`")),
    }
}

#[test]
fn the_pages_of_reference_are_what_the_program_says() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (file, text) in [("metrics.md", metrics()), ("http.md", http())] {
        let path = docs.join(file);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&path, &text).expect("writable");
        }
        let found = fs::read_to_string(&path).expect("readable");
        assert!(found == text, "{} is not what the program says: UPDATE_EXPECT=1 writes it", path.display());
    }
}

/// The rules as an object of the Prometheus operator: the same text, further in.
fn prometheus_rule(rules: &str) -> String {
    let begin = rules.find("groups:\n").expect("rules have groups");
    let mut out = String::from(
        "# Alerts on Slowburn itself, printed from rules/prometheus/slowburn.yaml (UPDATE_EXPECT=1 cargo test --test tidy): change\n\
         # that. Each has a runbook in docs/runbooks.md; write the address where you publish these pages in place of\n\
         # https://slowburn.example.\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: slowburn\n  \
         labels: {app.kubernetes.io/name: slowburn}\nspec:\n",
    );
    for line in rules[begin..].lines() {
        let indented = if line.is_empty() { String::new() } else { format!("  {line}") };
        writeln!(out, "{indented}").expect("a String takes it");
    }
    out
}

#[test]
fn the_manifest_of_the_rules_is_made_of_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = fs::read_to_string(root.join("rules/prometheus/slowburn.yaml")).expect("readable");
    let (path, text) = (root.join("deploy/kubernetes/monitoring/prometheusrule.yaml"), prometheus_rule(&rules));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &text).expect("writable");
    }
    let found = fs::read_to_string(&path).expect("readable");
    assert!(found == text, "{} is not what the rules say: UPDATE_EXPECT=1 writes it", path.display());
}
