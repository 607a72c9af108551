//! Canary controllers: Argo Rollouts' web metric and Flagger's webhooks.
//!
//! The first question about an act is decided, and an allow is redeemed at once: the controller acts on it. While that
//! act is under way the same controller asks at each step whether it may go on; then the checks of its class are run
//! again beside its own act, which would otherwise stand in its own way.
//!
//! | hook of Flagger | what is answered |
//! |---|---|
//! | `confirm-rollout`, `pre-rollout` | the decision; once it has begun, whether it may go on |
//! | `rollout`, `confirm-traffic-increase`, `confirm-promotion`, and `/gate/check` | whether it may go on |
//! | `rollback` | 403, unless a rollback with its versions is allowed: 2xx would be an order to roll back |
//! | `post-rollout`, `event` | 200: nothing is asked |
//!
//! Deliberately absent: the controllers' own measurements. They are claims.

use std::collections::BTreeMap;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::auth::Caller;
use super::super::gate::{Gate, read};
use super::super::json::Json;
use super::super::tls::PeerNames;
use super::super::{Problem, Site};
use super::{begun, caller, request, service_of};
use crate::gate::request::Request;
use crate::gate::{Principal, Signal};
use crate::gate_service::{Blocked, GateService};

/// What a controller is told.
struct Step {
    /// `allow`, `needs_approval` or `deny`.
    word: String,
    body: Value,
}

impl Step {
    fn of(signal: &Signal, own: Option<&str>) -> Self {
        let word = if signal.value == 1 { "allow" } else { "deny" };
        let codes: Vec<&str> = signal.codes.iter().map(|code| code.as_str()).collect();
        let message = match signal.value {
            1 => String::new(),
            _ => format!("{} of {}: {}", signal.class.as_str(), signal.service, codes.join(", ")),
        };
        let body = json!({"decision": word, "reasons": codes, "message": message, "permit": own});
        Step { word: word.to_owned(), body }
    }
}

/// Decides an act, or says whether the act that has begun may go on.
async fn step(gate: &GateService, principal: &Principal, request: &Request) -> Result<Step, Blocked> {
    if let Some((own, true)) = gate.acting(principal, request) {
        return Ok(go_on(gate, principal, request, Some(&own)));
    }
    let told = begun(gate, principal, request).await?;
    Ok(Step { word: told.answer.clone(), body: told.short() })
}

fn go_on(gate: &GateService, principal: &Principal, request: &Request, own: Option<&str>) -> Step {
    Step::of(&gate.going_on(principal, request, own), own)
}

/// `POST /integrations/argo-rollouts`: the body is that of `POST /v1/decisions`; the word for the metric is at `$.argo`.
pub async fn argo(Caller(principal): Caller, Gate(gate): Gate, body: Bytes) -> Result<Response, Blocked> {
    let request = request(&gate, &read::<Map<String, Value>>(&body)?)?;
    let mut step = step(&gate, &principal, &request).await?;
    // What is matched is stored in the AnalysisRun: one word.
    step.body["argo"] = step.word.into();
    Ok(Json(&step.body).into_response())
}

/// What Flagger sends. It may send more.
#[derive(Debug, Deserialize)]
struct Webhook {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    checksum: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
}

impl Webhook {
    fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}

/// `POST /gate/check`: the path of Flagger's own gate, for who only changes the host.
pub async fn flagger_gate(
    site: State<Site>,
    headers: HeaderMap,
    names: Option<Extension<PeerNames>>,
    gate: Gate,
    body: Bytes,
) -> Result<Response, Response> {
    flagger(site, headers, names, Path("confirm-traffic-increase".to_owned()), gate, body).await
}

