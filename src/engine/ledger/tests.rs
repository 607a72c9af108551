//! The ledger against a model that keeps every slice in a map and adds them up one by one.

mod coarse;
mod longer;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::evidence::Verdict;
use super::*;
use crate::engine::Unit;

const RES: i64 = 30;
const P95: Unit = Unit::QuantileSlices { quantile: 0.95 };
/// 2025-04-03T00:00:00Z in slices; whole hours, days and blocks all start somewhere else.
const ORIGIN: i64 = 1_743_638_400 / RES;
const DAY: i64 = 86_400;

/// Every slice that was ever said something of.
#[derive(Default, Clone)]
struct LedgerModel(BTreeMap<i64, (u64, u64, Coverage)>);

impl LedgerModel {
    fn apply(&mut self, deltas: &[SliceDelta]) {
        for delta in deltas {
            let seen = delta.total > 0 || delta.bad > 0;
            let coverage = if delta.coverage == Coverage::Unknown && seen { Coverage::Partial } else { delta.coverage };
            let slice = self.0.entry(delta.slice).or_default();
            slice.0 += delta.total;
            slice.1 += delta.bad;
            slice.2 = match (slice.2, coverage) {
                (Coverage::Unknown, said) => said,
                (had, Coverage::Unknown) => had,
                (Coverage::Known, Coverage::Known) => Coverage::Known,
                _ => Coverage::Partial,
            };
        }
    }

    fn counts(&self, from: i64, to: i64) -> (u64, u64) {
        self.0.range(from..=to).fold((0, 0), |sum, (_, slice)| (sum.0 + slice.0, sum.1 + slice.1))
    }

    fn is_judged(&self, slice: i64) -> bool {
        self.0.get(&slice).is_some_and(|&(total, _, coverage)| match coverage {
            Coverage::Unknown => false,
            Coverage::Partial => total > 0,
            Coverage::Known => true,
        })
    }

    /// The spans that end with a slice: from each slice of its 5 minutes, and from each earlier 5 minutes of an hour.
    fn spans(end: i64) -> impl Iterator<Item = i64> {
        (end - 119..=end).rev().filter(move |from| from.div_euclid(10) == end.div_euclid(10) || from % 10 == 0)
    }

    /// The slices that are bad because of the span that ends with `end`.
    fn broken(&self, end: i64) -> Option<std::ops::RangeInclusive<i64>> {
        let over = |slice: i64| {
            let (total, bad) = self.counts(slice, slice);
            bad * 20 > total
        };
        let evident = |&from: &i64| {
            let (total, bad) = self.counts(from, end);
            evidence::Test::of(P95.share()).is_broken(total, bad)
        };
        let from = Self::spans(end).find(evident).filter(|_| self.is_judged(end) && over(end))?;
        Some((from..=end).find(|&slice| over(slice))?..=end)
    }

    /// What is said of every slice.
    fn verdicts(&self) -> BTreeMap<i64, Verdict> {
        let test = evidence::Test::of(P95.share());
        let judged = || self.0.keys().copied().filter(|&slice| self.is_judged(slice));
        let own = |slice: i64| {
            let spans = || Self::spans(slice).map(|from| self.counts(from, slice)).filter(|counts| counts.0 > 0);
            let kept = spans().any(|(total, bad)| test.is_kept(total, bad));
            spans().next().map(|_| (slice, if kept { Verdict::Good } else { Verdict::Undecided }))
        };
        let mut verdicts: BTreeMap<i64, Verdict> = judged().filter_map(own).collect();
        for bad in judged().filter_map(|end| self.broken(end)) {
            verdicts.extend(bad.filter(|&slice| self.is_judged(slice)).map(|slice| (slice, Verdict::Bad)));
        }
        verdicts
    }

    /// Slices `from..to`, with what is said of them.
    fn window(&self, from: i64, to: i64, verdicts: &BTreeMap<i64, Verdict>) -> WindowSum {
        let mut sum = WindowSum { slices: (to - from) as u64, ..WindowSum::default() };
        for (total, bad, coverage) in self.0.range(from..to).map(|(_, slice)| slice) {
            sum.total += total;
            sum.bad += bad;
            sum.known += u64::from(*coverage != Coverage::Unknown);
            sum.partial += u64::from(*coverage == Coverage::Partial);
        }
        for verdict in verdicts.range(from..to).map(|(_, verdict)| verdict) {
            sum.judged += 1;
            sum.judged_bad += u64::from(*verdict == Verdict::Bad);
            sum.undecided += u64::from(*verdict == Verdict::Undecided);
        }
        sum
    }
}

