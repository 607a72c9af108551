//! What can be asked of the gate. Each command works under the lock, queues its records there, and answers when they are
//! on disk.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::answer::{self, moment};
use super::record::{self, Context};
use super::{Blocked, GateService, State};
use crate::audit::{Receipt, Waiting};
use crate::engine::Seconds;
use crate::gate::action::ActionKind;
use crate::gate::answer::Answer;
use crate::gate::event::{Event, EventKind};
use crate::gate::observed::Change;
use crate::gate::principal::{ActorClass, Principal};
use crate::gate::reason::{ReasonCode, Refusal};
use crate::gate::request::{self, Request};
use crate::gate::{Digest, HaltScope, Policy, Right};
use crate::telemetry::names;

/// A yes, a no, or one of them taken back.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteOrder {
    /// approve, reject, withdraw or revoke.
    pub verdict: VoteKind,
    /// Why; a no needs one.
    pub reason: Option<String>,
    /// Digest of the action on the card that was shown. A yes needs it: it is a yes to that, and to nothing else.
    pub action_digest: Option<Digest>,
}

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoteKind {
    /// Yes.
    Approve,
    /// No.
    Reject,
    /// The requester takes the question back.
    Withdraw,
    /// An approver takes a yes back.
    Revoke,
}

/// An order to stop changes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaltOrder {
    /// `"global"`, `{"service": ...}`, `{"actor": ...}` or `{"action": ...}`.
    pub scope: HaltScope,
    /// Why.
    pub reason: String,
    /// How long, seconds.
    pub for_s: i64,
    /// People too; else robots and pipelines.
    #[serde(default)]
    pub people: bool,
    /// Whom it names need not be known yet.
    #[serde(default)]
    pub future: bool,
}

/// A change that somebody made and tells of.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posted {
    /// The service.
    pub service: String,
    /// What was changed: `deployment/checkout-service`.
    pub resource: String,
    /// When, RFC 3339; now without it.
    pub at: Option<jiff::Timestamp>,
    /// The version before.
    pub from_version: Option<String>,
    /// The version since.
    pub version: Option<String>,
    /// Its generation since.
    pub generation: Option<u64>,
    /// Replicas since.
    pub replicas: Option<u32>,
}

/// A change cannot be told of longer after it happened than this, seconds.
const TOLD_LATE_MAX_S: i64 = 24 * 3600;

impl From<Refusal> for Blocked {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, message } = refusal;
        let what = format!("{message} ({code})");
        match code {
            ReasonCode::UnknownPermit | ReasonCode::UnknownApproval | ReasonCode::UnknownHalt => Blocked::Unknown(what),
            ReasonCode::PrincipalDiffers
            | ReasonCode::HaltNeedsPerson
            | ReasonCode::RightMissing
            | ReasonCode::NotAPerson
            | ReasonCode::OwnRequest
            | ReasonCode::NotAnApprover => Blocked::Forbidden(what),
            ReasonCode::TimeOutOfBounds | ReasonCode::ReasonMissing => Blocked::Malformed(what),
            _ => Blocked::Conflict(what),
        }
    }
}

/// Records on their way to the disk.
#[derive(Default)]
pub(super) struct Queued {
    waiting: Vec<Waiting>,
    /// What the records say, where the log of the process has to do when the disk does not: only of broken glass.
    pub(super) spoken: Vec<String>,
}

impl Queued {
    /// The receipt of the first record, once all are on disk; `None` where it was broken glass, and the log of the process
    /// had to do.
    pub(super) async fn written(self) -> Result<Option<Receipt>, Blocked> {
        let mut first = None;
        for waiting in self.waiting {
            match waiting.written().await {
                Ok(receipt) => first = first.or(Some(receipt)),
                Err(refused) if self.spoken.is_empty() => return Err(unwritten(refused)),
                Err(refused) => {
                    speak(&self.spoken, &refused);
                    return Ok(None);
                }
            }
        }
        match (first, self.spoken.is_empty()) {
            (None, true) => Err(Blocked::Unavailable("nothing was written".into())),
            (first, _) => Ok(first),
        }
    }
}

