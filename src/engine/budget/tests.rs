//! Budgets of calendar windows, of several windows and after resets, against a model that keeps every slice in a list.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::engine::burn::evaluate;
use crate::engine::burn::tests::{FRESH, slo};
use crate::engine::exclusion::{Exclusion, Span, Weekly, Withdrawal};
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
type AllSlices = Vec<(Seconds, u64, u64)>;

fn ledger_of(slo: &Slo, slices: &AllSlices) -> SeriesLedger {
    let mut ledger = SeriesLedger::new(RES, slo.unit, slo.longest_s());
    let delta =
        |&(start, total, bad): &(_, _, _)| SliceDelta { slice: start / RES, total, bad, coverage: Coverage::Known };
    ledger.apply(&slices.iter().map(delta).collect::<Vec<_>>());
    ledger
}

fn at(slo: &Slo, ledger: &SeriesLedger, at: Seconds) -> SeriesStatus {
    evaluate(slo, ledger, &Labels::new(), FRESH, at, None)
}

fn sum(slices: &AllSlices, from: Seconds, to: Seconds) -> (u64, u64) {
    let within = slices.iter().filter(|(start, ..)| (from..to).contains(start));
    within.fold((0, 0), |(total, bad), slice| (total + slice.1, bad + slice.2))
}

/// Constant traffic of a hundred a slice, bad where `bad` says so.
fn traffic(from: Seconds, to: Seconds, bad: impl Fn(Seconds) -> u64) -> AllSlices {
    (from..to).step_by(RES as usize).map(|start| (start, 100, bad(start))).collect()
}

