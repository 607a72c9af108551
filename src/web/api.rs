//! `/healthz`, `/readyz` and the reads under `/v1`: each a pure function of the last snapshot.

use std::sync::{Arc, PoisonError};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::brief::Brief;
use super::json::Json;
use super::view::{self, ServiceView, SloView};
use super::{Problem, Readiness, Site};
use crate::engine::Snapshot;

impl Site {
    /// The last evaluation.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.app.snapshot.borrow().clone()
    }
}

/// Makes an answer whose size grows with the fleet off the threads that drive polls and connections.
pub(super) async fn apart(make: impl FnOnce() -> Response + Send + 'static) -> Response {
    tokio::task::spawn_blocking(make).await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// `GET /healthz`.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`.
pub async fn readyz(State(site): State<Site>) -> Response {
    readiness(&site.app.readiness.borrow().clone())
}

/// What is still waited for, as an answer.
pub(super) fn readiness(readiness: &Readiness) -> Response {
    #[derive(Serialize)]
    struct Answer<'a> {
        ready: bool,
        #[serde(flatten)]
        readiness: &'a Readiness,
    }
    let ready = readiness.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(&Answer { ready, readiness })).into_response()
}

/// How a list of SLOs is wanted.
#[derive(Debug, Default, Deserialize)]
pub struct Listing {
    /// Only the worst series of each, in round numbers.
    #[serde(default)]
    brief: bool,
}

/// `GET /v1/slos`.
pub async fn slos(
    State(site): State<Site>,
    headers: HeaderMap,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Listing { brief }) = listing.map_err(|rejection| {
        Problem::new(StatusCode::BAD_REQUEST, rejection.body_text(), "Write ?brief=true, or nothing.")
    })?;
    let snapshot = site.snapshot();
    let answer = apart(move || {
        let render = || {
            let body = match brief {
                true => serde_json::to_vec(&snapshot.slos.iter().map(Brief::of).collect::<Vec<_>>()),
                false => serde_json::to_vec(&snapshot.slos.iter().map(SloView::of).collect::<Vec<_>>()),
            };
            let mut body = body.expect("counts, ratios and texts are JSON");
            body.push(b'\n');
            body
        };
        let kept = if brief { &site.brief } else { &site.fleet };
        kept.lock().unwrap_or_else(PoisonError::into_inner).answer(&headers, &snapshot, render)
    });
    Ok(answer.await)
}

/// `GET /v1/slos/{id}`.
pub async fn slo(State(site): State<Site>, Path(id): Path<String>) -> Result<Response, Problem> {
    let snapshot = site.snapshot();
    match snapshot.slo(&id) {
        Some(entry) => Ok(Json(&SloView::of(entry)).into_response()),
        None => Err(unknown("SLO", &id, snapshot.slos.iter().map(|entry| entry.slo.id.as_str()), "GET /v1/slos")),
    }
}

/// `GET /v1/services/{name}`.
pub async fn service(State(site): State<Site>, Path(name): Path<String>) -> Result<Response, Problem> {
    let (snapshot, info) = (site.snapshot(), site.app.info.borrow().clone());
    match info.services.iter().find(|service| service.name == name) {
        Some(service) => Ok(Json(&ServiceView::of(service, &snapshot)).into_response()),
        None => {
            let names = info.services.iter().map(|service| service.name.as_str());
            Err(unknown("service", &name, names, "GET /v1/slos"))
        }
    }
}

/// `GET /v1/alerts`.
pub async fn alerts(State(site): State<Site>) -> Response {
    let snapshot = site.snapshot();
    Json(&view::alerts(&snapshot)).into_response()
}

/// A 404 that names what there is, or where the list is when there is much.
pub(super) fn unknown<'a>(noun: &str, asked: &str, known: impl Iterator<Item = &'a str>, list: &str) -> Problem {
    const SHOWN: usize = 10;
    let known: Vec<_> = known.take(SHOWN + 1).collect();
    let hint = match known.len() {
        0 => "None is loaded: `slowburn check` says what is wrong with the rules.".to_owned(),
        n if n <= SHOWN => format!("There are: {}.", known.join(", ")),
        _ => format!("{list} lists all of them."),
    };
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {noun} {asked:?}"), hint)
}

#[cfg(test)]
mod tests;