/// A person in an emergency is not kept out by a full disk: what would have been written is said on stderr.
fn speak(events: &[String], refused: &crate::audit::Refused) {
    for event in events {
        error!(event, %refused, "break-glass access was given while the audit log cannot be written: this line is its only record");
    }
}

pub(super) fn unwritten(refused: crate::audit::Refused) -> Blocked {
    error!(%refused, "a decision could not be written down, so it does not hold");
    Blocked::Unavailable(format!("the audit log does not take it: {refused}"))
}

impl GateService {
    /// Redeems a permit: every check runs again, and may only be stricter. `presented` is what is about to be done;
    /// without it, what the permit is for.
    ///
    /// # Errors
    /// There is no such permit, or nothing can be written down. A refusal is an answer: deny.
    pub async fn redeem(&self, principal: &Principal, id: &str, presented: Option<Request>) -> Result<Value, Blocked> {
        let looked = self.look_again(id).await;
        let (mut answer, queued) = {
            let mut state = self.state();
            let now = self.now();
            let permit = state.gate.permit(id).cloned().ok_or_else(|| unknown("permit", id))?;
            let presented = presented.unwrap_or_else(|| permit.request.clone());
            let service = &permit.request.service;
            let (current, mut view) = (state.policy(service), self.view(&state, service, now));
            if let (Some(looked), Some(view)) = (looked, &mut view) {
                state.put_in(view, looked, now);
            }
            let pinned = permit.policy_digest.and_then(|digest| state.policies_known.get(&digest).cloned());
            let (pinned, current_policy) = (pinned.as_deref(), current.as_deref());
            let log = self.log();
            let redemption = match log.is_proved() || permit.epoch == log.epoch() {
                true => state.gate.redeem(id, principal, &presented, pinned, current_policy, view.as_ref(), now),
                false => state.gate.doubted(&permit, principal, now),
            };
            let context = Context {
                principal: Some(principal),
                incident_tag: current.as_deref().and_then(|policy| policy.logging.incident_tag.as_deref()),
                ..Context::default()
            };
            let broken = permit.break_glass && redemption.answer == Answer::Allow;
            let queued = self.queue(&mut state, &redemption.events, &context, broken)?;
            metrics::counter!(names::PERMITS_REDEEMED_TOTAL, "answer" => redemption.answer.as_str()).increment(1);
            let permit = state.gate.permit(id).expect("it was found above and only its state changed");
            (answer::redemption(&redemption, permit, now), queued)
        };
        let receipt = queued.written().await?;
        answer["audit"] = serde_json::to_value(receipt).expect("a receipt is plain data");
        Ok(answer)
    }

    /// The holder gives an unused permit back, so that others need not wait until it expires.
    ///
    /// # Errors
    /// See [`crate::gate::GateState::release`].
    pub async fn release(&self, principal: &Principal, id: &str) -> Result<Value, Blocked> {
        let queued = {
            let mut state = self.state();
            let event = state.gate.release(id, principal, self.now())?;
            let context = Context { principal: Some(principal), ..Context::default() };
            self.commit(&mut state, &[event], &context)?
        };
        let receipt = queued.written().await?;
        Ok(json!({"permit": id, "released": true, "audit": receipt}))
    }

    /// The holder of a permit says that the act is done, or was not done.
    ///
    /// # Errors
    /// There is no such permit, it is somebody else's, or awaits no outcome.
    pub async fn outcome(
        &self,
        principal: &Principal,
        id: &str,
        applied: bool,
        note: Option<String>,
    ) -> Result<Value, Blocked> {
        let queued = {
            let mut state = self.state();
            let now = self.now();
            let events = state.gate.outcome(id, principal, applied, note.as_deref(), now)?;
            let settle_s = state.gate.permit(id).map_or(0, |permit| permit.settle_s);
            let context = Context { principal: Some(principal), ..Context::default() };
            (self.commit(&mut state, &events, &context)?, applied.then(|| now + settle_s))
        };
        let receipt = queued.0.written().await?;
        Ok(json!({"permit": id, "applied": applied, "judged_at": queued.1.map(moment), "audit": receipt}))
    }

