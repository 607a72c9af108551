//! What may be booked: births, other names, returns, falls and flicker, each with its evidence, its contrary, and both
//! however the history is cut into reads.

use super::*;

/// (total, bad) of some raw series, with their witnesses, read in steps of `step_s`; void slices taken back.
fn booked(plan: &Plan, series: &[RawSeries], witnesses: &[RawSeries], step_s: i64) -> (u64, u64) {
    let (sum, _) = booked_by(&mut Tracker::new(RES), plan, series, witnesses, step_s);
    sum
}

pub(super) fn booked_by(
    tracker: &mut Tracker,
    plan: &Plan,
    series: &[RawSeries],
    witnesses: &[RawSeries],
    step_s: i64,
) -> ((u64, u64), ReadDeltas) {
    let times: Vec<i64> = series.iter().flat_map(|raw| raw.samples.iter().map(|(at, _)| at / 1000)).collect();
    let (from, to) = (times.iter().min().map_or(0, |at| at - 60), times.iter().max().map_or(0, |at| at + 1));
    tracker.begin(0, from * 1000);
    let mut ledger = Ledger::new(RES);
    let slo = slo("availability", SliceSource::source(), &[]).slo;
    let mut all = ReadDeltas::default();
    let mut at = from;
    while at < to {
        let end = (at + step_s).min(to);
        let cut = |of: &[RawSeries], from_s: i64| -> Vec<RawSeries> {
            let inside = |raw: &RawSeries| {
                let samples = raw.samples.iter().filter(|&(t, _)| t > from_s * 1000 && t <= end * 1000);
                let samples: Vec<_> = samples.map(|(t, v)| (t, v, raw.samples.start_ms(t))).collect();
                let some = !samples.is_empty();
                some.then(|| RawSeries { labels: raw.labels.clone(), samples: Samples::with_starts(samples) })
            };
            of.iter().filter_map(inside).collect()
        };
        let (counters, witnesses) = (cut(series, at - 15), cut(witnesses, at - 150));
        let found =
            tracker.read(plan, &Read { counters: &counters, witnesses: &witnesses, until_ms: end * 1000, join: None });
        for deltas in &found.series {
            deltas.apply_to(ledger.series_mut(&slo, &deltas.labels));
        }
        found.reasons.iter().for_each(|(reason, count)| *all.reasons.entry(*reason).or_default() += count);
        all.series.extend(found.series);
        at = end;
    }
    let window = ledger.get(&slo.id, &Labels::new()).map(|series| series.window((to / RES + 1) * RES, to - from + RES));
    (window.map_or((0, 0), |sum| (sum.total, sum.bad)), all)
}

struct SliceSource;

impl SliceSource {
    fn source() -> SliSource {
        SliSource::Ratio { total: "x".into(), part: Part::Bad("x".into()) }
    }
}

/// Every way to cut a history that the tests try, seconds.
pub(super) const STEPS: [i64; 4] = [30, 90, 3600, 1_000_000];

pub(super) fn same_however_read(plan: &Plan, series: &[RawSeries], witnesses: &[RawSeries]) -> (u64, u64) {
    let all: Vec<_> = STEPS.iter().map(|&step| booked(plan, series, witnesses, step)).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
    all[0]
}

pub(super) fn grows(from: i64, to: i64, start: f64, each: f64) -> Vec<(i64, f64)> {
    (from..to).map(|i| (7 + i * 30, start + (i - from) as f64 * each)).collect()
}

pub(super) fn labelled(code: &str, more: &[(&str, &str)], samples: &[(i64, f64)]) -> RawSeries {
    raw("req_total", &[&[("code", code)], more].concat(), samples)
}

pub(super) fn up(more: &[(&str, &str)], from: i64, to: i64) -> RawSeries {
    raw(UP, more, &grows(from, to, 1.0, 0.0))
}

