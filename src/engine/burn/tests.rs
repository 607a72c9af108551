//! The formulas of multi-window burn alerts, against the real ledger, on ideal streams: constant traffic, error ratio
//! `e` over a background `e0`. With `eps` the budget, `B` the factor, `L` and `S` the windows and `P` the SLO window:
//! detection after `L (B eps - e0)/(e - e0)`, reset `S (1 - (B eps - e0)/(e - e0))` after the end, `B L / P` of the budget
//! spent at detection, no detection ever when `B eps >= 1`.
//!
//! Measured here: every one holds within one 30-second slice, for windows of days too: their left edge cuts slots
//! of constant traffic, whose share by time is exact.

mod ticket;
mod weigh;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::engine::ledger::{Coverage, SliceDelta};

const RES: i64 = 30;
const DAY: i64 = 86_400;
/// 2025-04-03T02:00:30Z: on a slice, on no coarser grid.
const ONSET: i64 = 1_743_645_630;
/// Events in a slice: ratios are whole millionths.
const MILLION: u64 = 1_000_000;

pub(crate) const FRESH: DataHealth = DataHealth { state: DataState::Fresh, reason: DataReason::None, newest: None };
const STALE: DataHealth = DataHealth { state: DataState::Stale, reason: DataReason::SourceUnreachable, newest: None };

/// The four clauses an SLO has when it names none.
const DEFAULTS: [(Speed, i64, i64, f64); 4] = [
    (Speed::Fast, 3600, 300, 14.4),
    (Speed::Fast, 6 * 3600, 1800, 6.0),
    (Speed::Slow, DAY, 7200, 3.0),
    (Speed::Slow, 3 * DAY, 6 * 3600, 1.0),
];

fn clause(speed: Speed, long_s: i64, short_s: i64, factor: f64) -> BurnClause {
    BurnClause { speed, long_s, short_s, factor, text: format!("{long_s}s/{short_s}s > {factor}x").into() }
}

/// An availability SLO over 30 days with the default clauses.
pub(crate) fn slo(objective: f64) -> Slo {
    Slo {
        id: "checkout-availability".to_owned(),
        service: "checkout".to_owned(),
        name: "availability".to_owned(),
        owner: "team-checkout".to_owned(),
        objective,
        window_s: 30 * DAY,
        terms: Default::default(),
        unit: Unit::Events,
        burn: DEFAULTS.map(|(speed, long_s, short_s, factor)| clause(speed, long_s, short_s, factor)).into(),
        confidence: Some(crate::engine::Confidence { page: 1e-3, ticket: 0.03 }),
        weigh: Default::default(),
        severity: Vec::new(),
        by: Vec::new(),
        series_max: 100,
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        alerts: BTreeMap::new(),
        mute: Vec::new(),
        resolution_s: None,
    }
}

fn slices(from: Seconds, count: i64, total: u64, bad: u64) -> Vec<SliceDelta> {
    let first = from / RES;
    (first..first + count).map(|slice| SliceDelta { slice, total, bad, coverage: Coverage::Known }).collect()
}

/// A ledger with constant traffic and `bad` of a million for `span_s` before [`ONSET`].
fn background(slo: &Slo, span_s: i64, bad: u64) -> SeriesLedger {
    let mut ledger = SeriesLedger::new(RES, slo.unit, slo.window_s);
    ledger.apply(&slices(ONSET - span_s, span_s / RES, MILLION, bad));
    ledger
}

/// The same for the whole window and more, by the hour where it is over three days old.
fn long_background(slo: &Slo, bad: u64) -> SeriesLedger {
    let mut ledger = background(slo, 3 * DAY + 30, bad);
    let hours = (ONSET - 3 * DAY) / 3600;
    // The hour the slices begin in is theirs.
    for hour in hours - slo.window_s / 3600..hours {
        assert!(ledger.apply_coarse(hour * 3600, 3600, 120 * MILLION, 120 * bad, Coverage::Known));
    }
    ledger
}

