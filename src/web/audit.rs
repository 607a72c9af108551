//! The audit log over HTTP: search, one record with its proof, verification, the last checkpoint.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::auth::Caller;
use super::json::Json;
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

/// What reads files blocks, and does it apart. Its turn lasts until that is done, although whoever asked may have gone: else
/// there would be as many readers as somebody asks and hangs up.
async fn apart<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let working = move || {
        let done = work();
        drop(turn);
        done
    };
    tokio::task::spawn_blocking(working).await.map_err(|_| unreadable("the reader stopped"))
}

/// Reads records for another answer, when it is its turn.
pub(super) async fn read<T: Send + 'static>(
    site: &Site,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    apart(turn(&site.audit.searches).await?, work).await
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

/// What readers share, so that however many there are, few work at a time: a search is a query of SQLite, a
/// verification reads the whole log. Whoever reads slowly holds a piece of it, and keeps nobody else from reading.
#[derive(Clone)]
pub struct Readers {
    searches: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    verify: Arc<Semaphore>,
}

/// Searches, and pieces of answers, that are read from the disk at a time.
const SEARCHES: usize = 2;
/// Answers that are being sent at a time; further ones wait.
const ANSWERS: usize = 32;
/// Bytes of records that are read at a time, at least one record.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest wait for a turn.
const TURN: Duration = Duration::from_secs(20);

impl Default for Readers {
    fn default() -> Self {
        Readers {
            searches: Arc::new(Semaphore::new(SEARCHES)),
            answers: Arc::new(Semaphore::new(ANSWERS)),
            verify: Arc::new(Semaphore::new(1)),
        }
    }
}

/// Waits for a turn, but not for ever.
async fn turn(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let taken = tokio::time::timeout(TURN, Arc::clone(of).acquire_owned()).await;
    taken.ok().and_then(Result::ok).ok_or_else(|| {
        let hint = "Ask again later, or read the files with `slowburn audit list` on the server.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many read the audit log", hint)
    })
}

/// `GET /v1/audit`. The answer is read and sent piece by piece.
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
    let readers = site.audit.clone();
    let sending = turn(&readers.answers).await?;
    let searching = turn(&readers.searches).await?;
    let of = dir.clone();
    let places = apart(searching, move || -> Result<Vec<index::Place>, Problem> {
        Index::open(&of, &mut |_, _| {}).map_err(unreadable)?.search(&query).map_err(unreadable)
    });
    let places = places.await??;
    let (pieces, sent) = mpsc::channel::<std::io::Result<Bytes>>(1);
    tokio::spawn(async move {
        send(dir, places, &readers.searches, &pieces).await;
        drop(sending);
    });
    let body = Body::from_stream(futures_util::stream::unfold(sent, |mut sent| async move {
        let piece = sent.recv().await?;
        Some((piece, sent))
    }));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Reads records as they stand and sends them, until all are sent or nobody takes them. A record that cannot be read
/// cuts the answer off: half an answer is no JSON, and is not taken for a whole one.
async fn send(
    dir: PathBuf,
    places: Vec<index::Place>,
    searches: &Arc<Semaphore>,
    pieces: &mpsc::Sender<std::io::Result<Bytes>>,
) {
    let mut left = places.into_iter().peekable();
    let mut piece = b"{\"records\":[".to_vec();
    let mut first = true;
    while left.peek().is_some() {
        let Ok(reading) = Arc::clone(searches).acquire_owned().await else { return };
        let of = dir.clone();
        let read = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
            while piece.len() < PIECE_BYTES
                && let Some(place) = left.next()
            {
                if !std::mem::take(&mut first) {
                    piece.push(b',');
                }
                piece.extend(index::line(&of, &place)?);
            }
            Ok((left, piece, first))
        });
        let read = read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        drop(reading);
        let full = match read {
            Ok((rest, full, begun)) => {
                (left, first) = (rest, begun);
                full
            }
            Err(error) => {
                tracing::error!(%error, "the audit log cannot be read");
                drop(pieces.send(Err(error)).await);
                return;
            }
        };
        // A client that does not read is given up by its connection; then nobody receives.
        if pieces.send(Ok(full.into())).await.is_err() {
            return;
        }
        piece = Vec::new();
    }
    piece.extend_from_slice(b"]}\n");
    drop(pieces.send(Ok(piece.into())).await);
}

/// `GET /v1/audit/{seq}`.
pub async fn record(State(site): State<Site>, Path(seq): Path<u64>) -> Result<Response, Problem> {
    let dir = site.audit_dir()?;
    let reading = turn(&site.audit.searches).await?;
    let log = site.app.gate_service.as_ref().map(|gate_service| gate_service.log().clone());
    let found = apart(reading, move || -> Result<Option<Value>, Problem> {
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
    let Ok(alone) = Arc::clone(&site.audit.verify).try_acquire_owned() else {
        let hint = "Wait for it, or run `slowburn audit verify` on the server.";
        let busy = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "a verification is under way", hint);
        return Err(busy.into_response());
    };
    let report =
        apart(alone, move || verify::verify(&dir, &key, &Evidence::default(), &mut |_, _| {}).map_err(unreadable));
    let report = report.await.and_then(|report| report).map_err(IntoResponse::into_response)?;
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    let mut answer = serde_json::to_value(&report).expect("a report is plain data");
    let doubts = gate_service.map(|gate_service| gate_service.log().doubts()).unwrap_or_default();
    let doubts: Vec<String> = doubts.iter().map(ToString::to_string).collect();
    answer["clean"] = (faults.is_empty() && doubts.is_empty()).into();
    answer["doubts"] = doubts.into();
    answer["faults"] = faults.into();
    Ok(Json(&answer).into_response())
}

/// The body of `POST /v1/audit/accept`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accept {
    reason: String,
}

/// `POST /v1/audit/accept`: a person takes a log that could not be proved complete as it is.
pub async fn accept(State(site): State<Site>, Caller(principal): Caller, body: Bytes) -> Result<Response, Response> {
    site.audit_dir().map_err(IntoResponse::into_response)?;
    let accept: Accept = super::gate::read(&body).map_err(IntoResponse::into_response)?;
    let Some(gate_service) = &site.app.gate_service else { return Err(unreadable("there is no gate").into_response()) };
    let answer = gate_service.accept_log(&principal, &accept.reason).await;
    answer.map(|answer| Json(&answer).into_response()).map_err(IntoResponse::into_response)
}

/// `GET /v1/audit/checkpoint`: the note as it was signed.
pub async fn checkpoint(State(site): State<Site>) -> Result<Response, Problem> {
    site.audit_dir()?;
    let note = site.app.gate_service.as_ref().map(|gate_service| gate_service.log().note()).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it is promised: two searches, 32 answers on their way, one verification.
    #[test]
    fn few_read_at_a_time() {
        let readers = Readers::default();
        let most = [&readers.searches, &readers.answers, &readers.verify].map(|turns| turns.available_permits());
        assert_eq!(most, [2, 32, 1]);
    }

    /// Whoever asks and hangs up leaves the work behind: it counts as long as it lasts.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_whose_client_has_gone_keeps_its_turn_until_it_is_done() {
        let one = Arc::new(Semaphore::new(1));
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let reading = apart(turn(&one).await.map_err(|_| ()).expect("it is free"), move || waits.recv());
        assert!(tokio::time::timeout(Duration::from_millis(20), reading).await.is_err(), "it reads");
        assert_eq!(one.available_permits(), 0, "a second one would read beside it");
        go_on.send(()).expect("it waits for that");
        drop(turn(&one).await.map_err(|_| ()).expect("it is free when that is done"));
    }
}
