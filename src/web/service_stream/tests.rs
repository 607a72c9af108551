//! The stream against the canned fleet: what is told is what `/v1/slos` shows, and a reader takes it.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::*;
use crate::mirror::wire::ServiceState;
use crate::web::fixture::{AT, Stand, stand};

async fn open(stand: &Stand, path: &str) -> Response {
    let request = Request::get(path).header("host", "localhost").body(Body::empty()).expect("a request");
    super::super::router(stand.app.clone(), CancellationToken::new()).oneshot(request).await.expect("an answer")
}

/// The next event of a stream: its name and data.
async fn next(answer: &mut Response) -> (String, String) {
    let frame = answer.body_mut().frame().await.expect("more").expect("no fault").into_data().expect("data");
    let text = String::from_utf8(frame.to_vec()).expect("text");
    let (name, data) = text.trim_end().split_once('\n').expect("two lines");
    (name.replace("event: ", ""), data.strip_prefix("data: ").expect("data").to_owned())
}

#[tokio::test]
async fn an_event_holds_what_the_list_shows_of_the_service_and_a_reader_takes_it() {
    let stand = stand();
    for service in ["checkout", "llm-gateway", "feature-store", "search"] {
        let mut answer = open(&stand, &format!("/v1/services/{service}/stream?version=1")).await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let (name, data) = next(&mut answer).await;
        assert_eq!(name, "state");
        let state = ServiceState::read(&data, service).expect("it is believed");
        assert_eq!((state.at, state.poll_interval_s, state.gate), (AT, 30, GateStanding::None));
        let shown = open(&stand, "/v1/slos").await.into_body().collect().await.expect("a body").to_bytes();
        let shown: Vec<Value> = serde_json::from_slice(&shown).expect("JSON");
        let own: Vec<_> = shown.into_iter().filter(|slo| slo["service"] == service).collect();
        assert!(!own.is_empty());
        let told = serde_json::to_value(&state.slos).expect("plain data");
        assert_eq!(told, Value::from(own), "{service}");
    }
}

#[tokio::test]
async fn an_evaluation_is_told_at_once_and_time_without_one_by_a_sign_of_life() {
    let mut stand = stand();
    stand.app.limits.heartbeat = Duration::from_millis(20);
    let mut answer = open(&stand, "/v1/services/checkout/stream").await;
    assert_eq!(next(&mut answer).await.0, "state");
    assert_eq!(next(&mut answer).await.0, "clock");
    stand.snapshot.send_modify(|snapshot| {
        let mut newer = Snapshot::clone(snapshot);
        newer.at += 30;
        *snapshot = newer.into();
    });
    let (name, data) = loop {
        let (name, data) = next(&mut answer).await;
        if name == "state" {
            break (name, data);
        }
    };
    let state = ServiceState::read(&data, "checkout");
    assert_eq!((name.as_str(), state.map(|state| state.at)), ("state", Ok(AT + 30)));
}

#[tokio::test]
async fn what_is_not_there_is_said_and_streams_are_counted() {
    let mut stand = stand();
    stand.app.limits.max_mirrors = 1;
    let app = super::super::router(stand.app.clone(), CancellationToken::new());
    let ask = |path: &str| {
        let request = Request::get(path).header("host", "localhost").body(Body::empty()).expect("a request");
        app.clone().oneshot(request)
    };
    for (path, status) in [
        ("/v1/services/nobody/stream", 404),
        ("/v1/services/checkout/stream?version=2", 400),
        ("/v1/services/checkout/stream?verison=1", 400),
    ] {
        assert_eq!(ask(path).await.expect("an answer").status(), status, "{path}");
    }
    let first = ask("/v1/services/checkout/stream").await.expect("an answer");
    assert_eq!(ask("/v1/services/checkout/stream").await.expect("an answer").status(), 503);
    drop(first);
    assert_eq!(ask("/v1/services/checkout/stream").await.expect("an answer").status(), 200);
}

#[test]
fn the_worst_series_are_told_in_their_order() {
    let fleet = crate::web::fixture::fleet();
    let llm = fleet.slo("llm-gateway-availability").expect("there is one");
    let shown = |most| -> Vec<_> {
        worst_first(&llm.series, most)
            .iter()
            .map(|series| series.labels.iter().next().map(|(_, v)| v.to_owned()))
            .collect()
    };
    assert_eq!(shown(4).len(), 4);
    assert_eq!(shown(1), [Some("llama-70b".to_owned())], "the one that burns");
}
