//! How people sign in and out with a browser.
//!
//! | request | answer |
//! |---|---|
//! | `GET /auth/sign-in[?to=/#slo-ID]` | leads to the issuer |
//! | `GET /auth/callback` | where the issuer sends people back to: begins a session, leads to the page |
//! | `GET /auth/session` | who is asking, and whether people can sign in here |
//! | `POST /auth/sign-out` | ends the session |
//!
//! Who follows a link here sees a page, so faults are told in HTML. Signing in changes nothing for anybody else: whoever is
//! made to begin one by another site ends up as themselves, as an answer is only taken by the browser that asked for it.
//!
//! Deliberately absent: signing out at the issuer. Its session is its own, and shared with others.

use std::sync::LazyLock;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::auth::oidc::{Answer, SignIn, SignInFault};
use super::json::Json;
use super::page::escape;
use super::tls::PeerNames;
use super::{Problem, Site};
use crate::telemetry::names;

const STYLE: &str = include_str!("sign_in/page.css");
const SCRIPT: &str = include_str!("sign_in/page.js");
const DOCUMENT: &str = include_str!("sign_in/page.html");

/// The content policy of a page about signing in.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// The query of `GET /auth/sign-in`.
#[derive(Debug, Default, Deserialize)]
pub struct Begin {
    to: Option<String>,
}

/// `GET /auth/sign-in`.
pub async fn begin(State(site): State<Site>, query: Result<Query<Begin>, QueryRejection>) -> Response {
    let Some(sign_in) = site.app.auth.sign_in() else { return absent() };
    let to = query.ok().and_then(|Query(query)| query.to).unwrap_or_default();
    match sign_in.begin(&to, site.app.clock.now_ms()).await {
        Ok((url, cookie)) => redirect(&url, [cookie]),
        Err(fault) => told(sign_in, &fault),
    }
}

/// `GET /auth/callback`.
pub async fn callback(
    State(site): State<Site>,
    headers: HeaderMap,
    query: Result<Query<Answer>, QueryRejection>,
) -> Response {
    let Some(sign_in) = site.app.auth.sign_in() else { return absent() };
    let answer = query.map(|Query(answer)| answer).unwrap_or_default();
    let identities = site.app.auth.identities();
    let finished = sign_in.finish(&answer, &headers, &identities, site.app.clock.now_ms()).await;
    let result = finished.as_ref().map_or_else(|fault| fault.as_str(), |_| "signed_in");
    metrics::counter!(names::SIGN_INS_TOTAL, "result" => result).increment(1);
    match finished {
        Ok(signed_in) => {
            tracing::info!(name = signed_in.name, "signed in");
            let gone = sign_in.sessions().forget_sign_in().ok();
            redirect(&signed_in.to, [Some(signed_in.cookie), gone].into_iter().flatten())
        }
        Err(fault) => told(sign_in, &fault),
    }
}

/// `GET /auth/session`.
pub async fn session(State(site): State<Site>, peer: Option<Extension<PeerNames>>, headers: HeaderMap) -> Response {
    let auth = &site.app.auth;
    let person = auth.known(&headers, peer.as_ref().map(|Extension(names)| names)).await.map(|(principal, until_s)| {
        let until = until_s.and_then(|at| jiff::Timestamp::from_second(at).ok()).map(|at| at.to_string());
        let rights: Vec<&str> = crate::gate::Right::ALL
            .into_iter()
            .filter(|right| principal.has(*right))
            .map(|right| right.as_str())
            .collect();
        json!({
            "name": principal.sub, "class": principal.class, "teams": principal.teams, "rights": rights,
            "via": principal.via, "until": until,
        })
    });
    Json(&json!({"issuer": auth.sign_in().map(|sign_in| sign_in.issuer()), "person": person})).into_response()
}

/// `POST /auth/sign-out`.
pub async fn sign_out(State(site): State<Site>, headers: HeaderMap) -> Response {
    let Some(sign_in) = site.app.auth.sign_in() else { return absent() };
    match sign_in.sessions().end(&headers, site.app.clock.now()) {
        Ok(cookie) => {
            let mut answer = Json(&json!({"signed_out": true})).into_response();
            answer.headers_mut().append(header::SET_COOKIE, cookie);
            answer
        }
        Err(why) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why, "Close the browser.").into_response(),
    }
}

/// What a browser sees that asks for the page and may not read it: a way to sign in.
pub fn invitation(sign_in: &SignIn) -> Response {
    let text = format!("Whoever reads this page signs in at {}.", sign_in.issuer());
    page(StatusCode::UNAUTHORIZED, "Slowburn", &text, "A token or a client certificate is taken as well.")
}

fn absent() -> Response {
    let hint = "auth.oidc in the settings says where people sign in; without it they bring a token or a certificate.";
    Problem::new(StatusCode::NOT_FOUND, "nobody signs in here", hint).into_response()
}

fn redirect(to: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    let Ok(to) = HeaderValue::from_str(to) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut answer = (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response();
    for cookie in cookies {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}

fn told(sign_in: &SignIn, fault: &SignInFault) -> Response {
    let (status, text, hint) = match fault {
        SignInFault::Stale => (
            StatusCode::BAD_REQUEST,
            "This is no answer to a sign-in that this browser began in the last ten minutes.".to_owned(),
            "Sign in again; a sign-in in another tab ends the one before it.",
        ),
        SignInFault::Unavailable(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{} cannot be asked who you are: {why}.", sign_in.issuer()),
            "Until it can, a token or a client certificate is taken as before; the log of the server has this too.",
        ),
        SignInFault::Refused(why) => (
            StatusCode::FORBIDDEN,
            format!("You are not signed in: {why}."),
            "Sign in again; if that does not help, the settings auth.oidc do not fit the issuer.",
        ),
        SignInFault::Unknown { claim, who } => (
            StatusCode::FORBIDDEN,
            format!("{} says that you are {claim} {who:?}, who is nobody here.", sign_in.issuer()),
            "Whoever keeps the identities file can write that into oidc_subjects of your name.",
        ),
    };
    match fault {
        // Whoever calls the address without having begun anything is of no interest.
        SignInFault::Stale => tracing::debug!("an answer to no sign-in"),
        // The page says who it is; a log that many read need not.
        SignInFault::Unknown { claim, .. } => {
            tracing::warn!(claim, "somebody signed in who is not in the identities file")
        }
        _ => tracing::warn!(why = text, "a sign-in failed"),
    }
    page(status, "Not signed in", &text, hint)
}

fn page(status: StatusCode, title: &str, text: &str, hint: &str) -> Response {
    let document = DOCUMENT
        .replacen("{style}", STYLE, 1)
        .replacen("{script}", SCRIPT, 1)
        .replacen("{title}", &escape(title), 2)
        .replacen("{hint}", &escape(hint), 1)
        .replacen("{text}", &escape(text), 1);
    (status, [(header::CONTENT_SECURITY_POLICY, POLICY.as_str())], Html(document)).into_response()
}

#[cfg(test)]
mod tests;