    /// A person answers, or the requester takes the question back.
    ///
    /// # Errors
    /// See [`crate::gate::GateState::approve`].
    pub async fn vote(&self, principal: &Principal, id: &str, vote: VoteOrder) -> Result<Value, Blocked> {
        let reason = vote.reason.as_deref();
        let (mut answer, queued) = {
            let mut state = self.state();
            let now = self.now();
            let event = match vote.verdict {
                VoteKind::Approve => {
                    let shown = vote.action_digest.ok_or_else(|| {
                        Blocked::Malformed("an approval names the action_digest of the card that was shown".into())
                    })?;
                    state.gate.approve(id, principal, &shown, reason, now)?
                }
                VoteKind::Reject => state.gate.reject(id, principal, reason.unwrap_or_default(), now)?,
                VoteKind::Withdraw => state.gate.withdraw(id, principal, now)?,
                VoteKind::Revoke => state.gate.revoke_approval(id, principal, reason.unwrap_or_default(), now)?,
            };
            let context = Context { principal: Some(principal), ..Context::default() };
            let queued = self.commit(&mut state, &[event], &context)?;
            (self.approval_in(&state, id, now).ok_or_else(|| unknown("approval", id))?, queued)
        };
        let receipt = queued.written().await?;
        answer["audit"] = serde_json::to_value(receipt).expect("a receipt is plain data");
        Ok(answer)
    }

    /// A person stops changes.
    ///
    /// # Errors
    /// See [`crate::gate::GateState::halt`].
    pub async fn halt(&self, principal: &Principal, order: HaltOrder) -> Result<Value, Blocked> {
        let (answer, queued) = {
            let mut state = self.state();
            let now = self.now();
            let id = self.id(&state, "hlt")?;
            if !order.future {
                state.exists(&order.scope)?;
            }
            let actors = if order.people { ActorClass::ALL.to_vec() } else { Vec::new() };
            let event = state.gate.halt(&id, order.scope, &actors, principal, &order.reason, order.for_s, now)?;
            let EventKind::Halted { halt } = &event.kind else {
                return Err(Blocked::Unavailable("a halt is not what came of it".into()));
            };
            let answer = answer::halt(halt);
            let context = Context { principal: Some(principal), ..Context::default() };
            warn!(halt = id, by = principal.sub, "changes are halted");
            (answer, self.commit(&mut state, std::slice::from_ref(&event), &context)?)
        };
        queued.written().await?;
        Ok(answer)
    }

    /// A person takes the log as it is, with what speaks against it: machines need not wait for that any more. Permits and
    /// approvals that it shows as unused end with that, for their use may be what is missing.
    ///
    /// # Errors
    /// No person, no reason, no doubt, or a log that cannot be opened at all.
    pub async fn accept_log(&self, principal: &Principal, reason: &str) -> Result<Value, Blocked> {
        if !principal.class.is_human() {
            return Err(Refusal::new(ReasonCode::NotAPerson, format!("{} is no person", principal.sub)).into());
        }
        if !principal.has(Right::AcceptLog) {
            let what = format!("{} has not the right {:?}", principal.sub, Right::AcceptLog.as_str());
            return Err(Refusal::new(ReasonCode::RightMissing, what).into());
        }
        if reason.trim().is_empty() {
            return Err(Refusal::new(ReasonCode::ReasonMissing, "a reason is missing").into());
        }
        let doubts: Vec<String> = self.log().doubts().iter().map(ToString::to_string).collect();
        if doubts.is_empty() {
            return Err(Blocked::Conflict("nothing speaks against the audit log: there is nothing to accept".into()));
        }
        if self.log().is_damaged() {
            let what = format!("{}; what cannot be opened cannot be accepted", doubts.join("; "));
            return Err(Blocked::Conflict(what));
        }
        warn!(by = principal.sub, ?doubts, "the audit log is accepted as it is");
        let record = record::accepted(principal, &doubts, reason.trim(), self.0.clock.now_ms());
        let ended = {
            let mut state = self.state();
            let events = state.gate.ended_by_acceptance(principal, self.now());
            let context = Context { principal: Some(principal), ..Context::default() };
            (!events.is_empty()).then(|| self.commit(&mut state, &events, &context)).transpose()?
        };
        if let Some(queued) = ended {
            queued.written().await?;
        }
        let receipt = self.log().append(record).await.map_err(unwritten)?;
        self.0.changes.send_modify(|count| *count += 1);
        Ok(json!({"accepted": doubts, "audit": receipt}))
    }

