//! An SLO as a whole: the sums of all its series over windows that its own clauses may not have.
//!
//! Other tools know one budget an SLO, whatever labels it fans out to; their series are made of this. Counts add up, so
//! the whole is exact where its parts are: no mean of ratios here either.
//!
//! Deliberately absent: clauses and states. An alert belongs to a series.

use super::ledger::{Ledger, SeriesLedger, SliceDelta};
use super::period::Period;
use super::slo::{Slo, Unit};
use super::status::{DataReason, SeriesStatus};
use super::{Labels, Seconds};

/// What is known of all series of one SLO together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Whole {
    /// The windows asked for, in the order they were asked for.
    pub windows: Vec<WholeWindow>,
    /// The SLO's main window; of a calendar one what there was of it so far.
    pub period: WholeWindow,
    /// Share of its budget that is left, if that is known. Of a calendar window the events of the last as many seconds
    /// stand for the whole. Budget resets are decided of series and do not count here.
    pub remaining: Option<f64>,
    /// Events read since the process began; bad ones among them.
    pub counted: Counted,
}

/// Events that were read, as two counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// All.
    pub total: u64,
    /// Bad ones among them.
    pub bad: u64,
}

impl Counted {
    /// Counts what a read found.
    pub fn add(&mut self, deltas: &[SliceDelta]) {
        for delta in deltas {
            self.total = self.total.saturating_add(delta.total);
            self.bad = self.bad.saturating_add(delta.bad);
        }
    }
}

/// One window over all series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WholeWindow {
    /// Length, seconds.
    pub window_s: i64,
    /// What the SLO counts: events, or judged slices.
    pub total: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// Events, also where the SLO counts slices.
    pub events: Counted,
    /// Slices known or partial.
    pub known: u64,
    /// Slices that it spans.
    pub slices: u64,
    /// It begins before what has been read of history.
    pub unread: bool,
}

impl WholeWindow {
    /// Share of bad ones. Of a window without any, 0 where it is known that nothing happened (at least half of its
    /// slices were seen, and they were idle), else `None`; and `None` while its history is being read.
    pub fn error_ratio(&self) -> Option<f64> {
        match self.total {
            _ if self.unread => None,
            0 => self.is_seen().then_some(0.0),
            total => Some(self.bad as f64 / total as f64),
        }
    }

    /// Events and bad events a second; `None` where too little of the window is known. An event in a slice that was not
    /// seen is missing from it, so the rate is that of the slices that were.
    pub fn rates(&self) -> Option<(f64, f64)> {
        if self.unread || !self.is_seen() {
            return None;
        }
        let seen_s = self.window_s as f64 * self.known as f64 / self.slices as f64;
        Some((self.events.total as f64 / seen_s, self.events.bad as f64 / seen_s))
    }

    fn is_seen(&self) -> bool {
        self.known > 0 && 2 * self.known >= self.slices
    }

    fn add(&mut self, unit: Unit, series: &SeriesLedger, at: Seconds) {
        let sum = series.window(at, self.window_s);
        let (total, bad) = series.counted(&sum);
        self.total += total;
        self.bad += bad;
        let scale = unit.scale();
        self.events.total += sum.total / scale;
        self.events.bad += sum.bad / scale;
        self.known += sum.known;
        self.slices += sum.slices;
    }
}

/// The whole of `slo` at `at` over `windows_s` and its own window. `series` are the statuses of the same moment: they
/// say whether history is still being read.
pub fn whole(slo: &Slo, ledger: &Ledger, series: &[SeriesStatus], windows_s: &[i64], at: Seconds) -> Whole {
    // Where the whole is counted as a series of its own, that says more than the children that are left.
    let parts: Vec<&SeriesLedger> = match ledger.get(&slo.id, &Labels::new()) {
        Some(whole) => vec![whole],
        None => ledger.of(&slo.id).map(|(_, series)| series).collect(),
    };
    sums(slo, &parts, series, windows_s, at)
}

/// The same of one child of a fan-out.
pub fn child(
    slo: &Slo,
    ledger: &Ledger,
    labels: &Labels,
    series: &[SeriesStatus],
    windows_s: &[i64],
    at: Seconds,
) -> Whole {
    let parts: Vec<&SeriesLedger> = ledger.get(&slo.id, labels).into_iter().collect();
    sums(slo, &parts, series, windows_s, at)
}

