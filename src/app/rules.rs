//! The rules in force, and what follows from them: the plan, the rules of the gate, the workloads to look for.
//!
//! Reading the files of a large fleet and planning its requests takes seconds, so both happen on a thread of their own
//! ([`Reading`]) while the ticks go on. What is read is taken whole or not at all.
//!
//! Deliberately absent: what becomes of ledger, state file and requests when rules change. That is the daemon's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::warn;

use super::access::Access;
use crate::engine::Slo;
use crate::gate::Identities;
use crate::gate_service;
use crate::prometheus::workloads::{VERSION_LABEL, Wanted};
use crate::query::Plan;
use crate::query::plan::Survey;
use crate::spec::{Loaded, Model, Severity};
use crate::store;
use crate::web::Reload;

/// Reads the files; called at the start and at each reload.
pub type ReadRules = Arc<dyn Fn() -> Loaded + Send + Sync>;

/// The rules in force, in plan order.
pub struct Rules {
    /// What the files say.
    pub model: Arc<Model>,
    /// Its SLOs, in id order.
    pub slos: Vec<Arc<Slo>>,
    /// What is asked for them.
    pub plan: Arc<Plan>,
    /// Digest of everything loaded.
    pub digest: String,
    /// What the gate is held to.
    pub gate: gate_service::Rules,
    /// Workloads to look for, with the service of each.
    pub workloads: Vec<(String, Wanted)>,
    /// What the history of each SLO depends on, by its id.
    pub definitions: HashMap<String, String>,
}

impl Rules {
    /// What was loaded, planned by what is known of Prometheus.
    pub fn new(loaded: Loaded, survey: &Survey, resolution_s: i64) -> Self {
        let plan = planned(&loaded.model, survey);
        let (gate, workloads) = of_gate(&loaded);
        Rules {
            slos: loaded.model.slos.iter().map(|spec| Arc::clone(&spec.slo)).collect(),
            plan,
            digest: loaded.digest,
            gate,
            workloads,
            definitions: store::definitions(&loaded.model, resolution_s),
            model: Arc::new(loaded.model),
        }
    }

    /// Plans anew, by what is known now.
    pub fn plan_by(&mut self, survey: &Survey) {
        self.plan = planned(&self.model, survey);
    }

    /// The place of an SLO in all lists.
    pub fn place_of(&self, slo_id: &str) -> Option<usize> {
        self.slos.binary_search_by(|slo| slo.id.as_str().cmp(slo_id)).ok()
    }

    /// The longest window of all, seconds.
    pub fn longest_window_s(&self) -> i64 {
        self.slos.iter().map(|slo| slo.longest_s()).max().unwrap_or(0)
    }
}

/// The plan of a model. SLOs of which no request can be made are named: they are not read, and the others are.
fn planned(model: &Model, survey: &Survey) -> Arc<Plan> {
    let (plan, _) = Plan::surveyed(model, survey);
    for sli in &plan.slis {
        if let Some(reason) = &sli.refused {
            warn!(
                slo = sli.id,
                reason, "no request can be made of the source of this SLO: it has no data until that is mended"
            );
        }
    }
    Arc::new(plan)
}

/// The rules of the gate, and the workloads to look for with the service of each.
fn of_gate(loaded: &Loaded) -> (gate_service::Rules, Vec<(String, Wanted)>) {
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

/// Where rules come from, and what those that were in force leave for the next ones.
pub struct Sources {
    /// Reads the files.
    pub read: ReadRules,
    /// Reads identities and certificate; `None` where neither changes.
    pub access: Option<Arc<Access>>,
    /// Seconds in a slice.
    pub resolution_s: i64,
    /// What the history of each SLO depends on, by the rules in force.
    pub before: HashMap<String, String>,
    /// What is known of Prometheus.
    pub survey: Survey,
}

/// What reading gave: of the rules, and the identities where they could be read.
pub type Found = (Outcome, Option<Identities>);

/// What became of the rules.
pub enum Outcome {
    /// Rules without an error.
    Good(Box<Rules>),
    /// They have errors, so the old ones stay in force.
    Refused {
        /// All of it, for the log.
        rendered: String,
        /// One text for each error.
        problems: Vec<String>,
    },
}

impl Sources {
    /// Reads everything. Takes as long as the files are many.
    pub fn read(mut self) -> Found {
        let loaded = (self.read)();
        let (identities, faults) = self.access.as_ref().map(|access| access.read_again()).unwrap_or_default();
        let outcome = match loaded.is_fatal() || !faults.is_empty() {
            false => {
                let after = store::definitions(&loaded.model, self.resolution_s);
                self.survey.retain(|id| is_same(&self.before, &after, id));
                Outcome::Good(Box::new(Rules::new(loaded, &self.survey, self.resolution_s)))
            }
            true => {
                let rendered = format!("{}{}", loaded.render(false), faults.join("\n"));
                // Warnings stand in the way of nothing.
                let errors = loaded.problems.iter().filter(|problem| problem.severity == Severity::Error);
                let problems = errors.map(|problem| problem.render(None, false)).chain(faults).collect();
                Outcome::Refused { rendered, problems }
            }
        };
        (outcome, identities)
    }
}

/// Whether an SLO counts the same under both rules.
pub fn is_same(before: &HashMap<String, String>, after: &HashMap<String, String>, slo_id: &str) -> bool {
    after.contains_key(slo_id) && before.get(slo_id) == after.get(slo_id)
}

/// Rules that are being read beside the ticks.
pub struct Reading {
    task: JoinHandle<Found>,
    /// Who asked for it.
    request: Option<Reload>,
}

impl Reading {
    /// Starts to read for `request`.
    pub fn start(sources: Sources, request: Reload) -> Self {
        Reading { task: tokio::task::spawn_blocking(|| sources.read()), request: Some(request) }
    }

    /// Waits for it. Answers what was found, and who asked.
    pub async fn done(&mut self) -> (Found, Option<Reload>) {
        let found = (&mut self.task).await.unwrap_or_else(|error| {
            let why = format!("the rules could not be read: {error}");
            (Outcome::Refused { rendered: why.clone(), problems: vec![why] }, None)
        });
        (found, self.request.take())
    }
}
