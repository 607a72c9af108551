//! Who is asking: bearer tokens, Kubernetes service accounts, people who signed in, client certificates.
//!
//! A credential is looked up among the identities that the operator wrote down; whoever is not among them is nobody,
//! whatever its credential. Nothing in a request's body says who sent it. Tokens are known by their SHA-256 only, and
//! are compared with every hash in full, so that time tells nothing.
//!
//! | credential | proves |
//! |---|---|
//! | `Authorization: Bearer TOKEN` whose hash stands in the identities file | that identity |
//! | `Authorization: Bearer TOKEN` that the API server knows, for our audience | the identity with that `k8s` subject |
//! | `Authorization: Bearer TOKEN` signed by an issuer of `auth.jwt`, for our audience | the identity with that `jwt_subjects` entry |
//! | the cookie of a sign-in (`oidc`) | the person with that `oidc_subjects` entry |
//! | a client certificate signed by `client_ca_file` | the identity with one of its DNS or URI names |
//!
//! A browser sends a cookie along with whatever any page makes it send. So a cookie opens reads, and what the page itself
//! posts; never a door that others ask through.
//!
//! Deliberately absent: a store of sessions. A cookie says by itself whose it is (`session`).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, RwLock};

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::tls::PeerNames;
use super::{Problem, Site, guard};
use crate::clock::Clock;
use crate::gate::identity::{Identities, Identity};
use crate::gate::principal::{Principal, Via};
use crate::telemetry::names;
pub use machine_token::MachineTokens;
use oidc::{SharedSignIn, SignIn};
use pace::Pace;
pub use review::TokenReview;

mod id_token;
pub mod issuer;
mod machine_token;
pub mod oidc;
mod pace;
mod review;
pub mod session;
#[cfg(test)]
pub(crate) mod tests;

/// SHA-256 of a token.
type TokenDigest = [u8; 32];

/// Longest bearer token, bytes: Kubernetes' are about a thousand.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Of so many requests of one machine, one may be for an explanation.
const EXPLAINS: u32 = 5;

/// Why a request has no principal. One enum for log line, metric label and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It brings no credential.
    Missing,
    /// Its credential is of nobody we know.
    Unknown,
    /// The header is no bearer token.
    Malformed,
    /// The API server, or the issuer of the token, does not answer, so nobody can say.
    Unavailable,
    /// It asks too often; again after so many seconds.
    TooFast(u64),
    /// No identities are configured, so nobody can be anybody.
    NotConfigured,
}

impl Fault {
    /// As in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Missing => "missing",
            Fault::Unknown => "unknown",
            Fault::Malformed => "malformed",
            Fault::Unavailable => "unavailable",
            Fault::TooFast(_) => "too_fast",
            Fault::NotConfigured => "not_configured",
        }
    }
}

/// Tells principals from credentials.
pub struct Authenticator {
    directory: RwLock<Arc<Directory>>,
    review: Option<TokenReview>,
    machine_tokens: Option<MachineTokens>,
    sign_in: Option<SharedSignIn>,
    pace: Mutex<Pace>,
    explains: Mutex<Pace>,
    clock: Clock,
    /// Whether those on other machines may read without a credential.
    reads_open: bool,
    hosts: Vec<String>,
}

/// The identities with the hashes of their tokens.
#[derive(Debug, Default)]
struct Directory {
    identities: Identities,
    tokens: Vec<(TokenDigest, usize)>,
}

/// What authentication is made of.
pub struct Settings {
    /// Everybody; `None` where no file is configured.
    pub identities: Identities,
    /// Asked for tokens that are not in the file.
    pub review: Option<TokenReview>,
    /// Whose tokens machines may bring.
    pub machine_tokens: Option<MachineTokens>,
    /// Where people sign in; `None`: nowhere.
    pub sign_in: Option<SignIn>,
    /// Requests of one principal a minute.
    pub per_minute: u32,
    /// Requests of one principal at once.
    pub burst: u32,
    /// Whether those on other machines may read without a credential.
    pub reads_open: bool,
    /// Names that this server is asked by, besides those that nobody else can own.
    pub hosts: Vec<String>,
}

