//! What lies within given spans of a window: what exclusions take out of it.
//!
//! **Edges.** A span is widened to the steps in which its edges are still known: the slice, later 5 minutes, later the
//! hour. So what happened in it goes out whole, however old it is, and with it what happened in the rest of those
//! steps: a share of them by time would let an excluded incident come back as it ages.

use super::series::{HOUR_S, MID_S};
use super::tier::Slot;
use super::{SeriesLedger, WindowSum};
use crate::engine::Seconds;

impl SeriesLedger {
    /// Sums over the parts of the window that lie in `spans`, which are ascending; the window is that of
    /// [`SeriesLedger::window`].
    pub fn window_within(&self, end: Seconds, length_s: i64, spans: &[(Seconds, Seconds)]) -> WindowSum {
        let (start, end) = self.edges(end, length_s);
        let (mut sum, mut done, mut inside_s) = (Slot::default(), start, 0);
        for &(from, to) in spans {
            let (from, to) = (self.step_at(from, 0).max(done), self.step_at(to - 1, 1).min(end));
            if from < to {
                sum += self.sum(from, to);
                inside_s += to - from;
                done = to;
            }
        }
        self.window_sum(sum, inside_s / self.resolution_s())
    }

    /// The start of the step that holds `time`, in which it is still known, or of the one `later` steps after it.
    fn step_at(&self, time: Seconds, later: i64) -> Seconds {
        let step_s = self.grain_s(time);
        (time.div_euclid(step_s) + later) * step_s
    }

    /// Length of the steps in which what happened at `time` is still known, seconds: the slice, later 5 minutes, later
    /// the hour.
    pub fn grain_s(&self, time: Seconds) -> i64 {
        match time {
            time if time >= self.slices_from() => self.slice_s(),
            time if time >= self.mids_from() => MID_S,
            _ => HOUR_S,
        }
    }
}