    /// A person lifts a halt.
    ///
    /// # Errors
    /// See [`crate::gate::GateState::resume`].
    pub async fn resume(&self, principal: &Principal, id: &str, reason: String) -> Result<Value, Blocked> {
        let queued = {
            let mut state = self.state();
            let event = state.gate.resume(id, principal, &reason, self.now())?;
            let context = Context { principal: Some(principal), ..Context::default() };
            self.commit(&mut state, &[event], &context)?
        };
        let receipt = queued.written().await?;
        Ok(json!({"id": id, "resumed": true, "audit": receipt}))
    }

    /// A person or a pipeline tells of a change. A robot does not: what it did is known from its permits, and what it
    /// says of others could make its own cure look needed.
    ///
    /// # Errors
    /// A robot, an unknown service, a change of the future or of long ago, a text that is too long.
    pub async fn post_change(&self, principal: &Principal, posted: Posted) -> Result<Value, Blocked> {
        if principal.class == ActorClass::Robot {
            return Err(Blocked::Forbidden("a robot does not tell of changes: people and pipelines do".into()));
        }
        if !principal.has(Right::Changes) {
            let what = format!("{} has not the right {:?}", principal.sub, Right::Changes.as_str());
            return Err(Refusal::new(ReasonCode::RightMissing, what).into());
        }
        let texts = [Some(&posted.resource), posted.from_version.as_ref(), posted.version.as_ref()];
        // What no request can name, and what does not look like what it is, would be shown to people beside a request.
        if let Some(what) = texts.into_iter().flatten().find_map(|text| request::name("a text of a change", text).err())
        {
            return Err(Blocked::Malformed(what));
        }
        if !posted.resource.contains('/') {
            return Err(Blocked::Malformed("resource is kind/name".into()));
        }
        if posted.version.is_none() && posted.generation.is_none() && posted.replicas.is_none() {
            return Err(Blocked::Malformed("a change has a version, a generation or replicas".into()));
        }
        let queued = {
            let mut state = self.state();
            let now = self.now();
            if !state.rules.services.contains(&posted.service) {
                return Err(Blocked::Unknown(format!("there is no service {:?}", posted.service)));
            }
            let at = posted.at.map_or(now, |at| at.as_second());
            if at > now + 5 || at < now - TOLD_LATE_MAX_S {
                return Err(Blocked::Malformed("a change is told of when it is made, or within a day".into()));
            }
            let change = Change {
                service: posted.service,
                resource: posted.resource,
                at: at.min(now),
                from_version: posted.from_version,
                version: posted.version,
                generation: posted.generation,
                replicas: posted.replicas,
                by: Some(principal.sub.clone()),
            };
            let event = Event { at: now, kind: EventKind::ChangeObserved { change } };
            let context = Context { principal: Some(principal), ..Context::default() };
            self.commit(&mut state, &[event], &context)?
        };
        let receipt = queued.written().await?;
        Ok(json!({"recorded": true, "audit": receipt}))
    }

    /// Queues the records of these events and applies them. What was queued before a refusal may come to be in the log;
    /// nobody is told a yes.
    fn commit(&self, state: &mut State, events: &[Event], context: &Context<'_>) -> Result<Queued, Blocked> {
        self.queue(state, events, context, false)
    }

