//! Taking back what was booked: of slices that turn out to be unknown, and of bad events that were none.
//!
//! Only the fine tier tells slices apart, so what is older than it reaches stays. Its sources find such things out
//! within an hour or two.

use super::series::{HOUR_S, MID_S, SeriesLedger};
use super::tier::Slot;

impl SeriesLedger {
    /// Nothing is known of the slices `[from, to)` after all.
    pub fn void(&mut self, from: i64, to: i64) {
        let to = self.newest().map_or(from, |newest| to.min(newest + 1));
        self.undo(from, to, std::mem::take);
    }

    /// `bad` events of a slice were not bad.
    pub fn take_back(&mut self, slice: i64, bad: u64) {
        self.undo(slice, slice + 1, |slot| {
            let bad = bad.min(slot.bad);
            slot.bad -= bad;
            Slot { bad, ..Slot::default() }
        });
    }

    /// Changes known slices of the fine tier, and takes what `change` answers out of the coarser ones.
    fn undo(&mut self, from: i64, to: i64, change: impl Fn(&mut Slot) -> Slot) {
        let mut judge = self.judge();
        for slice in from.max(self.whole_from())..to.min(self.fine.end()) {
            if self.fine.get(slice).known == 0 {
                continue;
            }
            let mut less = Slot::default();
            if self.fine.edit(slice, |slot| less = change(slot)).is_none() {
                continue;
            }
            let time = slice * self.resolution_s;
            self.mid.edit(time.div_euclid(MID_S), |slot| *slot = *slot - less);
            self.hour.edit(time.div_euclid(HOUR_S), |slot| *slot = *slot - less);
            judge.touched(slice);
        }
        judge.finish(self);
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ledger::SeriesLedger;
    use crate::engine::{Coverage, SliceDelta, Unit};

    const QUANTILE: Unit = Unit::QuantileSlices { quantile: 0.95 };

    fn ledger(unit: Unit, slices: impl Iterator<Item = SliceDelta>) -> SeriesLedger {
        let mut series = SeriesLedger::new(30, unit, 30 * 86_400);
        series.apply(&slices.collect::<Vec<_>>());
        series
    }

    fn slice(slice: i64) -> SliceDelta {
        SliceDelta { slice, total: 100, bad: if slice % 7 == 0 { 20 } else { 0 }, coverage: Coverage::Known }
    }

    #[test]
    fn void_slices_are_as_if_they_had_never_been_read() {
        for unit in [Unit::Events, QUANTILE] {
            let mut series = ledger(unit, (1000..1600).map(slice));
            series.void(1200, 1300);
            let never = ledger(unit, (1000..1200).chain(1300..1600).map(slice));
            for length_s in [300, 3600, 6 * 3600, 86_400] {
                assert_eq!(
                    series.window(1600 * 30, length_s),
                    never.window(1600 * 30, length_s),
                    "{unit:?} {length_s}"
                );
            }
        }
    }

    #[test]
    fn bad_events_that_were_none_are_good_ones() {
        let mut series = ledger(QUANTILE, (1000..1100).map(slice));
        for at in (1000..1100).filter(|at| at % 7 == 0) {
            series.take_back(at, 1000);
        }
        let good = ledger(QUANTILE, (1000..1100).map(|at| SliceDelta { bad: 0, ..slice(at) }));
        assert_eq!(series.window(1100 * 30, 3600), good.window(1100 * 30, 3600));
    }
}
