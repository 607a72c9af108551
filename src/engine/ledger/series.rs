//! The ledger of one series: three tiers of the same truth, fine, 5 minutes and 1 hour.
//!
//! Every slice is booked in each tier that reaches back to it. A window is made of whole hours, of 5-minute slots up to
//! its edges, and of slices up to the very edge, so any window costs a bounded number of additions.
//!
//! **Slices of its own.** An SLO may be judged by longer slices than the daemon reads. Every count stays in the slices
//! that were read; the verdict on a longer one stands in its first, and windows begin where a longer one does.
//!
//! **Bounds.** 2.8e14 events a slot of any length; what goes beyond is cut and the slot marked partial. Times
//! beyond year 5000 are refused.

use super::evidence::Verdict;
use super::judge::Judge;
use super::tier::{FineBlock, HourBlock, MidBlock, Slot, Tier};
use super::{Applied, Coverage, SliceDelta, WindowSum};
use crate::engine::{Seconds, Unit};

/// Length of a slot of the middle tier, seconds.
pub(super) const MID_S: i64 = 300;
/// Length of a slot of the coarse tier, seconds.
pub(super) const HOUR_S: i64 = 3600;
/// How far the fine tier reaches at least: 6 h and 10 min to be late in.
const FINE_SPAN_S: i64 = 6 * HOUR_S + 600;
/// How far the 5-minute tier reaches at least: 3 d and 1 h.
const MID_SPAN_S: i64 = 73 * HOUR_S;
/// What the hour tier keeps beyond the longest window.
const HOUR_SPARE_S: i64 = 48 * HOUR_S;
/// Longest window a series is kept for: 400 days. A longer one shows a coverage below 1.
const WINDOW_MAX_S: i64 = 400 * 24 * HOUR_S;
/// Times past this (year 5138) or before its negative are no times.
pub(super) const TIME_MAX_S: i64 = 100_000_000_000;

/// One series.
#[derive(Debug, Clone)]
pub struct SeriesLedger {
    pub(super) resolution_s: i64,
    pub(super) unit: Unit,
    /// At most [`WINDOW_MAX_S`].
    longest_window_s: i32,
    /// How many slices are judged as one: 1 where the SLO has no resolution of its own.
    slices_judged: i32,
    pub(super) fine: Tier<FineBlock>,
    pub(super) mid: Tier<MidBlock>,
    pub(super) hour: Tier<HourBlock>,
    newest: Option<i64>,
    /// End of everything booked: nothing is known from here on.
    pub(super) horizon_s: Seconds,
    /// Until here a coarser tier may know more than the fine one; later the fine one knows all that is known.
    pub(super) fine_behind_s: Seconds,
    /// The same of the 5-minute tier.
    pub(super) mid_behind_s: Seconds,
}

impl SeriesLedger {
    /// An empty series that will hold windows up to `longest_window_s` (400 d at most).
    ///
    /// # Panics
    /// When `resolution_s` is not a divisor of 300 in 10..=300: slices must tile the 5-minute grid. Settings are
    /// checked against [`super::RESOLUTIONS_S`] where they are read.
    pub fn new(resolution_s: i64, unit: Unit, longest_window_s: i64) -> Self {
        assert!(super::RESOLUTIONS_S.contains(&resolution_s), "resolution {resolution_s}s does not tile 5 minutes");
        let longest_window_s = longest_window_s.clamp(MID_S, WINDOW_MAX_S);
        SeriesLedger {
            resolution_s,
            unit,
            longest_window_s: longest_window_s as i32,
            slices_judged: 1,
            fine: Tier::new(FINE_SPAN_S / resolution_s),
            mid: Tier::new(MID_SPAN_S / MID_S),
            hour: Tier::new(Self::hours_for(longest_window_s)),
            newest: None,
            horizon_s: i64::MIN,
            fine_behind_s: i64::MIN,
            mid_behind_s: i64::MIN,
        }
    }

    /// The same, of an empty series that is judged by slices of `slice_s` seconds.
    ///
    /// # Panics
    /// When `slice_s` is not one of [`super::RESOLUTIONS_S`] and a multiple of the resolution: `spec` refuses such SLOs.
    #[must_use]
    pub fn judged_by(mut self, slice_s: i64) -> Self {
        let fits = super::RESOLUTIONS_S.contains(&slice_s) && slice_s % self.resolution_s == 0;
        assert!(fits, "slices of {slice_s}s are not made of slices of {}s", self.resolution_s);
        self.slices_judged = (slice_s / self.resolution_s) as i32;
        self
    }