    /// The same for broken glass: what the log does not take is said on stderr instead.
    pub(super) fn queue(
        &self,
        state: &mut State,
        events: &[Event],
        context: &Context<'_>,
        broken: bool,
    ) -> Result<Queued, Blocked> {
        let mut queued = Queued::default();
        if !self.leads() && !broken {
            return Err(Blocked::Unavailable("another process decides, and this one only explains".into()));
        }
        if broken {
            queued.spoken = events.iter().map(|event| serde_json::to_string(event).unwrap_or_default()).collect();
        }
        let mut refused = None;
        let log = self.log();
        for event in events {
            // The details of a decision stand in its own record.
            let own = match event.kind {
                EventKind::Decided { .. } => *context,
                _ => Context { decision: None, inputs: None, request: None, ..*context },
            };
            let record = record::record(event, &state.gate, &own, self.0.clock.now_ms());
            match log.submit(record) {
                Ok(waiting) => queued.waiting.push(waiting),
                Err(why) if broken => refused = Some(why),
                Err(why) => return Err(unwritten(why)),
            }
            state.gate.apply(event);
        }
        if let Some(refused) = refused {
            speak(&queued.spoken, &refused);
            queued.waiting.clear();
        }
        self.0.changes.send_modify(|count| *count += 1);
        Ok(queued)
    }

    /// Events of the gate itself, at a poll. Whether they are on disk is awaited apart; what is not is told.
    pub(super) fn note(&self, state: &mut State, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        for event in events {
            info!(kind = event.kind.as_str(), "gate");
            if let EventKind::Judged { verdict } = &event.kind {
                metrics::counter!(names::VERDICTS_TOTAL, "outcome" => verdict.outcome.as_str()).increment(1);
            }
        }
        match self.commit(state, events, &Context::default()) {
            Ok(queued) => drop(tokio::spawn(async move { drop(queued.written().await) })),
            Err(blocked) => error!(%blocked, "what the gate observed could not be recorded in the audit log"),
        }
    }

    pub(super) fn now(&self) -> Seconds {
        self.0.clock.now()
    }

    pub(super) fn id(&self, state: &State, prefix: &str) -> Result<String, Blocked> {
        let id = state.ids.next(prefix, self.0.clock.now_ms());
        id.ok_or_else(|| Blocked::Unavailable("the system has no random numbers to give".into()))
    }

    pub(super) fn page(&self) -> Option<&str> {
        self.0.external_url.as_deref()
    }
}

impl GateService {
    /// Whether the log can be written, and the gate state is what it says.
    pub(super) fn is_writable(&self, state: &State) -> bool {
        let log = self.log();
        log.health().is_ok() && log.refusals() == state.refusals_known
    }
}

impl State {
    /// A halt of what nobody knows would stop nothing, and be answered as if it did.
    fn exists(&self, scope: &HaltScope) -> Result<(), Blocked> {
        let (noun, name, known) = match scope {
            HaltScope::Global => return Ok(()),
            HaltScope::Action(action) => ("action", action.as_str(), self.defines(*action)),
            HaltScope::Service(service) => ("service", service.as_str(), self.rules.services.contains(service)),
            HaltScope::Actor(actor) => ("actor", actor.as_str(), self.identities.acts(actor)),
        };
        match known {
            true => Ok(()),
            false => Err(Blocked::Unknown(format!(
                "there is no {noun} {name:?}, so nothing would be halted; with future (--future) it holds for one to come"
            ))),
        }
    }

    /// Whether there is such an action: one that is known here, or that some policy defines.
    pub(super) fn defines(&self, action: ActionKind) -> bool {
        let by_policy = || self.rules.policies.values().any(|policy| policy.allowed(action).is_some());
        !matches!(action, ActionKind::Custom(_)) || by_policy()
    }

    pub(super) fn policy(&self, service: &str) -> Option<Arc<Policy>> {
        self.rules.policies.get(service).cloned()
    }
}

pub(super) fn unknown(noun: &str, id: &str) -> Blocked {
    Blocked::Unknown(format!("there is no {noun} {id:?}"))
}
