//! The gate state: what the gate knows of what was decided, approved, halted, changed and judged. A pure fold over events.
//!
//! Nothing gets in here but by [`GateState::apply`], and everything it reads is in the event: so the audit log can build the
//! state again, and a slice of it can be written down beside a decision. What has expired is told by the times, whether
//! or not an event says so.
//!
//! Commands (`record`, `approve`, `redeem`, ...) change nothing. They answer with events; the caller writes those down
//! and then applies them.

mod approving;
mod halting;
mod judging;
mod recording;
mod redeeming;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::action::ActionKind;
use super::answer::Answer;
use super::approval::{Approval, ApprovalState};
use super::autonomy::Record;
use super::canonical::Digest;
use super::event::{Event, EventKind};
use super::halt::{HALT_MAX_S, Halt};
use super::observed::Change;
use super::permit::{Permit, PermitState};
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
        let related = |permit: &&Permit| {
            of_node || permit.request.service == service || group.is_some() && permit.group.as_deref() == group
        };
        for permit in self.open_permits().filter(related) {
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

    // === The fold

    /// Takes in what happened.
    pub fn apply(&mut self, event: &Event) {
        let at = event.at;
        match &event.kind {
            EventKind::Decided {
                id,
                sub,
                actor,
                service,
                action,
                action_digest,
                answer,
                idempotency_key,
                probe,
                ..
            } => {
                let record = self.trust_of(service, actor, *action);
                record.last_at = at;
                match answer {
                    Answer::Allow => record.allowed += 1,
                    Answer::NeedsApproval => record.asked += 1,
                    Answer::Deny => record.denied += 1,
                }
                if *answer == Answer::Deny && *probe {
                    let rows = self.denials.entry(sub.clone()).or_default();
                    rows.retain(|(_, act)| act != action_digest);
                    push(rows, (at, *action_digest), DENIALS_MAX);
                }
                if let Some(key) = idempotency_key {
                    let keys = self.decided.entry(sub.clone()).or_default();
                    let used = keys.get(key).is_some_and(|earlier| earlier.used);
                    let decided = Decided {
                        id: id.clone(),
                        at,
                        action_digest: *action_digest,
                        answer: *answer,
                        permit: None,
                        used,
                    };
                    keys.insert(key.clone(), decided);
                    self.close(at, Row::Decided(sub.clone(), key.clone()));
                }
            }
            EventKind::PermitIssued { permit } => self.issued(at, permit),
            EventKind::PermitRedeemed { id, baseline } => {
                let state = PermitState::Redeemed { at, baseline: baseline.clone(), reported_at: None, denied: false };
                if self.turn_permit(id, at, state)
                    && let Some(permit) = self.permits.get(id)
                {
                    let (service, actor, action) =
                        (permit.request.service.clone(), permit.actor.clone(), permit.request.action);
                    let keyed = permit.request.idempotency_key.as_deref();
                    if let Some(decided) = keyed.and_then(|key| self.decided.get_mut(&permit.sub)?.get_mut(key)) {
                        decided.used = true;
                    }
                    self.trust_of(&service, &actor, action).acted += 1;
                }
            }
            // It stays what it was.
            EventKind::PermitRefused { .. } | EventKind::DecisionRepeated { .. } => {}
            EventKind::PermitExpired { id } => drop(self.turn_permit(id, at, PermitState::Expired)),
            EventKind::PermitRevoked { id, reason } => {
                self.turn_permit(id, at, PermitState::Revoked { at, code: *reason });
            }
            EventKind::ApprovalAsked { approval } => {
                if !self.approvals.contains_key(&approval.id) {
                    let of = self.open_approvals.entry(approval.request.service.clone()).or_default();
                    of.insert(approval.id.clone());
                    self.ending.insert((approval.expires_at, Row::Approval(approval.id.clone())));
                    self.approvals.insert(approval.id.clone(), Approval::clone(approval));
                }
            }
            EventKind::ApprovalVoted { id, vote, granted } => {
                if let Some(approval) = self.approvals.get_mut(id)
                    && approval.state == ApprovalState::Pending
                    && approval.votes.iter().all(|earlier| earlier.by != vote.by)
                {
                    approval.votes.push(vote.clone());
                    if *granted {
                        approval.state = ApprovalState::Granted;
                    }
                }
            }
            EventKind::ApprovalVoteLapsed { id, by, .. } => {
                if let Some(approval) = self.approvals.get_mut(id) {
                    approval.votes.retain(|vote| vote.by != *by);
                    if approval.state == ApprovalState::Granted && approval.have() < approval.need {
                        approval.state = ApprovalState::Pending;
                    }
                }
            }
            EventKind::ApprovalRejected { id, by, reason } => {
                self.turn_approval(id, at, ApprovalState::Rejected { by: by.clone(), reason: reason.clone() });
            }
            EventKind::ApprovalWithdrawn { id } => self.turn_approval(id, at, ApprovalState::Withdrawn),
            EventKind::ApprovalExpired { id } => self.turn_approval(id, at, ApprovalState::Expired),
            EventKind::ApprovalSuperseded { id, by } => {
                self.turn_approval(id, at, ApprovalState::Superseded { by: by.clone() });
            }
            EventKind::ApprovalConsumed { id, permit } => {
                self.turn_approval(id, at, ApprovalState::Consumed { permit: permit.clone() });
            }
            EventKind::ApprovalRevoked { id, by, reason } => {
                self.turn_approval(id, at, ApprovalState::Revoked { by: by.clone(), reason: reason.clone() });
            }
            EventKind::Halted { halt } => {
                self.halts.insert(halt.id.clone(), halt.clone());
                self.forget_halts(at);
            }
            EventKind::Resumed { id, .. } => drop(self.halts.remove(id)),
            EventKind::ChangeObserved { change } => {
                let rows = self.changes.entry(change.service.clone()).or_default();
                // Changes may be told late; they are kept in the order in which they were.
                let place = rows.iter().rposition(|row| row.at <= change.at).map_or(0, |place| place + 1);
                if !rows.contains(change) {
                    rows.insert(place, change.clone());
                }
                while rows.len() > CHANGES_MAX {
                    rows.pop_front();
                }
            }
            EventKind::OutcomeReported { permit, applied, .. } => {
                if let Some(permit) = self.permits.get_mut(permit)
                    && let PermitState::Redeemed { reported_at, denied, .. } = &mut permit.state
                    && reported_at.is_none()
                {
                    match applied {
                        true => *reported_at = Some(at),
                        false => *denied = true,
                    }
                }
            }
            EventKind::Judged { verdict } => self.judged(at, verdict),
        }
        self.expire(at);
        self.forget(at);
    }

    fn issued(&mut self, at: Seconds, permit: &Permit) {
        if self.permits.contains_key(&permit.id) {
            return;
        }
        let service = permit.request.service.clone();
        let act = Act {
            at,
            sub: permit.sub.clone(),
            class: permit.actor_class,
            action: permit.request.action,
            permit: permit.id.clone(),
        };
        let acts = self.acts.entry(service.clone()).or_default();
        push(acts, act, ROWS_MAX);
        while acts.front().is_some_and(|act| act.at < at - ACTS_KEPT_S) {
            acts.pop_front();
        }
        if let Some(name) = permit.request.node() {
            let act = NodeAct { at, node: name.to_owned(), permit: permit.id.clone() };
            push(&mut self.node_acts, act, ROWS_MAX);
            self.node_acts.retain(|act| act.at > at - NODE_ACTS_KEPT_S);
        }
        let keyed = permit.request.idempotency_key.as_deref();
        if let Some(decided) = keyed.and_then(|key| self.decided.get_mut(&permit.sub)?.get_mut(key)) {
            decided.permit = Some(permit.id.clone());
        }
        self.open_permits.entry(service).or_default().insert(permit.id.clone());
        self.ending.insert((permit.expires_at, Row::Permit(permit.id.clone())));
        self.permits.insert(permit.id.clone(), permit.clone());
    }

    /// Takes a permit on to its next state, if there is a way. A used, expired or revoked one never comes back.
    fn turn_permit(&mut self, id: &str, at: Seconds, state: PermitState) -> bool {
        let Some(permit) = self.permits.get_mut(id) else { return false };
        let forward = match (&permit.state, &state) {
            (PermitState::Live, PermitState::Live | PermitState::Judged { .. }) => false,
            (PermitState::Live, _) | (PermitState::Redeemed { .. }, PermitState::Judged { .. }) => true,
            _ => false,
        };
        if !forward {
            return false;
        }
        let is_open = matches!(state, PermitState::Redeemed { .. });
        let unused = permit.state == PermitState::Live && !is_open;
        permit.state = state;
        if unused {
            self.node_acts.retain(|act| act.permit != id);
        }
        if !is_open {
            let service = permit.request.service.clone();
            remove(&mut self.open_permits, &service, id);
            self.close(at, Row::Permit(id.to_string()));
        }
        true
    }

    fn turn_approval(&mut self, id: &str, at: Seconds, state: ApprovalState) {
        let Some(approval) = self.approvals.get_mut(id) else { return };
        let forward = match (&approval.state, &state) {
            (ApprovalState::Pending, ApprovalState::Consumed { .. }) => false,
            (ApprovalState::Pending | ApprovalState::Granted, _) => true,
            _ => false,
        };
        if forward {
            approval.state = state;
            let service = approval.request.service.clone();
            remove(&mut self.open_approvals, &service, id);
            self.close(at, Row::Approval(id.to_string()));
        }
    }

    fn judged(&mut self, at: Seconds, verdict: &Verdict) {
        if !self.turn_permit(&verdict.permit, at, PermitState::Judged { at }) {
            return;
        }
        let of_service = self.records.entry(verdict.service.clone()).or_default();
        let of_sub = of_service.entry(verdict.sub.clone()).or_default();
        of_sub.entry(verdict.action).or_default().take(verdict.outcome);
        let record = self.trust_of(&verdict.service, &verdict.actor, verdict.action);
        match verdict.outcome {
            Outcome::Improved => record.improved += 1,
            Outcome::NoEffect => record.no_effect += 1,
            Outcome::Worse => record.worse += 1,
            Outcome::Inconclusive => record.inconclusive += 1,
            Outcome::NotApplied => record.not_applied += 1,
        }
        push(self.verdicts.entry(verdict.service.clone()).or_default(), verdict.clone(), VERDICTS_MAX);
    }

    fn trust_of(&mut self, service: &str, actor: &str, action: ActionKind) -> &mut TrustRecord {
        let actors = self.trust.entry(service.to_string()).or_default();
        actors.entry(actor.to_string()).or_default().entry(action).or_default()
    }

    /// Halts that ended are kept as long as any may last: a clock that went ahead and came back ends none. Beyond the
    /// most that are kept, those that ended first go first.
    fn forget_halts(&mut self, now: Seconds) {
        self.halts.retain(|_, halt| now - HALT_MAX_S < halt.until);
        while self.halts.len() > HALTS_MAX {
            let ended = self.halts.values().min_by_key(|halt| halt.until).map(|halt| halt.id.clone());
            ended.map(|id| self.halts.remove(&id));
        }
    }

    fn close(&mut self, at: Seconds, row: Row) {
        self.closed.push_back((at, row));
    }

    /// What ran out is closed, whether or not an event says so.
    fn expire(&mut self, now: Seconds) {
        while self.ending.first().is_some_and(|(end, _)| *end <= now) {
            match self.ending.pop_first() {
                Some((_, Row::Permit(id)))
                    if self.permits.get(&id).is_some_and(|one| one.state == PermitState::Live) =>
                {
                    self.turn_permit(&id, now, PermitState::Expired);
                }
                Some((_, Row::Approval(id))) => self.turn_approval(&id, now, ApprovalState::Expired),
                _ => {}
            }
        }
    }

    fn forget(&mut self, now: Seconds) {
        while self.closed.front().is_some_and(|(at, _)| *at < now - KEPT_S) || self.closed.len() > ROWS_MAX {
            match self.closed.pop_front() {
                Some((_, Row::Permit(id))) => drop(self.permits.remove(&id)),
                Some((_, Row::Approval(id))) => drop(self.approvals.remove(&id)),
                Some((at, Row::Decided(sub, key))) => {
                    if let Some(keys) = self.decided.get_mut(&sub) {
                        // Asked again since, it has a row of its own further on.
                        if keys.get(&key).is_some_and(|decided| decided.at <= at) {
                            keys.remove(&key);
                        }
                        if keys.is_empty() {
                            self.decided.remove(&sub);
                        }
                    }
                }
                None => break,
            }
        }
    }
}

fn push<T>(rows: &mut VecDeque<T>, row: T, most: usize) {
    rows.push_back(row);
    while rows.len() > most {
        rows.pop_front();
    }
}

fn remove(index: &mut BTreeMap<String, BTreeSet<String>>, service: &str, id: &str) {
    if let Some(ids) = index.get_mut(service) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(service);
        }
    }
}