fn delta(slice: i64, total: u64, bad: u64, coverage: Coverage) -> SliceDelta {
    SliceDelta { slice, total, bad, coverage }
}

fn known(slice: i64, total: u64, bad: u64) -> SliceDelta {
    delta(slice, total, bad, Coverage::Known)
}

fn arb_coverage() -> impl Strategy<Value = Coverage> {
    prop_oneof![8 => Just(Coverage::Known), 1 => Just(Coverage::Partial), 1 => Just(Coverage::Unknown)]
}

/// Total and bad of a slice: idle, quiet or busy.
fn arb_counts() -> impl Strategy<Value = (u64, u64)> {
    let total = prop_oneof![3 => Just(0_u64), 4 => 1..4_u64, 2 => 18..23_u64, 1 => 0..5000_u64];
    (total, 0..100_u64).prop_map(|(total, percent)| (total, if percent < 60 { 0 } else { total * (percent - 60) / 39 }))
}

/// Reads of a live series: each brings some slices of the last hour and a half, in ascending order.
fn arb_reads() -> impl Strategy<Value = Vec<Vec<SliceDelta>>> {
    let slice = (0..180_i64, arb_counts(), arb_coverage());
    let read = (0..150_i64, prop::collection::vec(slice, 1..30));
    prop::collection::vec(read, 1..25).prop_map(|reads| {
        let mut newest = ORIGIN + 500;
        let ordered = |(step, slices): (i64, Vec<_>)| {
            newest += step;
            let placed = |(back, (total, bad), coverage)| delta(newest - back, total, bad, coverage);
            let mut read: Vec<SliceDelta> = slices.into_iter().map(placed).collect();
            read.sort_by_key(|delta| delta.slice);
            read
        };
        reads.into_iter().map(ordered).collect()
    })
}

