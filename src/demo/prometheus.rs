//! A simulated Prometheus: the HTTP API of several versions over a scenario, on a real socket.
//!
//! Only samples that have happened by the given clock are visible, so a daemon that polls it lives through the
//! scenario. Answers have the shape, the label order and the number formats of the real one; the conformance test puts
//! the same questions to both.
//!
//! Deliberately absent: scraping, rules, storage, native histograms, gzip.

mod answer;
pub mod chunk;
mod generation;
mod remote_read;
mod request;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::promql::{Data, POINTS_MAX, Query, Refusal, Steps};
use super::scenario::Scenario;
use crate::clock::Clock;
pub use generation::{Behaviour, Generation};
use request::Parameters;

/// Queries evaluated at once, Prometheus' `--query.max-concurrency`.
const QUERIES_MAX: usize = 20;
/// Longest form of a POST, bytes.
const FORM_BYTES_MAX: usize = 1 << 20;
/// Longest evaluation, Prometheus' `--query.timeout`.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a client may take to send a request's head, and connections to drain at the end.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Server {
    scenario: watch::Receiver<Arc<Scenario>>,
    clock: Clock,
    evaluations: Arc<Semaphore>,
    behaviour: Arc<Behaviour>,
}

/// Serves `scenario` on `listener`, as seen at the clock's now, until `shutdown` is cancelled; then lets open requests
/// end (10 s at most).
pub async fn serve(listener: TcpListener, scenario: Arc<Scenario>, clock: Clock, shutdown: CancellationToken) {
    serve_changing(listener, watch::channel(scenario).1, clock, shutdown).await;
}

/// The same, for a scenario that somebody may replace by another one of the same past.
pub async fn serve_changing(
    listener: TcpListener,
    scenario: watch::Receiver<Arc<Scenario>>,
    clock: Clock,
    shutdown: CancellationToken,
) {
    serve_as(Behaviour::default(), listener, scenario, clock, shutdown).await;
}

/// The same, as another version, or one that offers more or warns.
pub async fn serve_as(
    behaviour: Behaviour,
    listener: TcpListener,
    scenario: watch::Receiver<Arc<Scenario>>,
    clock: Clock,
    shutdown: CancellationToken,
) {
    let evaluations = Arc::new(Semaphore::new(QUERIES_MAX));
    let server = Server { scenario, clock, evaluations, behaviour: Arc::new(behaviour) };
    let service = TowerToHyperService::new(router(server));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).auto_date_header(false);
    let connections = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // Out of file descriptors, most likely: wait for some to come free.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        // A connection that breaks is the client's affair.
        let connection = connections.watch(builder.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move { connection.await.ok() });
    }
    tokio::time::timeout(PATIENCE, connections.shutdown()).await.ok();
}

fn router(server: Server) -> Router {
    let clock = server.clock.clone();
    Router::new()
        .route("/api/v1/query", get(query).post(query))
        .route("/api/v1/query_range", get(query_range).post(query_range))
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/labels", get(label_names).post(label_names))
        .route("/api/v1/label/{name}/values", get(label_values))
        .route("/api/v1/metadata", get(metadata))
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/api/v1/read", any(read_chunks))
        .route("/-/ready", get(|| async { "Prometheus Server is Ready.\n" }))
        .route("/-/healthy", get(|| async { "Prometheus Server is Healthy.\n" }))
        .with_state(server)
        .layer(axum::middleware::map_response(move |response: Response| {
            let clock = clock.clone();
            async move { Ok::<_, Infallible>(dated(response, &clock)) }
        }))
}

/// Sends the simulated time: a client that compares clocks must find them equal.
fn dated(mut response: Response, clock: &Clock) -> Response {
    let now = jiff::Timestamp::from_second(clock.now()).unwrap_or_default();
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    response.headers_mut().insert(header::DATE, HeaderValue::from_str(&date).expect("a date is ASCII"));
    response
}

async fn query(State(server): State<Server>, request: Request) -> Response {
    let behaviour = Arc::clone(&server.behaviour);
    server
        .evaluate(request, move |parameters, data| {
            let at_ms = parameters.time("time")?.unwrap_or(data.now_ms);
            let (answer, stats) = parse(parameters)?.instant(data, at_ms)?;
            Ok(answer::query(&answer, parameters.get("stats").is_some().then_some(stats), &behaviour))
        })
        .await
}

async fn query_range(State(server): State<Server>, request: Request) -> Response {
    let behaviour = Arc::clone(&server.behaviour);
    server
        .evaluate(request, move |parameters, data| {
            let steps = steps(parameters)?;
            let query = parse(parameters)?;
            let (answer, stats) = query.range(data, steps).map_err(|refusal| invalid("query", refusal))?;
            Ok(answer::query(&answer, parameters.get("stats").is_some().then_some(stats), &behaviour))
        })
        .await
}

async fn series(State(server): State<Server>, request: Request) -> Response {
    server
        .evaluate(request, |parameters, data| {
            if parameters.all("match[]").next().is_none() {
                return Err(Refusal::BadData("no match[] parameter provided".into()));
            }
            let found = request::found(parameters, data)?;
            Ok(answer::label_sets(found.into_iter().map(|i| &*data.scenario.series()[i].labels)))
        })
        .await
}

