//! Signing in over HTTP: cookies, what they open and what they do not, and what people read when it fails.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::web::auth::oidc::tests::Liar;
use crate::web::auth::tests::everybody;
use crate::web::gate::tests::{Gate, gate_of, rollback};

/// A browser elsewhere: what it holds, and what it is answered.
struct Visitor<'g> {
    gate: &'g Gate,
    cookies: Vec<(String, String)>,
}

struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Visitor<'_> {
    async fn send(&mut self, method: Method, path: &str, more: &[(&str, &str)], body: &str) -> Seen {
        let peer: SocketAddr = "192.0.2.7:40000".parse().expect("an address");
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:9595");
        let jar: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !jar.is_empty() {
            request = request.header("cookie", jar.join("; "));
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let request = request.extension(ConnectInfo(peer)).body(Body::from(body.to_owned())).expect("a request");
        let answer = self.gate.router.clone().oneshot(request).await.expect("routers answer");
        let (status, headers) = (answer.status(), answer.headers().clone());
        for cookie in headers.get_all(header::SET_COOKIE) {
            let text = cookie.to_str().expect("text");
            let (name, value) = text.split(';').next().expect("a pair").split_once('=').expect("a pair");
            self.cookies.retain(|(own, _)| own != name);
            if !text.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        let text = String::from_utf8_lossy(&to_bytes(answer.into_body(), 1 << 20).await.expect("a body")).into_owned();
        Seen { status, headers, text }
    }

    async fn get(&mut self, path: &str) -> Seen {
        self.send(Method::GET, path, &[], "").await
    }

    /// As the page posts.
    async fn post(&mut self, path: &str, body: &Value) -> Seen {
        let own = [
            ("origin", "http://localhost:9595"),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/json"),
        ];
        self.send(Method::POST, path, &own, &body.to_string()).await
    }

    async fn sign_in(&mut self, liar: &Liar) -> Seen {
        let begun = self.get("/auth/sign-in?to=%2F%23slo-checkout-availability").await;
        assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.text);
        let url = begun.headers[header::LOCATION].to_str().expect("text");
        let (_, state) = liar.follow(url, &begun.headers[header::SET_COOKIE]);
        liar.world().used.clear();
        self.get(&format!("/auth/callback?code=c&state={state}&session_state=x")).await
    }

    async fn who(&mut self) -> Value {
        serde_json::from_str(&self.get("/auth/session").await.text).expect("JSON")
    }
}

