//! The gate at work: keeps the gate state, writes each step to the audit log before it answers, and follows what came of it.
//!
//! ```text
//! request ─► decide (pure) ─► events ─► audit log (fdatasync) ─► state ─► answer
//!                ▲                                                 │
//!     views of each poll: ledger, health, what runs                └─► revocations, verdicts, at each poll
//! ```
//!
//! One lock orders everything: what is decided under it is queued for the log under it, so the log has the order of the
//! state. Who only looks shares it. Waiting for the disk happens outside the lock, and all who wait share one write. An
//! answer that the log refused is a no. What was refused stands in the gate state all the same, so nothing is allowed from then
//! on, until a poll finds that the log can be written and builds the gate state again from it.
//!
//! After a restart the gate state is built again from the log, which is all there is to build it from.
//!
//! Deliberately absent: rules of its own. What is allowed is decided in `gate`; who asks was found out by whoever took
//! the request.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, warn};

use crate::audit;
use crate::clock::Clock;
use crate::engine::{Alert, Now, Seconds, SloSnapshot};
use crate::gate::event::{Event, EventKind};
use crate::gate::observed::is_pod_of;
use crate::gate::policy::Policy;
use crate::gate::{Digest, GateState, Identities};
use crate::prometheus::nodes::NodeSeen;
use crate::prometheus::workloads::Seen;

mod alarm;
mod answer;
mod command;
mod deciding;
mod doors;
mod id;
mod inputs;
mod leading;
mod options;
pub mod past;
mod read;
mod record;
pub mod replay;
mod reported;
mod silences;
mod unwritten;
mod views;

pub use answer::Answered;
pub use command::{HaltOrder, Posted, VoteKind, VoteOrder};
pub use options::OptionsOrder;
pub use reported::{Receipt, Reported};
pub use silences::Silenced;
pub use views::{Poll, Views};

/// Why something was not done. Each is a no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// The request cannot be read.
    Malformed(String),
    /// There is no such thing.
    Unknown(String),
    /// Not by this principal.
    Forbidden(String),
    /// Not in the state that it is in.
    Conflict(String),
    /// The gate cannot answer: above all, what it says cannot be written down.
    Unavailable(String),
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Blocked::Malformed(what)
        | Blocked::Unknown(what)
        | Blocked::Forbidden(what)
        | Blocked::Conflict(what)
        | Blocked::Unavailable(what)) = self;
        f.write_str(what)
    }
}

impl std::error::Error for Blocked {}

/// The rules of the gate.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Policies by service.
    pub policies: BTreeMap<String, Arc<Policy>>,
    /// Every service there is.
    pub services: BTreeSet<String>,
    /// Workloads that the metrics must show, by service: what they do not show is not known.
    pub workloads: BTreeMap<String, BTreeSet<String>>,
    /// Whether they are the newest ones: `false` where newer files were refused.
    pub current: bool,
}

impl Rules {
    /// The nodes that some policy means: names, and beginnings that end with `*`.
    pub fn pools(&self) -> BTreeSet<String> {
        let rows = self.policies.values().flat_map(|policy| &policy.allowed_actions);
        rows.filter_map(|row| row.action.of_nodes()).flat_map(|limits| limits.nodes.iter().cloned()).collect()
    }
}

/// What the gate is made of.
pub struct Options {
    /// The open audit log.
    pub log: audit::Log,
    /// Where it is kept: the gate state is built from it.
    pub dir: PathBuf,
    /// Its time.
    pub clock: Clock,
    /// Who there is.
    pub identities: Identities,
    /// Where people reach the page, without a trailing slash.
    pub external_url: Option<String>,
    /// Another process has the log: this one explains until it can take over.
    pub follows: bool,
}

/// What asks for what runs now.
pub trait Observe: Send + Sync {
    /// One workload of a service; `None`: it is not there. `Err`: nobody answers.
    fn look<'a>(&'a self, service: &'a str, resource: &'a str, at_s: Seconds) -> Looking<'a, Seen>;

    /// One node, by its name; the same.
    fn look_at_node<'a>(&'a self, name: &'a str, at_s: Seconds) -> Looking<'a, NodeSeen>;
}

