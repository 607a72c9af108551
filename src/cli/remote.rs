//! A running daemon, asked over HTTP: what `ask`, `approve`, `halt` and their like share.
//!
//! Whoever asks is known by a credential: a token from a file or from `SLOWBURN_TOKEN`, or a client certificate. A token
//! is never an argument, where every process of the machine could read it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::Exit;
use crate::config::SecretFile;
use crate::outbound::Transport;

/// Largest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Where the daemon is and who asks it.
#[derive(Debug, Clone, Args)]
pub struct RemoteArgs {
    /// The daemon
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9595")]
    url: String,
    /// File that holds the caller's bearer token [default: the variable SLOWBURN_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the authority that signed the daemon's certificate [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Longest wait for an answer, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

/// The daemon.
pub struct Remote {
    client: reqwest::Client,
    base: String,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// What to tell.
    pub text: String,
}

impl Failure {
    fn usage(text: String) -> Self {
        Failure { exit: Exit::Usage, text }
    }
}

impl Remote {
    /// # Errors
    /// The URL, the token or the authority cannot be used.
    pub fn new(args: &RemoteArgs) -> Result<Self, Failure> {
        let base = super::endpoint(&args.url).map_err(Failure::usage)?;
        let token = match &args.token_file {
            Some(path) => Some(SecretFile::new(path).read().map_err(|fault| Failure::usage(fault.to_string()))?),
            None => std::env::var("SLOWBURN_TOKEN").ok().filter(|token| !token.is_empty()).map(SecretString::from),
        };
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                .map_err(|_| Failure::usage("the token holds characters that no header can carry".into()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = Transport::new(&base, args.ca_file.as_deref(), headers).map_err(Failure::usage)?.client();
        Ok(Remote { client, base, timeout: Duration::from_secs(args.timeout.clamp(1, 600)) })
    }

    /// Reads.
    ///
    /// # Errors
    /// As of [`Remote::post`].
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await
    }

    /// Asks for something.
    ///
    /// # Errors
    /// The daemon does not answer, or answers that this cannot be. Both mean no.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let unreachable = |why: String| Failure {
            exit: Exit::Unreachable,
            text: format!("{} does not answer: {why}. Treat this as a refusal", self.base),
        };
        let mut request = self.client.request(method, format!("{}{path}", self.base)).timeout(self.timeout);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut answer = request.send().await.map_err(|error| unreachable(root_of(&error)))?;
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| unreachable(root_of(&error)))? {
            if bytes.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(unreachable("its answer is too large".into()));
            }
            bytes.extend_from_slice(&part);
        }
        let status = answer.status();
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        if status.is_success() {
            return value.ok_or_else(|| unreachable("its answer is no JSON; is this Slowburn?".into()));
        }
        let text = |key: &str| value.as_ref().and_then(|value| value.get(key)?.as_str()).map(str::to_owned);
        let error = text("error").unwrap_or_else(|| format!("HTTP {}", status.as_u16()));
        let hint = text("hint").map(|hint| format!("\n  = {hint}")).unwrap_or_default();
        let exit = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Usage,
            status if status.is_server_error() => Exit::Unreachable,
            StatusCode::TOO_MANY_REQUESTS => Exit::Unreachable,
            _ => Exit::Usage,
        };
        Err(Failure { exit, text: format!("{error}{}", hint_of(status, hint)) })
    }
}

/// What to do about it, in the words of a command line: a header is nothing that somebody types.
fn hint_of(status: StatusCode, hint: String) -> String {
    match status {
        StatusCode::UNAUTHORIZED => "\n  = say who asks: --token-file FILE, or the variable SLOWBURN_TOKEN".to_owned(),
        _ => hint,
    }
}

/// What the system said, without the URL.
fn root_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    if std::ptr::eq(deepest, error as &dyn std::error::Error) {
        "the connection failed".into()
    } else {
        deepest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_nobody_is_told_what_to_type() {
        let hint = || "\n  = Send Authorization: Bearer TOKEN".to_owned();
        let said = hint_of(StatusCode::UNAUTHORIZED, hint());
        assert!(said.contains("--token-file") && said.contains("SLOWBURN_TOKEN") && !said.contains("Bearer"), "{said}");
        assert_eq!(hint_of(StatusCode::FORBIDDEN, hint()), hint());
    }
}
