//! What the gate sees, made anew at each poll: the view of every service that has a policy, and what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{GateService, LookedAgain, State};
use crate::engine::{Ledger, Seconds, SloState, Snapshot};
use crate::gate::observed::{Change, Node, Observed, Tenant, Workload};
use crate::gate::request::Request;
use crate::gate::view::{Health, Scene, Stops, View};
use crate::prometheus::nodes::{NodeSeen, NodesSeen};
use crate::prometheus::workloads::Seen;

/// Time until the next poll has looked, beyond two scrapes, seconds.
const BETWEEN_POLLS_S: i64 = 60;

/// What is known of all services at one poll.
#[derive(Debug, Clone, Default)]
pub struct Views {
    /// End of the newest evaluated slice; 0 before the first one.
    pub at: Seconds,
    /// By service, of those that have a policy.
    pub by_service: BTreeMap<String, Arc<View>>,
    /// What runs, by service and resource.
    pub seen: BTreeMap<String, BTreeMap<String, Seen>>,
    /// The nodes that policies name, with how everything on them stands.
    pub nodes: BTreeMap<String, Node>,
    /// How every service stands, where policies name nodes: any of them may come to run there.
    pub standings: BTreeMap<String, Standing>,
    /// Services of which history has not been read.
    pub unread: BTreeSet<String>,
    /// Prometheus's clock less ours, seconds.
    pub clock_skew_s: Option<f64>,
}

/// The worst state of a service's SLOs, and whether some budget is spent.
type Standing = (SloState, bool);

/// What the daemon knows at a poll.
pub struct Poll<'a> {
    /// The evaluation.
    pub snapshot: &'a Snapshot,
    /// The slices behind it.
    pub ledger: &'a Ledger,
    /// What runs, by service and resource; what was not seen is not in it.
    pub seen: BTreeMap<String, BTreeMap<String, Seen>>,
    /// The nodes that policies name; what was not seen is not in it.
    pub nodes: NodesSeen,
    /// Services of which history has not been read: the gate waits for it, and for nobody else's.
    pub unread: BTreeSet<String>,
    /// Prometheus's clock less ours, seconds.
    pub clock_skew_s: Option<f64>,
}

impl State {
    /// The views of a poll.
    pub(super) fn views(&self, poll: Poll<'_>, now: Seconds) -> Views {
        let scene = Scene::new(poll.snapshot, Some(poll.ledger), self.gate.changes());
        let view = |(service, policy): (&String, &Arc<crate::gate::Policy>)| {
            let observed = self.observed(service, poll.seen.get(service), now);
            // The gate's own health changes between polls; it is put in when somebody asks.
            let health = Health {
                policy_current: false,
                warm: false,
                audit_writable: false,
                log_proved: false,
                leads: false,
                unwitnessed: Stops::Nothing,
                clock_skew_s: None,
                can_ask: false,
            };
            let view = scene.view(service, &policy.dependencies, observed, health)?;
            Some((service.clone(), Arc::new(view)))
        };
        let services = self.rules.services.iter().filter(|_| !self.rules.pools().is_empty());
        let standings: BTreeMap<_, _> = services.map(|service| (service.clone(), scene.standing(service))).collect();
        let nodes = poll.nodes.iter().map(|(name, seen)| (name.clone(), node(name, seen, &standings)));
        Views {
            at: poll.snapshot.at,
            by_service: self.rules.policies.iter().filter_map(view).collect(),
            nodes: nodes.collect(),
            standings,
            seen: poll.seen,
            unread: poll.unread,
            clock_skew_s: poll.clock_skew_s,
        }
    }

    /// What runs of a service: as the metrics show it. A workload that no metrics were named for is as the last change
    /// said, for whoever posts changes posts all of them.
    pub(super) fn observed(&self, service: &str, seen: Option<&BTreeMap<String, Seen>>, now: Seconds) -> Observed {
        let mut workloads: BTreeMap<String, Workload> = BTreeMap::new();
        let watched = self.rules.workloads.get(service);
        for change in self.gate.changes_of(service) {
            let known = workloads.entry(change.resource.clone()).or_insert_with(|| Workload {
                resource: change.resource.clone(),
                seen_at: now,
                version: None,
                generation: None,
                replicas: None,
                utilization: None,
                good_for_s: None,
                told: true,
            });
            known.version = change.version.clone().or(known.version.take());
            known.generation = change.generation.or(known.generation.map(|before| before + 1));
            known.replicas = change.replicas.or(known.replicas);
        }
        if let Some(watched) = watched {
            let is_seen = |resource: &String| seen.is_some_and(|seen| seen.contains_key(resource));
            workloads.retain(|resource, _| !watched.contains(resource) || is_seen(resource));
        }
        for (resource, seen) in seen.into_iter().flatten() {
            let told = workloads.remove(resource);
            let workload = Workload {
                resource: resource.clone(),
                seen_at: seen.at_s,
                // A version label may be missing where replicas are seen: then the last change said what it is.
                version: seen.version.clone().or(told.and_then(|told| told.version)),
                generation: seen.generation,
                replicas: seen.replicas,
                utilization: seen.utilization,
                good_for_s: Some(2 * seen.every_s + BETWEEN_POLLS_S),
                told: false,
            };
            workloads.insert(resource.clone(), workload);
        }
        Observed { workloads: workloads.into_values().collect(), nodes: Vec::new() }
    }