#[test]
fn a_label_added_dropped_or_renamed_goes_on() {
    let plan = availability(&[]);
    let names =
        [(vec![], vec![("team", "x")]), (vec![("team", "x")], vec![]), (vec![("team", "x")], vec![("squad", "x")])];
    for (old, new) in &names {
        for gap in [0, 1] {
            let (at, n) = (40 + gap, 80);
            let series = [
                labelled("200", old, &grows(0, 40, 1.3e9, 30.0)),
                labelled("500", old, &grows(0, 40, 5.2e6, 1.0)),
                labelled("200", new, &grows(at, n, 1.3e9 + 30.0 * at as f64, 30.0)),
                labelled("500", new, &grows(at, n, 5.2e6 + at as f64, 1.0)),
            ];
            assert_eq!(same_however_read(&plan, &series, &[]), (79 * 31, 79), "{old:?} {new:?} {gap}");
            // The same where `up` goes on under its own labels.
            assert_eq!(same_however_read(&plan, &series, &[up(&[], 0, n)]), (79 * 31, 79), "{old:?} {new:?} {gap}");
        }
    }
}

/// Old and new name of errors that stand at `errors`, the new one first reading `less` too low, beside a steady total.
fn renamed_low(before: f64, errors: f64, less: f64) -> Vec<RawSeries> {
    let mut heir = grows(40, 80, errors, 0.0);
    heir[0].1 -= less;
    vec![
        labelled("200", &[], &grows(0, 80, before, 60.0)),
        labelled("500", &[], &grows(0, 40, errors, 0.0)),
        labelled("500", &[("team", "x")], &heir),
    ]
}

#[test]
fn an_heir_that_first_reads_a_little_too_low_is_no_counter_of_its_own() {
    let plan = availability(&[]);
    for (errors, less) in [(2.0, 1.0), (5.0, 2.0), (40.0, 3.0), (1_000.0, 3.0)] {
        let series = renamed_low(5e5, errors, less);
        // What the glitch took is back at the next sample; that much may be wrong, and is said.
        assert_eq!(same_however_read(&plan, &series, &[]).1, less as u64, "{errors} {less}");
        for step in STEPS {
            let (_, all) = booked_by(&mut Tracker::new(RES), &plan, &series, &[], step);
            assert_eq!(all.reasons.get(&Reason::NotPlaced), Some(&1), "{errors} {less} {step}");
        }
    }
    // Far lower is another counter, and what one interval can bring is news.
    assert_eq!(same_however_read(&plan, &renamed_low(5e5, 40.0, 37.0), &[]).1, 40);
}

#[test]
fn a_change_of_labels_that_is_taken_back_counts_nothing_twice() {
    let plan = availability(&[]);
    // For an hour, for three scrapes, for one; and with one scrape lost each time.
    for (out, back) in [(20, 140), (40, 43), (40, 41)] {
        for gap in [0, 1] {
            let both = |code: &str, start: f64, each: f64| {
                let part = |from: i64, to: i64| grows(from, to, start + each * from as f64, each);
                let own = [part(0, out), part(back + 2 * gap, 180)].concat();
                [labelled(code, &[], &own), labelled(code, &[("team", "x")], &part(out + gap, back + gap))]
            };
            let series = [both("200", 1.3e9, 30.0), both("500", 5.2e6, 1.0)].concat();
            assert_eq!(same_however_read(&plan, &series, &[up(&[], 0, 180)]), (179 * 31, 179), "{out} {back} {gap}");
        }
    }
}

#[test]
fn an_heir_that_reads_too_low_ends_the_older_series_all_the_same() {
    let plan = availability(&[]);
    // The old name comes back with all that the new one counted.
    let series = [
        labelled("200", &[], &grows(0, 120, 5e5, 60.0)),
        labelled("500", &[], &[grows(0, 40, 4.0, 0.0), grows(80, 120, 44.0, 0.0)].concat()),
        labelled("500", &[("team", "x")], &grows(40, 80, 3.0, 1.0)),
    ];
    assert_eq!(same_however_read(&plan, &series, &[]).1, 39 + 2);
}

#[test]
fn a_young_total_under_another_name_that_reads_too_low_is_not_counted_twice() {
    let plan = availability(&[]);
    let mut heir = grows(10, 60, 300.0, 30.0);
    heir[0].1 = 268.0;
    let series = [labelled("200", &[], &grows(0, 10, 0.0, 30.0)), labelled("200", &[("team", "x")], &heir)];
    let (total, _) = same_however_read(&plan, &series, &[up(&[], 0, 60)]);
    assert_eq!(total, 9 * 30 + (330 - 268) + 48 * 30);
}

