//! One Prometheus over HTTP: queries out, bounded answers in.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_http_query as phq;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::answer::{Answer, decode, excerpt};
use super::fault::Fault;
use crate::outbound::{Authorization, Transport};
use crate::query::LabelSets;

/// Bodies over this are decoded off the async threads, bytes.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// How to reach a Prometheus.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Base URL, with or without a path prefix and a trailing slash.
    pub url: String,
    /// Who requests say they are.
    pub authorization: Authorization,
    /// More headers, e.g. `X-Scope-OrgID`. Values are secrets: they are never printed.
    pub headers: Vec<(String, SecretString)>,
    /// Trust only this CA bundle (PEM) instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Deadline of one request, connection to last byte.
    pub timeout: Duration,
    /// Largest answer that is read, bytes.
    pub max_response_bytes: usize,
}

impl ClientOptions {
    /// Defaults for `url`: no authentication, 10 s, 64 MiB.
    pub fn new(url: impl Into<String>) -> Self {
        ClientOptions {
            url: url.into(),
            authorization: Authorization::None,
            headers: Vec::new(),
            ca_file: None,
            timeout: Duration::from_secs(10),
            max_response_bytes: 64 << 20,
        }
    }
}

/// A client of one Prometheus. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    authorization: Authorization,
    base: String,
    timeout: Duration,
    max_response_bytes: usize,
    /// Label sets that answers brought, of all its clones.
    sets: Arc<Mutex<LabelSets>>,
}

impl Client {
    /// Builds a client. Errors are for people and hold no secrets.
    pub fn new(options: &ClientOptions) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        let secret = |text: &str, what: &str| {
            let mut value = HeaderValue::from_str(text)
                .map_err(|_| format!("the {what} holds characters that no HTTP header can carry"))?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        };
        for (name, value) in &options.headers {
            let name_of = HeaderName::try_from(name.as_str()).map_err(|_| format!("{name:?} is no header name"))?;
            headers.insert(name_of, secret(value.expose_secret(), name)?);
        }
        let base = options.url.trim_end_matches('/').to_owned();
        let parsed = reqwest::Url::parse(&base).map_err(|error| format!("{base:?} is no URL: {error}"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(format!("{base:?} is no http:// or https:// URL"));
        }
        let transport = Transport::new(&base, options.ca_file.as_deref(), headers)?;
        let base = parsed.as_str().trim_end_matches('/').to_owned();
        if phq::Client::from(transport.client(), &base).is_err() {
            return Err("the Prometheus URL is not usable".to_owned());
        }
        let authorization = options.authorization.clone();
        let (timeout, max_response_bytes) = (options.timeout, options.max_response_bytes);
        Ok(Client { transport, authorization, base, timeout, max_response_bytes, sets: Arc::default() })
    }

    // `nocache=1` in all of them: without it VictoriaMetrics hides its newest 30 s from everything but raw samples, and
    // shifts ranges to multiples of the step. Prometheus does not know the parameter and ignores it.

    /// An instant query at `at_s`. `SELECTOR[90s]` answers with the raw samples of the last 90 s.
    pub async fn query(&self, expr: &str, at_s: i64) -> Result<Answer, Fault> {
        self.answer(|header| async move {
            let query = self.queries()?.query(expr).at(at_s).timeout(self.server_timeout_ms()).query("nocache", "1");
            let query = match header {
                Some(header) => query.header(AUTHORIZATION, header),
                None => query,
            };
            query.post_raw().await
        })
        .await
    }

    /// A range query; `start_s`, `end_s` and `step_s` in seconds.
    pub async fn query_range(&self, expr: &str, start_s: i64, end_s: i64, step_s: i64) -> Result<Answer, Fault> {
        self.answer(|header| async move {
            let query = self.queries()?.query_range(expr, start_s, end_s, step_s as f64);
            let query = query.timeout(self.server_timeout_ms()).query("nocache", "1");
            let query = match header {
                Some(header) => query.header(AUTHORIZATION, header),
                None => query,
            };
            query.post_raw().await
        })
        .await
    }

    /// The crate that builds queries, over the client of the moment.
    fn queries(&self) -> Result<phq::Client, phq::Error> {
        phq::Client::from(self.transport.client(), &self.base)
    }

    /// Sends what `request` makes of the `Authorization` of the moment; once more, where that was refused and has
    /// changed since.
    async fn authorised<E, F: Future<Output = Result<reqwest::Response, E>>>(
        &self,
        request: impl Fn(Option<HeaderValue>) -> F,
    ) -> Result<reqwest::Response, E> {
        let header = self.authorization.header();
        let response = request(header.clone()).await?;
        if !matches!(response.status().as_u16(), 401 | 403) {
            return Ok(response);
        }
        match self.authorization.renewed(header.as_ref()) {
            Some(renewed) => request(Some(renewed)).await,
            None => Ok(response),
        }
    }

