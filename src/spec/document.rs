//! The documents of a file: lists of them taken apart, and texts that are none yet told by what they are.
//!
//! Deliberately absent: filling in templates. Only the program they are written for knows their values.

use super::problem::Place;
use super::tree::{Node, Value};

/// The documents of a node: the items of a list of Kubernetes (`kind: List`, `kubectl get -o yaml`), or of a list of
/// documents, as programs write OpenSLO; else the node.
pub(crate) fn documents(node: Node) -> Vec<Node> {
    let text = |key: &str| match node.get(key).map(|node| &node.value) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let is_document = |item: &Node| item.get("apiVersion").is_some() || item.get("kind").is_some();
    match &node.value {
        Value::List(items) if !items.is_empty() && items.iter().all(is_document) => items.clone(),
        Value::Map(_) if text("apiVersion").is_some() && text("kind").is_some_and(|kind| kind.ends_with("List")) => {
            match node.get("items").map(|node| &node.value) {
                Some(Value::List(items)) => items.clone(),
                _ => vec![node],
            }
        }
        _ => vec![node],
    }
}

/// What only Helm's templates hold, after `{{`. Templates of Prometheus (`$labels`, `$value`) and of Sloth
/// (`.window`) are texts of finished files.
const HELM: [&str; 12] = [
    ".Values",
    ".Release",
    ".Chart",
    ".Capabilities",
    ".Files",
    ".Template",
    "include ",
    "template ",
    "define ",
    "tpl ",
    "toYaml ",
    "/*",
];
/// What a template of any kind has where YAML would have a line of its own.
const CONTROL: [&str; 7] = ["if ", "else", "end", "range ", "with ", "block ", "$"];

/// The first place that shows that a text is a template of Helm, which has to be rendered before it is YAML.
/// `broken`: it is no YAML, so that a line which is a template and nothing else says enough.
pub(crate) fn helm(text: &str, broken: bool) -> Option<Place> {
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('#') && !line.contains(".Values") {
            continue;
        }
        for (at, _) in line.match_indices("{{") {
            let inner = line[at + 2..].trim_start_matches('-').trim_start();
            let inner = inner.trim_start_matches('(').trim_start();
            let quotes_a_template = inner.starts_with('`') || inner.starts_with("\"{{");
            let control = broken && line[..at].trim().is_empty() && CONTROL.iter().any(|word| inner.starts_with(word));
            let body = inner.split("}}").next().unwrap_or_default();
            let values = body.contains(".Values.") || body.contains(".Release.");
            if quotes_a_template || control || values || HELM.iter().any(|word| inner.starts_with(word)) {
                let length = line[at..].find("}}").map_or(2, |end| line[at..at + end + 2].chars().count());
                return Some(Place { line: number + 1, column: line[..at].chars().count() + 1, length });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tree;

    #[test]
    fn templates_of_helm_are_told_from_those_of_prometheus_and_sloth() {
        for (text, line) in [
            ("a: {{ .Values.b }}\n", 1),
            ("a: 1\nb: {{- include \"x\" . | nindent 4 }}\n", 2),
            ("a: '{{ `{{ $labels.x }}` }}'\n", 1),
            ("a: {{ printf \"%s\" .Values.x }}\n", 1),
            ("{{/* a comment */}}\na: 1\n", 1),
        ] {
            assert_eq!(helm(text, false).map(|place| place.line), Some(line), "{text}");
        }
        for text in ["a: rate(m[{{.window}}])\n", "a: '{{ $labels.x }} is {{ $value }}'\n", "# {{ .Release }}\na: 1\n"]
        {
            assert_eq!(helm(text, false), None, "{text}");
        }
        assert_eq!(helm("{{- if .x }}\na: 1\n{{- end }}\n", true).map(|place| place.line), Some(1));
    }

    #[test]
    fn lists_of_documents_are_taken_apart_and_other_lists_are_not() {
        let count = |text: &str| tree::parse(text).expect(text).into_iter().flat_map(documents).count();
        assert_eq!(count("apiVersion: v1\nkind: List\nitems: [{kind: A}, {kind: B}]\n"), 2);
        assert_eq!(count("apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjectiveList\nitems: []\n"), 0);
        assert_eq!(count("- {apiVersion: openslo/v1, kind: SLO}\n- {apiVersion: openslo/v1, kind: SLI}\n"), 2);
        assert_eq!(count("- a\n- b\n"), 1);
        assert_eq!(count("apiVersion: v1\nkind: List\n"), 1);
    }
}
