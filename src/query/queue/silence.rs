//! For how long nobody has been let in while somebody waited.
//!
//! It is counted in whole slices from the end of the newest one that ended a silence, so it is never longer than the true
//! one. A gap in the gauge of up to five minutes does not end it; who waits after a longer one may be somebody else.
//!
//! Deliberately absent: which of those who wait has waited how long. A queue that lets somebody in moves.

use serde::{Deserialize, Serialize};

use super::{Pace, QueueSlice, SliceLook};

/// The silence after some slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct QueueSilence {
    /// The slice it began after; `None` before anybody waited.
    after: Option<i64>,
    /// The newest slice in which somebody waited.
    waited: Option<i64>,
    /// A slice is not decided that may have ended it.
    open: bool,
}

impl QueueSilence {
    /// Whether it is longer than the bound at the end of `slice`, in which somebody waits.
    pub fn is_over(&self, slice: i64, bound_s: i64, pace: Pace) -> Option<bool> {
        let after = match (self.after, self.waited) {
            (Some(after), Some(waited)) if slice - waited <= pace.gone => after,
            (after, None) => after.unwrap_or(slice - 1).max(slice - 1),
            _ => slice - 1,
        };
        let over = (slice - after) * pace.resolution_s >= bound_s;
        if over && self.open { None } else { Some(over) }
    }

    /// Goes on over a slice.
    pub fn step(&mut self, slice: i64, of: &QueueSlice, look: &SliceLook, pace: Pace) {
        if look.let_in || of.begins || of.waiting == Some(0) {
            *self = QueueSilence { after: Some(slice), waited: None, open: false };
        } else if of.waiting.is_some() {
            let gap = self.waited.is_none_or(|waited| slice - waited > pace.gone);
            if gap && self.after.is_none_or(|after| after < slice - 1) {
                self.after = Some(slice - 1);
            }
            self.waited = Some(slice);
            self.open |= !of.settled;
        } else {
            self.open |= !of.settled;
        }
    }
}
