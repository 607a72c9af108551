//! Counters that fell although no new process explains it, and counters that do so again and again.
//!
//! One lower sample is no restart: two replicas behind one name hand out an older sample now and then. So the counter
//! waits. When it comes back it is booked across; when it stays low it counts on from there, and what it held when it
//! fell is never booked. When such falls come again and again, several processes answer under one address, or several
//! writers write one series: the counter *flickers*, and nothing that is made of it is known.

use serde::{Deserialize, Serialize};

use super::pace::FEW;
use super::pair::Count;

/// A counter that was lower for so many samples counts on from there.
pub(super) const SETTLED: u8 = 4;
/// Falls that lie further apart have nothing to do with each other, milliseconds.
pub(super) const RELATED_MS: i64 = 3_600_000;
/// So many deep falls within that time are a flicker.
const DEEP_FALLS: usize = 3;
/// Samples of a counter that fell are looked at together: so many at least, and at most.
const SAMPLES_MIN: usize = 9;
const SAMPLES_MAX: usize = 16;
/// Several counters that answer in turn are told from one that begins anew by this: sorted into series that only rise, of
/// so many samples each on average, they gain no more than this share of what restarts would make of them.
const SAMPLES_EACH: usize = 3;
const INTERLEAVED_SHARE: f64 = 0.2;
/// Falls remembered.
const REMEMBERED: usize = 4;

/// A counter stands lower than it was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Low {
    /// What it fell to.
    pub landed: Count,
    /// Its newest sample.
    pub newest: Count,
    /// Samples since it fell.
    pub samples: u8,
    /// What it is if it stays low for one more sample.
    pub anew: Anew,
}

/// Whether a counter that fell may have begun anew, without anything that proves it. As it is saved the first two are the
/// `false` and `true` of earlier files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Anew {
    /// Nothing says so.
    No,
    /// A new process can have what it fell to, and nothing else of its target says otherwise.
    Process,
    /// It was left out of some scrapes of its target, and what it fell to can have happened since the last of them: an
    /// exporter forgot it for want of events.
    Counter,
}

/// A fall that no new process explains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Fall {
    /// The samples before and after.
    pub was_ms: i64,
    pub at_ms: i64,
    pub from: f64,
    pub to: f64,
    /// It was taken for a restart by what other counters did; else nothing was booked.
    pub believed: bool,
}

/// What is doubtful about one counter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CounterDoubt {
    pub low: Option<Low>,
    /// Where it stood before it counted on from lower, and until when.
    pub was: Option<(i64, Count)>,
    /// When its process began anew, and where it stood before.
    pub before_restart: Option<(i64, f64)>,
    /// When it showed a view from before a restart, and the sample before that: the restart lies between. Saved in the
    /// lineage.
    #[serde(skip)]
    pub view: Option<(i64, i64)>,
    falls: Vec<Fall>,
    /// Its newest samples since it first fell.
    samples: Vec<(i64, f64)>,
}

impl CounterDoubt {
    /// Nothing is doubtful any more.
    pub fn is_over(&self, now_ms: i64) -> bool {
        let old = |at_ms: i64| at_ms < now_ms - RELATED_MS;
        let restarted = self.before_restart.is_some_and(|(at, _)| !old(at));
        let viewed = self.view.is_some_and(|(at, _)| !old(at));
        !restarted
            && !viewed
            && self.low.is_none()
            && self.was.is_none_or(|(at, _)| old(at))
            && self.falls.iter().all(|fall| old(fall.at_ms))
    }

    /// Takes one more sample.
    pub fn see(&mut self, at_ms: i64, value: f64) {
        if self.falls.is_empty() {
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.remove(0);
        }
        self.samples.push((at_ms, value));
    }

    /// Takes one more fall. Answers since when the counter flickers, if it does.
    pub fn note(&mut self, fall: Fall) -> Option<i64> {
        if self.falls.is_empty() {
            self.samples = vec![(fall.was_ms, fall.from), (fall.at_ms, fall.to)];
        }
        self.falls.retain(|known| known.at_ms >= fall.at_ms - RELATED_MS);
        if self.falls.len() == REMEMBERED {
            self.falls.remove(0);
        }
        self.falls.push(fall);
        let deep = self.falls.iter().filter(|fall| !fall.believed).count() >= DEEP_FALLS;
        (deep || self.is_interleaved(fall.at_ms)).then(|| self.falls[0].was_ms)
    }

    /// Whether the newest samples are those of a few counters that answer in turn, each of which hardly rises.
    fn is_interleaved(&self, now_ms: i64) -> bool {
        let recent = self.samples.iter().filter(|(at_ms, _)| *at_ms >= now_ms - RELATED_MS).map(|&(_, value)| value);
        let values: Vec<f64> = recent.collect();
        // Small counters that begin anew again and again look like anything.
        if values.len() < SAMPLES_MIN || values.iter().all(|&value| value <= FEW) {
            return false;
        }
        let (mut tops, mut gained): (Vec<f64>, f64) = (Vec::new(), 0.0);
        for &value in &values {
            let below = tops.iter_mut().filter(|top| **top <= value).max_by(|a, b| a.total_cmp(b));
            match below {
                Some(top) => {
                    gained += value - *top;
                    *top = value;
                }
                None => tops.push(value),
            }
        }
        let restarted = |pair: &[f64]| if pair[1] >= pair[0] { pair[1] - pair[0] } else { pair[1] };
        let counted: f64 = values.windows(2).map(restarted).sum();
        let falls = values.windows(2).any(|pair| pair[1] < pair[0]);
        falls && tops.len() * SAMPLES_EACH <= values.len() && gained <= INTERLEAVED_SHARE * counted
    }
}

/// Series that cannot be counted for a while, and why.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Uncountable {
    /// Nothing is known from here on, milliseconds.
    pub since_ms: i64,
    /// ... up to here, if nothing more happens.
    pub until_ms: i64,
    pub reason: crate::engine::status::DataReason,
    /// What was booked since was taken back.
    pub said: bool,
}