/// One evaluation without a memory of pages: what the counts say at that moment.
fn at(slo: &Slo, ledger: &SeriesLedger, at: Seconds) -> SeriesStatus {
    let nothing = SeriesLedger::new(RES, slo.unit, slo.window_s);
    let before = evaluate(slo, &nothing, &Labels::new(), FRESH, at - RES, None);
    evaluate(slo, ledger, &Labels::new(), FRESH, at, Some(&before))
}

/// Slices after [`ONSET`] (or after `from`) until `wanted` first holds, looking closely around `around_s` and now and
/// then before it.
fn first_slice(around_s: f64, mut wanted: impl FnMut(i64) -> bool) -> Option<i64> {
    let around = (around_s / RES as f64) as i64;
    let (close, far) = ((around - 3).max(0), around + 3);
    let early = (0..close).step_by((close / 8).max(1) as usize);
    early.chain(close..=far).find(|slice| wanted(*slice))
}

/// Detection and reset of one clause, both in seconds after the formula's value, and the budget spent at detection.
struct Timing {
    detection: f64,
    reset: f64,
    spent: f64,
}

/// Runs `e` against the clause `which` from [`ONSET`] for as long as it takes, and `more` slices longer.
fn run(slo: &Slo, which: usize, ledger: &SeriesLedger, e: u64, e0: u64, more: i64) -> Timing {
    let BurnClause { long_s, short_s, factor, .. } = slo.burn[which];
    let share = (factor * slo.budget() * 1e6 - e0 as f64) / (e as f64 - e0 as f64);
    let (detection_s, reset_s) = (long_s as f64 * share, short_s as f64 * (1.0 - share));
    let mut ledger = ledger.clone();
    let mut done = 0;
    let mut go_on = |ledger: &mut SeriesLedger, until: i64, bad: u64| {
        ledger.apply(&slices(ONSET + done * RES, until - done, MILLION, bad));
        done = done.max(until);
        ONSET + until * RES
    };
    let mut spent = 0.0;
    let detected = first_slice(detection_s, |slice| {
        let time = go_on(&mut ledger, slice, e);
        let status = at(slo, &ledger, time);
        spent = 1.0 - status.budget_remaining.unwrap_or(f64::NAN);
        status.clauses[which].firing
    });
    let detected = detected.expect("the clause fires");
    let end = detected + more;
    go_on(&mut ledger, end, e);
    let reset = first_slice(reset_s, |slice| {
        let time = go_on(&mut ledger, end + slice, e0);
        !at(slo, &ledger, time).clauses[which].firing
    });
    let reset = reset.expect("the clause ends");
    Timing { detection: (detected * RES) as f64 - detection_s, reset: (reset * RES) as f64 - reset_s, spent }
}