    /// A series of the same kind that knows nothing.
    #[must_use]
    pub fn emptied(&self) -> Self {
        SeriesLedger::new(self.resolution_s, self.unit, self.longest_window_s()).judged_by(self.slice_s())
    }

    fn hours_for(longest_window_s: i64) -> i64 {
        (longest_window_s + HOUR_SPARE_S) / HOUR_S
    }

    /// Makes room for a longer window; history already dropped stays unknown.
    pub(super) fn grow_to(&mut self, longest_window_s: i64) {
        self.longest_window_s = self.longest_window_s.max(longest_window_s.clamp(0, WINDOW_MAX_S) as i32);
        self.hour.grow_to(Self::hours_for(self.longest_window_s()));
    }

    /// Adds what a read found, ascending by slice. Counts add up; coverage merges as [`SliceDelta`] says, and events
    /// in a slice of unknown coverage make it partial: something was seen there. A slice older than the fine tier
    /// goes to the coarse tiers only, and of a quantile SLI it is judged by its own events alone.
    pub fn apply(&mut self, deltas: &[SliceDelta]) -> Applied {
        let newest_before = self.newest;
        let mut applied = Applied::default();
        let mut judge = self.judge();
        for delta in deltas {
            if !(-TIME_MAX_S..TIME_MAX_S).contains(&delta.slice.saturating_mul(self.resolution_s)) {
                applied.dropped = applied.dropped.saturating_add(delta.total);
                continue;
            }
            judge.up_to(self, delta.slice);
            if newest_before.is_some_and(|newest| delta.slice < newest)
                && delta.total.max(delta.bad) > 0
                && self.fine.get(delta.slice).known > 0
            {
                applied.corrected += 1;
            }
            if !self.book(delta, &mut judge) {
                applied.dropped = applied.dropped.saturating_add(delta.total);
            }
        }
        judge.finish(self);
        applied
    }

    /// Books one slice in every tier that reaches it; `false` when none does.
    fn book(&mut self, delta: &SliceDelta, judge: &mut Judge) -> bool {
        let seen = delta.total.max(delta.bad) > 0;
        let partial = match delta.coverage {
            Coverage::Unknown if !seen => return true,
            Coverage::Unknown | Coverage::Partial => true,
            Coverage::Known => false,
        };
        let add = |slot: &mut Slot| {
            slot.total = slot.total.saturating_add(delta.total);
            slot.bad = slot.bad.saturating_add(delta.bad);
        };
        let mut news = Slot { known: 1, partial: partial.into(), ..Slot::default() };
        // Slices that are judged by each other are held all, or none.
        let group = self.judged_together();
        let first = delta.slice.div_euclid(group) * group;
        let held = first == delta.slice || self.fine.edit(first, |_| ()).is_some();
        let edit = held.then(|| {
            self.fine.edit(delta.slice, |slot| {
                add(slot);
                slot.known = 1;
                slot.partial |= u32::from(partial);
            })
        });
        match edit.flatten() {
            Some((old, new)) => {
                news = new - old;
                if (news.total, news.bad) != (delta.total, delta.bad) {
                    self.fine_behind(delta.slice * self.resolution_s);
                }
                judge.touched(delta.slice);
            }
            None if self.per_verdict() > 1 => {
                self.fine_behind(delta.slice * self.resolution_s);
                judge.set_aside(self, delta);
            }
            None => {
                if let Some(verdict) = judge.alone(delta.total, delta.bad) {
                    news = verdict.counted(news, 1);
                }
            }
        }
        (news.total, news.bad) = (delta.total, delta.bad);
        let reached = self.book_coarse(delta.slice * self.resolution_s, news);
        if reached {
            self.reached(delta.slice, (delta.slice + 1) * self.resolution_s);
        }
        reached
    }

    /// Adds `news` to the 5-minute and the hour slot at `time`. A slot never knows more slices than it has.
    pub(super) fn book_coarse(&mut self, time: Seconds, mut news: Slot) -> bool {
        let (slices, verdicts) = self.most_in(MID_S);
        let mid = self.mid.edit(time.div_euclid(MID_S), |slot| add_bounded(slot, news, slices, verdicts));
        if let Some((old, new)) = mid {
            if (new.total - old.total, new.bad - old.bad) != (news.total, news.bad) {
                self.mid_behind(time);
            }
            news = Slot { total: news.total, bad: news.bad, ..new - old };
        }
        self.book_hour(time, news) || mid.is_some()
    }

    /// Adds `news` to the hour slot at `time`.
    pub(super) fn book_hour(&mut self, time: Seconds, news: Slot) -> bool {
        let (slices, verdicts) = self.most_in(HOUR_S);
        self.hour.edit(time.div_euclid(HOUR_S), |slot| add_bounded(slot, news, slices, verdicts)).is_some()
    }

