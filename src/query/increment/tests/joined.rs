//! Older history joined on to newer reads: wherever the seam is, the two together count what one read of all would.

use super::placed::{grows, labelled, up};
use super::*;

/// (total, bad) of a read, less the bad ones of earlier reads that were none.
fn net(read: &ReadDeltas) -> (u64, i64) {
    let (total, bad) = sum(read);
    let none: u64 = read.series.iter().flat_map(|series| &series.corrections).map(|(_, bad)| bad).sum();
    (total, bad as i64 - none as i64)
}

/// (total, bad) of a history that is read from `seam_s` on first, and up to there afterwards.
fn in_two(plan: &Plan, series: &[RawSeries], witnesses: &[RawSeries], seam_s: i64, end_s: i64) -> (u64, i64) {
    let cut = |of: &[RawSeries], from_s: i64, to_s: i64| -> Vec<RawSeries> {
        let inside = |raw: &RawSeries| {
            let samples = raw.samples.iter().filter(|&(t, _)| t > from_s * 1000 && t <= to_s * 1000).collect();
            let samples = Samples::new(samples);
            (!samples.is_empty()).then(|| RawSeries { labels: raw.labels.clone(), samples })
        };
        of.iter().filter_map(inside).collect()
    };
    let walk = |tracker: &mut Tracker, from_s: i64, to_s: i64, join: Option<Join<'_>>| {
        let (counters, witnesses) = (cut(series, from_s, to_s), cut(witnesses, from_s - 150, to_s));
        net(&tracker.read(plan, &Read { counters: &counters, witnesses: &witnesses, until_ms: to_s * 1000, join }))
    };
    let (mut newer, mut older) = (Tracker::new(RES), Tracker::new(RES));
    newer.begin(0, seam_s * 1000);
    older.begin(0, 0);
    let mut found = walk(&mut newer, seam_s, end_s, None);
    let starts = newer.starts();
    let mut add = |(total, bad): (u64, i64)| found = (found.0 + total, found.1 + bad);
    add(walk(&mut older, -60, seam_s, None));
    let join = Join { starts: &starts, ends_ms: seam_s * 1000 };
    let joined_s = join.newest_ms() / 1000 + 600;
    for from_s in (seam_s..joined_s).step_by(3600) {
        add(walk(&mut older, from_s - 60, joined_s.min(from_s + 3600), Some(join)));
    }
    found
}

#[test]
fn the_seam_may_be_anywhere() {
    let plan = availability(&[]);
    let total = |from: i64, to: i64, start: f64| labelled("200", &[], &grows(from, to, start, 30.0));
    // Errors that come late, another name, and a restart whose first error shows itself three minutes after it.
    let late = [total(0, 120, 5e5), labelled("500", &[], &grows(60, 120, 3.0, 1.0))];
    let named = |name: &str, from: i64, to: i64| {
        labelled("200", &[(name, "x")], &grows(from, to, 1.3e9 + 30.0 * from as f64, 30.0))
    };
    let renamed = [named("team", 0, 60), named("squad", 60, 120)];
    let falls = |before: Vec<(i64, f64)>, after: Vec<(i64, f64)>| [before, after].concat();
    let restarted = [
        labelled("200", &[], &falls(grows(0, 60, 35_000.0, 30.0), grows(60, 120, 12.0, 30.0))),
        labelled("500", &[], &falls(grows(0, 60, 532.0, 0.0), grows(69, 120, 1.0, 0.0))),
    ];
    let process: Vec<(i64, f64)> =
        (0..120).map(|i| (7 + i * 30, if i < 60 { 1.0 } else { 7.0 + 60.0 * 30.0 - 15.0 })).collect();
    let process = [up(&[], 0, 120), raw(PROCESS_START, &[], &process)];
    // Errors are not shown while a second cluster of the same address comes, and begin anew after it.
    let west = |code: &str, start: f64, each: f64| -> RawSeries {
        let samples: Vec<_> = (95..120).map(|i| (18 + i * 30, start + (i - 95) as f64 * each)).collect();
        labelled(code, &[("cluster", "west")], &samples)
    };
    let shown = [grows(20, 40, 300.0, 9.0), grows(60, 80, 0.0, 250.0), grows(98, 120, 0.0, 200.0)].concat();
    let taken =
        [total(0, 120, 5e5), labelled("500", &[], &shown), west("200", 5.7e6, 30.0), west("500", 30_606.0, 2.0)];
    for (name, series, witnesses) in [
        ("taken", taken.as_slice(), [up(&[], 0, 120)].as_slice()),
        ("late", late.as_slice(), [up(&[], 0, 120)].as_slice()),
        ("late, unsaid", late.as_slice(), &[]),
        ("renamed", renamed.as_slice(), &[]),
        ("restarted", restarted.as_slice(), process.as_slice()),
    ] {
        let mut whole = Tracker::new(RES);
        whole.begin(0, 0);
        let read = Read { counters: series, witnesses, until_ms: 3_700_000, join: None };
        let whole = net(&whole.read(&plan, &read));
        assert!(whole.0 > 3000, "{name}: {whole:?}");
        for seam in 2..110 {
            assert_eq!(in_two(&plan, series, witnesses, seam * 30, 3_700), whole, "{name}, seam at {seam}");
        }
    }
}

