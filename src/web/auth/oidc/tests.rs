//! Sign-in at an issuer that lies, dawdles, changes its keys and goes away.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::outbound::{SecretSource, Transport};
use crate::web::auth::id_token::tests::{Forger, NOW, claims};
use crate::web::auth::tests::everybody;

/// Milliseconds of the tests' moment.
pub(in crate::web) const NOW_MS: i64 = NOW * 1000;

/// What the issuer does.
pub(in crate::web) struct World {
    /// Members of its configuration that are otherwise.
    pub configuration: Value,
    /// Its keys.
    pub keys: Vec<Value>,
    /// Whoever signs its tokens.
    pub signer: Forger,
    /// Claims of the next token that are otherwise; null: not there.
    pub claims: Value,
    /// What its userinfo says.
    pub userinfo: Value,
    /// Paths that are answered with so much, whatever else they would say.
    pub huge: Option<&'static str>,
    /// A path that is never answered.
    pub stalls: Option<&'static str>,
    /// A path that fails.
    pub fails: Option<(&'static str, u16)>,
    /// The nonce of the sign-in under way, and the challenge.
    pub nonce: String,
    pub challenge: String,
    /// Requests, as method, path and form.
    pub asked: Vec<String>,
    /// Codes that were exchanged.
    pub used: Vec<String>,
}

/// An issuer and where it is.
pub(in crate::web) struct Liar {
    pub url: String,
    pub world: Arc<Mutex<World>>,
}

impl Liar {
    pub async fn start() -> Self {
        let signer = Forger::new("k1");
        let world = Arc::new(Mutex::new(World {
            configuration: json!({}),
            keys: vec![signer.jwk()],
            signer,
            claims: json!({}),
            userinfo: json!({"sub": "ada-at-issuer"}),
            huge: None,
            stalls: None,
            fails: None,
            nonce: String::new(),
            challenge: String::new(),
            asked: Vec::new(),
            used: Vec::new(),
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let answers = |path: &'static str| {
            let (world, url) = (Arc::clone(&world), url.clone());
            move |headers: HeaderMap, body: String| async move { answer(path, &world, &url, &headers, &body).await }
        };
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(answers("configuration")))
            .route("/keys", get(answers("keys")))
            .route("/token", post(answers("token")))
            .route("/me", get(answers("me")));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Liar { url, world }
    }

    pub fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn sign_in(&self, change: impl FnOnce(&mut SignInSettings)) -> SignIn {
        let secret: SecretSource = Box::new(|| Ok(SecretString::from("s3cret +/".to_owned())));
        let transport = Transport::new(&self.url, None, HeaderMap::new()).expect("plain http");
        let page: Url = "http://localhost:9595".parse().expect("a URL");
        let mut settings = SignInSettings {
            issuer: Issuer::new(self.url.clone(), "slowburn".into(), Some(secret), transport),
            sessions: Sessions::new(None, &self.url, &page, 3600).expect("random bytes"),
            page,
            person_claim: "sub".into(),
            scopes: vec!["groups".into()],
            groups: None,
        };
        change(&mut settings);
        SignIn::new(settings)
    }

    /// Begins, as a browser does; its headers and the state.
    pub async fn begun(&self, sign_in: &SignIn, to: &str) -> (HeaderMap, String) {
        let (url, cookie) = sign_in.begin(to, NOW_MS).await.expect("the issuer answers");
        self.follow(&url, &cookie)
    }

    /// The person at the issuer's form.
    pub fn follow(&self, url: &str, cookie: &HeaderValue) -> (HeaderMap, String) {
        let url: Url = url.parse().expect("a URL");
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["redirect_uri"], "http://localhost:9595/auth/callback");
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
        let mut world = self.world();
        (world.nonce, world.challenge) = (query["nonce"].clone(), query["code_challenge"].clone());
        let pair = cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
        let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&pair).expect("text"))]);
        (headers, query["state"].clone())
    }

    /// A whole sign-in.
    pub async fn attempt(&self, sign_in: &SignIn) -> Result<SignedIn, SignInFault> {
        let (headers, state) = self.begun(sign_in, "/").await;
        sign_in.finish(&given("code-1", &state), &headers, &everybody(), NOW_MS).await
    }
}