#[test]
fn what_a_replica_shows_from_before_a_restart_is_no_news() {
    let plan = availability(&[]);
    let at = |i: i64| 7 + i * 30;
    let began = at(41) - 11;
    for (seen_last, viewed, away) in [(5.0, 5.0, 1), (4.0, 5.0, 1), (6.0, 5.0, 1), (5.0, 5.0, 2)] {
        let back = 40 + away;
        let soon = at(back) + 1;
        let total =
            [grows(0, 40, 5_000.0, 30.0), vec![(at(back), 12.0), (soon, 6_170.0)], grows(back + 1, 80, 42.0, 30.0)];
        let mut errors = grows(0, 40, 5.0, 0.0);
        errors[39].1 = seen_last;
        errors.push((soon, viewed));
        // The new process has its first error a while later.
        let late = grows(back + 4, 80, 1.0, 0.0);
        let process: Vec<(i64, f64)> = (0..80)
            .filter(|i| !(40..back).contains(i))
            .map(|i| (at(i), if i < 40 { 1.0 } else { began as f64 }))
            .collect();
        let witnesses = [raw(PROCESS_START, &[], &process)];
        let counted = |errors: &[(i64, f64)]| {
            let series = [labelled("200", &[], &total.concat()), labelled("500", &[], errors)];
            same_however_read(&plan, &series, &witnesses).1
        };
        // The old process was young when it was first seen: all that it had is news.
        let old = seen_last.max(5.0) as u64;
        assert_eq!(counted(&errors), old, "{seen_last} {viewed} {away}");
        assert_eq!(counted(&[errors.clone(), late].concat()), old + 1, "{seen_last} {viewed} {away}");
        // It has some at the very next scrape: they are its own.
        assert_eq!(counted(&[errors, grows(back + 1, 80, 3.0, 0.0)].concat()), old + 3, "{seen_last} {viewed} {away}");
    }
}

#[test]
fn a_new_loop_of_scrapes_at_another_phase_goes_on_too() {
    let plan = availability(&[]);
    let later: Vec<_> = (40..80).map(|i| (7 + i * 30 - 11, 1.3e9 + i as f64 * 30.0)).collect();
    let series = [labelled("200", &[], &grows(0, 40, 1.3e9, 30.0)), labelled("200", &[("team", "x")], &later)];
    assert_eq!(same_however_read(&plan, &series, &[]).0, 79 * 30);
}

#[test]
fn two_clusters_with_one_address_are_two() {
    let plan = availability(&[]);
    for labels in [[("cluster", "a"), ("cluster", "b")], [("cluster", ""), ("cluster", "b")]] {
        let of = |i: usize| labels[i..=i].iter().filter(|(_, value)| !value.is_empty()).copied().collect::<Vec<_>>();
        let shifted = |samples: Vec<(i64, f64)>| samples.into_iter().map(|(t, v)| (t + 11, v)).collect::<Vec<_>>();
        let series = [
            labelled("200", &of(0), &grows(0, 80, 1e6, 30.0)),
            labelled("500", &of(0), &grows(0, 80, 5e3, 1.0)),
            labelled("200", &of(1), &shifted(grows(0, 80, 2e6, 30.0))),
            labelled("500", &of(1), &shifted(grows(30, 80, 7e3, 1.0))),
        ];
        assert_eq!(same_however_read(&plan, &series, &[]), (79 * 31 + 79 * 30 + 49, 79 + 49));
    }
}

#[test]
fn a_late_error_class_counts_and_a_hidden_one_does_not() {
    let plan = availability(&[]);
    let total = labelled("200", &[], &grows(0, 80, 5e5, 60.0));
    let born = |value: f64| labelled("500", &[], &[(7 + 40 * 30, value), (7 + 41 * 30, value + 1.0)]);
    // 37 of 60 requests failed; all of them and twice as many did.
    for value in [1.0, 37.0, 120.0] {
        let expected = (79 * 60 + value as u64 + 1, value as u64 + 1);
        assert_eq!(same_however_read(&plan, &[total.clone(), born(value)], &[]), expected);
    }
    assert_eq!(same_however_read(&plan, &[total, born(18_000.0)], &[]), (79 * 60 + 1, 1));
}

