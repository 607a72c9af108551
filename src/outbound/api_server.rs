//! Requests to the API server of Kubernetes, in our own name.
//!
//! The token and the authority are read again when they rotate. Answers and the lines of a watch are bounded, and faults are for
//! people: they hold neither a token nor a body. Deliberately absent: what is asked for, and how long anybody waits. Callers
//! know that.

use std::path::Path;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
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

    /// What is said of an answer that is larger than is read.
    pub const TOO_LARGE: &str = "its answer is too large";

    /// Asks for `path`, with a body where one is given; that of a PATCH is merged. What became of a write that failed is not
    /// known.
    ///
    /// # Errors
    /// There is no token, no answer, or one that is too large; for people.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Vec<u8>), String> {
        self.ask_within(method, path, body, ANSWER_BYTES_MAX).await
    }

    /// The same with an answer of up to so many bytes.
    ///
    /// # Errors
    /// There is no token, no answer, or one that is too large ([`Self::TOO_LARGE`]); for people.
    pub async fn ask_within(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        bytes_max: usize,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let mut answer = self.send(method, path, body).await?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(said)? {
            if body.len() + part.len() > bytes_max {
                return Err(Self::TOO_LARGE.into());
            }
            body.extend_from_slice(&part);
        }
        Ok((status, body))
    }

    /// Asks for `path` and answers line by line, each of up to so many bytes: what a watch says.
    ///
    /// # Errors
    /// There is no token or no answer; for people.
    pub async fn lines(&self, path: &str, bytes_max: usize) -> Result<(StatusCode, Lines), String> {
        let answer = self.send(Method::GET, path, None).await?;
        Ok((answer.status(), Lines { answer, read: Vec::new(), seen: 0, bytes_max }))
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response, String> {
        let token = (self.token)()?;
        let url = format!("{}{path}", self.url);
        let merges = method == Method::PATCH;
        let mut request = self.transport.client().request(method, url).bearer_auth(token.expose_secret());
        // Before the body, which says that it is JSON where nothing is said yet.
        if merges {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/merge-patch+json"));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.map_err(said)
    }
}

/// An error of the client, without the URL; it holds neither header nor body.
fn said(error: reqwest::Error) -> String {
    error.without_url().to_string()
}

/// The lines of an answer, as they come.
pub struct Lines {
    answer: Response,
    /// What was read and is no whole line yet.
    read: Vec<u8>,
    /// How much of it was looked through for the end of a line.
    seen: usize,
    bytes_max: usize,
}

impl Lines {
    /// The next line that is not empty; `None` at the end. Nothing is lost when this is not waited for to its end.
    ///
    /// # Errors
    /// The connection broke, or a line is too large ([`ApiServer::TOO_LARGE`]); for people.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            if let Some(end) = self.read[self.seen..].iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(self.seen + end + 1);
                let line = std::mem::replace(&mut self.read, rest);
                self.seen = 0;
                if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                    return Ok(Some(line));
                }
                continue;
            }
            self.seen = self.read.len();
            if self.read.len() > self.bytes_max {
                return Err(ApiServer::TOO_LARGE.into());
            }
            match self.answer.chunk().await.map_err(said)? {
                Some(part) => self.read.extend_from_slice(&part),
                None => return Ok(None),
            }
        }
    }
}
