//! The stream from the fleet's daemon: opened, read, and opened again when it ends.
//!
//! Credentials and authorities are read for each stream, and a daemon ends a stream after an hour at the latest, so what was
//! replaced is used by then. Waits between tries grow to 15 seconds and are spread by chance: a daemon that comes back is not
//! met by all at once. What is read is bounded in length, in time and in rate.
//!
//! Deliberately absent: a second source. A name that leads to several daemons does that, and each stream is of one of them.

use std::time::Duration;

use reqwest::{StatusCode, Url, header};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::events::{Decoder, Event};
use super::standing::{Delays, Mirror, Unknown};
use super::wire::{ServiceState, VERSION};
use crate::clock::Clock;
use crate::outbound::{Authorization, Transport};
use crate::telemetry::names;

/// Longest wait for the head of an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait for the first event, and for every one of a source that does not say how often it gives a sign of life.
const EVENT_WITHIN: Duration = Duration::from_secs(30);
/// First wait before another try; each try doubles it.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// Longest wait before another try.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// Bytes a second that are read; TCP holds back who sends more.
const RATE_MAX: usize = 2 << 20;
/// Bytes of a refusal that are read, for the log.
const SAID_BYTES_MAX: usize = 2 * 1024;

/// Where the word comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The daemon, without a trailing slash.
    pub url: String,
    /// The service.
    pub service: String,
    /// How it is reached.
    pub transport: Transport,
    /// Who we say we are.
    pub authorization: Authorization,
    /// The time.
    pub clock: Clock,
}

impl Source {
    /// The address of the stream.
    ///
    /// # Errors
    /// The URL cannot have a path; for people.
    pub fn stream_url(&self) -> Result<Url, String> {
        let mut url = Url::parse(&self.url).map_err(|error| format!("this is no URL: {error}"))?;
        url.path_segments_mut().map_err(|()| "this URL can have no path".to_owned())?.pop_if_empty().extend([
            "v1",
            "services",
            &self.service,
            "stream",
        ]);
        url.set_query(Some(&format!("version={VERSION}")));
        Ok(url)
    }

    /// Follows the source until `stop`: what it says is in `mirror`.
    pub async fn follow(self, mirror: watch::Sender<Mirror>, stop: CancellationToken) {
        let url = match self.stream_url() {
            Ok(url) => url,
            // The settings were judged before; without an address nothing is known, which is what a mirror says by itself.
            Err(why) => return warn!(why, "there is nothing to follow"),
        };
        let (mut failures, mut said) = (0, None);
        loop {
            let heard = mirror.borrow().last().map(|told| told.said_ms);
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.stream(&url, &mirror) => ended,
            };
            mirror.send_modify(|mirror| mirror.lose(ended.why));
            metrics::counter!(names::MIRROR_STREAMS_TOTAL, "outcome" => ended.why.as_str()).increment(1);
            let spoke = mirror.borrow().last().map(|told| told.said_ms) != heard;
            failures = if spoke { 1 } else { failures + 1 };
            // A fault that goes on is told once.
            if said != Some(ended.why) || spoke {
                warn!(source = %self.url, service = %self.service, reason = ended.why.as_str(), "{}; trying again", ended.said);
            } else {
                debug!(reason = ended.why.as_str(), "{}; trying again", ended.said);
            }
            said = Some(ended.why);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait(failures, chance())) => {}
            }
        }
    }

    /// One stream, to its end.
    async fn stream(&self, url: &Url, mirror: &watch::Sender<Mirror>) -> Ended {
        let mut request = self.transport.client().get(url.clone()).header(header::ACCEPT, "text/event-stream");
        if let Some(value) = self.authorization.header() {
            request = request.header(header::AUTHORIZATION, value);
        }
        let mut answer = match timeout(ANSWER_WITHIN, request.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Ended::new(Unknown::SourceUnreachable, deepest(&error)),
            Err(_) => return Ended::new(Unknown::SourceUnreachable, "it does not answer".into()),
        };
        if let Some(why) = refusal(&answer) {
            let status = answer.status();
            return Ended::new(why, format!("the source answers {status}: {}", said(&mut answer).await));
        }
        let (mut decoder, mut delays, mut within) = (Decoder::default(), Delays::default(), EVENT_WITHIN);
        let (mut second, mut read, mut first) = (Instant::now(), 0, true);
        loop {
            let bytes = match timeout(within, answer.chunk()).await {
                Ok(Ok(Some(bytes))) => bytes,
                Ok(Ok(None)) => return Ended::new(Unknown::SourceUnreachable, "the source ended the stream".into()),
                Ok(Err(error)) => return Ended::new(Unknown::SourceUnreachable, deepest(&error)),
                Err(_) => return Ended::new(Unknown::SourceSilent, "no sign of life on the stream".into()),
            };
            let came_ms = self.clock.steady_ms();
            let events = match decoder.push(&bytes) {
                Ok(events) => events,
                Err(why) => return Ended::new(why, "the stream is not understood".into()),
            };
            for Event { name, data } in events {
                // A sign of life needs no reading, and what a newer source says besides is not for us.
                if name != "state" {
                    continue;
                }
                let state = match ServiceState::read(&data, &self.service) {
                    Ok(state) => state,
                    Err(fault) => return Ended::new(Unknown::NotUnderstood, fault.to_string()),
                };
                if first {
                    let speaker = &state.source;
                    info!(source = %self.url, service = %self.service, version = speaker.version, rules = speaker.config_hash, "following");
                    mirror.send_modify(Mirror::opened);
                    metrics::counter!(names::MIRROR_STREAMS_TOTAL, "outcome" => "opened").increment(1);
                    first = false;
                }
                within = Duration::from_secs(state.heartbeat_s) * 5 / 2;
                match delays.told(state, came_ms) {
                    Ok(told) => mirror.send_modify(|mirror| mirror.hear(told)),
                    Err(why) => {
                        return Ended::new(why, "the source's word comes two polls late, or its clock was set".into());
                    }
                }
            }
            read += bytes.len();
            if read >= RATE_MAX {
                tokio::time::sleep_until(second + Duration::from_secs(1)).await;
                (second, read) = (Instant::now(), 0);
            } else if second.elapsed() >= Duration::from_secs(1) {
                (second, read) = (Instant::now(), 0);
            }
        }
    }
}

