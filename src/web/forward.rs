//! Requests to a process that does not decide go on to the one that does, with the credential that they brought, and its
//! answer comes back. Where it cannot be reached, what changes something is refused, and what is read says what is known here:
//! no yes of its own. A person in an emergency is not refused: break-glass access is given where it is asked for.
//!
//! A sign-in goes along too, as its cookie: the one that decides opens it with the key that all have.
//!
//! Deliberately absent: certificates. Who is known by one asks the one that decides.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;

use super::{Problem, Site};
use crate::outbound::Transport;

/// What belongs to the gate.
const PATHS: [&str; 15] = [
    "/v1/decisions",
    "/v1/options",
    "/v1/permits",
    "/v1/approvals",
    "/v1/halts",
    "/v1/changes",
    "/v1/webhooks",
    "/v1/signals",
    "/v1/operators",
    "/v1/audit/accept",
    "/access/v1",
    "/integrations",
    "/gate/check",
    "/admission",
    "/mcp",
];
/// Whatever the method, it begins an act.
const BEGINS: &str = "/integrations/ext-authz";
/// What a sidecar follows holds signals, and is as long as it lasts.
fn is_mirror(path: &str) -> bool {
    path.starts_with("/v1/services/") && path.ends_with("/stream")
}
/// Longest wait for the one that decides.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is handed on, bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// What an answer says besides, and is handed on with it; and all of ours.
const TOLD: [HeaderName; 4] = [header::CONTENT_TYPE, header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::LOCATION];
/// Says that a request was sent on already: none is sent on twice.
const FORWARDED: HeaderName = HeaderName::from_static("x-slowburn-forwarded");

/// The client for the last leader.
#[derive(Default)]
pub(super) struct Forward {
    client: Mutex<Option<(String, Transport)>>,
    /// It did not answer the last time, and that was said.
    silent: AtomicBool,
}

impl Forward {
    /// Says it once for as long as it lasts: those who ask are many, and ask again.
    fn did_answer(&self, leader: &str, why: Option<&str>) {
        let was_silent = self.silent.swap(why.is_some(), Ordering::Relaxed);
        if let Some(why) = why.filter(|_| !was_silent) {
            tracing::warn!(leader, why, "a request could not be sent on to the process that decides");
        }
    }

    fn transport(&self, leader: &str) -> Result<Transport, String> {
        let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, transport)) = known.as_ref().filter(|(of, _)| of == leader) {
            return Ok(transport.clone());
        }
        let transport = Transport::new(leader, None, HeaderMap::new()).map_err(|error| error.to_string())?;
        *known = Some((leader.to_owned(), transport.clone()));
        Ok(transport)
    }
}

/// Layer: what is asked of the gate goes to whoever decides.
pub(super) async fn forward(State(site): State<Site>, request: Request, next: Next) -> Response {
    let of_gate = PATHS.iter().any(|path| request.uri().path().starts_with(path)) || is_mirror(request.uri().path());
    let following = site.app.gate_service.as_ref().and_then(|gate_service| gate_service.following());
    let Some(following) = following.filter(|_| of_gate) else { return next.run(request).await };
    let begins = request.uri().path().starts_with(BEGINS);
    let reads = !begins && matches!(*request.method(), Method::GET | Method::HEAD);
    let explains = request.uri().path() == "/v1/options"
        || !begins
            && request.uri().query().is_some_and(|query| query.split('&').any(|part| part.starts_with("explain")));
    let again = request.headers().contains_key(&FORWARDED);
    let (head, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, super::guard::body_bytes_max(head.uri.path(), site.app.limits.max_body_bytes)).await
    else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let here = reads || explains || is_emergency(&site, &head, &bytes);
    let Some(leader) = following.leader.filter(|_| !again) else {
        return match here {
            true => next.run(Request::from_parts(head, Body::from(bytes))).await,
            false => nobody("it is not known which one").into_response(),
        };
    };
    let answer = sent(&site, &leader, &head, bytes.clone()).await;
    site.forward.did_answer(&leader, answer.as_ref().err().map(String::as_str));
    match answer {
        Ok(answer) => answer,
        Err(_) if here => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Err(_) => nobody(&format!("{leader} does not answer")).into_response(),
    }
}

