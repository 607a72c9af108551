//! What runs, as somebody saw it: the state of workloads, and the changes they went through. It comes from metrics
//! (kube-state-metrics and its like) or from posted changes, never from the one who asks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::{Seconds, SloState};

/// Workloads of one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// In the order of their resource names.
    pub workloads: Vec<Workload>,
    /// The nodes that requests and permits are about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
}

/// A node, as far as its pods tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name, without `node/`.
    pub name: String,
    /// When its pods were seen.
    pub seen_at: Seconds,
    /// How long after it they are still held to be so, seconds.
    pub good_for_s: i64,
    /// What runs on it of the services that are known, in the order of services and resources.
    pub tenants: Vec<Tenant>,
    /// Pods that are of no known service, by namespace; those of daemon sets, which every node has, are not counted.
    pub strangers: BTreeMap<String, u32>,
}

/// A workload of a service with pods on a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// The service.
    pub service: String,
    /// Its workload.
    pub resource: String,
    /// Pods of it on the node.
    pub pods: u32,
    /// Pods of it that are ready on other nodes; `None` where that is not seen.
    pub ready_elsewhere: Option<u32>,
    /// The worst state of the service's SLOs; `Unknown` where it has none, or nobody can tell.
    pub state: SloState,
    /// Whether some SLO of it has no budget left.
    pub spent: bool,
}

/// One workload as it was last seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// `deployment/checkout-service`.
    pub resource: String,
    /// When it was seen.
    pub seen_at: Seconds,
    /// The version that runs.
    pub version: Option<String>,
    /// Counter of changes of its definition: `metadata.generation`, or the number of changes posted.
    pub generation: Option<u64>,
    /// Replicas wanted.
    pub replicas: Option<u32>,
    /// Share of its capacity in use, ratio.
    pub utilization: Option<f64>,
    /// How long after it was seen it is still held to be so, seconds; `None`: as long as nothing else is said.
    #[serde(default)]
    pub good_for_s: Option<i64>,
    /// Nobody saw it: it is as people and pipelines said. That makes an answer stricter, never looser.
    #[serde(default)]
    pub told: bool,
}

/// A change that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The service.
    pub service: String,
    /// What changed.
    pub resource: String,
    /// When.
    pub at: Seconds,
    /// The version that ran before, where whoever saw the change knows it.
    #[serde(default)]
    pub from_version: Option<String>,
    /// The version that runs since.
    pub version: Option<String>,
    /// Its generation since.
    pub generation: Option<u64>,
    /// Replicas since.
    pub replicas: Option<u32>,
    /// Who made it, where that is known.
    pub by: Option<String>,
}

/// Each change of a version, oldest first, with whether it went back to a version that had run before: a rollback,
/// whoever made it. `changes` are of one resource, oldest first.
pub fn returns<'c>(changes: impl Iterator<Item = &'c Change>) -> impl Iterator<Item = (&'c Change, bool)> {
    let mut seen: Vec<&str> = Vec::new();
    changes.filter_map(move |change| {
        let version = change.version.as_deref()?;
        if let Some(from) = change.from_version.as_deref().filter(|from| !seen.contains(from)) {
            seen.push(from);
        }
        let back = seen.contains(&version) && seen.last() != Some(&version);
        if !seen.contains(&version) {
            seen.push(version);
        }
        Some((change, back))
    })
}

impl Observed {
    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The workload that a resource is, or that it is one pod of.
    pub fn workload_of(&self, resource: &str) -> Option<&Workload> {
        self.workload(resource).or_else(|| self.workloads.iter().find(|one| is_pod_of(resource, &one.resource)))
    }

    /// The workload of this name.
    pub fn workload(&self, resource: &str) -> Option<&Workload> {
        self.workloads.iter().find(|workload| workload.resource == resource)
    }
}

/// Whether `resource` (`pod/NAME`) is by its name a pod of this workload: `NAME-REPLICASET-SUFFIX` of a deployment,
/// `NAME-ORDINAL` of a stateful set. Kubernetes names them so; a name proves no more than that.
pub fn is_pod_of(resource: &str, workload: &str) -> bool {
    let Some((kind, name)) = workload.split_once('/') else { return false };
    let rest = resource.strip_prefix("pod/").and_then(|pod| pod.strip_prefix(name)?.strip_prefix('-'));
    let Some(rest) = rest else { return false };
    let drawn = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    match kind {
        "deployment" => rest.split_once('-').is_some_and(|(set, own)| drawn(set) && drawn(own) && own.len() == 5),
        "statefulset" => !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_by_its_name() {
        for (pod, workload, expected) in [
            ("pod/checkout-5d8f7c9b4-x2x9k", "deployment/checkout", true),
            ("pod/checkout-api-5d8f7c9b4-x2x9k", "deployment/checkout", false),
            ("pod/checkout-5d8f7c9b4", "deployment/checkout", false),
            ("pod/checkout-5d8f7c9b4-", "deployment/checkout", false),
            ("pod/checkoutx-5d8f7c9b4-x2x9k", "deployment/checkout", false),
            ("pod/cache-0", "statefulset/cache", true),
            ("pod/cache-0x", "statefulset/cache", false),
            ("pod/cache-", "statefulset/cache", false),
            ("deployment/checkout", "deployment/checkout", false),
        ] {
            assert_eq!(is_pod_of(pod, workload), expected, "{pod} of {workload}");
        }
    }
}
