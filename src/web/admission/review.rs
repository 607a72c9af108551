//! The part of an AdmissionReview (`admission.k8s.io/v1`) that is looked at. Everything else in it is skipped unread: objects
//! are as large as etcd takes them, and newer API servers send more.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

/// Longest warning, characters: kubectl shows those up to 120 whole, and API servers may cut at 256.
const WARNING_MAX: usize = 120;
/// Most warnings of one answer.
const WARNINGS_MAX: usize = 5;
/// What an API server does to objects.
const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];
/// The one version there is an answer for.
const API_VERSION: &str = "admission.k8s.io/v1";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

/// What is about to happen in the cluster, and who does it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Echoed in the answer.
    pub uid: String,
    /// `{group, resource}`: `apps`, `deployments`.
    pub resource: Resource,
    /// `scale`, `eviction`, `status`.
    #[serde(default)]
    pub sub_resource: Option<String>,
    /// Name of the object; on a create it may stand in the object alone.
    #[serde(default)]
    pub name: Option<String>,
    /// Its namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// Who.
    pub user_info: User,
    /// The object as it would be.
    #[serde(default)]
    pub object: Option<Object>,
    /// The object as it is.
    #[serde(default)]
    pub old_object: Option<Object>,
    /// Nothing will be kept.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// Group and plural name.
#[derive(Debug, Clone, Deserialize)]
pub struct Resource {
    #[serde(default)]
    pub group: String,
    pub resource: String,
}

/// Who, as the API server has authenticated it.
#[derive(Debug, Clone, Deserialize)]
pub struct User {
    #[serde(default)]
    pub username: String,
}

/// An object, or a subresource in its form.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Object {
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub spec: Value,
}

/// Of an object.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Metadata {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Reads a review.
///
/// # Errors
/// It is none of this version, or lacks what every one has.
pub fn read(body: &[u8]) -> Result<Request, String> {
    let none = |error: serde_json::Error| format!("this is no AdmissionReview: {error}");
    let review: Value = serde_json::from_slice(body).map_err(none)?;
    // A list would be read as the members of an object in their order: what stands where nobody meant it.
    let objects = ["", "/request", "/request/resource", "/request/userInfo", "/request/object", "/request/oldObject"];
    let metadata = ["/request/object/metadata", "/request/oldObject/metadata"];
    for place in objects.into_iter().chain(metadata) {
        if review.pointer(place).is_some_and(|value| !value.is_object() && !value.is_null()) {
            return Err(format!("this is no AdmissionReview: {place} is no object"));
        }
    }
    let review: Review = serde_json::from_value(review).map_err(none)?;
    if review.api_version != API_VERSION || review.kind != "AdmissionReview" {
        return Err(format!(
            "this is a {} of {}, and no AdmissionReview of {API_VERSION}",
            review.kind, review.api_version
        ));
    }
    let request = review.request.ok_or("the review has no request")?;
    if !OPERATIONS.contains(&request.operation.as_str()) {
        return Err(format!("there is no operation {:?}", request.operation));
    }
    match request.uid.is_empty() {
        true => Err("the request has no uid".into()),
        false => Ok(request),
    }
}

/// What the API server is told.
#[derive(Debug, Default)]
pub struct Ruling {
    /// Why not; `None`: it is admitted.
    pub denied: Option<(u16, String)>,
    /// For whoever sent the change.
    pub warnings: Vec<String>,
    /// For the API server's own audit log.
    pub annotations: BTreeMap<&'static str, String>,
}

impl Ruling {
    /// Not admitted, with a status like that of HTTP.
    pub fn deny(code: u16, message: impl Into<String>) -> Self {
        Ruling { denied: Some((code, message.into())), ..Ruling::default() }
    }

    /// With a line for the API server's audit log.
    pub fn noted(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.annotations.insert(key, value.into());
        self
    }

    /// With a warning.
    pub fn warned(mut self, text: &str) -> Self {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(short(text));
        }
        self
    }

    /// As JSON, for the request with this uid.
    pub fn answer(&self, uid: &str) -> Value {
        let mut response = json!({"uid": uid, "allowed": self.denied.is_none()});
        if let Some((code, message)) = &self.denied {
            let reason = match code {
                429 => "TooManyRequests",
                503 => "ServiceUnavailable",
                _ => "Forbidden",
            };
            response["status"] = json!({"code": code, "message": message, "reason": reason});
        }
        if !self.warnings.is_empty() {
            response["warnings"] = json!(self.warnings);
        }
        if !self.annotations.is_empty() {
            response["auditAnnotations"] = json!(self.annotations);
        }
        json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= WARNING_MAX {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(WARNING_MAX - 3).collect();
    cut.push_str("...");
    cut
}
