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

impl Observed {
    /// The workload of this name.
    pub fn workload(&self, resource: &str) -> Option<&Workload> {
        self.workloads.iter().find(|workload| workload.resource == resource)
    }
}