#[test]
fn all_series_of_a_target_may_be_born_at_once_when_it_was_scraped_before() {
    let plan = availability(&[]);
    let series = [labelled("200", &[], &grows(40, 80, 18.0, 20.0)), labelled("500", &[], &grows(40, 80, 3.0, 2.0))];
    assert_eq!(same_however_read(&plan, &series, &[up(&[], 0, 80)]), (39 * 22 + 21, 39 * 2 + 3));
    // Nobody scraped it before: starts.
    assert_eq!(same_however_read(&plan, &series, &[up(&[], 40, 80)]), (39 * 22, 39 * 2));
    // A lifetime that shows itself late is no news, whatever `up` says.
    let old = [labelled("200", &[], &grows(40, 80, 1.3e9, 20.0)), labelled("500", &[], &grows(40, 80, 5e6, 2.0))];
    assert_eq!(same_however_read(&plan, &old, &[up(&[], 0, 80)]), (39 * 22, 39 * 2));
}

#[test]
fn a_series_back_after_a_day_goes_on() {
    let plan = availability(&[]);
    let total = labelled("200", &[], &(0..3000).map(|i| (7 + i * 60, 5e5 + i as f64 * 60.0)).collect::<Vec<_>>());
    let errors = |at: i64, value: f64| (7 + at * 60, value);
    let hidden = labelled("500", &[], &[errors(20, 18_000.0), errors(21, 18_005.0), errors(1600, 18_010.0)]);
    assert_eq!(same_however_read(&plan, &[total.clone(), hidden.clone()], &[]), (2999 * 60 + 10, 10));
    // Even after it was put to sleep, and after a restart of the daemon.
    let mut tracker = Tracker::new(RES);
    let until = |raw: &RawSeries, from: i64, to: i64| {
        let samples = raw.samples.iter().filter(|&(t, _)| t > from * 60_000 && t <= to * 60_000).collect();
        RawSeries { labels: raw.labels.clone(), samples: Samples::new(samples) }
    };
    tracker.begin(0, 0);
    let mut bad = 0;
    for (from, to) in [(0, 30), (30, 1500), (1500, 1590), (1590, 1700)] {
        tracker.forget_silent(to * 60_000, 30 * 86_400_000, |_| true);
        tracker = Tracker::restore(RES, &plan, tracker.cursors(&plan, i64::MAX));
        bad += sum(&read(&mut tracker, &plan, &[until(&total, from, to), until(&hidden, from, to)])).1;
    }
    assert_eq!(bad, 10);
}

#[test]
fn an_older_sample_of_a_small_counter_is_no_restart_of_the_others() {
    let plan = availability(&[]);
    let mut total = grows(0, 80, 304_000.0, 2.0);
    let mut bad: Vec<(i64, f64)> = total.iter().map(|&(t, _)| (t, 3.0)).collect();
    for at in [20, 40, 60] {
        let t = 8 + at * 30;
        total.push((t, 304_000.0 + 2.0 * (at - 1) as f64));
        bad.push((t, 2.0));
    }
    let series = [labelled("200", &[], &total), labelled("500", &[], &bad)];
    assert_eq!(same_however_read(&plan, &series, &[]), (79 * 2, 0));
}

#[test]
fn a_process_that_began_anew_is_believed_however_little_it_fell() {
    let plan = availability(&[]);
    // It lives 33 s and is scraped each 30 s: what it says falls by a tenth each time.
    let value = |i: i64| ((i * 30) % 33) as f64 * 20.0;
    let samples: Vec<_> = (0..110).map(|i| (7 + i * 30, value(i))).collect();
    let starts: Vec<_> = (0..110).map(|i| (7 + i * 30, (7 + (i * 30) / 33 * 33) as f64)).collect();
    let truth: f64 = (1..110).map(value).sum();
    let (total, _) = same_however_read(&plan, &[labelled("200", &[], &samples)], &[raw(PROCESS_START, &[], &starts)]);
    assert!((total as f64 - truth).abs() <= 0.001 * truth, "{total} {truth}");
    // Nobody says so: what `increase()` would count.
    let (total, _) = same_however_read(&plan, &[labelled("200", &[], &samples)], &[]);
    assert!(total as f64 >= 0.9 * truth && total as f64 <= truth, "{total} {truth}");
}

