//! Labels and annotations of foreign files: who owns the SLO, and what its alerts carry.

use std::collections::BTreeMap;

use super::draft::At;
use crate::spec::problem::{Code, Place};
use crate::spec::promise::RESERVED_LABELS;
use crate::spec::reader::{At as Node, Report};
use crate::spec::selector::is_label_name;
use crate::spec::tree::Value;

/// A label as it stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Label {
    pub name: String,
    pub value: At<String>,
}

/// Reads a map of labels, whose values may be lists of texts (OpenSLO): then the first counts, and all are kept.
pub(crate) fn read(at: &Node<'_>, report: &mut Report<'_>) -> Vec<Label> {
    let Some(fields) = at.map(report) else { return Vec::new() };
    let mut labels = Vec::new();
    for (key, value) in fields.entries() {
        if value.node.value == Value::Null {
            continue;
        }
        let text = match &value.node.value {
            Value::List(_) => {
                let items = value.list(report).unwrap_or_default();
                let texts: Vec<String> = items.iter().filter_map(|item| item.spelled(report)).collect();
                texts.join(",")
            }
            _ => value.spelled(report).unwrap_or_default(),
        };
        labels.push(Label { name: key.name.clone(), value: At { it: text, place: value.node.place } });
    }
    labels
}

/// The owner that labels name: `owner`, else `team`, with or without a prefix such as `pyrra.dev/`.
pub(crate) fn owner(labels: &[Label]) -> Option<At<String>> {
    let named = |word: &str| {
        let own = |label: &&Label| label.name.rsplit('/').next() == Some(word) && !label.value.it.trim().is_empty();
        labels.iter().find(own).map(|label| label.value.clone())
    };
    let found = named("owner").or_else(|| named("team"))?;
    let first = found.it.split(',').next().unwrap_or_default().trim().to_string();
    Some(At { it: first, place: found.place })
}

/// The owner that labels name, or the one of the command line; without either it is refused.
pub(crate) fn owner_or(
    labels: &[Label],
    given: Option<&str>,
    place: Place,
    instead: &str,
    report: &mut Report<'_>,
) -> Option<At<String>> {
    let found = owner(labels).or_else(|| given.map(|it| At { it: it.to_string(), place }));
    if found.is_none() {
        let what = "this SLO has no owner: no SLO, no owner, no deploy";
        report.error_at(place, "", Code::NoOwner, what).write(format!("{instead}, or --owner team-checkout"));
    }
    found
}

/// Those that an alert of Slowburn can carry; the others are said in `notes`.
pub(crate) fn of_alerts(labels: &[Label], notes: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for label in labels {
        let name = label.name.as_str();
        let note = if label.value.it.trim().is_empty() || matches!(name, "owner" | "service") {
            continue;
        } else if RESERVED_LABELS.contains(&name) {
            format!("the label {name:?} is left out: alerts of Slowburn have a label of that name of their own")
        } else if !is_label_name(name) {
            format!("the label {name:?} is left out of alerts: it is no label name of Prometheus")
        } else if label.value.it.contains("{{") {
            format!("the label {name:?} is left out of alerts: templates are not filled in")
        } else {
            kept.insert(name.to_string(), label.value.it.clone());
            continue;
        };
        notes.push(note);
    }
    kept
}

/// What people call the address of a runbook, without `_` and in small letters.
const RUNBOOKS: [&str; 6] = ["runbookurl", "runbooklink", "runbookuri", "runbooks", "playbook", "playbookurl"];

/// Annotations of alerts. `runbook_url` and its like are also the runbook.
pub(crate) fn annotations(labels: &[Label], notes: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for label in labels {
        let name: String =
            label.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
        if label.value.it.trim().is_empty() || !is_label_name(&name) {
            continue;
        }
        if label.value.it.contains("{{") {
            notes.push(format!("the annotation {:?} is left out: templates are not filled in", label.name));
            continue;
        }
        kept.insert(name, label.value.it.clone());
    }
    if !kept.contains_key("runbook") {
        let is_runbook = |name: &str| {
            let folded: String = name.to_lowercase().replace('_', "");
            RUNBOOKS.contains(&folded.as_str())
        };
        let found = kept.iter().find(|(name, _)| is_runbook(name)).map(|(_, url)| url.clone());
        kept.extend(found.map(|url| ("runbook".to_string(), url)));
    }
    kept
}
