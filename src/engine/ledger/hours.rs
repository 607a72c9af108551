//! What outlives a process: a series as hour records, and two pieces of one history put together.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::series::{HOUR_S, MID_S};
use super::tier::Slot;
use super::{SeriesLedger, SliceDelta};
use crate::engine::{Seconds, Unit};

const MIDS: i64 = HOUR_S / MID_S;

/// One hour of one series, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourRecord {
    /// Hours since the Unix epoch.
    pub hour: i64,
    /// The whole hour.
    pub slot: Slot,
    /// Its twelve 5-minute slots, ascending; empty where the series is known by the hour only.
    pub fine: Vec<Slot>,
}

impl SeriesLedger {
    /// The hours in `range` (hours since the Unix epoch) of which anything is known, ascending. The hour that is
    /// still going on is as far as it has come.
    pub fn hours(&self, range: Range<i64>) -> Vec<HourRecord> {
        let hours =
            self.hour.known().skip_while(|(hour, _)| *hour < range.start).take_while(|(hour, _)| *hour < range.end);
        hours
            .map(|(hour, slot)| {
                let mids = hour * MIDS..(hour + 1) * MIDS;
                let known = self.mid.range(mids.start, mids.end).known > 0;
                let fine = if known { mids.map(|mid| self.mid.get(mid)).collect() } else { Vec::new() };
                HourRecord { hour, slot, fine }
            })
            .collect()
    }

    /// Puts an hour back as it was, in place of anything these tiers hold of it; slices of it that were applied before
    /// stay, and those of a restored hour must not be applied again. A record that says more slices than an hour has is
    /// cut to what is possible.
    pub fn restore_hour(&mut self, record: &HourRecord) {
        if record.slot.known == 0 || record.hour.unsigned_abs() > 100_000_000_000 / HOUR_S as u64 {
            return;
        }
        let start = record.hour * HOUR_S;
        let mut last = (start, record.slot.known);
        let (in_hour, in_mid) = (self.most_in(HOUR_S), self.most_in(MID_S));
        self.hour.edit(record.hour, |slot| *slot = possible(record.slot, in_hour));
        for (mid, fine) in (record.hour * MIDS..).zip(record.fine.iter().take(MIDS as usize)) {
            if fine.known > 0 {
                self.mid.edit(mid, |slot| *slot = possible(*fine, in_mid));
                last = (mid * MID_S, fine.known);
            }
        }
        self.note_behind(record.hour);
        let slices = HOUR_S / self.resolution_s;
        self.reached(last.0 / self.resolution_s + i64::from(last.1).min(slices) - 1, start + HOUR_S);
    }

    /// Notes where the finer tiers know less of an hour than the coarser ones: elsewhere each slice is known as well as it
    /// was. Of a quantile SLI they always may, for a slice is judged by the hour before it, and not all of that is held.
    fn note_behind(&mut self, hour: i64) {
        let (mids, per_mid) = (hour * MIDS..(hour + 1) * MIDS, MID_S / self.resolution_s);
        let is_judged_again = matches!(self.unit, Unit::QuantileSlices { .. });
        if is_judged_again || self.hour.get(hour) != self.mid.range(mids.start, mids.end) {
            return self.mid_behind(hour * HOUR_S);
        }
        let given_up = self.fine.given_up();
        for mid in mids {
            let (whole, held) = (self.mid.get(mid), self.fine.range(mid * per_mid, (mid + 1) * per_mid));
            // What is older than a full tier reaches is no gap in it.
            let gone = i64::from(whole.known - whole.known.min(held.known));
            let is_old = gone > 0 && given_up.is_some_and(|from| gone <= from - mid * per_mid);
            if whole != held && !is_old {
                self.fine_behind(mid * MID_S);
            }
        }
    }

    /// Where older history is to end that is put under this series: where the series begins, while all of its slices are
    /// held. Later that is where those begin that are: slices are judged by what came up to an hour before them, and only
    /// what is held slice by slice can be judged again. On the grid of 5 minutes then.
    pub fn joins_at(&self) -> Option<Seconds> {
        let begins = self.begins()?;
        let held = self.fine().next().map(|slice| slice.slice * self.resolution_s);
        match held {
            Some(held) if held > begins => Some((held + MID_S - 1).div_euclid(MID_S) * MID_S),
            _ => Some(begins),
        }
    }

    /// The slices that are judged anew by older history which ends at `joined_s`: those of the hour after it, where slices
    /// are judged by what came before them. Whoever reads that history keeps them until it is put under this series
    /// ([`SeriesLedger::absorb_older`]), for while it is read the fine tier moves on and gives them up.
    pub fn judged_by_older(&self, joined_s: Seconds) -> Vec<SliceDelta> {
        if !matches!(self.unit, Unit::QuantileSlices { .. }) {
            return Vec::new();
        }
        let start_s = |slice: &SliceDelta| slice.slice * self.resolution_s;
        let until_s = joined_s.saturating_add(HOUR_S);
        self.fine().skip_while(|slice| start_s(slice) < joined_s).take_while(|slice| start_s(slice) < until_s).collect()
    }

