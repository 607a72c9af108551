//! Which slices are bad, where that is not booked with their events: of a quantile SLI, and of gauges whose slices are
//! longer than the daemon's.
//!
//! **Quantile SLIs.** "p95 is within its bound" is a promise that at most 5 % of the events are over it. A slice is bad on
//! evidence that it is broken (`evidence`):
//!
//! - *Spans.* Evidence is looked for in spans that end with a slice of which more is slow than promised, and reach back
//!   up to an hour: to each slice of the same 5 minutes, and before them in steps of whole 5 minutes. The shortest that is
//!   evidence counts, and all slices are bad from the first in it of which more is slow than promised to its end.
//!   So a fault that shows only over half an hour is bad for that half hour, and what comes after it is not.
//! - A slice that is not bad is good where a span that ends with it is evidence of a kept promise, and undecided where
//!   none is. Undecided slices count as good, and are counted. A slice without an event in its last hour is idle.
//! - Of a slice that is not known, or known in part and without events, nothing is said.
//!
//! What a slice is depends on the counts alone: not on when they came, in what order, or from which tier they are read.
//! That is why spans begin on the grid of the 5-minute tier. A slice may turn bad for up to an hour after its end.
//!
//! **Longer slices.** Where an SLO has slices of its own, several of those that were read are judged as one, again with
//! each that comes. It is known when one of them is, and partial when one of them is or when one is missing between
//! others: that the newest are still to come is no fault. A gauge's is bad when a value in it was.

use std::ops::Range;

use super::SliceDelta;
use super::evidence::{Test, Verdict};
use super::series::{MID_S, SeriesLedger};
use super::tier::Slot;
use crate::engine::Unit;

/// Longest span, seconds.
const LOOK_BACK_S: i64 = 3600;

/// How slices are judged.
#[expect(clippy::large_enum_variant, reason = "one lives on the stack while a read is applied")]
#[derive(Debug, Clone, Copy)]
enum JudgingRule {
    /// Not at all.
    None,
    /// Bad when anything in it is.
    AnyBad,
    /// Bad on evidence.
    Evidence(Test),
}

/// Judges slices, and remembers which ones a read has put in question: those it touched, and up to an hour of
/// later ones that may have looked back at them.
pub(super) struct Judge {
    rule: JudgingRule,
    /// Slices of the fine tier that are judged as one.
    per_verdict: i64,
    /// Judged slices in 5 minutes.
    per_mid: i64,
    /// How many judged slices a span has at most.
    look_back: i64,
    /// Judged slices that are to be judged: the first, and one past the last.
    pending: Option<(i64, i64)>,
    /// A judged slice that is older than the fine tier, as far as it has come: which, its events, the bad ones.
    aside: Option<(i64, u64, u64)>,
}

/// What a slice is by the spans that end with it.
struct SpanLook {
    /// Good, undecided or nothing.
    own: Option<Verdict>,
    /// Where the span begins that is evidence of a broken promise.
    broken_from: Option<i64>,
}

impl Judge {
    pub(super) fn new(unit: Unit, resolution_s: i64, per_verdict: i64) -> Self {
        let slice_s = resolution_s * per_verdict;
        let (rule, look_back) = match unit {
            Unit::QuantileSlices { .. } => (JudgingRule::Evidence(Test::of(unit.share())), LOOK_BACK_S / slice_s),
            Unit::GaugeSlices if per_verdict > 1 => (JudgingRule::AnyBad, 1),
            Unit::Events | Unit::GaugeSlices | Unit::RatioSlices => (JudgingRule::None, 1),
        };
        Judge { rule, per_verdict, per_mid: MID_S / slice_s, look_back, pending: None, aside: None }
    }

    /// The verdict on a span by its own events; `None` where it has none.
    pub(super) fn alone(&self, total: u64, bad: u64) -> Option<Verdict> {
        match self.rule {
            JudgingRule::None => None,
            JudgingRule::AnyBad => (total > 0).then_some(if bad > 0 { Verdict::Bad } else { Verdict::Good }),
            JudgingRule::Evidence(test) => test.verdict(total, bad),
        }
    }

