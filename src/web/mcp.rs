//! The Model Context Protocol at `POST /mcp`, for agents: a few tools that are the gate in words a model reads.
//!
//! Revision 2026-07-28 is stateless: every request says in `_meta` which revision it speaks, headers repeat what is in the
//! body, and there is `server/discover`. Revisions from 2024-11-05 to 2025-11-25 begin with `initialize`, here without a
//! session: nothing is kept between two requests. Who asks is known from its credential, as everywhere.
//!
//! A deny is a result with reasons, and no error: `isError` would invite to try again with other words. Nothing that a
//! client says of its user is an approval; people approve where they prove who they are.
//!
//! Deliberately absent: elicitation, sampling, resources, prompts, sessions, and a stream from the server (GET is a 405).
//! A crate for it: what is served are six methods over types that are here already, against 27 crates.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::auth::{Caller, Fault};
use super::gate::Gate;
use super::json::Json;
use super::{Site, doors};
use crate::gate::Principal;
use crate::gate::request::unambiguous;
use crate::gate_service::GateService;

#[cfg(test)]
mod tests;
mod tools;

/// The stateless revision.
const MODERN: &str = "2026-07-28";
/// Revisions that begin with `initialize`, the newest first.
const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Where a request says its revision and what its client can do.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
/// How long a list of tools may be kept, milliseconds: it changes with the program alone.
const TTL_MS: u64 = 3_600_000;

const PARSE: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const NO_METHOD: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const HEADERS_DIFFER: i32 = -32020;
const NO_VERSION: i32 = -32022;

/// Why a request has no result.
struct Fault32 {
    status: StatusCode,
    code: i32,
    message: String,
    data: Value,
}

impl Fault32 {
    fn new(status: StatusCode, code: i32, message: impl Into<String>) -> Self {
        Fault32 { status, code, message: message.into(), data: Value::Null }
    }

    fn bad(code: i32, message: impl Into<String>) -> Self {
        Fault32::new(StatusCode::BAD_REQUEST, code, message)
    }
}

/// One request.
struct Call {
    id: Value,
    method: String,
    params: Value,
    modern: bool,
}

/// `GET /.well-known/oauth-protected-resource`: where tokens for this server are named. Who gives them is not known here.
pub async fn resource(State(site): State<Site>, headers: HeaderMap) -> Response {
    let base = doors::base(&site.app.info.borrow(), &headers, site.app.tls.is_some());
    let answer = json!({
        "resource": format!("{base}/mcp"), "resource_name": "Slowburn", "bearer_methods_supported": ["header"],
    });
    Json(&answer).into_response()
}

/// `POST /mcp`.
pub async fn mcp(State(site): State<Site>, caller: Result<Caller, Fault>, headers: HeaderMap, body: Bytes) -> Response {
    let principal = match caller {
        Ok(Caller(principal)) => principal,
        Err(fault) => return unauthorized(&site, &headers, fault),
    };
    let gate = match &site.app.gate_service {
        Some(gate) => gate.clone(),
        None => return Gate::missing().into_response(),
    };
    let call = match read(&headers, &body) {
        Ok(Some(call)) => call,
        // A notification has no answer.
        Ok(None) => return StatusCode::ACCEPTED.into_response(),
        Err((id, fault)) => return failed(&id, fault),
    };
    match answered(&site, &gate, &principal, &call).await {
        Ok(mut result) => {
            if call.modern {
                result["resultType"] = "complete".into();
            }
            Json(&json!({"jsonrpc": "2.0", "id": call.id, "result": result})).into_response()
        }
        Err(RefusedCall::Pace(fault)) => fault.into_response(),
        Err(RefusedCall::Rpc(mut fault)) => {
            // Before 2026-07-28 errors of JSON-RPC came with a 200.
            if !call.modern {
                fault.status = StatusCode::OK;
            }
            failed(&call.id, fault)
        }
    }
}

