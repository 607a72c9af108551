//! Why a request to Prometheus gave nothing usable.

use std::fmt;

/// A failed request. One enum for the log line, the metric label and the data state's reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or it broke.
    Unreachable(String),
    /// No complete answer within the deadline.
    Timeout,
    /// An HTTP status that is no answer, with the start of the body.
    Status(u16, String),
    /// The body is not the JSON (or the frames) that was asked for.
    NotAnAnswer(String),
    /// Prometheus refused the query: `errorType` and `error`.
    Refused(String, String),
    /// The body is over the cap, bytes.
    TooLarge(usize),
}

impl Fault {
    /// Whether the server answered that it does not take such a query: an answer, and no silence.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Fault::Refused(..) | Fault::Status(400..500, _))
    }

    /// Whether it says something of the query, and not of the server: asked again, it would fail again.
    pub fn is_of_the_query(&self) -> bool {
        match self {
            Fault::TooLarge(_) => true,
            // Prometheus has words, VictoriaMetrics the number of the HTTP status.
            Fault::Refused(kind, _) => ["execution", "bad_data", "400", "422"].contains(&kind.as_str()),
            Fault::Status(status, _) => [400, 413, 414, 422, 431].contains(status),
            Fault::Unreachable(_) | Fault::Timeout | Fault::NotAnAnswer(_) => false,
        }
    }

    /// A stable word for labels.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::Unreachable(_) => "unreachable",
            Fault::Timeout => "timeout",
            Fault::Status(..) => "http_status",
            Fault::NotAnAnswer(_) => "not_an_answer",
            Fault::Refused(..) => "refused",
            Fault::TooLarge(_) => "too_large",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unreachable(why) => write!(f, "Prometheus cannot be reached: {why}"),
            Fault::Timeout => f.write_str("Prometheus gave no complete answer within the deadline"),
            Fault::Status(status, body) => write!(f, "HTTP status {status}: {body}"),
            Fault::NotAnAnswer(why) => write!(f, "that is no answer of a Prometheus: {why}"),
            Fault::Refused(kind, why) => write!(f, "Prometheus refused the query ({kind}): {why}"),
            Fault::TooLarge(max) => {
                write!(
                    f,
                    "the answer is larger than {max} bytes: narrow the selector, or raise prometheus.max_response_bytes"
                )
            }
        }
    }
}

impl std::error::Error for Fault {}
