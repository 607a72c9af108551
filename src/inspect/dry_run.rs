//! How the last weeks would have looked: sums of five minutes walked through the same evaluation and alert book that the
//! daemon uses.
//!
//! Approximate where five minutes hide something: slices of a quantile are judged five minutes at a time. Deliberately
//! absent: alerts of the budget on the way. Whether budget was left at a past moment needs the window before it, which
//! Prometheus has seldom kept; whether it is spent now is said.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::alert::{AlertKind, AlertMachine, TransitionKind};
use crate::engine::status::{DataHealth, DataReason, DataState};
use crate::engine::{Coverage, Labels, Ledger, SeriesStatus, Slo, Unit, burn};
use crate::prometheus::lookback::{STEP_S, Seen};

/// Evaluations that a look back at one SLO may cost; beyond, alerts are stepped less often than every five minutes.
const EVALUATIONS_MAX: i64 = 200_000;

/// How one SLO would have looked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Looked {
    /// The SLO.
    pub slo: String,
    /// Days of which something is known, of those asked for.
    pub days: f64,
    /// Days asked for.
    pub days_asked: f64,
    /// Events (judged slices of a quantile, slices of a gauge) in them.
    pub total: u64,
    /// Bad ones.
    pub bad: u64,
    /// Share of good ones, 0..=1; `None` without events.
    pub sli: Option<f64>,
    /// `1 - bad / (budget × total)`.
    pub budget_left: Option<f64>,
    /// Requests a day, of SLOs that count requests.
    pub events_per_day: Option<f64>,
    /// Alerts that would have gone out.
    pub alerts: Alerts,
    /// What was not looked at, and why.
    pub note: Option<String>,
}

/// Alerts by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Alerts {
    /// `SLOFastBurn`.
    pub fast_burn: u32,
    /// `SLOSlowBurn`.
    pub slow_burn: u32,
    /// 1 where the budget of the days looked at is spent.
    pub budget: u32,
    /// `SLODataMissing`.
    pub data_missing: u32,
}

/// Walks what was seen of one SLO up to `to_s`; alerts and sums count from `count_from_s` on.
pub fn look(slo: &Slo, seen: &Seen, count_from_s: i64, to_s: i64, resolution_s: i64) -> Looked {
    let mut looked = Looked { slo: slo.id.clone(), note: seen.fault.clone(), ..Looked::default() };
    looked.days_asked = (to_s - count_from_s) as f64 / 86_400.0;
    let Some(first_s) = seen.series.values().filter_map(|spans| Some(spans.first()?.start_s)).min() else {
        return looked;
    };
    let steps = (to_s - first_s) / STEP_S;
    let every = 1 + steps * seen.series.len() as i64 / EVALUATIONS_MAX;
    let mut ledger = Ledger::new(resolution_s);
    let mut places: Vec<(&Labels, &[_])> =
        seen.series.iter().map(|(labels, spans)| (labels, spans.as_slice())).collect();
    let mut walk =
        Walk { slo, book: AlertMachine::new(), before: BTreeMap::new(), newest: BTreeMap::new(), last_bad_s: None };
    let (mut events, mut counted) = (0, (0, 0));
    let mut known_s = 0;
    for (step, start_s) in (first_s..to_s).step_by(STEP_S as usize).enumerate() {
        let end_s = start_s + STEP_S;
        let mut known = false;
        for (labels, spans) in &mut places {
            let series = ledger.series_mut(slo, labels);
            let Some(((span, rest), is_whole)) = spans.split_first().zip(Some(labels.is_empty())) else { continue };
            if span.start_s > start_s {
                continue;
            }
            *spans = rest;
            if !series.apply_coarse(span.start_s, STEP_S, span.total, span.bad, Coverage::Known) {
                continue;
            }
            walk.newest.insert((*labels).clone(), end_s);
            walk.last_bad_s = if span.bad > 0 { Some(end_s) } else { walk.last_bad_s };
            known |= is_whole;
            if is_whole && start_s >= count_from_s {
                let sum = series.window(end_s, STEP_S);
                let (total, bad) = series.counted(&sum);
                events += sum.total;
                counted = (counted.0 + total, counted.1 + bad);
            }
        }
        known_s += if known && start_s >= count_from_s { STEP_S } else { 0 };
        if step as i64 % every == 0 || end_s >= to_s {
            walk.step(&ledger, end_s, start_s >= count_from_s, &mut looked.alerts);
        }
    }
    let (total, bad) = (counted.0 / slo.unit.scale(), counted.1 / slo.unit.scale());
    looked.days = known_s as f64 / 86_400.0;
    (looked.total, looked.bad) = (total, bad);
    looked.sli = (total > 0).then(|| 1.0 - bad as f64 / total as f64);
    looked.budget_left = (total > 0).then(|| 1.0 - bad as f64 / (total as f64 * slo.budget()));
    looked.alerts.budget = looked.budget_left.is_some_and(|left| left <= 0.0).into();
    let counts_requests = matches!(slo.unit, Unit::Events | Unit::QuantileSlices { .. });
    looked.events_per_day = (counts_requests && known_s > 0).then(|| events as f64 * 86_400.0 / known_s as f64);
    looked
}

