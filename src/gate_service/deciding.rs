//! Asking for a decision: made under the lock, written down, then answered.

use std::time::Duration;

use tracing::{error, info, warn};

use super::answer::Answered;
use super::command::Queued;
use super::record::Context;
use super::unwritten::RecordStanding;
use super::{Blocked, GateService, State, inputs};
use crate::audit::Receipt;
use crate::engine::Seconds;
use crate::gate::Digest;
use crate::gate::answer::Answer;
use crate::gate::decide::decide_under;
use crate::gate::event::{Event, EventKind};
use crate::gate::permit::Permit;
use crate::gate::principal::Principal;
use crate::gate::request::Request;
use crate::gate::state::{Ids, Repeat};
use crate::telemetry::names;

/// Between two bodies that are made durable.
const SYNC_PAUSE: Duration = Duration::from_millis(25);

/// A decision that is not written down yet.
struct Decided {
    answer: Answered,
    queued: Queued,
    bodies: Vec<inputs::InputBody>,
    /// Its id, where an idempotency key can ask for it again.
    keyed: Option<String>,
}

impl GateService {
    /// Decides and issues what the decision gives: a permit, a question to people, or nothing.
    ///
    /// # Errors
    /// The request cannot be read, its idempotency key was used for something else, or nothing can be written down.
    pub async fn decide(&self, principal: &Principal, body: &[u8]) -> Result<Answered, Blocked> {
        let request = self.parse(body)?;
        let Decided { mut answer, queued, bodies, keyed } = *self.make(principal, &request)?;
        let gate_service = self.clone();
        // A task of its own: it ends although whoever asked has gone, and then the key says what became of it.
        let written = tokio::spawn(async move {
            let receipt = gate_service.written(queued, bodies).await;
            if let Some(id) = keyed {
                gate_service.0.unwritten.settle(id, receipt.is_ok());
            }
            receipt
        });
        let receipt = written.await.map_err(|_| Blocked::Unavailable("writing it down was given up".into()))??;
        answer.on_record(receipt);
        Ok(answer)
    }

    /// Decides under the lock and queues what is to be written; nobody may be told before that is done.
    fn make(&self, principal: &Principal, request: &Request) -> Result<Box<Decided>, Blocked> {
        let mut state = self.state();
        let now = self.now();
        if let Some(answer) = self.repeated(&mut state, principal, request, now)? {
            return Ok(answer);
        }
        let ids = self.ids(&state)?;
        let (policy, view) =
            (state.policy(&request.service), state.with_node(self.view(&state, &request.service, now), request));
        let known = state.digest(&request.service);
        let decision = decide_under(request, principal, policy.as_deref(), known, view.as_ref(), &state.gate, now);
        let is_known = view.is_some();
        let (inputs, bodies) = inputs::kept(request, principal, policy.as_deref(), view, &state.gate, now);
        let mut events = state.gate.record(&ids, request, principal, policy.as_deref(), &decision);
        for event in &mut events {
            if let EventKind::PermitIssued { permit } = &mut event.kind {
                permit.epoch = self.log().epoch();
            }
        }
        let beside = self.context_of(&request.service);
        let context = Context {
            principal: Some(principal),
            beside: beside.as_ref(),
            incident_tag: policy.as_deref().and_then(|policy| policy.logging.incident_tag.as_deref()),
            decision: Some(&decision),
            inputs: Some(&inputs),
            request: Some(request),
        };
        let keyed = request.idempotency_key.is_some().then(|| ids.decision.clone());
        if let Some(id) = &keyed {
            self.0.unwritten.begin(id.clone());
        }
        let broken = decision.break_glass && decision.answer == Answer::Allow;
        if broken {
            warn!(
                decision = ids.decision,
                service = request.service,
                sub = principal.sub,
                "break-glass access was used"
            );
        }
        let queued = self.queue(&mut state, &events, &context, broken).inspect_err(|_| {
            if let Some(id) = &keyed {
                self.0.unwritten.settle(id.clone(), false);
            }
        })?;
        let codes = decision.codes();
        let verdict = decision.answer.as_str();
        let answer = Answered::now(decision, request, Some(&ids), &events, &state.gate, self.page()).beside(beside);
        drop(state);
        let service = if is_known { request.service.clone() } else { "unknown".to_owned() };
        metrics::counter!(names::DECISIONS_TOTAL, "service" => service,
            "action" => request.action.as_str().to_owned(), "answer" => verdict)
        .increment(1);
        for code in &codes {
            metrics::counter!(names::DECISION_REASONS_TOTAL, "code" => code.as_str()).increment(1);
        }
        info!(decision = ids.decision, service = request.service, action = request.action.as_str(),
            sub = principal.sub, answer = verdict, reasons = ?codes, "decided");
        Ok(Box::new(Decided { answer, queued, bodies, keyed }))
    }

