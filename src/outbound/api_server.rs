//! Requests to the API server of Kubernetes, in our own name.
//!
//! The token and the authority are read again when they rotate. Answers are bounded, and faults are for people: they hold
//! neither a token nor a body. Deliberately absent: what is asked for, and how long anybody waits. Callers know that.

use std::path::Path;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::Transport;

/// Largest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Reads a secret each time it is used, so that it may rotate. `Err` is for people and holds none of it.
pub type SecretSource = Box<dyn Fn() -> Result<SecretString, String> + Send + Sync>;

/// How to reach the API server.
pub struct ApiServer {
    /// Without a trailing slash.
    url: String,
    token: SecretSource,
    transport: Transport,
}

impl ApiServer {
    /// The one at `url`, without a trailing slash, whose authority is in `ca_file`; `token` is Slowburn's own.
    ///
    /// # Errors
    /// The authority cannot be used; for people.
    pub fn new(url: &str, ca_file: Option<&Path>, token: SecretSource) -> Result<Self, String> {
        let transport = Transport::new(url, ca_file, HeaderMap::new())?;
        Ok(ApiServer { url: url.to_owned(), token, transport })
    }

    /// Asks for `path`, with a body where one is given. What became of a write that failed is not known.
    ///
    /// # Errors
    /// There is no token, no answer, or one that is too large; for people.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Vec<u8>), String> {
        let token = (self.token)()?;
        let url = format!("{}{path}", self.url);
        let mut request = self.transport.client().request(method, url).bearer_auth(token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        // An error of the client names the URL, never a header or a body.
        let said = |error: reqwest::Error| error.without_url().to_string();
        let mut answer = request.send().await.map_err(said)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(said)? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err("its answer is too large".into());
            }
            body.extend_from_slice(&part);
        }
        Ok((status, body))
    }
}