/// Within one slice, seen at the end of the first slice over (or no longer over) the factor.
fn within_a_slice(late_s: f64) -> bool {
    (-1e-6..=RES as f64 + 1e-6).contains(&late_s)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn detection_and_reset_are_the_formulas_within_one_slice(
        policy in prop_oneof![
            (0..4_usize).prop_map(|i| DEFAULTS[i]),
            (1..40_i64, 1..13_i64, 1..200_u32).prop_map(|(short, times, factor)| {
                (Speed::Fast, short * times * RES, short * RES, f64::from(factor) / 7.0)
            }),
            (2..70_i64, 1..7_i64, 3..40_u32).prop_map(|(short, times, factor)| {
                (Speed::Slow, short * times * 300, short * 300, f64::from(factor) / 4.0)
            }),
        ],
        objective in prop_oneof![Just(99.9), Just(99.0), Just(99.5), Just(95.0), Just(90.0), Just(99.99)],
        error in 0.0..1.0_f64,
        over in 0.0..1.0_f64,
        more in 0..200_i64,
    ) {
        let (speed, long_s, short_s, factor) = policy;
        let mut slo = slo(objective);
        slo.burn = vec![clause(speed, long_s, short_s, factor)];
        // The guard asks whether the budget itself explains the errors; at a factor near 1 that takes longer than the
        // formula (see the_guard_delays_the_slowest_clause_by_three_deviations).
        slo.confidence = slo.confidence.filter(|_| factor > 1.1);
        let threshold = factor * slo.budget() * 1e6;
        prop_assume!(threshold < 0.98e6);
        let e0 = (threshold * 0.9 * over) as u64;
        let e = (threshold + 1.0 + (1e6 - threshold - 1.0) * error * error) as u64 + 1;
        prop_assume!(e <= MILLION && (e as f64 - threshold) > threshold * 0.01);
        // Errors end before their onset leaves the long window.
        let share = (threshold - e0 as f64) / (e - e0) as f64;
        let spare = (long_s as f64 * (1.0 - share) - short_s as f64 * (1.0 - share)) / RES as f64;
        let more = more.min((spare as i64 - 4).max(0));
        let timing = run(&slo, 0, &background(&slo, long_s.max(short_s) + 600, e0), e, e0, more);
        prop_assert!(within_a_slice(timing.detection), "detected {} s late", timing.detection);
        prop_assert!(within_a_slice(timing.reset), "reset {} s late", timing.reset);
    }

    #[test]
    fn one_error_alone_fires_only_under_the_traffic_bounds(
        events in 1..400_u64,
        factor in 1..30_u32,
        objective in prop_oneof![Just(99.9), Just(99.0), Just(99.5)],
    ) {
        let mut slo = slo(objective);
        let factor = f64::from(factor);
        slo.burn = vec![clause(Speed::Fast, 3600, 300, factor)];
        slo.confidence = None;
        let mut ledger = SeriesLedger::new(RES, slo.unit, slo.window_s);
        ledger.apply(&slices(ONSET, 1, events, 1));
        let fires = at(&slo, &ledger, ONSET + RES).clauses[0].firing;
        let bound = 1.0 / (factor * slo.budget());
        prop_assume!((events as f64 - bound).abs() > 1e-6);
        prop_assert_eq!(fires, (events as f64) < bound);
    }

    #[test]
    fn a_clause_is_unreachable_iff_factor_times_budget_reaches_one(
        factor in 1..1200_u32,
        objective in prop_oneof![Just(99.0), Just(95.0), Just(90.0), Just(93.06), Just(83.3), Just(66.7)],
    ) {
        let mut slo = slo(objective);
        let factor = f64::from(factor) / 10.0;
        slo.burn = vec![clause(Speed::Fast, 3600, 300, factor)];
        let threshold = factor * slo.budget();
        prop_assume!((threshold - 1.0).abs() > 1e-6);
        let mut ledger = background(&slo, 3600, 0);
        ledger.apply(&slices(ONSET, 150, MILLION, MILLION));
        prop_assert_eq!(at(&slo, &ledger, ONSET + 150 * RES).clauses[0].firing, threshold < 1.0);
    }
}

#[test]
fn a_short_clause_spends_its_share_of_the_budget_before_it_fires() {
    let slo = slo(99.9);
    let ledger = long_background(&slo, 0);
    for (which, share) in [(0, 0.02), (1, 0.05), (2, 0.10), (3, 0.10)] {
        let BurnClause { factor, long_s, .. } = slo.burn[which];
        assert!((factor * long_s as f64 / slo.window_s as f64 - share).abs() < 1e-12);
        for e in [MILLION, 150_000, 50_000, 20_000] {
            let spent = run(&slo, which, &ledger, e, 0, 0).spent;
            let a_slice = e as f64 / 1e6 * RES as f64 / (slo.budget() * slo.window_s as f64);
            assert!((share..=share + a_slice * 1.001).contains(&spent), "clause {which} at {e}: {spent}");
        }
    }
}

