//! Tokens that were forged, in every way that was ever done.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::json;
use sha2::Sha256;

use super::*;

pub(in crate::web) const NOW: i64 = 1_772_443_821;

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Somebody with a key pair who writes what is wanted.
pub(in crate::web) struct Forger {
    pair: EcdsaKeyPair,
    pub kid: &'static str,
}

impl Forger {
    pub fn new(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key");
        Forger { pair, kid }
    }

    pub fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y), "kid": self.kid, "use": "sig", "alg": "ES256"})
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"alg": "ES256", "kid": self.kid}), claims)
    }

    pub fn sign_with(&self, head: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64(head.to_string()), base64(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
        format!("{message}.{}", base64(signature.as_ref()))
    }
}

/// What a well-behaved issuer says.
pub(in crate::web) fn claims(issuer: &str, nonce: &str, now_s: i64) -> Value {
    json!({
        "iss": issuer, "aud": "slowburn", "sub": "ada-at-issuer", "nonce": nonce, "iat": now_s, "exp": now_s + 300,
        "groups": ["sre", "everybody"],
    })
}

fn judged(token: &str, set: &Value) -> Result<Claims, TokenFault> {
    let expected =
        Expected { issuer: "https://sso", audience: "slowburn", nonce: Some("n"), algorithms: &[], now_s: NOW };
    verify(token, &keys(set), &expected)
}

#[test]
fn what_the_issuer_signed_is_taken_and_nothing_that_differs_in_one_point() {
    let issuer = Forger::new("k1");
    let set = json!({"keys": [issuer.jwk()]});
    let good = claims("https://sso", "n", NOW);
    assert_eq!(judged(&issuer.sign(&good), &set).expect("it is right")["sub"], "ada-at-issuer");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value,
        }
        claims
    };
    for (name, value) in [
        ("aud", json!(["slowburn"])),
        ("exp", json!(NOW - 20)),
        ("exp", json!(NOW as f64 + 0.5)),
        ("iat", json!(NOW + 20)),
        ("azp", json!("slowburn")),
        ("nbf", json!(NOW)),
    ] {
        assert!(judged(&issuer.sign(&with(name, value.clone())), &set).is_ok(), "{name} {value}");
    }
    for (name, value) in [
        ("iss", json!("https://sso/")),
        ("iss", json!(["https://sso", "https://evil"])),
        ("iss", Value::Null),
        ("aud", json!("another")),
        ("aud", json!([])),
        ("aud", json!(["slowburn", "another"])),
        ("aud", Value::Null),
        ("azp", json!("another")),
        ("azp", json!(7)),
        ("exp", json!(NOW - 31)),
        ("exp", json!("4102444800")),
        ("exp", Value::Null),
        ("iat", json!(NOW + 31)),
        ("iat", Value::Null),
        ("nbf", json!(NOW + 31)),
        ("nbf", json!("now")),
        ("nonce", json!("another")),
        ("nonce", json!("")),
        ("nonce", Value::Null),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", Value::Null),
    ] {
        let fault = judged(&issuer.sign(&with(name, value.clone())), &set);
        assert!(matches!(fault, Err(TokenFault::Wrong(_))), "{name} {value}: {fault:?}");
    }
}

