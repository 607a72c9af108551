//! The onset as decisions take it: the likeliest one, whatever the evidence. A change made between it and the burn would
//! look like the cause.

use crate::engine::onset::likeliest;
use crate::engine::{Seconds, SeriesLedger, SliceDelta};

/// The likeliest moment within `reach_s` before `until` at which the error ratio rose; `None` where it did not rise.
/// A moment is the start of the first slice of "after".
pub(super) fn onset(series: &SeriesLedger, until: Seconds, reach_s: i64) -> Option<Seconds> {
    let step_s = series.resolution_s();
    let (first, last) = ((until - reach_s).div_euclid(step_s), until.div_euclid(step_s));
    let slices: Vec<SliceDelta> =
        series.fine().filter(|slice| (first..last).contains(&slice.slice) && slice.total > 0).collect();
    likeliest(&slices).map(|slice| slice * step_s)
}
