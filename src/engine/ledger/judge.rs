//! Which slices are bad, where that is not booked with their events: of a quantile SLI, and of gauges whose slices are
//! longer than the daemon's.
//!
//! "p95 is within its bound" holds for a span iff at most 5 % of its events were over it. A slice is judged on its
//! own events where it has `1/(1-q)` of them (20 for p95); a quieter one on the shortest trailing span of whole
//! slices that has them, itself included, 1 h at most; else it is idle. A partial slice is judged on its own events or
//! not at all, an unknown one never.
//!
//! **Longer slices.** Where an SLO has slices of its own, several of those that were read are judged as one, again with
//! each that comes. It is known when one of them is, and partial when one of them is or when one is missing between
//! others: that the newest are still to come is no fault. A gauge's is bad when a value in it was.
//!
//! Shares are compared as integers: `1 - q` in millionths, so 1 of 20 is exactly 5 % and not over it.

use super::SliceDelta;
use super::series::{MID_S, SeriesLedger};
use super::tier::Slot;
use crate::engine::Unit;

/// Longest trailing span, seconds.
const LOOK_BACK_S: i64 = 3600;
const MILLION: u64 = 1_000_000;

/// Judges slices, and remembers which ones a read has put in question: those it touched, and up to an hour of
/// later ones that may have looked back at them.
pub(super) struct Judge {
    /// Largest share of bad events in a good span, millionths.
    share: u64,
    /// Fewest events a span is judged on; `u64::MAX` where slices are not judged.
    events_min: u64,
    /// Slices of the fine tier that are judged as one.
    per_verdict: i64,
    /// How many judged slices a trailing span has at most.
    look_back: i64,
    /// Judged slices that are to be judged: the first, and one past the last.
    pending: Option<(i64, i64)>,
    /// A judged slice that is older than the fine tier, as far as it has come: which, its events, the bad ones.
    aside: Option<(i64, u64, u64)>,
}

impl Judge {
    pub(super) fn new(unit: Unit, resolution_s: i64, per_verdict: i64) -> Self {
        let trailing = LOOK_BACK_S / (resolution_s * per_verdict);
        let (events_min, look_back) = match unit {
            Unit::QuantileSlices { .. } => (unit.judged_on(), trailing),
            Unit::GaugeSlices if per_verdict > 1 => (1, 1),
            Unit::Events | Unit::GaugeSlices | Unit::RatioSlices => (u64::MAX, 1),
        };
        Judge { share: unit.share(), events_min, per_verdict, look_back, pending: None, aside: None }
    }

    /// The verdict on a span by its own events: bad, good, or `None` for too few.
    pub(super) fn alone(&self, total: u64, bad: u64) -> Option<bool> {
        let over = || u128::from(bad) * u128::from(MILLION) > u128::from(total) * u128::from(self.share);
        (total >= self.events_min).then(over)
    }

    /// `slice` changed.
    pub(super) fn touched(&mut self, slice: i64) {
        if self.events_min < u64::MAX {
            let judged = slice.div_euclid(self.per_verdict);
            let (from, to) = self.pending.unwrap_or((judged, judged));
            self.pending = Some((from.min(judged), to.max(judged + self.look_back)));
        }
    }

    /// Takes a slice that is older than the fine tier: those judged as one are judged by what one read brings of them.
    pub(super) fn set_aside(&mut self, series: &mut SeriesLedger, delta: &SliceDelta) {
        let judged = delta.slice.div_euclid(self.per_verdict);
        if self.aside.is_some_and(|(other, ..)| other != judged) {
            self.judge_aside(series);
        }
        let (_, total, bad) = self.aside.unwrap_or_default();
        self.aside = Some((judged, total.saturating_add(delta.total), bad.saturating_add(delta.bad)));
    }

    fn judge_aside(&mut self, series: &mut SeriesLedger) {
        let Some((judged, total, bad)) = self.aside.take() else { return };
        if let Some(bad) = self.alone(total, bad) {
            let verdict = Slot { judged: 1, judged_bad: bad.into(), ..Slot::default() };
            series.book_coarse(judged * series.slice_s(), verdict);
        }
    }

    /// Judges what is pending before `slice`. Reads come in ascending order, so nothing before `slice` changes any
    /// more; and the ring has not moved on yet.
    pub(super) fn up_to(&mut self, series: &mut SeriesLedger, slice: i64) {
        let Some((from, to)) = self.pending else { return };
        let before = slice.div_euclid(self.per_verdict);
        let end = (series.fine.end() - 1).div_euclid(self.per_verdict) + 1;
        let to_now = to.min(before).min(end);
        for judged in from.max(self.first_whole(series))..to_now {
            if self.slot(series, judged).known > 0 {
                let verdict = self.judge(series, judged);
                series.book_judgement(judged, verdict);
            }
        }
        self.pending = (to > before).then_some((from.max(to_now), to));
    }

    pub(super) fn finish(&mut self, series: &mut SeriesLedger) {
        self.up_to(series, i64::MAX);
        self.judge_aside(series);
    }

    /// The first judged slice of which the fine tier holds all.
    fn first_whole(&self, series: &SeriesLedger) -> i64 {
        series.whole_from().div_euclid(self.per_verdict)
    }

    /// All that is judged as one.
    fn slot(&self, series: &SeriesLedger, judged: i64) -> Slot {
        match self.per_verdict {
            1 => series.fine.get(judged),
            several => series.fine.range(judged * several, (judged + 1) * several),
        }
    }

    fn judge(&self, series: &SeriesLedger, judged: i64) -> Option<bool> {
        let own = self.slot(series, judged);
        let verdict = self.alone(own.total, own.bad);
        if verdict.is_some() || own.partial > 0 || self.has_gap(series, judged) {
            return verdict;
        }
        let (mut total, mut bad) = (own.total, own.bad);
        let oldest = judged - self.look_back + 1;
        for earlier in (oldest.max(self.first_whole(series))..judged).rev() {
            let slot = self.slot(series, earlier);
            total += slot.total;
            bad += slot.bad;
            if total >= self.events_min {
                return self.alone(total, bad);
            }
        }
        self.judge_on_mid(series, oldest, total, bad)
    }

    /// Whether a slice is missing between others that are judged with it.
    fn has_gap(&self, series: &SeriesLedger, judged: i64) -> bool {
        let first = judged * self.per_verdict;
        let known = |slice: &i64| series.fine.get(*slice).known > 0;
        let mut rest = (first..first + self.per_verdict).skip_while(|slice| !known(slice)).skip_while(known);
        rest.any(|slice| known(&slice))
    }

    /// The trailing span goes on before the fine tier begins (after a restart, or at its old end): it grows by
    /// whole 5-minute slots there.
    fn judge_on_mid(&self, series: &SeriesLedger, oldest: i64, mut total: u64, mut bad: u64) -> Option<bool> {
        let (oldest_s, begins_s) = (oldest * series.slice_s(), series.whole_from() * series.resolution_s);
        let slots = oldest_s.div_euclid(MID_S)..=(begins_s - 1).div_euclid(MID_S);
        for slot in slots.rev() {
            let (start, end) = (slot * MID_S, ((slot + 1) * MID_S).min(begins_s));
            if start < oldest_s {
                break;
            }
            let before = series.sum(start, end);
            total += before.total;
            bad += before.bad;
            if total >= self.events_min {
                return self.alone(total, bad);
            }
        }
        None
    }
}
