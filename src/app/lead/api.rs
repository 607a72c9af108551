//! One Lease of the Kubernetes API (`coordination.k8s.io/v1`), read and written by HTTP. Every write names the version that it
//! replaces, so that of two who write at once one is told no.
//!
//! Deliberately absent: watching, and with it every gap of a watch. It is asked for, without a version, which an API server
//! answers with what is newest; an older answer all the same costs a conflict at the next write, and decides nothing.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::election::Found;
use crate::outbound::ApiServer;

/// The Lease at the API server.
pub struct Api {
    server: ApiServer,
    namespace: String,
    name: String,
    timeout: Duration,
}

/// What the API server says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Says {
    /// The Lease as it is now.
    Is(Found),
    /// There is none.
    Absent,
    /// It is not the version any more that was to be replaced, or is there already.
    Conflict,
    /// Nothing that can be used; for people. What became of a write is not known.
    Nothing(String),
}

impl Api {
    /// The Lease of this name; one answer is waited for as long as `timeout`.
    pub fn new(server: ApiServer, namespace: String, name: String, timeout: Duration) -> Self {
        Api { server, namespace, name, timeout }
    }

    pub(super) async fn get(&self) -> Says {
        self.ask(Method::GET, Some(&self.name), None).await
    }

    /// Makes it.
    pub(super) async fn create(&self, spec: Value) -> Says {
        let metadata = json!({"name": self.name, "namespace": self.namespace});
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
        });
        self.ask(Method::POST, None, Some(&lease)).await
    }

    /// Puts this in the place of `found`. What others keep beside it stays.
    pub(super) async fn replace(&self, found: &Found, spec: &Value) -> Says {
        let mut lease = found.whole.clone();
        if let (Some(old), Some(new)) = (lease.get_mut("spec").and_then(Value::as_object_mut), spec.as_object()) {
            old.extend(new.clone());
        } else {
            lease["spec"] = spec.clone();
        }
        self.ask(Method::PUT, Some(&self.name), Some(&lease)).await
    }

    async fn ask(&self, method: Method, name: Option<&str>, lease: Option<&Value>) -> Says {
        let asked = tokio::time::timeout(self.timeout, self.answer(method, name, lease)).await;
        match asked {
            Ok(Ok(says)) => says,
            Ok(Err(why)) => Says::Nothing(why),
            Err(_) => Says::Nothing("the API server does not answer".into()),
        }
    }

    async fn answer(&self, method: Method, name: Option<&str>, lease: Option<&Value>) -> Result<Says, String> {
        let name = name.map(|name| format!("/{name}")).unwrap_or_default();
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases{name}", self.namespace);
        let (status, body) = self.server.ask(method, &path, lease).await?;
        match status {
            StatusCode::NOT_FOUND => return Ok(Says::Absent),
            StatusCode::CONFLICT => return Ok(Says::Conflict),
            status if !status.is_success() => return Err(format!("the API server answers {}", status.as_u16())),
            _ => {}
        }
        let lease: Value = serde_json::from_slice(&body).map_err(|_| "its answer is no JSON")?;
        Found::of(lease).map(Says::Is).ok_or_else(|| "its answer is no Lease".into())
    }
}
