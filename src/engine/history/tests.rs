//! Ranges against a model that keeps every slice in a list, and against evaluations at the same moments.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::engine::burn::evaluate;
use crate::engine::burn::tests::{FRESH, slo};
use crate::engine::exclusion::{Exclusion, Span};
use crate::engine::ledger::{Coverage, SliceDelta};
use crate::engine::{Calendar, CalendarUnit};

const RES: i64 = 30;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// 2026-03-27T12:00:00Z: two days before the clocks of Paris are set forward.
const START: i64 = 1_774_612_800;

/// Slices by their start; what is not in it is unknown.
type Truth = BTreeMap<i64, (u64, u64, Coverage)>;

fn ledger_of(slo: &Slo, truth: &Truth) -> SeriesLedger {
    let mut series = SeriesLedger::new(RES, slo.unit, slo.longest_s());
    let delta = |(&start, &(total, bad, coverage)): (&i64, &(u64, u64, Coverage))| SliceDelta {
        slice: start / RES,
        total,
        bad,
        coverage,
    };
    series.apply(&truth.iter().map(delta).collect::<Vec<_>>());
    series
}

/// A hundred a slice, `bad` of them.
fn steady(from: i64, to: i64, bad: impl Fn(i64) -> u64) -> Truth {
    (from..to).step_by(RES as usize).map(|start| (start, (100, bad(start), Coverage::Known))).collect()
}

fn read(slo: &Slo, series: &SeriesLedger, from: i64, to: i64, step_s: i64) -> History {
    let range = Range::new(from, to, step_s, series.slice_s()).expect("a range");
    history(slo, series, &Labels::new(), range, false)
}

#[test]
fn what_is_not_known_has_no_count_and_what_is_idle_has_none_bad() {
    let slo = slo(99.9);
    let mut truth = steady(START, START + HOUR, |_| 1);
    for start in (START + 600..START + 900).step_by(RES as usize) {
        truth.remove(&start);
    }
    truth.extend((START + 900..START + 1200).step_by(RES as usize).map(|start| (start, (0, 0, Coverage::Known))));
    truth.insert(START + 1200, (100, 1, Coverage::Partial));
    let series = ledger_of(&slo, &truth);
    let shown = read(&slo, &series, START - HOUR, START + HOUR, 300);
    assert_eq!((shown.known_from, shown.points.len()), (Some(START), 24));
    for point in &shown.points[..12] {
        assert_eq!((point.data, point.total, point.bad, point.error_ratio), (PointData::Unknown, None, None, None));
        assert_eq!((point.coverage, point.budget_remaining), (0.0, None));
        assert!(point.burn.iter().all(Option::is_none), "{point:?}");
    }
    let said = |nth: usize| {
        let point = &shown.points[12 + nth];
        (point.data, point.total, point.bad, point.error_ratio)
    };
    assert_eq!(said(0), (PointData::Known, Some(1000), Some(10), Some(0.01)));
    assert_eq!(said(2), (PointData::Unknown, None, None, None));
    assert_eq!(said(3), (PointData::Known, Some(0), Some(0), None));
    assert_eq!(said(4), (PointData::Partial, Some(1000), Some(10), Some(0.01)));
    assert_eq!(said(11), (PointData::Known, Some(1000), Some(10), Some(0.01)));
}

#[test]
fn each_point_says_what_an_evaluation_at_its_end_says() {
    let mut slo = slo(99.0);
    let paris = jiff::tz::TimeZone::get("Europe/Paris").expect("it is compiled in");
    for calendar in [None, Some(Calendar::new(CalendarUnit::Month, paris))] {
        slo.terms.calendar = calendar;
        // Over the hour that Paris does not have, and a month that ends at another moment than that of UTC.
        let truth = steady(START, START + 6 * DAY, |start| ((start / 7200) % 4) as u64);
        let series = ledger_of(&slo, &truth);
        let (from, to) = (START + DAY, START + 6 * DAY);
        let shown = read(&slo, &series, from, to, 2 * HOUR);
        assert_eq!(shown.points.len(), 60);
        let limits: Vec<_> = shown.windows.iter().map(|window| (window.window_s, window.limits.len())).collect();
        assert_eq!(limits, [(300, 1), (1800, 1), (3600, 1), (7200, 1), (21_600, 2), (86_400, 1), (259_200, 1)]);
        for point in &shown.points {
            let status = evaluate(&slo, &series, &Labels::new(), FRESH, point.to, None);
            let burns: Vec<_> = status.windows.iter().map(|window| window.burn_rate).collect();
            assert_eq!((&point.burn, point.budget_remaining), (&burns, status.budget_remaining), "{point:?}");
        }
    }
}

