//! One window of one series, counted as its SLO counts: in its unit, without what exclusions leave out.

use super::exclusion::Cuts;
use super::ledger::{STEP_MAX_S, SeriesLedger, WindowSum};
use super::slo::{Slo, Unit};
use super::status::WindowStatus;
use super::{Labels, Seconds};

/// A series as an SLO counts it.
pub(super) struct Reading<'a> {
    pub slo: &'a Slo,
    pub series: &'a SeriesLedger,
    pub labels: &'a Labels,
    /// What does not count.
    pub cuts: &'a Cuts,
    /// Windows that begin before this have not been read whole.
    pub read_from: Seconds,
    /// Mean traffic of the SLO's window, events a second, where its burns are weighed by the budget.
    pub mean_per_s: Option<f64>,
}

impl Reading<'_> {
    /// The window of `length_s` seconds up to `at`.
    pub fn window(&self, at: Seconds, length_s: i64) -> Window {
        let mut sum = self.series.window(at, length_s);
        let cuts = self.cuts.within(at - length_s - STEP_MAX_S, at);
        if !cuts.is_empty() {
            sum = sum - self.series.window_within(at, length_s, cuts);
        }
        let (counted, counted_bad) = self.series.counted(&sum);
        let unread = at - length_s < self.read_from;
        let ratio = (counted > 0 && !unread).then(|| counted_bad as f64 / counted as f64);
        let scale = self.slo.unit.scale();
        let (total, bad) = ((counted + scale / 2) / scale, (counted_bad + scale / 2) / scale);
        let judged_on_evidence = matches!(self.slo.unit, Unit::QuantileSlices { .. });
        let undecided = judged_on_evidence.then_some(sum.undecided);
        Window {
            length_s,
            sum,
            total,
            bad,
            undecided,
            ratio,
            burn: ratio.map(|ratio| ratio / self.slo.budget()),
            unread,
        }
    }
}

/// One window and its counts in the SLO's unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub length_s: i64,
    pub sum: WindowSum,
    pub total: u64,
    pub bad: u64,
    /// Judged slices that are neither, where slices are judged on evidence.
    pub undecided: Option<u64>,
    /// Bad ones of all.
    ratio: Option<f64>,
    /// Burn rate.
    pub burn: Option<f64>,
    /// It begins before what has been read of history: its counts are a part of it, and no ratio is known.
    pub unread: bool,
}

impl Window {
    /// Nothing is known of it, of all that counts.
    pub fn is_dark(&self) -> bool {
        self.sum.known == 0 && self.sum.slices > 0
    }

    pub fn status(&self) -> WindowStatus {
        WindowStatus {
            window_s: self.length_s,
            total: self.total,
            bad: self.bad,
            undecided: self.undecided,
            error_ratio: self.ratio,
            burn_rate: self.burn,
            bad_bounds: None,
        }
    }
}