#[test]
fn the_table_of_the_default_clauses_holds() {
    let guarded = slo(99.9);
    let unguarded = Slo { confidence: None, ..guarded.clone() };
    let slo = &guarded;
    let ledger = background(slo, 3 * DAY + 600, 0);
    let table = [
        (1_000_000, [Some((0.864, 4.93)), Some((2.16, 29.82)), Some((4.32, 119.64)), Some((4.32, 359.64))]),
        (150_000, [Some((5.76, 4.52)), Some((14.4, 28.8)), Some((28.8, 117.6)), Some((28.8, 357.6))]),
        (50_000, [Some((17.28, 3.56)), Some((43.2, 26.4)), Some((86.4, 112.8)), Some((86.4, 352.8))]),
        (10_000, [None, Some((216.0, 12.0)), Some((432.0, 84.0)), Some((432.0, 324.0))]),
        (2_000, [None, None, None, Some((2160.0, 180.0))]),
    ];
    for (e, row) in table {
        for (which, cell) in row.into_iter().enumerate() {
            let BurnClause { long_s, short_s, factor, .. } = slo.burn[which];
            let Some((detection_min, reset_min)) = cell else {
                let mut forever = ledger.clone();
                forever.apply(&slices(ONSET, long_s / RES + 10, MILLION, e));
                assert!(!at(slo, &forever, ONSET + long_s + 300).clauses[which].firing, "clause {which} at {e}");
                continue;
            };
            let share = factor * slo.budget() * 1e6 / e as f64;
            // The table rounds to a hundredth of a minute.
            assert!((long_s as f64 * share / 60.0 - detection_min).abs() < 0.006);
            assert!((short_s as f64 * (1.0 - share) / 60.0 - reset_min).abs() < 0.006);
            let timing = run(if factor > 1.0 { &guarded } else { &unguarded }, which, &ledger, e, 0, 0);
            assert!(within_a_slice(timing.detection), "clause {which} at {e}: {} s late", timing.detection);
            assert!(within_a_slice(timing.reset), "clause {which} at {e}: reset {} s late", timing.reset);
        }
    }
}

#[test]
fn the_newest_part_of_its_window_proves_the_slowest_clause() {
    // At a factor of 1 the clause and the null of the guard are the same ratio. Of the whole long window a burn would have
    // to stand out of its noise, 3.1 standard deviations for a confidence of 0.001, which is five slices later; the newest
    // five sixths of it have fewer calm hours in them.
    let level = crate::engine::Confidence { page: 1e-3, ticket: 1e-3 };
    let slo = Slo { confidence: Some(level), ..slo(99.9) };
    let mut ledger = background(&slo, 3 * DAY + 600, 0);
    let (e, windows_events) = (2_000_u64, 8640.0 * 1e6);
    assert!(3.09 * f64::sqrt(windows_events * 0.001) / e as f64 > 4.0);
    let first = (1..=4400).find(|slice| {
        ledger.apply(&slices(ONSET + (slice - 1) * RES, 1, MILLION, e));
        *slice > 4315 && at(&slo, &ledger, ONSET + slice * RES).clauses[3].firing
    });
    assert_eq!(first, Some(4321), "the first slice in which it is over its factor");
}

#[test]
fn one_error_pages_under_69_requests_an_hour_or_167_in_six_hours_without_the_guard() {
    let mut slo = slo(99.9);
    slo.confidence = None;
    let fires = |events: u64, which: usize, slo: &Slo| {
        let mut ledger = SeriesLedger::new(RES, slo.unit, slo.window_s);
        ledger.apply(&slices(ONSET, 1, events, 1));
        at(slo, &ledger, ONSET + RES).clauses[which].firing
    };
    assert!(fires(69, 0, &slo) && !fires(70, 0, &slo));
    assert!(fires(166, 1, &slo) && !fires(167, 1, &slo));
    slo.confidence = Some(crate::engine::Confidence { page: 1e-3, ticket: 1e-3 });
    assert!((1..200).all(|events| events == 1 || !fires(events, 0, &slo)), "one error is chance");
}

