//! AuthZEN's access requests: the question to people that a decision asked, as a task that can be looked at and taken back.
//!
//! The question is asked by the evaluation itself, so submitting it creates nothing: it is found by what is asked for. A
//! granted task is no grant: the evaluation is sent again, and decided anew.
//!
//! Deliberately absent: callbacks (whoever waits looks, or follows `/v1/stream`), and requests for several items at once.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::Site;
use super::super::auth::Caller;
use super::super::gate::{Gate, read};
use super::authzen::{Here, asked, shaped};
use crate::gate::Principal;
use crate::gate_service::{Blocked, GateService, VoteKind, VoteOrder};

/// Seconds between two looks at a task.
const LOOK_S: u32 = 5;

/// Why there is no task, as the profile names it.
enum RefusedTask {
    NotRequestable(String),
    Binding(String),
    Expired,
    UnknownTask,
    State(String),
    Gate(Blocked),
}

impl IntoResponse for RefusedTask {
    fn into_response(self) -> Response {
        let (status, kind, detail) = match self {
            RefusedTask::NotRequestable(what) => (StatusCode::BAD_REQUEST, "not_requestable", what),
            RefusedTask::Binding(what) => (StatusCode::BAD_REQUEST, "invalid_denial_binding", what),
            RefusedTask::Expired => {
                (StatusCode::GONE, "expired_denial", "the question has expired: evaluate again".into())
            }
            RefusedTask::UnknownTask => (StatusCode::NOT_FOUND, "unknown_task", "you have no such task".into()),
            RefusedTask::State(what) => (StatusCode::CONFLICT, "invalid_task_state", what),
            RefusedTask::Gate(blocked) => return blocked.into_response(),
        };
        let problem = json!({
            "type": format!("urn:openid:authzen:access-request:error:{kind}"), "title": kind, "status": status.as_u16(),
            "detail": detail, "error": detail, "hint": "Evaluate again: the answer says whether people can be asked.",
        });
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

/// `POST /access/v1/requests`.
pub async fn submit(
    State(site): State<Site>,
    Caller(principal): Caller,
    Gate(gate): Gate,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let here = Here::of(&site, &headers);
    // It is explained what would be decided, and that costs as much as anywhere.
    if let Err(fault) = site.app.auth.explain(&principal) {
        return fault.into_response();
    }
    match submitted(&gate, &principal, &here, &body) {
        Ok(task) => answer(&task, StatusCode::ACCEPTED),
        Err(refused) => refused.into_response(),
    }
}

fn submitted(gate: &GateService, principal: &Principal, here: &Here, body: &[u8]) -> Result<Value, RefusedTask> {
    let item = read::<Map<String, Value>>(body).map_err(RefusedTask::Gate)?;
    shaped(&item).map_err(RefusedTask::Gate)?;
    let denial = item.get("denial").and_then(|denial| denial["evaluation_id"].as_str());
    let denial =
        denial.ok_or_else(|| RefusedTask::Binding("denial.evaluation_id says which evaluation was denied".into()))?;
    let request = asked(gate, &item, principal, here).map_err(RefusedTask::Gate)?;
    let key = gate.key_of(principal, &request).map_err(RefusedTask::Gate)?;
    let body = serde_json::to_vec(&request).unwrap_or_default();
    let now = gate.explain(principal, &body).map_err(RefusedTask::Gate)?;
    let now = serde_json::to_value(now).unwrap_or_default();
    let Some(id) = now["approval"]["id"].as_str() else {
        let what = format!("as things stand the answer is {}, and nobody is asked", now["decision"]);
        return Err(RefusedTask::NotRequestable(what));
    };
    if item["denial"]["expires_at"].as_str().is_some_and(|until| is_over(until, gate)) {
        return Err(RefusedTask::Expired);
    }
    if !gate.asked_by(principal, id, denial, &key) {
        return Err(RefusedTask::Binding(format!("{denial} is not the evaluation of this request")));
    }
    task_of(gate, principal, here, id)
}

/// Whether a moment is past; one that cannot be read is.
fn is_over(moment: &str, gate: &GateService) -> bool {
    moment.parse::<jiff::Timestamp>().map_or(true, |until| until.as_second() <= gate.clock_s())
}

/// `GET /access/v1/tasks/{id}`.
pub async fn task(
    State(site): State<Site>,
    Caller(principal): Caller,
    Gate(gate): Gate,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let here = Here::of(&site, &headers);
    match task_of(&gate, &principal, &here, &id) {
        Ok(task) => answer(&task, StatusCode::OK),
        Err(refused) => refused.into_response(),
    }
}

/// `POST /access/v1/tasks/{id}/cancel`.
pub async fn cancel(
    State(site): State<Site>,
    Caller(principal): Caller,
    Gate(gate): Gate,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let here = Here::of(&site, &headers);
    let cancelled = async {
        let open = task_of(&gate, &principal, &here, &id)?;
        if open["task"]["status"] != "pending" {
            return Err(RefusedTask::State(format!("the task is {}", open["task"]["status"])));
        }
        let vote = VoteOrder { verdict: VoteKind::Withdraw, reason: None, action_digest: None };
        gate.vote(&principal, &id, vote).await.map_err(|blocked| match blocked {
            Blocked::Conflict(what) => RefusedTask::State(what),
            other => RefusedTask::Gate(other),
        })?;
        task_of(&gate, &principal, &here, &id)
    };
    match cancelled.await {
        Ok(task) => answer(&task, StatusCode::OK),
        Err(refused) => refused.into_response(),
    }
}

/// The task that an approval is, of whoever asked for it.
fn task_of(gate: &GateService, principal: &Principal, here: &Here, id: &str) -> Result<Value, RefusedTask> {
    let approval = gate.approval(id).map_err(|_| RefusedTask::UnknownTask)?;
    if approval["asked_by"] != principal.sub.as_str() {
        return Err(RefusedTask::UnknownTask);
    }
    let status = match approval["state"].as_str() {
        Some("pending") => "pending",
        Some("granted") => "approved",
        Some("rejected") => "denied",
        Some("withdrawn" | "superseded") => "cancelled",
        // Consumed or revoked too: there is nothing left to use.
        _ => "expired",
    };
    let url = format!("{}/access/v1/tasks/{id}", here.base);
    let review = format!("{}/#approval-{id}", here.base);
    let mut task = json!({"task": {
        "id": id, "status": status, "status_endpoint": url, "expires_at": approval["expires_at"],
        "progress": {"current_step": approval["have"], "total_steps": approval["need"], "awaiting": approval["from"]},
        "links": {"review": review, "cancel": format!("{url}/cancel")},
    }});
    if status == "approved" {
        task["result"] = json!({
            "mode": "reevaluate", "approval": {"id": id, "approved_until": approval["expires_at"]},
        });
    }
    Ok(task)
}

fn answer(task: &Value, status: StatusCode) -> Response {
    let mut answer = (status, super::super::json::Json(task)).into_response();
    let headers = answer.headers_mut();
    if let Ok(at) = HeaderValue::from_str(task["task"]["status_endpoint"].as_str().unwrap_or_default()) {
        headers.insert(header::LOCATION, at);
    }
    if task["task"]["status"] == "pending" {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(LOOK_S));
    }
    answer
}
