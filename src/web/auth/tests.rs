//! Who is told from what, on the authenticator itself and over real sockets.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::post;
use axum::{Json, Router};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::gate::principal::ActorClass;
use crate::outbound::{ApiServer, SecretSource};

fn sha256(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Ada by token, orca by token or service account, a deployer by certificate.
pub(crate) fn everybody() -> Identities {
    let ada = Identity {
        token_sha256: vec![sha256("other"), sha256("ada-token")],
        ..Identity::named("@ada", ActorClass::Human)
    };
    let ada = Identity { k8s_subjects: vec!["ada@example.com".into()], ..ada };
    let ada = Identity { oidc_subjects: vec!["ada-at-issuer".into()], ..ada };
    let orca = Identity {
        token_sha256: vec![sha256("orca-token")],
        k8s_subjects: vec!["system:serviceaccount:ops:orca".into()],
        ..Identity::named("ai-operator/orca-ops", ActorClass::Robot)
    };
    let deployer = Identity {
        mtls_names: vec!["spiffe://example.org/deployer".into(), "deployer.example.org".into()],
        k8s_subjects: vec!["system:serviceaccount:ci:deployer".into()],
        ..Identity::named("deployer", ActorClass::Pipeline)
    };
    let api_server = Identity {
        token_sha256: vec![sha256("apiserver-token")],
        may_act_as: vec!["kube-apiserver".into()],
        ..Identity::named("kube-apiserver", ActorClass::Pipeline)
    };
    let syncer = Identity {
        k8s_subjects: vec!["system:serviceaccount:argocd:controller".into()],
        may_act_as: vec!["ai-operator/orca-ops".into()],
        ..Identity::named("syncer", ActorClass::Pipeline)
    };
    Identities { all: vec![ada, orca, deployer, api_server, syncer] }
}

fn authenticator(review: Option<TokenReview>) -> Authenticator {
    let settings = Settings { identities: everybody(), review, burst: 50, reads_open: false, ..Settings::default() };
    Authenticator::new(settings, Clock::scaled(1_000_000, 0.0001))
}

fn with(authorization: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(authorization).expect("plain text"));
    headers
}

async fn told(auth: &Authenticator, headers: &HeaderMap, names: &[&str]) -> Result<(String, Via), Fault> {
    let peer = PeerNames(names.iter().map(|&name| name.to_owned()).collect());
    auth.principal(headers, Some(&peer)).await.map(|principal| (principal.sub, principal.via))
}

#[tokio::test]
async fn a_token_is_known_by_its_hash() {
    let auth = authenticator(None);
    let found = told(&auth, &with("Bearer ada-token"), &[]).await;
    assert_eq!(found, Ok(("@ada".into(), Via::Token)));
    assert_eq!(told(&auth, &with("bearer orca-token"), &[]).await, Ok(("ai-operator/orca-ops".into(), Via::Token)));
    assert_eq!(told(&auth, &with("Bearer ada-tokem"), &[]).await, Err(Fault::Unknown));
    // The hash that stands in the file is no token.
    assert_eq!(told(&auth, &with(&format!("Bearer {}", sha256("ada-token"))), &[]).await, Err(Fault::Unknown));
}

#[tokio::test]
async fn what_is_no_bearer_token_is_nobody() {
    let auth = authenticator(None);
    assert_eq!(told(&auth, &HeaderMap::new(), &[]).await, Err(Fault::Missing));
    for header in ["Basic YWRhOmFkYQ==", "Bearer", "Bearer  ", "ada-token", &format!("Bearer {}", "x".repeat(9000))] {
        assert_eq!(told(&auth, &with(header), &[]).await, Err(Fault::Malformed), "{header}");
    }
    let mut two = with("Bearer ada-token");
    two.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer orca-token"));
    assert_eq!(told(&auth, &two, &[]).await, Err(Fault::Malformed));
    let nobody = Authenticator::new(Settings::default(), Clock::wall());
    assert_eq!(told(&nobody, &with("Bearer ada-token"), &[]).await, Err(Fault::NotConfigured));
}

