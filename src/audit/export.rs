//! Decisions in the form of OPA's decision logs, for tools that read those already.

use serde_json::{Value, json};

use super::record::Entry;

/// The policy path that decisions are filed under.
const PATH: &str = "slowburn/gate/decision";

/// A decision as OPA logs one; `None` for records of other kinds.
pub fn opa(entry: &Entry) -> Option<Value> {
    if entry.text("kind") != Some("decision") {
        return None;
    }
    let member = |key: &str| entry.members.get(key).cloned().unwrap_or(Value::Null);
    let input: serde_json::Map<String, Value> =
        ["actor", "action", "resource", "service", "from_version", "to_version", "reason", "incident_id", "principal"]
            .into_iter()
            .map(|key| (key.to_owned(), member(key)))
            .collect();
    Some(json!({
        "decision_id": entry.text("decision.id"),
        "labels": {"id": entry.text("log.origin"), "app": "slowburn"},
        "path": PATH,
        "input": input,
        "result": {
            "allow": entry.text("decision.result") == Some("allow"),
            "decision": member("decision"),
            "approval": member("approval"),
        },
        "timestamp": member("time"),
        "custom": {"seq": entry.seq, "leaf": entry.leaf.to_string(), "inputs": member("inputs")},
    }))
}