#[test]
fn a_process_that_counted_more_than_the_one_before_it_began_anew_all_the_same() {
    let plan = availability(&[]);
    let at = |i: i64| 7 + (4_000 + i) * 30;
    let series = |total: [f64; 2], errors: [f64; 2]| {
        let of =
            |old: Vec<(i64, f64)>, [third, fourth]: [f64; 2]| [old, vec![(at(40), third), (at(41), fourth)]].concat();
        let total = of(grows(4_000, 4_040, 5e5, 60.0), total);
        [labelled("200", &[], &total), labelled("500", &[], &of(grows(4_000, 4_040, 900.0, 2.0), errors))]
    };
    let process = |second_s: i64, third_s: i64| {
        let old = grows(4_000, 4_040, 1.0, 0.0);
        raw(PROCESS_START, &[], &[old, vec![(at(40), second_s as f64), (at(41), third_s as f64)]].concat())
    };
    // It dies between scrapes; the third life counts 55 and 4 where the second had 20 and 1: nothing fell.
    let lives = series([20.0, 55.0], [1.0, 4.0]);
    let (events, bad) = (39 * 62, 39 * 2);
    let booked = |series: &[RawSeries], process| same_however_read(&plan, series, &[process]);
    assert_eq!(booked(&lives, process(at(40) - 9, at(41) - 12)), (events + 21 + 59, bad + 5));
    // A clock that was set moves the start of a process that went on: to before the sample before.
    assert_eq!(booked(&lives, process(at(40) - 9, at(40) - 6)), (events + 21 + 38, bad + 4));
    // One that takes over all that was counted, to the last event, has counted nothing of it.
    let kept = series([5e5 + 2_360.0, 5e5 + 2_400.0], [978.0, 979.0]);
    assert_eq!(booked(&kept, process(at(40) - 9, at(40) - 9)), (events + 20 + 40 + 1, bad + 1));
}

#[test]
fn a_fall_of_one_counter_alone_waits_and_counts_on_from_lower() {
    let plan = availability(&[]);
    let total = labelled("200", &[], &grows(0, 80, 5e5, 60.0));
    let mut errors = grows(0, 40, 4_000.0, 2.0);
    errors.extend(grows(40, 80, 50.0, 2.0));
    // The 50 that it had when it fell are not booked, nor what it says until it is clear that it stays low.
    assert_eq!(same_however_read(&plan, &[total, labelled("500", &[], &errors)], &[]), (79 * 60 + 78 * 2, 78 * 2));
}

#[test]
fn workers_behind_one_address_are_a_fault_and_leave_nothing() {
    let plan = availability(&[]);
    for each in 2..5 {
        let worker = |i: i64| (i * i * 7 + i / 3) % each;
        let of = |base: [f64; 4], gain: f64| -> Vec<(i64, f64)> {
            (0..400).map(|i| (7 + i * 30, base[worker(i) as usize] + i as f64 * gain)).collect()
        };
        let series = [
            labelled("200", &[], &of([19_000.0, 11_000.0, 5_000.0, 25_000.0], 15.0)),
            labelled("500", &[], &of([40.0, 25.0, 5.0, 61.0], 0.0)),
        ];
        for step in STEPS {
            let (sum, all) = booked_by(&mut Tracker::new(RES), &plan, &series, &[], step);
            assert_eq!(sum, (0, 0), "{each} workers, {step} s");
            assert_eq!(all.series.last().and_then(|deltas| deltas.fault), Some(DataReason::CounterFlickers));
        }
    }
}

