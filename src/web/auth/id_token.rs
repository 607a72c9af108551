//! Signed tokens (RFC 7519), a person's ID token of OpenID Connect among them: who signed one, for whom, when. Reading and the rules for signatures are jsonwebtoken's,
//! the arithmetic is ring's, which this process has for TLS already.
//!
//! Pure; keys and the moment are arguments. Only signatures of key pairs count: a token "signed" with a secret, with our
//! own or with a public key as the secret, is none. Times are judged here and not by the crate, because the clock is ours.
//!
//! Deliberately absent: encrypted tokens, and keys that a token brings along or points to.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey, Validation};
use ring::signature as ring_signature;
use serde_json::{Map, Value};

use super::session::same;

/// Longest token, bytes.
const TOKEN_BYTES_MAX: usize = 32 * 1024;
/// Most keys of an issuer.
const KEYS_MAX: usize = 100;
/// So far may clocks differ, seconds.
const LEEWAY_S: f64 = 30.0;
/// Algorithms that are taken.
const TAKEN: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What a token says.
pub type Claims = Map<String, Value>;

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenFault {
    /// No key of the issuer that is known is the one it names: there may be newer ones.
    UnknownKey,
    /// Something in it is not as it has to be.
    Wrong(&'static str),
}

/// A public key of the issuer.
#[derive(Debug, Clone)]
pub struct IssuerKey {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// What a token is held against.
pub struct Expected<'a> {
    /// Who has to have issued it.
    pub issuer: &'a str,
    /// For whom.
    pub audience: &'a str,
    /// What was sent when the sign-in began; `None`: it is no answer to a sign-in, but what a machine brings.
    pub nonce: Option<&'a str>,
    /// Algorithms that the issuer says it signs with; empty: it does not say.
    pub algorithms: &'a [Algorithm],
    /// Now.
    pub now_s: i64,
}

/// The keys of a JWK set that signatures are checked with; those that are of no use here are left out.
pub fn keys(set: &Value) -> Vec<IssuerKey> {
    let all = set["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().take(KEYS_MAX).filter_map(key).collect()
}

fn key(value: &Value) -> Option<IssuerKey> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let signs = match (&jwk.common.public_key_use, &jwk.common.key_operations) {
        (Some(purpose), _) => *purpose == PublicKeyUse::Signature,
        (None, Some(operations)) => operations.contains(&KeyOperations::Verify),
        (None, None) => true,
    };
    // A secret in a public set is no secret.
    let is_pair = !matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_));
    let algorithm = match jwk.common.key_algorithm {
        None => None,
        Some(known) => Some(Algorithm::try_from(known).ok().filter(|one| TAKEN.contains(one))?),
    };
    let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| signs && is_pair)?;
    Some(IssuerKey { kid: jwk.common.key_id, algorithm, key })
}

