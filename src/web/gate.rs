//! The gate over HTTP: decisions, permits, approvals, halts, changes, signals.
//!
//! A decision is a 200 whatever it says: an allow and a deny are both answers. A 4xx is a fault of the request, a 503
//! of the gate, and both mean no. Whatever changes something needs a principal; bodies never say who that is. Reads are
//! as open as everything else that is read.
//!
//! Deliberately absent: deciding. What is asked goes to the gatekeeper as it came; what it answers is shown.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::api::Json;
use super::auth::Caller;
use super::{Problem, Site};
use crate::gatekeeper::{Blocked, Gatekeeper, HaltOrder, Posted, Vote};

impl Site {
    fn gatekeeper(&self) -> Result<&Gatekeeper, Problem> {
        self.app.gatekeeper.as_ref().ok_or_else(|| {
            let hint = "Give it a data directory (--data-dir) for its audit log: no decision is made that cannot be written down.";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this process decides nothing", hint)
        })
    }
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
                (StatusCode::SERVICE_UNAVAILABLE, "Take it for a no. The log of the server says why.")
            }
        };
        Problem::new(status, self.to_string(), hint).into_response()
    }
}

/// The query of `POST /v1/decisions`.
#[derive(Debug, Deserialize)]
pub struct DecisionQuery {
    explain: Option<String>,
}

/// A body that is read strictly.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Blocked> {
    serde_json::from_slice(body)
        .map_err(|error| Blocked::Malformed(format!("the request is not as it should be: {error}")))
}

/// `POST /v1/decisions[?explain]`.
pub async fn decide(
    State(site): State<Site>,
    Caller(principal): Caller,
    Query(query): Query<DecisionQuery>,
    body: Bytes,
) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    let explain = match query.explain.as_deref() {
        None | Some("false" | "0") => false,
        Some("" | "true" | "1") => true,
        Some(_) => {
            let what = "explain takes no value, or true".to_owned();
            return Err(Blocked::Malformed(what).into_response());
        }
    };
    let answer = match explain {
        true => gatekeeper.explain(&principal, &body),
        false => gatekeeper.decide(&principal, &body).await,
    };
    answer.map(|answer| Json(&answer).into_response()).map_err(IntoResponse::into_response)
}

/// `GET /v1/permits/{id}`.
pub async fn permit(State(site): State<Site>, Path(id): Path<String>) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    gatekeeper.permit(&id).map(|permit| Json(&permit).into_response()).map_err(IntoResponse::into_response)
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
    State(site): State<Site>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    let presented: RedeemBody = match body.is_empty() {
        true => RedeemBody::default(),
        false => read(&body).map_err(IntoResponse::into_response)?,
    };
    let answer = gatekeeper.redeem(&principal, &id, presented.request).await;
    answer.map(|answer| Json(&answer).into_response()).map_err(IntoResponse::into_response)
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
    State(site): State<Site>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    let report: OutcomeBody = read(&body).map_err(IntoResponse::into_response)?;
    let answer = gatekeeper.outcome(&principal, &id, report.applied, report.note).await;
    answer.map(|answer| Json(&answer).into_response()).map_err(IntoResponse::into_response)
}

/// `GET /v1/approvals`.
pub async fn approvals(State(site): State<Site>) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    Ok(Json(&gatekeeper.approvals()).into_response())
}

/// `GET /v1/approvals/{id}`.
pub async fn approval(State(site): State<Site>, Path(id): Path<String>) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    gatekeeper.approval(&id).map(|approval| Json(&approval).into_response()).map_err(IntoResponse::into_response)
}

/// `POST /v1/approvals/{id}`.
pub async fn vote(
    State(site): State<Site>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    let vote: Vote = read(&body).map_err(IntoResponse::into_response)?;
    let answer = gatekeeper.vote(&principal, &id, vote).await;
    answer.map(|answer| Json(&answer).into_response()).map_err(IntoResponse::into_response)
}

/// `GET /v1/halts`.
pub async fn halts(State(site): State<Site>) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    Ok(Json(&gatekeeper.halts()).into_response())
}

/// `POST /v1/halts`.
pub async fn halt(State(site): State<Site>, Caller(principal): Caller, body: Bytes) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    let order: HaltOrder = read(&body).map_err(IntoResponse::into_response)?;
    let answer = gatekeeper.halt(&principal, order).await;
    answer.map(|answer| Json(&answer).into_response()).map_err(IntoResponse::into_response)
}

/// The body of `POST /v1/halts/{id}/resume`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeBody {
    reason: String,
}

/// `POST /v1/halts/{id}/resume`.
pub async fn resume(
    State(site): State<Site>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    let resume: ResumeBody = read(&body).map_err(IntoResponse::into_response)?;
    let answer = gatekeeper.resume(&principal, &id, resume.reason).await;
    answer.map(|answer| Json(&answer).into_response()).map_err(IntoResponse::into_response)
}

/// `POST /v1/changes`.
pub async fn change(State(site): State<Site>, Caller(principal): Caller, body: Bytes) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    let posted: Posted = read(&body).map_err(IntoResponse::into_response)?;
    let answer = gatekeeper.post_change(&principal, posted).await;
    answer.map(|answer| Json(&answer).into_response()).map_err(IntoResponse::into_response)
}

/// `GET /v1/operators`.
pub async fn operators(State(site): State<Site>) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    Ok(Json(&gatekeeper.operators()).into_response())
}

/// `GET /v1/signals`.
pub async fn signals(State(site): State<Site>) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    Ok(Json(&gatekeeper.signals()).into_response())
}

/// `GET /v1/signals/{service}`.
pub async fn signals_of(State(site): State<Site>, Path(service): Path<String>) -> Result<Response, Response> {
    let gatekeeper = site.gatekeeper().map_err(IntoResponse::into_response)?;
    gatekeeper.signals_of(&service).map(|signals| Json(&signals).into_response()).map_err(IntoResponse::into_response)
}

#[cfg(test)]
mod tests;