/// `POST /integrations/flagger/{hook}`.
pub async fn flagger(
    State(site): State<Site>,
    headers: HeaderMap,
    names: Option<Extension<PeerNames>>,
    Path(hook): Path<String>,
    Gate(gate): Gate,
    body: Bytes,
) -> Result<Response, Response> {
    // Who is not known learns nothing, not even whether its body can be read.
    let webhook = read::<Webhook>(&body);
    let token = webhook.as_ref().ok().and_then(|webhook| webhook.text("token"));
    let principal = caller(&site, headers, token, names.as_ref().map(|Extension(names)| names)).await?;
    let webhook = webhook.map_err(IntoResponse::into_response)?;
    let request = match hook.as_str() {
        "post-rollout" | "event" => return Ok(Json(&json!({"decision": "none"})).into_response()),
        "rollback" => act(&site, &gate, &webhook, "rollback"),
        "confirm-rollout" | "pre-rollout" | "rollout" | "confirm-traffic-increase" | "confirm-promotion" => {
            act(&site, &gate, &webhook, webhook.text("action").unwrap_or("deploy"))
        }
        _ => {
            let hint = "Flagger's are confirm-rollout, pre-rollout, rollout, confirm-traffic-increase, confirm-promotion, post-rollout, rollback and event.";
            return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no hook {hook:?}"), hint).into_response());
        }
    };
    let step = match (hook.as_str(), request) {
        // Without its versions a rollback is no request, and without a yes it is no order.
        (_, Err(blocked)) => Err(blocked),
        ("rollback", Ok(request)) => {
            // What it is told each time is an explanation, and costs as much.
            site.app.auth.explain(&principal).map_err(IntoResponse::into_response)?;
            rolled_back(&gate, &principal, &request).await
        }
        ("confirm-rollout" | "pre-rollout", Ok(request)) => step(&gate, &principal, &request).await,
        (_, Ok(request)) => {
            let own = gate.acting(&principal, &request).map(|(id, _)| id);
            Ok(go_on(&gate, &principal, &request, own.as_deref()))
        }
    };
    match step {
        Ok(step) if step.word == "allow" => Ok(Json(&step.body).into_response()),
        Ok(step) => Err((StatusCode::FORBIDDEN, Json(&step.body)).into_response()),
        Err(blocked @ Blocked::Unavailable(_)) => Err(blocked.into_response()),
        Err(blocked) => {
            let hint = "Name service, and where needed action, resource, from_version and to_version, in the metadata of the webhook.";
            Err(Problem::new(StatusCode::FORBIDDEN, blocked.to_string(), hint).into_response())
        }
    }
}

/// Flagger asks at each interval. Only what would be allowed is decided: a no each minute is no record.
async fn rolled_back(gate: &GateService, principal: &Principal, request: &Request) -> Result<Step, Blocked> {
    let body = serde_json::to_vec(request).map_err(|error| Blocked::Malformed(error.to_string()))?;
    let explained = serde_json::to_value(gate.explain(principal, &body)?).unwrap_or_default();
    if explained["decision"] == "allow" {
        return step(gate, principal, request).await;
    }
    let told = super::Told::of(explained);
    Ok(Step { word: told.answer.clone(), body: told.short() })
}

/// The act that a canary is.
fn act(site: &Site, gate: &GateService, webhook: &Webhook, action: &str) -> Result<Request, Blocked> {
    let resource = webhook.text("resource").map_or_else(|| format!("deployment/{}", webhook.name), str::to_owned);
    let info = site.app.info.borrow().clone();
    let service = match webhook.text("service") {
        Some(service) => service.to_owned(),
        None => service_of(&info, &resource, webhook.namespace.as_deref(), Some(&webhook.name))?,
    };
    let mut members: Map<String, Value> = Map::new();
    // What is about to run is known by the checksum of the canary, where nobody gives it a version.
    let to_version = webhook.text("to_version").or(webhook.checksum.as_deref().filter(|_| action == "deploy"));
    let texts = [
        ("service", Some(service.as_str())),
        ("action", Some(action)),
        ("resource", Some(resource.as_str())),
        ("from_version", webhook.text("from_version")),
        ("to_version", to_version),
        ("reason", webhook.text("reason")),
        ("incident_id", webhook.text("incident_id")),
    ];
    for (name, value) in texts {
        members.extend(value.map(|value| (name.to_owned(), value.into())));
    }
    request(gate, &members)
}
