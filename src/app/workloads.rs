//! What runs, looked up beside the ticks: a look begins with each of them, and ends by itself.
//!
//! Nothing waits for it. The gate is shown what the last look found; each sample has its own time, so what comes late is
//! old when it comes, and never passes for what runs now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use super::rules::Rules;
use crate::gate_service;
use crate::prometheus::Client;
use crate::prometheus::fault::Fault;
use crate::prometheus::nodes::{self, NodeSeen, NodesSeen};
use crate::prometheus::workloads::{self, Limits, Looked, Seen, Wanted};

/// A whole look takes this long at most: the next poll may need the server.
const LOOK_MAX: Duration = Duration::from_secs(20);

/// What was seen of a workload is of now for so long at least, seconds: a look takes a tick.
const RECENT_S: i64 = 90;

/// Workloads by service and resource.
pub type SeenByService = BTreeMap<String, BTreeMap<String, Seen>>;

/// A look that is under way, and what it asks about by service.
type LookUnderWay = (Vec<(String, Wanted)>, JoinHandle<(Looked, Result<NodesSeen, Fault>)>);

/// The looks for workloads.
#[derive(Default)]
pub struct Workloads {
    looking: Option<LookUnderWay>,
    seen: SeenByService,
    /// The nodes that policies name.
    nodes: NodesSeen,
    /// How many workloads each service has, by the last look.
    wanted: BTreeMap<String, usize>,
    /// Where the next look begins to ask for utilizations: all of them have their turn where one look cannot ask for all.
    first: usize,
}

impl Workloads {
    /// Begins a look, unless one is under way.
    pub fn begin(&mut self, client: &Client, rules: &Rules, at_s: i64, concurrency: usize) {
        let pools = rules.gate.pools();
        if self.looking.is_some() || rules.workloads.is_empty() && pools.is_empty() {
            return;
        }
        let (client, named) = (client.clone(), rules.workloads.clone());
        let wanted: Vec<Wanted> = named.iter().map(|(_, wanted)| wanted.clone()).collect();
        let limits = Limits { concurrency, deadline: Instant::now() + LOOK_MAX, first: self.first };
        let of_services = named.clone();
        let look = async move {
            let nodes = nodes::look(&client, &pools, &of_services, at_s, limits.deadline).await;
            (workloads::look(&client, &wanted, at_s, limits).await, nodes)
        };
        self.looking = Some((named, tokio::spawn(look)));
    }

    /// Waits for the look under way, for ever when there is none.
    pub async fn done(&mut self) {
        match &mut self.looking {
            Some((_, task)) => {
                let looked = task.await;
                let (looked, nodes) = looked.unwrap_or_else(|_| (Looked::default(), Err(Fault::Timeout)));
                self.take(looked, nodes);
            }
            None => std::future::pending().await,
        }
    }

    /// Takes what the look found, if it has ended.
    pub async fn take_ended(&mut self) {
        if self.looking.as_ref().is_some_and(|(_, task)| task.is_finished()) {
            self.done().await;
        }
    }

    /// Services all of whose workloads want 0 replicas, as was seen within two scrapes before `at_s`: who wants something
    /// of which nobody can tell wants more than nothing.
    pub fn scaled_to_zero(&self, at_s: i64) -> BTreeSet<String> {
        let zero = |seen: &Seen| seen.replicas == Some(0) && at_s - seen.at_s <= (2 * seen.every_s).max(RECENT_S);
        let all = self.seen.iter().filter(|(service, of)| {
            let wanted = self.wanted.get(*service).copied().unwrap_or(usize::MAX);
            of.len() >= wanted && of.values().all(zero)
        });
        all.map(|(service, _)| service.clone()).collect()
    }

    /// What runs, as it was seen last.
    pub fn seen(&self) -> &SeenByService {
        &self.seen
    }

    /// The nodes that policies name, as they were seen last.
    pub fn nodes(&self) -> &NodesSeen {
        &self.nodes
    }

    /// Other rules are in force: what they do not name is not looked for.
    pub fn follow(&mut self, rules: &Rules) {
        if let Some((_, task)) = self.looking.take() {
            task.abort();
        }
        let named = |service: &str, resource: &str| {
            rules.workloads.iter().any(|(name, wanted)| name == service && wanted.resource == resource)
        };
        // Whom pods belong to may be another now.
        self.nodes.clear();
        for (service, of) in &mut self.seen {
            of.retain(|resource, _| named(service, resource));
        }
        self.seen.retain(|_, of| !of.is_empty());
    }