    /// `slice` changed.
    pub(super) fn touched(&mut self, slice: i64) {
        if !matches!(self.rule, JudgingRule::None) {
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
        if let Some(verdict) = self.alone(total, bad) {
            series.book_coarse(judged * series.slice_s(), verdict.counted(Slot::default(), 1));
        }
    }

    /// Judges what is pending before `slice`. Reads come in ascending order, so nothing before `slice` changes any
    /// more; and the ring has not moved on yet.
    pub(super) fn up_to(&mut self, series: &mut SeriesLedger, slice: i64) {
        let Some((from, to)) = self.pending else { return };
        let before = slice.div_euclid(self.per_verdict);
        let to_now = to.min(before).min(self.end(series));
        let changed = from.max(self.first_whole(series))..to_now;
        match self.rule {
            JudgingRule::Evidence(test) if !changed.is_empty() => self.weigh(&test, series, changed, to),
            JudgingRule::Evidence(_) | JudgingRule::None => {}
            JudgingRule::AnyBad => {
                for judged in changed {
                    let own = self.slot(series, judged);
                    if own.known > 0 {
                        series.book_judgement(judged, self.alone(own.total, own.bad));
                    }
                }
            }
        }
        self.pending = (to > before).then_some((from.max(to_now), to));
    }

    pub(super) fn finish(&mut self, series: &mut SeriesLedger) {
        self.up_to(series, i64::MAX);
        self.judge_aside(series);
    }

    /// Judges all that depends on the slices in `changed`, which are those that changed and an hour after them. Those after
    /// them and before `pending` may change in the same read, and are judged when they have.
    fn weigh(&self, test: &Test, series: &mut SeriesLedger, changed: Range<i64>, pending: i64) {
        let bad_before = series.fine.range(changed.start * self.per_verdict, changed.end * self.per_verdict).judged_bad;
        if bad_before == 0 {
            // None of them ended a span that was evidence, so nothing was bad because of them.
            for judged in changed {
                let look = self.look(test, series, judged);
                series.book_judgement(judged, look.own);
                if let Some(from) = look.broken_from {
                    (from..=judged).for_each(|judged| self.book_bad(series, judged));
                }
            }
            return;
        }
        let first = (changed.start - self.look_back + 1).max(self.first_whole(series));
        let mut bad = vec![false; (changed.end - first) as usize];
        let last = (changed.end + self.look_back - 1).min(self.end(series));
        let ends = (first..changed.end).chain(pending.max(changed.end)..last);
        let mut owns = Vec::with_capacity((changed.end - first) as usize);
        for end in ends {
            let look = self.look(test, series, end);
            if end < changed.end {
                owns.push(look.own);
            }
            if let Some(from) = look.broken_from {
                let covered = (from.max(first) - first).min(changed.end - first)..(end + 1).min(changed.end) - first;
                bad[covered.start as usize..covered.end.max(covered.start) as usize].fill(true);
            }
        }
        for ((judged, own), bad) in (first..).zip(owns).zip(bad) {
            match bad {
                true => self.book_bad(series, judged),
                false => series.book_judgement(judged, own),
            }
        }
    }

    fn book_bad(&self, series: &mut SeriesLedger, judged: i64) {
        // A slice may turn out to have a gap after it was judged: then nothing is said of it any more.
        let is_judged = self.is_judged(series, judged, &self.slot(series, judged));
        series.book_judgement(judged, is_judged.then_some(Verdict::Bad));
    }

    /// Whether anything is said of a slice.
    fn is_judged(&self, series: &SeriesLedger, judged: i64, own: &Slot) -> bool {
        own.known > 0 && (own.total > 0 || own.partial == 0 && !self.has_gap(series, judged))
    }

    /// Looks at the spans that end with a slice, shortest first.
    fn look(&self, test: &Test, series: &SeriesLedger, end: i64) -> SpanLook {
        let own = self.slot(series, end);
        let mut look = SpanLook { own: None, broken_from: None };
        if !self.is_judged(series, end, &own) {
            return look;
        }
        let may_be_broken = test.is_over(own.total, own.bad);
        let (mut total, mut bad) = (0, 0);
        let in_mid = end.div_euclid(self.per_mid) * self.per_mid;
        let mids = (1..).map(|nth| in_mid - nth * self.per_mid).take_while(|from| end - from < self.look_back);
        for from in (in_mid..=end).rev().chain(mids) {
            let more = if from >= in_mid { self.slot(series, from) } else { self.mid(series, from) };
            total += more.total;
            bad += more.bad;
            if look.own != Some(Verdict::Good) && total > 0 {
                look.own = Some(if test.is_kept(total, bad) { Verdict::Good } else { Verdict::Undecided });
            }
            if may_be_broken && test.is_broken(total, bad) {
                look.broken_from = Some(self.trimmed(test, series, from, end));
                break;
            }
            if !may_be_broken && look.own == Some(Verdict::Good) {
                break;
            }
        }
        look
    }

    /// The first slice from `from` on of which more is slow than promised.
    fn trimmed(&self, test: &Test, series: &SeriesLedger, from: i64, end: i64) -> i64 {
        let over = |judged: &i64| {
            let slot = self.slot(series, *judged);
            test.is_over(slot.total, slot.bad)
        };
        (from.max(self.first_whole(series))..end).find(over).unwrap_or(end)
    }

    /// The first judged slice of which the fine tier holds all.
    fn first_whole(&self, series: &SeriesLedger) -> i64 {
        series.whole_from().div_euclid(self.per_verdict)
    }

    /// One past the last judged slice of the fine tier.
    fn end(&self, series: &SeriesLedger) -> i64 {
        (series.fine.end() - 1).div_euclid(self.per_verdict) + 1
    }

    /// All that is judged as one.
    fn slot(&self, series: &SeriesLedger, judged: i64) -> Slot {
        match self.per_verdict {
            1 => series.fine.get(judged),
            several => series.fine.range(judged * several, (judged + 1) * several),
        }
    }

    /// The 5 minutes from a judged slice on, which may be older than the fine tier.
    fn mid(&self, series: &SeriesLedger, judged: i64) -> Slot {
        let start = judged * series.slice_s();
        series.sum(start, start + MID_S)
    }

    /// Whether a slice is missing between others that are judged with it.
    fn has_gap(&self, series: &SeriesLedger, judged: i64) -> bool {
        if self.per_verdict == 1 {
            return false;
        }
        let first = judged * self.per_verdict;
        let known = |slice: &i64| series.fine.get(*slice).known > 0;
        let mut rest = (first..first + self.per_verdict).skip_while(|slice| !known(slice)).skip_while(known);
        rest.any(|slice| known(&slice))
    }
}
