//! What can be read of the gate. Nothing here changes anything.

use serde_json::{Value, json};

use super::answer;
use super::command::unknown;
use super::{Blocked, GateService, State};
use crate::engine::Seconds;
use crate::gate::action::{ActionClass, ActionKind};
use crate::gate::autonomy::{Autonomy, Record};
use crate::gate::signals::{ChangeState, Signal, change_state, signal};
use crate::gate::view::Health;

/// Classes that have a signal.
const CLASSES: [ActionClass; 2] = [ActionClass::Mitigate, ActionClass::Risk];
/// Closed approvals that are listed beside the open ones.
const CLOSED_SHOWN: usize = 20;

impl GateService {
    /// A permit.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn permit(&self, id: &str) -> Result<Value, Blocked> {
        let state = self.read();
        state.gate.permit(id).map(|permit| answer::permit(permit, self.now())).ok_or_else(|| unknown("permit", id))
    }

    /// An approval.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn approval(&self, id: &str) -> Result<Value, Blocked> {
        let state = self.read();
        self.approval_in(&state, id, self.now()).ok_or_else(|| unknown("approval", id))
    }

    pub(super) fn approval_in(&self, state: &State, id: &str, now: Seconds) -> Option<Value> {
        let approval = state.gate.approval(id)?;
        let request = &approval.request;
        let observed = state.observed(&request.service, state.views.seen.get(&request.service), now);
        let workload = observed.workload_of(&request.resource);
        let observed = json!({
            "version": workload.and_then(|workload| workload.version.clone()),
            "replicas": workload.and_then(|workload| workload.replicas),
            "generation": workload.and_then(|workload| workload.generation),
        });
        let mut shown = answer::approval(approval, observed, now);
        shown["context"] = self.context_of(&request.service).into();
        Some(shown)
    }

    /// Open approvals, and the last closed ones; newest first.
    pub fn approvals(&self) -> Value {
        let state = self.read();
        let now = self.now();
        let mut all: Vec<_> = state.gate.approvals().collect();
        all.sort_by_key(|approval| std::cmp::Reverse((approval.asked_at, approval.id.clone())));
        let (open, closed): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|approval| matches!(approval.state_at(now).as_str(), "pending" | "granted"));
        let shown = open.into_iter().chain(closed.into_iter().take(CLOSED_SHOWN));
        let rows: Vec<Value> = shown.filter_map(|approval| self.approval_in(&state, &approval.id, now)).collect();
        json!({"approvals": rows})
    }

    /// Halts that hold.
    pub fn halts(&self) -> Value {
        let state = self.read();
        let halts: Vec<Value> = state.gate.halts(self.now()).map(answer::halt).collect();
        json!({"halts": halts})
    }

    /// For the metrics: halts that hold, and approvals that wait.
    pub fn waiting(&self) -> (usize, usize) {
        let state = self.read();
        let now = self.now();
        let pending = state.gate.approvals().filter(|approval| approval.is_open(now)).count();
        (state.gate.halts(now).count(), pending)
    }

    /// What each actor's acts came to.
    pub fn operators(&self) -> Value {
        let state = self.read();
        let rows: Vec<Value> = state
            .gate
            .trust()
            .map(|(service, actor, action, record)| {
                let mut row = serde_json::to_value(record).expect("a record is plain data");
                row["service"] = service.into();
                row["actor"] = actor.into();
                row["action"] = action.as_str().into();
                row["last_at"] = answer::moment(record.last_at).into();
                row
            })
            .collect();
        let stage = |service: &str, sub: Option<&str>, action: ActionKind, rule: Autonomy, record: Option<&Record>| {
            let standing = rule.standing(record);
            json!({
                "service": service, "operator": sub, "action": action.as_str(), "stage": standing.stage.as_str(),
                "at_most": rule.at_most.as_str(), "improved": standing.improved, "raise_after": rule.raise_after,
            })
        };
        let mut stages: Vec<Value> = state
            .gate
            .records()
            .filter_map(|(service, sub, action, record)| {
                let rule = state.rules.policies.get(service)?.allowed(action)?.autonomy?;
                Some(stage(service, Some(sub), action, rule, Some(record)))
            })
            .collect();
        // And where everybody else stands, who has nothing on record.
        for (service, policy) in &state.rules.policies {
            let ruled = policy.allowed_actions.iter().filter_map(|row| Some((row.action.kind(), row.autonomy?)));
            stages.extend(ruled.map(|(action, rule)| stage(service, None, action, rule, None)));
        }
        json!({"operators": rows, "autonomy": stages})
    }

    /// Signals of every service that has a policy.
    pub fn signals(&self) -> Value {
        let (at, now) = (self.read().views.at, self.now());
        let services: Vec<Value> =
            self.all_signals().into_iter().map(|(signals, change)| shown(&signals, &change, at, now)).collect();
        json!({"services": services})
    }

    /// Signals of one service.
    ///
    /// # Errors
    /// It has no policy, or there is none of this name.
    pub fn signals_of(&self, service: &str) -> Result<Value, Blocked> {
        let state = self.read();
        let (signals, change) = self.signals_in(&state, service).ok_or_else(|| {
            Blocked::Unknown(format!("there is no service {service:?} with a policy: nothing is safe there"))
        })?;
        Ok(shown(&signals, &change, state.views.at, self.now()))
    }

    /// For the metrics: signals and change state of every service that has a policy.
    pub fn all_signals(&self) -> Vec<(Vec<Signal>, ChangeState)> {
        let state = self.read();
        let services: Vec<String> = state.rules.policies.keys().cloned().collect();
        services.iter().filter_map(|service| self.signals_in(&state, service)).collect()
    }

    fn signals_in(&self, state: &State, service: &str) -> Option<(Vec<Signal>, ChangeState)> {
        let policy = state.policy(service)?;
        let now = self.now();
        let signals = match self.view(state, service, now) {
            Some(view) => CLASSES.map(|class| signal(class, Some(&policy), &view, &state.gate, now)).to_vec(),
            // Nothing is known of it yet.
            None => {
                CLASSES.map(|class| Signal { service: service.into(), class, value: -1, codes: Vec::new() }).to_vec()
            }
        };
        Some((signals, change_state(Some(&policy), service, &state.gate, now)))
    }
}

/// `at` is the slice that they were made of, 0 where there is none yet: who acts on a signal has to know how old it is.
fn shown(signals: &[Signal], change: &ChangeState, at: Seconds, now: Seconds) -> Value {
    let by_class: serde_json::Map<String, Value> = signals
        .iter()
        .map(|signal| (signal.class.as_str().to_owned(), json!({"value": signal.value, "codes": signal.codes})))
        .collect();
    json!({
        "service": signals.first().map(|signal| &signal.service),
        "signals": by_class,
        "change_state": change,
        "at": (at > 0).then_some(at),
        "age_s": (at > 0).then(|| (now - at).max(0)),
    })
}

impl State {
    /// How the gate stands now for a service.
    pub(super) fn health(&self, service: &str, audit_writable: bool, log: &crate::audit::Log, leads: bool) -> Health {
        Health {
            policy_current: self.rules.current,
            warm: self.views.at > 0 && !self.views.unread.contains(service),
            // Of a log that another process has nothing can be said here.
            audit_writable: audit_writable || !leads,
            log_proved: log.is_proved() || !leads,
            leads,
            unwitnessed: log.unwitnessed(),
            clock_skew_s: self.views.clock_skew_s,
            // People are asked on the page and at the command line; somebody must be able to show who they are.
            can_ask: self.identities.all.iter().any(|identity| identity.class.is_human()),
        }
    }
}
