//! Tokens that others issue to machines: of a job of a CI system (GitHub, GitLab), of a workload (SPIFFE), of an agent that
//! acts for somebody (`act` of RFC 8693). Each is for us alone by its audience, lives for minutes, and is stored nowhere.
//!
//! Who it is stands in the identities file: `jwt_subjects`, an issuer and what it calls somebody. In a chain the outermost
//! `act` is who asks. All others of it, who began it before all, are on whose behalf: none of them may approve. A chain with a
//! link that is nobody here proves nothing.
//!
//! Deliberately absent: people. They sign in, so that no machine that holds a person's token can approve; and patterns of
//! subjects, as a star in the wrong place lets everybody's pull request in.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::Fault;
use super::issuer::{Issuer, IssuerFault};
use crate::gate::identity::{Identities, jwt_subject};
use crate::gate::principal::{Principal, Via};

/// Most tokens that are proved at once; further ones wait a little.
const AT_ONCE: usize = 16;
/// So long, and for an issuer's answer.
const WAIT: Duration = Duration::from_secs(5);
/// Most links of a chain.
const LINKS_MAX: usize = 5;

/// Whose tokens are taken.
pub struct MachineTokens {
    issuers: Vec<Issuer>,
    slots: Semaphore,
}

impl MachineTokens {
    /// Tokens of these issuers, each for the audience that is the client's name there.
    pub fn new(issuers: Vec<Issuer>) -> Self {
        MachineTokens { issuers, slots: Semaphore::new(AT_ONCE) }
    }

    /// Who brings a token, where it says that one of the issuers gave it; `None`: it is none of theirs.
    pub async fn principal(
        &self,
        token: &str,
        identities: &Identities,
        now_ms: i64,
    ) -> Option<Result<Principal, Fault>> {
        let said = said_issuer(token)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.name() == said)?;
        let proved = async {
            let _slot = self.slots.acquire().await;
            issuer.machine_claims(token, now_ms).await
        };
        let claims = match tokio::time::timeout(WAIT, proved).await {
            Ok(Ok(claims)) => claims,
            Ok(Err(IssuerFault::Refused(why))) => {
                tracing::info!(issuer = said, why, "a token of a machine is refused");
                return Some(Err(Fault::Unknown));
            }
            Ok(Err(IssuerFault::Unavailable(_))) | Err(_) => return Some(Err(Fault::Unavailable)),
        };
        Some(principal_of(&claims.into(), said.as_str(), identities).ok_or(Fault::Unknown))
    }
}

/// Who a token says issued it. Nothing of it is proved.
fn said_issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, body) = (parts.next()?, parts.next()?);
    let body = BASE64_URL_SAFE_NO_PAD.decode(body).ok()?;
    let claims: Value = serde_json::from_slice(&body).ok()?;
    claims["iss"].as_str().map(str::to_owned)
}

/// Whom proved claims are of, and on whose behalf.
fn principal_of(claims: &Value, issuer: &str, identities: &Identities) -> Option<Principal> {
    let mut links = vec![claims["sub"].as_str()?];
    let mut acts = &claims["act"];
    while !acts.is_null() {
        // Who is named by another issuer is not the one that this issuer calls so.
        if !acts["iss"].is_null() && acts["iss"] != issuer {
            return None;
        }
        links.push(acts["sub"].as_str()?);
        acts = &acts["act"];
        if links.len() > LINKS_MAX {
            return None;
        }
    }
    // Who began it stands first, then the newest of those who act: it is the one who asks.
    let asks = if links.len() > 1 { links.remove(1) } else { links.remove(0) };
    let identity = identities.by_jwt_subject(&jwt_subject(issuer, asks))?;
    let mut principal = identities.principal(identity, Via::Jwt);
    for link in links {
        let other =
            identities.by_jwt_subject(&jwt_subject(issuer, link)).or_else(|| identities.by_oidc_subject(link))?;
        principal.delegation.push(other.name.clone());
        principal.delegation.extend(other.person.clone());
    }
    Some(principal)
}

#[cfg(test)]
mod tests;
