//! Which slices of a quantile SLI are bad.
//!
//! "p95 is within its bound" holds for a span iff at most 5 % of its events were over it. A slice is judged on its
//! own events where it has `1/(1-q)` of them (20 for p95); a quieter one on the shortest trailing span of whole
//! slices that has them, itself included, 1 h at most; else it is idle. A partial slice is judged on its own events or
//! not at all, an unknown one never.
//!
//! Shares are compared as integers: `1 - q` in millionths, so 1 of 20 is exactly 5 % and not over it.

use super::series::{MID_S, SeriesLedger};
use crate::engine::Unit;

/// Longest trailing span, seconds.
const LOOK_BACK_S: i64 = 3600;
const MILLION: u64 = 1_000_000;

/// Judges slices, and remembers which ones a read has put in question: those it touched, and up to an hour of
/// later ones that may have looked back at them.
pub(super) struct Judge {
    /// Largest share of bad events in a good span, millionths; 0 where slices are not judged.
    share: u64,
    /// Fewest events a span is judged on.
    events_min: u64,
    look_back: i64,
    /// Slices to be judged: the first, and one past the last.
    pending: Option<(i64, i64)>,
}

impl Judge {
    pub(super) fn new(unit: Unit, resolution_s: i64) -> Self {
        let share = unit.share();
        let events_min = if share == 0 { u64::MAX } else { unit.judged_on() };
        Judge { share, events_min, look_back: LOOK_BACK_S / resolution_s, pending: None }
    }

    /// The verdict on a span by its own events: bad, good, or `None` for too few.
    pub(super) fn alone(&self, total: u64, bad: u64) -> Option<bool> {
        let over = || u128::from(bad) * u128::from(MILLION) > u128::from(total) * u128::from(self.share);
        (total >= self.events_min).then(over)
    }

    /// `slice` changed.
    pub(super) fn touched(&mut self, slice: i64) {
        if self.share > 0 {
            let (from, to) = self.pending.unwrap_or((slice, slice));
            self.pending = Some((from.min(slice), to.max(slice + self.look_back)));
        }
    }

    /// Judges what is pending before `slice`. Reads come in ascending order, so nothing before `slice` changes any
    /// more; and the ring has not moved on yet.
    pub(super) fn up_to(&mut self, series: &mut SeriesLedger, slice: i64) {
        let Some((from, to)) = self.pending else { return };
        let to_now = to.min(slice).min(series.fine.end());
        for judged in from.max(series.fine.from())..to_now {
            if series.fine.get(judged).known > 0 {
                let verdict = self.judge(series, judged);
                series.book_judgement(judged, verdict);
            }
        }
        self.pending = (to > slice).then_some((from.max(to_now), to));
    }

    pub(super) fn finish(&mut self, series: &mut SeriesLedger) {
        self.up_to(series, i64::MAX);
    }

    fn judge(&self, series: &SeriesLedger, slice: i64) -> Option<bool> {
        let own = series.fine.get(slice);
        let verdict = self.alone(own.total, own.bad);
        if verdict.is_some() || own.partial > 0 {
            return verdict;
        }
        let (mut total, mut bad) = (own.total, own.bad);
        let oldest = slice - self.look_back + 1;
        for earlier in (oldest.max(series.fine.from())..slice).rev() {
            let slot = series.fine.get(earlier);
            total += slot.total;
            bad += slot.bad;
            if total >= self.events_min {
                return self.alone(total, bad);
            }
        }
        self.judge_on_mid(series, oldest, total, bad)
    }

    /// The trailing span goes on before the fine tier begins (after a restart, or at its old end): it grows by
    /// whole 5-minute slots there.
    fn judge_on_mid(&self, series: &SeriesLedger, oldest: i64, mut total: u64, mut bad: u64) -> Option<bool> {
        let begins_s = series.fine.from() * series.resolution_s;
        let slots = (oldest * series.resolution_s).div_euclid(MID_S)..=(begins_s - 1).div_euclid(MID_S);
        for slot in slots.rev() {
            let (start, end) = (slot * MID_S, ((slot + 1) * MID_S).min(begins_s));
            if start < oldest * series.resolution_s {
                break;
            }
            let before = series.window(end, end - start);
            total += before.total;
            bad += before.bad;
            if total >= self.events_min {
                return self.alone(total, bad);
            }
        }
        None
    }
}
