//! `GET /v1/slos/{id}/explain`: what a count is made of. It reads Prometheus again, so it is bounded: one at a time, six
//! hours at most, and of the lists no more than fits a page.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::api::unknown;
use super::history::moment;
use super::json::Json;
use super::{Problem, Site};
use crate::engine::{Labels, Snapshot};
use crate::inspect::account::{Account, Asked, Counts};
use crate::spec::TimeSpan;

/// The longest window, seconds.
const WINDOW_MAX_S: i64 = 6 * 3600;
/// Changes listed at most.
const CHANGES_MAX: usize = 5_000;
/// Raw series listed at most.
const SERIES_MAX: usize = 500;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// End of the window: RFC 3339 or Unix seconds; the last evaluation without it.
    at: Option<String>,
    /// Its length; an hour without it.
    window: Option<String>,
}

#[derive(Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    account: &'a Account,
    /// What the ledger of this daemon holds of the window, where the last evaluation has one that begins and ends so.
    ledger: Option<Counts<u64>>,
}

/// `GET /v1/slos/{id}/explain`.
pub async fn explain(
    State(site): State<Site>,
    Path(id): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let bad = |error: String| {
        let hint =
            "?at=2026-11-01T12:00:00Z (or Unix seconds) is the end of the window, ?window=1h its length, up to 6h.";
        Problem::new(StatusCode::BAD_REQUEST, error, hint)
    };
    let Query(Wanted { at, window }) = wanted.map_err(|rejection| bad(rejection.body_text()))?;
    let (snapshot, info) = (site.snapshot(), site.app.info.borrow().clone());
    if snapshot.slo(&id).is_none() {
        return Err(unknown("SLO", &id, snapshot.slos.iter().map(|entry| entry.slo.id.as_str()), "GET /v1/slos"));
    }
    let Some(explainer) = &info.explainer else {
        let hint = "`slowburn explain SLO --prometheus-url URL --rules DIR` says it without a daemon.";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "this process explains no counts", hint));
    };
    let resolution_s = explainer.options.resolution_s;
    let at_s = match at.as_deref() {
        None => snapshot.at,
        Some(text) => moment(text).ok_or_else(|| bad(format!("at={text:?} is no moment")))?,
    };
    let at_s = at_s.div_euclid(resolution_s) * resolution_s;
    let window = window.as_deref().unwrap_or("1h");
    let window_s =
        TimeSpan::parse(window).map_err(|fault| bad(format!("window={window:?}: {}", fault.what)))?.seconds();
    let window_s = window_s.div_euclid(resolution_s) * resolution_s;
    if !(resolution_s..=WINDOW_MAX_S).contains(&window_s) {
        return Err(bad(format!("window={window:?} is not between {resolution_s}s and 6h")));
    }
    if at_s > snapshot.at || at_s < window_s {
        return Err(bad(format!("at={at_s} is not in the past: the last evaluation is that of {}", snapshot.at)));
    }
    let Ok(_permit) = site.explaining.try_acquire() else {
        let hint =
            "Each explanation reads Prometheus again, so they are made one after the other: ask again in a while.";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "another count is being explained", hint));
    };
    let asked = Asked { slo: &id, at_s, window_s, changes_max: CHANGES_MAX, series_max: SERIES_MAX };
    let account = explainer.of_service(&asked).await.map_err(|fault| {
        let error = format!("Prometheus does not answer: {fault}");
        Problem::new(StatusCode::BAD_GATEWAY, error, "Counts that were read before are at GET /v1/slos/{id}.")
    })?;
    let ledger = ledger(&snapshot, &account);
    Ok(Json(&Explained { account: &account, ledger }).into_response())
}

/// What the last evaluation holds of the same window; `None` where it has no such window.
fn ledger(snapshot: &Snapshot, account: &Account) -> Option<Counts<u64>> {
    let whole = snapshot.slo(&account.slo)?.series.iter().find(|status| status.labels == Labels::new())?;
    if whole.at != account.at {
        return None;
    }
    let window = whole.windows.iter().find(|window| window.window_s == account.window_s)?;
    // Judged slices are no events.
    window.undecided.is_none().then_some(Counts { total: window.total, bad: window.bad })
}