#[test]
fn what_does_not_count_is_said_and_not_counted() {
    let mut slo = slo(99.9);
    slo.terms.exclusions = vec![Arc::new(Exclusion {
        name: "move".into(),
        span: Span::Once { from: START + 600, to: START + 1200 },
        when: BTreeMap::new(),
        author: "ada".into(),
        reason: "a rack moves".into(),
        withdrawn: None,
    })];
    let series = ledger_of(&slo, &steady(START, START + HOUR, |_| 50));
    let shown = read(&slo, &series, START, START + HOUR, 600);
    let data: Vec<_> = shown.points.iter().map(|point| (point.data, point.total)).collect();
    let counts = (PointData::Known, Some(2000));
    assert_eq!(data, [counts, (PointData::Excluded, None), counts, counts, counts, counts]);
}

#[test]
fn old_hours_are_exact_and_parts_of_them_are_marked() {
    let slo = slo(99.9);
    let series = ledger_of(&slo, &steady(START, START + 10 * DAY, |start| u64::from(start % HOUR < 1800)));
    let shown = read(&slo, &series, START, START + HOUR, 1800);
    let said: Vec<_> = shown.points.iter().map(|point| (point.total, point.bad, point.grain_s)).collect();
    // The first half hour had all the bad ones; which half is forgotten, and the answer says so.
    assert_eq!(said, [(Some(6000), Some(30), 3600), (Some(6000), Some(30), 3600)]);
    let shown = read(&slo, &series, START, START + HOUR, 3600);
    assert_eq!((shown.points[0].total, shown.points[0].bad), (Some(12_000), Some(60)));
}

#[test]
fn a_range_that_is_none_or_too_much_is_refused_with_what_to_ask_instead() {
    let refused = |from, to, step_s| Range::new(from, to, step_s, RES).expect_err("refused");
    assert_eq!(refused(START, START, 60), RangeFault::Empty);
    assert_eq!(refused(START, START + 29, 60), RangeFault::Empty);
    assert_eq!(refused(START, START - 60, 60), RangeFault::Empty);
    assert_eq!(refused(START, i64::MAX, 60), RangeFault::NoTime);
    let RangeFault::TooMany(points, step_s) = refused(START, START + 30 * DAY, RES) else { panic!("too many") };
    assert_eq!(points, 86_400);
    assert!(Range::new(START, START + 30 * DAY, step_s, RES).is_ok());
    assert!(Range::new(START - 7, START + 30 * DAY, step_s, RES).is_ok());
    assert_eq!(refused(START, START + 30 * DAY, -5), refused(START, START + 30 * DAY, RES));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the edges and the step: points follow each other without a gap, and of what is still kept slice by slice
    /// they hold each event once.
    #[test]
    fn points_tile_the_range_and_add_up(
        (from, length, step_s) in (0..7200_i64, 30..9000_i64, 1..4000_i64),
        lost in proptest::collection::btree_set(0..480_i64, 0..40),
    ) {
        let slo = slo(99.9);
        let mut truth = steady(START, START + 4 * HOUR, |start| (start / RES % 7) as u64);
        truth.retain(|start, _| !lost.contains(&((start - START) / RES)));
        let series = ledger_of(&slo, &truth);
        let shown = read(&slo, &series, START + from, START + from + length + RES, step_s);
        let mut at = shown.from;
        for point in &shown.points {
            prop_assert_eq!(point.from, at);
            prop_assert!(point.to > point.from && point.to - point.from <= shown.step_s);
            let within: Vec<_> = truth.range(point.from..point.to).collect();
            let bad: u64 = within.iter().map(|(_, slice)| slice.1).sum();
            let counts = (!within.is_empty()).then_some((within.len() as u64 * 100, bad));
            prop_assert_eq!(point.total.zip(point.bad), counts);
            at = point.to;
        }
        prop_assert_eq!(at, shown.to);
        prop_assert_eq!(shown.step_s % RES, 0);
    }
}