#[test]
fn flapping_fires_by_its_mean_and_the_short_window_cuts_it_in_long_gaps() {
    let mut slo = slo(99.9);
    slo.burn.truncate(1);
    for (e, on, off) in [
        (100_000, 10, 2),
        (100_000, 10, 5),
        (30_000, 10, 10),
        (20_000, 10, 2),
        (20_000, 10, 10),
        (16_000, 10, 2),
        (900_000, 10, 14),
    ] {
        let (duty, threshold) = (on as f64 / (on + off) as f64, 14.4e-3);
        let fires = duty * e as f64 / 1e6 > threshold;
        let mut ledger = background(&slo, 3600, 0);
        let mut time = ONSET;
        // The long window holds whole periods: 120 slices are a multiple of each.
        for _ in 0..240 / (on + off) {
            for (count, bad) in [(on, e), (off, 0)] {
                ledger.apply(&slices(time, count, MILLION, bad));
                time += count * RES;
            }
        }
        ledger.apply(&slices(time, on, MILLION, e));
        time += on * RES;
        assert_eq!(at(&slo, &ledger, time).clauses[0].firing, fires, "at the end of a burst of {e} with {off} off");
        let gap = 300.0 * (1.0 - threshold / (e as f64 / 1e6));
        for slice in 1..=off {
            ledger.apply(&slices(time, 1, MILLION, 0));
            time += RES;
            // A long gap also thins the long window; its own mean is exact slice by slice.
            let long = at(&slo, &ledger, time).windows[1].error_ratio.expect("traffic");
            let expected = (slice * RES) as f64 <= gap - 1e-6 && long > threshold;
            assert_eq!(at(&slo, &ledger, time).clauses[0].firing, expected, "{e}: {slice} slices into a gap of {off}");
        }
    }
}

/// A small seeded generator (SplitMix64): a failing month can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    fn ratio(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Poisson with the mean whose `exp(-mean)` is `none`.
    fn poisson(&mut self, none: f64) -> u64 {
        let (mut product, mut events) = (self.ratio(), 0);
        while product > none {
            product *= self.ratio();
            events += 1;
        }
        events
    }
}

/// Page episodes (a fast clause fires, merged within an hour) in 30 days of Poisson traffic at one request a minute
/// and errors at half the budget: without the chance guard, and with it.
fn pages_of_a_quiet_month(seed: u64) -> [u32; 2] {
    let guarded = slo(99.9);
    let plain = Slo { confidence: None, ..guarded.clone() };
    let mut random = Random(seed);
    let none = (-0.5_f64).exp();
    let mut ledger = background(&guarded, 0, 0);
    let (mut pages, mut last_page) = ([0; 2], [i64::MIN / 2; 2]);
    let mut last = [None, None];
    let mut waiting = Vec::new();
    let mut look_until = i64::MIN;
    for slice in ONSET / RES..ONSET / RES + 30 * 2880 {
        let total = random.poisson(none);
        let bad = (0..total).filter(|_| random.ratio() < 0.0005).count() as u64;
        waiting.push(SliceDelta { slice, total, bad, coverage: Coverage::Known });
        // A fast clause needs an error in its short window of half an hour at most.
        if bad > 0 {
            look_until = slice + 61;
        }
        if slice > look_until {
            continue;
        }
        ledger.apply(&waiting);
        waiting.clear();
        // What the guard lets through also fires without it.
        let time = (slice + 1) * RES;
        for (which, slo) in [&plain, &guarded].into_iter().enumerate() {
            let status = evaluate(slo, &ledger, &Labels::new(), FRESH, time, last[which].as_ref());
            let fires = status.state == SloState::FastBurn;
            last[which] = Some(status);
            if !fires {
                break;
            }
            pages[which] += u32::from(time - last_page[which] > 3600);
            last_page[which] = time;
        }
    }
    pages
}

