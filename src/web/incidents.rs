//! `/v1/incidents`: what burned together, what changed before it, what was like it, what people say of it.
//!
//! An incident is shown with its timeline: what it knows itself, and the records of the audit log about its service from half
//! an hour before it to half an hour after. Saying something of one needs a principal, is written to the audit log first, and
//! is stored before it is answered.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::unknown;
use super::auth::Caller;
use super::gate::{Gate, read};
use super::json::Json;
use super::{Problem, Site};
use crate::audit::index::{self, Index};
use crate::audit::record::Entry;
use crate::audit::sentence;
use crate::engine::Seconds;
use crate::engine::severity::Sev;
use crate::gate_service::past::IncidentOrder;
use crate::incident::similar::{Similar, similar};
use crate::incident::story::{self, AROUND_S, Moment};
use crate::incident::text::{fit, plain};
use crate::incident::{Book, Incident, Note};

/// Incidents of one answer at most.
const LISTED_MAX: usize = 200;
/// Records of the audit log in one timeline.
const RECORDS_MAX: u64 = 300;

/// One line of the list.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    id: &'a str,
    service: &'a str,
    owner: &'a str,
    sev: Sev,
    started_at: Seconds,
    detected_at: Seconds,
    ended_at: Option<Seconds>,
    /// What happened, what changed before it and what was like it, in one line.
    headline: String,
}

/// One incident with all that is known.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    /// It.
    #[serde(flatten)]
    pub incident: &'a Incident,
    /// What happened, in one line.
    pub headline: String,
    /// Earlier ones that were like it, the nearest first; empty where none is near.
    pub similar: Vec<Similar<'a>>,
    /// What happened, in the order of time.
    pub timeline: Vec<Moment>,
    /// Records of the audit log could not be read, or are more than are shown: the timeline is not all.
    pub timeline_incomplete: Option<String>,
    /// The draft of a post-mortem, Markdown.
    pub draft: String,
}

/// The query of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    service: Option<String>,
    open: Option<bool>,
}

/// `GET /v1/incidents`.
pub(super) async fn all(State(site): State<Site>, Query(wanted): Query<Wanted>) -> Response {
    let book = site.app.incidents.borrow().clone();
    let fits = |incident: &&Incident| {
        wanted.service.as_ref().is_none_or(|service| *service == incident.service)
            && wanted.open.is_none_or(|open| open == incident.ended_at.is_none())
    };
    let all = book.all();
    let shown = all.iter().copied().filter(fits).take(LISTED_MAX);
    let listed: Vec<Listed<'_>> = shown
        .map(|incident| Listed {
            id: &incident.id,
            service: &incident.service,
            owner: &incident.owner,
            sev: incident.sev,
            started_at: incident.started_at,
            detected_at: incident.detected_at,
            ended_at: incident.ended_at,
            headline: story::headline(incident, &similar(incident, all.iter().copied())),
        })
        .collect();
    Json(&serde_json::json!({"incidents": listed})).into_response()
}

/// `GET /v1/incidents/{id}`.
pub(super) async fn one(State(site): State<Site>, Path(id): Path<String>) -> Result<Response, Problem> {
    let book = site.app.incidents.borrow().clone();
    let incident = known(&book, &id)?;
    let dir = site.app.gate_service.as_ref().map(|gate| gate.log().dir().to_owned());
    let (records, incomplete) = match dir {
        None => (Vec::new(), None),
        Some(dir) => {
            let query = records_of(incident);
            match super::audit::read(&site, move || moments(&dir, &query)).await? {
                Ok(records) if records.len() as u64 >= RECORDS_MAX => {
                    (records, Some(format!("of the audit log only {RECORDS_MAX} records are shown")))
                }
                Ok(records) => (records, None),
                Err(error) => {
                    tracing::warn!(error, "the audit log cannot be read for an incident");
                    (Vec::new(), Some("the audit log cannot be read".to_owned()))
                }
            }
        }
    };
    let similar = similar(incident, book.all().into_iter());
    let timeline = story::timeline(incident, records);
    let draft = story::draft(incident, &similar, &timeline);
    let headline = story::headline(incident, &similar);
    let told = Told { incident, headline, similar, timeline, timeline_incomplete: incomplete, draft };
    Ok(Json(&told).into_response())
}