#[test]
fn only_key_pairs_of_the_issuer_sign() {
    let issuer = Forger::new("k1");
    let set = json!({"keys": [issuer.jwk()]});
    let claims = claims("https://sso", "n", NOW);
    // Another key of the same name, and one of a name that is not there.
    assert_eq!(
        judged(&Forger::new("k1").sign(&claims), &set),
        Err(TokenFault::Wrong("its signature is not the issuer's"))
    );
    assert_eq!(judged(&Forger::new("k2").sign(&claims), &set), Err(TokenFault::UnknownKey));
    // A key that the token brings along is the token's own.
    let forger = Forger::new("k1");
    let brought = forger
        .sign_with(&json!({"alg": "ES256", "kid": "k1", "jwk": forger.jwk(), "jku": "https://evil/keys"}), &claims);
    assert!(judged(&brought, &set).is_err());
    // No signature at all, in every spelling.
    let body = base64(claims.to_string());
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let head = base64(json!({"alg": name, "kid": "k1"}).to_string());
        assert!(matches!(judged(&format!("{head}.{body}."), &set), Err(TokenFault::Wrong(_))), "{name}");
    }
    // A public key is no secret, in whatever form it is taken for one.
    let public = [issuer.jwk().to_string().into_bytes(), issuer.pair.public_key().as_ref().to_vec()];
    let as_secret = json!({"keys": [issuer.jwk(), {"kty": "oct", "kid": "k3", "k": base64(&public[1])}]});
    for (secret, kid) in [(&public[0], "k1"), (&public[1], "k1"), (&public[1], "k3")] {
        let message = format!("{}.{body}", base64(json!({"alg": "HS256", "kid": kid}).to_string()));
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
        mac.update(message.as_bytes());
        let token = format!("{message}.{}", base64(mac.finalize().into_bytes()));
        assert!(matches!(judged(&token, &as_secret), Err(TokenFault::Wrong(_))), "{kid}");
    }
    // A key for encryption signs nothing, nor one whose algorithm is another.
    for (name, value) in [("use", "enc"), ("alg", "ES384"), ("alg", "HS256"), ("alg", "RSA-OAEP")] {
        let mut jwk = issuer.jwk();
        jwk[name] = value.into();
        assert_eq!(judged(&issuer.sign(&claims), &json!({"keys": [jwk]})), Err(TokenFault::UnknownKey), "{name}");
    }
    // What must be understood and is not.
    let critical = json!({"alg": "ES256", "kid": "k1", "crit": ["exp2"], "exp2": 1});
    assert!(judged(&issuer.sign_with(&critical, &claims), &set).is_err());
    // Without a name of a key there has to be one only.
    let unnamed = issuer.sign_with(&json!({"alg": "ES256"}), &claims);
    assert!(judged(&unnamed, &set).is_ok());
    assert!(judged(&unnamed, &json!({"keys": [issuer.jwk(), Forger::new("k2").jwk()]})).is_err());
    // Only what the issuer says that it uses.
    let expected = Expected {
        issuer: "https://sso",
        audience: "slowburn",
        nonce: Some("n"),
        algorithms: &[Algorithm::RS256],
        now_s: NOW,
    };
    assert!(verify(&issuer.sign(&claims), &keys(&set), &expected).is_err());
}

#[test]
fn edwards_curves_are_taken_and_rubbish_panics_nobody() {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
    let set = json!({"keys": [
        7, {}, {"kty": "RSA", "n": "", "e": ""}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "!"}, {"kty": "EC"},
        {"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key()), "kid": "ed"},
    ]});
    let message = format!(
        "{}.{}",
        base64(json!({"alg": "EdDSA", "kid": "ed"}).to_string()),
        base64(claims("https://sso", "n", NOW).to_string())
    );
    let token = format!("{message}.{}", base64(pair.sign(message.as_bytes())));
    assert!(judged(&token, &set).is_ok());
    // A key that is none, of whatever kind the token says.
    for algorithm in ["RS256", "PS512", "ES256", "ES384", "EdDSA"] {
        let head = base64(json!({"alg": algorithm}).to_string());
        assert!(judged(&format!("{head}.e30.AAAA"), &set).is_err(), "{algorithm}");
    }
    for rubbish in ["", ".", "..", "...", "a.b.c", "e30.e30.", &"A".repeat(TOKEN_BYTES_MAX + 1), "\u{202e}.\0.é"] {
        assert!(judged(rubbish, &set).is_err());
        assert!(judged(rubbish, &Value::Null).is_err());
    }
    for cut in 0..token.len() {
        assert!(judged(&token[..cut], &set).is_err());
    }
}