    /// Changes that the metrics show and nobody has told of: another generation, version or number of replicas than
    /// at the poll before.
    pub(super) fn changes_seen(
        &self,
        before: &BTreeMap<String, BTreeMap<String, Seen>>,
        after: &BTreeMap<String, BTreeMap<String, Seen>>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (service, workloads) in after {
            for (resource, now) in workloads {
                let Some(was) = before.get(service).and_then(|of| of.get(resource)) else { continue };
                let other_version = now.version.is_some() && was.version.is_some() && now.version != was.version;
                let other_generation =
                    now.generation.is_some() && was.generation.is_some() && now.generation != was.generation;
                let other_replicas = now.replicas.is_some() && was.replicas.is_some() && now.replicas != was.replicas;
                if !(other_version || other_generation || other_replicas) {
                    continue;
                }
                changes.push(Change {
                    service: service.clone(),
                    resource: resource.clone(),
                    at: now.at_s,
                    from_version: was.version.clone().filter(|_| other_version),
                    version: now.version.clone(),
                    generation: now.generation,
                    replicas: now.replicas,
                    by: None,
                });
            }
        }
        changes
    }
}

impl GateService {
    /// The view of a service as of now: that of the last poll, with what was told since and how the gate stands. A
    /// service of which nothing is evaluated is one all the same: a person can act on it in an emergency.
    pub(super) fn view(&self, state: &State, service: &str, now: Seconds) -> Option<View> {
        let observed = || state.observed(service, state.views.seen.get(service), now);
        let health = state.health(service, self.is_writable(state), &self.log(), self.leads());
        let resources = state.rules.workloads.get(service).map(|of| of.iter().cloned().collect());
        // The nodes that its permits are for: whether they still hold is looked at again and again.
        let held = state.gate.open_permits_of(service).filter_map(|permit| permit.request.node());
        let held: BTreeSet<&str> = held.collect();
        let observed = || {
            let nodes = held.iter().filter_map(|name| state.views.nodes.get(*name)).cloned().collect();
            Observed { nodes, ..observed() }
        };
        match state.views.by_service.get(service) {
            Some(view) => Some(View { observed: observed(), resources, health, ..View::clone(view) }),
            None => state
                .rules
                .services
                .contains(service)
                .then(|| View { resources, ..View::bare(service, observed(), health) }),
        }
    }
}

impl State {
    /// What was looked at again stands in the view in the place of what the last poll saw.
    pub(super) fn put_in(&self, view: &mut View, looked: LookedAgain, now: Seconds) {
        match looked {
            LookedAgain::Workload(resource, seen) => {
                let mut all = self.views.seen.get(&view.service).cloned().unwrap_or_default();
                match seen {
                    Some(seen) => drop(all.insert(resource, seen)),
                    None => drop(all.remove(&resource)),
                }
                let nodes = std::mem::take(&mut view.observed.nodes);
                view.observed = Observed { nodes, ..self.observed(&view.service, Some(&all), now) };
            }
            LookedAgain::Node(name, seen) => {
                view.observed.nodes.retain(|node| node.name != name);
                view.observed.nodes.extend(seen.map(|seen| node(&name, &seen, &self.views.standings)));
            }
        }
    }

    /// The node that a request is about stands in the view, too.
    pub(super) fn with_node(&self, mut view: Option<View>, request: &Request) -> Option<View> {
        let node = request.node().and_then(|name| self.views.nodes.get(name));
        if let (Some(view), Some(node)) = (&mut view, node)
            && view.observed.node(&node.name).is_none()
        {
            view.observed.nodes.push(node.clone());
        }
        view
    }
}

/// A node with how the services on it stand.
fn node(name: &str, seen: &NodeSeen, standings: &BTreeMap<String, Standing>) -> Node {
    let tenants = seen.tenants.iter().map(|((service, resource), tenant)| {
        let (state, spent) = standings.get(service).copied().unwrap_or((SloState::Unknown, false));
        Tenant {
            service: service.clone(),
            resource: resource.clone(),
            pods: tenant.pods,
            ready_elsewhere: tenant.ready_elsewhere,
            state,
            spent,
        }
    });
    Node {
        name: name.to_owned(),
        seen_at: seen.at_s,
        good_for_s: 2 * seen.every_s + BETWEEN_POLLS_S,
        tenants: tenants.collect(),
        strangers: seen.strangers.clone(),
    }
}