async fn label_names(State(server): State<Server>, request: Request) -> Response {
    server
        .evaluate(request, |parameters, data| {
            let found = request::found(parameters, data)?;
            let names = found.into_iter().flat_map(|i| data.scenario.series()[i].labels.iter().map(|(name, _)| name));
            Ok(answer::strings(names.collect()))
        })
        .await
}

async fn label_values(State(server): State<Server>, Path(name): Path<String>, request: Request) -> Response {
    server
        .evaluate(request, move |parameters, data| {
            let found = request::found(parameters, data)?;
            let values = found.into_iter().filter_map(|i| data.scenario.series()[i].labels.get(&name));
            Ok(answer::strings(values.collect()))
        })
        .await
}

async fn metadata() -> Response {
    json(StatusCode::OK, r#"{"status":"success","data":{}}"#.into())
}

async fn build_info(State(server): State<Server>) -> Response {
    let version = server.behaviour.generation.version();
    let data = serde_json::json!({
        "version": version, "revision": "simulated", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
    });
    json(StatusCode::OK, serde_json::json!({ "status": "success", "data": data }).to_string())
}

async fn read_chunks(State(server): State<Server>, request: Request) -> Response {
    if !server.behaviour.remote_read {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Ok(body) = axum::body::to_bytes(request.into_body(), FORM_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let _turn = server.evaluations.acquire().await.expect("the semaphore is never closed");
    let (scenario, now_ms) = (Arc::clone(&server.scenario.borrow()), server.clock.now_ms());
    let generation = server.behaviour.generation;
    let answer = tokio::task::spawn_blocking(move || remote_read::answer(&scenario, generation, now_ms, &body)).await;
    answer.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

fn parse(parameters: &Parameters) -> Result<Query, Refusal> {
    Query::parse(parameters.get("query").unwrap_or_default()).map_err(|refusal| invalid("query", refusal))
}

fn invalid(parameter: &str, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::BadData(why) => Refusal::BadData(format!("invalid parameter \"{parameter}\": {why}")),
        other => other,
    }
}

fn steps(parameters: &Parameters) -> Result<Steps, Refusal> {
    let required = |name: &str| {
        let missing =
            || Refusal::BadData(format!("invalid parameter \"{name}\": cannot parse \"\" to a valid timestamp"));
        parameters.time(name)?.ok_or_else(missing)
    };
    let (start_ms, end_ms) = (required("start")?, required("end")?);
    if end_ms < start_ms {
        let why = "invalid parameter \"end\": end timestamp must not be before start time";
        return Err(Refusal::BadData(why.into()));
    }
    let step_ms = parameters.duration("step")?.unwrap_or(0);
    if step_ms <= 0 {
        let why = "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. \
                   Try a positive integer";
        return Err(Refusal::BadData(why.into()));
    }
    if (end_ms - start_ms) / step_ms > POINTS_MAX {
        let why = "exceeded maximum resolution of 11,000 points per timeseries. \
                   Try decreasing the query resolution (?step=XX)";
        return Err(Refusal::BadData(why.into()));
    }
    Ok(Steps { start_ms, end_ms, step_ms })
}

impl Server {
    /// Reads the parameters and evaluates beside the runtime's threads, a bounded number at a time.
    async fn evaluate<F>(&self, request: Request, evaluate: F) -> Response
    where
        F: FnOnce(&Parameters, Data<'_>) -> Result<String, Refusal> + Send + 'static,
    {
        let parameters = match read(request).await {
            Ok(parameters) => parameters,
            Err(response) => return response,
        };
        let _turn = self.evaluations.acquire().await.expect("the semaphore is never closed");
        let (scenario, now_ms) = (Arc::clone(&self.scenario.borrow()), self.clock.now_ms());
        let left_open = self.behaviour.generation.left_open();
        let evaluation = tokio::task::spawn_blocking(move || {
            let timeout = match parameters.duration("timeout")? {
                Some(asked_ms) => TIMEOUT.min(Duration::from_millis(u64::try_from(asked_ms).unwrap_or(0))),
                None => TIMEOUT,
            };
            let deadline = Some(Instant::now() + timeout);
            evaluate(&parameters, Data { scenario: &scenario, now_ms, deadline, left_open })
        });
        match evaluation.await {
            Ok(Ok(body)) => json(StatusCode::OK, body),
            Ok(Err(refusal)) => refused(&refusal),
            Err(panic) => refused(&Refusal::Execution(format!("unexpected error: {panic}"))),
        }
    }
}

/// Parameters of the URL, and of the form of a POST.
async fn read(request: Request) -> Result<Parameters, Response> {
    let (head, body) = request.into_parts();
    let mut parameters = Parameters::default();
    if head.method == Method::POST {
        match axum::body::to_bytes(body, FORM_BYTES_MAX).await {
            Ok(bytes) => parameters.extend(&String::from_utf8_lossy(&bytes)),
            Err(_) => return Err(StatusCode::PAYLOAD_TOO_LARGE.into_response()),
        }
    }
    parameters.extend(head.uri.query().unwrap_or_default());
    Ok(parameters)
}

fn refused(refusal: &Refusal) -> Response {
    let (status, kind, why) = match refusal {
        Refusal::BadData(why) => (StatusCode::BAD_REQUEST, "bad_data", why),
        Refusal::Execution(why) => (StatusCode::UNPROCESSABLE_ENTITY, "execution", why),
        Refusal::Timeout(why) => (StatusCode::SERVICE_UNAVAILABLE, "timeout", why),
    };
    json(status, answer::error(kind, why))
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}

#[cfg(test)]
mod tests;
