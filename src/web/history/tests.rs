use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::engine::{Coverage, Ledger, SliceDelta};
use crate::web::fixture::{self, AT, Stand};
use crate::web::{LedgerReader, LedgerRequest, router};

const HOUR: i64 = 3600;

/// A site whose ledger has an hour of the two series that are looked at, but for five minutes of it.
fn site(stand: &Stand) -> Router {
    let mut ledger = Ledger::default();
    let fleet = fixture::fleet();
    for (id, labels) in [
        ("checkout-latency-p95", Labels::new()),
        ("checkout-availability", Labels::new()),
        ("llm-gateway-availability", [("model", "llama-70b"), ("tier", "realtime")].into_iter().collect()),
    ] {
        let slo = &fleet.slo(id).expect("in the fleet").slo;
        let known = ((AT - HOUR) / 30..AT / 30).filter(|slice| !(AT - 1200..AT - 900).contains(&(slice * 30)));
        let delta = |slice| SliceDelta { slice, total: 100, bad: 2, coverage: Coverage::Known };
        ledger.series_mut(slo, &labels).apply(&known.map(delta).collect::<Vec<_>>());
    }
    let (reader, mut asked) = LedgerReader::new();
    tokio::spawn(async move {
        while let Some(request) = asked.recv().await {
            if let LedgerRequest::Series { slo_id, labels, answer } = request {
                drop(answer.send(ledger.get(&slo_id, &labels).cloned()));
            }
        }
    });
    let app = crate::web::App { ledger: Some(reader), ..stand.app.clone() };
    router(app, CancellationToken::new())
}

async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    let peer: SocketAddr = "127.0.0.1:40000".parse().expect("an address");
    let request = axum::extract::Request::builder().uri(path).header("host", "127.0.0.1:9595");
    let request = request.extension(ConnectInfo(peer)).body(Body::empty()).expect("a request");
    let answer = router.clone().oneshot(request).await.expect("routers answer");
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 22).await.expect("a whole body");
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{path}: {body:?}")))
}

#[tokio::test]
async fn a_range_has_points_and_what_happened_and_what_is_unknown_is_null() {
    let stand = fixture::stand();
    let site = site(&stand);
    let path = format!("/v1/slos/checkout-availability/history?from={}&to={}&step=5m", AT - 2 * HOUR, AT + HOUR);
    let (status, shown) = get(&site, &path).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    assert_eq!((&shown["slo"], &shown["series"]), (&json!("checkout-availability"), &json!({})));
    // Not beyond what was evaluated last.
    assert_eq!((&shown["from"], &shown["to"], &shown["step_s"]), (&json!(AT - 2 * HOUR), &json!(AT), &json!(300)));
    let points = shown["points"].as_array().expect("points");
    assert_eq!(points.len(), 24);
    for nothing in [&points[0], &points[11], &points[20]] {
        assert_eq!(nothing["data"], "unknown", "{nothing}");
        assert!(["total", "bad", "error_ratio"].iter().all(|field| nothing[field].is_null()), "{nothing}");
    }
    let last = &points[23];
    assert_eq!((&last["total"], &last["bad"], &last["error_ratio"]), (&json!(1000), &json!(20), &json!(0.02)));
    assert_eq!(last["data"], "known");
    assert_eq!(last["burn"].as_array().expect("burns").len(), shown["windows"].as_array().expect("windows").len());
    assert_eq!(shown["windows"][0]["limits"][0]["factor"], 14.4);
    let marks: Vec<_> = shown["marks"].as_array().expect("marks").iter().map(|mark| &mark["text"]).collect();
    // The slow burn behind it was never said.
    assert_eq!(marks, [&json!("SEV-1 SLOFastBurn")]);
}

#[tokio::test]
async fn without_a_range_it_is_the_last_six_hours_and_exclusions_are_marked() {
    let stand = fixture::stand();
    let (status, shown) = get(&site(&stand), "/v1/slos/checkout-latency-p95/history").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&shown["from"], &shown["to"]), (&json!(AT - 6 * HOUR), &json!(AT)));
    let excluded = shown["marks"].as_array().expect("marks").iter().find(|mark| mark["kind"] == "exclusion");
    assert_eq!(excluded.expect("the move is marked")["text"], "move does not count: a rack moves (<bob>)");
    assert_eq!(shown["points"].as_array().expect("points").last().expect("points")["data"], "excluded");
}