/// Zero is what these twenty months give, not a law: over 1,000 of them (seeds 1 to 1,000) the guard let 39 pages
/// through, one in two years, where the plain policy paged 19,011 times.
#[test]
fn twenty_quiet_months_page_nobody_where_the_plain_policy_pages_all_the_time() {
    let pages =
        (101..=120).map(pages_of_a_quiet_month).fold([0, 0], |sum, month| [sum[0] + month[0], sum[1] + month[1]]);
    println!("20 months at 1 request a minute: {} pages without the guard, {} with it", pages[0], pages[1]);
    assert_eq!(pages[1], 0, "with the guard");
    assert!(pages[0] > 20 * 5, "the plain policy paged {} times", pages[0]);
}

#[test]
fn a_total_outage_at_ten_requests_a_minute_pages_within_a_minute_and_a_slice() {
    let slo = slo(99.9);
    for first_of_slice in 0..5_i64 {
        let mut ledger = background(&slo, 0, 0);
        ledger.apply(&slices(ONSET - DAY, DAY / RES, 5, 0));
        // One request each 6 s; from the given one on they all fail.
        let first_failure = ONSET + first_of_slice * 6;
        let paged = (0..10).find_map(|slice| {
            let bad = if slice == 0 { 5 - first_of_slice as u64 } else { 5 };
            ledger.apply(&slices(ONSET + slice * RES, 1, 5, bad));
            let time = ONSET + (slice + 1) * RES;
            (at(&slo, &ledger, time).state == SloState::FastBurn).then_some(time)
        });
        let delay = paged.expect("it pages") - first_failure;
        assert!(delay <= 60 + RES, "paged after {delay} s");
    }
}

#[test]
fn stale_data_holds_a_burn_and_decides_nothing_new() {
    let slo = slo(99.9);
    let mut ledger = background(&slo, DAY, 0);
    let calm = at(&slo, &ledger, ONSET);
    assert_eq!((calm.state, calm.since), (SloState::Ok, None));
    ledger.apply(&slices(ONSET, 4, MILLION, MILLION));
    let time = ONSET + 4 * RES;
    let blind = evaluate(&slo, &ledger, &Labels::new(), STALE, time, Some(&calm));
    assert_eq!((blind.state, blind.since), (SloState::Unknown, None), "stale data starts no page");
    assert!(blind.clauses[0].burn_long > Some(14.4) && !blind.clauses[0].firing);
    let burning = evaluate(&slo, &ledger, &Labels::new(), FRESH, time, Some(&calm));
    let began = ONSET + 2 * RES;
    assert_eq!((burning.state, burning.since), (SloState::FastBurn, Some(began)), "found between two looks");
    for (later, since) in [(time + 600, Some(began)), (time + 40 * DAY, None)] {
        let held = evaluate(&slo, &ledger, &Labels::new(), STALE, later, Some(&burning));
        assert_eq!((held.state, held.since), (SloState::FastBurn, since), "nothing resolves it");
        assert!(held.clauses[0].firing);
        assert_eq!(held.clauses[0].burn_short, None, "and no number is made up");
    }
    let hole = evaluate(&slo, &ledger, &Labels::new(), FRESH, time + 3600, Some(&burning));
    assert!(hole.clauses[0].firing, "a short window of which nothing is known holds its clause");
    assert_eq!(evaluate(&slo, &ledger, &Labels::new(), STALE, time, None).state, SloState::Unknown);
}

