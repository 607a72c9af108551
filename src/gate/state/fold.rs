//! What each event changes: the fold that makes the gate state, and what it forgets with time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    ACTS_KEPT_S, Act, CHANGES_MAX, DENIALS_MAX, Decided, GateState, HALTS_MAX, KEPT_S, NODE_ACTS_KEPT_S, NodeAct,
    ROWS_MAX, Row, VERDICTS_MAX,
};
use crate::engine::{Now, Seconds};
use crate::gate::action::ActionKind;
use crate::gate::answer::Answer;
use crate::gate::approval::{Approval, ApprovalState};
use crate::gate::event::{Event, EventKind};
use crate::gate::halt::HALT_MAX_S;
use crate::gate::permit::{Permit, PermitState};
use crate::gate::verdict::{Outcome, TrustRecord, Verdict};

impl GateState {
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
                // Beyond the most that are kept, those that ended first go first.
                while self.halts.len() > HALTS_MAX {
                    let ended = self.halts.values().min_by_key(|halt| halt.until).map(|halt| halt.id.clone());
                    ended.map(|id| self.halts.remove(&id));
                }
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
        self.forget(None);
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
        if let Some(name) = permit.request.node() {
            let act = NodeAct { at, node: name.to_owned(), permit: permit.id.clone() };
            push(&mut self.node_acts, act, ROWS_MAX);
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

    /// Forgets what is too old to matter, at a moment that is trusted: a clock that went days ahead and comes back must not have
    /// made a used key new, ended a halt or emptied a budget. What is too much goes at once, whatever the time: each list is bounded.
    pub fn sweep(&mut self, now: Now) {
        if !now.trusted {
            return;
        }
        self.forget(Some(now.at));
        for acts in self.acts.values_mut() {
            while acts.front().is_some_and(|act| act.at < now.at - ACTS_KEPT_S) {
                acts.pop_front();
            }
        }
        self.acts.retain(|_, acts| !acts.is_empty());
        self.node_acts.retain(|act| act.at > now.at - NODE_ACTS_KEPT_S);
        self.halts.retain(|_, halt| now.at - HALT_MAX_S < halt.until);
    }

    /// Forgets what was closed long before `now`, and the oldest of what is too much.
    fn forget(&mut self, now: Option<Seconds>) {
        let is_old = |at: &Seconds| now.is_some_and(|now| *at < now - KEPT_S);
        while self.closed.front().is_some_and(|(at, _)| is_old(at)) || self.closed.len() > ROWS_MAX {
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
