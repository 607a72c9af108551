//! The audit log over HTTP: search, one record with its proof, verification, the last checkpoint.

use std::path::PathBuf;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::Json;
use super::auth::Caller;
use super::{Problem, Site};
use crate::audit::index::{self, Index};
use crate::audit::verify::{self, Evidence};

/// Records of one answer where nothing else is said, and at the most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// The query of `GET /v1/audit`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    service: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    incident: Option<String>,
    decision: Option<String>,
    since: Option<jiff::Timestamp>,
    until: Option<jiff::Timestamp>,
    limit: Option<usize>,
}

/// What `GET /v1/audit/{seq}` answers is small; what reads files blocks, and does it apart.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| unreadable("the reader stopped"))
}

fn unreadable(why: impl std::fmt::Display) -> Problem {
    tracing::error!(%why, "the audit log cannot be read");
    let hint = "`slowburn audit verify` on the server says what is wrong with it.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the audit log cannot be read", hint)
}

impl Site {
    fn audit_dir(&self) -> Result<PathBuf, Problem> {
        let gate_service = self.app.gate_service.as_ref();
        gate_service.map(|gate_service| gate_service.log().dir().to_owned()).ok_or_else(|| {
            let hint = "Give it a data directory (--data-dir).";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this process keeps no audit log", hint)
        })
    }
}

/// `GET /v1/audit`.
pub async fn search(State(site): State<Site>, Query(search): Query<Search>) -> Result<Response, Problem> {
    let dir = site.audit_dir()?;
    let query = index::Query {
        service: search.service,
        actor: search.actor,
        incident: search.incident,
        action: search.action,
        kind: None,
        decision: search.decision,
        since_ms: search.since.map(jiff::Timestamp::as_millisecond),
        until_ms: search.until.map(jiff::Timestamp::as_millisecond),
        limit: Some(search.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX) as u64),
    };
    let found = apart(move || -> Result<Vec<Map<String, Value>>, Problem> {
        let index = Index::open(&dir, &mut |_, _| {}).map_err(unreadable)?;
        let places = index.search(&query).map_err(unreadable)?;
        places.iter().map(|place| index.read(place).map(|entry| entry.members).map_err(unreadable)).collect()
    });
    let records = found.await??;
    Ok(Json(&json!({"records": records})).into_response())
}

/// `GET /v1/audit/{seq}`.
pub async fn record(State(site): State<Site>, Path(seq): Path<u64>) -> Result<Response, Problem> {
    let dir = site.audit_dir()?;
    let log = site.app.gate_service.as_ref().map(|gate_service| gate_service.log().clone());
    let found = apart(move || -> Result<Option<Value>, Problem> {
        let index = Index::open(&dir, &mut |_, _| {}).map_err(unreadable)?;
        let Some(place) = index.of_seq(seq).map_err(unreadable)? else { return Ok(None) };
        let entry = index.read(&place).map_err(unreadable)?;
        // Without a checkpoint over it there is no proof yet.
        let proof = match log {
            Some(log) => log.prove(seq).map_err(unreadable)?,
            None => None,
        };
        Ok(Some(json!({"record": entry.members, "leaf": entry.leaf.to_string(), "proof": proof})))
    });
    match found.await?? {
        Some(answer) => Ok(Json(&answer).into_response()),
        None => Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no record {seq}"), "The first one is 0.")),
    }
}

/// `GET /v1/audit/verify`. It reads the whole log, so it is not for everybody.
pub async fn verify(State(site): State<Site>, Caller(_): Caller) -> Result<Response, Response> {
    let dir = site.audit_dir().map_err(IntoResponse::into_response)?;
    let gate_service = site.app.gate_service.as_ref();
    let key = gate_service.map(|gate_service| gate_service.log().public_key().clone());
    let Some(key) = key else { return Err(unreadable("there is no key").into_response()) };
    let report = apart(move || verify::verify(&dir, &key, &Evidence::default(), &mut |_, _| {}).map_err(unreadable));
    let report = report.await.and_then(|report| report).map_err(IntoResponse::into_response)?;
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    let mut answer = serde_json::to_value(&report).expect("a report is plain data");
    answer["clean"] = faults.is_empty().into();
    answer["faults"] = faults.into();
    Ok(Json(&answer).into_response())
}

/// `GET /v1/audit/checkpoint`: the note as it was signed.
pub async fn checkpoint(State(site): State<Site>) -> Result<Response, Problem> {
    site.audit_dir()?;
    let note = site.app.gate_service.as_ref().map(|gate_service| gate_service.log().note()).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}
