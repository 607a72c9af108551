//! The definitions obey the rules of structural schemas, take whatever the readers take, drop none of it, and are what
//! `deploy` holds. `UPDATE_EXPECT=1` writes them anew.

use std::fs;
use std::path::Path;

use super::*;
use crate::spec::schema::validator::fault;
use crate::spec::tests::yaml_files;
use crate::spec::tree::Value;

fn schema_of(kind: ResourceKind) -> Node {
    let root = tree::parse(&kind.crd()).expect("it is YAML").remove(0);
    let Some(Value::List(versions)) = root.get("spec").and_then(|spec| spec.get("versions")).map(|node| &node.value)
    else {
        panic!("no versions")
    };
    let schema = versions[0].get("schema").and_then(|schema| schema.get("openAPIV3Schema"));
    schema.expect("a schema").clone()
}

fn entries(node: Option<&Node>) -> &[(tree::Key, Node)] {
    match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries,
        _ => &[],
    }
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

fn is_on(node: &Node, key: &str) -> bool {
    node.get(key).is_some_and(|node| node.value == Value::Bool(true))
}

/// What may stand in a condition, and what beside it in a value (`apiextensions/v1`, `ValidateStructural`).
const CONDITION: [&str; 19] = [
    "required",
    "enum",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "properties",
];
const VALUE: [&str; 7] = [
    "description",
    "type",
    "items",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
];

/// What in a value is against the rules.
fn unstructured(node: &Node, at: &str, faults: &mut Vec<String>) {
    let kind = node.get("type").map(|node| &node.value);
    if kind.is_none() && !is_on(node, "x-kubernetes-preserve-unknown-fields") {
        faults.push(format!("{at}: it has no type"));
    }
    if node.get("properties").is_some() && node.get("additionalProperties").is_some() {
        faults.push(format!("{at}: properties and additionalProperties exclude each other"));
    }
    for (key, value) in entries(Some(node)) {
        let name = key.name.as_str();
        if !CONDITION.contains(&name) && !VALUE.contains(&name) {
            faults.push(format!("{at}: {name} is forbidden"));
        }
        if name == "x-kubernetes-preserve-unknown-fields" && value.value != Value::Bool(true) {
            faults.push(format!("{at}: {name} is true or absent"));
        }
        match name {
            "properties" => {
                entries(Some(value))
                    .iter()
                    .for_each(|(key, node)| unstructured(node, &format!("{at}.{}", key.name), faults));
            }
            "items" | "additionalProperties" => unstructured(value, &format!("{at}.{name}"), faults),
            "allOf" | "anyOf" | "oneOf" => {
                items(Some(value)).iter().for_each(|condition| mixed(condition, node, &format!("{at}.{name}"), faults));
            }
            "not" => mixed(value, node, &format!("{at}.not"), faults),
            _ => {}
        }
    }
}

/// What in a condition is against the rules: types, words, and fields that are specified nowhere outside of it.
fn mixed(condition: &Node, outside: &Node, at: &str, faults: &mut Vec<String>) {
    for (key, value) in entries(Some(condition)) {
        match key.name.as_str() {
            name if !CONDITION.contains(&name) => faults.push(format!("{at}: {name} is forbidden in a condition")),
            "properties" => {
                for (key, node) in entries(Some(value)) {
                    match outside.get("properties").and_then(|all| all.get(&key.name)) {
                        Some(field) => mixed(node, field, &format!("{at}.{}", key.name), faults),
                        None => faults.push(format!("{at}: {} is not specified outside", key.name)),
                    }
                }
            }
            "allOf" | "anyOf" | "oneOf" => {
                items(Some(value)).iter().for_each(|node| mixed(node, outside, at, faults));
            }
            "not" => mixed(value, outside, at, faults),
            _ => {}
        }
    }
}

/// Keys of `value` that an API server would drop, as it prunes.
fn pruned(schema: &Node, value: &Node, at: &str, dropped: &mut Vec<String>) {
    match &value.value {
        Value::Map(all) => {
            for (key, node) in all {
                let at = format!("{at}.{}", key.name);
                match schema.get("properties").and_then(|all| all.get(&key.name)).or(schema.get("additionalProperties"))
                {
                    Some(field) => pruned(field, node, &at, dropped),
                    None if is_on(schema, "x-kubernetes-preserve-unknown-fields") => {}
                    None => dropped.push(at),
                }
            }
        }
        Value::List(all) => {
            if let Some(item) = schema.get("items") {
                all.iter().for_each(|node| pruned(item, node, &format!("{at}[]"), dropped));
            }
        }
        _ => {}
    }
}

