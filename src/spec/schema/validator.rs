//! As much of JSON schema (draft 7) as the schemas use: whether a file is refused, and where. A key that it does not know
//! is an error of the schema, not a pass.

use std::cell::RefCell;
use std::collections::BTreeMap;

use regex::Regex;

use crate::spec::tree::{Node, Value};

/// The first place at which `value` does not fit, with the reason.
pub fn fault(schema: &Node, value: &Node, root: &Node, at: &str) -> Option<String> {
    if let Value::Bool(fits) = schema.value {
        return (!fits).then(|| format!("{at}: must not be there"));
    }
    let Value::Map(rules) = &schema.value else { panic!("{at}: a schema is a map") };
    rules.iter().find_map(|(key, rule)| keyword(&key.name, rule, schema, value, root, at))
}

fn keyword(key: &str, rule: &Node, schema: &Node, value: &Node, root: &Node, at: &str) -> Option<String> {
    let wrong = |fits: bool| (!fits).then(|| format!("{at}: {key}"));
    let fits = |one: &Node| fault(one, value, root, at).is_none();
    let entries = match &value.value {
        Value::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    let items = match &value.value {
        Value::List(items) => items.as_slice(),
        _ => &[],
    };
    let is_map = matches!(value.value, Value::Map(_));
    let has = |name: &str| value.get(name).is_some();
    match key {
        "$schema" | "title" | "description" | "default" | "examples" | "definitions" | "then" | "else" => None,
        "$ref" => {
            let path = words(rule)[0].trim_start_matches("#/definitions/").to_owned();
            let target = root.get("definitions").and_then(|all| all.get(&path)).unwrap_or_else(|| panic!("{path}"));
            fault(target, value, root, at)
        }
        "type" => wrong(words(rule).iter().any(|word| is_of(value, word))),
        "enum" => wrong(list(rule).iter().any(|one| one.value == value.value)),
        "pattern" => match &value.value {
            Value::Text(text) => wrong(matches(&words(rule)[0], text)),
            _ => None,
        },
        "minimum" => wrong(number(value).is_none_or(|found| found >= limit(rule))),
        "maximum" => wrong(number(value).is_none_or(|found| found <= limit(rule))),
        // Of a structural schema: whether the bound beside it is one of those that are out.
        "exclusiveMinimum" if rule.value == Value::Bool(true) => {
            wrong(number(value).is_none_or(|found| found != limit(schema.get("minimum").expect("a bound"))))
        }
        "exclusiveMaximum" if rule.value == Value::Bool(true) => {
            wrong(number(value).is_none_or(|found| found != limit(schema.get("maximum").expect("a bound"))))
        }
        "x-kubernetes-preserve-unknown-fields" => None,
        "exclusiveMinimum" => wrong(number(value).is_none_or(|found| found > limit(rule))),
        "exclusiveMaximum" => wrong(number(value).is_none_or(|found| found < limit(rule))),
        "minLength" => wrong(length(value).is_none_or(|found| found >= limit(rule))),
        "maxLength" => wrong(length(value).is_none_or(|found| found <= limit(rule))),
        "minItems" => wrong(!matches!(value.value, Value::List(_)) || items.len() as f64 >= limit(rule)),
        "maxItems" => wrong(items.len() as f64 <= limit(rule)),
        "minProperties" => wrong(!is_map || entries.len() as f64 >= limit(rule)),
        "maxProperties" => wrong(entries.len() as f64 <= limit(rule)),
        "uniqueItems" => {
            let twice = |(i, one): (usize, &Node)| items[..i].iter().any(|earlier| earlier.value == one.value);
            wrong(!items.iter().enumerate().any(twice))
        }
        "required" => wrong(!is_map || words(rule).iter().all(|name| has(name))),
        "dependencies" => {
            let Value::Map(all) = &rule.value else { panic!("{at}: dependencies") };
            wrong(all.iter().all(|(name, needs)| !has(&name.name) || words(needs).iter().all(|need| has(need))))
        }
        "propertyNames" => entries.iter().find_map(|(name, _)| {
            fault(rule, &Node::text(&name.name, value.place), root, &format!("{at}.{}", name.name))
        }),
        "items" => items.iter().enumerate().find_map(|(i, item)| fault(rule, item, root, &format!("{at}[{i}]"))),
        "properties" | "patternProperties" => entries.iter().find_map(|(name, node)| {
            let rule = match key {
                "properties" => rule.get(&name.name)?,
                _ => matching(rule, &name.name)?,
            };
            fault(rule, node, root, &format!("{at}.{}", name.name))
        }),
        "additionalProperties" => entries.iter().find_map(|(name, node)| {
            let known = schema.get("properties").is_some_and(|all| all.get(&name.name).is_some())
                || schema.get("patternProperties").is_some_and(|all| matching(all, &name.name).is_some());
            (!known).then(|| fault(rule, node, root, &format!("{at}.{}", name.name))).flatten()
        }),
        "allOf" => list(rule).iter().find_map(|one| fault(one, value, root, at)),
        "anyOf" => wrong(list(rule).iter().any(fits)),
        "oneOf" => wrong(list(rule).iter().filter(|one| fits(one)).count() == 1),
        "not" => wrong(!fits(rule)),
        "if" => {
            let branch = if fits(rule) { "then" } else { "else" };
            schema.get(branch).and_then(|branch| fault(branch, value, root, at))
        }
        other => panic!("{at}: the keyword {other} is not known here"),
    }
}

fn matching<'n>(patterns: &'n Node, name: &str) -> Option<&'n Node> {
    let Value::Map(all) = &patterns.value else { return None };
    let found = all.iter().find(|(pattern, _)| matches(&pattern.name, name));
    found.map(|(_, node)| node)
}

fn is_of(value: &Node, word: &str) -> bool {
    match (&value.value, word) {
        (Value::Map(_), "object") | (Value::List(_), "array") | (Value::Text(_), "string") => true,
        (Value::Number(_), "number") | (Value::Bool(_), "boolean") => true,
        (Value::Number(number), "integer") => number.fract() == 0.0,
        _ => false,
    }
}

fn list(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        _ => panic!("expected a list"),
    }
}

/// A text, or a list of texts.
fn words(node: &Node) -> Vec<String> {
    match &node.value {
        Value::Text(text) => vec![text.clone()],
        Value::List(items) => items.iter().flat_map(words).collect(),
        _ => panic!("expected words"),
    }
}

fn number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

fn limit(node: &Node) -> f64 {
    number(node).expect("a limit is a number")
}

fn length(node: &Node) -> Option<f64> {
    match &node.value {
        Value::Text(text) => Some(text.trim().chars().count() as f64),
        _ => None,
    }
}

/// Whether a pattern is found in `text`. Each is compiled once for each thread.
fn matches(pattern: &str, text: &str) -> bool {
    thread_local!(static COMPILED: RefCell<BTreeMap<String, Regex>> = const { RefCell::new(BTreeMap::new()) });
    COMPILED.with_borrow_mut(|all| {
        let compiled = all.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).expect("a pattern"));
        compiled.is_match(text)
    })
}