    /// Slices, and verdicts on them, that `span_s` seconds can have.
    pub(super) fn most_in(&self, span_s: i64) -> (u32, u32) {
        ((span_s / self.resolution_s) as u32, (span_s / self.slice_s()) as u32)
    }

    /// Books the judgement of the `nth` slice that is judged; `None` for idle or not judged.
    pub(super) fn book_judgement(&mut self, nth: i64, verdict: Option<Verdict>) {
        let slice = nth * self.per_verdict();
        let news = verdict.map_or(Slot::default(), |verdict| verdict.counted(Slot::default(), 1));
        let old = self.fine.get(slice);
        if (old.judged, old.judged_bad, old.undecided) == (news.judged, news.judged_bad, news.undecided) {
            return;
        }
        let change = |slot: &mut Slot| {
            slot.judged = (slot.judged + news.judged).saturating_sub(old.judged);
            slot.judged_bad = (slot.judged_bad + news.judged_bad).saturating_sub(old.judged_bad);
            slot.undecided = (slot.undecided + news.undecided).saturating_sub(old.undecided);
        };
        self.fine.edit(slice, change);
        let time = slice * self.resolution_s;
        self.mid.edit(time.div_euclid(MID_S), change);
        self.hour.edit(time.div_euclid(HOUR_S), change);
    }

    /// Adds history that is known only in one step of `span_s` (300 or 3600 s), `start` on that grid. It goes to the
    /// tiers of that or a coarser grid, and only where nothing is known yet: what was seen slice by slice stays.
    /// All slices of the span count as known (or partial). For a quantile SLI the span is judged as a whole: all of
    /// its slices good, bad, undecided, or idle without events. `false` when nothing was booked.
    pub fn apply_coarse(&mut self, start: Seconds, span_s: i64, total: u64, bad: u64, coverage: Coverage) -> bool {
        let sane = (-TIME_MAX_S..TIME_MAX_S).contains(&start) && start.rem_euclid(span_s.max(1)) == 0;
        if !sane || ![MID_S, HOUR_S].contains(&span_s) || coverage == Coverage::Unknown {
            return false;
        }
        let (slices, verdicts) = self.most_in(span_s);
        let partial = if coverage == Coverage::Partial { slices } else { 0 };
        let mut news = Slot { total, bad, known: slices, partial, ..Slot::default() };
        if let Some(verdict) = self.judge().alone(total, bad) {
            news = verdict.counted(news, verdicts);
        }
        let booked = if span_s == HOUR_S {
            self.mid_behind(start);
            self.hour.get(start.div_euclid(HOUR_S)).known == 0 && self.book_hour(start, news)
        } else {
            self.fine_behind(start);
            self.has_room_for(start, slices) && self.book_coarse(start, news)
        };
        if booked {
            self.reached((start + span_s) / self.resolution_s - 1, start + span_s);
        }
        booked
    }

    /// Whether nothing is known yet of the 5 minutes at `start`, `slices` slices long.
    fn has_room_for(&self, start: Seconds, slices: u32) -> bool {
        let (mid, hour) = (start.div_euclid(MID_S), start.div_euclid(HOUR_S));
        let known = self.hour.get(hour).known;
        if !self.mid.reaches(mid) {
            // Which of its 5 minutes the hour knows is forgotten there: as many fit as are not known.
            return known + slices <= (HOUR_S / self.resolution_s) as u32;
        }
        // An hour that knows more than its 5-minute slots was filled by the hour: nothing finer goes in again.
        let per_hour = HOUR_S / MID_S;
        let by_mid = self.mid.range(hour * per_hour, (hour + 1) * per_hour).known;
        self.mid.get(mid).known == 0 && by_mid == known
    }

    /// Notes that slices up to `newest` are known, and nothing from `horizon_s` on.
    pub(super) fn reached(&mut self, newest: i64, horizon_s: Seconds) {
        self.newest = self.newest.max(Some(newest));
        self.horizon_s = self.horizon_s.max(horizon_s);
    }

    /// Notes that the 5-minute tier may know more of its slot at `time` than the fine one.
    pub(super) fn fine_behind(&mut self, time: Seconds) {
        self.fine_behind_s = self.fine_behind_s.max((time.div_euclid(MID_S) + 1) * MID_S);
    }

