//! HTTP of a sidecar: what it repeats of one service, and nothing else.
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz`, `/readyz` | as of the daemon; ready once the source was heard, or asked in vain for two minutes |
//! | `GET /metrics` | signals and SLOs of the service, and how the stream stands |
//! | `GET /v1/signals[/{service}]` | as of the daemon, with how old it is; -1 and a reason where nothing is known |
//! | `GET /v1/slos[/{id}]` | as of the daemon; state `unknown` and a reason where nothing is known |
//! | anything else | 421, with where to ask |
//!
//! Deliberately absent: forwarding. A sidecar has no credential to lend to whoever reaches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::gate::SignalQuery;
use super::json::Json;
use super::{Limits, Problem, Readiness, Tls, api, auth, encoding, exposition, guard, server};
use crate::clock::Clock;
use crate::mirror::standing::Told;
use crate::mirror::wire::{GateStanding, MirroredSlo};
use crate::mirror::{Mirror, Unknown};

/// A source is waited for this long, seconds, before the process is ready without its word: as a daemon waits for Prometheus.
const HEARD_WITHIN_MS: i64 = 120_000;
/// Classes that have a signal.
const CLASSES: [&str; 2] = ["mitigate", "risk"];

/// What a sidecar is made of.
pub struct Sidecar {
    /// What is known.
    pub mirror: watch::Receiver<Mirror>,
    /// The service.
    pub service: String,
    /// Where the daemon is that it follows.
    pub source: String,
    /// The process's own metrics.
    pub metrics: PrometheusHandle,
    /// The time.
    pub clock: Clock,
    /// What a client may take.
    pub limits: Limits,
    /// Who may read.
    pub auth: Arc<auth::Authenticator>,
    /// TLS of the server; `None` serves plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// URL under which people reach it.
    pub external_url: Option<String>,
}

/// The state of every handler.
#[derive(Clone)]
struct Place(Arc<Parts>);

struct Parts {
    sidecar: Sidecar,
    begun_ms: i64,
    /// Once ready, it stays so.
    ready: AtomicBool,
}

impl std::ops::Deref for Place {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Serves a sidecar on `listener` until `shutdown` is cancelled, then drains.
pub async fn serve(listener: TcpListener, sidecar: Sidecar, shutdown: CancellationToken) {
    let (limits, tls) = (sidecar.limits.clone(), sidecar.tls.clone());
    server::serve_router(listener, router(sidecar), &limits, tls, shutdown).await;
}

fn router(sidecar: Sidecar) -> Router {
    let (limits, auth) = (sidecar.limits.clone(), Arc::clone(&sidecar.auth));
    let begun_ms = sidecar.clock.steady_ms();
    let place = Place(Arc::new(Parts { sidecar, begun_ms, ready: AtomicBool::new(false) }));
    let routes = Router::new()
        .route("/healthz", get(api::healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/slos", get(slos))
        .route("/v1/slos/{id}", get(slo))
        .route("/v1/signals", get(signals))
        .route("/v1/signals/{service}", get(signals_of))
        .method_not_allowed_fallback(elsewhere)
        .fallback(elsewhere)
        .with_state(place.clone())
        .layer(from_fn_with_state(auth, auth::guard_reads))
        .layer(from_fn_with_state(place, guard_host));
    super::layered(routes, &limits)
}

/// Layer: a page whose name was rebound to this address reads nothing.
async fn guard_host(State(place): State<Place>, request: Request, next: Next) -> Response {
    let own = guard::OwnNames {
        hosts: place.sidecar.auth.hosts(),
        tls: place.sidecar.tls.as_deref(),
        external_url: place.sidecar.external_url.as_deref(),
    };
    let open = guard::OPEN.contains(&request.uri().path());
    match guard::known_host(request.headers(), &own) {
        Err(problem) if !open => problem.into_response(),
        _ => next.run(request).await,
    }
}

/// What is not mirrored, and where to ask for it.
async fn elsewhere(State(place): State<Place>, uri: Uri) -> Problem {
    let Sidecar { service, source, .. } = &place.sidecar;
    let what =
        format!("this process repeats the SLOs and signals of the service {service:?} and has no {}", uri.path());
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        what,
        format!("Ask the daemon that it follows: {source}{}", uri.path()),
    )
}

impl Parts {
    fn known(&self) -> Known {
        let (mirror, now_ms) = (self.sidecar.mirror.borrow().clone(), self.sidecar.clock.steady_ms());
        let standing = mirror.standing(now_ms).cloned();
        Known { last: mirror.last().cloned(), standing, now_ms }
    }
}

/// What is known at the moment of a request.
struct Known {
    standing: Result<Told, Unknown>,
    /// What was said last, however old.
    last: Option<Told>,
    now_ms: i64,
}

/// How far to trust an answer.
#[derive(Serialize)]
struct Standing<'a> {
    /// The daemon whose word it is.
    source: &'a str,
    /// `none` while it holds.
    reason: &'static str,
    /// Since that daemon said something, seconds.
    silent_s: Option<i64>,
}

impl Known {
    fn reason(&self) -> &'static str {
        self.standing.as_ref().err().map_or("none", |why| why.as_str())
    }

    fn standing<'a>(&self, source: &'a str) -> Standing<'a> {
        let silent_s = self.last.as_ref().map(|told| told.age_ms(self.now_ms) / 1000);
        Standing { source, reason: self.reason(), silent_s }
    }

    /// The SLOs, without a number that is not known any more.
    fn slos(&self) -> Vec<MirroredSlo> {
        match (&self.standing, &self.last) {
            (Ok(told), _) => told.state.slos.clone(),
            (Err(_), Some(last)) => last.state.slos.iter().map(MirroredSlo::unknown).collect(),
            (Err(_), None) => Vec::new(),
        }
    }
}

/// `GET /readyz`.
async fn readyz(State(place): State<Place>) -> Response {
    let waited_ms = place.sidecar.clock.steady_ms().saturating_sub(place.begun_ms);
    if place.sidecar.mirror.borrow().last().is_some() || waited_ms >= HEARD_WITHIN_MS {
        place.ready.store(true, Ordering::Relaxed);
    }
    let mut readiness = Readiness::ready();
    if !place.ready.load(Ordering::Relaxed) {
        readiness.hold("first_word", format!("{} has not said anything yet", place.sidecar.source));
    }
    api::readiness(&readiness)
}

/// `GET /metrics`.
async fn metrics(State(place): State<Place>, headers: axum::http::HeaderMap) -> Response {
    let known = place.known();
    let page = exposition::MirrorPage {
        service: &place.sidecar.service,
        slos: &known.slos(),
        signals: known.standing.as_ref().ok().and_then(|told| told.state.signals.as_ref()),
        reason: known.reason(),
        age_s: known.last.as_ref().map(|told| told.age_ms(known.now_ms) as f64 / 1000.0),
        lag_s: known.last.as_ref().filter(|told| told.state.at > 0).map(|told| told.slice_age_s(known.now_ms)),
    };
    let text = place.sidecar.metrics.render() + &page.render();
    encoding::text(&headers, "text/plain; version=0.0.4; charset=utf-8", text.into_bytes())
}

/// An SLO, and why its state is unknown where that is because nothing is known here.
#[derive(Serialize)]
struct SloAnswer<'a> {
    #[serde(flatten)]
    slo: &'a MirroredSlo,
    mirror: Standing<'a>,
}

/// `GET /v1/slos`.
async fn slos(State(place): State<Place>, uri: Uri) -> Result<Response, Problem> {
    if uri.query().is_some() {
        return Err(elsewhere(State(place), uri).await);
    }
    let (known, source) = (place.known(), &place.sidecar.source);
    if known.last.is_none() {
        return Err(nothing(&known, source));
    }
    let slos = known.slos();
    let answers: Vec<_> = slos.iter().map(|slo| SloAnswer { slo, mirror: known.standing(source) }).collect();
    Ok(Json(&answers).into_response())
}

/// `GET /v1/slos/{id}`.
async fn slo(State(place): State<Place>, Path(id): Path<String>) -> Result<Response, Problem> {
    let (known, source) = (place.known(), &place.sidecar.source);
    if known.last.is_none() {
        return Err(nothing(&known, source));
    }
    let slos = known.slos();
    match slos.iter().find(|slo| slo.id == id) {
        Some(slo) => Ok(Json(&SloAnswer { slo, mirror: known.standing(source) }).into_response()),
        None => Err(api::unknown("SLO", &id, slos.iter().map(|slo| slo.id.as_str()), "GET /v1/slos")),
    }
}

/// Not even the names of the SLOs are known.
fn nothing(known: &Known, source: &str) -> Problem {
    let what = format!("nothing is known of this service: {}", known.reason());
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        what,
        format!("The log says what became of the stream from {source}."),
    )
}

impl Parts {
    /// The signals of the service, and what a strict status of them is made of.
    fn signals(&self) -> Result<Value, Problem> {
        let (known, Sidecar { service, source, .. }) = (self.known(), &self.sidecar);
        let mut answer = match known.standing.as_ref().map(|told| (told, told.state.gate, &told.state.signals)) {
            Ok((_, GateStanding::NoPolicy, _)) => {
                let what = format!("there is no service {service:?} with a policy: nothing is safe there");
                return Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    what,
                    format!("{source} knows it, and has no policy for it."),
                ));
            }
            Ok((_, GateStanding::None, _)) => {
                let what = "the daemon that this process follows decides nothing";
                return Err(Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    what,
                    format!("{source} keeps no audit log."),
                ));
            }
            Ok((told, _, Some(signals))) => json!({
                "signals": signals.signals, "change_state": signals.change_state,
                "at": told.state.at, "age_s": told.slice_age_s(known.now_ms),
            }),
            Ok((_, _, None)) | Err(_) => {
                let unknown = |class| (class, json!({"value": -1, "codes": []}));
                let last = known.last.as_ref().filter(|told| told.state.at > 0);
                json!({
                    "signals": serde_json::Map::from_iter(CLASSES.map(|class| {
                        let (class, value): (&str, _) = unknown(class);
                        (class.to_owned(), value)
                    })),
                    "change_state": null,
                    "at": last.map(|told| told.state.at), "age_s": last.map(|told| told.slice_age_s(known.now_ms)),
                })
            }
        };
        answer["service"] = service.as_str().into();
        answer["mirror"] = serde_json::to_value(known.standing(source)).expect("words and a number are plain JSON");
        Ok(answer)
    }
}

/// `GET /v1/signals`.
async fn signals(State(place): State<Place>) -> Result<Response, Problem> {
    Ok(Json(&json!({"services": [place.signals()?]})).into_response())
}

/// `GET /v1/signals/{service}[?class=mitigate&status=strict]`.
async fn signals_of(
    State(place): State<Place>,
    Path(service): Path<String>,
    query: Result<Query<SignalQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|rejection| {
        let hint = "Write ?class=mitigate or ?class=risk, and ?status=strict, or nothing.";
        Problem::new(StatusCode::BAD_REQUEST, rejection.body_text(), hint)
    })?;
    if service != place.sidecar.service {
        let what = format!("this process follows the service {:?} alone", place.sidecar.service);
        let hint = format!("Ask the daemon that it follows: {}/v1/signals/{service}", place.sidecar.source);
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, what, hint));
    }
    let answer = place.signals()?;
    Ok((query.status(&answer), Json(&answer)).into_response())
}

#[cfg(test)]
mod tests;
