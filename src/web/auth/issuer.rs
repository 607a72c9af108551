//! An issuer of tokens over HTTP: what it says of itself, its keys, and what an OpenID Connect issuer gives for a code.
//!
//! Every answer is bounded in size and time. What it says of itself and its keys are kept, and read again after an hour, or
//! when a token names a key that is not known, at most every half minute. An issuer that fails to answer changes nothing of
//! what is known of it, and nothing here stands in the way of whoever has a token or a certificate.
//!
//! Deliberately absent: who a person is to us (`oidc`), and access to anything at the issuer but a person's own claims.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use reqwest::{RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::id_token::{self, Claims, Expected, IssuerKey, TokenFault};
use crate::outbound::{SecretSource, Transport};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer, bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// What is known is read again after so long.
const KEPT_MS: i64 = 3_600_000;
/// Keys are read again at most so often because a token names another, and an issuer that did not answer is asked again.
const AGAIN_MS: i64 = 30_000;
/// The same after a failure, while nothing is known at all.
const FAILED_MS: i64 = 3_000;

/// Why nobody is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerFault {
    /// The issuer does not answer, or not as an issuer does; for people.
    Unavailable(String),
    /// It answers no, or something that proves nothing; for people.
    Refused(String),
}

/// What an issuer says of itself.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Where people sign in; issuers of tokens for machines have no such place.
    pub authorization_endpoint: Option<Url>,
    /// Whether its answers say who gave them (RFC 9207).
    pub names_itself: bool,
    token_endpoint: Option<Url>,
    jwks_uri: Url,
    userinfo_endpoint: Option<Url>,
    takes_basic: bool,
    algorithms: Vec<Algorithm>,
}

/// What a code was exchanged for.
pub struct Tokens {
    id_token: SecretString,
    access_token: Option<SecretString>,
}

/// How an issuer is asked.
pub struct Issuer {
    name: String,
    client_id: String,
    secret: Option<SecretSource>,
    transport: Transport,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    metadata: Option<(Arc<Metadata>, i64)>,
    /// When it was asked in vain.
    failed_ms: Option<(i64, String)>,
    keys: Arc<[IssuerKey]>,
    /// When keys were asked for.
    keys_ms: Option<i64>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    id_token_signing_alg_values_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: SecretString,
    access_token: Option<SecretString>,
}

