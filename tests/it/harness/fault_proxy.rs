//! Stands before a Prometheus: passes requests on, breaks the answers as told, and counts what they cost.
//!
//! Every query gets `stats=all`, and what the server says of samples is summed; the statistics are cut out of the
//! answer again, so the client sees the bytes it would have seen, and these are the bytes counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::chunks;
use super::parts::{self, Server, http};
use super::receiver::cut_body;

/// What is done to requests and answers below `/api/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection is accepted, and never answered.
    Hang,
    /// The answer comes this much later.
    Slow(Duration),
    /// A login page, 200.
    Html,
    /// The first half of the answer, then the connection is closed.
    Half,
    /// 500 with Prometheus' error body.
    Error,
    /// Every sample value is NaN.
    NotANumber,
    /// Every sample value is +Inf.
    Infinite,
    /// Every second series is missing, without a word.
    Shrunken,
    /// Every series stands twice.
    Twice,
    /// Samples of raw series come newest first.
    Backwards,
    /// Raw series hold a sample an hour ahead.
    Future,
    /// Every raw sample is negative.
    Negative,
    /// Every raw sample is 1e300.
    Huge,
    /// Samples are numbers where strings belong.
    WrongTypes,
    /// There is no remote read (404); everything else works.
    NoRemoteRead,
    /// Queries that hold this text are refused (422).
    Refuse(&'static str),
    /// Chunks of remote read are said to be of this encoding.
    Encoding(i32),
    /// Remote read finds nothing that is older than this moment, seconds, and says that all is well.
    Forgetful(i64),
    /// There is no remote read, and no range query may be longer than this, seconds.
    Longest(i64),
    /// There is no remote read, and no range query may begin before this moment, seconds.
    LooksBackTo(i64),
    /// Queries that hold this text are never answered.
    HangFor(&'static str),
}

/// What went through so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests by path.
    pub requests: BTreeMap<String, u64>,
    /// Bytes of answer bodies, without statistics.
    pub bytes: u64,
    /// `totalQueryableSamples`, summed over all queries.
    pub samples: u64,
    /// The largest `peakSamples` of any query.
    pub peak_samples: u64,
}

impl Traffic {
    /// Queries: instant, range and remote read.
    pub fn queries(&self) -> u64 {
        ["/api/v1/query", "/api/v1/query_range", "/api/v1/read"]
            .iter()
            .filter_map(|path| self.requests.get(*path))
            .sum()
    }
}

/// The running proxy.
#[derive(Debug)]
pub struct FaultProxy {
    shared: Shared,
    server: Server,
}

#[derive(Debug, Clone)]
struct Shared {
    upstream: Arc<str>,
    fault: Arc<Mutex<Fault>>,
    traffic: Arc<Mutex<Traffic>>,
}

impl FaultProxy {
    /// A proxy before `upstream` (`http://host:port`) without a fault.
    pub async fn start(upstream: &str) -> Self {
        let shared =
            Shared { upstream: upstream.into(), fault: Arc::new(Mutex::new(Fault::None)), traffic: Arc::default() };
        let app = Router::new().fallback(pass).with_state(shared.clone());
        let server = parts::serve(app).await;
        FaultProxy { shared, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// From the next request on. Those already hanging hang on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().expect("not poisoned") = fault;
    }

    pub fn traffic(&self) -> Traffic {
        self.shared.traffic.lock().expect("not poisoned").clone()
    }

    /// What went through since the last take.
    pub fn take_traffic(&self) -> Traffic {
        std::mem::take(&mut *self.shared.traffic.lock().expect("not poisoned"))
    }
}

async fn pass(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    *shared.traffic.lock().expect("not poisoned").requests.entry(path.clone()).or_default() += 1;
    let fault = if path.starts_with("/api/") { *shared.fault.lock().expect("not poisoned") } else { Fault::None };
    match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Slow(delay) => tokio::time::sleep(delay).await,
        Fault::Html => {
            let page = "<!doctype html><html><title>Sign in</title></html>";
            return ([(header::CONTENT_TYPE, "text/html")], page).into_response();
        }
        Fault::Error => {
            let body = r#"{"status":"error","errorType":"internal","error":"on purpose"}"#;
            return (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "application/json")], body)
                .into_response();
        }
        Fault::HangFor(text) if body.windows(text.len()).any(|part| part == text.as_bytes()) => {
            std::future::pending().await
        }
        Fault::Refuse(text) if body.windows(text.len()).any(|part| part == text.as_bytes()) => {
            let body = r#"{"status":"error","errorType":"execution","error":"on purpose"}"#;
            return (StatusCode::UNPROCESSABLE_ENTITY, [(header::CONTENT_TYPE, "application/json")], body)
                .into_response();
        }
        Fault::NoRemoteRead | Fault::Longest(_) | Fault::LooksBackTo(_) if path == "/api/v1/read" => {
            return StatusCode::NOT_FOUND.into_response();
        }
        Fault::Longest(longest_s) if length_s(&body).is_some_and(|(from_s, to_s)| to_s - from_s > longest_s) => {
            return too_long(longest_s);
        }
        Fault::LooksBackTo(oldest_s) if length_s(&body).is_some_and(|(from_s, _)| from_s < oldest_s) => {
            return too_long(oldest_s);
        }
        _ => {}
    }
    let answer = match forward(&shared, &path, method, &uri, headers, body).await {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let body = if is_query(&path) { counted(&shared, answer.body) } else { answer.body };
    let body = match fault {
        Fault::Encoding(number) if path == "/api/v1/read" => chunks::rewritten(&body, |_, chunk| {
            chunk.encoding = number;
            true
        }),
        Fault::Forgetful(oldest_s) if path == "/api/v1/read" => {
            chunks::rewritten(&body, |_, chunk| chunk.min_time_ms >= oldest_s * 1000)
        }
        Fault::NotANumber => replaced(&body, |series| set_values(series, "NaN")),
        Fault::Infinite => replaced(&body, |series| set_values(series, "+Inf")),
        Fault::Shrunken => replaced(&body, |series| {
            let mut place = 0;
            series.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }),
        Fault::Twice => replaced(&body, |series| series.extend(series.clone())),
        Fault::WrongTypes => replaced(&body, |series| set_values(series, 5)),
        Fault::Negative if path == "/api/v1/query" => replaced(&body, |series| set_values(series, "-5")),
        Fault::Huge if path == "/api/v1/query" => replaced(&body, |series| set_values(series, "1e300")),
        Fault::Backwards => replaced(&body, |series| each_raw(series, |samples| samples.reverse())),
        Fault::Future => replaced(&body, |series| {
            each_raw(series, |samples| {
                if let Some(at) = samples.last().and_then(|sample| sample[0].as_f64()) {
                    samples.push(serde_json::json!([at + 3600.0, "123456789"]));
                }
            });
        }),
        _ => body,
    };
    shared.traffic.lock().expect("not poisoned").bytes += body.len() as u64;
    let response = Response::builder().status(answer.status).header(header::CONTENT_TYPE, answer.content_type);
    let response = match fault {
        Fault::Half => response.header(header::CONTENT_LENGTH, body.len()).body(cut_body(body.slice(..body.len() / 2))),
        _ => response.body(Body::from(body)),
    };
    response.expect("these parts make a response")
}