/// What the issuer sends a browser back with.
pub(in crate::web) fn given(code: &str, state: &str) -> Answer {
    Answer { code: Some(code.into()), state: Some(state.into()), iss: None, error: None }
}

async fn answer(path: &'static str, world: &Mutex<World>, url: &str, headers: &HeaderMap, body: &str) -> Response {
    let stalls = {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        world.asked.push(format!("{path} {body}"));
        world.stalls == Some(path)
    };
    if stalls {
        std::future::pending::<()>().await;
    }
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    if world.huge == Some(path) {
        return Body::from(format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(300_000))).into_response();
    }
    if let Some((_, status)) = world.fails.filter(|(of, _)| *of == path) {
        return StatusCode::from_u16(status).expect("a status").into_response();
    }
    match path {
        "configuration" => {
            let mut said = json!({
                "issuer": url, "authorization_endpoint": format!("{url}/auth"), "token_endpoint": format!("{url}/token"),
                "jwks_uri": format!("{url}/keys"), "userinfo_endpoint": format!("{url}/me"),
            });
            let changes = world.configuration.as_object().expect("an object").clone();
            said.as_object_mut().expect("an object").extend(changes);
            axum::Json(said).into_response()
        }
        "keys" => axum::Json(json!({"keys": world.keys})).into_response(),
        "me" => axum::Json(world.userinfo.clone()).into_response(),
        _ => {
            let form: BTreeMap<String, String> =
                format!("http://a/?{body}").parse::<Url>().expect("a form").query_pairs().into_owned().collect();
            let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
            // `slowburn:s3cret+%2B%2F`, as RFC 6749 wants it; or both in the form.
            let known = basic == "Basic c2xvd2J1cm46czNjcmV0KyUyQiUyRg=="
                || form.get("client_secret").is_some_and(|secret| secret == "s3cret +/");
            let verifier = Sha256::digest(form.get("code_verifier").map_or("", String::as_str));
            let proved = BASE64_URL_SAFE_NO_PAD.encode(verifier) == world.challenge;
            let code = form.get("code").cloned().unwrap_or_default();
            if !known || !proved || world.used.contains(&code) {
                let error = if known { "invalid_grant" } else { "invalid_client" };
                return (StatusCode::BAD_REQUEST, axum::Json(json!({"error": error}))).into_response();
            }
            world.used.push(code);
            let mut all = claims(url, &world.nonce, NOW);
            for (name, value) in world.claims.as_object().expect("an object").clone() {
                match value {
                    Value::Null => drop(all.as_object_mut().expect("an object").remove(&name)),
                    value => all[name] = value,
                }
            }
            let token = world.signer.sign(&all);
            axum::Json(json!({"id_token": token, "access_token": "opaque", "token_type": "Bearer"})).into_response()
        }
    }
}

fn why(outcome: Result<SignedIn, SignInFault>) -> String {
    match outcome {
        Ok(signed_in) => format!("signed in: {}", signed_in.name),
        Err(SignInFault::Unavailable(why) | SignInFault::Refused(why)) => why,
        Err(fault) => format!("{fault:?}"),
    }
}

