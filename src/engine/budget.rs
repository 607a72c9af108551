//! What is left of the budget of each window of an SLO.
//!
//! **Whose events.** `error budget × events of the whole window` may be bad. Of a rolling window they are all there. Of a
//! calendar period that is going on only those so far are; those of the last as many seconds stand for the whole, before
//! and after its start. At its end both are the same. Counting only the events so far would call the budget spent at the
//! first error of every month.
//!
//! **Which bad ones.** Those since the window's start, or since a budget reset in it. A reset changes nothing else: burn
//! rates and ratios are of what happened.
//!
//! The period is that of the newest slice, so it is never empty: at midnight the old one is shown whole.

use std::sync::Arc;

use super::Seconds;
use super::exclusion::Cuts;
use super::period::{BudgetReset, Period};
use super::status::{BudgetStatus, CountingAll};
use super::window::{Reading, Window};

/// The budget of one window at one moment.
pub(super) struct Budget {
    /// Its counts, so far.
    pub so_far: Window,
    pub remaining: Option<f64>,
    from: Seconds,
    resets_at: Option<Seconds>,
    reset: Option<Arc<BudgetReset>>,
}

impl Budget {
    pub fn read(reading: &Reading<'_>, period: &Period, at: Seconds) -> Self {
        let (from, resets_at, length_s) = match period {
            Period::Rolling(length_s) => (at - length_s, None, *length_s),
            Period::Calendar(calendar) => {
                let (start, end) = calendar.around(at - 1);
                (start, Some(end), end - start)
            }
        };
        let mut so_far = reading.window(at, at - from);
        let matches = |reset: &&Arc<BudgetReset>| {
            reset.at <= at && reset.when.iter().all(|(name, value)| reading.labels.get(name) == Some(value))
        };
        let resets = &reading.slo.terms.resets;
        let reset = resets.iter().rev().find(matches).filter(|reset| reset.at > from).cloned();
        let spent = reset.as_ref().map(|reset| reading.window(at, at - reset.at).bad);
        let whole = resets_at.map(|_| reading.window(at, length_s));
        let remaining = match (spent, &whole) {
            (None, None) => so_far.burn.map(|burn| 1.0 - burn),
            _ => {
                let whole = whole.as_ref().unwrap_or(&so_far);
                let may_be_bad = reading.slo.budget() * whole.total as f64;
                let spent = spent.unwrap_or(so_far.bad) as f64;
                (whole.total > 0 && !whole.unread).then(|| 1.0 - spent / may_be_bad)
            }
        };
        so_far.length_s = length_s;
        Budget { so_far, remaining, from, resets_at, reset }
    }

    /// Seconds until nothing is left at this burn rate; none where the budget begins anew before.
    pub fn exhaustion_s(&self, burn: Option<f64>, at: Seconds) -> Option<f64> {
        let left = self.remaining.filter(|left| *left > 0.0)?;
        let seconds = left * self.so_far.length_s as f64 / burn.filter(|burn| *burn > 0.0)?;
        Some(seconds).filter(|seconds| self.resets_at.is_none_or(|reset| at as f64 + seconds < reset as f64))
    }

    /// Events a second, of the slices so far that are known.
    pub fn mean_per_s(&self, resolution_s: i64) -> Option<f64> {
        let known_s = self.so_far.sum.known as i64 * resolution_s;
        (known_s > 0).then(|| self.so_far.total as f64 / known_s as f64)
    }

    /// Share of the slices so far that are known.
    pub fn coverage(&self) -> f64 {
        (self.so_far.sum.known as f64 / self.so_far.sum.slices.max(1) as f64).clamp(0.0, 1.0)
    }

    pub fn status(&self, reading: &Reading<'_>, period: &Period, burn: Option<f64>, at: Seconds) -> BudgetStatus {
        BudgetStatus {
            name: period.label(),
            time_zone: match period {
                Period::Rolling(_) => None,
                Period::Calendar(calendar) => Some(calendar.zone_name().to_owned()),
            },
            from: self.from,
            resets_at: self.resets_at,
            window: self.so_far.status(),
            budget_remaining: self.remaining,
            exhaustion_s: self.exhaustion_s(burn, at),
            coverage: self.coverage(),
            reset: self.reset.clone(),
            counting_all: self.counting_all(reading, period, at),
        }
    }

    fn counting_all(&self, reading: &Reading<'_>, period: &Period, at: Seconds) -> Option<CountingAll> {
        if reading.cuts.is_empty() {
            return None;
        }
        let all = Budget::read(&Reading { cuts: &Cuts::default(), ..*reading }, period, at);
        let excluded = all.so_far.sum.slices - self.so_far.sum.slices;
        (excluded > 0).then(|| CountingAll {
            excluded_s: excluded as i64 * reading.series.resolution_s(),
            total: all.so_far.total,
            bad: all.so_far.bad,
            error_ratio: all.so_far.status().error_ratio,
            budget_remaining: all.remaining,
        })
    }
}

/// Every window of an SLO at one moment, the main one first.
pub(super) struct Budgets {
    pub main: Budget,
    pub more: Vec<Budget>,
}

impl Budgets {
    pub fn read(reading: &Reading<'_>, at: Seconds) -> Self {
        let terms = &reading.slo.terms;
        Budgets {
            main: Budget::read(reading, &reading.slo.period(), at),
            more: terms.more.iter().map(|period| Budget::read(reading, period, at)).collect(),
        }
    }

    /// What is left of the one of which least is.
    pub fn least(&self) -> Option<f64> {
        self.more.iter().filter_map(|budget| budget.remaining).chain(self.main.remaining).reduce(f64::min)
    }

    /// Every window; nothing where the SLO has one rolling window, whose numbers are those of the series.
    pub fn statuses(&self, reading: &Reading<'_>, burn: Option<f64>, at: Seconds) -> Vec<BudgetStatus> {
        let terms = &reading.slo.terms;
        if terms.is_plain() {
            return Vec::new();
        }
        let main = self.main.status(reading, &reading.slo.period(), burn, at);
        let more = self.more.iter().zip(&terms.more).map(|(budget, period)| budget.status(reading, period, burn, at));
        std::iter::once(main).chain(more).collect()
    }
}

#[cfg(test)]
mod tests;