    fn take(&mut self, looked: Looked, nodes: Result<NodesSeen, Fault>) {
        let Some((named, _)) = self.looking.take() else { return };
        match nodes {
            Ok(nodes) => self.nodes = nodes,
            // What was seen last is known still, and is as old as it is.
            Err(fault) => warn!(%fault, "workloads on nodes could not be read"),
        }
        if let Some((query, fault)) = looked.faults.first() {
            warn!(failed = looked.faults.len(), query, %fault, "workloads could not be read");
        }
        self.first = looked.next;
        let mut before = std::mem::take(&mut self.seen);
        self.wanted.clear();
        for (service, wanted) in named {
            *self.wanted.entry(service.clone()).or_default() += 1;
            // Of whom nobody could tell, what was seen last is known still, and is as old as it is.
            let old = before.get_mut(&service).and_then(|of| of.remove(&wanted.resource));
            let seen = match looked.unanswered.contains(&wanted) {
                true => old,
                false => looked.found.get(&wanted).cloned(),
            };
            if let Some(seen) = seen {
                self.seen.entry(service).or_default().insert(wanted.resource, seen);
            }
        }
    }
}

/// Asks Prometheus for the one workload or node of a permit that is redeemed.
pub struct Observer {
    client: Client,
    wanted: Vec<(String, Wanted)>,
}

impl Observer {
    /// For the workloads that the rules want looked at.
    pub fn new(client: &Client, rules: &Rules) -> Arc<Self> {
        Arc::new(Observer { client: client.clone(), wanted: rules.workloads.clone() })
    }
}

impl gate_service::Observe for Observer {
    fn look<'a>(&'a self, service: &'a str, resource: &'a str, at_s: i64) -> gate_service::Looking<'a, Seen> {
        Box::pin(async move {
            let own = |(of, wanted): &&(String, Wanted)| of == service && wanted.resource == resource;
            let Some((_, wanted)) = self.wanted.iter().find(own) else { return Err(()) };
            let limits = Limits { concurrency: 4, deadline: Instant::now() + gate_service::LOOK_WITHIN, first: 0 };
            let mut looked = workloads::look(&self.client, std::slice::from_ref(wanted), at_s, limits).await;
            if looked.unanswered.is_empty() { Ok(looked.found.remove(wanted)) } else { Err(()) }
        })
    }

    fn look_at_node<'a>(&'a self, name: &'a str, at_s: i64) -> gate_service::Looking<'a, NodeSeen> {
        Box::pin(async move {
            let (only, deadline) = (BTreeSet::from([name.to_owned()]), Instant::now() + gate_service::LOOK_WITHIN);
            let looked = nodes::look(&self.client, &only, &self.wanted, at_s, deadline).await;
            looked.map(|mut nodes| nodes.remove(name)).map_err(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_scaled_to_zero_where_all_of_its_workloads_were_just_seen_to_want_nothing() {
        let seen = |replicas, at_s| Seen { at_s, replicas, every_s: 30, ..Seen::default() };
        let at = |wanted: usize, of: &[Seen]| {
            let of = of.iter().cloned().zip(0..).map(|(seen, n)| (format!("deployment/d{n}"), seen)).collect();
            let workloads = Workloads {
                seen: BTreeMap::from([("a".to_owned(), of)]),
                wanted: BTreeMap::from([("a".to_owned(), wanted)]),
                ..Workloads::default()
            };
            !workloads.scaled_to_zero(1000).is_empty()
        };
        assert!(at(1, &[seen(Some(0), 970)]));
        assert!(at(2, &[seen(Some(0), 970), seen(Some(0), 990)]));
        assert!(!at(2, &[seen(Some(0), 970), seen(Some(1), 990)]), "one of them runs");
        assert!(!at(2, &[seen(Some(0), 970)]), "of the other nobody can tell");
        assert!(!at(1, &[seen(None, 970)]), "its replicas are not known");
        assert!(!at(1, &[seen(Some(0), 800)]), "that was three minutes ago");
    }
}
