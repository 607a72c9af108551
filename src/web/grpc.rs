//! gRPC: the doors of Envoy and of agentgateway, which speak it, in frames.
//!
//! One message comes, is put as a request of HTTP to the door that decides the same over HTTP, through the whole router, and
//! the door's answer goes back as one message. So principals, limits, guards, counters, records and the way to the process
//! that decides are those of that door, and none of them is here a second time.
//!
//! | method | door |
//! |---|---|
//! | `envoy.service.auth.v3.Authorization/Check` | `/integrations/ext-authz/` |
//! | `agentgateway.dev.ext_mcp.ExtMcp/CheckRequest` | `/integrations/ext-mcp` |
//! | `agentgateway.dev.ext_mcp.ExtMcp/CheckResponse` | none: it passes |
//!
//! A status of gRPC other than 0 is a fault, and a proxy that fails open lets through at one. So a fault is what the gate or
//! the proxy is to blame for; whatever a client of the proxy can bring about (a message that is too long, no text, no
//! credential) is a no in an answer.
//!
//! The credential: what the proxy itself sends with the call (`authorization` in its metadata) counts; without one that of its
//! client, which stands in the message; without either the proxy's certificate.
//!
//! Deliberately absent: HTTP/2 for anything else, compression, streams of messages, reflection, and a crate for gRPC: what
//! is spoken of it are a prefix of five bytes and two trailers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::Problem;
use super::connections::Phase;
use super::tls::PeerNames;
use crate::telemetry::names;

mod envoy;
mod ext_mcp;
#[cfg(test)]
mod tests;
mod wire;

/// Longest message that is read, bytes: the headers that Envoy takes, twice.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// So much of a longer one is let pass by before the answer, bytes: not every client reads an answer while it sends.
const PASSED_BY_BYTES_MAX: usize = 8 << 20;
/// Longest answer of a door that is told on, bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const CONTENT_TYPE: &str = "application/grpc";

/// Codes of gRPC that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
enum Code {
    Ok = 0,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// A fault, with what is told of it.
struct Failure(Code, String);

/// What is answered: a message, or a fault.
type Answered = Result<Vec<u8>, Failure>;

/// A question as it is put to a door.
struct Asked {
    path: &'static str,
    /// What the proxy's client brought.
    bearer: Vec<HeaderValue>,
    headers: HeaderMap,
    /// JSON, or nothing.
    body: Vec<u8>,
}

/// Why there is no question in a message.
enum Unread {
    /// The message is none: the proxy made it.
    Message(String),
    /// What the proxy's client had a hand in.
    Content(String),
}

/// The methods that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rpc {
    Check,
    McpRequest,
    McpResponse,
}

impl Rpc {
    const ALL: [Rpc; 3] = [Rpc::Check, Rpc::McpRequest, Rpc::McpResponse];

    /// Its path without the slash in front, which is also what it is counted by.
    fn name(self) -> &'static str {
        match self {
            Rpc::Check => "envoy.service.auth.v3.Authorization/Check",
            Rpc::McpRequest => "agentgateway.dev.ext_mcp.ExtMcp/CheckRequest",
            Rpc::McpResponse => "agentgateway.dev.ext_mcp.ExtMcp/CheckResponse",
        }
    }

    fn of(path: &str) -> Option<Rpc> {
        let name = path.strip_prefix('/')?;
        Rpc::ALL.into_iter().find(|rpc| rpc.name() == name)
    }

    fn asked(self, message: &[u8]) -> Result<Asked, Unread> {
        match self {
            Rpc::Check => envoy::asked(message),
            Rpc::McpRequest | Rpc::McpResponse => ext_mcp::asked(message),
        }
    }

    fn told(self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answered {
        match self {
            Rpc::Check => envoy::told(status, headers, body),
            Rpc::McpRequest | Rpc::McpResponse => ext_mcp::told(status, body),
        }
    }

    fn refused(self, status: StatusCode, why: &str) -> Vec<u8> {
        match self {
            Rpc::Check => envoy::refused(status, why),
            Rpc::McpRequest | Rpc::McpResponse => ext_mcp::refused(status, why),
        }
    }
}

/// What calls of one connection are answered with.
#[derive(Clone)]
pub(super) struct Grpc {
    router: Router,
    peer: SocketAddr,
    names: Option<PeerNames>,
    /// Longest wait for a message.
    wait: Duration,
    /// One message of a connection is read at a time: what the others have sent stays in a window that all of them share.
    reader: Arc<Semaphore>,
    phase: Arc<Phase>,
}