#[test]
fn a_sum_over_pods_that_falls_is_named() {
    let plan = availability(&[]);
    let mut samples = grows(0, 100, 3e6, 90.0);
    samples.extend(grows(100, 300, 2e6, 90.0));
    let none = [("job", ""), ("instance", "")];
    let summed = RawSeries {
        labels: labelled("200", &none, &[]).labels.iter().filter(|(_, value)| !value.is_empty()).cloned().collect(),
        samples: Samples::new(samples.iter().map(|&(t, v)| (t * 1000, v)).collect()),
    };
    let (_, all) = booked_by(&mut Tracker::new(RES), &plan, &[summed], &[], 1800);
    assert!(all.series.iter().any(|deltas| deltas.fault == Some(DataReason::CounterSummed)));
}

#[test]
fn a_start_timestamp_is_believed_before_all_else() {
    let plan = availability(&[]);
    let total = labelled("200", &[], &grows(0, 80, 5e5, 60.0));
    let errors = |began_s: i64| {
        let samples = grows(40, 80, 9_000.0, 0.0);
        let samples = samples.into_iter().map(|(t, v)| (t * 1000, v, Some(began_s * 1000))).collect();
        RawSeries { labels: labelled("500", &[], &[]).labels, samples: Samples::with_starts(samples) }
    };
    let since_the_scrape_before = 7 + 39 * 30 + 10;
    assert_eq!(same_however_read(&plan, &[total.clone(), errors(since_the_scrape_before)], &[]).1, 9_000);
    assert_eq!(same_however_read(&plan, &[total, errors(100)], &[]).1, 0);
}

#[test]
fn a_bucket_read_before_its_count_leaves_no_slow_event() {
    let plan = latency();
    let mut count = Vec::new();
    let mut bucket = Vec::new();
    for i in 0..200i64 {
        let n = 540_000.0 + 1500.0 * i as f64;
        count.push((7 + i * 30, if i % 40 == 27 { n - 700.0 } else { n }));
        bucket.push((7 + i * 30, if i % 40 == 7 { n - 849.0 } else { n }));
    }
    let series = [raw("lat_seconds_count", &[], &count), raw("lat_seconds_bucket", &[("le", "0.5")], &bucket)];
    for step in STEPS {
        let (sum, _) = booked_by(&mut Tracker::new(RES), &plan, &series, &[], step);
        assert_eq!(sum, (199 * 1500, 0), "{step}");
    }
}

#[test]
fn counters_beyond_single_counts_make_their_slices_unknown() {
    let plan = availability(&[]);
    let total = labelled("200", &[], &grows(0, 80, 1e16, 60.0));
    let errors = labelled("500", &[], &grows(0, 80, 50.0, 1.0));
    for step in STEPS {
        let (sum, all) = booked_by(&mut Tracker::new(RES), &plan, &[total.clone(), errors.clone()], &[], step);
        assert_eq!((sum, all.series[0].fault), ((0, 0), Some(DataReason::NotANumber)), "{step}");
    }
}

#[test]
fn two_names_that_take_turns_count_once() {
    let plan = availability(&[]);
    for (turns, old, new) in [
        (vec![20, 40, 61, 100, 140], vec![("replica", "a")], vec![("replica", "b")]),
        (vec![20, 260], vec![("version", "v1")], vec![("version", "v2")]),
        (vec![20, 400, 410, 700], vec![], vec![("version", "v2")]),
    ] {
        let n = turns.last().expect("turns") + 60;
        let process: Vec<_> = (0..n).map(|i| (7 + i * 30, -86_400.0)).collect();
        for witnesses in [vec![], vec![up(&[], 0, n)], vec![up(&[], 0, n), raw(PROCESS_START, &[], &process)]] {
            let of = |code: &str, start: f64, each: f64| {
                let mut parts = [Vec::new(), Vec::new()];
                let edges: Vec<i64> = [0].into_iter().chain(turns.iter().copied()).chain([n]).collect();
                for (nth, edge) in edges.windows(2).enumerate() {
                    parts[nth % 2].extend(grows(edge[0], edge[1], start + each * edge[0] as f64, each));
                }
                let [first, second] = parts;
                [labelled(code, &old, &first), labelled(code, &new, &second)]
            };
            let series = [of("200", 1e5, 30.0), of("500", 100.0, 1.0)].concat();
            let n = n as u64 - 1;
            assert_eq!(same_however_read(&plan, &series, &witnesses), (n * 31, n), "{turns:?} {}", witnesses.len());
        }
    }
}

