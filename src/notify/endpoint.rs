//! One address that is posted to: URL, client, credentials. One request in, one verdict out; no waiting here.
//!
//! Credentials and the path of the URL (some webhooks carry their token in it) never reach a log line: what is shown
//! of an endpoint is scheme, host and port.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};

use super::outcome::Outcome;
use crate::outbound::{Authorization, Transport};

/// What is read of an answer that is only going to be quoted.
const REMARK_BYTES_MAX: usize = 20 * 1024;
/// What is read of an answer whose content is needed.
const CONTENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What is quoted of an answer, in characters.
const QUOTE_CHARS_MAX: usize = 200;

/// An address with what is needed to reach it.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) url: Url,
    transport: Transport,
    authorization: Authorization,
    further: HeaderMap,
}

impl Endpoint {
    /// An endpoint at `url` (a path prefix is kept), reached through `transport`.
    pub fn new(url: Url, transport: Transport) -> Self {
        Endpoint { url, transport, authorization: Authorization::None, further: HeaderMap::new() }
    }

    /// Sends this `Authorization` header.
    pub fn authorization(self, authorization: Authorization) -> Self {
        Endpoint { authorization, ..self }
    }

    /// Sends this header with every request; what a message itself has to say (its type, its signature) is not replaced.
    ///
    /// # Errors
    /// When HTTP cannot carry the name or the value. The error does not quote the value.
    pub fn header(mut self, name: &str, value: &SecretString) -> Result<Self, String> {
        let name = HeaderName::try_from(name).map_err(|_| format!("{name:?} is no header name"))?;
        let value = HeaderValue::from_str(value.expose_secret());
        let mut value = value.map_err(|_| format!("no HTTP header can carry the value of {name}"))?;
        value.set_sensitive(true);
        self.further.insert(name, value);
        Ok(self)
    }

    /// Scheme, host and port.
    pub fn shown(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Sends `request` and judges the answer; `timeout` bounds the whole exchange.
    pub(super) async fn exchange(&self, request: &Request, timeout: Duration, now_ms: i64) -> Reply {
        let mut headers = self.further.clone();
        for (name, value) in &request.headers {
            headers.insert(name, value.clone());
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let send = |authorization: Option<HeaderValue>| {
            let mut headers = headers.clone();
            headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
            self.transport
                .client()
                .request(request.method.clone(), request.url.clone())
                .headers(headers)
                .body(request.body.clone())
                .timeout(timeout)
                .send()
        };
        let authorization = self.authorization.header();
        let mut sent = send(authorization.clone()).await;
        // Refused, and the secret has been replaced since: once more with the new one.
        if sent.as_ref().is_ok_and(|answer| matches!(answer.status().as_u16(), 401 | 403))
            && let Some(renewed) = self.authorization.renewed(authorization.as_ref())
        {
            sent = send(Some(renewed)).await;
        }
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return Reply { outcome: Outcome::of_error(error), body: None },
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let cap = if request.reads { CONTENT_BYTES_MAX } else { REMARK_BYTES_MAX };
        let body = read(answer, cap).await;
        let text = quote(body.as_ref().unwrap_or_else(|partial| partial));
        Reply { outcome: Outcome::of_status(status, &headers, text, now_ms), body: body.ok() }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("at", &self.shown()).finish_non_exhaustive()
    }
}

/// A request an integration wants sent.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether the content of the answer matters.
    pub(super) reads: bool,
}

impl Request {
    pub(super) fn post(url: Url, body: Vec<u8>) -> Self {
        Request { method: Method::POST, url, headers: HeaderMap::new(), body: body.into(), reads: false }
    }

    pub(super) fn get(url: Url) -> Self {
        Request { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new(), reads: true }
    }

    /// Adds a header; a value that HTTP cannot carry is left out.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }
}

/// The verdict, and the whole body where it arrived within the cap.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) outcome: Outcome,
    pub(super) body: Option<Bytes>,
}

/// The body up to `cap` bytes; `Err` holds what arrived when it is longer or broke off.
async fn read(mut answer: reqwest::Response, cap: usize) -> Result<Bytes, Bytes> {
    let mut body = BytesMut::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > cap => {
                body.extend_from_slice(&chunk[..cap - body.len()]);
                return Err(body.freeze());
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            Err(_) => return Err(body.freeze()),
        }
    }
}

/// The beginning of a body on one line, fit for a log.
fn quote(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * QUOTE_CHARS_MAX)]);
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        let url: Url = "http://user:pass@hooks.example:8080/services/T0K3N?key=K3Y".parse().expect("a URL");
        let transport = Transport::new(url.as_str(), None, HeaderMap::new()).expect("no CA store is needed for http");
        let header = Authorization::fixed(&SecretString::from("Bearer S3CR3T")).expect("a header");
        let endpoint = Endpoint::new(url, transport).authorization(header);
        assert_eq!(format!("{endpoint:?}"), "Endpoint { at: \"http://hooks.example:8080\", .. }");
    }

    #[test]
    fn a_quote_is_one_short_line() {
        assert_eq!(quote(b" bad\nalert\x1b[31m \n"), "bad alert [31m");
        let long = quote("é".repeat(5000).as_bytes());
        assert_eq!(long.chars().count(), QUOTE_CHARS_MAX + 1);
    }
}
