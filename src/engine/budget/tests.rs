//! Budgets of calendar windows, of several windows and after resets, against a model that keeps every slice in a list.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::engine::burn::evaluate;
use crate::engine::burn::tests::{FRESH, slo};
use crate::engine::ledger::{Coverage, SliceDelta};
use crate::engine::period::{Calendar, CalendarUnit};
use crate::engine::{Labels, SeriesLedger, SeriesStatus, Slo, SloState};

const RES: i64 = 300;
const DAY: i64 = 86_400;
const HOUR: i64 = 3600;

fn moment(text: &str) -> Seconds {
    text.parse::<Timestamp>().expect(text).as_second()
}

fn calendar(unit: CalendarUnit, zone: &str) -> Calendar {
    Calendar::new(unit, TimeZone::get(zone).expect(zone))
}

/// An SLO of 99 % over one calendar window, with no clause but a slow one.
fn promise(calendar: Calendar) -> Slo {
    let mut slo = slo(99.0);
    slo.burn.retain(|clause| clause.long_s == DAY);
    slo.window_s = calendar.unit.nominal_s();
    slo.terms.calendar = Some(calendar);
    slo
}

/// Every slice there is: (start, total, bad).
type Slices = Vec<(Seconds, u64, u64)>;

fn ledger(slo: &Slo, slices: &Slices) -> SeriesLedger {
    let mut ledger = SeriesLedger::new(RES, slo.unit, slo.longest_s());
    let delta =
        |&(start, total, bad): &(_, _, _)| SliceDelta { slice: start / RES, total, bad, coverage: Coverage::Known };
    ledger.apply(&slices.iter().map(delta).collect::<Vec<_>>());
    ledger
}

fn at(slo: &Slo, ledger: &SeriesLedger, at: Seconds) -> SeriesStatus {
    evaluate(slo, ledger, &Labels::new(), FRESH, at, None)
}

fn sum(slices: &Slices, from: Seconds, to: Seconds) -> (u64, u64) {
    let within = slices.iter().filter(|(start, ..)| (from..to).contains(start));
    within.fold((0, 0), |(total, bad), slice| (total + slice.1, bad + slice.2))
}

/// Constant traffic of a hundred a slice, bad where `bad` says so.
fn traffic(from: Seconds, to: Seconds, bad: impl Fn(Seconds) -> u64) -> Slices {
    (from..to).step_by(RES as usize).map(|start| (start, 100, bad(start))).collect()
}

#[test]
fn the_budget_begins_anew_with_the_month_of_the_time_zone() {
    let slo = promise(calendar(CalendarUnit::Month, "Europe/Paris"));
    // An outage of ten hours on the last evening of October; November begins at 23:00 UTC.
    let (bad_from, reset) = (moment("2026-10-31T10:00:00Z"), moment("2026-10-31T23:00:00Z"));
    let outage = |start: Seconds| if (bad_from..bad_from + 10 * HOUR).contains(&start) { 100 } else { 0 };
    let slices = traffic(moment("2026-09-20T00:00:00Z"), reset + DAY, outage);
    let ledger = ledger(&slo, &slices);
    let before = at(&slo, &ledger, reset);
    // October has 745 hours there; one percent of them may be bad.
    assert_eq!(before.budget_remaining, Some(1.0 - 10.0 / 7.45));
    assert_eq!((before.window.total, before.window.bad), (745 * 1200, 12_000));
    assert_eq!((before.state, before.budgets[0].resets_at), (SloState::Exhausted, Some(reset)));
    let after = at(&slo, &ledger, reset + RES);
    assert_eq!((after.budget_remaining, after.window.bad), (Some(1.0), 0));
    assert_eq!(after.budgets[0].from, reset);
    assert_eq!(after.budgets[0].resets_at, Some(moment("2026-11-30T23:00:00Z")));
    assert_eq!(after.budgets[0].time_zone.as_deref(), Some("Europe/Paris"));
}

#[test]
fn the_first_error_of_a_month_does_not_spend_its_budget() {
    let slo = promise(calendar(CalendarUnit::Month, "UTC"));
    let start = moment("2026-03-01T00:00:00Z");
    let slices = traffic(start - 40 * DAY, start + RES, |slice| if slice == start { 50 } else { 0 });
    let first = at(&slo, &ledger(&slo, &slices), start + RES);
    assert_eq!(first.window.error_ratio, Some(0.5), "what happened is said as it is");
    // 50 of the 8928 that a month of this traffic allows.
    assert_eq!(first.budget_remaining, Some(1.0 - 50.0 / 8928.0));
    // Of a service that is new there is no month of traffic: it is counted against what there is.
    let new = ledger(&slo, &vec![(start, 100, 1)]);
    assert_eq!(at(&slo, &new, start + RES).budget_remaining, Some(0.0));
}

#[test]
fn a_budget_that_lasts_until_it_begins_anew_is_not_called_gone() {
    let slo = promise(calendar(CalendarUnit::Month, "UTC"));
    let end = moment("2026-04-01T00:00:00Z");
    // At twice the sustainable rate since the month began, the budget is gone after half of it.
    for (burn, days, exhaustion_s) in [(2, 10.0, Some(5.5 * DAY as f64)), (1, 30.0, None), (0, 10.0, None)] {
        let now = end - 31 * DAY + (days * DAY as f64) as i64;
        let slices = traffic(end - 70 * DAY, now, |start| if start >= end - 31 * DAY { burn } else { 0 });
        let status = at(&slo, &ledger(&slo, &slices), now);
        assert_eq!(status.exhaustion_s, exhaustion_s, "at {burn}x on day {days}");
    }
}