/// Whether a person breaks the glass, or redeems what that gave here. Who it is, and whether they may, is judged as everywhere.
fn is_emergency(site: &Site, head: &Parts, body: &[u8]) -> bool {
    let path = head.uri.path();
    if head.method != Method::POST {
        return false;
    }
    if path == "/v1/decisions" {
        return serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|request| request["break_glass"] == true);
    }
    let permit = path.strip_prefix("/v1/permits/").and_then(|rest| rest.strip_suffix("/redeem"));
    let permit = permit.zip(site.app.gate_service.as_ref()).and_then(|(id, gate_service)| gate_service.permit_of(id));
    permit.is_some_and(|permit| permit.break_glass)
}

fn nobody(why: &str) -> Problem {
    let hint =
        "Treat this as a refusal. Ask again in a moment: another process takes over when the one that decides is gone.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("another process decides, and {why}"), hint)
}

async fn sent(site: &Site, leader: &str, head: &Parts, body: bytes::Bytes) -> Result<Response, String> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let url: reqwest::Url = format!("{}{path}", leader.trim_end_matches('/')).parse().map_err(|_| "no URL")?;
    let transport = site.forward.transport(leader)?;
    let mut request = transport.client().request(head.method.clone(), url).body(body);
    // Who signed in is known there as well, by the key that all share. Of what a link makes a browser send it goes nowhere.
    let begins = head.uri.path().starts_with(BEGINS);
    let reads = !begins && matches!(head.method, Method::GET | Method::HEAD);
    let session = site.app.auth.sign_in().filter(|_| reads || head.headers.contains_key(header::ORIGIN));
    if let Some(cookie) = session.and_then(|sign_in| sign_in.sessions().to_send_on(&head.headers)) {
        request = request.header(header::COOKIE, cookie);
    }
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE] {
        if let Some(value) = head.headers.get(&name) {
            request = request.header(name, value);
        }
    }
    // An act at Envoy's door stands in headers, and so does what an agent calls; whether it was sent on is said here alone.
    for (name, value) in
        head.headers.iter().filter(|(name, _)| ["x-slowburn-", "mcp-"].iter().any(|own| name.as_str().starts_with(own)))
    {
        request = request.header(name, value);
    }
    let said = |error: reqwest::Error| error.without_url().to_string();
    let request = request.header(FORWARDED, "1");
    if is_mirror(head.uri.path()) {
        return handed_on(site, request).await;
    }
    let mut answer = request.timeout(TIMEOUT).send().await.map_err(said)?;
    let status = answer.status();
    let told = |name: &HeaderName| TOLD.contains(name) || name.as_str().starts_with("x-slowburn-");
    let headers: HeaderMap = answer
        .headers()
        .iter()
        .filter(|(name, _)| told(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(said)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too long".into());
        }
        bytes.extend_from_slice(&chunk);
    }
    let mut back = (status, bytes).into_response();
    back.headers_mut().extend(headers);
    if let Ok(leader) = HeaderValue::from_str(leader) {
        back.headers_mut().insert(HeaderName::from_static("x-slowburn-leader"), leader);
    }
    Ok(back)
}

/// A stream, handed on as it comes until either end closes it.
async fn handed_on(site: &Site, request: reqwest::RequestBuilder) -> Result<Response, String> {
    let Ok(seat) = super::service_stream::seat(site) else { return Err("every stream of a service is taken".into()) };
    let answer = tokio::time::timeout(TIMEOUT, request.send()).await.map_err(|_| "it does not answer")?;
    let answer = answer.map_err(|error| error.without_url().to_string())?;
    let (status, kind) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
    let stop = site.stop.clone();
    let pieces = unfold((answer, stop, seat), |(mut answer, stop, seat)| async move {
        let piece = stop.run_until_cancelled(answer.chunk()).await?;
        let piece = piece.transpose()?.map_err(|_| std::io::Error::other("the process that decides is gone"));
        Some((piece, (answer, stop, seat)))
    });
    let mut back = (status, Body::from_stream(pieces)).into_response();
    if let Some(kind) = kind {
        back.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(back)
}
