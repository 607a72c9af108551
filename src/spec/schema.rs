//! What can stand in service.yaml, policy.yaml and exclusions.yaml, for editors (a JSON schema) and for people (a reference).
//!
//! The schemas are data, `schema/*.yaml`, compiled in. Deliberately absent: checking files against them. The readers do
//! that, and say more; tests hold the schemas to the readers, key by key, and to every file of `tests/configs`.

mod crd;
mod structural;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod validator;

use std::fmt::Write as _;

use super::burn::shown;
use super::tree::{self, Node, Value};

/// A file that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// `service.yaml`.
    Service,
    /// `policy.yaml`.
    Policy,
    /// `exclusions.yaml`.
    Exclusions,
}

impl Schema {
    /// All of them.
    pub const ALL: [Schema; 3] = [Schema::Service, Schema::Policy, Schema::Exclusions];

    /// `service`, `policy` or `exclusions`.
    pub fn name(self) -> &'static str {
        match self {
            Schema::Service => "service",
            Schema::Policy => "policy",
            Schema::Exclusions => "exclusions",
        }
    }

    fn root(self) -> Node {
        let text = match self {
            Schema::Service => include_str!("schema/service.yaml"),
            Schema::Policy => include_str!("schema/policy.yaml"),
            Schema::Exclusions => include_str!("schema/exclusions.yaml"),
        };
        tree::parse(text).expect("a test reads it").remove(0)
    }

    /// The schema as JSON, keys in the order in which people read them.
    pub fn json(self) -> String {
        let mut out = String::new();
        print(&self.root(), 0, &mut out);
        out.push('\n');
        out
    }

    /// The reference: a table for each map that the file can hold.
    pub fn reference(self) -> String {
        let root = self.root();
        let lead = text(&root, "description").unwrap_or_default();
        let mut out = format!(
            "# {name}.yaml: every key\n\n{lead}\n\nThis page is printed from the schema (`slowburn schema {name}`), which \
             tests hold to the reader. What a value may be is\nsaid in short; `slowburn check` says the rest.\n",
            name = self.name()
        );
        section(&root, &format!("{}.yaml", self.name()), &root, &mut out);
        if let Some(Value::Map(definitions)) = root.get("definitions").map(|node| &node.value) {
            for (key, node) in definitions {
                if node.get("properties").is_some() {
                    section(node, &key.name, &root, &mut out);
                }
            }
        }
        out
    }
}

/// Prints a node as JSON. Small maps and lists stand on one line.
fn print(node: &Node, depth: usize, out: &mut String) {
    const LINE_MAX: usize = 110;
    let flat = flat(node);
    let fits = flat.len() + 2 * depth <= LINE_MAX;
    match &node.value {
        Value::Map(entries) if !fits => {
            for (i, (key, value)) in entries.iter().enumerate() {
                let before = if i == 0 { "{" } else { "," };
                write!(out, "{before}\n{}{}: ", "  ".repeat(depth + 1), quoted(&key.name)).expect("a String takes it");
                print(value, depth + 1, out);
            }
            write!(out, "\n{}}}", "  ".repeat(depth)).expect("a String takes it");
        }
        Value::List(items) if !fits => {
            for (i, item) in items.iter().enumerate() {
                let before = if i == 0 { "[" } else { "," };
                write!(out, "{before}\n{}", "  ".repeat(depth + 1)).expect("a String takes it");
                print(item, depth + 1, out);
            }
            write!(out, "\n{}]", "  ".repeat(depth)).expect("a String takes it");
        }
        _ => out.push_str(&flat),
    }
}

