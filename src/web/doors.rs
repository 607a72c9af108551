//! Doors: the gate in the words of other protocols. Each turns what it is asked into the request that
//! `POST /v1/decisions` takes and the answer back into its own words, so the decision, its reasons and its record are the
//! same at every door. Who asks is known from the credential alone, as everywhere.
//!
//! | door | file |
//! |---|---|
//! | OpenID AuthZEN, with access requests | `authzen`, `access_request` |
//! | Envoy's external authorization | `ext_authz` |
//! | agentgateway's ExtMcp | `ext_mcp` |
//! | Argo Rollouts' web metric, Flagger's webhooks | `canary` |
//!
//! Those that are asked over gRPC are reached through `src/web/grpc`.
//!
//! Deliberately absent: deciding. A door that cannot read what it is asked says so, and that is no yes.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::tls::PeerNames;
use super::{Info, Problem, Site};
use crate::gate::Principal;
use crate::gate::request::Request;
use crate::gate_service::{Blocked, GateService};
use crate::spec::model::Service;

pub mod access_request;
pub mod authzen;
pub mod canary;
pub mod ext_authz;
pub mod ext_mcp;
#[cfg(test)]
mod tests;

/// What the gate said, with what every door needs of it.
pub(super) struct Told {
    /// `allow`, `needs_approval` or `deny`.
    pub answer: String,
    /// Codes of what stands in the way, the strictest first.
    pub codes: Vec<String>,
    /// The first reason in words; empty where nothing stands in the way.
    pub message: String,
    /// The whole answer, as `POST /v1/decisions` or redeeming gives it.
    pub body: Value,
}

impl Told {
    pub fn of(body: Value) -> Self {
        let reasons = body["reasons"].as_array().map_or(&[][..], Vec::as_slice);
        let mut codes: Vec<String> = Vec::new();
        for code in reasons.iter().filter_map(|reason| reason["code"].as_str()) {
            if !codes.iter().any(|known| known == code) {
                codes.push(code.to_owned());
            }
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let message = reasons.first().map(|reason| text(&reason["message"])).unwrap_or_default();
        Told { answer: text(&body["decision"]), codes, message, body }
    }

    /// Whether it is a yes: the word, and a permit behind it.
    pub fn allows(&self) -> bool {
        self.answer == "allow" && self.body["permit"]["id"].is_string()
    }

    /// What a short answer says of it: the word, the reasons by code, and where it is on record.
    pub fn short(&self) -> Value {
        json!({
            "decision": self.answer, "reasons": self.codes, "message": self.message,
            "decision_id": self.body["decision_id"], "audit": self.body["audit"],
        })
    }
}

/// A request of members in our own words, read as strictly as `POST /v1/decisions` reads it, and by the same reader.
pub(super) fn request(gate: &GateService, members: &Map<String, Value>) -> Result<Request, Blocked> {
    let body = serde_json::to_vec(members).map_err(|error| Blocked::Malformed(error.to_string()))?;
    gate.parse(&body)
}

/// Decides. Whoever asks for the same again gets the permit that still lives.
pub(super) async fn decided(gate: &GateService, principal: &Principal, request: &Request) -> Result<Told, Blocked> {
    let key = match &request.idempotency_key {
        Some(key) => key.clone(),
        None => gate.key_of(principal, request)?,
    };
    let request = Request { idempotency_key: Some(key), ..request.clone() };
    let body = serde_json::to_vec(&request).map_err(|error| Blocked::Malformed(error.to_string()))?;
    let answer = gate.decide(principal, &body).await?;
    let answer = serde_json::to_value(answer).map_err(|error| Blocked::Unavailable(error.to_string()))?;
    Ok(Told::of(answer))
}

/// Decides, and redeems the permit at once: for doors behind which the act begins.
pub(super) async fn begun(gate: &GateService, principal: &Principal, request: &Request) -> Result<Told, Blocked> {
    let told = decided(gate, principal, request).await?;
    match told.body["permit"]["id"].as_str() {
        Some(permit) if told.allows() => gate.redeem(principal, permit, None).await.map(Told::of),
        _ => Ok(told),
    }
}

/// What cannot be read is a 403 and not a 400: it is the client of a proxy who sees it, and it was not let through.
pub(super) fn refused(blocked: Blocked, hint: &str) -> Response {
    match blocked {
        Blocked::Unavailable(_) => blocked.into_response(),
        other => Problem::new(StatusCode::FORBIDDEN, other.to_string(), hint).into_response(),
    }
}

/// Services that say this resource is one of their workloads. Where both name a namespace, it has to be the same.
pub(super) fn owners(info: &Info, resource: &str, namespace: Option<&str>) -> Vec<String> {
    let has = |service: &&Service| {
        service.workloads.iter().any(|workload| {
            workload.resource == resource
                && workload.namespace.as_deref().zip(namespace).is_none_or(|(own, asked)| own == asked)
        })
    };
    info.services.iter().filter(has).map(|service| service.name.clone()).collect()
}

/// The only service it can be: the one that has the workload, else the one that has the name.
pub(super) fn service_of(
    info: &Info,
    resource: &str,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<String, Blocked> {
    let mut owners = owners(info, resource, namespace);
    match (owners.pop(), owners.is_empty()) {
        (Some(only), true) => return Ok(only),
        (Some(_), false) => {
            let what = format!("{resource} is a workload of several services: name the service");
            return Err(Blocked::Malformed(what));
        }
        (None, _) => {}
    }
    match name.filter(|name| info.services.iter().any(|service| service.name == **name)) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Blocked::Malformed(format!("no service has {resource} among its workloads: name the service"))),
    }
}

/// Where this server is reached, without a slash at the end: as the settings say, else as it was asked.
pub(super) fn base(info: &Info, headers: &HeaderMap, tls: bool) -> String {
    if let Some(url) = &info.external_url {
        return url.trim_end_matches('/').to_owned();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    format!("{}://{host}", if tls { "https" } else { "http" })
}

/// Who asks: by its header or certificate, else by a token that stands elsewhere, for those who send no headers.
pub(super) async fn caller(
    site: &Site,
    headers: HeaderMap,
    token: Option<&str>,
    names: Option<&PeerNames>,
) -> Result<Principal, Response> {
    let headers = with_token(headers, token);
    site.app.auth.principal(&headers, names).await.map_err(IntoResponse::into_response)
}

/// Headers with a token that stands elsewhere, where they have none.
pub(super) fn with_token(mut headers: HeaderMap, token: Option<&str>) -> HeaderMap {
    if !headers.contains_key(header::AUTHORIZATION)
        && let Some(mut value) = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok())
    {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    headers
}
