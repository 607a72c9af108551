//! Tokens of CI jobs, workloads and agents that act for somebody: right ones, and each way to be wrong.

use axum::http::HeaderMap;
use serde_json::json;

use super::*;
use crate::outbound::Transport;
use crate::spec::identity::load_text;
use crate::web::auth::id_token::tests::{Forger, NOW};
use crate::web::auth::oidc::tests::{Liar, NOW_MS};

const JOB: &str = "repo:acme/shop:environment:production";

fn people(issuer: &str) -> Identities {
    let text = format!(
        "identities:\n\
         \x20 - {{name: release-pipeline, class: pipeline, jwt_subjects: ['{issuer} {JOB}', '{issuer} project_path:acme/shop:ref_type:branch:ref:main']}}\n\
         \x20 - {{name: ai-operator/orca, class: robot, jwt_subjects: ['{issuer} agent-7']}}\n\
         \x20 - {{name: ai-operator/helper, class: robot, jwt_subjects: ['{issuer} agent-8']}}\n\
         \x20 - {{name: '@ada', class: human, person: ada-lovelace, teams: [oncall], oidc_subjects: [ada-at-issuer]}}\n"
    );
    let loaded = load_text("identities.yaml", &text);
    assert!(!loaded.is_fatal(), "{}", loaded.render(false));
    loaded.identities
}

fn tokens(issuer: &Liar) -> MachineTokens {
    // As GitHub's: an issuer for machines alone has no place to sign in.
    issuer.world().configuration =
        json!({"authorization_endpoint": null, "token_endpoint": null, "userinfo_endpoint": null});
    let transport = Transport::new(&issuer.url, None, HeaderMap::new()).expect("plain http");
    MachineTokens::new(vec![Issuer::new(issuer.url.clone(), "https://slowburn.example.com".into(), None, transport)])
}

fn claims(issuer: &str, sub: &str) -> Value {
    json!({
        "iss": issuer, "aud": "https://slowburn.example.com", "sub": sub, "iat": NOW, "nbf": NOW - 300, "exp": NOW + 300,
        "repository": "acme/shop", "jti": "one",
    })
}

fn signed(issuer: &Liar, claims: &Value) -> String {
    issuer.world().signer.sign(claims)
}

async fn said(tokens: &MachineTokens, issuer: &Liar, claims: &Value) -> Option<Result<Principal, Fault>> {
    tokens.principal(&signed(issuer, claims), &people(&issuer.url), NOW_MS).await
}

#[tokio::test]
async fn a_job_of_a_pipeline_is_who_its_issuer_says_and_nobody_whose_token_differs_in_one_point() {
    let issuer = Liar::start().await;
    let tokens = tokens(&issuer);
    let good = claims(&issuer.url, JOB);
    let principal = said(&tokens, &issuer, &good).await.expect("it is of the issuer").expect("it is right");
    assert_eq!((principal.sub.as_str(), principal.via, principal.delegation.len()), ("release-pipeline", Via::Jwt, 0));
    for (name, value) in [
        ("sub", json!("repo:acme/shop:pull_request")),
        ("sub", json!("repo:acme/shop:environment:production ")),
        ("sub", json!("repo:ACME/shop:environment:production")),
        ("sub", json!("ada-at-issuer")),
        ("sub", json!("")),
        ("sub", json!(null)),
        ("aud", json!("https://another.example.com")),
        ("aud", json!(null)),
        ("exp", json!(NOW - 31)),
        ("exp", json!(null)),
        ("iat", json!(NOW + 31)),
        ("nbf", json!(NOW + 31)),
        ("act", json!("agent-7")),
        ("act", json!({})),
        ("act", json!({"sub": "nobody"})),
        ("act", json!({"sub": "agent-7", "iss": "https://another.example.com"})),
        ("act", json!({"sub": "agent-7", "iss": ""})),
        ("act", json!({"sub": "agent-7", "act": {"sub": "agent-8", "iss": "https://another.example.com"}})),
        ("act", json!([{"sub": "agent-7"}])),
        ("act", json!({"sub": "agent-7", "act": {"sub": "nobody"}})),
    ] {
        let mut wrong = good.clone();
        wrong[name] = value.clone();
        if value.is_null() {
            wrong.as_object_mut().expect("an object").remove(name);
        }
        let said = said(&tokens, &issuer, &wrong).await;
        assert_eq!(said.map(|one| one.map(|one| one.sub)), Some(Err(Fault::Unknown)), "{name} {value}");
    }
    // Another's signature under the issuer's name; a key that the token brings along; no signature.
    let forger = Forger::new("k1");
    let own = json!({"alg": "ES256", "kid": "k1", "jwk": forger.jwk()});
    let unsigned = signed(&issuer, &good);
    let unsigned = format!("{}.", unsigned.rsplit_once('.').expect("three parts").0);
    for token in [forger.sign(&good), forger.sign_with(&own, &good), unsigned] {
        let said = tokens.principal(&token, &people(&issuer.url), NOW_MS).await;
        assert_eq!(said, Some(Err(Fault::Unknown)), "{token}");
    }
}