fn flat(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => quoted(text),
        Value::List(items) => format!("[{}]", items.iter().map(flat).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entry = |(key, value): &(tree::Key, Node)| format!("{}: {}", quoted(&key.name), flat(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    match node.get(key).map(|node| &node.value) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// What a `$ref` leads to, with its name; the node itself where it is none.
fn resolved<'n>(node: &'n Node, root: &'n Node) -> (Option<&'n str>, &'n Node) {
    let Some(name) = text(node, "$ref").and_then(|path| path.strip_prefix("#/definitions/")) else {
        return (None, node);
    };
    (Some(name), root.get("definitions").and_then(|all| all.get(name)).expect("a test follows every $ref"))
}

/// A heading and a table of the keys of one map, then those of the maps within it that have no name of their own.
fn section(node: &Node, heading: &str, root: &Node, out: &mut String) {
    let mut within = Vec::new();
    let common = root.get("definitions").and_then(|all| all.get("common")).and_then(|node| node.get("properties"));
    let common = common.filter(|_| heading != "common");
    let is_common = |key: &tree::Key, value: &Node| {
        common.and_then(|all| all.get(&key.name)).is_some_and(|node| flat(node) == flat(value))
    };
    let mut shares = false;
    let lead = text(node, "description").filter(|_| !std::ptr::eq(node, root));
    let lead = lead.map(|lead| format!("\n{lead}\n")).unwrap_or_default();
    writeln!(out, "\n## {heading}\n{lead}\n| key | value | default | meaning |\n|---|---|---|---|")
        .expect("a String takes it");
    let needed = match node.get("required").map(|node| &node.value) {
        Some(Value::List(all)) => all.iter().map(|name| flat(name).replace('"', "")).collect(),
        _ => Vec::new(),
    };
    for group in ["properties", "patternProperties"] {
        let Some(Value::Map(entries)) = node.get(group).map(|node| &node.value) else { continue };
        for (key, value) in entries.iter().filter(|(_, value)| value.value != Value::Bool(false)) {
            if is_common(key, value) {
                shares = true;
                continue;
            }
            let name = match group {
                "properties" => key.name.clone(),
                // The one pattern there is: latency_p95_ms and its like.
                _ => "latency_pNN_ms, ttfb_pNN_s, gpu_queue_time_pNN_s, …".into(),
            };
            let own = resolved(value, root).1;
            let default = match (value.get("default").or(own.get("default")), needed.contains(&key.name)) {
                (Some(default), _) => format!("`{}`", flat(default).replace('"', "")),
                (None, true) => "needed".into(),
                (None, false) => String::new(),
            };
            let meaning = text(value, "description").or(text(own, "description")).unwrap_or_default();
            let form = form(value, root).replace('|', "\\|");
            writeln!(out, "| `{name}` | {form} | {default} | {} |", meaning.replace('|', "\\|"))
                .expect("a String takes it");
            let inner = value.get("items").unwrap_or(value);
            if inner.get("properties").is_some() {
                within.push((key.name.as_str(), inner));
            }
        }
    }
    if shares {
        out.push_str("\nBesides, [what every SLO can say](#common).\n");
    }
    for (name, inner) in within {
        section(inner, name, root, out);
    }
}

/// What a value may be, in a few words.
fn form(node: &Node, root: &Node) -> String {
    let (name, own) = resolved(node, root);
    if let Some(title) = text(own, "title") {
        return title.into();
    }
    if own.get("properties").is_some() {
        return name.map_or("a map, below".into(), |name| format!("[map](#{name})"));
    }
    for any in ["anyOf", "enum"] {
        let Some(Value::List(all)) = own.get(any).map(|node| &node.value) else { continue };
        let one = |node: &Node| match any {
            "enum" => format!("`{}`", flat(node).replace('"', "")),
            _ => form(node, root),
        };
        return all.iter().map(one).collect::<Vec<_>>().join(if any == "enum" { ", " } else { " or " });
    }
    let bound = |key: &str| match own.get(key).map(|node| &node.value) {
        Some(Value::Number(number)) => Some(shown(*number)),
        _ => None,
    };
    let range = match (bound("minimum"), bound("maximum"), bound("exclusiveMinimum")) {
        (Some(least), Some(most), _) => format!(" from {least} to {most}"),
        (_, Some(most), Some(over)) => format!(" over {over}, up to {most}"),
        _ => String::new(),
    };
    match text(own, "type") {
        Some("array") => format!("list of {}", own.get("items").map_or("anything".into(), |items| plural(items, root))),
        Some("integer") => format!("whole number{range}"),
        Some("number") => format!("number{range}"),
        Some("boolean") => "true or false".into(),
        Some("object") => match own.get("additionalProperties") {
            Some(node) if node.get("$ref").is_some() => format!("map of {}", plural(node, root)),
            _ => "map".into(),
        },
        _ => "text".into(),
    }
}

fn plural(items: &Node, root: &Node) -> String {
    match form(items, root).as_str() {
        "a map, below" => "maps, below".into(),
        "text" => "texts".into(),
        other => match other.strip_prefix("[map]") {
            Some(link) => format!("[maps]{link}"),
            None if other.contains('`') => other.into(),
            None => format!("{other}s"),
        },
    }
}
