//! What can have happened on a target in a while, judged by the pace at which its totals grew before.

use super::Tracker;
use super::cursors::Raw;
use super::evidence::TargetEvidence;
use super::pace::{FEW, PACE_MULTIPLE, Rates, SLIP, SMALL_SHARE};

/// A replica's older view of a counter is so many scrapes old at most, of so many milliseconds where that is not known.
const OLDER_VIEW_INTERVALS: i64 = 2;
const OLDER_VIEW_MS: i64 = 60_000;
/// ... and comes after less than this share of the scrape interval.
const SOON_INTERVALS: f64 = 0.8;

impl TargetEvidence {
    /// Most events that can have happened from `was_ms` to `at_ms` by the pace before; `None` where there is none yet.
    pub fn limit(&self, tracker: &Tracker, raw: &Raw, was_ms: i64, at_ms: i64) -> Option<f64> {
        self.limit_by(Rates::median, tracker, raw, was_ms, at_ms)
    }

    fn limit_by(
        &self,
        pace_of: fn(Rates) -> Option<f64>,
        tracker: &Tracker,
        raw: &Raw,
        was_ms: i64,
        at_ms: i64,
    ) -> Option<f64> {
        let seconds = (at_ms - was_ms).max(1) as f64 / 1000.0;
        let target = &tracker.targets[raw.target as usize];
        let of = |pace: u32| pace_of(self.rates_before(&tracker.paces[pace as usize], pace, raw.target, target, at_ms));
        let pace = raw.paces().filter_map(of).reduce(f64::max);
        pace.map(|pace| FEW.max(PACE_MULTIPLE * pace * seconds))
    }

    /// Whether a series that goes on under another name can have gained `value`. Its labels say who it is, so the busiest of
    /// the newest intervals is the measure.
    pub fn can_go_on(&self, tracker: &Tracker, raw: &Raw, value: f64, before: f64, was_ms: i64, at_ms: i64) -> bool {
        let limit = self.limit_by(Rates::fastest, tracker, raw, was_ms, at_ms);
        limit.map_or(value <= FEW || value <= SMALL_SHARE * before, |limit| value <= limit)
    }

    /// Whether a process that began after `was_ms` can have counted `value` up to `at_ms`; `before` is what the counter
    /// stood at.
    pub fn possible(
        &self,
        tracker: &Tracker,
        raw: &Raw,
        value: f64,
        before: Option<f64>,
        was_ms: i64,
        at_ms: i64,
    ) -> bool {
        match self.limit(tracker, raw, was_ms, at_ms) {
            Some(limit) => value <= limit,
            None => value <= FEW || before.is_some_and(|before| value <= SMALL_SHARE * before),
        }
    }

    /// Whether a fall is deeper than what a counter gains from scrape to scrape.
    pub fn is_deep(&self, tracker: &Tracker, raw: &Raw, fall: f64, at_ms: i64) -> bool {
        let every_ms = self.interval_ms(&tracker.targets[raw.target as usize], raw.target, at_ms);
        let views_ms = OLDER_VIEW_INTERVALS * every_ms.unwrap_or(OLDER_VIEW_MS);
        !self.possible(tracker, raw, fall, None, at_ms - views_ms, at_ms)
    }

    /// Whether a fall since `was_ms` can be an older view of the counter, as merged replicas hand it out soon after a newer
    /// one, or a slip of an exporter.
    pub fn may_be_older(&self, tracker: &Tracker, raw: &Raw, fall: f64, was_ms: i64, at_ms: i64) -> bool {
        fall <= SLIP || self.comes_soon(tracker, raw, was_ms, at_ms) && !self.is_deep(tracker, raw, fall, at_ms)
    }

    /// Whether a sample comes sooner after the one before than the target is scraped.
    pub fn comes_soon(&self, tracker: &Tracker, raw: &Raw, was_ms: i64, at_ms: i64) -> bool {
        let every_ms = self.interval_ms(&tracker.targets[raw.target as usize], raw.target, at_ms);
        every_ms.is_some_and(|every| ((at_ms - was_ms) as f64) < SOON_INTERVALS * every as f64)
    }
}