#[test]
fn the_least_budget_of_several_windows_decides_the_state() {
    let mut slo = slo(99.0);
    slo.burn.retain(|clause| clause.long_s == DAY);
    slo.terms.more = vec![Period::Calendar(calendar(CalendarUnit::Week, "UTC")), Period::Rolling(DAY)];
    let now = moment("2026-11-25T00:00:00Z");
    let bad = |start: Seconds| if (now - 2 * DAY..now - 2 * DAY + 2 * HOUR).contains(&start) { 100 } else { 0 };
    let slices = traffic(now - 31 * DAY, now, bad);
    let status = at(&slo, &ledger(&slo, &slices), now);
    let left: Vec<_> = status.budgets.iter().map(|budget| (budget.name.as_str(), budget.budget_remaining)).collect();
    assert_eq!(left, [("30d", Some(1.0 - 2.0 / 7.2)), ("week", Some(1.0 - 2.0 / 1.68)), ("1d", Some(1.0))]);
    assert_eq!(status.budget_remaining, Some(1.0 - 2.0 / 7.2), "the main window is the first");
    assert_eq!((status.state, status.least_budget()), (SloState::Exhausted, Some(1.0 - 2.0 / 1.68)));
}

#[test]
fn a_reset_gives_the_budget_back_and_changes_nothing_that_happened() {
    let mut slo = slo(99.0);
    slo.burn.retain(|clause| clause.long_s == DAY);
    let now = moment("2026-11-25T00:00:00Z");
    let bad = |start: Seconds| if (now - 12 * HOUR..now - 6 * HOUR).contains(&start) { 100 } else { 0 };
    let ledger = ledger(&slo, &traffic(now - 31 * DAY, now, bad));
    let before = at(&slo, &ledger, now);
    assert_eq!(before.budget_remaining, Some(1.0 - 6.0 / 7.2));
    let reset = |at| Arc::new(BudgetReset { at, author: "alice".into(), reason: "INC-7, agreed".into() });
    slo.terms.resets = vec![reset(now - 60 * DAY), reset(now - 7 * HOUR), reset(now + HOUR)];
    let after = at(&slo, &ledger, now);
    assert_eq!(after.budget_remaining, Some(1.0 - 1.0 / 7.2), "an hour of it came after the reset");
    assert_eq!((after.window, after.windows, after.state), (before.window, before.windows, before.state));
    assert_eq!(after.budgets[0].reset.as_ref().map(|reset| reset.at), Some(now - 7 * HOUR));
    // Before that moment nothing is other than it was, and when it has left the window nothing is left of it.
    assert_eq!(at(&slo, &ledger, now - 8 * HOUR).budget_remaining, Some(1.0 - 4.0 / 7.2));
    let long_after = at(&slo, &ledger, now + HOUR + 30 * DAY);
    assert_eq!(long_after.budgets[0].reset, None);
}

fn zones() -> impl Strategy<Value = &'static str> {
    // Whole hours from UTC, so that periods begin on hours and nothing is cut.
    prop_oneof![Just("UTC"), Just("Europe/Paris"), Just("America/New_York"), Just("Asia/Beirut")]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn calendar_windows_and_resets_are_what_the_list_of_all_slices_gives(
        unit in prop_oneof![Just(CalendarUnit::Week), Just(CalendarUnit::Month), Just(CalendarUnit::Quarter)],
        zone in zones(),
        starts in 1_i8..=7,
        hour in 480_000_i64..520_000,
        reset in prop::option::of(0_i64..2000),
        counts in prop::collection::vec((0_u64..500, 0_u64..20), 24 * 7),
        known_days in 1_i64..200,
    ) {
        let starts = if unit == CalendarUnit::Month { 1 } else { starts };
        let now = hour * HOUR;
        let calendar = Calendar { starts, ..calendar(unit, zone) };
        let (from, end) = calendar.around(now - 1);
        let mut slo = promise(calendar);
        let reset = reset.map(|hours| now - hours * HOUR);
        slo.terms.resets =
            reset.iter().map(|&at| Arc::new(BudgetReset { at, author: "a".into(), reason: "b".into() })).collect();
        let each = |start: Seconds| counts[((start / 1500) % counts.len() as i64) as usize];
        let slices: Slices = (now - known_days * DAY..now)
            .step_by(RES as usize)
            .map(|start| (start, each(start).0.max(each(start).1), each(start).1))
            .collect();
        let status = at(&slo, &ledger(&slo, &slices), now);
        let so_far = sum(&slices, from, now);
        prop_assert_eq!((status.window.total, status.window.bad), so_far);
        let whole = sum(&slices, now - (end - from), now).0;
        let spent = match reset.filter(|&reset| reset > from) {
            Some(reset) => sum(&slices, reset, now).1,
            None => so_far.1,
        };
        let left = (whole > 0).then(|| 1.0 - spent as f64 / (slo.budget() * whole as f64));
        prop_assert_eq!(status.budget_remaining, left);
        prop_assert_eq!(status.budgets[0].resets_at, Some(end));
    }
}
