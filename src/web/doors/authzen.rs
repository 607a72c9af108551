//! OpenID AuthZEN Authorization API 1.0: one evaluation, several, and the metadata that says where they are.
//!
//! A `true` is a permit on record, as everywhere; the same evaluation again gives the same permit while it lives. A deny
//! is a 200 with `false`; errors concern the call. Members that are not known are ignored, as the specification asks,
//! but for the properties of an action: what an act consists of is read whole or not at all.
//!
//! Deliberately absent: search. What could be asked for is at `POST /v1/options`. And the subject as a credential: it is
//! a claim of whoever enforces, which counts where that one may act as it.

use axum::extract::{Request as Asked, State};
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::Site;
use super::super::auth::Caller;
use super::super::gate::{Gate, read};
use super::super::json::Json;
use super::{Told, base, decided, request, service_of};
use crate::gate::request::Request;
use crate::gate::{Identities, Principal};
use crate::gate_service::{Blocked, GateService};

/// Most evaluations of one request.
const EVALUATIONS_MAX: usize = 20;
/// What an evaluation consists of.
const KEYS: [&str; 4] = ["subject", "action", "resource", "context"];
/// Properties of an action, and members of the context, that are members of a request.
const PROPERTIES: [&str; 5] = ["from_version", "to_version", "from_replicas", "replicas", "arguments"];
const CONTEXT: [&str; 3] = ["reason", "incident_id", "suspected_change"];
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where this server is reached, and what it knows.
pub(super) struct Here {
    pub base: String,
    pub info: std::sync::Arc<super::super::Info>,
    pub identities: Identities,
}

impl Here {
    pub fn of(site: &Site, headers: &HeaderMap) -> Self {
        let info = site.app.info.borrow().clone();
        let base = base(&info, headers, site.app.tls.is_some());
        Here { base, info, identities: site.app.auth.identities() }
    }
}