    /// POSTs a body to a path under the base URL; the answer's body as it comes. An answer that is no success is a fault.
    pub async fn post(&self, path: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Body, Fault> {
        let url = format!("{}/{path}", self.base);
        let request = |authorization: Option<HeaderValue>| {
            let request = self.transport.client().post(&url).headers(headers.clone()).body(body.clone());
            with(request, authorization).send()
        };
        let begun = async {
            let response = self.authorised(request).await.map_err(|error| unreachable(&error))?;
            let status = response.status().as_u16();
            if status / 100 == 2 {
                return Ok(Body { response, timeout: self.timeout });
            }
            let body = self.body(response).await?;
            Err(Fault::Status(status, excerpt(&String::from_utf8_lossy(&body))))
        };
        tokio::time::timeout(self.timeout, begun).await.unwrap_or(Err(Fault::Timeout))
    }

    /// GETs JSON from a path under the base URL, for what is no query: metadata, label values, the server's own state.
    pub async fn get(&self, path: &str, pairs: &[(&str, String)]) -> Result<serde_json::Value, Fault> {
        let url = format!("{}/{path}", self.base);
        let request = |authorization: Option<HeaderValue>| {
            with(self.transport.client().get(&url).query(pairs), authorization).send()
        };
        let whole = async {
            let response = self.authorised(request).await.map_err(|error| unreachable(&error))?;
            let status = response.status().as_u16();
            let body = self.body(response).await?;
            let answer: serde_json::Value = match serde_json::from_slice(&body) {
                Ok(answer) => answer,
                Err(_) if status / 100 != 2 => {
                    return Err(Fault::Status(status, excerpt(&String::from_utf8_lossy(&body))));
                }
                Err(error) => return Err(Fault::NotAnAnswer(error.to_string())),
            };
            let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
            match answer["status"].as_str() {
                Some("success") if status / 100 == 2 => Ok(answer["data"].clone()),
                Some("error") => Err(Fault::Refused(text("errorType"), excerpt(&text("error")))),
                _ => Err(Fault::Status(status, excerpt(&String::from_utf8_lossy(&body)))),
            }
        };
        tokio::time::timeout(self.timeout, whole).await.unwrap_or(Err(Fault::Timeout))
    }

    /// Largest answer that may be held in memory, bytes.
    pub fn max_response_bytes(&self) -> usize {
        self.max_response_bytes
    }

    /// The same client with another deadline, for long reads.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Client { timeout, ..self.clone() }
    }

    fn server_timeout_ms(&self) -> i64 {
        i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX)
    }

    async fn answer<F: Future<Output = Result<reqwest::Response, phq::Error>>>(
        &self,
        request: impl Fn(Option<HeaderValue>) -> F,
    ) -> Result<Answer, Fault> {
        let whole = async {
            let response = self.authorised(request).await.map_err(|error| match &error {
                phq::Error::Client(inner) => std::error::Error::source(inner)
                    .and_then(|source| source.downcast_ref::<reqwest::Error>())
                    .map_or_else(|| Fault::Unreachable(error.to_string()), unreachable),
                _ => Fault::Unreachable(error.to_string()),
            })?;
            let status = response.status();
            let server_time_s = response
                .headers()
                .get(reqwest::header::DATE)
                .and_then(|date| date.to_str().ok())
                .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
                .map(|date| date.timestamp().as_second());
            let body = self.body(response).await?;
            let answer = decode_anywhere(body, status.as_u16(), Arc::clone(&self.sets)).await?;
            Ok(Answer { server_time_s, ..answer })
        };
        tokio::time::timeout(self.timeout, whole).await.unwrap_or(Err(Fault::Timeout))
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
            if body.len() + chunk.len() > self.max_response_bytes {
                return Err(Fault::TooLarge(self.max_response_bytes));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn with(request: reqwest::RequestBuilder, authorization: Option<HeaderValue>) -> reqwest::RequestBuilder {
    match authorization {
        Some(header) => request.header(AUTHORIZATION, header),
        None => request,
    }
}

/// The body of an answer while it comes in.
#[derive(Debug)]
pub struct Body {
    response: reqwest::Response,
    timeout: Duration,
}

impl Body {
    /// Its `Content-Type`, "" without one.
    pub fn content_type(&self) -> &str {
        self.response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next bytes; `None` at the end. The deadline is for each wait, not for the whole body.
    pub async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, Fault> {
        match tokio::time::timeout(self.timeout, self.response.chunk()).await {
            Ok(read) => read.map_err(|error| unreachable(&error)),
            Err(_) => Err(Fault::Timeout),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Decodes a body, off the async threads when it is large.
async fn decode_anywhere(body: Vec<u8>, status: u16, sets: Arc<Mutex<LabelSets>>) -> Result<Answer, Fault> {
    let long = body.len() > INLINE_BYTES_MAX;
    let read = move || match decode(&body, &sets) {
        // An error page of a proxy: the status says more than "not JSON".
        Err(Fault::NotAnAnswer(_)) if status / 100 != 2 => {
            Err(Fault::Status(status, excerpt(&String::from_utf8_lossy(&body))))
        }
        Ok(_) if status / 100 != 2 => Err(Fault::Status(status, "with a body that says success".into())),
        other => other,
    };
    if !long {
        return read();
    }
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err(Fault::NotAnAnswer("the decoder stopped".into())))
}

fn unreachable(error: &reqwest::Error) -> Fault {
    if error.is_timeout() {
        return Fault::Timeout;
    }
    // The chain ends in what the system said; the URL (it may hold a password) is left out.
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    Fault::Unreachable(if std::ptr::eq(deepest, error as &dyn std::error::Error) {
        "the connection failed".into()
    } else {
        deepest.to_string()
    })
}
