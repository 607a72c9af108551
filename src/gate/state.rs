//! The gate state: what the gate knows of what was decided, approved, halted, changed and judged. A pure fold over events.
//!
//! Nothing gets in here but by [`GateState::apply`], and everything it reads is in the event: so the audit log can build the
//! state again, and a slice of it can be written down beside a decision. What has expired is told by the times, whether
//! or not an event says so.
//!
//! Commands (`record`, `approve`, `redeem`, ...) change nothing. They answer with events; the caller writes those down
//! and then applies them.

mod approving;
mod fold;
mod halting;
mod judging;
mod recording;
mod redeeming;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::action::ActionKind;
use super::answer::Answer;
use super::approval::Approval;
use super::autonomy::Record;
use super::canonical::Digest;
use super::event::Event;
use super::halt::Halt;
use super::observed::Change;
use super::permit::Permit;
use super::policy::Policy;
use super::principal::ActorClass;
use super::request::Request;
use super::verdict::{Outcome, TrustRecord, Verdict};
use crate::engine::Seconds;

pub use recording::{Ids, Repeat};
pub use redeeming::Redemption;

/// How long closed permits, closed approvals and decisions are remembered, seconds.
const KEPT_S: i64 = 24 * 3600;
/// How long acts are remembered for rate budgets, seconds: also the longest `per` of a rate budget.
pub const ACTS_KEPT_S: i64 = 7 * 24 * 3600;
/// How long permits for nodes are remembered, seconds: the day of `max_per_day`.
pub const NODE_ACTS_KEPT_S: i64 = 24 * 3600;
/// Most rows of each kind that are remembered; the oldest go first.
const ROWS_MAX: usize = 10_000;
/// Most changes of one service that are remembered.
const CHANGES_MAX: usize = 200;
/// Most verdicts of one service that are remembered.
const VERDICTS_MAX: usize = 200;
/// Most halts that are remembered.
const HALTS_MAX: usize = 10_000;
/// Most denials of one principal that are remembered.
const DENIALS_MAX: usize = 100;

/// Acts of one principal on one service that stand in a slice at least, newest first.
pub const SLICE_ACTS: usize = 32;

/// What the gate knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateState {
    permits: BTreeMap<String, Permit>,
    /// Permits that are live, or acted on and not judged, by service.
    open_permits: BTreeMap<String, BTreeSet<String>>,
    approvals: BTreeMap<String, Approval>,
    /// Approvals that are pending or granted, by service.
    open_approvals: BTreeMap<String, BTreeSet<String>>,
    halts: BTreeMap<String, Halt>,
    /// By service, oldest first.
    changes: BTreeMap<String, VecDeque<Change>>,
    /// By service, oldest first.
    acts: BTreeMap<String, VecDeque<Act>>,
    /// Permits for nodes of all services, oldest first: those that were used or still may be.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    node_acts: VecDeque<NodeAct>,
    /// By service, oldest first.
    verdicts: BTreeMap<String, VecDeque<Verdict>>,
    /// By service, actor and action.
    trust: BTreeMap<String, BTreeMap<String, BTreeMap<ActionKind, TrustRecord>>>,
    /// What acts came to, by service, principal and action: what autonomy is earned by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    records: BTreeMap<String, BTreeMap<String, BTreeMap<ActionKind, Record>>>,
    /// Denied acts by principal, oldest first: those that waiting would not have cleared.
    denials: BTreeMap<String, VecDeque<(Seconds, Digest)>>,
    /// Decisions by principal and idempotency key.
    decided: BTreeMap<String, BTreeMap<String, Decided>>,
    /// When live permits and open approvals run out.
    ending: BTreeSet<(Seconds, Row)>,
    /// Oldest first: what is to be forgotten.
    closed: VecDeque<(Seconds, Row)>,
}

/// A permit that was issued, for rate budgets and flip-flops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// When.
    pub at: Seconds,
    /// To whom.
    pub sub: String,
    /// Human, robot or pipeline.
    pub class: ActorClass,
    /// What for.
    pub action: ActionKind,
    /// The permit.
    pub permit: String,
}

/// A permit for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAct {
    /// When it was issued.
    pub at: Seconds,
    /// The node.
    pub node: String,
    /// The permit.
    pub permit: String,
}

/// A decision that was given for an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// The decision.
    pub id: String,
    /// When.
    pub at: Seconds,
    /// What was asked for.
    pub action_digest: Digest,
    /// The answer.
    pub answer: Answer,
    /// The permit that it gave.
    #[serde(default)]
    pub permit: Option<String>,
    /// The permit was used: what the key stands for was begun, and is not begun again.
    #[serde(default)]
    pub used: bool,
}