/// `POST /v1/incidents/{id}`.
pub(super) async fn note(
    State(site): State<Site>,
    Caller(principal): Caller,
    Gate(gate_service): Gate,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Response> {
    let order: IncidentOrder = read(&body).map_err(IntoResponse::into_response)?;
    let bad = |what: String| {
        let hint = "{\"mitigation\": …, \"helped\": true, \"cause\": …, \"ticket\": …}, at least one of them.";
        Problem::new(StatusCode::BAD_REQUEST, what, hint).into_response()
    };
    let texts = [("mitigation", &order.mitigation), ("cause", &order.cause), ("ticket", &order.ticket)];
    for (name, text) in texts {
        text.as_ref().map_or(Ok(()), |text| fit(name, text)).map_err(bad)?;
    }
    if order == IncidentOrder::default() {
        return Err(bad("nothing is said of it".to_owned()));
    }
    let book: Arc<Book> = site.app.incidents.borrow().clone();
    let service = known(&book, &id).map_err(IntoResponse::into_response)?.service.clone();
    let Some(reader) = &site.app.ledger else {
        return Err(StatusCode::NOT_IMPLEMENTED.into_response());
    };
    let receipt = gate_service.note_incident(&principal, &id, &service, &order).await;
    let receipt = receipt.map_err(IntoResponse::into_response)?;
    let IncidentOrder { mitigation, helped, cause, ticket } = order;
    let note = Note { at: site.app.clock.now(), by: principal.sub.clone(), mitigation, helped, cause, ticket };
    let refused = |status: StatusCode, what: String| {
        Problem::new(status, what, "It stands in the audit log; ask again in a few seconds.").into_response()
    };
    match reader.note(&id, note).await {
        Ok(Ok(incident)) => {
            Ok(Json(&serde_json::json!({"id": id, "notes": incident.notes, "audit": receipt["audit"]})).into_response())
        }
        Ok(Err(what)) => Err(refused(StatusCode::CONFLICT, what)),
        Err(_) => Err(refused(StatusCode::SERVICE_UNAVAILABLE, "the daemon is busy or stopping".to_owned())),
    }
}

fn known<'a>(book: &'a Book, id: &str) -> Result<&'a Incident, Problem> {
    let ids = || book.all().into_iter().map(|incident| incident.id.as_str());
    book.get(id).ok_or_else(|| {
        let mut problem = unknown("incident", id, ids(), "GET /v1/incidents");
        if book.all().is_empty() {
            problem.hint = "Nothing has burned yet.".to_owned();
        }
        problem
    })
}

fn records_of(incident: &Incident) -> index::Query {
    let until = incident.ended_at.map(|end| end + AROUND_S);
    index::Query {
        service: Some(incident.service.clone()),
        since_ms: Some((incident.started_at - AROUND_S) * 1000),
        until_ms: until.map(|until| until * 1000),
        limit: Some(RECORDS_MAX),
        ..index::Query::default()
    }
}

/// Records of the audit log as lines of a timeline.
fn moments(dir: &std::path::Path, query: &index::Query) -> Result<Vec<Moment>, String> {
    let places =
        Index::open(dir, &mut |_, _| {}).and_then(|index| index.search(query)).map_err(|error| error.to_string())?;
    let mut moments = Vec::with_capacity(places.len());
    for place in places {
        let line = index::line(dir, &place).map_err(|error| error.to_string())?;
        moments.extend(moment_of(&Entry::read(&line)?));
    }
    // Of what happened in one second, what was written down first comes first.
    moments.sort_by_key(|(seq, _)| *seq);
    Ok(moments.into_iter().map(|(_, moment)| moment).collect())
}

/// A record as a moment of a timeline, and its place in the log.
fn moment_of(entry: &Entry) -> Option<(u64, Moment)> {
    let at = entry.time_ms()?.div_euclid(1000);
    let text = |path: &str| entry.text(path).unwrap_or_default();
    let alert = text("resource").strip_prefix("alert/").filter(|_| text("action").starts_with("alert_"));
    let moment = match (alert, text("action").strip_prefix("silence_")) {
        (Some(alert), _) => alert_of_others(entry, alert, at),
        (None, Some(action)) => silence_of_others(entry, action, at),
        (None, None) => {
            let (kind, text) = (text("kind").to_owned(), plain(&sentence::deed(entry)));
            Moment { at, kind, text, source: format!("audit #{}", entry.seq) }
        }
    };
    Some((entry.seq, moment))
}

/// An alert of somebody else began or ended: when it says so itself, if that was before it was told of.
fn alert_of_others(entry: &Entry, name: &str, told_at: Seconds) -> Moment {
    let text = |path: &str| entry.text(path).unwrap_or_default();
    let (what, moment) = match text("action") {
        "alert_fired" => ("fires", "starts_at"),
        _ => ("is over", "ends_at"),
    };
    let event = entry.members.get("event").unwrap_or(&Value::Null);
    let at = event[moment].as_i64().unwrap_or(told_at).min(told_at);
    let summary = match text("reason") {
        "" => String::new(),
        summary => format!(" (\u{201c}{summary}\u{201d})"),
    };
    let said = format!("alert {name} {what}, told by {}{summary}", text("actor"));
    Moment { at, kind: "alert_of_others".to_owned(), text: plain(&said), source: format!("audit #{}", entry.seq) }
}

/// Somebody kept alerts quiet, or does so no more.
fn silence_of_others(entry: &Entry, action: &str, seen_at: Seconds) -> Moment {
    let text = |path: &str| entry.text(path).unwrap_or_default();
    let comment = match text("reason") {
        "" => String::new(),
        comment => format!(" (\u{201c}{comment}\u{201d})"),
    };
    let event = entry.members.get("event").unwrap_or(&Value::Null);
    let until = event["ends_at"].as_i64().unwrap_or(seen_at);
    let until = jiff::Timestamp::from_second(until).map_or_else(|_| until.to_string(), |until| until.to_string());
    let said = match action {
        "began" => format!("alerts are silenced until {until} by {}{comment}", text("event.by")),
        _ => format!("alerts are not silenced by {} any more{comment}", text("event.by")),
    };
    Moment {
        at: seen_at,
        kind: "silence_of_others".to_owned(),
        text: plain(&said),
        source: format!("audit #{}", entry.seq),
    }
}

#[cfg(test)]
pub(super) mod tests;