/// An answer on its way.
pub type Looking<'a, T> = Pin<Box<dyn Future<Output = Result<Option<T>, ()>> + Send + 'a>>;

/// What was looked at again, and what it is now; `None`: it is not there.
enum LookedAgain {
    Workload(String, Option<Seen>),
    Node(String, Option<NodeSeen>),
}

/// Longest wait for it. Who redeems a permit does not wait for a Prometheus that hangs.
pub const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// The gate; clones are the same one.
#[derive(Clone)]
pub struct GateService(Arc<Inner>);

struct Inner {
    state: RwLock<State>,
    /// Another one from the moment on that this process takes over.
    log: RwLock<audit::Log>,
    /// This process does not decide: another one does, which may say where it is reached.
    following: RwLock<Option<leading::Following>>,
    bodies: audit::bodies::Bodies,
    unwritten: unwritten::Unwritten,
    clock: Clock,
    /// Counts what changed, for those who follow.
    changes: watch::Sender<u64>,
    /// The slice that the views are of.
    viewed: watch::Sender<Seconds>,
    external_url: Option<String>,
    observer: RwLock<Option<Arc<dyn Observe>>>,
    /// Alerts of others that were told of.
    reported: reported::Reports,
}

struct State {
    gate: GateState,
    rules: Rules,
    /// Digests of the policies in force, by service.
    digests: BTreeMap<String, Digest>,
    /// Policies by digest, those of before too: a permit rests on the one it was issued under.
    policies_known: BTreeMap<Digest, Arc<Policy>>,
    identities: Identities,
    views: Arc<Views>,
    ids: id::Ids,
    /// Alerts of the gate, by permit.
    alerts: BTreeMap<String, Alert>,
    /// Records that the log had refused when the gate state was built from it: with more of them it is not what the log says.
    refusals_known: u64,
}

/// Most policies of before that are remembered.
const POLICIES_KNOWN_MAX: usize = 1000;

impl GateService {
    /// Builds the gate state from the log.
    ///
    /// # Errors
    /// The log cannot be read; for people.
    pub fn new(options: Options) -> Result<Self, String> {
        let Options { log, dir, clock, identities, external_url, follows } = options;
        let (gate, reports) = if follows { Default::default() } else { read_state(&log)? };
        let bodies = audit::bodies::Bodies::open(&dir, log.bodies_bytes_max())
            .map_err(|error| format!("{}: {error}", dir.display()))?;
        let state = State {
            gate,
            rules: Rules::default(),
            digests: BTreeMap::new(),
            policies_known: BTreeMap::new(),
            identities,
            views: Arc::default(),
            ids: id::Ids::new(),
            alerts: BTreeMap::new(),
            refusals_known: log.refusals(),
        };
        let (changes, _) = watch::channel(0);
        let (viewed, _) = watch::channel(0);
        let inner = Inner {
            state: RwLock::new(state),
            log: RwLock::new(log),
            following: RwLock::new(follows.then(leading::Following::default)),
            bodies,
            unwritten: Default::default(),
            reported: Default::default(),
            clock,
            changes,
            viewed,
            external_url,
            observer: RwLock::default(),
        };
        let service = GateService(Arc::new(inner));
        service.0.reported.restore(reports);
        // Who there is may have changed while nothing ran.
        service.lapse(&mut service.state());
        Ok(service)
    }

    /// Asks this for what runs when a permit is redeemed.
    pub fn observe_with(&self, observer: Arc<dyn Observe>) {
        *self.0.observer.write().unwrap_or_else(PoisonError::into_inner) = Some(observer);
    }