    /// The permit that this key got before, where it still lives and would be redeemed now. That it was given again is on
    /// record too.
    fn repeated(
        &self,
        state: &mut State,
        principal: &Principal,
        request: &Request,
        now: Seconds,
    ) -> Result<Option<Box<Decided>>, Blocked> {
        let Some(key) = request.idempotency_key.as_deref() else { return Ok(None) };
        let Some(decided) = state.gate.decided(&principal.sub, key) else { return Ok(None) };
        match self.0.unwritten.standing(&decided.id) {
            None => {}
            Some(RecordStanding::Waits) => {
                let what = "what was decided for this idempotency key is not on record yet: ask again";
                return Err(Blocked::Unavailable(what.into()));
            }
            // Nobody was told anything but no: it is decided anew.
            Some(RecordStanding::Refused) => return Ok(None),
        }
        let (policy, view) =
            (state.policy(&request.service), state.with_node(self.view(state, &request.service, now), request));
        let pinned =
            |permit: &Permit| permit.policy_digest.and_then(|digest| state.policies_known.get(&digest).cloned());
        let repeat = state.gate.repeat(principal, request, pinned, policy.as_deref(), view.as_ref(), now)?;
        let context = Context { principal: Some(principal), ..Context::default() };
        match repeat {
            Repeat::Anew(None) => Ok(None),
            Repeat::Anew(Some(revoked)) => {
                self.note(state, &[*revoked]);
                Ok(None)
            }
            Repeat::Permit(permit, decision) => {
                let kind = EventKind::DecisionRepeated {
                    id: permit.decision_id.clone(),
                    sub: principal.sub.clone(),
                    permit: permit.id.clone(),
                };
                let answer = Answered::again(*decision, &permit, request).beside(self.context_of(&request.service));
                let queued = self.queue(state, &[Event { at: now, kind }], &context, false)?;
                Ok(Some(Box::new(Decided { answer, queued, bodies: Vec::new(), keyed: None })))
            }
        }
    }

    /// Waits until the records, and what they name by digest, are on disk.
    async fn written(&self, queued: Queued, bodies: Vec<inputs::InputBody>) -> Result<Option<Receipt>, Blocked> {
        let missing: Vec<inputs::InputBody> =
            bodies.into_iter().filter(|body| !self.0.bodies.holds(&body.digest)).collect();
        if !missing.is_empty() {
            let gate_service = self.clone();
            let put = move || missing.iter().try_for_each(|body| gate_service.0.bodies.put(&body.bytes).map(drop));
            let kept = tokio::task::spawn_blocking(put).await;
            match kept.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
                Ok(()) => {}
                // In an emergency what it rested on is not what counts.
                Err(error) if !queued.spoken.is_empty() => error!(%error, "inputs of decisions cannot be stored"),
                Err(error) => {
                    return Err(Blocked::Unavailable(format!("inputs of decisions cannot be stored: {error}")));
                }
            }
            let gate_service = self.clone();
            // Behind the answer: the record is what has to be on disk.
            drop(tokio::task::spawn_blocking(move || {
                if let Err(error) = gate_service.0.bodies.sync(SYNC_PAUSE) {
                    warn!(%error, "inputs of decisions are not on disk");
                }
            }));
        }
        queued.written().await
    }

    /// What would be decided: no permit, no question, no record.
    ///
    /// # Errors
    /// The request cannot be read.
    pub fn explain(&self, principal: &Principal, body: &[u8]) -> Result<Answered, Blocked> {
        let request = self.parse(body)?;
        let state = self.read();
        let now = self.now();
        let (policy, view) =
            (state.policy(&request.service), state.with_node(self.view(&state, &request.service, now), &request));
        let known = state.digest(&request.service);
        let decision = decide_under(&request, principal, policy.as_deref(), known, view.as_ref(), &state.gate, now);
        let answer = Answered::now(decision, &request, None, &[], &state.gate, self.page());
        Ok(answer.beside(self.context_of(&request.service)))
    }

    /// Reads a request; actions that some policy defines are known.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn parse(&self, body: &[u8]) -> Result<Request, Blocked> {
        let defined = |kind| self.read().defines(kind);
        Request::parse_among(body, defined).map_err(|fault| {
            metrics::counter!(names::DECISION_REASONS_TOTAL, "code" => fault.code.as_str()).increment(1);
            Blocked::Malformed(format!("{fault} ({})", fault.code))
        })
    }

    fn ids(&self, state: &State) -> Result<Ids, Blocked> {
        Ok(Ids { decision: self.id(state, "dec")?, permit: self.id(state, "prm")?, approval: self.id(state, "apr")? })
    }
}

impl State {
    /// Digest of the policy of a service.
    fn digest(&self, service: &str) -> Option<Digest> {
        self.digests.get(service).copied()
    }
}
