//! YAML as a tree in which every node knows its line and column.
//!
//! Typed deserialization stops at the first fault of a document; a tree lets the readers go on and gather all of
//! them, with the path to each. The tree is bounded by `serde-saphyr`'s budget: bytes, nodes, depth, aliases.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::problem::Place;

/// One YAML value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub value: Value,
    pub place: Place,
    /// Byte range in the source; empty where the parser does not say.
    bytes: (usize, usize),
}

/// A YAML value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; keys may repeat.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub name: String,
    pub place: Place,
}

impl Node {
    /// What a reader of the message calls this kind of value.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// A node that stands for something else at `place` and has no spelling of its own.
    pub fn made(value: Value, place: Place) -> Node {
        Node { value, place, bytes: (0, 0) }
    }

    /// A text that is made, not read.
    pub fn text(value: &str, place: Place) -> Node {
        Node::made(Value::Text(value.to_string()), place)
    }

    /// A number that is made.
    pub fn number(value: f64, place: Place) -> Node {
        Node::made(Value::Number(value), place)
    }

    /// A list that is made.
    pub fn list(items: impl IntoIterator<Item = Node>, place: Place) -> Node {
        Node::made(Value::List(items.into_iter().collect()), place)
    }

    /// A map that is made, its keys at the same place.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Node)>, place: Place) -> Node {
        let entries = entries.into_iter().map(|(key, node)| (Key { name: key.into(), place }, node));
        Node::made(Value::Map(entries.collect()), place)
    }

    /// A scalar as it is spelled in `source`: `1.0` stays `1.0`.
    pub fn spelling<'s>(&self, source: &'s str) -> Option<&'s str> {
        source.get(self.bytes.0..self.bytes.1).map(str::trim).filter(|text| !text.is_empty())
    }

    /// The key `name` of a map.
    pub fn key(&self, name: &str) -> Option<&Key> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(key, _)| key),
            _ => None,
        }
    }

    /// The value of `key` in a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.name == key).map(|(_, node)| node),
            _ => None,
        }
    }
}

/// Why a text is not YAML.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub place: Place,
    pub what: String,
    pub instead: Option<String>,
}

/// All documents of `text`; empty ones are left out.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, Fault> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(super::files::FILE_BYTES_MAX),
            flow_nesting_limit: DEPTH_MAX,
            max_depth: DEPTH_MAX,
            max_events: 400_000,
            max_nodes: 200_000,
            max_documents: 1_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 1_000,
            max_total_scalar_bytes: 4 * super::files::FILE_BYTES_MAX,
            max_recorded_anchor_bytes: super::files::FILE_BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options::<Node>(text, options).map_err(|error| {
        let place = error.location().map_or(Place { line: 1, column: 1, length: 1 }, |location| {
            let place = place(&location);
            Place { line: place.line.max(1), column: place.column.max(1), length: 1 }
        });
        let (what, instead) = explained(reason(&error));
        Fault { place, what, instead: instead.map(str::to_string) }
    })
}

/// Deepest nesting of lists and maps.
const DEPTH_MAX: usize = 40;

/// The parser's reason and, for the common slips, what to do. It speaks of its own states where people slipped a space.
fn explained(reason: String) -> (String, Option<&'static str>) {
    let has = |words: &str| reason.contains(words);
    if has("tabs disallowed") || has("found a tab") {
        (format!("not YAML: {reason}"), Some("spaces instead of tabs, two for each level"))
    } else if has("flow mapping") || has("flow sequence") {
        let instead = "quotes around PromQL inside { } and [ ]: {total: 'http_requests_total{job=\"checkout\"}'}";
        (format!("not YAML: {reason}"), Some(instead))
    } else if has("mapping values are not allowed") {
        let instead =
            "keys of one map in the same column, a blank after each colon, and quotes around a text that has both";
        (format!("not YAML: {reason}"), Some(instead))
    } else if has("simple key expected") {
        ("not YAML: this line is no key and value".into(), Some("a blank after the colon, as in objective: 99.9"))
    } else if has("did not find expected '-'") {
        let instead = "the keys of an item of a list under its first key, two columns to the right of the `-`";
        ("not YAML: this is neither an item of the list above nor a key of one".into(), Some(instead))
    } else if has("unclosed quote") {
        (format!("not YAML: {reason}"), Some("the same quote at the end of the text"))
    } else if has("unclosed bracket '{'") {
        (format!("not YAML: {reason}"), Some("a } where the map ends"))
    } else if has("unclosed bracket '['") {
        (format!("not YAML: {reason}"), Some("a ] where the list ends"))
    } else if has("unexpected character") {
        (format!("not YAML: {reason}"), Some("quotes around the text: \"@ada\""))
    } else if has("did not find expected key") || has("indent") {
        ("not YAML: the indentation does not fit the lines above".into(), Some("keys of one map in the same column"))
    } else if has("reference to unknown value") {
        (
            "not YAML: there is no anchor of this name above".into(),
            Some("the value itself, or &NAME before the one that is meant"),
        )
    } else {
        (format!("not YAML: {reason}"), None)
    }
}

/// The parser's own words, without the place: that is said in front of them.
fn reason(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let first = text.lines().next().unwrap_or_default();
    let end = first.rfind(" at line ").unwrap_or(first.len());
    let tail = first.get(end..).unwrap_or_default().trim_start_matches(" at line ");
    let is_place = tail.chars().all(|c| c.is_ascii_digit() || c == ',' || c == ' ' || "column".contains(c));
    if is_place { first[..end].to_string() } else { first.to_string() }
}

fn place(location: &Location) -> Place {
    let count = |n: u64| usize::try_from(n).unwrap_or(0);
    Place {
        line: count(location.line()),
        column: count(location.column()),
        length: count(location.span().len()).max(1),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let mut place = place(&spanned.defined);
        if matches!(spanned.value, Value::List(_) | Value::Map(_)) {
            place.length = 1;
        }
        let span = spanned.defined.span();
        let start = span.byte_offset().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let length = span.byte_len().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        Ok(Node { value: spanned.value, place, bytes: (start, start.saturating_add(length)) })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Text(String::from_utf8_lossy(value).into_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Node>()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let key = Key { place: place(&key.referenced), name: key.value };
            map.push((key, entries.next_value::<Node>()?));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_knows_its_place_and_its_spelling() {
        let text = "a: 1.0\nb:\n  - {c: \"x y\", d: ~}\n---\n- true\n";
        let documents = parse(text).expect("valid YAML");
        assert_eq!(documents.len(), 2);
        let a = documents[0].get("a").expect("a");
        assert_eq!((a.place.line, a.place.column, a.place.length), (1, 4, 3));
        assert_eq!(a.spelling(text), Some("1.0"));
        let Value::List(items) = &documents[0].get("b").expect("b").value else { panic!("a list") };
        let c = items[0].get("c").expect("c");
        assert_eq!((c.place.line, c.place.column, c.place.length), (3, 9, 5));
        assert_eq!(items[0].get("d").expect("d").value, Value::Null);
    }

    #[test]
    fn a_repeated_key_is_kept_for_the_reader_to_refuse() {
        let documents = parse("a: 1\na: 2\n").expect("valid YAML");
        let Value::Map(entries) = &documents[0].value else { panic!("a map") };
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1].0.place.line, 2);
    }

    #[test]
    fn a_merge_key_is_expanded() {
        let documents = parse("base: &b {x: 1}\nuse: {<<: *b, y: 2}\n").expect("valid YAML");
        assert!(documents[0].get("use").and_then(|node| node.get("x")).is_some());
    }
}