#[tokio::test]
async fn a_child_is_named_by_its_labels() {
    let stand = fixture::stand();
    let site = site(&stand);
    let path = "/v1/slos/llm-gateway-availability/history";
    let (status, shown) = get(&site, path).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "the rollup is not in this fleet: {shown}");
    assert!(shown["hint"].as_str().expect("a hint").contains("llama-70b"), "{shown}");
    let series = "series=%7B%22model%22:%22llama-70b%22,%22tier%22:%22realtime%22%7D";
    let (status, shown) = get(&site, &format!("{path}?{series}")).await;
    assert_eq!((status, &shown["series"]["tier"]), (StatusCode::OK, &json!("realtime")));
    let (status, shown) = get(&site, &format!("{path}?series=model")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{shown}");
}

#[tokio::test]
async fn what_cannot_be_shown_is_refused_with_a_sentence() {
    let stand = fixture::stand();
    let site = site(&stand);
    let path = "/v1/slos/checkout-availability/history";
    for (query, says) in [
        (format!("from={}&step=30s", AT - 30 * 24 * HOUR), "11000 at most are answered: use a step of "),
        (format!("from={AT}"), "ends before it begins"),
        ("from=yesterday".to_owned(), "from=yesterday is no moment"),
        ("step=0".to_owned(), "step"),
        ("step=5".to_owned(), "has no unit"),
        ("steps=5m".to_owned(), "unknown field"),
    ] {
        let (status, shown) = get(&site, &format!("{path}?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {shown}");
        assert!(shown["error"].as_str().expect("an error").contains(says), "{query}: {shown}");
    }
    let (status, _) = get(&site, "/v1/slos/none/history").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, shown) = get(&site, "/v1/slos/feature-store-freshness/history").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{shown}");
    let without = router(stand.app.clone(), CancellationToken::new());
    let (status, _) = get(&without, path).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
}

async fn picture(router: &Router, path: &str) -> (StatusCode, String, String) {
    let peer: SocketAddr = "127.0.0.1:40000".parse().expect("an address");
    let request = axum::extract::Request::builder().uri(path).header("host", "127.0.0.1:9595");
    let request = request.extension(ConnectInfo(peer)).body(Body::empty()).expect("a request");
    let answer = router.clone().oneshot(request).await.expect("routers answer");
    let (status, kind) = (answer.status(), answer.headers()["content-type"].to_str().expect("text").to_owned());
    let body = to_bytes(answer.into_body(), 1 << 22).await.expect("a whole body");
    (status, kind, String::from_utf8(body.into()).expect("text"))
}

/// What is not known is hatched and has no line, and words of users are no markup.
#[tokio::test]
async fn the_curve_has_gaps_where_nothing_is_known_and_marks_that_are_only_text() {
    let stand = fixture::stand();
    let site = site(&stand);
    let path = format!("/v1/slos/checkout-availability/history.svg?from={}&to={AT}&step=5m", AT - HOUR);
    let (status, kind, svg) = picture(&site, &path).await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "image/svg+xml"));
    assert_eq!(svg.matches("fill=\"url(#h)\"").count(), 2, "one point of five minutes, in both fields");
    // The line of the error rate begins anew after the gap.
    let rate =
        svg.split("stroke-width=\"1.6\"").next().and_then(|text| text.rsplit("<path d=\"").next()).expect("a line");
    assert_eq!(rate.matches('M').count(), 2, "{rate}");
    assert!(
        svg.contains("SEV-1 SLOFastBurn") && svg.contains("limit 14.4x") && svg.contains("error rate, up to 2%"),
        "{svg}"
    );
    let (status, _, svg) = picture(&site, "/v1/slos/checkout-latency-p95/history.svg?dark=true").await;
    assert_eq!(status, StatusCode::OK);
    assert!(svg.contains("&lt;bob&gt;") && !svg.contains("<bob>") && !svg.contains("<script"), "{svg}");
    let (status, ..) = picture(&site, "/v1/slos/none/history.svg").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
