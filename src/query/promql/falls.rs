//! What a doctor asks of a counter that falls: how far, how often, and whether it stays down.
//!
//! Moments are steps of the scrape interval back from each point of a subquery: `own` now, one step ago, two steps ago.

use super::expr;

/// The largest share of its samples in which a series of a selector falls.
pub fn share(selector: &str, window: &str) -> String {
    format!("max(resets({selector}[{window}]) / count_over_time({selector}[{window}]))")
}

/// How often processes with these matchers began anew.
pub fn starts(matchers: &str, back_s: i64) -> String {
    format!("max(changes(process_start_time_seconds{{{matchers}}}[{back_s}s]))")
}

/// A counter that falls.
#[derive(Debug, Clone, Copy)]
pub struct Falls<'a> {
    /// Its selector.
    pub own: &'a str,
    /// Time between two scrapes, seconds.
    pub step_s: i64,
    /// How far back is looked, seconds.
    pub back_s: i64,
    /// A fall to under this share of the value is a far one ...
    pub far: f64,
    /// ... if it is by more events than this.
    pub few: f64,
}

impl Falls<'_> {
    fn ago(&self, steps: i64) -> String {
        format!("{} offset {}s", self.own, steps * self.step_s)
    }

    fn window(&self, function: &str, what: &str) -> String {
        let (back, step) = (format!("{}s", self.back_s), format!("{}s", self.step_s));
        expr::call("max", &expr::subquery(function, what, back, step))
    }

    fn counted(&self, what: &str) -> String {
        self.window("sum_over_time", what)
    }

    fn fell(&self, now: &str, before: &str) -> String {
        format!("({now} < bool {} * ({before})) * ((({before}) - {now}) > bool {})", self.far, self.few)
    }

    /// How often it fell far.
    pub fn deep(&self) -> String {
        self.counted(&self.fell(self.own, &self.ago(1)))
    }

    /// A usual small rise of it.
    pub fn rise(&self) -> String {
        let rises = format!("({} - {}) > 0", self.own, self.ago(1));
        format!("max(quantile_over_time(0.25, ({rises})[{}s:{}s]))", self.back_s, self.step_s)
    }

    /// How often it fell far from over `high`, and was back at its height a step later.
    pub fn returns(&self, high: f64) -> String {
        let before = self.fell(&format!("({})", self.ago(1)), &self.ago(2));
        let is_high = format!("(({}) > bool {high})", self.ago(1));
        self.counted(&format!("{before} * {is_high} * ({} >= bool ({}))", self.own, self.ago(2)))
    }

    /// How often it was lower than a step before.
    pub fn seen(&self) -> String {
        self.counted(&self.lower())
    }

    /// How often it was still lower a step later.
    pub fn low(&self) -> String {
        self.counted(&format!("{} * ({} < bool ({}))", self.lower(), self.own, self.ago(2)))
    }

    fn lower(&self) -> String {
        format!("(({}) < bool ({}))", self.ago(1), self.ago(2))
    }
}