impl Default for Settings {
    /// Nobody is known; reads are open to whoever reaches the port.
    fn default() -> Self {
        Settings {
            identities: Identities::default(),
            review: None,
            machine_tokens: None,
            sign_in: None,
            per_minute: 600,
            burst: 120,
            reads_open: true,
            hosts: Vec::new(),
        }
    }
}

impl Directory {
    fn new(identities: Identities) -> Self {
        let hash = |text: &String| -> Option<TokenDigest> {
            let byte = |i: usize| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok();
            (text.len() == 64).then(|| (0..32).map(byte).collect::<Option<Vec<u8>>>())??.try_into().ok()
        };
        let mut tokens = Vec::new();
        for (place, identity) in identities.all.iter().enumerate() {
            tokens.extend(identity.token_sha256.iter().filter_map(hash).map(|digest| (digest, place)));
        }
        Directory { identities, tokens }
    }

    /// Every hash is compared in full.
    fn by_token(&self, digest: &TokenDigest) -> Option<&Identity> {
        let mut found = None;
        for (known, place) in &self.tokens {
            let differs = known.iter().zip(digest).fold(0, |sum, (a, b)| sum | (a ^ b));
            if std::hint::black_box(differs) == 0 {
                found = Some(*place);
            }
        }
        found.map(|place| &self.identities.all[place])
    }
}

