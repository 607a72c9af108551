use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::web::fixture::{self, AT, Stand};
use crate::web::{Reloaded, router};

fn request(method: Method, path: &str) -> Request {
    let peer: SocketAddr = "127.0.0.1:40000".parse().expect("an address");
    let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:9595");
    request.extension(ConnectInfo(peer)).body(Body::empty()).expect("a request")
}

async fn send(router: &Router, request: Request) -> (StatusCode, String) {
    let answer = router.clone().oneshot(request).await.expect("routers answer");
    let status = answer.status();
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a whole body");
    (status, String::from_utf8(body.into()).expect("text"))
}

async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    let (status, body) = send(router, request(Method::GET, path)).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path} answered {body:?}")))
}

fn site(stand: &Stand) -> Router {
    router(stand.app.clone(), CancellationToken::new())
}

#[tokio::test]
async fn slos_are_complete_in_id_order_and_unknown_is_null() {
    let stand = fixture::stand();
    let (status, slos) = get(&site(&stand), "/v1/slos").await;
    assert_eq!(status, StatusCode::OK);
    let ids: Vec<_> = slos.as_array().expect("an array").iter().map(|slo| slo["id"].as_str().expect("an id")).collect();
    assert!(ids.is_sorted() && ids.len() == 7, "{ids:?}");
    let first = &slos[0];
    assert_eq!(first["service"], "checkout");
    assert_eq!(first["state"], "fast_burn");
    assert_eq!(first["window_s"], 2_592_000);
    assert_eq!(first["unit"], "events");
    assert_eq!(first["clauses"][0]["text"], "1h/5m > 14.4x");
    assert_eq!(first["series"][0]["budget_remaining"], 0.41);
    assert_eq!(first["series"][0]["data"], json!({"state": "fresh", "reason": "none", "newest": AT - 12}));
    let unknown = &slos[4]["series"][0];
    assert_eq!(unknown["state"], "unknown");
    assert_eq!(unknown["budget_remaining"], Value::Null);
    assert_eq!(unknown["windows"][0]["burn_rate"], Value::Null);
}

#[tokio::test]
async fn the_same_snapshot_answers_the_same_bytes_whatever_the_time() {
    let (one, mut other) = (fixture::stand(), fixture::stand());
    other.app.clock = crate::clock::Clock::scaled((AT + 9_000) * 1000, 60.0);
    for path in ["/v1/slos", "/v1/slos/checkout-availability", "/v1/services/checkout", "/v1/alerts"] {
        let bytes = send(&site(&one), request(Method::GET, path)).await;
        assert_eq!(bytes, send(&site(&other), request(Method::GET, path)).await, "{path}");
        assert!(bytes.1.ends_with('\n'));
    }
}

#[tokio::test]
async fn a_number_that_is_none_is_null() {
    let stand = fixture::stand();
    let mut snapshot = fixture::fleet();
    Arc::make_mut(&mut snapshot.slos[0].series)[0].budget_remaining = Some(f64::NAN);
    stand.snapshot.send_replace(Arc::new(snapshot));
    let (_, slo) = get(&site(&stand), "/v1/slos/checkout-availability").await;
    assert_eq!(slo["series"][0]["budget_remaining"], Value::Null);
}

#[tokio::test]
async fn a_service_shows_its_owner_its_slos_and_its_alerts() {
    let stand = fixture::stand();
    let (status, service) = get(&site(&stand), "/v1/services/llm-gateway").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(service["owner"], "team-llm-gateway");
    assert_eq!(service["runbook"], "https://runbooks.example.com/llm-gateway");
    assert_eq!(service["state"], "slow_burn");
    assert_eq!(service["slos"].as_array().map(Vec::len), Some(3));
    let kinds: Vec<_> = service["alerts"].as_array().expect("an array").iter().map(|alert| &alert["kind"]).collect();
    assert_eq!(kinds, ["data_missing", "slow_burn"]);
}

#[tokio::test]
async fn alerts_come_worst_first_and_resolved_last() {
    let stand = fixture::stand();
    let (_, alerts) = get(&site(&stand), "/v1/alerts").await;
    let alerts = alerts.as_array().expect("an array");
    assert_eq!(alerts[0]["sev"], "SEV-1");
    assert_eq!(alerts[0]["severity"], "critical");
    assert_eq!(alerts[0]["status"], "firing");
    assert_eq!(alerts.last().expect("there are some")["status"], "resolved");
}

#[tokio::test]
async fn errors_are_json_and_say_what_to_do() {
    let stand = fixture::stand();
    let site = site(&stand);
    let (status, body) = get(&site, "/v1/slos/nope").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body["error"], "there is no SLO \"nope\"");
    assert!(body["hint"].as_str().expect("a hint").starts_with("There are: checkout-availability, "), "{body}");
    let (status, body) = get(&site, "/nowhere").await;
    assert_eq!((status, &body["error"]), (StatusCode::NOT_FOUND, &json!("GET /nowhere: not found")));
    let answer = site.clone().oneshot(request(Method::DELETE, "/v1/slos")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers()["allow"], "GET,HEAD");
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    assert!(body.starts_with(b"{\"error\":\"DELETE /v1/slos: method not allowed\",\"hint\":"), "{body:?}");
    let (status, _) = get(&site, "/v1/slos/%ff").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn ready_means_every_latch_is_released() {
    let stand = fixture::stand();
    let site = site(&stand);
    stand.readiness.send_modify(|readiness| readiness.hold("first_evaluation", "history is being read"));
    let waiting = json!({"ready": false, "waiting_for": {"first_evaluation": "history is being read"}});
    assert_eq!(get(&site, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, waiting));
    stand.readiness.send_modify(|readiness| assert!(readiness.release("first_evaluation")));
    assert_eq!(get(&site, "/readyz").await, (StatusCode::OK, json!({"ready": true, "waiting_for": {}})));
    assert_eq!(send(&site, request(Method::GET, "/healthz")).await, (StatusCode::OK, "ok\n".to_owned()));
}