/// A history in order, with holes of any length up to two days.
fn arb_history(count: usize) -> impl Strategy<Value = Vec<SliceDelta>> {
    let step = prop_oneof![30 => 1..3_i64, 2 => 1..300_i64, 1 => 1..5760_i64];
    prop::collection::vec((step, arb_counts(), arb_coverage()), 1..count).prop_map(|steps| {
        let mut slice = ORIGIN;
        let next = |(step, (total, bad), coverage)| {
            slice += step;
            delta(slice, total, bad, coverage)
        };
        steps.into_iter().map(next).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn fine_windows_equal_a_sum_over_all_slices(
        reads in arb_reads(),
        windows in prop::collection::vec((0..700_i64, 1..700_i64), 20),
    ) {
        let (mut ledger, mut model) = (SeriesLedger::new(RES, P95, 30 * DAY), LedgerModel::default());
        for read in &reads {
            prop_assert_eq!(ledger.apply(read).dropped, 0);
            model.apply(read);
        }
        let Some(newest) = ledger.newest() else { return Ok(()) };
        let verdicts = model.verdicts();
        for (back, slices) in windows {
            let end = newest + 3 - back;
            let fine_from = newest - 740;
            if end - slices >= fine_from {
                prop_assert_eq!(ledger.window(end * RES + 7, slices * RES), model.window(end - slices, end, &verdicts));
            }
        }
    }

    #[test]
    fn nothing_is_lost_between_the_tiers(history in arb_history(400), hours in prop::collection::vec((0..720_i64, 1..720_i64), 20)) {
        let (mut ledger, mut model) = (SeriesLedger::new(RES, P95, 30 * DAY), LedgerModel::default());
        for read in history.chunks(7) {
            ledger.apply(read);
            model.apply(read);
        }
        let Some(newest) = ledger.newest() else { return Ok(()) };
        let (newest_hour, verdicts) = (newest.div_euclid(120), model.verdicts());
        for (back, length) in hours {
            let to = newest_hour + 1 - back;
            let from = (to - length).max(newest_hour - 767);
            if from < to {
                let sum = ledger.window(to * 3600, (to - from) * 3600);
                prop_assert_eq!(sum, model.window(from * 120, to * 120, &verdicts), "hours {}..{} of {}", from, to, newest_hour);
            }
        }
    }

    #[test]
    fn a_cut_slot_counts_at_most_whole_and_at_least_nothing(history in arb_history(400), edges in prop::collection::vec((0..80_000_i64, 1..80_000_i64), 20)) {
        let (mut ledger, mut model) = (SeriesLedger::new(RES, P95, 30 * DAY), LedgerModel::default());
        ledger.apply(&history);
        model.apply(&history);
        let Some(newest) = ledger.newest() else { return Ok(()) };
        let verdicts = model.verdicts();
        for (back, length) in edges {
            let (from, to) = (newest - back - length, newest + 1 - back);
            let sum = ledger.window(to * RES, (to - from) * RES);
            prop_assert!(sum.bad <= sum.total && sum.judged_bad <= sum.judged && sum.partial <= sum.known);
            if newest - from < 700 * 120 {
                // Both edges grown outwards, and inwards, to whole hours.
                let outer = model.window(from.div_euclid(120) * 120, (to + 119).div_euclid(120) * 120, &verdicts);
                let (inner_from, inner_to) = ((from + 119).div_euclid(120) * 120, to.div_euclid(120) * 120);
                let inner = model.window(inner_from, inner_to.max(inner_from), &verdicts);
                prop_assert!(sum.total <= outer.total && inner.total <= sum.total);
                prop_assert!(sum.known <= outer.known && inner.known <= sum.known);
                prop_assert!(sum.judged_bad <= outer.judged_bad && inner.judged_bad <= sum.judged_bad);
            }
        }
    }

    #[test]
    fn absorbing_older_history_equals_having_seen_it_first(
        history in arb_history(600),
        split in 0..600_usize,
        windows in prop::collection::vec((0..100_000_i64, 1..100_000_i64), 20),
    ) {
        let split = split.min(history.len());
        let (mut whole, mut older, mut younger) =
            (SeriesLedger::new(RES, P95, 30 * DAY), SeriesLedger::new(RES, P95, 30 * DAY), SeriesLedger::new(RES, P95, 30 * DAY));
        // The younger part is what its fine tier holds: a daemon that has been up for less than six hours.
        let newest = history.last().map_or(0, |delta| delta.slice);
        let (first, second): (Vec<_>, Vec<_>) =
            history.iter().enumerate().partition(|(place, delta)| *place < split || newest - delta.slice > 700);
        let slices = |part: Vec<(usize, &SliceDelta)>| part.into_iter().map(|(_, delta)| *delta).collect::<Vec<_>>();
        let (first, second) = (slices(first), slices(second));
        whole.apply(&first);
        whole.apply(&second);
        older.apply(&first);
        younger.apply(&second);
        prop_assert!(younger.absorb_older(older, i64::MIN, &[]));
        prop_assert_eq!(younger.newest(), whole.newest());
        prop_assert_eq!(younger.oldest(), whole.oldest());
        for (back, length) in windows {
            let end = newest + 1 - back;
            prop_assert_eq!(younger.window(end * RES, length * RES), whole.window(end * RES, length * RES));
        }
    }

    #[test]
    fn restored_hours_and_later_slices_give_the_same_windows(
        history in arb_history(600),
        slots in prop::collection::vec((0..9000_i64, 1..9000_i64), 20),
        kept_h in 1..6_i64,
    ) {
        let mut before = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
        before.apply(&history);
        let Some(newest) = before.newest() else { return Ok(()) };
        let seam = newest.div_euclid(120) + 1 - kept_h;
        let mut after = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
        for record in before.hours(i64::MIN..seam) {
            let bytes = postcard::to_allocvec(&record).expect("a record is plain numbers");
            after.restore_hour(&postcard::from_bytes(&bytes).expect("just written"));
        }
        let later: Vec<SliceDelta> = before.fine().filter(|delta| delta.slice >= seam * 120).collect();
        after.apply(&later);
        prop_assert_eq!(after.oldest(), before.oldest());
        if !later.is_empty() {
            prop_assert_eq!(after.newest(), before.newest());
        }
        for (back, length) in slots {
            // Edges on the 5-minute grid, or on the hour where only hours are kept; the right edge anywhere after the seam.
            let end = newest + 1 - back;
            let end = if end >= seam * 120 { end } else { end.div_euclid(120) * 120 };
            let start = end - length;
            let start = if newest - start < 73 * 120 { start.div_euclid(10) * 10 } else { start.div_euclid(120) * 120 };
            prop_assert_eq!(after.window(end * RES, (end - start) * RES), before.window(end * RES, (end - start) * RES));
        }
    }
}

#[test]
fn unknown_slices_never_become_known_and_empty() {
    let mut ledger = SeriesLedger::new(RES, P95, 30 * DAY);
    assert_eq!(ledger.window(ORIGIN * RES, DAY), WindowSum { slices: 2880, ..WindowSum::default() });
    ledger.apply(&[known(ORIGIN, 100, 1), delta(ORIGIN + 1, 0, 0, Coverage::Unknown), known(ORIGIN + 50, 0, 0)]);
    let sum = ledger.window((ORIGIN + 51) * RES, 51 * RES);
    assert_eq!((sum.known, sum.slices), (2, 51));
    assert_eq!(ledger.fine().map(|slice| slice.slice).collect::<Vec<_>>(), [ORIGIN, ORIGIN + 50]);
    ledger.apply(&[delta(ORIGIN + 60, 0, 0, Coverage::Unknown)]);
    assert_eq!(ledger.newest(), Some(ORIGIN + 50), "an unknown slice is no news");
    let mut events = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    events.apply(&[delta(ORIGIN, 3, 1, Coverage::Unknown)]);
    assert_eq!(events.window((ORIGIN + 1) * RES, RES).partial, 1, "events were seen: partial, not unknown");
}

#[test]
fn partial_stays_partial() {
    let mut ledger = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    for coverage in [Coverage::Known, Coverage::Partial, Coverage::Known, Coverage::Unknown] {
        ledger.apply(&[delta(ORIGIN, 1, 0, coverage)]);
    }
    let sum = ledger.window((ORIGIN + 1) * RES, RES);
    assert_eq!((sum.total, sum.known, sum.partial), (4, 1, 1));
    assert_eq!(ledger.window((ORIGIN + 200) * RES, 10 * 3600).partial, 1, "also in the coarse tiers");
}

#[test]
fn a_sample_over_the_promise_is_no_evidence_yet() {
    let all = |ledger: &SeriesLedger| {
        let sum = ledger.window((ORIGIN + 1) * RES, RES);
        (sum.judged, sum.judged_bad, sum.undecided)
    };
    for (quantile, events, slow, expected) in [
        (0.95, 20, 0, (1, 0, 1)),
        (0.95, 20, 2, (1, 0, 1)),
        (0.95, 20, 5, (1, 0, 1)),
        (0.95, 20, 7, (1, 1, 0)),
        (0.95, 3, 3, (1, 1, 0)),
        (0.95, 1, 1, (1, 0, 1)),
        (0.95, 100, 0, (1, 0, 0)),
        (0.95, 2000, 100, (1, 0, 1)),
        (0.95, 2000, 140, (1, 1, 0)),
        (0.99, 20, 4, (1, 1, 0)),
        (0.5, 40, 25, (1, 0, 1)),
        (0.5, 40, 35, (1, 1, 0)),
    ] {
        let mut ledger = SeriesLedger::new(RES, Unit::QuantileSlices { quantile }, 30 * DAY);
        ledger.apply(&[known(ORIGIN, events, slow)]);
        assert_eq!(all(&ledger), expected, "p{quantile}: {slow} of {events}");
    }
}

#[test]
fn a_fault_that_shows_over_half_an_hour_is_bad_for_that_half_hour() {
    // One request a minute, every fifth slow for 40 minutes.
    let mut ledger = SeriesLedger::new(RES, P95, 30 * DAY);
    let slow = |slice: i64| (120..200).contains(&slice) && slice % 10 == 4;
    for slice in 0..320 {
        let total = u64::from(slice % 2 == 0);
        ledger.apply(&[known(ORIGIN + slice, total, u64::from(slow(slice)))]);
    }
    let bad = |from: i64, to: i64| ledger.window((ORIGIN + to) * RES, (to - from) * RES).judged_bad;
    assert_eq!(bad(0, 124), 0, "nothing slow has come");
    assert_eq!(bad(124, 195), 71, "from the first slow one to the last");
    assert_eq!(bad(195, 320), 0, "what comes after is not bad");
}

#[test]
fn a_late_event_changes_the_verdict_of_the_hour_around_it() {
    let mut ledger = SeriesLedger::new(RES, P95, 30 * DAY);
    let mut quiet: Vec<SliceDelta> = (0..200).map(|slice| known(ORIGIN + slice, 0, 0)).collect();
    (quiet[0].total, quiet[40].total) = (3, 3);
    quiet[40].bad = 2;
    ledger.apply(&quiet);
    let all = |ledger: &SeriesLedger| {
        let sum = ledger.window((ORIGIN + 200) * RES, 200 * RES);
        (sum.judged, sum.judged_bad, sum.undecided)
    };
    assert_eq!(all(&ledger), (160, 0, 160), "idle after an hour without events");
    let applied = ledger.apply(&[known(ORIGIN, 0, 2)]);
    assert_eq!(applied, Applied { dropped: 0, corrected: 1 });
    assert_eq!(all(&ledger), (160, 41, 119), "four of six, over the span between them");
    let hours = ledger.window((ORIGIN + 240) * RES, 30 * DAY);
    assert_eq!((hours.judged, hours.judged_bad), (160, 41), "the coarse tiers follow");
    ledger.apply(&[known(ORIGIN + 20, 200, 0)]);
    assert_eq!(all(&ledger).1, 0, "and back, where they were few of many");
}

#[test]
fn constant_traffic_is_exact_across_every_seam_between_tiers() {
    // Tiers forget by the block, so the finer one begins inside a slot of the coarser: only what is before counts there.
    let mut ledger = SeriesLedger::new(RES, P95, 30 * DAY);
    let slices = 100 * 120;
    ledger.apply(&(-slices..0).map(|slice| known(ORIGIN + slice, 20, 2)).collect::<Vec<_>>());
    for length in (5 * 120..9 * 120).chain(70 * 120..90 * 120) {
        let sum = ledger.window(ORIGIN * RES, length * RES);
        let expected = length as u64;
        assert_eq!((sum.total, sum.known, sum.judged_bad), (20 * expected, expected, expected), "{length} slices");
    }
}

/// Bytes counted as events: far over what 32 bits hold, in every tier.
#[test]
fn very_many_events_are_counted_to_the_last() {
    let mut ledger = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    let (total, bad) = (5_000_000_001, 4_400_000_003);
    let slices: Vec<SliceDelta> = (0..4 * 2880).map(|slice| known(ORIGIN + slice, total, bad)).collect();
    ledger.apply(&slices);
    let small = ledger.clone();
    for length_s in [30, 300, 3600, 6 * 3600, DAY, 3 * DAY] {
        let window = ledger.window((ORIGIN + 4 * 2880) * RES, length_s);
        let slices = (length_s / RES) as u64;
        assert_eq!((window.total, window.bad, window.partial), (slices * total, slices * bad, 0), "{length_s} s");
    }
    // A slot that was large and is corrected is what it says it is.
    ledger.take_back(ORIGIN + 4 * 2880 - 1, bad);
    assert_eq!(ledger.window((ORIGIN + 4 * 2880) * RES, RES).bad, 0);
    assert!(small.bytes() < 2 * 40 * 1024, "{} bytes", small.bytes());
}

#[test]
fn too_many_events_are_cut_and_marked_partial() {
    let mut ledger = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    ledger.apply(&[known(ORIGIN + 2, u64::MAX, u64::MAX), known(ORIGIN + 3, u64::MAX, 0)]);
    let fine = ledger.window((ORIGIN + 4) * RES, 2 * RES);
    assert!(fine.total > 1 << 48 && fine.bad >= 1 << 48 && fine.bad <= fine.total, "{fine:?}");
    assert_eq!(fine.partial, 2);
    assert_eq!(ledger.hours(i64::MIN..i64::MAX)[0].slot.partial, 2);
    assert!(ledger.window((ORIGIN + 200) * RES, 30 * DAY).total >= 1 << 48);
}

#[test]
fn absurd_input_is_refused_and_breaks_nothing() {
    let mut ledger = SeriesLedger::new(RES, P95, 30 * DAY);
    let absurd = [i64::MIN, i64::MAX, -(1 << 40), 1 << 40];
    for slice in absurd {
        assert_eq!(ledger.apply(&[known(slice, 5, 0)]).dropped, 5);
    }
    assert_eq!(ledger.newest(), None);
    ledger.apply(&[known(ORIGIN, 30, 0)]);
    assert_eq!(ledger.apply(&[known(ORIGIN - 40 * 2880, 3, 0)]), Applied { dropped: 3, corrected: 0 });
    for end in absurd {
        for length in absurd {
            ledger.window(end, length);
        }
        ledger.restore_hour(&HourRecord { hour: end, slot: Slot { known: 9, ..Slot::default() }, fine: vec![] });
        assert!(!ledger.apply_coarse(end / 3600 * 3600, 3600, 1, 1, Coverage::Known));
    }
    assert_eq!(ledger.window((ORIGIN + 1) * RES, 30 * DAY).total, 30);
    let forged = Slot {
        total: u64::MAX,
        bad: 0,
        known: u32::MAX,
        partial: u32::MAX,
        judged: u32::MAX,
        judged_bad: u32::MAX,
        undecided: u32::MAX,
    };
    ledger.restore_hour(&HourRecord { hour: ORIGIN / 120 - 1, slot: forged, fine: vec![forged; 50] });
    let sum = ledger.window(ORIGIN * RES, 3600);
    assert_eq!((sum.known, sum.judged_bad), (120, 120));
}

#[test]
fn slices_out_of_order_are_judged_all_the_same() {
    let slices: Vec<SliceDelta> =
        (0..100).map(|slice| known(ORIGIN + slice, 3, 3 * u64::from(slice % 5 == 0))).collect();
    let (mut forward, mut backward) = (SeriesLedger::new(RES, P95, 30 * DAY), SeriesLedger::new(RES, P95, 30 * DAY));
    forward.apply(&slices);
    backward.apply(&slices.iter().rev().copied().collect::<Vec<_>>());
    let all = |ledger: &SeriesLedger| ledger.window((ORIGIN + 100) * RES, 100 * RES);
    assert_eq!(all(&forward), all(&backward));
    assert!(all(&forward).judged_bad > 0);
}

#[test]
fn every_resolution_keeps_six_hours_fine_and_adds_up() {
    for resolution_s in RESOLUTIONS_S {
        let mut ledger = SeriesLedger::new(resolution_s, P95, 30 * DAY);
        let first = 1_743_638_400 / resolution_s;
        let count = 9 * 3600 / resolution_s;
        ledger.apply(
            &(first..first + count).map(|slice| known(slice, 40, u64::from(slice % 2 == 0) * 3)).collect::<Vec<_>>(),
        );
        for length_s in [300, 3600, 6 * 3600, 9 * 3600] {
            let sum = ledger.window((first + count) * resolution_s, length_s);
            let slices = (length_s / resolution_s) as u64;
            assert_eq!((sum.slices, sum.known, sum.judged, sum.total), (slices, slices, slices, 40 * slices));
        }
        let kept = ledger.fine().count() as i64 * resolution_s;
        assert!(kept >= 6 * 3600 + 600, "{resolution_s}s keeps {kept}s");
    }
}

#[test]
fn a_young_series_is_small_and_an_old_one_under_40_kib() {
    let mut ledger = SeriesLedger::new(RES, P95, 30 * DAY);
    let slices: Vec<SliceDelta> = (0..40 * 2880).map(|slice| known(ORIGIN + slice, 1000, 1)).collect();
    ledger.apply(&slices[..120]);
    assert!(ledger.bytes() < 4000, "{} bytes after an hour", ledger.bytes());
    ledger.apply(&slices[120..]);
    assert!(ledger.bytes() <= 40 * 1024, "{} bytes after forty days", ledger.bytes());
    let records = ledger.hours(i64::MIN..i64::MAX);
    let bytes: usize = records.iter().map(|record| postcard::to_allocvec(record).expect("plain numbers").len()).sum();
    assert!(bytes / records.len() < 60, "{} bytes an hour in the store", bytes / records.len());
}

#[test]
fn the_ledger_gives_series_in_label_order_and_forgets_them() {
    let mut ledger = Ledger::new(RES);
    let mut slo = crate::engine::burn::tests::slo(99.9);
    let label = |value: &str| Labels::from_iter([("model", value)]);
    for model in ["b", "a", "c"] {
        ledger.series_mut(&slo, &label(model)).apply(&[known(ORIGIN, 1, 0)]);
    }
    let order = |ledger: &Ledger| ledger.of(&slo.id).map(|(labels, _)| labels.clone()).collect::<Vec<_>>();
    assert_eq!(order(&ledger), [label("a"), label("b"), label("c")]);
    assert!(ledger.remove(&slo.id, &label("b")).is_some());
    assert_eq!((ledger.len(), ledger.get(&slo.id, &label("b")).is_none()), (2, true));
    slo.window_s = 90 * DAY;
    assert_eq!(ledger.series_mut(&slo, &label("a")).newest(), Some(ORIGIN), "a longer window keeps what is there");
    slo.unit = P95;
    assert_eq!(ledger.series_mut(&slo, &label("a")).newest(), None, "another unit begins anew");
    ledger.retain_slos(|_| false);
    assert!(ledger.is_empty());
}