/// Why a call has no result.
enum RefusedCall {
    Rpc(Fault32),
    /// Too fast: limits of rate are told by HTTP.
    Pace(Fault),
}

fn failed(id: &Value, fault: Fault32) -> Response {
    let mut error = json!({"code": fault.code, "message": fault.message});
    if !fault.data.is_null() {
        error["data"] = fault.data;
    }
    (fault.status, Json(&json!({"jsonrpc": "2.0", "id": id, "error": error}))).into_response()
}

/// A 401 says where to learn what this server is.
fn unauthorized(site: &Site, headers: &HeaderMap, fault: Fault) -> Response {
    let mut answer = fault.into_response();
    if answer.status() == StatusCode::UNAUTHORIZED {
        let base = doors::base(&site.app.info.borrow(), headers, site.app.tls.is_some());
        let value =
            format!("Bearer realm=\"slowburn\", resource_metadata=\"{base}/.well-known/oauth-protected-resource\"");
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
    }
    answer
}

/// Reads a request; `None` is a notification. A fault comes with the id, as far as there is one.
fn read(headers: &HeaderMap, body: &[u8]) -> Result<Option<Call>, (Value, Fault32)> {
    let nobody = |code, what: &str| (Value::Null, Fault32::bad(code, what));
    unambiguous(body).map_err(|what| nobody(PARSE, &what))?;
    let message: Value = serde_json::from_slice(body).map_err(|error| nobody(PARSE, &format!("no JSON: {error}")))?;
    let Value::Object(mut message) = message else {
        return Err(nobody(INVALID_REQUEST, "one request is one object of JSON: there are no batches"));
    };
    let id = message.remove("id").unwrap_or(Value::Null);
    let fault = |code, what: String| Err((id.clone(), Fault32::bad(code, what)));
    let Some(method) = message.get("method").and_then(Value::as_str).map(str::to_owned) else {
        // An answer to a question that was never asked.
        let response = message.contains_key("result") || message.contains_key("error");
        return if response { Ok(None) } else { fault(INVALID_REQUEST, "the request has no method".into()) };
    };
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0")
        || !(id.is_null() || id.is_string() || id.is_number())
    {
        return fault(INVALID_REQUEST, "this is no request of JSON-RPC 2.0".into());
    }
    let params = message.remove("params").unwrap_or_else(|| json!({}));
    if !params.is_object() {
        return fault(INVALID_PARAMS, "params are an object".into());
    }
    let modern = era(headers, &method, &params).map_err(|fault| (id.clone(), fault))?;
    if id.is_null() {
        return Ok(None);
    }
    Ok(Some(Call { id, method, params, modern }))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Headers that repeat what is in the body, for whoever stands between and reads no bodies: given twice, two of them may read two
/// things.
fn once(headers: &HeaderMap) -> Result<(), Fault32> {
    for name in ["mcp-protocol-version", "mcp-method", "mcp-name", PARAM] {
        if headers.get_all(name).iter().count() > 1 {
            return Err(Fault32::bad(HEADERS_DIFFER, format!("the header {name} is given twice")));
        }
    }
    Ok(())
}

/// The header that repeats the argument which the tools mark with `x-mcp-header`.
const PARAM: &str = "mcp-param-service";

/// Whether that header says what the body does. One that is missing misleads nobody, and clients that have listed no tools send none.
fn param_agrees(headers: &HeaderMap, params: &Value) -> bool {
    if !headers.contains_key(PARAM) || !tools::repeats_service(params["name"].as_str().unwrap_or_default()) {
        return true;
    }
    let said = text(headers, PARAM).unwrap_or_default();
    let encoded = said.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let said = match encoded {
        Some(encoded) => BASE64_STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()),
        None => Some(said.to_owned()),
    };
    said.is_some() && said.as_deref() == params["arguments"]["service"].as_str()
}

