//! One Lease of the Kubernetes API (`coordination.k8s.io/v1`), read and written by HTTP. Every write names the version that it
//! replaces, so that of two who write at once one is told no.
//!
//! The token and the authority are read again when they rotate. Deliberately absent: watching. It is asked for.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::election::Found;
use crate::outbound::Transport;

/// Largest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Reads a secret each time it is used. `Err` is for people and holds none of it.
pub type SecretSource = Box<dyn Fn() -> Result<SecretString, String> + Send + Sync>;

/// How to reach the API server, and which Lease is meant.
pub struct ApiSettings {
    /// Without a trailing slash.
    pub url: String,
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The API server's authority.
    pub ca_file: Option<PathBuf>,
    /// Our own token.
    pub token: SecretSource,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

/// The Lease at the API server.
pub struct Api {
    settings: ApiSettings,
    transport: Transport,
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
    /// # Errors
    /// The authority cannot be used; for people.
    pub fn new(settings: ApiSettings) -> Result<Self, String> {
        let transport = Transport::new(&settings.url, settings.ca_file.as_deref(), HeaderMap::new())?;
        Ok(Api { settings, transport })
    }

    pub(super) async fn get(&self) -> Says {
        self.ask(Method::GET, Some(&self.settings.name), None).await
    }

    /// Makes it.
    pub(super) async fn create(&self, spec: Value) -> Says {
        let metadata = json!({"name": self.settings.name, "namespace": self.settings.namespace});
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
        self.ask(Method::PUT, Some(&self.settings.name), Some(&lease)).await
    }

    async fn ask(&self, method: Method, name: Option<&str>, lease: Option<&Value>) -> Says {
        let asked = tokio::time::timeout(self.settings.timeout, self.answer(method, name, lease)).await;
        match asked {
            Ok(Ok(says)) => says,
            Ok(Err(why)) => Says::Nothing(why),
            Err(_) => Says::Nothing("the API server does not answer".into()),
        }
    }

    async fn answer(&self, method: Method, name: Option<&str>, lease: Option<&Value>) -> Result<Says, String> {
        let ApiSettings { url, namespace, .. } = &self.settings;
        let name = name.map(|name| format!("/{name}")).unwrap_or_default();
        let url = format!("{url}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases{name}");
        let token = (self.settings.token)()?;
        let mut request = self.transport.client().request(method, url).bearer_auth(token.expose_secret());
        if let Some(lease) = lease {
            request = request.json(lease);
        }
        // An error of the client names the URL, never a header.
        let said = |error: reqwest::Error| error.without_url().to_string();
        let mut answer = request.send().await.map_err(said)?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(Says::Absent),
            StatusCode::CONFLICT => return Ok(Says::Conflict),
            status if !status.is_success() => return Err(format!("the API server answers {}", status.as_u16())),
            _ => {}
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(said)? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err("its answer is too large".into());
            }
            body.extend_from_slice(&part);
        }
        let lease: Value = serde_json::from_slice(&body).map_err(|_| "its answer is no JSON")?;
        Found::of(lease).map(Says::Is).ok_or_else(|| "its answer is no Lease".into())
    }
}