#[test]
fn the_definitions_are_structural() {
    for kind in ResourceKind::ALL {
        let (schema, mut faults) = (schema_of(kind), Vec::new());
        unstructured(&schema, "", &mut faults);
        assert_eq!(faults, Vec::<String>::new(), "{}", kind.name());
        // `kubectl apply` puts an object into an annotation, which takes 256 KiB.
        assert!(kind.crd().len() < 200 * 1024, "{} bytes", kind.crd().len());
        assert!(!kind.crd().contains('@') || kind.crd().matches('@').count() == 3, "a mark is left");
        assert_eq!(kind.crd().matches("default:").count(), 0, "an API server would write defaults into objects");
    }
}

#[test]
fn what_is_not_structural_is_seen() {
    for (text, says) in [
        ("{type: object, properties: {a: {}}}", "it has no type"),
        ("{type: object, properties: {a: {$ref: b}}}", "$ref is forbidden"),
        ("{type: object, patternProperties: {a: {type: string}}}", "patternProperties is forbidden"),
        ("{type: object, properties: {a: {type: string}}, additionalProperties: {type: string}}", "exclude each other"),
        ("{type: object, anyOf: [{properties: {a: {minLength: 1}}}]}", "a is not specified outside"),
        ("{type: object, not: {type: string}}", "type is forbidden in a condition"),
        ("{type: array, uniqueItems: true, items: {type: string}}", "uniqueItems is forbidden"),
        ("{type: object, if: {required: [a]}}", "if is forbidden"),
    ] {
        let mut faults = Vec::new();
        unstructured(&tree::parse(text).expect(text).remove(0), "", &mut faults);
        assert!(faults.iter().any(|fault| fault.contains(says)), "{text}: {faults:?}");
    }
}

/// The documents of a file that a resource could hold.
fn documents(path: &Path) -> Vec<(ResourceKind, Node)> {
    let text = fs::read_to_string(path).expect("readable");
    let nodes = tree::parse(text.trim_start_matches('\u{feff}')).unwrap_or_default();
    let has = |node: &Node, keys: &[&str]| keys.iter().any(|key| node.get(key).is_some());
    let kind = |node: &Node| match node {
        node if has(node, &["preset", "apiVersion", "groups", "exclusions", "budget_resets"]) => None,
        node if has(node, &["allowed_actions"]) => Some(ResourceKind::ActionPolicy),
        node if has(node, &["name", "slo", "owner"]) => Some(ResourceKind::ServiceLevel),
        _ => None,
    };
    nodes.into_iter().filter_map(|node| Some((kind(&node)?, node))).collect()
}

/// What an API server says of a document as the spec of an object: refused, or what it would drop.
fn said(schemas: &[Node], (kind, node): &(ResourceKind, Node)) -> Vec<String> {
    let schema = schemas[ResourceKind::ALL.iter().position(|one| one == kind).expect("it is one")].clone();
    let spec = schema.get("properties").and_then(|all| all.get("spec")).expect("a spec");
    let mut said: Vec<String> = fault(spec, node, spec, "spec").into_iter().collect();
    pruned(spec, node, "spec", &mut said);
    said
}

#[test]
fn an_api_server_takes_whatever_the_readers_take_and_drops_nothing() {
    let schemas = ResourceKind::ALL.map(schema_of);
    let folders = ["tests/configs/good", "rules/services", "rules/policies", "deploy/kubernetes/base"];
    let mut checked = 0;
    for path in folders.iter().flat_map(|folder| yaml_files(folder)) {
        for document in documents(&path) {
            checked += 1;
            let said = said(&schemas, &document);
            // Labels are texts in Kubernetes: a number among them is quoted there.
            let said: Vec<_> = said.iter().filter(|fault| !fault.ends_with(": type") || !is_of_labels(fault)).collect();
            assert!(said.is_empty(), "{}: {said:?}", path.display());
        }
    }
    assert!(checked > 35, "only {checked}");
}

fn is_of_labels(fault: &str) -> bool {
    [".match.", ".labels.", ".annotations.", ".when."].iter().any(|map| fault.contains(map))
}

#[test]
fn an_api_server_refuses_some_of_what_the_readers_refuse() {
    let schemas = ResourceKind::ALL.map(schema_of);
    let bad: Vec<_> = yaml_files("tests/configs/bad").iter().flat_map(|path| documents(path)).collect();
    let refused = bad.iter().filter(|document| !said(&schemas, document).is_empty()).count();
    // The rest stands where a value may have several types, or is beyond any schema: the status says it.
    assert!(refused >= 70, "{refused} of {}", bad.len());
}

#[test]
fn deploy_holds_what_is_printed() {
    for kind in ResourceKind::ALL {
        for folder in ["deploy/kubernetes/crds", "deploy/helm/slowburn/crds"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(format!("{}.yaml", kind.plural()));
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
                fs::write(&path, kind.crd()).expect("writable");
            }
            assert!(
                fs::read_to_string(&path).unwrap_or_default() == kind.crd(),
                "{} is old: slowburn crds --to {folder}",
                path.display()
            );
        }
    }
}