    /// Puts `older`, filled with the history before this series began, under it: afterwards every window is what it
    /// would be had the older slices come first. Both must be of one resolution, unit and length of slices (else `older` is
    /// left out and the answer is `false`), and must not both have events in one slice, but for what this series knows
    /// before `joined_s` only in coarse steps: there `older` stands in its place, wherever it knows anything. `kept` are
    /// slices that were held when the reading of `older` began ([`SeriesLedger::judged_by_older`]): those that are held no
    /// longer go in as slices all the same, where nothing was added to their 5 minutes since.
    pub fn absorb_older(&mut self, older: SeriesLedger, joined_s: Seconds, kept: &[SliceDelta]) -> bool {
        if (older.resolution_s, older.slice_s(), older.unit) != (self.resolution_s, self.slice_s(), self.unit) {
            return false;
        }
        let younger = std::mem::replace(self, older);
        self.grow_to(younger.longest_window_s());
        // What stands in place of younger slots, in steps of an hour and of 5 minutes.
        let replaced = |end_s: Seconds, slot: Slot| end_s <= joined_s && slot.known > 0;
        let older_mid = |(mid, _): &(i64, Slot)| replaced((mid + 1) * MID_S, self.mid.get(*mid));
        let mids: BTreeSet<i64> = younger.mid.known().filter(older_mid).map(|(mid, _)| mid).collect();
        // What the younger one knows only in coarse steps goes in as such.
        for (hour, slot) in younger.hour.known() {
            let own = slot - younger.mid.range(hour * MIDS, (hour + 1) * MIDS);
            if own != Slot::default() && !replaced((hour + 1) * HOUR_S, self.hour.get(hour)) {
                self.mid_behind(hour * HOUR_S);
                self.book_hour(hour * HOUR_S, own);
            }
        }
        let (per_mid, whole_from) = (MID_S / self.resolution_s, younger.whole_from());
        let mid_of = |slice: &SliceDelta| slice.slice.div_euclid(per_mid);
        let gone = kept.iter().filter(|slice| slice.slice < whole_from).copied().collect::<Vec<_>>();
        let gone: BTreeMap<i64, &[SliceDelta]> = (gone.chunk_by(|a, b| mid_of(a) == mid_of(b)))
            .map(|slices| (mid_of(&slices[0]), slices))
            .filter(|(mid, slices)| !mids.contains(mid) && younger.mid.get(*mid).holds_just(slices))
            .collect();
        for (mid, slot) in younger.mid.known() {
            let own = slot - younger.fine.range(whole_from.max(mid * per_mid), (mid + 1) * per_mid);
            if own != Slot::default() && !mids.contains(&mid) && !gone.contains_key(&mid) {
                self.fine_behind(mid * MID_S);
                self.book_coarse(mid * MID_S, own);
            }
        }
        let held = younger.fine().filter(|slice| !mids.contains(&mid_of(slice)));
        self.apply(&gone.values().flat_map(|slices| slices.iter().copied()).chain(held).collect::<Vec<_>>());
        if let Some(newest) = younger.newest() {
            self.reached(newest, younger.horizon_s);
        }
        true
    }
}

/// A slot no record can make impossible: at most `slices` known, and at most `verdicts` on them.
fn possible(slot: Slot, (slices, verdicts): (u32, u32)) -> Slot {
    let known = slot.known.min(slices);
    let judged = slot.judged.min(verdicts);
    let judged_bad = slot.judged_bad.min(judged);
    let undecided = slot.undecided.min(judged - judged_bad);
    Slot { known, partial: slot.partial.min(known), judged, judged_bad, undecided, ..slot }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Coverage, SliceDelta};

    const RES: i64 = 30;

    /// A daemon that was started at 12:47:30, read six hours in slices, joined three days in steps of five minutes and
    /// lived on for `lived` slices.
    fn living(unit: Unit, lived: i64) -> SeriesLedger {
        let started = 5_000_000 * 120 + 95;
        let slice = |slice: i64| SliceDelta {
            slice,
            total: 40,
            bad: u64::from(slice % 7 == 0) * 9,
            coverage: if slice % 500 == 0 { Coverage::Partial } else { Coverage::Known },
        };
        let (mut older, mut younger) =
            (SeriesLedger::new(RES, unit, 30 * 86_400), SeriesLedger::new(RES, unit, 30 * 86_400));
        younger.apply(&(started - 740..started).map(slice).collect::<Vec<_>>());
        let joins = younger.joins_at().expect("it holds slices");
        for mid in joins.div_euclid(MID_S) - 800..joins.div_euclid(MID_S) {
            older.apply_coarse(mid * MID_S, MID_S, 400, (mid % 5).unsigned_abs(), Coverage::Known);
        }
        older.apply(&(joins.div_euclid(MID_S) * 10..started - 740).map(slice).collect::<Vec<_>>());
        assert!(younger.absorb_older(older, joins, &[]));
        younger.apply(&(started..started + lived).map(slice).collect::<Vec<_>>());
        younger
    }

    #[test]
    fn a_series_that_was_put_back_knows_its_slices_as_one_that_lived() {
        let units = [Unit::Events, Unit::GaugeSlices].into_iter();
        for (unit, lived) in units.flat_map(|unit| [0, 7, 40, 300, 800].map(|lived| (unit, lived))) {
            let living = living(unit, lived);
            let mut back = living.emptied();
            back.apply(&living.fine().collect::<Vec<_>>());
            living.hours(i64::MIN..i64::MAX).iter().for_each(|record| back.restore_hour(record));
            let end = living.horizon_s;
            let from = |series: &SeriesLedger| series.slices_from().max(end - 6 * HOUR_S);
            assert_eq!(from(&back), from(&living), "{unit:?} after {lived} slices");
            // An excluded minute takes out as much.
            for back_s in (30..5 * HOUR_S).step_by(1470) {
                let spans = [(end - back_s - 60, end - back_s)];
                for length_s in [3600, 6 * HOUR_S] {
                    assert_eq!(
                        back.window_within(end, length_s, &spans),
                        living.window_within(end, length_s, &spans),
                        "{unit:?} after {lived} slices, {back_s} s ago"
                    );
                    assert_eq!(back.window(end, length_s), living.window(end, length_s));
                }
            }
        }
    }
}
