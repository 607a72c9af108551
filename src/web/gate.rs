//! The gate over HTTP: decisions, permits, approvals, halts, changes, signals.
//!
//! A decision is a 200 whatever it says: an allow and a deny are both answers. A 4xx is a fault of the request, a 503
//! of the gate, and both mean no. Whatever changes something needs a principal; bodies never say who that is. Reads are
//! as open as everything else that is read.
//!
//! Deliberately absent: deciding. What is asked goes to the gate_service as it came; what it answers is shown.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::auth::Caller;
use super::json::Json;
use super::{Problem, Site};
use crate::gate::ActionClass;
use crate::gate::request::unambiguous;
use crate::gate_service::{Blocked, GateService, HaltOrder, OptionsOrder, Posted, VoteOrder};

/// Extractor: the gate, or a 503 where this process decides nothing. Comes after [`Caller`]: strangers learn nothing.
pub struct Gate(pub(super) GateService);

impl FromRequestParts<Site> for Gate {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, site: &Site) -> Result<Self, Problem> {
        site.app.gate_service.clone().map(Gate).ok_or_else(Gate::missing)
    }
}

impl Gate {
    /// There is none here.
    pub(super) fn missing() -> Problem {
        let hint = "It keeps no audit log (--data-dir), or could not make one: its log says which. No decision is made that cannot be written down.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this process decides nothing", hint)
    }
}

type Answered = Result<Response, Blocked>;

fn shown(answer: impl serde::Serialize) -> Response {
    Json(&answer).into_response()
}

impl IntoResponse for Blocked {
    fn into_response(self) -> Response {
        let (status, hint) = match &self {
            Blocked::Malformed(_) => (StatusCode::BAD_REQUEST, "GET /openapi.json describes every request."),
            Blocked::Unknown(_) => {
                (StatusCode::NOT_FOUND, "Ids are those of earlier answers; old ones are forgotten after a day.")
            }
            Blocked::Forbidden(_) => (StatusCode::FORBIDDEN, "Ask somebody who may."),
            Blocked::Conflict(_) => (StatusCode::CONFLICT, "Read its state, then decide anew."),
            Blocked::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "Treat this as a refusal. The log of the server says why.")
            }
        };
        Problem::new(status, self.to_string(), hint).into_response()
    }
}

/// The query of `POST /v1/decisions`. A word that is not known is refused: with a slip of the pen an explanation would be
/// a decision.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionQuery {
    explain: Option<String>,
    status: Option<Strict>,
}

/// `?status=strict`: the answer is in the status, too, for who reads nothing else (`curl -f`).
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Strict {
    Strict,
}

impl Strict {
    /// Only a yes that may be used is a 200.
    fn of(self, answer: &serde_json::Value) -> StatusCode {
        match answer["argo"].as_str() {
            Some("allow") => StatusCode::OK,
            Some("needs_approval") => StatusCode::PRECONDITION_REQUIRED,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

/// A body that is read strictly.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Blocked> {
    // A struct can be read from an array, too: what stands where would be what nobody meant.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Blocked::Malformed("the request is no object of JSON".into()));
    }
    unambiguous(body).map_err(Blocked::Malformed)?;
    serde_json::from_slice(body)
        .map_err(|error| Blocked::Malformed(format!("the request is not as it should be: {error}")))
}

/// `POST /v1/decisions[?explain]`.
pub async fn decide(
    State(site): State<Site>,
    Caller(principal): Caller,
    Gate(gate_service): Gate,
    query: Result<Query<DecisionQuery>, QueryRejection>,
    body: Bytes,
) -> Result<Response, Response> {
    let malformed = |what: String| Blocked::Malformed(what).into_response();
    let Query(query) = query.map_err(|rejection| malformed(rejection.body_text()))?;
    let explain = match query.explain.as_deref() {
        None | Some("false" | "0") => false,
        Some("" | "true" | "1") => true,
        Some(_) => return Err(malformed("explain takes no value, or true".into())),
    };
    let answer = match explain {
        true => {
            site.app.auth.explain(&principal).map_err(IntoResponse::into_response)?;
            gate_service.explain(&principal, &body)
        }
        false => gate_service.decide(&principal, &body).await,
    };
    let answer = answer.map_err(IntoResponse::into_response)?;
    let Some(strict) = query.status else { return Ok(shown(answer)) };
    let answer = serde_json::to_value(answer).unwrap_or_default();
    Ok((strict.of(&answer), shown(answer)).into_response())
}

/// `POST /v1/options`. Each option costs as much as an explanation.
pub async fn options(
    State(site): State<Site>,
    Caller(principal): Caller,
    Gate(gate_service): Gate,
    body: Bytes,
) -> Result<Response, Response> {
    let order: OptionsOrder = read(&body).map_err(IntoResponse::into_response)?;
    for _ in 0..order.cost() {
        site.app.auth.explain(&principal).map_err(IntoResponse::into_response)?;
    }
    gate_service.options(&principal, &order).map(shown).map_err(IntoResponse::into_response)
}

/// `GET /v1/permits/{id}`.
pub async fn permit(Gate(gate_service): Gate, Path(id): Path<String>) -> Answered {
    gate_service.permit(&id).map(shown)
}

/// The body of `POST /v1/permits/{id}/redeem`; it may be empty.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedeemBody {
    /// What is about to be done, held against what was permitted.
    request: Option<crate::gate::Request>,
}