    /// What the one workload or node of a permit is now. `None`: it is none that is looked at, or nobody answers in time; what
    /// the last poll saw counts then, as long as it may.
    async fn look_again(&self, id: &str) -> Option<LookedAgain> {
        let (service, resource, node) = {
            let state = self.read();
            let request = &state.gate.permit(id)?.request;
            let node = request.node().map(str::to_owned);
            // A pod is looked at as what it is one of.
            let named = state.rules.workloads.get(&request.service).into_iter().flatten();
            let mut own = named.filter(|one| **one == request.resource || is_pod_of(&request.resource, one));
            (request.service.clone(), own.next().cloned(), node)
        };
        let observer = self.0.observer.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        let look = async {
            match (node, resource) {
                (Some(name), _) => observer
                    .look_at_node(&name, self.now())
                    .await
                    .map(|seen| Some(LookedAgain::Node(name.clone(), seen))),
                (None, Some(resource)) => {
                    let seen = observer.look(&service, &resource, self.now()).await;
                    seen.map(|seen| Some(LookedAgain::Workload(resource.clone(), seen)))
                }
                (None, None) => Ok(None),
            }
        };
        match tokio::time::timeout(LOOK_WITHIN, look).await {
            Ok(Ok(looked)) => looked,
            Ok(Err(())) | Err(_) => {
                warn!(permit = id, "workloads could not be read again");
                None
            }
        }
    }

    /// To change it: whoever holds this holds up everybody else.
    fn state(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// To look at it, beside others who do.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows what changes: a count that grows.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The newest slice of which there are views: an evaluation is published before the gate has looked at it.
    pub fn viewed(&self) -> watch::Receiver<Seconds> {
        self.0.viewed.subscribe()
    }

    /// The log it writes to.
    pub fn log(&self) -> audit::Log {
        self.0.log.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other rules from now on. Each policy that is new, and each that is gone, is written down with who asked for it.
    pub fn take_rules(&self, rules: Rules, by: &str) {
        let mut state = self.state();
        let leads = self.leads();
        let mut digests = BTreeMap::new();
        for (service, policy) in &rules.policies {
            let digest = policy.digest();
            digests.insert(service.clone(), digest);
            if state.digests.get(service) == Some(&digest) {
                continue;
            }
            if state.policies_known.len() >= POLICIES_KNOWN_MAX {
                state.policies_known.pop_first();
            }
            state.policies_known.insert(digest, Arc::clone(policy));
            // What it says is kept under its digest, as what decisions rest on is.
            let text = serde_json::to_value(policy.as_ref()).map(|policy| crate::gate::canonical::text(&policy));
            if let Err(error) = self.0.bodies.put(text.unwrap_or_default().as_bytes()) {
                warn!(%error, service, "the text of a policy is not kept");
            }
            let load = record::policy_load(service, Some(&digest), by, self.0.clock.now_ms());
            if leads && let Err(refused) = self.log().submit(load) {
                error!(%refused, service, "a policy came into force and could not be recorded in the audit log");
            }
        }
        let gone: Vec<&String> = state.digests.keys().filter(|service| !digests.contains_key(*service)).collect();
        for service in gone {
            let load = record::policy_load(service, None, by, self.0.clock.now_ms());
            if leads && let Err(refused) = self.log().submit(load) {
                error!(%refused, service, "a policy is no longer in force and that could not be recorded in the audit log");
            }
        }
        (state.rules, state.digests) = (rules, digests);
    }

    /// Newer files were refused: what holds is not what was meant.
    pub fn rules_refused(&self) {
        self.state().rules.current = false;
    }

    /// Other identities from now on, on record with who asked for it. What was said by those who are not who they were
    /// does not count any more.
    pub fn take_identities(&self, identities: Identities, by: &str) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.identities, identities);
        if self.leads()
            && let Some(load) = record::identities_load(&before, &state.identities, by, self.0.clock.now_ms())
            && let Err(refused) = self.log().submit(load)
        {
            error!(%refused, "identities changed and that could not be recorded in the audit log");
        }
        self.lapse(&mut state);
    }

    /// Votes of people who are not whom a policy asks for any more.
    fn lapse(&self, state: &mut State) {
        let lapsed = state.gate.lapsed_votes(&state.identities, self.now());
        self.note(state, &lapsed);
    }

