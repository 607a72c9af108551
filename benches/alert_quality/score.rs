//! Pages held against the truth.

use crate::random::Random;
use crate::scenario::{HOUR, RES, Truth};

/// One run of one policy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// From the beginning of the fault to the page, minutes.
    pub delay_min: Option<f64>,
    /// Pages that began in the fault, or before it went out of the windows.
    pub episodes: f64,
    /// From the end of the fault until no page fires, minutes.
    pub reset_min: Option<f64>,
    /// While the truth was worth a page and none fired after the first, minutes.
    pub wrongly_safe_min: f64,
    /// Pages outside of it.
    pub false_pages: f64,
}

/// Minutes in a slice.
const MIN: f64 = RES as f64 / 60.0;

pub fn outcome(fires: &[bool], truth: &Truth, worthy: &[bool], counted_from: usize) -> Outcome {
    let begins = |slice: &usize| fires[*slice] && (*slice == 0 || !fires[*slice - 1]);
    let begun: Vec<usize> = (counted_from..fires.len()).filter(begins).collect();
    if truth.fault.is_empty() {
        return Outcome { false_pages: begun.len() as f64, ..Outcome::default() };
    }
    let fault = truth.fault.clone();
    // Half an hour after it the shortest windows of every policy are empty of it.
    let of_fault = |slice: &&usize| (fault.start..fault.end + HOUR / 2).contains(*slice);
    let first = (fault.start..fault.end + 2).find(|slice| fires.get(*slice) == Some(&true));
    let last = (fault.end..fires.len()).rev().find(|slice| fires[*slice]);
    let safe = first.map_or(0, |first| (first..fault.end).filter(|slice| worthy[*slice] && !fires[*slice]).count());
    let episodes = begun.iter().filter(of_fault).count();
    Outcome {
        delay_min: first.map(|first| (first + 1 - fault.start) as f64 * MIN),
        episodes: episodes as f64,
        reset_min: first.map(|_| last.map_or(0.0, |last| (last + 2 - fault.end) as f64 * MIN)),
        wrongly_safe_min: safe as f64 * MIN,
        false_pages: (begun.len() - episodes) as f64,
    }
}

/// A bootstrap interval of 95 % of the mean of many runs.
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

pub fn bootstrap(values: &[f64], random: &mut Random) -> Interval {
    let count = values.len();
    let mut draw = || (0..count).map(|_| values[random.below(count)]).sum::<f64>() / count.max(1) as f64;
    let mut means: Vec<f64> = (0..400).map(|_| draw()).collect();
    means.sort_by(f64::total_cmp);
    Interval { low: means[10], high: means[389] }
}

pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
