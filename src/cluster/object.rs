//! Objects of the API server, as much of them as rules are made of: who they are, what they hold, what was said of them.
//!
//! Deliberately absent: everything else. Managed fields and what clients note for themselves are not kept.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::spec::{ObjectKey, RuleKind};

/// What kubectl notes for itself: the object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What names it.
    pub key: Arc<ObjectKey>,
    /// Another one with each that is made under its name.
    pub uid: String,
    /// Changes with every write.
    pub version: String,
    /// Changes with every write of its `spec`; 0 where its kind counts none.
    pub generation: i64,
    /// When it was made, as the API server writes it.
    pub created: String,
    /// What it holds.
    pub texts: Vec<(String, String)>,
    /// Told from other texts by this.
    pub digest: String,
    /// The service that one of ours is of.
    pub service: Option<String>,
    /// What is said of it there.
    pub status: Value,
}

impl Object {
    /// An object of an answer; `None` where it is none.
    pub fn of(kind: RuleKind, value: &Value) -> Option<Object> {
        let metadata = &value["metadata"];
        let text = |name: &str| metadata[name].as_str().map(str::to_owned);
        let key = ObjectKey { kind: kind.name().into(), namespace: text("namespace")?, name: text("name")? };
        let texts = match kind {
            RuleKind::ConfigMap => files_of(value),
            _ => vec![(String::new(), manifest(kind, value))],
        };
        Some(Object {
            key: Arc::new(key),
            uid: text("uid")?,
            version: text("resourceVersion")?,
            generation: metadata["generation"].as_i64().unwrap_or(0),
            created: text("creationTimestamp").unwrap_or_default(),
            digest: digest(&texts),
            texts,
            service: match kind {
                RuleKind::Own(own) => value["spec"][own.named_by()].as_str().map(str::to_owned).or(text("name")),
                _ => None,
            },
            status: match kind {
                RuleKind::Own(_) => value["status"].clone(),
                _ => Value::Null,
            },
        })
    }
}

/// What tells texts from others.
pub(super) fn digest(texts: &[(String, String)]) -> String {
    let all = serde_json::to_vec(texts).expect("texts are JSON");
    Sha256::digest(&all).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The files in a ConfigMap, in the order of their keys.
fn files_of(value: &Value) -> Vec<(String, String)> {
    let all = value["data"].as_object().into_iter().flatten();
    let is_file = |name: &str| name.ends_with(".yaml") || name.ends_with(".yml");
    let mut files: Vec<(String, String)> = all
        .filter(|(name, _)| is_file(name))
        .filter_map(|(name, text)| Some((format!("/{name}"), text.as_str()?.to_owned())))
        .collect();
    files.sort();
    files
}

/// The object as its author would write it, as JSON, which is YAML.
fn manifest(kind: RuleKind, value: &Value) -> String {
    let metadata = &value["metadata"];
    let mut own = Map::new();
    for name in ["name", "namespace", "labels", "annotations"] {
        if let Some(part) = metadata.get(name).filter(|part| !part.is_null()) {
            own.insert(name.into(), part.clone());
        }
    }
    if let Some(notes) = own.get_mut("annotations").and_then(Value::as_object_mut) {
        notes.remove(LAST_APPLIED);
    }
    let object = json!({
        "apiVersion": kind.api_version(), "kind": kind.name(), "metadata": own, "spec": value["spec"],
    });
    serde_json::to_string_pretty(&object).expect("a value is JSON")
}