/// How a stream ended.
struct Ended {
    why: Unknown,
    /// For the log.
    said: String,
}

impl Ended {
    fn new(why: Unknown, said: String) -> Self {
        Ended { why, said }
    }
}

/// Why an answer is no stream; `None`: it is one.
fn refusal(answer: &reqwest::Response) -> Option<Unknown> {
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match answer.status() {
        StatusCode::OK if kind.starts_with("text/event-stream") => None,
        StatusCode::NOT_FOUND => Some(Unknown::ServiceUnknown),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(Unknown::SourceRefuses),
        status if status.is_redirection() => Some(Unknown::SourceRefuses),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Some(Unknown::SourceUnreachable),
        status if status.is_server_error() => Some(Unknown::SourceUnreachable),
        _ => Some(Unknown::NotUnderstood),
    }
}

/// What a refusal says, for the log: its first words, without what could forge a line.
async fn said(answer: &mut reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < SAID_BYTES_MAX
        && let Ok(Ok(Some(more))) = timeout(ANSWER_WITHIN, answer.chunk()).await
    {
        bytes.extend_from_slice(&more[..more.len().min(SAID_BYTES_MAX)]);
    }
    let problem: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let text = problem.as_ref().and_then(|problem| problem["error"].as_str());
    let text = text.map_or("no word that is known here".to_owned(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The innermost cause; the outer ones repeat the address.
fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match std::ptr::eq(cause, error as &dyn std::error::Error) {
        true => "the connection failed".into(),
        false => cause.to_string(),
    }
}

/// The wait before the next try, between half and all of a step.
fn wait(failures: u32, chance: f64) -> Duration {
    let step = WAIT_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(WAIT_MAX);
    step.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

/// A number in 0..1; in the middle where the system has none to give.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    #[test]
    fn the_address_holds_the_name_whatever_it_is() {
        let source = |url: &str, service: &str| Source {
            url: url.into(),
            service: service.into(),
            transport: Transport::new("http://a", None, HeaderMap::new()).expect("a client"),
            authorization: Authorization::None,
            clock: Clock::wall(),
        };
        let shown = |url, service| source(url, service).stream_url().map(|url| url.to_string());
        let plain = shown("https://slowburn.example:9595", "checkout");
        assert_eq!(plain.as_deref(), Ok("https://slowburn.example:9595/v1/services/checkout/stream?version=1"));
        let below = shown("http://a/slo/", "a/b?c");
        assert_eq!(below.as_deref(), Ok("http://a/slo/v1/services/a%2Fb%3Fc/stream?version=1"));
        assert!(shown("mailto:a", "b").is_err());
    }

    #[test]
    fn waits_grow_are_spread_and_stay_short_enough_to_be_back_within_a_poll() {
        let waits: Vec<_> = (1..=9).map(|failures| wait(failures, 1.0).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000, 15_000]);
        assert_eq!(wait(u32::MAX, 0.0), WAIT_MAX / 2);
        assert!((0..100).all(|_| (0.0..=1.0).contains(&chance())));
    }
}
