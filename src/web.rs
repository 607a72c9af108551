//! HTTP: API, metrics, page.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /healthz` | 200 while the process answers |
//! | `GET /readyz` | 200 once every latch is released, else 503 with what is waited for |
//! | `GET /metrics` | Prometheus text format 0.0.4 |
//! | `GET /v1/slos[?brief=true]` | every SLO with all its series, in id order; or with the worst of each, in round numbers |
//! | `GET /v1/slos/{id}` | one of them |
//! | `GET /v1/slos/{id}/explain` | what its count is made of, read from Prometheus again |
//! | `GET /v1/slos/{id}/history` | one of its series over a range of time, from the ledger |
//! | `GET /v1/slos/{id}/history.svg` | the same as a picture |
//! | `GET /v1/services/{name}` | a service: owner, runbook, SLOs, alerts |
//! | `GET /v1/services/{name}/stream` | server-sent events: all that a sidecar repeats of one service |
//! | `GET /v1/alerts` | alerts firing or lately resolved, worst first |
//! | `GET /v1/incidents[/{id}]` | what burned together, what changed before it, what was like it; `POST` says what it came from |
//! | `GET /v1/stream` | server-sent events: one `snapshot` per evaluation, a `clock` between |
//! | `POST /-/reload` | loads the rules again |
//! | `/auth` | people sign in and out: `sign_in` |
//! | `/access/v1`, `/integrations`, `/gate/check` | the gate in the words of other protocols: `doors` |
//! | `/admission` | reviews of a Kubernetes API server: `admission` |
//! | `POST /mcp` | the gate as tools of an agent: `mcp` |
//! | gRPC over HTTP/2 | two of the doors in frames: `grpc` |
//! | the rest of `/v1` | the gate and its audit log: `src/web/openapi.json` has them all |
//!
//! Everything but `/metrics`, the stream, history and explanations is a pure function of the last snapshot: two replicas at the same slice
//! answer the same bytes. Readers take an `Arc` from a watch channel and never hold up a tick. Every error is JSON
//! with `error` and `hint`.
//!
//! Deliberately absent: state of its own. What is shown was decided elsewhere; what changes something goes through a
//! channel to whoever owns it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use ring::rand::SecureRandom as _;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use crate::clock::Clock;
use crate::engine::{Seconds, Snapshot};
use crate::incident::Book;
use crate::spec::model::{Origin, Service};
use crate::telemetry::compat::Compat;
use crate::telemetry::detail::Detail;
use crate::telemetry::names;

mod admission;
mod api;
mod audit;
pub mod auth;
mod brief;
mod connections;
mod doors;
mod encoding;
mod explain;
pub mod exposition;
mod forward;
mod gate;
mod grpc;
mod guard;
pub mod history;
mod impatient;
pub mod incidents;
mod json;
mod ledger;
mod mcp;
mod openapi;
mod page;
mod private_name;
mod problem;
mod readiness;
mod reload;
mod server;
mod service_stream;
pub mod sidecar;
mod sign_in;
mod stream;
pub mod tls;
pub mod view;
mod webhook;

pub use crate::inspect::account::Explainer;
pub use ledger::{LedgerReader, LedgerRequest};
pub use problem::Problem;
pub use readiness::Readiness;
pub use reload::{Reload, Reloaded};
pub use server::{Limits, serve};
pub use tls::{Tls, TlsFiles};

/// What the server shows and where it sends what it is asked to do.
#[derive(Clone)]
pub struct App {
    /// The last evaluation.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// What is still waited for.
    pub readiness: watch::Receiver<Readiness>,
    /// The process's own metrics.
    pub metrics: PrometheusHandle,
    /// The configuration in force.
    pub info: watch::Receiver<Arc<Info>>,
    /// Whoever loads the rules; `None` where they cannot be loaded again (the demo).
    pub reload: Option<mpsc::Sender<Reload>>,
    /// Ages in `/metrics` and the stream are taken against it.
    pub clock: Clock,
    /// What a client may take.
    pub limits: Limits,
    /// Who is asking.
    pub auth: Arc<auth::Authenticator>,
    /// Decides; `None` where nothing is decided, for lack of an audit log.
    pub gate_service: Option<crate::gate_service::GateService>,
    /// Copies of series of the ledger; `None` where there is none to read.
    pub ledger: Option<LedgerReader>,
    /// Every incident.
    pub incidents: watch::Receiver<Arc<Book>>,
    /// TLS of the server; `None` serves plain HTTP.
    pub tls: Option<Arc<tls::Tls>>,
}

