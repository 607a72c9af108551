//! What is known of a service now. PURE but for the time, which is an argument: milliseconds of a clock that nobody sets.
//!
//! What the source said holds for two of its polls and not a moment longer, whether the stream is still open or not: an app
//! that asks is told "not known" and never a yes of before. What the source itself takes back (it does not know the service any
//! more, it says what cannot be true) holds no longer at all.
//!
//! How old a word is, is not told by its arrival: what lay in a buffer while a process stood still arrives late. It is as old
//! as it is behind the one that came fastest on this stream, by the times that the source wrote on both.

use std::sync::Arc;

use serde::Serialize;

use super::wire::ServiceState;

/// Why nothing is known. One enum for log line, label of the metric and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// The source has not said anything yet.
    NotHeard,
    /// The source has not evaluated anything yet: it has just been started.
    SourceStarting,
    /// The stream is open, and nothing was evaluated for two polls.
    SourceSilent,
    /// The source cannot be reached.
    SourceUnreachable,
    /// The source does not let this process read.
    SourceRefuses,
    /// The source has no rules for this service.
    ServiceUnknown,
    /// What it says is of no form that is known here, or cannot be true.
    NotUnderstood,
    /// What it says is too large.
    TooLarge,
}

impl Unknown {
    /// As in metrics, logs and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Unknown::NotHeard => "not_heard",
            Unknown::SourceStarting => "source_starting",
            Unknown::SourceSilent => "source_silent",
            Unknown::SourceUnreachable => "source_unreachable",
            Unknown::SourceRefuses => "source_refuses",
            Unknown::ServiceUnknown => "service_unknown",
            Unknown::NotUnderstood => "not_understood",
            Unknown::TooLarge => "too_large",
        }
    }

    /// Whether what was said before is worth nothing any more. A source that cannot be reached took nothing back.
    fn takes_back(self) -> bool {
        matches!(self, Unknown::ServiceUnknown | Unknown::NotUnderstood | Unknown::TooLarge)
    }
}

/// What was said last.
#[derive(Debug, Clone)]
pub struct Told {
    /// The words.
    pub state: Arc<ServiceState>,
    /// When they were said, by the clock here.
    pub said_ms: i64,
}

impl Told {
    /// How long ago that was.
    pub fn age_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.said_ms).max(0)
    }

    /// The age of the newest evaluated slice behind it, seconds.
    pub fn slice_age_s(&self, now_ms: i64) -> i64 {
        let lag_ms = self.state.now_ms.saturating_sub(self.state.at.saturating_mul(1000));
        lag_ms.saturating_add(self.age_ms(now_ms)).div_euclid(1000)
    }
}

/// How long the word of a source holds.
fn holds_ms(state: &ServiceState) -> i64 {
    2 * state.poll_interval_s * 1000
}

/// Everything that is known.
#[derive(Debug, Clone, Default)]
pub struct Mirror {
    told: Option<Told>,
    /// Since when the newest evaluation is the newest one.
    evaluated_ms: i64,
    /// Why the last stream ended; `None` while one is open.
    lost: Option<Unknown>,
}

impl Mirror {
    /// A stream is open.
    pub fn opened(&mut self) {
        self.lost = None;
    }

    /// The source says this.
    pub fn hear(&mut self, told: Told) {
        let before = self.told.as_ref().map(|told| (&told.state.source.instance, told.state.at));
        // A word without a new evaluation is no sign that anything is looked at.
        if before != Some((&told.state.source.instance, told.state.at)) {
            self.evaluated_ms = told.said_ms;
        }
        self.told = Some(told);
    }

    /// The stream ended.
    pub fn lose(&mut self, why: Unknown) {
        self.lost = Some(why);
        if why.takes_back() {
            self.told = None;
        }
    }

    /// What was said last, however old it is.
    pub fn last(&self) -> Option<&Told> {
        self.told.as_ref()
    }

    /// What holds now.
    ///
    /// # Errors
    /// Why nothing does.
    pub fn standing(&self, now_ms: i64) -> Result<&Told, Unknown> {
        let Some(told) = &self.told else { return Err(self.lost.unwrap_or(Unknown::NotHeard)) };
        let holds_ms = holds_ms(&told.state);
        let old = told.age_ms(now_ms) > holds_ms || now_ms.saturating_sub(self.evaluated_ms) > holds_ms;
        if old || now_ms == i64::MAX {
            return Err(self.lost.unwrap_or(Unknown::SourceSilent));
        }
        if told.state.at == 0 {
            return Err(Unknown::SourceStarting);
        }
        Ok(told)
    }
}

/// When the words of one stream were said, by the clock here.
#[derive(Debug, Default)]
pub(super) struct Delays {
    /// The clock here less the source's, of the word that came fastest.
    least_ms: Option<i64>,
}

impl Delays {
    /// When a word that came at `came_ms` was said, where the source wrote `now_ms` on it.
    pub(super) fn said_ms(&mut self, now_ms: i64, came_ms: i64) -> i64 {
        let offset = came_ms.saturating_sub(now_ms);
        let least = self.least_ms.map_or(offset, |least| least.min(offset));
        self.least_ms = Some(least);
        now_ms.saturating_add(least)
    }

    /// The same, where that is not so long ago that the word does not hold any more.
    ///
    /// # Errors
    /// It lay somewhere, or the source's clock was set back: only another stream tells which.
    pub(super) fn told(&mut self, state: ServiceState, came_ms: i64) -> Result<Told, Unknown> {
        let told = Told { said_ms: self.said_ms(state.now_ms, came_ms), state: Arc::new(state) };
        if told.age_ms(came_ms) > holds_ms(&told.state) { Err(Unknown::SourceSilent) } else { Ok(told) }
    }
}

#[cfg(test)]
pub(crate) mod tests;