impl Authenticator {
    /// An authenticator whose limits run on `clock`.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        Authenticator {
            directory: RwLock::new(Arc::new(Directory::new(settings.identities))),
            review: settings.review,
            machine_tokens: settings.machine_tokens,
            sign_in: settings.sign_in.map(Arc::new),
            pace: Mutex::new(Pace::new(settings.per_minute, settings.burst)),
            clock,
            explains: Mutex::new(Pace::new(settings.per_minute.div_ceil(EXPLAINS), settings.burst.div_ceil(2))),
            reads_open: settings.reads_open,
            hosts: settings.hosts,
        }
    }

    /// Names that this server is asked by.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Takes one explanation of a machine from what it may ask for.
    ///
    /// # Errors
    /// It asked too often: who looks for a hole with explanations is held as one who is denied.
    pub fn explain(&self, principal: &Principal) -> Result<(), Fault> {
        if principal.class.is_human() {
            return Ok(());
        }
        let mut pace = self.explains.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pace.take(&principal.sub, self.clock.now_ms()).map_err(Fault::TooFast)
    }

    /// Other identities from now on.
    pub fn replace(&self, identities: Identities) {
        let fresh = Arc::new(Directory::new(identities));
        *self.directory.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
    }

    /// Whether anybody is known at all.
    pub fn knows_anybody(&self) -> bool {
        !self.directory().identities.all.is_empty()
    }

    /// The identities in force.
    pub fn identities(&self) -> Identities {
        self.directory().identities.clone()
    }

    fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Whoever signs people in.
    pub fn sign_in(&self) -> Option<&SignIn> {
        self.sign_in.as_deref()
    }

    /// Whoever reads, and until when a sign-in lasts.
    pub async fn known(&self, headers: &HeaderMap, peer: Option<&PeerNames>) -> Option<(Principal, Option<i64>)> {
        let principal = self.identify(headers, peer, Takes::AnyCookie).await.ok()?;
        let until_s = match (&self.sign_in, principal.via) {
            (Some(sign_in), Via::Oidc) => sign_in.sessions().session(headers, self.clock.now()).map(|one| one.until_s),
            _ => None,
        };
        Some((principal, until_s))
    }

    /// The principal behind a request that changes something, or is answered to one principal only. Cookies are of no
    /// account: see [`Authenticator::principal_of_page`].
    ///
    /// # Errors
    /// Why there is none.
    pub async fn principal(&self, headers: &HeaderMap, peer: Option<&PeerNames>) -> Result<Principal, Fault> {
        self.paced(headers, peer, Takes::NoCookie).await
    }

    /// The same where the page itself asks: whoever signed in counts, too.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn principal_of_page(&self, headers: &HeaderMap, peer: Option<&PeerNames>) -> Result<Principal, Fault> {
        self.paced(headers, peer, Takes::CookieOfOwnPage).await
    }

    async fn paced(&self, headers: &HeaderMap, peer: Option<&PeerNames>, takes: Takes) -> Result<Principal, Fault> {
        let found = self.identify(headers, peer, takes).await;
        counted(found.and_then(|principal| self.pace(&principal.sub).map(|()| principal)))
    }

    /// The principal behind a request that tells what others do, as an API server's reviews do: one that may act as `name` is
    /// not held to the pace of any one of them. Whoever may not is held as everywhere.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn speaker(&self, headers: &HeaderMap, peer: Option<&PeerNames>, name: &str) -> Result<Principal, Fault> {
        let found = self.identify(headers, peer, Takes::NoCookie).await;
        counted(found.and_then(|principal| match principal.actor(Some(name)) {
            Some(_) => Ok(principal),
            None => self.pace(&principal.sub).map(|()| principal),
        }))
    }

    /// Takes one request of the identity `name` from what it may ask for.
    ///
    /// # Errors
    /// It asked too often.
    pub fn pace(&self, name: &str) -> Result<(), Fault> {
        let mut pace = self.pace.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pace.take(name, self.clock.now_ms()).map_err(Fault::TooFast)
    }

    async fn identify(&self, headers: &HeaderMap, peer: Option<&PeerNames>, takes: Takes) -> Result<Principal, Fault> {
        let directory = self.directory();
        if directory.identities.all.is_empty() {
            return Err(Fault::NotConfigured);
        }
        // A credential that is brought decides; a certificate does not make up for a wrong token.
        if let Some(token) = bearer(headers)? {
            let digest: TokenDigest = Sha256::digest(token.as_bytes()).into();
            if let Some(identity) = directory.by_token(&digest) {
                return Ok(directory.identities.principal(identity, Via::Token));
            }
            if let Some(tokens) = &self.machine_tokens
                && let Some(said) = tokens.principal(token, &directory.identities, self.clock.now_ms()).await
            {
                return said;
            }
            let Some(review) = &self.review else { return Err(Fault::Unknown) };
            let user = review.user_of(token, digest, self.clock.now_ms()).await?;
            let identity = directory.identities.by_k8s_subject(&user).ok_or(Fault::Unknown)?;
            return Ok(directory.identities.principal(identity, Via::TokenReview));
        }
        // Whoever signed in chose to be that person; a certificate is sent by itself.
        let signed_in = self.sign_in.as_ref().filter(|_| takes.cookie_of(headers));
        let signed_in =
            signed_in.and_then(|sign_in| sign_in.signed_in(headers, &directory.identities, self.clock.now()));
        if let Some((identity, session)) = signed_in {
            return Ok(oidc::principal(&directory.identities, identity, &session));
        }
        let names = peer.map_or(&[][..], |peer| &peer.0);
        if names.is_empty() {
            return Err(Fault::Missing);
        }
        let mut known = names.iter().filter_map(|name| directory.identities.by_mtls_name(name));
        let first = known.next().ok_or(Fault::Unknown)?;
        // A certificate that names two of us is nobody's.
        if known.any(|other| other.name != first.name) {
            return Err(Fault::Unknown);
        }
        Ok(directory.identities.principal(first, Via::Mtls))
    }
}

/// Which cookies of a sign-in are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Of whatever reads.
    AnyCookie,
    /// Of what the page itself sent.
    CookieOfOwnPage,
    /// None.
    NoCookie,
}

