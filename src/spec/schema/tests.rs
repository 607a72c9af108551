//! The schemas are held to the readers: the same keys, every good file taken, every bad one refused that a schema can
//! refuse. `UPDATE_EXPECT=1` writes `docs/schema` and the pages of reference anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::validator::fault;
use super::*;
use crate::spec::indicator::EXAMPLES;
use crate::spec::load_text;
use crate::spec::tests::yaml_files;

/// A key that is like no other.
const PROBE: &str = "zzzz9";

/// What the reader says it would take at the place of the probe in `text`.
fn known(text: &str) -> BTreeSet<String> {
    let loaded = load_text("a.yaml", text);
    let said = format!("unknown key {PROBE:?}");
    let problem = loaded.problems.iter().find(|problem| problem.what.starts_with(&said));
    let problem = problem.unwrap_or_else(|| panic!("the probe is not seen in {text}\n{}", loaded.render(false)));
    let instead = problem.instead.as_deref().expect("it names what is known");
    instead.trim_start_matches("one of ").split(", ").map(|key| key.trim_end_matches(':').to_owned()).collect()
}

fn keys(node: &Node) -> BTreeSet<String> {
    let Some(Value::Map(entries)) = node.get("properties").map(|node| &node.value) else { panic!("no properties") };
    entries.iter().map(|(key, _)| key.name.clone()).collect()
}

/// The map of a schema that a path leads to: names of definitions or properties, `[]` for the items of a list.
fn map_at<'n>(root: &'n Node, path: &str) -> &'n Node {
    path.split('.').filter(|part| !part.is_empty()).fold(root, |node, part| {
        let definition = || root.get("definitions").filter(|_| std::ptr::eq(node, root))?.get(part);
        let found = match part {
            "[]" => node.get("items"),
            _ => definition().or_else(|| node.get("properties")?.get(part)),
        };
        resolved(found.unwrap_or_else(|| panic!("{path}: no {part}")), root).1
    })
}

/// A service with one SLO.
fn slo(entry: &str) -> String {
    format!("name: a\nowner: b\nslo: {{{entry}}}\n")
}

/// A policy of which `rows` say something.
fn policy(rows: &str) -> String {
    format!("service: a\nallowed_actions: [{{type: restart}}]\n{rows}\n")
}

fn action(row: &str) -> String {
    format!("service: a\nallowed_actions: [{{{row}, {PROBE}: 1}}]\n")
}

