//! The schemas of files as Kubernetes has them: structural (`apiextensions.k8s.io/v1`).
//!
//! There every value has one type, nothing is referred to, and conditions stand apart from types. So definitions are written
//! out, and what only draft 7 can say (`if`, `dependencies`, a key that must not be there) is said by `anyOf` and `not`. A
//! value that may have several types, and keys that follow a pattern, cannot be said at all: those are kept as they are
//! written (`x-kubernetes-preserve-unknown-fields`), and the reader judges them. Defaults are words: an API server would write
//! them into objects, and an object would no longer say what its author said.

use crate::spec::problem::Place;
use crate::spec::tree::{Key, Node, Value};

/// Deepest nesting that is written out.
const DEPTH_MAX: usize = 24;

type Entries = Vec<(String, Node)>;

/// Keys that a value keeps as they are.
const KEPT: [&str; 9] = [
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];

fn node(value: Value) -> Node {
    Node::made(value, Place::default())
}

fn text(value: &str) -> Node {
    Node::text(value, Place::default())
}

fn flag(value: bool) -> Node {
    node(Value::Bool(value))
}

fn map(entries: Entries) -> Node {
    Node::map(entries, Place::default())
}

fn list(items: Vec<Node>) -> Node {
    Node::list(items, Place::default())
}

fn one(key: &str, value: Node) -> Node {
    map(vec![(key.into(), value)])
}

fn entries(node: &Node) -> &[(Key, Node)] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        _ => &[],
    }
}

fn words(node: Option<&Node>) -> Vec<&str> {
    match node.map(|node| &node.value) {
        Some(Value::Text(text)) => vec![text],
        Some(Value::List(all)) => all
            .iter()
            .filter_map(|node| match &node.value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// A schema of draft 7 whose definitions are those of `root`, as a structural one. `optional` is not required of its root.
pub(crate) fn structural(root: &Node, optional: &str) -> Node {
    let mut made = value(root, root, 0);
    if let Value::Map(all) = &mut made.value {
        for (_, node) in all.iter_mut().filter(|(key, _)| key.name == "required") {
            if let Value::List(names) = &mut node.value {
                names.retain(|name| name.value != Value::Text(optional.into()));
            }
        }
    }
    made
}

/// What a node says, with what it refers to written out: the first word of a key wins.
fn flattened(node: &Node, root: &Node) -> Vec<(String, Node)> {
    let mut all: Entries = Vec::new();
    let mut open = vec![node];
    let mut conditions = Vec::new();
    while let Some(at) = open.pop() {
        for (key, value) in entries(at) {
            match key.name.as_str() {
                "$ref" => {
                    let name = words(Some(value)).concat();
                    let name = name.trim_start_matches("#/definitions/").to_owned();
                    let found = root.get("definitions").and_then(|all| all.get(&name));
                    open.push(found.expect("a test follows every $ref"));
                }
                // A list that refers to what the value is, and says more of it.
                "allOf" => {
                    for part in items(value) {
                        if part.get("$ref").is_some() {
                            open.push(part);
                        } else {
                            conditions.push(part.clone());
                        }
                    }
                }
                name if all.iter().any(|(known, _)| known == name) => {}
                name => all.push((name.to_owned(), value.clone())),
            }
        }
    }
    if !conditions.is_empty() {
        all.push(("allOf".into(), list(conditions)));
    }
    all
}

/// The one type of a value; `None` where it may have several.
fn type_of(all: &[(String, Node)], root: &Node) -> Option<&'static str> {
    let get = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, node)| node);
    let known = |word: &str| {
        ["object", "array", "string", "number", "integer", "boolean"].into_iter().find(|known| *known == word)
    };
    let same = |mut types: Vec<Option<&'static str>>| {
        types.dedup();
        match types.as_slice() {
            [only] => *only,
            _ => None,
        }
    };
    match words(get("type")).as_slice() {
        [only] => return known(only),
        // Labels are texts, and Kubernetes has no others.
        [_, _, ..] => return Some("string"),
        [] => {}
    }
    if let Some(choices) = get("enum") {
        let of = |node: &Node| match &node.value {
            Value::Text(_) => Some("string"),
            Value::Bool(_) => Some("boolean"),
            Value::Number(_) => Some("number"),
            _ => None,
        };
        return same(items(choices).iter().map(of).collect());
    }
    if let Some(branches) = get("anyOf") {
        return same(items(branches).iter().map(|branch| type_of(&flattened(branch, root), root)).collect());
    }
    None
}

