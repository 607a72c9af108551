//! What the daemon tells the gate: the policies in force, and what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::warn;

use crate::gate_service;
use crate::prometheus::Client;
use crate::prometheus::workloads::{self, Seen, VERSION_LABEL, Wanted};
use crate::spec::Loaded;

/// The rules of the gate, and the workloads to look for with the service of each.
pub fn rules(loaded: &Loaded) -> (gate_service::Rules, Vec<(String, Wanted)>) {
    let services = &loaded.model.services;
    let wanted: Vec<(String, Wanted)> = services
        .iter()
        .flat_map(|service| service.workloads.iter().map(move |workload| (service, workload)))
        .map(|(service, workload)| {
            let wanted = Wanted {
                resource: workload.resource.clone(),
                namespace: workload.namespace.clone(),
                version_label: workload.version_label.clone().unwrap_or_else(|| VERSION_LABEL.into()),
                utilization: workload.utilization.clone(),
            };
            (service.name.clone(), wanted)
        })
        .collect();
    let mut workloads: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (service, one) in &wanted {
        workloads.entry(service.clone()).or_default().insert(one.resource.clone());
    }
    let policies = loaded.policies.iter().map(|policy| (policy.service.clone(), Arc::new(policy.clone()))).collect();
    let names = services.iter().map(|service| service.name.clone()).collect();
    (gate_service::Rules { policies, services: names, workloads, current: true }, wanted)
}

/// What runs, by service and resource. What was not seen is not in it.
pub async fn look(client: &Client, wanted: &[(String, Wanted)], at_s: i64) -> BTreeMap<String, BTreeMap<String, Seen>> {
    let mut seen: BTreeMap<String, BTreeMap<String, Seen>> = BTreeMap::new();
    if wanted.is_empty() {
        return seen;
    }
    let all: Vec<Wanted> = wanted.iter().map(|(_, wanted)| wanted.clone()).collect();
    let (found, faults) = workloads::look(client, &all, at_s).await;
    for (query, fault) in faults {
        warn!(query, %fault, "what runs could not be looked up");
    }
    for (service, wanted) in wanted {
        if let Some(found) = found.get(wanted) {
            seen.entry(service.clone()).or_default().insert(wanted.resource.clone(), found.clone());
        }
    }
    seen
}