impl Grpc {
    pub fn new(router: Router, peer: SocketAddr, names: Option<PeerNames>, wait: Duration, phase: Arc<Phase>) -> Self {
        Grpc { router, peer, names, wait, reader: Arc::new(Semaphore::new(1)), phase }
    }

    /// Answers one call.
    pub async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        if !is_grpc(request.headers()) {
            let hint = "Use HTTP/1.1: HTTP/2 is for gRPC alone here.";
            return Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this is no call of gRPC", hint).into_response();
        }
        let rpc = Rpc::of(request.uri().path()).filter(|_| request.method() == Method::POST);
        let answered = match rpc {
            Some(rpc) => self.called(rpc, request).await,
            None => Err(Failure(Code::Unimplemented, "there is no such method".into())),
        };
        let code = answered.as_ref().map_or_else(|failure| failure.0, |_| Code::Ok);
        let method = rpc.map_or("none", Rpc::name);
        metrics::counter!(names::GRPC_CALLS_TOTAL, "method" => method, "code" => (code as i32).to_string())
            .increment(1);
        framed(answered)
    }

    async fn called(self, rpc: Rpc, request: Request<Incoming>) -> Answered {
        let (head, body) = request.into_parts();
        if rpc == Rpc::McpResponse {
            // What a tool answered is let pass by unread.
            return match received(body, 0, self.wait).await {
                Received::Whole(_) | Received::TooLong => Ok(ext_mcp::passes()),
                Received::Broken(failure) => Err(failure),
            };
        }
        let asked = {
            let reader = tokio::time::timeout(self.wait, self.reader.acquire()).await;
            let Ok(Ok(_reader)) = reader else {
                return Err(Failure(Code::Unavailable, "too many messages are being read".into()));
            };
            let frame = match received(body, MESSAGE_BYTES_MAX + PREFIX_BYTES, self.wait).await {
                Received::Whole(frame) => frame,
                Received::TooLong => {
                    let why = format!("the message is over {MESSAGE_BYTES_MAX} bytes");
                    return Ok(rpc.refused(StatusCode::PAYLOAD_TOO_LARGE, &why));
                }
                Received::Broken(failure) => return Err(failure),
            };
            match rpc.asked(message(&frame)?) {
                Ok(asked) => asked,
                Err(Unread::Content(why)) => return Ok(rpc.refused(StatusCode::FORBIDDEN, &why)),
                Err(Unread::Message(why)) => {
                    return Err(Failure(Code::InvalidArgument, format!("this is no message of {}: {why}", rpc.name())));
                }
            }
        };
        // Until here its client was waited for, who may have to make room; and an answer is short and whole, and waits for nobody.
        let _serving = self.phase.serve();
        let Some(request) = put(asked, &head, self.peer, self.names) else {
            return Err(Failure(Code::InvalidArgument, "the call has no authority".into()));
        };
        let answer = match self.router.oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let (head, body) = answer.into_parts();
        match to_bytes(body, ANSWER_BYTES_MAX).await {
            Ok(body) => rpc.told(head.status, &head.headers, &body),
            Err(_) => Err(Failure(Code::Unavailable, "the answer is too long".into())),
        }
    }
}

/// Whether it is gRPC, with messages of Protocol Buffers.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    [CONTENT_TYPE.as_bytes(), b"application/grpc+proto"].iter().any(|own| kind.eq_ignore_ascii_case(own))
}

/// What came.
enum Received {
    Whole(Bytes),
    TooLong,
    Broken(Failure),
}

/// Reads a body, and lets pass by what is over `max` bytes.
async fn received(mut body: Incoming, max: usize, wait: Duration) -> Received {
    let (mut kept, mut passed) = (BytesMut::new(), 0);
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure(Code::Unavailable, "the message did not come whole".into()))?;
            let Ok(data) = frame.into_data() else { continue };
            if passed == 0 && kept.len() + data.len() <= max {
                kept.extend_from_slice(&data);
                continue;
            }
            passed += std::mem::take(&mut kept).len() + data.len();
            if passed > PASSED_BY_BYTES_MAX {
                break;
            }
        }
        Ok(())
    };
    let read = tokio::time::timeout(wait, reading).await;
    match read {
        // What was too long is so whatever became of the rest.
        _ if passed > 0 => Received::TooLong,
        Ok(Ok(())) => Received::Whole(kept.freeze()),
        Ok(Err(failure)) => Received::Broken(failure),
        Err(_) => Received::Broken(Failure(Code::DeadlineExceeded, "the message does not come".into())),
    }
}

