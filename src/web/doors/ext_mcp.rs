//! A gateway for the Model Context Protocol asks before it sends a call of a tool on, as agentgateway's ExtMcp does (over gRPC:
//! `src/web/grpc`). The call of another server's tool is the act: its arguments that are members of a request are those
//! members, the rest are the `arguments` of an action that a policy defines, and without another word the tool's name is
//! the action. What the gateway's own settings say (`metadata`) may add to that, and may not contradict it.
//!
//! As the act begins behind this door, an allow redeems its permit. What only reads passes; what is neither known to read
//! nor a call of a tool does not.
//!
//! Deliberately absent: the answers of tools, which are not judged; and what a client says of its sender. `subject` is a
//! claim of the gateway, which counts where its identity may act as that name.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::auth::Caller;
use super::super::gate::{Gate, read};
use super::super::json::Json;
use super::super::{Info, Site};
use super::{begun, refused, request, service_of};
use crate::gate::request::Request;
use crate::gate::{Identities, Principal};
use crate::gate_service::{Blocked, GateService};

/// Members of a request that a call or the gateway may name.
const MEMBERS: [&str; 10] = [
    "service",
    "action",
    "resource",
    "from_version",
    "to_version",
    "from_replicas",
    "replicas",
    "reason",
    "incident_id",
    "suspected_change",
];
/// Methods that change nothing behind the gateway.
const READS: [&str; 11] = [
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
];

/// What a gateway asks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// A method of the protocol.
    method: String,
    /// What the gateway's own settings say of the call.
    #[serde(default)]
    metadata: Map<String, Value>,
    /// The parameters of the method, as the client sent them.
    #[serde(default)]
    params: Value,
}

/// `POST /integrations/ext-mcp`.
pub async fn check(
    State(site): State<Site>,
    Caller(principal): Caller,
    Gate(gate): Gate,
    body: Bytes,
) -> Result<Response, Response> {
    let hint = "Name the act in the arguments of the tool or in the gateway's metadata: service, action, resource and what belongs to it.";
    let refuse = |blocked| refused(blocked, hint);
    let asked: Asked = read(&body).map_err(refuse)?;
    if READS.contains(&asked.method.as_str()) {
        return Ok(Json(&json!({"passes": true})).into_response());
    }
    let info = site.app.info.borrow().clone();
    let act = act(&gate, &principal, &info, &site.app.auth.identities(), asked).map_err(refuse)?;
    let mut told = begun(&gate, &principal, &act).await.map_err(refuse)?;
    told.body["passes"] = told.allows().into();
    Ok(Json(&told.body).into_response())
}

/// A call of a tool as a request.
fn act(
    gate: &GateService,
    principal: &Principal,
    info: &Info,
    identities: &Identities,
    asked: Asked,
) -> Result<Request, Blocked> {
    let malformed = |what: String| Blocked::Malformed(what);
    let Asked { method, metadata, params } = asked;
    if method != "tools/call" {
        return Err(malformed(format!("{method:?} is no call of a tool, and what it changes is not known here")));
    }
    let Some(tool) = params["name"].as_str().map(str::to_owned) else {
        return Err(malformed("params.name is missing, or no text".into()));
    };
    let (mut members, mut rest) = (Map::new(), Map::new());
    let called = match params.get("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(called)) => called.clone(),
        Some(_) => return Err(malformed("params.arguments are no object".into())),
    };
    for (name, value) in called {
        let twice = match value {
            value if MEMBERS.contains(&name.as_str()) => members.insert(name.clone(), value),
            // As our own tools have them.
            Value::Object(inner) if name == "arguments" => {
                inner.into_iter().fold(None, |twice, (name, value)| rest.insert(name, value).or(twice))
            }
            value => rest.insert(name.clone(), value),
        };
        if twice.is_some() {
            return Err(malformed(format!("an argument stands beside {name:?} and in it")));
        }
    }
    for (name, value) in metadata {
        match name.as_str() {
            "subject" => {
                let subject = value.as_str().filter(|subject| !subject.is_empty());
                let subject = subject.ok_or_else(|| malformed("metadata.subject is no name".into()))?;
                let claim = identities.by_k8s_subject(subject).map_or(subject, |identity| &identity.name);
                members.insert("actor".into(), claim.into());
            }
            name if !MEMBERS.contains(&name) => {
                let what = format!("metadata has {name:?}: it has subject, {}", MEMBERS.join(", "));
                return Err(malformed(what));
            }
            name => match members.get(name) {
                Some(other) if *other != value => {
                    return Err(malformed(format!("{name} is {other} in the call, and {value} by the gateway")));
                }
                _ => drop(members.insert(name.to_owned(), value)),
            },
        }
    }
    // Whoever may speak for others has to say for whom: a claim that was lost on the way is not its own act.
    match members.get("actor") {
        None if !principal.may_act_as.is_empty() => {
            let what = format!("{} may speak for others, and metadata.subject does not say for whom", principal.sub);
            return Err(malformed(what));
        }
        Some(own) if *own == principal.sub.as_str() => drop(members.remove("actor")),
        _ => {}
    }
    members.entry("action").or_insert_with(|| tool.into());
    if let (None, Some(resource)) = (members.get("service"), members.get("resource").and_then(Value::as_str)) {
        let service = service_of(info, resource, None, None)?;
        members.insert("service".into(), service.into());
    }
    if !rest.is_empty() {
        members.insert("arguments".into(), Value::Object(rest));
    }
    request(gate, &members)
}