#[test]
fn an_idle_service_is_ok_and_an_unheard_one_unknown() {
    let slo = slo(99.9);
    let mut ledger = SeriesLedger::new(RES, slo.unit, slo.window_s);
    let unheard = at(&slo, &ledger, ONSET);
    assert_eq!((unheard.state, unheard.coverage, unheard.budget_remaining), (SloState::Unknown, 0.0, None));
    ledger.apply(&slices(ONSET - 3600, 120, 0, 0));
    let idle = at(&slo, &ledger, ONSET);
    assert_eq!((idle.state, idle.budget_remaining, idle.exhaustion_s), (SloState::Ok, None, None));
    assert_eq!(idle.coverage, 120.0 / 86_400.0);
    assert!(idle.clauses.iter().all(|clause| clause.burn_long.is_none() && clause.chance.is_none()));
}

#[test]
fn a_daemon_started_later_reports_the_same_onset() {
    let slo = slo(99.9);
    let mut ledger = background(&slo, DAY, 100);
    let mut status = at(&slo, &ledger, ONSET);
    for slice in 0..100 {
        ledger.apply(&slices(ONSET + slice * RES, 1, MILLION, 200_000));
        status = evaluate(&slo, &ledger, &Labels::new(), FRESH, ONSET + (slice + 1) * RES, Some(&status));
    }
    assert_eq!(status.state, SloState::FastBurn);
    let started_later = evaluate(&slo, &ledger, &Labels::new(), FRESH, ONSET + 100 * RES, None);
    assert_eq!(started_later, status);
}

/// Two burns in a day, seen by a daemon that evaluates each slice, by one that looks each ten minutes, by one that was
/// blind in between, and by one that was started just now: they say the same at every look.
#[test]
fn since_does_not_depend_on_who_watched() {
    let slo = slo(99.9);
    let mut ledger = background(&slo, DAY, 100);
    let fresh_at = |ledger: &SeriesLedger, time, previous: Option<&SeriesStatus>| {
        let data = DataHealth { newest: Some(time), ..FRESH };
        evaluate(&slo, ledger, &Labels::new(), data, time, previous)
    };
    let mut always = fresh_at(&ledger, ONSET, None);
    let (mut seldom, mut blinded) = (always.clone(), always.clone());
    let mut seen = std::collections::BTreeSet::new();
    for slice in 0..DAY / RES {
        let bad = if (20..90).contains(&slice) || (700..760).contains(&slice) { 200_000 } else { 100 };
        ledger.apply(&slices(ONSET + slice * RES, 1, MILLION, bad));
        let time = ONSET + (slice + 1) * RES;
        always = fresh_at(&ledger, time, Some(&always));
        let stale = DataHealth { newest: Some(ONSET + 15 * RES), ..STALE };
        blinded = match slice {
            15..40 => evaluate(&slo, &ledger, &Labels::new(), stale, time, Some(&blinded)),
            _ => fresh_at(&ledger, time, Some(&blinded)),
        };
        if slice % 20 == 19 {
            seldom = fresh_at(&ledger, time, Some(&seldom));
            assert_eq!(seldom.since, always.since, "seldom, slice {slice}");
            assert_eq!(fresh_at(&ledger, time, None).since, always.since, "just now, slice {slice}");
        }
        if slice >= 40 {
            assert_eq!(blinded.since, always.since, "blinded, slice {slice}");
        }
        seen.insert((always.state, always.since.map(|since| since - ONSET)));
    }
    assert!(seen.len() >= 5 && seen.contains(&(SloState::Ok, None)), "{seen:?}");
}

#[test]
fn a_spent_budget_is_exhausted_only_when_nothing_burns() {
    let slo = slo(99.9);
    let mut ledger = background(&slo, 2 * DAY, 0);
    ledger.apply(&slices(ONSET, 10, MILLION, MILLION));
    let burning = at(&slo, &ledger, ONSET + 10 * RES);
    assert!(burning.budget_remaining < Some(0.0));
    assert_eq!((burning.state, burning.exhaustion_s), (SloState::FastBurn, None), "nothing is left to run out");
    ledger.apply(&slices(ONSET + 10 * RES, 730, MILLION, 0));
    let later = at(&slo, &ledger, ONSET + 740 * RES);
    assert_eq!(later.state, SloState::Exhausted);
    assert_eq!(later.since, Some(ONSET + 10 * RES + 6 * 3600), "since the last clause's short window was clean");
}

