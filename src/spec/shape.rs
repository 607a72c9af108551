//! Which document a node is, told by its keys.
//!
//! Deliberately absent: reading it. A document that looks like one of ours may still be refused by its reader.

use super::import;
use super::resource::{self, ResourceKind};
use super::tree::{Node, Value};

/// What belongs into a folder of rules.
pub(crate) const EITHER: &str = "a service (name, owner, slo), a policy (service, allowed_actions) or exclusions";

/// What is said of the documents of Kubernetes that are none of ours.
pub(crate) const KUBERNETES: &str = "this is a document of Kubernetes, and none that holds SLOs";

/// What is read of other tools.
pub(crate) const SLO_FILES: &str =
    "a file of Sloth, Pyrra, OpenSLO v1 or slo-generator v2, a ServiceLevel, or a service (name, owner, slo)";

/// What a document is.
pub(crate) enum DocumentShape {
    Service,
    Policy,
    /// A custom resource of ours, whose `spec` is a service or a policy.
    Resource(ResourceKind),
    Preset,
    /// A document of another tool.
    Foreign(import::DocumentFormat),
    Correction,
    /// Known, and read by somebody else: passed over in a folder.
    Elsewhere(&'static str),
    Unknown(String, &'static str),
}

/// Which document a node is.
pub(crate) fn shape(node: &Node) -> DocumentShape {
    let Value::Map(entries) = &node.value else {
        return DocumentShape::Unknown(format!("expected a service or a policy, found {}", node.kind()), EITHER);
    };
    let has = |key: &str| entries.iter().any(|(k, _)| k.name == key);
    if has("groups") || has("rule_files") {
        return DocumentShape::Elsewhere("this is a file of Prometheus rules or of tests of them");
    }
    if has("preset") || has("slis") {
        return DocumentShape::Preset;
    }
    if has("objective_of_slices") {
        return DocumentShape::Elsewhere("defaults are compiled in, not loaded");
    }
    match resource::kind(node) {
        Some(Ok(kind)) => return DocumentShape::Resource(kind),
        Some(Err((what, instead))) => return DocumentShape::Unknown(what, instead),
        None => {}
    }
    match import::format(node) {
        Some(Ok(format)) => return DocumentShape::Foreign(format),
        Some(Err((what, instead))) => return DocumentShape::Unknown(what, instead),
        None => {}
    }
    if has("apiVersion") {
        return DocumentShape::Elsewhere(KUBERNETES);
    }
    if has("resources") && !has("name") && !has("slo") {
        return DocumentShape::Elsewhere("this is a list of what Kustomize puts together");
    }
    if has("prometheus") || has("alertmanagers") || has("listen") {
        let what = "these are daemon settings, not a service or a policy";
        return DocumentShape::Unknown(what.into(), "slowburn run --config FILE, outside of the rules folder");
    }
    if has("exclusions") || has("budget_resets") {
        return DocumentShape::Correction;
    }
    if has("allowed_actions") || has("safety_checks") || has("service") && !has("slo") {
        return DocumentShape::Policy;
    }
    if has("name") || has("slo") || has("owner") {
        return DocumentShape::Service;
    }
    let keys: Vec<String> = entries.iter().take(5).map(|(key, _)| format!("{:?}", key.name)).collect();
    DocumentShape::Unknown(format!("neither a service nor a policy: its keys are {}", keys.join(", ")), EITHER)
}