/// Something that runs out, or is to be forgotten after a while.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Row {
    Permit(String),
    Approval(String),
    Decided(String, String),
}

impl GateState {
    /// An empty state.
    pub fn new() -> Self {
        GateState::default()
    }

    /// The gate state that these events make.
    pub fn fold<'e>(events: impl IntoIterator<Item = &'e Event>) -> Self {
        let mut gate = GateState::new();
        events.into_iter().for_each(|event| gate.apply(event));
        gate
    }

    // === Reading

    /// The permit with this id.
    pub fn permit(&self, id: &str) -> Option<&Permit> {
        self.permits.get(id)
    }

    /// Permits that are live, or acted on and not judged, by service. Expiry is not read here.
    pub fn open_permits(&self) -> impl Iterator<Item = &Permit> {
        self.open_permits.values().flatten().filter_map(|id| self.permits.get(id))
    }

    /// Those of one service.
    pub fn open_permits_of<'b>(&'b self, service: &str) -> impl Iterator<Item = &'b Permit> + use<'b> {
        self.open_permits.get(service).into_iter().flatten().filter_map(|id| self.permits.get(id))
    }

    /// Open permits of one service, and of the group that it is in, by service: those that may be in its way.
    pub(super) fn in_the_way<'b>(
        &'b self,
        service: &'b str,
        group: Option<&'b str>,
    ) -> impl Iterator<Item = &'b Permit> {
        let own = self.open_permits.get(service).filter(|_| group.is_none());
        let all = self.open_permits.values().filter(move |_| group.is_some());
        let permits = all.chain(own).flatten().filter_map(|id| self.permits.get(id));
        let of_group = move |permit: &Permit| group.is_some() && permit.group.as_deref() == group;
        permits.filter(move |permit| permit.request.service == service || of_group(permit))
    }

    /// The approval with this id.
    pub fn approval(&self, id: &str) -> Option<&Approval> {
        self.approvals.get(id)
    }

    /// Approvals that are remembered, in id order.
    pub fn approvals(&self) -> impl Iterator<Item = &Approval> {
        self.approvals.values()
    }

    /// Pending and granted approvals of one service. Expiry is not read here.
    pub fn open_approvals_of<'b>(&'b self, service: &str) -> impl Iterator<Item = &'b Approval> + use<'b> {
        self.open_approvals.get(service).into_iter().flatten().filter_map(|id| self.approvals.get(id))
    }

    /// Halts that hold at `now`.
    pub fn halts(&self, now: Seconds) -> impl Iterator<Item = &Halt> {
        self.halts.values().filter(move |halt| now < halt.until)
    }

    /// Changes of a service, oldest first.
    pub fn changes_of(&self, service: &str) -> impl DoubleEndedIterator<Item = &Change> + Clone {
        self.changes.get(service).into_iter().flatten()
    }

    /// Changes of all services, for [`super::view::Scene::view`].
    pub fn changes(&self) -> impl Iterator<Item = &Change> + Clone {
        self.changes.values().flatten()
    }

    /// Permits issued for a service, oldest first.
    pub fn acts_of(&self, service: &str) -> impl DoubleEndedIterator<Item = &Act> {
        self.acts.get(service).into_iter().flatten()
    }

    /// Permits for nodes within a day, oldest first.
    pub fn node_acts(&self) -> impl Iterator<Item = &NodeAct> {
        self.node_acts.iter()
    }

    /// Verdicts on acts of a service, oldest first.
    pub fn verdicts_of(&self, service: &str) -> impl DoubleEndedIterator<Item = &Verdict> {
        self.verdicts.get(service).into_iter().flatten()
    }

    /// What each actor's acts came to: `(service, actor, action, record)`.
    pub fn trust(&self) -> impl Iterator<Item = (&str, &str, ActionKind, &TrustRecord)> {
        self.trust.iter().flat_map(|(service, actors)| {
            actors.iter().flat_map(move |(actor, actions)| {
                actions.iter().map(move |(action, record)| (service.as_str(), actor.as_str(), *action, record))
            })
        })
    }

    /// What acts of a principal came to, for its autonomy.
    pub fn record_of(&self, service: &str, sub: &str, action: ActionKind) -> Option<&Record> {
        self.records.get(service)?.get(sub)?.get(&action)
    }

    /// All of those: `(service, principal, action, record)`.
    pub fn records(&self) -> impl Iterator<Item = (&str, &str, ActionKind, &Record)> {
        self.records.iter().flat_map(|(service, subs)| {
            subs.iter().flat_map(move |(sub, actions)| {
                actions.iter().map(move |(action, record)| (service.as_str(), sub.as_str(), *action, record))
            })
        })
    }

    /// Different acts that a principal was denied since a moment: when each was denied last, newest first.
    pub fn denials_since(&self, sub: &str, since: Seconds) -> Vec<Seconds> {
        let rows = self.denials.get(sub).into_iter().flatten();
        let mut acts = BTreeSet::new();
        rows.rev().take_while(|(at, _)| *at >= since).filter(|(_, act)| acts.insert(*act)).map(|(at, _)| *at).collect()
    }

    /// What was decided for this idempotency key of this principal.
    pub fn decided(&self, sub: &str, key: &str) -> Option<&Decided> {
        self.decided.get(sub)?.get(key)
    }

    /// The part of the gate state that a decision on `service` for `sub` under `policy` reads: it decides the same. Under
    /// another policy too, but for rate budgets of more than [`SLICE_ACTS`] acts, or over a longer time. What no
    /// decision reads is left out: acts of others, and verdicts that say neither for nor against.
    pub fn slice(&self, request: &Request, policy: Option<&Policy>, sub: &str, now: Seconds) -> GateState {
        let service = request.service.as_str();
        let halts = self.halts.iter().filter(|(_, halt)| now < halt.until);
        let halts = halts.map(|(id, halt)| (id.clone(), halt.clone())).collect();
        let mut slice = GateState { halts, ..GateState::default() };
        let group = policy.and_then(|policy| policy.dependency_group.as_deref());
        // Whoever runs on a node is looked at, and every other node of its pool.
        let of_node = request.node().is_some();
        // Of changes under way a decision reads the one that lasts longest: where there are many, the others are not written down. A
        // policy without that group reads the longest of the service.
        let longest = |group| {
            let under_way = self.in_the_way(service, group).filter_map(|permit| Some((permit.under_way(now)?, permit)));
            under_way.max_by_key(|(until, _)| *until).map(|(_, permit)| permit)
        };
        let related: Vec<&Permit> = match of_node {
            true => self.open_permits().collect(),
            false => longest(group).into_iter().chain(longest(None)).collect(),
        };
        for permit in related {
            let of = slice.open_permits.entry(permit.request.service.clone()).or_default();
            of.insert(permit.id.clone());
            slice.permits.insert(permit.id.clone(), permit.clone());
        }
        for approval in self.open_approvals_of(service) {
            slice.open_approvals.entry(service.to_string()).or_default().insert(approval.id.clone());
            slice.approvals.insert(approval.id.clone(), approval.clone());
        }
        let one = |name: &str| name.to_string();
        slice.changes.extend(self.changes.get(service).map(|rows| (one(service), rows.clone())));
        let longest = policy.into_iter().flat_map(|policy| &policy.rate_budgets).map(|budget| budget.per_s).max();
        let since = longest.map_or(Seconds::MAX, |per_s| now - per_s);
        let own = self.acts_of(service).rev().filter(|act| act.sub == sub).enumerate();
        let own = own.take_while(|(place, act)| *place < SLICE_ACTS || act.at > since);
        let mut acts: VecDeque<Act> = own.map(|(_, act)| act.clone()).collect();
        acts.make_contiguous().reverse();
        let today = self.node_acts.iter().filter(|act| of_node && act.at > now - NODE_ACTS_KEPT_S);
        slice.node_acts.extend(today.cloned());
        let tells = |verdict: &&Verdict| matches!(verdict.outcome, Outcome::Worse | Outcome::NoEffect);
        let verdicts: VecDeque<Verdict> = self.verdicts_of(service).filter(tells).cloned().collect();
        slice.acts.extend((!acts.is_empty()).then(|| (one(service), acts)));
        slice.verdicts.extend((!verdicts.is_empty()).then(|| (one(service), verdicts)));
        if let Some((key, decided)) =
            request.idempotency_key.as_ref().and_then(|key| Some((key, self.decided(sub, key)?)))
        {
            slice.decided.entry(one(sub)).or_default().insert(key.clone(), decided.clone());
        }
        if let Some(record) = self.record_of(service, sub, request.action) {
            let of_sub = slice.records.entry(one(service)).or_default().entry(one(sub)).or_default();
            of_sub.insert(request.action, record.clone());
        }
        slice.denials.extend(self.denials.get(sub).map(|rows| (one(sub), rows.clone())));
        slice
    }

    /// Yeses that were given under one policy, as if they had been given under another: to ask what that one would have
    /// decided, and for nothing else.
    pub(super) fn under(mut self, was: &Policy, is: &Policy, kind: ActionKind) -> GateState {
        let (digest, rule, other) = (was.digest(), Some(was.rule_digest(kind)), is.digest());
        let counts = |approval: &&mut Approval| approval.policy_digest == digest || approval.rule_digest == rule;
        for approval in self.approvals.values_mut().filter(counts) {
            (approval.policy_digest, approval.rule_digest) = (other, None);
        }
        self
    }
}
