//! Envoy's `envoy.service.auth.v3.Authorization/Check`: the same door as over HTTP (`src/web/doors/ext_authz.rs`), asked with
//! what Envoy says of its client's request, and its answer in Envoy's words.
//!
//! `context_extensions` of the route stand where `headers_to_add` do over HTTP: what they say of the act, the client cannot.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use prost::Message as _;

use super::super::doors::ext_authz::{OTHERS, PARTIAL, PREFIX};
use super::wire::{
    CheckRequest, CheckResponse, Denied, Header, HeaderOption, HttpStatus, OVERWRITE, Ok as Passed, Status,
};
use super::{Answered, Asked, Code, Unread, bearer_of, problem_of};

/// The door.
const PATH: &str = "/integrations/ext-authz/";

/// The question as it is asked over HTTP.
pub fn asked(message: &[u8]) -> Result<Asked, Unread> {
    let check = CheckRequest::decode(message).map_err(|error| Unread::Message(error.to_string()))?;
    let attributes = check.attributes.unwrap_or_default();
    let http = attributes.request.and_then(|request| request.http).unwrap_or_default();
    let mut headers = HeaderMap::new();
    let lines = http.header_map.into_iter().flat_map(|map| map.headers);
    let lines = lines.map(|line| (line.key, if line.raw_value.is_empty() { line.value } else { line.raw_value }));
    for (name, value) in http.headers.into_iter().map(|pair| (pair.key, pair.value)).chain(lines) {
        if let Some(name) = of_act(&name) {
            headers.append(name, read(&value)?);
        }
    }
    let mut pinned = HeaderMap::new();
    for pair in attributes.context_extensions {
        if let Some(name) = of_act(&pair.key) {
            pinned.append(name, read(&pair.value)?);
        }
    }
    for name in pinned.keys() {
        headers.remove(name);
    }
    headers.extend(pinned);
    Ok(Asked { path: PATH, bearer: bearer_of(&mut headers), headers, body: Vec::new() })
}

/// Headers that have a say at the door.
fn of_act(name: &[u8]) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(name).ok()?;
    let text = name.as_str();
    let of_act = text.strip_prefix(PREFIX).is_some_and(|member| !OTHERS.contains(&member));
    (of_act || text == PARTIAL || name == header::AUTHORIZATION).then_some(name)
}

fn read(value: &[u8]) -> Result<HeaderValue, Unread> {
    HeaderValue::from_bytes(value).map_err(|_| Unread::Content("a header of the act is no text".into()))
}

/// Headers of ours that go on with an answer.
fn goes_on(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with(PREFIX) || ["content-type", "www-authenticate", "retry-after"].contains(&name)
}

/// What the door answered. Only its own 200 lets through.
pub fn told(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answered {
    let said = |(name, value): (&HeaderName, &HeaderValue)| {
        let header = Header { key: name.as_str().to_owned(), value: value.to_str().ok()?.to_owned() };
        Some(HeaderOption { header: Some(header), append_action: OVERWRITE })
    };
    let headers = headers.iter().filter(|(name, _)| goes_on(name));
    if status == StatusCode::OK {
        let of_decision = headers.filter(|(name, _)| name.as_str().starts_with(PREFIX));
        let ok = Passed { headers: of_decision.filter_map(said).collect() };
        return Ok(CheckResponse { status: Some(Status::default()), denied: None, ok: Some(ok) }.encode_to_vec());
    }
    if let Some(failure) = super::failure_of(status, body) {
        return Err(failure);
    }
    Ok(denied(status, problem_of(body), headers.filter_map(said).collect(), body))
}

/// What could not be read: the client of the proxy may have seen to that, so it is a no and no fault.
pub fn refused(status: StatusCode, why: &str) -> Vec<u8> {
    denied(status, why.to_owned(), Vec::new(), why.as_bytes())
}

fn denied(status: StatusCode, message: String, headers: Vec<HeaderOption>, body: &[u8]) -> Vec<u8> {
    let code = match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        _ => Code::PermissionDenied,
    };
    let denied = Denied {
        status: Some(HttpStatus { code: status.as_u16().into() }),
        headers,
        body: String::from_utf8_lossy(body).into_owned(),
    };
    let status = Status { code: code as i32, message };
    CheckResponse { status: Some(status), denied: Some(denied), ok: None }.encode_to_vec()
}
