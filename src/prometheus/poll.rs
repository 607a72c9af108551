//! What one poll brought.

use std::collections::BTreeMap;

use super::fault::Fault;
use crate::engine::status::DataReason;
use crate::query::ReadDeltas;
use crate::query::increment::{Reason, SeriesDeltas};

/// One poll's result.
#[derive(Debug, Default)]
pub struct Poll {
    /// What each series gained.
    pub series: Vec<SeriesDeltas>,
    /// Requests sent.
    pub requests: usize,
    /// Those of them that were answered.
    pub answered: usize,
    /// Raw samples in the answers.
    pub samples: usize,
    /// Bytes of the answers.
    pub bytes: usize,
    /// Requests that failed, with why.
    pub faults: Vec<(String, Fault)>,
    /// Requests whose answers were not wholly good, with why.
    pub doubts: Vec<(String, DataReason)>,
    /// Counter falls taken for restarts, and those that nothing explains.
    pub resets: u64,
    /// See `resets`.
    pub glitches: u64,
    /// What became of first samples.
    pub reasons: BTreeMap<Reason, u64>,
}

/// What came of a poll as a whole. What came of one request is the business of the SLOs that need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was answered, and can be trusted.
    Ok,
    /// Something was answered.
    Partial,
    /// The source gave nothing at all.
    Failed,
}

impl Outcome {
    /// As the label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Partial => "partial",
            Outcome::Failed => "failed",
        }
    }
}

impl Poll {
    /// What came of it as a whole: one request that fails does not make it a failed one.
    pub fn outcome(&self) -> Outcome {
        match (self.faults.is_empty(), self.answered > 0) {
            (true, _) if self.doubts.is_empty() => Outcome::Ok,
            (false, false) => Outcome::Failed,
            _ => Outcome::Partial,
        }
    }

    /// Takes another part of the same poll.
    pub(super) fn add(&mut self, other: Poll) {
        self.series.extend(other.series);
        self.requests += other.requests;
        self.answered += other.answered;
        self.samples += other.samples;
        self.bytes += other.bytes;
        self.faults.extend(other.faults);
        self.doubts.extend(other.doubts);
        self.resets += other.resets;
        self.glitches += other.glitches;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }

    /// Takes what reading counters found.
    pub(super) fn take(&mut self, harvest: ReadDeltas) {
        self.series.extend(harvest.series);
        self.resets += harvest.resets;
        self.glitches += harvest.glitches;
        for (reason, count) in harvest.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_that_fails_is_no_failed_poll() {
        let fault = || ("m".to_owned(), Fault::Refused("execution".into(), "no".into()));
        let of = |answered, faults: usize, doubts: usize| {
            let faults = (0..faults).map(|_| fault()).collect();
            let doubts = (0..doubts).map(|_| ("m".to_owned(), DataReason::SourceWarning)).collect();
            Poll { answered, faults, doubts, ..Poll::default() }.outcome()
        };
        assert_eq!((of(3, 0, 0), of(0, 0, 0)), (Outcome::Ok, Outcome::Ok));
        assert_eq!((of(3, 0, 1), of(1, 9, 0), of(1, 9, 1)), (Outcome::Partial, Outcome::Partial, Outcome::Partial));
        assert_eq!(of(0, 1, 0), Outcome::Failed);
    }
}