#[tokio::test]
async fn metrics_are_text_format_with_the_process_first() {
    let mut stand = fixture::stand();
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    stand.app.metrics = recorder.handle();
    metrics::with_local_recorder(&recorder, || metrics::counter!("slowburn_polls_total").increment(3));
    let answer = site(&stand).oneshot(request(Method::GET, "/metrics")).await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    let body = String::from_utf8_lossy(&body);
    assert!(body.contains("slowburn_polls_total 3\n") && body.contains("\nslowburn_slo_state{"), "{body}");
    assert!(body.contains("\nslowburn_evaluation_lag_seconds 21\n"), "{body}");
}

#[tokio::test]
async fn the_page_carries_its_own_policy() {
    let stand = fixture::stand();
    let answer = site(&stand).oneshot(request(Method::GET, "/")).await.expect("an answer");
    let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    assert!(!String::from_utf8_lossy(&body).contains("<script>alert"), "labels reached the page as markup");
}

#[tokio::test]
async fn a_reload_tells_what_is_in_force_or_every_problem() {
    let mut stand = fixture::stand();
    let site = site(&stand);
    let owner = tokio::spawn(async move {
        let done = Reloaded { services: 4, slos: 7, config_hash: "abc".to_owned() };
        for answer in [Ok(done), Err(vec!["a.yaml:3:1: no owner".to_owned(), "b.yaml:1:1: empty".to_owned()])] {
            stand.reloads.recv().await.expect("asked").answer.send(answer).expect("somebody waits");
        }
        stand
    });
    let (status, body) = send(&site, request(Method::POST, "/-/reload")).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "{\"services\":4,\"slos\":7,\"config_hash\":\"abc\"}\n"));
    let (status, body) = send(&site, request(Method::POST, "/-/reload")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["problems"], json!(["a.yaml:3:1: no owner", "b.yaml:1:1: empty"]));
    assert_eq!(body["error"], "2 problems in the rules; the previous ones stay in force");
    owner.await.expect("no panic");
}

#[tokio::test]
async fn a_reload_from_another_machine_or_a_foreign_page_never_reaches_the_owner() {
    let mut stand = fixture::stand();
    let site = site(&stand);
    let mut far = request(Method::POST, "/-/reload");
    far.extensions_mut().insert(ConnectInfo::<SocketAddr>("192.0.2.7:1".parse().expect("an address")));
    assert_eq!(send(&site, far).await.0, StatusCode::FORBIDDEN);
    let mut rebound = request(Method::POST, "/-/reload");
    rebound.headers_mut().insert("host", "evil.example:9595".parse().expect("text"));
    assert_eq!(send(&site, rebound).await.0, StatusCode::FORBIDDEN);
    assert!(stand.reloads.try_recv().is_err());
    stand.app.reload = None;
    assert_eq!(
        send(&super::tests::site(&stand), request(Method::POST, "/-/reload")).await.0,
        StatusCode::NOT_IMPLEMENTED
    );
}

#[tokio::test]
async fn a_stream_sends_one_event_a_snapshot_and_a_clock_between_and_ends_with_the_server() {
    let mut stand = fixture::stand();
    stand.app.limits.heartbeat = Duration::from_millis(50);
    let stop = CancellationToken::new();
    let site = router(stand.app.clone(), stop.clone());
    let answer = site.oneshot(request(Method::GET, "/v1/stream")).await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut events = answer.into_body().into_data_stream();
    let mut next = async || String::from_utf8(events.next().await?.expect("no error").to_vec()).ok();
    let first = next().await.expect("an event");
    assert!(first.starts_with("event: snapshot\ndata: {\"at\":1772443800,\"now\":"), "{first}");
    assert!(
        first.contains("\"slos\":{\"exhausted\":1,\"fast_burn\":1,\"ok\":3,\"slow_burn\":1,\"unknown\":1}"),
        "{first}"
    );
    assert!(first.contains("\"alerts_firing\":4"), "{first}");
    assert!(next().await.expect("an event").starts_with("event: clock\n"));
    for at in 1..=3 {
        stand.snapshot.send_replace(Arc::new(Snapshot { at: AT + at, ..fixture::fleet() }));
    }
    let latest = next().await.expect("an event");
    assert!(
        latest.starts_with(&format!("event: snapshot\ndata: {{\"at\":{}", AT + 3)),
        "skips to the newest: {latest}"
    );
    stop.cancel();
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn streams_are_counted_and_a_closed_one_makes_room() {
    let mut stand = fixture::stand();
    stand.app.limits.max_streams = 1;
    let site = site(&stand);
    let open = || async { site.clone().oneshot(request(Method::GET, "/v1/stream")).await.expect("an answer") };
    let first = open().await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(open().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(first);
    assert_eq!(open().await.status(), StatusCode::OK);
}