#[tokio::test]
async fn whoever_the_issuer_vouches_for_is_the_person_of_the_file() {
    let liar = Liar::start().await;
    let sign_in = liar.sign_in(|_| {});
    let (headers, state) = liar.begun(&sign_in, "/?q=1#slo-checkout").await;
    let done = sign_in.finish(&given("code-1", &state), &headers, &everybody(), NOW_MS).await.expect("she is known");
    assert_eq!((done.name.as_str(), done.to.as_str()), ("@ada", "/?q=1#slo-checkout"));
    // A second time the same answer is none, nor in another browser, nor with another state.
    assert_eq!(
        sign_in.finish(&given("code-2", &state), &headers, &everybody(), NOW_MS).await.err(),
        Some(SignInFault::Stale)
    );
    let (headers, state) = liar.begun(&sign_in, "/").await;
    for (headers, state) in [(HeaderMap::new(), state.as_str()), (headers.clone(), "x"), (headers.clone(), "")] {
        let outcome = sign_in.finish(&given("code-2", state), &headers, &everybody(), NOW_MS).await;
        assert_eq!(outcome.err(), Some(SignInFault::Stale));
    }
    let late = NOW_MS + 11 * 60_000;
    assert_eq!(sign_in.finish(&given("c", &state), &headers, &everybody(), late).await.err(), Some(SignInFault::Stale));
    // A code that was used is the issuer's to refuse.
    assert_eq!(why(liar.attempt(&sign_in).await), "the issuer refuses the code: invalid_grant");
    // A person the issuer knows and nobody here does.
    liar.world().used.clear();
    liar.world().claims = json!({"sub": "mallory"});
    let unknown = SignInFault::Unknown { claim: "sub".into(), who: "mallory".into() };
    assert_eq!(liar.attempt(&sign_in).await.err(), Some(unknown));
}

#[tokio::test]
async fn an_issuer_that_lies_signs_nobody_in() {
    let liar = Liar::start().await;
    for (lie, said) in [
        (json!({"iss": "https://evil"}), "another issuer issued it"),
        (json!({"aud": "another"}), "issued for somebody else"),
        (json!({"aud": ["slowburn", "another"], "azp": "another"}), "to another client"),
        (json!({"nonce": "another"}), "not the answer to this sign-in"),
        (json!({"exp": NOW - 60}), "not valid any more"),
        (json!({"exp": null}), "lacks a claim"),
        (json!({"iat": NOW + 3600}), "in the future"),
        (json!({"sub": "x\u{7}y"}), "nobody's name"),
        (json!({"sub": "x".repeat(300)}), "nobody's name"),
    ] {
        liar.world().used.clear();
        liar.world().claims = lie.clone();
        let why = why(liar.attempt(&liar.sign_in(|_| {})).await);
        assert!(why.contains(said), "{lie}: {why}");
    }
    liar.world().claims = json!({});
    for (lie, said) in [
        (json!({"issuer": "https://evil"}), "names another issuer"),
        (json!({"token_endpoint": "ftp://evil"}), "cannot be used"),
        (json!({"authorization_endpoint": "javascript:alert(1)"}), "cannot be used"),
        (json!({"jwks_uri": 7}), "cannot be read"),
        (json!({"code_challenge_methods_supported": ["plain"]}), "does not take PKCE"),
    ] {
        liar.world().configuration = lie.clone();
        let fault = liar.sign_in(|_| {}).begin("/", NOW_MS).await.err();
        assert!(matches!(&fault, Some(SignInFault::Unavailable(why)) if why.contains(said)), "{lie}: {fault:?}");
    }
    // Another issuer's answer at our door (mix-up), and an answer that does not say whose it is where all others do.
    liar.world().configuration = json!({"authorization_response_iss_parameter_supported": true});
    let sign_in = liar.sign_in(|_| {});
    for iss in [Some("https://evil"), None] {
        let (headers, state) = liar.begun(&sign_in, "/").await;
        let answer = Answer { iss: iss.map(str::to_owned), ..given("code-9", &state) };
        let said = why(sign_in.finish(&answer, &headers, &everybody(), NOW_MS).await);
        assert_eq!(said, "the answer is not of the issuer that was asked");
    }
    // An error is repeated as a word or not at all.
    for (error, said) in [("access_denied", "access_denied"), ("<script>", "it does not say why")] {
        let (headers, state) = liar.begun(&sign_in, "/").await;
        let answer = Answer { code: None, state: Some(state), iss: Some(liar.url.clone()), error: Some(error.into()) };
        let told = why(sign_in.finish(&answer, &headers, &everybody(), NOW_MS).await);
        assert_eq!(told, format!("the issuer signs nobody in: {said}"));
    }
}

