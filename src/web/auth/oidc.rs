//! How people sign in: authorisation code with PKCE at an OpenID Connect issuer (OpenID Connect Core 1.0, RFC 7636).
//!
//! Begun in a browser, a sign-in leads to the issuer and comes back to the same browser with a code, which is exchanged for
//! an ID token. What the configured claim of it says is looked up among the identities: the issuer proves who somebody is,
//! and the identities file says who that is here. Groups only take away: whoever signs in has the rights that both the file
//! and the groups give.
//!
//! Deliberately absent: people whom the file does not have. Who may approve is decided where it is reviewed, and a policy is
//! checked against it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::id_token::Claims;
use super::issuer::{Issuer, IssuerFault, error_word};
use super::session::{Begun, Session, Sessions};
use crate::gate::identity::{Identities, Identity};
use crate::gate::principal::{Principal, Right, Via};

/// Most codes that are exchanged at once; further ones wait a little.
const AT_ONCE: usize = 8;
/// So long.
const WAIT: Duration = Duration::from_secs(5);
/// Longest place on the page to come back to, bytes.
const TO_BYTES_MAX: usize = 512;
/// Longest subject, bytes.
const SUBJECT_BYTES_MAX: usize = 253;
/// Most groups of a person that are looked at.
const GROUPS_MAX: usize = 1_000;
/// Path that the issuer sends people back to.
pub const CALLBACK: &str = "/auth/callback";

/// What sign-in is made of.
pub struct SignInSettings {
    /// Where people prove who they are.
    pub issuer: Issuer,
    /// What seals their sessions.
    pub sessions: Sessions,
    /// Where people reach the page.
    pub page: Url,
    /// The claim that says which person it is.
    pub person_claim: String,
    /// Scopes besides `openid`.
    pub scopes: Vec<String>,
    /// The claim with groups, and what each may do.
    pub groups: Option<(String, BTreeMap<String, BTreeSet<Right>>)>,
}

/// Signs people in.
pub struct SignIn {
    settings: SignInSettings,
    redirect_uri: String,
    slots: Semaphore,
}

/// What the issuer sends back with a person; what else it sends is of no interest.
#[derive(Debug, Default, Deserialize)]
pub struct Answer {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// A sign-in that came to its end.
pub struct SignedIn {
    /// The cookie of the session.
    pub cookie: HeaderValue,
    /// Where on the page the person was.
    pub to: String,
    /// The name in the identities file.
    pub name: String,
}

/// Why nobody is signed in. One enum for log line, metric label and page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignInFault {
    /// This browser began no sign-in that this answers, or too long ago, or it was answered.
    Stale,
    /// The issuer cannot be asked.
    Unavailable(String),
    /// What it says proves nothing.
    Refused(String),
    /// It proves who somebody is who is nobody here: what it calls them, and by which claim.
    Unknown {
        /// Name of the claim.
        claim: String,
        /// What it says.
        who: String,
    },
}

impl SignInFault {
    /// As in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            SignInFault::Stale => "stale",
            SignInFault::Unavailable(_) => "unavailable",
            SignInFault::Refused(_) => "refused",
            SignInFault::Unknown { .. } => "unknown",
        }
    }
}

impl From<IssuerFault> for SignInFault {
    fn from(fault: IssuerFault) -> Self {
        match fault {
            IssuerFault::Unavailable(why) => SignInFault::Unavailable(why),
            IssuerFault::Refused(why) => SignInFault::Refused(why),
        }
    }
}

impl SignIn {
    /// People come back to `page`.
    pub fn new(settings: SignInSettings) -> Self {
        let redirect_uri = format!("{}{CALLBACK}", settings.page.as_str().trim_end_matches('/'));
        SignIn { settings, redirect_uri, slots: Semaphore::new(AT_ONCE) }
    }