#[test]
fn the_schemas_have_exactly_the_keys_that_the_readers_ask_for() {
    let custom = |entry: &str| slo(&format!("custom: [{{name: x, objective: 99, {entry}}}]"));
    let service: Vec<(&str, Vec<String>)> = vec![
        ("", vec![format!("{}{PROBE}: 1\n", slo("availability: 99.9"))]),
        ("incident", vec![format!("{}incident: {{{PROBE}: 1}}\n", slo("availability: 99.9"))]),
        ("telemetry", vec![format!("{}telemetry: {{preset: istio, {PROBE}: 1}}\n", slo("availability: 99.9"))]),
        ("workloads.[]", vec![format!("{}workloads: [{{{PROBE}: 1}}]\n", slo("availability: 99.9"))]),
        ("availability", vec![slo(&format!("availability: {{objective: 99, {PROBE}: 1}}"))]),
        ("quantile", vec![slo(&format!("latency_p95_ms: {{max: 9, {PROBE}: 1}}"))]),
        ("freshness", vec![slo(&format!("feature_freshness_max_delay_s: {{max: 9, {PROBE}: 1}}"))]),
        ("custom", vec![custom(&format!("events: {{total: a, bad: b}}, {PROBE}: 1"))]),
        (
            "events",
            vec![
                custom(&format!("events: {{total: a, bad: b, {PROBE}: 1}}")),
                custom(&format!("events: {{histogram: a_seconds, max: 1, {PROBE}: 1}}")),
            ],
        ),
        (
            "slices",
            vec![
                custom(&format!("slices: {{query: a, max: 1, {PROBE}: 1}}")),
                custom(&format!("slices: {{total: a, bad: b, quantile: 0.9, {PROBE}: 1}}")),
                custom(&format!("slices: {{histogram: a_seconds, max: 1, quantile: 0.9, {PROBE}: 1}}")),
            ],
        ),
        ("query", vec![custom(&format!("query: {{ratio: a, {PROBE}: 1}}"))]),
        (
            "sli",
            vec![
                slo(&format!("latency_p95_ms: {{max: 9, sli: {{histogram: a_seconds, waiting: g, {PROBE}: 1}}}}")),
                slo(&format!("availability: {{objective: 99, sli: {{gauge: g, min: 1, {PROBE}: 1}}}}")),
            ],
        ),
        (
            "window_map",
            vec![
                slo(&format!("availability: {{objective: 99, window: {{rolling: 30d, {PROBE}: 1}}}}")),
                slo(&format!("availability: {{objective: 99, window: {{calendar: month, {PROBE}: 1}}}}")),
            ],
        ),
        ("confidence_map", vec![slo(&format!("availability: {{objective: 99, confidence: {{{PROBE}: 1}}}}"))]),
        (
            "alert_policy",
            vec![slo(&format!(
                "availability: 99, alert_policies: [{{type: burn_rate, fast_burn: 1h > 14.4x, {PROBE}: 1}}]"
            ))],
        ),
        (
            "severity_row",
            vec![format!(
                "{}severity_mapping: [{{condition: fast_burn, severity: SEV-1, {PROBE}: 1}}]\n",
                slo("availability: 99.9")
            )],
        ),
        ("alerts", vec![slo(&format!("availability: {{objective: 99, alerts: {{{PROBE}: {{}}}}}}"))]),
        ("extras", vec![slo(&format!("availability: {{objective: 99, alerts: {{budget: {{{PROBE}: 1}}}}}}"))]),
        (
            "origin",
            vec![slo(&format!("availability: {{objective: 99, origin: {{format: sloth, slo: a, {PROBE}: 1}}}}"))],
        ),
    ];
    let policies: Vec<(&str, Vec<String>)> = vec![
        ("", vec![policy(&format!("{PROBE}: 1"))]),
        ("safety_checks.[]", vec![policy(&format!("safety_checks: [{{{PROBE}: 1}}]"))]),
        ("logging", vec![policy(&format!("logging: {{{PROBE}: 1}}"))]),
        ("freeze.[]", vec![policy(&format!("freeze: [{{{PROBE}: 1}}]"))]),
        ("rate_budgets.[]", vec![policy(&format!("rate_budgets: [{{max: 1, per: 1h, {PROBE}: 1}}]"))]),
        ("transition", vec![policy(&format!("transition: {{{PROBE}: 1}}"))]),
        ("data", vec![policy(&format!("data: {{{PROBE}: 1}}"))]),
        (
            "action",
            vec![
                action("type: rollback, max_versions_back: 1"),
                action("type: scale, min_replicas: 1, max_replicas: 2"),
                action("type: drain, nodes: [\"a*\"]"),
                action("type: flush-cache, class: risk, resource: cache, reversible: true"),
            ],
        ),
        (
            "argument",
            vec![format!(
                "service: a\nallowed_actions: [{{type: flush, class: risk, resource: c, reversible: true, \
             arguments: {{x: {{min: 1, max: 2, {PROBE}: 1}}}}}}]\n"
            )],
        ),
        (
            "approver",
            vec![format!("service: a\nallowed_actions: [{{type: restart, approvers: [{{team: b, {PROBE}: 1}}]}}]\n")],
        ),
        (
            "autonomy",
            vec![format!(
                "service: a\nallowed_actions: [{{type: restart, autonomy: {{starts: alone, {PROBE}: 1}}}}]\n"
            )],
        ),
    ];
    let exclusion =
        |entry: &str| format!("exclusions: [{{name: x, author: a, reason: b, services: all, {entry}, {PROBE}: 1}}]\n");
    let exclusions: Vec<(&str, Vec<String>)> = vec![
        ("", vec![format!("exclusions: []\n{PROBE}: 1\n")]),
        (
            "exclusion",
            vec![
                exclusion("from: 2026-11-07T02:00:00Z, to: 2026-11-07T04:00:00Z"),
                exclusion("every: day, at: \"02:00\", for: 1h"),
            ],
        ),
        ("withdrawal", vec![format!("exclusions: [{{name: x, withdrawn: {{{PROBE}: 1}}}}]\n")]),
        ("budget_reset", vec![format!("budget_resets: [{{{PROBE}: 1}}]\n")]),
    ];
    for (schema, probes) in [(Schema::Service, service), (Schema::Policy, policies), (Schema::Exclusions, exclusions)] {
        let root = schema.root();
        let mut wrong = Vec::new();
        for (path, texts) in &probes {
            let read: BTreeSet<String> = texts.iter().flat_map(|text| known(text)).collect();
            let written = keys(map_at(&root, path));
            if read != written {
                let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
                wrong.push(format!(
                    "{}.yaml {path:?}: the reader has also {:?}, the schema also {:?}",
                    schema.name(),
                    only(&read, &written),
                    only(&written, &read)
                ));
            }
        }
        // Every map that has keys is probed.
        let Some(Value::Map(definitions)) = root.get("definitions").map(|node| &node.value) else { panic!() };
        for (key, _) in definitions.iter().filter(|(_, node)| node.get("properties").is_some()) {
            // What every SLO can say is probed with each kind of SLO.
            if key.name != "common" && !probes.iter().any(|(path, _)| *path == key.name) {
                wrong.push(format!("{}.yaml: no probe of {}", schema.name(), key.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn what_is_measured_has_the_same_keys() {
    let root = Schema::Service.root();
    let entries = map_at(&root, "slo");
    for key in EXAMPLES {
        let takes = |group: &str, fits: &dyn Fn(&str) -> bool| match entries.get(group).map(|node| &node.value) {
            Some(Value::Map(all)) => all.iter().any(|(name, _)| fits(&name.name)),
            _ => false,
        };
        let pattern = |pattern: &str| regex::Regex::new(pattern).expect("a pattern").is_match(key);
        assert!(takes("properties", &|name| name == key) || takes("patternProperties", &pattern), "{key}");
    }
}

/// The faults of the documents of a file that have a schema; `None` where none has.
fn faults(path: &Path, roots: &[Node]) -> Option<Vec<String>> {
    let text = fs::read_to_string(path).expect("readable");
    let nodes = tree::parse(text.trim_start_matches('\u{feff}')).ok()?;
    let has = |node: &Node, keys: &[&str]| keys.iter().any(|key| node.get(key).is_some());
    let of = |node: &Node| match node {
        node if has(node, &["preset", "apiVersion", "groups"]) => None,
        node if has(node, &["exclusions", "budget_resets"]) => Some(2),
        node if has(node, &["allowed_actions"]) => Some(1),
        node if has(node, &["service"]) && !has(node, &["name", "slo"]) => Some(1),
        node => has(node, &["name", "slo", "owner"]).then_some(0),
    };
    let documents: Vec<(usize, &Node)> = nodes.iter().filter_map(|node| Some((of(node)?, node))).collect();
    let fault_of =
        |(index, node): &(usize, &Node)| fault(&roots[*index], node, &roots[*index], Schema::ALL[*index].name());
    (!documents.is_empty()).then(|| documents.iter().filter_map(fault_of).collect())
}

#[test]
fn every_good_file_and_every_example_fits() {
    let roots = Schema::ALL.map(Schema::root);
    let folders = [
        "tests/configs/good",
        "rules/services",
        "rules/policies",
        "rules/exclusions",
        "examples/preset",
        "deploy/kubernetes/base",
        "deploy/kubernetes/sidecar",
    ];
    let files: Vec<PathBuf> = folders.iter().flat_map(|folder| yaml_files(folder)).collect();
    let checked: Vec<(&PathBuf, Vec<String>)> =
        files.iter().filter_map(|file| Some((file, faults(file, &roots)?))).collect();
    assert!(checked.len() > 35, "only {} files", checked.len());
    let wrong: Vec<_> = checked.iter().filter(|(_, faults)| !faults.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_bad_file_is_refused_that_a_schema_can_refuse() {
    let list = include_str!("beyond.txt");
    let mut beyond: BTreeMap<&str, &str> = BTreeMap::new();
    let mut reason = "";
    for line in list.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix("  ") {
            Some(name) => assert!(beyond.insert(name, reason).is_none(), "{name} stands twice"),
            None => reason = line,
        }
    }
    let roots = Schema::ALL.map(Schema::root);
    let mut wrong = Vec::new();
    let mut refused = 0;
    for path in yaml_files("tests/configs/bad") {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        // What is no YAML, or no service and no policy, has no schema.
        let Some(faults) = faults(&path, &roots) else { continue };
        match (faults.is_empty(), beyond.remove(name.as_str())) {
            (true, None) => wrong.push(format!("{name}: the schema takes it, and no reason is in beyond.txt")),
            (false, Some(_)) => wrong.push(format!("{name}: refused, so take it out of beyond.txt")),
            (true, Some(reason)) => assert!(!reason.is_empty(), "{name} without a reason"),
            (false, None) => refused += 1,
        }
    }
    wrong.extend(beyond.keys().map(|name| format!("{name}: no such file")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused > 100, "only {refused} are refused");
}

#[test]
fn what_the_docs_hold_is_what_is_printed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for schema in Schema::ALL {
        for (file, text) in [
            (format!("schema/{}.json", schema.name()), schema.json()),
            (format!("{}-yaml.md", schema.name()), schema.reference()),
        ] {
            let path = folder.join(file);
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
                fs::write(&path, &text).expect("writable");
            }
            assert!(fs::read_to_string(&path).expect("readable") == text, "{} is old: UPDATE_EXPECT=1", path.display());
        }
        let parsed: serde_json::Value = serde_json::from_str(&schema.json()).expect("JSON");
        assert!(parsed["properties"].is_object());
    }
}

#[test]
fn the_validator_refuses_what_it_should() {
    let schema = |text: &str| tree::parse(text).expect(text).remove(0);
    for (rules, good, bad) in [
        ("{type: integer, minimum: 1}", "2", "1.5"),
        (
            "{type: object, required: [a], additionalProperties: false, properties: {a: {enum: [x]}}}",
            "a: x",
            "{a: x, b: 1}",
        ),
        ("{oneOf: [{required: [a]}, {required: [b]}]}", "a: 1", "{a: 1, b: 2}"),
        ("{type: array, uniqueItems: true, maxItems: 2}", "[1, 2]", "[1, 1]"),
        ("{if: {required: [a]}, then: {required: [b]}, else: {required: [c]}}", "{a: 1, b: 1}", "d: 1"),
        ("{dependencies: {a: [b]}}", "b: 1", "a: 1"),
        ("{patternProperties: {^a: {type: string}}, additionalProperties: false}", "ab: x", "ab: 1"),
        ("{not: {properties: {a: false}}}", "a: 1", "b: 1"),
        ("{type: string, pattern: ^a+$}", "aa", "ab"),
        ("{propertyNames: {maxLength: 2}}", "ab: 1", "abc: 1"),
    ] {
        let rules = schema(rules);
        assert_eq!(fault(&rules, &schema(good), &rules, "it"), None, "{good}");
        assert!(fault(&rules, &schema(bad), &rules, "it").is_some(), "{bad}");
    }
}