/// Answers under these paths carry the `X-Request-ID` of their request, whoever answered: also where nobody came as far as a
/// route, as without a credential.
pub async fn echo(request: Asked, next: Next) -> Response {
    let path = request.uri().path();
    let ours = path.starts_with("/access/v1/") || path == "/.well-known/authzen-configuration";
    let id = ours.then(|| request.headers().get(&REQUEST_ID).cloned()).flatten();
    let mut answer = next.run(request).await;
    if let Some(id) = id {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
    answer
}

fn answer(answer: Result<Value, Response>) -> Response {
    answer.map_or_else(|refused| refused, |value| Json(&value).into_response())
}

/// `GET /.well-known/authzen-configuration`.
pub async fn metadata(State(site): State<Site>, headers: HeaderMap) -> Response {
    let base = Here::of(&site, &headers).base;
    let answer = json!({
        "policy_decision_point": base,
        "access_evaluation_endpoint": format!("{base}/access/v1/evaluation"),
        "access_evaluations_endpoint": format!("{base}/access/v1/evaluations"),
        "access_request_endpoint": format!("{base}/access/v1/requests"),
        "capabilities": ["urn:openid:authzen:capability:access-request"],
    });
    Json(&answer).into_response()
}

/// `POST /access/v1/evaluation`.
pub async fn evaluation(
    State(site): State<Site>,
    Caller(principal): Caller,
    Gate(gate): Gate,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let here = Here::of(&site, &headers);
    answer(
        async {
            let item = read::<Map<String, Value>>(&body).map_err(IntoResponse::into_response)?;
            shaped(&item).map_err(IntoResponse::into_response)?;
            evaluate(&gate, &principal, &here, &item).await.map_err(IntoResponse::into_response)
        }
        .await,
    )
}

/// `POST /access/v1/evaluations`: the members of the body are defaults for each entry of `evaluations`, each is replaced whole.
pub async fn evaluations(
    State(site): State<Site>,
    Caller(principal): Caller,
    Gate(gate): Gate,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let here = Here::of(&site, &headers);
    answer(several(&site, &gate, &principal, &here, &body).await)
}

async fn several(
    site: &Site,
    gate: &GateService,
    principal: &Principal,
    here: &Here,
    body: &[u8],
) -> Result<Value, Response> {
    let malformed = |what: String| Blocked::Malformed(what).into_response();
    let mut defaults = read::<Map<String, Value>>(body).map_err(IntoResponse::into_response)?;
    let items = match defaults.remove("evaluations") {
        None => Vec::new(),
        Some(Value::Array(items)) if items.len() <= EVALUATIONS_MAX => items,
        Some(_) => return Err(malformed(format!("evaluations is a list of at most {EVALUATIONS_MAX}"))),
    };
    let options = defaults.remove("options").unwrap_or_else(|| json!({}));
    if !options.is_object() {
        return Err(malformed("options is no object".into()));
    }
    let stops_at = match options.get("evaluations_semantic") {
        None => None,
        Some(word) => match word.as_str() {
            Some("execute_all") => None,
            Some("deny_on_first_deny") => Some(false),
            Some("permit_on_first_permit") => Some(true),
            _ => return Err(malformed(format!("there is no evaluations_semantic {word}"))),
        },
    };
    if items.is_empty() {
        shaped(&defaults).map_err(IntoResponse::into_response)?;
        return evaluate(gate, principal, here, &defaults).await.map_err(IntoResponse::into_response);
    }
    let mut answers = Vec::new();
    for item in items {
        let Value::Object(item) = item else { return Err(malformed("an evaluation is no object of JSON".into())) };
        // Each costs as much as an explanation does.
        site.app.auth.explain(principal).map_err(IntoResponse::into_response)?;
        let mut whole = defaults.clone();
        whole.extend(item);
        let answer = match shaped(&whole) {
            Err(blocked) => denied("malformed_request", &blocked.to_string()),
            Ok(()) => evaluate(gate, principal, here, &whole).await.map_err(IntoResponse::into_response)?,
        };
        let decision = answer["decision"] == true;
        answers.push(answer);
        if stops_at == Some(decision) {
            break;
        }
    }
    Ok(json!({"evaluations": answers}))
}

/// Whether an evaluation has the members that it must have, of the right kinds.
pub(super) fn shaped(item: &Map<String, Value>) -> Result<(), Blocked> {
    let text = |of: &str, member: &str| match item.get(of).and_then(|entity| entity.get(member)) {
        Some(Value::String(text)) if !text.is_empty() => Ok(()),
        _ => Err(Blocked::Malformed(format!("{of}.{member} is missing, or no text"))),
    };
    for (of, members) in [("subject", &["type", "id"][..]), ("action", &["name"]), ("resource", &["type", "id"])] {
        for member in members {
            text(of, member)?;
        }
    }
    for key in KEYS {
        let entity = item.get(key);
        let properties = entity.filter(|_| key != "context").and_then(|entity| entity.get("properties"));
        if [entity, properties].into_iter().flatten().any(|value| !value.is_object()) {
            return Err(Blocked::Malformed(format!("{key}, or its properties, is no object")));
        }
    }
    Ok(())
}

/// One evaluation. What can be read and means no act here is denied, as a question about anything unknown is.
async fn evaluate(
    gate: &GateService,
    principal: &Principal,
    here: &Here,
    item: &Map<String, Value>,
) -> Result<Value, Blocked> {
    let request = match asked(gate, item, principal, here) {
        Ok(request) => request,
        Err(Blocked::Malformed(what)) => return Ok(denied("malformed_request", &what)),
        Err(blocked) => return Err(blocked),
    };
    let told = match decided(gate, principal, &request).await {
        Ok(told) => told,
        Err(blocked @ Blocked::Unavailable(_)) => return Err(blocked),
        Err(blocked) => return Ok(denied("policy_denied", &blocked.to_string())),
    };
    let claimed = item.get("context").and_then(|context| context.get("approval"));
    Ok(answered(&told, here, claimed))
}

fn denied(reason: &str, message: &str) -> Value {
    json!({"decision": false, "context": {"reason": reason, "reasons": [reason], "message": message}})
}

/// An evaluation as a request. The subject is a claim.
pub(super) fn asked(
    gate: &GateService,
    item: &Map<String, Value>,
    principal: &Principal,
    here: &Here,
) -> Result<Request, Blocked> {
    let text = |of: &str, member: &str| item.get(of).and_then(|entity| entity[member].as_str()).unwrap_or_default();
    let (kind, id) = (text("resource", "type"), text("resource", "id"));
    let (scope, name) = id.rsplit_once('/').map_or((None, id), |(scope, name)| (Some(scope), name));
    let resource = format!("{kind}/{name}");
    let service = match item.get("resource").and_then(|resource| resource["properties"]["service"].as_str()) {
        Some(service) => service.to_owned(),
        None => service_of(&here.info, &resource, None, scope.or(Some(name)))?,
    };
    let mut members = Map::new();
    members.insert("service".into(), service.into());
    members.insert("action".into(), text("action", "name").into());
    members.insert("resource".into(), resource.into());
    let subject = text("subject", "id");
    let claim = here.identities.by_k8s_subject(subject).map_or(subject, |identity| &identity.name);
    if claim != principal.sub {
        members.insert("actor".into(), claim.into());
    }
    let properties = item.get("action").and_then(|action| action.get("properties")).and_then(Value::as_object);
    for (name, value) in properties.into_iter().flatten() {
        if !PROPERTIES.contains(&name.as_str()) {
            let what = format!("action.properties has {name:?}: an act has {}", PROPERTIES.join(", "));
            return Err(Blocked::Malformed(what));
        }
        members.insert(name.clone(), value.clone());
    }
    let context = item.get("context").and_then(Value::as_object);
    for (name, value) in context.into_iter().flatten().filter(|(name, _)| CONTEXT.contains(&name.as_str())) {
        members.insert(name.clone(), value.clone());
    }
    request(gate, &members)
}

/// A decision in the words of the profile: a question to people is a denial for which access can be requested.
fn answered(told: &Told, here: &Here, claimed: Option<&Value>) -> Value {
    let body = &told.body;
    let approval = &body["approval"];
    // An approval is looked for by what is asked, and not by what is brought: one that is not found is no yes.
    let other = claimed.is_some_and(|claimed| approval["id"] != claimed["id"]);
    let mut context = json!({
        "evaluation_id": body["decision_id"],
        "evaluated_at": body["at"],
        "reason": told.codes.first().map_or("holds", String::as_str),
        "reasons": told.codes,
        "audit": body["audit"],
    });
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            context[name] = value;
        }
    };
    if !told.message.is_empty() {
        put("message", told.message.clone().into());
    }
    put("permit", body["permit"].clone());
    put("retry_after", body["retry_after_s"].clone());
    let requestable = told.answer == "needs_approval" && approval["id"].is_string();
    if requestable {
        let mut access = json!({
            "expires_at": approval["expires_at"],
            "endpoint": format!("{}/access/v1/requests", here.base),
            "template": approval["from"][0],
        });
        if approval["url"].is_string() {
            access["form_url"] = approval["url"].clone();
        }
        put("access_request", access);
    }
    if claimed.is_some() && !told.allows() {
        let (action, reason) = match (requestable, other, body["retry_after_s"].is_null()) {
            (true, true, _) => ("request", "approval_expired"),
            (true, false, _) => ("retry", "grant_pending"),
            (false, _, false) => ("retry", "policy_denied"),
            (false, _, true) => ("none", "policy_denied"),
        };
        put("next_action", action.into());
        put("reason", reason.into());
    }
    json!({"decision": told.allows(), "context": context})
}
