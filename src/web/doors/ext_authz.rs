//! Envoy's external authorization over HTTP: what is sent on through a proxy to whatever acts, asks first.
//!
//! Envoy sends the client's method and path and no body, so the act stands in headers (`x-slowburn-service`,
//! `-action`, `-resource`, ...); a route that stands for one act pins them with `headers_to_add`. 200 lets the request
//! through and nothing else does: a deny and a question are a 403, a gate that cannot answer a 503, which Envoy takes
//! for an error and its `failure_mode_allow: false` for a no. As the act begins behind this door, a permit is redeemed
//! at it: the one that is brought, or the one that an allow gives.
//!
//! Deliberately absent: reading of paths and bodies. Envoy may cut a body, and a path says nothing that is bound.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::super::Site;
use super::super::auth::Caller;
use super::super::gate::Gate;
use super::super::json::Json;
use super::{Told, begun, refused, request};
use crate::gate::Principal;
use crate::gate_service::{Blocked, GateService};

/// What every header of an act begins with.
pub(in super::super) const PREFIX: &str = "x-slowburn-";
/// Headers of ours that are no part of the act.
pub(in super::super) const OTHERS: [&str; 2] = ["forwarded", "leader"];

/// Says that Envoy cut the body of the request.
pub(in super::super) const PARTIAL: &str = "x-envoy-auth-partial-body";

/// Any method, `/integrations/ext-authz/*`.
pub async fn check(
    State(_): State<Site>,
    Caller(principal): Caller,
    Gate(gate): Gate,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let hint = "Name the act in the headers x-slowburn-service, -action, -resource and its arguments, or in -permit.";
    let told = asked(&gate, &principal, &headers).await.map_err(|blocked| refused(blocked, hint))?;
    let mut answer = Json(&told.body).into_response();
    if !told.allows() {
        *answer.status_mut() = StatusCode::FORBIDDEN;
    }
    let said = [
        ("x-slowburn-decision", told.answer.as_str()),
        ("x-slowburn-decision-id", told.body["decision_id"].as_str().unwrap_or_default()),
        ("x-slowburn-permit", told.body["permit"]["id"].as_str().unwrap_or_default()),
        ("x-slowburn-reasons", &told.codes.join(",")),
    ];
    for (name, value) in said {
        if let Ok(value) = HeaderValue::from_str(value)
            && !value.is_empty()
        {
            answer.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    Ok(answer)
}

async fn asked(gate: &GateService, principal: &Principal, headers: &HeaderMap) -> Result<Told, Blocked> {
    if headers.get(PARTIAL).is_some_and(|partial| partial != "false") {
        return Err(Blocked::Malformed("the body was cut before it came here".into()));
    }
    let mut act = members(headers)?;
    let Some(permit) = act.remove("permit") else { return begun(gate, principal, &request(gate, &act)?).await };
    let presented = if act.is_empty() { None } else { Some(request(gate, &act)?) };
    gate.redeem(principal, permit.as_str().unwrap_or_default(), presented).await.map(Told::of)
}

/// The members of the act, from its headers.
fn members(headers: &HeaderMap) -> Result<Map<String, Value>, Blocked> {
    let mut act = Map::new();
    for (name, value) in headers {
        let Some(member) = name.as_str().strip_prefix(PREFIX).filter(|member| !OTHERS.contains(member)) else {
            continue;
        };
        let malformed = |what: &str| Blocked::Malformed(format!("the header {name} {what}"));
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| malformed("is no text"))?;
        let member = member.replace('-', "_");
        let value = match member.as_str() {
            "replicas" | "from_replicas" => text.parse::<u32>().map_err(|_| malformed("is no number"))?.into(),
            // An emergency is asked for at the API itself, where a person is.
            "break_glass" => return Err(malformed("is not taken here")),
            _ => Value::from(text),
        };
        if act.insert(member, value).is_some() {
            return Err(malformed("is given twice"));
        }
    }
    Ok(act)
}
