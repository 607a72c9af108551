//! Checkpoints posted to a URL of the settings: the note as it was signed, as plain text.
//!
//! The URL never comes from a request. Redirects are not followed, and nothing of the answer is used but its status.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use tokio::runtime::{Builder, Runtime};

use super::Sink;
use crate::outbound::{Authorization, Transport};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A receiver of checkpoints.
#[derive(Debug)]
pub struct Webhook {
    url: reqwest::Url,
    transport: Transport,
    authorization: Authorization,
    /// Made on the sink's own thread: one may not end where others run.
    runtime: Option<Runtime>,
}

impl Webhook {
    /// A receiver at `url`, reached through `transport`.
    pub fn new(url: reqwest::Url, transport: Transport, authorization: Authorization) -> Self {
        Webhook { url, transport, authorization, runtime: None }
    }
}

impl Sink for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn publish(&mut self, note: &str) -> Result<(), String> {
        let mut request = self.transport.client().post(self.url.clone()).timeout(TIMEOUT).body(note.to_owned());
        request = request.header(CONTENT_TYPE, "text/plain; charset=utf-8");
        if let Some(authorization) = self.authorization.header() {
            request = request.header(AUTHORIZATION, authorization);
        }
        let at = self.url.origin().ascii_serialization();
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => {
                Builder::new_current_thread().enable_all().build().map_err(|error| format!("no runtime: {error}"))?
            }
        };
        let answer = runtime.block_on(async { request.send().await });
        self.runtime = Some(runtime);
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("{at} answered {}", answer.status())),
            Err(error) => Err(format!("{at}: {}", error.without_url())),
        }
    }
}