/// Whether a request is of the stateless revision, and as that one wants it.
fn era(headers: &HeaderMap, method: &str, params: &Value) -> Result<bool, Fault32> {
    once(headers)?;
    let said = params["_meta"][VERSION_KEY].as_str();
    let header = text(headers, "mcp-protocol-version");
    let unknown = |version: &str| {
        let mut supported = vec![MODERN];
        supported.extend(LEGACY);
        let mut fault = Fault32::bad(NO_VERSION, format!("revision {version:?} is not served"));
        fault.data = json!({"supported": supported, "requested": version});
        fault
    };
    if said.is_none() && header != Some(MODERN) {
        // `initialize` says its revision in the body, and is answered with one that there is.
        return match header.filter(|version| method != "initialize" && !LEGACY.contains(version)) {
            Some(version) => Err(unknown(version)),
            None => Ok(false),
        };
    }
    let Some(said) = said else {
        return Err(Fault32::bad(INVALID_PARAMS, format!("_meta has no {VERSION_KEY:?}")));
    };
    if said != MODERN {
        return Err(unknown(said));
    }
    if !params["_meta"][CAPABILITIES_KEY].is_object() {
        return Err(Fault32::bad(INVALID_PARAMS, format!("_meta has no {CAPABILITIES_KEY:?}")));
    }
    let name = (method == "tools/call").then(|| params["name"].as_str().unwrap_or_default());
    for (header, expected) in [("mcp-protocol-version", Some(said)), ("mcp-method", Some(method)), ("mcp-name", name)] {
        if let Some(expected) = expected
            && text(headers, header) != Some(expected)
        {
            let what = format!("the header {header} is missing, or is not {expected:?} as the body says");
            return Err(Fault32::bad(HEADERS_DIFFER, what));
        }
    }
    if method == "tools/call" && !param_agrees(headers, params) {
        return Err(Fault32::bad(HEADERS_DIFFER, format!("the header {PARAM} is not the service of the body")));
    }
    Ok(true)
}

async fn answered(site: &Site, gate: &GateService, principal: &Principal, call: &Call) -> Result<Value, RefusedCall> {
    let capabilities = json!({"tools": {"listChanged": false}});
    let server = json!({"name": "slowburn", "title": "Slowburn", "version": site.app.info.borrow().version});
    match (call.method.as_str(), call.modern) {
        ("server/discover", true) => Ok(json!({
            "supportedVersions": [MODERN], "capabilities": capabilities, "serverInfo": server, "instructions": INSTRUCTIONS,
            "ttlMs": TTL_MS, "cacheScope": "public",
        })),
        ("initialize", false) => {
            let asked = call.params["protocolVersion"].as_str().unwrap_or_default();
            let version = LEGACY.into_iter().find(|version| *version == asked).unwrap_or(LEGACY[0]);
            Ok(json!({
                "protocolVersion": version, "capabilities": capabilities, "serverInfo": server, "instructions": INSTRUCTIONS,
            }))
        }
        ("ping", false) => Ok(json!({})),
        ("tools/list", modern) => {
            let mut list = json!({"tools": tools::list()});
            if modern {
                (list["ttlMs"], list["cacheScope"]) = (TTL_MS.into(), "public".into());
            }
            Ok(list)
        }
        ("tools/call", _) => tools::call(site, gate, principal, &call.params).await,
        (method, _) => Err(RefusedCall::Rpc(Fault32::new(
            StatusCode::NOT_FOUND,
            NO_METHOD,
            format!("there is no method {method:?}"),
        ))),
    }
}

/// For the model.
const INSTRUCTIONS: &str = "Ask before you change production. `explain` tells what would be decided and leaves nothing behind. \
`request_action` decides: allow comes with a permit (120 s, once), needs_approval with a question that people answer on their \
own page, deny with reasons and with what would change them; do not ask again in other words. Redeem the permit right before \
the act (begin: true does it at once), then `report_outcome`.";