/// `POST /v1/permits/{id}/redeem`.
pub async fn redeem(
    Caller(principal): Caller,
    Gate(gate_service): Gate,
    Path(id): Path<String>,
    body: Bytes,
) -> Answered {
    let presented: RedeemBody = match body.is_empty() {
        true => RedeemBody::default(),
        false => read(&body)?,
    };
    let answer = gate_service.redeem(&principal, &id, presented.request).await;
    answer.map(shown)
}

/// `POST /v1/permits/{id}/release`.
pub async fn release(Caller(principal): Caller, Gate(gate_service): Gate, Path(id): Path<String>) -> Answered {
    gate_service.release(&principal, &id).await.map(shown)
}

/// The body of `POST /v1/permits/{id}/outcome`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeBody {
    applied: bool,
    note: Option<String>,
}

/// `POST /v1/permits/{id}/outcome`.
pub async fn outcome(
    Caller(principal): Caller,
    Gate(gate_service): Gate,
    Path(id): Path<String>,
    body: Bytes,
) -> Answered {
    let report: OutcomeBody = read(&body)?;
    let answer = gate_service.outcome(&principal, &id, report.applied, report.note).await;
    answer.map(shown)
}

/// `GET /v1/approvals`.
pub async fn approvals(Gate(gate_service): Gate) -> Answered {
    Ok(shown(gate_service.approvals()))
}

/// `GET /v1/approvals/{id}`.
pub async fn approval(Gate(gate_service): Gate, Path(id): Path<String>) -> Answered {
    gate_service.approval(&id).map(shown)
}

/// `POST /v1/approvals/{id}`.
pub async fn vote(
    Caller(principal): Caller,
    Gate(gate_service): Gate,
    Path(id): Path<String>,
    body: Bytes,
) -> Answered {
    let vote: VoteOrder = read(&body)?;
    let answer = gate_service.vote(&principal, &id, vote).await;
    answer.map(shown)
}

/// `GET /v1/halts`.
pub async fn halts(Gate(gate_service): Gate) -> Answered {
    Ok(shown(gate_service.halts()))
}

/// `POST /v1/halts`.
pub async fn halt(Caller(principal): Caller, Gate(gate_service): Gate, body: Bytes) -> Answered {
    let order: HaltOrder = read(&body)?;
    let answer = gate_service.halt(&principal, order).await;
    answer.map(shown)
}

/// The body of `POST /v1/halts/{id}/resume`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeBody {
    reason: String,
}

/// `POST /v1/halts/{id}/resume`.
pub async fn resume(
    Caller(principal): Caller,
    Gate(gate_service): Gate,
    Path(id): Path<String>,
    body: Bytes,
) -> Answered {
    let resume: ResumeBody = read(&body)?;
    let answer = gate_service.resume(&principal, &id, resume.reason).await;
    answer.map(shown)
}

/// `POST /v1/changes`.
pub async fn change(Caller(principal): Caller, Gate(gate_service): Gate, body: Bytes) -> Answered {
    let posted: Posted = read(&body)?;
    let answer = gate_service.post_change(&principal, posted).await;
    answer.map(shown)
}

/// `GET /v1/operators`.
pub async fn operators(Gate(gate_service): Gate) -> Answered {
    Ok(shown(gate_service.operators()))
}

/// `GET /v1/signals`.
pub async fn signals(Gate(gate_service): Gate) -> Answered {
    Ok(shown(gate_service.signals()))
}

/// The query of `GET /v1/signals/{service}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalQuery {
    status: Option<Strict>,
    /// Which class the status is of.
    #[serde(default = "risk")]
    class: ActionClass,
}

impl SignalQuery {
    /// The status of an answer: where it was asked for, only a yes is a 200.
    pub(super) fn status(&self, answer: &serde_json::Value) -> StatusCode {
        match (self.status, answer["signals"][self.class.as_str()]["value"].as_i64()) {
            (None, _) | (Some(Strict::Strict), Some(1)) => StatusCode::OK,
            (_, Some(0)) => StatusCode::FORBIDDEN,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

fn risk() -> ActionClass {
    ActionClass::Risk
}

/// `GET /v1/signals/{service}[?class=mitigate&status=strict]`.
pub async fn signals_of(
    Gate(gate_service): Gate,
    Path(service): Path<String>,
    query: Result<Query<SignalQuery>, QueryRejection>,
) -> Answered {
    let Query(query) = query.map_err(|rejection| Blocked::Malformed(rejection.body_text()))?;
    let answer = gate_service.signals_of(&service)?;
    Ok((query.status(&answer), shown(answer)).into_response())
}

#[cfg(test)]
pub(super) mod tests;
