//! Kubernetes TokenReview: whose service account a bearer token is (`authentication.k8s.io/v1`).
//!
//! The audience is demanded twice: it is asked for in `spec.audiences`, and must come back in `status.audiences`. An
//! answer without audiences would mean "valid for the API server", which a token stolen from any pod is. Yes and no are
//! remembered for a short time under the token's digest, never the token itself; no answer is never remembered.
//!
//! Deliberately absent: group membership as a right of its own. Who a user name is stands in the identities file.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{Fault, TokenDigest};
use crate::outbound::ApiServer;

/// Longest wait for the API server.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long a yes is remembered, milliseconds: a revoked token works for no longer than this.
const YES_MS: i64 = 60_000;
/// How long a no is remembered, milliseconds.
const NO_MS: i64 = 10_000;
/// Most answers that are remembered.
const REMEMBERED_MAX: usize = 10_000;
/// Most reviews at once; further ones wait.
const AT_ONCE: usize = 8;
/// Asks the API server whose tokens are.
pub struct TokenReview {
    server: ApiServer,
    audience: String,
    slots: Semaphore,
    remembered: Mutex<HashMap<TokenDigest, (i64, Option<String>)>>,
}

#[derive(Deserialize)]
struct Answer {
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    audiences: Vec<String>,
    user: Option<ReviewedUser>,
}

#[derive(Deserialize)]
struct ReviewedUser {
    #[serde(default)]
    username: String,
}

impl TokenReview {
    /// `audience` is what callers' tokens are for.
    pub fn new(server: ApiServer, audience: String) -> Self {
        TokenReview { server, audience, slots: Semaphore::new(AT_ONCE), remembered: Mutex::default() }
    }

    /// The user name of a token at `now_ms`.
    ///
    /// # Errors
    /// [`Fault::Unknown`] where the API server says no, [`Fault::Unavailable`] where it says nothing.
    pub async fn user_of(&self, token: &str, digest: TokenDigest, now_ms: i64) -> Result<String, Fault> {
        if let Some(known) = self.recall(&digest, now_ms) {
            return known.ok_or(Fault::Unknown);
        }
        let _slot = tokio::time::timeout(TIMEOUT, self.slots.acquire()).await.map_err(|_| Fault::Unavailable)?;
        let user = tokio::time::timeout(TIMEOUT, self.ask(token)).await.map_err(|_| Fault::Unavailable)??;
        self.remember(digest, now_ms, user.clone());
        user.ok_or(Fault::Unknown)
    }

    /// `None` is a no.
    async fn ask(&self, token: &str) -> Result<Option<String>, Fault> {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self.audience]},
        });
        let asked = self.server.ask(Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews", Some(&review)).await;
        let (status, body) = asked.map_err(|why| unavailable(&why))?;
        if !status.is_success() {
            return Err(unavailable(&format!("the API server answers {}", status.as_u16())));
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| unavailable(&"its answer is no TokenReview"))?;
        let status = answer.status.filter(|status| status.authenticated);
        let status = status.filter(|status| status.audiences.contains(&self.audience));
        Ok(status.and_then(|status| status.user).map(|user| user.username).filter(|name| !name.is_empty()))
    }

    fn recall(&self, digest: &TokenDigest, now_ms: i64) -> Option<Option<String>> {
        let remembered = self.remembered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (until_ms, user) = remembered.get(digest)?;
        // A clock that was set back must not make an answer last.
        let left = until_ms - now_ms;
        (0..=YES_MS).contains(&left).then(|| user.clone())
    }

    fn remember(&self, digest: TokenDigest, now_ms: i64, user: Option<String>) {
        let mut remembered = self.remembered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, (until_ms, _)| *until_ms > now_ms);
        }
        if remembered.len() < REMEMBERED_MAX {
            let lasts_ms = if user.is_some() { YES_MS } else { NO_MS };
            remembered.insert(digest, (now_ms + lasts_ms, user));
        }
    }
}

fn unavailable(why: &dyn std::fmt::Display) -> Fault {
    tracing::warn!(%why, "a token could not be reviewed");
    Fault::Unavailable
}