/// What `token` says, where it is what is expected.
///
/// # Errors
/// What about it is wrong. Nothing of the token stands in it.
pub fn verify(token: &str, keys: &[IssuerKey], expected: &Expected<'_>) -> Result<Claims, TokenFault> {
    use TokenFault::Wrong;
    install();
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Wrong("it is too long"));
    }
    let head =
        jsonwebtoken::decode_header(token).map_err(|_| Wrong("it is no token with a signature that is taken"))?;
    let by_issuer = expected.algorithms.is_empty() || expected.algorithms.contains(&head.alg);
    if !TAKEN.contains(&head.alg) || !by_issuer {
        return Err(Wrong("its signature is of a kind that is not taken"));
    }
    let fits = |known: &&IssuerKey| {
        known.key.family() == head.alg.family()
            && known.algorithm.is_none_or(|algorithm| algorithm == head.alg)
            && head.kid.as_ref().is_none_or(|kid| known.kid.as_ref() == Some(kid))
    };
    let mut fitting = keys.iter().filter(fits);
    let key = fitting.next().ok_or(TokenFault::UnknownKey)?;
    if head.kid.is_none() && fitting.next().is_some() {
        return Err(Wrong("it does not say which of the issuer's keys signed it"));
    }
    let mut rules = Validation::new(head.alg);
    rules.set_issuer(&[expected.issuer]);
    rules.set_audience(&[expected.audience]);
    rules.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    rules.validate_exp = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &rules).map_err(|error| said(&error))?.claims;
    let moment = |name: &str| claims.get(name).and_then(Value::as_f64).filter(|at| at.is_finite());
    let now = expected.now_s as f64;
    match moment("exp") {
        Some(until) if now < until + LEEWAY_S => {}
        _ => return Err(Wrong("it is not valid any more")),
    }
    match moment("iat") {
        Some(at) if at <= now + LEEWAY_S => {}
        _ => return Err(Wrong("it was issued in the future, or does not say when")),
    }
    if claims.contains_key("nbf") && moment("nbf").is_none_or(|from| from > now + LEEWAY_S) {
        return Err(Wrong("it is not valid yet"));
    }
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // One issuer, to the letter: the crate takes a list, too, of which one is right.
    if text("iss") != Some(expected.issuer) {
        return Err(Wrong("another issuer issued it"));
    }
    if let Some(nonce) = expected.nonce {
        let several = claims.get("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
        match (claims.get("azp"), text("azp")) {
            (None, _) if !several => {}
            (Some(_), Some(party)) if party == expected.audience => {}
            _ => return Err(Wrong("it was issued to another client")),
        }
        if !text("nonce").is_some_and(|own| same(own, nonce)) {
            return Err(Wrong("it is not the answer to this sign-in"));
        }
    }
    if text("sub").is_none_or(str::is_empty) {
        return Err(Wrong("it is of nobody"));
    }
    Ok(claims)
}

fn said(error: &Error) -> TokenFault {
    TokenFault::Wrong(match error.kind() {
        ErrorKind::InvalidSignature => "its signature is not the issuer's",
        ErrorKind::InvalidIssuer => "another issuer issued it",
        ErrorKind::InvalidAudience => "it was issued for somebody else",
        ErrorKind::MissingRequiredClaim(_) => "it lacks a claim that every such token has",
        _ => "it cannot be read",
    })
}

/// Makes ring what jsonwebtoken calculates with, once in a process.
fn install() {
    static ONCE: Once = Once::new();
    static RING: CryptoProvider = CryptoProvider {
        signer_factory: no_signer,
        verifier_factory: verifier,
        key_utils: KeyUtils {
            rsa_pub_components_from_private_key: |_| Err(ErrorKind::UnsupportedAlgorithm.into()),
            rsa_pub_components_from_public_key: |_| Err(ErrorKind::UnsupportedAlgorithm.into()),
            ec_pub_components_from_private_key: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
            ed_pub_components_from_private_key: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
            compute_digest: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        },
    };
    ONCE.call_once(|| {
        // Whoever was first is as good.
        let _ = RING.install_default();
    });
}

/// Nothing is signed here.
fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    if key.family() != algorithm.family() || key.family() == AlgorithmFamily::Hmac {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() }))
}

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], given: &Vec<u8>) -> Result<(), signature::Error> {
        let rsa = match self.algorithm {
            Algorithm::RS256 => Some(&ring_signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => Some(&ring_signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => Some(&ring_signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => Some(&ring_signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => Some(&ring_signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => Some(&ring_signature::RSA_PSS_2048_8192_SHA512),
            _ => None,
        };
        let other: Option<&dyn ring_signature::VerificationAlgorithm> = match self.algorithm {
            Algorithm::ES256 => Some(&ring_signature::ECDSA_P256_SHA256_FIXED),
            Algorithm::ES384 => Some(&ring_signature::ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDSA => Some(&ring_signature::ED25519),
            _ => None,
        };
        let verified = match (self.key.kind(), rsa, other) {
            (DecodingKeyKind::RsaModulusExponent { n, e }, Some(rsa), _) => {
                let key = ring_signature::RsaPublicKeyComponents { n: significant(n), e: significant(e) };
                key.verify(rsa, message, given)
            }
            (DecodingKeyKind::SecretOrDer(key), _, Some(other)) => {
                ring_signature::UnparsedPublicKey::new(other, key).verify(message, given)
            }
            _ => Err(ring::error::Unspecified),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

/// A number without the zeros that some issuers write before it, and which ring does not take.
fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

#[cfg(test)]
pub(in crate::web) mod tests;