#[tokio::test]
async fn an_issuer_that_changes_its_keys_or_floods_or_goes_away_is_borne() {
    let liar = Liar::start().await;
    let sign_in = liar.sign_in(|_| {});
    let at = |now_ms: i64| {
        let (liar, sign_in) = (&liar, &sign_in);
        async move {
            liar.world().used.clear();
            let (url, cookie) = sign_in.begin("/", now_ms).await.expect("it is known");
            liar.world().claims = json!({"iat": now_ms / 1000, "exp": now_ms / 1000 + 60});
            let (headers, state) = liar.follow(&url, &cookie);
            why(sign_in.finish(&given("c", &state), &headers, &everybody(), now_ms).await)
        }
    };
    let key_reads = || liar.world().asked.iter().filter(|asked| asked.starts_with("keys")).count();
    assert_eq!(at(NOW_MS).await, "signed in: @ada");
    assert_eq!(at(NOW_MS + 1000).await, "signed in: @ada");
    assert_eq!(key_reads(), 1, "keys are kept");
    // A key that is not known: read again, but not more often than each half minute.
    let next = Forger::new("k2");
    liar.world().signer = next;
    assert!(at(NOW_MS + 2000).await.contains("a key that the issuer does not have"));
    assert_eq!(key_reads(), 1, "it read them two seconds ago");
    assert!(at(NOW_MS + 31_000).await.contains("a key that the issuer does not have"));
    assert_eq!(key_reads(), 2);
    let jwk = liar.world().signer.jwk();
    liar.world().keys.push(jwk);
    assert_eq!(at(NOW_MS + 62_000).await, "signed in: @ada");
    // Floods and failures while something is known change nothing; what cannot be done without the issuer says so.
    liar.world().huge = Some("keys");
    assert_eq!(at(NOW_MS + 3_700_000).await, "signed in: @ada");
    liar.world().huge = Some("token");
    assert!(at(NOW_MS + 3_701_000).await.contains("too long"));
    liar.world().huge = None;
    liar.world().fails = Some(("token", 500));
    assert!(at(NOW_MS + 3_702_000).await.contains("answered with 500"));
    liar.world().fails = Some(("configuration", 503));
    assert_eq!(at(NOW_MS + 7_400_000).await, "signed in: @ada", "what it said an hour ago holds");
    // Where nothing is known, it is asked again soon, but not by each person who tries.
    let fresh = liar.sign_in(|_| {});
    let asked = || liar.world().asked.iter().filter(|asked| asked.starts_with("configuration")).count();
    let before = asked();
    for _ in 0..3 {
        assert!(matches!(fresh.begin("/", NOW_MS).await, Err(SignInFault::Unavailable(_))));
    }
    assert_eq!(asked(), before + 1);
    liar.world().fails = None;
    assert!(fresh.begin("/", NOW_MS + 4000).await.is_ok());
}

#[tokio::test]
async fn an_issuer_that_never_answers_is_not_waited_for() {
    let liar = Liar::start().await;
    let sign_in = liar.sign_in(|_| {});
    liar.world().stalls = Some("token");
    let (headers, state) = liar.begun(&sign_in, "/").await;
    let all = everybody();
    let answer = given("c", &state);
    let outcome = tokio::time::timeout(Duration::from_secs(60), sign_in.finish(&answer, &headers, &all, NOW_MS)).await;
    assert_eq!(why(outcome.expect("it gives up")), "it does not answer in time");
}

