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

    /// Whether the server may well answer if it is asked for less: a shorter time, fewer samples, a smaller answer.
    /// Stores say so in words of their own (`err-mimir-max-total-query-length`, "query processing would load too many
    /// samples", "exceeds -search.maxSamplesPerQuery").
    pub fn asks_for_less(&self) -> bool {
        const WORDS: [&str; 9] =
            ["limit", "exceed", "too many", "too large", "too long", "too big", "length", "maximum", "timed out"];
        let about_size = |why: &str| {
            let why = why.to_lowercase();
            WORDS.iter().any(|word| why.contains(word))
        };
        match self {
            Fault::TooLarge(_) | Fault::Timeout => true,
            Fault::Status(413, _) => true,
            Fault::Refused(kind, why) => kind == "timeout" || about_size(kind) || about_size(why),
            Fault::Status(400 | 422 | 503 | 504, why) => about_size(why),
            Fault::Status(..) | Fault::Unreachable(_) | Fault::NotAnAnswer(_) => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_less_is_known_by_its_words() {
        let refused = |kind: &str, why: &str| Fault::Refused(kind.into(), why.into());
        let less = [
            refused("bad_data", "the total query time range exceeds the limit (err-mimir-max-total-query-length)"),
            refused("execution", "query processing would load too many samples into memory in query execution"),
            refused(
                "422",
                "cannot select more than -search.maxSamplesPerQuery=1000 samples; possible solutions: reduce limit",
            ),
            refused("timeout", "query timed out in expression evaluation"),
            refused("bad_data", "exceeded maximum resolution of 11,000 points per timeseries"),
            Fault::Status(413, "Request Entity".into()),
            Fault::Status(422, "query length too long".into()),
            Fault::TooLarge(1),
            Fault::Timeout,
        ];
        assert!(less.iter().all(Fault::asks_for_less), "{less:?}");
        let other = [
            refused("bad_data", "parse error: unexpected character"),
            Fault::Status(401, "token over its limit".into()),
            Fault::Status(404, "not found".into()),
            Fault::Unreachable("connection refused".into()),
            Fault::NotAnAnswer("a chunk is damaged".into()),
        ];
        assert!(!other.iter().any(Fault::asks_for_less), "{other:?}");
    }
}