#[tokio::test]
async fn what_is_of_no_issuer_of_ours_is_left_to_others() {
    let issuer = Liar::start().await;
    let tokens = tokens(&issuer);
    for token in ["plain", "a.b.c", "", "..", &"x.".repeat(4000), &signed(&issuer, &claims("https://another", JOB))] {
        assert_eq!(tokens.principal(token, &people(&issuer.url), NOW_MS).await, None, "{token:.40}");
    }
    assert!(issuer.world().asked.is_empty(), "nobody is asked about a token that is none of theirs");
}

#[tokio::test]
async fn who_acts_for_somebody_asks_in_its_own_name_and_none_of_the_chain_may_approve() {
    let issuer = Liar::start().await;
    let tokens = tokens(&issuer);
    let mut chain = claims(&issuer.url, "ada-at-issuer");
    chain["act"] = json!({"sub": "agent-7", "act": {"sub": "agent-8"}});
    let principal = said(&tokens, &issuer, &chain).await.expect("it is of the issuer").expect("it is right");
    assert_eq!(principal.sub, "ai-operator/orca", "the outermost is who asks now");
    assert_eq!(principal.delegation, ["@ada", "ada-lovelace", "ai-operator/helper"]);
    chain["act"]["iss"] = issuer.url.as_str().into();
    let named = said(&tokens, &issuer, &chain).await.expect("it is of the issuer").expect("it is right");
    assert_eq!(named, principal, "named by its own issuer it is the same one");
    // A person is nobody's machine, at any place where somebody asks.
    chain["act"] = json!({"sub": "ada-at-issuer"});
    assert_eq!(said(&tokens, &issuer, &chain).await, Some(Err(Fault::Unknown)));
    let mut acts = json!({"sub": "agent-8"});
    for _ in 0..6 {
        acts = json!({"sub": "agent-7", "act": acts});
    }
    chain["act"] = acts;
    assert_eq!(said(&tokens, &issuer, &chain).await, Some(Err(Fault::Unknown)), "a chain without end");
}

#[tokio::test]
async fn an_issuer_that_is_away_is_no_answer_and_its_new_keys_are_found() {
    let issuer = Liar::start().await;
    let tokens = tokens(&issuer);
    let good = claims(&issuer.url, JOB);
    issuer.world().fails = Some(("keys", 503));
    assert_eq!(said(&tokens, &issuer, &good).await, Some(Err(Fault::Unavailable)));
    issuer.world().fails = None;
    assert!(said(&tokens, &issuer, &good).await.is_some_and(|one| one.is_ok()));
    // Keys that are known prove tokens while it is away.
    issuer.world().fails = Some(("keys", 503));
    assert!(said(&tokens, &issuer, &good).await.is_some_and(|one| one.is_ok()));
    issuer.world().fails = None;
    let next = Forger::new("k2");
    issuer.world().keys = vec![next.jwk()];
    issuer.world().signer = next;
    let later = NOW_MS + 60_000;
    let token = signed(&issuer, &good);
    assert!(tokens.principal(&token, &people(&issuer.url), later).await.is_some_and(|one| one.is_ok()));
}
