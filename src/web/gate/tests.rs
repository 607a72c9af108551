//! The gate over HTTP: who may, what is refused with which status, and that every answer can be told apart by machines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::app::access::Access;
use crate::audit;
use crate::engine::Ledger;
use crate::gate::policy::{Action, AllowedAction, Policy};
use crate::gate::principal::Approver;
use crate::gate_service::{Options, Poll, Rules};
use crate::web::auth::tests::everybody;
use crate::web::auth::{Authenticator, Settings};
use crate::web::fixture::{self, Stand};
use crate::web::router;

mod edges;

pub(in crate::web) struct Gate {
    pub router: Router,
    pub access: Access,
    pub gate_service: GateService,
    pub log: audit::Log,
    _stand: Stand,
    _dir: tempfile::TempDir,
}

/// The fixture's fleet, in which checkout burns fast; a rollback of it needs the yes of Ada, a deploy of nobody.
pub(in crate::web) fn gate() -> Gate {
    gate_of(None)
}

/// The same, where people sign in.
pub(in crate::web) fn gate_of(sign_in: Option<crate::web::auth::oidc::SignIn>) -> Gate {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut stand = fixture::stand();
    let clock = stand.app.clock.clone();
    let log = audit::Log::open(audit::Options::new(dir.path()), clock.clone()).expect("a log");
    let options = Options {
        log: log.clone(),
        dir: dir.path().into(),
        clock: clock.clone(),
        identities: everybody(),
        external_url: Some("http://slowburn.example.com".into()),
        follows: false,
    };
    let gate_service = GateService::new(options).expect("a gate");
    let rollback = AllowedAction {
        require_approval: true,
        approvers: vec![Approver::Person("@ada".into())],
        ..AllowedAction::new(Action::Rollback { max_versions_back: 1 })
    };
    let policy =
        Policy { allowed_actions: vec![rollback, AllowedAction::new(Action::Deploy)], ..Policy::new("checkout") };
    gate_service.take_rules(
        Rules {
            policies: [("checkout".to_owned(), Arc::new(policy))].into(),
            services: BTreeSet::from(["checkout".to_owned(), "search".to_owned()]),
            workloads: BTreeMap::new(),
            current: true,
        },
        "start",
    );
    gate_service.poll(Poll {
        snapshot: &fixture::fleet(),
        ledger: &Ledger::new(30),
        seen: BTreeMap::new(),
        nodes: Default::default(),
        unread: BTreeSet::new(),
        clock_skew_s: Some(0.0),
    });
    let settings = Settings { identities: everybody(), sign_in, reads_open: false, ..Settings::default() };
    let authenticator = Arc::new(Authenticator::new(settings, clock));
    stand.app.auth = Arc::clone(&authenticator);
    stand.app.gate_service = Some(gate_service.clone());
    crate::web::incidents::tests::burn(&mut stand.app);
    let router = router(stand.app.clone(), CancellationToken::new());
    let access = Access { read: None, authenticator, tls: None };
    Gate { router, access, gate_service, log, _stand: stand, _dir: dir }
}

impl Gate {
    pub async fn send(&self, from: &str, token: &str, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let peer: SocketAddr = from.parse().expect("an address");
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.extension(ConnectInfo(peer)).body(Body::from(body.to_owned())).expect("a request");
        let answer = self.router.clone().oneshot(request).await.expect("routers answer");
        let status = answer.status();
        let bytes = to_bytes(answer.into_body(), 1 << 20).await.expect("a whole body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn post(&self, token: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        self.send("127.0.0.1:40000", token, Method::POST, path, &body.to_string()).await
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send("127.0.0.1:40000", "", Method::GET, path, "").await
    }
}

pub(in crate::web) fn rollback() -> Value {
    json!({
        "service": "checkout", "action": "rollback", "resource": "deployment/checkout", "from_version": "v42",
        "to_version": "v41", "reason": "slo_burn_rate_exceeded",
    })
}

pub(in crate::web) const ADA: &str = "ada-token";
pub(in crate::web) const ORCA: &str = "orca-token";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_changes_something_needs_a_credential_wherever_it_comes_from() {
    let gate = gate();
    let paths = [
        "/v1/decisions",
        "/v1/decisions?explain",
        "/v1/permits/p/redeem",
        "/v1/permits/p/outcome",
        "/v1/approvals/a",
        "/v1/halts",
        "/v1/halts/h/resume",
        "/v1/changes",
        "/v1/incidents/i",
        "/v1/webhooks/alertmanager",
    ];
    for path in paths {
        for token in ["", "nobody's", "ada-token2"] {
            let (status, answer) = gate.post(token, path, &json!({})).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} {token:?}: {answer}");
            assert!(answer["error"].is_string() && answer["hint"].is_string(), "{answer}");
        }
    }
    gate.log.close();
    assert_eq!(gate.log.checkpoint().size, 3, "nobody left a record: boot, one policy and shutdown are all");
}