fn sums(slo: &Slo, parts: &[&SeriesLedger], series: &[SeriesStatus], windows_s: &[i64], at: Seconds) -> Whole {
    let filling = series.iter().any(|status| status.data.reason == DataReason::Filling);
    let oldest = parts.iter().filter_map(|series| series.oldest()).min();
    let read_from = if filling { oldest.unwrap_or(at) } else { Seconds::MIN };
    let window = |window_s: i64| {
        let mut window = WholeWindow { window_s, unread: at - window_s < read_from, ..WholeWindow::default() };
        parts.iter().for_each(|series| window.add(slo.unit, series, at));
        window
    };
    let (so_far_s, length_s) = match slo.period() {
        Period::Rolling(length_s) => (length_s, length_s),
        Period::Calendar(calendar) => {
            let (start, end) = calendar.around(at - 1);
            (at - start, end - start)
        }
    };
    let period = WholeWindow { window_s: slo.window_s, ..window(so_far_s) };
    let length = window(length_s);
    let spent = |bad: u64| bad as f64 / (slo.budget() * length.total as f64);
    let remaining = match (period.error_ratio(), length.total) {
        (None, _) => None,
        (Some(_), _) if length.unread => None,
        (Some(_), 0) => Some(1.0),
        (Some(_), _) => Some(1.0 - spent(period.bad)),
    };
    Whole {
        windows: windows_s.iter().map(|window_s| window(*window_s)).collect(),
        period,
        remaining,
        counted: Counted::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::burn::tests::{FRESH, slo as promising};
    use crate::engine::{Coverage, burn};

    const AT: Seconds = 1_790_000_000 / 3600 * 3600;

    fn filled(ledger: &mut Ledger, slo: &Slo, labels: &Labels, total: u64, bad: u64, slices: i64) {
        let newest = AT / 30;
        let delta = |slice| SliceDelta { slice, total, bad, coverage: Coverage::Known };
        let deltas: Vec<_> = (newest - slices..newest).map(delta).collect();
        ledger.series_mut(slo, labels).apply(&deltas);
    }

    fn of(slo: &Slo, ledger: &Ledger, data: crate::engine::status::DataHealth) -> Whole {
        let statuses: Vec<_> =
            ledger.of(&slo.id).map(|(labels, series)| burn::evaluate(slo, series, labels, data, AT, None)).collect();
        whole(slo, ledger, &statuses, &[300, 3600], AT)
    }

    #[test]
    fn children_weigh_by_their_events() {
        let (mut ledger, slo) = (Ledger::default(), promising(99.9));
        let child = |name: &str| [("model", name)].into_iter().collect::<Labels>();
        filled(&mut ledger, &slo, &child("busy"), 99, 0, 240);
        filled(&mut ledger, &slo, &child("quiet"), 1, 1, 240);
        let whole = of(&slo, &ledger, FRESH);
        assert_eq!(whole.windows[0].error_ratio(), Some(0.01));
        assert_eq!((whole.period.total, whole.period.bad), (240 * 100, 240));
        assert_eq!(whole.windows[0].rates(), Some((2.0 * 100.0 / 60.0, 2.0 / 60.0)));
    }

    #[test]
    fn idle_is_no_errors_and_unseen_is_unknown() {
        let (mut ledger, slo) = (Ledger::default(), promising(99.9));
        filled(&mut ledger, &slo, &Labels::new(), 0, 0, 12);
        let whole = of(&slo, &ledger, FRESH);
        assert_eq!(whole.windows[0].error_ratio(), Some(0.0), "five idle minutes, all seen");
        assert_eq!(whole.windows[1].error_ratio(), None, "an hour of which six minutes were seen");
        assert_eq!(whole.windows[1].rates(), None);
        let nothing = of(&slo, &Ledger::default(), FRESH);
        assert_eq!((nothing.windows[0].error_ratio(), nothing.windows[0].rates()), (None, None));
    }

    #[test]
    fn while_history_is_read_its_windows_are_unknown() {
        let (mut ledger, slo) = (Ledger::default(), promising(99.9));
        filled(&mut ledger, &slo, &Labels::new(), 10, 1, 120);
        let filling = crate::engine::status::DataHealth { reason: DataReason::Filling, ..FRESH };
        let whole = of(&slo, &ledger, filling);
        assert_eq!(whole.windows[0].error_ratio(), Some(0.1));
        assert_eq!(whole.period.error_ratio(), None, "an hour is not thirty days");
        assert_eq!(of(&slo, &ledger, FRESH).period.error_ratio(), Some(0.1));
    }
}
