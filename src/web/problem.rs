//! Every error answer: `{"error": what is wrong, "hint": what to do}` and, where there are several, `problems`.

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problem {
    /// HTTP status.
    #[serde(skip)]
    pub status: StatusCode,
    /// What is wrong, one sentence.
    pub error: String,
    /// What to do about it.
    pub hint: String,
    /// Each single problem, when there are several (a refused reload).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl Problem {
    /// An error answer without single problems.
    pub fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Problem { status, error: error.into(), hint: hint.into(), problems: Vec::new() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, super::json::Json(&self)).into_response()
    }
}

/// Types of bodies that say what is wrong already.
const SAYING: [&str; 3] = ["application/json", "application/problem+json", "text/html; charset=utf-8"];

/// Gives the bare errors of router, extractors and layers the body every error has.
pub async fn explain(request: Request, next: Next) -> Response {
    let asked = format!("{} {}", request.method(), request.uri().path());
    let answer = next.run(request).await;
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE);
    let says = kind.is_some_and(|kind| SAYING.iter().any(|known| kind == known));
    if says || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let (mut parts, _) = answer.into_parts();
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    let hint = match status {
        StatusCode::NOT_FOUND => "GET / is the page; data is under /v1/slos, /v1/services/{name} and /v1/alerts.",
        StatusCode::METHOD_NOT_ALLOWED => "The Allow header of this answer names the methods it takes.",
        StatusCode::REQUEST_TIMEOUT => "Send the whole request at once; if you did, the server is overloaded.",
        StatusCode::PAYLOAD_TOO_LARGE => "Send a smaller body; no request here needs a large one.",
        status if status.is_server_error() => "This is a fault of the server: its log has the details.",
        _ => "Check the request.",
    };
    let reason = status.canonical_reason().unwrap_or("error").to_lowercase();
    let body = Problem::new(status, format!("{asked}: {reason}"), hint).into_response();
    parts.headers.extend(body.headers().clone());
    Response::from_parts(parts, body.into_body())
}
