use axum::http::Request as HttpRequest;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::demo::scenario::{Gauge, Pod};

const NOW: i64 = 1_700_000_000;

fn server() -> Server {
    let mut scenario = Scenario::new();
    let pod = scenario.pod(Pod::new("api", "a", 0, NOW - 86_400));
    scenario.gauge(pod, "age_seconds", &[("view", "basket")], Gauge::Age { period_s: 40, stalls: vec![] });
    let clock = Clock::scaled(NOW * 1000, 0.0);
    let scenario = watch::channel(Arc::new(scenario)).1;
    Server { scenario, clock, evaluations: Arc::new(Semaphore::new(1)), behaviour: Arc::default() }
}

async fn send(request: HttpRequest<Body>) -> (StatusCode, axum::http::HeaderMap, String) {
    let response = router(server()).oneshot(request).await.expect("a router always answers");
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    (head.status, head.headers, String::from_utf8(body.to_vec()).expect("text"))
}

async fn get(path: &str) -> (StatusCode, Value) {
    let (status, _, body) = send(HttpRequest::get(path).body(Body::empty()).expect("a request")).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

#[tokio::test]
async fn get_and_post_say_the_same() {
    let (_, _, got) = send(
        HttpRequest::get("/api/v1/query?query=age_seconds%7Bview%3D%22basket%22%7D&time=1699999999.5")
            .body(Body::empty())
            .expect("a request"),
    )
    .await;
    let form = Body::from("query=age_seconds%7Bview%3D%22basket%22%7D&time=1699999999.5");
    let post =
        HttpRequest::post("/api/v1/query").header("content-type", "application/x-www-form-urlencoded").body(form);
    let (_, _, posted) = send(post.expect("a request")).await;
    assert_eq!(got, posted);
    assert_eq!(
        got,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"age_seconds","instance":"a","job":"api","view":"basket"},"value":[1699999999.500,"20"]}]}}"#
    );
}

#[tokio::test]
async fn the_date_is_the_simulated_one() {
    let (_, headers, _) = send(HttpRequest::get("/-/ready").body(Body::empty()).expect("a request")).await;
    assert_eq!(headers["date"], "Tue, 14 Nov 2023 22:13:20 GMT");
}

#[tokio::test]
async fn samples_after_now_are_not_there_yet() {
    let (_, answer) = get(&format!("/api/v1/query?query=up[10m]&time={}", NOW + 300)).await;
    let values = answer.pointer("/data/result/0/values").and_then(Value::as_array).expect("samples");
    assert_eq!(values.last().and_then(|point| point[0].as_i64()), Some(1_699_999_980));
}

#[tokio::test]
async fn without_a_time_it_is_now() {
    let (_, answer) = get("/api/v1/query?query=time()").await;
    assert_eq!(answer["data"]["result"][1], "1700000000");
}

#[tokio::test]
async fn statistics_come_when_asked_for() {
    let (_, answer) = get("/api/v1/query?query=up[5m]&stats=all").await;
    assert_eq!(answer["data"]["stats"]["samples"]["totalQueryableSamples"], 10);
    let (_, answer) = get("/api/v1/query?query=up[5m]").await;
    assert_eq!(answer["data"].get("stats"), None);
}

#[tokio::test]
async fn wrong_requests_get_their_class_and_a_reason() {
    for (path, status, kind, reason) in [
        ("/api/v1/query?query=up%20up", 400, "bad_data", "parse error"),
        ("/api/v1/query?query=up&time=soon", 400, "bad_data", "cannot parse \"soon\" to a valid timestamp"),
        ("/api/v1/query?query=up&timeout=soon", 400, "bad_data", "cannot parse \"soon\" to a valid duration"),
        ("/api/v1/query?query=bottomk(1,up)", 422, "execution", "does not support"),
        ("/api/v1/query_range?query=up&start=0&end=12000&step=1", 400, "bad_data", "11,000 points"),
        ("/api/v1/query_range?query=up&start=0&end=60", 400, "bad_data", "\"step\""),
        ("/api/v1/query_range?query=up&end=60&step=1", 400, "bad_data", "\"start\""),
        ("/api/v1/query_range?query=up&start=60&end=0&step=1", 400, "bad_data", "must not be before"),
        ("/api/v1/series", 400, "bad_data", "match[]"),
    ] {
        let (got, answer) = get(path).await;
        assert_eq!((got.as_u16(), answer["errorType"].as_str()), (status, Some(kind)), "{path}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|why| why.contains(reason)), "{path}: {answer}");
    }
}

#[tokio::test]
async fn there_is_no_remote_read() {
    let request = HttpRequest::post("/api/v1/read").body(Body::from("x")).expect("a request");
    assert_eq!(send(request).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_form_without_end_is_cut_off() {
    let request = HttpRequest::post("/api/v1/query").body(Body::from("x".repeat(2 << 20))).expect("a request");
    assert_eq!(send(request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn it_ends_when_told_to() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let stop = CancellationToken::new();
    let Server { scenario, clock, .. } = server();
    let serving = tokio::spawn(serve_changing(listener, scenario, clock, stop.clone()));
    // An idle connection does not hold it up.
    let _idle = tokio::net::TcpStream::connect(address).await.expect("it listens");
    stop.cancel();
    serving.await.expect("it ends");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
