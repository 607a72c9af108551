//! agentgateway's `agentgateway.dev.ext_mcp.ExtMcp`: `CheckRequest` is the door of `src/web/doors/ext_mcp.rs`. `CheckResponse` passes
//! whatever it is shown: by then the act has happened, and answers of tools are not judged.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use prost::Message as _;
use serde_json::{Map, Value as Json, json};

use super::wire::{
    AuthorizationError, ErrorCode, Field, Kind, McpRequest, McpRequestResult, McpResponseResult, Pass, Struct, Value,
};
use super::{Answered, Asked, Unread, bearer_of, problem_of};

/// The door.
const PATH: &str = "/integrations/ext-mcp";

/// The question as it is asked over HTTP.
pub fn asked(message: &[u8]) -> Result<Asked, Unread> {
    let request = McpRequest::decode(message).map_err(|error| Unread::Message(error.to_string()))?;
    let params = match request.params.as_deref() {
        None | Some(b"") => Json::Null,
        Some(params) => serde_json::from_slice(params)
            .map_err(|error| Unread::Content(format!("the parameters are no JSON: {error}")))?,
    };
    let mut metadata = Map::new();
    for field in request.metadata.into_iter().flat_map(|all| all.fields) {
        let name = text(&field.name, "the name of a member of metadata")?;
        let value = plain(field.value.and_then(|value| value.kind), &name)?;
        if metadata.insert(name.clone(), value).is_some() {
            return Err(Unread::Content(format!("metadata has {name} twice")));
        }
    }
    let mut headers = HeaderMap::new();
    for pair in request.headers.iter().filter(|pair| pair.key.eq_ignore_ascii_case(b"authorization")) {
        let value = HeaderValue::from_bytes(&pair.value);
        headers.append(header::AUTHORIZATION, value.map_err(|_| Unread::Content("a header is no text".into()))?);
    }
    let method = text(&request.method, "the method")?;
    let body = json!({"method": method, "metadata": metadata, "params": params});
    let body = serde_json::to_vec(&body).map_err(|error| Unread::Content(error.to_string()))?;
    Ok(Asked { path: PATH, bearer: bearer_of(&mut headers), headers, body })
}

fn text(bytes: &[u8], what: &str) -> Result<String, Unread> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unread::Content(format!("{what} is no text")))?;
    Ok(text.to_owned())
}

/// A value of the gateway's settings. A number comes as a fraction, and means a whole one.
fn plain(kind: Option<Kind>, name: &str) -> Result<Json, Unread> {
    match kind {
        Some(Kind::Text(bytes)) => Ok(text(&bytes, name)?.into()),
        Some(Kind::Number(number)) if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) => {
            Ok((number as u64).into())
        }
        _ => Err(Unread::Content(format!("metadata.{name} is neither a text nor a whole number"))),
    }
}

/// What the door answered.
pub fn told(status: StatusCode, body: &[u8]) -> Answered {
    if status == StatusCode::OK {
        let said: Json = serde_json::from_slice(body).unwrap_or(Json::Null);
        return Ok(decided(&said));
    }
    if let Some(failure) = super::failure_of(status, body) {
        return Err(failure);
    }
    Ok(refused(status, &problem_of(body)))
}

fn decided(said: &Json) -> Vec<u8> {
    if said["passes"] == true {
        let of_decision = [("decision_id", &said["decision_id"]), ("permit", &said["permit"]["id"])];
        let field = |(name, value): (&str, &Json)| {
            let kind = Some(Kind::Text(value.as_str()?.to_owned().into()));
            Some(Field { name: name.to_owned().into(), value: Some(Value { kind }) })
        };
        let fields: Vec<Field> = of_decision.into_iter().filter_map(field).collect();
        let metadata = (!fields.is_empty()).then_some(Struct { fields });
        return McpRequestResult { pass: Some(Pass {}), error: None, metadata }.encode_to_vec();
    }
    let reasons = said["reasons"].as_array().into_iter().flatten();
    let message = reasons.filter_map(|reason| reason["message"].as_str()).next().unwrap_or("this is not allowed");
    // Whatever answered this, there is no yes in it.
    let word = said["decision"].as_str().filter(|word| *word != "allow").unwrap_or("deny");
    let mut data = json!({"decision": word});
    for member in ["reasons", "decision_id", "audit", "approval", "retry_after_s"] {
        if !said[member].is_null() {
            data[member] = said[member].clone();
        }
    }
    error(ErrorCode::PermissionDenied, format!("{word}: {message}"), Some(data))
}

/// What was not let through for another reason than a decision.
pub fn refused(status: StatusCode, why: &str) -> Vec<u8> {
    let code = match status {
        StatusCode::TOO_MANY_REQUESTS => ErrorCode::ResourceExhausted,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::Invalid,
        _ => ErrorCode::PermissionDenied,
    };
    error(code, why.to_owned(), None)
}

fn error(code: ErrorCode, reason: String, data: Option<Json>) -> Vec<u8> {
    let mcp_error = data.map(|data| data.to_string().into_bytes());
    let error = AuthorizationError { code: code as i32, reason, mcp_error };
    McpRequestResult { pass: None, error: Some(error), metadata: None }.encode_to_vec()
}

/// The answer to `CheckResponse`.
pub fn passes() -> Vec<u8> {
    McpResponseResult { pass: Some(Pass {}) }.encode_to_vec()
}
