//! History that is known only in steps of five minutes or an hour, and history that comes late.

use super::*;

#[test]
fn coarse_history_never_covers_what_was_seen() {
    let start = ORIGIN * RES;
    let mut ledger = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    ledger.apply(&[known(ORIGIN + 130, 7, 1)]);
    assert!(ledger.apply_coarse(start, 3600, 1000, 10, Coverage::Known));
    assert!(!ledger.apply_coarse(start, 3600, 1000, 10, Coverage::Known), "known already");
    assert!(!ledger.apply_coarse(start, 300, 90, 9, Coverage::Known), "the hour is known as a whole");
    assert!(!ledger.apply_coarse(start + 3600, 3600, 1000, 10, Coverage::Known), "slices of it are known");
    assert!(!ledger.apply_coarse(start + 3600 + 300, 300, 5, 5, Coverage::Known), "its slot holds that slice");
    assert!(ledger.apply_coarse(start + 3600 + 600, 300, 50, 5, Coverage::Partial));
    assert!(!ledger.apply_coarse(start + 17, 300, 1, 1, Coverage::Known), "off the grid");
    assert!(!ledger.apply_coarse(start - 600, 600, 1, 1, Coverage::Known), "no such step");
    assert!(!ledger.apply_coarse(start - 600, 300, 0, 0, Coverage::Unknown), "says nothing");
    let sum = ledger.window(start + 7200, 30 * DAY);
    assert_eq!((sum.total, sum.bad, sum.known, sum.partial), (1057, 16, 120 + 1 + 10, 10));
    assert_eq!(ledger.oldest(), Some(start));
}

#[test]
fn a_coarse_span_of_a_quantile_sli_is_judged_as_a_whole() {
    let start = ORIGIN * RES;
    let mut ledger = SeriesLedger::new(RES, P95, 30 * DAY);
    for (step, total, bad) in [(0, 1000, 80), (1, 1000, 50), (2, 0, 0)] {
        assert!(ledger.apply_coarse(start + step * 300, 300, total, bad, Coverage::Known));
    }
    let sum = ledger.window(start + 900, 900);
    assert_eq!((sum.judged, sum.judged_bad, sum.undecided, sum.known), (20, 10, 10, 30));
}

#[test]
fn coarse_history_under_live_slices_is_seen_by_every_longer_window() {
    let now = ORIGIN * RES;
    let mut ledger = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    ledger.apply(&(-20..0).map(|slice| known(ORIGIN + slice, 10, 1)).collect::<Vec<_>>());
    for step in 3..=36 {
        assert!(ledger.apply_coarse(now - step * 300, 300, 100, 0, Coverage::Known));
    }
    for step in 4..=700 {
        assert!(ledger.apply_coarse(now - step * 3600, 3600, 1200, 0, Coverage::Known));
    }
    for (length_s, total) in
        [(300, 100), (600, 200), (3600, 1200), (3 * 3600, 3600), (DAY, 28_800), (20 * DAY, 576_000)]
    {
        let sum = ledger.window(now, length_s);
        assert_eq!((sum.total, sum.known), (total, sum.slices), "over {length_s}s");
    }
}

#[test]
fn a_month_of_5_minute_steps_fills_in_either_order() {
    let now = ORIGIN * RES;
    let steps = 1..=30 * 288_i64;
    let (mut forward, mut backward) = (SeriesLedger::new(RES, P95, 30 * DAY), SeriesLedger::new(RES, P95, 30 * DAY));
    for (ledger, order) in [(&mut forward, steps.clone().rev().collect::<Vec<_>>()), (&mut backward, steps.collect())] {
        for step in order {
            assert!(ledger.apply_coarse(now - step * 300, 300, 100, u64::from(step % 3 == 0) * 6, Coverage::Known));
        }
    }
    for length_s in [300, 3600, DAY, 3 * DAY, 30 * DAY] {
        let sum = forward.window(now, length_s);
        assert_eq!(sum, backward.window(now, length_s));
        assert_eq!((sum.total, sum.known, sum.judged), (length_s as u64 / 3, sum.slices, sum.slices));
    }
    assert!(!forward.apply_coarse(now - 20 * DAY, 300, 1, 1, Coverage::Known), "a full hour takes no more");
}

#[test]
fn a_hole_between_live_slices_is_filled_in_coarse_steps() {
    let now = ORIGIN * RES;
    let mut ledger = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    for minutes in [(-180, -150), (-30, 0)] {
        ledger.apply(&(minutes.0 * 2..minutes.1 * 2).map(|slice| known(ORIGIN + slice, 10, 1)).collect::<Vec<_>>());
    }
    for step in 7..=30 {
        assert!(ledger.apply_coarse(now - step * 300, 300, 100, 10, Coverage::Partial));
    }
    let mut absorbed = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    absorbed.apply(&[known(ORIGIN - 3600, 5, 0)]);
    let mut younger = ledger.clone();
    assert!(younger.absorb_older(absorbed, i64::MIN, &[]));
    for ledger in [&ledger, &younger] {
        for minutes in [30, 35, 37, 90, 149, 150, 170, 180] {
            let sum = ledger.window(now, minutes * 60);
            assert_eq!(
                (sum.total, sum.bad, sum.known),
                (minutes as u64 * 20, minutes as u64 * 2, sum.slices),
                "{minutes} min"
            );
        }
        assert_eq!(ledger.window(now, 180 * 60).partial, 240);
    }
}

/// History that comes when the first slices of a series are held no longer: they are read again with it, and judged by
/// what came before them.
#[test]
fn history_that_comes_late_leaves_no_seam() {
    // Now and then an event of a quiet service, so that verdicts look back far.
    let delta = |slice: i64| SliceDelta {
        slice,
        total: u64::from(slice % 7 == 0),
        bad: u64::from(slice % 7 == 0 && slice % 3 == 0 && (slice / 60) % 4 == 1),
        coverage: Coverage::Known,
    };
    let all = |slices: std::ops::Range<i64>| slices.map(delta).collect::<Vec<_>>();
    let (start, polls, newest) = (0, 30 * 120, 30 * 120 + 7);
    // How late the reading begins, and how long it takes.
    for (late, long) in
        [0, 60, 90, 5 * 120, 40 * 120].into_iter().flat_map(|late| [0, 7, 20, 60].map(|long| (late, long)))
    {
        let new = || SeriesLedger::new(RES, P95, 30 * DAY);
        let (mut whole, mut younger, mut older) = (new(), new(), new());
        // Six hours at once, and then poll by poll.
        younger.apply(&all(polls - 740..newest));
        whole.apply(&all(start..newest));
        for slice in newest..newest + late {
            younger.apply(&[delta(slice)]);
            whole.apply(&[delta(slice)]);
        }
        let joined_s = younger.joins_at().expect("it knows something");
        let kept = younger.judged_by_older(joined_s);
        for slice in newest + late..newest + late + long {
            younger.apply(&[delta(slice)]);
            whole.apply(&[delta(slice)]);
        }
        older.apply(&all(start..joined_s / RES));
        assert!(younger.absorb_older(older, joined_s, &kept));
        let end_s = (newest + late + long) * RES;
        for length_s in [3600, 6 * 3600, 8 * 3600, DAY, 30 * DAY] {
            assert_eq!(
                younger.window(end_s, length_s),
                whole.window(end_s, length_s),
                "{late} late, {long} long, {length_s} s"
            );
        }
    }
}