impl Takes {
    fn cookie_of(self, headers: &HeaderMap) -> bool {
        match self {
            Takes::AnyCookie => true,
            Takes::CookieOfOwnPage => session::of_own_page(headers),
            Takes::NoCookie => false,
        }
    }
}

/// What the page sends to.
const PAGE: &str = "/v1/";

/// Counts why nobody is known.
fn counted(principal: Result<Principal, Fault>) -> Result<Principal, Fault> {
    if let Err(fault) = &principal {
        metrics::counter!(names::AUTH_FAILURES_TOTAL, "reason" => fault.as_str()).increment(1);
    }
    principal
}

/// The token of `Authorization: Bearer`; `None` without the header.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Fault::Malformed);
    }
    let text = value.to_str().map_err(|_| Fault::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Fault::Malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(Fault::Malformed);
    }
    Ok(Some(token))
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, error, hint) = match self {
            Fault::Missing => (
                StatusCode::UNAUTHORIZED,
                "this request needs to know who is asking",
                "Send Authorization: Bearer TOKEN, or a client certificate; with a browser, sign in at /auth/sign-in where auth.oidc is set.",
            ),
            Fault::Unknown => (
                StatusCode::UNAUTHORIZED,
                "this credential is of nobody known here",
                "Its hash, subject or name has to stand in the identities file.",
            ),
            Fault::Malformed => (
                StatusCode::UNAUTHORIZED,
                "the Authorization header is no bearer token",
                "Send one header: Authorization: Bearer TOKEN.",
            ),
            Fault::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "whoever knows this token does not answer: the API server, or its issuer",
                "Take it for a refusal, and ask again later.",
            ),
            Fault::TooFast(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests of this principal",
                "Wait as long as Retry-After says.",
            ),
            Fault::NotConfigured => (
                StatusCode::UNAUTHORIZED,
                "no identities are configured, so nobody can decide, approve or halt anything",
                "Name an identities file: auth.identities in the settings, or --identities FILE.",
            ),
        };
        let mut answer = Problem::new(status, error, hint).into_response();
        let headers = answer.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"slowburn\""));
        }
        if let Fault::TooFast(seconds) = self {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

/// Extractor: the principal behind a request.
pub struct Caller(pub Principal);

impl FromRequestParts<Site> for Caller {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Fault> {
        let peer = parts.extensions.get::<PeerNames>();
        let auth = &site.app.auth;
        match parts.uri.path().starts_with(PAGE) {
            true => auth.principal_of_page(&parts.headers, peer).await.map(Caller),
            false => auth.principal(&parts.headers, peer).await.map(Caller),
        }
    }
}

/// Paths that people need before anybody knows who they are.
const SIGN_IN: [&str; 4] = ["/auth/sign-in", oidc::CALLBACK, "/auth/session", "/auth/sign-out"];

/// Layer: those on other machines read only with a credential, unless reads are open to all.
pub async fn guard_reads(State(auth): State<Arc<Authenticator>>, request: Request, next: Next) -> Response {
    let local = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .is_some_and(|ConnectInfo(peer)| guard::is_local(*peer, request.headers()));
    let path = request.uri().path();
    if local || auth.reads_open || guard::OPEN.contains(&path) || SIGN_IN.contains(&path) {
        return next.run(request).await;
    }
    let is_page = path == "/" && request.method() == Method::GET;
    let (headers, peer) = (request.headers().clone(), request.extensions().get::<PeerNames>().cloned());
    match (auth.identify(&headers, peer.as_ref(), Takes::AnyCookie).await, auth.sign_in()) {
        (Ok(_), _) => next.run(request).await,
        (Err(Fault::Missing), Some(sign_in)) if is_page => super::sign_in::invitation(sign_in),
        (Err(fault), _) => fault.into_response(),
    }
}