/// The configuration in force, as far as readers see it.
#[derive(Debug, Clone, Default)]
pub struct Info {
    /// Version of the program.
    pub version: String,
    /// Digest of everything loaded; equal on replicas that run the same rules.
    pub config_hash: String,
    /// URL under which people reach this server, if it is known; its host may reload.
    pub external_url: Option<String>,
    /// Services in name order.
    pub services: Vec<Service>,
    /// Time between polls, seconds.
    pub poll_interval_s: i64,
    /// When the rules in force were loaded.
    pub loaded_at: Seconds,
    /// Whether the last attempt to load rules failed, so that older ones are in force.
    pub last_reload_failed: bool,
    /// Which series of other tools `/metrics` shows.
    pub compat: Compat,
    /// How many series it shows of each SLO.
    pub metrics_detail: Detail,
    /// What other tools call the SLOs that were imported, by id.
    pub origins: BTreeMap<String, Origin>,
    /// Whoever explains what counts are made of; `None` where nothing is read.
    pub explainer: Option<Arc<Explainer>>,
}

/// The state of every handler. Each layer of each request clones it.
#[derive(Clone)]
struct Site(Arc<Shared>);

/// [`App`] and what the server itself adds.
struct Shared {
    app: App,
    streams: Arc<Semaphore>,
    /// Streams of one service each.
    mirrors: Arc<Semaphore>,
    /// The name of this process, another one with each start.
    instance: String,
    /// Counts are explained one after the other: each is read from Prometheus again.
    explaining: Semaphore,
    /// Histories are computed two at a time.
    histories: Arc<Semaphore>,
    /// `/v1/slos` of the last snapshot that somebody asked for.
    fleet: std::sync::Mutex<encoding::RenderedAnswer>,
    /// The same in brief.
    brief: std::sync::Mutex<encoding::RenderedAnswer>,
    /// What readers of the audit log share.
    audit: audit::Readers,
    /// Reviews are large: so many are read at a time.
    admission: Semaphore,
    /// Where requests go that another process decides.
    forward: forward::Forward,
    stop: CancellationToken,
}

