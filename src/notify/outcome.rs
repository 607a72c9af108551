//! What became of one request, and why: the sender judges, the dispatcher waits.
//!
//! The same reason feeds the log line and the decision to try again.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The verdict on one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has it.
    Delivered,
    /// It may work later. `after` is what the destination asked for, not yet clamped.
    Retry {
        /// Why it did not work now.
        reason: Reason,
        /// `Retry-After`, where one was sent.
        after: Option<Duration>,
    },
    /// Sending the same again is pointless.
    Rejected(Reason),
}

/// Why a request was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No connection: refused, no route, no name, TLS failed.
    Unreachable(String),
    /// No complete answer within the time limit.
    Timeout,
    /// The connection broke before the status line.
    Broken(String),
    /// An answer that is not 2xx, with the beginning of its body.
    Status(StatusCode, String),
}

impl Outcome {
    /// The verdict on an answer. 2xx is delivered; 408, 425, 429 and 5xx may pass; everything else will not:
    /// redirects are not followed, for a signed page must not wander to a host nobody configured.
    pub fn of_status(status: StatusCode, headers: &HeaderMap, text: String, now_ms: i64) -> Self {
        if status.is_success() {
            return Outcome::Delivered;
        }
        let passing = matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error();
        let reason = Reason::Status(status, text);
        if passing { Outcome::Retry { reason, after: retry_after(headers, now_ms) } } else { Outcome::Rejected(reason) }
    }

    /// The verdict on a request that got no answer.
    pub fn of_error(error: reqwest::Error) -> Self {
        let reason = if error.is_timeout() {
            Reason::Timeout
        } else {
            let connect = error.is_connect();
            let text = innermost(&error.without_url());
            if connect { Reason::Unreachable(text) } else { Reason::Broken(text) }
        };
        Outcome::Retry { reason, after: None }
    }
}

impl Reason {
    /// The status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Reason::Status(status, _) => Some(status.as_u16()),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unreachable(text) => write!(f, "unreachable: {text}"),
            Reason::Timeout => f.write_str("no answer within the time limit"),
            Reason::Broken(text) => write!(f, "the connection broke: {text}"),
            Reason::Status(status, text) if text.is_empty() => write!(f, "answered {status}"),
            Reason::Status(status, text) => write!(f, "answered {status}: {text}"),
        }
    }
}

/// `Retry-After` in either of its forms (RFC 9110 §10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at_ms = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_millisecond();
    Some(Duration::from_millis(u64::try_from(at_ms.saturating_sub(now_ms)).unwrap_or(0)))
}

/// The cause at the bottom of an error chain: "connection refused" says more than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn judged(status: u16, retry_after: Option<&str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_str(value).expect("ascii"));
        }
        // 2015-10-21T07:28:00Z
        let status = StatusCode::from_u16(status).expect("in range");
        Outcome::of_status(status, &headers, String::new(), 1_445_412_480_000)
    }

    #[test]
    fn only_what_may_pass_is_retried() {
        for status in [200, 202, 204] {
            assert_eq!(judged(status, None), Outcome::Delivered, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(judged(status, None), Outcome::Retry { .. }), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 410, 413, 422] {
            assert!(matches!(judged(status, None), Outcome::Rejected(_)), "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_nonsense_is_ignored() {
        let after = |text| match judged(503, Some(text)) {
            Outcome::Retry { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Wed, 21 Oct 2015 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-3"), None);
    }
}