impl Issuer {
    /// An issuer of this name, whose tokens are for `client_id`; `secret` is ours there.
    pub fn new(name: String, client_id: String, secret: Option<SecretSource>, transport: Transport) -> Self {
        Issuer { name, client_id, secret, transport, known: Mutex::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Our name there.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It never did, and does not now.
    pub async fn metadata(&self, now_ms: i64) -> Result<Arc<Metadata>, IssuerFault> {
        let mut known = self.known.lock().await;
        let fresh = |at_ms: i64, lasts_ms: i64| (0..lasts_ms).contains(&(now_ms - at_ms));
        let kept = known.metadata.clone();
        if let Some((metadata, _)) = kept.as_ref().filter(|(_, at_ms)| fresh(*at_ms, KEPT_MS)) {
            return Ok(Arc::clone(metadata));
        }
        let pause_ms = if kept.is_some() { AGAIN_MS } else { FAILED_MS };
        let why = match &known.failed_ms {
            Some((at_ms, why)) if fresh(*at_ms, pause_ms) => why.clone(),
            _ => match self.discover().await {
                Ok(metadata) => {
                    let metadata = Arc::new(metadata);
                    known.metadata = Some((Arc::clone(&metadata), now_ms));
                    known.failed_ms = None;
                    return Ok(metadata);
                }
                Err(why) => {
                    tracing::warn!(issuer = self.name, why, "the issuer of tokens cannot be asked");
                    known.failed_ms = Some((now_ms, why.clone()));
                    why
                }
            },
        };
        kept.map(|(metadata, _)| metadata).ok_or(IssuerFault::Unavailable(why))
    }

    async fn discover(&self) -> Result<Metadata, String> {
        let url = format!("{}/.well-known/openid-configuration", self.name.trim_end_matches('/'));
        let url: Url = url.parse().map_err(|_| "its name is no URL")?;
        let (status, body) = self.answer(self.transport.client().get(url)).await?;
        if status != StatusCode::OK {
            return Err(format!("its configuration is answered with {}", status.as_u16()));
        }
        let said: Discovery = serde_json::from_slice(&body).map_err(|_| "its configuration cannot be read")?;
        if said.issuer != self.name {
            return Err("its configuration names another issuer".into());
        }
        let plain = self.name.starts_with("http://");
        let endpoint = |text: &str| {
            let url = text.parse::<Url>().ok().filter(|url| url.scheme() == "https" || plain && url.scheme() == "http");
            url.filter(|url| url.has_host() && url.fragment().is_none())
                .ok_or("an address in its configuration cannot be used")
        };
        if said.code_challenge_methods_supported.is_some_and(|all| !all.iter().any(|one| one == "S256")) {
            return Err("it does not take PKCE with S256".into());
        }
        let named = said.id_token_signing_alg_values_supported.unwrap_or_default();
        let methods = said.token_endpoint_auth_methods_supported;
        Ok(Metadata {
            authorization_endpoint: said.authorization_endpoint.map(|text| endpoint(&text)).transpose()?,
            token_endpoint: said.token_endpoint.map(|text| endpoint(&text)).transpose()?,
            jwks_uri: endpoint(&said.jwks_uri)?,
            userinfo_endpoint: said.userinfo_endpoint.map(|text| endpoint(&text)).transpose()?,
            // What holds where nothing is said.
            takes_basic: methods.is_none_or(|all| all.iter().any(|one| one == "client_secret_basic")),
            algorithms: named.iter().filter_map(|name| name.parse().ok()).collect(),
            names_itself: said.authorization_response_iss_parameter_supported,
        })
    }

    /// Exchanges a code.
    ///
    /// # Errors
    /// The issuer does not answer, or refuses the code: it was used before, is too old, or of another client.
    pub async fn exchange(
        &self,
        metadata: &Metadata,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<Tokens, IssuerFault> {
        let mut form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", redirect_uri.to_owned()),
            ("code_verifier", verifier.to_owned()),
        ];
        let Some(url) = metadata.token_endpoint.clone() else {
            return Err(IssuerFault::Unavailable("its configuration has no token_endpoint".into()));
        };
        let mut request = self.transport.client().post(url);
        let secret = self.secret.as_ref().map(|read| read()).transpose().map_err(IssuerFault::Unavailable)?;
        match secret {
            Some(secret) if metadata.takes_basic => {
                // Both are form-encoded first: RFC 6749, 2.3.1.
                let encoded = |text: &str| {
                    let mut url: Url = "http://a".parse().expect("a constant URL");
                    url.query_pairs_mut().append_pair("", text);
                    url.query().unwrap_or_default().trim_start_matches('=').to_owned()
                };
                request = request.basic_auth(encoded(&self.client_id), Some(encoded(secret.expose_secret())));
            }
            Some(secret) => {
                form.push(("client_id", self.client_id.clone()));
                form.push(("client_secret", secret.expose_secret().to_owned()));
            }
            None => form.push(("client_id", self.client_id.clone())),
        }
        let (status, body) = self.answer(request.form(&form)).await.map_err(IssuerFault::Unavailable)?;
        if status.is_server_error() {
            return Err(IssuerFault::Unavailable(format!("a code is answered with {}", status.as_u16())));
        }
        if status != StatusCode::OK {
            let said: Value = serde_json::from_slice(&body).unwrap_or_default();
            let word = error_word(said["error"].as_str().unwrap_or_default());
            return Err(IssuerFault::Refused(format!("the issuer refuses the code: {word}")));
        }
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| IssuerFault::Refused("the issuer gives no ID token for the code".into()))?;
        Ok(Tokens { id_token: answer.id_token, access_token: answer.access_token })
    }

    /// What the ID token says, once it is proved.
    ///
    /// # Errors
    /// It proves nothing, or the keys cannot be read.
    pub async fn claims(
        &self,
        metadata: &Metadata,
        tokens: &Tokens,
        nonce: &str,
        now_ms: i64,
    ) -> Result<Claims, IssuerFault> {
        self.proved(metadata, tokens.id_token.expose_secret(), Some(nonce), now_ms).await
    }

    /// What a token says that a machine brings, once it is proved.
    ///
    /// # Errors
    /// As [`Issuer::claims`].
    pub async fn machine_claims(&self, token: &str, now_ms: i64) -> Result<Claims, IssuerFault> {
        let metadata = self.metadata(now_ms).await?;
        self.proved(&metadata, token, None, now_ms).await
    }

    async fn proved(
        &self,
        metadata: &Metadata,
        token: &str,
        nonce: Option<&str>,
        now_ms: i64,
    ) -> Result<Claims, IssuerFault> {
        let expected = Expected {
            issuer: &self.name,
            audience: &self.client_id,
            nonce,
            algorithms: &metadata.algorithms,
            now_s: now_ms.div_euclid(1000),
        };
        let wrong = |fault: TokenFault| {
            let why = match fault {
                TokenFault::UnknownKey => "it is signed with a key that the issuer does not have",
                TokenFault::Wrong(why) => why,
            };
            IssuerFault::Refused(format!("the token proves nothing: {why}"))
        };
        let keys = self.keys(metadata, now_ms, KEPT_MS).await?;
        match id_token::verify(token, &keys, &expected) {
            Err(TokenFault::UnknownKey) => {
                // The issuer may have changed its keys.
                let keys = self.keys(metadata, now_ms, AGAIN_MS).await?;
                id_token::verify(token, &keys, &expected).map_err(wrong)
            }
            said => said.map_err(wrong),
        }
    }

    /// Its keys, not older than `kept_ms` where it answers.
    async fn keys(&self, metadata: &Metadata, now_ms: i64, kept_ms: i64) -> Result<Arc<[IssuerKey]>, IssuerFault> {
        let mut known = self.known.lock().await;
        if known.keys_ms.is_some_and(|at_ms| (0..kept_ms).contains(&(now_ms - at_ms))) {
            return Ok(Arc::clone(&known.keys));
        }
        known.keys_ms = Some(now_ms);
        let read = self.read_keys(metadata).await;
        match read {
            Ok(keys) => known.keys = keys.into(),
            // Those of before hold; a first failure is told, and the next sign-in asks again.
            Err(why) if known.keys.is_empty() => {
                known.keys_ms = None;
                return Err(IssuerFault::Unavailable(why));
            }
            Err(why) => tracing::warn!(issuer = self.name, why, "the issuer's keys cannot be read again"),
        }
        Ok(Arc::clone(&known.keys))
    }

    async fn read_keys(&self, metadata: &Metadata) -> Result<Vec<IssuerKey>, String> {
        let (status, body) = self.answer(self.transport.client().get(metadata.jwks_uri.clone())).await?;
        if status != StatusCode::OK {
            return Err(format!("its keys are answered with {}", status.as_u16()));
        }
        let set: Value = serde_json::from_slice(&body).map_err(|_| "its keys cannot be read")?;
        match id_token::keys(&set) {
            keys if keys.is_empty() => Err("it has no keys that are of use here".into()),
            keys => Ok(keys),
        }
    }

    /// Further claims of a person, which many issuers do not put into ID tokens.
    ///
    /// # Errors
    /// The issuer does not answer, or answers about somebody else.
    pub async fn userinfo(&self, metadata: &Metadata, tokens: &Tokens, sub: &str) -> Result<Claims, IssuerFault> {
        let (Some(url), Some(token)) = (&metadata.userinfo_endpoint, &tokens.access_token) else {
            return Ok(Claims::new());
        };
        let request = self.transport.client().get(url.clone()).bearer_auth(token.expose_secret());
        let (status, body) = self.answer(request).await.map_err(IssuerFault::Unavailable)?;
        if status != StatusCode::OK {
            return Err(IssuerFault::Unavailable(format!("a person's claims are answered with {}", status.as_u16())));
        }
        let claims: Claims = serde_json::from_slice(&body)
            .map_err(|_| IssuerFault::Refused("the claims of the person cannot be read".into()))?;
        match claims.get("sub").and_then(Value::as_str) {
            Some(own) if own == sub => Ok(claims),
            _ => Err(IssuerFault::Refused("the claims are of another person than the ID token".into())),
        }
    }

    /// Status and body of an answer. No error holds anything of either side.
    async fn answer(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), String> {
        let said = |error: reqwest::Error| match error.is_timeout() {
            true => "it does not answer in time".to_owned(),
            false => format!("it cannot be asked: {}", error.without_url()),
        };
        let mut answer = request.header("accept", "application/json").timeout(TIMEOUT).send().await.map_err(said)?;
        let (status, mut bytes) = (answer.status(), Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(said)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err("its answer is too long".into());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((status, bytes))
    }
}

/// A word for an error as OAuth has them; anything else is not repeated.
pub fn error_word(text: &str) -> &str {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if fits { text } else { "it does not say why" }
}