impl std::ops::Deref for Site {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// A name that no process before had. Where the system has no chance to give, the time of the start stands in.
fn instance() -> String {
    let mut bytes = [0; 8];
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        bytes = (crate::clock::since_boot().as_nanos() as u64).to_be_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every route. `stop` ends the streams, which would otherwise outlive any drain.
pub fn router(app: App, stop: CancellationToken) -> Router {
    let (limits, auth) = (app.limits.clone(), Arc::clone(&app.auth));
    let streams = Arc::new(Semaphore::new(limits.max_streams));
    let (mirrors, instance) = (Arc::new(Semaphore::new(limits.max_mirrors)), instance());
    let audit = audit::Readers::default();
    let (explaining, histories, forward) = (Semaphore::new(1), Arc::new(Semaphore::new(2)), Default::default());
    let (fleet, brief) = Default::default();
    let admission = Semaphore::new(admission::READERS);
    let shared = Shared {
        app,
        streams,
        mirrors,
        instance,
        explaining,
        histories,
        fleet,
        brief,
        audit,
        admission,
        forward,
        stop,
    };
    let site = Site(Arc::new(shared));
    let routes = Router::new()
        .route("/", get(page::page))
        .route("/healthz", get(api::healthz))
        .route("/readyz", get(api::readyz))
        .route("/metrics", get(exposition::metrics))
        .route("/v1/slos", get(api::slos))
        .route("/v1/slos/{id}", get(api::slo))
        .route("/v1/slos/{id}/explain", get(explain::explain))
        .route("/v1/slos/{id}/history", get(history::slo_history))
        .route("/v1/slos/{id}/history.svg", get(history::slo_curve))
        .route("/v1/services/{name}", get(api::service))
        .route("/v1/services/{name}/stream", get(service_stream::service_stream))
        .route("/v1/alerts", get(api::alerts))
        .route("/v1/incidents", get(incidents::all))
        .route("/v1/incidents/{id}", get(incidents::one).post(incidents::note))
        .route("/v1/stream", get(stream::stream))
        .route("/openapi.json", get(openapi::openapi))
        .route("/v1/decisions", post(gate::decide))
        .route("/v1/options", post(gate::options))
        .route("/v1/permits/{id}", get(gate::permit))
        .route("/v1/permits/{id}/redeem", post(gate::redeem))
        .route("/v1/permits/{id}/release", post(gate::release))
        .route("/v1/permits/{id}/outcome", post(gate::outcome))
        .route("/v1/approvals", get(gate::approvals))
        .route("/v1/approvals/{id}", get(gate::approval).post(gate::vote))
        .route("/v1/halts", get(gate::halts).post(gate::halt))
        .route("/v1/halts/{id}/resume", post(gate::resume))
        .route("/v1/changes", post(gate::change))
        .route(
            "/v1/webhooks/alertmanager",
            post(webhook::alertmanager).layer(DefaultBodyLimit::max(guard::NOTIFICATION_BYTES_MAX)),
        )
        .route("/v1/signals", get(gate::signals))
        .route("/v1/signals/{service}", get(gate::signals_of))
        .route("/v1/operators", get(gate::operators))
        .route("/v1/audit", get(audit::search))
        .route("/v1/audit/verify", get(audit::verify))
        .route("/v1/audit/accept", post(audit::accept))
        .route("/v1/audit/checkpoint", get(audit::checkpoint))
        .route("/v1/audit/{seq}", get(audit::record))
        .route("/-/reload", post(reload::reload))
        .route("/auth/sign-in", get(sign_in::begin))
        .route("/auth/callback", get(sign_in::callback))
        .route("/auth/session", get(sign_in::session))
        .route("/auth/sign-out", post(sign_in::sign_out))
        .merge(doors())
        .with_state(site.clone())
        .layer(from_fn_with_state(site.clone(), forward::forward))
        .layer(from_fn_with_state(auth, auth::guard_reads))
        .layer(from_fn_with_state(site, guard::guard_site));
    layered(routes.fallback(|| async { StatusCode::NOT_FOUND }), &limits)
}

/// The gate in the words of other protocols.
fn doors() -> Router<Site> {
    use doors::{access_request, authzen, canary, ext_authz, ext_mcp};
    Router::new()
        .route("/.well-known/authzen-configuration", get(authzen::metadata))
        .route("/access/v1/evaluation", post(authzen::evaluation))
        .route("/access/v1/evaluations", post(authzen::evaluations))
        .route("/access/v1/requests", post(access_request::submit))
        .route("/access/v1/tasks/{id}", get(access_request::task))
        .route("/access/v1/tasks/{id}/cancel", post(access_request::cancel))
        .route("/integrations/ext-authz/", any(ext_authz::check))
        .route("/integrations/ext-authz/{*path}", any(ext_authz::check))
        .route("/integrations/ext-mcp", post(ext_mcp::check))
        .route("/integrations/argo-rollouts", post(canary::argo))
        .route("/integrations/flagger/{hook}", post(canary::flagger))
        .route("/gate/check", post(canary::flagger_gate))
        .route("/admission", post(admission::changes))
        .route("/admission/{check}", post(admission::check))
        .route("/admission/{check}/{token}", post(admission::check_with_token))
        .route("/mcp", post(mcp::mcp))
        .route("/.well-known/oauth-protected-resource", get(mcp::resource))
        .route("/.well-known/oauth-protected-resource/mcp", get(mcp::resource))
}

/// The layers around all routes: from the inside out a panic becomes a 500, slowness a 408, size a 413, and whatever
/// error results is explained, counted and sent with the headers that every answer has.
fn layered(routes: Router, limits: &Limits) -> Router {
    routes
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limits.request_timeout))
        .layer(DefaultBodyLimit::max(limits.max_body_bytes))
        .layer(from_fn_with_state(limits.max_body_bytes, guard::cap_body))
        .layer(from_fn(problem::explain))
        .layer(from_fn(encoding::compress))
        .layer(from_fn(guard::set_headers))
        .layer(from_fn(doors::authzen::echo))
        .layer(from_fn(count))
}

/// Counts requests by route, never by path: a stranger must not be able to make new series.
async fn count(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none".to_owned(), |path| path.as_str().to_owned());
    let answer = next.run(request).await;
    let status = answer.status().as_u16().to_string();
    metrics::counter!(names::HTTP_REQUESTS_TOTAL, "route" => route, "status" => status).increment(1);
    answer
}

#[cfg(test)]
pub(crate) mod fixture;