#[tokio::test]
async fn a_person_signs_in_answers_a_question_and_signs_out() {
    let liar = Liar::start().await;
    let gate = gate_of(Some(liar.sign_in(|_| {})));
    let mut visitor = Visitor { gate: &gate, cookies: Vec::new() };
    // Whoever may not read is shown where to sign in; machines are told as before.
    let shown = visitor.get("/").await;
    assert_eq!(shown.status, StatusCode::UNAUTHORIZED);
    assert!(shown.text.contains("href=\"/auth/sign-in\"") && !shown.text.contains("checkout"), "{}", shown.text);
    let policy = shown.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(visitor.get("/v1/slos").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(visitor.who().await, json!({"issuer": liar.url, "person": null}));

    let back = visitor.sign_in(&liar).await;
    assert_eq!(
        (back.status, &back.headers[header::LOCATION]),
        (StatusCode::SEE_OTHER, &HeaderValue::from_static("/#slo-checkout-availability"))
    );
    assert_eq!(visitor.cookies.len(), 1, "the cookie of the sign-in is gone: {:?}", visitor.cookies);
    assert_eq!(visitor.get("/v1/slos").await.status, StatusCode::OK);
    let who = visitor.who().await["person"].clone();
    assert_eq!((&who["name"], &who["via"], &who["class"]), (&json!("@ada"), &json!("oidc"), &json!("human")));
    assert_eq!(who["until"], "2026-03-02T10:30:21Z");

    let (_, asked) = gate.post("orca-token", "/v1/decisions", &rollback()).await;
    let id = asked["approval"]["id"].as_str().expect("a question").to_owned();
    let body = json!({"verdict": "approve", "reason": "seen", "action_digest": asked["action"]["digest"]});
    // A page of another site makes the browser send the cookie, and nothing comes of it; nor of a link that is followed.
    let path = format!("/v1/approvals/{id}");
    for (more, status) in [
        (vec![("origin", "https://evil.example"), ("content-type", "application/json")], StatusCode::FORBIDDEN),
        (vec![("sec-fetch-site", "cross-site"), ("content-type", "application/json")], StatusCode::FORBIDDEN),
        (vec![("origin", "http://localhost:9595"), ("content-type", "text/plain")], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![("content-type", "application/json")], StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(visitor.send(Method::POST, &path, &more, &body.to_string()).await.status, status, "{more:?}");
    }
    let voted = visitor.post(&path, &body).await;
    assert_eq!(voted.status, StatusCode::OK, "{}", voted.text);
    // The same person with a token has said yes already.
    let (status, again) = gate.post("ada-token", &path, &body).await;
    assert_eq!(status, StatusCode::CONFLICT, "{again}");
    let (_, record) = gate.get("/v1/audit?limit=5").await;
    assert!(record.to_string().contains("\"via\":\"oidc\""), "{record}");

    assert_eq!(visitor.post("/auth/sign-out", &json!({})).await.status, StatusCode::OK);
    assert_eq!((visitor.who().await["person"].clone(), visitor.cookies.len()), (Value::Null, 0));
    assert_eq!(visitor.get("/v1/slos").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_cookie_opens_no_door_that_others_ask_through() {
    let liar = Liar::start().await;
    let gate = gate_of(Some(liar.sign_in(|_| {})));
    let mut visitor = Visitor { gate: &gate, cookies: Vec::new() };
    visitor.sign_in(&liar).await;
    let act = [
        ("x-slowburn-service", "checkout"),
        ("x-slowburn-action", "deploy"),
        ("x-slowburn-resource", "deployment/checkout"),
    ];
    for origin in [None, Some(("origin", "http://localhost:9595"))] {
        let headers: Vec<_> = act.into_iter().chain(origin).collect();
        for method in [Method::GET, Method::POST] {
            let answer = visitor.send(method, "/integrations/ext-authz/x", &headers, "").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text);
        }
    }
    for path in ["/access/v1/evaluation", "/admission", "/mcp", "/integrations/argo-rollouts", "/gate/check"] {
        let answer = visitor.post(path, &json!({})).await;
        assert!(
            answer.status == StatusCode::UNAUTHORIZED || answer.text.contains("this request needs to know who"),
            "{path}: {} {}",
            answer.status,
            answer.text
        );
    }
    // What is asked by GET and needs a principal is no page's to ask.
    assert_eq!(visitor.get("/v1/audit/verify").await.status, StatusCode::UNAUTHORIZED);
    // A credential that is brought decides.
    let wrong = visitor.send(Method::GET, "/v1/slos", &[("authorization", "Bearer wrong")], "").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    // Whoever is taken out of the file is out.
    let mut fewer = everybody();
    fewer.all.remove(0);
    gate.access.take(fewer, Some(&gate.gate_service), "test");
    assert_eq!(visitor.get("/v1/slos").await.status, StatusCode::UNAUTHORIZED);
    gate.access.take(everybody(), Some(&gate.gate_service), "test");
    assert_eq!(visitor.get("/v1/slos").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_issuer_that_is_gone_locks_nobody_out_and_what_failed_is_told_as_text() {
    let liar = Liar::start().await;
    let gate = gate_of(Some(liar.sign_in(|_| {})));
    let mut visitor = Visitor { gate: &gate, cookies: Vec::new() };
    liar.world().fails = Some(("configuration", 500));
    let told = visitor.get("/auth/sign-in").await;
    assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(told.text.contains("cannot be asked who you are") && told.text.contains("token"), "{}", told.text);
    assert_eq!(gate.send("192.0.2.7:1", "ada-token", Method::GET, "/v1/slos", "").await.0, StatusCode::OK);
    liar.world().fails = None;

    let stray = visitor.get("/auth/callback?code=c&state=%3Cscript%3E&error=%3Cscript%3E").await;
    assert_eq!(stray.status, StatusCode::BAD_REQUEST);
    assert!(!stray.text.contains("<script>alert") && stray.headers.get(header::SET_COOKIE).is_none(), "{}", stray.text);
    assert_eq!(visitor.get("/auth/callback?state=a&state=b").await.status, StatusCode::BAD_REQUEST);

    // The fixture's clock begins later than a failure is remembered for.
    tokio::time::sleep(std::time::Duration::from_millis(3100)).await;
    liar.world().claims = json!({"sub": "<img src=x onerror=alert(1)>\u{202e}"});
    let unknown = visitor.sign_in(&liar).await;
    assert_eq!(unknown.status, StatusCode::FORBIDDEN);
    assert!(
        unknown.text.contains("&lt;img src=x onerror=alert(1)&gt;\\u{202e}") && !unknown.text.contains("<img"),
        "{}",
        unknown.text
    );
    assert!(visitor.cookies.iter().all(|(name, _)| !name.contains("session")), "{:?}", visitor.cookies);
}

#[tokio::test]
async fn without_an_issuer_nobody_signs_in() {
    let gate = gate_of(None);
    let mut visitor = Visitor { gate: &gate, cookies: Vec::new() };
    assert_eq!(visitor.get("/auth/sign-in").await.status, StatusCode::NOT_FOUND);
    assert_eq!(visitor.get("/auth/callback?code=c&state=s").await.status, StatusCode::NOT_FOUND);
    assert_eq!(visitor.who().await, json!({"issuer": null, "person": null}));
    assert_eq!(visitor.get("/").await.status, StatusCode::UNAUTHORIZED);
}