    /// What seals sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.settings.sessions
    }

    /// Name of the issuer.
    pub fn issuer(&self) -> &str {
        self.settings.issuer.name()
    }

    /// Where a browser goes to sign in, and the cookie that it takes along. `to` is where on the page it was.
    ///
    /// # Errors
    /// The issuer cannot be asked where that is.
    pub async fn begin(&self, to: &str, now_ms: i64) -> Result<(String, HeaderValue), SignInFault> {
        let metadata = self.settings.issuer.metadata(now_ms).await?;
        let (sessions, unavailable) = (&self.settings.sessions, SignInFault::Unavailable);
        let word = || sessions.word().map_err(unavailable);
        let (state, nonce, verifier) = (word()?, word()?, word()?);
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let mut scopes = vec!["openid"];
        scopes.extend(self.settings.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid"));
        let Some(mut url) = metadata.authorization_endpoint.clone() else {
            return Err(unavailable("its configuration has no authorization_endpoint".into()));
        };
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", self.settings.issuer.client_id())
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let begun = Begun { state, nonce, verifier, to: place(to).to_owned(), at_s: now_ms.div_euclid(1000) };
        Ok((url.into(), sessions.begin(&begun).map_err(unavailable)?))
    }

    /// What comes of an answer of the issuer, in the browser whose headers these are.
    ///
    /// # Errors
    /// Nobody is signed in.
    pub async fn finish(
        &self,
        answer: &Answer,
        headers: &HeaderMap,
        identities: &Identities,
        now_ms: i64,
    ) -> Result<SignedIn, SignInFault> {
        let (issuer, sessions, now_s) = (&self.settings.issuer, &self.settings.sessions, now_ms.div_euclid(1000));
        let state = answer.state.as_deref().ok_or(SignInFault::Stale)?;
        let begun = sessions.begun(headers, state, now_s).ok_or(SignInFault::Stale)?;
        let metadata = issuer.metadata(now_ms).await?;
        let refused = |why: &str| SignInFault::Refused(why.to_owned());
        if answer.iss.as_deref().is_some_and(|by| by != issuer.name())
            || (metadata.names_itself && answer.iss.is_none())
        {
            return Err(refused("the answer is not of the issuer that was asked"));
        }
        if let Some(error) = &answer.error {
            return Err(SignInFault::Refused(format!("the issuer signs nobody in: {}", error_word(error))));
        }
        let code = answer.code.as_deref().ok_or_else(|| refused("the answer holds no code"))?;
        let slot = tokio::time::timeout(WAIT, self.slots.acquire()).await;
        let _slot = slot.map_err(|_| SignInFault::Unavailable("too many sign in at once".into()))?;
        let tokens = issuer.exchange(&metadata, code, &begun.verifier, &self.redirect_uri).await?;
        let mut claims = issuer.claims(&metadata, &tokens, &begun.nonce, now_ms).await?;
        let wanted =
            std::iter::once(&self.settings.person_claim).chain(self.settings.groups.iter().map(|(name, _)| name));
        if wanted.into_iter().any(|name| !claims.contains_key(name)) {
            let sub = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
            for (name, value) in issuer.userinfo(&metadata, &tokens, &sub).await? {
                claims.entry(name).or_insert(value);
            }
        }
        let who = self.who(&claims)?;
        let Some(identity) = identities.by_oidc_subject(who) else {
            return Err(SignInFault::Unknown { claim: self.settings.person_claim.clone(), who: who.to_owned() });
        };
        let cookie = sessions.start(who, self.rights(&claims), now_s).map_err(SignInFault::Unavailable)?;
        Ok(SignedIn { cookie, to: begun.to, name: identity.name.clone() })
    }

    /// What the issuer calls the person.
    fn who<'c>(&self, claims: &'c Claims) -> Result<&'c str, SignInFault> {
        let name = &self.settings.person_claim;
        let refused = |why: String| Err(SignInFault::Refused(why));
        let Some(who) = claims.get(name).and_then(Value::as_str) else {
            return refused(format!("the issuer does not say {name:?} of the person; a scope may be missing"));
        };
        if who.is_empty() || who.len() > SUBJECT_BYTES_MAX || who.chars().any(char::is_control) {
            return refused(format!("what the issuer says as {name:?} is nobody's name"));
        }
        // An address that nobody looked at may be anybody's.
        if name == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
            return refused("the issuer has not verified the e-mail address of the person".to_owned());
        }
        Ok(who)
    }

    /// What the groups of the person may do; `None` where groups say nothing.
    fn rights(&self, claims: &Claims) -> Option<BTreeSet<Right>> {
        let (name, rights) = self.settings.groups.as_ref()?;
        let groups: Vec<&str> = match claims.get(name) {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().take(GROUPS_MAX).filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        Some(groups.into_iter().filter_map(|group| rights.get(group)).flatten().copied().collect())
    }

    /// Who brings a session, and until when it lasts.
    pub fn signed_in<'i>(
        &self,
        headers: &HeaderMap,
        identities: &'i Identities,
        now_s: i64,
    ) -> Option<(&'i Identity, Session)> {
        let mut session = self.settings.sessions.session(headers, now_s)?;
        // A session from before groups were asked for has none.
        if self.settings.groups.is_some() && session.rights.is_none() {
            session.rights = Some(BTreeSet::new());
        }
        Some((identities.by_oidc_subject(&session.who)?, session))
    }
}

/// The principal that a person is who signed in: with the rights of the file, as far as the groups have them too.
pub fn principal(identities: &Identities, identity: &Identity, session: &Session) -> Principal {
    let mut principal = identities.principal(identity, Via::Oidc);
    if let Some(given) = &session.rights {
        let both = Right::ALL.into_iter().filter(|right| given.contains(right) && principal.has(*right)).collect();
        principal.rights = Some(both);
    }
    principal
}

/// A place on the page, and nowhere else: whoever made the link does not decide where people go.
pub fn place(to: &str) -> &str {
    let rest = to.strip_prefix('/');
    let on_page = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['?', '#']));
    let plain = to.len() <= TO_BYTES_MAX && to.bytes().all(|byte| byte.is_ascii_graphic());
    if on_page && plain { to } else { "/" }
}

/// Shared by the authenticator and whoever signs people in.
pub type SharedSignIn = Arc<SignIn>;

#[cfg(test)]
pub(in crate::web) mod tests;