#[test]
fn budget_and_exhaustion_follow_their_formulas() {
    let slo = slo(99.9);
    let mut ledger = long_background(&slo, 500);
    ledger.apply(&slices(ONSET, 12, MILLION, 2000));
    let status = at(&slo, &ledger, ONSET + 12 * RES);
    let bad = 86_400.0 * 500.0 + 12.0 * 1500.0;
    let remaining = 1.0 - bad / (0.001 * 86_400.0 * 1e6);
    assert!((status.budget_remaining.expect("traffic") - remaining).abs() < 1e-9);
    let burn = (108.0 * 500.0 + 12.0 * 2000.0) / 120e6 / 0.001;
    let exhaustion = remaining * slo.window_s as f64 / burn;
    assert!((status.exhaustion_s.expect("burning") / exhaustion - 1.0).abs() < 1e-9);
    assert_eq!(status.coverage, 1.0);
    assert_eq!(
        status.windows.iter().map(|window| window.window_s).collect::<Vec<_>>(),
        [300, 1800, 3600, 7200, 21_600, DAY, 3 * DAY]
    );
}

#[test]
fn exactly_at_the_factor_is_not_over_it() {
    let mut slo = slo(99.9);
    slo.burn.truncate(1);
    for (bad, fires) in [(144, false), (145, true)] {
        let mut ledger = SeriesLedger::new(RES, slo.unit, slo.window_s);
        ledger.apply(&slices(ONSET, 1, 10_000, bad));
        assert_eq!(at(&slo, &ledger, ONSET + RES).clauses[0].firing, fires);
    }
    for objective in [99.0, 99.5, 99.9, 99.95, 99.99, 99.999] {
        slo.objective = objective;
        let exact = format!("{:.5}", 1.0 - objective / 100.0).parse::<f64>().expect("a number");
        assert_eq!(slo.budget(), exact, "{objective}");
    }
}

#[test]
fn a_quantile_sli_counts_judged_slices() {
    let mut slo = slo(99.0);
    slo.unit = Unit::QuantileSlices { quantile: 0.95 };
    let mut ledger = SeriesLedger::new(RES, slo.unit, slo.window_s);
    ledger.apply(&slices(ONSET - 3600, 100, 100, 5));
    ledger.apply(&slices(ONSET - 600, 20, 100, 20));
    let status = at(&slo, &ledger, ONSET);
    assert_eq!((status.window.total, status.window.bad, status.window.undecided), (120, 20, Some(100)));
    assert_eq!(status.state, SloState::FastBurn);
}

#[test]
fn while_history_is_read_a_window_that_reaches_past_it_has_no_ratio() {
    let slo = slo(99.9);
    let now = 6 * 3600;
    let mut ledger = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    ledger.apply(&slices(0, now / RES, 1_000, 7));
    let data = |reason| DataHealth { state: DataState::Partial, reason, newest: Some(now) };
    let filling = evaluate(&slo, &ledger, &Labels::new(), data(DataReason::Filling), now, None);
    assert_eq!((filling.budget_remaining, filling.window.error_ratio), (None, None));
    assert!(filling.window.total > 0);
    let firing: Vec<i64> = filling.clauses.iter().filter(|clause| clause.firing).map(|clause| clause.long_s).collect();
    assert_eq!(firing, [6 * 3600], "six hours have been read, a day has not");
    let read = evaluate(&slo, &ledger, &Labels::new(), data(DataReason::SourceWarning), now, None);
    assert!(read.budget_remaining.is_some_and(|left| left < 0.0));
    assert!(read.clauses.iter().filter(|clause| clause.firing).count() > 1);
}
