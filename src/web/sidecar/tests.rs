//! A sidecar's answers over a mirror that is told what to know.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::ServiceExt as _;

use super::*;
use crate::mirror::standing::tests::state;
use crate::mirror::wire::MirroredSlo;
use crate::web::fixture::{AT, fleet};
use crate::web::view::SloView;

const START_MS: i64 = AT * 1000;

struct Stand {
    mirror: watch::Sender<Mirror>,
    app: Router,
}

/// A sidecar of `checkout` whose clock begins at [`START_MS`] and stands all but still.
fn stand() -> Stand {
    let (mirror, seen) = watch::channel(Mirror::default());
    let clock = Clock::scaled(START_MS, 1e-9);
    let auth = Arc::new(auth::Authenticator::new(auth::Settings::default(), clock.clone()));
    let sidecar = Sidecar {
        mirror: seen,
        service: "checkout".into(),
        source: "https://slowburn.example:9595".into(),
        metrics: PrometheusBuilder::new().build_recorder().handle(),
        clock,
        limits: Limits::default(),
        auth,
        tls: None,
        external_url: None,
    };
    Stand { mirror, app: router(sidecar) }
}

impl Stand {
    /// The source said so `age_s` ago.
    fn hear(&self, age_s: i64, change: impl FnOnce(&mut crate::mirror::ServiceState)) {
        let mut state = state("a", AT - age_s - 5, START_MS - age_s * 1000);
        let own = fleet().slos.into_iter().filter(|entry| entry.slo.service == "checkout");
        let slo = |entry| serde_json::to_value(SloView::of(&entry)).and_then(serde_json::from_value::<MirroredSlo>);
        state.slos = own.map(|entry| slo(entry).expect("an SLO reads as it is written")).collect();
        change(&mut state);
        self.mirror.send_modify(|mirror| mirror.hear(Told { state: state.into(), said_ms: START_MS - age_s * 1000 }));
    }

    async fn ask(&self, request: Request<Body>) -> (u16, String) {
        let answer = self.app.clone().oneshot(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask(Request::get(path).header("host", "localhost").body(Body::empty()).expect("a request")).await
    }

    async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }
}

#[tokio::test]
async fn what_is_known_is_said_with_its_age() {
    let stand = stand();
    stand.hear(12, |_| ());
    let signals = stand.json("/v1/signals/checkout").await;
    assert_eq!(signals["signals"]["risk"], json!({"value": 1, "codes": []}));
    assert_eq!((&signals["at"], &signals["age_s"]), (&json!(AT - 17), &json!(17)));
    assert_eq!(signals["mirror"], json!({"source": "https://slowburn.example:9595", "reason": "none", "silent_s": 12}));
    assert_eq!(stand.json("/v1/signals").await["services"][0], signals);
    assert_eq!(stand.get("/v1/signals/checkout?class=risk&status=strict").await.0, 200);
    let slos = stand.json("/v1/slos").await;
    assert_eq!(slos[0]["id"], "checkout-availability");
    assert_eq!(slos[0]["state"], "fast_burn");
    assert_eq!(stand.json("/v1/slos/checkout-availability").await, slos[0]);
    let metrics = stand.get("/metrics").await.1;
    for line in [
        "slowburn_safe_to_act{service=\"checkout\",class=\"risk\"} 1\n",
        "slowburn_change_state{service=\"checkout\",state=\"idle\"} 1\n",
        "slowburn_slo_state{slo_id=\"checkout-availability\",service=\"checkout\",slo=\"availability\",state=\"fast_burn\"} 1\n",
        "slowburn_mirror_state{service=\"checkout\",reason=\"none\"} 1\n",
        "slowburn_mirror_age_seconds{service=\"checkout\"} 12\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
}

#[tokio::test]
async fn after_two_polls_everything_is_unknown_and_no_number_is_left() {
    let stand = stand();
    stand.hear(61, |_| ());
    let signals = stand.json("/v1/signals/checkout").await;
    let unknown = json!({"value": -1, "codes": []});
    assert_eq!(signals["signals"], json!({"mitigate": unknown, "risk": unknown}));
    assert_eq!((&signals["mirror"]["reason"], &signals["age_s"]), (&json!("source_silent"), &json!(66)));
    assert_eq!(signals["change_state"], Value::Null);
    assert_eq!(stand.get("/v1/signals/checkout?status=strict").await.0, 503);
    for slo in stand.json("/v1/slos").await.as_array().expect("a list") {
        assert_eq!((&slo["state"], &slo["series"]), (&json!("unknown"), &json!([])), "{slo}");
        assert_eq!(slo["objective"].as_f64().map(|of| of > 0.0), Some(true), "what was promised is still known");
    }
    let metrics = stand.get("/metrics").await.1;
    assert!(metrics.contains("slowburn_safe_to_act{service=\"checkout\",class=\"mitigate\"} -1\n"), "{metrics}");
    assert!(metrics.contains("slo=\"availability\",state=\"unknown\"} 1\n"), "{metrics}");
    assert!(!metrics.contains("slowburn_slo_burn_rate{") && !metrics.contains("change_state{"), "{metrics}");
    // Heard once, it is ready; what becomes of the source later is a state.
    assert_eq!(stand.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn without_a_word_nothing_is_known_not_even_names() {
    let stand = stand();
    assert_eq!(stand.get("/healthz").await.0, 200);
    assert_eq!(stand.get("/readyz").await.0, 503);
    assert_eq!(stand.json("/v1/signals/checkout").await["mirror"]["reason"], "not_heard");
    let (status, body) = stand.get("/v1/slos").await;
    assert!(status == 503 && body.contains("not_heard"), "{body}");
    assert!(stand.get("/metrics").await.1.contains("slowburn_safe_to_act{service=\"checkout\",class=\"risk\"} -1\n"));
    stand.hear(0, |state| (state.gate, state.signals) = (GateStanding::NoPolicy, None));
    assert_eq!(stand.get("/v1/signals/checkout").await.0, 404);
    stand.hear(0, |state| (state.gate, state.signals) = (GateStanding::None, None));
    assert_eq!(stand.get("/v1/signals/checkout").await.0, 503);
    assert!(!stand.get("/metrics").await.1.contains("slowburn_safe_to_act{"));
}

#[tokio::test]
async fn what_is_not_mirrored_is_refused_with_where_to_ask() {
    let stand = stand();
    stand.hear(0, |_| ());
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/alerts"),
        ("GET", "/v1/services/checkout"),
        ("GET", "/v1/slos?brief=true"),
        ("GET", "/v1/signals/payments"),
        ("POST", "/v1/decisions"),
        ("POST", "/v1/signals/checkout"),
        ("POST", "/-/reload"),
        ("POST", "/mcp"),
        ("GET", "/nope"),
    ] {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let (status, body) = stand.ask(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(status, 421, "{method} {path}: {body}");
        assert!(body.contains("https://slowburn.example:9595/"), "{method} {path}: {body}");
    }
    let (status, _) = stand.get("/v1/slos/checkout-nothing").await;
    assert_eq!(status, 404);
    let rebound = Request::get("/v1/slos").header("host", "evil.example.org").body(Body::empty()).expect("a request");
    assert_eq!(stand.ask(rebound).await.0, 403);
}
