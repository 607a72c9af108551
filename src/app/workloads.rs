//! What runs, looked up beside the ticks: a look begins with each of them, and ends by itself.
//!
//! Nothing waits for it. The gate is shown what the last look found; each sample has its own time, so what comes late is
//! old when it comes, and never passes for what runs now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use super::rules::Rules;
use crate::gate_service;
use crate::prometheus::Client;
use crate::prometheus::workloads::{self, Limits, Looked, Seen, Wanted};

/// A whole look takes this long at most: the next poll may need the server.
const LOOK_MAX: Duration = Duration::from_secs(20);

/// Workloads by service and resource.
pub type SeenByService = BTreeMap<String, BTreeMap<String, Seen>>;

/// A look that is under way, and what it asks about by service.
type Looking = (Vec<(String, Wanted)>, JoinHandle<Looked>);

/// The looks for workloads.
#[derive(Default)]
pub struct Workloads {
    looking: Option<Looking>,
    seen: SeenByService,
    /// Where the next look begins to ask for utilizations: all of them have their turn where one look cannot ask for all.
    first: usize,
}

impl Workloads {
    /// Begins a look, unless one is under way.
    pub fn begin(&mut self, client: &Client, rules: &Rules, at_s: i64, concurrency: usize) {
        if self.looking.is_some() || rules.workloads.is_empty() {
            return;
        }
        let (client, named) = (client.clone(), rules.workloads.clone());
        let wanted: Vec<Wanted> = named.iter().map(|(_, wanted)| wanted.clone()).collect();
        let limits = Limits { concurrency, deadline: Instant::now() + LOOK_MAX, first: self.first };
        let look = async move { workloads::look(&client, &wanted, at_s, limits).await };
        self.looking = Some((named, tokio::spawn(look)));
    }

    /// Waits for the look under way, for ever when there is none.
    pub async fn done(&mut self) {
        match &mut self.looking {
            Some((_, task)) => {
                let looked = task.await;
                self.take(looked.unwrap_or_default());
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

    /// What runs, as it was seen last.
    pub fn seen(&self) -> &SeenByService {
        &self.seen
    }

    /// Other rules are in force: what they do not name is not looked for.
    pub fn follow(&mut self, rules: &Rules) {
        if let Some((_, task)) = self.looking.take() {
            task.abort();
        }
        let named = |service: &str, resource: &str| {
            rules.workloads.iter().any(|(name, wanted)| name == service && wanted.resource == resource)
        };
        for (service, of) in &mut self.seen {
            of.retain(|resource, _| named(service, resource));
        }
        self.seen.retain(|_, of| !of.is_empty());
    }

    fn take(&mut self, looked: Looked) {
        let Some((named, _)) = self.looking.take() else { return };
        if let Some((query, fault)) = looked.faults.first() {
            warn!(failed = looked.faults.len(), query, %fault, "what runs could not be looked up");
        }
        self.first = looked.next;
        let mut before = std::mem::take(&mut self.seen);
        for (service, wanted) in named {
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

/// Asks Prometheus for the one workload of a permit that is redeemed.
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
    fn look<'a>(&'a self, service: &'a str, resource: &'a str, at_s: i64) -> gate_service::Looking<'a> {
        Box::pin(async move {
            let own = |(of, wanted): &&(String, Wanted)| of == service && wanted.resource == resource;
            let Some((_, wanted)) = self.wanted.iter().find(own) else { return Err(()) };
            let limits = Limits { concurrency: 4, deadline: Instant::now() + gate_service::LOOK_WITHIN, first: 0 };
            let mut looked = workloads::look(&self.client, std::slice::from_ref(wanted), at_s, limits).await;
            if looked.unanswered.is_empty() { Ok(looked.found.remove(wanted)) } else { Err(()) }
        })
    }
}