/// The message of a frame: one, whole, and not compressed.
fn message(frame: &[u8]) -> Result<&[u8], Failure> {
    let broken = |why: &str| Failure(Code::InvalidArgument, why.to_owned());
    let (prefix, message) = frame.split_first_chunk::<PREFIX_BYTES>().ok_or_else(|| broken("there is no message"))?;
    let [compressed, length @ ..] = *prefix;
    match compressed {
        0 => {}
        1 => return Err(Failure(Code::Unimplemented, "messages are taken uncompressed".into())),
        _ => return Err(broken("this is no frame of gRPC")),
    }
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err(broken("the call is not one message"));
    }
    Ok(message)
}

/// Takes the credential out of what a client of the proxy sent.
fn bearer_of(headers: &mut HeaderMap) -> Vec<HeaderValue> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().cloned().collect();
    headers.remove(header::AUTHORIZATION);
    bearer
}

/// Headers of the call itself that a guard of the router looks at.
const GUARDED: [HeaderName; 3] = [header::AUTHORIZATION, header::ORIGIN, HeaderName::from_static("sec-fetch-site")];

/// The request of HTTP that a question is. `None`: the call names no host.
fn put(
    asked: Asked,
    head: &axum::http::request::Parts,
    peer: SocketAddr,
    names: Option<PeerNames>,
) -> Option<Request<Body>> {
    let mut headers = asked.headers;
    for name in GUARDED {
        for value in head.headers.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    if !headers.contains_key(header::AUTHORIZATION) {
        for mut value in asked.bearer {
            value.set_sensitive(true);
            headers.append(header::AUTHORIZATION, value);
        }
    }
    let host = match head.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok()?,
        None => head.headers.get(header::HOST)?.clone(),
    };
    headers.insert(header::HOST, host);
    if !asked.body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(asked.body.len()));
    }
    let mut request = Request::new(Body::from(asked.body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = axum::http::Uri::from_static(asked.path);
    *request.headers_mut() = headers;
    request.extensions_mut().insert(ConnectInfo(peer));
    if let Some(names) = names {
        request.extensions_mut().insert(names);
    }
    Some(request)
}

/// What a door's error says.
fn problem_of(body: &[u8]) -> String {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let reasons = said["reasons"].as_array().into_iter().flatten();
    let reason = reasons.filter_map(|reason| reason["message"].as_str()).next();
    said["error"].as_str().or(reason).unwrap_or("this is not allowed").to_owned()
}

/// Whether an answer of a door is a fault of the gate. What is not of its own making is a no: 4xx, but for those that say that
/// nobody decided.
fn failure_of(status: StatusCode, body: &[u8]) -> Option<Failure> {
    let code = match status.as_u16() {
        408 => Code::DeadlineExceeded,
        404 | 405 | 421 => Code::Unimplemented,
        400..=499 => return None,
        _ => Code::Unavailable,
    };
    Some(Failure(code, problem_of(body)))
}

/// An answer as it goes over the wire.
fn framed(answered: Answered) -> Response<Body> {
    let kind = HeaderValue::from_static(CONTENT_TYPE);
    let (body, mut headers) = match answered {
        Ok(message) => {
            let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.len()).expect("an answer is made of one of at most a megabyte"));
            frame.extend_from_slice(&message);
            let mut trailers = HeaderMap::new();
            trailers.insert(STATUS, HeaderValue::from(Code::Ok as i32));
            let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
            (Body::new(body), HeaderMap::new())
        }
        Err(Failure(code, why)) => {
            let mut headers = HeaderMap::new();
            headers.insert(STATUS, HeaderValue::from(code as i32));
            if let Ok(why) = HeaderValue::from_str(&escaped(&why)) {
                headers.insert(MESSAGE, why);
            }
            (Body::empty(), headers)
        }
    };
    headers.insert(header::CONTENT_TYPE, kind);
    let mut answer = Response::new(body);
    *answer.headers_mut() = headers;
    answer
}

/// A text as a header may hold it: what is not plain ASCII in per cent.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