#[tokio::test]
async fn a_certificate_is_known_by_its_names_and_by_one_owner() {
    let auth = authenticator(None);
    let none = HeaderMap::new();
    let deployer = Ok(("deployer".into(), Via::Mtls));
    assert_eq!(told(&auth, &none, &["spiffe://example.org/deployer"]).await, deployer);
    assert_eq!(told(&auth, &none, &["x", "deployer.example.org", "spiffe://example.org/deployer"]).await, deployer);
    assert_eq!(told(&auth, &none, &["spiffe://example.org/other"]).await, Err(Fault::Unknown));
    // A wrong token is not made up for.
    assert_eq!(told(&auth, &with("Bearer wrong"), &["deployer.example.org"]).await, Err(Fault::Unknown));
    let mut shared = everybody();
    shared.all[0].mtls_names.push("shared".into());
    shared.all[1].mtls_names.push("shared-too".into());
    auth.replace(shared);
    assert_eq!(told(&auth, &none, &["shared", "shared-too"]).await, Err(Fault::Unknown));
}

#[tokio::test]
async fn a_principal_that_asks_too_often_waits_and_others_do_not() {
    let auth = authenticator(None);
    for _ in 0..50 {
        assert!(told(&auth, &with("Bearer orca-token"), &[]).await.is_ok());
    }
    assert_eq!(told(&auth, &with("Bearer orca-token"), &[]).await, Err(Fault::TooFast(1)));
    assert!(told(&auth, &with("Bearer ada-token"), &[]).await.is_ok());
    let answer = Fault::TooFast(7).into_response();
    assert_eq!(
        (answer.status(), &answer.headers()[header::RETRY_AFTER]),
        (StatusCode::TOO_MANY_REQUESTS, &HeaderValue::from(7))
    );
}

/// An API server that knows three tokens, and counts what it is asked.
async fn api_server() -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let review = move |headers: HeaderMap, Json(review): Json<Value>| {
        count.fetch_add(1, Ordering::SeqCst);
        let own = headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Bearer own-token");
        async move {
            if !own {
                return Err(StatusCode::UNAUTHORIZED);
            }
            assert_eq!(review["spec"]["audiences"], json!(["slowburn"]));
            let user = |name: &str| json!({"username": name, "groups": ["system:serviceaccounts"]});
            let orca = user("system:serviceaccount:ops:orca");
            let status = match review["spec"]["token"].as_str() {
                Some("good") => json!({"authenticated": true, "user": orca, "audiences": ["slowburn"]}),
                Some("no-audience") => json!({"authenticated": true, "user": orca}),
                Some("other-audience") => json!({"authenticated": true, "user": orca, "audiences": ["vault"]}),
                Some("stranger") => {
                    json!({"authenticated": true, "user": user("system:serviceaccount:x:y"), "audiences": ["slowburn"]})
                }
                Some("broken") => return Err(StatusCode::INTERNAL_SERVER_ERROR),
                _ => json!({"authenticated": false, "error": "unknown"}),
            };
            Ok(Json(json!({"kind": "TokenReview", "status": status})))
        }
    };
    let app = Router::new().route("/apis/authentication.k8s.io/v1/tokenreviews", post(review));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, asked)
}

fn review(url: &str) -> TokenReview {
    let token: SecretSource = Box::new(|| Ok(SecretString::from("own-token".to_owned())));
    TokenReview::new(ApiServer::new(url, None, token).expect("plain http"), "slowburn".into())
}

#[tokio::test]
async fn a_service_account_is_known_by_the_api_server_for_our_audience_only() {
    let (url, asked) = api_server().await;
    let auth = authenticator(Some(review(&url)));
    let orca = Ok(("ai-operator/orca-ops".into(), Via::TokenReview));
    assert_eq!(told(&auth, &with("Bearer good"), &[]).await, orca);
    assert_eq!(told(&auth, &with("Bearer good"), &[]).await, orca);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "an answer is remembered");
    // An answer without audiences is about the API server's own audience: such a token was not made for us.
    for token in ["no-audience", "other-audience", "stranger", "junk"] {
        assert_eq!(told(&auth, &with(&format!("Bearer {token}")), &[]).await, Err(Fault::Unknown), "{token}");
    }
    // No answer is no no: it is not remembered.
    let before = asked.load(Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(told(&auth, &with("Bearer broken"), &[]).await, Err(Fault::Unavailable));
    }
    assert_eq!(asked.load(Ordering::SeqCst), before + 2);
    // A token of the file never goes to the API server.
    assert!(told(&auth, &with("Bearer ada-token"), &[]).await.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), before + 2);
}

#[tokio::test]
async fn an_api_server_that_is_gone_says_nothing() {
    let auth = authenticator(Some(review("http://127.0.0.1:9")));
    assert_eq!(told(&auth, &with("Bearer good"), &[]).await, Err(Fault::Unavailable));
    assert!(told(&auth, &with("Bearer ada-token"), &[]).await.is_ok());
}