/// The ends of a range query, seconds.
fn length_s(form: &[u8]) -> Option<(i64, i64)> {
    let form = format!("http://form/?{}", String::from_utf8_lossy(form));
    let form = reqwest::Url::parse(&form).ok()?;
    let of = |name: &str| form.query_pairs().find(|(key, _)| key == name)?.1.parse::<f64>().ok();
    Some((of("start")? as i64, of("end")? as i64))
}

/// A refusal in the words of a Mimir.
fn too_long(limit_s: i64) -> Response {
    let body = format!(
        r#"{{"status":"error","errorType":"bad_data","error":"the total query time range exceeds the limit (limit: {limit_s}s) (err-mimir-max-total-query-length)"}}"#
    );
    (StatusCode::UNPROCESSABLE_ENTITY, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

struct Upstream {
    status: StatusCode,
    content_type: header::HeaderValue,
    body: Bytes,
}

fn is_query(path: &str) -> bool {
    matches!(path, "/api/v1/query" | "/api/v1/query_range")
}

async fn forward(
    shared: &Shared,
    path: &str,
    method: Method,
    uri: &Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> reqwest::Result<Upstream> {
    let mut url = format!("{}{uri}", shared.upstream);
    if is_query(path) {
        // URL and form parameters are read alike, so the URL of a POST will do.
        url += if uri.query().is_some() { "&stats=all" } else { "?stats=all" };
    }
    // Compressed answers could not be looked into.
    for name in [header::HOST, header::CONTENT_LENGTH, header::ACCEPT_ENCODING, header::CONNECTION] {
        headers.remove(name);
    }
    let answer = http().request(method, url).headers(headers).body(body).send().await?;
    let content_type = answer.headers().get(header::CONTENT_TYPE).cloned();
    let content_type = content_type.unwrap_or(header::HeaderValue::from_static("text/plain"));
    Ok(Upstream { status: answer.status(), content_type, body: answer.bytes().await? })
}

/// Counts the samples of an answer and cuts the statistics, the last member of `data`, out of it.
fn counted(shared: &Shared, body: Bytes) -> Bytes {
    let text = String::from_utf8_lossy(&body);
    let Some(start) = text.rfind(r#","stats":{"#) else { return body };
    let object = &text[start + r#","stats":"#.len()..];
    let mut stream = serde_json::Deserializer::from_str(object).into_iter::<Value>();
    let Some(Ok(stats)) = stream.next() else { return body };
    let end = start + r#","stats":"#.len() + stream.byte_offset();
    let mut traffic = shared.traffic.lock().expect("not poisoned");
    traffic.samples += stats["samples"]["totalQueryableSamples"].as_u64().unwrap_or(0);
    traffic.peak_samples = traffic.peak_samples.max(stats["samples"]["peakSamples"].as_u64().unwrap_or(0));
    format!("{}{}", &text[..start], &text[end..]).into()
}

/// The answer with its list of series changed; one without such a list stays as it is.
fn replaced(body: &Bytes, change: impl FnOnce(&mut Vec<Value>)) -> Bytes {
    let Ok(mut answer) = serde_json::from_slice::<Value>(body) else { return body.clone() };
    let Some(series) = answer.pointer_mut("/data/result").and_then(Value::as_array_mut) else { return body.clone() };
    change(series);
    answer.to_string().into()
}

/// The samples of each series that has several.
fn each_raw(series: &mut [Value], change: impl FnMut(&mut Vec<Value>)) {
    series.iter_mut().filter_map(|series| series.get_mut("values")?.as_array_mut()).for_each(change);
}

fn set_values(series: &mut [Value], value: impl Into<Value>) {
    let value = value.into();
    for series in series {
        if let Some(sample) = series.pointer_mut("/value/1") {
            *sample = value.clone();
        }
        for sample in series.get_mut("values").and_then(Value::as_array_mut).into_iter().flatten() {
            sample[1] = value.clone();
        }
    }
}