/// A value: a field, the items of a list, or the root.
fn value(from: &Node, root: &Node, depth: usize) -> Node {
    assert!(depth < DEPTH_MAX, "definitions do not refer to themselves");
    let all = flattened(from, root);
    let get = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, node)| node);
    let mut made: Entries = Vec::new();
    let said = words(get("description")).concat();
    let default = get("default").map(|default| format!(" Default: {}.", super::flat(default).replace('"', "")));
    let said = format!("{said}{}", default.unwrap_or_default());
    if !said.trim().is_empty() {
        made.push(("description".into(), text(said.trim())));
    }
    let Some(kind) = type_of(&all, root) else {
        made.push(("x-kubernetes-preserve-unknown-fields".into(), flag(true)));
        return map(made);
    };
    made.push(("type".into(), text(kind)));
    if let Some(required) = get("required") {
        made.push(("required".into(), required.clone()));
    }
    limits(&all, &mut made);
    let mut conditions = Vec::new();
    match kind {
        "object" => {
            let known = entries_of(get("properties"));
            let fields: Entries = known
                .filter(|(_, node)| node.value != Value::Bool(false))
                .map(|(key, node)| (key.name.clone(), value(node, root, depth + 1)))
                .collect();
            if !fields.is_empty() {
                made.push(("properties".into(), map(fields)));
            } else if let Some(more) = get("additionalProperties").filter(|more| !matches!(more.value, Value::Bool(_)))
            {
                made.push(("additionalProperties".into(), value(more, root, depth + 1)));
            }
            if get("patternProperties").is_some() {
                made.push(("x-kubernetes-preserve-unknown-fields".into(), flag(true)));
            }
            conditions_of(&all, &mut conditions);
        }
        "array" => {
            let item = get("items").expect("a list says what it is of");
            made.push(("items".into(), value(item, root, depth + 1)));
        }
        _ => {
            if let Some(choices) = get("enum") {
                made.push(("enum".into(), choices.clone()));
            }
            if let Some(not) = get("not") {
                conditions.push(one("not", condition(not)));
            }
        }
    }
    if !conditions.is_empty() {
        made.push(("allOf".into(), list(conditions)));
    }
    map(made)
}

fn entries_of(node: Option<&Node>) -> impl Iterator<Item = &(Key, Node)> {
    node.map(entries).unwrap_or_default().iter()
}

/// Bounds, where draft 4, which Kubernetes follows, says some of them otherwise.
fn limits(all: &[(String, Node)], made: &mut Entries) {
    for (key, node) in all {
        match key.as_str() {
            "exclusiveMinimum" | "exclusiveMaximum" => {
                let bound = if key == "exclusiveMinimum" { "minimum" } else { "maximum" };
                made.push((bound.into(), node.clone()));
                made.push((key.clone(), flag(true)));
            }
            name if KEPT.contains(&name) => made.push((key.clone(), node.clone())),
            _ => {}
        }
    }
}

/// What must hold of an object besides the types of its fields.
fn conditions_of(all: &[(String, Node)], into: &mut Vec<Node>) {
    let get = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, node)| node);
    for word in ["oneOf", "anyOf"] {
        if let Some(branches) = get(word) {
            into.push(one(word, list(items(branches).iter().map(condition).collect())));
        }
    }
    if let Some(not) = get("not") {
        into.push(one("not", condition(not)));
    }
    into.extend(get("allOf").map(items).unwrap_or_default().iter().map(condition).filter(|all| !is_empty(all)));
    for (key, needs) in entries_of(get("dependencies")) {
        let without = one("not", one("required", list(vec![text(&key.name)])));
        into.push(one("anyOf", list(vec![without, one("required", needs.clone())])));
    }
    if let Some(asks) = get("if") {
        let asks = condition(asks);
        let otherwise = get("then").map(|then| vec![one("not", asks.clone()), condition(then)]);
        into.extend(otherwise.map(|branches| one("anyOf", list(branches))));
        into.extend(get("else").map(|other| one("anyOf", list(vec![asks, condition(other)]))));
    }
}

fn is_empty(node: &Node) -> bool {
    entries(node).is_empty()
}

/// A condition: no types, no words for people, no key that only draft 7 has.
fn condition(from: &Node) -> Node {
    let all: Entries = entries(from).iter().map(|(key, node)| (key.name.clone(), node.clone())).collect();
    let get = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, node)| node);
    let mut made: Entries = Vec::new();
    limits(&all, &mut made);
    for word in ["required", "enum"] {
        made.extend(get(word).map(|node| (word.to_owned(), node.clone())));
    }
    let forbidden = |node: &Node| node.value == Value::Bool(false);
    let fields: Entries = entries_of(get("properties"))
        .filter(|(_, node)| !forbidden(node))
        .map(|(key, node)| (key.name.clone(), condition(node)))
        .filter(|(_, node)| !is_empty(node))
        .collect();
    if !fields.is_empty() {
        made.push(("properties".into(), map(fields)));
    }
    let mut more = Vec::new();
    let absent = entries_of(get("properties")).filter(|(_, node)| forbidden(node));
    more.extend(absent.map(|(key, _)| one("not", one("required", list(vec![text(&key.name)])))));
    conditions_of(&all, &mut more);
    if !more.is_empty() {
        made.push(("allOf".into(), list(more)));
    }
    map(made)
}