/// A browser sends its user's certificate, or stands where nobody is asked for a credential, whatever page made it do so.
/// Its headers say so, and then nothing is changed.
#[tokio::test(flavor = "multi_thread")]
async fn no_page_borrows_a_credential() {
    let gate = gate();
    let bodies = [
        ("/v1/halts", json!({"scope": "global", "reason": "x", "for_s": 60})),
        ("/v1/decisions", rollback()),
        ("/v1/approvals/apr_1", json!({"verdict": "approve"})),
        ("/v1/permits/prm_1/redeem", json!({})),
        ("/v1/changes", json!({"service": "checkout", "resource": "deployment/checkout", "version": "v1"})),
        ("/v1/incidents/i", json!({"cause": "x"})),
        ("/v1/webhooks/alertmanager", json!({"version": "4", "alerts": []})),
        ("/v1/audit/accept", json!({"reason": "x"})),
        ("/-/reload", json!({})),
    ];
    let pages: [&[(&str, &str)]; 6] = [
        &[("host", "localhost"), ("content-type", "application/json"), ("origin", "https://evil.example")],
        &[("host", "localhost"), ("content-type", "application/json"), ("sec-fetch-site", "cross-site")],
        &[("host", "localhost"), ("content-type", "application/json"), ("origin", "null")],
        &[("host", "rebound.evil.example"), ("content-type", "application/json")],
        &[("host", "localhost"), ("content-type", "text/plain")],
        &[("host", "localhost"), ("content-type", "application/x-www-form-urlencoded")],
    ];
    for (path, body) in &bodies {
        for headers in pages {
            let mut request = Request::builder().method(Method::POST).uri(*path);
            for (name, value) in headers.iter().chain(&[("authorization", "Bearer ada-token")]) {
                request = request.header(*name, *value);
            }
            let peer: SocketAddr = "127.0.0.1:40000".parse().expect("an address");
            let body = Body::from(body.to_string());
            let request = request.extension(ConnectInfo(peer)).body(body).expect("a request");
            let status = gate.router.clone().oneshot(request).await.expect("routers answer").status();
            let refused = status == StatusCode::FORBIDDEN || status == StatusCode::UNSUPPORTED_MEDIA_TYPE;
            assert!(refused, "{path} {headers:?}: {status}");
        }
    }
    // Nor does a page read through a name that it rebinds to this machine.
    let request = Request::builder().uri("/v1/audit").header("host", "rebound.evil.example");
    let peer: SocketAddr = "127.0.0.1:40000".parse().expect("an address");
    let request = request.extension(ConnectInfo(peer)).body(Body::empty()).expect("a request");
    let answer = gate.router.clone().oneshot(request).await.expect("routers answer");
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(gate.get("/v1/halts").await.1["halts"].as_array().is_some_and(Vec::is_empty));
}