#[tokio::test]
async fn groups_take_rights_away_and_give_none_that_the_file_does_not() {
    let liar = Liar::start().await;
    let rights = BTreeMap::from([
        ("sre".to_owned(), BTreeSet::from([Right::Halt, Right::Resume])),
        ("root".to_owned(), BTreeSet::from(Right::ALL)),
    ]);
    let sign_in = liar.sign_in(|settings| settings.groups = Some(("groups".into(), rights.clone())));
    let mut limited = everybody();
    limited.all[0].rights = Some(BTreeSet::from([Right::Resume, Right::Changes]));
    for (groups, all, resume_only) in [
        (json!(["sre", "x"]), vec![Right::Halt, Right::Resume], vec![Right::Resume]),
        (json!("sre"), vec![Right::Halt, Right::Resume], vec![Right::Resume]),
        (json!(["root"]), Right::ALL.to_vec(), vec![Right::Resume, Right::Changes]),
        (json!([]), vec![], vec![]),
        (json!({"sre": true}), vec![], vec![]),
        // Not in the ID token: what userinfo says, which is nothing.
        (Value::Null, vec![], vec![]),
    ] {
        liar.world().used.clear();
        liar.world().claims = json!({"groups": groups});
        let cookie = liar.attempt(&sign_in).await.expect("she is known").cookie;
        let pair = cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
        let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&pair).expect("text"))]);
        for (identities, expected) in [(everybody(), &all), (limited.clone(), &resume_only)] {
            let (identity, session) = sign_in.signed_in(&headers, &identities, NOW).expect("a session");
            let principal = principal(&identities, identity, &session);
            let has: Vec<Right> = Right::ALL.into_iter().filter(|right| principal.has(*right)).collect();
            assert_eq!(&has, expected, "{groups}");
            assert_eq!((principal.sub.as_str(), principal.via), ("@ada", Via::Oidc));
        }
    }
    // What userinfo says is of the same person or of nobody.
    liar.world().used.clear();
    liar.world().userinfo = json!({"sub": "ada-at-issuer", "groups": ["sre"]});
    assert!(liar.attempt(&sign_in).await.is_ok());
    liar.world().used.clear();
    liar.world().userinfo = json!({"sub": "mallory", "groups": ["root"]});
    assert!(why(liar.attempt(&sign_in).await).contains("another person"));
}

#[tokio::test]
async fn an_address_counts_where_the_issuer_has_verified_it() {
    let liar = Liar::start().await;
    let mut identities = everybody();
    identities.all[0].oidc_subjects = vec!["ada@example.com".into()];
    let sign_in = liar.sign_in(|settings| settings.person_claim = "email".into());
    for (verified, expected) in
        [(json!(true), true), (json!(false), false), (json!("true"), false), (Value::Null, false)]
    {
        liar.world().used.clear();
        liar.world().claims = json!({"email": "ada@example.com", "email_verified": verified});
        let (headers, state) = liar.begun(&sign_in, "/").await;
        let outcome = sign_in.finish(&given("c", &state), &headers, &identities, NOW_MS).await;
        assert_eq!(outcome.is_ok(), expected, "{verified}");
    }
    liar.world().configuration = json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]});
    liar.world().used.clear();
    liar.world().claims = json!({});
    assert_eq!(why(liar.attempt(&liar.sign_in(|_| {})).await), "signed in: @ada", "a secret in the form");
}

#[test]
fn nobody_is_led_away_from_the_page() {
    for to in ["/", "/#slo-checkout-availability", "/?slo=a&x=y#z"] {
        assert_eq!(place(to), to);
    }
    for to in [
        "",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/v1/slos",
        "/ ?",
        "/#\u{202e}",
        "/#\r\nset-cookie: a",
        "\\",
        "/.//evil",
        "javascript:alert(1)",
        "/\t/evil",
        &format!("/#{}", "x".repeat(600)),
    ] {
        assert_eq!(place(to), "/", "{to:?}");
    }
}
