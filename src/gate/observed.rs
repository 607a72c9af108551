//! What runs, as somebody saw it: the state of workloads, and the changes they went through. It comes from metrics
//! (kube-state-metrics and its like) or from posted changes, never from the one who asks.

use serde::{Deserialize, Serialize};

use crate::engine::Seconds;

/// Workloads of one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// In the order of their resource names.
    pub workloads: Vec<Workload>,
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
    /// The workload of this name.
    pub fn workload(&self, resource: &str) -> Option<&Workload> {
        self.workloads.iter().find(|workload| workload.resource == resource)
    }
}