/// What a struct has in order is no request either.
#[tokio::test(flavor = "multi_thread")]
async fn an_array_is_no_request() {
    let gate = gate();
    for (path, body) in [
        (
            "/v1/decisions",
            r#"["checkout","rollback","deployment/checkout","v42","v41",null,null,"x",null,null,null,false,null]"#,
        ),
        ("/v1/halts", r#"["global","x",60,true,false]"#),
        ("/v1/changes", r#"["checkout","deployment/checkout",null,null,"v1",null,null]"#),
        ("/v1/approvals/apr_1", r#"["reject","x",null]"#),
        ("/v1/halts/h/resume", r#"["x"]"#),
    ] {
        let (status, answer) = gate.send("127.0.0.1:40000", ADA, Method::POST, path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_of_what_nobody_knows_is_refused() {
    let gate = gate();
    let order = |scope: Value, future: bool| json!({"scope": scope, "reason": "x", "for_s": 60, "future": future});
    for (scope, future, expected) in [
        (json!({"service": "chekout"}), false, StatusCode::NOT_FOUND),
        (json!({"service": "chekout"}), true, StatusCode::OK),
        (json!({"service": "checkout"}), false, StatusCode::OK),
        (json!({"actor": "ai-operator/orca"}), false, StatusCode::NOT_FOUND),
        (json!({"actor": "ai-operator/orca-ops"}), false, StatusCode::OK),
        // An action that no policy defines is a slip of the pen, too.
        (json!({"action": "flush-cach"}), false, StatusCode::NOT_FOUND),
        (json!({"action": "redeploy"}), false, StatusCode::NOT_FOUND),
        (json!({"action": "flush-cach"}), true, StatusCode::OK),
        (json!({"action": "drain"}), false, StatusCode::OK),
    ] {
        let (status, answer) = gate.post(ADA, "/v1/halts", &order(scope.clone(), future)).await;
        assert_eq!(status, expected, "{scope} {future}: {answer}");
    }
}

/// What a robot says of changes could make its own cure look needed; a person and a pipeline tell of them where they may.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_by_those_who_may() {
    let gate = gate();
    let told = json!({"service": "checkout", "resource": "deployment/checkout", "version": "v42"});
    let (status, answer) = gate.post(ORCA, "/v1/changes", &told).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert_eq!(gate.post("apiserver-token", "/v1/changes", &told).await.0, StatusCode::OK, "a pipeline may");
    assert_eq!(gate.post(ADA, "/v1/changes", &told).await.0, StatusCode::OK, "she may");
    let mut known = everybody();
    for one in known.all.iter_mut().filter(|one| ["@ada", "kube-apiserver"].contains(&one.name.as_str())) {
        one.rights = Some(BTreeSet::new());
    }
    gate.access.take(known, Some(&gate.gate_service), "test");
    for token in [ADA, "apiserver-token"] {
        let (status, answer) = gate.post(token, "/v1/changes", &told).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
        assert!(answer["error"].as_str().is_some_and(|text| text.contains("right_missing")), "{answer}");
    }
}

/// With an idempotency key an allow is given back with its permit, with a record of its own; once that is used, never.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_no_way_to_an_allow_without_a_permit() {
    let gate = gate();
    let halt = json!({"scope": {"service": "checkout"}, "reason": "x", "for_s": 60, "people": true});
    let mut deploy = json!({"service": "checkout", "action": "deploy", "resource": "deployment/checkout",
        "to_version": "v43", "reason": "x", "idempotency_key": "k1", "break_glass": true});
    let (_, first) = gate.post(ADA, "/v1/decisions", &deploy).await;
    let (_, again) = gate.post(ADA, "/v1/decisions", &deploy).await;
    assert_eq!((&first["argo"], &again["argo"], &again["repeated"]), (&json!("allow"), &json!("allow"), &json!(true)));
    assert_eq!(first["permit"]["id"], again["permit"]["id"]);
    assert_ne!(first["audit"]["seq"], again["audit"]["seq"], "that it was given again is on record");
    let (_, record) = gate.get(&format!("/v1/audit/{}", again["audit"]["seq"])).await;
    let told = record.to_string();
    for word in ["decision_repeated", first["permit"]["id"].as_str().expect("a permit"), "@ada"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let path = format!("/v1/permits/{}/redeem", first["permit"]["id"].as_str().expect("a permit"));
    assert_eq!(gate.post(ADA, &path, &json!({})).await.1["decision"], "allow");
    let (_, third) = gate.post(ADA, "/v1/decisions", &deploy).await;
    assert!(third["permit"].is_null() || third["permit"]["id"] != first["permit"]["id"], "{third:#}");
    assert!(third["decision"] != "allow" || third["permit"].is_object(), "{third:#}");
    // An explanation is no allow for a machine that reads one word.
    deploy["idempotency_key"] = "k2".into();
    let (_, explained) = gate.post(ADA, "/v1/decisions?explain", &deploy).await;
    assert_eq!((&explained["decision"], &explained["argo"]), (&json!("allow"), &json!("would_allow")));
    let (status, answer) = gate.post(ADA, "/v1/halts", &halt).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_from_elsewhere_need_a_credential_and_probes_do_not() {
    let gate = gate();
    let far = "192.0.2.7:40000";
    for path in ["/v1/signals", "/v1/halts", "/v1/approvals", "/v1/operators", "/v1/audit", "/openapi.json", "/"] {
        let (status, _) = gate.send(far, "", Method::GET, path, "").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        let (status, _) = gate.send(far, ADA, Method::GET, path, "").await;
        assert_eq!(status, StatusCode::OK, "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(gate.send(far, "", Method::GET, path, "").await.0, StatusCode::OK, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_400_that_says_what() {
    let gate = gate();
    let mut odd = rollback();
    odd["urgent"] = true.into();
    let told = |resource: &str, version: &str| {
        json!({"service": "checkout", "resource": resource, "version": version}).to_string()
    };
    let cases = [
        ("/v1/decisions", json!([]).to_string(), "malformed_request"),
        ("/v1/decisions", odd.to_string(), "urgent"),
        ("/v1/decisions", json!({"service": "checkout", "action": "explode"}).to_string(), "explode"),
        ("/v1/decisions?explain=perhaps", rollback().to_string(), "explain"),
        ("/v1/decisions?explian", rollback().to_string(), "explian"),
        ("/v1/halts", json!({"scope": "global", "reason": "", "for_s": 60}).to_string(), "reason"),
        ("/v1/halts", json!({"scope": "global", "reason": "x", "for_s": -1}).to_string(), "time_out_of_bounds"),
        ("/v1/halts", json!({"scope": "galaxy", "reason": "x", "for_s": 60}).to_string(), "galaxy"),
        ("/v1/changes", json!({"service": "checkout", "resource": "deployment/checkout"}).to_string(), "version"),
        ("/v1/changes", json!({"service": "checkout", "resource": "x", "version": "v1"}).to_string(), "kind/name"),
        ("/v1/changes", told("deployment/check\u{200b}out", "v41"), "hide or turn"),
        ("/v1/changes", told("deployment/checkout", "v41\u{202e}04v"), "hide or turn"),
        ("/v1/changes", told("deployment/checkout", "\u{ff56}41"), "second form"),
        ("/v1/changes", told("deployment/*", "v41"), "pattern"),
        ("/v1/changes", told("deployment/checkout", "v 41"), "blanks"),
        // Of two readers one would take the first and one the last.
        ("/v1/halts", "{\"scope\":\"global\",\"reason\":\"x\",\"for_s\":60,\"for_s\":1}".to_owned(), "for_s"),
        ("/v1/decisions", rollback().to_string().replacen('{', "{\"to_version\":\"v40\",", 1), "to_version"),
        (
            "/integrations/argo-rollouts",
            rollback().to_string().replacen('{', "{\"to_version\":\"v40\",", 1),
            "to_version",
        ),
        (
            "/v1/options",
            json!({"options": [rollback()]}).to_string().replacen("[{", "[{\"service\":\"x\",", 1),
            "service",
        ),
        ("/v1/approvals/a", json!({"verdict": "approve"}).to_string(), "action_digest"),
        ("/v1/approvals/a", "{\"verdict\":".to_owned(), "EOF"),
    ];
    for (path, body, word) in cases {
        let (status, answer) = gate.send("127.0.0.1:40000", ADA, Method::POST, path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|text| text.contains(word)), "{path} {body}: {answer}");
    }
    let body = format!("{{\"service\": \"{}\"}}", "x".repeat(70_000));
    let (status, _) = gate.send("127.0.0.1:40000", ADA, Method::POST, "/v1/decisions", &body).await;
    assert!(status == StatusCode::PAYLOAD_TOO_LARGE || status == StatusCode::BAD_REQUEST, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_a_404() {
    let gate = gate();
    for path in ["/v1/permits/nope", "/v1/approvals/nope", "/v1/signals/nope", "/v1/signals/search", "/v1/audit/99"] {
        assert_eq!(gate.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let vote = json!({"verdict": "reject", "reason": "no"});
    let change = json!({"service": "nope", "resource": "deployment/x", "version": "v1"});
    for (path, body) in [
        ("/v1/permits/nope/redeem", json!({})),
        ("/v1/permits/nope/outcome", json!({"applied": true})),
        ("/v1/approvals/nope", vote),
        ("/v1/halts/nope/resume", json!({"reason": "over"})),
        ("/v1/changes", change),
    ] {
        let (status, answer) = gate.post(ADA, path, &body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_once_by_the_right_person() {
    let gate = gate();
    let change =
        json!({"service": "checkout", "resource": "deployment/checkout", "from_version": "v41", "version": "v42"});
    assert_eq!(gate.post(ORCA, "/v1/changes", &change).await.0, StatusCode::FORBIDDEN, "a robot tells of no change");
    assert_eq!(gate.post(ADA, "/v1/changes", &change).await.0, StatusCode::OK);
    let (_, explained) = gate.post(ORCA, "/v1/decisions?explain", &rollback()).await;
    assert_eq!(
        (&explained["decision"], &explained["audit"]),
        (&json!("needs_approval"), &Value::Null),
        "{explained:#}"
    );
    assert_eq!(gate.get("/v1/approvals").await.1["approvals"], json!([]), "an explanation asks nobody");

    let (status, answer) = gate.post(ORCA, "/v1/decisions", &rollback()).await;
    assert_eq!((status, &answer["decision"]), (StatusCode::OK, &json!("needs_approval")), "{answer:#}");
    assert!(answer["audit"]["seq"].is_u64() && answer["audit"]["leaf"].is_string(), "a receipt: {answer:#}");
    let id = answer["approval"]["id"].as_str().expect("an id");
    let url = answer["approval"]["url"].as_str().expect("a URL");
    assert_eq!(url, format!("http://slowburn.example.com/#approval-{id}"));
    let path = format!("/v1/approvals/{id}");
    let (_, card) = gate.get(&path).await;
    let digest = &card["action"]["digest"];
    let yes = json!({"verdict": "approve", "action_digest": digest});
    assert_eq!(gate.post(ORCA, &path, &yes).await.0, StatusCode::FORBIDDEN, "not the one who asks");
    let other = json!({"verdict": "approve", "action_digest": format!("sha256:{}", "0".repeat(64))});
    assert_eq!(gate.post(ADA, &path, &other).await.0, StatusCode::CONFLICT, "not another card");
    assert_eq!(
        gate.post(ADA, &path, &json!({"verdict": "reject"})).await.0,
        StatusCode::BAD_REQUEST,
        "a no has a reason"
    );
    let (status, voted) = gate.post(ADA, &path, &yes).await;
    assert_eq!((status, &voted["state"]), (StatusCode::OK, &json!("granted")), "{voted:#}");
    let record = voted["audit"]["seq"].as_u64().expect("a receipt");
    let (status, record) = gate.get(&format!("/v1/audit/{record}")).await;
    assert_eq!((status, &record["record"]["actor"]), (StatusCode::OK, &json!("@ada")), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_is_set_and_lifted_by_people_and_holds_robots() {
    let gate = gate();
    let order = json!({"scope": {"service": "checkout"}, "reason": "INC-7", "for_s": 600});
    assert_eq!(gate.post(ORCA, "/v1/halts", &order).await.0, StatusCode::FORBIDDEN);
    let (status, halt) = gate.post(ADA, "/v1/halts", &order).await;
    assert_eq!(status, StatusCode::OK, "{halt}");
    let (_, answer) = gate.post(ORCA, "/v1/decisions", &rollback()).await;
    assert_eq!(answer["decision"], "deny", "{answer:#}");
    assert!(answer["reasons"].to_string().contains("\"halted\""), "{answer:#}");
    let (_, metrics) = gate.get("/metrics").await;
    let metrics = metrics.as_str().expect("text").to_owned();
    for line in [
        "slowburn_safe_to_act{service=\"checkout\",class=\"risk\"} 0",
        "slowburn_safe_to_act{service=\"checkout\",class=\"mitigate\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
    }
    let path = format!("/v1/halts/{}/resume", halt["id"].as_str().expect("an id"));
    assert_eq!(gate.post(ORCA, &path, &json!({"reason": "mine"})).await.0, StatusCode::FORBIDDEN);
    assert_eq!(gate.post(ADA, &path, &json!({"reason": "over"})).await.0, StatusCode::OK);
    assert_eq!(gate.get("/v1/halts").await.1["halts"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_a_503_and_no_permit() {
    let gate = gate();
    gate.log.close();
    let (status, answer) = gate.post(ORCA, "/v1/decisions", &rollback()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer:#}");
    assert!(
        answer["permit"].is_null() && answer["error"].as_str().is_some_and(|text| text.contains("audit")),
        "{answer}"
    );
    // Whoever only wants to know is told what stands in the way.
    let (status, answer) = gate.post(ORCA, "/v1/decisions?explain", &rollback()).await;
    assert_eq!((status, &answer["decision"]), (StatusCode::OK, &json!("deny")), "{answer:#}");
    assert!(answer["reasons"].to_string().contains("audit_unwritable"), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_glass_is_broken_by_people_only_loudly_and_even_when_the_disk_is_gone() {
    let gate = gate();
    let mut emergency = rollback();
    emergency["break_glass"] = true.into();
    let (_, answer) = gate.post(ORCA, "/v1/decisions", &emergency).await;
    assert_eq!(answer["decision"], "deny", "a robot breaks no glass: {answer:#}");
    let (_, answer) = gate.post(ADA, "/v1/decisions", &emergency).await;
    assert_eq!((&answer["decision"], &answer["permit"]["break_glass"]), (&json!("allow"), &json!(true)), "{answer:#}");
    assert!(answer["audit"]["seq"].is_u64(), "{answer:#}");
    let alerts = gate.gate_service.alerts(&fixture::fleet().slos, fixture::AT);
    let [alert] = alerts.as_slice() else { panic!("one alert: {alerts:#?}") };
    assert_eq!((alert.labels.get("alertname"), alert.resolved_at), (Some("SLOBreakGlass"), None));
    let summary = "@ada goes past the checks of checkout: rollback of deployment/checkout";
    assert_eq!(alert.annotations["summary"], summary);
    let (_, found) = gate.get("/v1/audit?service=checkout&limit=10").await;
    assert!(found["records"].to_string().contains("\"kind\":\"break_glass\""), "{found:#}");

    gate.log.close();
    let mut again = emergency.clone();
    again["to_version"] = "v40".into();
    let (status, answer) = gate.post(ADA, "/v1/decisions", &again).await;
    assert_eq!((status, &answer["decision"]), (StatusCode::OK, &json!("allow")), "{answer:#}");
    assert!(answer["audit"].is_null(), "there is no receipt for what is not on disk");
    let path = format!("/v1/permits/{}/redeem", answer["permit"]["id"].as_str().expect("a permit"));
    let (status, redeemed) = gate.post(ADA, &path, &json!({"request": again})).await;
    assert_eq!((status, &redeemed["decision"]), (StatusCode::OK, &json!("allow")), "{redeemed:#}");
    let (_, twice) = gate.post(ADA, &path, &json!({"request": again})).await;
    assert_ne!(twice["decision"], "allow", "not twice, disk or no disk: {twice:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_gate_nothing_is_decided() {
    let stand = fixture::stand();
    let request = Request::builder()
        .uri("/v1/signals")
        .header("host", "localhost")
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4))));
    let request = request.body(Body::empty()).expect("a request");
    let router = router(stand.app.clone(), CancellationToken::new());
    let answer = router.oneshot(request).await.expect("routers answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_identities_hold_for_the_next_request() {
    let gate = gate();
    assert_eq!(gate.post(ORCA, "/v1/decisions?explain", &rollback()).await.0, StatusCode::OK);
    let mut identities = everybody();
    identities.all.retain(|identity| identity.name != "ai-operator/orca-ops");
    gate.access.take(identities, Some(&gate.gate_service), "@ada");
    assert_eq!(gate.post(ORCA, "/v1/decisions?explain", &rollback()).await.0, StatusCode::UNAUTHORIZED);
    // Without people nobody can be asked, and what needs their yes is refused.
    let mut identities = everybody();
    identities.all.retain(|identity| !identity.class.is_human());
    gate.access.take(identities, Some(&gate.gate_service), "@ada");
    let (status, answer) = gate.post(ORCA, "/v1/decisions?explain", &rollback()).await;
    assert_eq!((status, &answer["decision"]), (StatusCode::OK, &json!("deny")), "{answer:#}");
}

/// Which of these, and what at all: answered one by one, without a trace.
#[tokio::test(flavor = "multi_thread")]
async fn several_options_are_answered_at_once_and_leave_nothing_behind() {
    let gate = gate();
    let records = gate.gate_service.log().checkpoint().size;
    let deploy = json!({
        "service": "checkout", "action": "deploy", "resource": "deployment/checkout", "from_version": "v42", "to_version": "v43",
    });
    let order = json!({"service": "checkout", "options": [rollback(), deploy, {"service": "checkout"}, ["checkout"]]});
    let (status, answer) = gate.post(ORCA, "/v1/options", &order).await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
    let options = answer["options"].as_array().expect("an answer for each");
    let words: Vec<_> = options.iter().map(|option| option["decision"].as_str().expect("a word")).collect();
    assert_eq!((words.len(), &words[1..]), (4, &["deny", "deny", "deny"][..]), "{answer:#}");
    assert!(options[2]["error"].is_string() && options[3]["error"].is_string(), "{answer:#}");
    for option in options {
        assert!(option["permit"].is_null() && option["argo"] != "allow", "{option:#}");
    }
    let (_, alone) = gate.post(ORCA, "/v1/decisions?explain", &rollback()).await;
    assert_eq!(options[0]["decision"], alone["decision"]);
    let allowed = answer["allowed"].as_array().expect("rows");
    let rows: Vec<_> = allowed.iter().map(|row| (row["action"].clone(), row["at_best"].clone())).collect();
    assert_eq!(rows[0].0, "rollback", "{allowed:?}");
    assert_eq!(rows[1], (json!("deploy"), json!("deny")), "{allowed:?}");
    assert!(allowed[1]["codes"].as_array().is_some_and(|codes| codes.contains(&json!("fast_burn"))), "{allowed:?}");
    assert!(allowed[0]["codes"].as_array().is_some_and(|codes| codes.contains(&json!("approval_required"))));
    assert_eq!(gate.gate_service.log().checkpoint().size, records, "nothing was written");
    for wrong in [json!({}), json!({"options": vec![rollback(); 11]}), json!({"option": []}), json!(["checkout"])] {
        assert_eq!(gate.post(ORCA, "/v1/options", &wrong).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert_eq!(gate.post(ORCA, "/v1/options", &json!({"service": "chekout"})).await.0, StatusCode::NOT_FOUND);
    assert_eq!(gate.post("", "/v1/options", &order).await.0, StatusCode::UNAUTHORIZED);
}