/// The alerts of one SLO on their way.
struct Walk<'a> {
    slo: &'a Slo,
    book: AlertMachine,
    before: BTreeMap<Labels, SeriesStatus>,
    /// End of the newest sum of each series.
    newest: BTreeMap<Labels, i64>,
    last_bad_s: Option<i64>,
}

impl Walk<'_> {
    fn step(&mut self, ledger: &Ledger, at_s: i64, counts: bool, alerts: &mut Alerts) {
        let longest_s = self.slo.burn.iter().map(|clause| clause.long_s.max(clause.short_s)).max().unwrap_or(0);
        let burnt = self.last_bad_s.is_some_and(|bad_s| at_s - bad_s <= longest_s);
        let silent = self.newest.values().any(|&newest| newest < at_s);
        // Nothing can begin or end.
        if !burnt && !silent && self.book.active().is_empty() {
            return;
        }
        let mut statuses = Vec::new();
        for (labels, series) in ledger.of(&self.slo.id) {
            let newest = self.newest.get(labels).copied();
            let fresh = newest == Some(at_s);
            let (state, reason) = match fresh {
                true => (DataState::Fresh, DataReason::None),
                false => (DataState::Absent, DataReason::SamplesOld),
            };
            let data = DataHealth { state, reason, newest };
            statuses.push(burn::evaluate(self.slo, series, labels, data, at_s, self.before.get(labels)));
        }
        for transition in self.book.step_all(self.slo, &statuses, at_s) {
            if !counts || !matches!(transition.change, TransitionKind::Fired(_) | TransitionKind::Released) {
                continue;
            }
            match transition.kind {
                AlertKind::FastBurn => alerts.fast_burn += 1,
                AlertKind::SlowBurn => alerts.slow_burn += 1,
                AlertKind::DataMissing => alerts.data_missing += 1,
                // The budget is judged at the end; the others are the gate's.
                _ => {}
            }
        }
        self.book.prune(at_s);
        self.before = statuses.into_iter().map(|status| (status.labels.clone(), status)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::grid::CoarseSpan;
    use crate::spec;

    const T0: i64 = 1_790_000_100;
    const DAY: i64 = 86_400;

    fn slo() -> Slo {
        let text = "name: a\nowner: x\nslo: {availability: {objective: 99.9, sli: {total: m, bad: 'm{a=\"b\"}'}}}\n";
        spec::load_text("a.yaml", text).model.slos[0].slo.as_ref().clone()
    }

    /// Ten requests a second, and what `bad` says of each five minutes.
    fn seen(days: i64, bad: impl Fn(i64) -> Option<u64>) -> Seen {
        let span = |step: i64| Some(CoarseSpan { start_s: T0 + step * STEP_S, total: 3000, bad: bad(step)? });
        let spans = (0..days * DAY / STEP_S).filter_map(span).collect();
        Seen { series: [(Labels::new(), spans)].into(), from_s: T0, fault: None }
    }

    #[test]
    fn outages_are_alerts_and_a_quiet_month_has_none() {
        let to_s = T0 + 6 * DAY;
        let quiet = look(&slo(), &seen(6, |_| Some(0)), T0 + 3 * DAY, to_s, 30);
        assert_eq!((quiet.alerts, quiet.sli, quiet.budget_left), (Alerts::default(), Some(1.0), Some(1.0)));
        assert_eq!((quiet.days, quiet.total, quiet.events_per_day), (3.0, 3 * 288 * 3000, Some(864_000.0)));
        // Two outages of half an hour, a day apart, and one before the days that count.
        let outage = |step: i64| [500, 1000, 1300].iter().any(|from| (*from..from + 6).contains(&step));
        let burnt = look(&slo(), &seen(6, |step| Some(if outage(step) { 1500 } else { 0 })), T0 + 3 * DAY, to_s, 30);
        assert_eq!(burnt.alerts.fast_burn, 2, "{burnt:?}");
        assert_eq!(burnt.bad, 12 * 1500);
        assert_eq!(burnt.alerts.budget, 1, "{:?}", burnt.budget_left);
    }

    #[test]
    fn a_hole_is_no_data_and_not_a_zero() {
        let hole = |step: i64| (!(1000..1050).contains(&step)).then_some(0);
        let looked = look(&slo(), &seen(5, hole), T0 + 2 * DAY, T0 + 5 * DAY, 30);
        assert_eq!(looked.alerts, Alerts { data_missing: 1, ..Alerts::default() });
        assert_eq!(looked.total, (3 * 288 - 50) * 3000);
        assert!((looked.days - (3.0 - 50.0 / 288.0)).abs() < 1e-9, "{}", looked.days);
        assert_eq!(looked.sli, Some(1.0));
    }

    #[test]
    fn nothing_seen_is_nothing_known() {
        let looked = look(&slo(), &Seen::default(), T0, T0 + DAY, 30);
        assert_eq!((looked.days, looked.sli, looked.budget_left, looked.events_per_day), (0.0, None, None, None));
    }
}