    /// Alerts of the gate: acts that made things worse, until a person lifts the halt or it ends. `at` is the slice time
    /// of the evaluation they go out with.
    pub fn alerts(&self, slos: &[SloSnapshot], at: Seconds) -> Vec<Alert> {
        let mut state = self.state();
        state.follow_alerts(slos, self.now(), at);
        state.alerts.values().cloned().collect()
    }

    /// Builds the gate state again after the log refused something that the gate state has. All that was queued is settled first, and
    /// nothing is queued meanwhile: the lock is held.
    fn resync(&self, state: &mut State) {
        let log = self.log();
        if log.refusals() == state.refusals_known {
            return;
        }
        let settled = log.settle().map_err(|refused| refused.to_string());
        let refusals = log.refusals();
        match settled.and_then(|()| read_state(&log)) {
            Ok((gate, _)) => {
                (state.gate, state.refusals_known) = (gate, refusals);
                warn!(
                    "the audit log had refused records; what they told of is forgotten, and decisions are made again"
                );
            }
            Err(why) => warn!(%why, "the audit log refused records, and nothing is allowed until it takes them again"),
        }
    }

    fn look_at(&self, state: &mut State, views: Arc<Views>) {
        let at = views.at;
        state.views = views;
        self.0.viewed.send_replace(at);
    }

    /// Forgets what is too old to matter.
    pub fn sweep(&self, now: Now) {
        self.state().gate.sweep(now);
    }

    /// One poll: what runs, what has changed, what ran out, what no longer holds, what came of it.
    pub fn poll(&self, poll: Poll<'_>) {
        if !self.leads() {
            // What is seen is for explanations; the one that decides writes it down.
            let views = Arc::new(self.read().views(poll, self.now()));
            self.look_at(&mut self.state(), views);
            return;
        }
        let mut state = self.state();
        self.resync(&mut state);
        // What the log did not take of it when the identities came is noted now.
        self.lapse(&mut state);
        let now = self.now();
        let changes = state.changes_seen(&state.views.seen, &poll.seen);
        let changes: Vec<Event> =
            changes.into_iter().map(|change| Event { at: now, kind: EventKind::ChangeObserved { change } }).collect();
        self.note(&mut state, &changes);
        drop(state);
        // With many services this takes long, and who asks for an explanation need not wait for it.
        let views = Arc::new(self.read().views(poll, now));
        let mut state = self.state();
        self.look_at(&mut state, views);
        let expired = state.gate.expiries(now);
        self.note(&mut state, &expired);
        let open = |service: &&String| state.gate.open_permits_of(service).next().is_some();
        let services: Vec<String> = state.views.by_service.keys().filter(open).cloned().collect();
        for service in services {
            let Some(view) = self.view(&state, &service, now) else { continue };
            let current = state.policy(&service);
            let known = |permit: &crate::gate::Permit| {
                permit.policy_digest.and_then(|digest| state.policies_known.get(&digest)).map(Arc::as_ref)
            };
            let mut events = state.gate.revocations(&view, current.as_deref(), known, now);
            events.extend(state.gate.verdicts(&view, now));
            self.note(&mut state, &events);
        }
    }
}

/// The gate state that the log makes, and what others said. Whatever in it is not as it was written is a doubt of the log from
/// then on.
fn read_state(log: &audit::Log) -> Result<(GateState, reported::ReportsRead), String> {
    let (mut gate, mut reports) = (GateState::new(), reported::ReportsRead::default());
    if log.is_damaged() {
        return Ok((gate, reports));
    }
    let read = log.prove_whole(|glance| match record::event(glance.event) {
        Some(event) => {
            gate.apply(&event);
            true
        }
        None => {
            if let Some(event) = glance.event.filter(|_| glance.kind == audit::Kind::Incident.as_str()) {
                reports.take(event);
            }
            !record::is_unread(glance)
        }
    });
    let dir = log.dir().display();
    read.map_err(|error| format!("the audit log in {dir} cannot be read: {error}"))?;
    for doubt in log.doubts() {
        error!(%doubt, "the audit log cannot be proved complete: machines wait until a person has looked at it and runs `slowburn audit accept --reason ...`");
    }
    Ok((gate, reports))
}

#[cfg(test)]
mod tests;