/// A bucket that is read before its count lacks what came between, and makes up for it at the next scrape; so does a count
/// that is read before its bucket.
#[test]
fn the_seam_may_be_between_what_came_late_and_the_scrape_that_makes_up_for_it() {
    let plan = latency();
    let at = |i: i64| 7 + i * 30;
    let late = |i: i64, phase: i64| if i % 7 == phase { 40.0 } else { 0.0 };
    let counts: Vec<(i64, f64)> = (0..120).map(|i| (at(i), 50_000.0 + 100.0 * i as f64 - late(i, 6))).collect();
    let buckets: Vec<(i64, f64)> = (0..120).map(|i| (at(i), 49_000.0 + 95.0 * i as f64 - late(i, 3))).collect();
    let series = [raw("lat_seconds_count", &[], &counts), raw("lat_seconds_bucket", &[("le", "0.5")], &buckets)];
    let witnesses = [up(&[], 0, 120)];
    let mut whole = Tracker::new(RES);
    whole.begin(0, 0);
    let read = Read { counters: &series, witnesses: &witnesses, until_ms: 3_700_000, join: None };
    assert_eq!(net(&whole.read(&plan, &read)), (119 * 100, 119 * 5));
    for seam in 2..110 {
        assert_eq!(in_two(&plan, &series, &witnesses, seam * 30, 3_700), (11_900, 595), "seam at {seam}");
    }
}

#[test]
fn a_read_that_reaches_back_to_before_a_restart_still_sees_it() {
    let plan = availability(&[]);
    let at = |i: i64| 7 + i * 30;
    let falls = |before: Vec<(i64, f64)>, after: Vec<(i64, f64)>| [before, after].concat();
    let total = labelled("200", &[], &falls(grows(0, 60, 35_000.0, 30.0), grows(60, 120, 12.0, 30.0)));
    let errors = labelled("500", &[], &falls(grows(0, 60, 532.0, 0.0), grows(69, 120, 1.0, 0.0)));
    let process: Vec<(i64, f64)> = (0..120).map(|i| (at(i), if i < 60 { 1.0 } else { at(60) as f64 - 15.0 })).collect();
    let process = raw(PROCESS_START, &[], &process);
    let cut = |raw: &RawSeries, from_s: i64, to_s: i64| RawSeries {
        labels: raw.labels.clone(),
        samples: Samples::new(raw.samples.iter().filter(|&(t, _)| t > from_s * 1000 && t <= to_s * 1000).collect()),
    };
    let mut tracker = Tracker::new(RES);
    tracker.begin(0, 5_000);
    let mut bad = 0;
    // Each poll asks for its witnesses; the one in which the error is back is read from before the restart on.
    for scrape in 1..80 {
        let (from_s, to_s) = (at(scrape - 1), at(scrape));
        let from_s = if scrape == 69 { at(58) } else { from_s };
        let counters = [cut(&total, from_s, to_s), cut(&errors, from_s, to_s)];
        let read = read_with(&mut tracker, &plan, &counters, &[cut(&process, from_s - 150, to_s)]);
        bad += sum(&read).1;
    }
    assert_eq!(bad, 1);
}
