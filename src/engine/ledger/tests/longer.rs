//! Slices that are judged by several: what they come to must not depend on how their parts arrived.

use super::*;

/// Total, bad and what is known of one slice.
type SliceSaid = (u64, u64, Coverage);

/// The slices of the model as one ledger of slices of `per` each would be told of them, in one read.
fn told_at_once(model: &LedgerModel, unit: Unit, per: i64) -> SeriesLedger {
    let mut parts: BTreeMap<i64, Vec<(i64, SliceSaid)>> = BTreeMap::new();
    for (slice, said) in model.0.iter().filter(|(_, said)| said.2 != Coverage::Unknown) {
        parts.entry(slice.div_euclid(per)).or_default().push((*slice, *said));
    }
    let whole = |(slice, parts): (i64, Vec<(i64, SliceSaid)>)| {
        let (total, bad) = parts.iter().fold((0, 0), |sum, (_, part)| (sum.0 + part.0, sum.1 + part.1));
        let gap = parts.windows(2).any(|pair| pair[1].0 != pair[0].0 + 1);
        let partial = gap || parts.iter().any(|(_, part)| part.2 == Coverage::Partial);
        let coverage = if partial { Coverage::Partial } else { Coverage::Known };
        match unit {
            Unit::GaugeSlices => delta(slice, u64::from(total > 0), u64::from(total > 0 && bad > 0), coverage),
            _ => delta(slice, total, bad, coverage),
        }
    };
    let mut ledger = SeriesLedger::new(per * RES, unit, 30 * DAY);
    ledger.apply(&parts.into_iter().map(whole).collect::<Vec<_>>());
    ledger
}

fn arb_per() -> impl Strategy<Value = i64> {
    prop_oneof![Just(2_i64), Just(5), Just(10)]
}