#[test]
fn errors_that_were_hidden_while_labels_changed_go_on() {
    let plan = availability(&[]);
    let turn = |code: &str, seen: [(i64, i64); 2], start: f64, each: f64| {
        let part = |(from, to): (i64, i64)| grows(from, to, start + each * from as f64, each);
        [labelled(code, &[("v", "1")], &part(seen[0])), labelled(code, &[("v", "2")], &part(seen[1]))]
    };
    // The errors are not shown for ten scrapes around the change, and their lifetime is as much as the total gains meanwhile.
    let series = [turn("200", [(0, 40), (40, 80)], 1e6, 60.0), turn("500", [(0, 35), (45, 80)], 50.0, 1.0)].concat();
    assert_eq!(
        same_however_read(&plan, &series, &[up(&[("v", "1")], 0, 40), up(&[("v", "2")], 40, 80)]),
        (79 * 61, 79)
    );
    // A second code beside the first is a counter of its own.
    let own = [labelled("200", &[], &grows(0, 80, 1e6, 60.0)), labelled("503", &[], &grows(40, 80, 7.0, 1.0))];
    let one = labelled("500", &[], &grows(0, 40, 3.0, 0.0));
    assert_eq!(same_however_read(&plan, &[&own[..], &[one]].concat(), &[up(&[], 0, 80)]), (79 * 60 + 46, 46));
}

#[test]
fn a_process_that_takes_over_old_counters_counts_no_lifetime() {
    let plan = availability(&[]);
    let process = |began_at: i64| {
        let began = |i: i64| if i < 60 { 1.0 } else { (began_at * 30) as f64 };
        raw(PROCESS_START, &[], &(20..100).map(|i| (7 + i * 30, began(i))).collect::<Vec<_>>())
    };
    let fell = |code: &str, start: f64, each: f64, to: f64| {
        let (before, after) = (grows(20, 60, start, each), grows(60, 100, to, each));
        labelled(code, &[], &[before, after].concat())
    };
    // From a file that is some minutes old: the first interval is not known, and said.
    let series = [fell("200", 1e5, 60.0, 1e5 + 20.0 * 60.0), fell("500", 200.0, 1.0, 220.0)];
    assert_eq!(same_however_read(&plan, &series, &[process(60)]), (78 * 61, 78));
    // The errors stand where they stood.
    let series = [fell("200", 1e5, 60.0, 1e5 + 20.0 * 60.0), fell("500", 200.0, 0.0, 200.0)];
    assert_eq!(same_however_read(&plan, &series, &[process(60)]), (78 * 60, 0));
    // In a crash loop, each life of a scrape, the new value is as much as the old one, and news.
    let began: Vec<_> = (20..100).map(|i| (7 + i * 30, if i < 60 { 1.0 } else { (i * 30 - 3) as f64 })).collect();
    let lives = |code: &str, start: f64, each: f64, life: f64| {
        let lives = (60..100).map(|i| (7 + i * 30, life - (i - 60) as f64));
        labelled(code, &[], &grows(20, 60, start, each).into_iter().chain(lives).collect::<Vec<_>>())
    };
    let series = [lives("200", 1e5, 10.0, 400.0), lives("500", 200.0, 1.0, 300.0)];
    let each = |life: u64| (60..100).map(|i| life - (i - 60)).sum::<u64>();
    assert_eq!(
        same_however_read(&plan, &series, &[raw(PROCESS_START, &[], &began)]),
        (39 * 11 + each(400) + each(300), 39 + each(300))
    );
    // One that begins from nothing counts what it has.
    let series = [fell("200", 1e5, 60.0, 50.0), fell("500", 200.0, 1.0, 2.0)];
    assert_eq!(same_however_read(&plan, &series, &[process(60)]), (78 * 61 + 52, 78 + 2));
}
