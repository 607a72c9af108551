//! Sums over the windows of a series.
//!
//! **Edges.** Where slices are still held a window is exact. Where only a 5-minute or an hour slot knows what happened
//! and an edge falls inside it, the window takes the share of that slot by time, to the nearest event, with one fraction for
//! all counts.

use super::series::{HOUR_S, MID_S, TIME_MAX_S};
use super::tier::{Block, Slot, Tier};
use super::{SeriesLedger, WindowSum};
use crate::engine::Seconds;

impl SeriesLedger {
    /// Sums over `[end - length, end)`: `end` floored to the slice grid, `length_s` rounded up to whole slices. Where
    /// slices are judged by several, the window is that many of them with the one that is going on at `end`: it begins
    /// later by what that one still lacks.
    pub fn window(&self, end: Seconds, length_s: i64) -> WindowSum {
        let (start, end) = self.edges(end, length_s);
        self.window_sum(self.sum(start, end), (end - start) / self.resolution_s)
    }

    /// The window's edges on the slice grid.
    pub(super) fn edges(&self, end: Seconds, length_s: i64) -> (Seconds, Seconds) {
        let resolution_s = self.resolution_s;
        let slices = (length_s.clamp(0, TIME_MAX_S) + resolution_s - 1) / resolution_s;
        let end = end.clamp(-TIME_MAX_S, TIME_MAX_S).div_euclid(resolution_s);
        let (start, end) = ((end - slices) * resolution_s, end * resolution_s);
        if self.per_verdict() == 1 || start == end {
            return (start, end);
        }
        let slice_s = self.slice_s();
        let begins = |time: Seconds| time.div_euclid(slice_s) * slice_s;
        (begins(start + slice_s - 1).min(begins(end - 1)), end)
    }

    pub(super) fn window_sum(&self, sum: Slot, slices: i64) -> WindowSum {
        WindowSum {
            total: sum.total,
            bad: sum.bad,
            judged: sum.judged.into(),
            judged_bad: sum.judged_bad.into(),
            undecided: sum.undecided.into(),
            known: sum.known.into(),
            partial: sum.partial.into(),
            slices: slices as u64,
        }
    }

    /// `[start, end)` on the slice grid: from the finest tier that alone knows all of it, else whole hours from the hour
    /// tier and the rest from the finer ones.
    pub(super) fn sum(&self, start: Seconds, mut end: Seconds) -> Slot {
        if end >= self.horizon_s {
            // Nothing is known later, so the right edge cuts nothing.
            end = end.div_euclid(HOUR_S) * HOUR_S + HOUR_S;
        }
        if start >= self.slices_from() {
            self.fine.range(start / self.resolution_s, end / self.resolution_s)
        } else if start >= self.mids_from() {
            self.sum_mid(start, end)
        } else {
            tiled(
                &self.hour,
                HOUR_S,
                self.resolution_s,
                self.mid.from().saturating_mul(MID_S),
                start,
                end,
                |from, to| self.sum_mid(from, to),
            )
        }
    }

    /// From here on the fine tier alone knows all that is known.
    pub(super) fn slices_from(&self) -> Seconds {
        self.fine.from().saturating_mul(self.resolution_s).max(self.fine_behind_s)
    }

    /// From here on the 5-minute tier and the fine one know all that is known.
    pub(super) fn mids_from(&self) -> Seconds {
        self.mid.from().saturating_mul(MID_S).max(self.mid_behind_s)
    }

    /// The same by 5-minute slots and slices, without what only the hour tier knows.
    fn sum_mid(&self, start: Seconds, end: Seconds) -> Slot {
        let resolution_s = self.resolution_s;
        let begins = self.fine.from().saturating_mul(resolution_s);
        let slices = |from: Seconds, to: Seconds| self.fine.range(from / resolution_s, to / resolution_s);
        tiled(&self.mid, MID_S, resolution_s, begins, start, end, slices)
    }

    /// Reads a little of all that windows of these lengths up to `end` are made of. Of a large fleet nothing is in a cache,
    /// and what a window costs is waiting for memory, one line after the other. What is read here waits for all lines at
    /// once, for no read depends on another. What it answers means nothing.
    pub fn skim(&self, end: Seconds, lengths_s: impl Iterator<Item = i64>) -> u64 {
        let left = lengths_s.map(|length_s| end - length_s).map(|start| match start {
            _ if start >= self.slices_from() => self.fine.skim(start / self.resolution_s),
            _ if start >= self.mids_from() => self.mid.skim(start / MID_S),
            _ => self.hour.skim(start / HOUR_S),
        });
        let right = [self.fine.skim(end / self.resolution_s), self.mid.skim(end / MID_S), self.hour.skim(end / HOUR_S)];
        left.chain(right).fold(0, |all, one| all ^ one)
    }

    /// Events and bad ones in steps of `step_s` seconds, on their grid, from the one that `from` is in to the last that
    /// ends by `to`. Those of which nothing is known have none.
    pub fn steps(&self, from: Seconds, to: Seconds, step_s: i64) -> impl Iterator<Item = (u64, u64)> {
        let steps = from.max(self.oldest_s(to)).div_euclid(step_s)..to.div_euclid(step_s);
        steps.map(move |step| {
            let sum = self.sum(step * step_s, (step + 1) * step_s);
            (sum.total, sum.bad)
        })
    }

    fn oldest_s(&self, else_at: Seconds) -> Seconds {
        self.oldest().unwrap_or(else_at)
    }

    /// From here on it knows each slice.
    pub fn slices_begin(&self) -> Seconds {
        self.slices_from()
    }
}

/// The sum over `[start, end)`: whole slots of `slot_s` seconds from `tier`; of a slot cut by an edge what `finer` knows
/// of the part inside, and the part's share of what only this tier knows of the slot. That lies before the finer tier
/// `begins`, where it begins in this slot, and else anywhere in it.
fn tiled<B: Block>(
    tier: &Tier<B>,
    slot_s: i64,
    resolution_s: i64,
    begins: Seconds,
    start: Seconds,
    end: Seconds,
    finer: impl Fn(Seconds, Seconds) -> Slot,
) -> Slot {
    if start >= end {
        return Slot::default();
    }
    let part = |slot: i64, from: Seconds, to: Seconds| {
        let (slot_start, slot_end) = (slot * slot_s, (slot + 1) * slot_s);
        let shared = |own: Slot, own_end: Seconds| {
            // After a slot of which nothing is known, what is known of this one lies at its end: history begins in it.
            let own_start = match tier.get(slot - 1).known {
                0 => slot_start.max(own_end - i64::from(own.known) * resolution_s),
                _ => slot_start,
            };
            own.share(to.min(own_end) - from.max(own_start), own_end - own_start)
        };
        if begins >= slot_end {
            return shared(tier.get(slot), slot_end);
        }
        let mut sum = finer(from, to);
        let own = tier.get(slot) - finer(slot_start, slot_end);
        if own != Slot::default() {
            sum += shared(own, if begins > slot_start { begins } else { slot_end });
        }
        sum
    };
    let (first, last) = (start.div_euclid(slot_s), (end - 1).div_euclid(slot_s));
    let (cut_left, cut_right) = (start > first * slot_s, end < (last + 1) * slot_s);
    if first == last && (cut_left || cut_right) {
        return part(first, start, end);
    }
    let mut sum = tier.range(first + i64::from(cut_left), last + i64::from(!cut_right));
    if cut_left {
        sum += part(first, start, (first + 1) * slot_s);
    }
    if cut_right {
        sum += part(last, last * slot_s, end);
    }
    sum
}