    /// Notes that the hour tier may know more of its slot at `time` than the finer ones.
    pub(super) fn mid_behind(&mut self, time: Seconds) {
        self.mid_behind_s = self.mid_behind_s.max((time.div_euclid(HOUR_S) + 1) * HOUR_S);
        self.fine_behind_s = self.fine_behind_s.max(self.mid_behind_s);
    }

    /// Seconds in a slice, as it is read and kept.
    pub fn resolution_s(&self) -> i64 {
        self.resolution_s
    }

    pub(super) fn longest_window_s(&self) -> i64 {
        self.longest_window_s.into()
    }

    /// How many slices are judged as one.
    pub(super) fn per_verdict(&self) -> i64 {
        self.slices_judged.into()
    }

    /// Seconds in a slice that is judged: the same, or a multiple of it.
    pub fn slice_s(&self) -> i64 {
        self.resolution_s * self.per_verdict()
    }

    /// What the SLO counts of a window, all and bad: judged slices of a quantile SLI and of gauges whose slices are
    /// judged by several samples, else what was booked.
    pub fn counted(&self, sum: &WindowSum) -> (u64, u64) {
        match self.unit {
            Unit::QuantileSlices { .. } => (sum.judged, sum.judged_bad),
            Unit::GaugeSlices if self.per_verdict() > 1 => (sum.judged, sum.judged_bad),
            Unit::Events | Unit::GaugeSlices | Unit::RatioSlices => (sum.total, sum.bad),
        }
    }

    pub(super) fn judge(&self) -> Judge {
        Judge::new(self.unit, self.resolution_s, self.per_verdict())
    }

    /// How many slices are held together: those judged as one, and of a quantile SLI those of 5 minutes, for the spans
    /// that decide on a slice begin where it does, or where 5 minutes do.
    pub(super) fn judged_together(&self) -> i64 {
        match self.unit {
            Unit::QuantileSlices { .. } => MID_S / self.resolution_s,
            Unit::Events | Unit::GaugeSlices | Unit::RatioSlices => self.per_verdict(),
        }
    }

    /// First slice of the fine tier with which it holds all that are judged together.
    pub(super) fn whole_from(&self) -> i64 {
        let from = self.fine.from();
        from.saturating_add(from.wrapping_neg().rem_euclid(self.judged_together()))
    }

    /// Index of the newest slice that is known or partial. Of history restored or filled in coarse steps it is the
    /// last slice of the step that is certainly known.
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// Start of the oldest hour of which anything is known.
    pub fn oldest(&self) -> Option<Seconds> {
        self.hour.known().next().map(|(hour, _)| hour * HOUR_S)
    }

    /// Start of the oldest slice that is known, as finely as it is known.
    pub fn begins(&self) -> Option<Seconds> {
        let hour = self.oldest()?;
        let within = |start: &Seconds| *start < hour + HOUR_S;
        let slice = self.fine.known().next().map(|(slice, _)| slice * self.resolution_s).filter(within);
        let mid = self.mid.known().next().map(|(mid, _)| mid * MID_S).filter(within);
        match (slice, mid) {
            // What the 5-minute slot knows more than its slices lies before them.
            (Some(slice), Some(mid)) if mid + MID_S <= slice => Some(mid),
            (Some(slice), _) => Some(slice),
            (None, mid) => Some(mid.unwrap_or(hour)),
        }
    }

    /// The slices of the fine tier that are known or partial, ascending; without those at its old end of which it does
    /// not hold all that are judged as one.
    pub fn fine(&self) -> impl Iterator<Item = SliceDelta> {
        let whole_from = self.whole_from();
        self.fine.known().skip_while(move |(slice, _)| *slice < whole_from).map(|(slice, slot)| SliceDelta {
            slice,
            total: slot.total,
            bad: slot.bad,
            coverage: if slot.partial > 0 { Coverage::Partial } else { Coverage::Known },
        })
    }

    /// Memory it takes, bytes, itself included.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.fine.heap_bytes() + self.mid.heap_bytes() + self.hour.heap_bytes()
    }
}

/// Adds counts; slice counts stop at `slices`, the number of slices in the slot, and `verdicts` on them.
fn add_bounded(slot: &mut Slot, news: Slot, slices: u32, verdicts: u32) {
    slot.total = slot.total.saturating_add(news.total);
    slot.bad = slot.bad.saturating_add(news.bad);
    slot.known = (slot.known + news.known).min(slices);
    slot.partial = (slot.partial + news.partial).min(slot.known);
    slot.judged = (slot.judged + news.judged).min(verdicts);
    slot.judged_bad = (slot.judged_bad + news.judged_bad).min(slot.judged);
    slot.undecided = (slot.undecided + news.undecided).min(slot.judged - slot.judged_bad);
}