#[test]
fn the_budget_begins_anew_with_the_month_of_the_time_zone() {
    let slo = promise(calendar(CalendarUnit::Month, "Europe/Paris"));
    // An outage of ten hours on the last evening of October; November begins at 23:00 UTC.
    let (bad_from, reset) = (moment("2026-10-31T10:00:00Z"), moment("2026-10-31T23:00:00Z"));
    let outage = |start: Seconds| if (bad_from..bad_from + 10 * HOUR).contains(&start) { 100 } else { 0 };
    let slices = traffic(moment("2026-09-20T00:00:00Z"), reset + DAY, outage);
    let ledger = ledger_of(&slo, &slices);
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
    let first = at(&slo, &ledger_of(&slo, &slices), start + RES);
    assert_eq!(first.window.error_ratio, Some(0.5), "what happened is said as it is");
    // 50 of the 8928 that a month of this traffic allows.
    assert_eq!(first.budget_remaining, Some(1.0 - 50.0 / 8928.0));
    // Of a service that is new there is no month of traffic: it is counted against what there is.
    let new = ledger_of(&slo, &vec![(start, 100, 1)]);
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
        let status = at(&slo, &ledger_of(&slo, &slices), now);
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
    let status = at(&slo, &ledger_of(&slo, &slices), now);
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
    let ledger = ledger_of(&slo, &traffic(now - 31 * DAY, now, bad));
    let before = at(&slo, &ledger, now);
    assert_eq!(before.budget_remaining, Some(1.0 - 6.0 / 7.2));
    let reset = |at| {
        Arc::new(BudgetReset { at, when: Default::default(), author: "alice".into(), reason: "INC-7, agreed".into() })
    };
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
            reset.iter().map(|&at| Arc::new(BudgetReset { at, when: Default::default(), author: "a".into(), reason: "b".into() })).collect();
        let each = |start: Seconds| counts[((start / 1500) % counts.len() as i64) as usize];
        let slices: AllSlices = (now - known_days * DAY..now)
            .step_by(RES as usize)
            .map(|start| (start, each(start).0.max(each(start).1), each(start).1))
            .collect();
        let status = at(&slo, &ledger_of(&slo, &slices), now);
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

fn once(from: Seconds, to: Seconds) -> Span {
    Span::Once { from, to }
}

fn exclusion(span: Span) -> Arc<Exclusion> {
    Arc::new(Exclusion {
        name: "maintenance".into(),
        span,
        when: Default::default(),
        author: "alice".into(),
        reason: "announced".into(),
        withdrawn: None,
    })
}

#[test]
fn an_excluded_incident_is_out_of_budget_burn_and_state_and_still_there_to_be_seen() {
    let mut slo = slo(99.0);
    let now = moment("2026-11-25T12:00:00Z");
    let (from, to) = (now - 3 * HOUR, now - 600);
    let ledger =
        ledger_of(&slo, &traffic(now - 31 * DAY, now, |start| if (from..to).contains(&start) { 100 } else { 0 }));
    let before = at(&slo, &ledger, now);
    assert_eq!(before.state, SloState::FastBurn);
    slo.terms.exclusions = vec![exclusion(once(from, to))];
    let after = at(&slo, &ledger, now);
    assert_eq!((after.state, after.budget_remaining, after.window.bad), (SloState::Ok, Some(1.0), 0));
    assert!(after.clauses.iter().all(|clause| clause.burn_long == Some(0.0) && !clause.firing));
    let all = after.budgets[0].counting_all.expect("something was left out");
    assert_eq!((all.excluded_s, all.total, all.bad), (to - from, before.window.total, before.window.bad));
    assert_eq!((all.budget_remaining, all.error_ratio), (before.budget_remaining, before.window.error_ratio));
    assert_eq!(after.coverage, 1.0, "what does not count is not missing");
    // Taken back, everything is as if it had never been.
    let mut withdrawn = Exclusion::clone(&slo.terms.exclusions[0]);
    withdrawn.withdrawn = Some(Withdrawal { author: "bob".into(), reason: "it was ours".into() });
    slo.terms.exclusions = vec![Arc::new(withdrawn)];
    let back = at(&slo, &ledger, now);
    assert_eq!((back.state, back.window, back.clauses), (before.state, before.window, before.clauses));
}

#[test]
fn during_a_maintenance_nothing_burns_and_nothing_is_unknown() {
    let mut slo = slo(99.0);
    slo.terms.exclusions = vec![exclusion(once(moment("2026-11-25T10:00:00Z"), moment("2026-11-25T14:00:00Z")))];
    let now = moment("2026-11-25T12:00:00Z");
    let bad = |start: Seconds| if start >= now - 2 * HOUR - 600 { 100 } else { 0 };
    let ledger = ledger_of(&slo, &traffic(now - 31 * DAY, now, bad));
    // The burn began ten minutes before it: its short windows have nothing left that counts, so it ends.
    let burning = at(&slo, &ledger, now - 2 * HOUR);
    assert_eq!(burning.state, SloState::FastBurn);
    let status = evaluate(&slo, &ledger, &Labels::new(), FRESH, now, Some(&burning));
    assert_eq!((status.state, status.window.bad), (SloState::Ok, 200));
    assert!(status.clauses[0].burn_short.is_none() && !status.clauses[0].firing);
    // Where there is nothing else, nothing is known of what counts.
    let new = ledger_of(&slo, &traffic(now - HOUR, now, |_| 100));
    assert_eq!((at(&slo, &new, now).state, at(&slo, &new, now).budget_remaining), (SloState::Unknown, None));
}

#[test]
fn only_the_series_that_are_meant_are_excluded() {
    let mut slo = slo(99.0);
    let now = moment("2026-11-25T12:00:00Z");
    let ledger = ledger_of(&slo, &traffic(now - DAY, now, |_| 1));
    let of_eu = Exclusion {
        when: [("region".to_owned(), "eu".to_owned())].into(),
        ..(*exclusion(once(now - HOUR, now))).clone()
    };
    slo.terms.exclusions = vec![Arc::new(of_eu)];
    let of = |labels: &[(&str, &str)]| {
        let labels: Labels = labels.iter().copied().collect();
        evaluate(&slo, &ledger, &labels, FRESH, now, None).window.bad
    };
    assert_eq!((of(&[("region", "eu")]), of(&[("region", "us")]), of(&[])), (276, 288, 288));
}

#[test]
fn weekly_spans_follow_the_clocks_of_their_zone() {
    let weekly = |weekdays: &[i8], at: &str, zone: &str| {
        Span::Weekly(Weekly {
            weekdays: weekdays.to_vec(),
            at: at.parse().expect("a time"),
            length_s: 2 * HOUR,
            time_zone: TimeZone::get(zone).expect(zone),
            since: None,
            until: None,
        })
    };
    let starts = |span: &Span, from: &str, to: &str| -> Vec<String> {
        let spans = span.within(moment(from), moment(to));
        spans.map(|(start, _)| Timestamp::from_second(start).expect("sane").to_string()).collect()
    };
    // In Paris clocks go forward at 02:00 on 29 March, a Sunday.
    let sunday = weekly(&[7], "02:00:00", "Europe/Paris");
    assert_eq!(
        starts(&sunday, "2026-03-20T00:00:00Z", "2026-04-07T00:00:00Z"),
        ["2026-03-22T01:00:00Z", "2026-03-29T01:00:00Z", "2026-04-05T00:00:00Z"]
    );
    // One that began the day before is seen from its middle, and not from its end.
    assert_eq!(starts(&weekly(&[6], "23:00:00", "UTC"), "2026-11-22T00:30:00Z", "2026-11-22T02:00:00Z").len(), 1);
    assert_eq!(starts(&weekly(&[6], "23:00:00", "UTC"), "2026-11-22T01:00:00Z", "2026-11-22T02:00:00Z").len(), 0);
    let bounded = Span::Weekly(Weekly {
        since: Some(moment("2026-11-10T00:00:00Z")),
        until: Some(moment("2026-11-22T23:00:00Z")),
        ..match weekly(&[7], "23:00:00", "UTC") {
            Span::Weekly(weekly) => weekly,
            Span::Once { .. } => unreachable!("it was made weekly"),
        }
    });
    assert_eq!(starts(&bounded, "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"), ["2026-11-15T23:00:00Z"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Spans on whole hours are exact at any age; every other one is widened to the hour once only hours are left.
    #[test]
    fn exclusions_are_what_the_list_of_all_slices_gives_without_them(
        spans in prop::collection::vec((0_i64..33 * 12, 1_i64..60), 0..6),
        weekly_hour in 0_i8..24,
        weekly_length in 1_i64..9,
        hour in 480_000_i64..490_000,
        counts in prop::collection::vec((0_u64..500, 0_u64..20), 24 * 7),
        calendar_too in any::<bool>(),
    ) {
        let now = hour * HOUR;
        let mut slo = slo(99.0);
        slo.terms.more = vec![Period::Rolling(7 * DAY)];
        if calendar_too {
            slo.terms.more.push(Period::Calendar(calendar(CalendarUnit::Month, "Europe/Paris")));
        }
        // Steps of five minutes in the last three days, of an hour before.
        let span = |&(back, length): &(i64, i64)| match back {
            back if back < 6 * 12 => (now - back * 3600 + length * 300, now - back * 3600 + length * 600),
            back => (now - back * HOUR, now - back * HOUR + length * HOUR),
        };
        let mut exclusions: Vec<_> = spans.iter().map(|some| { let (from, to) = span(some); exclusion(once(from, to)) }).collect();
        exclusions.push(exclusion(Span::Weekly(Weekly {
            weekdays: vec![3, 6],
            at: jiff::civil::time(weekly_hour, 0, 0, 0),
            length_s: weekly_length * HOUR,
            time_zone: TimeZone::get("Europe/Paris").expect("there is one"),
            since: None,
            until: None,
        })));
        let each = |start: Seconds| counts[((start / 1500) % counts.len() as i64) as usize];
        let slices: AllSlices = (now - 34 * DAY..now)
            .step_by(RES as usize)
            .map(|start| (start, each(start).0.max(each(start).1), each(start).1))
            .collect();
        let ledger = ledger_of(&slo, &slices);
        let kept: AllSlices = slices
            .iter()
            .filter(|(start, ..)| !exclusions.iter().any(|one| one.holds(*start)))
            .copied()
            .collect();
        let all = at(&slo, &ledger, now);
        slo.terms.exclusions = exclusions;
        let status = at(&slo, &ledger, now);
        for window in &status.windows {
            let model = sum(&kept, now - window.window_s, now);
            prop_assert_eq!((window.total, window.bad), model, "{} s", window.window_s);
        }
        for (budget, of_all) in status.budgets.iter().zip(&all.budgets) {
            prop_assert_eq!((budget.window.total, budget.window.bad), sum(&kept, budget.from, now), "{}", budget.name);
            match &budget.counting_all {
                Some(counting) => {
                    prop_assert_eq!((counting.total, counting.bad), (of_all.window.total, of_all.window.bad));
                    prop_assert_eq!(counting.budget_remaining, of_all.budget_remaining);
                }
                None => prop_assert_eq!(budget.window, of_all.window),
            }
        }
    }

    /// However odd its edges: an excluded incident never comes back as it ages, and what else goes out with it is less
    /// than the step at each edge.
    #[test]
    fn an_excluded_incident_stays_out_as_it_ages(from in 0_i64..7200, length in 30_i64..9000, age_h in 0_i64..600) {
        let mut slo = slo(99.0);
        let start = moment("2026-11-01T00:00:00Z");
        let (from, to) = (start + from, start + from + length);
        let now = to.div_euclid(RES) * RES + RES + age_h * HOUR;
        let bad = |slice: Seconds| if slice + RES > from && slice < to { 100 } else { 0 };
        let ledger = ledger_of(&slo, &traffic(start - DAY, now, bad));
        slo.terms.exclusions = vec![exclusion(once(from, to))];
        let status = at(&slo, &ledger, now);
        prop_assert_eq!((status.window.bad, status.budget_remaining), (0, Some(1.0)));
        let left_out_s = (now - start + DAY) - status.window.total as i64 / 100 * RES;
        prop_assert!((to - from..to - from + 2 * HOUR).contains(&left_out_s), "{left_out_s} s");
    }
}