fn arb_unit() -> impl Strategy<Value = Unit> {
    prop_oneof![Just(P95), Just(Unit::GaugeSlices), Just(Unit::Events)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn parts_in_any_order_of_reads_are_judged_as_their_sum(
        reads in arb_reads(),
        per in arb_per(),
        unit in arb_unit(),
        windows in prop::collection::vec((0..700_i64, 1..70_i64), 20),
    ) {
        let (mut ledger, mut model) = (SeriesLedger::new(RES, unit, 30 * DAY).judged_by(per * RES), LedgerModel::default());
        for read in &reads {
            prop_assert_eq!(ledger.apply(read).dropped, 0);
            model.apply(read);
        }
        let Some(newest) = ledger.newest() else { return Ok(()) };
        let direct = told_at_once(&model, unit, per);
        for (back, length) in windows {
            // Any end: a longer slice that is going on counts with its verdict so far.
            let end = newest + 3 - back;
            let whole = (end + per - 1).div_euclid(per);
            if (whole - length) * per < newest - 740 {
                continue;
            }
            let (sum, wanted) = (ledger.window(end * RES, length * per * RES), direct.window(whole * per * RES, length * per * RES));
            // Events are counted up to the very end.
            if unit != Unit::Events || end > newest || end.rem_euclid(per) == 0 {
                prop_assert_eq!(ledger.counted(&sum), direct.counted(&wanted), "{} of {}", end, newest);
            }
        }
    }

    #[test]
    fn a_month_of_them_adds_up_in_every_tier(
        history in arb_history(400),
        per in arb_per(),
        unit in arb_unit(),
        read in 1..9_usize,
        hours in prop::collection::vec((0..720_i64, 1..720_i64), 20),
    ) {
        let (mut ledger, mut model) = (SeriesLedger::new(RES, unit, 30 * DAY).judged_by(per * RES), LedgerModel::default());
        for read in history.chunks(read) {
            ledger.apply(read);
            model.apply(read);
        }
        let Some(newest) = ledger.newest() else { return Ok(()) };
        let direct = told_at_once(&model, unit, per);
        let newest_hour = newest.div_euclid(120);
        for (back, length) in hours {
            let to = newest_hour + 1 - back;
            let from = (to - length).max(newest_hour - 767);
            if from < to {
                let (sum, wanted) = (ledger.window(to * 3600, (to - from) * 3600), direct.window(to * 3600, (to - from) * 3600));
                prop_assert_eq!(ledger.counted(&sum), direct.counted(&wanted), "hours {}..{} of {}", from, to, newest_hour);
            }
        }
    }

    #[test]
    fn history_that_ends_within_one_joins_on(
        history in arb_history(600),
        split in 0..600_usize,
        per in arb_per(),
        windows in prop::collection::vec((0..100_000_i64, 1..100_000_i64), 20),
    ) {
        let new = || SeriesLedger::new(RES, P95, 30 * DAY).judged_by(per * RES);
        let (mut whole, mut older, mut younger) = (new(), new(), new());
        let newest = history.last().map_or(0, |delta| delta.slice);
        let old = |(place, delta): (usize, &SliceDelta)| place < split.min(history.len()) || newest - delta.slice > 700;
        let place = history.iter().enumerate().position(|entry| !old(entry)).unwrap_or(history.len());
        let (first, second) = history.split_at(place);
        whole.apply(first);
        whole.apply(second);
        older.apply(first);
        younger.apply(second);
        prop_assert!(younger.absorb_older(older, i64::MIN, &[]));
        for (back, length) in windows {
            let end = newest + 1 - back;
            prop_assert_eq!(younger.window(end * RES, length * RES), whole.window(end * RES, length * RES));
        }
    }

    #[test]
    fn hours_and_slices_of_a_restart_are_judged_as_before(
        history in arb_history(600),
        per in arb_per(),
        kept_h in 2..6_i64,
        more in prop::collection::vec((0..12_i64, arb_counts()), 1..8),
        lengths in prop::collection::vec(1..700_i64, 20),
    ) {
        let new = || SeriesLedger::new(RES, P95, 30 * DAY).judged_by(per * RES);
        let mut before = new();
        before.apply(&history);
        let Some(newest) = before.newest() else { return Ok(()) };
        let seam = newest.div_euclid(120) + 1 - kept_h;
        let mut after = new();
        // As the store gives them: slices from an hour before the seam on, then the hours before it.
        after.apply(&before.fine().filter(|delta| delta.slice >= (seam - 1) * 120).collect::<Vec<_>>());
        before.hours(i64::MIN..seam).iter().for_each(|record| after.restore_hour(record));
        let mut slice = newest;
        for (step, (total, bad)) in more {
            slice += step;
            before.apply(&[known(slice, total, bad)]);
            after.apply(&[known(slice, total, bad)]);
        }
        for hours in lengths {
            let end = (slice + 1) * RES;
            let length = end - (end.div_euclid(3600) - hours) * 3600;
            prop_assert_eq!(after.window(end, length), before.window(end, length));
        }
    }
}

#[test]
fn a_gauge_is_bad_for_five_minutes_when_one_value_in_them_was() {
    let mut ledger = SeriesLedger::new(RES, Unit::GaugeSlices, 30 * DAY).judged_by(300);
    let first = ORIGIN;
    ledger.apply(&(first..first + 30).map(|slice| known(slice, 1, u64::from(slice == first + 14))).collect::<Vec<_>>());
    let end = (first + 30) * RES;
    let counted = |ledger: &SeriesLedger, end, length| ledger.counted(&ledger.window(end, length));
    assert_eq!(counted(&ledger, end, 900), (3, 1));
    assert_eq!(counted(&ledger, end, 300), (1, 0));
    // The one that is going on counts from its first value on, and it is not partial for what is still to come.
    ledger.apply(&[known(first + 30, 1, 1)]);
    let sum = ledger.window(end + RES, 900);
    assert_eq!((ledger.counted(&sum), sum.known, sum.slices, sum.partial), ((3, 2), 21, 21, 0));
    assert_eq!(counted(&ledger, end + RES, 30), (1, 1), "no window is shorter than a slice");
    assert_eq!(counted(&ledger, end + RES, 0), (0, 0));
}

#[test]
fn another_length_of_slices_begins_anew() {
    let slo = |resolution_s| Slo { unit: P95, resolution_s, ..crate::engine::burn::tests::slo(99.0) };
    let mut ledger = Ledger::new(RES);
    let labels = Labels::new();
    ledger.series_mut(&slo(Some(300)), &labels).apply(&[known(ORIGIN, 100, 50)]);
    assert_eq!(ledger.series_mut(&slo(Some(300)), &labels).newest(), Some(ORIGIN));
    assert_eq!(ledger.series_mut(&slo(None), &labels).newest(), None);
    assert_eq!(ledger.get("checkout-availability", &labels).map(SeriesLedger::slice_s), Some(RES));
}
